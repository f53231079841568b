# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A download attempt by attempt, from answers made of memory; a real hub is in tests/on_machine/test_model_fetch.py."""

from __future__ import annotations

import email.message
import hashlib
import http.client
import io
import os
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._model import download as file
from ansible_collections.gb10.vllm.plugins.module_utils._model import store as model_store
from ansible_collections.gb10.vllm.plugins.module_utils._model.download import Download, read_environment
from ansible_collections.gb10.vllm.plugins.module_utils._model.hub import _Redirects, is_repo_id, token_from, top_files

DATA = bytes(range(256)) * 40
URL = "http://hub/acme/tiny/resolve/c/w"


class Answer(io.BytesIO):
    """What urlopen gives: a body that may end too early or break."""

    def __init__(self, body, status=200, breaks=None):
        super().__init__(body)
        self.status, self.breaks = status, breaks

    def read(self, count=-1):
        data = super().read(count)
        if not data and self.breaks:
            raise self.breaks
        return data


class Hub(Download):
    """Answers in the order they were given; remembers which bytes it was asked for and how long it waited."""

    def __init__(self, *answers, retries=3):
        super().__init__({"HF_ENDPOINT": "http://hub"}, pause_s=1, timeout_s=5, retries=retries)
        self.answers, self.ranges, self.waited = list(answers), [], []
        self._stop = Waits(self.waited)

    def open(self, url, byte_range=""):
        self.ranges.append(byte_range)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Waits(threading.Event):
    def __init__(self, waited):
        super().__init__()
        self.waited = waited

    def wait(self, timeout=None):
        self.waited.append(timeout)
        return self.is_set()


def refusal(code, reason="Busy", **headers):
    message = email.message.Message()
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    return urllib.error.HTTPError(URL, code, reason, message, io.BytesIO())


def fetch(hub, tmp_path):
    told = []
    return hub._bytes(URL, "acme/tiny", str(tmp_path / "w.incoming"), len(DATA), told.append), sum(told)


WHOLE = (hashlib.sha256(DATA).hexdigest(), hashlib.sha1(b"blob %d\0" % len(DATA) + DATA).hexdigest())


def test_what_breaks_off_is_continued_from_there(tmp_path):
    hub = Hub(Answer(DATA[:1000]), Answer(DATA[1000:4000], 206, http.client.IncompleteRead(b"")), Answer(DATA[4000:], 206))
    assert fetch(hub, tmp_path) == (WHOLE, len(DATA))
    assert hub.ranges == ["", "bytes=1000-", "bytes=4000-"] and hub.waited == [], "after progress nobody waits"


def test_a_hub_without_ranges_begins_anew(tmp_path):
    hub = Hub(Answer(DATA[:1000]), Answer(DATA, 200))
    assert fetch(hub, tmp_path) == (WHOLE, len(DATA) + 1000)
    assert (tmp_path / "w.incoming").read_bytes() == DATA


def test_the_pauses_grow_and_a_hub_that_says_how_long_is_obeyed(tmp_path):
    hub = Hub(refusal(503), refusal(429, Retry_After="7"), urllib.error.URLError(TimeoutError()), Answer(DATA), retries=4)
    assert fetch(hub, tmp_path)[0] == WHOLE
    assert hub.waited == [1, 7.0, 2, 4]


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (lambda: refusal(503, "Unavailable"), "hub answered 503 Unavailable, 3 attempts"),
        (lambda: urllib.error.URLError(TimeoutError()), "hub did not answer within 5 s, 3 attempts"),
        (TimeoutError, "hub did not answer within 5 s, 3 attempts"),
        (lambda: ConnectionResetError("reset"), r"hub broke off \(reset\), 3 attempts"),
    ],
)
def test_after_several_attempts_that_bring_nothing_it_is_said(tmp_path, failure, words):
    hub = Hub(Answer(DATA[:5000]), failure(), failure(), failure())
    with pytest.raises(GB10Error, match=r"stopped at 0\.0 of 0\.0 MB: " + words + " in a row.*kept; run again"):
        fetch(hub, tmp_path)
    assert (tmp_path / "w.incoming").stat().st_size == 5000


def test_what_another_attempt_would_not_mend_is_said_at_once(tmp_path):
    with pytest.raises(GB10Error, match="acme/tiny or the file is not there on http://hub"):
        fetch(Hub(refusal(404, "Not Found")), tmp_path)
    untrusted = ssl.SSLCertVerificationError("no")
    untrusted.verify_message = "self-signed certificate"
    with pytest.raises(GB10Error, match=r"certificate of http://hub is not trusted \(self-signed certificate\): set gb10_ca_bundle"):
        fetch(Hub(urllib.error.URLError(untrusted)), tmp_path)


def test_another_file_that_failed_stops_this_one(tmp_path):
    hub = Hub(Answer(DATA))
    hub._stop.set()
    with pytest.raises(GB10Error, match="stopped because another file failed"):
        fetch(hub, tmp_path)
    hub.answers = [refusal(503)]
    with pytest.raises(GB10Error, match="stopped because another file failed"):
        fetch(hub, tmp_path)


def test_a_file_that_is_there_is_not_asked_for(tmp_path):
    (tmp_path / "w.incoming").write_bytes(DATA)
    hub = Hub()
    assert fetch(hub, tmp_path) == (WHOLE, 0)


def test_only_what_concerns_the_hub_is_read_from_the_private_file(tmp_path):
    path = tmp_path / "hub.env"
    path.write_text("HF_TOKEN='a b'\nhttps_proxy=http://p:1\nPATH=/evil\nLD_PRELOAD=x\nSSL_CERT_FILE=/ca\n")
    path.chmod(0o600)
    assert read_environment(str(path)) == {"HF_TOKEN": "a b", "https_proxy": "http://p:1", "SSL_CERT_FILE": "/ca"}
    assert read_environment(str(tmp_path / "none")) == {}


def test_names_of_repositories():
    assert is_repo_id("acme/tiny-1.5_b") and not any(map(is_repo_id, ["acme", "a/b/c", "../x", "a/..", "/etc", "a b/c", ""]))


@pytest.mark.parametrize(
    ("there", "kept"),
    [("https://hub/b", True), ("https://cdn/b", False), ("https://hub:8443/b", False), ("http://hub/b", False), ("https://hub.evil/b", False)],
)
def test_only_the_hub_itself_gets_the_token_and_never_in_the_clear(there, kept):
    request = urllib.request.Request("https://hub/a", headers={"Authorization": "Bearer hf_x"})
    assert _Redirects().redirect_request(request, None, 302, "Found", {}, there).has_header("Authorization") == kept


def test_sizes_and_sums_of_a_listing_that_may_be_odd():
    listing = [
        {"rfilename": "w", "size": 5, "lfs": {"sha256": "f", "size": 9}}, {"rfilename": "x", "lfs": {"size": 7}}, {"rfilename": "y", "size": "many"},
        {"rfilename": "z", "size": -1, "lfs": "?"}, {"rfilename": "sub/w", "size": 1}, {"size": 1}, "junk", None,
    ]  # fmt: skip
    assert top_files(listing) == ({"w": 5, "x": 7, "y": 0, "z": 0}, {"w": "f"})


def test_a_listing_with_a_name_that_leads_outside_is_refused(monkeypatch):
    hub = Hub()
    for bad in ({"rfilename": "../x", "size": 1}, {"rfilename": "x"}, {"rfilename": None, "size": 1}):
        monkeypatch.setattr(hub, "ask", lambda repo_id, revision, bad=bad: ("URL", {"sha": "c", "siblings": [bad]}))
        with pytest.raises(GB10Error, match="without a proper name or size; nothing was downloaded"):
            hub.listing("acme/tiny", "main")
    monkeypatch.setattr(hub, "ask", lambda repo_id, revision: ("URL", {"siblings": []}))
    with pytest.raises(GB10Error, match="without a commit"):
        hub.listing("acme/tiny", "main")
    assert file.COMMIT.fullmatch("0" * 40)


@pytest.mark.parametrize("name", [".gb10-vllm-record", "sub/.gb10-vllm-record", "config.json.incoming"])
def test_a_repository_brings_no_file_under_a_name_that_means_something_here(monkeypatch, name):
    """A record of its making would say that another model arrives, whose files of the same size were believed then."""
    hub = Hub()
    listed = [{"rfilename": name, "size": 1}, {"rfilename": "config.json", "size": 2}]
    monkeypatch.setattr(hub, "ask", lambda repo_id, revision: ("URL", {"sha": "c", "siblings": listed}))
    assert [*hub.listing("acme/tiny", "main")[1]] == ["config.json"]


class Listing(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"sha": "c", "siblings": []}')

    def log_message(self, *_):
        pass


def test_a_hub_whose_certificate_nobody_vouches_for_is_not_believed(tmp_path, monkeypatch):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=hub", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(["openssl", "req", "-x509", *kind, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with HTTPServer(("127.0.0.1", 0), Listing) as server:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        endpoint = f"https://127.0.0.1:{server.server_port}"
        try:
            with pytest.raises(GB10Error, match=f"certificate of {endpoint} is not trusted .*CA bundle"):
                Download({"HF_ENDPOINT": endpoint}, pause_s=0).listing("acme/tiny", "main")
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
            assert Download({"HF_ENDPOINT": endpoint}, pause_s=0).listing("acme/tiny", "main") == ("c", {})
        finally:
            server.shutdown()


@pytest.mark.parametrize(
    ("endpoint", "token", "problem"),
    [
        ("http://mirror.example", "hf_x", "plain http, so everybody on the way could read the token"),
        ("http://192.168.1.9:8080/hf", "hf_x", "plain http"),
        ("http://127.0.0.1.example", "hf_x", "plain http"),
        ("http://mirror.example", "", None),
        ("https://mirror.example", "hf_x", None),
        ("http://127.0.0.1:8080", "hf_x", None),
        ("http://[::1]:8080", "hf_x", None),
        ("https://user:pass@mirror.example", "", "has a user or password in its address"),
        ("https://[::1", "", "not an http or https URL"),
        ("https://mirror.example:port", "", "not an http or https URL"),
        ("https://", "", "not an http or https URL"),
    ],
)
def test_no_token_goes_over_the_network_in_the_clear(endpoint, token, problem):
    environment = {"HF_ENDPOINT": endpoint, **({"HF_TOKEN": token} if token else {})}
    if problem is None:
        assert Download(environment).token == (token or None)
        return
    with pytest.raises(GB10Error, match=problem) as told:
        Download(environment)
    assert "hf_x" not in str(told.value) and "pass@" not in str(told.value)


@pytest.mark.parametrize(
    ("here", "there", "kept"),
    [
        ("https://hub/a", "https://hub/b", True),
        ("https://hub/a", "http://hub/b", False),
        ("http://127.0.0.1/a", "https://127.0.0.1/b", False),
        ("https://hub/a", "https://cdn/b", False),
        ("https://hub/a", "https://hub:8443/b", False),
    ],
)
def test_a_redirect_takes_the_token_nowhere_else(here, there, kept):
    asked = urllib.request.Request(here, headers={"Authorization": "Bearer hf_x"})
    new = _Redirects().redirect_request(asked, io.BytesIO(), 302, "Found", email.message.Message(), there)
    assert (new.get_header("Authorization") == "Bearer hf_x") is kept


def test_what_root_stored_for_itself_is_not_used(tmp_path):
    stored = tmp_path / ".cache/huggingface/token"
    stored.parent.mkdir(parents=True)
    stored.write_text("hf_of_root")
    assert token_from({"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / ".cache")}) is None
    assert token_from({"HOME": str(tmp_path), "HF_TOKEN_PATH": str(stored)}) == "hf_of_root", "unless somebody says so"


FILES = {"rfilename": "model.safetensors", "size": 10}


@pytest.mark.parametrize(
    "answer",
    [
        {"sha": None, "siblings": []},
        {"sha": "0" * 40, "siblings": [7]},
        {"sha": "0" * 40, "siblings": [{**FILES, "size": True}]},
        {"sha": "0" * 40, "siblings": [{**FILES, "size": -1}]},
        {"sha": "0" * 40, "siblings": [{**FILES, "lfs": [1], "size": None}]},
        {"sha": "0" * 40, "siblings": [{**FILES, "lfs": {"sha256": 5}}]},
        {"sha": "0" * 40, "siblings": [{**FILES, "blobId": {}}]},
        {"sha": "../..", "siblings": []},
    ],
)
def test_a_hub_that_answers_nonsense_is_told(monkeypatch, answer):
    hub = Hub()
    monkeypatch.setattr(hub, "ask", lambda *_words: ("http://hub/api", answer))
    with pytest.raises(GB10Error, match="http://hub/api"):
        hub.listing("acme/tiny", "main")


def test_a_download_that_another_run_began_is_followed_and_not_doubled(tmp_path, monkeypatch):
    """Two at once into one directory: the second waits, finds what the first brought, and fetches nothing."""
    monkeypatch.setattr(model_store, "FOLLOW_S", 0.01)
    final, commit = str(tmp_path / "m"), "0" * 40
    told, fetched, entered = [], [], threading.Event()

    class Slow(Download):
        def listing(self, repo_id, revision):
            return commit, {"config.json": {"size": len(DATA), "sha256": None, "blob": None}}

        def _bytes(self, url, repo_id, incoming, size, told, root=""):
            fetched.append(incoming)
            entered.set()
            time.sleep(0.3)
            with open(incoming, "wb") as stream:
                stream.write(DATA)
            return hashlib.sha256(DATA).hexdigest(), ""

    monkeypatch.setattr(file, "choose", lambda sizes, *_words: list(sizes))
    first = threading.Thread(target=lambda: Slow({}).fetch("acme/tiny", "main", final))
    first.start()
    entered.wait()
    result = Slow({}).fetch("acme/tiny", "main", final, said=lambda *words: told.append(words[0]))
    first.join()
    assert fetched == [final + ".partial/config.json.incoming"] and "follow" in told
    place = f"{final}@{commit[:14]}"
    assert result == {"changed": True, "revision": commit, "path": final, "directory": place, "downloaded_bytes": 0, "previous": None}
    assert sorted(os.listdir(tmp_path)) == ["m", os.path.basename(place)]


def test_a_download_whose_holder_died_is_taken_over(tmp_path, monkeypatch):
    monkeypatch.setattr(model_store, "FOLLOW_S", 0.01)
    final = str(tmp_path / "m")
    with model_store.arriving(final, lambda: None) as waited:
        assert waited is False
        model_store.prepare_partial(final, "i")
    with model_store.arriving(final, lambda: pytest.fail("nobody holds it")) as waited:
        assert waited is False and os.listdir(final + ".partial") == [model_store.RECORD]

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guard that systemd calls on a box, run as systemd runs it: as a program."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import shlex
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

GUARD = Path(__file__).parents[3] / "roles" / "server" / "files" / "guard.py"


@pytest.fixture
def box(tmp_path):
    (tmp_path / "servers" / "a").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    systemctl = tmp_path / "bin" / "systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/systemctl.log\n')
    systemctl.chmod(0o755)
    return tmp_path


def guard(box, action, **settings):
    environment = dict(os.environ, GB10_STATE_DIR=str(box), GB10_CONFIG_DIR=str(box / "etc"), PATH=f"{box}/bin:{os.environ['PATH']}", **settings)
    return subprocess.run([sys.executable, str(GUARD), action, "a"], capture_output=True, text=True, env=environment, check=False)


def deploy(box, **changes):
    deployment = {"requested_bytes": 1, "floor_bytes": 1, "served_model_name": "m", "probe_url": "http://127.0.0.1:9"} | changes
    (box / "servers" / "a" / "deployment.json").write_text(json.dumps(deployment))


@pytest.fixture
def module(box, monkeypatch):
    """The same file as a module, on a box whose memory a test can set."""
    monkeypatch.setenv("GB10_STATE_DIR", str(box))
    spec = importlib.util.spec_from_file_location("guard", GUARD)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Answers(BaseHTTPRequestHandler):
    """A server that says the status of the route, with an answer's body; it keeps what it was asked."""

    def do_POST(self):
        self.server.asked.append((self.path, self.headers["Authorization"]))
        self.send_response(self.server.status[self.path])
        self.end_headers()
        self.wfile.write(b'{"choices": [{"text": "x"}]}')

    def log_message(self, *_):
        pass


@pytest.fixture
def vllm():
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        server.asked, server.status = [], {"/v1/completions": 200, "/v1/embeddings": 200}
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()


def test_a_start_that_fits_leaves_a_sentinel_and_its_end_removes_it(box):
    deploy(box)
    assert guard(box, "before-start").returncode == 0
    sentinel = box / "servers" / "a" / "starting.json"
    assert json.loads(sentinel.read_text())["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert guard(box, "after-stop").returncode == 0
    assert not sentinel.exists()


def test_a_start_that_would_starve_the_box_is_refused_with_the_numbers(box):
    deploy(box, requested_bytes=2**60, floor_bytes=12 * 2**30)
    done = guard(box, "before-start")
    assert done.returncode == 1
    assert "takes 1073741824.0 GiB" in done.stderr and "12.0 GiB" in done.stderr
    assert not (box / "servers" / "a" / "starting.json").exists()


@pytest.mark.parametrize(("requested", "starts"), [(88, True), (89, False), (100, False), (101, False)])
def test_what_the_box_keeps_for_itself_stays_free(box, module, monkeypatch, requested, starts):
    deploy(box, requested_bytes=requested * 2**30, floor_bytes=12 * 2**30)
    monkeypatch.setattr(module, "available_bytes", lambda: 100 * 2**30)
    assert (module.before_start("a") is None) == starts
    assert (box / "servers" / "a" / "starting.json").exists() == starts


def test_what_the_page_cache_holds_is_free(module, monkeypatch):
    shown = "MemTotal:       125440336 kB\nMemFree:         1000000 kB\nMemAvailable:   100000000 kB\nCached:  90000000 kB\n"
    monkeypatch.setattr(module, "open", lambda *_arguments, **_more: io.StringIO(shown), raising=False)
    assert module.available_bytes() == 100000000 * 1024


def test_a_start_of_this_boot_that_was_cut_short_may_begin_again(box):
    deploy(box)
    assert guard(box, "before-start").returncode == 0
    assert guard(box, "before-start").returncode == 0, "the box is up, so the start did not bring it down"


def test_a_box_that_died_during_a_start_does_not_start_again_by_itself(box):
    deploy(box)
    (box / "servers" / "a" / "starting.json").write_text('{"boot_id": "another boot", "time": "yesterday"}')
    done = guard(box, "before-start")
    assert done.returncode == 1
    assert "went down while a was starting" in done.stderr and "yesterday" in done.stderr
    assert guard(box, "after-stop").returncode == 0
    assert guard(box, "before-start").returncode == 1, "the refused start's own end must not allow the next one"


def test_a_refusal_is_the_status_of_the_unit(box):
    deploy(box, requested_bytes=2**60)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(box / "notify"))
        done = guard(box, "before-start", NOTIFY_SOCKET=str(box / "notify"))
        assert systemd.recv(4096).decode() == "STATUS=" + done.stderr.strip()
    assert guard(box, "before-start", NOTIFY_SOCKET="/nowhere").returncode == 1


def test_a_lost_deployment_is_named(box):
    done = guard(box, "before-start")
    assert done.returncode == 1 and "deployment.json is missing" in done.stderr


@pytest.mark.parametrize(("code", "status", "said"), [("exited", "3", "a ended with exit code 3."), ("killed", "KILL", "a was killed by KILL.")])
def test_a_server_that_failed_says_how_and_what_to_do(box, code, status, said):
    done = guard(box, "after-stop", SERVICE_RESULT="exit-code", EXIT_CODE=code, EXIT_STATUS=status)
    assert done.stderr.startswith(said) and "docker logs gb10-vllm-a" in done.stderr and "reset-failed" in done.stderr


def test_only_an_end_nobody_asked_for_is_worth_a_word(box):
    ended = {"SERVICE_RESULT": "success", "EXIT_CODE": "exited", "EXIT_STATUS": "0"}
    assert guard(box, "after-stop", **ended).stderr.startswith("a ended with exit code 0."), "vLLM's own end when its engine is killed"
    (box / "bin" / "systemctl").write_text("#!/bin/sh\necho 4711\n")
    assert guard(box, "after-stop", **ended).stderr == ""


@pytest.mark.parametrize("key", ["k3y", 'it\'s $HOME "and" a `key`'])
def test_a_server_that_answers_ends_its_start(box, vllm, key):
    (box / "etc" / "a").mkdir(parents=True)
    (box / "etc" / "a" / "key.env").write_text(f"VLLM_API_KEY={shlex.quote(key)}\n")
    deploy(box, probe_url=f"http://127.0.0.1:{vllm.server_port}")
    assert guard(box, "before-start").returncode == 0
    assert guard(box, "watch").returncode == 0
    assert vllm.asked == [("/v1/completions", f"Bearer {key}")]
    assert not (box / "servers" / "a" / "starting.json").exists()


@pytest.mark.parametrize("status", [500, 503, 401, 403])
def test_a_server_that_refuses_does_not_answer(box, vllm, status):
    vllm.status["/v1/completions"] = status
    deploy(box, probe_url=f"http://127.0.0.1:{vllm.server_port}")
    assert "a did not answer (1 of 3)" in guard(box, "watch").stdout
    assert [route for route, _key in vllm.asked] == ["/v1/completions"], "another route would hide that this one fails"


@pytest.mark.parametrize("status", [400, 404, 405, 501])
def test_a_model_that_only_embeds_is_asked_for_an_embedding(box, vllm, status):
    vllm.status["/v1/completions"] = status
    deploy(box, probe_url=f"http://127.0.0.1:{vllm.server_port}")
    assert guard(box, "watch").stdout == ""
    assert [route for route, _key in vllm.asked] == ["/v1/completions", "/v1/embeddings"]


def test_only_repeated_silence_restarts_the_unit(box):
    deploy(box)
    for _time in range(2):
        guard(box, "watch")
    assert "restart" not in (box / "systemctl.log").read_text()
    guard(box, "watch")
    assert "restart gb10-vllm-a.service" in (box / "systemctl.log").read_text()


def test_silence_during_a_start_is_no_failure(box):
    deploy(box)
    guard(box, "before-start")
    for _time in range(4):
        guard(box, "watch")
    assert "restart" not in (box / "systemctl.log").read_text()


def test_a_start_that_never_ends_counts_as_silence(box):
    deploy(box)
    guard(box, "before-start")
    for _time in range(3):
        guard(box, "watch", GB10_START_LIMIT_S="0")
    assert "restart gb10-vllm-a.service" in (box / "systemctl.log").read_text()


def test_restarts_that_do_not_help_end_in_a_stopped_server(box):
    deploy(box)
    told = [guard(box, "watch", GB10_FAILURES_BEFORE_RESTART="1").stdout for _time in range(4)]
    calls = (box / "systemctl.log").read_text()
    assert (calls.count("restart gb10-vllm-a.service"), calls.count("stop gb10-vllm-a.service")) == (3, 1)
    assert "even after 3 restarts, so it is stopped now" in told[-1]

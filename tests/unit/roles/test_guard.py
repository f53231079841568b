# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guard that systemd calls on a box, run as systemd runs it: as a program; as a module where its clock, its disk or its server is made up."""

from __future__ import annotations

import errno
import importlib.util
import io
import json
import os
import shlex
import shutil
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.keys import make_certificate

GUARD = Path(__file__).parents[3] / "roles" / "server" / "files" / "guard.py"
DAY_S = 86400


@pytest.fixture
def box(tmp_path):
    (tmp_path / "servers" / "a").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    systemctl = tmp_path / "bin" / "systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/systemctl.log\n')
    systemctl.chmod(0o755)
    return tmp_path


def guard(box, action, **settings):
    environment = dict(
        os.environ, GB10_STATE_DIR=str(box), GB10_CONFIG_DIR=str(box / "etc"), GB10_MEMORY_DIR=str(box / "run"), GB10_SAID_DIR=str(box / "said"), **settings
    )
    environment["PATH"] = f"{box}/bin:{os.environ['PATH']}"
    return subprocess.run([sys.executable, str(GUARD), action, "a"], capture_output=True, text=True, env=environment, check=False)


def deploy(box, **changes):
    deployment = {"requested_bytes": 1, "floor_bytes": 1, "served_model_name": "m", "probe_url": "http://127.0.0.1:9"} | changes
    (box / "servers" / "a" / "deployment.json").write_text(json.dumps(deployment))


@pytest.fixture
def module(box, monkeypatch):
    """The same file as a module, on a box whose memory a test can set."""
    for place, folder in (("STATE", box), ("CONFIG", box / "etc"), ("MEMORY", box / "run")):
        monkeypatch.setenv(f"GB10_{place}_DIR", str(folder))
    monkeypatch.setenv("PATH", f"{box}/bin:{os.environ['PATH']}")
    spec = importlib.util.spec_from_file_location("guard", GUARD)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Answers(BaseHTTPRequestHandler):
    """A server that says the status of the route, with an answer's body; it keeps what it was asked."""

    def do_POST(self):
        self.server.asked.append((self.path, self.headers["Authorization"]))
        if self.server.full:
            self.server.over.wait(5)
            return
        self.send_response(self.server.status[self.path])
        self.end_headers()
        self.wfile.write(b'{"choices": [{"text": "x"}]}')

    def do_GET(self):
        self.server.looked.append((self.path, self.headers["Authorization"]))
        self.send_response(200 if self.path == "/metrics" and self.server.metrics else 404)
        self.end_headers()
        self.wfile.write(self.server.metrics(self.server).encode() if self.server.metrics else b"")

    def log_message(self, *_):
        pass


@pytest.fixture
def vllm():
    """``full``: a completion waits for longer than anybody has patience; ``metrics``: what /metrics says, a function of the server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        server.asked, server.looked, server.status = [], [], {"/v1/completions": 200, "/v1/embeddings": 200}
        server.full, server.metrics, server.over = False, None, threading.Event()
        server.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.over.set()
        server.shutdown()


def metrics(running=0, waiting=0, tokens=0, finished=0, aborted=0, cache=0.0):
    """What vLLM 0.32 says, as far as it matters, among what does not."""
    labels = 'engine="0",model_name="a model, {really}"'
    return f"""# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{{{labels}}} {running:.1f}
vllm:num_requests_waiting{{{labels}}} {waiting:.1f}
vllm:num_requests_waiting_by_reason{{{labels},reason="capacity"}} 7.0
vllm:kv_cache_usage_perc{{{labels}}} {cache}
vllm:prompt_tokens_total{{{labels}}} {tokens * 2:.1f}
vllm:prompt_tokens_created{{{labels}}} {time.time()}
vllm:generation_tokens_total{{{labels}}} {tokens:.1f}
vllm:request_success_total{{{labels},finished_reason="stop"}} {finished:.1f}
vllm:request_success_total{{{labels},finished_reason="abort"}} {aborted:.1f}
vllm:request_success_total{{{labels},finished_reason="error"}} {aborted:.1f}
http_requests_total{{handler="/v1/completions",method="POST"}} {time.monotonic()}
"""


def calls(box):
    """What systemd was asked for, without questions."""
    log = box / "systemctl.log"
    lines = log.read_text().splitlines() if log.exists() else []
    return [line for line in lines if line.split()[0] in ("restart", "try-restart", "stop", "start")]


def kept(box, file, place="servers"):
    path = box / place / "a" / file
    return json.loads(path.read_text()) if path.exists() else None


class Clock:
    """Seconds since the box was started, as the test has it."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(module, monkeypatch):
    made = Clock()
    monkeypatch.setattr(module, "since_boot_s", made)
    return made


@pytest.fixture
def engine(module, monkeypatch):
    """A server that gives the watch no answer: what its metrics say before and after it was asked (None: nothing)."""

    def says(before, after, answer=None):
        said = iter((before, after))
        monkeypatch.setattr(module, "work", lambda *_arguments: next(said))
        monkeypatch.setattr(module, "generates", lambda *_arguments: answer)

    return says


def does(requests=1, answers=0, cache=0.0):
    return {"open": float(requests), "answers": float(answers), "cache": cache}


def look(module, engine, before, after, answer=None):
    engine(before, after, answer)
    module.watch("a")


def test_the_watch_says_what_it_saw_and_how_long_its_token_took(box, module, clock, engine, monkeypatch):
    watched = box / "run" / "a" / "watched.json"
    deploy(box)
    engine(does(0), does(0), answer=True)

    def answers_late(*_arguments):
        clock.now += 1.25
        return True

    monkeypatch.setattr(module, "generates", answers_late)
    module.watch("a")
    seen = json.loads(watched.read_text())
    assert (seen["verdict"], round(seen["token_s"], 2), seen["boot_id"]) == ("answers", 1.25, module.boot_id())
    look(module, engine, does(2), does(3))
    assert {key: json.loads(watched.read_text())[key] for key in ("verdict", "token_s")} == {"verdict": "stands still", "token_s": None}


def test_a_watch_that_cannot_say_what_it_saw_goes_on(box, module, clock, engine, monkeypatch):
    deploy(box)
    monkeypatch.setattr(module, "write_json", lambda file, value: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    look(module, engine, does(0), does(0), answer=True)


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


@pytest.mark.parametrize(("requested", "starts"), [(88, True), (88.25, True), (88.5, False), (100, False), (101, False)])
def test_what_the_box_keeps_for_itself_stays_free(box, module, monkeypatch, requested, starts):
    """But for the quarter of a GiB that comes and goes between a plan and a start."""
    deploy(box, requested_bytes=int(requested * 2**30), floor_bytes=12 * 2**30)
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
    deploy(box, probe_url=vllm.url)
    assert guard(box, "before-start").returncode == 0
    assert guard(box, "watch").returncode == 0
    assert vllm.asked == [("/v1/completions", f"Bearer {key}")]
    assert not (box / "servers" / "a" / "starting.json").exists()


@pytest.mark.parametrize("status", [500, 503, 401, 403])
def test_a_server_that_refuses_does_not_answer(box, vllm, status):
    vllm.status["/v1/completions"] = status
    deploy(box, probe_url=vllm.url)
    assert "a did not answer (1 of 3)" in guard(box, "watch").stdout
    assert [route for route, _key in vllm.asked] == ["/v1/completions"], "another route would hide that this one fails"


@pytest.mark.parametrize("status", [400, 404, 405, 501])
def test_a_model_that_only_embeds_is_asked_for_an_embedding(box, vllm, status):
    vllm.status["/v1/completions"] = status
    deploy(box, probe_url=vllm.url)
    assert guard(box, "watch").stdout == ""
    assert [route for route, _key in vllm.asked] == ["/v1/completions", "/v1/embeddings"]


@pytest.mark.parametrize("route", ["/classify", "/pooling"])
def test_a_model_that_only_classifies_or_pools_is_asked_for_that(box, vllm, route):
    for other in ("/v1/completions", "/v1/embeddings", "/classify", "/pooling"):
        vllm.status[other] = 200 if other == route else 404
    deploy(box, probe_url=vllm.url)
    assert guard(box, "watch").stdout == "" and vllm.asked[-1][0] == route


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


# Busy, hung, wedged


@pytest.mark.parametrize(("running", "waiting"), [(4, 0), (4, 9), (1, 0), (0, 1)])
def test_a_server_that_is_only_busy_is_left_alone(box, vllm, running, waiting):
    vllm.full, vllm.metrics = True, lambda one: metrics(running, waiting, tokens=len(one.looked))
    deploy(box, probe_url=vllm.url)
    said = [guard(box, "watch", GB10_PROBE_TIMEOUT_S="0.5").stdout for _time in range(8)]
    assert calls(box) == []
    assert len(vllm.asked) == 8 and all(f"a answers others: {running + waiting} requests run or wait" in one for one in said)


def test_a_queue_that_is_full_is_busy_too(box, vllm):
    vllm.status["/v1/completions"] = 503  # vLLM: QueueOverflowError, with --max-num-queued-reqs
    vllm.metrics = lambda one: metrics(2, 8, tokens=len(one.looked))
    deploy(box, probe_url=vllm.url)
    for _time in range(4):
        assert "a answers others" in guard(box, "watch").stdout
    assert calls(box) == []


@pytest.mark.parametrize("status", [500, 401, 403])
def test_an_error_is_no_queue(box, vllm, status):
    vllm.status["/v1/completions"], vllm.metrics = status, lambda one: metrics(2, 8, tokens=len(one.looked))
    deploy(box, probe_url=vllm.url)
    assert "a did not answer (1 of 3)" in guard(box, "watch").stdout


@pytest.mark.parametrize(
    "said",
    [
        None,  # --disable-log-stats, or an API that hangs
        lambda _one: "vllm:kv_cache_usage_perc 0.0\n",
        lambda _one: metrics(),  # an engine that hangs: what it says stands still at nothing
        lambda one: metrics(running=len(one.asked) and 1),  # the watch's own request, and nobody else's
        lambda one: metrics(waiting=len(one.asked) and 1, aborted=len(one.asked)),
    ],
)
def test_a_hung_server_is_restarted_as_soon_as_ever(box, vllm, said):
    vllm.full, vllm.metrics = True, said
    deploy(box, probe_url=vllm.url)
    told = []
    for _time in range(3):
        vllm.asked.clear()
        assert calls(box) == []
        told.append(guard(box, "watch", GB10_PROBE_TIMEOUT_S="0.2").stdout.splitlines()[0])
    assert told == [f"a did not answer ({number} of 3)" for number in (1, 2, 3)]
    assert calls(box) == ["try-restart gb10-vllm-a.service"]


def test_requests_that_the_watch_gave_up_are_no_progress(box, vllm):
    vllm.full, vllm.metrics = True, lambda one: metrics(running=2, aborted=len(one.asked))
    deploy(box, probe_url=vllm.url)
    for _time in range(2):
        assert "a stands still: 2 requests run or wait" in guard(box, "watch", GB10_PROBE_TIMEOUT_S="0.2").stdout
    assert "a is wedged" in guard(box, "watch", GB10_PROBE_TIMEOUT_S="0.2", GB10_WEDGED_S="0.3").stdout


def test_what_metrics_say(module, vllm):
    vllm.metrics = lambda _one: metrics(running=3, waiting=2, tokens=5, finished=4, aborted=100, cache=0.25)
    assert module.work(vllm.url, "") == {"open": 5.0, "answers": 19.0, "cache": 0.25}
    vllm.metrics = lambda _one: metrics(running=1) + metrics(running=2, waiting=1)  # two engines
    assert module.work(vllm.url, "")["open"] == 4.0
    vllm.metrics = lambda _one: "vllm:num_requests_running 4\nvllm:num_requests_waiting NaN\nvllm:generation_tokens_total many\nvllm:\n\n"
    assert module.work(vllm.url, "") == {"open": 4.0, "answers": 0.0, "cache": 0.0}
    vllm.metrics = None
    assert module.work(vllm.url, "") is None and module.work("http://127.0.0.1:9", "") is None


@pytest.mark.parametrize(("passed_s", "restarts"), [(899, 0), (900, 1)])
def test_requests_that_stand_still_are_waited_for_so_long(box, module, clock, engine, capsys, passed_s, restarts):
    deploy(box)
    began = clock.now
    for clock.now in range(int(began), int(began + passed_s), 120):
        look(module, engine, does(2, 5, 0.5), does(3, 5, 0.5))
    assert calls(box) == [] and "a stands still: 2 requests run or wait" in capsys.readouterr().out
    clock.now = began + passed_s
    look(module, engine, does(2, 5, 0.5), does(3, 5, 0.5))
    assert calls(box) == ["try-restart gb10-vllm-a.service"] * restarts
    told = capsys.readouterr().out
    assert ("a is wedged: requests have been running for 900 s and nothing has moved" in told) == bool(restarts)


def test_a_wedged_server_that_restarts_do_not_help_is_stopped(box, module, clock, engine):
    deploy(box)
    for _restart in range(4):
        for _look in range(9):
            look(module, engine, does(2), does(3))
            clock.now += 120
    assert calls(box) == ["try-restart gb10-vllm-a.service"] * 3 + ["stop gb10-vllm-a.service"]


@pytest.mark.parametrize("moved", [does(2, 6), does(2, 5, 0.51)])
def test_any_progress_begins_the_wait_anew(box, module, clock, engine, moved):
    deploy(box)
    look(module, engine, does(2, 5), does(3, 5))
    clock.now += 800
    look(module, engine, does(2, 5), moved)
    clock.now += 800
    look(module, engine, moved, moved)
    assert calls(box) == []
    clock.now += 100
    look(module, engine, moved, moved)
    assert len(calls(box)) == 1


def test_another_process_counts_from_nothing(box, module, clock, engine):
    deploy(box)
    look(module, engine, does(2, 500), does(2, 500))
    clock.now += 899
    look(module, engine, does(2, 3), does(2, 3))
    clock.now += 899
    look(module, engine, does(2, 3), does(2, 3))
    assert calls(box) == []


def test_what_stood_still_before_a_start_says_nothing_after_it(box, module, clock, engine):
    deploy(box)
    look(module, engine, does(2), does(2))
    assert module.before_start("a") is None
    clock.now += 5000
    look(module, engine, does(2), does(2))
    assert calls(box) == []


@pytest.mark.parametrize(
    ("between", "restarts"),
    [
        (((does(2, 5), does(2, 5)),), 1),  # patience is no sign of life
        (((does(2, 5), does(2, 5)), (does(2, 5), does(2, 5, 0.1))), 0),
        (((does(2, 5), does(2, 6)),), 0),
    ],
)
def test_only_progress_ends_a_row_of_silences(box, module, clock, engine, between, restarts):
    deploy(box)
    for before, after in ((None, None), (does(0), does(0)), *between, (None, None)):
        look(module, engine, before, after)
        clock.now += 120
    assert len(calls(box)) == restarts


@pytest.mark.parametrize(
    ("before", "after", "counted"),
    [
        (does(0), does(1), True),  # ours
        (None, does(1), True),
        (None, does(2), False),
        (does(1), does(0), False),  # gone meanwhile, and who knows how ours was counted
        (does(0), does(2), False),
        (does(4), None, True),  # the API hangs
    ],
)
def test_whose_requests_are_meant(box, module, clock, engine, before, after, counted):
    deploy(box)
    look(module, engine, before, after)
    assert (kept(box, "failures.json", "run")["in_a_row"] == 1) == counted


def test_others_who_are_answered_end_a_start(box, module, clock, engine):
    deploy(box)
    module.before_start("a")
    look(module, engine, does(2, 0), does(2, 0, 0.3))
    assert kept(box, "starting.json") and kept(box, "starts.json"), "half a prompt is no answer"
    look(module, engine, does(2, 0, 0.3), does(2, 1, 0.3))
    assert kept(box, "starting.json") is None and kept(box, "starts.json") is None
    assert module.recall("a", "starts.json") == {}


def test_a_server_is_asked_with_its_key_and_past_any_proxy(box, vllm):
    (box / "etc" / "a").mkdir(parents=True)
    (box / "etc" / "a" / "key.env").write_text("VLLM_API_KEY=k3y\n")
    vllm.full, vllm.metrics = True, lambda one: metrics(2, tokens=len(one.looked))
    deploy(box, probe_url=vllm.url)
    told = guard(box, "watch", GB10_PROBE_TIMEOUT_S="0.2", http_proxy="http://127.0.0.1:9", HTTP_PROXY="http://127.0.0.1:9", no_proxy="").stdout
    assert "a answers others" in told
    assert {*vllm.looked, *vllm.asked} == {("/metrics", "Bearer k3y"), ("/v1/completions", "Bearer k3y")}


def test_a_server_behind_tls_is_asked_by_its_own_address(box, vllm):
    keys = box / "keys"
    make_certificate(str(keys), "a name that is not its address")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys / "certificate.pem", keys / "key.pem")
    vllm.socket = context.wrap_socket(vllm.socket, server_side=True)
    deploy(box, probe_url=vllm.url.replace("http:", "https:"))
    guard(box, "before-start")
    assert guard(box, "watch").stdout == "" and kept(box, "starting.json") is None
    vllm.full, vllm.metrics = True, lambda one: metrics(2, tokens=len(one.looked))
    assert "a answers others" in guard(box, "watch", GB10_PROBE_TIMEOUT_S="0.5").stdout


# Starts without an answer


def test_a_server_that_dies_300_s_after_each_start_is_down_after_the_fourth(box, module, clock, engine):
    deploy(box)
    ended = {"SERVICE_RESULT": "exit-code", "EXIT_CODE": "exited", "EXIT_STATUS": "1"}
    refusals = []
    for _start in range(20):
        refusal = module.before_start("a")
        if refusal:
            refusals.append(refusal)
            break
        for _look in range(2):
            clock.now += 120
            look(module, engine, None, None)
        clock.now += 60
        os.environ.update(ended)
        assert module.after_stop("a")
        for key in ended:
            del os.environ[key]
        clock.now += 15
    assert calls(box) == [], "a start that goes on is no silence"
    assert clock.now - 1000 == 4 * 315
    assert refusals[0].startswith("a was started 4 times since its last answer and gave none, so it stays down until the playbook site runs, or ")
    assert "guard forget a" in refusals[0] and "docker logs gb10-vllm-a" in refusals[0]
    assert module.before_start("a") == refusals[0], "a refusal is no start"


def test_starts_since_the_last_answer_are_counted(box, vllm):
    deploy(box, probe_url=vllm.url)
    for _start in range(3):
        assert guard(box, "before-start").returncode == 0
    guard(box, "watch")
    for _start in range(4):
        assert guard(box, "before-start").returncode == 0, "an answer is a new beginning"
    done = guard(box, "before-start")
    assert done.returncode == 1 and "not started: a was started 4 times" in done.stderr
    assert guard(box, "before-start", GB10_STARTS_WITHOUT_ANSWER="5").returncode == 0
    assert guard(box, "forget").returncode == 0
    assert guard(box, "before-start").returncode == 0, "somebody wants it again"


def test_a_start_that_is_refused_is_not_counted(box):
    deploy(box, requested_bytes=2**60)
    for _start in range(9):
        assert "GiB are available" in guard(box, "before-start").stderr
    deploy(box)
    assert guard(box, "before-start").returncode == 0


def test_a_reboot_is_no_answer(box, module, monkeypatch):
    deploy(box)
    for boot in range(4):
        monkeypatch.setattr(module, "boot_id", lambda boot=boot: f"boot {boot}")
        assert module.before_start("a") is None
        assert module.after_stop("a") is None  # an orderly shutdown
        shutil.rmtree(box / "run")
    monkeypatch.setattr(module, "boot_id", lambda: "boot 4")
    assert "was started 4 times" in module.before_start("a")


def test_restarts_by_the_watch_are_starts_too(box, module, clock, engine):
    deploy(box)
    starts = 0
    for _round in range(20):
        if module.before_start("a"):
            break
        starts += 1
        clock.now += module.START_LIMIT_S
        for _look in range(3):
            look(module, engine, None, None)
    assert (starts, calls(box)) == (4, ["try-restart gb10-vllm-a.service"] * 3 + ["stop gb10-vllm-a.service"])


# No clock


@pytest.mark.parametrize(("passed_s", "restarts"), [(3599, 0), (3600, 1)])
@pytest.mark.parametrize("shift_s", [-DAY_S, 0, DAY_S])
def test_a_clock_that_is_set_while_a_server_starts_changes_nothing(box, module, clock, engine, monkeypatch, shift_s, passed_s, restarts):
    deploy(box)
    real = time.time
    assert module.before_start("a") is None
    monkeypatch.setattr(time, "time", lambda: real() + shift_s)
    for file in [*box.glob("servers/a/*"), *box.glob("run/a/*")]:
        os.utime(file, (real() - shift_s, real() - shift_s))
    clock.now += passed_s
    for _look in range(3):
        look(module, engine, None, None)
    assert len(calls(box)) == restarts


@pytest.mark.parametrize("shift_s", [-DAY_S, DAY_S])
def test_a_clock_that_is_set_while_requests_stand_still_changes_nothing(box, module, clock, engine, monkeypatch, shift_s):
    deploy(box)
    look(module, engine, does(2), does(2))
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + shift_s)
    clock.now += 899
    look(module, engine, does(2), does(2))
    assert calls(box) == []


def test_time_goes_on_while_the_box_sleeps(module):
    assert abs(module.since_boot_s() - time.clock_gettime(time.CLOCK_BOOTTIME)) < 5


def test_a_start_that_an_earlier_guard_began_has_its_hour_from_the_first_look_on(box, module, clock, engine):
    deploy(box)
    (box / "servers/a/starting.json").write_text(json.dumps({"boot_id": module.boot_id(), "time": "today"}))
    for _look in range(3):
        look(module, engine, None, None)
        clock.now += 1799
    assert module.recall("a", "failures.json") == {}
    for _look in range(3):
        assert calls(box) == []
        look(module, engine, None, None)
    assert len(calls(box)) == 1


# No disk


@pytest.fixture
def refusing(box, module, monkeypatch):
    """The disk (True) or memory (False) takes nothing any more and gives nothing up."""

    def begin(disk, code=errno.EROFS, unlinks=False):
        places = (str(box / "servers"),) if disk else (str(box / "run"),)
        write, unlink = module.write_json, os.unlink

        def refuse(file, *value):
            if str(file).startswith(places):
                raise OSError(code, os.strerror(code))
            return write(file, *value)

        def refuse_unlink(file):
            if str(file).startswith(places) and not unlinks:
                raise OSError(code, os.strerror(code))
            unlink(file)

        monkeypatch.setattr(module, "write_json", refuse)
        monkeypatch.setattr(module.os, "unlink", refuse_unlink)

    return begin


@pytest.mark.parametrize(("code", "said"), [(errno.EROFS, "Read-only file system"), (errno.ENOSPC, "No space left on device")])
def test_a_disk_that_refuses_keeps_no_server_down(box, module, refusing, capsys, code, said):
    deploy(box)
    refusing(True, code)
    for _start in range(4):
        assert module.before_start("a") is None
        told = capsys.readouterr().err
        assert told.count("\n") == 1 and said in told and f"could not be noted in {box}/servers/a" in told
    assert "was started 4 times" in module.before_start("a"), "memory has counted"
    assert module.after_stop("a") is None and module.recall("a", "starting.json") == {}


def test_a_full_disk_as_systemd_meets_it(box):
    deploy(box)
    for file in ("starting.json", "starts.json", "failures.json"):
        (box / "servers" / "a" / f"{file}.new").symlink_to("/dev/full")
    done = guard(box, "before-start")
    assert done.returncode == 0 and "Traceback" not in done.stderr and done.stderr.count("\n") == 1
    for _look in range(6):
        assert guard(box, "watch", GB10_START_LIMIT_S="0").returncode == 0
    assert calls(box) == ["try-restart gb10-vllm-a.service"] * 2


def test_what_a_disk_will_not_give_up_is_over_all_the_same(box, module, clock, engine, refusing):
    deploy(box)
    for _start in range(3):
        assert module.before_start("a") is None
    refusing(True)
    look(module, engine, None, None, answer=True)
    assert kept(box, "starting.json") and kept(box, "starts.json")
    assert module.starting_for_s("a") == 0.0
    for _start in range(4):
        assert module.before_start("a") is None
    assert "was started 4 times" in module.before_start("a")


def test_without_memory_the_disk_remembers(box, module, clock, engine, refusing, capsys):
    deploy(box)
    refusing(False, unlinks=True)
    for _look in range(3):
        look(module, engine, None, None)
    assert len(calls(box)) == 1
    assert module.before_start("a") is None
    look(module, engine, None, None, answer=True)
    assert sorted(path.name for path in (box / "servers/a").iterdir()) == ["deployment.json"]
    refusing(True)
    look(module, engine, None, None)
    assert "how often a did not answer cannot be remembered (Read-only file system), so a hang will not be seen" in capsys.readouterr().out


def test_a_sentinel_is_on_the_disk_with_its_name_before_the_start_goes_on(box, module, monkeypatch):
    deploy(box)
    done = []
    sync, replace, unlink = os.fsync, os.replace, os.unlink

    def synced(descriptor):
        done.append(("synced", "names" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file", os.readlink(f"/proc/self/fd/{descriptor}")))
        sync(descriptor)

    monkeypatch.setattr(module.os, "fsync", synced)
    monkeypatch.setattr(module.os, "replace", lambda old, new: (done.append(("named", new)), replace(old, new)))
    monkeypatch.setattr(module.os, "unlink", lambda file: (unlink(file), done.append(("gone", file))))
    assert module.before_start("a") is None
    folder, file = str(box / "servers/a"), str(box / "servers/a/starting.json")
    assert done[-3:] == [("synced", "file", file + ".new"), ("named", file), ("synced", "names", folder)]
    done.clear()
    module.forget("a", "starting.json")
    assert done[:2] == [("gone", file), ("synced", "names", folder)]


# Files of any shape


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '"x"', "{}", '{"without_answer": "x", "in_a_row": [], "restarts": null, "mark": 3, "since_boot_s": NaN}'])
@pytest.mark.parametrize("place", ["servers", "run"])
def test_a_file_of_any_shape_ends_in_no_traceback(box, module, text, place):
    deploy(box)
    (box / place / "a").mkdir(parents=True, exist_ok=True)
    for file in ("starting.json", "starts.json", "failures.json"):
        (box / place / "a" / file).write_text(text[:-1] + f', "boot_id": "{module.boot_id()}"}}' if "without" in text else text)
    assert module.before_start("a") is None
    module.watch("a")
    assert module.after_stop("a") is None
    module.forget("a", "starting.json", "starts.json", "failures.json")


SHAPES = ["", "[]", "{}", '{"probe_url": "http://127.0.0.1:9"}', '{"probe_url": 7, "served_model_name": [], "requested_bytes": "x", "floor_bytes": null}']


def test_an_address_that_is_none_does_not_answer(box):
    deploy(box, probe_url="http://[::1:http")
    assert "a did not answer (1 of 3)" in guard(box, "watch").stdout


@pytest.mark.parametrize("text", SHAPES)
def test_a_server_without_a_record_is_not_watched_and_that_is_said(box, text):
    (box / "servers" / "a" / "deployment.json").write_text(text)
    done = guard(box, "watch")
    assert (done.returncode, done.stderr) == (0, "") and "missing or unreadable, so a is not watched" in done.stdout
    assert "missing or unreadable" in guard(box, "before-start").stderr


class Endless(BaseHTTPRequestHandler):
    """A server that never comes to an end: it drips, as slowly as keeps a socket's patience alive, or pours."""

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))  # what is closed with a question unread is reset, and the answer lost
        self.send_response(200)
        self.end_headers()
        if self.path == "/deep":
            self.wfile.write(b"[" * 10**6)
            return
        piece, pause_s = (b"vllm:x 1\n", 0.1) if self.path == "/drips" else (b"x" * 2**20, 0)
        while not self.server.over.wait(pause_s):
            try:
                self.wfile.write(piece)
            except OSError:
                return

    do_POST = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture
def endless():
    with ThreadingHTTPServer(("127.0.0.1", 0), Endless) as server:
        server.over = threading.Event()
        threading.Timer(8, server.over.set).start()
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.over.set()
        server.shutdown()


@pytest.mark.parametrize("route", ["/drips", "/pours"])
def test_an_answer_without_end_is_none(module, endless, monkeypatch, route):
    monkeypatch.setattr(module, "LONGEST_ANSWER", 4 * 2**20, raising=False)
    began = time.monotonic()
    assert module.ask(endless, route, "", 1.0) == (0, b"")
    assert time.monotonic() - began < 5


def test_an_answer_that_cannot_be_read_is_no_answer(module, endless, monkeypatch):
    monkeypatch.setattr(module, "QUESTIONS", (("/deep", {}),))
    assert module.generates(endless, "", "m") is False


@pytest.mark.parametrize(
    ("verdict", "starting", "before", "told"),
    [
        ("answers", False, "down", "up"),
        ("answers others", False, "down", "up"),
        ("works", False, "down", "up"),
        ("silent", False, "up", "down"),
        ("wedged", False, "up", "down"),
        ("stands still", False, "up", "up"),  # it may be reading a long prompt
        ("stands still", False, "down", "down"),
        ("silent", True, "up", "up"),
    ],
)
def test_what_a_router_is_told(tmp_path, monkeypatch, verdict, starting, before, told):
    specification = importlib.util.spec_from_file_location("guard_of_a_router", GUARD)
    guard = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(guard)
    monkeypatch.setattr(guard, "SAID_DIR", str(tmp_path / "said"))
    monkeypatch.setattr(guard, "look", lambda *_arguments: (verdict, {}))
    monkeypatch.setattr(guard, "read_json", lambda _path: {"probe_url": "http://127.0.0.1:1", "served_model_name": "tiny"})
    monkeypatch.setattr(guard, "starting_for_s", lambda _name: 5.0 if starting else 0.0)
    monkeypatch.setattr(guard.subprocess, "run", lambda *_arguments, **_more: SimpleNamespace(returncode=0))
    for name in ("recall", "forget", "note", "restart_or_stop"):
        monkeypatch.setattr(guard, name, lambda *_arguments, **_more: {})
    guard.say("tiny", before)
    guard.watch("tiny")
    said = tmp_path / "said" / "tiny"
    assert said.read_text() == f"{told}\n" and said.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (b"tiny\n", b"down\n"),
        (b"tiny\r\n", b"down\n"),
        (b"other\n", b"up\n"),
        (b"odd\n", b"up\n"),
        (b"../tiny\n", b""),
        (b"\n", b""),
        (b"", b""),
        (b"x" * 50 + b"\n", b""),
    ],
)
def test_the_agent_says_up_and_down_and_nothing_else(tmp_path, asked, said):
    """Never `ready`, `drain` or `maint`, whatever lies there: they would change what an operator set in the router."""
    (tmp_path / "tiny").write_text("down\n")
    (tmp_path / "odd").write_text("ready\n")
    text = (GUARD.parent / "agent.sh").read_text().replace("/run/gb10-vllm-agent", str(tmp_path))
    done = subprocess.run(["sh", "-c", text], input=asked, capture_output=True, check=False)
    assert (done.stdout, done.returncode) == (said, 0)


def test_what_does_not_run_is_not_watched(box, module, engine):
    (box / "bin" / "systemctl").write_text(f'#!/bin/sh\necho "$@" >> {box}/systemctl.log\nexit 3\n')
    module.watch("a")  # nothing of it is read: neither the record that is missing nor the server
    assert ((box / "systemctl.log").read_text(), kept(box, "failures.json")) == ("is-active --quiet gb10-vllm-a.service\n", None)


@pytest.mark.parametrize(
    ("group", "waits", "watched"),
    [
        ({"number": 0}, False, True),
        ({"number": 1}, False, False),
        ({"number": 0}, True, False),
        (None, True, True),
        ([1], True, True),
        ({"number": "1"}, False, True),
    ],
)
def test_only_the_head_that_does_not_wait_asks_for_its_group(box, module, clock, engine, group, waits, watched):
    deploy(box, group=group)
    if waits:
        module.keep("a", module.WAITING, {"since_s": 1.0})
    look(module, engine, None, None)
    assert (box / "run" / "a" / "watched.json").exists() == watched

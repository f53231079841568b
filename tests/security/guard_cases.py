# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decisions of the guard that look wrong.   python guard_cases.py CHECKOUT

1 busy      a healthy server whose every seat is taken for longer than the probe's patience is restarted (and in the end stopped)
2 slow loop a server that dies ten minutes after each start is never held back: the guard starts it again without end (systemd's limit of 4
            starts in 900 s does not see it either)
3 clock     the clock is set back (or forward by more than an hour) while a server starts: the start counts as silence, and is restarted
4 half      the record was replaced by one without served_model_name: what the watch does
"""

import importlib.util
import json
import os
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def load(state):
    os.environ.update(
        GB10_STATE_DIR=str(state),
        GB10_CONFIG_DIR=str(state / "etc"),
        GB10_MEMORY_DIR=str(state / "run"),
        GB10_SAID_DIR=str(state / "said"),
        GB10_PROBE_TIMEOUT_S="0.5",
    )
    spec = importlib.util.spec_from_file_location("guard", Path(sys.argv[1]) / "roles/server/files/guard.py")
    guard = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(guard)
    return guard


class Done:
    returncode = 0
    stdout = ""


def box():
    state = Path(tempfile.mkdtemp(prefix="gb10-guard-"))
    (state / "servers" / "a").mkdir(parents=True)
    guard = load(state)
    calls = []
    guard.subprocess = type("S", (), {"run": staticmethod(lambda argv, **k: (calls.append(" ".join(argv)), Done)[1])})
    return state, guard, calls


def deploy(state, url, **more):
    (state / "servers" / "a" / "deployment.json").write_text(
        json.dumps({"requested_bytes": 1, "floor_bytes": 1, "served_model_name": "m", "probe_url": url, **more})
    )


class Busy(BaseHTTPRequestHandler):
    """/health and /metrics answer at once and show work being done; a completion has to wait for a seat."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"vllm:num_requests_running 4\n")

    def do_POST(self):
        time.sleep(3)

    def log_message(self, *_):
        pass


def busy():
    state, guard, calls = box()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Busy)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    deploy(state, f"http://127.0.0.1:{server.server_port}")
    for _ in range(12):
        guard.watch("a")
    acts = [c for c in calls if "is-active" not in c]
    print("1 busy      ->", acts)
    return bool(acts)


def slow_loop():
    state, guard, calls = box()
    deploy(state, "http://127.0.0.1:9")
    starts = 0
    for _ in range(50):
        if guard.before_start("a") is None:
            starts += 1
        for _ in range(5):
            guard.watch("a")  # ten minutes of loading: 5 looks
        os.environ.update(EXIT_CODE="exited", EXIT_STATUS="1", SERVICE_RESULT="exit-code")
        guard.after_stop("a")
    print(
        "2 slow loop ->",
        starts,
        "of 50 starts allowed, failures.json:",
        guard.read_json(guard.path("a", "failures.json")),
        "acts:",
        [c for c in calls if "restart" in c or "stop " in c],
    )
    return starts > 4


def clock(shift):
    state, guard, calls = box()
    deploy(state, "http://127.0.0.1:9")
    guard.before_start("a")
    real = time.time
    # Whatever of the guard asks for the time of day is told another one.
    for name, value in list(vars(guard).items()):
        if value is real:
            setattr(guard, name, lambda: real() + shift)
        elif value is time:
            setattr(guard, name, type("T", (), {**vars(time), "time": staticmethod(lambda: real() + shift)}))
    guard.strftime = lambda shape: time.strftime(shape, time.localtime(real() + shift))
    for _ in range(3):
        guard.watch("a")
    acts = [c for c in calls if "restart" in c]
    print(f"3 clock {shift:+d} s ->", acts)
    return bool(acts)


def half():
    state, guard, calls = box()
    (state / "servers" / "a" / "deployment.json").write_text("{}")
    try:
        guard.watch("a")
        print("4 half      -> no exception")
        return False
    except Exception as error:
        print("4 half      ->", repr(error))
        return True


bad = [busy(), slow_loop(), clock(-86400), clock(+86400), half()]
sys.exit(any(bad))

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The real vLLM, stopped in the middle of its requests, as the distribution's Prometheus sees it with our rules: wedged, and nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
import urllib.request

import pytest
from monitored_fleet import KEY, Fleet, Live
from monitoring_programs import MISSING, NEEDS, until

pytestmark = pytest.mark.skipif(MISSING, reason=NEEDS)
PACE = 10
STREAMS = 4
ENGINE_KEY = "engine-test-key"


def ask(port: int, ended: threading.Event) -> None:
    """Requests one after the other, each of many tokens."""
    body = json.dumps({"model": "tiny", "prompt": "Good morning", "max_tokens": 1500, "ignore_eos": True}).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {ENGINE_KEY}"}
    while not ended.is_set():
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/v1/completions", body, headers), timeout=600),
        ):
            pass


@contextlib.contextmanager
def load(port: int):
    ended = threading.Event()
    for _stream in range(STREAMS):
        threading.Thread(target=ask, args=(port, ended), daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def told_within(fleet: Fleet, seconds: float) -> set[str]:
    """All that is told in that time, however briefly."""
    seen: set[str] = set()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        seen |= fleet.told()
        time.sleep(0.5)
    return seen


def test_a_stopped_engine_is_wedged_and_nothing_else_and_a_silenced_box_tells_nothing(engine, tmp_path):
    engine.start("good", "--max-model-len", "2048", "--max-num-seqs", str(STREAMS))
    assert engine.wait()["phase"] == "ready"
    with Fleet(tmp_path, Live(f"http://127.0.0.1:{engine.port}/metrics", KEY)).up(PACE) as fleet, load(engine.port):
        until(lambda: [one for one in fleet.ask("vllm:num_requests_running") if float(one["value"][1]) == STREAMS])
        # It works as it should: nothing is told, for longer than anything waits (two minutes, ten times as fast).
        assert told_within(fleet, 30) == set()
        stopped = engine.pids("EngineCore")
        assert stopped
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            until(lambda: "Gb10ServerWedged" in fleet.told(), 120)
            assert time.monotonic() - began < 300 / PACE, "later than five minutes of the shortened time"
            assert told_within(fleet, 20) == {"Gb10ServerWedged"}
            silence = fleet.silence(box="spark-01")
            until(lambda: not fleet.told())
            assert told_within(fleet, 10) == set() and "Gb10ServerWedged" in fleet.firing()
            fleet.speak(silence)
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
        until(lambda: "Gb10ServerWedged" not in fleet.firing(), 60)

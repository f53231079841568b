# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One start followed from the controller: what goes into each look, when it is over, and what the user is told."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.gb10.vllm.plugins.action import server_ready
from clock import Clock
from in_process import Action, Screen

GIB = 2**30
GIVEN = {"container": "gb10-vllm-tiny", "label": "tiny", "base_url": "http://127.0.0.1:8000", "timeout_s": 100}


@pytest.fixture
def clock(monkeypatch):
    clock = Clock(0.0)
    monkeypatch.setattr(server_ready, "time", clock)
    return clock


@pytest.fixture
def screen(monkeypatch):
    return Screen(monkeypatch)


def look(phase="loading", elapsed=10.0, **more):
    return {
        "changed": False, "phase": phase, "progress": "it loads its weights", "reason": "", "elapsed_s": elapsed, "facts": {}, "log_tail": [],
        "memory_available_bytes": 5 * GIB, "activity": {"at": elapsed}, "container": {"started_at": "t0", "status": "running"}, **more,
    }  # fmt: skip


def follow(*looks, check=False, batch=("spark-01",), takes_s=0.0, clock=None, **more):
    """(the action, its result) for a box that answers so; an exception is a broken connection. Each look takes a while."""
    left = list(looks)

    def box(**_asked):
        if clock:
            clock.now += takes_s
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    action = Action("server_ready", box, **{**GIVEN, **more})
    return action, action.run(check=check, ansible_play_batch=list(batch))


def test_it_is_asked_until_it_is_ready_and_each_look_knows_the_last(clock, screen):
    looks = [look(elapsed=1, container={"started_at": "t0", "status": "created"}), look(elapsed=5), look(elapsed=9), look("ready", 12, facts={"ready_s": 11})]
    action, found = follow(*looks, wanted={"a": 1}, history=[], repair=False, diagnoses=[])
    assert found["phase"] == "ready" and "failed" not in found and "invocation" not in found
    asked = [given for _name, given in action.asked]
    on_box = {key: value for key, value in GIVEN.items() if key != "label"}
    assert asked[0] == on_box, "what the controller judges by is not sent"
    assert asked[1] == {**on_box, "activity": {"at": 1}}, "a container that was only created has not started"
    assert asked[3] == {**on_box, "activity": {"at": 9}, "started_at": "t0"}
    assert {name for name, _given in action.asked} == {"gb10.vllm.server_ready"} and clock.slept == [1.0] * 3
    assert screen.lines[0] == "  spark-01: tiny: it loads its weights (1 s, 5.0 GiB of memory free)"
    assert screen.lines[-1] == "  spark-01: tiny: ready after 11 s, it loads its weights"


def test_a_look_that_took_its_time_is_followed_by_the_next_at_once(clock, screen):
    follow(look(), look("ready"), takes_s=15.0, clock=clock)
    assert clock.slept == [0.0]


def test_a_new_phase_is_said_at_once(clock, screen):
    follow(look("image"), look("image"), look("weights"), look("ready"))
    assert len(screen.lines) == 3


def test_a_start_that_failed_is_explained_and_says_what_may_be_repaired(clock, screen):
    log = ["vllm: error: unrecognized arguments: --no-such-flag"]
    failed = look("failed", 7, reason="its container ended with 2", log=log, log_tail=log, kernel_log=["x"])
    _action, found = follow(look(), failed)
    assert found["failed"] and found["changed"] is False and found["repair"] is None and found["diagnosis"]["phase"] == "failed"
    assert found["msg"].startswith("Server tiny on spark-01 did not start: its container ended with 2") and "--no-such-flag" in found["msg"]
    assert found["diagnosis"]["stalled_in"] == "" and "log" not in found and "kernel_log" not in found
    assert screen.lines[-1].endswith("failed: its container ended with 2")


def test_a_box_that_cannot_be_looked_at_ends_it(clock, screen):
    _action, found = follow({"failed": True, "msg": "no Docker"})
    assert found["failed"] and found["msg"] == "no Docker" and screen.lines == ["  spark-01: tiny: no Docker"]


@pytest.mark.parametrize(("last", "ends"), [("loading", "stalled"), ("ready", "ready"), ("failed", "failed")])
def test_when_time_is_up_it_is_looked_at_once_more(clock, screen, last, ends):
    action, found = follow(look(elapsed=100), look(elapsed=100.5), look(last, 101, reason="", log=["a", "b"]))
    assert len(action.asked) == 3 and action.asked[2][1]["wait_s"] == 0 and action.asked[2][1]["stall_s"] == -1
    assert found["phase"] == ends
    if ends == "stalled":
        said = "it was not ready after 101 s (the limit is 100 s) and was still it loads its weights"
        assert found["failed"] and found["msg"].startswith(f"Server tiny on spark-01 made no progress: {said}") and found["reason"] == said


def test_the_time_that_a_start_has_grows_with_its_model(clock, screen):
    small, _found = follow(look(elapsed=10**5), look("ready"), timeout_s=None, model_bytes=1)
    large, _found = follow(look(elapsed=server_ready.timeouts(100 * GIB)[0] - 1), look("ready"), timeout_s=None, model_bytes=100 * GIB)
    assert small.asked[1][1].get("wait_s") == 0 and "wait_s" not in large.asked[1][1]


def test_a_hiccup_of_the_network_is_waited_out_and_said(clock, screen):
    broken = AnsibleConnectionFailure("Connection timed out")
    _action, found = follow(look(), broken, broken, look("ready"), takes_s=2.0, clock=clock)
    assert found["phase"] == "ready" and clock.slept == [0.0, 3.0, 3.0]
    assert "the box does not answer (" in screen.lines[1]


def test_a_box_that_stays_silent_is_given_up_with_what_was_seen_last(clock, screen):
    action, found = follow(look(), AnsibleConnectionFailure("Connection\n timed out"))
    assert found["failed"] and found["gone"] and found["changed"] is False and 90 <= clock.now <= 100
    assert found["msg"].startswith("spark-01 has not answered for 1 min 3") and "while server tiny was starting; it was last seen it loads" in found["msg"]
    assert "SSH says: Connection timed out." in found["msg"] and "gb10.vllm.rollback --limit spark-01" in found["msg"]
    assert "the box has not answered for" in screen.lines[-1] and len(action.asked) > 10


def test_a_rank_that_was_ended_with_the_others_leaves_the_word_to_them(clock, screen):
    _action, found = follow(look("failed", left="the rank on spark-02 ended", log=["x"]))
    assert found["msg"] == "Server tiny on spark-01 was ended: the rank on spark-02 ended. All of its boxes start together or not at all."
    assert found["failed"] and found["repair"] is None


def test_a_measurement_is_only_begun(screen):
    action, found = follow({"changed": False, "memory": {"x": 1}}, measure="begin")
    assert found["memory"] == {"x": 1} and action.asked == [("gb10.vllm.server_ready", {**GIVEN, "measure": "begin"})]


def test_check_mode_looks_once_and_never_fails(screen):
    action, found = follow(look(), check=True)
    assert found["msg"] == "Would wait for tiny to answer; now: it loads its weights" and found["changed"] is False and len(action.asked) == 1
    assert action.asked[0][1]["wait_s"] == 0 and "label" not in action.asked[0][1]
    assert follow(look("failed", reason="it ended"), check=True)[1]["msg"].endswith("now: it ended")
    _action, found = follow({"failed": True}, check=True)
    assert found == {"msg": "Would wait for tiny to answer; now: it cannot be looked at", "changed": False}
    assert "msg" not in follow(look("ready"), check=True)[1]


def test_a_broken_file_of_diagnoses_is_found_before_the_start(screen, tmp_path):
    action, found = follow(look(), diagnoses=[str(tmp_path / "none.yml")])
    assert found["failed"] and "none.yml" in found["msg"] and action.asked == []


def test_doubts_are_warnings(clock, screen):
    follow(look("ready", facts={"doubts": ["it does not stream"]}), label=None)
    assert screen.warnings == ["spark-01: gb10-vllm-tiny answers, but it does not stream."]

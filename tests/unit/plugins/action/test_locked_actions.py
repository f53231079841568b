# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Actions that tell a box who asks: the lock of a run, the look at a box under it, drains of a router, and a rehearsal."""

from __future__ import annotations

import os

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._follow.controller import this_run
from in_process import Action, Screen

HERE = this_run(os.getppid())
OTHER = {"run": "feed", "owner": "ben@desk", "controller": {"machine": "x@desk"}, "acquired_at": 1.0}
ENDED = {**OTHER, "controller": {**HERE["controller"], "pid_started": "1"}}
FREE = {"acquired": True, "holder": None, "taken_from": None}


@pytest.fixture
def screen(monkeypatch):
    return Screen(monkeypatch)


def test_a_lock_is_asked_for_in_the_name_of_this_run(screen):
    action = Action("run_lock", lambda **_asked: dict(FREE), ttl_s=5)
    assert action.run() == FREE and action.asked == [("gb10.vllm.run_lock", {"ttl_s": 5, "owner": HERE})] and screen.warnings == []
    assert Action("run_lock").run(check=True) == {"changed": False, "msg": "Nothing is locked in check mode."}


@pytest.mark.parametrize("name", ["run_lock", "box_info"])
def test_a_box_of_another_run_is_left_and_one_of_a_run_that_ended_is_taken(screen, name):
    def told(lock):
        return {"lock": lock} if name == "box_info" else lock

    action = Action(name, lambda **_asked: told({"acquired": False, "holder": OTHER}), lock=True)
    found = action.run()
    assert found["failed"] and found["msg"].startswith("spark-01 is being changed by ben@desk") and len(action.asked) == 1

    def box(take_over=None, **_asked):
        return told({**FREE, "taken_from": ENDED, "why": "ended"} if take_over == "feed" else {"acquired": False, "holder": ENDED})

    action = Action(name, box, lock=True)
    assert "failed" not in action.run() and len(action.asked) == 2 and "took over the lock of ben@desk" in screen.warnings[0]


def test_a_look_at_a_box_asks_for_no_lock_unless_told(screen):
    for check, given in ((False, {}), (False, {"lock": "no"}), (True, {"lock": True})):
        action = Action("box_info", lambda **_asked: {"findings": []}, **given)
        found = action.run(check=check)
        assert action.asked == [("gb10.vllm.box_info", given)] and "owner" not in action.asked[0][1] and "invocation" in found


def test_the_lock_names_its_owner_to_nobody(screen):
    action = Action("box_info", lambda **_asked: {"lock": dict(FREE), "findings": []}, lock="yes")
    assert "invocation" not in action.run() and action.asked[0][1]["owner"] == HERE


def test_servers_that_another_group_replaces_are_a_warning_where_servers_are_planned(screen, monkeypatch):
    from ansible_collections.gb10.vllm.plugins.action import box_info

    monkeypatch.setattr(box_info, "replaced_servers", lambda variables: "b replaces a" if variables["inventory_hostname"] == "spark-01" else "")
    first = {"level": "error", "what": "x"}
    found = Action("box_info", lambda **_asked: {"findings": [first]}, servers=[]).run()
    assert found["findings"][0] == first and found["findings"][1]["level"] == "warning" and "b replaces a" in str(found["findings"][1])
    assert Action("box_info", lambda **_asked: {"findings": [first]}).run()["findings"] == [first]
    assert "findings" not in Action("box_info", lambda **_asked: {"failed": True}, servers=[]).run()


def test_a_router_learns_who_drains_and_the_user_what_is_odd_there(screen):
    before = {"owner": "ben@desk", "run": "feed", "why": "a rollout", "at": 1.0}
    seen = {"taken_over": {"a/spark-01": before}, "others": ["b/spark-02"], "away": {"c/spark-03": "DOWN"}, "unkept": "no space"}
    action = Action("router_drain", lambda **_asked: dict(seen), state="drained", servers=[])
    found = action.run()
    assert {key: found[key] for key in seen} == seen
    assert action.asked == [("gb10.vllm.router_drain", {"state": "drained", "servers": [], "owner": {"run": HERE["run"], "owner": HERE["owner"]}})]
    assert (
        screen.warnings[0].startswith("a/spark-01 was left drained by ben@desk since 1970-01-01") and "(run feed, a rollout); taken over." in screen.warnings[0]
    )
    assert screen.warnings[1:] == [
        "b/spark-02 was taken out of the router by somebody else, and stays so.",
        "c/spark-03 is ready, but the router does not use it: DOWN.",
        "A crash of HAProxy would undo this, because its state cannot be written down: no space.",
    ]
    screen.warnings.clear()
    Action("router_drain", lambda **_asked: {"changed": False}, state="ready").run()
    assert screen.warnings == []


def one(name, verdict, **more):
    return {"name": name, "verdict": verdict, "remembered": False, "seconds": 3.2, "log": [], "why": "", **more}


def test_a_rehearsal_that_passes_says_so_and_one_that_cannot_be_is_a_warning(screen):
    servers = [{"name": "a"}, {"name": "b"}]
    seen = [one("a", "passed"), one("b", "unable", why="the image is not there")]
    action = Action("rehearse", lambda **_asked: {"changed": False, "rehearsals": seen}, servers=servers)
    found = action.run()
    assert found == {"changed": False, "rehearsals": seen} and action.asked == [("gb10.vllm.rehearse", {"servers": servers})]
    assert screen.lines == ["  spark-01: a, b: asking vLLM whether it takes the arguments", "  spark-01: a, b: a passes after 3 s, b is not rehearsed"]
    assert screen.warnings == ["spark-01: b is not rehearsed: the image is not there. The run goes on; a canary shows whether it starts."]


def test_what_vllm_refuses_ends_the_run_in_few_words(screen):
    flag = ["vllm: error: unrecognized arguments: --no-such-flag x"]
    action = Action("rehearse", lambda **_asked: {"rehearsals": [one("a", "refused", log=flag), one("b", "passed", remembered=True)]}, servers=[])
    found = action.run()
    assert found["failed"] and "vLLM refuses a" in found["msg"] and "--no-such-flag" in found["msg"] and len(found["rehearsals"]) == 2
    assert screen.lines[-1].endswith("a is refused, b passes, as before") and screen.warnings == []


def test_a_rehearsal_of_nothing_and_one_that_fails(screen, tmp_path):
    Action("rehearse", lambda **_asked: {"rehearsals": []}).run()
    assert screen.lines[-1].endswith("nothing is asked")
    Action("rehearse", lambda **_asked: {"failed": True, "msg": "the disk is full"}).run()
    assert screen.lines[-1].endswith("the disk is full")
    action = Action("rehearse", lambda **_asked: {}, diagnoses=[str(tmp_path / "none.yml")])
    found = action.run()
    assert found["failed"] and found["changed"] is False and "none.yml" in found["msg"] and action.asked == []

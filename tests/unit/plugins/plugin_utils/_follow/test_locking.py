# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who asks for a lock, whose lock is taken over, and what is said when it is not."""

from __future__ import annotations

import os
import subprocess
import time

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._box import run_lock
from ansible_collections.gb10.vllm.plugins.plugin_utils._follow import controller, locking

OTHER = {"run": "feed", "owner": "ben@desk", "controller": {"machine": "x@desk"}, "acquired_at": 1.0}


class Box:
    """Answers as the module would and remembers what it was asked."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    def __call__(self, arguments):
        self.asked.append(arguments)
        return self.answers.pop(0)


@pytest.fixture
def warnings():
    return []


def test_the_box_learns_who_asks_and_what_was_planned(warnings):
    box = Box({"acquired": True, "holder": None, "taken_from": None})
    planned = {"a": {"deployment": {"spec": "1"}}, "b": {"deployment": None}, "c": {}}
    seen = locking.with_lock(box, {"planned": planned, "ttl_s": 5}, "spark-01", warnings.append)
    assert "failed" not in seen and warnings == []
    assert box.asked == [{"planned": {"a": "1"}, "ttl_s": 5, "owner": controller.this_run(os.getppid())}]


def test_another_runs_lock_is_respected_and_named(warnings):
    box = Box({"changed": False, "lock": {"acquired": False, "holder": OTHER}})
    seen = locking.with_lock(box, {"state_dir": "/s"}, "spark-01", warnings.append, lambda seen: seen["lock"])
    assert seen["failed"] and len(box.asked) == 1
    assert seen["msg"].startswith("spark-01 is being changed by ben@desk since ") and "delete /s/run.lock on spark-01" in seen["msg"]


def test_the_lock_of_a_run_that_ended_here_is_taken_with_a_warning(warnings):
    here = controller.this_run(os.getppid())["controller"]
    ended = dict(OTHER, controller=dict(here, pid_started="1"))
    box = Box({"holder": ended}, {"acquired": True, "holder": None, "taken_from": ended, "why": "ended"})
    seen = locking.with_lock(box, {}, "spark-01", warnings.append)
    assert "failed" not in seen and box.asked[1]["take_over"] == "feed"
    assert warnings[0].startswith("spark-01: took over the lock of ben@desk") and warnings[0].endswith("which has ended without giving it back.")


def test_a_result_without_a_lock_is_passed_on(warnings):
    box = Box({"failed": True, "msg": "no sudo"})
    assert locking.with_lock(box, {}, "b", warnings.append, lambda seen: seen.get("lock") or {}) == {"failed": True, "msg": "no sudo"}


@pytest.mark.parametrize(
    ("holder", "who"), [(OTHER, "ben@desk took it (run feed)"), (None, "another run has had it since, or somebody deleted it"), ({}, "somebody deleted it")]
)
def test_a_lock_that_is_lost_ends_the_run_and_is_not_taken_over(warnings, holder, who):
    box = Box({"acquired": False, "holder": holder})
    seen = locking.with_lock(box, {"held": "yes"}, "spark-01", warnings.append)
    assert seen["failed"] and seen["msg"].startswith("spark-01: the lock of this run on this box is lost: ") and who in seen["msg"]
    assert len(box.asked) == 1 and warnings == []


class TestHold:
    """The command that is sent with each look at long work."""

    @pytest.fixture
    def look(self, tmp_path):
        state = tmp_path / "with a space"
        ours = locking.Hold("anna", str(state))

        def look():
            printed = subprocess.run(["/bin/sh", "-c", ours.command()], capture_output=True, text=True, check=True).stdout
            return printed, ours.lost(printed)

        return state, look

    def test_who_never_took_a_lock_is_not_asked_for_one(self, look):
        state, look = look
        state.mkdir()
        assert look() == ("", "")
        (state / "run.lock").write_text("{}")
        assert look() == ("", "") and [path.name for path in state.iterdir()] == ["run.lock"]

    def test_it_renews_the_lock_and_sees_whose_it_is(self, look):
        state, look = look
        anna = {"run": "anna", "owner": "anna@laptop", "controller": {}}
        run_lock.acquire(str(state), anna, 60.0, None, None)
        before = run_lock.read(str(state))
        time.sleep(0.05)
        assert look()[1] == ""
        after = run_lock.read(str(state))
        assert after["refreshed_boot_s"] > before["refreshed_boot_s"] and after["boot_id"] == before["boot_id"] and after["owner"] == "anna@laptop"
        run_lock.acquire(str(state), {**anna, "run": "ben", "owner": "ben@desk"}, 60.0, "anna", None)
        assert "is lost: ben@desk took it (run ben)" in look()[1]
        run_lock.release(str(state), "ben")
        assert "somebody deleted it" in look()[1]

    @pytest.mark.parametrize("printed", ["", "\n", '{"run": "anna", "ow', '{"run": "anna"}\n'])
    def test_a_broken_answer_is_no_loss(self, printed):
        assert locking.Hold("anna", "/s").lost(printed) == ""

    @pytest.mark.parametrize("printed", ["gone\n", "[]", "7", '{"owner": 3}'])
    def test_any_other_text_is_one(self, printed):
        assert "is lost" in locking.Hold("anna", "/s").lost(printed)

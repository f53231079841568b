# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the callback makes of the events of a run, seen by what is printed at its end. Real runs are in tests/on_machine/test_summary.py."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from ansible import constants as C
from ansible import context
from ansible_collections.gb10.vllm.plugins.callback import summary
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.run_summary import END_OF_RUN


class Run:
    """A run of which the test tells the events; time passes only where it says so."""

    def __init__(self, monkeypatch):
        self.printed, self.counts, self.now, self.tasks = [], {}, 0.0, 0
        monkeypatch.setattr(summary, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(context, "CLIARGS", {})
        self.callback = summary.CallbackModule()
        show = lambda text, color=None, **_more: self.printed.append((text, color))  # noqa: E731
        self.callback._display = SimpleNamespace(display=show, banner=lambda text: self.printed.append((f"= {text}", None)), verbosity=0)

    def play(self, name):
        self.callback.v2_playbook_on_play_start(SimpleNamespace(get_name=lambda: name))

    def task(self, box, event, action="gb10.vllm.show", takes=0.0, result=None, role="", fields=None, name="Do it", **more):
        self.tasks += 1
        task = SimpleNamespace(action=action, resolved_action=action, _uuid=self.tasks, get_name=lambda: name, _role=SimpleNamespace(_role_collection=role))
        host = SimpleNamespace(get_name=lambda: box)
        self.counts.setdefault(box, {"failures": 0, "unreachable": 0})
        self.callback.v2_runner_on_start(host, task)
        self.now += takes
        ended = SimpleNamespace(_host=host, _task=task, _result=result or {}, _task_fields={"name": name, **(fields or {})})
        getattr(self.callback, f"v2_runner_on_{event}")(ended, **more)
        kind = {"failed": "failures", "unreachable": "unreachable"}.get(event)
        if kind and not more.get("ignore_errors") and not (fields or {}).get("ignore_unreachable"):
            self.counts[box][kind] += 1

    def end(self):
        self.callback.v2_playbook_on_stats(SimpleNamespace(summarize=self.counts.__getitem__))
        return [text for text, _colour in self.printed]

    def colour(self, begin):
        return next(colour for text, colour in self.printed if text.strip().startswith(begin))


@pytest.fixture
def run(monkeypatch):
    return Run(monkeypatch)


def test_boxes_changes_and_times_are_told(run):
    run.play("Plan")
    run.task("spark-01", "ok", takes=2)
    run.play(" Activate ")
    run.task("spark-01", "ok", takes=60, result={"changed": True})
    run.task("spark-01", "ok", result={"changed": False})
    run.task("spark-01", "skipped", takes=3)
    told = run.end()
    assert told[:2] == ["= GB10", "1 box: 1 ok"] and told[-1] == "" and told[2].split() == ["ok", "spark-01", "Activate", "changed", "1", "1", "min", "5", "s"]
    assert told[3] == "  Plan 2 s, Activate 1 min 3 s; in all 1 min 5 s" and run.colour("ok") == C.COLOR_OK


def test_a_play_that_comes_twice_counts_once_and_one_without_a_name_is_called_so(run):
    for name, takes in (("Plan", 1), ("", 2), ("Plan", 4)):
        run.play(name)
        run.task("a", "ok", takes=takes)
    assert "  Plan 5 s, unnamed play 2 s; in all 7 s" in run.end()


@pytest.mark.parametrize(
    ("action", "role", "ours"),
    [("gb10.vllm.show", "", True), ("ansible.builtin.debug", "gb10.vllm", True), ("ansible.builtin.debug", "acme.x", False), ("gb10.other.show", "", False)],
)
def test_other_playbooks_end_without_a_word(run, action, role, ours):
    run.play("Plan")
    run.task("a", "ok", action=action, role=role)
    run.task("a", "ok", action="ansible.builtin.debug")
    assert bool(run.end()) is ours


def test_a_failure_names_its_step_and_its_first_sentence_without_secrets(run):
    run.play("Activate")
    run.task("a", "ok")
    run.task("b", "failed", name="Prove it", result={"msg": "It did not answer with --api-key=abcdefgh12345678. Stop it."}, fields={"tags": ["x"]})
    told = run.end()
    assert told[1].startswith("2 boxes: 1 failed, 1 ok; the run stopped in phase Activate") and run.colour("FAILED") == C.COLOR_ERROR
    assert told[3].startswith("      Prove it: It did not answer with --api-key=") and "abcdefgh12345678" not in told[3]


def test_of_a_loop_the_item_that_failed_speaks(run):
    run.play("Supply")
    items = [{"failed": False, "msg": "all is well"}, "no item", {"failed": True, "msg": "The disk is full."}]
    run.task("a", "failed", result={"msg": "One or more items failed", "results": items})
    run.task("b", "failed", result={"msg": "One or more items failed", "results": [{"failed": True}]})
    told = "\n".join(run.end())
    assert "Do it: The disk is full." in told and "Do it: One or more items failed" in told


def test_what_is_ignored_is_no_failure(run):
    run.play("Plan")
    run.task("a", "failed", ignore_errors=True, result={"msg": "no"})
    run.task("a", "unreachable", fields={"ignore_unreachable": True}, result={"msg": "no"})
    assert run.end()[1] == "1 box: 1 ok"


def test_a_box_that_is_off_is_told(run):
    run.play("Plan")
    run.task("a", "unreachable", result={"msg": "No route to host."})
    told = run.end()
    assert "1 unreachable" in told[1] and "No route to host." in told[3] and run.colour("UNREACHABLE") == C.COLOR_UNREACHABLE


def test_repairs_are_counted_with_the_box(run):
    run.play("Activate")
    run.task("a", "failed", ignore_errors=False, result={"msg": "x", "repair": {"id": "floor"}})
    run.counts["a"]["failures"] = 0  # rescued
    run.task("a", "failed", result={"msg": "x", "repair": {"id": ""}})
    run.task("a", "failed", result={"msg": "x", "repair": "none"})
    run.counts["a"]["failures"] = 0
    assert "      repairs: floor" in run.end()


def test_who_only_ends_with_the_run_is_held_back(run):
    run.play("Supply")
    run.task("a", "failed", name="Fetch", result={"msg": "No space."})
    for box, said in (("a", "No space."), ("b", "Box a failed.")):
        run.task(box, "failed", name="End", result={"msg": said}, fields={"tags": [END_OF_RUN]})
    told = run.end()
    assert (
        told[1] == "2 boxes: 1 failed, 1 held back; the run stopped in phase Supply"
        and "Fetch: No space." in told[3]
        and not any("End:" in one for one in told)
    )
    assert run.colour("held") == C.COLOR_SKIP


def test_check_mode_and_a_run_that_is_read_as_data(run, monkeypatch):
    monkeypatch.setattr(context, "CLIARGS", {"check": True})
    run.play("Plan")
    run.task("a", "ok", result={"changed": True})
    monkeypatch.setattr(summary, "is_data", lambda: True)
    told = run.end()
    assert told[0] == "GB10" and told[1].endswith("(check mode: nothing was changed)")


def test_what_a_run_needs_is_loaded_before_the_first_fork(run, monkeypatch):
    seen = []
    monkeypatch.setattr(summary, "warm_up", lambda: seen.append(1))
    run.callback.v2_playbook_on_start(None)
    assert seen == [1]


def test_it_is_what_ansible_has_to_know_of_it():
    made = summary.CallbackModule
    named = (made.CALLBACK_VERSION, made.CALLBACK_TYPE, made.CALLBACK_NAME, made.CALLBACK_NEEDS_ENABLED)
    assert named == (2.0, "aggregate", "gb10.vllm.summary", True)
    assert set(summary.COLOURS.values()) <= set(vars(C)) | {name for name in summary.COLOURS.values() if getattr(C, name, None)}


def test_what_is_told_of_a_box_is_all_that_was_seen_of_it(run, monkeypatch):
    seen = []
    monkeypatch.setattr(summary, "summary", lambda *given: seen.append(given) or [("said", "ok"), ("more", "")])
    run.play("Plan")
    run.task("a", "ok", takes=2, result={"changed": True})
    run.play("Activate")
    run.task("a", "ok", takes=3, result={"changed": True})
    run.task("b", "failed", takes=4, name="", result={"msg": "no", "repair": {"id": 7}}, fields={"name": "", "tags": ["t"]})
    run.end()
    one = {"phase": "Activate", "changed": 2, "repairs": [], "busy_s": 5.0, "step": "", "tags": [], "message": "", "held_back": False}
    two = {**one, "changed": 0, "repairs": ["7"], "busy_s": 4.0, "tags": ["t"], "message": "no"}
    assert seen == [
        (
            [{**one, "name": "a", "failed": False, "unreachable": False}, {**two, "name": "b", "failed": True, "unreachable": False}],
            [("Plan", 2.0), ("Activate", 7.0)],
            False,
        )
    ]
    assert run.printed == [("= GB10", None), ("said", C.COLOR_OK), ("more", None), ("", None)]

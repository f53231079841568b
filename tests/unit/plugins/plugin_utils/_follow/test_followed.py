# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is asked of a box and of a terminal while something is followed, call by call, and at which times."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._follow import background, controller, long_task, progress, warm_up
from ansible_collections.gb10.vllm.plugins.plugin_utils._follow.locking import Hold


class Box:
    """An action whose box answers to each status with the next of these; time passes only while it is waited for."""

    def __init__(self, monkeypatch, *statuses, job=None):
        self._task = SimpleNamespace(async_val=7)
        self.now, self.slept, self.asked, self.commands, self.said = 0.0, [], [], [], []
        self.statuses, self.job = list(statuses), job or {"ansible_job_id": "j1", "results_file": "/root/.async/j1"}
        self.line = '{"phase": "finished"}'
        monkeypatch.setattr(background, "time", SimpleNamespace(sleep=self.sleep, monotonic=lambda: self.now))

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds

    def update(self, text):
        self.said.append(text)

    def _low_level_execute_command(self, command):
        self.commands.append(command)
        return {"stdout": f"{background.HERE}\n{self.line}\n" if background.HERE in command else ""}

    def _execute_module(self, **given):
        self.asked.append({**given, "async": self._task.async_val})
        if given.get("wrap_async"):
            return self.job
        if given["module_args"]["mode"] == "cleanup":
            return {}
        return self.statuses.pop(0) if len(self.statuses) > 1 else dict(self.statuses[0])


def follow(box, limit_s=60):
    return background.run_detached(box, {"a": 1}, {"v": 2}, box, hold=Hold("me", "/s"), progress_file="/p x", limit_s=limit_s, what="the build")


def test_every_call_of_a_job_from_its_begin_to_its_end(monkeypatch):
    ended = {"finished": 1, "n": 3, **dict.fromkeys(background._ASYNC_KEYS, 1)}
    box = Box(monkeypatch, {"finished": 0}, ended)
    assert follow(box) == {"n": 3}
    status = {"module_name": "ansible.legacy.async_status", "task_vars": {"v": 2}, "async": 7}
    where = {"jid": "j1", "_async_dir": "/root/.async"}
    assert box.asked == [
        {"module_args": {"a": 1}, "task_vars": {"v": 2}, "wrap_async": True, "async": 60},
        {**status, "module_args": {**where, "mode": "status"}},
        {**status, "module_args": {**where, "mode": "status"}},
        {**status, "module_args": {**where, "mode": "cleanup"}},
    ]
    lock = Hold("me", "/s").command()
    assert box.commands == [lock, *[f"{lock}; echo --gb10--; tail -n 1 '/p x' 2>/dev/null"] * 2] and box.slept == [0.25, 0.5]
    assert box.said == ["finished, 0 s"] * 2 and box._task.async_val == 7


def test_a_job_is_looked_at_seldom_until_it_says_that_it_is_done(monkeypatch):
    box = Box(monkeypatch, {"finished": 1})
    box.line = ""
    assert follow(box) == {}
    assert box.slept == [0.25, 0.5, 1.0, *[2.0] * 10] and len(box.asked) == 3, "after twenty seconds it is asked for itself"
    assert box.said[0] == "working, 0 s" and box.said[-1] == "working, 21 s"


@pytest.mark.parametrize(
    ("status", "limit", "after"),
    [({"failed": True, "msg": "could not find job"}, 60, 0.25), ({"finished": 0}, 10, 311.75), ({"failed": True, "msg": "other"}, 0, 301.75)],
)
def test_a_job_that_is_gone_or_never_ends_is_said(monkeypatch, status, limit, after):
    box = Box(monkeypatch, status)
    assert follow(box, limit) == {"failed": True, "msg": "the background job of the build disappeared from the box (was it restarted?). Run it again"}
    assert box.now == after


@pytest.mark.parametrize("job", [{"failed": True, "msg": "no"}, {"failed": True, "ansible_job_id": "x"}, {"changed": False}])
def test_a_job_that_does_not_begin_is_its_own_answer(monkeypatch, job):
    box = Box(monkeypatch, {}, job=job)
    assert follow(box) is job and box.slept == [] and box._task.async_val == 7


@pytest.mark.parametrize(
    ("record", "text"),
    [
        ({"phase": "p"}, "p, 0 s"),
        ({"phase": "p", "bytes": 10}, "p, 10 B, 0 s"),
        ({"phase": "p", "bytes": 10, "bytes_per_s": 5}, "p, 10 B, 5 B/s, 0 s"),
        ({"phase": "p", "bytes_per_s": 5, "total_bytes": 9, "elapsed_s": 60}, "p, 1 min 0 s"),
        ({"steps": 3, "step": 1, "bytes": 1, "total_bytes": 2}, "step 1 of 3, 1 B of 2 B, 0 s"),
    ],
)
def test_a_record_in_words(record, text):
    assert background.describe(record) == text


# ---- the end of long tasks ---------------------------------------------------------------------------------------------------------------------------


def test_a_long_task_ends_in_its_words(monkeypatch):
    seen, said, answers = [], [], []
    monkeypatch.setattr(long_task, "hold", lambda place: f"hold {place}")
    monkeypatch.setattr(long_task, "run_detached", lambda *given, **named: seen.append((given, named)) or dict(answers[-1]))
    line = SimpleNamespace(done=said.append)

    def run(answer, arguments=None, **more):
        answers.append(answer)
        given = {"progress_file": "/p", "limit_s": 3, "what": "the download", "closing": lambda final: f"closed {final['n']}", **more}
        return long_task.follow("action", arguments or {}, {"inventory_hostname": "b"}, line, **given)

    assert run({"n": 1}) == {"n": 1}
    named = {"hold": f"hold {long_task.STATE_DIR}", "progress_file": "/p", "limit_s": 3, "what": "the download"}
    assert seen == [(("action", {}, {"inventory_hostname": "b"}, line), named)]
    assert run({"failed": True, "msg": "no"}, {"state_dir": "/s"}) == {"failed": True, "msg": "b: no"} and seen[1][1]["hold"] == "hold /s"
    assert run({"failed": True})["msg"] == "b: the download failed"
    assert run({"failed": True, "msg": "no"}, explain=lambda final, box: f"{box} says {final['msg']}")["msg"] == "b says no"
    assert said == ["closed 1", "failed", "failed", "failed"] and long_task.box_of({}) == "box"


@pytest.mark.parametrize(("batch", "interactive"), [(["a"], None), (["a", "b"], False), ([], None), (None, None)])
def test_several_boxes_write_lines(monkeypatch, batch, interactive):
    made = []
    monkeypatch.setattr(long_task, "Display", lambda: "display")
    monkeypatch.setattr(long_task, "Progress", lambda *given, **named: made.append((given, named)))
    long_task.progress_of({"inventory_hostname": "a", "ansible_play_batch": batch}, "image")
    assert made == [(("display", "a: image"), {"interactive": interactive})]


# ---- terminals and processes -------------------------------------------------------------------------------------------------------------------------


def test_a_line_of_a_terminal_is_shown_there_alone_and_as_wide_as_it_is(monkeypatch):
    shown, asked = [], []
    monkeypatch.setattr(progress.shutil, "get_terminal_size", lambda fallback: asked.append(fallback) or SimpleNamespace(columns=20))
    display = SimpleNamespace(display=lambda *given, **named: shown.append((given, named)))
    line = progress.Progress(display, "box1", interactive=True)
    for length in (11, 12):
        line.update("x" * length)
    hidden = {"newline": False, "screen_only": True}
    assert shown == [(("\r\033[K  box1: " + "x" * 11,), hidden), (("\r\033[K  box1: " + "x" * 10 + "…",), hidden)] and asked == [(100, 24)] * 2


@pytest.mark.parametrize(
    ("colour", "forced", "term", "found"),
    [(True, False, "xterm", True), (False, False, "xterm", False), (True, True, "xterm", False), (True, False, "dumb", False)],
)
def test_a_terminal_is_where_colour_is_and_was_not_forced(monkeypatch, colour, forced, term, found):
    monkeypatch.setattr(progress.color, "ANSIBLE_COLOR", colour)
    monkeypatch.setattr(progress.C, "ANSIBLE_FORCE_COLOR", forced, raising=False)
    monkeypatch.setenv("TERM", term)
    assert progress.is_interactive() is found and progress.Progress(None, "x")._interactive is found
    monkeypatch.delenv("TERM")
    assert progress.is_interactive() is False


def test_a_process_without_a_kernel_that_shows_it_is_asked_for_in_one_language(monkeypatch):
    asked = []
    monkeypatch.setattr(controller, "_text", lambda _path: "")
    monkeypatch.setattr(controller.subprocess, "run", lambda *given, **named: asked.append((given, named)) or SimpleNamespace(stdout=" Mon  1 \n"))
    assert controller.process_started(5) == "" and asked == [], "this kernel shows its processes, and there is none"
    monkeypatch.setattr(controller.os.path, "isdir", lambda _path: False)
    assert controller.process_started(5) == "Mon 1"
    plain = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    assert asked == [((["ps", "-o", "lstart=", "-p", "5"],), {"capture_output": True, "text": True, "check": False, "env": plain})]


def test_who_this_is_and_on_what(monkeypatch):
    texts = {"/etc/machine-id": "m", "/proc/sys/kernel/random/boot_id": "boot", "/proc/9/stat": "9 (a b) c) " + " ".join(map(str, range(30)))}
    monkeypatch.setattr(controller, "_text", lambda path: texts.get(path, ""))
    monkeypatch.setattr(controller.platform, "node", lambda: "desk.example.org")
    monkeypatch.setattr(controller.getpass, "getuser", lambda: "ben")
    monkeypatch.setattr(controller.os, "readlink", lambda path: f"ns of {path}")
    found = controller.this_run(9)
    assert found == {
        "run": found["run"], "owner": "ben@desk",
        "controller": {"machine": "m@desk.example.org", "boot_id": "boot", "pid_namespace": "ns of /proc/self/ns/pid", "pid": 9, "pid_started": "19"},
    }  # fmt: skip
    assert len(found["run"]) == 8 and set(found["run"]) <= set("0123456789abcdef")
    del texts["/etc/machine-id"]

    def nobody(*_given):
        raise OSError

    monkeypatch.setattr(controller.uuid, "getnode", lambda: 77)
    monkeypatch.setattr(controller.getpass, "getuser", nobody)
    monkeypatch.setattr(controller.os, "readlink", nobody)
    found = controller.this_run(9)
    assert (found["controller"]["machine"], found["controller"]["pid_namespace"], found["owner"]) == ("77@desk.example.org", "", f"{os.getuid()}@desk")
    assert controller.clock_time(1e30) == "a time that is none"


def test_what_a_run_needs_is_loaded_once_and_kept(monkeypatch):
    got, frozen, read = [], [], []

    def loader(name):
        return SimpleNamespace(get=lambda one, **named: got.append((name, one, named)))

    filters, tests, actions = loader("filter"), loader("test"), loader("action")
    monkeypatch.setattr(warm_up, "filter_loader", filters)
    monkeypatch.setattr(warm_up, "test_loader", tests)
    monkeypatch.setattr(warm_up, "PLUGINS", ((filters, ("a",)), (tests, ("b",)), (actions, ("c", "d"))))
    monkeypatch.setattr(warm_up.importlib, "import_module", read.append)
    monkeypatch.setattr(warm_up.options, "specs", lambda: read.append("specs"))
    monkeypatch.setattr(warm_up, "gc", SimpleNamespace(collect=lambda: frozen.append("collect"), freeze=lambda: frozen.append("freeze")))
    warm_up.warm_up()
    whole = {"class_only": True}
    assert got == [("filter", "a", {}), ("test", "b", {}), ("action", "c", whole), ("action", "d", whole)]
    assert read == ["ansible.executor.module_common", "specs"] and frozen == ["collect", "freeze"]


def test_a_last_line_is_one_record():
    assert background.last_record(json.dumps({"a": 1})) == {"a": 1} and background.last_record("3") == {}

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Actions whose work goes on detached on a box: what is asked of it, where its progress is read, how long it may take, and how it ends for the user."""

from __future__ import annotations

import json
import os

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._follow import background
from in_process import Action, Screen

RUNS = [{"point": "a", "repeat": 1, "args": []}, {"point": "b", "repeat": 1, "args": []}]


@pytest.fixture
def screen(monkeypatch):
    monkeypatch.setattr(background.time, "sleep", lambda _seconds: None)
    return Screen(monkeypatch)


def ends(**outcome):
    """A box whose work ends so."""
    return lambda **_asked: dict(outcome)


CASES = {
    "benchmark": ({"server": "tiny", "runs": RUNS}, {"runs": [1, 2], "died": False}, "tiny: 2 runs measured", "benchmark/progress.jsonl"),
    "share": (
        {"state": "transferred", "shares": [{"place": "/srv/models/a"}, {"place": "vllm-node"}]},
        {"shares": {"a": {"sources": ["spark-02", "spark-03"], "received_bytes": 2_000_000_000, "transfer_s": 20}, "b": {"sources": []}, "c": {}}},
        "transfer: a: 2.0 GB from spark-02, spark-03 in 20 s; b: 0 B from no box, it was all here in 0 s",
        "transfer/progress.jsonl",
    ),
    "model_fetch": (
        {"repo_id": "acme/tiny", "path": "/srv/models/tiny"},
        {"changed": True, "revision": "0123456789abcdef", "path": "/srv/models/tiny", "downloaded_bytes": 3_000_000_000},
        "acme/tiny: 0123456789ab is in /srv/models/tiny (3.0 GB downloaded)",
        "transfer/download.jsonl",
    ),
}
FIRST = {"share": "transfer: /srv/models/a, vllm-node", "model_fetch": "acme/tiny: looking at revision main"}
LIMITS = {"benchmark": 600 + 2 * (1800 + 300) * 2, "share": 14400, "model_fetch": 86400}


@pytest.mark.parametrize("name", CASES)
def test_the_work_is_followed_where_its_progress_lies_and_ends_in_its_own_words(screen, name):
    arguments, outcome, closing, file = CASES[name]
    action = Action(name, ends(**outcome), **arguments)
    action.progress = [json.dumps({"phase": "copy", "text": "half of it", "elapsed_s": 3})]
    found = action.run()
    assert {key: found[key] for key in outcome} == outcome and "ansible_job_id" not in found
    assert [one for one, _given in action.asked] == [f"gb10.vllm.{name}", *["ansible.legacy.async_status"] * 2] and action.asked[0][1] == arguments
    assert [given["mode"] for _one, given in action.asked[1:]] == ["status", "cleanup"]
    assert action.limit_s == LIMITS[name] and action.task.async_val in (0, None)
    assert all(f"tail -n 1 /var/lib/gb10-vllm/{file} " in one for one in action.commands[1:]) and len(action.commands) == 3
    assert screen.lines[-1].endswith(closing) and screen.lines[-1].startswith("  spark-01: ")
    if name in FIRST:
        assert screen.lines[0] == f"  spark-01: {FIRST[name]}"


@pytest.mark.parametrize("name", CASES)
def test_its_places_and_times_are_those_that_were_given(screen, name):
    arguments, outcome, _closing, file = CASES[name]
    more = {"run_timeout_s": 100, "cool_wait_s": 10} if name == "benchmark" else {"timeout_s": 77}
    action = Action(name, ends(**outcome), **arguments, **more, state_dir="/data/state")
    action.run()
    assert action.limit_s == (600 + 2 * 110 * 2 if name == "benchmark" else 77)
    assert f"tail -n 1 /data/state/{file} " in action.commands[-1] and "/data/state/run.lock" in action.commands[0]


@pytest.mark.parametrize("name", [*CASES, "image_build"])
def test_in_check_mode_the_module_is_asked_and_nothing_is_detached(screen, name):
    arguments = CASES.get(name, ({"source": "pull"},))[0]
    action = Action(name, ends(changed=True), **arguments)
    assert action.run(check=True)["changed"] and action.asked == [(f"gb10.vllm.{name}", arguments)] and action.commands == []


@pytest.mark.parametrize("name", CASES)
def test_work_that_fails_names_its_box(screen, name):
    arguments, _outcome, _closing, _file = CASES[name]
    found = Action(name, ends(failed=True, msg="the disk is full"), **arguments).run()
    assert found["failed"] and found["msg"] == "spark-01: the disk is full" and screen.lines[-1].endswith(": failed")


def test_other_ends_of_the_same_work(screen):
    Action("benchmark", ends(runs=[1], died=True), server="tiny", runs=RUNS).run()
    assert screen.lines[-1].endswith("the server died after 1 runs")
    Action("model_fetch", ends(changed=False), repo_id="acme/tiny", revision="v2", path="/m").run()
    assert screen.lines[-2:] == ["  spark-01: acme/tiny: looking at revision v2", "  spark-01: acme/tiny: already there"]
    Action("model_fetch", ends(changed=True, revision=None, path="/m", downloaded_bytes=0), sums={"a": "b"}, path="/m").run()
    assert screen.lines[-2:] == ["  spark-01: /m: comparing checksums", "  spark-01: /m: it is in /m (0 B downloaded)"]
    Action("share", ends(shares={}), state="transferred").run()
    assert screen.lines[-1].endswith("offered what it has")
    action = Action("benchmark", ends(runs=[]), server="tiny")
    action.run()
    assert action.limit_s == 600 + 2 * 2100, "one run at the least"


@pytest.mark.parametrize("state", ["opened", "closed"])
def test_opening_and_closing_go_straight_to_the_box(screen, state):
    action = Action("share", ends(changed=False, address="a"), state=state)
    assert action.run()["address"] == "a" and action.commands == [] and screen.lines == []


IMAGE = {"name": "vllm-node:latest", "id": "sha256:" + "a" * 64, "size_bytes": 1_000_000_000}


class Builder:
    """A box that has something to do for an image, or not."""

    def __init__(self, probe, outcome):
        self.probe, self.outcome = probe, outcome

    def __call__(self, status=None, **asked):
        return dict(self.outcome if status else self.probe)


DEFERRED = {"deferred": True, "reason": "the recipe is newer", "progress_file": "/var/lib/gb10-vllm/build/progress.jsonl"}


def test_an_image_that_is_as_wanted_costs_one_look(screen):
    action = Action("image_build", Builder({"changed": False, "image": IMAGE}, {}), source="build", ref="main")
    assert action.run()["image"] == IMAGE and action.asked == [("gb10.vllm.image_build", {"source": "build", "ref": "main", "defer": True})]
    assert screen.lines == [] and action.commands == []
    failed = Action("image_build", Builder({"failed": True, "msg": "no Docker", **DEFERRED}, {}), source="build").run()
    assert failed["failed"] and failed["msg"] == "no Docker"
    asked = Action("image_build", Builder(DEFERRED, {}), source="build", defer=True)
    assert asked.run()["deferred"] and len(asked.asked) == 1, "who only wants to know is told"


def test_an_image_is_made_detached(screen):
    action = Action("image_build", Builder(DEFERRED, {"changed": True, "image": IMAGE, "duration_s": 95.0}), source="build", ref="main", timeout_s=1000)
    assert action.run()["changed"] and action.asked[1] == ("gb10.vllm.image_build", {"source": "build", "ref": "main", "timeout_s": 1000})
    assert action.limit_s == 1300 and "tail -n 1 /var/lib/gb10-vllm/build/progress.jsonl" in action.commands[-1]
    assert screen.lines[0] == "  spark-01: image: the recipe is newer; starting" and "vllm-node:latest ready in 1 min 35 s" in screen.lines[-1]
    action = Action("image_build", Builder(DEFERRED, {"changed": True}), source="build")
    action.run()
    assert action.limit_s == 14700 and screen.lines[-1].endswith("image: done")


def test_an_image_that_cannot_be_made_is_explained(screen):
    found = Action("image_build", Builder(DEFERRED, {"failed": True, "msg": "docker build ended with code 1", "last_lines": ["odd"]}), source="build").run()
    assert found["failed"] and found["msg"] == "spark-01: docker build ended with code 1.\nLast lines:\n  | odd"


def test_an_archive_of_the_controller_is_copied_when_the_box_wants_it(screen, tmp_path):
    archive = tmp_path / "image.tar"
    archive.write_bytes(b"x" * 2000)
    os.utime(archive, (1_700_000_000, 1_700_000_000.5))
    given = {"source": "archive", "archive_on": "controller", "archive": str(archive)}
    action = Action("image_build", Builder(DEFERRED, {"changed": True, "image": IMAGE, "duration_s": 1}), **given)
    action.run()
    known = {**given, "archive_identity": "image.tar 2000 1700000000"}
    assert action.asked[0][1] == {**known, "defer": True}, "the box knows it again by name, size and time"
    assert action.sent == [(str(archive), "/box/tmp/image.tar")] and action.asked[1][1] == {**known, "archive": "/box/tmp/image.tar"}
    assert any("copying image.tar (2 kB) to the box" in one for one in screen.lines)
    action = Action("image_build", Builder({"changed": False}, {}), **given, checksum="sha256:1")
    action.run()
    assert action.asked[0][1]["archive_identity"] == "sha256:1" and action.sent == []


def test_an_archive_that_is_not_there_or_does_not_arrive_is_said(screen, tmp_path):
    given = {"source": "archive", "archive_on": "controller", "archive": str(tmp_path / "none.tar")}
    found = Action("image_build", Builder(DEFERRED, {}), **given).run()
    assert found["failed"] and f"the image archive {tmp_path}/none.tar cannot be read on the controller (No such file or directory)" in found["msg"]
    (tmp_path / "none.tar").write_bytes(b"x")
    action = Action("image_build", Builder(DEFERRED, {}), **given)

    def broken(_here, _there):
        raise OSError("broken pipe")

    action.plugin._connection.put_file = broken
    found = action.run()
    assert found["failed"] and found["msg"].endswith("failed: broken pipe. Nothing was changed; run it again") and len(action.asked) == 1


@pytest.mark.parametrize("given", [{"source": "archive", "archive_on": "box"}, {"source": "pull", "archive_on": "controller"}])
def test_only_an_archive_of_the_controller_is_looked_for_here(screen, given):
    action = Action("image_build", Builder({"changed": False}, {}), archive="/nowhere/image.tar", **given)
    assert "failed" not in action.run() and "archive_identity" not in action.asked[0][1]

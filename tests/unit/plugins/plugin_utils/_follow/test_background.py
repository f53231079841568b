# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the user reads while something long is at work on a box."""

from __future__ import annotations

import json

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._follow import background
from ansible_collections.gb10.vllm.plugins.plugin_utils._follow.background import describe, last_record
from ansible_collections.gb10.vllm.plugins.plugin_utils._follow.locking import Hold

BUILD = {"phase": "build", "step": 5, "steps": 9, "text": "RUN uv pip install: Downloaded torch", "bytes": 0, "total_bytes": 0, "elapsed_s": 95.2}
PULL = {"phase": "pull", "step": 1, "steps": 4, "text": "downloading layers", "bytes": 2_500_000_000, "total_bytes": 9_000_000_000, "bytes_per_s": 110_000_000}


@pytest.mark.parametrize(
    "record, text",
    [
        (BUILD, "step 5 of 9, RUN uv pip install: Downloaded torch, 1 min 35 s"),
        ({**PULL, "elapsed_s": 23}, "step 1 of 4, downloading layers, 2.5 GB of 9.0 GB, 110 MB/s, 23 s"),
        ({"phase": "wait", "text": "another build", "elapsed_s": 3}, "wait, another build, 3 s"),
        ({}, ""),
    ],
)
def test_text(record, text):
    assert describe(record) == text


def test_a_half_written_line_is_nolast_record():
    assert last_record('{"phase": "bu') == {} and last_record("") == {} and last_record("[1]") == {}
    assert last_record(json.dumps(BUILD)) == BUILD


class Box:
    """An action whose box has these answers for each look; ``None``: the connection breaks. It breaks ``cut`` times when the job itself is asked for."""

    def __init__(self, *looks, cut=0):
        self._task = self
        self.async_val, self.looks, self.begun, self.cut = 0, list(looks), 0, cut

    def _low_level_execute_command(self, _command):
        look = self.looks.pop(0)
        if look is None:
            raise OSError("broken pipe")
        return {"stdout": look}

    def _execute_module(self, module_name=None, **_more):
        if module_name:
            self.cut -= 1
            if self.cut >= 0:
                raise OSError("broken pipe")
            return {"finished": 1, "n": 3}
        self.begun += 1
        return {"ansible_job_id": "1", "results_file": "/r/1"}


class Silent:
    def update(self, _text):
        pass


OURS, THEIRS = '{"run": "anna"}\n', '{"run": "ben", "owner": "ben@desk"}\n'


def looked(box, monkeypatch):
    monkeypatch.setattr(background.time, "sleep", lambda _s: None)
    return background.run_detached(box, {}, {}, Silent(), hold=Hold("anna", "/s"), progress_file="/p", limit_s=9, what="the build")


def test_a_run_that_lost_its_box_begins_nothing_there(monkeypatch):
    box = Box(THEIRS)
    assert "the lock of this run on this box is lost: ben@desk took it" in looked(box, monkeypatch)["msg"] and box.begun == 0


def test_a_run_that_loses_its_box_meanwhile_follows_no_longer(monkeypatch):
    box = Box(OURS, f"{OURS}--gb10--\n", None, "half of a li", f"{THEIRS}--gb10--\n")
    told = looked(box, monkeypatch)
    assert told["failed"] and told["msg"].endswith("; the build was begun and ends by itself") and box.looks == []


@pytest.mark.parametrize("lock", ["", OURS])
def test_work_is_followed_to_its_end_with_a_lock_and_without(monkeypatch, lock):
    end = json.dumps({"phase": "finished"})
    assert looked(Box(lock, f"{lock}--gb10--\n{{}}", f"{lock}--gb10--\n{end}\n"), monkeypatch) == {"n": 3}


@pytest.mark.parametrize("times", [1, background.LOST_TIMES, background.LOST_TIMES + 1])
def test_a_connection_that_is_cut_does_not_end_the_work_and_is_tried_again(monkeypatch, times):
    monkeypatch.setattr(background, "STATUS_EVERY_S", 0)
    box = Box(OURS, *[None] * (background.LOST_TIMES + 2), cut=times)
    told = looked(box, monkeypatch)
    if times <= background.LOST_TIMES:
        assert told == {"n": 3}
    else:
        assert told["failed"] and "The work goes on there; run the playbook again to follow it" in told["msg"]
    assert box.begun == 1, "and it is not begun twice"

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long work ends for the user, whatever it was."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._follow import long_task

FAILED = {"failed": True, "msg": "the disk is full"}


class Line:
    def __init__(self):
        self.last = None

    def done(self, text):
        self.last = text


def follow(monkeypatch, outcome, **more):
    asked = {}
    monkeypatch.setattr(long_task, "run_detached", lambda *_given, **named: asked.update(named) or dict(outcome))
    line = Line()
    final = long_task.follow(
        None, {}, {"inventory_hostname": "spark-1"}, line, progress_file="/p", limit_s=9, what="the transfer", closing=lambda seen: f"{seen['n']} files", **more
    )
    assert asked.pop("hold").state_dir == "/var/lib/gb10-vllm"
    assert asked == {"progress_file": "/p", "limit_s": 9, "what": "the transfer"}
    return final, line.last


def test_work_that_went_well_ends_with_its_own_words(monkeypatch):
    assert follow(monkeypatch, {"n": 3}) == ({"n": 3}, "3 files")


def test_work_that_failed_names_the_box(monkeypatch):
    assert follow(monkeypatch, FAILED) == ({"failed": True, "msg": "spark-1: the disk is full"}, "failed")
    assert follow(monkeypatch, {"failed": True})[0]["msg"] == "spark-1: the transfer failed"
    assert follow(monkeypatch, FAILED, explain=lambda seen, box: f"{box}! {seen['msg']}")[0]["msg"] == "spark-1! the disk is full"


@pytest.mark.parametrize(("batch", "in_place"), [([], None), (["a"], None), (["a", "b"], False)])
def test_several_boxes_do_not_overwrite_each_others_line(monkeypatch, batch, in_place):
    made = {}
    monkeypatch.setattr(long_task, "Progress", lambda _display, label, interactive: made.update(label=label, interactive=interactive))
    long_task.progress_of({"inventory_hostname": "a", "ansible_play_batch": batch}, "image")
    assert made == {"label": "a: image", "interactive": in_place}

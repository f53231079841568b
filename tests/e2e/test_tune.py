# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook tune with the real vLLM (for CPU) on an emulated box: that one request at a time is slow is found, and what does not fit is never started."""

from __future__ import annotations

import json

import pytest
from server_box import SERVER, Box

MINI = {"mini": {"input_tokens": 32, "output_tokens": 48, "concurrency": [4], "requests_per_stream": 2, "repeats": 2}}
SLOW = {**SERVER, "concurrency": 1, "args": {**SERVER["args"], "max_num_seqs": 1}}
SPACE = {"max_num_seqs": [4], "max_num_batched_tokens": [100_000_000]}


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inventory")
    wish = {"gb10_benchmark_profiles": MINI, "gb10_benchmark_profile": "mini", "gb10_tune_settings": SPACE, "gb10_tune_dir": str(folder)}
    one = Box(folder, {"gb10_servers": [SLOW], **wish})
    one.play("site")
    return one


def test_a_killed_search_goes_on_finds_the_planted_setting_starts_nothing_unfit_and_puts_back_what_ran(box):
    before, lock = box.record("tiny", "deployment"), (box.folder / "gb10.lock.yml").read_text()
    box.killed("tune", "Put load on tiny", after="Note what came of the candidate")
    assert box.record("tiny", "deployment")["spec"] != before["spec"], "a candidate runs"
    text = " ".join(box.play("tune").split())
    (state,) = [json.loads(path.read_text()) for path in box.folder.glob("gb10-tune-*-tiny.json")]
    assert [(trial["set"], trial["verdict"]) for trial in state["trials"]] == [
        ({}, "first"),
        ({"max_num_seqs": 4}, "better"),
        ({"max_num_seqs": 4, "max_num_batched_tokens": 100_000_000}, "unfit"),
    ], [trial["why"] for trial in state["trials"]]
    (diff,) = [path.read_text() for path in box.folder.glob("gb10-tune-*.diff")]
    assert "max_num_seqs: 4" in diff and "Nothing was changed in the inventory" in text
    after = box.record("tiny", "deployment")
    assert (after["spec"], after["container"]["command"]) == (before["spec"], before["container"]["command"])
    key = box.run("cut -d= -f2 /etc/gb10-vllm/tiny/key.env")
    assert box.ask(8000, key) == 200
    assert (box.folder / "gb10.lock.yml").read_text() == lock
    # What came back was started, and what it took this time is noted in the lock file; nothing else has changed.
    tasks = box.play("site").split("\nTASK [")
    assert {task.split("]")[0] for task in tasks if "\nchanged: [" in task} <= {"gb10.vllm.fleet : Lock what runs"}
    assert " changed=0 " in box.play("site")

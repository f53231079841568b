# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole runs over imitated boxes with a server over two of them: started, proven, kept, put back and healed as one."""

from __future__ import annotations

import time

import imitation
import pytest
from imitated_fleet import ONE, TWO, needs_root

pytestmark = needs_root
BIG = {"name": "big", "model": "tiny", "port": 8000, "address": "0.0.0.0", "boxes": [TWO, ONE], "max_model_len": 2048, "concurrency": 2}
UNIT = "gb10-vllm-big"
DIES = """\
(Worker pid=120) ERROR 11-20 08:04:06 [core.py:1] ValueError: Free memory on device cuda:0 (50.14/79.18 GiB) on startup is less than desired GPU memory
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    folder = tmp_path_factory.mktemp("imitated-groups")
    (folder / "dies.log").write_text(DIES)
    with imitation.boxes(folder, 2) as up:
        up.cable()
        up.wish(gb10_servers=[BIG])
        first = up.play("site")
        assert "2 boxes: 2 ok" in first, first
        up.save()
        yield up


@pytest.fixture
def boxes(fleet):
    fleet.restore()
    wait_for(fleet)
    return fleet


def answered(boxes):
    """The head is the second box of the inventory: who is the head says the user."""
    return boxes.ask(TWO, "cat /run/gb10-vllm-agent/big", check=False).strip() == "up" and boxes.answers(TWO, "big")


def wait_for(boxes, seconds=40):
    deadline = time.monotonic() + seconds
    while not answered(boxes):
        assert time.monotonic() < deadline, [boxes.ask(box, f"journalctl --quiet --unit {UNIT}.service") for box in boxes.names]
        time.sleep(0.3)


def test_both_boxes_serve_one_server_and_a_second_run_changes_nothing(boxes):
    head, other = (boxes.record(box, "deployment", "big") for box in (TWO, ONE))
    assert [head["group"]["number"], other["group"]["number"]] == [0, 1] and head["group"]["boxes"] == [TWO, ONE]
    assert "--headless" in other["container"]["command"] and other["container"]["network_mode"] == "host"
    assert not boxes.ask(ONE, "ls /etc/gb10-vllm/big/key.env", check=False)
    for box in boxes.names:
        boxes.asked(box)
    assert boxes.play("site").count("changed=0") == 2
    asked = {box: boxes.asked(box) for box in boxes.names}
    assert max(map(len, asked.values())) <= 5, asked
    assert boxes.locked(ONE, "big") and boxes.locked(TWO, "big")

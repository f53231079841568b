# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole runs over imitated boxes that are cut off, run out of disk or lose a box at the worst moment; each is followed by one that puts all right."""

from __future__ import annotations

import re

import pytest
from imitated_fleet import ONE, OTHER, TWO, dies, flat, needs_root
from imitation import SERVER, STATE

pytest_plugins = ["imitated_fleet"]
pytestmark = needs_root
NEEDS_PIECES = {"only": "--served-model-name other", "unless": "PIECEWISE"}
PIECEWISE = {"args": {"--compilation-config": {"cudagraph_mode": "PIECEWISE"}}}


def test_when_neither_the_new_nor_the_old_one_answers_it_is_said(boxes):
    boxes.wish(gb10_servers=[OTHER])
    boxes.rules(ONE, dies(boxes, "unknown"))
    assert "What served before was put back, but does not answer either" in flat(boxes.play("site", "-l", ONE, code=2))
    assert boxes.serves(ONE) == ("tiny", False) and boxes.held() == []
    boxes.rules(ONE)
    boxes.play("site", "-l", ONE)
    assert boxes.serves(ONE) == ("other", True)


def test_a_repair_that_does_not_help_ends_in_what_served_before(boxes):
    boxes.wish(gb10_servers=[OTHER])
    boxes.rules(ONE, dies(boxes, "no-graphs", **NEEDS_PIECES), dies(boxes, "unknown", only="PIECEWISE"))
    failed = boxes.play("site", "-l", ONE, code=2)
    assert "repairing tiny" in failed and "an odd thing happened" in failed
    assert boxes.serves(ONE) == ("tiny", True)


def test_a_box_that_vanishes_between_two_tasks_fails_its_batch(boxes):
    boxes.wish(gb10_servers=[OTHER], gb10_rollout=["100%"])
    (boxes.folder / TWO / "vanish").write_text("community.docker.docker_container")
    failed = boxes.play("site", code=4)
    assert re.search(rf"(UNREACHABLE|FAILED) +{TWO} +Activate", failed) and re.search(rf"put back +{ONE} +Activate", failed)
    assert (boxes.serves(ONE), boxes.held()) == (("tiny", True), [TWO])
    (boxes.folder / TWO / "off").unlink()
    assert "2 boxes: 2 ok" in boxes.play("site")
    assert [boxes.serves(box) for box in boxes.names] == [("other", True)] * 2 and boxes.held() == []


@pytest.mark.parametrize(
    "task",
    ["Say what is repaired", "Give its memory back", "Record the repair", "Plan again with the repair", "Replace the container", "Start now and at boot"],
)
def test_killed_during_a_repair(boxes, task):
    boxes.wish(gb10_servers=[OTHER])
    boxes.rules(ONE, dies(boxes, "no-graphs", **NEEDS_PIECES))
    boxes.kill_at("site", task, "-l", ONE, after="Repair it, or go back")
    boxes.play("site", "-l", ONE)
    assert boxes.serves(ONE) == ("other", True) and boxes.held() == []
    assert [one["set"] for one in boxes.record(ONE, "repairs")["applied"]] == [PIECEWISE]
    assert boxes.play("site", "-l", ONE).count("changed=0") == 1


@pytest.mark.parametrize(
    "task", ["Decide what to put back", "Write the records and the unit", "Create the container", "Start now and at boot", "Prove that it answers"]
)
def test_killed_while_a_server_is_put_back(boxes, task):
    boxes.wish(gb10_servers=[OTHER])
    boxes.rules(ONE, dies(boxes, "unknown", only="--served-model-name other"))
    boxes.kill_at("site", task, "-l", ONE, after="Repair it, or go back")
    boxes.rules(ONE)
    boxes.wish(gb10_servers=[SERVER])
    boxes.play("site", "-l", ONE)
    assert boxes.serves(ONE) == ("tiny", True) and boxes.held() == []
    assert boxes.play("site", "-l", ONE).count("changed=0") == 1


@pytest.mark.parametrize("task", ["Write the records and the unit", "Create the container", "Start now and at boot", "Note that the start is over"])
def test_killed_during_a_rollback(boxes, task):
    boxes.wish(gb10_servers=[OTHER])
    boxes.play("site", "-l", ONE)
    boxes.kill_at("rollback", task, "-l", ONE)
    boxes.wish(gb10_servers=[SERVER])
    boxes.play("site", "-l", ONE)
    assert boxes.serves(ONE) == ("tiny", True) and boxes.held() == []
    assert boxes.play("site", "-l", ONE).count("changed=0") == 1


@pytest.mark.parametrize("task", ["Stop it now and at boot", "Remove its container", "Remove its unit, keys, caches and records", "Have systemd forget it"])
def test_killed_while_a_server_is_removed(boxes, task):
    boxes.wish(gb10_servers=[SERVER, dict(SERVER, name="second", port=8001)])
    boxes.play("site", "-l", ONE)
    boxes.wish(gb10_servers=[SERVER], gb10_prune=True)
    boxes.kill_at("site", task, "-l", ONE)
    boxes.play("site", "-l", ONE)
    left = boxes.ask(
        ONE, f"ls -d /etc/gb10-vllm/* {STATE}/servers/* {STATE}/cache/* /etc/systemd/system/gb10-vllm-*; docker ps --all --format '{{{{.Names}}}}'"
    )
    assert "second" not in left and boxes.serves(ONE) == ("tiny", True) and boxes.held() == []


@pytest.mark.parametrize("place", [f"{STATE}/servers", "/etc/systemd/system", "/etc/gb10-vllm"])
def test_a_full_disk_leaves_what_serves_and_is_said(boxes, place):
    """Records, units, keys: one of them cannot be written."""
    boxes.ask(
        ONE,
        f"cp -a {place} /run/there; mount -t tmpfs -o size=1m,mode=700 full {place}; cp -a /run/there/. {place}; head -c 2m /dev/zero > {place}/filler || :",
    )
    boxes.wish(gb10_servers=[dict(OTHER, env={"HF_TOKEN": "x" * 9000})])
    failed = boxes.play("site", "-l", ONE, code=2)
    assert "No space left on device" in failed
    assert boxes.answers(ONE) and boxes.held() == []
    boxes.ask(ONE, f"rm {place}/filler")
    boxes.play("site", "-l", ONE)
    assert boxes.serves(ONE) == ("other", True)

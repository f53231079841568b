# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole runs over imitated boxes that lose a box, run out of disk or memory, or find nothing to go back to; each is followed by one that puts all right."""

from __future__ import annotations

import json
import re

import pytest
from imitated_fleet import ONE, OTHER, TWO, dies, flat, needs_root
from imitation import SERVER, STATE

pytest_plugins = ["imitated_fleet"]
pytestmark = needs_root
NEEDS_PIECES = {"only": "--served-model-name other", "unless": "PIECEWISE"}


def test_when_neither_the_new_nor_the_old_one_answers_it_is_said(boxes):
    boxes.wish(gb10_servers=[OTHER])
    boxes.rules(ONE, dies(boxes, "unknown"))
    assert "What served before was put back, but does not answer either" in flat(boxes.play("site", "-l", ONE, code=2))
    assert boxes.serves(ONE) == ("tiny", False) and boxes.held() == []
    boxes.rules(ONE)
    boxes.play("site", "-l", ONE)
    assert boxes.serves(ONE) == ("other", True)


def test_of_two_that_swap_their_ports_neither_comes_up_nor_goes_back(boxes):
    pair = [SERVER, dict(OTHER, name="second", port=8001)]
    boxes.wish(gb10_servers=pair)
    boxes.play("site", "-l", ONE)
    boxes.rules(ONE, dies(boxes, "unknown"))
    boxes.wish(gb10_servers=[dict(pair[0], port=8001), dict(pair[1], port=8000)])
    failed = flat(boxes.play("site", "-l", ONE, code=2))
    assert "does not answer either: " in failed and "What moved together with it did not come back: " in failed and boxes.held() == []
    boxes.rules(ONE)
    boxes.play("site", "-l", ONE)
    assert boxes.answers(ONE, "tiny", 8001) and boxes.answers(ONE, "second", 8000) and boxes.held() == []


def test_a_repair_that_does_not_help_ends_in_what_served_before(boxes):
    boxes.wish(gb10_servers=[OTHER])
    boxes.rules(ONE, dies(boxes, "no-graphs", **NEEDS_PIECES), dies(boxes, "unknown", only="PIECEWISE"))
    failed = boxes.play("site", "-l", ONE, code=2)
    assert "repairing tiny" in failed and "an odd thing happened" in failed
    assert boxes.serves(ONE) == ("tiny", True) and boxes.held() == []


def test_a_repair_that_does_not_fit_is_given_up(boxes):
    boxes.wish(gb10_servers=[OTHER])
    boxes.rules(ONE, dies(boxes, "no-graphs", short=True, **NEEDS_PIECES))
    failed = flat(boxes.play("site", "-l", ONE, code=2))
    assert "It could not be repaired: " in failed and "does not answer either: " in failed, "the memory is gone for the old one, too"
    assert boxes.serves(ONE) == ("tiny", False) and boxes.held() == []


def test_a_box_that_vanishes_between_two_tasks_fails_its_batch(boxes):
    boxes.wish(gb10_servers=[OTHER], gb10_rollout=["100%"])
    (boxes.folder / TWO / "vanish").write_text("docker_container")
    failed = boxes.play("site", code=2)
    assert re.search(rf"UNREACHABLE +{TWO} +Activate", failed) and re.search(rf"put back +{ONE} +Activate", failed)
    assert (boxes.serves(ONE), boxes.held()) == (("tiny", True), [TWO])
    (boxes.folder / TWO / "off").unlink()
    assert "2 boxes: 2 ok" in boxes.play("site")
    assert [boxes.serves(box) for box in boxes.names] == [("other", True)] * 2 and boxes.held() == []


@pytest.mark.parametrize("place", [f"{STATE}/servers", "/etc/gb10-vllm"])
def test_a_full_disk_leaves_what_serves_and_is_said(boxes, place):
    """Records, or keys: one of them cannot be written."""
    before = boxes.containers(ONE)
    boxes.ask(ONE, f"there=$(mktemp -d); cp -a {place}/. $there; mount -t tmpfs -o size=1m,mode=700 full {place}; cp -a $there/. {place}; rm -r $there")
    boxes.ask(ONE, f"head -c 2m /dev/zero > {place}/filler", check=False)
    boxes.wish(gb10_servers=[dict(OTHER, env={"HF_TOKEN": "x" * 9000})])
    failed = boxes.play("site", "-l", ONE, code=2)
    assert "No space left on device" in failed and "What served before was not touched" in failed
    assert boxes.answers(ONE) and boxes.held() == [] and boxes.containers(ONE) == before
    boxes.ask(ONE, f"rm {place}/filler")
    boxes.play("site", "-l", ONE)
    assert boxes.serves(ONE) == ("other", True) and boxes.held() == []


def test_a_host_and_a_fabric_that_cannot_be_give_the_boxes_back(boxes):
    boxes.wish(gb10_host={"earlyoom": {"state": "present", "stop_gib": 64}})
    assert "would have its newest server stopped" in flat(boxes.play("host", code=2)) and boxes.held() == []
    boxes.wish(gb10_host=None, gb10_fabric={"state": "present"})
    assert "Nothing was changed." in flat(boxes.play("fabric", code=2)) and boxes.held() == []


def test_status_says_of_a_model_that_was_damaged_meanwhile_why_nothing_can_be_planned(boxes):
    boxes.ask(ONE, "mv /srv/models/tiny/config.json /srv/models/kept; echo '{' > /srv/models/tiny/config.json")
    try:
        seen = flat(boxes.play("status"))
        rows = json.loads((boxes.folder / "gb10-status.json").read_text())["boxes"]
    finally:
        boxes.ask(ONE, "mv /srv/models/kept /srv/models/tiny/config.json")
    assert "/srv/models/tiny/config.json" in seen
    assert [rows[box]["servers"][0]["health"].split()[0] for box in boxes.names] == ["answers", "answers"]

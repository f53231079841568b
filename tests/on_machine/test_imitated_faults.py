# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole runs over imitated boxes that are killed, run out of disk or lose a box at the worst moment; each is followed by one that puts all right.

A run that is killed is one that goes to its end while its box is kept after each module: the box is then what a kill there leaves. `make test` goes on from
a few of these moments, `make deep-faults` (GB10_ALL_MOMENTS=1) from each.
"""

from __future__ import annotations

import json
import os
import re

import pytest
from imitated_fleet import ONE, OTHER, TWO, dies, flat, needs_root
from imitation import SERVER, STATE

pytest_plugins = ["imitated_fleet"]
pytestmark = needs_root
NEEDS_PIECES = {"only": "--served-model-name other", "unless": "PIECEWISE"}
PIECEWISE = {"args": {"--compilation-config": {"cudagraph_mode": "PIECEWISE"}}}
SECOND = dict(SERVER, name="second", port=8001)
LEFT = f"ls -d /etc/gb10-vllm/* {STATE}/servers/* {STATE}/cache/* /etc/systemd/system/gb10-vllm-*; docker ps --all --format '{{{{.Names}}}}'"


def chosen(moments, *parts):
    """All of the moments, or those at these parts of the way (0 to 1)."""
    assert len(moments) >= 4, moments
    return moments if os.environ.get("GB10_ALL_MOMENTS") else [moments[round(part * (len(moments) - 1))] for part in parts]


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
    failed = boxes.play("site", code=4)
    assert re.search(rf"UNREACHABLE +{TWO} +Activate", failed) and re.search(rf"put back +{ONE} +Activate", failed)
    assert (boxes.serves(ONE), boxes.held()) == (("tiny", True), [TWO])
    (boxes.folder / TWO / "off").unlink()
    assert "2 boxes: 2 ok" in boxes.play("site")
    assert [boxes.serves(box) for box in boxes.names] == [("other", True)] * 2 and boxes.held() == []


def test_killed_during_a_repair_the_next_run_repairs_it_once(boxes):
    boxes.wish(gb10_servers=[OTHER])
    boxes.rules(ONE, dies(boxes, "no-graphs", **NEEDS_PIECES))
    for moment in chosen(boxes.moments(ONE, "site", "-l", ONE), 0.55, 0.75):
        boxes.at(ONE, moment)
        boxes.play("site", "-l", ONE)
        assert boxes.serves(ONE) == ("other", True) and boxes.held() == [], moment
        assert [one["set"] for one in boxes.record(ONE, "repairs")["applied"]] == [PIECEWISE], moment
        assert boxes.locked(ONE), moment
    assert boxes.play("site", "-l", ONE).count("changed=0") == 1


def test_killed_while_a_server_is_put_back_nothing_is_lost(boxes):
    boxes.wish(gb10_servers=[OTHER])
    boxes.rules(ONE, dies(boxes, "unknown", only="--served-model-name other"))
    for moment in chosen(boxes.moments(ONE, "site", "-l", ONE, code=2), 0.6, 0.8):
        boxes.at(ONE, moment)
        boxes.play("site", "-l", ONE, code=2)  # what is wanted fails as it did
        assert boxes.serves(ONE) == ("tiny", True) and boxes.held() == [], moment
    boxes.at(ONE, moment)
    boxes.wish(gb10_servers=[SERVER])
    boxes.play("site", "-l", ONE)
    assert boxes.serves(ONE) == ("tiny", True) and boxes.held() == []
    assert boxes.play("site", "-l", ONE).count("changed=0") == 1


def test_killed_during_a_rollback_it_is_done_again_and_goes_no_further(boxes):
    for length in (1024, 512):
        boxes.wish(gb10_servers=[dict(SERVER, max_model_len=length)])
        boxes.play("site", "-l", ONE)
    for moment in chosen(boxes.moments(ONE, "rollback", "-l", ONE), 0.5):
        boxes.at(ONE, moment)
        if boxes.record(ONE, "history")[0]["planned"]["max_model_len"] == 2048:
            continue  # it was over, but for the lock
        boxes.play("rollback", "-l", ONE)
        assert boxes.answers(ONE) and boxes.held() == [], moment
        assert boxes.record(ONE, "deployment")["planned"]["max_model_len"] == 1024, moment
        assert [one["planned"]["max_model_len"] for one in boxes.record(ONE, "history")] == [2048], moment
    boxes.at(ONE, moment)
    boxes.wish(gb10_servers=[SERVER])
    boxes.play("site", "-l", ONE)
    assert boxes.serves(ONE) == ("tiny", True) and boxes.held() == []


def test_killed_while_a_server_is_removed_it_goes_whole_the_next_time(boxes):
    boxes.wish(gb10_servers=[SERVER, SECOND])
    boxes.play("site", "-l", ONE)
    boxes.wish(gb10_servers=[SERVER], gb10_prune=True)
    for moment in chosen(boxes.moments(ONE, "site", "-l", ONE), 0.5):
        boxes.at(ONE, moment)
        boxes.play("site", "-l", ONE)
        assert "second" not in boxes.ask(ONE, LEFT), moment
        assert boxes.serves(ONE) == ("tiny", True) and boxes.held() == [], moment


@pytest.mark.parametrize("place", [f"{STATE}/servers", "/etc/gb10-vllm"])
def test_a_full_disk_leaves_what_serves_and_is_said(boxes, place):
    """Records, or keys: one of them cannot be written."""
    before = boxes.containers(ONE)
    boxes.ask(ONE, f"cp -a {place} /run/there; mount -t tmpfs -o size=1m,mode=700 full {place}; cp -a /run/there/. {place}")
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

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole runs over imitated boxes that are killed at the worst moment; each is followed by one that puts all right.

A run that is killed is one that goes to its end while its box is kept after each module: the box is then what a kill there leaves. Each test goes on from a
few of these moments; with GB10_ALL_MOMENTS=1 from each.
"""

from __future__ import annotations

import os

from imitated_fleet import ONE, OTHER, dies, needs_root
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
    moments, undone = chosen(boxes.moments(ONE, "rollback", "-l", ONE), 0.5), 0
    for moment in moments:
        boxes.at(ONE, moment)
        if boxes.record(ONE, "history")[0]["planned"]["max_model_len"] == 2048:
            continue  # it was over, but for the lock
        undone += 1
        boxes.play("rollback", "-l", ONE)
        assert boxes.answers(ONE) and boxes.held() == [], moment
        assert boxes.record(ONE, "deployment")["planned"]["max_model_len"] == 1024, moment
        assert [one["planned"]["max_model_len"] for one in boxes.record(ONE, "history")] == [2048], moment
    assert undone and undone * 2 >= len(moments), "a rollback is over in the last half of its moments at the earliest"
    boxes.at(ONE, moment)
    boxes.wish(gb10_servers=[SERVER])
    boxes.play("site", "-l", ONE)
    assert boxes.serves(ONE) == ("tiny", True) and boxes.held() == []


def test_killed_while_the_lock_file_is_written_it_is_the_old_or_the_new_one_and_the_next_run_locks_what_runs(boxes):
    lock = boxes.inventory / "gb10.lock.yml"
    before, lengths = lock.read_text(), (1024, 512, 256, 128) if os.environ.get("GB10_ALL_MOMENTS") else (1024, 512)
    for number, length in enumerate(lengths):
        boxes.wish(gb10_servers=[dict(SERVER, max_model_len=length)])
        # The run says so before the task goes to a process of its own; each time it is a little further.
        boxes.kill_at("site", "Lock what runs", "-l", ONE, later_s=0.3 * number)
        left = lock.read_text()
        assert left == before or boxes.locked(ONE), left
        assert boxes.record(ONE, "deployment")["planned"]["max_model_len"] == length and boxes.held() == [ONE]
        boxes.play("site", "-l", ONE)
        assert boxes.locked(ONE) and boxes.answers(ONE) and boxes.held() == []
        assert boxes.record(ONE, "deployment")["planned"]["max_model_len"] == length
        assert boxes.play("site", "-l", ONE).count("changed=0") == 1
        before = lock.read_text()
        assert [one.name for one in boxes.inventory.iterdir() if "lock" in one.name] == [lock.name], "what was half written is gone or elsewhere"


def test_killed_while_a_server_is_removed_it_goes_whole_the_next_time(boxes):
    boxes.wish(gb10_servers=[SERVER, SECOND])
    boxes.play("site", "-l", ONE)
    boxes.wish(gb10_servers=[SERVER], gb10_prune=True)
    for moment in chosen(boxes.moments(ONE, "site", "-l", ONE), 0.5):
        boxes.at(ONE, moment)
        boxes.play("site", "-l", ONE)
        assert "second" not in boxes.ask(ONE, LEFT), moment
        assert boxes.serves(ONE) == ("tiny", True) and boxes.held() == [], moment

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole runs over imitated boxes behind a router with the real HAProxy, under clients that stream without a pause: none of their requests may fail.

The short form; test_router_under_load.py (make deep-router) has what takes longer.
"""

from __future__ import annotations

import pytest
import real_router
import routed_fleet
from imitated_fleet import ONE, TWO, flat, needs_root
from imitation import SERVER
from routed_fleet import ROUTER, load, servers, whole

pytestmark = [needs_root, pytest.mark.skipif(not real_router.installed(), reason="there is no haproxy on this machine (tests/setup --router brings it)")]
USED = {ONE: "UP", TWO: "UP"}


@pytest.fixture(scope="module")
def boxes(tmp_path_factory):
    with routed_fleet.fleet(tmp_path_factory.mktemp("routed"), gb10_rollout=[1]) as up:
        yield up


def test_a_rollout_over_all_boxes_costs_no_request(boxes):
    assert servers(boxes) == USED
    before = boxes.containers(ONE, TWO)
    boxes.wish(gb10_servers=[dict(SERVER, max_model_len=1024)])
    with load(boxes) as seen:
        boxes.play("site")
    assert whole(seen) and not set(before) & set(boxes.containers(ONE, TWO)), "both were replaced"
    assert (servers(boxes), boxes.held()) == (USED, [])


def test_a_reboot_of_all_boxes_costs_no_request_and_one_that_stays_away_ends_it(boxes):
    ids = [boxes.ask(box, "cat /proc/sys/kernel/random/boot_id") for box in (ONE, TWO)]
    with load(boxes) as seen:
        boxes.play("maintain", "-e", "gb10_maintain=reboot")
    assert whole(seen) and (servers(boxes), boxes.held()) == (USED, [])
    assert not set(ids) & {boxes.ask(box, "cat /proc/sys/kernel/random/boot_id") for box in (ONE, TWO)}
    (boxes.folder / ONE / "stays-off").touch()
    with load(boxes) as seen:
        said = flat(boxes.play("maintain", "-e", "gb10_maintain=reboot", "-e", "gb10_maintain_timeout_s=5", code=2))
    assert whole(seen) and f"{ONE}: Reboot, and wait until the box is back: " in said and f"tiny gives no answer and stays drained at {ROUTER}" in said
    assert servers(boxes)[ONE].startswith(("DRAIN", "MAINT", "DOWN")) and servers(boxes)[TWO] == "UP"
    # Found again by the next run that proves it.
    (boxes.folder / ONE / "stays-off").unlink()
    (boxes.folder / ONE / "off").unlink()
    boxes.ask(ONE, "rm /var/lib/gb10-vllm/run.lock")
    boxes.play("site")
    assert (servers(boxes), boxes.held()) == (USED, [])


def test_without_a_router_that_can_be_reached_nothing_is_touched(boxes):
    before = boxes.containers(ONE, TWO)
    (boxes.folder / ROUTER / "off").touch()
    said = flat(boxes.play("rollback", code=2))
    assert f"{ROUTER} cannot be reached, so nobody can tell it to spare this batch" in said
    assert (boxes.containers(ONE, TWO), boxes.held()) == (before, [])
    assert f"Router {ROUTER}: it cannot be reached" in boxes.play("status")
    (boxes.folder / ROUTER / "off").unlink()


def test_the_last_server_of_a_model_is_drained_when_asked_to(boxes):
    said = flat(boxes.play("stop", code=2))
    assert "is the last one that the router has for its model" in said and boxes.answers(ONE) and boxes.held() == []
    boxes.play("stop", "-l", ONE)
    assert servers(boxes)[ONE].startswith(("DRAIN", "MAINT")) and not boxes.answers(ONE)

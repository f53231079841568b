# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The real HAProxy under 16 clients that stream without a pause, while engines die, links break and configurations change."""

from __future__ import annotations

import os
import statistics
import time

import pytest
import real_router
import stub_boxes
from ansible_collections.gb10.vllm.plugins.module_utils._router import haproxy

pytestmark = pytest.mark.skipif(not real_router.installed() or os.geteuid() != 0, reason="needs root and HAProxy (tests/setup --router)")


@pytest.fixture
def fleet(tmp_path):
    boxes = [stub_boxes.Box(number) for number in (1, 2)]
    router = real_router.Router(tmp_path, stub_boxes.behind(boxes), real_router.settings())
    yield router, boxes
    router.close()
    for one in boxes:
        one.close()


def test_what_ran_on_an_engine_that_was_killed_may_fail_and_nothing_else(fleet):
    router, (first, _second) = fleet
    with stub_boxes.load(router) as seen:
        killed = time.time()
        first.kill()
        time.sleep(6)
    assert seen["good"] > 30 and 0 < len(seen["failed"]) <= 16
    assert [one for one in seen["failed"] if one["at"] > killed] == [], seen["failed"]


def test_what_ran_on_a_box_that_is_cut_off_may_fail_and_nothing_else(fleet):
    """Nothing says so: TCP finds out, within a minute also for a stream that waits."""
    router, (first, _second) = fleet
    with stub_boxes.load(router) as seen:
        cut = time.time()
        first.cut()
        router.wait(lambda: router.seen()["tiny", first.name]["status"].startswith("DOWN"), 40)
        time.sleep(max(0.0, cut + 60 - time.time()))
    assert seen["good"] > 100 and len(seen["failed"]) <= 16
    assert [one for one in seen["failed"] if one["at"] > cut] == [], seen["failed"]


def test_a_drain_and_a_reload_cost_nothing_and_the_other_box_answers_as_fast(fleet):
    router, (first, second) = fleet
    with stub_boxes.load(router) as before:
        time.sleep(3)
    with stub_boxes.load(router) as seen:
        haproxy.told(router.asks(), "tiny", first.name, "drain")
        router.wait(lambda: router.seen()["tiny", first.name]["sessions"] == 0)
        router.reload()
        time.sleep(3)
        assert router.seen()["tiny", first.name]["status"].startswith("DRAIN") and router.seen()["tiny", second.name]["sessions"] > 8
        haproxy.told(router.asks(), "tiny", first.name, "ready")
        router.wait(lambda: router.seen()["tiny", first.name]["sessions"] > 4)
    assert before["failed"] == seen["failed"] == [] and seen["good"] > 60
    first_s, first_before_s = statistics.median(seen["first_s"]), statistics.median(before["first_s"])
    assert first_before_s >= stub_boxes.FIRST_S and first_s <= 1.5 * first_before_s, (first_s, first_before_s)

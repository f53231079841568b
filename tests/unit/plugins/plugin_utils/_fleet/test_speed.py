# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The measured speed beside the expected one, in status and report."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._fleet import status, status_page
from ansible_collections.gb10.vllm.plugins.plugin_utils._fleet.speed import speed, words
from fleet_boxes import box, deployed, server

EXPECTED = {"kind": "dense", "ceiling": 10.9, "low": 6.5, "high": 7.6}


def kept(spec, **more):
    return {
        "format": 1,
        "spec": spec,
        "made_at": "2026-11-26 03:00",
        "profile": "chat",
        "concurrency": 1,
        "depth": 0,
        "decode": 7.1,
        "expected": EXPECTED,
        **more,
    }


def fleet(**more):
    one = box(deployed())
    one["servers"]["devstral"]["benchmark"] = kept(one["servers"]["devstral"]["deployment"]["spec"], **more)
    return {"spark-01": {"box": one, "wanted": [server()]}}


def test_status_and_report_name_the_expected_speed_beside_the_measured_one():
    said = "decodes 7.1 tokens/s for one stream (benchmark chat, 2026-11-26 03:00); expected are 6.5 to 7.6"
    seen = fleet()
    now = status.status(seen, "now")
    assert f"spark-01 devstral {said}." in status.status_table(now)
    assert f"spark-01 devstral {said}." in status.report_table(seen)
    assert said in status_page.page(now, {})
    assert now["boxes"]["spark-01"]["servers"][0]["speed"]["decode"] == 7.1


def test_a_slow_one_says_what_usually_costs_that():
    seen = fleet(decode=1.2, judged={"verdict": "slow", "text": "1.2 of at most 10.9. Less than half of that usually comes from a GPU that is stuck"})
    assert "usually comes from a GPU that is stuck" in status.status_table(status.status(seen, "now"))


def test_without_a_roofline_nothing_is_expected():
    assert "what to expect is not known here" in words(speed({"benchmark": kept("s", expected={})}, "s"))


@pytest.mark.parametrize("record", [{}, {"benchmark": []}, {"benchmark": {"spec": "s"}}, {"benchmark": kept("other")}, {"benchmark": kept("s", decode="fast")}])
def test_a_benchmark_of_something_else_or_none_is_not_shown(record):
    assert words(speed(record, "s")) == ""


@pytest.mark.parametrize("value", [None, [], "x", {"low": "a"}, {"low": 1}])
def test_a_record_of_any_shape_is_shown_or_not_and_never_a_crash(value):
    assert words(speed({"benchmark": kept("s", expected=value, judged=value, concurrency=value, profile=value)}, "s"))

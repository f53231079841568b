# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters of the lock file, and what a rescue is told."""

from __future__ import annotations

from ansible_collections.gb10.vllm.plugins.filter.gb10 import FilterModule
from fleet_boxes import box, deployed

FILTERS = FilterModule().filters()
ONE = box(deployed())
SEEN = {"spark-1": {"address": "10.0.0.1", "box": ONE}}
EMPTY = {"boxes": {}, "problem": ""}


def test_a_box_counts_as_it_was_read_last():
    hostvars = {
        "a": {"preflight_result": {"box": {"n": 1}}, "ansible_host": "10.0.0.1"},
        "b": {"preflight_result": {"box": {"n": 1}}, "fleet_box_now": {"n": 2}},
        "c": {"preflight_result": {"msg": "no route"}},
        "d": {},
    }
    assert FILTERS["boxes_as_read"](list(hostvars), hostvars) == {
        "a": {"address": "10.0.0.1", "box": {"n": 1}},
        "b": {"address": "b", "box": {"n": 2}},
        "c": {"address": "c", "box": {}},
        "d": {"address": "d", "box": {}},
    }


def test_the_lock_is_written_from_what_was_read_and_told():
    told = FILTERS["lock_text"](SEEN, EMPTY, ["spark-1", "spark-2"])
    assert told["problem"] == "" and "gb10_lock:" in told["text"] and "spark-1  devstral" in told["report"]
    again = FILTERS["lock_content"](told["text"], "gb10.lock.yml")
    assert again["problem"] == "" and FILTERS["lock_text"](SEEN, again, ["spark-1"])["text"] == told["text"]
    unread = {**SEEN, "spark-2": {"address": "10.0.0.2", "box": {}}}
    assert FILTERS["lock_text"](unread, again, ["spark-1", "spark-2"])["text"] == told["text"], "a box that was not read is not locked as empty"


def test_a_lock_that_must_not_be_written_is_refused_and_the_report_still_told():
    other = FILTERS["lock_content"](FILTERS["lock_text"](SEEN, EMPTY, [])["text"], "x")
    refused = FILTERS["lock_text"]({"a": {"address": "a", "box": ONE}}, other, ["a"])
    assert refused["text"] == "" and "It was not overwritten" in refused["problem"] and "devstral" in refused["report"]
    assert FILTERS["lock_refused"](other, ["a"]) == refused["problem"]
    torn = FILTERS["lock_content"]("nothing", "x")
    assert FILTERS["lock_text"](SEEN, torn, ["spark-1"])["problem"] == FILTERS["lock_refused"](torn, ["spark-1"]) == torn["problem"]
    assert "x is not a lock file of gb10.vllm" in torn["problem"]


def test_without_a_lock_file_there_is_only_the_report():
    told = FILTERS["lock_text"](SEEN, {}, ["spark-1"])
    assert (told["text"], told["problem"]) == ("", "") and "devstral" in told["report"]


def test_the_first_item_that_failed_is_what_failed():
    failed = {"failed": True, "msg": "no route"}
    assert FILTERS["first_failure"]({"results": [{"msg": "fine"}, failed, {"failed": True, "msg": "later"}], "msg": "One or more items failed"}) == failed
    assert FILTERS["first_failure"](failed) == failed
    assert FILTERS["first_failure"]({"results": [{"skipped": True}], "msg": "m"})["msg"] == "m"
    assert FILTERS["first_failure"]({}) == {}

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the plan of one box is told of the starts that others measured."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._fleet import learned


def deployment(image="i", *flags):
    return {"spec": "s", "manifest": "m", "container": {"image": image, "command": ["vllm", "serve", "/m", "--port", "1", *flags]}}


def start(where, beside=5, image="i", *flags):
    return {"where": where, "deployment": deployment(image, *flags), "measured": {"spec": "s", "facts": {"beside_bytes": beside}}}


def box(one=None, now=None):
    """The variables of a box that holds the record of this start, and has measured that one in this run."""
    records = {"a": {"deployment": one["deployment"], "measured": one["measured"]}} if one else {}
    return {"preflight_result": {"box": {"servers": records}}, **({"server_learned": [now]} if now else {})}


def starts(fleet, own="spark-9", locked=None):
    return learned.starts(list(fleet), fleet.__getitem__, own, locked or (lambda: {}))


def locked(**boxes):
    entries = {name: {"servers": {"a": {"spec": "s", "deployment": deployment(), "measured": {"beside_bytes": beside}}}} for name, beside in boxes.items()}
    return lambda: {name.replace("_", "-"): entry for name, entry in entries.items()}


def test_the_canarys_figure_is_there_for_the_next_batch():
    assert starts({"spark-1": box(now=start("spark-1")), "spark-9": box()}) == [start("spark-1")]
    assert starts({"spark-1": box(start("spark-1", 7))}) == [start("spark-1", 7)], "what it measured in an earlier run too"
    assert starts({"spark-9": box(start("spark-9"))}) == [], "its own records the plan reads by itself"


def test_of_the_same_image_model_and_flags_the_one_that_took_most():
    fleet = {"spark-1": box(start("spark-1", 3), start("spark-1", 4)), "spark-2": box(start("spark-2", 6)), "spark-3": box(start("spark-3", 9, "j"))}
    assert starts(fleet) == [start("spark-2", 6), start("spark-3", 9, "j")]
    fleet = {"spark-1": box(start("spark-1", 3, "i", "--port", "7")), "spark-2": box(start("spark-2", 2, "i", "--enable-lora"))}
    assert [one["where"] for one in starts(fleet)] == ["spark-1", "spark-2"], "other flags are another start, another port is not"
    assert len(starts({"spark-1": box(start("spark-1", 3, "i", "--port", "7")), "spark-2": box(start("spark-2", 2))})) == 1


def test_the_lock_file_speaks_for_boxes_that_are_not_in_the_run_or_lost_their_records():
    assert starts({"spark-9": box()}, locked=locked(spark_1=5)) == [start("spark-1")]
    assert starts({"spark-1": box(), "spark-9": box()}, locked=locked(spark_1=5)) == [start("spark-1")]
    assert starts({"spark-9": box()}, locked=locked(spark_9=5)) == [start("spark-9")], "a box that was set up anew learns from itself"
    assert starts({"spark-9": box(start("spark-9"))}, locked=locked(spark_9=5)) == []
    assert starts({"spark-1": box(start("spark-1", 4))}, locked=locked(spark_1=5)) == [start("spark-1", 4)], "what the box holds is newer"


def test_the_lock_file_is_not_read_where_every_box_has_its_records():
    assert starts({"spark-1": box(start("spark-1")), "spark-9": box()}, locked=lambda: pytest.fail("read")) == [start("spark-1")]


def test_a_start_that_measured_nothing_from_outside_says_nothing():
    one = start("spark-1")
    one["measured"]["facts"] = {"kv_tokens": 1}
    assert starts({"spark-1": box(one)}) == []
    assert starts({"spark-1": {}, "spark-2": {"preflight_result": {"box": None}}, "spark-3": box()}) == []
    odd = start("spark-1")
    odd["measured"]["facts"]["beside_bytes"] = "many"
    assert len(starts({"spark-1": box(odd), "spark-2": box(start("spark-2"))})) == 1

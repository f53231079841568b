# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a search works, and what came of a candidate on all boxes of its server."""

from __future__ import annotations

import json

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._filters import tune
from ansible_collections.gb10.vllm.plugins.plugin_utils._tune import boxes, search

RUN = ["a", "b", "c"]
WISH = {"aim": "tokens_per_s", "settings": {"max_num_seqs": [16]}, "profile": {"name": "quick"}, "most": 20, "state": "s.json"}


def inventory(*servers, **more):
    return {box: {"gb10_servers": [{"model": "m", **server} for server in servers], **more} for box in RUN}


@pytest.mark.parametrize(
    ("servers", "box", "server", "hosts"),
    [
        ([{"name": "s"}], "", "", ["a"]),
        ([{"name": "s"}], "b", "", ["b"]),
        ([{"name": "s"}], "z", "", ["a"]),
        ([{"name": "big", "boxes": ["c", "a"]}], "", "", ["a", "c"]),
        ([{"name": "big", "boxes": ["c", "a"]}], "b", "", ["a", "c"]),
        ([{"name": "big", "boxes": 2}], "", "", RUN),
        ([{"name": "big", "boxes": ["c", "a"]}, {"name": "s"}], "", "", ["a"]),
        ([{"name": "big", "boxes": ["c", "a"]}, {"name": "s"}], "", "big", ["a", "c"]),
        ([{"name": "big", "boxes": ["c", "a"]}, {"name": "s"}], "b", "s", ["b"]),
        ([{"name": "big", "boxes": ["y", "z"]}], "", "", ["a"]),
        ([{"name": "r", "recipe": "not-there.yml"}], "", "", ["a"]),
    ],
)
def test_a_search_goes_to_one_box_or_to_all_of_a_server_over_several(servers, box, server, hosts):
    assert boxes.hosts_of(RUN, inventory(*servers), box, server) == hosts


def test_the_server_may_be_named_in_the_inventory_and_there_may_be_no_box():
    named = inventory({"name": "big", "boxes": ["c", "a"]}, {"name": "s"}, gb10_tune_server="big")
    assert boxes.hosts_of(RUN, named) == ["a", "c"] and boxes.hosts_of([], {}) == []


def record(box, number=None, of=("c", "a")):
    group = {} if number is None else {"group": {"number": number, "boxes": list(of)}}
    return {"deployment": {"spec": f"spec-{box}", **group}, "history": [{"spec": f"older-{box}"}]}


def looked_at(**records):
    return {box: {"preflight_result": {"box": {"servers": {"big": one} if one else {}}}} for box, one in records.items()}


def test_its_boxes_are_those_of_the_record_the_head_first():
    seen = looked_at(a=record("a", 1), b=None, c=record("c", 0))
    assert boxes.boxes_of(RUN, seen, "big") == ["c", "a"]
    assert boxes.boxes_of(["b"], seen, "big") == [] and boxes.boxes_of(["a"], looked_at(a=record("a")), "big") == ["a"]
    assert {box: bool(one) for box, one in boxes.records_of(["c", "a", "z"], seen, "big").items()} == {"c": True, "a": True, "z": False}


def test_what_ran_on_each_box_is_kept_and_comes_back_on_all_or_where_it_was():
    records = {"c": record("c", 0), "a": record("a", 1)}
    state = json.loads(json.dumps(tune.tune_begun({"name": "big", "boxes": ["c", "a"]}, WISH, records["c"], "", records)))
    assert [search.original_of(state, box)["deployment"]["spec"] for box in ("c", "a")] == ["spec-c", "spec-a"]
    assert search.original_of(state, "a")["history"] == [{"spec": "older-a"}]
    assert search.replaced(state, records) == []
    assert search.replaced(state, {**records, "a": {"deployment": {"spec": "tried"}}}) == ["a"] == search.replaced(state, {**records, "a": {}})
    again = tune.tune_begun({"name": "big", "boxes": ["c", "a"]}, WISH, {"deployment": {"spec": "tried"}}, json.dumps(state), {})
    assert again["ranks"] == state["ranks"], "a search that goes on knows what ran before it"


def test_one_box_is_kept_as_ever():
    state = tune.tune_begun({"name": "s"}, WISH, record("a"), "", {"a": record("a")})
    assert "ranks" not in state and search.original_of(state, "a") == state["original"] == {"deployment": {"spec": "spec-a"}, "history": [{"spec": "older-a"}]}


def box(stage, why="", **more):
    return {"tune_stage": stage, "tune_why": why, **more}


@pytest.mark.parametrize(
    ("head", "other", "came"),
    [
        (box("measured", benchmark_result={"json": "{}"}), box("measured", benchmark_result={}), ("measured", "", "{}")),
        (box("failed", "it died under the load"), box("measured"), ("failed", "it died under the load", "")),
        (box("failed", "goes back because a failed"), box("failed", "no memory", server_rank_failed="big"), ("failed", "no memory", "")),
        (box("failed", "no memory", server_rank_failed="big"), box("failed", "goes back because c failed"), ("failed", "no memory", "")),
        (
            box("failed", "goes back because a failed", server_rank_failed="big", server_rank_left="a"),
            box("failed", "no memory", server_rank_failed="big"),
            ("failed", "no memory", ""),
        ),
        (box("planned", "one of its boxes does not take it"), box("unfit", "needs 300 GiB"), ("unfit", "needs 300 GiB", "")),
        (box("unfit", "needs 300 GiB"), box("unfit", "needs 290 GiB"), ("unfit", "needs 300 GiB", "")),
        (box("measured", benchmark_result={"json": "{}"}), box("failed", "gone", server_rank_failed="other"), ("failed", "gone", "")),
    ],
)
def test_a_candidate_came_as_far_as_the_box_that_came_least_far_with_it(head, other, came):
    assert boxes.came(["c", "a"], {"c": head, "a": other}, "big") == dict(zip(("outcome", "why", "result"), came, strict=True))


def test_other_servers_over_several_boxes_are_no_part_of_a_search():
    given = [{"name": "s"}, {"name": "big", "boxes": 2}, {"name": "huge", "boxes": ["a", "b"]}]
    assert [one["name"] for one in tune.tune_servers(given, "s", {})] == ["s"]
    assert tune.tune_servers(given, "big", {"max_num_seqs": 4}) == [{"name": "s"}, {"name": "big", "boxes": 2, "args": {"max_num_seqs": 4}}]
    assert len(tune.tune_servers(given, "", {})) == 3, "which is said before anything else"


def test_the_boxes_of_a_server_cannot_be_tuned():
    with pytest.raises(GB10Error, match="boxes cannot be tuned"):
        search.space_of({"boxes": [2, 4]})

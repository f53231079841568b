# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A bundle holds the models of servers over several boxes, and brings each once; the boxes give it to each other then."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import distribution
from rendered import collections, render, trusted, variables_of

SMALL, NAMED, COUNTED = (
    {"name": "small", "model": "tiny"},
    {"name": "big", "model": "org/large", "port": 8001, "boxes": ["b", "c"]},
    {"name": "any", "model": "org/larger", "port": 8002, "boxes": 2},
)


@pytest.fixture(scope="module")
def wanted():
    with collections():
        known = {**variables_of("bundle"), "gb10_servers": [SMALL, NAMED, COUNTED]}
        yield {box: render(trusted("{{ bundle_servers }}"), {**known, "inventory_hostname": box}) for box in "abc"}


def test_each_box_wants_what_it_is_or_may_be_a_rank_of(wanted):
    assert {box: [one["name"] for one in servers] for box, servers in wanted.items()} == {
        "a": ["small", "any"], "b": ["small", "big", "any"], "c": ["small", "big", "any"],
    }  # fmt: skip


def test_each_model_is_brought_to_one_box_and_taken_from_one(wanted):
    nowhere = {box: distribution.wanted_models(servers, {}) for box, servers in wanted.items()}
    brought = {box: [one["model"] for one in distribution.first_of(nowhere, box, False)] for box in "abc"}
    assert brought == {"a": ["tiny", "org/larger"], "b": ["org/large"], "c": []}
    held = {one["model_path"]: {"present": True, "manifest": "m"} for one in nowhere["c"]}
    there = {box: distribution.wanted_models(servers, held if box == "c" else {}) for box, servers in wanted.items()}
    assert [one["model"] for one in distribution.first_of(there, "c")] == ["tiny", "org/large", "org/larger"]

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a server takes beside weights and KV cache, from readings of its box: on one pool of memory, and on a device with memory of its own."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._engine import footprint
from ansible_collections.gb10.vllm.plugins.module_utils._engine.footprint import MIB, ROUNDING_BYTES, VAGUE_BYTES, WANDER_BYTES
from hypothesis import given
from hypothesis import strategies as st

GIB = 2**30


def reading(available, others=5 * GIB, ours=0, **more):
    return {"total_bytes": 120 * GIB, "available_bytes": available, "others_bytes": others, "ours_bytes": ours, "device_bytes": None} | more


def measured(lowest, before=110 * GIB, others=(5 * GIB, 5 * GIB, 5 * GIB), weights=24 * GIB, kv=60 * GIB, **more):
    first, then, now = (reading(before, held) for held in others)
    end = {**now, "available_bytes": lowest + GIB, "lowest_bytes": lowest, "ours_bytes": 2 * GIB, **more}
    return footprint.beside(first, then, end, weights, kv)


def test_what_the_box_lost_less_weights_and_cache_is_what_is_beside():
    seen = measured(21 * GIB)
    assert seen == {"beside_bytes": 5 * GIB, "beside_uncertainty_bytes": WANDER_BYTES + ROUNDING_BYTES, "host_bytes": 2 * GIB}


@pytest.mark.parametrize(
    ("others", "beside", "unsure"),
    [
        ((5, 7, 7), 3, 0.5),  # another program took 2 GiB meanwhile
        ((5, 4, 4), 6, 0.25),  # one gave a GiB back
        ((5, 5, 7), 4, 1.25),  # it took them after the server was ready: when the lowest moment was is not known
        ((5, 5, 5), 5, 0),
    ],
)
def test_what_others_took_or_gave_back_meanwhile_is_not_the_servers(others, beside, unsure):
    seen = measured(21 * GIB, others=[int(held * GIB) for held in others])
    assert seen["beside_bytes"] == beside * GIB
    assert seen["beside_uncertainty_bytes"] == WANDER_BYTES + ROUNDING_BYTES + int(unsure * GIB)


def test_a_box_that_was_restless_before_the_start_makes_the_figure_less_certain():
    first = {**reading(110 * GIB), "wander_bytes": 300 * MIB}
    end = {**reading(22 * GIB), "lowest_bytes": 21 * GIB}
    assert footprint.beside(first, reading(22 * GIB), end, 24 * GIB, 60 * GIB)["beside_uncertainty_bytes"] == 300 * MIB + ROUNDING_BYTES


def test_on_a_device_of_its_own_the_device_and_the_processes_count():
    """As on the H100 of the tests: what MemAvailable does there says nothing of the device."""
    first = reading(200 * GIB, device_bytes=GIB, device_total_bytes=80 * GIB)
    ready = reading(190 * GIB, others=50 * GIB, device_bytes=70 * GIB)
    end = {**reading(190 * GIB, others=90 * GIB, ours=2 * GIB, device_bytes=70 * GIB), "lowest_bytes": 100 * GIB, "most_device_bytes": 71 * GIB}
    seen = footprint.beside(first, ready, end, 24 * GIB, 44 * GIB)
    assert seen == {"beside_bytes": 4 * GIB, "beside_uncertainty_bytes": 2 * WANDER_BYTES + ROUNDING_BYTES, "host_bytes": 2 * GIB}


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (measured(27 * GIB), "it would be negative (-1.00 GiB)"),
        (measured(21 * GIB, weights=-200 * GIB), "more than the box has"),
        (measured(21 * GIB, others=(5 * GIB, 5 * GIB, 20 * GIB)), "known to 9.4 GiB only"),
        (measured(21 * GIB, total_bytes=119 * GIB), "another size"),
    ],
)
def test_a_measurement_without_sense_is_kept_out_with_the_reason(seen, words):
    assert list(seen) == ["problem"]
    assert words in seen["problem"]


def test_a_little_below_nothing_is_nothing():
    assert measured(26 * GIB + 20 * MIB)["beside_bytes"] == 0


@pytest.mark.parametrize(
    "bad", [(True, 0, GIB), ("5", 0, GIB), (5, None, GIB), (1.5, 0, GIB), (5, -1, GIB), (GIB + 1, 0, GIB), (-1, 0, GIB), (0, VAGUE_BYTES + 1, GIB)]
)
def test_what_a_record_may_hold_instead_of_a_figure(bad):
    assert footprint.nonsense(*bad)
    assert footprint.nonsense(GIB, VAGUE_BYTES, GIB) == ""


@given(st.integers(0, 120 * GIB), st.integers(0, 30 * GIB), st.integers(0, 40 * GIB), st.integers(0, 80 * GIB))
def test_whatever_is_read_the_figure_is_within_the_box_or_there_is_none(lowest, others, weights, kv):
    seen = measured(lowest, others=(5 * GIB, others, others), weights=weights, kv=kv)
    assert "problem" in seen or (0 <= seen["beside_bytes"] <= 120 * GIB and 0 < seen["beside_uncertainty_bytes"] <= VAGUE_BYTES)


@pytest.mark.parametrize(("lowest", "missing", "idle"), [(9, 3, 0), (12, 0, 0), (13, 0, 0), (14, 0, 0.5)])
def test_what_is_left_is_told_by_floor_and_margin(lowest, missing, idle):
    left = footprint.left({"lowest_bytes": lowest * GIB}, 12 * GIB, 3 * GIB // 2)
    assert left == {"lowest_bytes": lowest * GIB, "missing_bytes": missing * GIB, "idle_bytes": int(idle * GIB)}


def test_the_split_names_what_is_known_and_the_rest():
    facts = {"beside_bytes": 5 * GIB, "graph_bytes": GIB, "host_bytes": 2 * GIB}
    assert footprint.split(facts) == [("CUDA graphs", GIB), ("processes on the host", 2 * GIB), ("CUDA context, activations, workspaces", 2 * GIB)]
    assert footprint.split({"beside_bytes": 2 * GIB, "host_bytes": 3 * GIB}) == [("processes on the host", 3 * GIB)]

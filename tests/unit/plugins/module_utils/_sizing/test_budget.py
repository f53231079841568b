# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a box has for servers, when some of them already run on it."""

from __future__ import annotations

from ansible_collections.gb10.vllm.plugins.module_utils._sizing.budget import GIB, box_memory

FLOOR = 12 * GIB


def box(available_gib, total_gib=120, weights_gib=20, kv_gib=30, requested_gib=60):
    """A box on which one server of ours runs, as box_info describes it."""
    planned = {"weights_bytes": {"value": weights_gib * GIB, "source": "computed", "why": "x"}, "kv_cache_bytes": kv_gib * GIB}
    return {
        "memory": {"total_bytes": total_gib * GIB, "available_bytes": int(available_gib * GIB), "cuda_total_bytes": None},
        "docker": {"containers": [{"name": "gb10-vllm-a", "labels": {"gb10.vllm.server": "a"}, "status": "running"}]},
        "servers": {"a": {"deployment": {"requested_bytes": requested_gib * GIB, "planned": planned}}},
    }


def test_what_runs_is_never_refused_because_memory_moved():
    memory = box_memory(box(available_gib=5), ["a"], FLOOR)
    assert memory.returned_bytes == 52 * GIB, "weights, KV cache and the overhead of a start that was not measured"
    assert memory.available_bytes - FLOOR < 60 * GIB
    assert memory.usable_bytes == 60 * GIB


def test_only_a_server_that_is_wanted_gives_its_memory_back():
    memory = box_memory(box(available_gib=50), ["b"], FLOOR)
    assert (memory.returned_bytes, memory.available_bytes, memory.usable_bytes) == (0, 50 * GIB, 38 * GIB)
    assert [other["name"] for other in memory.others] == ["server a"]


def test_what_running_servers_give_back_is_never_more_than_the_box_has():
    memory = box_memory(box(available_gib=50, kv_gib=400, requested_gib=500), ["a"], FLOOR)
    assert memory.available_bytes == 119 * GIB, "a record that is wrong does not make a box larger"

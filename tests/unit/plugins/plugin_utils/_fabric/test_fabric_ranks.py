# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What NCCL is told on each box, and what an all-gather is judged by."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._fabric.plan import fabric_plan
from ansible_collections.gb10.vllm.plugins.plugin_utils._fabric.ranks import all_gather_findings, fabric_ranks
from fabric_boxes import box


def told(count, *cabled):
    seen = {f"spark-{number:02}": box(number, *cabled) for number in range(1, count + 1)}
    plan = fabric_plan(seen, {})
    return [fabric_ranks(seen, plan, name) for name in seen]


def test_a_pair_meets_over_its_cable_with_both_halves():
    first, second = told(2, 0)
    assert first == second, "where both use the same port, all that is equal is equal"
    assert (first["MASTER_ADDR"], first["GLOO_SOCKET_IFNAME"], first["NCCL_SOCKET_IFNAME"]) == ("192.168.177.11", "enp1s0f0np0", "=enp1s0f0np0")
    assert first["NCCL_IB_HCA"] == "=roceP2p1s0f0,rocep1s0f0" and "NCCL_ALGO" not in first and "NCCL_IB_MERGE_NICS" not in first


@pytest.mark.parametrize(("count", "ring"), [(3, False), (4, True)])
def test_a_circle_meets_by_the_way_in_and_uses_all_its_halves(count, ring):
    for one in told(count, 0, 1):
        assert (one["MASTER_ADDR"], one["GLOO_SOCKET_IFNAME"]) == ("10.0.0.1", "enP7s7")
        assert one["NCCL_IB_HCA"].count("roce") == 4 and one["NCCL_IB_SUBNET_AWARE_ROUTING"] == "1" and one["NCCL_IB_MERGE_NICS"] == "0"
        assert (one.get("NCCL_ALGO") == "Ring") is ring


@pytest.mark.parametrize("cabled", [(0,), (0, 1)])
def test_no_index_of_a_gid_is_ever_fixed(cabled):
    assert not any("GID" in name for one in told(4, *cabled) for name in one)


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ({"a": {"gigabytes_per_s": 23.7}, "b": {"gigabytes_per_s": 23.8}}, []),
        ({"a": {"gigabytes_per_s": 23.7}, "b": {"gigabytes_per_s": 12.1}}, ["b: an all-gather brings 12.1 GB/s", "One half"]),
        ({"a": {"gigabytes_per_s": 3.0}}, ["3.0 GB/s", "over TCP"]),
        ({"a": {"gigabytes_per_s": 19.0}}, ["19.0 GB/s", "MTU"]),
        ({"a": {"gigabytes_per_s": None, "said": "no libcuda"}, "b": {"gigabytes_per_s": 23.7}}, ["a: the all-gather brought no figure: no libcuda"]),
        ({"a": {"refused": "gb10-vllm-x runs", "gigabytes_per_s": None}, "b": {"refused": ""}}, ["a: the all-gather was not run: gb10-vllm-x runs"]),
        ({}, []),
    ],
)
def test_what_an_all_gather_brings(results, said):
    found = all_gather_findings(results)
    assert len(found) == bool(said) and all(word in found[0]["text"] for word in said)

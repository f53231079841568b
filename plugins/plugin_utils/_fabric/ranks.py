# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What NCCL has to know on each box of a fabric, and what an all-gather over it should bring. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MEET = 29555
"""The port on which the first rank waits for the others while it is measured."""
# NVIDIA's guides, 23.7 over both halves; 11 to 14 over one, about 3 over TCP.
ENOUGH, HALF, SOCKETS = 23.0, 15.0, 5.0
# Boxes that are not all connected to each other (eugr/spark-vllm-docker, get_env_flags).
CIRCLE = {"NCCL_NET_PLUGIN": "none", "NCCL_IB_SUBNET_AWARE_ROUTING": "1", "NCCL_IB_MERGE_NICS": "0"}


def fabric_ranks(boxes: Mapping[str, Mapping[str, Any]], plan: Mapping[str, Any], name: str) -> dict[str, str]:
    """The environment of the rank on the box ``name``. Never a fixed GID index: it differs by box, and NCCL finds it.

    Boxes of a mesh or ring are not all neighbours, so their ranks meet by the network by which Ansible comes in.
    """
    first = next(iter(boxes))
    mine = sorted(plan["boxes"][name]["addresses"])
    circle = plan["topology"] in ("mesh", "ring")
    hcas = sorted({half["hca"] for half in boxes[name]["ports"] if half["interface"] in mine and half["hca"]})
    way, meet = (_way(boxes[name])[0], _way(boxes[first])[1]) if circle else (_first(plan, name)[0], _first(plan, first)[1])
    environment = {
        "MASTER_ADDR": meet, "MASTER_PORT": str(MEET), "NCCL_SOCKET_IFNAME": f"={way}", "GLOO_SOCKET_IFNAME": way, "NCCL_IB_HCA": f"={','.join(hcas)}",
        "NCCL_IB_DISABLE": "0", "NCCL_CROSS_NIC": "1", "NCCL_CUMEM_ENABLE": "0", "NCCL_IGNORE_CPU_AFFINITY": "1", "NCCL_DEBUG": "WARN",
    }  # fmt: skip
    return {**environment, **(CIRCLE if circle else {}), **({"NCCL_ALGO": "Ring"} if plan["topology"] == "ring" else {})}


def _first(plan: Mapping[str, Any], name: str) -> tuple[str, str]:
    """Interface and address of a box on the first half of its first cable."""
    end = next(end for segment in plan["segments"] for end in segment["ends"] if end["box"] == name)
    return end["interface"], end["address"].split("/")[0]


def _way(facts: Mapping[str, Any]) -> tuple[str, str]:
    """Interface and address by which a box is reached."""
    held = [(interface, one.split("/")[0]) for interface in facts["kept"] for one in facts["addresses"].get(interface, []) if ":" not in one]
    return held[0] if held else ("lo", "127.0.0.1")


def all_gather_findings(results: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """What was measured over all boxes, as a finding where it is too little or nothing; ``results``: of M(gb10.vllm.fabric_all_gather) by box."""

    def finding(box: str, what: str, why: str, fix: str) -> dict[str, str]:
        return {"box": box, "what": what, "why": why, "fix": fix, "text": f"{box}: {what}: {why}. {fix}"}

    refused = [finding(box, "the all-gather was not run", one["refused"], "Then examine again.") for box, one in results.items() if one.get("refused")]
    if refused:
        return refused
    silent = [
        finding(box, "the all-gather brought no figure", one.get("said") or "it said nothing", "Clear the findings above first; try the image by hand.")
        for box, one in results.items()
        if one.get("gigabytes_per_s") is None
    ]
    rates = [one["gigabytes_per_s"] for one in results.values() if one.get("gigabytes_per_s") is not None]
    if silent or not rates or min(rates) >= ENOUGH:
        return silent
    slowest = min(rates)
    fix = "Look at both halves above, and at the MTU; measure again while nothing else is at work."
    if slowest < SOCKETS:
        fix = "NCCL goes over TCP: look at RDMA devices and GIDs above; the image has to have libibverbs."
    elif slowest < HALF:
        fix = "One half is not used, or has two PCIe lanes: look at carriers, lanes and ib_write_bw above."
    box = next(name for name, one in results.items() if one["gigabytes_per_s"] == slowest)
    return [finding(box, f"an all-gather brings {slowest:.1f} GB/s", f"{ENOUGH:.0f} GB/s and more are usual over both halves", fix)]

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wrong with a fabric, with its fix, from what its boxes show, what the other ends answer and what was measured. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

FUNCTIONS, LANES = 4, 4
# Both halves of a cable carry 185 to 198 Gb/s together, one 92 to 112 (NVIDIA's guide, eugr/spark-vllm-docker NETWORKING.md).
ENOUGH_GBITS, HALF_GBITS, NARROW_GBITS = 180, 120, 70
# A controller that started badly: four lanes, clean counters, 13 Gb/s, on boxes with all updates (NVIDIA/dgx-spark-playbooks#108).
CAPPED_GBITS = (8, 25)


def _finding(box: str, what: str, why: str, fix: str) -> dict[str, str]:
    return {"box": box, "what": what, "why": why, "fix": fix, "text": f"{box}: {what}: {why}. {fix}"}


def fabric_findings(
    boxes: Mapping[str, Mapping[str, Any]], plan: Mapping[str, Any], answers: Mapping[str, Sequence[Mapping[str, Any]]], given: Mapping[str, Any] | None = None
) -> list[dict[str, str]]:
    """[{box, what, why, fix, text}] in the order in which one looks: driver, cable, PCIe, MTU, addresses, GIDs, other ends.

    ``boxes``: from M(gb10.vllm.fabric_info), ``plan``: from P(gb10.vllm.fabric_plan#filter), ``answers``: of each box to its peers, ``given``: ``gb10_fabric``.
    """
    found: list[dict[str, str]] = []
    named = bool((given or {}).get("interfaces"))
    for name, facts in boxes.items():
        wanted = (plan["boxes"].get(name) or {}).get("addresses") or {}
        found += _devices(name, facts, named)
        for half in facts["ports"]:
            found += _half(name, half, wanted.get(half["interface"]), int((given or {}).get("mtu") or 9000))
    by_interface = {(name, half["interface"]): half for name, facts in boxes.items() for half in facts["ports"]}
    for name, many in answers.items():
        for answer in many:
            mine = ((plan["boxes"].get(name) or {}).get("addresses") or {}).get(answer["interface"])
            if mine not in by_interface[name, answer["interface"]]["addresses"]:
                continue  # without an address of its own nothing comes back, and that is said above
            found += _answer(name, answer, by_interface)
    return found


def _devices(name: str, facts: Mapping[str, Any], named: bool) -> Iterator[dict[str, str]]:
    if not named and not facts["driver"]:
        yield _finding(
            name, "the driver mlx5_core is not loaded", "no ConnectX is used without it", "Run `modprobe mlx5_core`; DGX OS brings it with its kernel."
        )
    real = [half for half in facts["ports"] if half["pci"]]
    if not named and len(real) < FUNCTIONS:
        why = f"a ConnectX-7 of a GB10 has {FUNCTIONS}, two for each port"
        yield _finding(
            name, f"{len(real)} interfaces of a ConnectX are there", why, "Look at `lspci | grep Mellanox` and `dmesg | grep mlx5`; update the firmware."
        )
    without = [half["interface"] for half in real if not half["hca"]]
    if without:
        why = "without it NCCL goes over TCP"
        yield _finding(name, f"{', '.join(without)} has no RDMA device", why, "Run `modprobe mlx5_ib`, and install rdma-core.")
    if not facts["perftest"]:
        yield _finding(name, "ib_write_bw is not installed", "the bandwidth cannot be measured", "Install it: apt-get install perftest.")


def _half(name: str, half: Mapping[str, Any], address: str | None, mtu: int) -> Iterator[dict[str, str]]:
    interface = half["interface"]
    if half["lanes"] and half["lanes"] < LANES:
        # What it could have at most is read from the same link, and is two as well where the firmware says so.
        why = f"its PCIe link has {half['lanes']} lanes of {LANES}, so it carries half; firmware before 2026-04 does that to the second controller"
        yield _finding(name, f"{interface} is narrow", why, "Update the firmware (fwupdmgr refresh && fwupdmgr update), and switch the box off for a minute.")
    if address is None:
        return
    if half["carrier"] is None:
        yield _finding(
            name, f"{interface} is down", "nothing is seen or sent by it", f"Run `ip link set {interface} up`, or the playbook with gb10_fabric.state."
        )
        return
    if not half["carrier"]:
        yield _finding(name, f"{interface} has no carrier", "the other half of its port has one", "Plug the cable in anew at both ends; look at `ethtool -m`.")
        return
    if half["hca"] and half["hca_state"] != "ACTIVE":
        yield _finding(name, f"{half['hca']} is {half['hca_state'] or 'unknown'}", "its port has a carrier", "Look at `ibstat` and `dmesg | grep mlx5`.")
    if half["mtu"] != mtu:
        fix = "Run the playbook with gb10_fabric.state: present, or set it where the interface is configured."
        yield _finding(name, f"{interface} has an MTU of {half['mtu']}", f"{mtu} are wanted at both ends", fix)
    if address not in half["addresses"]:
        has = ", ".join(half["addresses"]) or "none"
        yield _finding(name, f"{interface} lacks {address}", f"it has {has}", "Run the playbook with gb10_fabric.state: present.")
    elif half["hca"] and not any(gid["address"] == address.split("/")[0] and "v2" in gid["type"] for gid in half["gids"]):
        why = f"RoCE v2 needs one for {address.split('/')[0]}"
        yield _finding(name, f"{half['hca']} has no GID of its address", why, f"Run `ip link set {interface} down` and `up`; look at `show_gids`.")


def _answer(name: str, answer: Mapping[str, Any], by_interface: Mapping[tuple[str, str], Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    to = f"{answer['address']} ({answer['box']})"
    if answer["route"] and answer["route"] != answer["interface"]:
        why = f"the kernel goes there by {answer['route']}, as when both halves are in one subnet"
        yield _finding(name, f"{to} is not reached by {answer['interface']}", why, "Give each half a subnet of its own.")
    other = by_interface.get((answer["box"], answer["by"]))
    if answer["mac"] and other and answer["mac"] != other["mac"]:
        whose = next((f"{box} {interface}" for (box, interface), half in by_interface.items() if half["mac"] == answer["mac"]), answer["mac"])
        why = f"{whose} answers for it instead of {answer['box']} {answer['by']}"
        yield _finding(name, f"{to} is answered by another interface", why, "The cables or the halves are crossed; plug them as the plan says.")
    elif not answer["plain"]:
        why = f"no ping by {answer['interface']} comes back"
        yield _finding(name, f"{to} does not answer", why, "Look whether that box has its address, and whether the cable goes where the plan says.")
    if answer["plain"] and not answer["whole"]:
        why = "small frames arrive and whole ones do not"
        fix = "Set the MTU at the other end too; a switch between them needs 9216."
        yield _finding(name, f"frames of the whole MTU do not reach {to}", why, fix)


def fabric_pairs(boxes: Mapping[str, Mapping[str, Any]], plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Pairs to be measured: {waits, sends, halves: {box: [{interface, hca, address, peer}]}, lanes: {interface: PCIe lanes}}; of a switch the first box
    with each other one."""
    pairs: dict[tuple[int, str, str], dict[str, Any]] = {}
    hcas = {(name, half["interface"]): half["hca"] for name, facts in boxes.items() for half in facts["ports"]}
    lanes = {(name, half["interface"]): half["lanes"] for name, facts in boxes.items() for half in facts["ports"]}
    for segment in plan["segments"]:
        first, *others = segment["ends"]
        for end in others:
            pair = pairs.setdefault(
                (segment["cable"], first["box"], end["box"]),
                {"waits": first["box"], "sends": end["box"], "halves": {first["box"]: [], end["box"]: []}, "lanes": {}},
            )
            # By the interface that sends, the fewer of both ends; None where that is not known.
            known = [count for one in (first, end) if (count := lanes.get((one["box"], one["interface"])))]
            pair["lanes"][end["interface"]] = min(known) if len(known) == 2 or any(count < LANES for count in known) else None
            hosts = [one["address"].split("/")[0] for one in (first, end)]
            for one, mine, other in ((first, *hosts), (end, *reversed(hosts))):
                hca = hcas.get((one["box"], one["interface"])) or ""
                pair["halves"][one["box"]].append({"interface": one["interface"], "hca": hca, "address": mine, "peer": other})
    return list(pairs.values())


def bandwidth_findings(pair: Mapping[str, Any], rates: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """What was measured over the halves of one cable, as a finding where it is too little."""
    name, between = pair["sends"], f"{pair['waits']} and {pair['sends']}"
    silent = [rate for rate in rates if rate["gbits"] is None]
    if silent:
        why = "; ".join(f"{rate['interface']}: {rate['said'] or 'no answer'}" for rate in silent)
        return [_finding(name, f"nothing was measured between {between}", why, "Clear the findings above first; both ends need perftest and a GID.")]
    total = sum(rate["gbits"] for rate in rates)
    said = ", ".join(f"{rate['interface']} {rate['gbits']:.1f} Gb/s" for rate in rates)
    if total >= ENOUGH_GBITS:
        return []
    slow = [rate for rate in rates if rate["gbits"] < NARROW_GBITS]
    known = {rate["interface"]: (pair.get("lanes") or {}).get(rate["interface"]) for rate in slow}
    if any((known[rate["interface"]] or LANES) >= LANES and CAPPED_GBITS[0] <= rate["gbits"] <= CAPPED_GBITS[1] for rate in slow):
        fix = (
            "A half that carries 8 to 25 Gb/s over a sound link comes from a ConnectX that started badly, with any firmware: shut both boxes down, take their "
            "power away for a minute, start them with the cable plugged in, and measure again."
        )
    elif slow and all((lanes or 0) >= LANES for lanes in known.values()):
        fix = "Its PCIe link has four lanes, so that is not it: look at its MTU, its GID and its RDMA device above, and change the cable."
    elif slow:
        fix = "A half with 50 Gb/s has two PCIe lanes: update the firmware (fwupdmgr update) and switch the box off for a minute."
    elif total <= HALF_GBITS:
        fix = "One half is not used: look at its carrier, address and GID above."
    else:
        fix = "Measure again while no server runs; look at the MTU and at the cable (200 Gb/s)."
    return [_finding(name, f"{total:.0f} Gb/s between {between}", f"{ENOUGH_GBITS} and more are usual over both halves ({said})", fix)]

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From the ports of all boxes to addresses, netplan's file of each box and who is at the other end. Pure."""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._fabric.text import configured, render
from ansible_collections.gb10.vllm.plugins.plugin_utils._fabric.topology import Cabling, End, cabling

# As NVIDIA's guides have them: 177 and 178 for the halves of the first cable, 187 and 188 for those of the next, ...
USUAL = [f"192.168.{177 + 10 * cable + half}.0/24" for cable in range(8) for half in (0, 1)]
FIRST_HOST = 11
SPECIAL = [ipaddress.IPv4Network(one) for one in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")]
"""This host, loopback, addresses of the link alone, and those of groups and of nobody."""
OPTIONS: dict[str, Any] = {"state": None, "topology": "auto", "subnets": [], "interfaces": [], "mtu": 9000, "confirm_s": 90}


def fabric_options(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """``gb10_fabric`` with its defaults; GB10Error for what makes no sense."""
    given = given or {}
    strange = sorted(set(given) - set(OPTIONS))
    if strange:
        raise GB10Error(f"gb10_fabric has no setting {strange[0]!r}; it knows {', '.join(OPTIONS)}.")
    found = {**OPTIONS, **{key: value for key, value in given.items() if value is not None}}
    if found["state"] not in (None, "present", "absent"):
        raise GB10Error(f"gb10_fabric.state is {found['state']!r}; it is present or absent.")
    for key, least, most in (("mtu", 1280, 9978), ("confirm_s", 30, 3600)):
        try:
            found[key] = int(found[key])
        except (TypeError, ValueError, OverflowError):
            raise GB10Error(f"gb10_fabric.{key} is {found[key]!r}, which is no number.") from None
        if not least <= found[key] <= most:
            raise GB10Error(f"gb10_fabric.{key} is {found[key]}; it is {least} to {most}.")
    found["networks"] = _networks(found["subnets"] or USUAL)
    return found


def _networks(subnets: Sequence[str] | str) -> list[ipaddress.IPv4Network]:
    networks: list[ipaddress.IPv4Network] = []
    for one in subnets.split(",") if isinstance(subnets, str) else subnets:
        try:
            network = ipaddress.IPv4Network(str(one).strip())
        except ValueError as error:
            raise GB10Error(f"gb10_fabric.subnets holds {one!r}, which is no network ({error}); write it like 192.168.177.0/24.") from None
        special = next((known for known in SPECIAL if known.overlaps(network)), None)
        if special:
            raise GB10Error(
                f"gb10_fabric.subnets holds {network}, which overlaps with {special}: no box may have an address there; take one like 192.168.177.0/24."
            )
        other = next((known for known in networks if known.overlaps(network)), None)
        if other:
            raise GB10Error(f"gb10_fabric.subnets holds {network} and {other}, which overlap; each half of each cable needs a subnet of its own.")
        networks.append(network)
    return networks


def fabric_plan(boxes: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any] | None) -> dict[str, Any]:
    """{topology, why, notes, segments, boxes: {name: {netplan, peers, addresses}}, problem, text}: what the fabric is to be.

    ``boxes``: what M(gb10.vllm.fabric_info) returned, in the order of the inventory; ``problem`` is one sentence where there can be none, and the rest is
    empty then.
    """
    try:
        return _plan(boxes, fabric_options(given))
    except GB10Error as error:
        return {"problem": str(error), "topology": "", "why": "", "notes": [], "segments": [], "boxes": {}, "text": []}


def _plan(boxes: Mapping[str, Mapping[str, Any]], options: Mapping[str, Any]) -> dict[str, Any]:
    found = cabling(boxes, options["topology"])
    segments = list(_segments(boxes, found, options["networks"]))
    wanted: dict[str, dict[str, str]] = {name: {} for name in boxes}
    for segment in segments:
        for end in segment["ends"]:
            wanted[end["box"]][end["interface"]] = end["address"]
    for name, facts in boxes.items():
        _refuse(name, facts, wanted[name])
    named = {
        name: {"netplan": render(wanted[name], options["mtu"]), "addresses": wanted[name], "peers": _peers(name, segments, options["mtu"])} for name in boxes
    }
    plan = {"problem": "", "topology": found.topology, "why": found.why, "notes": found.notes + _halves(boxes, found), "segments": segments, "boxes": named}
    return {**plan, "text": _text(plan)}


def _segments(boxes: Mapping[str, Mapping[str, Any]], found: Cabling, networks: Sequence[ipaddress.IPv4Network]) -> Iterator[dict[str, Any]]:
    """Each half of each cable or switch with its own subnet and the address of each end."""
    wide = [_halves_of(boxes, end) for ends in found.segments for end in ends]
    count = max(map(len, wide))
    if len(networks) < count * len(found.segments):
        raise GB10Error(
            f"a {found.topology} of {len(boxes)} boxes needs {count * len(found.segments)} subnets, one for each half of each cable, and there are "
            f"{len(networks)}; name as many in gb10_fabric.subnets."
        )
    for number, ends in enumerate(found.segments):
        for half in range(count):
            network = networks[number * count + half]
            at = {end: _halves_of(boxes, end)[half]["interface"] for end in ends if half < len(_halves_of(boxes, end))}
            hosts = _hosts(boxes, at, network)
            listed = [{"box": end[0], "port": end[1], "interface": at[end], "address": f"{hosts[end]}/{network.prefixlen}"} for end in at]
            yield {"cable": number, "half": half, "network": str(network), "ends": listed}


def _halves_of(boxes: Mapping[str, Mapping[str, Any]], end: End) -> list[Mapping[str, Any]]:
    return [half for half in boxes[end[0]]["ports"] if half["port"] == end[1]]


def _hosts(boxes: Mapping[str, Mapping[str, Any]], at: Mapping[End, str], network: ipaddress.IPv4Network) -> dict[End, ipaddress.IPv4Address]:
    """An address for each end: the one that it has from an earlier run, as long as it is in this network and nobody else's; else the next free one."""
    kept: dict[End, ipaddress.IPv4Address] = {}
    for end, interface in at.items():
        for had in configured(boxes[end[0]]["ours"]).get(interface, []):
            address = ipaddress.ip_interface(had).ip
            if (
                isinstance(address, ipaddress.IPv4Address)
                and address in network
                and address not in kept.values()
                and address not in (network.network_address, network.broadcast_address)
            ):
                kept[end] = address
    order = list(boxes)
    for end in at:
        if end not in kept:
            # By its place in the inventory, so that a box has the same last number on all its cables; the next one where that is taken.
            first = min(FIRST_HOST, max(1, network.num_addresses // 4)) + order.index(end[0])
            last = network.num_addresses - 1
            free = (network.network_address + number for number in itertools.chain(range(first, last), range(1, min(first, last))))
            taken = set(kept.values())
            unused = next((one for one in free if one not in taken), None)
            if unused is None:
                raise GB10Error(f"{network} has no address left for {end[0]}; name a larger one in gb10_fabric.subnets.")
            kept[end] = unused
    return kept


def _refuse(name: str, facts: Mapping[str, Any], wanted: Mapping[str, str]) -> None:
    """GB10Error where what is wanted would cut the box off or is somebody else's."""
    if not facts["netplan"]:
        raise GB10Error(f"{name} has no netplan, by which the network of a fabric is written; install it (apt-get install netplan.io).")
    for interface, address in wanted.items():
        half = next(one for one in facts["ports"] if one["interface"] == interface)
        if interface in facts["kept"]:
            raise GB10Error(
                f"{interface} of {name} carries its default route or this connection, so it is not touched. Connect the box by another port (enP7s7), or "
                "name the fabric's ports in gb10_fabric.interfaces."
            )
        if half["claimed_by"]:
            raise GB10Error(
                f"{', '.join(half['claimed_by'])} on {name} already configures {interface}, and two files for one interface are merged. Take it out there, or "
                "keep that file and leave gb10_fabric.state out."
            )
        network = ipaddress.IPv4Interface(address).network
        if _lies_in(facts["controller"], network):
            raise GB10Error(
                f"{network} for {interface} of {name} holds {facts['controller']}, from where this run comes in, so that way would be cut; name others in "
                "gb10_fabric.subnets."
            )
        for other, held in facts["addresses"].items():
            clash = next((one for one in held if other != interface and ipaddress.ip_interface(one).network.overlaps(network)), None) if held else None
            if clash and not _moves(other, clash, wanted):
                raise GB10Error(f"{name} has {clash} on {other}, which overlaps with {network} for {interface}; name other networks in gb10_fabric.subnets.")
        for route in facts["routes"]:
            if route["by"] != interface and route["by"] not in wanted and _overlaps(route["to"], network):
                raise GB10Error(
                    f"{name} has a route to {route['to']} by {route['by']}, which overlaps with {network}; name other networks in gb10_fabric.subnets."
                )


def _lies_in(address: str, network: ipaddress.IPv4Network) -> bool:
    """Whether an address, where it is known, is of a network; also one of IPv4 that is written as IPv6."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return False
    return (getattr(known, "ipv4_mapped", None) or known) in network


def _moves(other: str, held: str, wanted: Mapping[str, str]) -> bool:
    """Whether an interface is itself of the fabric and gets another address than the one it has."""
    return other in wanted and wanted[other] != held


def _overlaps(to: str, network: ipaddress.IPv4Network) -> bool:
    try:
        other = ipaddress.ip_network(to, strict=False)
    except ValueError:
        return False
    return other.version == 4 and other.overlaps(network)


def _peers(name: str, segments: Sequence[Mapping[str, Any]], mtu: int) -> list[dict[str, Any]]:
    """Who is at the other end of each half of a box, as M(gb10.vllm.fabric_info) asks them."""
    found = []
    for segment in segments:
        for mine in (end for end in segment["ends"] if end["box"] == name):
            for end in segment["ends"]:
                if end is not mine:
                    found.append(
                        {"interface": mine["interface"], "address": end["address"].split("/")[0], "mtu": mtu, "box": end["box"], "by": end["interface"]}
                    )
    return found


def _halves(boxes: Mapping[str, Mapping[str, Any]], found: Cabling) -> list[str]:
    """Cabled ports of which one half shows no carrier, or is not there."""
    notes = []
    for name, number in sorted({end for ends in found.segments for end in ends}):
        halves = _halves_of(boxes, (name, number))
        dark = [half["interface"] for half in halves if not half["carrier"]]
        if dark:
            notes.append(f"{name}: {', '.join(dark)} shows no carrier while the other half of that port does; half of the bandwidth is missing until it is up.")
        if len(halves) == 1:
            notes.append(f"{name}: port {number} shows one half only; a ConnectX-7 of a GB10 has two.")
    return notes


def _text(plan: Mapping[str, Any]) -> list[str]:
    lines = [f"The fabric is a {plan['topology']}: {plan['why']}."]
    for segment in plan["segments"]:
        ends = ", ".join(f"{end['box']} {end['interface']} {end['address']}" for end in segment["ends"])
        lines.append(f"cable {segment['cable'] + 1}, half {segment['half'] + 1}: {ends}")
    return [*lines, *plan["notes"]]

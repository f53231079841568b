# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How boxes are cabled: direct, over a switch, as a mesh of three or as a ring, from what their ports show. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error

TOPOLOGIES = ("direct", "switch", "mesh", "ring")
End = tuple[str, int]
"""A box and the number of one of its ports."""


@dataclass
class Cabling:
    """What is cabled how: ``segments`` are the networks, each with its ends; ``why`` says what was seen; ``notes`` what should be known."""

    topology: str
    segments: list[list[End]]
    why: str
    notes: list[str] = field(default_factory=list)


def cabled(facts: Mapping[str, Any]) -> dict[int, list[Mapping[str, Any]]]:
    """The halves of each port of a box with a carrier on at least one of them, by the number of the port."""
    ports: dict[int, list[Mapping[str, Any]]] = {}
    for half in facts["ports"]:
        ports.setdefault(half["port"], []).append(half)
    return {number: halves for number, halves in sorted(ports.items()) if any(half["carrier"] for half in halves)}


def neighbours(boxes: Mapping[str, Mapping[str, Any]]) -> dict[End, End | None]:
    """What LLDP says is at the other end of each cabled port: a port of another box, or None for a device that is none of them (a switch)."""
    by_mac = {half["mac"]: (name, half["port"]) for name, facts in boxes.items() for half in facts["ports"] if half["mac"]}
    by_name = {(name, half["interface"].lower()): (name, half["port"]) for name, facts in boxes.items() for half in facts["ports"]}
    whose = {mac: name for name, facts in boxes.items() for mac in facts["macs"]} | {facts["hostname"]: name for name, facts in boxes.items()}
    found: dict[End, End | None] = {}
    for name, facts in boxes.items():
        for number, halves in cabled(facts).items():
            seen = next((half["neighbour"] for half in halves if half.get("neighbour")), None)
            if seen:
                # A box says its port by its address or its name; its chassis is the address of any of its interfaces.
                box = whose.get(seen["chassis"]) or whose.get(seen["name"]) or ""
                other = by_mac.get(seen["port"]) or by_name.get((box, seen["port"]))
                found[name, number] = other if other and other[0] != name else None
    return found


def cabling(boxes: Mapping[str, Mapping[str, Any]], wanted: str = "auto") -> Cabling:
    """How the boxes are cabled. GB10Error in one sentence where what is seen makes no topology, or not the one that is ``wanted``."""
    if len(boxes) < 2:
        raise GB10Error("a fabric connects two boxes or more, and this run has one; name the others in the inventory, or leave --limit out.")
    if wanted not in ("auto", *TOPOLOGIES):
        raise GB10Error(f"gb10_fabric.topology is {wanted!r}; it knows auto, {', '.join(TOPOLOGIES)}.")
    ports = {name: cabled(facts) for name, facts in boxes.items()}
    _refuse_bare(boxes, ports)
    seen = neighbours(boxes)
    every = {(name, number) for name, one in ports.items() for number in one}
    if every <= set(seen):
        found = _from_neighbours(list(boxes), ports, seen)
        found.why = f"LLDP names what is at the other end of every cable: {found.why}"
    else:
        found = _from_carrier(list(boxes), ports, wanted)
    # Two boxes and a switch between them look like a cable; three at one switch do not.
    alike = len(boxes) == 2 and {wanted, found.topology} == {"direct", "switch"}
    if wanted not in ("auto", found.topology) and not alike:
        raise GB10Error(f"gb10_fabric.topology is {wanted}, and the cables make a {found.topology}: {found.why}. Leave it out, or plug the cables as wanted.")
    if wanted != "auto":
        found.topology = wanted
    return found


def _refuse_bare(boxes: Mapping[str, Mapping[str, Any]], ports: Mapping[str, Mapping[int, Any]]) -> None:
    for name, facts in boxes.items():
        if facts["missing"]:
            raise GB10Error(f"{name} has no interface {', '.join(facts['missing'])}, which gb10_fabric.interfaces names.")
        if not facts["ports"]:
            why = "its driver (mlx5_core) is not loaded" if not facts["driver"] else "no interface there belongs to a ConnectX"
            raise GB10Error(f"{name} shows no port of a fabric: {why}. `lspci | grep Mellanox` has to list four functions; look at driver and firmware.")
        down = [half["interface"] for half in facts["ports"] if not half["up"]]
        if not ports[name]:
            seen = (
                f"{', '.join(down)} {'is' if len(down) == 1 else 'are'} down, so no carrier is seen: `ip link set {down[0]} up`" if down else "check the cable"
            )
            raise GB10Error(f"no port of {name} has a carrier; {seen}, then run this again.")


def _from_neighbours(names: Sequence[str], ports: Mapping[str, Mapping[int, Any]], seen: Mapping[End, End | None]) -> Cabling:
    if all(other is None for other in seen.values()):
        return _switch(names, ports, "every port has a neighbour that is none of these boxes")
    strangers = sorted(name for (name, _port), other in seen.items() if other is None)
    if strangers:
        raise GB10Error(
            f"some cables of {', '.join(strangers)} go to a device that is none of these boxes, and others go from box to box; use one of both ways."
        )
    links = sorted({tuple(sorted((end, other))) for end, other in seen.items() if other}, key=lambda link: (names.index(link[0][0]), link))
    pairs: dict[frozenset[str], list[End]] = {}
    doubled = []
    for first, second in links:
        pair = frozenset((first[0], second[0]))
        if pair in pairs:
            doubled.append(f"{first[0]} and {second[0]} have a second cable, which brings nothing: one carries both halves. It is left out.")
        else:
            pairs[pair] = [first, second]
    shape = _shape(names, list(pairs))
    told = ", ".join(f"{a[0]} port {a[1]} to {b[0]} port {b[1]}" for a, b in pairs.values())
    return Cabling(shape, list(pairs.values()), told, doubled)


def _shape(names: Sequence[str], pairs: Sequence[frozenset[str]]) -> str:
    peers = {name: {other for pair in pairs if name in pair for other in pair - {name}} for name in names}
    if len(names) == 2 and len(pairs) == 1:
        return "direct"
    # All have two neighbours, and whoever goes on from one to the next passes all of them.
    passed, here = [names[0]], names[0]
    while following := sorted(peers[here] - set(passed)):
        here = following[0]
        passed.append(here)
    if len(passed) == len(names) and all(len(one) == 2 for one in peers.values()) and names[0] in peers[here]:
        return "mesh" if len(names) == 3 else "ring"
    told = ", ".join(" - ".join(sorted(pair, key=list(names).index)) for pair in pairs)
    raise GB10Error(f"the cables make neither a pair, a mesh of three nor a ring ({told}); each box needs two neighbours, or all of them a switch.")


def _from_carrier(names: Sequence[str], ports: Mapping[str, Mapping[int, Any]], wanted: str) -> Cabling:
    counts = {name: len(one) for name, one in ports.items()}
    said = ", ".join(f"{name} has {count} cabled port{'s' if count > 1 else ''}" for name, count in counts.items())
    if len(names) == 2:
        first = [(name, min(one)) for name, one in ports.items()]
        notes = []
        if max(counts.values()) > 1:
            taken = " and ".join(f"port {port} of {name}" for name, port in first)
            notes = [
                "A second cable between two boxes brings nothing: one carries both halves. Which cable goes where is not seen without LLDP (lldpd): taken are "
                f"the lower ports, {taken}, as the ends of one cable. Where they are ends of two, the doctor finds no answer: pull out one, or cross them."
            ]
        return Cabling("direct", [first], f"two boxes, {said} (over a switch it would be the same)", notes)
    if all(count == 1 for count in counts.values()) or wanted == "switch":
        return _switch(names, ports, said)
    if all(count == 2 for count in counts.values()):
        kind = "mesh" if len(names) == 3 else "ring"
        following = [*names[1:], names[0]]
        segments = [[(name, min(ports[name])), (other, max(ports[other]))] for name, other in zip(names, following, strict=True)]
        note = (
            "Which cable goes where is not seen without LLDP (lldpd); taken is the usual way: port 0 of each box to port 1 of the next, "
            f"{' - '.join([*names, names[0]])}. Where that is wrong, the doctor finds no answer on that cable."
        )
        return Cabling(kind, segments, said, [note])
    raise GB10Error(f"what is cabled makes no fabric: {said}. Cable one port of each box to a switch, or two of each to its neighbours.")


def _switch(names: Sequence[str], ports: Mapping[str, Mapping[int, Any]], why: str) -> Cabling:
    notes = [f"{name}: of its cabled ports the lower one is taken." for name in names if len(ports[name]) > 1]
    note = "The switch has to let frames of 9,000 bytes through (an MTU of 9216 is usual)."
    return Cabling("switch", [[(name, min(ports[name])) for name in names]], why, [*notes, note])

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Boxes with a ConnectX-7 as fabric_info shows them and as sysfs does, cabled as a test wants."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

HALVES = {
    "enp1s0f0np0": ("0000:01:00.0", "rocep1s0f0"), "enP2p1s0f0np0": ("0002:01:00.0", "roceP2p1s0f0"),
    "enp1s0f1np1": ("0000:01:00.1", "rocep1s0f1"), "enP2p1s0f1np1": ("0002:01:00.1", "roceP2p1s0f1"),
}  # fmt: skip
PORTS = {0: ("enp1s0f0np0", "enP2p1s0f0np0"), 1: ("enp1s0f1np1", "enP2p1s0f1np1")}


def mac(box: int, interface: str) -> str:
    """An address that is nobody else's."""
    return f"4c:bb:47:00:{box:02x}:{list(HALVES).index(interface):02x}"


def box(number: int, *cabled: int, **changes: Any) -> dict[str, Any]:
    """What fabric_info returns of box ``number`` with a cable in each of these ports."""
    ports = [
        {
            "interface": name, "port": port, "domain": domain, "pci": HALVES[name][0], "mac": mac(number, name), "hca": HALVES[name][1], "up": True,
            "carrier": port in cabled, "mtu": 1500, "speed_mbps": 200000, "lanes": 4, "most_lanes": 4, "gids": [],
            "hca_state": "ACTIVE" if port in cabled else "DOWN", "addresses": [], "neighbour": None, "claimed_by": [],
        }
        for port, names in PORTS.items() for domain, name in zip((0, 2), names, strict=True)
    ]  # fmt: skip
    facts = {
        "ports": ports, "missing": [], "kept": ["enP7s7"], "addresses": {"lo": ["127.0.0.1/8"], "enP7s7": [f"10.0.0.{number}/24"]},
        "routes": [{"to": "10.0.0.0/24", "by": "enP7s7"}], "ours": None, "netplan": True, "driver": True, "perftest": True,
        "hostname": f"gx10-{number}", "controller": "10.0.0.200", "macs": [f"4c:bb:47:00:{number:02x}:ff", *(mac(number, name) for name in HALVES)],
    }  # fmt: skip
    return {**facts, **changes}


def half(facts: dict[str, Any], interface: str) -> dict[str, Any]:
    return next(one for one in facts["ports"] if one["interface"] == interface)


def link(boxes: dict[str, dict[str, Any]], one: tuple[str, int], other: tuple[str, int], *, by: str = "mac") -> None:
    """Have LLDP name the other end at both ends of a cable, as lldpd does it: the port by its address or by its name."""
    for (name, port), (far, far_port) in ((one, other), (other, one)):
        for mine, its in zip(PORTS[port], PORTS[far_port], strict=True):
            told = half(boxes[far], its)["mac"] if by == "mac" else its.lower()
            half(boxes[name], mine)["neighbour"] = {"name": boxes[far]["hostname"], "chassis": boxes[far]["macs"][0], "port": told}


def applied(boxes: dict[str, dict[str, Any]], plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The boxes as they are once the plan was carried out."""
    after = copy.deepcopy(boxes)
    for name, facts in after.items():
        facts["ours"] = plan["boxes"][name]["netplan"]
        for interface, address in plan["boxes"][name]["addresses"].items():
            port = half(facts, interface)
            port |= {"addresses": [address], "mtu": 9000, "gids": [{"index": 3, "type": "RoCE v2", "address": address.split("/")[0]}]}
            facts["addresses"][interface] = [address]
            facts["routes"].append({"to": ".".join(address.split(".")[:3]) + ".0/24", "by": interface})
    return after


def write_sysfs(root: Path, number: int, *cabled: int, narrow: str = "") -> None:
    """A tree like /sys of a GB10; a port without a cable is up and dark."""
    for port, names in PORTS.items():
        for name in names:
            pci, hca = HALVES[name]
            device, net = root / "devices" / pci, root / "class" / "net" / name
            gids = device / "infiniband" / hca / "ports" / "1"
            for folder in (net, gids / "gids", gids / "gid_attrs" / "types", root / "drivers" / "mlx5_core"):
                folder.mkdir(parents=True, exist_ok=True)
            (net / "device").symlink_to(device)
            (device / "driver").symlink_to(root / "drivers" / "mlx5_core")
            written = {
                net / "address": mac(number, name).upper(), net / "flags": "0x1003", net / "carrier": str(int(port in cabled)), net / "mtu": "1500",
                net / "speed": "200000", net / "phys_port_name": f"p{port}", device / "current_link_width": "2" if name == narrow else "4",
                device / "max_link_width": "4", gids / "state": "4: ACTIVE" if port in cabled else "1: DOWN",
                gids / "gids" / "0": "fe80:0000:0000:0000:4ebb:47ff:fe00:0001", gids / "gid_attrs" / "types" / "0": "IB/RoCE v1",
                gids / "gids" / "1": "0000:0000:0000:0000:0000:ffff:c0a8:b10b", gids / "gid_attrs" / "types" / "1": "RoCE v2",
                gids / "gids" / "2": "0000:0000:0000:0000:0000:0000:0000:0000",
            }  # fmt: skip
            for path, text in written.items():
                path.write_text(text + "\n")
    other = root / "class" / "net" / "enP7s7"
    other.mkdir(parents=True)
    (root / "devices" / "r8127").mkdir()
    (root / "drivers" / "r8127").mkdir()
    (other / "device").symlink_to(root / "devices" / "r8127")
    (root / "devices" / "r8127" / "driver").symlink_to(root / "drivers" / "r8127")

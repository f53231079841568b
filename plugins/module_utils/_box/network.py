# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The network of a box as ``ip`` shows it: addresses, routes, and by which interfaces the box is reached."""

from __future__ import annotations

import contextlib
import glob
import json
import os
from collections.abc import Iterable, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._io.command import run


def ip_json(*arguments: str) -> list[dict[str, Any]]:
    """What ``ip -json ...`` prints, empty where it prints nothing."""
    with contextlib.suppress(ValueError):
        shown = json.loads(run(["ip", "-json", *arguments]).stdout or "[]")
        return [one for one in shown if isinstance(one, dict) and one] if isinstance(shown, list) else []
    return []


def addresses(links: Iterable[dict[str, Any]]) -> dict[str, list[str]]:
    """``ADDRESS/PREFIX`` by interface, from ``ip -json address``; those of the link alone (fe80::) are left out."""
    return {
        str(link.get("ifname")): [
            f"{one['local']}/{one['prefixlen']}" for one in link.get("addr_info") or [] if one.get("scope") != "link" and "local" in one and "prefixlen" in one
        ]
        for link in links
    }


def talked_by(connection: str, held: dict[str, list[str]]) -> str:
    """The interface whose address the other side talks to. ``connection``: SSH_CONNECTION; "" where nobody came over SSH."""
    words = connection.split()
    return next((name for name, many in held.items() if len(words) == 4 and any(one.split("/")[0] == words[2].split("%")[0] for one in many)), "")


def ssh_connection() -> str:
    """SSH_CONNECTION of the session that this runs in; sudo takes it out of the environment, so those of our parents are looked at too."""
    pid = os.getpid()
    while pid > 1:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as handle:
            for entry in handle.read().split(b"\0"):
                if entry.startswith(b"SSH_CONNECTION="):
                    return entry.partition(b"=")[2].decode("ascii", "replace")
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as handle:
                pid = int(handle.read().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            break
    return ""


def below(name: str, links: Sequence[dict[str, Any]]) -> set[str]:
    """An interface and all that it is made of: what a VLAN sits on, the ports of a bridge or bond."""
    found = {name}
    for _depth in links:
        found |= {str(link["link"]) for link in links if link.get("ifname") in found and link.get("link")}
        found |= {str(link["ifname"]) for link in links if link.get("master") in found}
    return found


def ways() -> list[str]:
    """Interfaces that must not be touched: those of every default route, and the one that this connection came in on, with all they are made of."""
    links = ip_json("address")
    held = {str(one.get("dev")) for family in ("-4", "-6") for one in ip_json(family, "route", "show", "default") if one.get("dev")}
    held |= {
        str(hop["dev"]) for family in ("-4", "-6") for one in ip_json(family, "route", "show", "default") for hop in one.get("nexthops") or [] if hop.get("dev")
    }
    came = talked_by(ssh_connection(), addresses(links))
    return sorted({one for name in {*held, came} - {""} for one in below(name, links)})


def read_network() -> dict[str, Any]:
    """What a server over several boxes has to know of the network of one: addresses by interface that is up, the one this connection came in on, and RDMA.

    {addresses: {interface: [ADDRESS/PREFIX]}, came: interface or "", hcas: {RDMA device: its interface}, infiniband: whether programs reach them}
    """
    links = [one for one in ip_json("address") if "LOOPBACK" not in (one.get("flags") or []) and "LOWER_UP" in (one.get("flags") or [])]
    held = {name: found for name, found in addresses(links).items() if found}
    devices = {path.split("/")[4]: os.path.basename(path) for path in sorted(glob.glob("/sys/class/infiniband/*/device/net/*"))}
    return {"addresses": held, "came": talked_by(ssh_connection(), held), "hcas": devices, "infiniband": os.path.isdir("/dev/infiniband")}

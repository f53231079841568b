# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which addresses are asked for boxes: those of a range that was given, or those that this machine has spoken to and that announce themselves. Pure."""

from __future__ import annotations

import ipaddress
import json
import re
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error

MOST = 1024
"""Addresses that are asked at most in one run."""
SHARED = ipaddress.IPv4Network("100.64.0.0/10")
"""Addresses of carriers and of private networks over the internet."""
GONE = ("FAILED", "INCOMPLETE", "NOARP", "NONE")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


def in_ranges(text: str) -> list[str]:
    """The addresses of ranges as people write them: ``192.168.1.0/24``, ``fd00::/120``, one address, several with commas. GB10Error for each bad one."""
    found: dict[str, None] = {}
    for word in filter(None, (one.strip() for one in str(text).split(","))):
        found.update(dict.fromkeys(_one(word)))
        if len(found) > MOST:
            raise GB10Error(f"gb10_range={text} has more than {MOST} addresses; name a smaller one, for example a /22.")
    if not found:
        raise GB10Error("gb10_range is empty; write a range such as 192.168.1.0/24, or leave it out.")
    return list(found)


def _one(word: str) -> list[str]:
    try:
        network = ipaddress.ip_network(word.strip("[]"), strict=False)
    except ValueError:
        hint = "write its first address and the length of its prefix, such as 192.168.1.0/24" if "-" in word or "*" in word else "write it as 192.168.1.0/24"
        raise GB10Error(f"gb10_range={word[:60]} is no range of addresses; {hint}.") from None
    if network.num_addresses > MOST:
        least = network.max_prefixlen - 10
        raise GB10Error(f"gb10_range={word} has {network.num_addresses} addresses, and at most {MOST} are asked; name a smaller one (/{least} or longer).")
    if network.is_multicast or network.is_unspecified or network.is_loopback:
        raise GB10Error(f"gb10_range={word} is no network with boxes in it; name the one that your boxes are in.")
    if isinstance(network, ipaddress.IPv4Network) and not (network.is_private or network.subnet_of(SHARED)):
        raise GB10Error(f"gb10_range={word} is not a private network, and others' machines are not asked; name the network that your boxes are in.")
    return [str(one) for one in network.hosts()] or [str(network.network_address)]


def neighbours(text: str) -> list[dict[str, str]]:
    """[{address, mac}] of ``ip -j neigh``: whom this machine has spoken to of late. A link-local address names its interface."""
    try:
        rows = json.loads(text or "[]")
    except ValueError:
        return []
    found = []
    for row in rows if isinstance(rows, list) else []:
        if not isinstance(row, dict):
            continue
        states = row.get("state") or []
        if not row.get("lladdr") or any(state in GONE for state in states):
            continue
        address = str(row.get("dst") or "")
        if (seen := usable(address)) is not None:
            found.append({"address": f"{address}%{row.get('dev')}" if seen.is_link_local and seen.version == 6 else address, "mac": str(row["lladdr"]).lower()})
    return found


def usable(address: str) -> Any:
    """An address that a box may have; None for what is none."""
    try:
        seen = ipaddress.ip_address(address)
    except ValueError:
        return None
    return None if seen.is_multicast or seen.is_unspecified or seen.is_loopback else seen


def announced(text: str) -> list[dict[str, str]]:
    """[{address, name, interface}] of ``avahi-browse --resolve --parsable``: who says of himself that he has SSH."""
    found = []
    for line in text.splitlines():
        fields = line.split(";")
        if len(fields) < 9 or fields[0] != "=":
            continue
        host = fields[6].rpartition(".local")[0] or fields[6]
        seen = usable(fields[7])
        # A name that a stranger chose goes into an inventory: only one that is one.
        if seen is None or not _NAME.fullmatch(host):
            continue
        link = seen.is_link_local and seen.version == 6
        found.append({"address": f"{fields[7]}%{fields[1]}" if link else fields[7], "name": host.lower()})
    return found


def own(text: str) -> set[str]:
    """The addresses of this machine, from ``ip -j address``."""
    try:
        rows = json.loads(text or "[]")
    except ValueError:
        return set()
    return {str(one.get("local")) for row in rows if isinstance(row, dict) for one in row.get("addr_info") or []}

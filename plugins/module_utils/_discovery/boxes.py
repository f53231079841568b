# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From addresses that answered to boxes, and to an inventory that a person looks over. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

# As their makers name them out of the box: DGX Spark, ASUS GX10, Dell Pro Max, HP ZGX Nano, Lenovo PGX, MSI EdgeXpert, Gigabyte AI TOP ATOM, Acer GN100.
LIKELY = re.compile(r"^(?:dgx-?|)spark\b|^(?:gx10|promax|zgx|pgx|thinkstation-?pgx|edgexpert|aitop|gn100|gb10)|gb10")
NVIDIA = ("00:04:4b", "48:b0:2d", "3c:6d:66")
"""How addresses of NVIDIA's own network cards begin."""
TAKEN = re.compile(r"null|true|false|yes|no|on|off|y|n|all|ungrouped|localhost|gb10|hosts|vars|children|gb10-lock|[0-9][0-9a-fx]*", re.I)
"""What a stranger may call himself and no host of an inventory can be called: words and numbers of YAML, groups, the controller."""


def boxes(answers: Mapping[str, str], known: Iterable[Mapping[str, str]]) -> list[dict[str, Any]]:
    """[{name, addresses, banner, likely, why}] of what answered with SSH, the likely ones first.

    ``answers``: banner by address; ``known``: {address, mac, name} as far as they are known. Addresses of one name or one card are one box.
    """
    facts: dict[str, dict[str, str]] = {}
    for one in known:
        facts.setdefault(one["address"], {}).update({key: value for key, value in one.items() if value})
    groups: dict[str, list[str]] = {}
    for address in sorted(answers, key=_order):
        fact = facts.get(address, {})
        mac = fact.get("mac", "")
        name = fact.get("name") or next((other["name"] for other in facts.values() if mac and other.get("mac") == mac and other.get("name")), "")
        groups.setdefault(name or mac or address, []).append(address)
    found = []
    for key, addresses in groups.items():
        mac = next((facts[one]["mac"] for one in addresses if facts.get(one, {}).get("mac")), "")
        named = "" if ":" in key or re.fullmatch(r"[0-9.]+", key.partition("%")[0]) or TAKEN.fullmatch(key) else key
        why = f"it calls itself {named}" if LIKELY.search(named) else "its network card is NVIDIA's" if mac.startswith(NVIDIA) else ""
        name = named or "box-" + re.sub(r"[^a-z0-9]+", "-", addresses[0].partition("%")[0].lower()).strip("-")
        found.append({"name": name, "addresses": addresses, "banner": answers[addresses[0]], "likely": bool(why), "why": why})
    return sorted(found, key=lambda one: (not one["likely"], one["name"]))


def _order(address: str) -> tuple[bool, bool, int, str]:
    """IPv4 first, link-local last; by number."""
    plain = address.partition("%")[0]
    return ":" in plain, plain.lower().startswith("fe80"), 0 if ":" in plain else int.from_bytes(bytes(map(int, plain.split("."))), "big"), plain


def inventory(found: Iterable[Mapping[str, Any]], user: str) -> str:
    """Lines for inventory/gb10/hosts.yml; what does not look like a GB10 is a comment."""
    lines = ["# Found by gb10.vllm.discover, which logged in nowhere: look it over, and take out what is none of your boxes.", "gb10:", "  hosts:"]
    for one in found:
        mark = "" if one["likely"] else "# "
        said = "; ".join(filter(None, [one["why"], one["banner"], ", ".join(one["addresses"][1:])]))
        lines += [f"    {mark}{one['name']}:", f'    {mark}  ansible_host: "{one["addresses"][0]}"   # {said}']
    return "\n".join([*lines, "  vars:", f"    ansible_user: {user}", ""])


def banner(data: bytes) -> str:
    """What an SSH server says of itself, fit to be shown; "" where it is none."""
    line = data.split(b"\n")[0].strip()
    if not line.startswith(b"SSH-"):
        return ""
    text = "".join(sign for sign in line.decode("ascii", errors="replace")[:80] if sign.isprintable())
    return re.sub(r"[{}#\"'`\ufffd]", "", text)

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One address that whichever router runs has: keepalived's configuration for each of several routers. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._router.haproxy import MARK

CONFIG = "/etc/keepalived/keepalived.conf"
FIRST_PRIORITY = 150
ANSWERS = "/usr/local/lib/gb10-vllm/router-answers"
"""The role router's answers.py: asks HAProxy whether it answers; one that hangs runs, too."""
INTERFACE = re.compile(r"[A-Za-z0-9_.:@-]{1,15}")


def address(given: Mapping[str, Any]) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    """The floating address with the length of its network. GB10Error where it is none."""
    text = str(given.get("address") or "")
    try:
        found = ipaddress.ip_interface(text)
    except ValueError:
        found = None
    if found is None or "/" not in text or found.ip.is_loopback or found.ip.is_unspecified:
        raise GB10Error(f"gb10_router_floating: `address` is {text!r}; it has to be an address with the length of its network, such as 10.0.0.100/24.")
    return found


def check(given: Mapping[str, Any], listen: str, addresses: Mapping[str, str]) -> None:
    """GB10Error for what no two routers could do. ``listen``: ``gb10_router_address``; ``addresses``: {router: where others reach it}."""
    floating = address(given)
    if len(addresses) < 2:
        raise GB10Error("gb10_router_floating is for two routers or more, and gb10_routers names only one; its own address serves as well.")
    try:
        bound = ipaddress.ip_address(listen)
    except ValueError:
        bound = None
    if bound is None or not bound.is_unspecified:
        raise GB10Error(f"gb10_router_address is {listen}, where the floating address {floating.ip} is not heard; leave it out, or set it to 0.0.0.0.")
    for router, text in addresses.items():
        try:
            found = ipaddress.ip_address(text)
        except ValueError:
            found = None
        if found is None or found.version != floating.version:
            raise GB10Error(
                f"gb10_router_floating: router {router} is reached at {text}, which is no IPv{floating.version} address; routers speak to each other by "
                "addresses, so set ansible_host or gb10_server_address of it to one."
            )
        if found == floating.ip:
            raise GB10Error(f"gb10_router_floating: {text} is the own address of router {router}; name one that nobody has.")
    if given.get("interface") and not INTERFACE.fullmatch(str(given["interface"])):
        raise GB10Error(f"gb10_router_floating: `interface` is {given['interface']!r}, which is no name of one, such as enP7s7.")
    number = given.get("id", 51)
    if not str(number).isdigit() or not 1 <= int(number) <= 255:
        raise GB10Error(f"gb10_router_floating: `id` is {number!r}; it has to be a number from 1 to 255 that no other group of routers in this network has.")


def configuration(router: str, given: Mapping[str, Any], addresses: Mapping[str, str], interfaces: Mapping[str, str], port: int = 8443) -> str:
    """keepalived.conf of one of the routers. ``interfaces``: {address: interface} of its host; ``port``: ``gb10_router_port``.

    GB10Error where its interface cannot be told.

    The first that runs gets the address and keeps it until its HAProxy or its host is gone.
    """
    floating = address(given)
    interface = str(given.get("interface") or interfaces.get(addresses[router]) or "")
    if not interface:
        raise GB10Error(
            f"gb10_router_floating: no interface of router {router} has the address {addresses[router]}; name the one that is to have {floating.ip} with "
            "`interface`."
        )
    peers = [text for name, text in addresses.items() if name != router]
    lines = [
        MARK,
        "global_defs {",
        "    enable_script_security",
        "    script_user root",
        "    vrrp_version 3",
        "}",
        "vrrp_script haproxy {",
        f'    script "/usr/bin/python3 {ANSWERS} {"::1" if floating.version == 6 else "127.0.0.1"} {port}"',
        "    interval 2",
        "    timeout 4",
        "    fall 2",
        "    rise 2",
        "}",
        "vrrp_instance gb10 {",
        "    state BACKUP",
        "    nopreempt",
        f"    interface {interface}",
        f"    virtual_router_id {int(given.get('id', 51))}",
        f"    priority {FIRST_PRIORITY - list(addresses).index(router)}",
        "    advert_int 1",
        f"    unicast_src_ip {addresses[router]}",
        "    unicast_peer {",
        *(f"        {one}" for one in peers),
        "    }",
        "    virtual_ipaddress {",
        f"        {floating.with_prefixlen}",
        "    }",
        "    track_script {",
        "        haproxy",
        "    }",
        "}",
    ]
    return "\n".join(lines) + "\n"

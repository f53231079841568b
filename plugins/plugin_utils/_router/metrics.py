# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a router tells its metrics: where the user says, else where the monitoring host of the inventory comes in, else nowhere. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.deployment import is_loopback
from ansible_collections.gb10.vllm.plugins.plugin_utils._monitoring.settings import PORTS
from ansible_collections.gb10.vllm.plugins.plugin_utils._monitoring.settings import settings as monitoring_settings
from ansible_collections.gb10.vllm.plugins.plugin_utils._monitoring.targets import management_address
from ansible_collections.gb10.vllm.plugins.plugin_utils._router.configuration import Metrics
from ansible_collections.gb10.vllm.plugins.plugin_utils._router.servers import is_address

MONITORS = "gb10_monitoring"
"""The group of the hosts that collect metrics."""
PORT = 9101
LOOPBACK = "127.0.0.1"


def metrics(given: Callable[[str], Any], router: str, boxes: Sequence[str], hosts: Mapping[str, Mapping[str, Any]]) -> Metrics:
    """Where a router tells its metrics; port 0: nowhere. ``given``: an option of the router by name, None where nobody set it.

    GB10Error for what is no address of a host.
    """
    stated, port = given("gb10_router_metrics_address"), given("gb10_router_metrics_port")
    address = LOOPBACK if stated is None else str(stated).strip("[]")
    if not is_address(address):
        raise GB10Error(f"gb10_router_metrics_address: {address!r} is no address; name one of the router's host, or 127.0.0.1 for itself alone.")
    watched = _watched(given, hosts.get(router) or {})
    own = management_address(hosts.get(router) or {}, router)
    elsewhere = [name for name in watched if name != router]
    if stated is None and elsewhere and is_address(own):
        address = own
    if port is None:
        reached = watched and (stated is not None or not elsewhere or is_address(own))
        port = next(one for one in range(PORT, 65536) if one not in set(_taken(given, router, boxes, hosts))) if reached else 0
    return {"metrics_address": address, "metrics_port": int(port)}


def not_here(found: Metrics, stated: Any, addresses: Collection[str]) -> str:
    """Why metrics cannot be told where nobody said that they are, a sentence; "" where they can. ``addresses``: those that the router's host has."""
    address = found["metrics_address"]
    if stated is not None or not found["metrics_port"] or not addresses or is_loopback(address) or address in addresses:
        return ""
    return (
        f"its metrics are told nowhere, because {address}, at which the inventory reaches it, is no address of its own; set gb10_router_metrics_address or "
        "gb10_management_address to one that the monitoring host reaches, and run the playbooks router and monitoring."
    )


def _watched(given: Callable[[str], Any], known: Mapping[str, Any]) -> list[str]:
    """The monitoring hosts that ask this router: none where something of the user's tells its metrics, or the monitoring is gone."""
    wanted = given("gb10_monitoring") or {}
    if isinstance(wanted, Mapping) and (wanted.get("router_port") or wanted.get("state") == "absent"):
        return []
    return list((known.get("groups") or {}).get(MONITORS) or [])


def _taken(given: Callable[[str], Any], router: str, boxes: Sequence[str], hosts: Mapping[str, Mapping[str, Any]]) -> Iterator[int]:
    """Ports of the router's host that this collection uses by the inventory, or may."""
    yield int(given("gb10_router_port"))
    offset = int(given("gb10_router_port_offset"))
    for box in dict.fromkeys([router, *boxes]):
        for one in hosts[box].get("gb10_servers") or []:
            port = str(one.get("port") or 8000) if isinstance(one, Mapping) else ""
            if port.isdecimal():
                yield from (int(port) + offset, *([int(port)] if box == router else []))
    wanted = monitoring_settings(given("gb10_monitoring") or {})
    yield from (wanted[name] for name in PORTS if wanted[name])
    yield int(given("gb10_agent_port"))

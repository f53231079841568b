# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is asked for metrics: the boxes, servers and routers of an inventory as files for Prometheus' file-based discovery. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.deployment import is_loopback

Targets = list[dict[str, Any]]


class Box(TypedDict, total=False):
    """What the inventory says of a host that is asked: ``management`` is the address it is asked at."""

    management: str
    servers: Sequence[Mapping[str, Any]]  # as wanted.normalise returns them; none of a router
    metrics: tuple[str, int]  # of a router: address and port at which HAProxy tells its metrics; port 0: nowhere


def management_address(known: Mapping[str, Any], name: str) -> str:
    """The address at which a host is asked: ``gb10_management_address``, else that by which Ansible reaches it."""
    given = known.get("gb10_management_address") or known.get("ansible_host") or name
    return str(given).strip("[]")


def target(address: str, port: int) -> str:
    """An address and a port as Prometheus takes them."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def of_servers(boxes: Mapping[str, Box], here: str = "") -> Targets:
    """One entry for each server that listens where it can be asked. ``here``: the box on which Prometheus runs, which reaches its own loopback."""
    found = []
    for name, box in boxes.items():
        for server in box.get("servers") or []:
            if _unplaced(server) or (is_loopback(server["address"]) and name != here):
                continue
            address = box["management"] if ipaddress.ip_address(server["address"]).is_unspecified else server["address"]
            labels = {"box": name, "server": server["name"], "model": server["served_model_name"], "__scheme__": "https" if server.get("tls") else "http"}
            found.append({"targets": [target(address, server["port"])], "labels": labels})
    return found


def of_hosts(hosts: Mapping[str, Box], port: int) -> Targets:
    """One entry for each host, at the same port: the node exporters of boxes."""
    return [{"targets": [target(host["management"], port)], "labels": {"box": name}} for name, host in hosts.items()]


def of_routers(routers: Mapping[str, Box], here: str = "", port: int | None = None) -> Targets:
    """One entry for each router that tells its metrics where Prometheus reaches them. ``port``: stated by the user for all of them, who sees to it."""
    asked = {name: _router_address(router, name == here, port) for name, router in routers.items()}
    return [{"targets": [where], "labels": {"router": name}} for name, where in asked.items() if where]


def _router_address(router: Box, is_here: bool, port: int | None) -> str:
    """Where a router is asked; "" where it cannot be."""
    address, own = router.get("metrics") or ("", 0)
    if port or not own:
        return target(router["management"], port) if port else ""
    if is_loopback(address):
        return target(address, own) if is_here else ""
    return target(router["management"] if ipaddress.ip_address(address).is_unspecified else address, own)


def _unplaced(server: Mapping[str, Any]) -> bool:
    """Whether the plan alone knows which boxes a server has."""
    return isinstance(server.get("boxes"), int)


def unreached(boxes: Mapping[str, Box], here: str = "", routers: Mapping[str, Box] | None = None, port: int | None = None) -> list[str]:
    """One sentence for each server and each router that cannot be asked from the monitoring host. ``port``: see ``of_routers``."""
    unplaced = {server["name"] for box in boxes.values() for server in box.get("servers") or [] if _unplaced(server)}
    lines = [
        f"{name}: the plan chooses its boxes, so its own metrics are not collected; name them, `boxes: [HEAD, ...]` as `plan` shows them."
        for name in sorted(unplaced)
    ]
    silent = {name: router.get("metrics") or ("", 0) for name, router in (routers or {}).items() if not _router_address(router, name == here, port)}
    return _unreached_servers(boxes, here) + lines + [_silent(name, *where) for name, where in silent.items()]


def _silent(router: str, address: str, port: int) -> str:
    """Why a router is not asked, and what to do about it."""
    elsewhere = f"gb10_router_metrics_address is {address}, which only its own host reaches; set it to an address of that host"
    why = elsewhere if port else "gb10_router_metrics_port is 0; set it, and gb10_router_metrics_address to where the monitoring host reaches it"
    return f"{router}: the router's own metrics are not collected and no alert is about it: {why}, and run the playbook router."


def _unreached_servers(boxes: Mapping[str, Box], here: str) -> list[str]:
    return [
        f"{name}: {server['name']} listens on {server['address']} only, so its own metrics are not collected; give it an `address` that the monitoring"
        " host reaches. What the box itself tells of it (its unit, the watch, the plan) is."
        for name, box in boxes.items()
        for server in box.get("servers") or []
        if is_loopback(server["address"]) and name != here and not _unplaced(server)
    ]

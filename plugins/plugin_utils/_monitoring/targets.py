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


def target(address: str, port: int) -> str:
    """An address and a port as Prometheus takes them."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def of_servers(boxes: Mapping[str, Box], here: str = "") -> Targets:
    """One entry for each server that listens where it can be asked. ``here``: the box on which Prometheus runs, which reaches its own loopback."""
    found = []
    for name, box in boxes.items():
        for server in box.get("servers") or []:
            if is_loopback(server["address"]) and name != here:
                continue
            address = box["management"] if ipaddress.ip_address(server["address"]).is_unspecified else server["address"]
            labels = {"box": name, "server": server["name"], "model": server["served_model_name"], "__scheme__": "https" if server.get("tls") else "http"}
            found.append({"targets": [target(address, server["port"])], "labels": labels})
    return found


def of_hosts(hosts: Mapping[str, Box], port: int, label: str = "box") -> Targets:
    """One entry for each host, at the same port: the node exporters of boxes, the exporters of routers."""
    return [{"targets": [target(host["management"], port)], "labels": {label: name}} for name, host in hosts.items()]


def unreached(boxes: Mapping[str, Box], here: str = "") -> list[str]:
    """One sentence for each server that cannot be asked from the monitoring host."""
    return [
        f"{name}: {server['name']} listens on {server['address']} only, so its own metrics are not collected; give it an `address` that the monitoring"
        " host reaches. What the box itself tells of it (its unit, the watch, the plan) is."
        for name, box in boxes.items()
        for server in box.get("servers") or []
        if is_loopback(server["address"]) and name != here
    ]

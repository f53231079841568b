# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the user wants of the monitoring, with every default filled in, and what stands in its way on a host. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._monitoring import grafana
from ansible_collections.gb10.vllm.plugins.plugin_utils._monitoring.rules import THRESHOLDS

DEFAULTS: dict[str, Any] = {
    "state": "present",
    "port": 9090,
    "alertmanager_port": 9093,
    "node_exporter_port": 9100,
    "grafana_port": 3000,
    "router_port": None,
    "scrape_interval_s": 15,
    "retention_days": 30,
    "disk_gib": 20,
    "ca_file": "",
    "thresholds": {},
}
PORTS = [name for name in DEFAULTS if name.endswith("port")]
BOUNDS = {"scrape_interval_s": (5, 60), "retention_days": (1, 3650), "disk_gib": (1, 100000), **dict.fromkeys(PORTS, (1, 65535))}
GIB = 2**30
PORT_OF = {
    "prometheus": "port", "prometheus-alertmanager": "alertmanager_port", "prometheus-node-exporter": "node_exporter_port", grafana.UNIT: "grafana_port",
}  # fmt: skip
"""Which setting is the port of a unit."""
GRAFANAS = "/var/lib/grafana/grafana.db"
"""What a Grafana that ran once has; it is nobody's by its content."""


def settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """The variable ``gb10_monitoring`` with its defaults. GB10Error for a value that makes no sense, and for ports that are the same."""
    if not isinstance(given, Mapping):
        raise GB10Error(f"gb10_monitoring is {given!r}; it takes settings: {', '.join(DEFAULTS)}.")
    unknown = [str(key) for key in given if key not in DEFAULTS]
    if unknown:
        raise GB10Error(f"gb10_monitoring.{unknown[0]} is no setting; there are {', '.join(DEFAULTS)}.")
    known = {**DEFAULTS, **{key: value for key, value in given.items() if value is not None}}
    if known["state"] not in ("present", "absent"):
        raise GB10Error(f"gb10_monitoring.state is {known['state']!r}; it is present or absent.")
    for name, (least, most) in BOUNDS.items():
        value = known[name]
        if value is None:
            continue
        if isinstance(value, bool) or not str(value).isdecimal() or not least <= int(value) <= most:
            raise GB10Error(f"gb10_monitoring.{name} is {value!r}; give it a whole number from {least} to {most}.")
        known[name] = int(value)
    # Grafana's own is nobody's unless it is wanted.
    used = [name for name in PORTS if known[name] and (name != "grafana_port" or given.get(name))]
    twice = [(one, other) for one in used for other in used if one < other and known[one] == known[other]]
    if twice:
        raise GB10Error(f"gb10_monitoring: {twice[0][0]} and {twice[0][1]} are both {known[twice[0][0]]}; give each its own port.")
    known["thresholds"] = _thresholds(known["thresholds"] or {})
    return known


def _thresholds(given: Any) -> dict[str, float]:
    if not isinstance(given, Mapping):
        raise GB10Error(f"gb10_monitoring.thresholds is {given!r}; name figures: {', '.join(THRESHOLDS)}.")
    for name, value in given.items():
        if name not in THRESHOLDS:
            raise GB10Error(f"gb10_monitoring.thresholds.{name} is no threshold; there are {', '.join(THRESHOLDS)}.")
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e9:
            raise GB10Error(f"gb10_monitoring.thresholds.{name} is {value!r}; give it a number above 0 (by default {THRESHOLDS[name]:g}).")
    return {name: float(value) for name, value in given.items()}


def host_mistakes(found: Mapping[str, Any], address: str, least_bytes: int | str = 0) -> list[str]:
    """One sentence for each reason why a host cannot be monitored, or monitor, as it is. ``found``: from the module monitoring_info.

    ``address``: what the inventory calls the management address; ``least_bytes``: what the metrics will take.
    """
    if address.strip("[]") in ("0.0.0.0", "::", "*"):
        return [f"gb10_management_address is {address}, so everybody would read the metrics; name one address of the host."]
    if not found["management"]:
        has = ", ".join(found["addresses"]) or "none that `ip` shows"
        return [f"{address} is no address of this host, which has {has}; set gb10_management_address to the one on which it is to be asked."]
    said = [_stranger(path) for path, owner in found["files"].items() if owner == "somebody" and path != GRAFANAS]
    said += [_taken(unit, one) for unit, listeners in found["taken"].items() for one in listeners if one["unit"] != f"{unit}.service"][:3]
    if GRAFANAS in found["files"] and not any(path.endswith(f"/{grafana.UNIT}.service.d/gb10-vllm.conf") for path in found["files"]):
        said.append(
            "a Grafana that somebody set up has its data in /var/lib/grafana and would be replaced; leave gb10_grafana out and bring it the dashboards by hand "
            "(docs/monitoring.md)."
        )
    free = found["disk"]["free_bytes"]
    least = int(least_bytes)
    if free < least:
        said.append(
            f"the metrics may take {least / GIB:.0f} GiB below {found['disk']['path']}, and {free / GIB:.1f} GiB are free; "
            "lower gb10_monitoring.disk_gib or make room."
        )
    return said


def _stranger(path: str) -> str:
    return (
        f"{path} is somebody's: it is neither of this collection nor as its package brought it, so a program that somebody set up would be replaced; "
        "let that program run on another host, or put the file back as the package brought it when nobody needs it."
    )


def _taken(unit: str, listener: Mapping[str, Any]) -> str:
    option = PORT_OF[unit]
    holder = " ".join(filter(None, (listener["program"] or "a program", f"({listener['unit']})" if listener["unit"] else "")))
    return f"port {listener['port']} is held by {holder} on {listener['address']}; set gb10_monitoring.{option} to a free one, or stop what holds it."


def fleet_mistakes(monitors: Sequence[str], keys: Mapping[str, str], open_boxes: Sequence[str]) -> list[str]:
    """What is wrong before any host is asked. ``keys``: the metrics key of each box that has servers, "" where none is given."""
    said = []
    if not monitors:
        said.append("there is no host in the group gb10_monitoring; name one in the inventory: a box, or any Debian or Ubuntu machine that reaches the boxes.")
    if len(monitors) > 1:
        said.append(f"the group gb10_monitoring has {len(monitors)} hosts ({', '.join(monitors)}), and one is what this playbook sets up; leave one in it.")
    lacking = [name for name, key in keys.items() if not key and name not in open_boxes]
    if lacking:
        said.append(
            f"gb10_metrics_key is not set for {', '.join(lacking[:4])}, whose servers let nobody read their metrics without it; "
            "set it for all boxes (openssl rand -hex 32), keep it in a vault, and run site once so that the servers know it."
        )
    if len({key for key in keys.values() if key}) > 1:
        said.append("gb10_metrics_key is not the same for all boxes; it is one key for the whole fleet.")
    return said

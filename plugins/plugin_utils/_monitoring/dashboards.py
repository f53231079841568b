# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The dashboards for Grafana: fleet, server and box, each a table of panels. Pure.

``$box``, ``$server`` and ``$__rate_interval`` are Grafana's variables. Every query is asked in tests/on_machine/monitoring/ of a Prometheus that scraped the
real exporters, and returns data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error

BY = "sum by (box, server)"
OF_SERVER = 'box=~"$box",server=~"$server"'
OF_BOX = 'box=~"$box"'
DATASOURCE = {"type": "prometheus", "uid": "gb10"}


class Panel(NamedTuple):
    """One panel: its queries by legend, the unit in Grafana's words."""

    title: str
    unit: str
    queries: Mapping[str, str]
    kind: str = "timeseries"


def quantile(name: str, share: float, labels: str = "", by: str = "box, server") -> str:
    """A percentile of one of vLLM's histograms, in its unit."""
    return f"histogram_quantile({share:g}, sum by ({by}, le) (rate(vllm:{name}_bucket{{{labels}}}[$__rate_interval])))"


def rate(name: str, labels: str = "", by: str = "box, server") -> str:
    """What is added to one of vLLM's counters in a second."""
    return f"sum by ({by}) (rate(vllm:{name}_total{{{labels}}}[$__rate_interval]))"


def hits(labels: str = "") -> str:
    """Share of the prompt tokens that were in the cache already."""
    return f"{rate('prefix_cache_hits', labels)} / {rate('prefix_cache_queries', labels)}"


def network(way: str) -> str:
    """Bytes in a second over each device that is not a container's."""
    return f'rate(node_network_{way}_bytes_total{{{OF_BOX},device!~"lo|veth.*|br-.*"}}[$__rate_interval])'


def queue(kind: str) -> str:
    """Requests that wait at a router for a model."""
    return f"sum by (router, proxy) (haproxy_{kind}_current_queue)"


EACH = "{{box}} {{server}}"
AT_WORK, WAITING = f"{BY} (vllm:num_requests_running)", f"{BY} (vllm:num_requests_waiting)"
FLEET = (
    Panel("Servers that answer", "short", {"answer": 'sum(up{job="gb10-vllm"})', "wanted": 'count(up{job="gb10-vllm"})'}, "stat"),
    Panel("Boxes that answer", "short", {"answer": 'sum(up{job="gb10-node"})', "wanted": 'count(up{job="gb10-node"})'}, "stat"),
    Panel("Alerts", "short", {"fire": 'count(ALERTS{alertstate="firing"}) or vector(0)'}, "stat"),
    Panel("Tokens generated", "short", {"all": rate("generation_tokens", by=""), EACH: rate("generation_tokens")}),
    Panel("Tokens read", "short", {EACH: rate("prompt_tokens")}),
    Panel("Requests at work and waiting", "short", {f"{EACH} at work": AT_WORK, f"{EACH} wait": WAITING}),
    Panel("First token, 95th percentile", "s", {EACH: quantile("time_to_first_token_seconds", 0.95)}),
    Panel("Between tokens, 95th percentile", "s", {EACH: quantile("inter_token_latency_seconds", 0.95)}),
    Panel("KV cache in use", "percentunit", {EACH: "max by (box, server) (vllm:kv_cache_usage_perc)"}),
    Panel("Prompt tokens from the cache", "percentunit", {EACH: hits()}),
    Panel("Requests thrown out for want of cache", "short", {EACH: rate("num_preemptions")}),
    Panel("The watch's token", "s", {EACH: "gb10_watch_token_seconds"}),
    Panel("Power", "watt", {"{{box}}": "gb10_gpu_power_watts"}),
    Panel("Clock", "short", {"{{box}}": "gb10_gpu_sm_clock_mhz"}),
    Panel("Temperature", "celsius", {"{{box}}": "gb10_gpu_temperature_celsius"}),
    Panel("Memory left", "bytes", {"{{box}}": "node_memory_MemAvailable_bytes", "floor of {{box}}": "gb10_memory_floor_bytes"}),
    Panel("Starts within an hour", "short", {EACH: "changes(gb10_server_started_seconds[1h])"}),
    Panel("Fabric", "Bps", {"{{box}} {{device}}": "rate(node_network_receive_bytes_total[$__rate_interval]) and on (box, device) gb10_fabric_expected"}),
    Panel("Router: requests", "reqps", {"{{router}} {{proxy}}": "sum by (router, proxy) (rate(haproxy_frontend_http_requests_total[$__rate_interval]))"}),
    Panel("Router: servers in rotation", "short", {"{{router}} {{proxy}}": "haproxy_backend_active_servers"}),
    # For any server, and where sessions stay with a box for that one.
    Panel("Router: requests waiting", "short", {"{{router}} {{proxy}}": queue("backend"), "{{router}} {{proxy}}, each for its box": queue("server")}),
)
SERVER = (
    Panel("Deployed", "short", {"{{model}}": f"gb10_server_info{{{OF_SERVER}}}"}, "table"),
    Panel("Answers", "short", {EACH: f'up{{job="gb10-vllm",{OF_SERVER}}}'}, "stat"),
    Panel(
        "KV cache: planned and measured", "short",
        {"planned": f"gb10_planned_kv_tokens{{{OF_SERVER}}}", "measured": f"gb10_measured_kv_tokens{{{OF_SERVER}}}"}, "stat",
    ),
    Panel("Tokens", "short", {"generated": rate("generation_tokens", OF_SERVER), "read": rate("prompt_tokens", OF_SERVER)}),
    Panel("Requests done", "reqps", {"{{finished_reason}}": rate("request_success", OF_SERVER, "box, server, finished_reason")}),
    Panel(
        "Requests", "short",
        {"at work": f"{BY} (vllm:num_requests_running{{{OF_SERVER}}})", "wait": f"{BY} (vllm:num_requests_waiting{{{OF_SERVER}}})"},
    ),
    Panel("First token", "s", {f"p{int(share * 100)}": quantile("time_to_first_token_seconds", share, OF_SERVER) for share in (0.5, 0.95, 0.99)}),
    Panel("Between tokens", "s", {f"p{int(share * 100)}": quantile("inter_token_latency_seconds", share, OF_SERVER) for share in (0.5, 0.95, 0.99)}),
    Panel("Whole request", "s", {f"p{int(share * 100)}": quantile("e2e_request_latency_seconds", share, OF_SERVER) for share in (0.5, 0.95)}),
    Panel(
        "Where the time goes, 95th percentile", "s",
        {step: quantile(f"request_{step}_time_seconds", 0.95, OF_SERVER) for step in ("queue", "prefill", "decode")},
    ),
    Panel(
        "First token, all of them", "s",
        {"{{le}}": f"sum by (le) (increase(vllm:time_to_first_token_seconds_bucket{{{OF_SERVER}}}[$__rate_interval]))"}, "heatmap",
    ),
    Panel("KV cache in use", "percentunit", {EACH: f"max by (box, server) (vllm:kv_cache_usage_perc{{{OF_SERVER}}})"}),
    Panel("Prompt tokens from the cache", "percentunit", {EACH: hits(OF_SERVER)}),
    Panel("Requests thrown out for want of cache", "short", {EACH: rate("num_preemptions", OF_SERVER)}),
    Panel("Length of prompts", "short", {f"p{int(share * 100)}": quantile("request_prompt_tokens", share, OF_SERVER) for share in (0.5, 0.95)}),
    Panel("Length of answers", "short", {f"p{int(share * 100)}": quantile("request_generation_tokens", share, OF_SERVER) for share in (0.5, 0.95)}),
    Panel("The watch's token", "s", {EACH: f"gb10_watch_token_seconds{{{OF_SERVER}}}"}),
    Panel("Drift", "short", {"{{what}}": f"gb10_server_drift{{{OF_SERVER}}}"}),
)  # fmt: skip
BOX = (
    Panel("Power", "watt", {"{{box}}": f"gb10_gpu_power_watts{{{OF_BOX}}}"}),
    Panel("Clock (MHz)", "short", {"{{box}}": f"gb10_gpu_sm_clock_mhz{{{OF_BOX}}}"}),
    Panel("Temperature", "celsius", {"{{box}}": f"gb10_gpu_temperature_celsius{{{OF_BOX}}}"}),
    Panel("GPU in use", "percent", {"{{box}}": f"gb10_gpu_utilization_percent{{{OF_BOX}}}"}),
    Panel("Clock held down", "short", {"{{reason}}": f"gb10_gpu_throttled{{{OF_BOX}}}"}),
    Panel(
        "Memory", "bytes",
        {
            "left": f"node_memory_MemAvailable_bytes{{{OF_BOX}}}", "in all": f"node_memory_MemTotal_bytes{{{OF_BOX}}}",
            "floor": f"gb10_memory_floor_bytes{{{OF_BOX}}}",
        },
    ),
    Panel("Memory planned for servers", "bytes", {"{{server}}": f"gb10_planned_memory_bytes{{{OF_BOX}}}"}),
    Panel("Processors in use", "percentunit", {"{{box}}": f'1 - avg by (box) (rate(node_cpu_seconds_total{{{OF_BOX},mode="idle"}}[$__rate_interval]))'}),
    Panel("Disks: room left", "bytes", {"{{mountpoint}}": f'node_filesystem_avail_bytes{{{OF_BOX},fstype!~"tmpfs|overlay|ramfs"}}'}),
    Panel("Network", "Bps", {f"{{{{device}}}} {way}": network(way) for way in ("receive", "transmit")}),
    Panel("Links", "short", {"{{device}}": f"node_network_carrier{{{OF_BOX}}}"}),
    Panel("Servers", "short", {"{{server}} at work": f"gb10_server_active{{{OF_BOX}}}", "{{server}} starts": f"gb10_server_starting{{{OF_BOX}}}"}),
    Panel("Age of the collector's figures", "s", {"{{box}}": f'time() - node_textfile_mtime_seconds{{{OF_BOX},file=~".*/gb10.prom"}}'}),
)  # fmt: skip
DASHBOARDS = {"fleet": ("GB10 fleet", FLEET), "server": ("GB10 server", SERVER), "box": ("GB10 box", BOX)}
VARIABLES = {
    "fleet": (),
    "server": (("box", 'label_values(up{job="gb10-vllm"}, box)'), ("server", 'label_values(up{job="gb10-vllm",box=~"$box"}, server)')),
    "box": (("box", 'label_values(up{job="gb10-node"}, box)'),),
}
WIDTHS = {"stat": 8, "table": 8}


def dashboard(name: str) -> dict[str, Any]:
    """One dashboard as Grafana (8.3 and later) reads it from a file. GB10Error for a name that there is not."""
    if name not in DASHBOARDS:
        raise GB10Error(f"There is no dashboard {name!r}; there are {', '.join(DASHBOARDS)}.")
    title, panels = DASHBOARDS[name]
    shown, x, y, tall = [], 0, 0, 0
    for number, panel in enumerate(panels, 1):
        width, height = WIDTHS.get(panel.kind, 12), 4 if panel.kind in WIDTHS else 8
        if x + width > 24:
            x, y, tall = 0, y + tall, 0
        shown.append(_panel(panel, number, {"x": x, "y": y, "w": width, "h": height}))
        x, tall = x + width, max(tall, height)
    return {
        "uid": f"gb10-{name}",
        "title": title,
        "tags": ["gb10"],
        "schemaVersion": 36,
        "editable": False,
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "30s",
        "templating": {"list": [_variable(*one) for one in VARIABLES[name]]},
        "links": [{"type": "dashboards", "tags": ["gb10"], "title": "GB10", "asDropdown": True, "includeVars": True}],
        "panels": shown,
    }


def _panel(panel: Panel, number: int, place: Mapping[str, int]) -> dict[str, Any]:
    at_once = panel.kind in ("stat", "table")
    targets = [
        {
            "refId": chr(ord("A") + at), "datasource": DATASOURCE, "expr": expr, "legendFormat": legend, "instant": at_once, "range": not at_once,
            "format": {"heatmap": "heatmap", "table": "table"}.get(panel.kind, "time_series"),
        }
        for at, (legend, expr) in enumerate(panel.queries.items())
    ]  # fmt: skip
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "datasource": DATASOURCE,
        "gridPos": dict(place),
        "fieldConfig": {"defaults": {"unit": panel.unit, **({"min": 0} if panel.kind == "timeseries" else {})}, "overrides": []},
        "options": {"calculate": False} if panel.kind == "heatmap" else {},
        "targets": targets,
    }


def _variable(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name, "type": "query", "datasource": DATASOURCE, "query": query, "definition": query, "refresh": 2, "includeAll": True, "multi": True,
        "current": {"text": ["All"], "value": ["$__all"]},
    }  # fmt: skip


def provisioning(url: str, directory: str) -> dict[str, Any]:
    """The two files with which Grafana finds Prometheus at ``url`` and the dashboards in ``directory``: {datasources, dashboards}."""
    source = {"name": "GB10", "uid": DATASOURCE["uid"], "type": "prometheus", "access": "proxy", "url": url, "editable": False}
    provider = {"name": "GB10", "type": "file", "folder": "GB10", "disableDeletion": True, "allowUiUpdates": False, "options": {"path": directory}}
    return {"datasources": {"apiVersion": 1, "datasources": [source]}, "dashboards": {"apiVersion": 1, "providers": [provider]}}

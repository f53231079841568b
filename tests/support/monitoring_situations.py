# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Boxes in every situation that an alert is for, as series of metrics: what fires there, and what of it a person is told.

A sample every 15 seconds for half an hour, in the notation of `promtool test rules`: "1x120" is 1 all the time, "0+30x120" grows by 30 from sample to sample.
"""

from __future__ import annotations

from typing import NamedTuple

GIB = 2**30
STEPS = 120
SERVER = 'box="b",server="s",model_name="m",engine="0",job="gb10-vllm"'
SAID = 'box="b",server="s",job="gb10-node"'
BOX = 'box="b",job="gb10-node"'
ROUTED = 'router="r",job="gb10-router",proxy="gb10_s"'


def always(value: float) -> str:
    return f"{value:g}x{STEPS}" if value < 0 else f"{value:.10g}+0x{STEPS}"


def grows(by: float) -> str:
    return f"0+{by:g}x{STEPS}"


def first_token(seconds: float) -> dict[str, str]:
    """A histogram in which every request waits that long for its first token."""
    return {f'vllm:time_to_first_token_seconds_bucket{{{SERVER},le="{le}"}}': grows(2 if float(le) >= seconds else 0) for le in ("1", "10", "20", "40", "+Inf")}


BUSY = {
    'up{box="b",job="gb10-node"}': always(1),
    'up{box="b",server="s",job="gb10-vllm"}': always(1),
    'up{router="r",job="gb10-router"}': always(1),
    f'haproxy_backend_status{{{ROUTED},state="DOWN"}}': always(0),
    f'haproxy_server_status{{{ROUTED},server="b",state="DOWN"}}': always(0),
    f"haproxy_backend_current_queue{{{ROUTED}}}": always(0),
    f'haproxy_server_current_queue{{{ROUTED},server="b"}}': always(0),
    f"haproxy_backend_http_requests_total{{{ROUTED}}}": grows(30),
    f"vllm:num_requests_running{{{SERVER}}}": always(2),
    f"vllm:num_requests_waiting{{{SERVER}}}": always(0),
    f"vllm:generation_tokens_total{{{SERVER}}}": grows(600),
    f"vllm:prompt_tokens_total{{{SERVER}}}": grows(3000),
    f'vllm:request_success_total{{{SERVER},finished_reason="stop"}}': grows(2),
    f"vllm:kv_cache_usage_perc{{{SERVER}}}": "0.3 0.4 " * (STEPS // 2),
    f"vllm:num_preemptions_total{{{SERVER}}}": always(0),
    **first_token(1),
    f'gb10_gpu_power_watts{{{BOX},gpu="0"}}': always(62),
    f'gb10_gpu_sm_clock_mhz{{{BOX},gpu="0"}}': always(2280),
    f'gb10_gpu_utilization_percent{{{BOX},gpu="0"}}': always(96),
    f'gb10_gpu_temperature_celsius{{{BOX},gpu="0"}}': always(66),
    f'gb10_gpu_throttled{{{BOX},gpu="0",reason="hw_thermal_slowdown"}}': always(0),
    f"node_memory_MemAvailable_bytes{{{BOX}}}": always(40 * GIB),
    f"gb10_memory_floor_bytes{{{BOX}}}": always(12 * GIB),
    f'node_network_carrier{{{BOX},device="enp1s0f0np0"}}': always(1),
    f'node_network_carrier{{{BOX},device="enp1s0f1np1"}}': always(0),  # an empty port
    f'gb10_fabric_expected{{{BOX},device="enp1s0f0np0"}}': always(1),
    f"gb10_server_started_seconds{{{SAID}}}": always(100),
    f"gb10_server_active{{{SAID}}}": always(1),
    f"gb10_server_enabled{{{SAID}}}": always(1),
    f"gb10_server_starting{{{SAID}}}": always(0),
    f"gb10_watch_failing{{{SAID}}}": always(0),
    f"gb10_watch_age_seconds{{{SAID}}}": always(70),
    f"gb10_planned_kv_tokens{{{SAID}}}": always(262144),
    f"gb10_measured_kv_tokens{{{SAID}}}": always(262000),
    f'gb10_server_drift{{{SAID},what="container"}}': always(0),
    f'node_textfile_mtime_seconds{{{BOX},file="/var/lib/prometheus/node-exporter/gb10.prom"}}': grows(15),
}
STILL = {
    f"vllm:generation_tokens_total{{{SERVER}}}": always(600),
    f"vllm:prompt_tokens_total{{{SERVER}}}": always(3000),
    f'vllm:request_success_total{{{SERVER},finished_reason="stop"}}': always(2),
    f"vllm:kv_cache_usage_perc{{{SERVER}}}": always(0.3),
    f'vllm:time_to_first_token_seconds_bucket{{{SERVER},le="+Inf"}}': always(2),
}
IDLE = {
    **STILL,
    f"vllm:num_requests_running{{{SERVER}}}": always(0),
    f"vllm:kv_cache_usage_perc{{{SERVER}}}": always(0),
    f'gb10_gpu_power_watts{{{BOX},gpu="0"}}': always(4.6),
    f'gb10_gpu_sm_clock_mhz{{{BOX},gpu="0"}}': always(208),
    f'gb10_gpu_utilization_percent{{{BOX},gpu="0"}}': always(0),
}
SPINS = {f'gb10_gpu_power_watts{{{BOX},gpu="0"}}': always(19)}
NO_POWER = {name: "" for name in BUSY if name.startswith("gb10_gpu")}
GONE = {name: "" for name in BUSY if 'job="gb10-vllm"' in name and not name.startswith("up")}
WAITS = {f"vllm:num_requests_waiting{{{SERVER}}}": always(7)}
SLOW = first_token(20)
FULL = {f"vllm:kv_cache_usage_perc{{{SERVER}}}": always(0.99), f"vllm:num_preemptions_total{{{SERVER}}}": grows(1)}
FAILS = {f"gb10_watch_failing{{{SAID}}}": always(1)}
STUCK = {f'gb10_gpu_sm_clock_mhz{{{BOX},gpu="0"}}': always(799), f'gb10_gpu_power_watts{{{BOX},gpu="0"}}': always(19.5)}
HOT = {f'gb10_gpu_temperature_celsius{{{BOX},gpu="0"}}': always(91)}
DOWN = {'up{box="b",server="s",job="gb10-vllm"}': always(0), **GONE}
BOX_DOWN = {
    **{name: "" for name in BUSY if not name.startswith(("up", "haproxy"))},
    'up{box="b",job="gb10-node"}': always(0),
    'up{box="b",server="s",job="gb10-vllm"}': always(0),
}
STOPPED = {f"gb10_server_enabled{{{SAID}}}": always(0), f"gb10_server_active{{{SAID}}}": always(0)}
READS = {**STILL, f"vllm:kv_cache_usage_perc{{{SERVER}}}": "0.3 0.31 " * (STEPS // 2)}
SERVER_DOWN = f'haproxy_server_status{{{ROUTED},server="b",state="DOWN"}}'
NO_SERVER = {f'haproxy_backend_status{{{ROUTED},state="DOWN"}}': always(1), SERVER_DOWN: always(1)}
ROUTER_WAITS = {f"haproxy_backend_current_queue{{{ROUTED}}}": always(7)}


class Situation(NamedTuple):
    """``changes``: series that are other than those of a busy box, "" for one that is not there; ``fires``: the alerts; ``told``: what of them is told."""

    changes: dict[str, str]
    fires: tuple[str, ...] = ()
    told: tuple[str, ...] | None = None


SITUATIONS = {
    "busy and well": Situation({}),
    "idle": Situation(IDLE),
    "reading one long prompt": Situation(READS),
    "reading a prompt that is in its cache, at full power": Situation(STILL),
    "busy, and the power is not known": Situation(NO_POWER),
    "a box that has no server": Situation({name: "" for name in BUSY if 'server="s"' in name}),
    "wedged": Situation({**STILL, **SPINS, **FAILS}, ("Gb10ServerWedged", "Gb10CanaryFailing"), ("Gb10ServerWedged",)),
    "wedged, and the power is not known": Situation({**STILL, **NO_POWER}, ("Gb10ServerWedged",)),
    "wedged with a queue": Situation(
        {**STILL, **SPINS, **FAILS, **WAITS}, ("Gb10ServerWedged", "Gb10CanaryFailing", "Gb10Queue"), ("Gb10ServerWedged",)
    ),
    "still, but the watch just got a token": Situation({**STILL, **SPINS, f"gb10_watch_age_seconds{{{SAID}}}": always(20)}),
    "silent and idle": Situation({**IDLE, **FAILS}, ("Gb10CanaryFailing",)),
    "the box is gone": Situation(BOX_DOWN, ("Gb10BoxDown", "Gb10ServerDown"), ("Gb10BoxDown",)),
    "the server is gone": Situation({**DOWN, **FAILS}, ("Gb10ServerDown", "Gb10CanaryFailing"), ("Gb10ServerDown",)),
    "the server starts": Situation({**DOWN, f"gb10_server_starting{{{SAID}}}": always(1)}),
    "the server starts, and has no token for the watch yet": Situation({**DOWN, **FAILS, f"gb10_server_starting{{{SAID}}}": always(1)}),
    "the server was stopped by its owner": Situation({**DOWN, f"gb10_server_enabled{{{SAID}}}": always(0)}),
    "the server was stopped by its owner after a silence": Situation({**DOWN, **FAILS, **STOPPED}),
    "a queue": Situation(WAITS, ("Gb10Queue",)),
    "a queue that comes and goes": Situation({f"vllm:num_requests_waiting{{{SERVER}}}": "7 7 7 0 " * (STEPS // 4)}),
    "a queue, and so a slow first token": Situation({**WAITS, **SLOW}, ("Gb10Queue", "Gb10FirstTokenSlow"), ("Gb10Queue",)),
    "a slow first token": Situation(SLOW, ("Gb10FirstTokenSlow",)),
    "a full cache": Situation(FULL, ("Gb10KvFull",)),
    "a full cache, and what follows": Situation({**FULL, **WAITS, **SLOW}, ("Gb10KvFull", "Gb10Queue", "Gb10FirstTokenSlow"), ("Gb10KvFull",)),
    "a full cache that throws nobody out": Situation({f"vllm:kv_cache_usage_perc{{{SERVER}}}": always(1)}),
    "little memory": Situation({f"node_memory_MemAvailable_bytes{{{BOX}}}": always(9 * GIB)}, ("Gb10MemoryLow",)),
    "very little memory": Situation(
        {f"node_memory_MemAvailable_bytes{{{BOX}}}": always(4 * GIB)}, ("Gb10MemoryLow", "Gb10MemoryCritical"), ("Gb10MemoryCritical",)
    ),
    "the clock is stuck": Situation(STUCK, ("Gb10ClockStuck",)),
    "the clock is stuck, and so it is slow": Situation({**STUCK, **SLOW, **WAITS}, ("Gb10ClockStuck", "Gb10FirstTokenSlow", "Gb10Queue"), ("Gb10ClockStuck",)),
    "hot": Situation(HOT, ("Gb10Hot",)),
    "held down for the heat": Situation({f'gb10_gpu_throttled{{{BOX},gpu="0",reason="hw_thermal_slowdown"}}': always(1)}, ("Gb10Hot",)),
    "so hot that its clock is down": Situation({**HOT, **STUCK}, ("Gb10Hot", "Gb10ClockStuck"), ("Gb10Hot",)),
    "started again and again": Situation({f"gb10_server_started_seconds{{{SAID}}}": "100x29 500x29 900x29 1300x29"}, ("Gb10Restarts",)),
    "restarted once": Situation({f"gb10_server_started_seconds{{{SAID}}}": "100x59 500x59"}),
    "another container": Situation({f'gb10_server_drift{{{SAID},what="container"}}': always(1)}, ("Gb10Drift",)),
    "a cable was pulled": Situation({f'node_network_carrier{{{BOX},device="enp1s0f0np0"}}': always(0)}, ("Gb10FabricDown",)),
    "less cache than planned": Situation({f"gb10_measured_kv_tokens{{{SAID}}}": always(200000)}, ("Gb10CapacityDiffers",)),
    "no collector any more": Situation(
        {f'node_textfile_mtime_seconds{{{BOX},file="/var/lib/prometheus/node-exporter/gb10.prom"}}': always(60)}, ("Gb10CollectorStale",)
    ),
    "the router is gone": Situation({'up{router="r",job="gb10-router"}': always(0)}, ("Gb10RouterDown",)),
    "the router finds no server": Situation(NO_SERVER, ("Gb10RouterNoServer",)),
    "the router finds no server, and does not say which": Situation({**NO_SERVER, SERVER_DOWN: ""}, ("Gb10RouterNoServer",)),
    "the router finds no server, and its box is gone": Situation(
        {**BOX_DOWN, **NO_SERVER}, ("Gb10BoxDown", "Gb10ServerDown", "Gb10RouterNoServer"), ("Gb10BoxDown", "Gb10RouterNoServer")
    ),
    "all servers are drained": Situation({**NO_SERVER, SERVER_DOWN: always(0)}),
    "all servers were drained and then stopped by their owner": Situation({**NO_SERVER, **DOWN, **STOPPED}),
    "the only server was drained and starts": Situation({**NO_SERVER, **DOWN, f"gb10_server_starting{{{SAID}}}": always(1)}),
    "one server was stopped by its owner, the other one is gone": Situation(
        {
            **NO_SERVER, **DOWN, **STOPPED, f'haproxy_server_status{{{ROUTED},server="c",state="DOWN"}}': always(1),
            'gb10_server_enabled{box="c",server="s",job="gb10-node"}': always(1),
        },
        ("Gb10RouterNoServer",),
    ),
    "a queue at the router": Situation(ROUTER_WAITS, ("Gb10RouterQueue",)),
    "a queue at the router, each for its box": Situation({f'haproxy_server_current_queue{{{ROUTED},server="b"}}': always(3)}, ("Gb10RouterQueue",)),
    "a queue at the router that comes and goes": Situation({f"haproxy_backend_current_queue{{{ROUTED}}}": "9 9 9 0 " * (STEPS // 4)}),
    "a queue at the router that comes and goes, and so a long wait": Situation(
        {f"haproxy_backend_current_queue{{{ROUTED}}}": "90 90 90 0 " * (STEPS // 4)}, ("Gb10RouterWait",)
    ),
    "a long queue at the router": Situation(
        {f"haproxy_backend_current_queue{{{ROUTED}}}": always(90)}, ("Gb10RouterQueue", "Gb10RouterWait"), ("Gb10RouterQueue",)
    ),
    "one request waited at the router, and none was done since": Situation(
        {f"haproxy_backend_current_queue{{{ROUTED}}}": "1x8 0x110", f"haproxy_backend_http_requests_total{{{ROUTED}}}": always(4)}
    ),
    "a queue at the router, and in the engine": Situation(
        {**ROUTER_WAITS, **WAITS, **SLOW}, ("Gb10RouterQueue", "Gb10Queue", "Gb10FirstTokenSlow"), ("Gb10RouterQueue",)
    ),
    "wedged, with a queue at the router": Situation(
        {**STILL, **SPINS, **FAILS, **ROUTER_WAITS}, ("Gb10ServerWedged", "Gb10CanaryFailing", "Gb10RouterQueue"), ("Gb10ServerWedged",)
    ),
    "a full cache, with a queue at the router": Situation({**FULL, **ROUTER_WAITS}, ("Gb10KvFull", "Gb10RouterQueue"), ("Gb10KvFull",)),
    "a queue at the router for a server that is gone on one of its boxes": Situation(
        {**DOWN, **ROUTER_WAITS}, ("Gb10ServerDown", "Gb10RouterQueue"), ("Gb10ServerDown",)
    ),
}  # fmt: skip


def told(situation: Situation) -> set[str]:
    return set(situation.fires if situation.told is None else situation.told)

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The alert rules and the recording rules: what is wrong, how it is seen in the metrics, and for how long. Pure.

Every alert has a paragraph of the same name in docs/monitoring.md, and a case in tests/on_machine/monitoring/.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.gb10.vllm.plugins.module_utils._router.haproxy import BACKEND

RUNBOOK = "docs/monitoring.md of the collection gb10.vllm"
THRESHOLDS: dict[str, float] = {
    "first_token_s": 10,
    "temperature_celsius": 85,
    "least_clock_mhz": 1000,
    "least_power_watts": 30,
    "restarts_per_hour": 2,
    "capacity_percent": 5,
}
"""What an owner may set; see the options of the role monitoring."""
BY_SERVER = "sum by (box, server)"


class Alert(NamedTuple):
    """One alert; ``scope``: what it is about (fleet, box or server), which says what a larger trouble hides."""

    name: str
    severity: str
    scope: str
    lasts: str
    expr: str
    summary: str


def alerts(thresholds: Mapping[str, float]) -> list[Alert]:
    """All alerts. ``thresholds``: those of THRESHOLDS that are set otherwise."""
    limit = {name: f"{value:g}" for name, value in {**THRESHOLDS, **thresholds}.items()}
    return [*_down(), *_routed(limit), *_stuck(limit), *_slow(limit), *_box(limit), *_kept(limit)]


def _down() -> list[Alert]:
    gone = "{{ $labels.box }} does not answer on its management address, or its node exporter is down."
    not_meant = "unless on (box, server) (gb10_server_starting == 1 or gb10_server_enabled == 0)"
    return [
        Alert("Gb10BoxDown", "critical", "box", "2m", 'up{job="gb10-node"} == 0', gone),
        Alert(
            "Gb10ServerDown",
            "critical",
            "server",
            "2m",
            f'up{{job="gb10-vllm"}} == 0 {not_meant}',
            "{{ $labels.server }} on {{ $labels.box }} does not answer, and nobody stopped it.",
        ),
        Alert("Gb10RouterDown", "critical", "fleet", "1m", 'up{job="gb10-router"} == 0', "The router {{ $labels.router }} does not answer."),
    ]


def _of_server(expr: str) -> str:
    """The same with the name of the server whose requests a backend of a router takes, as the alerts about the server itself have it."""
    return f'label_replace({expr}, "server", "$1", "proxy", "{BACKEND}(.+)")'


def _routed(limit: Mapping[str, str]) -> list[Alert]:
    """Behind a router requests wait there and not in the engine: it passes on as many as the engine takes at a time."""
    # To HAProxy a server that was drained and then stopped is down like any other; its box says whether somebody meant it.
    box_of = 'label_replace(haproxy_server_status{job="gb10-router",state="DOWN"} == 1, "box", "$1", "server", "(.+)")'
    failed = f"{_of_server(box_of)} unless on (box, server) (gb10_server_enabled == 0 or gb10_server_starting == 1)"
    meant = f'count by (router, proxy) (haproxy_server_status{{job="gb10-router"}}) unless on (router, proxy) ({failed})'
    none = f'haproxy_backend_status{{job="gb10-router",state="DOWN"}} == 1 unless on (router, proxy) ({meant})'

    def queued(over: str) -> str:
        """Requests that wait: for any server, and where sessions stay with a box (gb10_router_affinity) for that one."""
        names = [over.format(f'haproxy_{kind}_current_queue{{job="gb10-router"}}') for kind in ("backend", "server")]
        return " + ".join(f"sum by (router, proxy) ({one})" for one in names)

    # Those that wait over those that are done in a second: the wait of one. HAProxy's own average is of the last 1024 requests, however long ago.
    done = 'sum by (router, proxy) (rate(haproxy_backend_http_requests_total{job="gb10-router"}[10m]))'
    wait = f"({queued('avg_over_time({}[10m])')}) / {done}"
    return [
        Alert("Gb10RouterNoServer", "critical", "fleet", "1m", _of_server(none), "The router {{ $labels.router }} finds no server for {{ $labels.server }}."),
        Alert(
            "Gb10RouterQueue", "warning", "fleet", "10m", f"{_of_server(queued('{}'))} > 0",
            "{{ $value }} requests for {{ $labels.server }} have been waiting at the router {{ $labels.router }} for ten minutes without a pause.",
        ),
        Alert(
            "Gb10RouterWait", "warning", "fleet", "10m", f"{_of_server(wait)} > {limit['first_token_s']} < Inf",
            "A request for {{ $labels.server }} waits {{ $value | humanizeDuration }} at the router {{ $labels.router }} before a server takes it.",
        ),
    ]  # fmt: skip


def _stuck(limit: Mapping[str, str]) -> list[Alert]:
    """Busy, and nothing moves: no token, no request done, no block of the cache taken (that moves with each step of a long prompt), and no power drawn."""
    still = [f"{BY_SERVER} (rate(vllm:{name}_total[2m])) == 0" for name in ("generation_tokens", "prompt_tokens", "request_success")]
    busy = f"{BY_SERVER} (min_over_time(vllm:num_requests_running[2m])) > 0"
    reading = f"{BY_SERVER} (changes(vllm:kv_cache_usage_perc[2m])) == 0"
    # Spinning draws 16 to 27 W on a GB10, work 45 and more; where nothing says how much, the tokens alone decide.
    working = f"unless on (box) (avg_over_time(gb10_gpu_power_watts[2m]) > {limit['least_power_watts']})"
    answers = "unless on (box, server) (gb10_watch_failing == 0 and gb10_watch_age_seconds < 60)"
    return [
        Alert(
            "Gb10ServerWedged", "critical", "server", "2m", " and ".join([busy, *still, f"{reading} {working} {answers}"]),
            "{{ $labels.server }} on {{ $labels.box }} holds requests and makes nothing of them.",
        ),
        Alert(
            "Gb10CanaryFailing", "critical", "server", "4m",
            # The watch asks one that runs: what it saw last of another one, or of one that still loads its model, says nothing.
            "gb10_watch_failing == 1 and on (box, server) gb10_server_active == 1 unless on (box, server) gb10_server_starting == 1",
            "The watch asked {{ $labels.server }} on {{ $labels.box }} for one token and got none.",
        ),
    ]  # fmt: skip


def _slow(limit: Mapping[str, str]) -> list[Alert]:
    first = f"histogram_quantile(0.95, sum by (box, server, le) (rate(vllm:time_to_first_token_seconds_bucket[10m]))) > {limit['first_token_s']}"
    full = f"max by (box, server) (vllm:kv_cache_usage_perc) > 0.95 and {BY_SERVER} (rate(vllm:num_preemptions_total[5m])) > 0"
    return [
        Alert(
            "Gb10Queue", "warning", "server", "10m", f"{BY_SERVER} (vllm:num_requests_waiting) > 0",
            "{{ $value }} requests have been waiting at {{ $labels.server }} on {{ $labels.box }} for ten minutes without a pause.",
        ),
        Alert(
            "Gb10KvFull", "warning", "server", "5m", full,
            "The KV cache of {{ $labels.server }} on {{ $labels.box }} is full, and requests are thrown out and begun again.",
        ),
        Alert(
            "Gb10FirstTokenSlow", "warning", "server", "10m", first,
            "One in twenty requests to {{ $labels.server }} on {{ $labels.box }} waits {{ $value | humanizeDuration }} or longer for its first token.",
        ),
    ]  # fmt: skip


def _box(limit: Mapping[str, str]) -> list[Alert]:
    left = "{{ $labels.box }} has {{ $value | humanize1024 }}B of memory left"
    below = "node_memory_MemAvailable_bytes < on (box) group_left ()"
    slow = f"gb10_gpu_sm_clock_mhz < {limit['least_clock_mhz']} and gb10_gpu_utilization_percent > 80 and gb10_gpu_power_watts < {limit['least_power_watts']}"
    hot = f'gb10_gpu_temperature_celsius > {limit["temperature_celsius"]} or gb10_gpu_throttled{{reason="hw_thermal_slowdown"}} == 1'
    return [
        Alert("Gb10MemoryLow", "warning", "box", "2m", f"{below} gb10_memory_floor_bytes", f"{left}, less than the floor that every plan leaves."),
        Alert("Gb10MemoryCritical", "critical", "box", "1m", f"{below} (gb10_memory_floor_bytes / 2)", f"{left}: soon it may have to be unplugged."),
        Alert(
            "Gb10ClockStuck", "warning", "box", "5m", slow,
            "The GPU of {{ $labels.box }} is busy at {{ $value }} MHz and draws little power.",
        ),
        Alert("Gb10Hot", "warning", "box", "5m", hot, "The GPU of {{ $labels.box }} is too hot, or its clock is held down for the heat."),
        Alert(
            "Gb10FabricDown", "warning", "box", "1m", "node_network_carrier == 0 and on (box, device) gb10_fabric_expected == 1",
            "{{ $labels.device }} of {{ $labels.box }} had a link since the boot and has none now.",
        ),
    ]  # fmt: skip


def _kept(limit: Mapping[str, str]) -> list[Alert]:
    differs = f"abs(gb10_measured_kv_tokens / gb10_planned_kv_tokens - 1) * 100 > {limit['capacity_percent']}"
    stale = '(time() - node_textfile_mtime_seconds{file=~".*/gb10.prom"}) > 300'
    return [
        Alert(
            "Gb10Restarts", "warning", "server", "0m", f"changes(gb10_server_started_seconds[1h]) > {limit['restarts_per_hour']}",
            "{{ $labels.server }} on {{ $labels.box }} was started {{ $value }} times within an hour.",
        ),
        Alert(
            "Gb10Drift", "warning", "server", "15m", "gb10_server_drift == 1",
            "{{ $labels.server }} on {{ $labels.box }} is not what was deployed ({{ $labels.what }}).",
        ),
        Alert(
            "Gb10CapacityDiffers", "warning", "server", "10m", differs,
            "The KV cache of {{ $labels.server }} on {{ $labels.box }} is {{ $value | printf \"%.0f\" }} % off what was planned.",
        ),
        Alert("Gb10CollectorStale", "warning", "box", "2m", stale, "The collector of {{ $labels.box }} has written nothing for five minutes."),
    ]  # fmt: skip


def rules(thresholds: Mapping[str, float]) -> dict[str, Any]:
    """The content of a rule file of Prometheus 2.42 to 2.53."""
    found = [
        {
            "alert": one.name,
            "expr": one.expr,
            **({} if one.lasts == "0m" else {"for": one.lasts}),
            "labels": {"severity": one.severity, "scope": one.scope},
            "annotations": {"summary": one.summary, "runbook": f"{one.name} in {RUNBOOK}"},
        }
        for one in alerts(thresholds)
    ]
    return {"groups": [{"name": "gb10", "rules": found}]}


def inhibitions() -> list[dict[str, Any]]:
    """Which alert keeps silent because another one is its cause; for Alertmanager 0.25 to 0.28."""
    box, server = ["box"], ["box", "server"]
    causes = [
        (["Gb10BoxDown"], ['scope=~"box|server"', 'alertname!="Gb10BoxDown"'], box),
        (["Gb10ServerDown"], ['scope="server"', 'alertname!="Gb10ServerDown"'], server),
        (["Gb10ServerWedged"], ['scope="server"', 'alertname!~"Gb10ServerWedged|Gb10ServerDown"'], server),
        (["Gb10ServerWedged"], ['alertname="Gb10ClockStuck"'], box),
        (["Gb10MemoryCritical"], ['alertname="Gb10MemoryLow"'], box),
        (["Gb10Hot"], ['alertname="Gb10ClockStuck"'], box),
        (["Gb10Hot", "Gb10ClockStuck"], ['alertname=~"Gb10Queue|Gb10FirstTokenSlow"'], box),
        (["Gb10KvFull"], ['alertname=~"Gb10Queue|Gb10FirstTokenSlow"'], server),
        (["Gb10Queue"], ['alertname="Gb10FirstTokenSlow"'], server),
        (["Gb10ServerDown", "Gb10ServerWedged", "Gb10KvFull"], ['alertname=~"Gb10RouterQueue|Gb10RouterWait"'], ["server"]),
        (["Gb10RouterNoServer"], ['alertname=~"Gb10RouterQueue|Gb10RouterWait"'], ["router", "server"]),
        (["Gb10RouterQueue"], ['alertname="Gb10RouterWait"'], ["router", "server"]),
        (["Gb10RouterQueue"], ['alertname=~"Gb10Queue|Gb10FirstTokenSlow"'], ["server"]),
    ]
    return [{"source_matchers": [f'alertname=~"{"|".join(sources)}"'], "target_matchers": targets, "equal": equal} for sources, targets, equal in causes]

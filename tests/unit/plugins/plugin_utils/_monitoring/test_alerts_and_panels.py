# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The alerts against their manual, and the dashboards as Grafana has to find them; that Prometheus takes the expressions is tried on the machine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._monitoring import dashboards, rules

MANUAL = (Path(__file__).parents[5] / "docs" / "monitoring.md").read_text(encoding="utf-8")
METRIC = re.compile(r"\b(?:vllm:|gb10_|node_|haproxy_)[a-z0-9_]+|\bup\b|\bALERTS\b")
# Each alert with how bad it is, what it is about, how long it has to last, and the metrics that decide it.
ALERTS = """
Gb10BoxDown critical box 2m: up
Gb10ServerDown critical server 2m: up gb10_server_starting gb10_server_enabled
Gb10RouterDown critical fleet 1m: up
Gb10RouterNoServer critical fleet 1m: haproxy_backend_status haproxy_server_status haproxy_server_status gb10_server_enabled gb10_server_starting
Gb10RouterQueue warning fleet 10m: haproxy_backend_current_queue haproxy_server_current_queue
Gb10RouterWait warning fleet 10m: haproxy_backend_current_queue haproxy_server_current_queue haproxy_backend_http_requests_total
Gb10ServerWedged critical server 2m: vllm:num_requests_running vllm:generation_tokens_total vllm:prompt_tokens_total \
vllm:request_success_total vllm:kv_cache_usage_perc gb10_gpu_power_watts gb10_watch_failing gb10_watch_age_seconds
Gb10CanaryFailing critical server 4m: gb10_watch_failing gb10_server_active gb10_server_starting
Gb10Queue warning server 10m: vllm:num_requests_waiting
Gb10KvFull warning server 5m: vllm:kv_cache_usage_perc vllm:num_preemptions_total
Gb10FirstTokenSlow warning server 10m: vllm:time_to_first_token_seconds_bucket
Gb10MemoryLow warning box 2m: node_memory_MemAvailable_bytes gb10_memory_floor_bytes
Gb10MemoryCritical critical box 1m: node_memory_MemAvailable_bytes gb10_memory_floor_bytes
Gb10ClockStuck warning box 5m: gb10_gpu_sm_clock_mhz gb10_gpu_utilization_percent gb10_gpu_power_watts
Gb10Hot warning box 5m: gb10_gpu_temperature_celsius gb10_gpu_throttled
Gb10FabricDown warning box 1m: node_network_carrier gb10_fabric_expected
Gb10Restarts warning server -: gb10_server_started_seconds
Gb10Drift warning server 15m: gb10_server_drift
Gb10CapacityDiffers warning server 10m: gb10_measured_kv_tokens gb10_planned_kv_tokens
Gb10CollectorStale warning box 2m: node_textfile_mtime_seconds
""".strip()
NODE_METRIC = re.compile(r"\b(?:vllm:|gb10_|node_|haproxy_)[A-Za-z0-9_]+|\bup\b(?=\{)")


def found(given):
    (group,) = rules.rules(given)["groups"]
    assert group["name"] == "gb10"
    return group["rules"]


def said(rule):
    labels = rule["labels"]
    return f"{rule['alert']} {labels['severity']} {labels['scope']} {rule.get('for', '-')}: {' '.join(NODE_METRIC.findall(rule['expr']))}"


def test_every_alert_is_as_bad_and_as_patient_as_was_decided_and_looks_at_these_metrics():
    assert "\n".join(map(said, found({}))) == ALERTS


def test_every_alert_has_a_chapter_in_the_manual_and_a_summary_that_names_whom_it_is_about():
    assert [rule["alert"] for rule in found({})] and {rule["alert"] for rule in found({})} == set(re.findall(r"^### (Gb10\w+)", MANUAL, re.MULTILINE))
    for rule in found({}):
        label = {"box": "{{ $labels.box }}", "server": "{{ $labels.server }} on {{ $labels.box }}", "fleet": "router {{ $labels.router }}"}
        assert label[rule["labels"]["scope"]] in rule["annotations"]["summary"] and rule["annotations"]["summary"].endswith((".", "unplugged."))
        assert rule["annotations"]["runbook"].startswith(rule["alert"] + " in ") and set(rule["annotations"]) == {"summary", "runbook"}
        assert "None" not in rule["expr"] and rule["expr"].count("(") == rule["expr"].count(")") and rule["expr"].count("{") == rule["expr"].count("}")


@pytest.mark.parametrize(
    ("name", "alerts", "words"),
    [
        ("first_token_s", "Gb10RouterWait Gb10FirstTokenSlow", "> 77"),
        ("temperature_celsius", "Gb10Hot", "gb10_gpu_temperature_celsius > 77 or"),
        ("least_clock_mhz", "Gb10ClockStuck", "gb10_gpu_sm_clock_mhz < 77 and"),
        ("least_power_watts", "Gb10ServerWedged Gb10ClockStuck", "77"),
        ("restarts_per_hour", "Gb10Restarts", "[1h]) > 77"),
        ("capacity_percent", "Gb10CapacityDiffers", "* 100 > 77"),
    ],
)
def test_a_threshold_changes_the_alerts_that_it_is_for_and_no_others(name, alerts, words):
    before = {rule["alert"]: rule["expr"] for rule in found({})}
    after = {rule["alert"]: rule["expr"] for rule in found({name: 77})}
    changed = [alert for alert, expr in after.items() if expr != before[alert]]
    assert changed == alerts.split() and all(words in after[alert] for alert in changed)


def test_a_dashboard_is_read_only_leads_to_the_others_and_asks_our_prometheus():
    for name, title, variables in (("fleet", "GB10 fleet", []), ("server", "GB10 server", ["box", "server"]), ("box", "GB10 box", ["box"])):
        made = dashboards.dashboard(name)
        head = {key: value for key, value in made.items() if key not in ("panels", "templating")}
        assert head == {
            "uid": f"gb10-{name}", "title": title, "tags": ["gb10"], "schemaVersion": 36, "editable": False, "time": {"from": "now-6h", "to": "now"},
            "refresh": "30s", "links": [{"type": "dashboards", "tags": ["gb10"], "title": "GB10", "asDropdown": True, "includeVars": True}],
        }  # fmt: skip
        asked = made["templating"]["list"]
        assert [one["name"] for one in asked] == variables
        for one in asked:
            job = "gb10-node" if name == "box" else "gb10-vllm"
            query = f'label_values(up{{job="{job}",box=~"$box"}}, server)' if one["name"] == "server" else f'label_values(up{{job="{job}"}}, box)'
            assert one == {
                "name": one["name"], "type": "query", "datasource": {"type": "prometheus", "uid": "gb10"}, "query": query, "definition": query,
                "refresh": 2, "includeAll": True, "multi": True, "current": {"text": ["All"], "value": ["$__all"]},
            }  # fmt: skip


@pytest.mark.parametrize("name", ["fleet", "server", "box"])
def test_panels_lie_beside_one_another_without_a_gap_and_without_an_overlap(name):
    panels = dashboards.dashboard(name)["panels"]
    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1)) and len({panel["title"] for panel in panels}) == len(panels)
    taken, bottom = set(), 0
    for place in (panel["gridPos"] for panel in panels):
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= 24
        assert place["y"] == 0 or any((x, place["y"] - 1) in taken for x in range(24)), "a row begins where the one above ends"
        taken |= cells
        bottom = max(bottom, place["y"] + place["h"])
    assert panels[0]["gridPos"]["x"] == panels[0]["gridPos"]["y"] == 0
    assert len(taken) > 0.8 * 24 * bottom


@pytest.mark.parametrize("name", ["fleet", "server", "box"])
def test_a_panel_of_one_moment_asks_for_one_and_a_course_for_a_course(name):
    for panel in dashboards.dashboard(name)["panels"]:
        moment = panel["type"] in ("stat", "table")
        letters = "ABCDEFGH"
        assert (panel["gridPos"]["w"], panel["gridPos"]["h"]) == ((8, 4) if moment else (12, 8))
        assert panel["datasource"] == {"type": "prometheus", "uid": "gb10"} and panel["options"] == ({"calculate": False} if panel["type"] == "heatmap" else {})
        assert panel["fieldConfig"]["overrides"] == [] and panel["fieldConfig"]["defaults"].get("min") == (0 if panel["type"] == "timeseries" else None)
        assert panel["fieldConfig"]["defaults"]["unit"] in ("short", "s", "percentunit", "percent", "watt", "celsius", "bytes", "Bps", "reqps")
        for target, letter in zip(panel["targets"], letters, strict=False):
            assert target["refId"] == letter and target["legendFormat"] and target["datasource"] == {"type": "prometheus", "uid": "gb10"}
            assert (target["instant"], target["range"]) == (moment, not moment)
            assert target["format"] == {"heatmap": "heatmap", "table": "table"}.get(panel["type"], "time_series")
            expr = target["expr"]
            assert METRIC.search(expr) and "None" not in expr and "XX" not in expr and "{}" not in expr.replace("{}[$__rate_interval]", "")
            assert expr.count("(") == expr.count(")") and expr.count("{") == expr.count("}")
            if name == "box":
                assert expr.count('box=~"$box"') == len(NODE_METRIC.findall(expr)), "each metric of a box's page is of that box"
            elif name == "server":
                assert expr.count('box=~"$box",server=~"$server"') == len(NODE_METRIC.findall(expr)), "each metric of a server's page is of that server"


def test_the_queries_of_a_panel_are_those_that_its_words_promise():
    fleet = {panel["title"]: {one["legendFormat"]: one["expr"] for one in panel["targets"]} for panel in dashboards.dashboard("fleet")["panels"]}
    each = "{{box}} {{server}}"
    assert fleet["Prompt tokens from the cache"] == {
        each: "sum by (box, server) (rate(vllm:prefix_cache_hits_total{}[$__rate_interval]))"
        " / sum by (box, server) (rate(vllm:prefix_cache_queries_total{}[$__rate_interval]))"
    }
    assert fleet["Tokens generated"]["all"] == "sum by () (rate(vllm:generation_tokens_total{}[$__rate_interval]))"
    assert fleet["First token, 95th percentile"] == {
        each: "histogram_quantile(0.95, sum by (box, server, le) (rate(vllm:time_to_first_token_seconds_bucket{}[$__rate_interval])))"
    }
    assert list(fleet["Router: requests waiting"].values()) == [f"sum by (router, proxy) (haproxy_{kind}_current_queue)" for kind in ("backend", "server")]
    server = {panel["title"]: [one["legendFormat"] for one in panel["targets"]] for panel in dashboards.dashboard("server")["panels"]}
    assert server["First token"] == server["Between tokens"] == ["p50", "p95", "p99"]
    assert server["Whole request"] == server["Length of prompts"] == server["Length of answers"] == ["p50", "p95"]


def test_a_name_that_is_none_is_answered_with_those_there_are():
    with pytest.raises(GB10Error, match=r"^There is no dashboard 'x'; there are fleet, server, box\.$"):
        dashboards.dashboard("x")


def test_grafana_is_told_where_prometheus_and_the_dashboards_are():
    assert dashboards.provisioning("http://127.0.0.1:9090", "/srv/boards") == {
        "datasources": {
            "apiVersion": 1,
            "datasources": [{"name": "GB10", "uid": "gb10", "type": "prometheus", "access": "proxy", "url": "http://127.0.0.1:9090", "editable": False}],
        },
        "dashboards": {
            "apiVersion": 1,
            "providers": [
                {
                    "name": "GB10", "type": "file", "folder": "GB10", "disableDeletion": True, "allowUiUpdates": False, "options": {"path": "/srv/boards"},
                }
            ],
        },
    }  # fmt: skip

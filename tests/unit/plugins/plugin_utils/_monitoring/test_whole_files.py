# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every file that a monitoring host gets, word for word as it was looked at, in written.txt; and the refusals and boundaries around them.

Where one is to change: PYTHONPATH=.ansible/collections python3 THIS_FILE writes written.txt anew, and its difference is what has to be looked at.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._filters import monitoring
from ansible_collections.gb10.vllm.plugins.plugin_utils._monitoring import alertmanager, dashboards, grafana, history, prometheus, settings, targets

WRITTEN = Path(__file__).with_name("written.txt")
SERVER = {"name": "s", "served_model_name": "m", "port": 8000, "address": "0.0.0.0"}
KNOWN = {
    "boxes": {"a": {"management": "10.0.0.1", "servers": [SERVER, {**SERVER, "name": "t", "address": "127.0.0.1", "port": 8001, "tls": {"key": "x"}}]}},
    "routers": {"r": {"management": "10.0.0.9", "metrics": ("0.0.0.0", 9101)}},
}
WANTED = {**settings.settings({}), "address": "fd00::5", "key": True}
RECEIVERS = [{"name": "all", "email_configs": [{"to": "x@y"}]}, {"name": "worst", "least": "critical", "webhook_configs": [{"url": "http://x"}]}]


def written():
    """All files as one text: dashboards with a panel a line, the rest as it is."""
    parts = []
    for one in monitoring.monitoring_files(KNOWN, WANTED, "m"):
        text = one["content"]
        if "/dashboards/" in one["path"]:
            assert text == json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n"
            made = json.loads(text)
            text = "\n".join(map(json.dumps, [{key: value for key, value in made.items() if key != "panels"}, *made["panels"]])) + "\n"
        parts.append(f"==== {one['path']} {one['mode']} {one.get('validate', '-')}\n{text}")
    parts.append(f"==== alertmanager\n{monitoring.alertmanager_file(RECEIVERS)}")
    for unit in ("prometheus", "prometheus-alertmanager", "prometheus-node-exporter", "grafana-server"):
        parts.append(f"==== drop-in of {unit}\n{monitoring.drop_in(WANTED, unit)}")
    return "".join(parts)


def test_every_file_is_as_it_was_looked_at():
    assert written().splitlines() == WRITTEN.read_text(encoding="utf-8").splitlines()


def test_a_certificate_authority_is_asked_where_it_is_given_and_no_key_where_there_is_none():
    job = prometheus.configuration({**WANTED, "key": False, "ca_file": "/ca.pem", "scrape_interval_s": 5})
    assert job["global"] == {"scrape_interval": "5s", "evaluation_interval": "5s", "scrape_timeout": "5s"}
    assert job["scrape_configs"][0] == {
        "job_name": "gb10-vllm",
        "sample_limit": 20000,
        "file_sd_configs": [{"files": ["/etc/gb10-vllm-monitoring/targets/servers.json"]}],
        "tls_config": {"ca_file": "/ca.pem"},
        "metric_relabel_configs": [{"source_labels": ["__name__"], "regex": prometheus.DROPPED, "action": "drop"}],
    }


def test_settings_at_their_bounds():
    for name, (least, most) in settings.BOUNDS.items():
        assert settings.settings({name: str(least)})[name] == least and settings.settings({name: most})[name] == most
        for value in (least - 1, most + 1):
            with pytest.raises(GB10Error, match=rf"^gb10_monitoring\.{name} is {value}; give it a whole number from {least} to {most}\.$"):
                settings.settings({name: value})
    assert settings.settings({"port": 3000})["grafana_port"] == 3000, "Grafana's own port is nobody's unless it is named"
    with pytest.raises(GB10Error, match=r"^gb10_monitoring: grafana_port and port are both 3000; give each its own port\.$"):
        settings.settings({"port": 3000, "grafana_port": 3000})
    assert settings.settings({"thresholds": {"first_token_s": 1}})["thresholds"] == {"first_token_s": 1.0}
    for value in (0, 1e9, True, "1"):
        with pytest.raises(GB10Error, match="give it a number above 0"):
            settings.settings({"thresholds": {"first_token_s": value}})


FOUND = {"addresses": ["10.0.0.1"], "management": "10.0.0.1", "files": {}, "taken": {}, "disk": {"path": "/v", "free_bytes": 10 * 2**30}}


def test_why_a_host_cannot_be_used_whole():
    listener = {"program": "nginx", "unit": "nginx.service", "port": 9090, "address": "0.0.0.0"}
    own = {**listener, "unit": "prometheus.service"}
    nameless = {**listener, "program": "", "unit": "", "port": 3000}
    found = {
        **FOUND,
        "files": {"/x": "somebody", "/y": "ours", settings.GRAFANAS: "somebody"},
        "taken": {"prometheus": [own, listener], "grafana-server": [nameless]},
    }
    assert settings.host_mistakes(found, "10.0.0.1", 20 * 2**30) == [
        "/x is somebody's: it is neither of this collection nor as its package brought it, so a program that somebody set up would be replaced; "
        "let that program run on another host, or put the file back as the package brought it when nobody needs it.",
        "port 9090 is held by nginx (nginx.service) on 0.0.0.0; set gb10_monitoring.port to a free one, or stop what holds it.",
        "port 3000 is held by a program on 0.0.0.0; set gb10_monitoring.grafana_port to a free one, or stop what holds it.",
        "a Grafana that somebody set up has its data in /var/lib/grafana and would be replaced; leave gb10_grafana out and bring it the dashboards by hand "
        "(docs/monitoring.md).",
        "the metrics may take 20 GiB below /v, and 10.0 GiB are free; lower gb10_monitoring.disk_gib or make room.",
    ]
    assert settings.host_mistakes(FOUND, "10.0.0.1", 10 * 2**30) == settings.host_mistakes(FOUND, "10.0.0.1") == []
    assert len(settings.host_mistakes({**FOUND, "taken": {"prometheus": [listener] * 4}}, "x")) == 3
    for address in ("0.0.0.0", "[::]", "*"):
        said = f"gb10_management_address is {address}, so everybody would read the metrics; name one address of the host."
        assert settings.host_mistakes(FOUND, address) == [said]
    for addresses, has in ((["a", "b"], "a, b"), ([], "none that `ip` shows")):
        said = f"x is no address of this host, which has {has}; set gb10_management_address to the one on which it is to be asked."
        assert settings.host_mistakes({**FOUND, "management": "", "addresses": addresses}, "x") == [said]


def test_what_is_wrong_before_any_host_is_asked():
    assert settings.fleet_mistakes([], {"a": "", "b": "k", "c": "l", "d": ""}, ["d"]) == [
        "there is no host in the group gb10_monitoring; name one in the inventory: a box, or any Debian or Ubuntu machine that reaches the boxes.",
        "gb10_metrics_key is not set for a, whose servers let nobody read their metrics without it; "
        "set it for all boxes (openssl rand -hex 32), keep it in a vault, and run site once so that the servers know it.",
        "gb10_metrics_key is not the same for all boxes; it is one key for the whole fleet.",
    ]
    assert settings.fleet_mistakes(["m", "n"], {"a": "k"}, []) == [
        "the group gb10_monitoring has 2 hosts (m, n), and one is what this playbook sets up; leave one in it."
    ]
    assert settings.fleet_mistakes(["m"], dict.fromkeys("abcde", ""), [])[0].startswith("gb10_metrics_key is not set for a, b, c, d, whose")
    hosts = {"a": {"gb10_servers": [{}], "gb10_allow_open": True}, "b": {}, "c": {"gb10_servers": [{}], "gb10_metrics_key": "k"}}
    wishes = {"settings": {}, "receivers": [], "monitors": ["m"]}
    assert monitoring.monitoring_mistakes(wishes, "abc", hosts) == []
    assert len(monitoring.monitoring_mistakes({**wishes, "receivers": "x"}, "abc", {**hosts, "a": {"gb10_servers": [{}]}})) == 2
    assert monitoring.monitoring_mistakes({**wishes, "settings": {"state": "absent"}, "monitors": []}, "abc", hosts) == []
    assert monitoring.monitoring_mistakes({**wishes, "settings": 1}, "abc", hosts)[0].startswith("gb10_monitoring is 1; it takes settings")


KINDS = ", ".join(f"{kind}_configs" for kind in alertmanager.KINDS)


@pytest.mark.parametrize(
    ("receivers", "said"),
    [
        (RECEIVERS, []),
        ("x", ["gb10_alert_receivers is no list; each entry has a name and one of Alertmanager's *_configs."]),
        (
            [{"name": "nobody"}, "x", RECEIVERS[0], RECEIVERS[0]],
            [
                *(
                    f"gb10_alert_receivers entry {number} has no usable `name`; give it one of letters, digits, blanks, dots and dashes, other than nobody."
                    for number in (1, 2)
                ),
                "gb10_alert_receivers entry 4 has the name all of an earlier one; give each its own.",
            ],
        ),
        ([{**RECEIVERS[0], "least": "info"}], ["gb10_alert_receivers entry 1 (all): `least` is neither warning nor critical."]),
        ([{"name": "a"}], [f"gb10_alert_receivers entry 1 (a) says nobody whom to tell; it takes {KINDS}."]),
        ([{"name": "a", "x": 1, "b": 2}], [f"gb10_alert_receivers entry 1 (a) has b, x, which Alertmanager does not know; it takes {KINDS}."]),
        ([{"name": "a", "x_configs": []}], ["gb10_alert_receivers entry 1 (a): x_configs must be a list with at least one entry of settings."]),
        ([{"name": "a", "x_configs": [1]}], ["gb10_alert_receivers entry 1 (a): x_configs must be a list with at least one entry of settings."]),
    ],
)
def test_receivers_are_refused_by_their_place_and_name(receivers, said):
    assert alertmanager.receiver_mistakes(receivers) == said


def test_grafana_is_configured_by_its_environment():
    found = grafana.environment({"address": "10.0.0.1", "grafana_port": 3001})
    assert found | {f"GF_{name}": value for name, value in grafana.FIXED.items()} == found
    assert {key: value for key, value in found.items() if key.removeprefix("GF_") not in grafana.FIXED} == {
        "GF_SERVER_HTTP_ADDR": "10.0.0.1", "GF_SERVER_HTTP_PORT": "3001", "GF_SERVER_PROTOCOL": "http", "GF_PATHS_PROVISIONING": "/etc/grafana/provisioning",
    }  # fmt: skip


def test_who_is_not_asked_is_said_whole():
    boxes = {"a": {"management": "10.0.0.1", "servers": [{**SERVER, "address": "127.0.0.1"}, {**SERVER, "name": "p", "boxes": 2}]}}
    routers = {"r": {"management": "10.0.0.9"}, "q": {"management": "10.0.0.8", "metrics": ("127.0.0.1", 9101)}, "f": {"management": "x", "metrics": ("::", 1)}}
    run = "and run the playbook router."
    lost = "the router's own metrics are not collected and no alert is about it:"
    assert targets.unreached(boxes, "m", routers) == [
        "a: s listens on 127.0.0.1 only, so its own metrics are not collected; give it an `address` that the monitoring host reaches."
        " What the box itself tells of it (its unit, the watch, the plan) is.",
        "p: the plan chooses its boxes, so its own metrics are not collected; name them, `boxes: [HEAD, ...]` as `plan` shows them.",
        f"r: {lost} gb10_router_metrics_port is 0; set it, and gb10_router_metrics_address to where the monitoring host reaches it, {run}",
        f"q: {lost} gb10_router_metrics_address is 127.0.0.1, which only its own host reaches; set it to an address of that host, {run}",
    ]
    assert targets.of_routers(routers, "q") == [
        {"targets": ["127.0.0.1:9101"], "labels": {"router": "q"}},
        {"targets": ["x:1"], "labels": {"router": "f"}},
    ]
    assert targets.of_routers({"r": routers["r"]}, port=5) == [{"targets": ["10.0.0.9:5"], "labels": {"router": "r"}}]


# ---- the past ------------------------------------------------------------------------------------------------------------------------------------------


def test_what_prometheus_is_asked_of_the_past():
    question = history.Question("T", "u", "a b")
    assert question.factor == 1
    assert history.request(question, 100000.4, 2) == "/api/v1/query_range?query=a+b&start=92800&end=100000&step=25"
    assert history.request(question, 100000) == "/api/v1/query_range?query=a+b&start=13600&end=100000&step=300"
    assert [history.step_s(hours) for hours in (0.1, 1.2, 1.3, 24)] == [15, 15, 16, 300]
    assert history.gap_s({"charts": [], "start": 0, "end": 86400, "problem": ""}) == 750
    assert [(one.title, one.unit, one.factor) for one in history.QUESTIONS] == [
        ("Tokens generated", "tokens/s", 1), ("Requests at work and waiting", "requests", 1), ("First token, 95th percentile", "s", 1),
        ("KV cache in use", "%", 100), ("Memory left", "GiB", 2**-30), ("Power of the GPU", "W", 1),
    ]  # fmt: skip
    assert [history.span(seconds) for seconds in (3600, 3590, 3540, 3660, 60, 59)] == ["hour", "hour", "59 minutes", "1.02 hours", "1 minutes", "1 minutes"]


def test_a_chart_is_its_lines_by_name_the_highest_of_them_and_how_many_more():
    def series(label, *values):
        return {"metric": {"box": label}, "values": [[at, str(value)] for at, value in enumerate(values)]}

    rows = [series(f"b{number}", number, 0) for number in range(9)] + [series("none", "NaN"), {"metric": {}, "values": [[5, "7"]]}]
    found = history.chart(history.Question("T", "u", "x", 2), {"data": {"result": rows}})
    assert (found["title"], found["unit"], found["more"]) == ("T", "u", 2)
    assert [line["label"] for line in found["lines"]] == ["all", "b2", "b3", "b4", "b5", "b6", "b7", "b8"]
    assert found["lines"][:2] == [{"label": "all", "points": [[5.0, 14.0]]}, {"label": "b2", "points": [[0.0, 4.0], [1.0, 0.0]]}]
    assert history.chart(history.QUESTIONS[0], {"data": {"result": rows[:8]}})["more"] == 0
    with pytest.raises(GB10Error, match=r"^what it says is no answer of Prometheus \(KeyError\)$"):
        history.chart(history.QUESTIONS[0], {})


# ---- who answers ---------------------------------------------------------------------------------------------------------------------------------------


def test_the_report_of_targets_names_each_that_is_down_and_what_helps():
    def one(health, error="", **labels):
        return {"labels": {"job": "j", **labels}, "health": health, "lastError": error}

    answer = {
        "data": {"activeTargets": [one("up"), one("down", "x" * 300, box="b", server="s"), one("down", "refused"), one("down", "401", job="gb10-router")]}
    }
    assert monitoring.targets_report(answer, ["note"]) == {
        "unknown": 0,
        "text": f"1 of 4 targets answer Prometheus.\n  b s (j) does not: {'x' * 200}.\n  j (j) does not: refused.\n"
        "  gb10-router (gb10-router) does not: its servers do not know gb10_metrics_key yet; run site, which tells them without a restart.\n  note",
    }
    down = "HAProxy is down there, or does not tell its metrics yet; run the playbook router, which has it tell them."
    assert monitoring.remedy("connection refused", "gb10-router") == down and monitoring.remedy("connection refused") == "connection refused."


def test_dashboards_are_those_that_are_written():
    assert {name: (title, len(panels)) for name, (title, panels) in dashboards.DASHBOARDS.items()} == {
        "fleet": ("GB10 fleet", 21), "server": ("GB10 server", 18), "box": ("GB10 box", 13),
    }  # fmt: skip


if __name__ == "__main__":
    WRITTEN.write_text(written(), encoding="utf-8")

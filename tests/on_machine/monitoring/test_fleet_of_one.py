# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prometheus as the role configures it, over the real exporters: whom it reaches, what the dashboards show, what is told of an engine that stands still."""

from __future__ import annotations

import json
import math
import re
import subprocess
import time

import pytest
from ansible_collections.gb10.vllm.plugins.lookup import history as asked
from ansible_collections.gb10.vllm.plugins.plugin_utils._filters import monitoring
from ansible_collections.gb10.vllm.plugins.plugin_utils._monitoring import dashboards, history, rules
from monitored_fleet import KEY, MANAGEMENT, Fleet
from monitoring_programs import MISSING, NEEDS, get, program, until

pytestmark = pytest.mark.skipif(MISSING, reason=NEEDS)
PACE = 30


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    with Fleet(tmp_path_factory.mktemp("fleet")).up(PACE) as found:
        until(lambda: found.engine.asked > 6 and found.router.asked > 6)
        yield found


def test_every_target_answers_and_the_key_is_asked_for(fleet):
    report = until(lambda: (found := monitoring.targets_report(get(f"{fleet.url}/api/v1/targets?state=active")))["unknown"] == 0 and found)
    assert report["text"] == "5 of 5 targets answer Prometheus."
    assert fleet.engine.answer("Bearer another")[0] == 401


def test_a_key_that_a_server_does_not_know_is_told_with_the_remedy(fleet):
    fleet.engine.key = "another"
    try:
        found = until(lambda: (text := monitoring.targets_report(get(f"{fleet.url}/api/v1/targets?state=active"))["text"]).startswith("4 of 5") and text)
    finally:
        fleet.engine.key = KEY
    assert "spark-01 tiny (gb10-vllm) does not: its servers do not know gb10_metrics_key yet; run site" in found
    until(lambda: len(fleet.ask('up{job="gb10-vllm"} == 1')))


def test_the_key_is_in_no_file_but_its_own(fleet):
    holds = [path.name for path in (fleet.folder / "etc").rglob("*") if path.is_file() and KEY in path.read_text()]
    assert holds == ["metrics.key"]
    assert KEY not in json.dumps(get(f"{fleet.url}/api/v1/status/config"))


def test_each_port_is_on_the_management_address_and_nowhere_else(fleet):
    text = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
    for unit, process in fleet.processes.items():
        held = {line.split()[3].rpartition(":")[0] for line in text.splitlines() if f"pid={process.pid}," in line}
        assert held == {MANAGEMENT}, unit


def test_promtool_takes_the_whole_configuration(fleet):
    done = subprocess.run([program("promtool"), "check", "config", fleet.folder / "etc/prometheus.yml"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


QUERIES = [
    pytest.param(expr, id=f"{name}: {panel.title}, {legend}")
    for name, (_title, panels) in dashboards.DASHBOARDS.items()
    for panel in panels
    for legend, expr in panel.queries.items()
]


@pytest.mark.parametrize("expr", QUERIES)
def test_every_query_of_the_dashboards_returns_data(fleet, expr):
    query = expr.replace("$__rate_interval", "2m").replace("$box", ".*").replace("$server", ".*")
    found = until(lambda: [one for one in fleet.ask(query) if math.isfinite(float(one["value"][1]))], 20)
    assert "$" not in query and found


@pytest.mark.parametrize("question", history.QUESTIONS, ids=lambda one: one.title)
def test_every_question_of_the_status_page_returns_data(fleet, question):
    until(lambda: history.chart(question, get(fleet.url + history.request(question, time.time() + 1, 0.2)))["lines"], 30)


def test_the_last_day_becomes_charts(fleet):
    found = asked.history(fleet.url, 0.2, 5)
    assert found["problem"] == "" and [one["title"] for one in found["charts"]] == [one.title for one in history.QUESTIONS]
    assert {line["label"] for one in found["charts"] for line in one["lines"]} == {"spark-01", "spark-01 tiny"}


def test_every_rule_is_loaded_and_well(fleet):
    loaded = until(lambda: [one for one in get(f"{fleet.url}/api/v1/rules")["data"]["groups"][0]["rules"] if one["health"] == "ok"], 30)
    assert [one["name"] for one in loaded] == [one.name for one in rules.alerts({})]


def test_what_the_rules_read_is_there(fleet):
    """A name that no exporter has would never fire."""
    names = set(re.findall(r"\b(?:vllm:|gb10_|node_|haproxy_)\w+", " ".join(one.expr for one in rules.alerts({}))))
    known = set(get(f"{fleet.url}/api/v1/label/__name__/values")["data"])
    assert names - known == set() and len(names) > 20


def test_an_engine_that_stands_still_is_wedged_and_nothing_else(fleet):
    """What it said while it worked on requests, said again and again: so a stopped engine core looks behind an API server that lives."""
    assert until(lambda: not fleet.firing() or None, 60) is True
    fleet.engine.says("vllm-0.32.0-cpu-busy")
    until(lambda: "Gb10ServerWedged" in fleet.told(), 90)
    time.sleep(3)
    assert fleet.told() == {"Gb10ServerWedged"}
    # A box that somebody works on: silenced as the docs say, it tells nothing, and what stands still goes on standing still.
    silence = fleet.silence(box="spark-01")
    until(lambda: not fleet.told())
    time.sleep(3)
    assert fleet.told() == set() and "Gb10ServerWedged" in fleet.firing()
    fleet.speak(silence)
    until(lambda: fleet.told() == {"Gb10ServerWedged"})
    fleet.engine.says("vllm-0.32.0-cpu-after")
    until(lambda: not fleet.firing() or None, 60)

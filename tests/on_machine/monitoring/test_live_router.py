# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The real HAProxy with our configuration, asked by Prometheus as the role configures it: what the dashboards show of it and what is told of it."""

from __future__ import annotations

import re
import threading
import time

import pytest
import real_router
from ansible_collections.gb10.vllm.plugins.module_utils._router import haproxy
from ansible_collections.gb10.vllm.plugins.plugin_utils._monitoring import dashboards, rules
from monitored_fleet import Fleet
from monitoring_programs import MISSING, NEEDS, get, until
from real_router import Router, StubAgent, StubEngine, behind

pytestmark = pytest.mark.skipif(MISSING or not real_router.installed(), reason=f"{NEEDS}, and haproxy (tests/setup)")
PACE = 30
ADDRESSES = {"spark-01": "127.0.0.2", "spark-02": "127.0.0.3"}
SETTLE_S = 8
"""For an alert that has to last two seconds at this pace, and does not."""


class Routed:
    """Two boxes with one seat each behind a router that tells its metrics where the inventory has it, and the fleet that watches."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        address, port = fleet.routers()["spark-01"]["metrics"]
        given = real_router.settings(metrics_address=address, metrics_port=port)
        engine = real_router.free_port()
        self.engines = {box: StubEngine(box, "tiny", where, engine) for box, where in ADDRESSES.items()}
        self.agents = [StubAgent(where, given["agent_port"]) for where in ADDRESSES.values()]
        self.servers = [behind(box, "tiny", where, engine, ["tiny"], maxconn=1) for box, where in ADDRESSES.items()]
        place = fleet.folder / "router"
        place.mkdir()
        self.router = Router(place, self.servers, given)

    def close(self) -> None:
        self.router.close()
        for one in [*self.engines.values(), *self.agents]:
            one.close()

    def configure(self, servers, **more) -> None:
        self.router.write(servers, **more)
        self.router.reload()

    def do(self, command: str) -> None:
        haproxy.ask_at(self.router.socket)(command)

    def ask(self, tokens: int = 1) -> int:
        return self.router.ask("/v1/completions", {"model": "tiny", "prompt": "a", "max_tokens": tokens}, timeout_s=300)[0]


@pytest.fixture(scope="module")
def routed(tmp_path_factory):
    with Fleet(tmp_path_factory.mktemp("routed"), live_router=True).up(PACE) as fleet:
        made = Routed(fleet)
        try:
            until(lambda: len(fleet.ask('up{job="gb10-router"} == 1')))
            assert [made.ask() for _ in range(6)] == [200] * 6
            yield made
        finally:
            made.close()


def test_it_is_asked_where_it_tells_by_default(routed):
    (target,) = routed.fleet.ask('up{job="gb10-router"}')
    assert target["metric"]["instance"] == "127.0.0.1:9101" and target["metric"]["router"] == "spark-01"


QUERIES = [
    pytest.param(expr, id=f"{name}: {panel.title}, {legend}")
    for name, (_title, panels) in dashboards.DASHBOARDS.items()
    for panel in panels
    for legend, expr in panel.queries.items()
    if "haproxy_" in expr
]


@pytest.mark.parametrize("expr", QUERIES)
def test_every_query_about_a_router_returns_data(routed, expr):
    until(lambda: routed.fleet.ask(expr.replace("$__rate_interval", "1m")), 20)


def test_every_rule_about_a_router_reads_what_it_tells(routed):
    read = {one.name: set(re.findall(r"\bhaproxy_\w+", one.expr)) for one in rules.alerts({})}
    told = set(get(f"{routed.fleet.url}/api/v1/label/__name__/values")["data"])
    assert {name for name, names in read.items() if names} == {"Gb10RouterNoServer", "Gb10RouterQueue", "Gb10RouterWait"}
    assert set().union(*read.values()) - told == set()
    states = {state for one in routed.fleet.ask("haproxy_server_status") for state in [one["metric"]["state"]]}
    assert {"DOWN", "DRAIN", "MAINT"} <= states
    until(lambda: {one["health"] for one in get(f"{routed.fleet.url}/api/v1/rules")["data"]["groups"][0]["rules"]} == {"ok"}, 30)


@pytest.mark.parametrize("affinity", ["none", "key"])
def test_a_queue_is_told_wherever_it_stands_and_once(routed, affinity):
    """Every client has the same key: with affinity all of them wait for one box."""
    fleet = routed.fleet
    routed.configure(routed.servers, affinity=affinity)
    until(lambda: not fleet.told() or None, 90)
    stop = threading.Event()

    def client():
        while not stop.is_set():
            routed.ask(tokens=150)

    clients = [threading.Thread(target=client, daemon=True) for _ in range(12)]
    for one in clients:
        one.start()
    try:
        until(lambda: {"Gb10RouterQueue", "Gb10RouterWait"} <= fleet.firing(), 120)
        until(lambda: fleet.told() == {"Gb10RouterQueue"}, 20)
        kinds = {kind: sum(float(one["value"][1]) for one in fleet.ask(f"haproxy_{kind}_current_queue")) for kind in ("backend", "server")}
        assert (kinds["server" if affinity == "key" else "backend"] > 0) and (kinds["backend" if affinity == "key" else "server"] == 0)
        (waiting,) = [one for one in get(f"{fleet.alerts_url}/api/v2/alerts") if one["status"]["state"] == "active"]
        assert {key: waiting["labels"][key] for key in ("router", "server")} == {"router": "spark-01", "server": "tiny"}
    finally:
        stop.set()
        for one in clients:
            one.join(120)
    until(lambda: not fleet.firing() or None, 120)


def test_a_model_without_a_server_is_told_unless_that_is_meant(routed):
    fleet = routed.fleet
    routed.configure(routed.servers[:1], affinity="none")
    down = 'haproxy_backend_status{state="DOWN"} == 1'
    routed.do("set server gb10_tiny/spark-01 state drain")
    until(lambda: fleet.ask(down), 20)
    time.sleep(SETTLE_S)
    assert fleet.firing() == set(), "drained, which somebody did"
    routed.engines["spark-01"].close()
    until(lambda: fleet.ask('haproxy_server_status{state="DOWN",server="spark-01"} == 1'), 30)
    until(lambda: fleet.told() == {"Gb10RouterNoServer"}, 60)
    fleet.says_of_its_unit("disabled")
    until(lambda: not fleet.firing() or None, 60)
    assert fleet.ask(down), "stopped, which somebody did"
    fleet.says_of_its_unit("enabled")
    until(lambda: fleet.told() == {"Gb10RouterNoServer"}, 60)


def test_a_router_that_is_gone_is_told_and_nothing_besides(routed):
    routed.router.close()
    until(lambda: routed.fleet.told() == {"Gb10RouterDown"}, 60)

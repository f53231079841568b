# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whom Prometheus asks, made from an inventory."""

from __future__ import annotations

import json

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._filters import monitoring
from ansible_collections.gb10.vllm.plugins.plugin_utils._monitoring import targets

SERVERS = [
    {"name": "devstral", "model": "org/Devstral-24B", "port": 8000, "address": "0.0.0.0"},
    {"name": "small", "model": "small", "port": 8001, "address": "192.168.1.11", "tls": {"certificate": "/c.pem", "key": "/k.pem"}},
    {"name": "own", "model": "small", "port": 8002},
    {"name": "six", "model": "small", "port": 8003, "address": "fd00::11"},
]
HOSTVARS = {
    "spark-01": {"ansible_host": "spark-01.example.org", "gb10_servers": SERVERS, "monitoring_found": {"management": "192.168.1.11"}},
    "spark-02": {"gb10_management_address": "10.0.0.2", "ansible_host": "192.168.1.12"},
    "spark-03": {},
}


def test_what_the_inventory_says_of_a_host():
    found = monitoring.monitored(["spark-01", "spark-02", "spark-03"], HOSTVARS)
    assert {name: one["management"] for name, one in found.items()} == {"spark-01": "192.168.1.11", "spark-02": "10.0.0.2", "spark-03": "spark-03"}
    assert [one["name"] for one in found["spark-01"]["servers"]] == ["devstral", "small", "own", "six"]


def test_each_server_is_asked_where_it_listens():
    found = targets.of_servers(monitoring.monitored(["spark-01"], HOSTVARS))
    assert [(one["targets"], one["labels"]["server"], one["labels"]["__scheme__"]) for one in found] == [
        (["192.168.1.11:8000"], "devstral", "http"),
        (["192.168.1.11:8001"], "small", "https"),
        (["[fd00::11]:8003"], "six", "http"),
    ]
    assert found[0]["labels"] == {"box": "spark-01", "server": "devstral", "model": "Devstral-24B", "__scheme__": "http"}


def test_a_server_on_loopback_is_asked_from_its_own_box_only_and_else_named():
    boxes = monitoring.monitored(["spark-01"], HOSTVARS)
    assert ["127.0.0.1:8002"] in [one["targets"] for one in targets.of_servers(boxes, "spark-01")]
    assert targets.unreached(boxes, "spark-01") == []
    (said,) = targets.unreached(boxes, "monitor")
    assert said.startswith("spark-01: own listens on 127.0.0.1 only") and "give it an `address`" in said


def test_a_server_without_an_address_is_asked_where_a_router_has_it_listen():
    known = {"a": {"ansible_host": "10.0.0.1", "gb10_servers": [{"name": "s", "model": "m"}]}}
    for routers, asked in ((["r"], [["10.0.0.1:8000"]]), (["a"], []), ([], [])):
        boxes = monitoring.monitored(["a"], known, routers)
        assert [one["targets"] for one in targets.of_servers(boxes, "m")] == asked and len(targets.unreached(boxes, "m")) == 1 - len(asked)


def test_a_server_over_several_boxes_is_asked_at_its_head():
    """Its other ranks answer nobody: each of them was told to be down."""
    for boxes, heads, said in ((["b", "c"], ["b"], 0), (2, [], 1)):
        entry = {"name": "big", "model": "m", "boxes": boxes, "address": "0.0.0.0"}
        known = monitoring.monitored(["a", "b", "c"], {name: {"ansible_host": f"10.0.0.{name}", "gb10_servers": [entry]} for name in "abc"})
        assert [one["labels"]["box"] for one in targets.of_servers(known, "m")] == heads
        notes = targets.unreached(known, "m")
        assert len(notes) == said and all("big: the plan chooses its boxes" in note for note in notes)


@pytest.mark.parametrize(
    ("said", "port", "here", "asked", "note"),
    [
        ({}, None, "m", [], "gb10_router_metrics_port is 0"),
        ({"gb10_router_metrics_port": 9101}, None, "m", [], "gb10_router_metrics_address is 127.0.0.1"),
        ({"gb10_router_metrics_port": 9101}, None, "r", ["127.0.0.1:9101"], ""),
        ({"gb10_router_metrics_port": 9102, "gb10_router_metrics_address": "fd00::9"}, None, "m", ["[fd00::9]:9102"], ""),
        ({"gb10_router_metrics_port": 9102, "gb10_router_metrics_address": "0.0.0.0"}, None, "m", ["10.0.0.9:9102"], ""),
        ({}, 9101, "m", ["10.0.0.9:9101"], ""),
    ],
)
@pytest.mark.parametrize("of", ["r", "a"])
def test_a_router_is_asked_where_it_tells_its_metrics_and_else_named(said, port, here, asked, note, of):
    hosts = {"r": {"ansible_host": "10.0.0.9"}, "a": {"ansible_host": "10.0.0.1"}}
    hosts[of] |= said
    routers = monitoring.monitored(["r"], hosts, ["r"], ["a"])
    assert [one for entry in targets.of_routers(routers, here, port) for one in entry["targets"]] == asked
    notes = targets.unreached(monitoring.monitored(["a"], hosts, ["r"]), here, routers, port)
    assert len(notes) == bool(note) and all(one.startswith("r: ") and note in one and "run the playbook router" in one for one in notes)


@pytest.mark.parametrize(
    ("said", "monitors", "here", "asked"),
    [
        ({}, ["m"], "m", ["10.0.0.9:9101"]),
        ({}, ["r"], "r", ["127.0.0.1:9101"]),
        ({}, ["a"], "a", ["10.0.0.9:9101"]),
        ({"gb10_management_address": "[fd00::9]"}, ["m"], "m", ["[fd00::9]:9101"]),
        ({"ansible_host": "router.example"}, ["m"], "m", []),
        ({"ansible_host": "router.example", "gb10_router_metrics_port": 9101}, ["m"], "m", []),
        ({"ansible_host": "router.example", "gb10_router_metrics_address": "10.0.0.8"}, ["m"], "m", ["10.0.0.8:9101"]),
        ({"gb10_router_metrics_port": 0}, ["m"], "m", []),
        ({"gb10_router_metrics_port": 9200}, ["m"], "m", ["10.0.0.9:9200"]),
        ({"gb10_router_metrics_address": "127.0.0.1"}, ["m"], "m", []),
        ({"gb10_monitoring": {"state": "absent"}}, ["m"], "m", []),
        ({"gb10_router_port": 9101}, ["m"], "m", ["10.0.0.9:9102"]),
        ({"gb10_servers": [{"name": "s", "model": "m", "port": 8101}, {"name": "t", "model": "n", "port": 8102}]}, ["m"], "m", ["10.0.0.9:9103"]),
        ({"gb10_monitoring": {"port": 9101, "node_exporter_port": 9102}}, ["m"], "m", ["10.0.0.9:9103"]),
    ],
)
def test_a_router_is_asked_where_the_monitoring_host_comes_in_unless_somebody_says_otherwise(said, monitors, here, asked):
    groups = {"groups": {"gb10_monitoring": monitors, "all": ["r", "a", "m"]}}
    hosts = {"r": {"ansible_host": "10.0.0.9", **groups, **said}, "a": {"ansible_host": "10.0.0.1", **groups}}
    routers = monitoring.monitored(["r"], hosts, ["r"], ["a"])
    assert [one for entry in targets.of_routers(routers, here) for one in entry["targets"]] == asked
    notes = targets.unreached(monitoring.monitored(["a"], hosts, ["r"]), here, routers)
    assert len(notes) == (not asked), notes


def test_where_something_of_the_users_tells_the_metrics_of_routers_no_port_is_opened():
    hosts = {"r": {"ansible_host": "10.0.0.9", "gb10_monitoring": {"router_port": 9105}, "groups": {"gb10_monitoring": ["m"]}}, "a": {}}
    assert monitoring.monitored(["r"], hosts, ["r"], ["a"])["r"]["metrics"] == ("127.0.0.1", 0)


@pytest.mark.parametrize(
    ("why", "said"), [("dial tcp 10.0.0.9:9101: connect: connection refused", "run the playbook router"), ("no route to host", "no route")]
)
def test_a_router_that_tells_nothing_yet_is_named_with_what_has_it_tell(why, said):
    target = {"labels": {"job": "gb10-router", "router": "r"}, "health": "down", "lastError": why}
    (line,) = monitoring.targets_report({"data": {"activeTargets": [target]}})["text"].splitlines()[1:]
    assert line.startswith("  r (gb10-router) does not: ") and said in line


def test_the_files_name_each_host_once_and_hold_no_secret():
    known = {
        "boxes": monitoring.monitored(["spark-01"], {"spark-01": {**HOSTVARS["spark-01"], "gb10_metrics_key": "s3cret"}}),
        "routers": {"r": {"management": "10.0.0.9"}},
    }
    wanted = {**monitoring.settings.settings({"router_port": 9101}), "address": "10.0.0.1", "key": True}
    files = {one["path"].rpartition("/gb10-vllm-monitoring/")[2]: one for one in monitoring.monitoring_files(known, wanted, "monitor")}
    assert json.loads(files["targets/boxes.json"]["content"]) == [
        {"targets": ["192.168.1.11:9100"], "labels": {"box": "spark-01"}},
        {"targets": ["10.0.0.1:9100"], "labels": {"box": "monitor"}},
    ]
    assert json.loads(files["targets/routers.json"]["content"]) == [{"targets": ["10.0.0.9:9101"], "labels": {"router": "r"}}]
    assert "s3cret" not in json.dumps(files)
    assert list(files)[-1] == "prometheus.yml" and files["prometheus.yml"]["validate"] == "promtool check config %s"


def test_a_monitoring_host_that_is_a_box_is_asked_once():
    known = {"boxes": monitoring.monitored(["spark-01"], HOSTVARS), "routers": {}}
    wanted = {**monitoring.settings.settings({}), "address": "192.168.1.11", "key": True}
    (content,) = [one["content"] for one in monitoring.monitoring_files(known, wanted, "spark-01") if one["path"].endswith("boxes.json")]
    assert json.loads(content) == [{"targets": ["192.168.1.11:9100"], "labels": {"box": "spark-01"}}]


ANSWER = {
    "data": {
        "activeTargets": [
            {"labels": {"job": "gb10-vllm", "box": "a", "server": "s"}, "health": "up", "lastError": ""},
            {"labels": {"job": "gb10-node", "box": "b"}, "health": "down", "lastError": "connection refused"},
            {"labels": {"job": "gb10-vllm", "box": "b", "server": "s"}, "health": "down", "lastError": "server returned HTTP status 401 Unauthorized"},
            {"labels": {"job": "gb10-node", "box": "c"}, "health": "unknown", "lastError": ""},
        ]
    }
}


def test_the_report_says_who_does_not_answer_and_why():
    report = monitoring.targets_report(ANSWER, ["spark-09: a note."])
    assert report["unknown"] == 1
    assert report["text"].splitlines() == [
        "1 of 4 targets answer Prometheus.",
        "  b (gb10-node) does not: connection refused.",
        "  b s (gb10-vllm) does not: its servers do not know gb10_metrics_key yet; run site, which tells them without a restart.",
        "  spark-09: a note.",
    ]


def test_targets_that_prometheus_has_not_read_yet_are_waited_for():
    """One that has just begun answers that it has none."""
    known = {"boxes": monitoring.monitored(["spark-01"], HOSTVARS), "routers": {}}
    files = monitoring.monitoring_files(known, {**monitoring.settings.settings({}), "address": "192.168.1.11", "key": True}, "spark-01")
    active: list[dict] = []
    waited = []
    for job in ("gb10-prometheus", "gb10-alertmanager", "gb10-vllm", "gb10-node"):
        waited.append(monitoring.targets_report({"data": {"activeTargets": active}}, files=files)["unknown"])
        active = [*active, {"labels": {"job": job}, "health": "up", "lastError": ""}]
    assert waited == [4, 3, 2, 1]
    assert monitoring.targets_report({"data": {"activeTargets": active}}, files=files)["unknown"] == 0, "there are no routers to wait for"


SINCE = "Thu, 26 Nov 2026 06:00:10 GMT"


@pytest.mark.parametrize(
    ("asked", "unknown"),
    [
        ("2026-11-26T06:00:09.999999999Z", 1),
        ("2026-11-26T06:00:10.000000001Z", 0),
        ("2026-11-26T07:00:09.5+01:00", 1),
        ("2026-11-26T07:00:11+01:00", 0),
        ("0001-01-01T00:00:00Z", 1),
    ],
)
def test_who_was_asked_before_all_was_started_is_not_said_to_be_down(asked, unknown):
    answer = {"data": {"activeTargets": [{"labels": {"job": "a"}, "health": "down", "lastError": "connection refused", "lastScrape": asked}]}}
    report = monitoring.targets_report(answer, since=SINCE)
    assert report["unknown"] == unknown and ("does not" in report["text"]) is not bool(unknown)


@pytest.mark.parametrize("answer", [None, {}, {"data": None}, {"data": {"activeTargets": [{}]}}, "text"])
def test_an_answer_of_any_shape_ends_in_a_sentence(answer):
    with pytest.raises(monitoring.GB10Error, match="did not say which targets"):
        monitoring.targets_report(answer)


@pytest.mark.parametrize(
    ("monitors", "given", "url"),
    [
        ([], {}, ""),
        (["spark-02"], {}, "http://10.0.0.2:9090"),
        (["spark-02"], {"port": 9095}, "http://10.0.0.2:9095"),
        (["spark-02"], {"state": "absent"}, ""),
    ],
)
def test_where_the_status_finds_prometheus(monitors, given, url):
    assert monitoring.prometheus_url(monitors, HOSTVARS, given) == url

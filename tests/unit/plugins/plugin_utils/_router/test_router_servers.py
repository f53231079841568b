# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which servers a router has behind it and where it reaches them."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.filter.gb10 import FilterModule
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._router import servers

GROUPS = {"all": ["spark-01", "spark-02", "r1", "r2"], "gb10": ["spark-01", "spark-02"], "routers": ["r1", "r2"]}


def deployment(**more):
    words = more.pop("words", ["--served-model-name", "tiny", "small", "--max-num-seqs", "16"])
    given = {
        "name": "tiny",
        "address": "10.0.0.1",
        "port": 8000,
        "served_model_name": "tiny",
        "key": "given",
        "probe_url": "http://10.0.0.1:8000",
        "planned": {},
    }
    return given | {"container": {"command": ["vllm", "serve", "/models/tiny", *words]}} | more


@pytest.mark.parametrize(
    ("named", "found"),
    [
        (None, []),
        ("routers", ["r1", "r2"]),
        ("spark-01", ["spark-01"]),
        (["spark-01", "routers", "r1"], ["spark-01", "r1", "r2"]),
        ("r2, spark-02", ["r2", "spark-02"]),
        ("", []),
        ([], []),
    ],
)
def test_routers_are_hosts_and_groups(named, found):
    assert servers.router_hosts(GROUPS, named) == found


def test_without_the_variable_the_group_of_that_name_counts():
    assert servers.router_hosts({**GROUPS, "gb10_routers": ["r2"]}) == ["r2"]
    assert servers.router_hosts({**GROUPS, "gb10_routers": ["r2"]}, "") == ["r2"]
    assert servers.router_hosts({**GROUPS, "gb10_routers": ["r2"]}, []) == []


def test_an_unknown_router_is_refused():
    with pytest.raises(GB10Error, match="gb10_routers names nobody, which is neither a host nor a group"):
        servers.router_hosts(GROUPS, ["r1", "nobody"])


@pytest.mark.parametrize(
    ("routers", "host", "given", "listens"),
    [
        ([], "10.0.0.1", "", "127.0.0.1"),
        (["spark-01"], "10.0.0.1", "", "127.0.0.1"),
        (["r1"], "10.0.0.1", "", "10.0.0.1"),
        (["spark-01", "r1"], "fd00::1", "", "fd00::1"),
        (["r1"], "spark-01.example", "192.168.177.11", "192.168.177.11"),
    ],
)
def test_servers_listen_where_the_router_comes_in(routers, host, given, listens):
    assert servers.listen_address(routers, "spark-01", host, given) == listens


def test_a_name_is_no_address_to_listen_on():
    with pytest.raises(GB10Error, match="spark-01: .*set gb10_server_address"):
        servers.listen_address(["r1"], "spark-01", "spark-01.example")


def test_a_deployment_says_names_and_seats():
    one = servers.behind("spark-01", deployment(), "10.0.0.1")
    assert (one["models"], one["maxconn"], one["address"], one["tls_name"]) == (["tiny", "small"], 16, "10.0.0.1", "")
    assert servers.behind("spark-01", deployment(), "10.0.0.1", maxconn=3)["maxconn"] == 3
    assert servers.behind("spark-01", deployment(words=["--max-num-seqs=7"]), "10.0.0.1")["maxconn"] == 7
    assert servers.behind("spark-01", deployment(words=[], planned={"concurrency": 2.9}), "10.0.0.1")["maxconn"] == 2
    assert servers.behind("spark-01", deployment(probe_url="https://x:1"), "10.0.0.1", "spark.example")["tls_name"] == "spark.example"


def test_where_a_router_reaches_it():
    assert servers.behind("a", deployment(address="0.0.0.0"), "a.example")["address"] == "a.example"
    assert servers.behind("a", deployment(address="127.0.0.1"), "127.0.0.1")["address"] == "127.0.0.1"
    with pytest.raises(GB10Error, match="a: tiny listens on 127.0.0.1, where no router"):
        servers.behind("a", deployment(address="127.0.0.1"), "10.0.0.1")


def one(box, server="tiny", port=8000, models=("tiny",)):
    return {
        "box": box,
        "server": server,
        "address": "10.0.0.1",
        "port": port,
        "models": list(models),
        "maxconn": 1,
        "max_model_len": 1,
        "agent": "10.0.0.1",
        "tls_name": "",
        "key": "given",
    }


def test_boxes_that_were_not_read_keep_their_place():
    before = [one("a"), one("b"), one("gone")]
    assert [(each["box"], each["port"]) for each in servers.merged(before, [one("a", port=9)], ["a"], ["a", "b"])] == [("a", 9), ("b", 8000)]
    assert servers.merged(before, [], ["a", "b"], ["a", "b"]) == []


def test_a_name_belongs_to_one_server_and_one_port():
    assert servers.model_names([one("a", models=("tiny", "small")), one("b")]) == {"tiny": "tiny", "small": "tiny"}
    for other in (one("a", server="other", port=8001), one("b", port=8001), one("b", server="other")):
        with pytest.raises(GB10Error, match="The model name tiny is served on two ports"):
            servers.model_names([one("a"), other], one_port=True)
    assert servers.model_names([one("a"), one("b", port=8001)]) == {"tiny": "tiny"}, "while a rollout changes its port"
    with pytest.raises(GB10Error, match="is served on two ports"):
        servers.model_names([one("a"), one("b", server="other")])
    with pytest.raises(GB10Error, match="name without spaces"):
        servers.model_names([one("a", models=("a b",))])


def test_the_filter_puts_servers_where_the_router_comes_in():
    given = [{"name": "tiny", "model": "m"}, {"name": "own", "model": "n", "port": 8001, "address": "0.0.0.0"}]
    filled = FilterModule().filters()["servers"](given, models_dir="/srv/models", allow_open=False, listen="10.0.0.1")
    assert [one["address"] for one in filled] == ["10.0.0.1", "0.0.0.0"]
    assert FilterModule().filters()["server_mistakes"](given, models_dir="/srv/models", allow_open=False, listen="no address")

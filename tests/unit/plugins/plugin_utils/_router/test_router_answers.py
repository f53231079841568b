# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Small judges of a router: where it tells its metrics, what it answers to whom, which servers a batch interrupts, what a floating address may be."""

from __future__ import annotations

import pytest
import real_router
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._router import configuration, floating, metrics, work
from real_router import behind

PORTS = {"gb10_router_port": 8443, "gb10_router_port_offset": 1000, "gb10_agent_port": 9107}


@pytest.mark.parametrize(
    ("said", "monitors", "host", "found"),
    [
        ({}, [], "10.0.0.9", ("127.0.0.1", 0)),
        ({}, ["m"], "10.0.0.9", ("10.0.0.9", 9101)),
        ({}, ["r"], "10.0.0.9", ("127.0.0.1", 9101)),
        ({}, ["m"], "name", ("127.0.0.1", 0)),
        ({}, ["r"], "name", ("127.0.0.1", 9101)),
        ({"gb10_router_metrics_address": "[fd00::1]"}, ["m"], "name", ("fd00::1", 9101)),
        ({"gb10_router_metrics_address": "10.0.0.8"}, [], "10.0.0.9", ("10.0.0.8", 0)),
        ({"gb10_router_metrics_port": 9200}, [], "10.0.0.9", ("127.0.0.1", 9200)),
        ({"gb10_router_metrics_port": 0}, ["m"], "10.0.0.9", ("10.0.0.9", 0)),
        ({"gb10_router_port": 9101, "gb10_agent_port": 9102}, ["m"], "10.0.0.9", ("10.0.0.9", 9103)),
        ({"gb10_monitoring": {"port": 9101}}, ["m"], "10.0.0.9", ("10.0.0.9", 9102)),
        ({"gb10_monitoring": {"state": "absent"}}, ["m"], "10.0.0.9", ("127.0.0.1", 0)),
        ({"gb10_monitoring": {"router_port": 9300}}, ["m"], "10.0.0.9", ("127.0.0.1", 0)),
    ],
)
def test_where_a_router_tells_its_metrics(said, monitors, host, found):
    hosts = {"r": {"ansible_host": host, "groups": {"gb10_monitoring": monitors}}, "b": {}}
    made = metrics.metrics({**PORTS, **said}.get, "r", ["b"], hosts)
    assert made == {"metrics_address": found[0], "metrics_port": found[1]}


def test_a_port_of_a_server_is_taken_on_its_router_and_with_the_offset_everywhere():
    servers = [{"port": 9101}, {"port": "x"}, "text", {"port": None}]
    known = {"groups": {"gb10_monitoring": ["m"]}, "ansible_host": "10.0.0.9"}
    for own, other, offset, port in ((servers, [], 1000, 9102), ([], servers, 1000, 9101), ([], [{"port": 9001}], 100, 9102), ([{}], [], 1101, 9102)):
        hosts = {"r": {**known, "gb10_servers": own}, "b": {"gb10_servers": other}}
        assert metrics.metrics({**PORTS, "gb10_router_port_offset": offset}.get, "r", ["b"], hosts)["metrics_port"] == port


def test_an_address_that_metrics_cannot_be_told_at():
    with pytest.raises(GB10Error) as caught:
        metrics.metrics({**PORTS, "gb10_router_metrics_address": "name"}.get, "r", [], {})
    said = "gb10_router_metrics_address: 'name' is no address; name one of the router's host, or 127.0.0.1 for itself alone."
    assert str(caught.value) == said
    found = {"metrics_address": "10.0.0.9", "metrics_port": 9101}
    lost = (
        "its metrics are told nowhere, because 10.0.0.9, at which the inventory reaches it, is no address of its own; set gb10_router_metrics_address or "
        "gb10_management_address to one that the monitoring host reaches, and run the playbooks router and monitoring."
    )
    assert metrics.not_here(found, None, ["10.0.0.8"]) == lost
    for seen, stated, addresses in (
        (found, "10.0.0.9", ["x"]), ({**found, "metrics_port": 0}, None, ["x"]), (found, None, []), (found, None, ["10.0.0.9"]),
        ({**found, "metrics_address": "127.0.0.1"}, None, ["x"]),
    ):  # fmt: skip
        assert metrics.not_here(seen, stated, addresses) == ""


def test_what_the_front_answers_itself_has_its_own_number():
    servers = [behind("spark-01", "tiny", "10.0.0.1", 8000, ["tiny"])]
    text = configuration.files(servers, real_router.settings(port=8443, agent_port=8089), (2, 6))["haproxy.cfg"]
    front = text.partition("frontend router\n")[2].partition("\n\n")[0]
    answers = [line.split(" status ")[1].split()[0] for line in front.splitlines() if "http-request return status" in line]
    assert front.count("status 413") == 2 and front.count("status 404") >= 2 and front.count("status 400") == 1, answers


def test_which_work_interrupts_a_server():
    assert [
        work._interrupts(order)
        for order in (
            {}, {"start": True}, {"create": True}, {"start": True, "create": True}, {"start": True, "write_env": True}, {"start": True, "env_removed": True},
            {"start": True, "write_key": True}, {"start": True, "write_key": True, "keys_live": True}, {"write_key": True},
        )
    ] == [False, False, False, True, True, True, True, False, False]  # fmt: skip


def rank(number):
    return {"deployment": {"group": {"number": number, "boxes": ["a", "b"]}}}


def test_a_rank_is_judged_by_its_order_and_else_as_it_was_read():
    read = {"fleet_box_now": {"servers": {"x": rank(1), "y": rank(0)}}}
    assert [work._is_rank(known, name) for known, name in (({}, "x"), (read, "x"), (read, "y"), (read, "z"))] == [False, True, False, False]
    assert not work._is_rank({**read, "server_orders": {"x": rank(0)}}, "x") and work._is_rank({"server_orders": {"y": rank(1)}}, "y")


def test_a_server_that_no_other_machine_reaches_is_named():
    hosts = {"a": {"ansible_host": "10.0.0.1", "gb10_servers": [{"name": "s", "address": "127.0.0.1"}]}}
    said = (
        "a: s is to listen on 127.0.0.1, where the router cannot reach it from another machine; leave `address` out, and it listens where the router comes in."
    )
    with pytest.raises(GB10Error) as caught:
        work._check_reach(["r"], ["a"], hosts)
    assert str(caught.value) == said and work._check_reach(["a"], ["a"], hosts) is None
    for address in ("10.0.0.1", "0.0.0.0", "name", None):
        assert work._check_reach(["r"], ["a"], {"a": {**hosts["a"], "gb10_servers": [{"name": "s", "address": address}]}}) is None


ALONE = "gb10_router_floating is for two routers or more, and gb10_routers names only one; its own address serves as well."
GIVEN, TWO = {"address": "10.0.0.100/24"}, {"r": "10.0.0.1", "q": "10.0.0.2"}


@pytest.mark.parametrize(
    ("given", "listen", "addresses", "said"),
    [
        (GIVEN, "0.0.0.0", TWO, ""),
        ({**GIVEN, "id": 1}, "::", TWO, ""),
        ({**GIVEN, "id": "255", "interface": "enP7s7"}, "0.0.0.0", TWO, ""),
        (GIVEN, "0.0.0.0", {"r": "10.0.0.1"}, ALONE),
        (GIVEN, "10.0.0.1", TWO, "gb10_router_address is 10.0.0.1, where the floating address 10.0.0.100 is not heard; leave it out, or set it to 0.0.0.0."),
        (GIVEN, "x", TWO, "gb10_router_address is x, where the floating address 10.0.0.100 is not heard; leave it out, or set it to 0.0.0.0."),
        (
            GIVEN, "0.0.0.0", {**TWO, "q": "fd00::1"},
            "gb10_router_floating: router q is reached at fd00::1, which is no IPv4 address; routers speak to each other by addresses, so set ansible_host or "
            "gb10_server_address of it to one.",
        ),
        (GIVEN, "0.0.0.0", {**TWO, "q": "10.0.0.100"}, "gb10_router_floating: 10.0.0.100 is the own address of router q; name one that nobody has."),
        ({**GIVEN, "interface": "a b"}, "0.0.0.0", TWO, "gb10_router_floating: `interface` is 'a b', which is no name of one, such as enP7s7."),
        *(
            (
                {**GIVEN, "id": number}, "0.0.0.0", TWO,
                f"gb10_router_floating: `id` is {number!r}; it has to be a number from 1 to 255 that no other group of routers in this network has.",
            )
            for number in (0, 256, "x")
        ),
        *(
            (
                {"address": text}, "0.0.0.0", TWO,
                f"gb10_router_floating: `address` is {text!r}; it has to be an address with the length of its network, such as 10.0.0.100/24.",
            )
            for text in ("", "10.0.0.1", "x/24", "127.0.0.1/8", "0.0.0.0/0")
        ),
    ],
)  # fmt: skip
def test_a_floating_address(given, listen, addresses, said):
    found = ""
    try:
        floating.check(given, listen, addresses)
    except GB10Error as error:
        found = str(error)
    assert found == said

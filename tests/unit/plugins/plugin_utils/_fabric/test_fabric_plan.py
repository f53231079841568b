# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is proposed for boxes that are cabled in every way, and what is refused."""

from __future__ import annotations

import copy
import ipaddress
import itertools
import tracemalloc

import pytest
import yaml
from ansible_collections.gb10.vllm.plugins.plugin_utils._fabric.plan import fabric_plan
from fabric_boxes import PORTS, applied, box, half, link

PRESENT = {"state": "present"}


def boxes(*cabled):
    return {f"spark-{number:02}": box(number, *ports) for number, ports in enumerate(cabled, 1)}


def addresses(plan):
    return {name: one["addresses"] for name, one in plan["boxes"].items()}


def sound(plan, seen):
    """What holds for every plan: each half has its own subnet, its ends differ, files say the same, peers are the other ends."""
    assert plan["problem"] == "" and plan["text"]
    networks = [ipaddress.ip_network(segment["network"]) for segment in plan["segments"]]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(networks, 2))
    for segment in plan["segments"]:
        held = [ipaddress.ip_interface(end["address"]) for end in segment["ends"]]
        assert len({one.ip for one in held}) == len(held) >= 2 and {str(one.network) for one in held} == {segment["network"]}
    for name, one in plan["boxes"].items():
        ethernets = yaml.safe_load(one["netplan"])["network"]["ethernets"]
        assert {interface: written["addresses"] for interface, written in ethernets.items()} == {key: [value] for key, value in one["addresses"].items()}
        assert all(written["mtu"] == 9000 and written["dhcp4"] is False and written["link-local"] == [] for written in ethernets.values())
        assert all(half(seen[name], interface)["carrier"] for interface in one["addresses"])
        for peer in one["peers"]:
            other = plan["boxes"][peer["box"]]["addresses"][peer["by"]]
            assert other.startswith(peer["address"] + "/") and peer["interface"] in one["addresses"]


def test_two_boxes_and_one_cable():
    seen = boxes([0], [1])
    plan = fabric_plan(seen, PRESENT)
    sound(plan, seen)
    assert plan["topology"] == "direct"
    assert addresses(plan) == {
        "spark-01": {"enp1s0f0np0": "192.168.177.11/24", "enP2p1s0f0np0": "192.168.178.11/24"},
        "spark-02": {"enp1s0f1np1": "192.168.177.12/24", "enP2p1s0f1np1": "192.168.178.12/24"},
    }


def test_a_second_cable_between_two_boxes_brings_nothing_and_is_said():
    seen = boxes([0, 1], [0, 1])
    plan = fabric_plan(seen, PRESENT)
    sound(plan, seen)
    assert plan["topology"] == "direct" and "second cable" in plan["notes"][0]
    assert set(addresses(plan)["spark-01"]) == set(PORTS[0])


@pytest.mark.parametrize("count", [3, 4, 8])
def test_one_cable_each_is_a_switch(count):
    seen = boxes(*[[0]] * count)
    plan = fabric_plan(seen, PRESENT)
    sound(plan, seen)
    assert plan["topology"] == "switch" and len(plan["segments"]) == 2 and "9216" in plan["notes"][0]


@pytest.mark.parametrize(("count", "kind"), [(3, "mesh"), (4, "ring"), (5, "ring")])
def test_two_cables_each_are_a_mesh_or_a_ring_in_the_order_of_the_inventory(count, kind):
    seen = boxes(*[[0, 1]] * count)
    plan = fabric_plan(seen, PRESENT)
    sound(plan, seen)
    assert plan["topology"] == kind and len(plan["segments"]) == 2 * count and "lldpd" in plan["notes"][0]
    if kind == "mesh":
        assert [segment["network"] for segment in plan["segments"]] == [f"192.168.{third}.0/24" for third in (177, 178, 187, 188, 197, 198)]
        assert plan["segments"][0]["ends"][0]["interface"] == "enp1s0f0np0" and plan["segments"][0]["ends"][1]["interface"] == "enp1s0f1np1"


@pytest.mark.parametrize("by", ["mac", "name"])
def test_what_lldp_says_goes_before_what_is_usual(by):
    seen = boxes(*[[0, 1]] * 4)
    for one, other in (
        (("spark-01", 1), ("spark-03", 1)),
        (("spark-03", 0), ("spark-02", 0)),
        (("spark-02", 1), ("spark-04", 0)),
        (("spark-04", 1), ("spark-01", 0)),
    ):
        link(seen, one, other, by=by)
    plan = fabric_plan(seen, PRESENT)
    sound(plan, seen)
    assert plan["topology"] == "ring" and "LLDP" in plan["why"] and plan["notes"] == []
    pairs = {tuple(sorted((end["box"], end["port"]) for end in segment["ends"])) for segment in plan["segments"]}
    assert (("spark-01", 1), ("spark-03", 1)) in pairs and (("spark-02", 1), ("spark-04", 0)) in pairs


def test_lldp_of_a_pair_a_mesh_and_a_switch():
    pair = boxes([0, 1], [0, 1])
    link(pair, ("spark-01", 0), ("spark-02", 1))
    link(pair, ("spark-01", 1), ("spark-02", 0))
    plan = fabric_plan(pair, PRESENT)
    sound(plan, pair)
    assert plan["topology"] == "direct" and "second cable" in plan["notes"][0]
    mesh = boxes(*[[0, 1]] * 3)
    for one, other in ((("spark-01", 0), ("spark-02", 0)), (("spark-02", 1), ("spark-03", 0)), (("spark-03", 1), ("spark-01", 1))):
        link(mesh, one, other)
    assert fabric_plan(mesh, PRESENT)["topology"] == "mesh"
    switch = boxes([0], [0], [0])
    for facts in switch.values():
        for one in facts["ports"]:
            one["neighbour"] = {"name": "sw1", "chassis": "aa:bb:cc:00:00:01", "port": "ethernet1/7"}
    plan = fabric_plan(switch, PRESENT)
    sound(plan, switch)
    assert plan["topology"] == "switch" and "none of these boxes" in plan["why"]


def test_a_second_run_wants_what_is_there_also_when_boxes_come_and_go():
    seen = boxes([0], [0], [0])
    plan = fabric_plan(seen, PRESENT)
    there = applied(seen, plan)
    assert fabric_plan(there, PRESENT)["boxes"] == plan["boxes"]
    left = {name: facts for name, facts in there.items() if name != "spark-01"}
    assert addresses(fabric_plan(left, {**PRESENT, "topology": "switch"})) == {name: addresses(plan)[name] for name in left}
    more = {"spark-00": box(9, 0), **there}
    later = addresses(fabric_plan(more, PRESENT))
    assert {name: later[name] for name in there} == addresses(plan), "who is there keeps his address, wherever a new one stands in the inventory"
    assert later["spark-00"]["enp1s0f0np0"] not in [one["enp1s0f0np0"] for one in addresses(plan).values()]


def test_other_networks_and_small_ones():
    seen = boxes([0], [0])
    plan = fabric_plan(seen, {**PRESENT, "subnets": ["10.9.0.0/30", "10.9.0.4/30"], "mtu": 9000})
    sound(plan, seen)
    assert addresses(plan)["spark-02"] == {"enp1s0f0np0": "10.9.0.2/30", "enP2p1s0f0np0": "10.9.0.6/30"}
    assert "no address left" in fabric_plan(boxes([0], [0], [0]), {"subnets": ["10.9.0.0/30", "10.9.0.4/30"]})["problem"]


def test_a_half_without_a_carrier_is_named():
    seen = boxes([0], [0])
    half(seen["spark-02"], "enP2p1s0f0np0")["carrier"] = False
    plan = fabric_plan(seen, PRESENT)
    assert plan["problem"] == "" and "spark-02: enP2p1s0f0np0 shows no carrier" in plan["notes"][0]


def changed(change):
    seen = boxes([0], [0])
    change(seen)
    return seen


def sets(name, interface=None, **values):
    return lambda seen: (half(seen[name], interface) if interface else seen[name]).update(values)


@pytest.mark.parametrize(
    ("seen", "given", "said"),
    [
        (boxes([0]), PRESENT, "this run has one"),
        (boxes([0], []), PRESENT, "no port of spark-02 has a carrier"),
        (changed(lambda seen: [one.update(carrier=None, up=False) for one in seen["spark-02"]["ports"]]), PRESENT, "are down, so no carrier is seen"),
        (boxes([0, 1], [0], [0]), PRESENT, "spark-01 has 2 cabled ports, spark-02 has 1 cabled port"),
        (boxes([0], [0], [0]), {"topology": "ring"}, "topology is ring, and the cables make a switch"),
        (boxes([0], [0], [0]), {"topology": "direct"}, "topology is direct, and the cables make a switch"),
        (boxes(*[[0]] * 4), {"topology": "direct"}, "topology is direct, and the cables make a switch"),
        (boxes([0], [0]), {"mtu": float("inf")}, "which is no number"),
        (boxes([0], [0]), {"confirm_s": float("nan")}, "which is no number"),
        (boxes([0], [0]), {"subnets": ["127.0.0.0/24", "10.0.0.0/24"]}, "127.0.0.0/24, which overlaps with 127.0.0.0/8"),
        (boxes([0], [0]), {"subnets": ["10.0.0.0/24", "239.1.0.0/16"]}, "overlaps with 224.0.0.0/3"),
        (boxes([0], [0]), {"subnets": ["169.254.7.0/24", "10.0.0.0/24"]}, "overlaps with 169.254.0.0/16"),
        (boxes([0], [0]), {"subnets": ["0.0.0.0/0", "10.0.0.0/24"]}, "overlaps with 0.0.0.0/8"),
        (boxes([0], [0]), {"subnets": [5, "10.0.0.0/24"]}, "holds 5, which is no network"),
        (boxes([0], [0]), {"subnets": [None]}, "holds None, which is no network"),
        (boxes([0], [0]), {"subnets": ["fd00::/64", "fd01::/64"]}, "which is no network"),
        (boxes([0], [0]), {"topology": "star"}, "'star'; it knows auto, direct"),
        (boxes([0], [0]), {"toplogy": "ring"}, "no setting 'toplogy'"),
        (boxes([0], [0]), {"mtu": 65000}, "mtu is 65000; it is 1280 to 9978"),
        (boxes([0], [0]), {"mtu": "big"}, "which is no number"),
        (boxes([0], [0]), {"confirm_s": 5}, "confirm_s is 5; it is 30 to 3600"),
        (boxes([0], [0]), {"state": "gone"}, "present or absent"),
        (boxes([0], [0]), {"subnets": ["10.0.0.0/24"]}, "needs 2 subnets, one for each half of each cable, and there are 1"),
        (boxes([0], [0]), {"subnets": ["10.5.0.0/16", "10.5.3.0/24"]}, "overlap"),
        (boxes([0], [0]), {"subnets": ["10.5.0.7/24"]}, "which is no network"),
        (boxes(*[[0, 1]] * 9), PRESENT, "a ring of 9 boxes needs 18 subnets"),
        (changed(sets("spark-02", missing=["eth9"])), PRESENT, "spark-02 has no interface eth9"),
        (changed(sets("spark-02", ports=[])), PRESENT, "shows no port of a fabric: no interface there"),
        (changed(sets("spark-02", ports=[], driver=False)), PRESENT, "driver (mlx5_core) is not loaded"),
        (changed(sets("spark-02", netplan=False)), PRESENT, "spark-02 has no netplan"),
        (changed(sets("spark-01", kept=["enp1s0f0np0"])), PRESENT, "enp1s0f0np0 of spark-01 carries its default route or this connection"),
        (changed(sets("spark-01", "enP2p1s0f0np0", claimed_by=["/etc/netplan/40-cx7.yaml"])), PRESENT, "40-cx7.yaml on spark-01 already configures"),
        (changed(sets("spark-01", addresses={"wlP9s9": ["192.168.177.5/24"]})), PRESENT, "192.168.177.5/24 on wlP9s9, which overlaps"),
        (changed(sets("spark-02", controller="192.168.178.200")), PRESENT, "holds 192.168.178.200, from where this run comes in"),
        (changed(sets("spark-02", controller="::ffff:192.168.178.200")), PRESENT, "holds ::ffff:192.168.178.200, from where this run comes in"),
        (changed(sets("spark-01", routes=[{"to": "192.168.0.0/16", "by": "tun0"}])), PRESENT, "a route to 192.168.0.0/16 by tun0"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_sentence(seen, given, said):
    plan = fabric_plan(seen, given)
    assert said in plan["problem"] and "\n" not in plan["problem"] and plan["boxes"] == {}


@pytest.mark.parametrize("controller", ["UNKNOWN", "", "fe80::1", "10.9.9.9"])
def test_an_odd_way_in_is_no_traceback(controller):
    assert fabric_plan(changed(sets("spark-01", controller=controller)), PRESENT)["problem"] == ""


@pytest.mark.parametrize("ours", ['["192.168.177.44/24"]', "[nonsense]", "[192.168.177.44]", "[192.168.177.300/24]", "{}", "[fd00::7/64]", "["])
def test_our_file_that_somebody_edited_is_read_or_written_anew(ours):
    text = f"network:\n  version: 2\n  ethernets:\n    enp1s0f0np0:\n      addresses: {ours}\n"
    plan = fabric_plan(changed(sets("spark-02", ours=text)), PRESENT)
    assert addresses(plan)["spark-02"]["enp1s0f0np0"] == ("192.168.177.44/24" if '"' in ours else "192.168.177.12/24")


@pytest.mark.parametrize("subnets", [["11.0.0.0/9", "11.128.0.0/9"], ["32.0.0.0/3", "192.0.0.0/4"], "172.16.0.0/12, 12.0.0.0/8"])
def test_large_networks_cost_nothing(subnets):
    tracemalloc.start()
    seen = boxes([0], [0], [0])
    plan = fabric_plan(seen, {**PRESENT, "subnets": subnets})
    sound(plan, seen)
    assert tracemalloc.get_traced_memory()[1] < 2**21
    tracemalloc.stop()


def test_the_last_address_of_a_network_is_found_whoever_has_the_others():
    seen = boxes(*[[0]] * 6)
    networks = {**PRESENT, "subnets": ["10.9.0.0/29", "10.9.0.8/29"]}
    plan = fabric_plan(seen, networks)
    sound(plan, seen)
    assert {one["enp1s0f0np0"] for one in addresses(plan).values()} == {f"10.9.0.{number}/29" for number in range(1, 7)}
    assert "no address left for spark-07" in fabric_plan(boxes(*[[0]] * 7), networks)["problem"]


@pytest.mark.parametrize("cabled", [([0, 1], [0, 1]), ([0, 1], [1]), ([1], [0, 1])])
def test_two_cables_without_lldp_are_said_to_be_a_guess(cabled):
    seen = boxes(*cabled)
    note = fabric_plan(seen, PRESENT)["notes"][0]
    assert f"port {cabled[0][0]} of spark-01 and port {cabled[1][0]} of spark-02" in note and "LLDP" in note and "doctor" in note
    assert fabric_plan(seen, {**PRESENT, "topology": "switch"})["topology"] == "switch"


def test_cables_that_make_no_shape_are_refused():
    seen = boxes([0, 1], [0], [0])
    link(seen, ("spark-01", 0), ("spark-02", 0))
    link(seen, ("spark-01", 1), ("spark-03", 0))
    assert "neither a pair, a mesh of three nor a ring (spark-01 - spark-02, spark-01 - spark-03)" in fabric_plan(seen, PRESENT)["problem"]
    for one in seen["spark-01"]["ports"][2:]:
        one["neighbour"] = {"name": "sw", "chassis": "aa:bb:cc:00:00:01", "port": "1"}
    for one in seen["spark-03"]["ports"]:
        one["neighbour"] = {"name": "sw", "chassis": "aa:bb:cc:00:00:01", "port": "2"}
    assert "some cables of spark-01, spark-03 go to a device" in fabric_plan(seen, PRESENT)["problem"]


def test_two_rings_are_no_ring():
    seen = boxes(*[[0, 1]] * 6)
    for first in (1, 4):
        names = [f"spark-{first + step:02}" for step in range(3)]
        for one, other in zip(names, [*names[1:], names[0]], strict=True):
            link(seen, (one, 0), (other, 1))
    assert "neither a pair" in fabric_plan(seen, PRESENT)["problem"]


def test_the_plan_changes_nothing_it_was_given():
    seen = boxes([0], [0])
    before = copy.deepcopy(seen)
    fabric_plan(seen, PRESENT)
    assert seen == before

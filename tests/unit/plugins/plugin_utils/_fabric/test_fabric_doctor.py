# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A sound fabric has no finding, and each thing that can be wrong with one has its own, with its fix."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._fabric.doctor import bandwidth_findings, fabric_findings, fabric_pairs
from ansible_collections.gb10.vllm.plugins.plugin_utils._fabric.plan import fabric_plan
from fabric_boxes import applied, box, half, mac

BARE = {"spark-01": box(1, 0), "spark-02": box(2, 0)}
PLAN = fabric_plan(BARE, {"state": "present"})
SOUND = applied(BARE, PLAN)


def answers():
    return {
        name: [
            {
                **peer,
                "plain": True,
                "whole": True,
                "route": peer["interface"],
                "mac_by": peer["interface"],
                "mac": half(SOUND[peer["box"]], peer["by"])["mac"],
                "said": "",
            }
            for peer in one["peers"]
        ]
        for name, one in PLAN["boxes"].items()
    }


def test_a_sound_fabric_has_no_finding():
    assert fabric_findings(SOUND, PLAN, answers()) == []


def test_before_it_is_set_up_what_is_missing_is_named():
    said = [one["text"] for one in fabric_findings(BARE, PLAN, {})]
    assert fabric_findings(BARE, PLAN, answers()) == fabric_findings(BARE, PLAN, {}), "what follows from it is not said too"
    assert any("enp1s0f0np0 has an MTU of 1500" in one for one in said) and any("lacks 192.168.177.12/24" in one for one in said)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"driver": False}, ["mlx5_core is not loaded", "modprobe"]),
        ({"perftest": False}, ["apt-get install perftest"]),
        ({"enp1s0f0np0": {"hca": None, "hca_state": None}}, ["has no RDMA device", "TCP", "mlx5_ib"]),
        ({"enp1s0f0np0": {"lanes": 2}}, ["enp1s0f0np0 is narrow", "2 lanes of 4", "fwupdmgr"]),
        ({"enp1s0f0np0": {"lanes": 2, "most_lanes": 2}}, ["enp1s0f0np0 is narrow", "2 lanes of 4"]),
        ({"enp1s0f0np0": {"lanes": 2, "most_lanes": None}}, ["enp1s0f0np0 is narrow", "2 lanes of 4"]),
        ({"enp1s0f0np0": {"lanes": 1, "most_lanes": 1}}, ["enp1s0f0np0 is narrow", "1 lanes of 4"]),
        ({"enP2p1s0f0np0": {"carrier": False}}, ["enP2p1s0f0np0 has no carrier", "cable"]),
        ({"enP2p1s0f0np0": {"carrier": None, "up": False}}, ["enP2p1s0f0np0 is down", "ip link set enP2p1s0f0np0 up"]),
        ({"enp1s0f0np0": {"hca_state": "INIT"}}, ["rocep1s0f0 is INIT", "ibstat"]),
        ({"enp1s0f0np0": {"mtu": 1500}}, ["MTU of 1500", "9000 are wanted"]),
        ({"enp1s0f0np0": {"addresses": []}}, ["lacks 192.168.177.12/24", "has none"]),
        ({"enp1s0f0np0": {"gids": [{"index": 1, "type": "RoCE v2", "address": "fe80:0000:0000:0000:4ebb:47ff:fe00:0001"}]}}, ["no GID", "192.168.177.12"]),
        ({"enp1s0f0np0": {"gids": [{"index": 0, "type": "IB/RoCE v1", "address": "192.168.177.12"}]}}, ["no GID"]),
    ],
)
def test_what_a_box_shows(changes, said):
    seen = copy.deepcopy(SOUND)
    for key, value in changes.items():
        half(seen["spark-02"], key).update(value) if isinstance(value, dict) else seen["spark-02"].update({key: value})
    (found,) = fabric_findings(seen, PLAN, answers())
    assert found["box"] == "spark-02" and found["fix"] and all(word in found["text"] for word in said)


def test_interfaces_that_are_missing_are_counted_unless_they_were_named():
    seen = copy.deepcopy(SOUND)
    seen["spark-02"]["ports"] = [one for one in seen["spark-02"]["ports"] if one["port"] == 0]
    (found,) = fabric_findings(seen, PLAN, answers())
    assert "2 interfaces of a ConnectX" in found["what"]
    assert fabric_findings(seen, PLAN, answers(), {"interfaces": ["enp1s0f0np0", "enP2p1s0f0np0"]}) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"plain": False, "whole": False, "mac": ""}, ["192.168.177.12 (spark-02) does not answer", "cable"]),
        ({"whole": False}, ["whole MTU do not reach", "9216"]),
        ({"route": "enP7s7"}, ["not reached by enp1s0f0np0", "by enP7s7"]),
        ({"mac": mac(2, "enP2p1s0f0np0")}, ["answered by another interface", "spark-02 enP2p1s0f0np0 answers", "crossed"]),
        ({"mac": mac(1, "enp1s0f1np1"), "plain": False}, ["spark-01 enp1s0f1np1 answers"]),
    ],
)
def test_what_the_other_end_answers(changes, said):
    asked = answers()
    asked["spark-01"][0].update(changes)
    found = fabric_findings(SOUND, PLAN, asked)
    assert found[0]["box"] == "spark-01" and all(word in found[0]["text"] for word in said)


def test_each_cable_is_measured_once_and_a_switch_from_the_first_box():
    (pair,) = fabric_pairs(SOUND, PLAN)
    assert (pair["waits"], pair["sends"]) == ("spark-01", "spark-02")
    assert pair["halves"]["spark-02"][1] == {"interface": "enP2p1s0f0np0", "hca": "roceP2p1s0f0", "address": "192.168.178.12", "peer": "192.168.178.11"}
    seen = {f"spark-{number:02}": box(number, 0, 1) for number in range(1, 5)}
    assert [(one["waits"], one["sends"]) for one in fabric_pairs(seen, fabric_plan(seen, {}))] == [
        ("spark-01", "spark-02"), ("spark-02", "spark-03"), ("spark-03", "spark-04"), ("spark-04", "spark-01"),
    ]  # fmt: skip
    seen = {f"spark-{number:02}": box(number, 0) for number in range(1, 4)}
    assert [(one["waits"], one["sends"]) for one in fabric_pairs(seen, fabric_plan(seen, {}))] == [("spark-01", "spark-02"), ("spark-01", "spark-03")]


@pytest.mark.parametrize(
    ("rates", "said"),
    [
        ((92.57, 97.28), []),
        ((98.0, 48.9), ["147 Gb/s", "two PCIe lanes"]),
        ((97.0, 0.4), ["97 Gb/s", "two PCIe lanes"]),
        ((111.7,), ["112 Gb/s", "One half is not used"]),
        ((80.0, 81.0), ["161 Gb/s", "while no server runs"]),
        ((97.0, None), ["nothing was measured between spark-01 and spark-02", "b: no route"]),
    ],
)
def test_what_a_cable_carries(rates, said):
    (pair,) = fabric_pairs(SOUND, PLAN)
    listed = [{"interface": name, "gbits": rate, "said": "no route"} for name, rate in zip("ab", rates, strict=False)]
    found = bandwidth_findings(pair, listed)
    assert len(found) == bool(said) and all(word in one["text"] for one in found for word in said)


FIRST, SECOND = "enp1s0f0np0", "enP2p1s0f0np0"


@pytest.mark.parametrize(
    ("rates", "lanes", "said", "unsaid"),
    [
        ((13.2, 96.0), {}, ["started badly", "power away"], "two PCIe lanes"),
        ((13.2, 12.9), {}, ["26 Gb/s", "started badly"], "two PCIe lanes"),
        ((8.1, 24.9), {FIRST: None, SECOND: None}, ["started badly"], "two PCIe lanes"),
        ((13.2, 96.0), {FIRST: 2}, ["two PCIe lanes", "firmware"], "started badly"),
        ((13.2, 48.0), {SECOND: 2}, ["started badly"], "firmware ("),
        ((96.0, 48.0), {SECOND: 2}, ["two PCIe lanes"], "started badly"),
        ((96.0, 48.0), {}, ["four lanes, so that is not it", "cable"], "update the firmware"),
        ((96.0, 48.0), {SECOND: None}, ["two PCIe lanes"], "started badly"),
        ((97.0, 0.4), {}, ["four lanes, so that is not it"], "started badly"),
    ],
)
@pytest.mark.parametrize("end", ["spark-01", "spark-02"])
def test_a_slow_half_is_judged_by_the_lanes_that_are_known_of_both_ends(rates, lanes, said, unsaid, end):
    seen = copy.deepcopy(SOUND)
    for interface, count in lanes.items():
        half(seen[end], interface)["lanes"] = count
    (pair,) = fabric_pairs(seen, PLAN)
    listed = [{"interface": name, "gbits": rate, "said": ""} for name, rate in zip((FIRST, SECOND), rates, strict=True)]
    (found,) = bandwidth_findings(pair, listed)
    assert all(word in found["text"] for word in said) and unsaid not in found["text"]

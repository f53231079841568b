# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a box says of its fabric, put together from its programs and files; and what comes back from the other ends."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._fabric import ports

LINKS = [
    {"ifname": "lo", "link_type": "loopback", "address": "00:00:00:00:00:00"}, {"ifname": "a", "link_type": "ether", "address": "AA:00:00:00:00:01"},
    {"ifname": "ib", "link_type": "infiniband", "address": "80:00"}, {"ifname": "c", "link_type": "ether"}, {"ifname": "b", "link_type": "ether",
    "address": "AA:00:00:00:00:00"},
]  # fmt: skip
ROUTES = {
    "-4": [{"dst": "default", "dev": "a"}, {"dst": "10.0.0.0/24", "dev": "a"}, {"dev": "a"}, {"dst": "10.1.0.0/24"}], "-6": [{"dst": "fe80::/64", "dev": "b"},
    {"dst": None, "dev": "b"}],
}  # fmt: skip


@pytest.fixture
def box(monkeypatch, tmp_path):
    """Its programs, its files and what they say."""
    said = {"programs": {"lldpctl": "/l", "netplan": "/n", "ib_write_bw": None}, "connection": "10.9.9.9 1234 10.9.9.8 22", "asked": []}

    def ip(*words):
        said["asked"].append(words)
        return LINKS if words == ("address",) else ROUTES[words[0]] if words[1:] == ("route",) else []

    def run(words, *_more, **_named):
        said["asked"].append(tuple(words))
        return SimpleNamespace(
            stdout='{"lldp": {"interface": {"a": {"chassis": {"id": {"value": "C"}}, "port": {"id": {"value": "P"}}}}}}', stderr="", returncode=0
        )

    port = {"interface": "a", "mac": "aa", "pci": "0", "port": 0, "domain": 0}
    for name, one in {
        "ip_json": ip, "run": run, "addresses": lambda links: {"a": ["10.0.0.1/24"]} if links is LINKS else {}, "read_files": lambda: {"/f": "text"},
        "read_ports": lambda names: [dict(port), {**port, "interface": "b", "mac": "bb", "pci": "1"}] if list(names) == ["a", "x"] else [],
        "claims": lambda *given: list(given), "driver_of": lambda name, *_root: f"driver of {name}", "ways": lambda: {"eth0": "way"},
        "ssh_connection": lambda: said["connection"],
    }.items():  # fmt: skip
        monkeypatch.setattr(ports, name, one)
    monkeypatch.setattr(ports.shutil, "which", lambda name: said["programs"].get(name))
    monkeypatch.setattr(ports.platform, "node", lambda: "spark-01")
    monkeypatch.setattr(ports, "PLACES", (str(tmp_path),))
    return said


def test_all_that_is_decided_by(box, tmp_path):
    found = ports.read_fabric(["a", "x"])
    driver = found.pop("driver")
    assert driver == os.path.isdir(f"/sys/module/{ports.DRIVER}")
    common = {"port": 0, "domain": 0}
    assert found == {
        "ports": [
            {**common, "interface": "a", "mac": "aa", "pci": "0", "addresses": ["10.0.0.1/24"], "neighbour": {"name": "", "chassis": "c", "port": "p"},
            "claimed_by": ["a", "aa", {"/f": "text"}, "driver of a", "0"]},
            {**common, "interface": "b", "mac": "bb", "pci": "1", "addresses": [], "neighbour": None, "claimed_by": ["b", "bb", {"/f": "text"}, "driver of b",
            "1"]},
        ],
        "missing": ["x"], "kept": {"eth0": "way"}, "addresses": {"a": ["10.0.0.1/24"]}, "hostname": "spark-01", "controller": "10.9.9.9",
        "macs": ["aa:00:00:00:00:00", "aa:00:00:00:00:01"],
        "routes": [{"to": "10.0.0.0/24", "by": "a"}, {"to": "fe80::/64", "by": "b"}], "ours": None, "netplan": True, "perftest": False,
    }  # fmt: skip
    assert box["asked"] == [("address",), ("lldpctl", "-f", "json"), ("-4", "route"), ("-6", "route")]
    (tmp_path / ports.OUR_FILE).write_text("network: {}\n")
    box["programs"] = {"ib_write_bw": "/i"}
    again = ports.read_fabric(["a", "x"])
    assert again["ours"].strip() == "network: {}" and again["ours"].endswith("\n") and (again["netplan"], again["perftest"]) == (False, True)
    assert [one["neighbour"] for one in again["ports"]] == [None, None] and ("lldpctl", "-f", "json") not in box["asked"][4:]


@pytest.mark.parametrize(
    ("connection", "address"),
    [
        ("10.9.9.9 1 10.9.9.8 22", "10.9.9.9"),
        ("::ffff:10.1.2.3 1 x 2", "10.1.2.3"),
        ("fe80::1%eth0 1 x 2", "fe80::1"),
        ("2001:DB8::1 1", "2001:db8::1"),
        ("UNKNOWN 1", ""),
        ("", ""),
    ],
)
def test_who_came_in_by_ssh(connection, address):
    assert ports._came_from(connection) == address


def test_the_other_end_is_asked_small_and_whole_and_by_its_own_interface(monkeypatch):
    asked = []

    def run(words, *_more, **_named):
        asked.append(words)
        big = "-M" in words
        return SimpleNamespace(returncode=1 if big else 0, stderr="", stdout=" message too long \n" if big else "64 bytes")

    answers = {("route", "get", "10.0.0.2"): [{"dev": "a"}], ("neighbor", "show", "10.0.0.2"): [{"dev": "x"}, {"lladdr": "AA:BB", "dev": "b"}]}
    monkeypatch.setattr(ports, "run", run)
    monkeypatch.setattr(ports, "ip_json", lambda *words: answers.get(words, []))
    assert ports.ask_peers([{"interface": "a", "address": "10.0.0.2", "mtu": "9000"}, {"interface": "b", "address": "10.0.0.3", "mtu": 1500}]) == [
        {"interface": "a", "address": "10.0.0.2", "plain": True, "whole": False, "route": "a", "mac": "aa:bb", "mac_by": "b", "said": "message too long"},
        {"interface": "b", "address": "10.0.0.3", "plain": True, "whole": False, "route": "", "mac": "", "mac_by": "", "said": "message too long"},
    ]
    assert asked[:2] == [
        ["ping", "-n", "-c", "1", "-W", "2", "-I", "a", "10.0.0.2"],
        ["ping", "-n", "-M", "do", "-c", "3", "-i", "0.2", "-W", "2", "-s", "8972", "-I", "a", "10.0.0.2"],
    ]

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is read of a box's ports, from a tree as sysfs shows it and from texts as the tools print them."""

from __future__ import annotations

import json

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._box.network import addresses, below, talked_by
from ansible_collections.gb10.vllm.plugins.module_utils._fabric import all_gather, bandwidth, ports
from ansible_collections.gb10.vllm.plugins.module_utils._fabric.netplan import program, put_back
from ansible_collections.gb10.vllm.plugins.module_utils._fabric.text import NOTHING, configured, render
from fabric_boxes import HALVES, mac, write_sysfs


def test_the_halves_of_a_connectx_are_found_by_their_driver(tmp_path):
    write_sysfs(tmp_path, 1, 0, narrow="enP2p1s0f0np0")
    found = ports.read_ports(root=str(tmp_path))
    assert [(one["interface"], one["port"], one["domain"]) for one in found] == [
        ("enp1s0f0np0", 0, 0), ("enP2p1s0f0np0", 0, 2), ("enp1s0f1np1", 1, 0), ("enP2p1s0f1np1", 1, 2),
    ]  # fmt: skip
    first, second, dark, _other = found
    assert (first["hca"], first["pci"], first["mac"], first["lanes"], first["hca_state"]) == ("rocep1s0f0", "0000:01:00.0", mac(1, "enp1s0f0np0"), 4, "ACTIVE")
    assert (second["lanes"], second["most_lanes"]) == (2, 4) and (first["carrier"], dark["carrier"], dark["up"]) == (True, False, True)
    assert first["gids"] == [
        {"index": 0, "type": "IB/RoCE v1", "address": "fe80:0000:0000:0000:4ebb:47ff:fe00:0001"},
        {"index": 1, "type": "RoCE v2", "address": "192.168.177.11"},
    ]
    assert [one["interface"] for one in ports.read_ports(["enP7s7", "gone"], root=str(tmp_path))] == ["enP7s7"]


def test_a_carrier_that_cannot_be_seen_is_not_taken_for_none(tmp_path):
    write_sysfs(tmp_path, 1, 0)
    net = tmp_path / "class/net/enp1s0f0np0"
    (net / "carrier").unlink()
    (net / "flags").write_text("0x1002\n")
    first = ports.read_ports(root=str(tmp_path))[0]
    assert first["carrier"] is None and first["up"] is False


@pytest.mark.parametrize(
    ("name", "pci", "physical", "where"),
    [
        ("enp1s0f0np0", "", "", (0, 0)), ("enP2p1s0f1np1", "", "", (1, 2)), ("enp1s0f1np1", "0000:01:00.1", "p1", (1, 0)),
        ("roce0", "0002:01:00.1", "", (1, 2)), ("eth5", "0000:01:00.0", "p1", (1, 0)), ("eth5", "", "", (0, 0)),
    ],
)  # fmt: skip
def test_port_and_half_follow_from_the_device_or_the_name(name, pci, physical, where):
    assert ports.place(name, pci, physical) == where


@pytest.mark.parametrize(
    ("content", "claimed"),
    [
        ("network:\n  ethernets:\n    enp1s0f0np0:\n      dhcp4: true\n", True),
        ("network:\n  ethernets:\n    'enp1s0f0np0': {dhcp4: true}\n", True),
        ("network:\n  ethernets:\n    all:\n      match: \n        name: 'en*'\n", True),
        ("network:\n  ethernets:\n    lan:\n      match:\n        macaddress: 4C:BB:47:00:01:00\n", True),
        ("[Match]\nName=eth* enp1s0f*\n", True),
        ("network:\n  ethernets:\n    enp1s0f0np01: {}\n    enP2p1s0f0np0: {}\n", False),
        ("network:\n  ethernets:\n    # enp1s0f0np0: {}\n    enP7s7: {dhcp4: true}\n", False),
        ("network:\n  renderer: NetworkManager\n", False),
    ],
)
def test_who_else_configures_an_interface(content, claimed):
    assert ports.claims("enp1s0f0np0", mac(1, "enp1s0f0np0"), {"/etc/netplan/x.yaml": content}) == ["/etc/netplan/x.yaml"] * claimed


NM = "network:\n  ethernets:\n    NM-1234:\n      renderer: NetworkManager\n      match: {{}}\n      networkmanager:\n        passthrough:\n          {0}\n"


@pytest.mark.parametrize(
    ("content", "claimed"),
    [
        ("network: {version: 2, ethernets: {enp1s0f0np0: {dhcp4: true}}}", True),
        ("network:\n  ethernets: {enP7s7: {},\n    enp1s0f0np0: {addresses: [10.0.0.1/24]}}\n", True),
        ("network:\n  ethernets:\n    ? enp1s0f0np0\n    : dhcp4: no\n", True),
        ("network:\n  ethernets:\n    cx7:\n      match: {name: \"enp1s0f*\"}\n", True),
        ("network:\n  ethernets:\n    cx7:\n      match: {macaddress: 4C:BB:47:00:01:00}\n", True),
        ("network:\n  ethernets:\n    cx7:\n      match:\n        \"name\": \"enp1s0f*\"\n", True),
        ("network:\n  ethernets:\n    cx7: {match: {driver: mlx5_core}}\n", True),
        ("network:\n  ethernets:\n    cx7: {match: {driver: [r8127, 'mlx5*']}}\n", True),
        ("network:\n  ethernets:\n    cx7: {match: {driver: mlx5_core, name: enp9*}}\n", False),
        ("network:\n  ethernets:\n    cx7: {match: {driver: r8127}}\n", False),
        ("network:\n  ethernets:\n    every: {match: {}, dhcp4: true}\n", True),
        ("network:\n  wifis:\n    every: {match: {}}\n", False),
        ("network:\n  ethernets:\n    x:\n      match: {macaddress: '00:00:00:00:00:01'}\n      set-name: enp1s0f0np0\n", True),
        ("network:\n  ethernets:\n    enp1s0f0np0:\n      match: {name: enp9s0}\n", False),  # there the key is a name of its own
        ("network:\n  bonds: {bond0: {interfaces: [enP2p1s0f0np0, enp1s0f0np0]}}\n", True),
        ("network:\n  bridges:\n    br0:\n      interfaces:\n        - enp1s0f0np0\n", True),
        ("network:\n  vlans:\n    v10:\n      id: 10\n      link: enp1s0f0np0\n", True),
        ("network:\n  openvswitch:\n    ports: [[a, b]]\n  bridges: {br0: {interfaces: [b]}}\n", False),
        (NM.format('connection.interface-name: "enp1s0f0np0"'), True),
        (NM.format("ethernet.mac-address: 4C:BB:47:00:01:00"), True),
        (NM.format('connection.interface-name: "enP7s7"'), False),
        (NM.format('connection.id: "Wired connection 1"'), False),
        ("network:\n  ethernets:\n    enP7s7: {addresses: [10.0.0.1/24]} # enp1s0f0np0\n", False),
        ("network:\n  ethernets: &all\n    lan: &one {match: {name: enp1*}}\n    more: *one\n", True),
        ("network:\n  ethernets: {enp1s0f0np0: [\n", True),  # cannot be read, and speaks of it
        ("network:\n  ethernets: {enP7s7: [\n# enp1s0f0np0\n", False),
        ("- a\n- list\n", False), ("", False), ("network:\n", False), ("network: text\n", False), ("network: {ethernets: [a]}\n", False),
        ("[" * 5000, False),
        ("[Match]\nPermanentMACAddress=00:00:00:00:00:01 4c-bb-47-00-01-00\n", True),
        ("[Match]\nName=eth0\nName=enp1s0f0np0\n", True),
        ("[Match]\nName=!enp1s0f0np0 eth0\n", False),
        ("[Match]\nName=!lo\nType=ether\n", True),
        ("[Match]\nDriver=mlx5*\n", True),
        ("[Match]\nDriver=mlx5_core\nName=enp9*\n", False),
        ("[Match]\nPath=pci-0000:01:*\n", True),
        ("[Match]\nPath=pci-0002:01:*\n", False),
        ("[Match]\nType=wlan\n", False),
        ("[Match]\nName=*\nKind=veth\n", False),
        ("[Match]\nName=*\nKind=!veth\n", True),
        ("# [Match]\n[Match]\n; Name=lo\nName=enP7s7\n[Network]\nVLAN=v10\n", False),
    ],
)  # fmt: skip
def test_who_else_configures_an_interface_in_whatever_way_it_is_written(content, claimed):
    found = ports.claims("enp1s0f0np0", mac(1, "enp1s0f0np0"), {"/etc/netplan/x.yaml": content}, "mlx5_core", "0000:01:00.0")
    assert found == ["/etc/netplan/x.yaml"] * claimed


@pytest.mark.parametrize(
    ("content", "claimed"),
    [
        ("[connection]\nid=x\ninterface-name=enp1s0f0np0\n", True),
        ("[connection]\nid=x\n[ethernet]\nmac-address=4C:BB:47:00:01:00\n", True),
        ("[connection]\nid=x\ninterface-name=enP7s7\n[ethernet]\nmac-address=4C:BB:47:00:01:00\n", False),
        ("[connection]\nid=Wired connection 1\n[wifi-security]\npsk=enp1s0f0np0\n", False),
    ],
)
def test_a_connection_of_networkmanager_that_names_an_interface(content, claimed):
    path = "/etc/NetworkManager/system-connections/x.nmconnection"
    assert ports.claims("enp1s0f0np0", mac(1, "enp1s0f0np0"), {path: content}) == [path] * claimed


@pytest.mark.parametrize(
    ("connection", "address"),
    [
        ("10.0.0.9 50000 10.0.0.5 22", "10.0.0.9"), ("fe80::9%enP7s7 5 fe80::5 22", "fe80::9"), ("::ffff:10.0.0.9 5 ::ffff:10.0.0.5 22", "10.0.0.9"),
        ("UNKNOWN 65535 UNKNOWN 65535", ""), ("", ""),
    ],
)  # fmt: skip
def test_from_where_a_run_comes_in(connection, address):
    assert ports._came_from(connection) == address


def test_neighbours_as_lldpd_names_them():
    seen = {"chassis": {"gx10-2": {"id": {"type": "mac", "value": "4C:BB:47:00:02:FF"}}}, "port": {"id": {"type": "ifname", "value": "enP2p1s0f0np0"}}}
    nameless = {"chassis": {"id": {"type": "mac", "value": "aa:bb:cc:00:00:01"}}, "port": {"id": {"type": "local", "value": "7"}}}
    several = {"lldp": {"interface": [{"enp1s0f0np0": seen}, {"enp1s0f1np1": nameless}, {"broken": {"chassis": {}}}]}}
    assert ports.parse_lldp(json.dumps(several)) == {
        "enp1s0f0np0": {"name": "gx10-2", "chassis": "4c:bb:47:00:02:ff", "port": "enp2p1s0f0np0"},
        "enp1s0f1np1": {"name": "", "chassis": "aa:bb:cc:00:00:01", "port": "7"},
    }
    assert set(ports.parse_lldp(json.dumps({"lldp": {"interface": {"enp1s0f0np0": seen}}}))) == {"enp1s0f0np0"}
    assert ports.parse_lldp("") == ports.parse_lldp("{}") == ports.parse_lldp("no json") == ports.parse_lldp('{"lldp": {}}') == {}


def test_the_way_in_is_known():
    links = [
        {"ifname": "lo", "addr_info": []},
        {"ifname": "enP7s7", "master": "br0", "addr_info": []},
        {"ifname": "br0", "addr_info": [{"local": "10.0.0.5", "prefixlen": 24, "scope": "global"}, {"local": "fe80::1", "prefixlen": 64, "scope": "link"}]},
        {"ifname": "vlan7", "link": "enp1s0f0np0", "addr_info": [{"local": "fd00::5", "prefixlen": 64, "scope": "global"}]},
    ]
    held = addresses(links)
    assert held == {"lo": [], "enP7s7": [], "br0": ["10.0.0.5/24"], "vlan7": ["fd00::5/64"]}
    assert talked_by("10.0.0.9 50000 10.0.0.5 22", held) == "br0" and talked_by("fd00::9 5 fd00::5%vlan7 22", held) == "vlan7"
    assert talked_by("", held) == talked_by("1 2 10.9.9.9 22", held) == ""
    assert below("br0", links) == {"br0", "enP7s7"} and below("vlan7", links) == {"vlan7", "enp1s0f0np0"}


def test_our_file_is_read_back_as_it_was_written():
    wanted = {name: f"192.168.{177 + number}.11/24" for number, name in enumerate(HALVES)}
    assert configured(render(wanted, 9000)) == {name: [address] for name, address in wanted.items()}
    by_hand = "network:\n  ethernets:\n    a:\n      addresses: [\"192.168.177.11/24\", '10.0.0.1/8', nonsense, 7]\n    b:\n      addresses:\n"
    by_hand += "        - 10.1.0.1/24:\n            label: x\n    c: {dhcp4: true}\n    d: {addresses: none}\n    e:\n"
    assert configured(by_hand) == {"a": ["192.168.177.11/24", "10.0.0.1/8"], "b": ["10.1.0.1/24"], "c": []}
    assert configured("network: [") == configured("enp1s0f0np0") == configured("network:\n  ethernets:\n  - a\n") == {}
    assert configured(None) == configured("") == configured(NOTHING) == {}


def test_only_what_is_no_longer_configured_is_put_back():
    before = {"a": {"mtu": 1500, "up": False, "sysctl": {"addr_gen_mode": "0"}}, "b": {"mtu": 4200, "up": True, "sysctl": {}}}
    one, two = render({"a": "10.1.0.1/24", "b": "10.2.0.1/24"}, 9000), render({"b": "10.2.0.1/24"}, 9000)
    text = program(one, two, before)
    assert "ip address del 10.1.0.1/24 dev a" in text and "mtu 1500 down" in text and "dev b" not in text and "rm" not in text
    gone = program(one, None, before, away=["/run/netplan/x.yaml"])
    assert gone.splitlines()[:3] == ["#!/bin/sh", "rm -f /run/netplan/x.yaml", "netplan apply || failed=1"] and "dev b mtu 4200 up" in gone
    assert "del" not in program(None, one, before)
    hostile = put_back({"a; reboot": ["10.0.0.1/24"]}, {})
    assert hostile == ["ip address del 10.0.0.1/24 dev 'a; reboot' 2>/dev/null"]


RECORDED = """
---------------------------------------------------------------------------------------
                    RDMA_Write BW Test
 Dual-port       : OFF          Device         : rocep1s0f0
 Number of qps   : 4            Transport type : IB
 Connection type : RC           Using SRQ      : OFF
 Mtu             : 4096[B]
 Link type       : Ethernet
---------------------------------------------------------------------------------------
 #bytes     #iterations    BW peak[Gb/sec]    BW average[Gb/sec]   MsgRate[Mpps]
 65536      882900           0.00               92.57              0.176564
---------------------------------------------------------------------------------------
"""


def test_the_bandwidth_is_read_and_both_ends_are_asked_alike():
    assert bandwidth.parse(RECORDED) == 92.57
    assert bandwidth.parse("Couldn't connect to 192.168.177.11:18515\n") is None
    half = {"hca": "rocep1s0f0"}
    assert bandwidth.arguments(half, 1, 5) == bandwidth.arguments(half, 1, 5) and "18516" in bandwidth.arguments(half, 1, 5)


@pytest.mark.parametrize("ranks", range(2, 65))
def test_an_all_gather_never_takes_more_than_a_gigabyte_of_buffers(ranks):
    share = all_gather.share_bytes(ranks)
    assert share % (1 << 20) == 0 and 0 < share * (ranks + 1) <= 10**9


def test_a_rank_may_do_little_and_its_figure_is_read():
    argv = all_gather.arguments("image", {"NCCL_IB_HCA": "=a,b"}, 1, 2)
    assert "--privileged" not in argv and argv[argv.index("--cap-drop") + 1] == "ALL" and argv[argv.index("--cap-add") + 1] == "IPC_LOCK"
    assert "NCCL_IB_HCA==a,b" in argv and "RANK=1" in argv and "WORLD_SIZE=2" in argv and f"GB10_BYTES={256 << 20}" in argv
    compile(all_gather.PROGRAM, "program", "exec")
    # As it came from two H200 over TCP.
    assert all_gather.parse('NCCL version 2.28.9+cuda13.0\n{"bus_gigabytes_per_s": 3.6254607311096403}\n') == 3.6254607311096403
    assert all_gather.parse("NCCL WARN no device\n") is None


@pytest.mark.parametrize(
    ("running", "image", "free_kib", "said"),
    [
        ("gb10-vllm-a", "sha256:1", 100 << 20, "gb10-vllm-a runs; stop the servers"),
        ("", "", 100 << 20, "no image vllm-node; run gb10.vllm.supply"),
        ("", "sha256:1", 8 << 20, "8.0 GiB of memory are available and 12 are needed"),
        ("", "sha256:1", 100 << 20, ""),
    ],
)
def test_where_it_may_run(monkeypatch, running, image, free_kib, said):
    monkeypatch.setattr(all_gather, "docker_text", lambda *words, **_more: running if words[0] == "ps" else image)
    monkeypatch.setattr(all_gather, "read_text", lambda _path: f"MemAvailable: {free_kib} kB\n")
    assert said in all_gather.refusal("vllm-node") and bool(said) == bool(all_gather.refusal("vllm-node"))

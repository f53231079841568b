# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbooks fabric and host on two boxes with a real systemd, networkd and netplan: pings of the whole MTU, and a network that cuts a box off.

One after the other on the same pair, in the order of the file.
"""

from __future__ import annotations

import re

import networked_boxes
import pytest

NAMED = {"interfaces": list(networked_boxes.HALVES)}
PRESENT = {"gb10_fabric": {**NAMED, "state": "present"}}
ABSENT = {"gb10_fabric": {**NAMED, "state": "absent"}}
OURS = "/etc/netplan/90-gb10-vllm-fabric.yaml"
STATE = (
    "cat /etc/netplan/* /run/netplan/* 2>/dev/null; ip -brief address; cat /sys/class/net/en*/mtu /sys/class/net/en*/flags; "
    "cat /proc/sys/net/ipv6/conf/en*/addr_gen_mode; ls /var/lib/gb10-vllm/* /run/gb10-vllm/* 2>/dev/null; systemctl list-units --no-legend 'gb10*'"
)


@pytest.fixture(scope="module")
def boxes(tmp_path_factory):
    with networked_boxes.pair(tmp_path_factory.mktemp("networked")) as both:
        yield both


@pytest.fixture(scope="module")
def before(boxes):
    return state(boxes)


def state(boxes):
    """What of a box's network and of ours is there; without IPv6 addresses of the link, which come and go with carriers."""
    return [re.sub(r"fe80::\S+ ?|\s+$", "", boxes.ask(number, STATE, check=False), flags=re.M) for number in (1, 2)]


def text(done):
    """What a run said, whatever lines it was broken into."""
    return " ".join(f"{done.stdout} {done.stderr}".split())


def changes(done):
    return [int(one) for one in re.findall(r"changed=(\d+)", done.stdout)]


def ping(boxes, number, half, to, size=8972):
    return boxes.ask(number, f"ping -n -M do -c 2 -i 0.2 -W 2 -s {size} -I {half} {to} >/dev/null 2>&1 && echo whole", check=False) == "whole"


def test_without_a_state_it_is_only_proposed(boxes, before):
    done = boxes.play("fabric", gb10_fabric=NAMED)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The fabric is a direct: two boxes" in text(done) and "spark-02 enP2p1s0f0np0 192.168.178.12/24" in text(done)
    assert changes(done) == [0, 0] and state(boxes) == before


def test_check_shows_the_files_and_changes_nothing(boxes, before):
    done = boxes.play("fabric", "--check", "--diff", **PRESENT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "+ addresses: [192.168.177.11/24]" in text(done) and changes(done) == [1, 1] and state(boxes) == before


def test_what_netplan_has_not_applied_yet_is_not_applied_with_it(boxes, before):
    boxes.ask(2, "echo 'network: {version: 2, ethernets: {eth0: {addresses: [10.99.0.1/24]}}}' >/etc/netplan/10-lan.yaml && chmod 600 /etc/netplan/10-lan.yaml")
    done = boxes.play("fabric", **PRESENT)
    boxes.ask(2, "rm /etc/netplan/10-lan.yaml")
    assert done.returncode != 0 and "netplan's files were changed since they were applied" in text(done)
    boxes.play("fabric", **ABSENT)
    assert state(boxes) == before


def test_a_file_that_netplan_refuses_changes_nothing(boxes, before):
    boxes.ask(1, "echo 'network: [broken' >/etc/netplan/10-lan.yaml && chmod 600 /etc/netplan/10-lan.yaml")
    done = boxes.play("fabric", "--limit", "spark-01,spark-02", **PRESENT)
    boxes.ask(1, "rm /etc/netplan/10-lan.yaml")
    assert done.returncode != 0 and "netplan refuses" in text(done) and "10-lan.yaml" in text(done) and "Traceback" not in text(done)
    boxes.play("fabric", **ABSENT)
    assert state(boxes) == before


def test_a_network_that_cuts_a_box_off_is_taken_back_by_the_box(boxes, before):
    # As soon as the second box has its new network, nothing comes back from it to this machine.
    gate = f"{boxes.address(2).rpartition('.')[0]}.1"
    cut = f"while sleep 0.1; do if ip -4 address | grep -q 192.168.177.; then ip route replace prohibit {gate}; else ip route del prohibit {gate}; fi; done"
    boxes.ask(2, f"systemd-run --quiet --unit cut sh -c '{cut}'")
    done = boxes.play("fabric", gb10_fabric={**PRESENT["gb10_fabric"], "confirm_s": 30})
    boxes.ask(2, "systemctl stop cut")
    assert done.returncode != 0 and "spark-02 was not reached with the network of the fabric within 30 s" in text(done), done.stdout
    assert "It answers again with what it had, and nothing of the fabric was kept" in text(done)
    assert state(boxes)[1] == before[1], "the box that was cut off has what it had"
    boxes.play("fabric", **ABSENT)
    assert state(boxes) == before


def test_both_halves_carry_whole_frames_and_a_second_run_changes_nothing(boxes):
    done = boxes.play("fabric", **PRESENT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Nothing is wrong with the fabric." in text(done), done.stdout
    for half, third in zip(networked_boxes.HALVES, (177, 178), strict=True):
        assert ping(boxes, 1, half, f"192.168.{third}.12") and ping(boxes, 2, half, f"192.168.{third}.11")
        assert not ping(boxes, 1, half, f"192.168.{third}.12", 8973)
    for number in (1, 2):
        assert boxes.ask(number, f"stat -c '%a %U' {OURS}") == "600 root"
        assert boxes.ask(number, "ls /run/netplan /run/gb10-vllm; systemctl list-units --no-legend 'gb10*'", check=False) in (
            "",
            "/run/gb10-vllm:\n\n/run/netplan:",
            "/run/netplan:\n\n/run/gb10-vllm:",
        )
    again = boxes.play("fabric", **PRESENT)
    assert again.returncode == 0 and changes(again) == [0, 0], again.stdout


def test_the_doctor_says_what_is_wrong_and_changes_nothing(boxes):
    boxes.ask(2, "ip link set enP2p1s0f0np0 mtu 1500")
    had = state(boxes)
    done = boxes.play("fabric", gb10_fabric_doctor=True, **PRESENT)
    boxes.ask(2, "ip link set enP2p1s0f0np0 mtu 9000")
    said = text(done)
    assert done.returncode == 0 and changes(done) == [0, 0], said
    assert "spark-02: enP2p1s0f0np0 has an MTU of 1500" in said and "frames of the whole MTU do not reach 192.168.178.12 (spark-02)" in said
    assert "177.12" not in said.partition("TASK [gb10.vllm.fabric : Show what is wrong")[2].partition("PLAY RECAP")[0]
    assert had[0] == state(boxes)[0]


def test_the_doctor_measures_both_halves_at_once(boxes):
    done = boxes.play("fabric", gb10_fabric_doctor=True, gb10_fabric_measure=True, **PRESENT)
    assert done.returncode == 0 and "Nothing is wrong with the fabric." in text(done), done.stdout
    boxes.ask(2, "sed -i s/92.57/48.9/ /usr/local/bin/ib_write_bw")
    done = boxes.play("fabric", gb10_fabric_doctor=True, gb10_fabric_measure=True, **PRESENT)
    assert "98 Gb/s between spark-01 and spark-02" in text(done) and "two PCIe lanes" in text(done)


def test_another_file_for_the_same_port_is_named_and_left(boxes):
    boxes.ask(1, "printf 'network:\\n  version: 2\\n  ethernets:\\n    enp1s0f0np0: {dhcp4: true}\\n' >/etc/netplan/40-cx7.yaml")
    done = boxes.play("fabric", **PRESENT)
    boxes.ask(1, "rm /etc/netplan/40-cx7.yaml")
    assert done.returncode != 0 and "/etc/netplan/40-cx7.yaml on spark-01 already configures enp1s0f0np0" in text(done)


def test_its_absence_puts_back_what_was(boxes, before):
    done = boxes.play("fabric", **ABSENT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert state(boxes) == before
    again = boxes.play("fabric", **ABSENT)
    assert again.returncode == 0 and changes(again) == [0, 0]


HOST = {
    "gpu_clocks": {"state": "present", "most_mhz": 2000}, "held": {"state": "present", "packages": ["sudo"]}, "wifi_off": {"state": "present"},
}  # fmt: skip
SETTINGS = (
    "find /etc/systemd/system /usr/local/lib /var/lib/gb10-vllm -type f | sort; apt-mark showhold; systemctl list-unit-files --no-legend 'gb10-host*' 'early*'"
)


def test_the_host_is_set_up_once_and_put_back(boxes):
    had = [boxes.ask(number, SETTINGS, check=False) for number in (1, 2)]
    looked = boxes.play("host", "--check", "--diff", gb10_host=HOST)
    assert looked.returncode == 0 and "+ExecStart=/usr/bin/env nvidia-smi --lock-gpu-clocks=200,2000" in text(looked), looked.stdout + looked.stderr
    assert [boxes.ask(number, SETTINGS, check=False) for number in (1, 2)] == had
    done = boxes.play("host", gb10_host=HOST)
    assert done.returncode == 0, done.stdout + done.stderr
    assert boxes.ask(1, "systemctl is-active gb10-host-clocks gb10-host-wifi; systemctl is-enabled gb10-host-clocks") == "active\nactive\nenabled"
    assert boxes.ask(1, "apt-mark showhold") == "sudo"
    again = boxes.play("host", gb10_host=HOST)
    assert changes(again) == [0, 0], again.stdout
    back = boxes.play("host", gb10_host={part: {"state": "absent"} for part in HOST})
    assert back.returncode == 0 and [boxes.ask(number, SETTINGS, check=False) for number in (1, 2)] == had, back.stdout


UNIT = "[Service]\\nExecStart=/bin/sleep 1000\\n[Install]\\nWantedBy=multi-user.target\\n"
PACKAGE = "Package: earlyoom\\nStatus: install ok installed\\nVersion: 1\\nMaintainer: x\\nArchitecture: all\\nDescription: x\\n\\n"
SHOWN = "systemctl show earlyoom -p ExecStart,OOMScoreAdjust; systemctl show gb10-vllm-any gb10-vllm-watch@any -p ExecStartPre"


def test_the_real_systemd_takes_the_memory_guards_lines(boxes):
    """With a stand-in for the package, whose program tests/on_machine/test_memory_guard.py runs: that the drop-ins are read, and gone afterwards."""
    boxes.ask(1, f"printf '{UNIT}' >/etc/systemd/system/earlyoom.service; printf '{PACKAGE}' >>/var/lib/dpkg/status; systemctl daemon-reload")
    boxes.ask(1, "printf '#!/bin/sh\\nexec sleep 1000\\n' >/usr/bin/earlyoom; chmod 755 /usr/bin/earlyoom")
    done = boxes.play("host", "--limit", "spark-01", gb10_host={"earlyoom": {"state": "present"}})
    assert done.returncode == 0, done.stdout + done.stderr
    shown = boxes.ask(1, SHOWN)
    assert "-M 4194304,2097152" in shown and "|login)$$ ;" in shown and "OOMScoreAdjust=-900" in shown and shown.count("oom-order") >= 2, shown
    assert changes(boxes.play("host", "--limit", "spark-01", gb10_host={"earlyoom": {"state": "present"}})) == [0]
    done = boxes.play("host", "--limit", "spark-01", gb10_host={"earlyoom": {"state": "absent"}})
    shown = boxes.ask(1, SHOWN)
    assert done.returncode == 0 and "4194304" not in shown and "oom-order" not in shown and "sleep" in shown, done.stdout
    assert boxes.ask(1, "systemctl is-active earlyoom; systemctl is-enabled earlyoom", check=False) == "inactive\ndisabled"

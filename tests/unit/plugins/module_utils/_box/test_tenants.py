# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who has the ports, addresses and files that the monitoring of a host needs."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from types import SimpleNamespace

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._box import tenants

IP = [
    {"ifname": "lo", "addr_info": [{"family": "inet", "local": "127.0.0.1", "scope": "host"}, {"family": "inet6", "local": "::1", "scope": "host"}]},
    {"ifname": "eth0", "addr_info": [{"family": "inet", "local": "10.0.0.1", "scope": "global"}, {"family": "inet6", "local": "fe80::1", "scope": "link"}]},
    {"ifname": "down", "addr_info": [{}]},
]
SS = """\
LISTEN 0 4096 0.0.0.0:9090 0.0.0.0:* users:(("prometheus",pid=71,fd=7),("x",pid=72,fd=7))
LISTEN 0 128  [::]:22      [::]:*
LISTEN 0 5    127.0.0.53%lo:53 0.0.0.0:* users:(("systemd-resolve",pid=9,fd=1))
LISTEN 0 5    *:9100 *:* users:(("node_exporter",pid=5,fd=3))
"""


def test_addresses():
    assert tenants.parse_addresses(json.dumps(IP)) == ["127.0.0.1", "::1", "10.0.0.1"]


@pytest.mark.parametrize("text", ["", "[", "null", "[1]", '[{"addr_info": 1}]'])
def test_addresses_of_any_shape(text):
    assert tenants.parse_addresses(text) == []


def test_sockets():
    assert [(one["address"], one["port"], one["pid"]) for one in tenants.parse_sockets(SS)] == [
        ("0.0.0.0", 9090, 71), ("::", 22, 0), ("127.0.0.53", 53, 9), ("*", 9100, 5),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("0::/system.slice/prometheus.service\n", "prometheus.service"),
        ("1:name=systemd:/system.slice/docker.service/init\n", "docker.service"),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", ""),
        ("", ""),
    ],
)
def test_the_service_of_a_process(cgroup, unit):
    assert tenants.unit_of(cgroup) == unit


@pytest.mark.parametrize(
    ("held", "wanted", "keeps"),
    [("0.0.0.0", "10.0.0.1", True), ("*", "10.0.0.1", True), ("10.0.0.1", "10.0.0.1", True), ("127.0.0.1", "10.0.0.1", False), ("x", "10.0.0.1", False)],
)
def test_who_keeps_whom_from_listening(held, wanted, keeps):
    assert tenants.overlaps(held, wanted) is keeps


def test_whose_a_file_is(tmp_path):
    path = tmp_path / "prometheus.yml"
    packaged = tenants.parse_conffiles(f" {path} {hashlib.md5(b'as packaged').hexdigest()}\n /gone 0 obsolete\n")
    assert tenants.file_owner(str(path), packaged) == "nobody"
    for content, owner in (
        (b"as packaged", "package"),
        (b"edited", "somebody"),
        (f"# {tenants.MARK}; x\ny".encode(), "ours"),
        (f"x\n# {tenants.MARK}".encode(), "somebody"),
    ):
        path.write_bytes(content)
        assert tenants.file_owner(str(path), packaged) == owner


@pytest.mark.parametrize(
    ("port", "drop_in", "active", "unit"),
    [
        (9100, "ExecStart=/x --web.listen-address=10.0.0.1:9100\n", True, "prometheus-node-exporter.service"),
        (9100, "ExecStart=/x --web.listen-address=[fd00::1]:9100 \\\n", True, "prometheus-node-exporter.service"),
        (9100, "ExecStart=/x --web.listen-address=10.0.0.1:9100\n", False, ""),
        (910, "ExecStart=/x --web.listen-address=10.0.0.1:9100\n", True, ""),
        (9100, "", True, ""),
    ],
)
def test_a_program_that_even_root_may_not_see_is_ours_when_our_unit_listens_there(monkeypatch, port, drop_in, active, unit):
    """In a container without CAP_SYS_PTRACE ``ss`` names no program of another user."""
    monkeypatch.setattr(tenants, "read_text", lambda path: drop_in if path.endswith("/prometheus-node-exporter.service.d/gb10-vllm.conf") else "")
    monkeypatch.setattr(tenants, "run", lambda argv: SimpleNamespace(returncode=0 if active else 3))
    found = tenants.holder({"address": "10.0.0.1", "port": port, "pid": 0}, "prometheus-node-exporter")
    assert found["unit"] == unit


def test_this_machine():
    """With its real addresses and a socket that a program of ours holds."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        found = tenants.read(address="localhost", ports={"prometheus": port}, files=["/etc/hostname"], units=["prometheus"], directory="/var/lib/prometheus")
    assert found["management"] in ("127.0.0.1", "::1") and "127.0.0.1" in found["addresses"]
    (listener,) = found["taken"]["prometheus"] or [{"pid": os.getpid()}]
    assert listener["pid"] in (os.getpid(), 0)
    assert found["files"]["/etc/hostname"] == "somebody" and found["disk"]["free_bytes"] > 0


def test_a_name_of_another_host_is_no_address_of_this_one():
    assert tenants.resolve("192.0.2.7", ["127.0.0.1"]) == "" and tenants.resolve("no such host.invalid", ["127.0.0.1"]) == ""

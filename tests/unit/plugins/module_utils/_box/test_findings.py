# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each thing that can be wrong with a box has its finding, and a good box has none."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._box.findings import GIB, findings

GOOD = {
    "architecture": "aarch64",
    "os": {"id": "ubuntu", "pretty_name": "Ubuntu 24.04"},
    "gpu": {"present": True, "name": "NVIDIA GB10", "driver_version": "580.95.05", "compute_capability": "12.1", "problem": None},
    "memory": {
        "total_bytes": 119 * GIB, "available_bytes": 110 * GIB, "swap_total_bytes": 0, "swap_free_bytes": 0,
        "cuda_total_bytes": 119 * GIB, "cuda_total_source": "cuDeviceTotalMem", "cuda_problem": None,
    },
    "docker": {
        "installed": True, "running": True, "nvidia": True, "buildkit": True, "problem": None, "root_dir": "/var/lib/docker",
        "containers": [], "others": [], "images": {},
    },
    "disks": [{"path": "/var/lib/docker", "free_bytes": 900 * GIB, "total_bytes": 1000 * GIB}],
    "listeners": [],
    "holders": [],
}  # fmt: skip
WANTS = {
    "architectures": ["aarch64"], "compute_capability": "12.1", "builds": True, "servers": [{"name": "a", "port": 8000}],
    "images": ["vllm-node"], "free_bytes": {"docker": 60 * GIB},
}  # fmt: skip
OURS = {"labels": {"gb10.vllm.server": "a"}, "status": "running", "ports": [{"address": "0.0.0.0", "port": 8000}]}
LISTENS = [{"port": 8000, "address": "0.0.0.0"}]


def changed(**changes):
    box = copy.deepcopy(GOOD)
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = box
        for parent in parents:
            place = place[parent]
        place[last] = value
    return box


def test_a_good_box_has_no_finding():
    assert findings(GOOD, WANTS) == []


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"architecture": "x86_64"}, "error", ["x86_64", "aarch64", "gb10_architectures"]),
        ({"os__id": "fedora"}, "warning", ["operating system"]),
        ({"gpu": {"present": False, "problem": "nvidia-smi is not installed"}}, "error", ["no NVIDIA GPU", "nvidia-smi is not installed", "reboot"]),
        ({"gpu__compute_capability": "9.0"}, "warning", ["9.0", "12.1"]),
        ({"gpu__driver_version": "590.1"}, "warning", ["590.1", "580"]),
        ({"kernel": "7.0.0-1019-nvidia"}, "warning", ["kernel 7.0.0-1019-nvidia", "RDMA", "6.17.0-1026"]),
        ({"kernel": "6.17.0-1008-nvidia"}, "warning", ["kernel 6.17.0-1008-nvidia", "DGX OS updates"]),
        ({"gpu__utilization_percent": 96.0, "gpu__sm_mhz": 702.0, "gpu__power_w": 18.2}, "warning", ["low-power", "702 MHz and 18 W", "96 %", "unplug"]),
        ({"gpu__utilization_percent": 80.0, "gpu__sm_mhz": 999.0}, "warning", ["999 MHz while"]),
        ({"ipc_users": ["nvidia"]}, "warning", ["shared memory of nvidia", "RemoveIPC", "loginctl enable-linger nvidia"]),
        ({"docker__cdi_gone": "/usr/lib/libcuda.so.580.95.05"}, "warning", ["CDI specification", "libcuda.so.580.95.05", "nvidia-ctk cdi generate"]),
        ({"docker__cdi_gone": "/gone", "docker__cdi": True, "docker__nvidia": False}, "error", ["CDI specification", "/gone"]),
        ({"docker__installed": False}, "error", ["Docker is missing", "apt-get install"]),
        ({"docker__running": False, "docker__problem": "Cannot connect"}, "error", ["Cannot connect", "systemctl enable --now docker"]),
        ({"docker__nvidia": False}, "error", ["nvidia-ctk runtime configure"]),
        ({"docker__buildkit": False}, "error", ["buildx"]),
        ({"listeners": LISTENS}, "error", ["port 8000", "another program", "ss -ltnp"]),
        ({"disks": [{"path": "/var/lib/docker", "free_bytes": GIB, "total_bytes": GIB}]}, "error", ["1.0 GiB", "60.0 GiB", "docker builder prune"]),
        ({"memory__cuda_total_bytes": None, "memory__cuda_problem": "no libcuda"}, "warning", ["no libcuda", "MemTotal"]),
        ({"memory__swap_total_bytes": 8 * GIB, "memory__swap_free_bytes": 2 * GIB}, "warning", ["6.0 GiB of swap"]),
        ({"holders": [{"pid": 7, "name": "ollama", "bytes": 20 * GIB}]}, "warning", ["ollama (pid 7)", "20.0 GiB"]),
    ],
)  # fmt: skip
def test_each_fault_is_named_with_its_remedy(changes, level, words):
    found = findings(changed(**changes), WANTS)
    assert [finding["level"] for finding in found] == [level]
    for word in words:
        assert word in found[0]["text"]
    assert found[0]["fix"]


def test_our_own_server_may_hold_its_port():
    assert findings(changed(listeners=LISTENS, docker__containers=[OURS]), WANTS) == []


def test_our_own_server_holds_its_port_before_docker_calls_it_running():
    # Seen when a run was killed during a start: docker-proxy listens a moment before the state changes.
    assert findings(changed(listeners=LISTENS, docker__containers=[dict(OURS, status="created")]), WANTS) == []


def test_a_container_of_somebody_with_our_name_is_refused_not_replaced():
    assert findings(changed(docker__others=["postgres", "gb10-vllm-b"]), WANTS) == []
    (found,) = findings(changed(docker__others=["gb10-vllm-a"]), WANTS)
    assert found["level"] == "error" and "a container named gb10-vllm-a" in found["text"] and "docker rename gb10-vllm-a" in found["text"]


def test_another_server_of_ours_that_is_no_longer_wanted_is_named():
    other = dict(OURS, labels={"gb10.vllm.server": "b"})
    found = findings(changed(listeners=LISTENS, docker__containers=[other]), WANTS)
    assert "our server b" in found[0]["text"]


def test_two_of_our_servers_may_swap_their_ports():
    wants = {**WANTS, "servers": [{"name": "a", "port": 8000}, {"name": "b", "port": 8001}]}
    a, b = (dict(OURS, labels={"gb10.vllm.server": name}, ports=[{"address": "0.0.0.0", "port": port}]) for name, port in (("a", 8001), ("b", 8000)))
    listeners = [*LISTENS, {"port": 8001, "address": "0.0.0.0"}]
    assert findings(changed(listeners=listeners, docker__containers=[a, b]), wants) == []
    (found,) = findings(changed(listeners=listeners, docker__containers=[a]), wants)
    assert "port 8000" in found["text"] and "another program" in found["text"]


@pytest.mark.parametrize(("free_gib", "refused"), [(59, True), (60, False)])
def test_a_disk_needs_all_of_the_room_it_needs(free_gib, refused):
    found = findings(changed(disks=[{"path": "/var/lib/docker", "free_bytes": free_gib * GIB, "total_bytes": 1000 * GIB}]), WANTS)
    assert bool(found) == refused


@pytest.mark.parametrize(("version", "warned"), [("580.95.05", False), ("589.9", False), ("590.44", True), ("591.1", False), ("600.1", False)])
def test_only_the_driver_that_was_seen_to_fail_is_warned_about(version, warned):
    assert bool(findings(changed(gpu__driver_version=version), WANTS)) == warned


@pytest.mark.parametrize(("version", "warned"), [("20.10.24", True), ("27.5.1", True), ("28.0.0", False), ("29.1", False), (None, False)])
def test_a_docker_that_lets_neighbours_reach_loopback_is_named_once(version, warned):
    found = findings(changed(docker__version=version), {**WANTS, "servers": [{"name": one, "port": port} for one, port in (("a", 8000), ("b", 8001))]})
    assert [one["level"] for one in found] == ["warning"] * warned
    assert findings(changed(docker__version=version), {**WANTS, "servers": []}) == []


DAY = 86400
CERTIFICATE = {"certificate": "/c.pem", "problem": None, "expires": "Jan  1 00:00:00 2027 GMT", "expires_at": 1000 * DAY}


@pytest.mark.parametrize(
    ("certificate", "now", "level", "words"),
    [
        (CERTIFICATE, 900 * DAY, None, ""),
        (CERTIFICATE, 990 * DAY, "warning", "expires soon"),
        (CERTIFICATE, 1001 * DAY, "error", "has expired: /c.pem is valid until Jan  1"),
        ({**CERTIFICATE, "problem": "/c.pem cannot be read", "expires_at": None}, 0, "error", "server a cannot speak TLS: /c.pem cannot be read"),
        ({**CERTIFICATE, "expires": None, "expires_at": None}, 0, None, ""),
    ],
)
def test_certificates(certificate, now, level, words):
    found = findings({**GOOD, "certificates": {"a": certificate}}, {**WANTS, "now": now})
    assert [one["level"] for one in found] == ([level] if level else []) and words in "".join(one["text"] for one in found)


def test_errors_come_first():
    found = findings(changed(os__id="fedora", gpu__compute_capability="9.0", docker__nvidia=False, listeners=LISTENS), WANTS)
    assert [one["level"] for one in found] == ["error", "error", "warning", "warning"]


def test_room_for_an_image_is_needed_only_while_it_is_missing():
    full = {"disks": [{"path": "/var/lib/docker", "free_bytes": GIB, "total_bytes": GIB}], "docker__images": {"vllm-node": {"id": "sha256:1"}}}
    assert findings(changed(**full), WANTS) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"kernel": "6.17.0-1014-nvidia"}, {"kernel": "7.0.0-1020-nvidia"}, {"kernel": "6.17.0-10080-generic"}, {"gpu__driver_version": "5900.1"},
        {"gpu__utilization_percent": 0.0, "gpu__sm_mhz": 208.0}, {"gpu__utilization_percent": 97.0, "gpu__sm_mhz": 2411.0},
        {"gpu__utilization_percent": None, "gpu__sm_mhz": 208.0}, {"gpu__utilization_percent": 97.0, "gpu__sm_mhz": None}, {"ipc_users": []},
    ],
)  # fmt: skip
def test_what_is_as_it_should_be_is_not_mentioned(changes):
    assert findings(changed(**changes), WANTS) == []

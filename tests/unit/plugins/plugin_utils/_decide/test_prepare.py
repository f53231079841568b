# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What gb10_prepare does on a bare box: only what is lacking, nothing that stops somebody's container."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.prepare import preparation

READY = {"installed": True, "running": True, "nvidia": True, "cdi": False, "cdi_gone": None, "buildkit": True, "kind": "", "others": [], "containers": []}
TOOLKIT = [["nvidia-ctk", "runtime", "configure", "--runtime=docker"], ["systemctl", "restart", "docker"]]


def prepared(builds=True, gpu=True, **docker):
    found = preparation({"box": {"gpu": {"present": gpu}, "docker": READY | docker}}, builds)
    return found["packages"], found["commands"]


def test_a_box_that_has_all_gets_nothing():
    assert prepared() == ([], []) and preparation({"failed": True}, True)["text"] == ""
    assert prepared(nvidia=False, cdi=True) == ([], [])


def test_a_bare_box_gets_docker_the_toolkit_and_its_runtime_in_this_order():
    bare = {"installed": False, "running": False, "nvidia": False, "buildkit": False}
    assert prepared(**bare) == (["docker.io", "docker-buildx", "nvidia-container-toolkit"], [["systemctl", "enable", "--now", "docker"], *TOOLKIT])


@pytest.mark.parametrize(
    ("lacking", "packages", "commands"),
    [
        ({"running": False, "nvidia": False}, [], [["systemctl", "enable", "--now", "docker"]]),
        ({"nvidia": False}, ["nvidia-container-toolkit"], TOOLKIT),
        ({"buildkit": False}, ["docker-buildx"], []),
        ({"buildkit": False, "builds": False}, [], []),
        ({"cdi_needed": True, "cdi_missing": True}, [], [["nvidia-ctk", "cdi", "generate", "--output=/etc/cdi/nvidia.yaml"]]),
        ({"cdi_needed": False, "cdi_missing": True}, [], []),
        ({"cdi_gone": "/usr/lib/libcuda.so.1"}, [], [["nvidia-ctk", "cdi", "generate", "--output=/etc/cdi/nvidia.yaml"]]),
    ],
)
def test_only_what_is_lacking(lacking, packages, commands):
    assert prepared(**lacking) == (packages, commands)


@pytest.mark.parametrize("kind", ["podman", "rootless", "userns", "snap"])
def test_an_engine_of_somebodys_and_a_box_without_a_driver_are_left(kind):
    assert prepared(kind=kind, running=False, nvidia=False) == ([], []) and prepared(gpu=False, installed=False, running=False) == ([], [])


def test_no_container_is_stopped_by_a_restart_of_docker():
    docker = READY | {"nvidia": False, "others": ["open-webui", "old"], "would_stop": ["open-webui"]}
    found = preparation({"box": {"gpu": {"present": True}, "docker": docker}}, True)
    assert "would restart Docker, and open-webui would stop with it; choose the moment yourself" in found["problem"]


def test_a_container_that_is_stopped_already_does_not_keep_docker_from_its_restart():
    assert prepared(nvidia=False, others=["old"], would_stop=[]) == (["nvidia-container-toolkit"], TOOLKIT)

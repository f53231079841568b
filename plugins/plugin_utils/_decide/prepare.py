# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a bare box lacks before Docker can hand its GPU to a container, as packages and commands of the distribution's own. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

SPECIFICATION = "/etc/cdi/nvidia.yaml"
FOREIGN = ("podman", "rootless", "userns", "snap")
"""Engines that are somebody's decision: preflight says what to do about each."""


class Preparation(TypedDict):
    """``packages`` to install first, then ``commands`` in their order; ``text``: both, for people, "" where nothing is lacking; ``problem``: why not."""

    packages: list[str]
    commands: list[list[str]]
    text: str
    problem: str


def preparation(result: Mapping[str, Any], builds: bool) -> Preparation:
    """What has to be done for a box as M(gb10.vllm.box_info) found it. ``builds``: whether images are built there.

    A problem where Docker would have to be restarted while there are containers, which would stop with it.
    """
    docker = (result.get("box") or {}).get("docker") or {}
    packages: list[str] = []
    commands: list[list[str]] = []
    problem = ""
    # One that could not be read, an engine of somebody's, and a box without a driver: what is said of those comes first.
    if not docker or docker.get("kind") in FOREIGN or not (result["box"].get("gpu") or {}).get("present"):
        return {"packages": [], "commands": [], "text": "", "problem": ""}
    if not docker["installed"]:
        packages += ["docker.io", "docker-buildx"]
    elif builds and docker["running"] and not docker.get("buildkit"):
        packages.append("docker-buildx")
    if not docker["running"]:
        commands.append(["systemctl", "enable", "--now", "docker"])
    # What a Docker that did not answer has is seen once it does.
    known = docker["running"] or not docker["installed"]
    if known and not docker.get("nvidia") and not docker.get("cdi"):
        packages.append("nvidia-container-toolkit")
        commands += [["nvidia-ctk", "runtime", "configure", "--runtime=docker"], ["systemctl", "restart", "docker"]]
        there = docker.get("would_stop")
        if there:
            problem = (
                f"gb10_prepare would restart Docker, and {', '.join(sorted(there))} would stop with it; choose the moment yourself: install "
                "nvidia-container-toolkit, run `nvidia-ctk runtime configure --runtime=docker` and `systemctl restart docker`."
            )
    if docker.get("cdi_gone") or (docker.get("cdi_needed") and docker.get("cdi_missing")):
        commands.append(["nvidia-ctk", "cdi", "generate", f"--output={SPECIFICATION}"])
    lines = ([f"apt-get install {' '.join(packages)}"] if packages else []) + [" ".join(one) for one in commands]
    return {"packages": packages, "commands": commands, "text": "; ".join(lines), "problem": problem}

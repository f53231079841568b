# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""vLLM servers in containers that are not ours, read from this box: nothing here changes anything."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._adoption.container import described
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.command import docker, docker_text
from ansible_collections.gb10.vllm.plugins.module_utils._model.hub_cache import snapshot
from ansible_collections.gb10.vllm.plugins.module_utils._names import SERVER_LABEL

LONGEST = 64 * 1024


def servers(named: str = "") -> list[dict[str, Any]]:
    """All of them, or the one whose container is ``named``. GB10Error where that is none."""
    names = docker_text("ps", "-aq", "--no-trunc").split()
    found = _inspected("inspect", names)
    theirs = [one for one in found if SERVER_LABEL not in ((one.get("Config") or {}).get("Labels") or {})]
    images = {one["Id"]: one for one in _inspected("image", sorted({one.get("Image", "") for one in theirs} - {""}))}
    seen = [one for container in theirs if (one := described(container, images.get(container.get("Image", ""), {}), _processes(container)))]
    for one in seen:
        one["snapshots"] = _snapshots(one)
    if not named:
        return seen
    chosen = [one for one in seen if one["name"] == named]
    if not chosen:
        raise GB10Error(_none(named, found, seen))
    return chosen


def _none(named: str, found: list[dict[str, Any]], seen: list[dict[str, Any]]) -> str:
    there = {str(one.get("Name", "")).lstrip("/"): one for one in found}
    serve = ", ".join(one["name"] for one in seen) or "none"
    if named not in there:
        return f"there is no container {named} on this box; of those that this collection did not start these serve with vLLM: {serve}."
    if SERVER_LABEL in ((there[named].get("Config") or {}).get("Labels") or {}):
        return f"the container {named} is one of this collection already; there is nothing to adopt."
    return f"the container {named} runs no `vllm serve`, so there is nothing to adopt; of the others these do: {serve}."


def _inspected(kind: str, names: list[str]) -> list[dict[str, Any]]:
    words = ["image", "inspect"] if kind == "image" else ["inspect"]
    # One that goes meanwhile is left out of the answer, whose status is then not 0.
    return json.loads(docker(*words, *names, missing_ok=True).stdout or "[]") if names else []


def _processes(container: Mapping[str, Any]) -> list[list[str]]:
    """The arguments of what runs in a container, as the kernel has them: no shell has to be understood."""
    if not (container.get("State") or {}).get("Running"):
        return []
    found = []
    for line in docker("top", container["Id"], "-eo", "pid", check=False, missing_ok=True).stdout.splitlines()[1:]:
        try:
            text = Path("/proc", line.strip(), "cmdline").read_bytes()[:LONGEST]
        except OSError:
            continue
        found.append([word.decode(errors="replace") for word in text.rstrip(b"\0").split(b"\0")])
    return found


def _snapshots(server: Mapping[str, Any]) -> dict[str, str]:
    """{ORG/NAME: directory on this box} of the models in a cache of huggingface_hub that the container mounts."""
    found = {}
    for mount in server["mounts"]:
        for hub in (mount["source"], os.path.join(mount["source"], "hub"), os.path.join(mount["source"], "huggingface", "hub")):
            try:
                homes = [one for one in os.listdir(hub) if one.startswith("models--")]
            except OSError:
                continue
            for home in homes:
                place = snapshot(os.path.join(hub, home))
                if place:
                    found["/".join(home.split("--")[1:])] = place
    return found

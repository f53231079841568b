# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which model directories the containers of a box use: by the paths that they name, and by what running ones really hold."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io import command


def _mounts(docker: str) -> Iterator[tuple[str, str, int]]:
    """(path on the box, path in the container, its process or 0) of every mount of every container. GB10Error when Docker does not say."""
    if not shutil.which(docker):
        return
    names = command.docker_text("ps", "-aq", "--no-trunc", command=docker, timeout_s=60).split()
    # A container that goes meanwhile is missed in the list, and its status is then not 0: what is left is told all the same.
    text = command.docker("inspect", *names, command=docker, timeout_s=60, missing_ok=True).stdout if names else ""
    for one in json.loads(text or "[]"):
        pid = (one.get("State") or {}).get("Pid") or 0
        for mount in one.get("Mounts") or []:
            yield mount.get("Source") or "", mount.get("Destination") or "", pid


def mounted(docker: str = "docker") -> tuple[set[str], set[tuple[int, int]]]:
    """What containers mount: the paths any of them names, and (device, inode) of what running ones really hold. GB10Error when Docker does not say.

    A directory that was renamed while a container runs is still held under its old path, so paths alone would lie.
    """
    paths, held = set(), set()
    for source, destination, pid in _mounts(docker):
        if source:
            paths.add(os.path.realpath(source))
        try:
            status = os.stat(f"/proc/{pid}/root{destination}") if pid else None
        except OSError:
            status = None
        if status:
            held.add((status.st_dev, status.st_ino))
    return paths, held


def named(path: str, docker: str = "docker") -> bool:
    """Whether a container, running or stopped, mounts just this name: what it means may not change. Yes, too, when Docker does not say."""
    try:
        return any(os.path.normpath(source) == os.path.normpath(path) for source, _destination, _pid in _mounts(docker) if source)
    except GB10Error:
        return True


def in_use(path: str, paths: set[str], held: set[tuple[int, int]]) -> bool:
    """Whether a container mounts this directory, something in it, or a directory around it that is not the models' root."""
    real = os.path.realpath(path)
    status = os.stat(path)
    return (status.st_dev, status.st_ino) in held or any(one == real or one.startswith(real + "/") for one in paths)

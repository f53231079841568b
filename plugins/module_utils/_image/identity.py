# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What makes two images one, and what an image is called: its full name, in names of files, and as an earlier one. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any


def identity(inspected: Mapping[str, Any]) -> str:
    """SHA-256 over what makes an image what it is, from ``docker image inspect``: layers, when made, and how it runs."""
    config = inspected.get("Config") or {}
    parts = {key: config.get(key) or None for key in ("Env", "Cmd", "Entrypoint", "WorkingDir", "User", "Labels", "ExposedPorts", "Volumes")}
    parts["layers"] = (inspected.get("RootFS") or {}).get("Layers") or []
    parts.update({key: inspected.get(key) or None for key in ("Created", "Architecture", "Os")})
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def full_name(name: str) -> str:
    """The name with its tag."""
    return name if "@" in name or ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"


def slug(name: str) -> str:
    """A full name as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", name)


def previous_mark(name: str) -> str:
    """How the names of the earlier images of ``name`` begin; the time at which they lost it follows."""
    repository, _colon, tag = full_name(name).rpartition(":")
    return f"{repository}:{'previous' if tag == 'latest' else f'{tag}-previous'}-"


def unwanted(brought: Mapping[str, set[str]], wanted: Iterable[str]) -> dict[str, set[str]]:
    """The images that were brought for servers that want another one by now: ids by name. ``wanted``: the names of the current images."""
    names = {full_name(one) for one in wanted}
    return {name: ids for name, ids in brought.items() if full_name(name) not in names}

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The cache of huggingface_hub (``models--ORG--NAME/snapshots/COMMIT``), where people look for a model and name the wrong directory of it."""

from __future__ import annotations

import os
from collections.abc import Collection

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import plain


def check_level(path: str, names: Collection[str]) -> None:
    """GB10Error for a directory of the cache that is no model itself; it names the one that is. ``names``: what is in the directory."""
    if "config.json" in names or "params.json" in names:
        return
    repositories = sorted(name for name in names if name.startswith("models--"))
    if "hub" in names and not repositories:
        repositories = [f"hub/{name}" for name in sorted(_inside(os.path.join(path, "hub"))) if name.startswith("models--")]
    if repositories:
        found = snapshot(os.path.join(path, repositories[0]))
        named = f", such as {found}" if found else ""
        raise GB10Error(f"{path} is the cache of huggingface_hub, which holds many models: name the snapshot directory of one as `model`{named}")
    home = path if "snapshots" in names else os.path.dirname(path) if os.path.basename(path) == "snapshots" else ""
    if home:
        found = snapshot(home)
        remedy = f"name its snapshot directory as `model`: {found}" if found else "no snapshot is in it, so finish the download"
        raise GB10Error(f"{path} is a repository in the cache of huggingface_hub and not the model itself: {remedy}")


def of_repository(path: str) -> str:
    """The snapshot that the cache holds of ORG/NAME where ``path`` is HUB/ORG/NAME or below a directory with ``hub`` in it; "" where there is none."""
    place, name = os.path.split(path)
    above, organisation = os.path.split(place)
    homes = (os.path.join(above, *deeper, f"models--{organisation}--{name}") for deeper in ((), ("hub",)))
    return next((found for home in homes if (found := snapshot(home))), "")


def snapshot(home: str) -> str:
    """The snapshot directory that counts of ``models--ORG--NAME``: that of refs/main, else the newest; "" where there is none."""
    held = os.path.join(home, "snapshots")
    try:
        with open(os.path.join(home, "refs", "main"), encoding="utf-8", opener=plain) as stream:
            commit = stream.read(100).strip()
        if commit and os.path.isdir(os.path.join(held, commit)):
            return os.path.join(held, commit)
    except (OSError, ValueError):
        pass
    there = [one for name in _inside(held) if os.path.isdir(one := os.path.join(held, name))]
    return max(there, key=os.path.getmtime, default="")


def _inside(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []

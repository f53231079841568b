# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mods that lie on the controller: looked for beside a recipe, and read for the box that builds their image."""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image import mods as image_mods
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.document import LONGEST

REGISTRY = ".sparkrun/registry.yaml"
UP = 4
"""Directories above a recipe's own in which its mods may lie; the top of its repository is the last."""


def mod_files(given: Sequence[Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """{mods/NAME: {path: {content, executable}}} of the mods that are named by a path. GB10Error for one that cannot be read or is none."""
    names = image_mods.names([str(one) for one in given])
    paths = {image_mods.names([str(one)])[0]: str(one) for one in given if image_mods.is_path(str(one))}
    return {name: packed(files_of(paths[name])) for name in names if name in paths}


def packed(files: dict[str, tuple[bytes, bool]]) -> dict[str, dict[str, Any]]:
    """Files as they travel."""
    return {path: {"content": base64.b64encode(text).decode(), "executable": executable} for path, (text, executable) in sorted(files.items())}


def files_of(given: str) -> dict[str, tuple[bytes, bool]]:
    """{path: (bytes, executable)} of a mod's directory. GB10Error in one sentence."""
    folder = Path(given).expanduser()
    if not folder.is_dir():
        raise GB10Error(f"gb10_image.mods: {given} is no directory on the controller; correct the path, or name a mod of the project as mods/NAME.")
    found: dict[str, tuple[bytes, bool]] = {}
    total = 0
    for place, directories, names in os.walk(folder):
        directories[:] = sorted(one for one in directories if one not in (".git", "__pycache__"))
        for name in sorted([*names, *(one for one in directories if (Path(place) / one).is_symlink())]):
            path = Path(place) / name
            shown = path.relative_to(folder).as_posix()
            seen = path.lstat()
            if not stat.S_ISREG(seen.st_mode):
                raise GB10Error(f"gb10_image.mods: {shown} of {given} is a link or no plain file, which does not come along; put the file itself there.")
            total += seen.st_size
            if total > image_mods.MOST_BYTES or len(found) >= image_mods.MOST_FILES:
                most = f"{image_mods.MOST_FILES} files or {image_mods.MOST_BYTES // 1024} KiB"
                raise GB10Error(f"gb10_image.mods: {given} has more than {most}, which is more than a mod is; put it into an image of your own.")
            try:
                found[shown] = (path.read_bytes(), bool(seen.st_mode & 0o100))
            except OSError as error:
                raise GB10Error(f"gb10_image.mods: {shown} of {given} cannot be read ({error.strerror}).") from None
    if image_mods.SCRIPT not in found:
        raise GB10Error(f"gb10_image.mods: {given} has no {image_mods.SCRIPT}, so it is no mod; correct the path.")
    return found


def roots_of(recipe: Path) -> list[Path]:
    """Where mods of a recipe may lie: its directory and those above, up to the top of its repository, as far as they are its owner's or ours."""
    found = [recipe.parent]
    above = recipe.resolve().parent
    for one in [above, *list(above.parents)[:UP]]:
        found.append(one)
        if (one / ".git").exists():
            break
    try:
        owners = {recipe.stat().st_uid, os.geteuid(), 0}
        # In a directory that anybody writes to (/tmp), what lies beside is anybody's.
        return [one for one in dict.fromkeys(found) if one.stat().st_uid in owners and (one == recipe.parent or not one.stat().st_mode & 0o002)]
    except OSError:
        return []


def in_registry(text: str, name: str) -> str:
    """Where in a registry of sparkrun, whose description is ``text``, its mod ``@REGISTRY/NAME`` lies; "" where it is another's."""
    registry, _slash, mod = name.removeprefix("@").partition("/")
    try:
        told = yaml.safe_load(text) if len(text) <= LONGEST else None
    except (yaml.YAMLError, ValueError, RecursionError, TypeError):
        return ""
    listed = told.get("registries") if isinstance(told, dict) else None
    one = next((one for one in (listed if isinstance(listed, list) else []) if isinstance(one, dict) and one.get("name") == registry), {})
    folder = str(one.get("mods") or "mods").strip("/")
    fine = bool(one) and image_mods.NAME.fullmatch(f"mods/{mod}") and ".." not in folder.split("/")
    return f"{folder}/{mod}" if fine else ""


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            return stream.read(LONGEST + 1)
    except OSError:
        return ""


def beside(recipe: Path, names: Iterable[str]) -> dict[str, str]:
    """{name: whole path} of the mods of a recipe that lie beside it, for names such as ``mods/x`` and ``@registry/x``; nobody else's directory is one."""
    roots, found = roots_of(recipe), {}
    owners = {recipe.stat().st_uid, os.geteuid(), 0} if roots else set()
    for name in names:
        for root in roots:
            place = root / (name if not name.startswith("@") else in_registry(_text(root / REGISTRY), name) or name)
            if (place / image_mods.SCRIPT).is_file() and place.stat().st_uid in owners:
                found[name] = str(place.absolute())
                break
    return found

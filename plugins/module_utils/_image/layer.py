# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One more layer of an image for each mod, from a directory that holds the project's mods, those of the user, or both."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image import mods
from ansible_collections.gb10.vllm.plugins.module_utils._image.options import Options
from ansible_collections.gb10.vllm.plugins.module_utils._image.store import ImageStore
from ansible_collections.gb10.vllm.plugins.module_utils._image.work import Work


def own_digests(options: Options) -> dict[str, str]:
    """Digest by name of the mods whose files came along. GB10Error for one that is named by its path and has none."""
    names = mods.names(options.mods)
    lost = next((str(one) for one in options.mods if mods.is_path(str(one)) and mods.names([str(one)])[0] not in options.mod_files), "")
    if lost:
        raise GB10Error(f"mods names the directory {lost}, whose files did not come along (mod_files)")
    return {name: mods.digest(mods.content(options.mod_files[name], name)) for name in names if name in options.mod_files}


def lay(tree: Path, options: Options, where: str) -> list[str]:
    """The mods' names, each ready in ``tree``: what came along takes the place of one of the project. GB10Error for one that can be no layer."""
    names = mods.names(options.mods)
    for name in names:
        own = name in options.mod_files
        if own:
            _write(tree / name, mods.content(options.mod_files[name], name))
        place = "your own" if own else where
        script = tree / name / mods.SCRIPT
        if not script.is_file():
            raise GB10Error(f"{name} of {place} has no {mods.SCRIPT}, so it is no mod; correct gb10_image.mods or use another ref")
        why = mods.against(script.read_text(errors="replace"))
        if why:
            raise GB10Error(f"{name} of {place} can be no layer of an image: {why}. Take it out of gb10_image.mods")
    return names


def build(tree: Path, base: str, made: str, names: Sequence[str], store: ImageStore, work: Work, environment: Mapping[str, str]) -> tuple[int, str]:
    """(status, log) of ``docker build``: the image ``base`` with these mods of ``tree`` as ``made``."""
    recipe = tree / "gb10-mods.Dockerfile"
    recipe.write_text(mods.dockerfile(base, names))
    (tree / "gb10-mods.Dockerfile.dockerignore").write_text("")
    command = [store.docker, "build", "--progress", "plain", "-t", made, "-f", str(recipe), str(tree)]
    status, log = work.follow(command, cwd=tree, environment=dict(environment), phase="build")
    return (status or 1, log) if store.image(made) is None else (status, log)


def _write(folder: Path, files: Mapping[str, tuple[bytes, bool]]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for path, (text, executable) in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(text)
        (folder / path).chmod(0o755 if executable else 0o644)

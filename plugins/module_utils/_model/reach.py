# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a container finds of a directory or file that is mounted into it: where links lead that leave it, and what its root may not open.

Root in these containers has no capabilities, so it opens what the file's mode lets uid 0 or gid 0 open, and nothing else. That is more than the
owner of a model's directory may read, so a link is believed only where it leads to something its maker could hand out himself.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._io.files import plain, read_json
from ansible_collections.gb10.vllm.plugins.module_utils._model.content import files_of

READ, ENTER = 4, 5
MOST_LINKS = 40
"""As many as Linux follows on the way to one file."""
SMALL_BYTES = 2**20
"""A file up to this size is known by its content, a larger one by its size and time."""


def may(status: os.stat_result, bits: int) -> bool:
    """Whether root without capabilities may do what ``bits`` (4 read, 5 read and enter) say."""
    mode = status.st_mode >> (6 if status.st_uid == 0 else 3 if status.st_gid == 0 else 0)
    return mode & bits == bits


def unreadable(place: str) -> str | None:
    """The first file or directory of a model, an adapter or a single file that a container's root may not open; None where it may open all."""
    if os.path.isfile(place):
        return None if may(os.stat(place), READ) else place
    # Of weights vLLM reads those beside config.json; what is not loaded may stay closed.
    files = [file for file in files_of(place) if file.small or (file.name.endswith((".safetensors", ".bin", ".pt")) and "/" not in file.name)]
    folders = [place, *(os.path.join(place, one) for one in sorted({os.path.dirname(file.name) for file in files}) if one)]
    closed = next((one for one in folders if not may(os.stat(one), ENTER)), None)
    return closed or next((file.path for file in files if not may(os.stat(file.path), READ)), None)


def astray(path: str) -> str | None:
    """The first link on the way to what is really at ``path`` whose maker could not hand that out himself; None where all may be followed.

    Root's links may lead anywhere, anybody else's to what belongs to the same user, and to a single file that everybody may read.
    """
    real = os.path.realpath(path)
    owner, public = _owner(real), os.path.isfile(real) and _everybody_reads(real)
    here, rest, followed = "/", os.path.abspath(path).split("/"), 0
    while rest:
        part = rest.pop(0)
        at = os.path.normpath(os.path.join(here, part))
        if not os.path.islink(at):
            here = at
            continue
        followed += 1
        if followed > MOST_LINKS or not (public or _owner(at) in (0, owner)):
            return at
        target = os.readlink(at)
        here, rest = "/" if target.startswith("/") else here, [*target.split("/"), *rest]
    return None


def _owner(path: str) -> int:
    return os.lstat(path).st_uid


def _everybody_reads(path: str) -> bool:
    place = os.path.dirname(path)
    while place != "/" and os.stat(place).st_mode & stat.S_IXOTH:
        place = os.path.dirname(place)
    return place == "/" and bool(os.stat(path).st_mode & stat.S_IROTH)


def links(directory: str) -> list[dict[str, str]]:
    """Where links of a directory lead that do not stay in it: ``{at, real}``, the place they name and what is there on this box.

    ``at`` is absolute, or relative to the directory, as the links say it. Files that keep their names beside each other are one entry, their directory.
    ``astray`` names a link that is not followed, see there.
    """
    found: dict[tuple[str, str], str | None] = {}
    for name in _linked(directory):
        path = os.path.join(directory, name)
        told, real = os.readlink(path), os.path.realpath(path)
        at = os.path.normpath(told if told.startswith("/") else os.path.join(os.path.dirname(name), told))
        stays = not at.startswith(("/", "../")) and at != ".."
        if stays or not os.path.exists(real):
            continue
        wrong = astray(path)
        whole = bool(wrong) or os.path.isdir(real) or os.path.basename(at) != os.path.basename(real)
        # The directory around a file holds others, which may be anybody's.
        whole = whole or _owner(path) not in (0, _owner(os.path.dirname(real)))
        found[(at, real) if whole else (os.path.dirname(at), os.path.dirname(real))] = wrong
    return [{"at": at, "real": real} | ({"astray": wrong} if wrong else {}) for (at, real), wrong in found.items()]


def _linked(directory: str) -> Iterator[str]:
    for place, folders, names in os.walk(directory):
        for name in sorted([*folders, *names]):
            path = os.path.join(place, name)
            if os.path.islink(path):
                yield os.path.relpath(path, directory)


def named(wanted: Mapping[str, Mapping[str, Sequence[str]]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Facts of what servers' arguments name: by server and value ``{path, kind, real, digest, links, unreadable}`` of the first candidate that is there.

    ``wanted``: candidates, absolute paths, by server and value; what lies in one that ends in ``/`` is not looked at. ``kind``: file, directory, or
    absent (``path`` is then the last candidate). ``rank``: of an adapter. ``astray``: a link on the way that is not followed; nothing else is said of
    what lies behind it.
    """
    return {server: {value: _named(candidates) for value, candidates in values.items()} for server, values in wanted.items()}


def _named(candidates: Sequence[str]) -> dict[str, Any]:
    if candidates and candidates[-1].endswith("/"):
        return _place(candidates[-1].rstrip("/"))
    path = next((one for one in candidates if os.path.isfile(one) or os.path.isdir(one)), None)
    if path is None:
        return {"path": candidates[-1] if candidates else "", "kind": "absent"}
    real = os.path.realpath(path)
    if wrong := astray(path):
        return {"path": path, "kind": "file" if os.path.isfile(real) else "directory", "real": real, "astray": wrong}
    if os.path.isfile(real):
        return {"path": path, "kind": "file", "real": real, "digest": _digest([real]), "links": [], "unreadable": unreadable(real)}
    files = [file.path for file in files_of(real)]
    found = {"path": path, "kind": "directory", "real": real, "digest": _digest(files), "links": links(real), "unreadable": unreadable(real)}
    rank = (read_json(os.path.join(real, "adapter_config.json")) or {}).get("r")
    return found | ({"rank": rank} if isinstance(rank, int) else {})


def _place(path: str) -> dict[str, Any]:
    """Facts of a directory whose files come and go: where it is and whether a container may enter it."""
    if not os.path.isdir(path):
        return {"path": path, "kind": "absent"}
    real = os.path.realpath(path)
    if wrong := astray(path):
        return {"path": path, "kind": "directory", "real": real, "astray": wrong}
    return {"path": path, "kind": "directory", "real": real, "digest": "", "links": [], "unreadable": None if may(os.stat(real), ENTER) else path}


def _digest(paths: Sequence[str]) -> str:
    """What changes when one of the files does."""
    known = hashlib.sha256()
    for path in paths:
        status = os.stat(path)
        known.update(f"{path}\0{status.st_size}\0".encode())
        if status.st_size <= SMALL_BYTES and stat.S_ISREG(status.st_mode) and os.access(path, os.R_OK):
            with open(path, "rb", opener=plain) as stream:
                known.update(hashlib.sha256(stream.read()).digest())
        else:
            known.update(str(status.st_mtime_ns).encode())
    return known.hexdigest()

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The versions of a model on a box: each in a directory of its own that never changes its name, ``NAME@VERSION``, which containers mount.

``NAME`` is for people, a link to the version that was brought last. Where a container of an earlier release of this collection mounts ``NAME`` itself,
that name keeps its meaning until the container is replaced, and ``NAME@next`` leads to what was brought since. A directory without our record,
and a link to anywhere else, is its owner's: it is never renamed, copied or replaced.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import time
from collections.abc import Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._model.in_use import named
from ansible_collections.gb10.vllm.plugins.module_utils._model.record import files_digest, intact, read_record

NEXT = "@next"
_SHORT = 14
# A hub or another box says what a revision is called, so only what is a commit becomes part of a path.
_COMMIT = re.compile(r"[0-9a-f]{12,64}")
# As ``place_for`` makes them. Another model may be called NAME@SOMETHING, and lie or arrive beside this one.
_VERSION = re.compile(r"[0-9a-f]+(-[0-9a-f]+)*")


def _linked(link: str, final: str) -> str | None:
    """The version that a link leads to; None where it is no link, or one to anywhere else."""
    try:
        target = os.readlink(link)
    except OSError:
        return None
    place, name = os.path.split(final)
    found = os.path.normpath(os.path.join(place, target))
    return found if os.path.dirname(found) == os.path.normpath(place) and os.path.basename(found).startswith(f"{name}@") else None


def is_ours(final: str) -> bool:
    """Whether what has this name was brought by this collection, so that it may be replaced. No for a name that nothing has."""
    if os.path.islink(final):
        target = _linked(final, final)
        return target is not None and (not os.path.lexists(target) or bool(read_record(target)))
    return bool(read_record(final))


def current(final: str) -> str:
    """The directory that counts as ``final`` now: what was brought last, else what has that name."""
    target = _linked(final + NEXT, final)
    return target if target and os.path.isdir(target) and is_ours(final) else final


def directory_of(final: str) -> str:
    """The real path of what counts as ``final`` now: what a container mounts."""
    return os.path.realpath(current(final))


def version_of(directory: str) -> str | None:
    """The version that a directory's name tells; None for one without."""
    _name, at, version = os.path.basename(directory).partition("@")
    return version if at and version and read_record(directory) else None


def all_of(final: str) -> list[str]:
    """The directories of all versions of ``final``, the one that was brought or left last first."""
    place, name = os.path.split(final)
    try:
        with os.scandir(place) as entries:
            found = [
                entry.path
                for entry in entries
                if entry.name.startswith(f"{name}@") and _VERSION.fullmatch(entry.name[len(name) + 1 :]) and entry.is_dir(follow_symlinks=False)
            ]
    except OSError:
        return []
    return sorted(found, key=lambda path: (os.stat(path).st_ctime, path), reverse=True)


def previous(final: str) -> list[str]:
    """Versions of ``final`` beside the one that counts now, newest first."""
    now = directory_of(final)
    return [path for path in all_of(final) if os.path.realpath(path) != now]


def find(final: str, repo_id: str, revision: str) -> str | None:
    """The version that still holds this commit of this repository as it was brought, None where there is none."""
    for path in all_of(final):
        record = read_record(path)
        if (record.get("repo_id"), record.get("revision")) == (repo_id, revision) and intact(path):
            return path
    return None


def place_for(final: str, record: Mapping[str, Any]) -> str:
    """The directory for a version with this record: one that holds the same files already, or a name that is free."""
    digest = files_digest(record)
    stamp = time.strftime("%Y%m%d%H%M%S", time.gmtime())
    revision = str(record.get("revision") or "")
    version = (revision if _COMMIT.fullmatch(revision) else digest or stamp)[:_SHORT]
    names = [f"{final}@{version}", f"{final}@{version}-{(digest or stamp)[:8]}", f"{final}@{version}-{stamp}"]
    return next(name for name in names if not os.path.lexists(name) or _holds(name, digest))


def _holds(place: str, digest: str) -> bool:
    """Whether a directory has just these files, as they were brought."""
    return bool(digest) and not os.path.islink(place) and files_digest(read_record(place)) == digest and intact(place)


def set_aside(final: str) -> str | None:
    """Give a directory of ours that has the plain name, as earlier releases left it, its place as a version; that place.

    The name becomes a link to it in the same step, so whoever mounts it finds the same files, also after a restart. None where there is nothing to do.
    """
    if os.path.islink(final) or not is_ours(final):
        return None
    place = place_for(final, read_record(final))
    if os.path.lexists(place):
        place = f"{place}-{time.strftime('%Y%m%d%H%M%S', time.gmtime())}"
    os.symlink(os.path.basename(place), place)
    if not exchange(final, place):
        os.unlink(place)
        os.rename(final, place)
        os.symlink(os.path.basename(place), final)
    return place


def point(final: str, place: str, docker: str = "docker") -> None:
    """Have ``final`` mean the version in ``place``; where a container mounts the plain name, only for us."""
    left = directory_of(final)
    if os.path.lexists(final) and named(final, docker) and os.path.realpath(final) != os.path.realpath(place):
        _link(final + NEXT, place)
    else:
        if os.path.realpath(final) != os.path.realpath(place):
            _link(final, place)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(final + NEXT)
    if left != os.path.realpath(place) and os.path.isdir(left):
        os.utime(left)  # what was left last is the first of the earlier versions
    sync_directory(os.path.dirname(final))


def settle(final: str, docker: str = "docker", check: bool = False) -> bool:
    """Put the names of a model in order; whether there is anything to do (``check``: only that).

    What an earlier release brought under the plain name gets its place as a version, and a plain name that was held back follows where no container
    mounts it any more.
    """
    todo = is_ours(final) and not os.path.islink(final)
    if todo and not check:
        set_aside(final)
    target = _linked(final + NEXT, final)
    if target is None or not os.path.isdir(target) or not is_ours(final) or named(final, docker):
        return todo
    if not check:
        point(final, target, docker)
    return True


def _link(name: str, place: str) -> None:
    """A link to a version beside it, in one step whatever had the name."""
    temporary = f"{name}.link"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    os.symlink(os.path.basename(place), temporary)
    os.replace(temporary, name)


def exchange(one: str, other: str) -> bool:
    """Swap two names atomically (renameat2, RENAME_EXCHANGE); False where the C library or file system cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    at_cwd = -100
    return rename is not None and rename(at_cwd, os.fsencode(one), at_cwd, os.fsencode(other), 2) == 0


def sync_directory(path: str) -> None:
    """Have the names in a directory on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files on a box: written whole or not at all, read without surprises, and what a failed write means."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
import threading
from collections.abc import Callable
from typing import Any, BinaryIO

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error

CHUNK = 2**20
"""Bytes that are read, hashed or sent at once."""
INCOMING = ".incoming"
"""Ending of a file that is still arriving."""


def _nothing(count: int) -> None:
    """Nobody wants to know how far it is."""


def write_whole(path: str | os.PathLike[str], content: str | bytes, *, mode: int = 0o644, durable: bool = False) -> None:
    """Replace ``path`` at once, so that a reader never sees half of it; missing directories are made.

    ``mode`` is cut by the umask, as with any new file. ``durable``: it is on the disk before the old one goes, and so is its
    name before this returns. OSError leaves the old file, but for one from the directory of a ``durable`` one.
    """
    place, name = os.path.split(os.path.abspath(path))
    os.makedirs(place, exist_ok=True)
    temporary = os.path.join(place, f".{name}.{os.getpid()}.{threading.get_ident()}")
    data = content.encode() if isinstance(content, str) else content
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode), "wb") as stream:
            stream.write(data)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if durable:
        _sync_names(place)


def _sync_names(directory: str) -> None:
    """Have the names in a directory on the disk: a new one may be lost with the power although its file is there."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: str | os.PathLike[str], value: Any, *, mode: int = 0o644, durable: bool = False, **style: Any) -> None:
    """``write_whole`` of a value as JSON; ``style`` goes to json.dumps (``indent``, ``sort_keys``). An indented file ends with a new line."""
    write_whole(path, json.dumps(value, **style) + ("\n" if style.get("indent") else ""), mode=mode, durable=durable)


def read_json(path: str | os.PathLike[str]) -> Any:
    """The JSON in ``path``, None when it is missing or broken."""
    try:
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)
    except (OSError, ValueError, RecursionError):
        return None


def plain(path: str | os.PathLike[str], flags: int = os.O_RDONLY) -> int:
    """An ``opener`` for files that may be anybody's: a pipe under their name would have root wait without end, so only plain files are opened."""
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise OSError(errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL, "it is no plain file", os.fspath(path))
    return descriptor


def file_sha256(path: str | os.PathLike[str], on_progress: Callable[[int], None] = _nothing) -> str:
    """SHA-256 of one file in hexadecimal; ``on_progress`` hears how many bytes each step took."""
    with open(path, "rb", buffering=0, opener=plain) as stream:
        return _sha256(stream, on_progress)


def sha256_below(root: str, name: str, on_progress: Callable[[int], None] = _nothing) -> str:
    """``file_sha256`` of a file below ``root``, without following a link that leads out of it; OSError as ``open_below`` raises it."""
    with open(open_below(root, name), "rb", buffering=0) as stream:
        return _sha256(stream, on_progress)


def _sha256(stream: Any, on_progress: Callable[[int], None]) -> str:
    hasher = hashlib.sha256()
    while chunk := stream.read(CHUNK):
        hasher.update(chunk)
        on_progress(len(chunk))
    return hasher.hexdigest()


def has_size(path: str | os.PathLike[str], size: int) -> bool:
    """Whether there is a file of exactly so many bytes."""
    try:
        return os.path.getsize(path) == size
    except OSError:
        return False


def safe_name(name: str) -> bool:
    """Whether a relative name from elsewhere stays inside the directory it is meant for."""
    return bool(name) and not name.startswith("/") and "\x00" not in name and all(part not in ("", ".", "..") for part in name.split("/"))


def inside(root: str, name: str) -> str | None:
    """What ``name`` below ``root`` is called once its links are followed; None when one of them leads out of ``root``."""
    base = os.path.realpath(root)
    real = os.path.realpath(os.path.join(base, name))
    return os.path.relpath(real, base) if real.startswith(base.rstrip("/") + "/") else None


def open_below(root: str, name: str, flags: int = os.O_RDONLY, *, make: bool = False) -> int:
    """Descriptor of a plain file below ``root``; OSError (ELOOP) for a link that leads out of it, and for what is no file.

    For writing no link is followed at all. However quickly somebody else exchanges a directory for a link meanwhile, every step is
    taken from the one before. ``make``: directories that are missing are made.
    """
    if not flags & (os.O_WRONLY | os.O_RDWR):
        real = inside(root, name)
        if real is None:
            raise OSError(errno.ELOOP, "it is a link that leads out of its directory", os.path.join(root, name))
        name = real
    place, last = _directory_below(root, name, make)
    try:
        descriptor = os.open(last, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644, dir_fd=place)
    finally:
        os.close(place)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.ELOOP, "it is no plain file", os.path.join(root, name))
    return descriptor


def _directory_below(root: str, name: str, make: bool = False) -> tuple[int, str]:
    """Descriptor of the directory in which ``name`` lies below ``root``, and the last part of the name; no link below ``root`` is followed."""
    *places, last = name.split("/")
    here = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for place in places:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(place, 0o755, dir_fd=here)
            below = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = below
    except BaseException:
        os.close(here)
        raise
    return here, last


def arrived(root: str, name: str) -> None:
    """Give a file below ``root`` that has arrived whole its name: it loses the ending of arriving ones. No link is followed."""
    place, last = _directory_below(root, name)
    try:
        os.replace(last + INCOMING, last, src_dir_fd=place, dst_dir_fd=place)
    finally:
        os.close(place)


def open_incoming(path: str, root: str = "") -> BinaryIO:
    """An arriving file, unbuffered and open for both, at its beginning, with what an earlier attempt left; GB10Error where the disk refuses.

    ``root``: the directory around it below which no link is followed and directories are made; by default its own directory.
    """
    base = root or os.path.dirname(path)
    try:
        return open(open_below(base, os.path.relpath(path, base), os.O_RDWR | os.O_CREAT, make=bool(root)), "r+b", buffering=0)
    except OSError as error:
        raise disk_problem(path, error) from None


def write_all(stream: BinaryIO, data: bytes | memoryview, path: str) -> None:
    """Write all of a buffer to an unbuffered file, or say in a GB10Error what is wrong with the disk."""
    view = memoryview(data)
    try:
        while view:
            view = view[stream.write(view) :]
    except OSError as error:
        raise disk_problem(path, error) from None


def sync(stream: BinaryIO, path: str) -> None:
    """Have what was written on the disk, or say in a GB10Error what is wrong with it."""
    try:
        os.fsync(stream.fileno())
    except OSError as error:
        raise disk_problem(path, error) from None


def disk_problem(path: str, error: OSError) -> GB10Error:
    """What a failed write means, in one sentence."""
    place = os.path.dirname(path)
    if error.errno in (28, 122):  # ENOSPC, EDQUOT
        return GB10Error(
            f"the disk of {place} became full while {os.path.basename(path).removesuffix(INCOMING)} was written; free space there and run again, "
            "what has arrived is kept and nothing in use was touched"
        )
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return GB10Error(f"{path} is a link or lies behind one, which nothing of ours writes through; look who put it there, remove it and run again")
    return GB10Error(f"{path} cannot be written ({error.strerror}); check the permissions and the disk of {place}")

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files on a box: written whole or not at all, read without surprises, and what a failed write means."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
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

    ``mode`` is cut by the umask, as with any new file. ``durable``: it is on the disk before the old one goes. OSError leaves the old file.
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


def write_json(path: str | os.PathLike[str], value: Any, *, mode: int = 0o644, durable: bool = False, **style: Any) -> None:
    """``write_whole`` of a value as JSON; ``style`` goes to json.dumps (``indent``, ``sort_keys``). An indented file ends with a new line."""
    write_whole(path, json.dumps(value, **style) + ("\n" if style.get("indent") else ""), mode=mode, durable=durable)


def read_json(path: str | os.PathLike[str]) -> Any:
    """The JSON in ``path``, None when it is missing or broken."""
    try:
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)
    except (OSError, ValueError):
        return None


def file_sha256(path: str | os.PathLike[str], on_progress: Callable[[int], None] = _nothing) -> str:
    """SHA-256 of one file in hexadecimal; ``on_progress`` hears how many bytes each step took."""
    hasher = hashlib.sha256()
    with open(path, "rb", buffering=0) as stream:
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


def open_incoming(path: str) -> BinaryIO:
    """An arriving file, unbuffered and open for both, at its beginning, with what an earlier attempt left; GB10Error where the disk refuses.

    A link of that name is not followed: whoever made it, the file behind it is not what arrives.
    """
    try:
        return open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666), "r+b", buffering=0)
    except OSError as error:
        if os.path.islink(path):
            raise GB10Error(f"{path} is a link, and what arrives is written to no other place; remove it and run again") from None
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
    return GB10Error(f"{path} cannot be written ({error.strerror}); check the permissions and the disk of {place}")

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A file that arrives piece by piece: it goes on where an earlier attempt stopped and knows the sum of what is there."""

from __future__ import annotations

import hashlib
import os
from types import TracebackType

from ansible_collections.gb10.vllm.plugins.module_utils._io.files import CHUNK, open_incoming, sync, write_all

STOPPED = "stopped because another file failed"


class Incoming:
    """The file ``path`` that is to have ``size`` bytes; what an earlier attempt left of it is read once. GB10Error where the disk refuses.

    ``git``: work out the id of a git blob too. ``root``: the directory around it below which no link is followed and directories are made.
    What is longer than it may be was another file: it is dropped.
    """

    def __init__(self, path: str, size: int, *, git: bool = False, root: str = "") -> None:
        self.path, self.size = path, size
        self._git = git
        self._stream = open_incoming(path, root)
        self._reset()
        if os.fstat(self._stream.fileno()).st_size > size:
            self._stream.truncate(0)
        while chunk := self._stream.read(CHUNK):
            self._take_in(chunk)

    def __enter__(self) -> Incoming:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stream.close()

    def _reset(self) -> None:
        self.offset = 0
        self._sums = [hashlib.sha256()]
        if self._git:
            self._sums.append(hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False))

    def _take_in(self, data: bytes | memoryview) -> None:
        for one in self._sums:
            one.update(data)
        self.offset += len(data)

    def add(self, data: bytes | memoryview) -> None:
        """Write the next bytes."""
        write_all(self._stream, data, self.path)
        self._take_in(data)

    def restart(self) -> None:
        """Drop what is there: the source begins anew."""
        self._stream.seek(0)
        self._stream.truncate(0)
        self._reset()

    def sync(self) -> None:
        """Have all of it on the disk."""
        sync(self._stream, self.path)

    @property
    def complete(self) -> bool:
        """Whether all bytes are there; whether they are the right ones, only the sums tell."""
        return self.offset >= self.size

    @property
    def sha256(self) -> str:
        """SHA-256 of what is there, in hexadecimal."""
        return self._sums[0].hexdigest()

    @property
    def git_blob(self) -> str:
        """Id of the git blob, once it is complete and was asked for; else an empty string."""
        return self._sums[1].hexdigest() if self._git else ""

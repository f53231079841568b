# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files from box to box: what goes over the wire.

Both sides prove who they are with a certificate made for one run and named to each other by Ansible; nothing else is trusted,
nothing outlives the run, and only files that were offered can be asked for.

The client sends one JSON object per line, ``{"share": key}`` for a list of files (with ``"settled": true`` once all their sums are
known) or ``{"share": key, "item": n, "offset": bytes}`` for one; the server answers with frames of one letter, a length (4 bytes) and as many bytes.
"""

from __future__ import annotations

import json
import struct
from typing import Any, NamedTuple

LIST = b"I"
DATA = b"D"
WAITING = b"W"
"""The server lives and waits for it itself."""
NOT_HERE = b"N"
CANNOT = b"E"
"""Followed by why."""
COMPLETE = b"Z"
"""Followed by the SHA-256 as the file's first reader knows it."""

LONGEST_REQUEST = 8192
LONGEST_FRAME = 2**24
"""Of a list of files, in bytes."""
LONGEST = {DATA: 2**20, WAITING: 0, NOT_HERE: 0, CANNOT: 2**16, COMPLETE: 2**7}
"""Of the other frames: another box decides how much memory it takes here, so there is a bound for each."""
_FRAME = struct.Struct("!cI")
FRAME_BYTES = _FRAME.size


class Gone(Exception):
    """A source cannot serve (any more); the text says why."""


class NotReady(Exception):
    """A source runs but does not know us yet."""


class NotHere(Exception):
    """A source is well and does not have this file."""


class Request(NamedTuple):
    """A share's list of files, with ``settled`` not before all their sums are known; or with ``item`` one of them from byte ``offset`` on."""

    share: str
    item: int | None = None
    offset: int = 0
    settled: bool = False

    def line(self) -> bytes:
        """As it is sent."""
        wanted: dict[str, Any] = {"share": self.share}
        if self.item is not None:
            wanted.update(item=self.item, offset=self.offset)
        elif self.settled:
            wanted["settled"] = True
        return json.dumps(wanted).encode() + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> Request:
        """As it arrives; ValueError when it is not one."""
        try:
            wanted = json.loads(line)
            item = wanted.get("item")
            number = None if item is None else int(item)
            return cls(str(wanted.get("share")), number, max(0, int(wanted.get("offset") or 0)), bool(wanted.get("settled")))
        except (AttributeError, TypeError, OverflowError, RecursionError) as error:
            raise ValueError(f"not a request: {error}") from None


def header(letter: bytes, length: int) -> bytes:
    """What goes before the content of a frame."""
    return _FRAME.pack(letter, length)


def parse_header(data: bytes) -> tuple[bytes, int]:
    """(letter, length) of the frame that begins so; Gone when it cannot be one of ours."""
    letter, length = _FRAME.unpack(data)
    if length > LONGEST_FRAME:
        raise Gone("it sent something else than this protocol")
    return letter, length

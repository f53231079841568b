# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Log files on the controller, of any size: what is read of them is bounded, and holds what a diagnosis looks at."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import BinaryIO

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis.reading import is_routine

WHOLE_BYTES = 2**20
"""Files up to this size are read whole."""
HEAD_LINES, MIDDLE_LINES, TAIL_LINES = 200, 200, 600
"""Lines kept of a larger file: its beginning, those around words of failures, its end."""
MOST_FILES = 64
ROUTINE_CHARACTERS = 2048
"""A longer line is none of those that a server prints by the thousand, so no expression has to say so."""
_BLOCK = 2**18
_ERRORS = (b"rror", b"RROR")
_SUFFIXES = (".log", ".txt", ".out", ".err", ".json", ".jsonl", ".gz", "")


def read_logs(names: list[str]) -> dict[str, str]:
    """Text of each log by its file's name; a directory stands for the logs in it. GB10Error when one cannot be read."""
    paths = [path for name in names for path in _named(Path(name).expanduser())]
    if len(paths) > MOST_FILES:
        raise GB10Error(f"{len(paths)} log files are more than the {MOST_FILES} that are compared with each other; name those of one server.")
    short = [path.name for path in paths]
    return {path.name if short.count(path.name) == 1 else str(path): excerpt(path) for path in paths}


def _named(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(one for one in path.rglob("*") if one.is_file() and one.suffix.lower() in _SUFFIXES and not one.name.startswith("."))
    if not found:
        raise GB10Error(f"The directory {path.absolute()} on the controller holds no log file (*.log, *.txt, *.out, *.err, *.json, *.gz).")
    return found


def excerpt(path: Path) -> str:
    """What a diagnosis looks at of one file: all of a small one; of a large one its beginning, its end and the lines around failures between."""
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as packed:
                return packed.read(WHOLE_BYTES).decode("utf-8", "replace")
        with path.open("rb", buffering=0) as stream:
            if stream.seek(0, 2) <= WHOLE_BYTES:
                stream.seek(0)
                return stream.read().decode("utf-8", "replace")
            return "\n".join(_of_large(stream))
    except (OSError, EOFError, ValueError, gzip.BadGzipFile) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise GB10Error(f"The log file {path.absolute()} on the controller cannot be read: {reason}.") from error


def _of_large(stream: BinaryIO) -> list[str]:
    """The lines that are kept of a large file, in their order; it is gone through once, a block at a time."""
    head: list[str] = []
    middle: list[str] = []
    before = last = b""
    stream.seek(0)
    while block := stream.read(_BLOCK):
        if not head:  # its first line says what kind of log it is, even where it begins in the middle of a server's life
            head = [*block.decode("utf-8", "replace").splitlines()[:1], *_telling(block)[:HEAD_LINES]]
        elif len(middle) < MIDDLE_LINES and any(word in block for word in _ERRORS):
            middle += _around_errors(_telling(block))
        before, last = last, block
    tail = _telling(before + last)[1:][-TAIL_LINES:]
    return [*head, *middle[:MIDDLE_LINES], *tail]


def _telling(block: bytes) -> list[str]:
    """The lines of a block but for those that a server prints by the thousand."""
    return [line for line in block.decode("utf-8", "replace").splitlines() if len(line) > ROUTINE_CHARACTERS or not is_routine(line)]


def _around_errors(lines: list[str]) -> list[str]:
    """Lines that hold a word of failures, and the two before each."""
    kept = {near for number, line in enumerate(lines) if "rror" in line or "RROR" in line for near in range(max(0, number - 2), number + 1)}
    return [lines[number] for number in sorted(kept)[:MIDDLE_LINES]]

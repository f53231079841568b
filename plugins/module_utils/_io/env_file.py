# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files of ``NAME=value`` lines: those a shell sources, those Docker reads and those people write. Pure but for ``read_private``."""

from __future__ import annotations

import os
import re
import shlex

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error

_NAME = re.compile(r"\s*(?:export\s+)?([A-Za-z_]\w*)\s*=", re.ASCII)
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD", re.IGNORECASE)


def parse(text: str) -> dict[str, str]:
    """Value by name, empty ones too. Comments and lines that set nothing are skipped, of two values the last counts, as in a shell.

    A value in quotes is read as a shell reads it, over several lines if need be; any other is taken as it stands, without the space around it.
    """
    values: dict[str, str] = {}
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        match = _NAME.match(lines[at])
        if not match:
            at += 1
            continue
        values[match.group(1)], at = _value(lines, at, match.end())
    return values


def _value(lines: list[str], at: int, begin: int) -> tuple[str, int]:
    """The value that begins in line ``at`` at ``begin``, and the line after it."""
    raw = lines[at][begin:].strip()
    if "'" not in raw and '"' not in raw:
        return raw, at + 1
    quoted = lines[at][begin:].lstrip()
    for end in range(at, len(lines)):
        if end > at:
            quoted += "\n" + lines[end]
        try:
            return " ".join(shlex.split(quoted)), end + 1
        except ValueError:
            continue  # the quote is still open
    return raw, at + 1  # never closed: not written for a shell


def value(text: str, name: str) -> str | None:
    """Value of ``name``, None when it is not set or empty."""
    return parse(text).get(name) or None


def secrets(values: dict[str, str]) -> dict[str, str]:
    """What is secret by its name and not empty."""
    return {name: one for name, one in values.items() if one and _SECRET.search(name)}


def read_private(path: str, holds: str) -> dict[str, str]:
    """The values of a private file; a missing one is empty. GB10Error when it cannot be read or others may read it.

    ``holds``: what the file should hold, for the message.
    """
    try:
        status = os.stat(path)
        with open(path, encoding="utf-8") as stream:
            text = stream.read()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise GB10Error(f"{path} cannot be read ({reason}); it should hold {holds} and belong to root") from None
    if status.st_mode & 0o077:
        raise GB10Error(f"{path} may be read by others although it can hold a token; run: chmod 600 {path}")
    return parse(text)

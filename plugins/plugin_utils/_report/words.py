# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Amounts, durations and cut texts as people read them. Pure."""

from __future__ import annotations

import math
import re
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error

GIB = 2**30
# Without line breaks and tabs: what moves the cursor, sets colours and titles, or turns the direction of writing, of one byte (C0, C1) or as an escape.
_UNSEEN = re.compile(
    r"\x1b(?:\[[0-9;?]{0,32}[ -/]{0,4}[@-~]|[\]PX^_][^\x07\x1b\x9c\n]{0,4096}(?:\x07|\x1b\\|\x9c)?|[ -/]{0,4}[0-~])?"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def human_bytes(value: Any, digits: int = 2) -> str:
    """``64424509440`` -> ``60.00 GiB``: binary units, ``digits`` decimals, whole bytes below 1 KiB. GB10Error for what is not a number."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise GB10Error(f"human_bytes wants a number of bytes, not {str(value)[:60]!r}")
    sign, number, unit = "-" if number < 0 else "", abs(number), 0
    # Rounded up to the next unit rather than shown as 1024.00 of the smaller one.
    while unit < len(_UNITS) - 1 and round(number, digits if unit else 0) >= 1024:
        number /= 1024
        unit += 1
    return f"{sign}{number:,.{digits if unit else 0}f} {_UNITS[unit]}"


def gib(value: float | None, digits: int = 1, sign: str = "") -> str:
    """Bytes as GiB, however few or many: ``96.5 GiB``, ``-`` for None; ``sign``: ``+`` to show that of a difference."""
    return "-" if value is None else f"{value / GIB:{sign}.{digits}f} GiB"


def size(count: float) -> str:
    """Bytes of a transfer with a decimal unit, as networks and registries count: ``2 kB``, ``17.3 GB``."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def duration(seconds: float) -> str:
    """Whole seconds that have passed: ``12 s``, ``3 min 5 s``, ``1 h 2 min``."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def cut(text: str, width: int) -> str:
    """The text in at most ``width`` characters; what is cut off shows as an ellipsis."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def visible(text: str) -> str:
    """The text as a terminal may get it: boxes, logs and recipes hold what strangers wrote, which must not move the cursor or hide what stands there."""
    return _UNSEEN.sub("", text)

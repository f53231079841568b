# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checked numbers and choices of what a user states: the value in its type, or one short sentence that names the key. Pure."""

from __future__ import annotations

import math
import re
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error

GIB = 2**30
MOST_GIB = 2**20
MOST_BYTES = 2**50
MOST_TOKENS = 2**40

_SIZE = re.compile(r"(-?\d+(?:\.\d+)?)\s*([kKmMgGtT]?)(?:i?[bB])?")
# vLLM's own suffixes (engine/arg_utils.py human_readable_int): lower case decimal, upper case binary.
_FACTORS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def shown(value: Any) -> str:
    """``repr`` of a value for a message, cut to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def short(value: Any) -> str:
    """A value as text for a message, cut to 60 characters."""
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def words(text: str) -> frozenset[str]:
    """The names in a text, for sets that are too long to write as one."""
    return frozenset(text.split())


def human_int(value: Any, what: str) -> int:
    """A whole number as vLLM's command line takes it: ``65536``, ``64K`` (binary), ``64k`` (decimal); GB10Error otherwise."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    result = float(match.group(1)) * _FACTORS[match.group(2)] if match else math.nan
    if not result.is_integer():
        raise GB10Error(f"{what}: {shown(value)} is not a whole number such as 65536 or 64K: correct it")
    return int(result)


def gib(value: Any, what: str) -> int:
    """Bytes of a number of GiB from 0 to 2**20; a number only, no text."""
    # The range refuses NaN and infinity too, and needs no float of a number that has none.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= MOST_GIB:
        raise GB10Error(f"{what} is {shown(value)}: give a number of GiB from 0 to {MOST_GIB}")
    return int(value * GIB)


def whole(value: Any, what: str, least: int, most: int) -> int:
    """A whole number from ``least`` to ``most``, which may be written as 64K."""
    number = None if isinstance(value, bool) else human_int(value, what)
    if number is None or not least <= number <= most:
        raise GB10Error(f"{what} is {shown(value if number is None else number)}: give a whole number from {least} to {most}")
    return number


def tokens(value: Any, what: str) -> int | None:
    """A positive whole number, or None for auto."""
    if value in (None, "", "auto", -1, "-1"):
        return None
    return whole(value, what, 1, MOST_TOKENS)


def fraction(value: Any, what: str) -> float | None:
    """A share of the memory above 0 and up to 1, or None for auto."""
    if value in (None, "", "auto"):
        return None
    number = _number(value)
    if not 0 < number <= 1:
        raise GB10Error(f"{what} is {shown(value)}: give a share of the memory between 0 and 1, or auto")
    return number


def positive_gib(value: Any, what: str) -> int | None:
    """Bytes of a number of GiB above 0, or None for auto."""
    if value in (None, "", "auto"):
        return None
    number = _number(value)
    if not 0 < number < MOST_GIB:
        raise GB10Error(f"{what} is {shown(value)}: give a number of GiB above 0, or auto")
    return int(number * GIB)


def choice(value: Any, what: str) -> str:
    """``auto``, ``always`` or ``never``; true and false are the last two."""
    if value is None or value == "":
        return "auto"
    if isinstance(value, bool):
        return "always" if value else "never"
    if isinstance(value, str) and value.lower() in ("true", "yes", "on", "false", "no", "off"):
        return "always" if value.lower() in ("true", "yes", "on") else "never"
    if value not in ("auto", "always", "never"):
        raise GB10Error(f"{what} is {shown(value)}: it can be auto, always or never")
    return value


def _number(value: Any) -> float:
    """``value`` as a float; NaN, which no range holds, for what is none."""
    try:
        return math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bytes for people. Pure."""

from __future__ import annotations

import math
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def human_bytes(value: Any, digits: int = 2) -> str:
    """``64424509440`` -> ``60.00 GiB``: binary units, ``digits`` decimals, whole bytes below 1 KiB. GB10Error for what is no number."""
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

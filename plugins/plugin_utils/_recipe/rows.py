# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What became of one field of a recipe. Pure."""

from __future__ import annotations

from typing import NamedTuple

MAPPED, CHANGED, REFUSED = "mapped", "changed", "refused"


class Row(NamedTuple):
    """``state``: mapped (as it is), changed (``why`` it means something else here), or refused (``why`` nothing here can do it)."""

    field: str
    line: int
    state: str
    ours: str  # what it became: a setting of ours; "" where it became none
    why: str = ""

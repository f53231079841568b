# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Some cases of many for the tests of every change, all of them for `make deep`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
ALL = bool(os.environ.get("GB10_ALL_CASES"))


def every(step: int, cases: Sequence[T], number: int = 0) -> Sequence[T]:
    """Each ``step``-th of the cases, others for each ``number``; all of them where GB10_ALL_CASES is set."""
    return cases if ALL else cases[number % step :: step]


def first(count: int, cases: Sequence[T]) -> Sequence[T]:
    """The first ``count`` of the cases; all of them where GB10_ALL_CASES is set."""
    return cases if ALL else cases[:count]


def share(of: int, count: int) -> int:
    """One ``of``-th of a count of examples; all of them where GB10_ALL_CASES is set."""
    return count if ALL else count // of

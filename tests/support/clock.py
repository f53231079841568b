# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A clock in the place of ``time``: it stands still unless a test sets it forward or somebody sleeps."""

from __future__ import annotations

from collections.abc import Callable


class Clock:
    """``slept`` has the pauses so far; ``then`` says what happens after so many of them."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.slept: list[float] = []
        self.then: dict[int, Callable[[], object]] = {}

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)
        self.then.get(len(self.slept), lambda: None)()

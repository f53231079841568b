# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Waiting until the memory of a program that ended has come back: the driver gives it back a while after the process is gone."""

from __future__ import annotations

import time
from collections.abc import Callable

from ansible_collections.gb10.vllm.plugins.module_utils._box.facts import parse_meminfo, read_text

MIB = 2**20
CLOSE_BYTES = 512 * MIB
"""Other programs move by as much, so this near to what was there before counts as back."""
GROWTH_BYTES = 64 * MIB
STILL_S = 10.0
LONGEST_S = 60.0


def available_bytes() -> int:
    """MemAvailable of the box."""
    return int(parse_meminfo(read_text("/proc/meminfo")).get("MemAvailable", 0))


def wait_for_memory(
    wanted_bytes: int,
    available: Callable[[], int] = available_bytes,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Wait until about ``wanted_bytes`` are available, or no more came back for 10 s, 60 s at most; returns what is available then."""
    began = grew = clock()
    most = now = available()
    while now + CLOSE_BYTES < wanted_bytes and clock() - grew < STILL_S and clock() - began < LONGEST_S:
        sleep(1.0)
        now = available()
        if now > most + GROWTH_BYTES:
            most, grew = now, clock()
    return now

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Jobs side by side: all results in order, or the first failure."""

from __future__ import annotations

import functools
import threading

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._io.workers import together


def test_results_come_in_the_order_of_the_jobs():
    assert together([functools.partial(pow, number, 2) for number in range(20)], 4, threading.Event()) == [number**2 for number in range(20)]
    assert together([], 4, threading.Event()) == []
    assert together([lambda: 1], 0, threading.Event()) == [1], "at least one worker"


def test_the_first_failure_stops_the_others_and_is_the_one_that_is_told():
    stop, begun = threading.Event(), []

    def waits():
        begun.append(1)
        assert stop.wait(10)
        raise ValueError("stopped because of another")

    def fails():
        raise KeyError("the cause")

    with pytest.raises(KeyError, match="the cause"):
        together([waits, fails, *[waits] * 20], 2, stop)
    assert stop.is_set() and len(begun) <= 3, "what had not begun never did"

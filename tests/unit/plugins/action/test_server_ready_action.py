# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A server that answers is judged by what it leaves to its box."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.action import server_ready

GIB = 2**30
WANTED = {"os_floor_bytes": 12 * GIB, "margin_bytes": GIB, "kv_cache_bytes": 60 * GIB}


@pytest.fixture
def judge(monkeypatch):
    """(result, warnings) for a start that left so much."""

    def judged(lowest, history=(), repair=True, wanted=None, **memory):
        warnings = []
        display = type("Display", (), {"warning": lambda self, text: warnings.append(text)})
        monkeypatch.setattr(server_ready, "Display", display)
        seen = {"phase": "ready", "facts": {"memory": {"lowest_bytes": int(lowest * GIB), "shared_pool": True, **memory}}}
        given = {"wanted": WANTED if wanted is None else wanted, "history": list(history), "repair": repair}
        return server_ready.ActionModule._judge_memory(None, seen, "spark-1", "a", given), warnings

    return judged


def test_what_lies_idle_is_kept_with_the_measurement(judge):
    seen, warnings = judge(16)
    assert "failed" not in seen and warnings == []
    assert seen["facts"]["memory"] == {"lowest_bytes": 16 * GIB, "shared_pool": True, "missing_bytes": 0, "idle_bytes": 3 * GIB}


def test_a_broken_floor_is_a_repair_with_its_numbers(judge):
    seen, warnings = judge(9)
    assert seen["failed"] and warnings == []
    assert seen["repair"]["set"] == {"kv_cache_most_bytes": 57 * GIB}
    assert "answers, but leaves too little" in seen["msg"] and "9.00 GiB of the 12.00 GiB" in seen["msg"]


@pytest.mark.parametrize("more", [{"history": [{"id": "floor", "set": {}}]}, {"repair": False}, {"wanted": {**WANTED, "kv_cache_bytes": GIB}}])
def test_a_floor_that_stays_broken_is_said_and_the_server_goes_on(judge, more):
    seen, (warning,) = judge(9, **more)
    assert "failed" not in seen and "9.00 GiB of the 12.00 GiB for the operating system are left" in warning


def test_a_figure_without_sense_is_said_once_and_changes_nothing(judge):
    seen, (warning,) = judge(16, problem="it would be negative")
    assert "failed" not in seen and "is kept out: it would be negative. The plan goes on as before." in warning


def test_a_device_with_memory_of_its_own_says_nothing_of_the_floor(judge):
    seen, warnings = judge(1, shared_pool=False)
    assert "failed" not in seen and warnings == [] and "missing_bytes" not in seen["facts"]["memory"]


def test_a_start_that_nobody_measured_is_left_alone():
    seen = {"phase": "ready", "facts": {}}
    assert server_ready.ActionModule._judge_memory(None, seen, "b", "a", {}) is seen

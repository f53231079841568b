# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long is waited for memory to come back."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._box import memory

GIB = 2**30


class Box:
    """A box whose memory is what ``figures`` says, second by second (GiB); the last figure stays."""

    def __init__(self, *figures):
        self.figures, self.seconds = figures, 0

    def available(self):
        return int(self.figures[min(self.seconds, len(self.figures) - 1)] * GIB)

    def sleep(self, seconds):
        self.seconds += int(seconds)

    def wait(self, wanted):
        return memory.wait_for_memory(int(wanted * GIB), self.available, lambda: float(self.seconds), self.sleep)


@pytest.mark.parametrize(
    ("figures", "wanted", "seconds", "found"),
    [
        ((100,), 100, 0, 100),  # all of it is there
        ((99.6,), 100, 0, 99.6),  # or as good as all of it
        ((20, 20, 60, 99.9), 100, 3, 99.9),  # it comes back after a while
        ((20, 20, 60), 100, 12, 60),  # another program holds the rest: it stands still for 10 s
        ((20,), 100, 10, 20),  # nothing comes back
        (tuple(range(10, 200)), 500, 60, 70),  # it goes on growing: not for ever
        ((50, 40, 30), 100, 10, 30),  # it shrinks
    ],
)
def test_the_wait_ends(figures, wanted, seconds, found):
    box = Box(*figures)
    assert box.wait(wanted) == int(found * GIB)
    assert box.seconds == seconds


def test_what_is_available_is_read_from_the_kernel():
    assert memory.available_bytes() > 0


def test_what_the_kernel_says_is_in_bytes_and_nothing_is_none(monkeypatch):
    shown = {"/proc/meminfo": "MemTotal: 9 kB\nMemAvailable: 7 kB\n"}
    monkeypatch.setattr(memory, "read_text", lambda path: shown[path])
    assert memory.available_bytes() == 7168
    shown["/proc/meminfo"] = "MemTotal: 9 kB\n"
    assert memory.available_bytes() == 0


@pytest.mark.parametrize(("grown", "seconds"), [(64 * 2**20, 10), (64 * 2**20 + 1, 12)])
def test_only_more_than_64_mib_is_growth(grown, seconds):
    box = Box(20, 20, 20 + grown / GIB)
    assert (box.wait(100), box.seconds) == (20 * GIB + grown, seconds)


@pytest.mark.parametrize(("missing", "seconds"), [(512 * 2**20, 0), (512 * 2**20 + 1, 10)])
def test_half_a_gib_from_what_was_there_is_as_good_as_all(missing, seconds):
    box = Box(100 - missing / GIB)
    assert (box.wait(100), box.seconds) == (100 * GIB - missing, seconds)


def test_unless_said_the_box_and_its_clock_are_asked(monkeypatch):
    slept = []
    assert memory.wait_for_memory.__defaults__ == (memory.available_bytes, memory.time.monotonic, memory.time.sleep)
    memory.wait_for_memory(2**40, lambda: 2**40 if slept else 0, lambda: float(len(slept)), slept.append)
    assert slept == [1.0]


def test_how_long_the_box_runs_already_is_no_part_of_the_wait():
    box = Box(20, 20, 60, 99.9)
    clock = lambda: 5000.0 + box.seconds  # noqa: E731
    assert memory.wait_for_memory(100 * GIB, box.available, clock, box.sleep) == int(99.9 * GIB)

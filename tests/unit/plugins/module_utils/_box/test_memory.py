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

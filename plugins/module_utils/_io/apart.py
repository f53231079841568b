# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Work in a process of its own, which outlives the task that began it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable


def apart(work: Callable[[], object], note: Callable[[int], object] = lambda _pid: None) -> None:
    """Begin ``work`` and do not wait for it; ``note`` is told the id of its process before this returns.

    Two forks and a session of its own: neither Ansible nor the SSH session waits for it or takes it along. Open files stay open in it.
    """
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if grandchild := os.fork():
            note(grandchild)
            os._exit(0)
        os.chdir("/")
        quiet = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(quiet, descriptor)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        work()
    finally:
        os._exit(0)

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Model files that we did not bring, read once: by a process of its own that works only when nothing else wants the box, one at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Sequence

from ansible_collections.gb10.vllm.plugins.module_utils._io.apart import apart
from ansible_collections.gb10.vllm.plugins.module_utils._io.command import run
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import read_json
from ansible_collections.gb10.vllm.plugins.module_utils._model.content import Sums, sha256_gently, unread


def start(state_dir: str, directories: Sequence[str]) -> bool:
    """Begin to read what nobody has read yet, and do not wait for it; False where there is nothing, or it is being read already.

    What was read of a file that is whole is kept, so a killed or rebooted box goes on with the next one when it is asked again.
    """
    wanted = [one for one in directories if os.path.isdir(one) and unread(one, state_dir)]
    if not wanted:
        return False
    os.makedirs(os.path.join(state_dir, "models"), mode=0o700, exist_ok=True)
    lock = os.open(os.path.join(state_dir, "models", "lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return False

    def work() -> None:
        _stand_back()
        read_all(state_dir, wanted)

    apart(work)
    os.close(lock)
    return True


def wait(state_dir: str, directories: Sequence[str], patience_s: float) -> None:
    """Wait a little for what is being read: a small model is then known before its server is made."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end and any(os.path.isdir(one) and unread(one, state_dir) for one in directories):
        time.sleep(0.1)


def _stand_back() -> None:
    """Last in every queue."""
    os.nice(19)
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    run(["ionice", "-c", "3", "-p", str(os.getpid())])  # where there is none, the processor's queue has to do


def read_all(state_dir: str, directories: Sequence[str]) -> None:
    """Read and keep the sums of all weights that nobody knows; what was kept of directories that are gone goes."""
    _forget_the_gone(os.path.join(state_dir, "models"))
    for directory in directories:
        sums = Sums(directory, state_dir)
        for file in unread(directory, state_dir):
            with contextlib.suppress(OSError):  # gone or out of reach meanwhile: it stays unverified
                digest = sha256_gently(file)
                # What was written meanwhile has other times than those noted before, so its sum will not count.
                sums.put(file, digest)


def _forget_the_gone(place: str) -> None:
    for name in os.listdir(place):
        path = os.path.join(place, name)
        held = read_json(path) if name.endswith(".json") else None
        if isinstance(held, dict) and not os.path.isdir(str(held.get("directory"))):
            with contextlib.suppress(OSError):
                os.unlink(path)

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several jobs at once: the first that fails stops the others and is the one that is told."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def together(jobs: Sequence[Callable[[], T]], workers: int, stop: threading.Event) -> list[T]:
    """What the jobs return, in their order, at most ``workers`` of them at a time.

    When one raises, ``stop`` is set so that those at work can end early, those that have not begun never do, and its exception is raised.
    """
    with concurrent.futures.ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        futures = [pool.submit(job) for job in jobs]
        concurrent.futures.wait(futures, return_when=concurrent.futures.FIRST_EXCEPTION)
        broken = next((one for one in futures if one.done() and one.exception()), None)
        if broken:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            broken.result()
        return [one.result() for one in futures]

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One box's transfer while it runs: what both kinds of share, images and directories, do and say in the same way."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._io.files import has_size
from ansible_collections.gb10.vllm.plugins.module_utils._io.progress_log import ProgressLog
from ansible_collections.gb10.vllm.plugins.module_utils._io.workers import together
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.client import Receiver
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.index import Descriptions

Share = Mapping[str, Any]
"""``{key, kind, place, identity, give, sources, skip_layers}``, as the controller wrote it."""
Item = dict[str, Any]
"""``{name, size, sha256}`` of one file of a share."""
End = Callable[[], dict[str, Any]]
"""What is left to do when all has arrived; returns what is told of the share."""


@dataclass(frozen=True)
class Work:
    """Where it is written down how far this box is, and the limits that were set for it."""

    shares: Descriptions
    said: ProgressLog
    connections: int = 4
    keep: int = 1

    def counter(self, phase: str, text: str | Callable[[], str], total: int) -> Callable[[int], None]:
        """Takes numbers of bytes, adds them up and says the sum; for several threads."""
        lock = threading.Lock()
        so_far = 0

        def count(more: int) -> None:
            nonlocal so_far
            with lock:
                so_far += more
                now = so_far
            self.said(phase, text if isinstance(text, str) else text(), now, total)

        return count

    def fetch(
        self,
        what: str,
        needed: Sequence[tuple[int, Item]],
        directory: str,
        receiver: Receiver,
        note: Callable[[Item, str], None] = lambda item, digest: None,
    ) -> None:
        """Fetch these files (number and item) into a directory, several at once; ``note`` learns of each that is there and its SHA-256."""
        todo = [(number, item) for number, item in needed if not has_size(os.path.join(directory, item["name"]), item["size"])]
        sources = receiver.sources
        count = self.counter("receive", lambda: f"{what} from {', '.join(sources.used) or 'another box'}", sum(item["size"] for _number, item in todo))

        def one(number: int, item: Item) -> None:
            try:
                note(item, receiver.fetch(number, item, os.path.join(directory, item["name"]), count))
            finally:
                receiver.close()

        together([functools.partial(one, number, item) for number, item in todo], self.connections, receiver.stopped)

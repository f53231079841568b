# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a box offers, described on its disk: the transfer writes it, the server reads it, so it also shows how far the work is.

A share is a directory ``ROOT/shares/ID`` with ``index.json``: ``{state: working | done | failed, reason, pid, roots: [...], items:
[{name, size, sha256}], meta}``. A file that is still arriving has the ending ``.incoming``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._io.files import read_json, write_json

WORKING, DONE, FAILED = "working", "done", "failed"


def shares_dir(root: str) -> str:
    """Where all shares are described."""
    return os.path.join(root, "shares")


def index_path(root: str, key: str) -> str:
    """Where the share ``key`` is described; the key itself never becomes a path."""
    return os.path.join(shares_dir(root), hashlib.sha256(key.encode()).hexdigest()[:24], "index.json")


def end_reason(index: Mapping[str, Any]) -> str | None:
    """Why a share that is not complete will never be: its transfer failed, or who worked on it is gone. None while there is hope."""
    state = index.get("state")
    if state == FAILED or (state == WORKING and not alive(int(index.get("pid") or 0))):
        return str(index.get("reason") or "its own transfer was stopped")
    return None


def workers(root: str) -> Iterator[int]:
    """Process ids that, as the shares say, work on one of them; whether they live is another question."""
    with contextlib.suppress(FileNotFoundError):
        for one in os.listdir(shares_dir(root)):
            index = read_json(os.path.join(shares_dir(root), one, "index.json"))
            pid = index.get("pid") if isinstance(index, dict) and index.get("state") == WORKING else None
            if isinstance(pid, int) and pid < 2**31:
                yield pid


def alive(pid: int) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def is_transfer(pid: int) -> bool:
    """Whether this process lives and is a Python program (a reused number would rarely be one)."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            return b"python" in stream.read()
    except OSError:
        return False


class Descriptions:
    """The shares of one transfer, kept in step with the work; used by several threads."""

    def __init__(self, root: str, keys: Iterable[str]) -> None:
        self._paths = {key: index_path(root, key) for key in keys}
        self._index: dict[str, dict[str, Any]] = {key: {"pid": os.getpid(), "state": WORKING} for key in self._paths}
        self._lock = threading.Lock()

    def say(self, state: str, *keys: str, reason: str = "") -> None:
        """How these shares stand now."""
        for key in keys:
            # On a full disk not even this can be written; who waits for us sees our process end instead.
            with contextlib.suppress(OSError):
                self._change(key, state=state, reason=reason)

    def offer(self, key: str, items: Sequence[dict[str, Any]], roots: Sequence[str], meta: Any) -> None:
        """Its files from now on, and the directories in which they lie or will lie."""
        self._change(key, items=list(items), roots=list(roots), meta=meta)

    def digest(self, key: str, name: str, sha256: str) -> None:
        """The sum of one of its files is known now."""
        with self._lock:
            for item in self._index[key]["items"]:
                if item["name"] == name:
                    item["sha256"] = sha256
        self._change(key)

    def digests(self, key: str) -> dict[str, str]:
        """Sums by name of the file."""
        return {item["name"]: item["sha256"] for item in self._index[key]["items"]}

    def _change(self, key: str, **values: Any) -> None:
        with self._lock:
            self._index[key].update(values)
            write_json(self._paths[key], self._index[key])

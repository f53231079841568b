# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One box of a server over several, asked what it is at: a rank without an API never says that it is ready.

The program that answers is the role server's file rank.py.
"""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._engine.container import memory_available_bytes, run

ASK_S = 3.0
LEFT = re.compile(r"^(?P<why>.+)\. All ranks of \S+ start again together\.$")
"""What the program says when it ends a rank because of another one."""


def ask(address: str, port: int) -> str:
    """The line that a rank says (waiting for whom, starting, met, answered); "" where nobody says one."""
    with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=ASK_S) as connection:
        connection.settimeout(ASK_S)
        return connection.recv(400).decode("utf-8", "replace").partition("\n")[0].strip()
    return ""


def waiting(container: str, words: str, last: dict[str, Any], stall_s: float) -> dict[str, Any]:
    """What a look at a rank finds whose container starts when the other boxes are there: what an earlier start left of it says nothing.

    ``words``: for whom it waits; ``last``: ``activity`` of an earlier look, which this one takes the place of; after ``stall_s`` seconds it counts as stalled.
    """
    now = time.time()
    since = last.get("waiting_since") or now
    last.clear()
    last.update(waiting_since=since, at=now)
    result: dict[str, Any] = {
        "phase": "created",
        "progress": words,
        "reason": "",
        "elapsed_s": round(now - since, 1),
        "memory_available_bytes": memory_available_bytes(),
        "facts": {},
        "answer": None,
        "container": {"name": container, "exists": True, "status": "created"},
        "activity": dict(last),
        "log_tail": [],
    }
    if now - since > stall_s:
        result.update(phase="stalled", reason=f"it has been {words} for {now - since:.0f} s", kernel_log=[])
        result["log"] = [f"gb10.vllm: {result['reason']}"]
    return result


def left(container: str, since: float | None) -> str:
    """Why the program of this rank ended its container because of another rank, since ``since`` (seconds of the clock); "" where it did not."""
    unit = ["journalctl", "--quiet", "--unit", f"{container}.service", "--output=cat", "--lines=50", *([f"--since=@{since:.0f}"] if since else [])]
    found = [match["why"] for line in run(unit, ASK_S).stdout.splitlines() if (match := LEFT.match(line.strip()))]
    return found[-1] if found else ""


class Rank:
    """The rank of this box; ``group``: number, boxes, addresses and guard_port of its deployment."""

    def __init__(self, group: Mapping[str, Any]) -> None:
        self.number = int(group["number"])
        self.boxes = [str(box) for box in group["boxes"]]
        self.addresses = [str(address) for address in group["addresses"]]
        self.port = int(group["guard_port"])

    @property
    def head(self) -> bool:
        """Whether the API server is here."""
        return self.number == 0

    def waits(self, runs: bool) -> str:
        """For whom this rank waits, in words; "" where it does not. ``runs``: whether its container does, which is started a moment after it said so."""
        said = ask(self.addresses[self.number], self.port)
        return said if said.startswith("waiting") or not runs else ""

    def behind_its_head(self, phase: str, progress: str) -> dict[str, Any]:
        """{phase, progress} of a rank that runs: ready when its head has answered; else what its own log says."""
        said = ask(self.addresses[0], self.port)
        if said == "answered":
            return {"phase": "ready", "progress": f"is rank {self.number} of a server that answers on {self.boxes[0]}"}
        return {
            "phase": phase,
            "progress": f"{progress} (rank {self.number} of {self.boxes[0]}, which {f'is {said}' if said else 'does not say what it is at'})",
        }

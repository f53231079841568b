# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How far long work on a box is: JSON lines in a file that the controller reads the end of."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time


class ProgressLog:
    """Appends one JSON line at every change of phase and otherwise at most one a second; safe to call from several threads."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.started = time.monotonic()
        self._lock = threading.Lock()
        self._phase = ""
        self._said_at = 0.0
        self._begin = (0, self.started)
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))

    def __call__(self, phase: str, text: str, done_bytes: int = 0, total_bytes: int = 0, step: int = 0, steps: int = 0) -> None:
        """``phase`` is a word that changes rarely; the rate shown is the phase's own."""
        now = time.monotonic()
        with self._lock:
            if phase == self._phase and now - self._said_at < 1.0:
                return
            if phase != self._phase or done_bytes < self._begin[0]:
                self._begin = (done_bytes, now)
            self._phase, self._said_at = phase, now
            begun_bytes, begun = self._begin
            line = {
                "phase": phase, "step": step, "steps": steps, "text": text, "bytes": done_bytes, "total_bytes": total_bytes,
                "bytes_per_s": int((done_bytes - begun_bytes) / (now - begun)) if now - begun > 1.0 else 0,
                "elapsed_s": round(now - self.started, 1),
            }  # fmt: skip
            with contextlib.suppress(OSError), open(self.path, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One line that shows how long work is going, on the controller, while it runs."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from typing import Any

from ansible import constants as C
from ansible.utils import color
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.tell import tell
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.words import visible

LINE_EVERY_S = 30.0
"""Without a terminal: the longest silence between two lines, in seconds, as long as update() is called."""


def is_interactive() -> bool:
    """Whether the user watches a terminal.

    An action plugin runs in a forked worker whose own stdout is /dev/null, so ask what the parent
    found out before it forked: ansible turns colour on exactly for a terminal, unless it was forced.
    """
    return bool(color.ANSIBLE_COLOR and not C.ANSIBLE_FORCE_COLOR and os.environ.get("TERM", "dumb") != "dumb")


class Progress:
    """Progress of one long task on one host.

    :param display: Ansible's ``Display`` (or anything with its ``display`` method).
    :param label: shown in front of every text, usually the host or ``host: server``.
    :param interactive: True: one line that is rewritten; False: whole lines, one at every change that
        is forced and otherwise one per 30 s; None: True on a terminal. Pass False when several hosts
        report at the same time, they would overwrite each other's line.
    :param clock: monotonic seconds; tests pass their own.
    """

    def __init__(self, display: Any, label: str, interactive: bool | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._display = display
        self._label = label
        self._interactive = is_interactive() if interactive is None else interactive
        self._clock = clock
        self._last_s: float | None = None
        self._last_text = ""

    def update(self, text: str, force: bool = False) -> None:
        """Show ``text`` now (terminal or ``force``), else when 30 s have passed since the last line."""
        now = self._clock()
        if self._interactive:
            if text != self._last_text:
                self._show_in_place(text)
        elif force or self._last_s is None or now - self._last_s >= LINE_EVERY_S:
            tell(self._display, f"  {self._label}: {text}")
            self._last_s = now
        self._last_text = text

    def done(self, text: str) -> None:
        """End with ``text`` as a whole line that stays."""
        prefix = "\r\033[K" if self._interactive and self._last_text else ""
        tell(self._display, f"  {self._label}: {text}", before=prefix)
        self._last_text = ""
        self._last_s = None

    def _show_in_place(self, text: str) -> None:
        width = shutil.get_terminal_size((100, 24)).columns
        line = visible(f"  {self._label}: {text}")
        if len(line) >= width:
            line = line[: width - 2] + "…"
        # The carriage return also flushes: the parent's stdout is line buffered.
        self._display.display(f"\r\033[K{line}", newline=False, screen_only=True)

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Progress lines with and without a terminal."""

from __future__ import annotations

from ansible_collections.gb10.vllm.plugins.plugin_utils._follow.progress import Progress


class Screen:
    """Collects what would be written."""

    def __init__(self):
        self.text = ""

    def display(self, msg, newline=True, screen_only=False):
        self.text += msg + ("\n" if newline else "")


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_lines_come_at_once_then_every_thirty_seconds_and_when_forced():
    screen, clock = Screen(), Clock()
    progress = Progress(screen, "box1", interactive=False, clock=clock)
    for second in range(0, 61, 5):
        clock.now = second
        progress.update(f"t={second}")
    progress.update("compiling", force=True)
    assert screen.text.splitlines() == ["  box1: t=0", "  box1: t=30", "  box1: t=60", "  box1: compiling"]


def test_a_terminal_sees_one_line_rewritten_and_the_last_one_stays():
    screen = Screen()
    progress = Progress(screen, "box1", interactive=True, clock=Clock())
    progress.update("loading 1 of 3")
    progress.update("loading 1 of 3")
    progress.update("loading 2 of 3")
    progress.done("ready")
    assert screen.text == "\r\033[K  box1: loading 1 of 3\r\033[K  box1: loading 2 of 3\r\033[K  box1: ready\n"


def test_a_line_longer_than_the_terminal_is_cut(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    screen = Screen()
    Progress(screen, "box1", interactive=True, clock=Clock()).update("x" * 50)
    assert len(screen.text.removeprefix("\r\033[K")) < 20
    assert screen.text.endswith("…")

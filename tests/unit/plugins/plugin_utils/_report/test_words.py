# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Amounts, durations and cut texts as people read them."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io import lines
from ansible_collections.gb10.vllm.plugins.plugin_utils._follow import locking
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.words import cut, duration, gib, human_bytes, size, visible


@pytest.mark.parametrize(
    "value,text",
    [
        (0, "0 B"), (1023, "1,023 B"), (1024, "1.00 KiB"), (64424509440, "60.00 GiB"), (-(2**31), "-2.00 GiB"), ("1048576", "1.00 MiB"),
        (1024**2 - 1, "1.00 MiB"), (5 * 2**60, "5,120.00 PiB"),
    ],
)  # fmt: skip
def test_human_bytes(value, text):
    assert human_bytes(value) == text


@pytest.mark.parametrize("value", ["x", None, True, float("nan"), float("inf"), [1], 10**400])
def test_human_bytes_refuses_the_rest(value):
    with pytest.raises(GB10Error, match="wants a number of bytes"):
        human_bytes(value)


def test_sizes():
    assert (size(999), size(1500), size(2_500_000), size(17_300_000_000)) == ("999 B", "2 kB", "2 MB", "17.3 GB")
    assert (gib(None), gib(0), gib(2**40), gib(-(2**29), 2, "+"), gib(2**29, 2, "+")) == ("-", "0.0 GiB", "1024.0 GiB", "-0.50 GiB", "+0.50 GiB")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"), (59.4, "59 s"), (59.9, "59 s"), (60, "1 min 0 s"), (61, "1 min 1 s"), (3600, "1 h 0 min"), (3725, "1 h 2 min"), (7384, "2 h 3 min"),
    ],
)  # fmt: skip
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_cut():
    assert (cut("spark", 5), cut("spark", 4), cut("spark", 0)) == ("spark", "spa…", "…")


HOSTILE = "vllm\x1b]0;title\x07-\x1b[2J\x1b[31mred\x9b2J\x9d0;t\x07 \x1bP1q\x1b\\x\r\x08\x7f\u202egnp\u2066\n\tnext"


def test_what_a_stranger_wrote_cannot_move_the_cursor_set_a_title_or_turn_the_writing():
    assert visible(HOSTILE) == "vllm-red2J0;t x" + "gnp\n\tnext"
    plain = "Größe 12 µs … ⚠ 東京 \u00a0 “q”\n\tnext"
    assert visible(plain) == plain and visible("\x1b" * 100_000) == ""


def test_who_holds_a_lock_is_told_without_it():
    """The file is the box's; what Ansible says of a failed task it prints as it is."""
    holder = {"owner": HOSTILE, "run": HOSTILE, "acquired_at": 0.0}
    told = (locking.refusal("spark-01", holder, "/s"), locking.lost(holder), locking.taken_over("spark-01", holder, "ended"))
    assert not any(sign in text for text in told for sign in "\x1b\x9b\x9d\x07\r\x08\x7f\u202e")


def test_lines_of_a_log_come_without_it_too():
    line = lines.clean_line(HOSTILE.replace("\n", " "))
    assert not any(sign in line for sign in "\x1b\x9b\x9d\x07\x08\x7f\u202e") and lines.clean_line(line) == line


def test_tables_and_the_end_of_a_run_are_shown_without_it(monkeypatch):
    from ansible_collections.gb10.vllm.plugins.action import show
    from ansible_collections.gb10.vllm.plugins.plugin_utils._follow import progress

    said = []
    display = type("Display", (), {"display": lambda _self, text, **_more: said.append(text)})()
    action = object.__new__(show.ActionModule)
    action._display = display
    monkeypatch.setattr(show.ActionBase, "run", lambda *_words: {})
    monkeypatch.setattr(show.ActionModule, "validate_argument_spec", lambda *_words: (None, {"text": HOSTILE, "plans": {}, "directory": None, "reasons": True}))
    shown = action.run()
    line = progress.Progress(display, HOSTILE, interactive=False)
    line.update(HOSTILE)
    line.done(HOSTILE)
    assert shown["text"] == said[0] and len(said) == 3
    assert not any(sign in text for text in said for sign in "\x1b\x9b\x9d\x07\r\x08\x7f\u202e")

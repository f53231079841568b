# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An expression that looks for plain words first finds what ``re`` finds, in any text."""

from __future__ import annotations

import re

import known_failures
import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis.expressions import Expression, words
from hypothesis import given
from hypothesis import strategies as st

HOLDS = {
    r"CUDA error: (?P<what>\w+)": ("CUDA error: ",),
    r"no such (?:file|directory)": ("no such ",),
    r"(?:cannot open|no) \w+": ("cannot open", "no"),
    r"\d+(?:out of memory)?$": (),  # the words may be missing
    r"\d+(?:out of memory)+$": ("out of memory",),
    r"(?:alpha|\d+) is": (" is",),  # one alternative says nothing
    r"(?i)Killed": (),
    r"(?i:Killed) by": (" by",),
    r"a(?!bcdef)\d": ("a",),  # what must not follow is no word
    r"a(?=bcdef)": ("a",),
    r"[Ee]rror code": ("rror code",),
    r"x{0}yz": ("yz",),
    r"(?:abx|cd(?:ef|gh))": ("abx", "cd"),
    r"\.so\.1: version": (".so.1: version",),
    r"": (),
}
TEXTS = st.lists(
    st.sampled_from(
        [
            "CUDA error: ",
            "x",
            "no such ",
            "file",
            "cannot open",
            " ",
            "no",
            "17",
            "out of memory",
            "\n",
            "alpha",
            " is",
            "killed",
            "Killed",
            " by",
            "a",
            "bcdef",
            "Error code",
            "error code",
            "yz",
            "abcdef",
            ".so.1: version",
        ]
    )
).map("".join)


@pytest.mark.parametrize(("expression", "held"), HOLDS.items())
def test_the_words_that_each_match_holds(expression, held):
    assert words(expression) == held


@given(TEXTS)
def test_it_finds_what_re_finds(text):
    for expression in HOLDS:
        plain = re.compile(expression, re.MULTILINE)
        mine = Expression(expression)
        assert [match.span() for match in mine.finditer(text)] == [match.span() for match in plain.finditer(text)]
        assert bool(mine.search(text)) == bool(plain.search(text))


def test_nearly_every_signature_has_words_and_none_is_compiled_for_a_text_without_them():
    entries = known_failures.known()
    assert sum(not entry.signature.words for entry in entries) < len(entries) / 100
    fresh = [Expression(entry.signature.pattern) for entry in entries if entry.signature.words]
    assert all(list(one.finditer("\n")) == [] and "compiled" not in vars(one) for one in fresh)

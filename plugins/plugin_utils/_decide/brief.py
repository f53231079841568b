# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Refusals that are read: the first faults as they are, the others by their number. Pure."""

from __future__ import annotations

from collections.abc import Sequence

LONGEST = 500
"""Characters of what is refused; a box's name, "Nothing was changed." and an offer stand around it, 600 in all."""


def briefly(sentences: Sequence[str], joined: str = " ", longest: int = LONGEST) -> str:
    """The sentences in one text of at most ``longest`` characters: as many as there is room for, then how many more there are; "" for none."""
    found = list(dict.fromkeys(str(one).strip() for one in sentences))
    said = ""
    for number, one in enumerate(found):
        longer, more = f"{said}{joined if said else ''}{one}", _more(len(found) - number - 1)
        if len(longer) + len(more) > longest:
            return f"{said}{_more(len(found) - number)}" if said else f"{_cut(one, longest - len(more))}{more}"
        said = longer
    return said


def _more(number: int) -> str:
    return f" And {number} more, which {'are' if number > 1 else 'is'} named once {'these are' if number > 1 else 'this is'} mended." if number else ""


def _cut(text: str, longest: int) -> str:
    """A sentence without its middle: who and what stand at its beginning, what to do at its end."""
    if len(text) <= longest:
        return text
    half = (longest - 5) // 2
    return f"{text[:half].rstrip()} ... {text[-half:].lstrip()}"

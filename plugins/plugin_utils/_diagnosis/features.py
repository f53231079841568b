# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which features of a server an error of its own state has to do with, by the code that it passed and by what the log shows in use. Pure.

An assertion or a missing key inside a server has no words that an entry could know. Where it was raised and what was switched on tell what to leave away.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis import reading

DATA = Path(__file__).parent / "features.yml"

MOST_NAMED = 3
"""Features that an answer names at most; with more of them it would say nothing."""
NEAR_LINES = 60
"""Lines above an error in which it is told what happened just then: they hold its traceback, too."""

_OWN_STATE = re.compile(
    r"^(?:builtins\.)?(?:Assertion|Key|Index|Attribute|Type|Name|UnboundLocal|ZeroDivision|Recursion)Error\b"
    r"|^(?:Runtime|Value)Error: [^\n]{0,160}(?:\b[Ss]hapes?\b|size of tensor|sizes? mismatch|mat1 and mat2|broadcast|to unpack|out of bounds|dimension)"
)


@dataclass(frozen=True)
class Feature:
    """A feature of a server: the code it is made of, what shows that it is in use, and how to do without it."""

    name: str
    code: re.Pattern
    seen: re.Pattern
    without: str
    moment: bool = False


@lru_cache(maxsize=1)
def known() -> tuple[Feature, ...]:
    """The features of features.yml."""
    raw = yaml.load(DATA.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return tuple(Feature(one["name"], re.compile(one["code"]), re.compile(one["seen"], re.MULTILINE), one["without"], one.get("moment", False)) for one in raw)


def is_of_own_state(line: str) -> bool:
    """Whether an error tells of a program's own state (a failed assertion, a missing key) and not of what somebody gave it."""
    return bool(_OWN_STATE.search(line.strip()))


def involved(lines: list[str], number: int) -> tuple[list[Feature], list[Feature]]:
    """(features whose code lies in the traceback that ends in line ``number``, further ones that the log shows in use)."""
    frames = reading.frames_of(lines, number)
    text = "\n".join(lines)
    near = "\n".join(lines[max(0, number - NEAR_LINES) : number])
    passed = [one for one in known() if any(one.code.search(frame) for frame in frames)]
    in_use = [one for one in known() if one not in passed and one.seen.search(near if one.moment else text)]
    return passed, in_use


def suspicion(lines: list[str], number: int, only_passed: bool = False) -> tuple[str, str]:
    """(why, what to do) that the features add to the answer for the error in line ``number``; empty where it is none of the program's own state.

    :param only_passed: whether some feature's code has to lie in the traceback; what is only in use says too little beside an answer that is there.
    """
    if not is_of_own_state(lines[number]):
        return "", ""
    passed, in_use = involved(lines, number)
    named = [*passed, *in_use][:MOST_NAMED]
    if not named or (only_passed and not any(not one.moment for one in passed)):
        return "", ""
    settings = [one.without for one in named if not one.moment]
    why = f" An error of the program's own state is a bug of this version, or of a combination that it does not know; here suspect is {_joined(named)}."
    todo = f" Update to a version in which it is mended; until then start {', or '.join(settings)}." if settings else ""
    return why, todo + "".join(f" {one.without}" for one in named if one.moment)


def _joined(features: list[Feature]) -> str:
    names = [one.name for one in features]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} together with {names[-1]}"

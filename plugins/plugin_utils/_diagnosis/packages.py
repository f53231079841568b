# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which packages met where code of different versions met: those at the end of a traceback, with the versions that the log names. Pure."""

from __future__ import annotations

import re

from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis import reading

MOST_NAMED = 3
"""Packages that an answer names at most: the one that failed, and who called it."""

_PACKAGE = re.compile(r"/(?:site|dist)-packages/(?P<name>[A-Za-z_]\w{0,60})(?:/|\.\w)")
_FROM = re.compile(r"cannot import name '[^'\n]{1,120}' from '(?P<name>[A-Za-z_]\w{0,60})|module '(?P<module>[A-Za-z_]\w{0,60})[\w.]{0,120}' has no attribute")
_VERSION = re.compile(r"(?<![\w.=-])(?P<name>[A-Za-z][\w-]{1,60})(?:\[[\w,]{1,40}\])?==(?P<version>\d[\w.+!-]{0,40})")


def ends_in(lines: list[str], number: int) -> list[str]:
    """Names of the packages that the traceback which ends in line ``number`` passed last, the deepest first; the one that the message itself names leads."""
    named = _FROM.search(lines[number])
    frames = (_PACKAGE.search(frame) for frame in reading.frames_of(lines, number))
    found = [(named["name"] or named["module"]) if named else "", *(frame["name"] for frame in frames if frame)]
    return list(dict.fromkeys(name for name in found if name))[:MOST_NAMED]


def versions(lines: list[str]) -> dict[str, str]:
    """Name with underscores -> the version that the log names last (``name==1.2.3``, as pip, a Dockerfile and vLLM's collect_env write it)."""
    pairs = (match for line in lines if "==" in line for match in _VERSION.finditer(line))
    return {match["name"].lower().replace("-", "_"): match["version"] for match in pairs}


def met(lines: list[str], number: int) -> tuple[str, str]:
    """(why, what to do) that the packages add to the answer for the error in line ``number``; empty without a traceback through any."""
    names = ends_in(lines, number)
    if not names:
        return "", ""
    known = versions(lines)
    said = [f"{name} {known[name.lower()]}" if name.lower() in known else name for name in names]
    callers = f", which {' and '.join(said[1:])} had called" if len(said) > 1 else ""
    why = f" The error comes of {said[0]}{callers}."
    return why, f" `pip show {' '.join(names)}` tells their versions and `pip check` what each asks of the other."

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The words of a command as a shell would make them, where it would make them of the text alone; all else is refused. Pure.

Nothing is expanded: a recipe whose command needs a shell (pipes, variables, a second command) is one that has to be read by a person.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

OPERATORS = {
    ";": "starts a second command",
    "|": "pipes into another command",
    "&": "starts a second command",
    "<": "redirects",
    ">": "redirects",
    "(": "starts a subshell",
    ")": "ends a subshell",
    "$": "stands for something that only the shell of that machine knows",
    "`": "runs a command for its output",
}
_CONTINUED = re.compile(r"\\[ \t]*\n")
_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_EXPANDED = re.compile(r"\{[^{}\s]*(?:,|\.\.)[^{}\s]*\}")


@dataclass(frozen=True)
class Word:
    """One word and where it begins in the text. ``bare``: it holds JSON that the recipe forgot to quote."""

    text: str
    at: int
    bare: bool = False


class Shell(Exception):
    """Something that only a shell could carry out. ``at``: where it stands."""

    def __init__(self, why: str, at: int) -> None:
        super().__init__(why)
        self.why, self.at = why, at


def words(text: str) -> list[Word]:
    """The words of the one command in ``text``. Raises Shell for operators, expansions, quotes that do not end and a second command."""
    found: list[Word] = []
    at, ends = 0, len(text.rstrip("\\ \t\n"))
    while at < len(text):
        gap = _CONTINUED.match(text, at)
        if gap:
            at = gap.end()
        elif text[at] in " \t":
            at += 1
        elif text[at] == "\\" and at >= ends:
            break  # a last line that goes on into nothing, which authors leave behind
        elif text[at] == "\n" or text[at] == "#":
            end = text.find("\n", at)
            rest = _BLANK.match(text, end if end >= 0 else len(text))
            at = rest.end() if rest else len(text)
            if found and at < len(text):
                raise Shell("a second command begins here: the line before does not end in a backslash", at)
        else:
            word = _word(text, at)
            found.append(word[0])
            at = word[1]
    return found


def _word(text: str, start: int) -> tuple[Word, int]:
    made: list[str] = []
    at, bare = start, False
    while at < len(text) and text[at] not in " \t\n":
        sign = text[at]
        if sign in "'\"":
            piece, at = (_single if sign == "'" else _double)(text, at)
            made.append(piece)
        elif sign == "\\":
            if _CONTINUED.match(text, at):
                break
            made.append(text[at + 1 : at + 2])
            at += 2
        elif sign == "{":
            piece, at, is_json = _brace(text, at)
            made.append(piece)
            bare = bare or is_json
        elif sign in OPERATORS:
            raise Shell(f"{sign} {OPERATORS[sign]}", at)
        elif sign == "~" and at == start:
            raise Shell("~ stands for a home that only the shell of that machine knows", at)
        else:
            made.append(sign)
            at += 1
    return Word("".join(made), start, bare), at


def _single(text: str, at: int) -> tuple[str, int]:
    end = text.find("'", at + 1)
    if end < 0:
        raise Shell("a single quote begins here and does not end", at)
    return text[at + 1 : end], end + 1


def _double(text: str, at: int) -> tuple[str, int]:
    made, start = [], at
    at += 1
    while at < len(text) and text[at] != '"':
        if text[at] == "\\" and text[at + 1 : at + 2] in ("$", "`", '"', "\\", "\n"):
            made.append("" if text[at + 1] == "\n" else text[at + 1])
            at += 2
        elif text[at] in "$`":
            raise Shell(f"{text[at]} {OPERATORS[text[at]]}", at)
        else:
            made.append(text[at])
            at += 1
    if at >= len(text):
        raise Shell("a double quote begins here and does not end", start)
    return "".join(made), at + 1


def _brace(text: str, at: int) -> tuple[str, int, bool]:
    """JSON that nobody quoted is taken whole; a list in braces would become several words."""
    try:
        value, end = json.JSONDecoder().raw_decode(text, at)
    except (ValueError, RecursionError):
        value, end = None, at
    if isinstance(value, dict) and text[end : end + 1] in ("", " ", "\t", "\n"):
        return text[at:end], end, True
    if _EXPANDED.match(text, at):
        raise Shell("braces with a list in them become several words", at)
    return "{", at + 1, False

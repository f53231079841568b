# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Regular expressions over logs: what each match holds, and whether a search ends soon on any text. Pure.

Logs hold what strangers sent to a server, and expressions come from users too.

What a search costs depends on how many ways there are to match a piece of text. Repetition within repetition gives ways without number; two
repetitions in a row that may take the same characters, or one with which the expression begins, make the cost grow with the square of a line.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

if sys.version_info >= (3, 11):
    from re import _parser as parser  # type: ignore[attr-defined]
else:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import sre_parse as parser

MANY = 257
"""From so many rounds on a repetition counts as one without end."""
FEW = 16
_PROBES = [chr(code) for code in (*range(9, 14), *range(32, 127), 0xE9, 0x2014, 0x4E2D)]

Node = tuple[Any, Any]


class Expression:
    """A regular expression that looks for plain words first: of a thousand signatures a log holds nothing of nearly all.

    It is compiled when a text holds such words, for compiling all of them takes longer than reading a log.
    """

    def __init__(self, pattern: str) -> None:
        """:raises: what the parser of ``re`` raises (``re.error``, ``OverflowError``, ``RecursionError``) for a pattern that is none."""
        self.pattern = pattern
        self.words = words(pattern)

    @cached_property
    def compiled(self) -> re.Pattern:
        return re.compile(self.pattern, re.MULTILINE)

    def _may_match(self, text: str) -> bool:
        return not self.words or any(one in text for one in self.words)

    def finditer(self, text: str) -> Iterator[re.Match]:
        """As that of ``re.Pattern``."""
        return self.compiled.finditer(text) if self._may_match(text) else iter(())

    def search(self, text: str) -> re.Match | None:
        """As that of ``re.Pattern``."""
        return self.compiled.search(text) if self._may_match(text) else None


def words(expression: str) -> tuple[str, ...]:
    """Texts of which every match of an expression holds at least one; none where it says nothing so plain (it matches without regard to case, say)."""
    tree = _parsed(expression)
    return () if tree.state.flags & re.IGNORECASE else _words(tree)


def _words(tree: Sequence[Node]) -> tuple[str, ...]:
    """Those of a sequence: of all that it must hold the longest, and of alternatives each one's."""
    found: list[tuple[str, ...]] = [()]
    plain = ""
    for node in tree:
        name, value = str(node[0]), node[1]
        if name == "LITERAL":
            plain += chr(value)
            continue
        found, plain = [*found, (plain,)] if plain else found, ""
        if name == "BRANCH":
            each = [_words(one) for one in value[1]]
            found.append(tuple(dict.fromkeys(word for one in each for word in one)) if all(each) else ())
        elif (name == "SUBPATTERN" and not value[1] & re.IGNORECASE) or (_is_repeat(node) and int(value[0]) > 0):
            found.append(_words(_inside(node)[0]))
    return max([*found, (plain,)] if plain else found, key=lambda one: (min(map(len, one), default=0), -len(one)))


def _parsed(expression: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return parser.parse(expression, re.MULTILINE)


def problem(expression: str) -> str | None:
    """Why an expression may run for long, in half a sentence; None when it ends soon. ``expression`` compiles."""
    tree = _parsed(expression)
    return _nested(tree) or _branching(tree) or _in_a_row(tree) or _begins(tree)


def _repeats(tree: Sequence[Node]) -> Iterator[tuple[int, int, Any]]:
    """(least, most, what) of every repetition, also of those in groups and alternatives."""
    for node in _all_nodes(tree):
        if _is_repeat(node):
            yield int(node[1][0]), int(node[1][1]), node[1][2]


def _is_repeat(node: Node) -> bool:
    return str(node[0]) in ("MAX_REPEAT", "MIN_REPEAT")


def _inside(node: Node) -> list[Sequence[Node]]:
    """What stands inside a node: the alternatives, the content of a group, what is repeated."""
    name, value = str(node[0]), node[1]
    if name == "BRANCH":
        return list(value[1])
    if name == "SUBPATTERN":
        return [value[3]]
    if name.endswith("_REPEAT"):
        return [value[2]]
    if name in ("ASSERT", "ASSERT_NOT"):
        return [value[1]]
    if name == "ATOMIC_GROUP":
        return [value]
    if name == "GROUPREF_EXISTS":
        return [one for one in value[1:] if one]
    return []


def _all_nodes(tree: Sequence[Node]) -> Iterator[Node]:
    for node in tree:
        yield node
        for inner in _inside(node):
            yield from _all_nodes(inner)


def _nested(tree: Sequence[Node]) -> str | None:
    for _least, most, what in _repeats(tree):
        inner = [one for one in _all_nodes(what) if _is_open(one)]
        if most > 1 and inner and not _has_mark(what, set().union(*(_takes(one) for one in inner))):
            return "it repeats something that is itself repeated, as in (a+)+; write it as one, or let each round begin with a sign of its own"
    return None


def _is_open(node: Node) -> bool:
    """Whether a node may take more or less: a repetition, or alternatives of which one is empty (``a|aa`` is parsed as ``a(?:|a)``)."""
    if str(node[0]) == "BRANCH":
        return any(not len(one) for one in node[1][1])
    return _is_repeat(node) and int(node[1][0]) != int(node[1][1])


def _has_mark(what: Sequence[Node], repeated: set[str]) -> bool:
    """Whether each round holds a character that no repetition in it may take: then there is one way only to tell the rounds apart."""
    plain = [node for node in _flat(what) if str(node[0]) in ("LITERAL", "NOT_LITERAL", "IN", "ANY")]
    return any(not _takes(node) & repeated for node in plain)


def _branching(tree: Sequence[Node]) -> str | None:
    for _least, most, what in _repeats(tree):
        for node in _all_nodes(what):
            if most > FEW and str(node[0]) == "BRANCH":
                starts = [_first(one) for one in node[1][1]]
                if sum(not len(one) for one in node[1][1]) > 1 or any(one & other for number, one in enumerate(starts) for other in starts[:number]):
                    return "it repeats alternatives that begin alike, as in (a|ab)+; let each begin with another character"
    return None


def _in_a_row(tree: Sequence[Node]) -> str | None:
    """Two repetitions without end of which one may take what the other takes, with nothing between them that tells them apart."""
    for sequence in _sequences(tree):
        open_ended: list[set[str]] = []
        for node in _flat(sequence):
            if str(node[0]) in ("AT", "ASSERT", "ASSERT_NOT"):
                continue
            taken, repeat = _takes(node), _is_repeat(node)
            if not repeat or int(node[1][0]) > 0:  # what stands between tells them apart where the first cannot take it
                open_ended = [one for one in open_ended if one & taken]
            if repeat and int(node[1][1]) >= MANY:
                if any(one & taken for one in open_ended):
                    return "two repetitions in it may take the same characters, as in .*x.* or \\w+\\w*; give them an end, as in .{0,200}"
                open_ended.append(taken)
    return None


def _begins(tree: Sequence[Node]) -> str | None:
    for node in _flat(tree):
        if str(node[0]) in ("ASSERT", "ASSERT_NOT") or (str(node[0]) == "AT" and "BOUNDARY" in str(node[1])):
            continue
        if _is_repeat(node) and int(node[1][1]) >= MANY:
            return "it begins with a repetition without end, as in .*x, which is tried from every character on; leave it out, or begin with ^ or a word"
        if str(node[0]) == "BRANCH":
            return next(filter(None, (_begins(one) for one in node[1][1])), None)
        if not (_is_repeat(node) and int(node[1][0]) == 0):
            return None
    return None


def _sequences(tree: Sequence[Node]) -> Iterator[Sequence[Node]]:
    yield tree
    for node in tree:
        for inner in _inside(node):
            yield from _sequences(inner)


def _flat(sequence: Sequence[Node]) -> Iterator[Node]:
    """The nodes of a sequence with those of its groups in their place."""
    for node in sequence:
        if str(node[0]) == "SUBPATTERN":
            yield from _flat(node[1][3])
        else:
            yield node


def _takes(node: Node) -> set[str]:
    """Which characters a node may take, out of those that are tried."""
    name, value = str(node[0]), node[1]
    if name in ("LITERAL", "NOT_LITERAL", "IN", "ANY"):
        return _matched(name, value)
    found: set[str] = set()
    for inner in _inside(node):
        for one in inner:
            found |= _takes(one)
    return found


def _first(sequence: Sequence[Node]) -> set[str]:
    """Which characters a sequence may begin with."""
    found: set[str] = set()
    for node in _flat(sequence):
        name = str(node[0])
        if name in ("AT", "ASSERT", "ASSERT_NOT"):
            continue
        for inner in _inside(node):
            found |= _first(inner)
        found |= _takes(node) if not _inside(node) else set()
        if not (_is_repeat(node) and int(node[1][0]) == 0):
            break
    return found


def _matched(name: str, value: Any) -> set[str]:
    if name == "LITERAL":
        return {chr(value)}
    if name == "NOT_LITERAL":
        return {one for one in _PROBES if ord(one) != value}
    if name == "ANY":
        return {one for one in _PROBES if one != "\n"}
    negated = bool(value) and str(value[0][0]) == "NEGATE"
    members: set[str] = set()
    for operation, what in value[1:] if negated else value:
        kind = str(operation)
        if kind == "LITERAL":
            members.add(chr(what))
        elif kind == "RANGE":
            members |= {one for one in _PROBES if what[0] <= ord(one) <= what[1]} | {chr(what[0])}
        elif kind == "CATEGORY":
            letter = {"DIGIT": "d", "SPACE": "s", "WORD": "w"}.get(str(what).rpartition("_")[2], "w")
            expression = re.compile("\\" + (letter.upper() if "_NOT_" in str(what) else letter))
            members |= {one for one in _PROBES if expression.match(one)}
    return {one for one in _PROBES if one not in members} if negated else members

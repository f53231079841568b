# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Text that is as bad as it can be for one regular expression: what its own parts match, over and over, without the end that would make a match."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import sre_parse  # the parser of the running Python, under the name that 3.10 to 3.14 all have

_CATEGORIES = {
    "CATEGORY_DIGIT": "7", "CATEGORY_NOT_DIGIT": "x", "CATEGORY_SPACE": " ", "CATEGORY_NOT_SPACE": "x", "CATEGORY_WORD": "w", "CATEGORY_NOT_WORD": "-",
}  # fmt: skip
_FILLERS = (" ", "a", "1", ".", "'", "x", "/", "a ", "(", "[", "{", "-", "_", ":", "=", "> ", '"', "\\", "#1 ", "a_")


def _of_set(members: list[tuple[Any, Any]]) -> str:
    def fits(one: str) -> bool:
        try:
            return bool(re.fullmatch(_rebuilt(members), one))
        except re.error:
            return False

    return next((one for one in "x7 w-A,.:/_'\"()[]{}=<>\u2014" if fits(one)), "x")


def _rebuilt(members: list[tuple[Any, Any]]) -> str:
    parts = []
    for operation, value in members:
        name = str(operation)
        if name == "NEGATE":
            parts.append("^")
        elif name == "LITERAL":
            parts.append(re.escape(chr(value)))
        elif name == "RANGE":
            parts.append(f"{re.escape(chr(value[0]))}-{re.escape(chr(value[1]))}")
        else:
            letter = {"DIGIT": "d", "SPACE": "s", "WORD": "w"}[str(value).rpartition("_")[2]]
            parts.append("\\" + (letter.upper() if "_NOT_" in str(value) else letter))
    return f"[{''.join(parts)}]"


def _parts(tree: Iterable[tuple[Any, Any]], times: int) -> list[str]:
    """What each part of a parsed expression matches, repeated parts ``times`` times where that is allowed."""
    found: list[str] = []
    for operation, value in tree:
        name = str(operation)
        if name == "LITERAL":
            found.append(chr(value))
        elif name in ("NOT_LITERAL", "ANY"):
            found.append("y" if value == ord("x") else "x")
        elif name == "IN":
            found.append(_of_set(value))
        elif name.endswith("_REPEAT"):
            least, most, inner = value
            found.append("".join(_parts(inner, times)) * max(int(least), min(int(most), times)))
        elif name == "SUBPATTERN":
            found += _parts(value[3], times)
        elif name == "ATOMIC_GROUP":
            found += _parts(value, times)
        elif name == "BRANCH":
            found += _parts(value[1][0], times)
    return found


def _branches(tree: Any) -> Iterator[Any]:
    """Each alternative of an expression, those of its groups too."""
    for operation, value in tree:
        if str(operation) == "BRANCH":
            for one in value[1]:
                yield one
                yield from _branches(one)
        elif str(operation) == "SUBPATTERN":
            yield from _branches(value[3])
        elif str(operation).endswith("_REPEAT"):
            yield from _branches(value[2])


def fragments(expression: str, example: str = "") -> list[str]:
    """Beginnings and ends of what it and its alternatives match, lines of an example and their halves, and plain filler."""
    tree = sre_parse.parse(expression, re.MULTILINE)
    found = {*_FILLERS}
    for line in example.splitlines():
        found |= {line, line[:-1], line[: len(line) // 2]}
    for branch in [tree, *_branches(tree)]:
        for times in (1, 8):
            parts = _parts(branch, times)
            for at in range(1, len(parts) + 1):
                found |= {"".join(parts[:at])[-400:], "".join(parts[at - 1 :])[:400]}
    return sorted(one.replace("\n", " ") for one in found if one)


def hostile_lines(expression: str, example: str = "", size: int = 1_000_000, most: int = 60) -> Iterator[str]:
    """Lines of ``size`` characters, at most ``most`` fragments each over and over; some begin with what matches and lose its end."""
    found = fragments(expression, example)
    chosen = found[:: max(1, len(found) // most)]
    for one in chosen:
        yield (one * (size // len(one) + 1))[:size]
    for one in chosen[::12]:
        yield (one + "a" * size)[:size]


def seconds(pattern: re.Pattern[str], text: str, most: int = 3) -> float:
    """Seconds of this process that finding the first matches takes, whatever else the machine does."""
    began = time.process_time()
    for number, _match in enumerate(pattern.finditer(text), 1):
        if number == most:
            break
    return time.process_time() - began


def megabyte(
    pattern: re.Pattern[str], example: str = "", line: int = 8192, most: int = 60, clean: Callable[[str], str] = str
) -> Iterator[tuple[float, float, str]]:
    """(seconds for a line, seconds for a megabyte of it, how it begins) of the two slowest hostile lines.

    An expression that looks at several lines costs most on short ones, which its windows hold whole: it is shown those too. ``clean``: what every log
    goes through before an expression sees it.
    """
    within = re.sub(r"\[\^[^\]]*\]", "", pattern.pattern)
    for size in (line, 590, 190) if "\\n" in within else (line,):
        texts = {clean(text) for text in hostile_lines(pattern.pattern, example, size, most)}
        for took, text in sorted((seconds(pattern, text, most=10**6), text) for text in texts)[-2:]:
            whole = "\n".join([text] * (1_000_000 // (len(text) + 1) + 1))
            told = seconds(pattern, whole, most=10**6)
            # Again where it took long: other programs on the machine take this one's caches away.
            yield took, told if told < 1 else min(told, seconds(pattern, whole, most=10**6)), text[:40]

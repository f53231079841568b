# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A recipe's command with its placeholders filled in, by the brace rules of both formats. Pure.

Format 1 is Python's ``str.format``: braces that are meant are doubled. Format 2 replaces ``{name}`` where it knows the name, whatever signs it has, again
and again for values that hold placeholders, and leaves all other braces alone. What is left of a placeholder was nobody's intention, and is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.document import Document

NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_OF_FORMAT = re.compile(r"\{\{|\}\}|\{(" + NAME + r")\}|[{}]")
_PLAIN = re.compile(r"\{([A-Za-z_][\w.-]*)\}")
# A name with what ``str.format`` would look up or convert, or spaces: what an author meant as a placeholder, and no JSON.
_MEANT = re.compile(r"\{\s*([A-Za-z_][\w.-]*)(?:![a-z]|\[[^\]{}]*\]|:[^{}\"'\s,]{0,12})?\s*\}")
_ROUNDS, LONGEST = 5, 100_000


def used(command: str) -> set[str]:
    """Names that a command has placeholders for."""
    return set(_PLAIN.findall(command))


def meant(text: str) -> bool:
    """Whether something in a text would be taken for a placeholder of format 2."""
    return bool(_MEANT.search(text))


def filled(document: Document, command: str, values: Mapping[str, Any], label: str = "command") -> str:
    """The command with the values of its placeholders. GB10Error names the field and the line.

    A command of format 1 that doubles no brace is read by the rule of format 2: ``str.format`` would end in an error over its JSON.
    """
    if document.version == "1" and "{{" in command:
        return _formatted(document, command, values, label)
    text = command
    for _round in range(_ROUNDS):
        before = text
        text = _PLAIN.sub(lambda found: _said(values[found[1]]) if values.get(found[1]) is not None else found[0], text)
        if len(text) > LONGEST:
            raise document.error(label, "its placeholders make it too long for a command")
        if text == before:
            break
    _refuse_left(document, text, label)
    return text


def _formatted(document: Document, command: str, values: Mapping[str, Any], label: str) -> str:
    """``str.format`` for plain names only: no attribute, index, conversion or format of a value is ever looked at."""
    made, at = [], 0
    for found in _OF_FORMAT.finditer(command):
        made.append(command[at : found.start()])
        at = found.end()
        if found[1]:
            if values.get(found[1]) is None:
                raise document.error(label, _missing(found[1], values), line_of(document, command, found.start()))
            made.append(_said(values[found[1]]))
        elif found[0] in ("{{", "}}"):
            made.append(found[0][0])
        else:
            why = "a single brace that is no {placeholder}: this format doubles the braces that are meant ({{ and }})"
            raise document.error(label, why, line_of(document, command, found.start()))
    return "".join([*made, command[at:]])


def _refuse_left(document: Document, text: str, label: str) -> None:
    left = _MEANT.search(text)
    if left:
        raise document.error(label, _missing(left[1], document.fields.get("defaults") or {}), line_of(document, text, left.start()))


def _missing(name: str, values: Any) -> str:
    known = ", ".join(sorted(str(one) for one, value in values.items() if value is not None)[:12]) if isinstance(values, Mapping) else ""
    return f"{{{name}}} is a placeholder that `defaults` gives no value for (it has {known or 'nothing'})"


def line_of(document: Document, text: str, at: int) -> int:
    """The line of the file in which a character of the command stands; the first one of the command where it was folded."""
    if not document.literal:
        return document.line("command")
    return document.line("command") + 1 + text.count("\n", 0, at)


def in_value(text: str, values: Mapping[str, Any]) -> str:
    """A value of ``env`` as sparkrun (from 0.4 on) makes it: names that are known are filled in, all else stays."""
    return _PLAIN.sub(lambda found: _said(values[found[1]]) if values.get(found[1]) is not None else found[0], text)


def _said(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), default=str) if isinstance(value, (dict, list)) else str(value)

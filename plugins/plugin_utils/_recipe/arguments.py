# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From the words after ``vllm serve`` to its arguments, as vLLM's own parser takes them. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from ansible_collections.gb10.vllm.plugins.module_utils._sizing.arguments import ALIASES, JSON, LIST, NUMBER, TRUTH, WHOLE
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.flags import canonical_name, endless, kind_of, plain_name, truth
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.words import Shell, Word

_FLAG = re.compile(r"--?[A-Za-z][\w.+-]*(=.*)?", re.DOTALL)
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})")
SEVERAL = ("served_model_name", "lora_modules", "cudagraph_capture_sizes", "middleware")
"""Take several words whatever the table calls them."""


class Argument(NamedTuple):
    """One argument: vLLM's name with what follows a dot, the value in its type, the flag as it was written, and where."""

    name: str
    value: Any
    written: str
    at: int
    bare: bool = False


def arguments(given: Sequence[Word]) -> tuple[list[str], list[Argument]]:
    """(words that belong to no flag, arguments in their order). Raises Shell for a value that cannot be read."""
    loose: list[str] = []
    found: list[Argument] = []
    at = 0
    while at < len(given):
        word = given[at]
        if not _FLAG.fullmatch(word.text):
            loose.append(word.text)
            at += 1
            continue
        written, equals, text = word.text.partition("=")
        name = _name(written)
        end = at + 1
        values = [text] if equals else []
        if not equals:
            end = at + 1 + _taken(name, given[at + 1 :])
            values = [one.text for one in given[at + 1 : end]]
        bare = any(one.bare for one in given[at:end])
        value = _typed(name, values, word)
        found.append(Argument(name, _turned(written, name, value), written, word.at, bare))
        at = end
    return loose, found


def _name(written: str) -> str:
    head, dot, tail = plain_name(written).partition(".")
    return canonical_name(head) + dot + tail


def _turned(written: str, name: str, value: Any) -> Any:
    """``--no-x`` and ``--disable-x`` turn ``x`` off, where x is a switch of the table."""
    head = plain_name(written)
    flag = truth(value) if kind_of(name) == TRUTH else None
    return not flag if flag is not None and head not in ALIASES and not name.startswith(head) else value


def _taken(name: str, rest: Sequence[Word]) -> int:
    """How many of the words that follow a flag are its values."""
    count = 0
    for word in rest:
        if _FLAG.fullmatch(word.text):
            break
        count += 1
    kind = kind_of(name) if "." not in name else ""
    if kind == TRUTH or re.fullmatch(r"O[0-9]", name):
        return 0
    return count if kind == LIST or name in SEVERAL or (not kind and "." not in name) else min(count, 1)


def _typed(name: str, values: list[str], word: Word) -> Any:
    if not values:
        return True
    if len(values) > 1:
        return [_number(one) for one in values]
    text, kind = values[0], kind_of(name)
    if kind == JSON:
        return _json(name, text, word)
    if kind == TRUTH:
        return text
    if kind == WHOLE or (not kind and "." not in name):
        return _number(text)
    if kind == NUMBER:
        return _fraction(text)
    return text


def _json(name: str, text: str, word: Word) -> Any:
    if text.startswith("{{"):  # doubled as in format 1, where nothing needs it: no JSON begins like that
        text = text.replace("{{", "{").replace("}}", "}")
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Shell(f"the value of --{name.replace('_', '-')} is not JSON ({' '.join(str(error).split())[:80]})", word.at) from None
    if endless(value):
        raise Shell(f"the value of --{name.replace('_', '-')} holds a number that is infinite or none", word.at)
    return value


def _number(text: str) -> Any:
    return int(text) if _WHOLE.fullmatch(text) else text


def _fraction(text: str) -> Any:
    try:
        value = float(text)
    except ValueError:
        return text
    return text if endless(value) else int(value) if value.is_integer() and "." not in text and abs(value) < 1e15 else value

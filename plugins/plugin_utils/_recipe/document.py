# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A recipe as its author wrote it: fields with the lines they stand in, and which of the two formats it is. Pure.

Format 1 is spark-vllm-docker's (``run-recipe.py``), format 2 sparkrun's. Nothing of a recipe is run, expanded or looked up here.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.words import visible

LONGEST = 64 * 1024
"""Characters of a recipe: the longest that was seen has 8 KiB."""
MOST_NODES = 20_000
DEEPEST = 100
"""Brackets within brackets: YAML's reader takes long over many of them."""
VERSIONS = ("1", "2")
# What every recipe has of these makes a file one; any other YAML (a registry, a profile of a benchmark) has none.
TELLING = ("command", "model", "container", "runtime", "defaults")
OF_SPARKRUN = ("runtime", "metadata", "min_nodes", "max_nodes", "model_revision", "runtime_config", "min_sparkrun_version", "sparkrun_version")


class FieldError(GB10Error):
    """What is wrong with one field of a recipe."""

    def __init__(self, recipe: str, name: str, line: int, why: str) -> None:
        super().__init__(visible(f"Recipe {recipe}, line {line}, `{name}`: {why}."))
        self.field, self.line, self.why = name, line, why


@dataclass(frozen=True)
class Document:
    """One recipe. ``lines``: the line of each field, of those inside a mapping as ``outer.inner``; ``twice``: fields that are there more than once."""

    name: str
    version: str
    fields: Mapping[str, Any]
    lines: Mapping[str, int]
    literal: bool = True  # the command keeps its lines, so that a word in it can be found again
    twice: tuple[str, ...] = field(default=())

    def line(self, name: str) -> int:
        """The line of a field, or of what it stands in."""
        while name not in self.lines and "." in name:
            name = name.rpartition(".")[0]
        return self.lines.get(name, 1)

    def error(self, name: str, why: str, line: int = 0) -> FieldError:
        """What is wrong with a field, as one sentence that names it and its line."""
        return FieldError(self.name, name, line or self.line(name), why)


def read(text: str, name: str) -> Document:
    """The recipe in ``text``; ``name`` is what messages call it. GB10Error in one sentence for anything that is no recipe of a known version."""
    if len(text) > LONGEST:
        raise GB10Error(f"Recipe {name}: {len(text):,} characters are too many for a recipe (at most {LONGEST:,}); name the recipe itself.")
    root = _compose(text, name)
    if not isinstance(root, yaml.MappingNode):
        raise GB10Error(f"Recipe {name}, line {root.start_mark.line + 1 if root else 1}: a recipe is a mapping of fields such as `model` and `command`.")
    lines: dict[str, int] = {}
    twice: list[str] = []
    literal = True
    for key, value in root.value:
        top = str(key.value)
        twice += [top] if top in lines else []
        lines[top] = key.start_mark.line + 1
        if top == "command":
            literal = getattr(value, "style", None) == "|"
        twice += _twice(value, top, lines)
        for inner, _value in value.value if isinstance(value, yaml.MappingNode) else ():
            lines[f"{top}.{inner.value}"] = inner.start_mark.line + 1
        for number, item in enumerate(value.value if isinstance(value, yaml.SequenceNode) else ()):
            lines[f"{top}.{number}"] = item.start_mark.line + 1
    fields = _construct(root, name)
    version = _version(fields, lines, name)
    return Document(name, version, fields, lines, literal, tuple(twice))


def _twice(node: Any, place: str, lines: dict[str, int]) -> list[str]:
    """The keys below a node that are there more than once, with those they stand in; YAML's reader keeps the last without a word. ``lines`` gets theirs."""
    found: list[str] = []
    seen: set[str] = set()
    for number, one in enumerate(node.value if isinstance(node, (yaml.MappingNode, yaml.SequenceNode)) else ()):
        key, value = (str(one[0].value), one[1]) if isinstance(one, tuple) else (str(number), one)
        if key in seen:
            found.append(f"{place}.{key}")
            lines[f"{place}.{key}"] = one[0].start_mark.line + 1
        seen.add(key)
        found += _twice(value, f"{place}.{key}", lines)
    return found


def _compose(text: str, name: str) -> Any:
    depth = deepest = 0
    for sign in text:
        depth += (sign in "[{") - (sign in "]}")
        deepest = max(deepest, depth)
    if deepest > DEEPEST:
        raise GB10Error(f"Recipe {name}: it is nested too deeply for a recipe.")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = " ".join(str(getattr(error, "problem", "") or getattr(error, "reason", "") or "cannot be read").split())
        raise GB10Error(f"Recipe {name}, line {mark.line + 1 if mark else 1}: this is not YAML ({what}).") from None
    except (RecursionError, ValueError):
        raise GB10Error(f"Recipe {name}: it is nested too deeply for a recipe.") from None
    if root is None:
        raise GB10Error(f"Recipe {name}: the file is empty.")
    _count(root, name)
    return root


def _count(root: Any, name: str) -> None:
    """GB10Error for a document whose aliases make it large or endless: it would only be found out when somebody reads it."""
    left = MOST_NODES
    for key, top in root.value if isinstance(root, yaml.MappingNode) else [(None, root)]:
        todo = [top]
        while todo:
            node = todo.pop()
            left -= 1
            if left < 0:
                where = f", line {key.start_mark.line + 1}, `{visible(str(key.value))[:60]}`" if key else ""
                raise GB10Error(f"Recipe {name}{where}: its anchors and aliases make it too large for a recipe.")
            if isinstance(node, yaml.MappingNode):
                todo += [one for pair in node.value for one in pair]
            elif isinstance(node, yaml.SequenceNode):
                todo += node.value


def _construct(root: Any, name: str) -> dict[str, Any]:
    try:
        loader = yaml.SafeLoader("")
        try:
            built = loader.construct_document(root)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = " ".join(str(getattr(error, "problem", "") or "it has a tag that a recipe cannot have").split())
        raise GB10Error(f"Recipe {name}, line {mark.line + 1 if mark else 1}: {what}.") from None
    except (RecursionError, ValueError, OverflowError, TypeError) as error:
        where = _senseless(root)
        raise GB10Error(f"Recipe {name}{where}: a value makes no sense ({' '.join(str(error).split())[:100]}).") from None
    return {str(key): value for key, value in built.items()}


def _senseless(root: Any) -> str:
    """Line and field of the first value that YAML's reader cannot make, such as the date of a 45th; "" where it is not one alone."""
    loader = yaml.SafeLoader("")
    try:
        todo = [(value, str(key.value)) for key, value in reversed(root.value)]
        while todo:
            node, label = todo.pop()
            if isinstance(node, yaml.MappingNode):
                todo += [(value, f"{label}.{key.value}") for key, value in reversed(node.value)]
            elif isinstance(node, yaml.SequenceNode):
                todo += [(value, f"{label}.{number}") for number, value in reversed(list(enumerate(node.value)))]
            else:
                try:
                    loader.construct_object(node)
                except (ValueError, OverflowError, TypeError):
                    return f", line {node.start_mark.line + 1}, `{visible(label)[:60]}`"
    finally:
        loader.dispose()
    return ""


def _version(fields: Mapping[str, Any], lines: Mapping[str, int], name: str) -> str:
    """ "1" or "2". Where the field is missing, what only sparkrun's have decides."""
    key = next((one for one in ("recipe_version", "sparkrun_version") if one in fields), "")
    if not any(one in fields for one in TELLING):
        near = [one for field_name in fields for one in difflib.get_close_matches(field_name, TELLING, n=1, cutoff=0.8)]
        hint = f"; did you mean `{near[0]}`?" if near else ", so this is no recipe of spark-vllm-docker or sparkrun"
        raise GB10Error(f"Recipe {name}, line 1: none of the fields {', '.join(f'`{one}`' for one in TELLING)} is there{hint}.")
    if not key:
        return "2" if any(one in fields for one in OF_SPARKRUN) or not ("name" in fields and "container" in fields) else "1"
    stated = str(fields[key]).strip()
    version = stated.removesuffix(".0") if stated in ("1.0", "2.0") else stated
    if version not in VERSIONS:
        remedy = "only 1 (spark-vllm-docker) and 2 (sparkrun) are known here; write the server into gb10_servers by hand, or look for a newer gb10.vllm"
        raise GB10Error(f"Recipe {name}, line {lines.get(key, 1)}, `{key}`: {stated[:40]!r} is a version this release cannot read, {remedy}.")
    return version

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is known of the public recipes (facts, no text of theirs), and recipes written from those facts in the shapes that their authors use."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.document import Document, read
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.mapping import Imported, imported
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.words import words

FACTS = Path(__file__).resolve().parents[1] / "unit/plugins/plugin_utils/_recipe/data/corpus.jsonl"
# Prose, and what people are told; no fact of it decides anything.
PROSE = ("description", "metadata", "name")


def facts_of(text: str) -> dict[str, Any]:
    """The facts of a recipe: its fields without prose, and the words of its command as they are before placeholders are filled in."""
    document = read(text, "recipe")
    fields = {key: value for key, value in document.fields.items() if key not in (*PROSE, "command")}
    command = document.fields.get("command")
    told = {"prose": [key for key in PROSE if key in document.fields], **({"twice": list(document.twice)} if document.twice else {})}
    return {**told, "fields": fields, "words": [word.text for word in words(command)] if command else []}


def corpus() -> list[dict[str, Any]]:
    """All recipes: {repository, commit, path, prose, fields, words}."""
    return [json.loads(line) for line in FACTS.read_text().splitlines()]


def text_of(facts: dict[str, Any]) -> str:
    """A recipe with these facts."""
    head = {"recipe_version": facts["fields"].get("recipe_version"), **dict.fromkeys(facts["prose"], "as its author says"), **facts["fields"]}
    if "metadata" in facts["prose"]:
        head["metadata"] = {"description": "as its author says"}
    bare = {f"{{{key}}}" for key, value in (facts["fields"].get("defaults") or {}).items() if not str(value).startswith("{")} | {"{model}"}
    quoted = [word if word in bare else shlex.quote(word) for word in facts["words"]]
    lines = [" ".join(quoted[:3])]
    for word in quoted[3:]:
        if word.startswith("-") and not word[1:2].isdigit():
            lines.append(word)
        else:
            lines[-1] += f" {word}"
    body = " \\\n    ".join(lines)
    twice = "".join(yaml.safe_dump({key: head[key]}) for key in facts.get("twice", []))
    return twice + yaml.safe_dump(head, sort_keys=False, width=1000) + (f"command: |\n  {body}\n" if facts["words"] else "")


def judged(facts: dict[str, Any]) -> tuple[Document, Imported]:
    """What becomes of one recipe."""
    document = read(text_of(facts), facts["path"].rpartition("/")[2])
    return document, imported(document)

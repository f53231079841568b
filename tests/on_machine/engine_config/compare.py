# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the product and the engine disagree, and where they must: ``differences.json`` says which field, why, and where vLLM's code says so."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import models
import product
from combinations import Combination

REASONS = json.loads((Path(__file__).resolve().parent / "differences.json").read_text(encoding="utf-8"))
SHARE = 0.05  # of all compared fields may differ for a reason


def reason(name: str, field: str) -> str:
    """Why a field of a combination may differ; empty where it may not."""
    return next((f"{entry['why']} ({entry['where']})" for entry in REASONS if field in entry["fields"] and fnmatchcase(name, entry["name"])), "")


def fields(theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Each compared field with (the engine's answer, the product's)."""
    if "refused" in theirs or "refused" in mine:
        return {"accepted": ("refused" not in theirs, "refused" not in mine)}
    return {"accepted": (True, True), **{key: (theirs.get(key), value) for key, value in mine.items()}}


def compared(combinations: Sequence[Combination], folder: Path, answers: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], int, int]:
    """Unexplained disagreements with both sides, how many fields were compared, and how many of them differ for a reason."""
    wrong: list[str] = []
    total = explained = 0
    for one in combinations:
        theirs = answers.get(one.name)
        if theirs is None:
            wrong.append(f"{one.name}: the engine gave no answer")
            continue
        mine = product.answer(one, folder / models.directory_of(one))
        for field, (engine, ours) in fields(theirs, mine).items():
            total += 1
            if engine == ours:
                continue
            if reason(one.name, field):
                explained += 1
                continue
            said = f"; the engine says: {theirs['refused'][:300]}" if "refused" in theirs else ""
            said += f"; the product says: {mine['refused'][:300]}" if "refused" in mine else ""
            wrong.append(f"{one.name} {dict(one.args)}: {field} is {engine!r} for the engine and {ours!r} for the product{said}")
    return wrong, total, explained

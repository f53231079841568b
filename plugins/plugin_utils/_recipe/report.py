# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A recipe that was read, for people: every field with what became of it, and the lines for an inventory. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.document import Document
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.expand import image_of
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.mapping import Imported
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.rows import REFUSED, Row
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.table import table
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.words import cut, visible

WIDTH = 60
"""Characters of a cell that may be cut."""
_NO_NAME = re.compile(r"[^a-z0-9]+")


def server_name(path: str) -> str:
    """A name for a server out of the name of a recipe's file: lower-case letters, digits and inner dashes, at most 40."""
    stem = posixpath.basename(path).rpartition(".")[0] or posixpath.basename(path)
    return _NO_NAME.sub("-", stem.lower()).strip("-")[:40].strip("-") or "model"


def entry(found: Imported, name: str, without: Sequence[str] = ()) -> dict[str, Any]:
    """The entry of ``gb10_servers``, its most telling settings first, with the image that it needs, unless ``container`` is gone ``without``."""
    first = ("model", "revision", "image", "served_model_name", "port", "boxes", "tensor_parallel", "pipeline_parallel", "max_model_len")
    image = image_of(found, without)
    made = {**({"image": image} if image else {}), **found.server}
    return {"name": name, **{key: made[key] for key in first if key in made}, **{key: value for key, value in made.items() if key not in first}}


def as_data(found: Imported, name: str, document: Document, without: Sequence[str] = ()) -> dict[str, Any]:
    """One recipe as a module returns it."""
    return {
        "recipe": document.name,
        "format": document.version,
        "verdict": "refused" if found.refused() else "mapped",
        "server": entry(found, name, without) if found.server else {},
        "image": found.image,
        "fields": [row._asdict() for row in found.rows],
        "reasons": [reason(row) for row in found.refused()],
    }


def reason(row: Row) -> str:
    """Why a field was refused, as part of a sentence."""
    return visible(f"line {row.line}, `{row.field}`: {row.why}")


def text(found: Imported, document: Document, commit: str = "") -> str:
    """The report of one recipe: each field, its line, what became of it and why."""
    lines = [f"Recipe {document.name} (format {document.version}{f', commit {commit}' if commit else ''}); none of it was run."]
    order = sorted(found.rows, key=lambda row: row.line)
    rows = [
        ("line", "field", "", "here", "why"),
        *((str(row.line), visible(row.field), row.state, cut(visible(row.ours.replace("gb10_image.", "image.")), WIDTH), visible(row.why)) for row in order),
    ]
    lines += table(rows, right=(0,), rule=True)
    counts = {state: sum(row.state == state for row in found.rows) for state in ("mapped", "changed", "refused")}
    lines += ["", ", ".join(f"{number} {state}" for state, number in counts.items()) + f" of {len(found.rows)} fields and arguments."]
    return "\n".join(lines)


def inventory(found: Imported, name: str, document: Document, commit: str = "", without: Sequence[str] = ()) -> str:
    """What to put into an inventory, as YAML with the report's changes as comments."""
    head = [f"# From the recipe {document.name}{f' at commit {commit}' if commit else ''}; nothing of it was run."]
    head += [f"# line {row.line}, {row.field}: {row.why}" for row in sorted(found.rows, key=lambda row: row.line) if row.state != "mapped" and row.why]
    made: dict[str, Any] = {"gb10_image": found.image} if found.image and not found.special else {}
    made["gb10_servers"] = [entry(found, name, without)]
    body = yaml.safe_dump(made, sort_keys=False, width=150, allow_unicode=True)
    return "\n".join(visible(" ".join(line.split())) for line in head) + "\n" + body


def summary(recipes: Sequence[Mapping[str, Any]]) -> str:
    """The recipes of a directory in one line each."""
    rows = [("recipe", "format", "", "model", "boxes", "first reason")]
    for one in recipes:
        server = one["server"]
        boxes = str(server.get("boxes", 1)) if server else ""
        rows.append((one["recipe"], one["format"], one["verdict"], server.get("model", ""), boxes, cut((one["reasons"] or [""])[0], 2 * WIDTH)))
    refused = sum(one["verdict"] == REFUSED for one in recipes)
    counts = f"{len(recipes)} read, {len(recipes) - refused} fully mapped, {refused} refused."
    return "\n".join([*table(rows, rule=True), "", counts, "Name one of them to have its entry."])

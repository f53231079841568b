# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A result as one HTML page that needs nothing else: its charts stand in it, no script, no font, no image from elsewhere. Its frame is benchmark.html.j2."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ansible_collections.gb10.vllm.plugins.plugin_utils._speed import compare
from ansible_collections.gb10.vllm.plugins.plugin_utils._speed.charts import charts
from ansible_collections.gb10.vllm.plugins.plugin_utils._speed.document import COLUMNS, notes_of, row
from ansible_collections.gb10.vllm.plugins.plugin_utils._speed.results import FIGURES
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

ON_CPU = "Measured on the CPU engine of vLLM: the figures say that the machinery works, and nothing of a GB10."


def page(result: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> str:
    """The page of a result, beside an earlier one where there is one. All text in it is escaped. GB10Error where matplotlib is missing."""
    told = compare.compared(before, result) if before else None
    state = result["state"]
    return _template().render(
        title=f"Benchmark of {result['server']} on {result['box']}",
        result=result,
        on_cpu=ON_CPU if "cpu" in str(state.get("vllm_version") or "").partition("+")[2] else "",
        columns=COLUMNS,
        rows=[row(point) for point in result["points"]],
        notes=notes_of(result),
        charts=charts(result, before),
        figures=[f"{title} ({unit})" for title, unit, _better in FIGURES.values()],
        details=[[point["name"], *_figures(point)] for point in result["points"]],
        judged=[(point["name"], point["judged"]["text"]) for point in result["points"] if point.get("judged")],
        state=_state(result),
        before=before,
        differs=told["differs"] if told else [],
        changes=[(row["verdict"], compare.words(row)) for row in told["rows"]] if told else [],
        missing=told["missing"] if told else [],
    )


def _figures(point: Mapping[str, Any]) -> list[str]:
    known = [point["figures"].get(name) for name in FIGURES]
    return [f"{one['mean']:,.1f} ± {one['std']:,.1f}" if one and len(one["values"]) > 1 else f"{one['mean']:,.1f}" if one else "-" for one in known]


def _state(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the box and the server were like, name and value."""
    state, box = result["state"], result["state"].get("box") or {}
    planned = state.get("planned") or {}
    found = [
        ("vLLM", state.get("vllm_version")),
        ("image", str(state.get("image_id") or "").removeprefix("sha256:")[:12]),
        ("model", f"{state['model']}{'@' + state['model_version'] if state.get('model_version') else ''}"),
        ("planned", f"{planned['kv_tokens']:,} KV tokens, {planned.get('max_model_len') or 0:,} a request" if planned.get("kv_tokens") else None),
        ("arguments", " ".join(state.get("arguments") or [])),
        *((name.replace("_", " "), value) for name, value in sorted(box.items())),
    ]
    return [(name, str(value)) for name, value in found if value not in (None, "")]


@lru_cache(maxsize=1)
def _template() -> Template:
    """The template beside this file, wherever the collection is installed."""
    here = FileSystemLoader(Path(__file__).parent)
    settings = Environment(loader=here, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    return settings.get_template("benchmark.html.j2")

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters of benchmarks: what to run, and what comes of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._speed import benchy, charts, document, page, results


def benchmark_work(deployment: Mapping[str, Any], profile: str, own: Any = None, repeats: int = 0, begun: str = "") -> dict[str, Any]:
    """{profile, points, left_out, runs, tokenizer, volumes}: what is to be measured of a deployment; ``begun``: the moment, which its prompts come from."""
    return document.work(deployment, profile, own, repeats, begun)


def benchmark_earlier(text: str, path: str, with_page: bool = True) -> str:
    """What would keep a benchmark from ending with its page and its comparison, in one sentence; "" where nothing does."""
    try:
        if path and not text:
            return f"There is no result {path} to compare with; name one of the gb10-benchmark-*.json that this playbook wrote, from where you run it."
        if text:
            results.loaded(text, path)
        if with_page:
            charts.drawing()
    except GB10Error as error:
        return str(error)
    return ""


def benchmark_result(measured: Mapping[str, Any], given: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """{json, benchy, summary, text, problem} of what was measured, all as text; ``given``: {asked, deployment, facts, about}, ``before``: an earlier JSON."""
    made = document.document(given["asked"], measured, given["deployment"], given["facts"], given["about"])
    kept = results.summary(made)
    whys = sorted({why for point in made["points"] for why in point["faults"]})
    problem = "" if kept else f"No run of the benchmark of {made['server']} is a number: {'; '.join(whys) or 'nothing was measured'}."
    return {
        "json": _text(made),
        "benchy": _text(benchy.benchy(made)),
        "summary": _text(kept) if kept else "",
        "text": document.text(made, results.loaded(before, "the earlier result") if before else None),
        "problem": problem,
    }


def benchmark_page(result: str, before: str = "") -> str:
    """The HTML page of a result (its JSON), beside an earlier one."""
    return page.page(results.loaded(result, "the result"), results.loaded(before, "the earlier result") if before else None)


def _text(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True) + "\n"


FILTERS: dict[str, Callable] = {
    "benchmark_work": benchmark_work,
    "benchmark_earlier": benchmark_earlier,
    "benchmark_result": benchmark_result,
    "benchmark_page": benchmark_page,
}

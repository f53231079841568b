# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The last hours of a fleet: what Prometheus is asked for the status page, and its answers as charts. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, TypedDict
from urllib.parse import urlencode

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error

HOURS = 24.0
MOST_HOURS = 24 * 366
POINTS = 288
MOST_LINES = 8
"""Of one chart; of more, those with the highest values are drawn and the others are counted."""
BY = "sum by (box, server)"
FIRST = "histogram_quantile(0.95, sum by (box, server, le) (rate(vllm:time_to_first_token_seconds_bucket[10m])))"


class Question(NamedTuple):
    """What one chart shows; ``factor``: from Prometheus' unit to the one that is shown."""

    title: str
    unit: str
    expr: str
    factor: float = 1


QUESTIONS = (
    Question("Tokens generated", "tokens/s", f"{BY} (rate(vllm:generation_tokens_total[10m]))"),
    Question("Requests at work and waiting", "requests", f"{BY} (vllm:num_requests_running) + {BY} (vllm:num_requests_waiting)"),
    Question("First token, 95th percentile", "s", FIRST),
    Question("KV cache in use", "%", "max by (box, server) (vllm:kv_cache_usage_perc)", 100),
    Question("Memory left", "GiB", "max by (box) (node_memory_MemAvailable_bytes)", 2**-30),
    Question("Power of the GPU", "W", "max by (box) (gb10_gpu_power_watts)"),
)


class Line(TypedDict):
    """One line of a chart: [seconds since 1970, value in the chart's unit], in their order."""

    label: str
    points: list[list[float]]


class Chart(TypedDict):
    """What one question was answered; ``more``: how many lines are not among ``lines``."""

    title: str
    unit: str
    lines: list[Line]
    more: int


class History(TypedDict):
    """The answers to all questions between two times, or why there are none."""

    charts: list[Chart]
    start: float
    end: float
    problem: str


def span(seconds: float) -> str:
    """How long the past is that is shown, as people say it."""
    hours = round(seconds / 3600, 2)
    return "hour" if hours == 1 else f"{hours:g} hours" if hours > 1 else f"{max(1, seconds / 60):.0f} minutes"


def step_s(hours: float) -> int:
    """Seconds between two points."""
    return max(15, int(hours * 3600 / POINTS))


def request(question: Question, end: float, hours: float = HOURS) -> str:
    """The path and query of Prometheus' API that answers one question."""
    asked = {"query": question.expr, "start": f"{end - hours * 3600:.0f}", "end": f"{end:.0f}", "step": step_s(hours)}
    return f"/api/v1/query_range?{urlencode(asked)}"


def chart(question: Question, answer: Any) -> Chart:
    """An answer of that API. GB10Error for what is none."""
    try:
        found = [_line(one, question.factor) for one in answer["data"]["result"]]
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise GB10Error(f"what it says is no answer of Prometheus ({type(error).__name__})") from None
    lines = sorted((line for line in found if line["points"]), key=lambda line: (-max(value for _at, value in line["points"]), line["label"]))
    shown = sorted(lines[:MOST_LINES], key=lambda line: line["label"])
    return {"title": question.title, "unit": question.unit, "lines": shown, "more": max(0, len(lines) - MOST_LINES)}


def _line(result: Mapping[str, Any], factor: float) -> Line:
    labels = result["metric"]
    points = [[float(at), float(value) * factor] for at, value in result["values"]]
    label = " ".join(str(labels[key]) for key in ("box", "server") if key in labels) or "all"
    return {"label": label, "points": [one for one in points if math.isfinite(one[1])]}


def gap_s(history: History) -> float:
    """Seconds without a point after which a line is broken."""
    return 2.5 * step_s((history["end"] - history["start"]) / 3600)

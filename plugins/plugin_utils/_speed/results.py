# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From runs of ``vllm bench serve`` to one result: figures of each point with their spread, the box's state, and what was expected. Pure.

A run in which a request failed is no number: it is counted and its figures are not used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from statistics import fmean, median, stdev
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error

FORMAT = 1
SHORTER = 0.9
FIGURES: dict[str, tuple[str, str, bool]] = {
    # figure: (how it is called, unit, whether more is better)
    "total": ("output of all streams", "tokens/s", True),
    "decode_user": ("decode of one stream", "tokens/s", True),
    "decode": ("decode of all streams", "tokens/s", True),
    "prefill": ("prefill", "tokens/s", True),
    "ttft_p50": ("first token, median", "ms", False),
    "ttft_p95": ("first token, p95", "ms", False),
    "ttft_p99": ("first token, p99", "ms", False),
    "itl_p50": ("between tokens, median", "ms", False),
    "itl_p95": ("between tokens, p95", "ms", False),
    "itl_p99": ("between tokens, p99", "ms", False),
}
SAVED_BY_VLLM = {f"{name}_p{p}": f"p{p}_{name}_ms" for name in ("ttft", "itl") for p in (50, 95, 99)}
COUNTED_MOST = 4
DROPPED = ("generated_texts",)
"""Of vLLM's result: the answers, which are random tokens."""


def requests_of(result: Mapping[str, Any]) -> list[dict[str, float]]:
    """The requests of a run that were answered: {start, first, last, prompt, output}, seconds and tokens (vLLM's ``--save-detailed``)."""
    detail = [result.get(key) or [] for key in ("start_times", "ttfts", "itls", "input_lens", "output_lens")]
    found = []
    for start, ttft, itl, prompt, output in zip(*detail, strict=False):
        if output and output > 0 and ttft:
            found.append({"start": start, "first": start + ttft, "last": start + ttft + sum(itl or []), "prompt": float(prompt), "output": float(output)})
    return found


def prefix_cached(state: Mapping[str, Any]) -> bool:
    """Whether the server whose state this is keeps the beginnings of prompts: vLLM does unless it is told not to."""
    return not {"--no-enable-prefix-caching", "--disable-prefix-caching"} & set(state.get("arguments") or [])


def computed_tokens(point: Mapping[str, Any], request: Mapping[str, float], cached: bool) -> float:
    """Tokens of a prompt that had to be computed: what lies at depth is in the prefix cache, where there is one; 0 where nobody can tell."""
    if point["dataset"] != "random" or point["prefix_tokens"]:
        return 0.0
    return float(point["input_tokens"]) if point["depth"] and cached else request["prompt"]


def figures_of(result: Mapping[str, Any], point: Mapping[str, Any], cached: bool = True) -> dict[str, float]:
    """The figures of one run by name, see ``FIGURES``; what a run does not have is left out. ``cached``: whether the server has a prefix cache."""
    found: dict[str, float] = {}
    asked = requests_of(result)
    if result.get("output_throughput"):
        found["total"] = float(result["output_throughput"])
    rates = [(one["output"] - 1) / (one["last"] - one["first"]) for one in asked if one["last"] > one["first"] and one["output"] > 1]
    if rates:
        found["decode_user"] = median(rates)
        found["decode"] = median(rates) * point["concurrency"]
    prefill = [computed_tokens(point, one, cached) / (one["first"] - one["start"]) for one in asked if one["first"] > one["start"]]
    if prefill and min(prefill) > 0:
        found["prefill"] = median(prefill)
    for name, saved in SAVED_BY_VLLM.items():
        if isinstance(result.get(saved), (int, float)) and result[saved] > 0:
            found[name] = float(result[saved])
    return found


def spread(values: Sequence[float]) -> dict[str, Any]:
    """{mean, std, values} of the same figure over the repeats; ``std`` is 0 for a single one, which ``values`` shows."""
    return {"mean": fmean(values), "std": stdev(values) if len(values) > 1 else 0.0, "values": list(values)}


def fault(outcome: Mapping[str, Any], asked: int) -> str:
    """Why a run is no number, "" when it is one; ``asked``: tokens that each answer should have."""
    result = outcome.get("result")
    if not isinstance(result, Mapping):
        return str(outcome.get("error") or "the tool left no result")
    failed, completed = int(result.get("failed") or 0), int(result.get("completed") or 0)
    if failed or not completed:
        told = [str(text).strip() for text in result.get("errors") or [] if str(text).strip()]
        return f"{failed} of {failed + completed} requests failed{': ' + _last_line(told[0]) if told else ''}"
    if int(result.get("total_output_tokens") or 0) < SHORTER * asked * completed:
        return f"its answers have {int(result.get('total_output_tokens') or 0):,} tokens in all instead of {asked * completed:,}"
    return ""


def _last_line(text: str) -> str:
    return text.splitlines()[-1][:200]


def merged(points: Sequence[Mapping[str, Any]], outcomes: Sequence[Mapping[str, Any]], cached: bool = True) -> list[dict[str, Any]]:
    """The points with {figures, runs, counted, faults, accepted, load}: over the runs that are numbers."""
    found = []
    for point in points:
        own = [one for one in outcomes if one["point"] == point["name"]]
        faults = [(one, fault(one, point["output_tokens"])) for one in own]
        good = [one for one, why in faults if not why]
        figures = [figures_of(one["result"], point, cached) for one in good]
        names = [name for name in FIGURES if figures and all(name in each for each in figures)]
        accepted = [float(one["result"].get("spec_decode_acceptance_length") or 1.0) for one in good]
        found.append(
            {
                **point,
                "runs": len(own),
                "counted": len(good),
                "faults": sorted({why for _one, why in faults if why})[:COUNTED_MOST],
                "figures": {name: spread([each[name] for each in figures]) for name in names},
                "accepted": fmean(accepted) if accepted else 1.0,
                "load": _load([one.get("box") or {} for one in good]),
            }
        )
    return found


def _load(states: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """What the box showed while it worked, over the runs: the lowest clock, the highest power and temperature."""
    choose = {"sm_clock_mhz": min, "power_w": max, "temperature_c": max}
    seen = {name: [one[name] for one in states if isinstance(one.get(name), (int, float))] for name in choose}
    return {name: choose[name](values) for name, values in seen.items() if values}


def cleaned(outcomes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The runs as they are kept: vLLM's own result without the answers."""
    return [
        {**one, "result": {key: value for key, value in one["result"].items() if key not in DROPPED} if isinstance(one.get("result"), Mapping) else None}
        for one in outcomes
    ]


def loaded(text: str, path: str) -> dict[str, Any]:
    """An earlier result that was kept as JSON; GB10Error in one sentence for anything else."""
    try:
        value = json.loads(text)
    except ValueError:
        raise GB10Error(f"{path} is not JSON, so it is no result of the playbook benchmark; name one of its gb10-benchmark-*.json.") from None
    if not isinstance(value, dict) or value.get("format") != FORMAT or not isinstance(value.get("points"), list):
        raise GB10Error(f"{path} is no result of the playbook benchmark (or of another release); name one of its gb10-benchmark-*.json.")
    return value


def summary(document: Mapping[str, Any]) -> dict[str, Any]:
    """What a box keeps of a result, for ``status`` and ``report``: the decode of one stream, or of the fewest that were asked, and what was expected."""
    usable = [one for one in document["points"] if one["figures"].get("decode")]
    if not usable:
        return {}
    first = min(usable, key=lambda one: (one["concurrency"], one["depth"]))
    most = max(usable, key=lambda one: one["figures"].get("total", {}).get("mean", 0.0))
    return {
        "format": FORMAT,
        "made_at": document["made_at"],
        "profile": document["profile"]["name"],
        "spec": document["state"]["spec"],
        "concurrency": first["concurrency"],
        "depth": first["depth"],
        "decode": round(first["figures"]["decode"]["mean"], 2),
        "expected": first.get("expected") or {},
        "judged": first.get("judged") or {},
        "most": {"concurrency": most["concurrency"], "total": round(most["figures"]["total"]["mean"], 2)} if most["figures"].get("total") else {},
    }

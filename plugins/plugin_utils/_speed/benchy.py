# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A result in the format of llama-benchy, which the community compares. Pure.

Its definitions (llama-benchy 0.4.0, results.py): ttfr is the first answer less the start, est_ppt the same less the latency of the network (0 here: the
asker is on the box), pp tokens of the prompt over est_ppt, tg tokens after the first over the time from first to last; of several streams all prompt tokens
over (latest first token - earliest start) and all tokens after the firsts over (latest last token - earliest first token); peak is the best second.
Only where all streams of a run start together (one request a stream), as there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, pstdev
from typing import Any

from ansible_collections.gb10.vllm.plugins.plugin_utils._speed.results import computed_tokens, fault, prefix_cached, requests_of

VERSION = "0.4.0"
NAMES = ("pp_throughput", "pp_req_throughput", "tg_throughput", "tg_req_throughput", "peak_throughput", "peak_req_throughput", "ttfr", "est_ppt", "e2e_ttft")


def benchy(document: Mapping[str, Any]) -> dict[str, Any]:
    """The result as llama-benchy writes it with ``--format json``; no benchmarks for a profile whose streams do not start together."""
    cached = prefix_cached(document["state"])
    rows = []
    for point in document["points"]:
        if point["requests_per_stream"] != 1 or point["dataset"] != "random":
            continue
        good = [one["result"] for one in document["runs"] if one["point"] == point["name"] and not fault(one, point["output_tokens"])]
        runs = [_figures(result, point, cached) for result in good if requests_of(result)]
        if runs:
            figures = {name: _spread([value for run in runs for value in run[name]]) for name in NAMES}
            rows.append(
                {
                    "concurrency": point["concurrency"], "context_size": point["depth"], "prompt_size": point["input_tokens"],
                    "response_size": point["output_tokens"], "is_context_prefill_phase": False, **figures,
                }
            )  # fmt: skip
    return {
        "version": VERSION,
        "timestamp": document["made_at"],
        "latency_mode": "none",
        "latency_ms": 0.0,
        "model": document["state"]["model"],
        "prefix_caching_enabled": cached,
        "max_concurrency": max((row["concurrency"] for row in rows), default=0),
        "benchmarks": rows,
    }


def _spread(values: Sequence[float]) -> dict[str, Any] | None:
    """As there: numpy's standard deviation, which is that of the whole population."""
    return {"mean": fmean(values), "std": pstdev(values), "values": list(values)} if values else None


def _figures(result: Mapping[str, Any], point: Mapping[str, Any], cached: bool) -> dict[str, list[float]]:
    """Figures of one run, those of requests one by one; seconds become milliseconds."""
    asked = requests_of(result)
    begin, first, last_first, end = (
        min(one["start"] for one in asked), min(one["first"] for one in asked), max(one["first"] for one in asked), max(one["last"] for one in asked)
    )  # fmt: skip
    prompts = [computed_tokens(point, one, cached) or one["prompt"] for one in asked]
    later = sum(one["output"] - 1 for one in asked)
    waits = [(one["first"] - one["start"]) * 1000 for one in asked]
    seconds = [_stamps(one, itl) for one, itl in zip(asked, [itl for itl in result.get("itls") or [] if itl is not None], strict=False)]
    return {
        "pp_throughput": [sum(prompts) / (last_first - begin)] if last_first > begin else [],
        "pp_req_throughput": [tokens / (wait / 1000) for tokens, wait in zip(prompts, waits, strict=True) if wait > 0],
        "tg_throughput": [later / (end - first)] if end > first else [],
        "tg_req_throughput": [(one["output"] - 1) / (one["last"] - one["first"]) for one in asked if one["last"] > one["first"]],
        "peak_throughput": [_peak([stamp for stamps in seconds for stamp in stamps])],
        "peak_req_throughput": [_peak(stamps) for stamps in seconds],
        "ttfr": waits,
        "est_ppt": waits,
        "e2e_ttft": waits,
    }


def _stamps(request: Mapping[str, float], itl: Sequence[float]) -> list[float]:
    """When each token of an answer came."""
    stamps = [request["first"]]
    for pause in itl:
        stamps.append(stamps[-1] + pause)
    return stamps


def _peak(stamps: Sequence[float]) -> float:
    """The most tokens of any second."""
    ordered, begin, most = sorted(stamps), 0, 0
    for position, stamp in enumerate(ordered):
        while stamp - ordered[begin] >= 1.0:
            begin += 1
        most = max(most, position - begin + 1)
    return float(most)

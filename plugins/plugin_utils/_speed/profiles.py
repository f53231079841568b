# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a benchmark asks: profiles as data, and the runs of ``vllm bench serve`` that they come to for one server. Pure.

Each run has prompts of its own (``--seed``), also beside those of every other benchmark of a server that goes on running: the same ones twice would be
answered out of the prefix cache.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error

PROFILES: dict[str, dict[str, Any]] = {
    "chat": {
        "description": "Short questions and answers",
        "input_tokens": 512, "output_tokens": 256, "concurrency": [1, 2, 4, 8, 16, 32], "requests_per_stream": 4,
    },
    "long-context": {
        "description": "A long text and a short answer, at three depths",
        "input_tokens": 2048, "output_tokens": 128, "depths": [8192, 32768, 65536], "concurrency": [1, 2, 4],
    },
    "agents": {
        "description": "Agents: few long beginnings that many requests share",
        "dataset": "prefix_repetition", "prefix_tokens": 4096, "prefixes": 4, "input_tokens": 512, "output_tokens": 256,
        "concurrency": [1, 4, 8, 16], "requests_per_stream": 4,
    },
    # spark-arena/recipe-registry, benchmarking/spark-arena-v2.yaml: this grid in this order, because of the heat.
    "spark-arena-v2": {
        "description": "Spark Arena's grid, version 2 (llama-benchy)",
        "input_tokens": 2048, "output_tokens": 128, "depths": [0, 4096, 8192, 16384, 32768, 65535, 100000], "concurrency": [1, 2, 5, 10],
    },
    "quick": {
        "description": "Two figures in a minute or two",
        "input_tokens": 128, "output_tokens": 128, "concurrency": [1, 4], "requests_per_stream": 2, "repeats": 2,
    },
}  # fmt: skip
DEFAULTS: dict[str, Any] = {
    "description": "", "dataset": "random", "depths": [0], "prefix_tokens": 0, "prefixes": 0, "requests_per_stream": 1, "repeats": 3,
}  # fmt: skip
DATASETS = ("random", "prefix_repetition")
NUMBERS = {"input_tokens": 1, "output_tokens": 2, "prefix_tokens": 0, "prefixes": 0, "requests_per_stream": 1, "repeats": 1}
LISTS = {"depths": 0, "concurrency": 1}
MOST = 10_000_000
WARM_TOKENS = 16
"""Of a warm-up at depth: one block, so that what is measured is still to be computed."""
SEEDS = 2**32
"""How many seeds NumPy's ``seed`` takes, 0 and up (vLLM: ``benchmarks/serve.py main_async``)."""
SLACK = 16
"""Tokens that a tokenizer may add to a prompt it is given as text."""


def profile(name: str, own: Any = None) -> dict[str, Any]:
    """One profile with every value filled in: the user's ``own`` (by name) win. GB10Error in one sentence for one that cannot be used."""
    if own is not None and not isinstance(own, Mapping):
        raise GB10Error("gb10_benchmark_profiles is no mapping of names to profiles; write it as in docs/benchmark.md.")
    known = {**PROFILES, **(own or {})}
    if not isinstance(name, str) or name not in known:
        raise GB10Error(
            f"There is no benchmark profile {name!r:.60}; there are {', '.join(sorted(map(str, known)))}, and those you put into gb10_benchmark_profiles."
        )
    given = known[name]
    where = f"The benchmark profile {name!r}"
    if not isinstance(given, Mapping):
        raise GB10Error(f"{where} is {given!r:.60}, not a mapping such as {{input_tokens: 512, output_tokens: 256, concurrency: [1, 8]}}.")
    unknown = sorted(str(key) for key in given if key not in {**NUMBERS, **LISTS, "description": "", "dataset": ""})
    if unknown:
        raise GB10Error(f"{where} has {', '.join(unknown)}, which nothing reads; known are {', '.join(sorted({**NUMBERS, **LISTS}))}, dataset and description.")
    filled = {**DEFAULTS, **given}
    missing = [key for key in ("input_tokens", "output_tokens", "concurrency") if key not in filled]
    if missing:
        raise GB10Error(f"{where} lacks {', '.join(missing)}.")
    for key, least in NUMBERS.items():
        _whole(filled[key], least, f"{where}: {key}")
    for key, least in LISTS.items():
        _list(filled[key], least, f"{where}: {key}")
    if filled["dataset"] not in DATASETS:
        raise GB10Error(f"{where}: dataset is {filled['dataset']!r:.60}; it can be {' or '.join(DATASETS)}.")
    if filled["dataset"] == "prefix_repetition" and not (filled["prefix_tokens"] and filled["prefixes"]):
        raise GB10Error(f"{where}: prefix_repetition needs prefix_tokens and prefixes.")
    return {"name": name, **filled}


def repeated(wanted: dict[str, Any], repeats: int) -> dict[str, Any]:
    """The same profile, each point measured so many times; as often as the profile says with 0. GB10Error for a number below."""
    if repeats:
        _whole(repeats, 1, "gb10_benchmark_repeats")
    return {**wanted, "repeats": repeats or wanted["repeats"]}


def _list(value: Any, least: int, what: str) -> None:
    if not isinstance(value, (list, tuple)) or not value:
        raise GB10Error(f"{what} is {value!r:.60}; give a list of whole numbers.")
    for number in value:
        _whole(number, least, what)
    twice = sorted({number for number in value if list(value).count(number) > 1})
    if twice:
        raise GB10Error(f"{what} has {', '.join(map(str, twice))} more than once, so nobody could tell the points apart; `repeats` measures again.")


def _whole(value: Any, least: int, what: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= MOST:
        raise GB10Error(f"{what} is {value!r:.60}; give a whole number from {least} to {MOST:,}.")


def points(wanted: Mapping[str, Any], max_model_len: int = 0) -> tuple[list[dict[str, Any]], list[str]]:
    """The points of a profile in their order, and a sentence for each depth that does not fit into ``max_model_len`` tokens (0: not known)."""
    found, left_out = [], []
    for depth in wanted["depths"]:
        needed = depth + wanted["prefix_tokens"] + wanted["input_tokens"] + wanted["output_tokens"] + SLACK
        if max_model_len and needed > max_model_len:
            left_out.append(f"depth {depth:,} was left out: it takes {needed:,} tokens, and the server holds {max_model_len:,}")
            continue
        for streams in wanted["concurrency"]:
            found.append(
                {
                    "name": f"d{depth} c{streams}", "depth": depth, "concurrency": streams,
                    **{key: wanted[key] for key in ("input_tokens", "output_tokens", "prefix_tokens", "prefixes", "dataset", "requests_per_stream")},
                }
            )  # fmt: skip
    if not found:
        raise GB10Error(f"No point of the profile {wanted['name']!r} fits this server: {'; '.join(left_out)}.")
    return found, left_out


def first_seed(begun: str) -> int:
    """Where the seeds of a benchmark begin, from the moment at which it begins: far from those of another one, however close."""
    return int.from_bytes(hashlib.sha256(begun.encode()).digest()[:4], "big") if begun else 0


def runs(wanted: Mapping[str, Any], chosen: list[dict[str, Any]], seed: int = 0) -> list[dict[str, Any]]:
    """The runs in their order: {point, repeat, warm, args}; ``warm`` are the arguments of a run before it that is not measured, [] where none is needed.

    ``seed``: what all seeds are counted from, modulo ``SEEDS``.
    """
    found, seeds = [], (number % SEEDS for number in itertools.count(seed + 1))
    for point in chosen:
        for repeat in range(wanted["repeats"]):
            own = next(seeds)
            warm: list[str] = []
            if point["depth"]:
                # The same seed gives the same beginning: it is in the cache when the run comes.
                warm = _arguments({**point, "input_tokens": WARM_TOKENS, "output_tokens": 2}, own, 1)
            elif repeat == 0:
                warm = _arguments({**point, "output_tokens": min(16, point["output_tokens"])}, next(seeds), point["concurrency"])
            found.append({"point": point["name"], "repeat": repeat, "warm": warm, "args": _arguments(point, own, _requests(point))})
    return found


def _requests(point: Mapping[str, Any]) -> int:
    return max(int(point["concurrency"]) * int(point["requests_per_stream"]), int(point["prefixes"]))


def _arguments(point: Mapping[str, Any], seed: int, requests: int) -> list[str]:
    """vLLM: ``benchmarks/serve.py add_cli_args`` and ``benchmarks/datasets``; the names are those of 0.26 to 0.33."""
    if point["dataset"] == "prefix_repetition":
        shape = {
            "prefix-repetition-prefix-len": point["prefix_tokens"] + point["depth"], "prefix-repetition-suffix-len": point["input_tokens"],
            "prefix-repetition-num-prefixes": point["prefixes"], "prefix-repetition-output-len": point["output_tokens"],
        }  # fmt: skip
        requests = -(-max(requests, point["prefixes"]) // point["prefixes"]) * point["prefixes"]
    else:
        shape = {
            "random-prefix-len": point["depth"] + point["prefix_tokens"], "random-input-len": point["input_tokens"],
            "random-output-len": point["output_tokens"], "random-range-ratio": 0,
        }  # fmt: skip
    settings = {"dataset-name": point["dataset"], **shape, "num-prompts": requests, "max-concurrency": point["concurrency"], "seed": seed}
    return [text for key, value in settings.items() for text in (f"--{key}", str(value))]

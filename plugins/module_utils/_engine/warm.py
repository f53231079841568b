# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The first load of a server that has just come up: what it takes at its peak is seen now and not by its first users.

One prefill as large as a batch may be, then as many short requests at once as it was planned for.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

MOST_AT_ONCE = 128
SHORT_TOKENS = 16
Call = Callable[[str, dict[str, Any], float], tuple[int, str]]
"""(path, JSON body, seconds) -> (HTTP status, body); status 0 when nothing answered."""


class Load(NamedTuple):
    """What a server is asked: ``batch_tokens`` in one step, ``context`` tokens at most in one request, ``requests`` at once."""

    batch_tokens: int
    context: int
    requests: int


def words(count: int, seed: int) -> str:
    """So many words, at least a token each, that no cache of prefixes holds: digits in an order that ``seed`` makes."""
    digits = random.Random(seed)  # nothing secret: another order than the last time is enough
    return " ".join(str(digits.randrange(10)) for _ in range(count))


def prefills(kind: str, model: str, load: Load, seed: int) -> list[dict[str, Any]]:
    """The bodies of the requests that fill one batch together; one where a request may be as long as a batch.

    ``truncate_prompt_tokens`` cuts each to its exact length in tokens, whatever the tokenizer makes of the words.
    """
    longest = max(1, min(load.batch_tokens, load.context - (0 if kind == "embedding" else 1)))
    lengths = [longest] * (load.batch_tokens // longest)
    rest = load.batch_tokens - sum(lengths)
    return [_body(kind, model, length, 1, seed + number) for number, length in enumerate(lengths + ([rest] if rest else []))][:MOST_AT_ONCE]


def shorts(kind: str, model: str, load: Load, seed: int) -> list[dict[str, Any]]:
    """The bodies of the short requests that run at once."""
    tokens = max(1, min(SHORT_TOKENS, load.context // 2))
    return [_body(kind, model, tokens, tokens, seed + number) for number in range(max(1, min(load.requests, MOST_AT_ONCE)))]


def _body(kind: str, model: str, prompt_tokens: int, tokens: int, seed: int) -> dict[str, Any]:
    text = words(prompt_tokens + 2, seed)
    if kind == "embedding":
        return {"model": model, "input": text, "truncate_prompt_tokens": prompt_tokens}
    limits = {"max_tokens": tokens, "min_tokens": tokens, "temperature": 0, "truncate_prompt_tokens": prompt_tokens}
    return {"model": model, "prompt": text, **limits}


def run(call: Call, kind: str, model: str, load: Load, timeout_s: float) -> Mapping[str, Any]:
    """Ask all that. {seconds, prefill_tokens, requests}, and ``problem`` where not everything was answered: (status, its words) of the first one."""
    path = "/v1/embeddings" if kind == "embedding" else "/v1/completions"
    began, seed = time.monotonic(), time.time_ns()
    done: dict[str, Any] = {"prefill_tokens": load.batch_tokens, "requests": 0}
    for bodies in (prefills(kind, model, load, seed), shorts(kind, model, load, ~seed)):
        with ThreadPoolExecutor(len(bodies)) as pool:
            replies = list(pool.map(lambda body: call(path, body, timeout_s), bodies))
        bad = next((reply for reply in replies if reply[0] != 200), None)
        if bad:
            done["problem"] = bad
            break
        done["requests"] = len(bodies)
    return {**done, "seconds": round(time.monotonic() - began, 1)}

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The first load of a server that has just come up: what it takes at its peak is seen now and not by its first users.

One prefill as large as a batch may be, then as many short requests at once as it was planned for, and an image where it sees.
"""

from __future__ import annotations

import base64
import random
import struct
import time
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from ansible_collections.gb10.vllm.plugins.module_utils._engine.readiness import NUMBERS, ROUTES

IMAGE_SIDE = 1540
"""Pixels; models make larger images smaller, or into as many pieces as a context holds."""
MOST_AT_ONCE = 128
SHORT_TOKENS = 16
POOLED = ("embedding", *NUMBERS)
Call = Callable[[str, dict[str, Any], float], tuple[int, str]]
"""(path, JSON body, seconds) -> (HTTP status, body); status 0 when nothing answered."""


class Load(NamedTuple):
    """What a server is asked: ``batch_tokens`` in one step, ``context`` tokens at most in one request, ``requests`` at once, and ``images`` (0 or 1)
    where the model sees: what its encoder takes at its peak is not seen with words."""

    batch_tokens: int
    context: int
    requests: int
    images: int = 0


def words(count: int, seed: int) -> str:
    """So many words, at least a token each, that no cache of prefixes holds: digits in an order that ``seed`` makes."""
    digits = random.Random(seed)  # nothing secret: another order than the last time is enough
    return " ".join(str(digits.randrange(10)) for _number in range(count))


def prefills(kind: str, model: str, load: Load, seed: int) -> list[dict[str, Any]]:
    """The bodies of the requests that fill one batch together; one where a request may be as long as a batch.

    ``truncate_prompt_tokens`` cuts each to its exact length in tokens, whatever the tokenizer makes of the words.
    """
    longest = max(1, min(load.batch_tokens, load.context - (0 if kind in POOLED else 1)))
    whole, rest = divmod(load.batch_tokens, longest)
    lengths = [*[longest] * whole, *([rest] if rest else [])][:MOST_AT_ONCE]
    return [_body(kind, model, length, 1, seed + number) for number, length in enumerate(lengths)]


def shorts(kind: str, model: str, load: Load, seed: int) -> list[dict[str, Any]]:
    """The bodies of the short requests that run at once."""
    tokens = max(1, min(SHORT_TOKENS, load.context // 2))
    return [_body(kind, model, tokens, tokens, seed + number) for number in range(max(1, min(load.requests, MOST_AT_ONCE)))]


def picture(model: str) -> dict[str, Any]:
    """The body of a request with one large image; whoever is not made for it says so (HTTP 4xx)."""
    row = b"\0" + bytes(3 * IMAGE_SIDE)
    parts = ((b"IHDR", struct.pack(">IIBBBBB", IMAGE_SIDE, IMAGE_SIDE, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(row * IMAGE_SIDE)), (b"IEND", b""))
    png = b"\x89PNG\r\n\x1a\n" + b"".join(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts)
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(png).decode()}}
    content = [image, {"type": "text", "text": "What is this?"}]
    return {"model": model, "max_tokens": 1, "temperature": 0, "messages": [{"role": "user", "content": content}]}


def _body(kind: str, model: str, prompt_tokens: int, tokens: int, seed: int) -> dict[str, Any]:
    text = words(prompt_tokens + 2, seed)
    if kind in POOLED:
        asked = {"query": "1", "documents": [text]} if kind == "rerank" else {"text_1": "1", "text_2": text} if kind == "score" else {"input": text}
        return {"model": model, **asked, "truncate_prompt_tokens": prompt_tokens}
    limits = {"max_tokens": tokens, "min_tokens": tokens, "temperature": 0, "truncate_prompt_tokens": prompt_tokens}
    return {"model": model, "prompt": text, **limits}


def run(call: Call, kind: str, model: str, load: Load, timeout_s: float) -> Mapping[str, Any]:
    """Ask all that. {seconds, prefill_tokens, requests}, and ``problem`` where not everything was answered: (status, its words) of the first one."""
    path = ROUTES[kind] if kind in POOLED else ROUTES["completion"]
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
    if load.images and kind == "chat" and "problem" not in done:
        status, text = call("/v1/chat/completions", picture(model), timeout_s)
        done["images"] = int(status == 200)
        if status == 0 or status >= 500:
            done["problem"] = status, text
    return {**done, "seconds": round(time.monotonic() - began, 1)}

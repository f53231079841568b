# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When is a vLLM server ready, how long may it take, and has it moved? Pure decisions, no I/O."""

from __future__ import annotations

import re
from typing import Any

ANSWER_TOKENS = 16
"""Enough for a visible answer, and for a reasoning model to begin its reasoning."""


def timeouts(model_bytes: int = 0) -> tuple[float, float]:
    """(total_s, stall_s) for a start: the longest it may take, and the longest it may show no sign of life.

    Loads between 75 and 110 MB/s are normal for the default loader on a GB10 (a 120B NVFP4 model takes 10 to
    15 minutes); half of the slowest is allowed. Fifteen minutes come on top for compiling, JIT kernels and
    graph capture, of which a first start needs up to ten. Without a size: an hour.
    """
    if model_bytes <= 0:
        return 3600.0, 1500.0
    load_s = model_bytes / 40e6
    return 900.0 + load_s, 600.0 + load_s / 2


def made_progress(before: dict, after: dict) -> bool:
    """Whether the server moved between two observations.

    A log that is silent for twenty minutes is normal while weights are read or kernels are compiled, so the
    container's disk reads (16 MiB), its memory (64 MiB) and its set of processes count too. CPU time does
    not: a deadlocked engine spins at 100 %.
    """
    if after.get("log_mark") != before.get("log_mark"):
        return True
    if after.get("processes") != before.get("processes"):
        return True
    if abs(after.get("rss_bytes", 0) - before.get("rss_bytes", 0)) >= 64 * 2**20:
        return True
    return after.get("read_bytes", 0) - before.get("read_bytes", 0) >= 16 * 2**20


def signs_of_life(before: dict, current: dict, now: float, began: float) -> dict:
    """What to remember of a look: the numbers at the last progress, and ``at``, when that was (epoch seconds).

    The numbers stay those of the last progress until the next, so that slow progress adds up.

    :param before: what an earlier look remembered, empty for the first.
    :param began: start of the container; a first look counts from the last line of the log or from there.
    """
    if "at" not in before or "log_mark" not in before:
        return {**current, "at": current.get("log_mark") or began}
    return {**current, "at": now} if made_progress(before, current) else dict(before)


def listed_model(body: dict, wanted: str | None) -> tuple[str | None, int | None, list[str]]:
    """(the model id to ask for, its max_model_len, all ids) from ``/v1/models``; the id is None when ``wanted`` is not listed."""
    listed = body.get("data")
    models = [entry for entry in listed if isinstance(entry, dict) and entry.get("id")] if isinstance(listed, list) else []
    ids = [str(entry["id"]) for entry in models]
    for entry in models:
        if wanted is None or entry["id"] == wanted:
            length = entry.get("max_model_len")
            return str(entry["id"]), length if isinstance(length, int) else None, ids
    return None, None, ids


def kinds_to_try(kind: str) -> list[str]:
    """Endpoints to try in order for a wanted kind; ``auto`` finds out."""
    return ["chat", "completion", "embedding"] if kind == "auto" else [kind]


def question(kind: str, model: str, prompt: str) -> tuple[str, dict]:
    """(path, JSON body) of the smallest request that proves ``kind``.

    ``min_tokens`` keeps a model that wants to end at once from answering with nothing.
    """
    if kind == "embedding":
        return "/v1/embeddings", {"model": model, "input": prompt}
    limits = {"model": model, "max_tokens": ANSWER_TOKENS, "min_tokens": 4, "temperature": 0}
    if kind == "completion":
        return "/v1/completions", {**limits, "prompt": prompt}
    return "/v1/chat/completions", {**limits, "messages": [{"role": "user", "content": prompt}]}


def answer_text(kind: str, body: dict) -> str | None:
    """The text in a reply (for an embedding: its size in words), None when it holds none."""
    try:
        if kind == "embedding":
            vector = body["data"][0]["embedding"]
            return f"embedding of {len(vector)} numbers" if len(vector) else None
        choice = body["choices"][0]
        message = {"content": choice["text"]} if kind == "completion" else choice["message"]
        texts = (message.get(key) for key in ("content", "reasoning", "reasoning_content"))
        return next((text for text in texts if text and isinstance(text, str)), None)
    except (AttributeError, KeyError, IndexError, TypeError):
        return None


def tokens_of(body: dict) -> int | None:
    """How many tokens a reply says were generated, None when it does not."""
    usage: Any = body.get("usage")
    count = usage.get("completion_tokens") if isinstance(usage, dict) else None
    return count if isinstance(count, int) else None


def is_wrong_endpoint(status: int, body: str) -> bool:
    """Whether a refusal means that this model does not offer this endpoint (so ``auto`` tries the next)."""
    if status in (404, 405, 501):
        return "does not exist" not in body or "model" not in body.lower()
    return status == 400 and bool(re.search(r"does not support|chat template|not supported|is not enabled", body, re.IGNORECASE))


def error_text(body: str) -> str:
    """The sentence in an OpenAI-style error body, else its beginning."""
    match = re.search(r'"message"\s*:\s*"((?:[^"\\]|\\.)*)"', body)
    text = match.group(1).replace('\\"', '"').replace("\\n", " ") if match else body
    return text.strip()[:400]


def exit_reason(state: dict) -> str:
    """Why a container stopped, in words; ``state`` is the ``State`` of ``docker inspect``."""
    code = state.get("ExitCode")
    if state.get("OOMKilled"):
        return f"the kernel killed it because its memory ran out (exit code {code}, OOMKilled)"
    if state.get("Error"):
        return f"Docker could not run it: {state['Error']}"
    if code == 137:
        return "it exited with code 137: something killed it (SIGKILL), usually for lack of memory"
    if code == 143:
        return "it was asked to stop (exit code 143, SIGTERM)"
    return f"it exited with code {code}"

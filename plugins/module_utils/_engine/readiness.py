# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When is a vLLM server ready, how long may it take, and has it moved? Pure decisions, no I/O."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Collection
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._engine.api import Form

ANSWER_TOKENS = 16
"""Enough for a visible answer, and for a reasoning model to begin its reasoning."""
ROUTES = {
    "chat": "/v1/chat/completions", "completion": "/v1/completions", "transcription": "/v1/audio/transcriptions", "embedding": "/v1/embeddings",
    "rerank": "/rerank", "score": "/score", "classification": "/classify", "pooling": "/pooling",
}  # fmt: skip
"""What is asked, by kind, in the order in which it is tried (vLLM: ``entrypoints/pooling/factories.py`` attaches what a model is for)."""
NUMBERS = ("rerank", "score", "classification", "pooling")


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


def kinds_to_try(kind: str, offered: Collection[str] = ()) -> list[str]:
    """Endpoints to try in order for a wanted kind; ``auto`` takes those that the server offers (its own ``/openapi.json``), all where it does not say."""
    if kind != "auto":
        return [kind]
    return [one for one, path in ROUTES.items() if path in offered] or list(ROUTES)


def offered(openapi: dict) -> list[str]:
    """The routes that a server names in its ``/openapi.json``; none where it keeps that to itself (--disable-fastapi-docs)."""
    paths = openapi.get("paths")
    return [str(path) for path in paths] if isinstance(paths, dict) else []


def question(kind: str, model: str, prompt: str) -> tuple[str, dict | Form]:
    """(path, body) of the smallest request that proves ``kind``.

    ``min_tokens`` keeps a model that wants to end at once from answering with nothing.
    """
    path = ROUTES[kind]
    if kind in ("embedding", "classification", "pooling"):
        return path, {"model": model, "input": prompt}
    if kind == "rerank":
        return path, {"model": model, "query": prompt, "documents": [prompt, "The sky is blue."]}
    if kind == "score":
        return path, {"model": model, "text_1": prompt, "text_2": "The sky is blue."}
    if kind == "transcription":
        return path, recording(model)
    limits = {"model": model, "max_tokens": ANSWER_TOKENS, "min_tokens": 4, "temperature": 0}
    if kind == "completion":
        return path, {**limits, "prompt": prompt}
    return path, {**limits, "messages": [{"role": "user", "content": prompt}]}


def recording(model: str, seconds: int = 1) -> Form:
    """A form with a second of a tone of 440 Hz, as a WAV file of 16,000 samples of 16 bits."""
    rate = 16_000
    samples = b"".join(struct.pack("<h", int(8000 * math.sin(2 * math.pi * 440 * number / rate))) for number in range(rate * seconds))
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(samples), b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16, b"data", len(samples))
    mark = "gb10-vllm-recording"
    field = f'--{mark}\r\nContent-Disposition: form-data; name="{{}}"{{}}\r\n\r\n'
    parts = [field.format("model", "").encode() + model.encode(), field.format("temperature", "").encode() + b"0"]
    parts.append(field.format("file", '; filename="tone.wav"\r\nContent-Type: audio/wav').encode() + head + samples)
    return Form(b"\r\n".join(parts) + f"\r\n--{mark}--\r\n".encode(), f"multipart/form-data; boundary={mark}")


def answer_text(kind: str, body: dict) -> str | None:
    """The text in a reply (for numbers and sound what came back, in words), None when it holds none."""
    try:
        if kind == "embedding":
            vector = body["data"][0]["embedding"]
            return f"embedding of {len(vector)} numbers" if len(vector) else None
        if kind in NUMBERS:
            return _numbers(kind, body)
        if kind == "transcription":
            return f"transcription {body['text'].strip()!r}"
        choice = body["choices"][0]
        message = {"content": choice["text"]} if kind == "completion" else choice["message"]
        texts = (message.get(key) for key in ("content", "reasoning", "reasoning_content"))
        return next((text for text in texts if text and isinstance(text, str)), None)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError):
        return None


def _numbers(kind: str, body: dict) -> str | None:
    if kind == "rerank":
        scores = [float(one["relevance_score"]) for one in body["results"]]
        return f"ranking of {len(scores)} documents" if scores and all(map(math.isfinite, scores)) else None
    first = body["data"][0]
    if kind == "score":
        return f"score {float(first['score']):.3f}" if math.isfinite(float(first["score"])) else None
    if kind == "classification":
        return f"{len(first['probs'])} classes, {first.get('label') or 'without names'}" if first["probs"] else None
    return f"pooled data of {len(first['data'])} entries" if first["data"] else None


def tokens_of(body: dict) -> int | None:
    """How many tokens a reply says were generated, None when it does not."""
    usage: Any = body.get("usage")
    count = usage.get("completion_tokens") if isinstance(usage, dict) else None
    return count if isinstance(count, int) else None


def is_wrong_endpoint(status: int, body: str, kind: str = "") -> bool:
    """Whether a refusal means that this model does not offer this endpoint (so ``auto`` tries the next)."""
    if kind in (*NUMBERS, "embedding", "transcription") and status in (400, 422):
        return True  # as /rerank does where a model has several classes
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

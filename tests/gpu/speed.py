#!/usr/bin/env python3
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What CUDA graphs are worth on a real GPU: the arguments that the plan chooses, against the same with `--enforce-eager`.

    tests/gpu/speed.py [--table] [--only NAME ...] [--seconds 540] [--out DIRECTORY]

Needs what measure.py needs, whose shapes it starts with random weights. Each shape is started twice, as planned and eager, and asked by 1, 8 and 32
clients at once for 128 tokens after a prompt of 128, the median of ``REPEATS`` rounds. One line of JSON for each start in DIRECTORY/speed.jsonl.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import measure
import shapes

PROMPT_TOKENS = OUTPUT_TOKENS = 128
CLIENTS = (1, 8, 32)
REPEATS = 3
NAMES = ("llama-8b", "qwen3-30b", "devstral", "qwen3-0.6b", "deepseek-lite")
SERVED = {"max_model_len": 4096, "concurrency": 32}
SHORTEST_RUN_S = 150


def stream(model: str, number: int) -> tuple[float, float, int]:
    """(seconds to the first token, seconds from there to the last, tokens) of one request; each client has a prompt of its own."""
    body = {
        "model": model, "prompt": [5 + (number * 31 + place * 7) % 200 for place in range(PROMPT_TOKENS)], "max_tokens": OUTPUT_TOKENS,
        "ignore_eos": True, "temperature": 0, "stream": True, "stream_options": {"include_usage": True},
    }  # fmt: skip
    connection = http.client.HTTPConnection("127.0.0.1", measure.PORT, timeout=120)
    began = time.perf_counter()
    connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    if answer.status != 200:
        raise RuntimeError(f"HTTP {answer.status}: {answer.read()[:300]!r}")
    first = last = 0.0
    tokens = 0
    for line in answer:
        if not line.startswith(b"data: {"):
            continue
        said = json.loads(line[6:])
        if said["choices"]:
            last = time.perf_counter()
            first = first or last
        tokens = (said.get("usage") or {}).get("completion_tokens", tokens)
    connection.close()
    return first - began, last - first, tokens


def rounds(model: str, clients: int) -> dict[str, float]:
    """{tokens_per_s, decode_tokens_per_s for one client, first_token_s}, medians over the rounds; RuntimeError where a request falls short."""
    seen = []
    with ThreadPoolExecutor(clients) as pool:
        for turn in range(REPEATS + 1):
            began = time.perf_counter()
            answers = list(pool.map(lambda number: stream(model, number), range(turn * clients, (turn + 1) * clients)))
            wall = time.perf_counter() - began
            if any(tokens != OUTPUT_TOKENS for _first, _rest, tokens in answers):
                raise RuntimeError(f"a request ended after {min(tokens for *_times, tokens in answers)} of {OUTPUT_TOKENS} tokens")
            decode = statistics.median((OUTPUT_TOKENS - 1) / rest for _first, rest, _tokens in answers)
            seen.append((clients * OUTPUT_TOKENS / wall, decode, statistics.median(first for first, *_rest in answers)))
    keys = ("tokens_per_s", "decode_tokens_per_s", "first_token_s")
    return {key: round(statistics.median(values), 4) for key, values in zip(keys, zip(*seen[1:], strict=True), strict=True)}  # the first warms up


def one(name: str, eager: bool, gpu: dict[str, Any], folder: Path, longest_s: float) -> dict[str, Any]:
    """A start of one shape, as its row."""
    shape = shapes.SHAPES[name]
    server = {**shape.server, **SERVED, **({"cuda_graphs": "never"} if eager else {})}
    row: dict[str, Any] = {"name": name, "eager": eager, "date": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"), **gpu}
    log = folder / "engine.log"
    try:
        path = measure.make_model(shape, folder / "models")
        entry = measure.planned(name, shapes.Shape(shape.model, server, shape.files), path, gpu)
        row["arguments"] = entry["arguments"]
        if entry["verdict"] != "fits":
            raise RuntimeError(entry["reason"])
        with measure.serving([str(path), *entry["arguments"]], log) as process:
            row["start_s"] = round(measure.wait_ready(process, longest_s), 1)
            row["clients"] = {str(clients): rounds(entry["served_model_name"], clients) for clients in CLIENTS}
    except Exception as error:  # one shape that cannot be started must not keep the others from it
        row["failed"] = f"{type(error).__name__}: {error}"
        row["last_lines"] = log.read_text(errors="replace").splitlines()[-15:] if log.exists() else []
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """As planned against eager, one line for each shape and number of clients, in Markdown."""
    found = {(row["name"], row["eager"]): row for row in rows if "clients" in row}
    lines = ["| shape | clients | tokens/s: eager, as planned | decode, tokens/s for each | ratio | first token, ms |", "|---|---|---|---|---|---|"]
    for name in dict.fromkeys(row["name"] for row in rows):
        if (name, True) not in found or (name, False) not in found:
            continue
        for clients in map(str, CLIENTS):
            slow, fast = (found[name, eager]["clients"][clients] for eager in (True, False))
            cells = (f"{slow[key]:.1f}, {fast[key]:.1f}" for key in ("tokens_per_s", "decode_tokens_per_s"))
            ratio = fast["decode_tokens_per_s"] / slow["decode_tokens_per_s"]
            first = f"{slow['first_token_s'] * 1000:.0f}, {fast['first_token_s'] * 1000:.0f}"
            lines.append(f"| {name} | {clients} | {' | '.join(cells)} | {ratio:.2f} | {first} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--table", action="store_true", help="the results so far")
    parser.add_argument("--only", nargs="+", choices=list(shapes.SHAPES), default=NAMES, help="these shapes")
    parser.add_argument("--seconds", type=float, default=540, help="no start that would not end within so many")
    parser.add_argument("--out", type=Path, default=measure.HERE, help="where speed.jsonl is")
    options = parser.parse_args()
    kept = options.out / "speed.jsonl"
    if options.table:
        print(table([json.loads(line) for line in kept.read_text().splitlines()]))
        return 0
    gpu = measure.card()
    if gpu is None:
        print("no NVIDIA GPU that torch can use (or no nvidia-smi) here: nothing is measured")
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    for name in options.only:
        for eager in (False, True):
            left = options.seconds - (time.monotonic() - began)
            if left < SHORTEST_RUN_S * (1 if eager else 1.8):
                print(f"{name}: not begun, {left:.0f} s are left", flush=True)
                break
            row = one(name, eager, gpu, Path(measure._COLLECTIONS), min(measure.LONGEST_START_S, left - 40))
            with kept.open("a") as stream_of_rows:
                stream_of_rows.write(json.dumps(row, sort_keys=True) + "\n")
            print(name, "eager" if eager else "as planned", f"{row.get('start_s')} s", row.get("clients") or row.get("failed"), flush=True)
            if row.get("failed"):
                print("\n".join(row["last_lines"]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

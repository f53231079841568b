# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the plan assumes of a server beside weights and KV cache, against what starts on a real GPU took: between nothing and 1 GiB too much.

The starts are in tests/gpu/results.jsonl, written by tests/gpu/measure.py. ``pytest -s`` shows the table.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.plan import plan_box

GPU = Path(__file__).resolve().parents[4] / "gpu"
sys.path.insert(0, str(GPU))
import group  # noqa: E402
import shapes  # noqa: E402

GIB = 2**30
ROWS = [row for row in map(json.loads, (GPU / "results.jsonl").read_text().splitlines()) if "beside_bytes" in row]
FIRST = [row for row in ROWS if not row.get("again")]
# A second start stands behind the first one, whose figure it was planned with.
AGAIN = [(next(first for first in reversed(ROWS[:number]) if first["name"] == row["name"]), row) for number, row in enumerate(ROWS) if row.get("again")]
# An earlier series (vLLM 0.26.0, the same kind of card), measured by hand: device at its peak and the processes' anonymous memory, together.
BY_HAND = {"devstral": 4.44, "qwen3-30b": 4.59, "llama-8b": 4.12}


def assumed(name: str, version: str, total_bytes: int, free_bytes: int) -> dict[str, int]:
    """The parts that the plan assumes for this shape on that card; without prepared images, which come with use only."""
    shape = shapes.SHAPES[name]
    memory = {"total_bytes": total_bytes, "available_bytes": free_bytes, "cuda_total_bytes": total_bytes, "cuda_total_source": "torch"}
    server = {"name": name, "model": name, "model_path": "/m", "load_format": "dummy", **shape.server}
    plan = plan_box({"memory": memory}, [server], {"/m": shapes.info(shape.model)}, {"vllm_version": version}, {"os_floor_gib": 2})
    return {part: figures["value"] for part, figures in plan["servers"][0]["beside"].items() if part != "multimodal_cache"}


def figures() -> list[tuple[str, dict[str, int], int, str]]:
    """(name, assumed parts, measured bytes, which card and version) of every start."""
    card = FIRST[0]
    found = []
    for row in FIRST:
        name = row["name"]
        parts, took = assumed(name, row["vllm"], row["total_bytes"], row["free_bytes"]), row["beside_bytes"]
        if "lora_slots" in parts:  # vLLM logs them as loaded with the model
            took += row["weights_bytes"] - row["weights_planned_bytes"]
        found.append((name, parts, took, f"{row['card']}, {row['vllm']}, {row['date'][:10]}"))
    by_hand = [(name, assumed(name, "0.26.0", card["total_bytes"], card["free_bytes"]), int(gib * GIB), "by hand, 0.26.0") for name, gib in BY_HAND.items()]
    return found + by_hand


STARTS = figures()


def test_the_table():
    print(f"\n{'':22}{'assumed':>9}{'measured':>10}{'too much':>10}  parts")
    for name, parts, measured, where in STARTS:
        total = sum(parts.values())
        shown = ", ".join(f"{part} {value / GIB:.2f}" for part, value in parts.items() if value)
        print(f"{name:22}{total / GIB:9.2f}{measured / GIB:10.2f}{(total - measured) / GIB:+10.2f}  {shown}  ({where})")


@pytest.mark.parametrize("name,parts,measured,where", STARTS)
def test_nothing_is_missing_and_at_most_one_gib_is_too_much(name, parts, measured, where):
    assert 0 <= sum(parts.values()) - measured <= GIB, where


def test_a_second_start_takes_what_the_first_one_taught():
    assert AGAIN
    for first, second in AGAIN:
        assert second["planned_beside"]["source"] == "measured"
        assert abs(second["beside_bytes"] - first["beside_bytes"]) <= 0.3 * GIB


@pytest.mark.parametrize("row", map(json.loads, (GPU / "group.jsonl").read_text().splitlines()), ids=lambda row: row["name"])
def test_so_it_is_for_each_rank_of_a_server_over_two_gpus_whose_tokens_are_exact(row):
    entries = group.ranks(*group.SHARED_OUT[row["name"]], Path("/m"), row)
    assert row["facts"][0]["kv_tokens"] == row["planned"][0]["kv_tokens"]
    for entry, planned, device, host, facts in zip(entries, row["planned"], row["device_bytes"], row["host_bytes"], row["facts"], strict=True):
        assert abs(facts["weights_bytes"] - planned["weights_bytes"]) < 0.05 * GIB
        took = device + host - planned["weights_bytes"] - planned["kv_cache_bytes"]
        assert 0 <= entry["beside_bytes"]["value"] - took <= GIB

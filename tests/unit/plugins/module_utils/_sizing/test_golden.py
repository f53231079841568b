# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What vLLM's own functions answered for 27 models and 71 rows: every figure and every text, exactly.

The table is data/kv-golden.json.gz; GB10_KV_GOLDEN names another file of the same form.
"""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.capacity import auto_fit, capacity
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.engine import Engine
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layout import kv_layout

GIB = 1 << 30
# the releases that printed the public logs; what the log does not say is taken from its wording
LOG_VERSIONS = {
    (56.13, "Devstral-Small-2-24B-Instruct-2512"): "0.12.0",
    (74.43, "Devstral-Small-2-24B-Instruct-2512"): "0.12.0",
    (74.82, "Devstral-Small-2-24B-Instruct-2512"): "0.12.0",
    (85.79, "Llama-3.1-8B"): "0.12.0",
    (15.58, "Qwen3.5-35B-A3B"): "0.19.0",
    (18.64, "Qwen3.5-35B-A3B"): "0.26.0",
    (13.1, "Qwen3.5-35B-A3B"): "0.28.0",
    (22.5, "MiniMax-M2.5"): "0.29.1rc1",
    (13.1, "gpt-oss-120b"): "0.28.0",
}


def _table() -> dict:
    named = os.environ.get("GB10_KV_GOLDEN")
    path = Path(named) if named else Path(__file__).parent / "data" / "kv-golden.json.gz"
    return json.loads(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())


TABLE = _table()


def _layout(row: dict):
    engine = Engine(
        vllm_version=TABLE["vllm"],
        kv_cache_dtype=row["kv_cache_dtype"],
        tensor_parallel_size=row["tensor_parallel_size"],
        cuda_runtime=str(row["cuda_runtime"]),
        runner="auto" if row["engine"]["async_scheduling"] else "pooling",
    )
    return kv_layout(row["config"], engine)


def _differences(layout, point: dict) -> list[str]:
    found = capacity(layout, point["available_bytes"], point["max_model_len"])
    pairs = {
        "bytes_per_block": (layout.bytes_per_block, point["bytes_per_block"]),
        "blocks_per_request": (layout.pages_per_request(point["max_model_len"]), point["blocks_per_request"]),
        "needed_bytes": (found.needed_bytes, point["needed_bytes_one_request"]),
        "num_blocks": (found.num_blocks, point["num_blocks"]),
        "ok": (found.ok, point["ok"]),
        "estimated_max_model_len": (found.estimated_max_model_len, point["estimated_max_model_len"]),
        "error": (found.error, point.get("error")),
        "log": (found.log, point.get("log")),
    }
    if point["ok"]:
        pairs["tokens"] = (found.tokens, point["kv_cache_size_tokens"])
        pairs["concurrency"] = (found.concurrency, point["max_concurrency"])
    if "auto" in point:
        auto, wanted = auto_fit(layout, point["available_bytes"]), point["auto"]
        pairs["auto"] = (
            (auto.max_model_len, auto.tokens, auto.concurrency, auto.log),
            (wanted["max_model_len"], wanted["kv_cache_size_tokens"], wanted["max_concurrency"], wanted["log"]),
        )
    return [f"{name}: {mine!r} instead of {theirs!r}" for name, (mine, theirs) in pairs.items() if mine != theirs]


def test_every_golden_point_is_exact(capsys: pytest.CaptureFixture[str]) -> None:
    points = exact = 0
    wrong = []
    for row in TABLE["rows"]:
        layout = _layout(row)
        for point in row["points"]:
            points += 1
            differences = _differences(layout, point)
            exact += not differences
            wrong += [f"{row['model']} {row['kv_cache_dtype']} at {point['max_model_len']}: {text}" for text in differences]
    with capsys.disabled():
        print(f"\ngolden: {exact}/{points} exact")
    assert points > 0
    assert not wrong, "\n".join(wrong[:20])


def _row_name(row: dict) -> str:
    return f"{row['model']}-{row['kv_cache_dtype']}-tp{row['tensor_parallel_size']}-cuda{row['cuda_runtime']}"


@pytest.mark.parametrize("row", TABLE["rows"], ids=_row_name)
def test_engine_settings_and_groups(row: dict) -> None:
    layout, engine = _layout(row), row["engine"]
    assert layout.derived_max_model_len == engine["derived_max_model_len"]
    assert (layout.dtype, layout.resolved_kv_cache_dtype) == (engine["dtype"], engine["resolved_cache_dtype"])
    assert (layout.block_size, layout.mamba_cache_mode) == (engine["block_size"], engine["mamba_cache_mode"])
    assert (layout.max_num_batched_tokens, layout.max_num_seqs) == (engine["max_num_batched_tokens"], engine["max_num_seqs"])
    assert layout.in_flight_tokens(layout.derived_max_model_len) == engine["max_in_flight_tokens"]
    assert layout.prefix_caching == engine["enable_prefix_caching"]
    assert layout.kv_free == row["kv_free"]
    assert layout.bytes_per_block == row["bytes_per_block"]
    assert [(group.layers, group.block_size) for group in layout.groups] == [(group["layers"], group["spec"]["block_size"]) for group in row["groups"]]
    for mine, theirs in zip(layout.groups, row["groups"], strict=True):
        size = mine.bytes_per_block if "members" in theirs else mine.page_size_bytes
        assert size == theirs["spec"]["page_size_bytes"]


CPU_TABLE = json.loads(gzip.decompress((Path(__file__).parent / "data" / "kv-vllm-0.32-cpu.json.gz").read_bytes()))


def _wrong_on_cpu(row: dict) -> list[str]:
    layout = kv_layout(row["config"], Engine(vllm_version=CPU_TABLE["vllm"], platform="cpu", **CPU_TABLE["cpu"], **row["engine"]))
    length = layout.default_max_model_len
    mine = {
        "block": layout.block_size,
        "derived": length,
        "bpb": layout.bytes_per_block,
        "pages": layout.pages_per_request(length),
        "layers": [group.layers for group in layout.groups],
        "mbt": layout.max_num_batched_tokens,
        "dtype": layout.dtype,
    }
    answer = row["answer"]
    compared = [name for name in mine if name != "block" or answer["bpb"]]  # without a cache the block means nothing
    return [f"{row['name']} {name}: {mine[name]} instead of {answer[name]}" for name in compared if mine[name] != answer[name]]


def test_layouts_of_many_more_architectures(capsys: pytest.CaptureFixture[str]) -> None:
    """What vLLM 0.32.0 for CPU makes of 118 configurations: class defaults of 71 architectures, and settings."""
    wrong = {row["name"]: _wrong_on_cpu(row) for row in CPU_TABLE["rows"]}
    exact = sum(not differences for differences in wrong.values())
    with capsys.disabled():
        print(f"\nlayouts of vLLM 0.32.0 for CPU: {exact}/{len(wrong)} exact")
    assert exact == len(wrong), [text for differences in wrong.values() for text in differences][:20]


def _reproduced(check: dict, config: dict) -> bool:
    """Whether some budget that prints as the logged GiB gives the logged figures."""
    version = LOG_VERSIONS[check["printed_available_gib"], check["model"]]
    layout = kv_layout(
        config,
        Engine(vllm_version=version, kv_cache_dtype=check["kv_cache_dtype"], tensor_parallel_size=check["tensor_parallel_size"], cuda_runtime="12.9"),
    )
    expected, length = check["expected"], check["max_model_len"]
    low, high = (int((check["printed_available_gib"] + half) * GIB) for half in (-0.005, 0.005))
    first, last = low // layout.bytes_per_block, high // layout.bytes_per_block + 2
    for blocks in range(first, last + 1):
        found = capacity(layout, blocks * layout.bytes_per_block, length)
        if "estimated" in expected:
            matches = not found.ok and found.estimated_max_model_len == expected["estimated"] and f"({expected['needed_gib']} GiB" in (found.error or "")
        else:
            matches = found.ok and found.tokens == expected["tokens"] and expected.get("conc", f"{found.concurrency:.2f}") == f"{found.concurrency:.2f}"
        if matches:
            return True
    return False


def test_public_logs_of_real_machines_are_reproduced(capsys: pytest.CaptureFixture[str]) -> None:
    configs = {row["model"]: row["config"] for row in TABLE["rows"]}
    checks = [check for check in TABLE["real_log_checks"] if check["model"] in configs]
    failed = [check for check in checks if not _reproduced(check, configs[check["model"]])]
    with capsys.disabled():
        print(f"\nreal logs: {len(checks) - len(failed)}/{len(checks)} reproduced")
    assert checks and not failed


@pytest.mark.parametrize("check", TABLE["real_cpu_server"]["checks"], ids=lambda check: check["tiny_model"])
def test_real_cpu_servers(check: dict) -> None:
    layout = kv_layout(check["config"], Engine(vllm_version="0.32.0+cpu", platform="cpu"))
    found = capacity(layout, check["kv_cache_memory_bytes"], check["max_model_len"])
    assert layout.block_size == check["attention_block_size"]
    assert found.num_blocks == check["num_gpu_blocks_metric"]
    assert (found.log, found.error) == (check.get("log"), check.get("error"))
    if "kv_cache_size_tokens" in check:
        assert found.tokens == check["kv_cache_size_tokens"]
    if "auto_log" in check:
        auto = auto_fit(layout, check["kv_cache_memory_bytes"])
        assert (auto.log, auto.max_model_len, auto.tokens) == (check["auto_log"], check["auto_max_model_len"], check["auto_kv_cache_size_tokens"])


H100_RUNS = [  # gpu-runs.md: vLLM 0.26.0, 16,384 batched tokens, 1,024 sequences
    ("Llama-3.1-8B", 58318141338, 8192, 27808, "444,928", "54.31x"),
    ("Llama-3.1-8B", 58265712538, 8192, 27783, "444,528", "54.26x"),
    ("Devstral-Small-2-24B-Instruct-2512", 43283131495, 65536, 16511, "264,176", "4.03x"),
    ("Devstral-Small-2-24B-Instruct-2512", 42914032231, 65536, 16370, "261,920", "4.00x"),
    ("gpt-oss-20b", 59169866138, 131072, 150476, "1,924,401", "14.68x"),
]


@pytest.mark.parametrize(("model", "available", "length", "blocks", "tokens", "concurrency"), H100_RUNS)
def test_real_gpu_runs(model: str, available: int, length: int, blocks: int, tokens: str, concurrency: str) -> None:
    config = next(row["config"] for row in TABLE["rows"] if row["model"] == model)
    layout = kv_layout(config, Engine(vllm_version="0.26.0", max_num_batched_tokens=16384, max_num_seqs=1024))
    found = capacity(layout, available, length)
    assert found.num_blocks == blocks
    assert found.log == f"GPU KV cache size: {tokens} tokens\nMaximum concurrency for {length:,} tokens per request: {concurrency}"


def test_the_seeds_refusal_word_for_word() -> None:
    config = next(row["config"] for row in TABLE["rows"] if row["model"].startswith("Devstral"))
    found = capacity(kv_layout(config, Engine(vllm_version="0.12.0")), round(56.1265 * GIB), 393216)
    assert found.error == (
        "To serve at least one request with the models's max seq len (393216), (60.00 GiB KV cache is needed, which is larger than the available "
        "KV cache memory (56.13 GiB). Based on the available memory, the estimated maximum model length is 367824. "
        "Try increasing `gpu_memory_utilization` or decreasing `max_model_len` when initializing the engine."
    )

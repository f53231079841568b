#!/usr/bin/env python3
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How much a plan reads and how long it takes, and its KV figures beside those of hf-mem.

    .venv/bin/python tests/benchmarks/bench_plan.py [--hf-mem] [--json FILE]

The model is Devstral-Small-2 in 10 shards whose headers are real and whose data are holes, 24 GiB as its size says.
``--hf-mem`` installs hf-mem 0.5.6 into .cache/hf-mem once and calls its KV function on the same configurations.
The exit status is 1 when a goal is missed: under 2 MiB read, under 25 ms per plan from disk, 1,000 plans per second once headers are read.
Goals are held against CPU time, which other work on the machine disturbs less than the clock.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / ".ansible/collections"), str(ROOT / "tests/support")]

import checkpoints  # noqa: E402
from ansible_collections.gb10.vllm.plugins.module_utils._model.directory import inspect_model  # noqa: E402
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.plan import calculate, plan_box  # noqa: E402

GIB = 2**30
HF_MEM = ROOT / ".cache/hf-mem"
MEMORY = {"total_bytes": int(119.7 * GIB), "available_bytes": 110 * GIB, "cuda_total_bytes": int(119.7 * GIB), "cuda_total_source": "benchmark"}
BOX = {"memory": MEMORY}
DEVSTRAL = "Devstral-Small-2-24B-Instruct-2512"
COMPARED = (
    "Llama-3.1-8B", "Llama-3.1-70B", "Qwen3-0.6B", "Qwen3-8B", "Qwen3-30B-A3B", "GLM-4.5-Air", DEVSTRAL, "MiniMax-M2.5", "gpt-oss-20b", "gemma-3-27b-it",
    "DeepSeek-V2-Lite", "DeepSeek-V3.2", "Qwen3-Next-80B-A3B", "Nemotron-Nano-9B-v2", "Mistral-7B-v0.1", "Llama-4-Scout-17B-16E",
)  # fmt: skip
# Runs in hf-mem's own environment: its dtype choice where it has one, its KV function, time of the latter.
HF_MEM_CALLS = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
from hf_mem.safetensors.kv_cache import compute_safetensors_kv_cache_size as size, resolve_kv_cache_dtype as resolve
from hf_mem.safetensors.metadata import ComponentMetadata, DtypeMetadata, SafetensorsMetadata
fp8 = SafetensorsMetadata({"Transformer": ComponentMetadata({"F8_E4M3": DtypeMetadata(1, 1)}, 1, 1)}, 1, 1)  # what an FP8 checkpoint's headers say
done = {}
for name, (config, length) in json.load(sys.stdin).items():
    config = config.get("text_config") and {**config["text_config"], "quantization_config": config.get("quantization_config"),
                                             "dtype": config.get("dtype")} or dict(config)
    if not config.get("quantization_config"):
        config.pop("quantization_config", None)
    if not config.get("dtype") and not config.get("torch_dtype"):
        config["dtype"] = "bfloat16"
    try:
        dtype = resolve(config, None, fp8, name)
        start = time.perf_counter()
        for _ in range(100):
            answer = size(config, dtype, length)
        done[name] = {"bytes": answer, "dtype": dtype, "us": (time.perf_counter() - start) * 1e4}
    except Exception as error:
        done[name] = {"error": type(error).__name__ + ": " + str(error)[:60]}
print(json.dumps(done))
"""


def read_bytes() -> int:
    """Bytes this process asked the kernel for so far (``rchar``: page cache or not)."""
    return int(Path("/proc/self/io").read_text(encoding="ascii").split()[1])


def from_disk(path: Path) -> dict:
    """Reads and plans the model again and again; the imports above are not counted."""
    server = [{"name": "devstral", "model_path": str(path), "max_model_len": 65536, "concurrency": 4}]

    def once() -> tuple[float, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        plan = plan_box(BOX, server, {str(path): inspect_model(str(path))}, {"vllm_version": "0.33.0"})
        spent = (time.process_time() - cpu) * 1e3, (time.perf_counter() - wall) * 1e3
        assert plan["verdict"] == "fits"
        return spent

    self_cost = -read_bytes() + read_bytes()
    before = read_bytes()
    first = once()
    read = read_bytes() - before - self_cost
    times = [once() for _ in range(30)]
    cpu, wall = (statistics.median(column) for column in zip(*times, strict=True))
    return {"read_bytes": read, "first_cpu_ms": first[0], "cpu_ms": cpu, "wall_ms": wall}


def planned_per_second(info: dict) -> float:
    """Plans of one server with lengths, requests and budgets that all differ, per second of CPU time."""
    count = 2000
    start = time.process_time()
    for n in range(count):
        box = {"memory": {**MEMORY, "available_bytes": 70 * GIB + n * 2**24}}
        plan_box(box, [{"name": "a", "model_path": "/m", "max_model_len": 1024 + n * 16, "concurrency": 1 + n % 4}], {"/m": info}, {"vllm_version": "0.33.0"})
    return count / (time.process_time() - start)


def compare(golden: dict) -> list[dict]:
    """One request of the model's own length: hf-mem's bytes over ours (which equal vLLM's, see the golden tests)."""
    python = HF_MEM / "bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(HF_MEM)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "hf-mem==0.5.6"], check=True)
    rows, asked = [], {}
    for name in COMPARED:
        config = golden[name, 1]["config"]
        start = time.perf_counter()
        for _ in range(20):
            answer = calculate({"config": config})
        rows.append({"model": name, "ours_bytes": answer["needed_bytes_per_request"], "ours_us": (time.perf_counter() - start) * 5e4})
        asked[name] = (config, answer["max_model_len"])
    done = subprocess.run([str(python), "-c", HF_MEM_CALLS], input=json.dumps(asked), capture_output=True, text=True, check=True)
    theirs = json.loads(done.stdout)
    for row in rows:
        answer = theirs[row["model"]]
        row["hf_mem"] = answer
        row["ratio"] = answer["bytes"] / row["ours_bytes"] if "bytes" in answer else None
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hf-mem", action="store_true", help="compare with hf-mem 0.5.6")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    golden = checkpoints.golden_weights()
    config = golden[DEVSTRAL, 1]["config"]
    tensors = [*checkpoints.dense(config, prefix="language_model.model.", fp8=True), *checkpoints.pixtral_tower(config)]
    with tempfile.TemporaryDirectory() as folder:
        path = checkpoints.write_model(Path(folder) / "devstral", config, tensors, 10)
        size = sum(p.stat().st_size for p in path.glob("*.safetensors"))
        disk = from_disk(path)
        rate = planned_per_second(inspect_model(str(path)))
    figures = {"model_bytes": size, "shards": 10, "tensors": len(tensors), **disk, "plans_per_second": rate}
    print(f"model: {size / GIB:.1f} GiB, 10 shards, {len(tensors):,} tensors")
    print(f"read per plan from disk: {disk['read_bytes'] / 2**20:.2f} MiB (goal < 2)")
    print(f"plan from disk: {disk['cpu_ms']:.1f} ms of CPU, {disk['wall_ms']:.1f} ms by the clock (goal < 25), first {disk['first_cpu_ms']:.1f} ms of CPU")
    print(f"plans per second of CPU once headers are read: {rate:,.0f} (goal 1,000)")
    if options.hf_mem:
        figures["hf_mem"] = compare(golden)
        print(f"\n{'one request of the own length':34}{'GiB':>10}{'hf-mem / vLLM':>16}{'us':>8}{'hf-mem us':>11}")
        for row in figures["hf_mem"]:
            ratio = f"{row['ratio']:.4f}" if row["ratio"] else row["hf_mem"]["error"].split(":")[0]
            theirs = f"{row['hf_mem']['us']:.1f}" if row["ratio"] else ""
            print(f"{row['model']:34}{row['ours_bytes'] / GIB:10.3f}{ratio:>16}{row['ours_us']:8.0f}{theirs:>11}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0 if disk["read_bytes"] < 2 * 2**20 and disk["cpu_ms"] < 25 and rate >= 1000 else 1


if __name__ == "__main__":
    sys.exit(main())

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asks vLLM's own functions what several boxes make of one model: the golden points of tests/unit/plugins/module_utils/_sizing/test_ranks.py.

    ask_groups.py KV-GOLDEN.json.gz MODELS | tail -n 1 | gzip -n9 > kv-groups.json.gz

MODELS is an empty directory; vLLM 0.33 and its requirements are needed, no GPU.

The configuration is vLLM's own (`ask_engine.configuration`, a platform that answers as a GB10). The caches of a layer are those that vLLM's model
classes registered for kv-golden.json on one rank, made again as vLLM's specs; which layer is of which kind says transformers' configuration, which
layers a stage has `get_pp_indices`, how many heads a rank has `ModelConfig.get_num_kv_heads`. With one such specification for each rank,
`get_global_kv_cache_groups`, `get_kv_cache_configs`, `generate_scheduler_kv_cache_config` and `get_kv_cache_capacity` answer.
"""

from __future__ import annotations

import copy
import gzip
import json
import os
import struct
import sys
from fractions import Fraction

import torch
import vllm.config.vllm
import vllm.v1.kv_cache_interface as interface
from ask_engine import configuration
from vllm.config.model import ModelConfig
from vllm.distributed.utils import get_pp_indices
from vllm.v1.core import kv_cache_planning as planning
from vllm.v1.core.kv_cache_utils import generate_scheduler_kv_cache_config, get_kv_cache_capacity

vllm.config.vllm.HAS_TRITON = True  # as on a GPU: without it vLLM takes its old model runner, which has fewer batches in flight
GIB = 1 << 30
# (tensor parallel, pipeline parallel) and how many of the plain rows get each: heads that divide, heads that are copied, stages of unequal length
PLAIN = ((2, 1), (4, 1), (8, 1), (16, 1), (1, 2), (1, 3), (1, 4), (2, 2), (4, 2), (1, 7))
HYBRID = ((0, 2), (0, 3), (0, 4), (0, 8))  # 0: as many ranks as the row has, for the states of a rank are the row's
ROWS = (
    ("Llama-3.1-8B", "auto", 1), ("Llama-3.1-70B", "fp8", 1), ("Qwen3-0.6B", "auto", 1), ("Qwen3-30B-A3B", "auto", 1), ("MiniMax-M2.5", "auto", 1),
    ("GLM-4.5-Air", "fp8", 1), ("gpt-oss-20b", "auto", 1), ("gemma-3-27b-it", "auto", 1), ("Llama-4-Scout-17B-16E", "auto", 1),
    ("DeepSeek-V2-Lite", "auto", 1), ("DeepSeek-V2-Lite", "fp8", 1), ("DeepSeek-V3.2", "auto", 1), ("Devstral-Small-2-24B-Instruct-2512", "auto", 1),
    ("Mistral-7B-v0.1", "auto", 1), ("Qwen3-Next-80B-A3B", "auto", 1), ("Qwen3-Next-80B-A3B", "auto", 2), ("Qwen3.5-35B-A3B", "fp8", 1),
    ("Qwen3.5-35B-A3B", "auto", 2), ("Nemotron-Nano-9B-v2", "auto", 1), ("Nemotron-3-Nano-30B-A3B", "auto", 1), ("Granite-4.0-H-Small", "auto", 1),
    ("Kimi-Linear-48B-A3B", "auto", 1),
)  # fmt: skip
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32, "float16": torch.float16, "uint8": torch.uint8, "float8_e4m3fn": torch.float8_e4m3fn}


def spec_of(said: dict, heads: int | None):
    """A layer's spec as the golden row has it; ``heads``: key-value heads of this rank where tensor parallelism shares them out."""
    kind = getattr(interface, said["type"])
    fields = {key: value for key, value in said.items() if key not in ("type", "page_size_bytes")}
    if "tokens_per_state" in fields:
        number = Fraction(fields["tokens_per_state"])
        fields["tokens_per_state"] = int(number) if number.denominator == 1 else number
    if "kv_quant_mode" in fields:
        fields["kv_quant_mode"] = interface.KVQuantMode(int(fields["kv_quant_mode"]))
    if "dtype" in fields:
        fields["dtype"] = DTYPES[fields["dtype"].removeprefix("torch.")]
    if "dtypes" in fields:
        names = fields["dtypes"] if isinstance(fields["dtypes"], list) else fields["dtypes"].strip("()").split(",")
        fields["dtypes"] = tuple(DTYPES[name.strip().removeprefix("torch.")] for name in names if name.strip())
    if "shapes" in fields:
        fields["shapes"] = tuple(tuple(shape) for shape in fields["shapes"])
    if heads is not None and "num_kv_heads" in fields and "MLA" not in said["type"]:
        fields["num_kv_heads"] = heads
    known = kind.__dataclass_fields__
    made = kind(**{key: value for key, value in fields.items() if key in known})
    if heads is None and made.page_size_bytes != said["page_size_bytes"]:
        raise SystemExit(f"{said} was made again with {made.page_size_bytes} bytes")
    return made


def kinds(text) -> list[str]:
    """The kind of each layer, in transformers' words."""
    latent = getattr(text, "linear_attn_config", None)
    if latent:
        latent = latent if isinstance(latent, dict) else vars(latent)
        full = set(latent["full_attn_layers"])
        return ["attention" if number + 1 in full else "mamba" for number in range(text.num_hidden_layers)]
    found = getattr(text, "layer_types", None) or getattr(text, "layers_block_type", None)
    return [str(kind) for kind in found] if found else ["attention"] * text.num_hidden_layers


def fits(said: dict, kind: str) -> bool:
    """Whether a golden spec is that of a layer of this kind."""
    if said["type"] == "MambaSpec":
        return kind in ("mamba", "linear_attention", "mamba2")
    if said["type"] == "SlidingWindowSpec":
        return kind == "sliding_attention"
    if said["type"] == "ChunkedLocalAttentionSpec":
        return kind == "chunked_attention"
    return kind in ("attention", "full_attention")


def layers_of(row: dict, text, heads: int | None) -> list[dict]:
    """For each layer of the model its caches, by name."""
    order = kinds(text)
    specs = {json.dumps(one, sort_keys=True): one for group in row["groups"] for one in group.get("members") or [group["spec"]]}
    if len({one["type"] for one in specs.values()}) == 1 and "SlidingWindow" in next(iter(specs.values()))["type"]:
        order = ["sliding_attention"] * len(order)
    found = []
    for number, kind in enumerate(order):
        here = [one for one in specs.values() if fits(one, kind)]
        found.append({f"model.layers.{number}.cache.{place}": spec_of(one, heads) for place, one in enumerate(here)})
    total = sum(group["layers"] for group in row["groups"])
    if sum(map(len, found)) != total:
        raise SystemExit(f"{row['model']}: {sum(map(len, found))} caches instead of {total}")
    return found


def directory(row: dict, root: str) -> str:
    where = os.path.join(root, row["model"].replace(" ", "-"))
    os.makedirs(where, exist_ok=True)
    with open(os.path.join(where, "config.json"), "w", encoding="utf-8") as out:
        json.dump(row["config"], out)
    header = json.dumps({"model.norm.weight": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}).encode()
    with open(os.path.join(where, "model.safetensors"), "wb") as out:
        out.write(struct.pack("<Q", len(header)) + header + b"\0\0")
    return where


def points(row: dict, tp: int, pp: int, where: str) -> list[dict]:
    words = [where, "--skip-tokenizer-init", "--tensor-parallel-size", str(tp), "--pipeline-parallel-size", str(pp), "--nnodes", str(tp * pp)]
    words += ["--node-rank", "0", "--master-addr", "192.168.177.11", "--kv-cache-dtype", row["kv_cache_dtype"], "--trust-remote-code"]
    config = configuration(words)
    model, cache = config.model_config, config.cache_config
    cache.block_size = row["engine"]["block_size"]
    cache.mamba_cache_mode = row["engine"]["mamba_cache_mode"]
    layout = interface.KVCacheLayout[row["engine"]["kv_cache_layout"]] if hasattr(interface, "KVCacheLayout") else None
    if layout is not None:
        type(cache).get_resolved_kv_cache_layout = lambda _self: layout
    total = model.get_total_num_kv_heads()
    heads = None if tp == row["tensor_parallel_size"] else ModelConfig.get_num_kv_heads(model, config.parallel_config)
    text = model.hf_text_config
    caches = layers_of(row, text, heads)
    stages = [get_pp_indices(len(caches), stage, pp) for stage in range(pp)]
    specs = [{name: one for layer in caches[start:end] for name, one in layer.items()} for start, end in stages for _rank in range(tp)]
    derived = row["engine"]["derived_max_model_len"]
    found = []
    for length in sorted({derived, min(derived, 32768)}):
        for bytes_of in ([20 * GIB + 12345] * (tp * pp), [4 * GIB] * (tp * pp), [(30 + 7 * rank % 11) * GIB for rank in range(tp * pp)]):
            model.max_model_len, model.original_max_model_len = length, length
            point = {"max_model_len": length, "available_bytes": bytes_of, "max_in_flight_tokens": config.max_in_flight_tokens}
            found.append(point | answered(config, copy.deepcopy(specs), bytes_of))
    head = {"model": row["model"], "kv_cache_dtype": row["kv_cache_dtype"], "row_tensor_parallel_size": row["tensor_parallel_size"]}
    head |= {"tensor_parallel_size": tp, "pipeline_parallel_size": pp, "kv_heads": total, "stages": [list(stage) for stage in stages]}
    return [head | {"points": found}]


def answered(config, specs: list[dict], available: list[int]) -> dict:
    groups = planning.get_global_kv_cache_groups(config, specs)
    projected = [planning._project_kv_cache_groups_to_worker(groups, one) for one in specs]
    said = {"bytes_per_block": [planning._pool_bytes_per_block(config, one) for one in projected]}
    try:
        made = planning.get_kv_cache_configs(config, specs, available, groups)
    except ValueError as error:
        return said | {"ok": False, "error": str(error)}
    tokens, concurrency = get_kv_cache_capacity(config, generate_scheduler_kv_cache_config(made))
    return said | {"ok": True, "num_blocks": made[0].num_blocks, "tokens": tokens, "concurrency": concurrency}


def main() -> None:
    with gzip.open(sys.argv[1]) as file:
        rows = json.load(file)["rows"]
    entries = []
    for model, dtype, tp in ROWS:
        row = next(one for one in rows if (one["model"], one["kv_cache_dtype"], one["tensor_parallel_size"]) == (model, dtype, tp))
        where = directory(row, sys.argv[2])
        states = any(group["spec"]["type"] == "MambaSpec" for group in row["groups"])
        for ranks, stages in HYBRID if states else PLAIN:
            try:
                entries += points(row, ranks or row["tensor_parallel_size"], stages, where)
            except Exception as error:
                print(f"{model} {dtype} TP {ranks} PP {stages}: {type(error).__name__}: {str(error)[:300]}", file=sys.stderr, flush=True)
                if os.environ.get("TRACE"):
                    raise
    print(json.dumps({"vllm": vllm.__version__, "entries": entries}, separators=(",", ":")))  # the last line; vLLM writes others


if __name__ == "__main__":
    main()

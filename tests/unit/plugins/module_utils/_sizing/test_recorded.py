# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole answers, each figure and each word: layouts, plans and refusals of many models, servers and boxes, as they were when last looked at.

What is true is decided elsewhere: test_golden.py has vLLM's own answers, and the other tests say why. Here nothing changes unseen: not a key of a plan, not
a figure that only a sentence shows, not what one bad value in a configuration leads to. A change that is wanted: GB10_RECORD=1 writes
data/recorded.json.gz anew, and the failure before it is the list of what became different, to be read one by one.
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import checkpoints
import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import layer_types, weights
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.capacity import auto_fit, bytes_for, capacity, longest_max_model_len
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.config import Config
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.engine import DTYPE_BYTES, Engine
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layer import Build
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layers import build_layers
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layers_registry import TEXT_FAMILIES, TEXT_TYPES
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layout import KVLayout, kv_layout
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.plan import calculate, plan_box

DATA = Path(__file__).parent / "data"
RECORDED = DATA / "recorded.json.gz"
GIB = 2**30


def packed(name: str) -> Any:
    return json.loads(gzip.decompress((DATA / name).read_bytes()))


def told(ask: Callable[[], Any]) -> Any:
    """The answer as JSON has it, or the sentence that it was refused with."""
    try:
        return json.loads(json.dumps(ask()))
    except GB10Error as error:
        return {"refused": str(error)}


def runs(values: Iterable[Any]) -> list[Any]:
    """Equal neighbours once, with their number."""
    return [[len(list(some)), one] for one, some in itertools.groupby(values)]


def slim(value: dict[str, Any]) -> dict[str, Any]:
    """Without what is empty; zero and False stay."""
    return {key: one for key, one in value.items() if one is not None and one not in ("", [], (), {})}


def whole(layout: KVLayout) -> dict[str, Any]:
    facts = {key: one for key, one in asdict(layout.facts).items() if key not in ("text", "layer_types")}
    found = {key: one for key, one in vars(layout).items() if key not in ("facts", "engine", "groups", "warnings")}
    groups = [
        [g.layers, g.kind, g.block_size, g.page_size_bytes, g.bytes_per_block, runs(b - a for a, b in itertools.pairwise(g.layer_indices))]
        for g in layout.groups
    ]
    made = build_layers(Build(layout.facts, layout.engine, DTYPE_BYTES.get(layout.dtype, 2)))
    layers = runs([at - before, slim(vars(layer))] for (before, _last), (at, layer) in itertools.pairwise([(-1, None), *made]))
    answer = {
        "facts": slim(facts),
        "types": runs(layout.facts.layer_types or ()),
        **found,
        "groups": groups,
        "layers": layers,
        "warnings": list(layout.warnings),
    }
    if not layout.kv_free:
        length = min(5000, layout.default_max_model_len)
        answer["pages"] = [layout.pages_per_request(one) for one in (1, 17, length, layout.default_max_model_len)]
        answer["flight"], answer["batch"] = layout.in_flight_tokens(length), layout.batch_tokens(length)
        answer["bytes"] = [bytes_for(layout, length, 3), longest_max_model_len(layout, 4 * GIB, 2), layout.kv_bytes_per_token]
        answer["capacity"] = [asdict(capacity(layout, size, layout.default_max_model_len)) for size in (GIB // 8, 9 * GIB)]
        answer["auto"] = told(lambda: asdict(auto_fit(layout, GIB)))
    return answer


# --- layouts ---------------------------------------------------------------------------------------------------------------------------------------------

CPU = packed("kv-vllm-0.32-cpu.json.gz")
CONFIGS = {row["model"]: row["config"] for row in packed("kv-golden.json.gz")["rows"]} | {row["name"]: row["config"] for row in CPU["rows"]}
ENGINES = {
    "as is": {}, "0.12, float32": {"vllm_version": "0.12.0", "dtype": "float32"}, "0.20, two cards, fp8": {"vllm_version": "0.20.0",
    "tensor_parallel_size": 2, "kv_cache_dtype": "fp8"},
    "on a processor": {"platform": "cpu", "cpu_avx512_bf16": False, "cpu_amx": False}, "no prefixes": {"enable_prefix_caching": False,
    "async_scheduling": False},
    "one manager": {"disable_hybrid_kv_cache_manager": True, "max_num_seqs": 12, "max_num_batched_tokens": 512}, "drafts": {"speculative_method": "mtp",
    "num_speculative_tokens": 2},
    "ngram": {"speculative_method": "ngram", "num_speculative_tokens": 3, "block_size": 32}, "no windows": {"disable_sliding_window": True,
    "cuda_runtime": "12.9"},
    "states": {"mamba_cache_mode": "align", "mamba_ssm_cache_dtype": "float32"}, "nvfp4": {"kv_cache_dtype": "nvfp4"}, "stages": {"pipeline_parallel_size": 2},
    "pooled": {"runner": "pooling"}, "no latent": {"latent": False}, "skipped": {"kv_cache_dtype": "fp8", "kv_cache_dtype_skip_layers": ("0",
    "sliding_window")},
}  # fmt: skip

MODEL_TYPES = {architecture: model_type for model_type, architecture in reversed(TEXT_TYPES.items())}


def changed(answer: dict[str, Any], usual: dict[str, Any]) -> dict[str, Any]:
    return {one: answer.get(one) for one in {*usual, *answer} if answer.get(one) != usual.get(one)}


def layouts(name: str) -> dict[str, Any]:
    """As it is, and what becomes different with two other engines: each gets its turn."""
    turn = list(CONFIGS).index(name)
    others = list(ENGINES)[1:]
    chosen = (others[turn % len(others)], others[(turn * 5 + 3) % len(others)])
    usual = told(lambda: whole(kv_layout(CONFIGS[name], Engine())))
    return {"as is": usual} | {
        engine: changed(told(lambda engine=engine: whole(kv_layout(CONFIGS[name], Engine(**ENGINES[engine])))), usual) for engine in chosen
    }


# Every key that some rule reads, in one configuration: the families take what is theirs.
ALL_KEYS: dict[str, Any] = {
    "num_hidden_layers": 6, "hidden_size": 1024, "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64, "max_position_embeddings": 32768,
    "vocab_size": 32000,
    "intermediate_size": 2048, "dtype": "bfloat16", "sliding_window": 512, "window_sizes": [0, 31, [63, 0], -1, 127, 7], "loop_num": 3,
    "loop_window_size": 32, "v_head_dim": 48,
    "interleaved_sliding_window": [256, 0, 128], "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "kv_lora_rank": 128, "q_lora_rank": 64,
    "attention_chunk_size": 1024,
    "attn_window_size": [0, 64, 128], "sliding_window_size": 96, "swa_head_dim": 32, "swa_num_key_value_heads": 4, "swa_v_head_dim": 24,
    "num_kv_shared_layers": 2,
    "global_head_dim": 128, "num_global_key_value_heads": 1, "attention_k_eq_v": True, "per_layer_config": {"0": {"head_dim": 32},
    "3": {"num_key_value_heads": 1}},
    "block_configs": [{"attention": {"n_heads_in_group": 2}}, {"attention": {"no_op": True}}, {"attention": {"replace_with_linear": True}}, {"attention": {}},
    {}, {"attention": {"n_heads_in_group": 4}}],
    "linear_num_key_heads": 4, "linear_num_value_heads": 8, "linear_key_head_dim": 128, "linear_value_head_dim": 64, "linear_conv_kernel_dim": 3,
    "full_attention_interval": 3,
    "state_size": 16, "conv_kernel": 3, "expand": 3, "time_step_rank": 16, "mamba_d_state": 32, "mamba_d_conv": 3, "mamba_expand": 2, "mamba_ngroups": 2,
    "n_mamba_heads": 16,
    "mamba_headdim": 128, "mamba_n_heads": 32, "mamba_d_head": 64, "mamba_n_groups": 2, "mamba_d_ssm": 2048, "mamba_num_heads": 16, "mamba_head_dim": 32,
    "ssm_state_size": 64, "n_groups": 4,
    "attention_head_dim": 96, "hybrid_override_pattern": "M*-EM*", "layers_block_type": ["mamba", "hybrid", "mamba", "mamba", "hybrid", "attention"],
    "conv_dim": 512, "conv_L_cache": 4,
    "linear_attn_config": {"num_heads": 8, "head_dim": 128, "short_conv_kernel_size": 3, "kda_layers": [1, 2, 4], "full_attn_layers": [3, 5, 6],
    "gate_lower_bound": -5.0},
    "layer_group_size": 4, "short_conv_kernel_size": 3, "index_head_dim": 64, "index_n_heads": 4, "index_topk": 256, "num_nextn_predict_layers": 1,
    "mamba_ssm_dtype": "float16",
    "num_heads": 8, "n_head": 8, "n_layer": 6, "encoder_layers": 3, "decoder_layers": 6, "decoder_attention_heads": 8, "d_model": 1024,
    "max_source_positions": 750, "max_target_positions": 448,
    "compress_ratios": [1, 4, 128, 4, 128, 1], "mb_per_layer": 2, "attn_type_list": [0, 1, 0, 1, 0, 1], "num_experts": 8, "num_experts_per_tok": 2,
    "moe_intermediate_size": 512,
}  # fmt: skip
TYPES = {
    "full": ["full_attention"] * 6, "window": [*["sliding_attention"] * 4, "full_attention", "sliding_attention"], "chunks": ["chunked_attention",
    "full_attention"] * 3,
    "linear": [*["linear_attention"] * 2, "full_attention"] * 2, "conv": [*["conv"] * 2, "full_attention"] * 2, "mamba": ["mamba", "attention"] * 3,
    "none": None,
}  # fmt: skip


def family(name: str) -> dict[str, Any]:
    """One architecture of a family with every key, with layers of every kind and one key fewer."""
    architecture = TEXT_FAMILIES[name][0]
    base = {"architectures": [architecture], "model_type": MODEL_TYPES.get(architecture, "any"), **ALL_KEYS}
    answers = {kind: told(lambda types=types: whole(kv_layout(slim({**base, "layer_types": types}), Engine()))) for kind, types in TYPES.items()}
    found = {"none": answers["none"]} | {kind: changed(answer, answers["none"]) for kind, answer in answers.items() if kind != "none"}
    kind = next((kind for kind in ("none", *TYPES) if "refused" not in answers[kind]), "none")
    for number, key in enumerate(ALL_KEYS):
        for what, bad in (("left out", None), ("wrong", {"x": 1}))[: 1 + (number % 4 == 0)]:
            answer = told(lambda key=key, bad=bad: whole(kv_layout(slim({**base, "layer_types": TYPES[kind], key: bad}), Engine())))
            different = changed(answer, answers[kind])
            if different:
                found[f"{kind} {key} {what}"] = different.get("refused") or {
                    one: different[one] for one in different if one in ("layers", "bytes_per_block", "groups")
                }
    return found


def types(model_type: str) -> dict[str, Any]:
    """Which layer is what where the configuration only says how often."""
    answers = {}
    for number, more in enumerate(PATTERNS):
        for window in (None, 512):
            given = slim({"model_type": model_type, "sliding_window": window, **more})
            answers[f"{number} {window}"] = told(lambda given=given, window=window: runs(layer_types.RULES[model_type](Config(given), 14, window)))
    return answers


PATTERNS: list[dict[str, Any]] = [
    {}, {"sliding_window_pattern": "LLG"}, {"sliding_window_pattern": 5}, {"sliding_window_pattern": 0}, {"hybrid_layer_pattern": [1, 0, 1]},
    {"max_window_layers": 3},
    {"no_rope_layers": [1, 1, 0, 1]}, {"no_rope_layer_interval": 3}, {"full_attn_idxs": [2, 5]}, {"attn_layer_period": 4, "attn_layer_offset": 1},
    {"attn_layer_indices": [0, 13]},
]  # fmt: skip


def odd(name: str) -> dict[str, Any]:
    """One key left out or wrong at a time: the refusal, or what of the layout becomes different."""
    config = CONFIGS[name]
    inner = next((key for key in ("text_config", "llm_config") if isinstance(config.get(key), dict)), None)
    usual = told(lambda: whole(kv_layout(config, Engine())))
    answers = {}
    for key in sorted(config[inner] if inner else config):
        for number, bad in enumerate(("left out", "x", -1, [0])):
            if (len(key) + number) % 2:
                continue
            part = {one: value for one, value in (config[inner] if inner else config).items() if one != key or number} | ({key: bad} if number else {})
            answer = told(lambda part=part: whole(kv_layout({**config, inner: part} if inner else part, Engine())))
            different = changed(answer, usual)
            if different:
                answers[f"{key} {bad}"] = different.get("refused") or {
                    one: different[one] for one in different if one in ("facts", "layers", "bytes_per_block")
                }
    return answers


# --- plans -----------------------------------------------------------------------------------------------------------------------------------------------


def model(name: str, tensors: Callable[[dict[str, Any]], Iterable[Any]], **more: Any) -> dict[str, Any]:
    config = checkpoints.golden_weights()[name, 1]["config"]
    found = weights.summarise(list(tensors(config)), config)
    return {"present": True, "config": config, "weights": found, "layout": "hf", "kind": "chat", "tokenizer": True, **more}


def devstral(config: dict[str, Any]) -> Iterable[Any]:
    return [*checkpoints.dense(config, prefix="language_model.model.", fp8=True), *checkpoints.pixtral_tower(config)]


def models() -> dict[str, dict[str, Any]]:
    found = {
        "devstral": model("Devstral-Small-2-24B-Instruct-2512", devstral), "qwen": model("Qwen3-0.6B", checkpoints.dense, architecture="Mine", auto_map=True),
        "llama": model("Llama-3.1-70B", checkpoints.dense), "oss": model("gpt-oss-20b", checkpoints.gpt_oss), "bert": model("bert-base-uncased",
        checkpoints.bert, kind="embedding"),
        "base": model("Qwen3-0.6B", checkpoints.dense, kind="completion", tokenizer=False, layout="mistral"), "draft": model("Qwen3-0.6B", checkpoints.dense),
    }  # fmt: skip
    return {f"/m/{name}": one for name, one in found.items()}


MODELS = models()
SERVERS: dict[str, dict[str, Any]] = {
    "plain": {}, "short": {"max_model_len": 65536, "concurrency": 4}, "too long": {"max_model_len": 393216, "concurrency": 4},
    "auto": {"max_model_len": "auto", "concurrency": 3},
    "eager": {"max_model_len": 4096, "cuda_graphs": "never"}, "graphs": {"max_model_len": 4096, "cuda_graphs": "always"}, "share": {"max_model_len": 4096,
    "gpu_memory_utilization": 0.6},
    "small share": {"max_model_len": 65536, "gpu_memory_utilization": 0.21}, "large share": {"max_model_len": 65536, "gpu_memory_utilization": 0.97},
    "ceiling": {"gpu_memory_ceiling": 0.5}, "fixed": {"max_model_len": 8192, "kv_cache_memory_gib": 12}, "fixed, few": {"max_model_len": 65536,
    "kv_cache_memory_gib": 1},
    "bytes": {"max_model_len": 8192, "kv_cache_memory_bytes": 5 * 10**9}, "most": {"max_model_len": 8192, "kv_cache_most_bytes": 6 * 10**9},
    "fp8": {"max_model_len": 8192, "kv_cache_dtype": "fp8"},
    "sequences": {"max_model_len": 8192, "max_num_seqs": 12, "max_num_batched_tokens": 4096}, "names": {"max_model_len": 8192, "served_model_name": ["one",
    "two"], "port": 9000},
    "trusted": {"max_model_len": 8192, "trust_remote_code": "always"}, "not trusted": {"max_model_len": 8192, "trust_remote_code": "never"},
    "reserved": {"max_model_len": 8192, "reserve_gib": 30},
    "revision": {"max_model_len": 8192, "revision": "v2", "load_format": "safetensors"}, "env": {"max_model_len": 8192, "plan_env": {"VLLM_USE_V1": "1",
    "HF_HOME": "/data/hf"}},
    "tools": {"max_model_len": 8192, "args": {"tool-call-parser": "hermes", "enable_auto_tool_choice": True, "reasoning_parser": "qwen3"}},
    "many": {"max_model_len": 8192, "args": {"limit_mm_per_prompt": {"image": 2}, "O3": True, "no_enable_prefix_caching": True, "seed": 7,
    "disable_log_requests": True}},
    "lora": {"max_model_len": 8192, "args": {"enable_lora": True, "max_loras": 3, "max_lora_rank": 64}}, "drafts": {"max_model_len": 8192,
    "args": {"speculative_config": {"method": "ngram", "num_speculative_tokens": 4}}},
    "a draft": {"max_model_len": 8192, "args": {"speculative_config": {"model": "/m/draft", "num_speculative_tokens": 2, "method": "draft_model"}}},
    "offload": {"max_model_len": 8192, "args": {"kv_transfer_config": {"kv_connector": "OffloadingConnector",
    "kv_connector_extra_config": {"cpu_bytes_to_use": 3 * 10**9}}}},
    "eager by args": {"max_model_len": 8192, "args": {"enforce_eager": True, "max_model_len": 2048}}, "text only": {"max_model_len": 8192,
    "args": {"language_model_only": True}},
    "compilation": {"max_model_len": 8192, "args": {"compilation_config": {"cudagraph_mode": "NONE"}, "async_scheduling": False, "block_size": 32}},
    "structured": {"max_model_len": 8192, "args": {"structured_outputs_config": {"backend": "xgrammar"}, "hf_overrides": {"max_position_embeddings": 9000},
    "quantization": "fp8"}},
    "mm cache": {"max_model_len": 8192, "args": {"mm_processor_cache_gb": 2, "api_server_count": 2}}, "sleep": {"max_model_len": 8192,
    "args": {"enable_sleep_mode": True, "dtype": "float16"}},
}  # fmt: skip
ENTRIES = list(SERVERS)


def box(**more: Any) -> dict[str, Any]:
    memory = {"total_bytes": int(119.7 * GIB), "available_bytes": 110 * GIB, "cuda_total_bytes": int(119.7 * GIB), "cuda_total_source": "cuDeviceTotalMem"}
    holders = [{"pid": 11, "name": "ollama", "bytes": 3 * GIB}, {"pid": 12, "name": "VLLM::EngineCore", "bytes": 2 * GIB}]
    return {"memory": {**memory, **more.pop("memory", {})}, "holders": holders, "servers": {}, "docker": {"containers": []}, **more}


def server(model_name: str, **more: Any) -> dict[str, Any]:
    return {"name": model_name, "model": model_name, "model_path": f"/m/{model_name}", "port": 8000, **more}


VERSIONS = ("0.33.0", "0.12.0", "0.24.0", "0.29.1")
RUNNING = {"docker": {"containers": [{"labels": {"gb10.vllm.server": name}, "status": "running", "name": f"gb10-vllm-{name}"} for name in ("old", "qwen")]}}
HELD = {
    name: {"deployment": {"requested_bytes": 50 * GIB, "planned": {"weights_bytes": {"value": 24 * GIB}, "kv_cache_bytes": 20 * GIB}}}
    for name in ("old", "qwen")
}
REPAIRS = {
    "applied": [
        {"id": "KB-1", "reason": "too long", "set": {"max_model_len": 2048, "args": {"seed": 3}, "env": {"A": "1"}}},
        {"set": {"cuda_graphs": "never"}},
        {"set": 1},
        7,
    ]
}
BOXES: dict[str, Callable[[], Any]] = {
    "none": lambda: plan_box(None, [], {}),
    "typical": lambda: plan_box(None, [server("qwen")], MODELS),
    "two": lambda: plan_box(box(), [server("devstral", max_model_len="auto"), server("qwen", port=8001, max_model_len=8192, concurrency=8)], MODELS,
    {"vllm_version": "0.33.0"}, {}),
    "three": lambda: plan_box(box(), [server("llama"), server("oss", port=8001, concurrency=2), server("bert", port=8002)], MODELS,
    {"vllm_version": "0.30.0"}, {"os_floor_gib": 8, "margin_gib": 0.5}),
    "what runs": lambda: plan_box(box(memory={"available_bytes": 50 * GIB}, **RUNNING), [server("devstral", max_model_len=65536)], MODELS,
    {"vllm_version": "0.33.0"}, {}, HELD),
    "itself": lambda: plan_box(box(memory={"available_bytes": 50 * GIB}, **RUNNING), [server("qwen", max_model_len=4096)], MODELS, {"vllm_version": "0.33.0"},
    {"reserve_gib": 2}, HELD),
    "repaired": lambda: plan_box(box(), [server("qwen", max_model_len=4096)], MODELS, {"vllm_version": "0.33.0", "image_id": "i"}, {},
    {"qwen": {"repairs": {**REPAIRS, "image_id": "i"}}}),
    "other image": lambda: plan_box(box(), [server("qwen", max_model_len=4096)], MODELS, {"vllm_version": "0.33.0", "image_id": "j"}, {},
    {"qwen": {"repairs": {**REPAIRS, "image_id": "i"}}}),
    "a list": lambda: plan_box(box(), [server("qwen", max_model_len=1024)], MODELS, {"vllm_version": "0.33.0"}, {}, {"qwen": {"repairs": REPAIRS["applied"]}}),
    "own engine": lambda: plan_box(box(cpu_features={"cpu_amx": False}), [server("qwen", engine={"vllm_version": "0.32.0+cpu", "platform": "cpu"}),
    server("oss", port=1)], MODELS, {"vllm_version": "0.33.0"}),
    "processor": lambda: plan_box(box(), [server("qwen", max_model_len=4096), server("bert", port=8001)], MODELS, {"vllm_version": "0.32.0+cpu",
    "platform": "cpu"}),
    "old engine": lambda: plan_box(box(), [server("qwen")], MODELS, {"vllm_version": "0.11.0", "cuda_runtime": "12.8", "torch_version": "2.8"}),
    "new engine": lambda: plan_box(box(), [server("qwen", max_model_len=4096)], MODELS, {"vllm_version": "0.99.0", "cuda_runtime": 13}),
    "all attention": lambda: plan_box(box(), [server("oss", max_model_len=4096)], MODELS, {"vllm_version": "0.33.0"}, {"assume_full_attention": True}),
    "without cuda": lambda: plan_box(box(memory={"cuda_total_bytes": None, "cuda_total_source": "none"}), [server("bert")], MODELS, {}),
    **{
        f"rank {number}": lambda number=number: plan_box(
            box(), [server("llama", max_model_len=8192, rank={"number": number, "boxes": ["a", "b"], "tensor": 2 - number, "pipeline": 1 + number})], MODELS,
            {"vllm_version": "0.33.0"}
        )
        for number in (0, 1)
    },
    **{
        f"calculate {name} {number}": lambda name=name, how=how: calculate(MODELS[f"/m/{name}"], {"vllm_version": "0.33.0"}, **how)
        for name in ("devstral", "oss", "bert")
        for number, how in enumerate(({}, {"available_bytes": 9 * GIB}, {"available_bytes": 40 * GIB, "max_model_len": "16k", "concurrency": 3},
        {"kv_cache_dtype": "fp8", "tensor_parallel_size": 2}, {"max_model_len": 10**7}))
    },
}  # fmt: skip


def planned(entry: str) -> dict[str, Any]:
    """One wanted server with three of the models, on an engine of its own."""
    turn = ENTRIES.index(entry)
    names = ("devstral", "qwen", "oss", "base", "bert", "llama")
    chosen = dict.fromkeys(("devstral", names[1 + turn % 4], names[turn % 6]))
    engine = {"vllm_version": VERSIONS[turn % 2 * (turn // 2 % 4)], "image_id": "i"}
    short = {"max_model_len": 512} if "max_model_len" in SERVERS[entry] else {}
    return {
        name: told(lambda name=name: plan_box(box(), [server(name, **{**SERVERS[entry], **(short if name == "bert" else {})})], MODELS, engine))
        for name in chosen
    }


# --- what is refused -------------------------------------------------------------------------------------------------------------------------------------

BAD = ("", "x", -1, 0, 10**7, 1.5, True, [], ["a", ""], {"a": 1}, "1 GiB", "16k", None)
KEYS = (
    "name", "model", "port", "max_model_len", "concurrency", "gpu_memory_utilization", "gpu_memory_ceiling", "kv_cache_memory_gib", "kv_cache_memory_bytes",
    "kv_cache_dtype",
    "served_model_name", "cuda_graphs", "enforce_eager", "load_format", "trust_remote_code", "max_num_batched_tokens", "max_num_seqs", "reserve_gib",
    "kv_cache_most_bytes", "revision",
    "plan_env", "rank", "args",
)  # fmt: skip
ARGS = (
    "max-model-len", "gpu_memory_utilization", "limit_mm_per_prompt", "speculative_config", "compilation_config", "kv_transfer_config",
    "structured_outputs_config", "hf_overrides",
    "quantization", "dtype", "block_size", "max_loras", "max_lora_rank", "enable_lora", "cpu_offload_gb", "mm_processor_cache_gb", "swap_space",
    "tensor_parallel_size", "O3", "O",
    "enable_prefix_caching", "async_scheduling", "runner", "convert", "task", "mamba_cache_mode", "mamba_ssm_cache_dtype", "performance_mode",
    "optimization_level", "config",
    "api_key", "host", "model", "no_enforce_eager", "attention_backend", "kv_cache_dtype_skip_layers", "pipeline_parallel_size", "data_parallel_size",
    "rope_scaling", "nowhere", "tokenizer",
)  # fmt: skip


def brief(plan: dict[str, Any]) -> Any:
    """What a plan says of its only server, without what every plan has."""
    if "refused" in plan:
        return plan["refused"]
    one = plan["servers"][0]
    return [one["verdict"], one["max_model_len"], one["kv_cache_bytes"], one["requested_bytes"], " ".join(map(str, one["arguments"][4:])), one["warnings"]]


def refusals(key: str) -> dict[str, Any]:
    where, name = key.split(" ")
    answers = {}
    for bad in BAD:
        given = {name: bad} if where == "server" else {"args": {name: bad}}
        answers[str(bad)] = brief(
            told(lambda given=given: plan_box(box(), [{**server("qwen", max_model_len=4096), **given}], MODELS, {"vllm_version": "0.33.0"}))
        )
    return answers


# --- the table -------------------------------------------------------------------------------------------------------------------------------------------

PARTS: dict[str, tuple[Callable[[str], Any], list[str]]] = {
    "layouts": (layouts, list(CONFIGS)), "families": (family, list(TEXT_FAMILIES)), "types": (types, list(layer_types.RULES)), "odd": (odd,
    list(CONFIGS)[::3]), "plans": (planned, ENTRIES), "boxes": (lambda name: told(BOXES[name]), list(BOXES)),
    "refusals": (refusals, [*(f"server {key}" for key in KEYS), *(f"args {key}" for key in ARGS)]),
}  # fmt: skip
ALL = [(part, name) for part, (_ask, names) in PARTS.items() for name in names]


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    if os.environ.get("GB10_RECORD"):
        made = {part: {name: json.loads(json.dumps(ask(name))) for name in names} for part, (ask, names) in PARTS.items()}
        RECORDED.write_bytes(gzip.compress(json.dumps(made, sort_keys=True, separators=(",", ":")).encode(), mtime=0))
    return packed(RECORDED.name)


def differences(mine: Any, theirs: Any, path: str = "") -> list[str]:
    if isinstance(mine, dict) and isinstance(theirs, dict):
        return [text for key in sorted({*mine, *theirs}) for text in differences(mine.get(key, "nothing"), theirs.get(key, "nothing"), f"{path}/{key}")]
    if isinstance(mine, list) and isinstance(theirs, list) and len(mine) == len(theirs):
        return [text for at, pair in enumerate(zip(mine, theirs, strict=True)) for text in differences(*pair, f"{path}/{at}")]
    return [] if mine == theirs else [f"{path}: {mine!r} instead of {theirs!r}"]


@pytest.mark.parametrize(("part", "name"), ALL)
def test_the_whole_answer_is_as_it_was(recorded: dict[str, Any], part: str, name: str) -> None:
    found = differences(json.loads(json.dumps(PARTS[part][0](name))), recorded[part][name])
    assert not found, "\n".join(found[:20])


def test_all_that_is_recorded_is_asked_for(recorded: dict[str, Any]) -> None:
    assert {(part, name) for part, some in recorded.items() for name in some} == set(ALL)

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What vLLM and the product are both asked: a configuration with the files beside it, a server's arguments and environment. Data and its making.

Real ones are what public threads and repositories hold (``real.json``); generated ones cross the configurations of the golden tables with the
ways people write arguments, with dtypes, backends and environments.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TABLES = HERE.parents[1] / "unit" / "plugins" / "module_utils" / "_sizing" / "data"


@dataclass(frozen=True)
class Combination:
    """One question; ``args`` as a user writes them in YAML, ``files`` beside config.json by name."""

    name: str
    config: Mapping[str, Any]
    args: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Any] = field(default_factory=dict)
    quick: bool = False

    def words(self) -> list[str]:
        """The command line that the user would have typed for vLLM; an object is JSON, a list several words."""
        return [word for key, value in self.args.items() for word in typed(key, value)]


def typed(key: str, value: Any) -> list[str]:
    """One argument as it is typed: short names with one dash, a truth value as the flag or its ``--no-``."""
    head, dot, tail = key.lstrip("-").partition(".")
    flag = key if key.startswith("-") else "--" + head.replace("_", "-") + dot + tail
    if value is True:
        return [flag]
    if value is False:
        return ["--no-" + flag.removeprefix("--")]
    if isinstance(value, Mapping):
        return [flag, json.dumps(value)]
    return [flag, *(str(entry) for entry in value)] if isinstance(value, list) else [flag, str(value)]


def table(name: str) -> Any:
    return json.loads(gzip.decompress((TABLES / name).read_bytes()))


def configurations() -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Every configuration of the golden tables with the settings it was tried with."""
    found = {f"cpu/{row['name']}": (row["config"], row["engine"]) for row in table("kv-vllm-0.32-cpu.json.gz")["rows"]}
    for row in table("kv-golden.json.gz")["rows"]:
        found.setdefault(f"golden/{row['model']}", (row["config"], {}))
    return found


# Ways to write arguments, each tried on every model of CROSSED.
WAYS: dict[str, dict[str, Any]] = {
    "short length": {"max_model_len": 1024},
    "length with a suffix": {"max_model_len": "1k"},
    "too long": {"max_model_len": 100_000_000},
    "auto": {"max_model_len": "auto"},
    "kv fp8": {"kv_cache_dtype": "fp8"},
    "kv fp8_e5m2": {"kv_cache_dtype": "fp8_e5m2"},
    "no prefix caching": {"no_enable_prefix_caching": True},
    "prefix caching off": {"enable_prefix_caching": False},
    "two GPUs by the short name": {"-tp": 2},
    "two stages": {"pipeline_parallel_size": 2},
    "block 32": {"block_size": 32},
    "batch": {"max_num_batched_tokens": 4096, "max_num_seqs": 17},
    "throughput": {"performance_mode": "throughput"},
    "layers by override": {"hf_overrides": {"num_hidden_layers": 4}},
    "length by dotted override": {"hf_overrides.max_position_embeddings": 12345},
    "override in a nested object": {"hf_overrides": {"text_config": {"max_position_embeddings": 7777}}},
    "no windows": {"disable_sliding_window": True},
    "whole prompts": {"no_enable_chunked_prefill": True},
    "pooling": {"runner": "pooling"},
    "embed": {"convert": "embed"},
    "eager": {"enforce_eager": True},
    "fp8 at load": {"quantization": "fp8"},
    "abbreviated": {"max_num_batched": 4096},
    "ngram": {"speculative_config": {"method": "ngram", "num_speculative_tokens": 3}},
}
# One argument or two in the ways people write them, tried on one model: kinds of values, spellings, values in objects, backends, what takes more GPUs.
SPELLED: list[dict[str, Any]] = [
    {"seed": "abc"}, {"seed": 0.5}, {"max_logprobs": True}, {"chat_template": ["/a", "/b"]}, {"cudagraph_capture_sizes": "1 2 4 8"},
    {"cudagraph_capture_sizes": [1, 2, 4, 8]}, {"load_format": ["auto", "x"]}, {"watermark": "much"}, {"max_num_queued_tokens": "4k"}, {"max_log_len": "None"},
    {"tensor_parallel_size": "one"}, {"stream_interval": "2"}, {"enable_prefix_cach": True}, {"max_num_ba": 2048}, {"enable_pre": True}, {"max_num": 4},
    {"speculative_config": "ngram"}, {"limit_mm_per_prompt": "image=3"}, {"served_model_name": ["a", "b"]}, {"served_model_name": "a b"},
    {"middleware": ["a.B"]}, {"response_role": "-x"}, {"response_role": "- x"}, {"revision": 4}, {"scheduling_policy": "None"}, {"dcp_comm_backend": "None"},
    {"lora_modules": ["a"], "enable_lora": True}, {"lora_modules": ["a=/x,b=/y"], "enable_lora": True},
    {"lora_modules": ['{"name": "a"}'], "enable_lora": True},
    {"-cc.cudagraph_mode": "FULLY"}, {"-cc.cudagraph_mode": "full"}, {"-cc.cudagraph_mode": 2}, {"-cc.cudagraph_mode": 7}, {"-cc.mode": 3}, {"-cc.mode": 4},
    {"-cc.mode": "vllm_compile"}, {"-cc.mode": "LOUD"}, {"-ac.backend": "FLASHY"}, {"-ac.backend": "triton_attn"}, {"-ac.backend": "TRITON_MLA"},
    {"-ac.flash_attn_version": 5}, {"-ac.backend": "TRITON_ATTN", "attention_backend": "TRITON_ATTN"}, {"kernel_config": {"moe_backend": "loud"}},
    {"kernel_config": {"moe_backend": "marlin"}}, {"kv_transfer_config": {"kv_connector": "OffloadingConnector"}},
    {"kv_transfer_config": {"kv_connector": "OffloadingConnector", "kv_role": "kv_loud"}}, {"profiler_config": {"profiler": "loud"}},
    {"-dpe": True}, {"-dph": True}, {"-dpe": True, "-dpn": 0}, {"-dpn": 0}, {"-dpr": 0, "-dpl": 1}, {"-dpl": 1}, {"node_rank": 0}, {"device_ids": "0"},
    {"enable_eplb": True}, {"enable_elastic_ep": True}, {"enable_dbo": True}, {"enable_fault_tolerance": True},
]  # fmt: skip
BACKENDS = (
    "CPU_MLA", "FLASHMLA", "FLASHMLA_SPARSE", "FLASH_ATTN", "FLASH_ATTN_MLA", "FLEX_ATTENTION", "HPC_ATTN", "NO_ATTENTION", "TORCH_SDPA", "TRITON_ATTN",
    "TRITON_MLA", "TRITON_MSA",
)  # fmt: skip
CAST = ("float32", "bfloat16", "half")
WEIGHTS: dict[str, dict[str, Any]] = {
    "fp8": {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]},
    "awq": {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"},
    "gptq": {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True},
    "modelopt": {"quant_method": "modelopt", "quant_algo": "NVFP4", "producer": {"name": "modelopt"}, "quantization": {
        "quant_algo": "NVFP4", "kv_cache_quant_algo": None, "group_size": 16, "exclude_modules": ["lm_head"],
    }},
}  # fmt: skip
SURROUNDINGS: list[dict[str, str]] = [{"VLLM_DP_SIZE": "2"}, {"VLLM_DP_SIZE": "1"}, {"VLLM_DP_SIZE": "x"}, {"VLLM_DP_SIZE": "0"}]
CROSSED = (
    "golden/Llama-3.1-8B", "golden/Qwen3-Next-80B-A3B", "golden/gpt-oss-20b", "golden/DeepSeek-V2-Lite", "golden/gemma-3-27b-it", "golden/bert-base-uncased",
    "cpu/x/phi3long", "cpu/mistral/MistralForCausalLM",
)  # fmt: skip
QUICK = ("short length", "too long", "two GPUs by the short name", "layers by override", "kv fp8", "no prefix caching")


def generated() -> Iterator[Combination]:
    known = configurations()
    for name, (config, settings) in known.items():
        yield Combination(name, config, settings)
    for model in CROSSED:
        config = known[model][0]
        for way, args in WAYS.items():
            yield Combination(f"{model}, {way}", config, args, quick=way in QUICK and model == CROSSED[0])


def spelled() -> Iterator[Combination]:
    known = configurations()
    plain, latent = (known[f"golden/{name}"][0] for name in ("Llama-3.1-8B", "DeepSeek-V2-Lite"))
    for number, args in enumerate(SPELLED):
        yield Combination(f"S {json.dumps(args)}", plain, args, quick=number == 0)
    for backend in BACKENDS:
        yield Combination(f"S plain {backend}", plain, {"attention_backend": backend})
        yield Combination(f"S latent {backend}", latent, {"attention_backend": backend})
    for env in SURROUNDINGS:
        yield Combination(f"S {json.dumps(env)}", plain, {}, env)
    for weights, method in WEIGHTS.items():
        for dtype in CAST:
            yield Combination(f"S {weights} as {dtype}", {**plain, "quantization_config": method}, {"dtype": dtype})


def real() -> Iterator[Combination]:
    """``real.json``: {configurations: {name: config}, combinations: [{name, config, changed, args, env, files, quick}]}."""
    found = json.loads((HERE / "real.json").read_text(encoding="utf-8"))
    for entry in found["combinations"]:
        config, changed = entry.pop("config"), entry.pop("changed", {})
        base = found["configurations"][config] if isinstance(config, str) else config
        yield Combination(config={**base, **changed}, **entry)


def combinations() -> list[Combination]:
    made = [*real(), *generated(), *spelled()]
    assert len({one.name for one in made}) == len(made), "two combinations have one name"
    return made

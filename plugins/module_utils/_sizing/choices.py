# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What vLLM takes for arguments that have a fixed set of values, and which arguments need or forbid one another. Pure.

vLLM: its parser's choices (recorded in the tests' vllm-arguments.json.gz), ``entrypoints/launchers/cli_args.py validate_parsed_serve_args``,
``config/lora.py``. Sets are those of 0.32 and 0.33 together.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.checks import shown, words
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.rules import release_of, tells_no_age

KNOWN_SINCE, KNOWN_UNTIL = (0, 32, 0), (0, 33, 0)


CHOICES = {
    "config_format": "auto hf mistral",
    "convert": "auto none embed classify",
    "optimization_level": "0 1 2 3",
    "all2all_backend": (
        "allgather_reducescatter deepep_high_throughput deepep_low_latency deepep_v2 flashinfer_all2allv flashinfer_nvlink_one_sided "
        "flashinfer_nvlink_two_sided moonep mori_high_throughput mori_low_latency naive nixl_ep pplx"
    ),
    "anthropic_disabled_thinking_effort": "auto high low max medium none xhigh",
    "chat_template_content_format": "auto openai string",
    "collect_detailed_traces": "all model worker",
    "dcp_comm_backend": "a2a ag_rs",
    "expert_placement_strategy": "linear round_robin",
    "fingerprint_mode": "custom full hash none",
    "jit_monitor_mode": "error warn",
    "kda_decode_backend": "auto native flashinfer triton",
    "kda_prefill_backend": "auto triton flashkda flashinfer fused",
    "kv_offloading_backend": "lmcache native",
    "linear_backend": (
        "aiter auto b12x conch cutlass deep_gemm emulation exllama fbgemm flashinfer_b12x flashinfer_cudnn flashinfer_cutedsl flashinfer_cutlass "
        "flashinfer_trtllm humming machete marlin torch triton xpu xpu_woq"
    ),
    "log_level": "CRITICAL ERROR WARNING INFO DEBUG NOTSET",
    "logprobs_mode": "processed_logits processed_logprobs raw_logits raw_logprobs",
    "mamba_ssu_algorithm": "auto horizontal simple vertical",
    "max_lora_rank": "1 8 16 32 64 128 256 320 512",
    "mm_encoder_attn_dtype": "fp8",
    "mm_encoder_tp_mode": "data weights",
    "mm_hasher_algorithm": "blake3 sha256 sha512",
    "mm_processor_cache_type": "lru shm",
    "mm_processor_device": "auto cpu",
    "mm_tensor_ipc": "direct_rpc torch_shm",
    "moe_backend": (
        "aiter aiter_mega_moe aiter_triton_mxfp4_bf16 auto b12x batched_triton cutlass deep_gemm deep_gemm_mega_moe emulation flashinfer_b12x "
        "flashinfer_cutedsl flashinfer_cutlass flashinfer_moe_ep_cutedsl flashinfer_moe_ep_mega_deep_gemm flashinfer_trtllm flydsl hpc humming marlin "
        "rdna3 triton triton_unfused aiter_triton_mxfp4_mxfp4"
    ),
    "offload_backend": "auto prefetch uva",
    "per_request_spec_decode_metrics": "detailed none summary",
    "prefix_caching_hash_algo": "sha256 sha256_cbor xxhash xxhash_cbor",
    "safetensors_load_strategy": "eager lazy prefetch torchao",
    "scheduling_policy": "fcfs priority",
    "sparse_indexer_topk_backend": "aiter auto cooperative deep_select flashinfer per_row persistent torch",
    "tool_strict_level": "auto function parameter",
    "uvicorn_log_level": "critical debug error info trace warning",
    "video_pruning_method": "evs vidcom2",
}
# Those for which the word None, or nothing, stands for no choice.
OR_NONE = words(
    "attention_backend collect_detailed_traces dcp_comm_backend mamba_ssu_algorithm mm_encoder_attn_backend mm_encoder_attn_dtype "
    "safetensors_load_strategy tool_strict_level"
)
# Names that vLLM writes in lower case with underscores, or in capitals, whatever they are written in.
LOWER, UPPER = ("moe_backend", "linear_backend"), ("attention_backend", "mm_encoder_attn_backend", "log_level")
# v1/attention/backends/registry.py
ATTENTION = words(
    "AMX_MLA B12X CPU_ATTN CPU_MLA CUSTOM CUTLASS_MLA CUTLASS_MSA FLASHINFER FLASHINFER_MLA FLASHINFER_MLA_SPARSE FLASHINFER_MLA_SPARSE_DSV4 "
    "FLASHINFER_MLA_SPARSE_DSV41 FLASHINFER_MLA_SPARSE_SM120 FLASHINFER_MLA_SPARSE_SM90 FLASHMLA FLASHMLA_MEGA_ATTN_DSV41 FLASHMLA_SPARSE "
    "FLASHMLA_SPARSE_DSV4 FLASHMLA_SPARSE_DSV41 FLASH_ATTN FLASH_ATTN_DIFFKV FLASH_ATTN_MLA FLASH_ATTN_MLA_SPARSE FLASH_ATTN_MLA_SPARSE_FA4 "
    "FLEX_ATTENTION HPC_ATTN MINIMAX_M3_SPARSE NO_ATTENTION ROCM_AITER_FA ROCM_AITER_MLA ROCM_AITER_MLA_SPARSE ROCM_AITER_TRITON_MLA "
    "ROCM_AITER_UNIFIED_ATTN ROCM_ATTN ROCM_FLASHMLA_SPARSE_DSV4 ROCM_FLASHMLA_SPARSE_DSV41 ROCM_OCTAVE ROCM_SEGMENTED_ATTN STEP5_DSA TOKENSPEED_MLA "
    "TORCH_SDPA TRITON_ATTN TRITON_ATTN_DIFFKV TRITON_FLASHINFER TRITON_FLASH_ATTN TRITON_MLA TRITON_MSA TURBOQUANT ULTRAQUANT XPU_MLA_SPARSE"
)
# model_executor/model_loader/__init__.py; plugins may add others.
LOAD_FORMATS = words(
    "auto dummy fastsafetensors hf instanttensor ipc_cache mistral modelexpress npcache pt runai_streamer runai_streamer_sharded safetensors "
    "sharded_state tensorizer"
)
# tool_parsers/__init__.py and reasoning/__init__.py; plugins may add others.
TOOL_PARSERS = words(
    "apertus beam cohere_command3 cohere_command4 deepseek_v3 deepseek_v31 deepseek_v32 deepseek_v4 deepseek_v41 dots ernie45 functiongemma gemma4 "
    "gigachat3 glm45 glm47 granite granite-20b-fc granite4 hermes hf hunyuan_a13b hy_v3 hy_v4 inkling internlm jamba k2_horizon kimi_k2 kimi_k3 lfm2 "
    "ling3 llama3_json llama4_json llama4_pythonic longcat mimo minicpm5 minimax_m2 minimax_m3 mistral muse muse_glimmer musespark1x olmo3 openai "
    "phi4_mini_json plamo3 poolside_v1 pythonic qwen3_coder qwen3_json qwen3_xml seed_oss step3 step3p5 step5 xlam"
)
REASONING_PARSERS = words(
    "beam cohere_command3 cohere_command4 deepseek_r1 deepseek_v3 deepseek_v4 deepseek_v41 ernie45 gemma4 glm45 glm47 granite granite_thinking_parser "
    "hf holo2 hunyuan_a13b hy_v3 hy_v4 inkling k2_horizon kimi_k2 kimi_k3 ling3 mimo minicpmv minimax_m2 minimax_m2_append_think minimax_m3 mistral "
    "muse muse_glimmer musespark1x nemotron_v3 olmo3 openai_gptoss plamo3 poolside_v1 qwen3 seed_oss step3 step3p5 step5"
)
EXECUTORS = ("mp", "uni", "ray", "external_launcher")
# Switches of which the first is refused without the second.
NEEDS = (("enable_auto_tool_choice", "tool_call_parser"), ("enable_log_outputs", "enable_log_requests"))
# Whole numbers with the least that vLLM takes.
LEAST = {"stream_interval": 1, "sse_keep_alive_interval": 0, "max_lora_cls_labels": 1, "max_logprobs": -1, "long_prefill_token_threshold": 0}


def meant(said: str, known: list[str]) -> str:
    """What somebody meant by a value that is none of the known ones: the nearest, else what there is."""
    near = difflib.get_close_matches(said, known, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else f"it takes {', '.join(known[:12])}" + (" and others" if len(known) > 12 else "")


def refuse(args: Mapping[str, Any], version: str, who: str) -> None:
    """GB10Error for the first argument that vLLM's parser refuses, where the release is one whose values are known; a fork may have its own."""
    if not is_known(version):
        return
    for name, value, known in _outside(args):
        raise GB10Error(f"{who}: args.{name} is {shown(value)}, which vLLM {version} does not take: {meant(str(value), known)}")
    executor = str(args.get("distributed_executor_backend") or "mp").replace("None", "mp")
    if executor not in EXECUTORS and "." not in executor:
        raise GB10Error(f"{who}: args.distributed_executor_backend is {shown(executor)}: vLLM takes {', '.join(EXECUTORS)} or a class of yours")
    for name, other in NEEDS:
        if args.get(name) is True and not args.get(other):
            raise GB10Error(f"{who}: args.{name} needs {other} beside it, or vLLM refuses to start: add it, or leave {name} out")
    if args.get("enable_per_request_metrics") is True and args.get("disable_log_stats") is True:
        raise GB10Error(f"{who}: args.enable_per_request_metrics does not go with disable_log_stats, or vLLM refuses to start: leave one of them out")
    for name, least in LEAST.items():
        number = _whole(args.get(name))
        if number is not None and number < least:
            raise GB10Error(f"{who}: args.{name} is {number}: vLLM takes whole numbers from {least} on")
    if args.get("max_cudagraph_capture_size") is not None and _whole(args["max_cudagraph_capture_size"]) == 0:
        raise GB10Error(f"{who}: args.max_cudagraph_capture_size is 0, with which vLLM refuses to start: say `cuda_graphs: never` for the server instead")
    if args.get("enable_lora") is True:
        _check_slots(args, who)


def _check_slots(args: Mapping[str, Any], who: str) -> None:
    slots, kept = _whole(args.get("max_loras", 1)), _whole(args.get("max_cpu_loras"))
    if slots is not None and slots < 1:
        raise GB10Error(f"{who}: args.max_loras is {slots}: vLLM takes whole numbers from 1 on")
    if slots is not None and kept is not None and kept < slots:
        raise GB10Error(f"{who}: args.max_cpu_loras is {kept}, less than max_loras {slots}, which vLLM refuses: raise it, or leave it out")


def doubts(args: Mapping[str, Any], load_format: str, version: str) -> list[str]:
    """A warning for each name that the release does not have, unless a plugin brings it, or a fork."""
    found = []
    if not is_known(version) and (tells_no_age(version) or release_of(version) >= KNOWN_SINCE):
        found += [f"args.{name} is {shown(value)}, which no vLLM known here takes, unless it is a fork's own" for name, value, _known_ones in _outside(args)]
    named = (
        ("tool_call_parser", args.get("tool_call_parser"), TOOL_PARSERS, args.get("tool_parser_plugin")),
        ("reasoning_parser", args.get("reasoning_parser"), REASONING_PARSERS, args.get("reasoning_parser_plugin")),
        ("load_format", load_format, LOAD_FORMATS, None),
    )
    for name, value, known, plugin in named:
        if isinstance(value, str) and value and value not in known and not plugin and _near(version):
            near = difflib.get_close_matches(value, known, n=1, cutoff=0.6)
            nearest = f"; did you mean {near[0]}?" if near else ""
            found.append(f"no vLLM known here has the {name} {value}, and it refuses to start unless a plugin in the image brings it{nearest}")
    return found


def check_files(load_format: str, args: Mapping[str, Any], names: Collection[str] | None, who: str) -> None:
    """GB10Error for formats of weights and tokenizer whose files a model has not; ``names``: its .json, .safetensors and tokenizer files, where known.

    vLLM: ``model_loader/default_loader.py _prepare_weights``, ``sharded_state_loader.py``, ``tensorizer_loader.py``, ``tokenizers/mistral.py``.
    """
    lacks = {
        "pt": "reads *.pt files",
        "npcache": "reads *.bin files",
        "gguf": "reads GGUF files",
        "sharded_state": "" if any(name.startswith("model-rank-") for name in names or ()) or names is None else "reads model-rank-*.safetensors files",
        "tensorizer": "" if args.get("model_loader_extra_config") else "reads a file that model_loader_extra_config names (tensorizer_uri)",
    }.get(load_format)
    if lacks:
        raise GB10Error(f"{who}: load_format {load_format} {lacks}, and what is planned are the model's *.safetensors: leave it out, or use safetensors")
    if args.get("tokenizer_mode") == "mistral" and not args.get("tokenizer") and names and not any(map(_is_mistrals, names)):
        raise GB10Error(f"{who}: args.tokenizer_mode mistral needs tekken.json or tokenizer.model.v*, which the model has not: leave it out")


def _is_mistrals(name: str) -> bool:
    return name == "tekken.json" or name.startswith("tokenizer.model.v") or name.endswith((".tekken", "tekken.json"))


def is_known(version: str) -> bool:
    """Whether it is a release itself: no fork, no build of between two releases."""
    return not tells_no_age(version) and version.replace(".", "").isdigit() and KNOWN_SINCE <= release_of(version) <= KNOWN_UNTIL


def _near(version: str) -> bool:
    """Whether it is such a release, or a build or fork of one."""
    return not tells_no_age(version) and KNOWN_SINCE <= release_of(version) <= KNOWN_UNTIL


def _outside(args: Mapping[str, Any]) -> list[tuple[str, Any, list[str]]]:
    """Arguments whose value is not in their set: (name, value, the set)."""
    sets = {name: CHOICES[name].split() if name in CHOICES else sorted(ATTENTION) for name in (*CHOICES, *UPPER) if name in args}
    return [(name, args[name], known) for name, known in sets.items() if not _is_in(name, args[name], known)]


def _is_in(name: str, value: Any, known: Collection[str]) -> bool:
    if isinstance(value, (list, tuple)) and name == "collect_detailed_traces":
        return all(_is_in(name, one, known) for one in value)
    if isinstance(value, (list, tuple, Mapping)):
        return False
    text = str(value)
    text = text.lower().replace("-", "_") if name in LOWER else text.upper() if name in UPPER else text
    return text in known or text == "AUTO" or (text in ("", "None", "NONE") and name in OR_NONE)


def _whole(value: Any) -> int | None:
    try:
        return None if isinstance(value, bool) else int(value)
    except (TypeError, ValueError):
        return None

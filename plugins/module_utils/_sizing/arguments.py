# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every argument of ``vllm serve`` from 0.26 to 0.33, one row each: what it means for memory, of what type it is, what it names on a box. Pure.

What vLLM's own parser knows is in ``tests/unit/plugins/module_utils/_sizing/data/vllm-arguments.json.gz`` (recorded from 0.32.0 and 0.33.0 by
``tests/on_machine/engine_sizing/list_arguments.py``); tests compare this table with it and with the installed vLLM.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

# What an argument means for memory.
COUNTED, REFUSED, NEUTRAL, UNKNOWN = "counted", "refused", "neutral", "unknown"
# Of what type it is, and what its value may name on the box.
TRUTH, WHOLE, NUMBER, TEXT, JSON, LIST = "truth", "whole", "number", "text", "json", "list"
PATH, REPOSITORY, WRITTEN, SOCKET = "path", "repository", "written", "socket"

SAME_MEMORY = "it moves weights from the GPU's memory to the host's, and on a GB10 both are the same memory: it costs speed and frees nothing"
BLOCKS = "it replaces the number of KV cache blocks that the plan works out and fixes in bytes: set kv_cache_memory_gib instead"
ROUTED = "the buffer of chosen experts follows the size of the KV cache (vLLM's config/aux_output.py)"
OTHER_CONFIG = "it may change layers and widths, and the plan reads those of the model's own config.json"
FROM_KV = "vLLM takes it out of the KV cache, which then holds less than the plan says"
ARENA = "messages between processes get an arena in /dev/shm, 256 MiB for each of its slots"
PLUGIN = "what code from outside vLLM keeps in memory is not known"
EXTERNAL = "what the external store keeps in memory on this box is not known"


class Argument(NamedTuple):
    """One argument of ``vllm serve``.

    ``memory``: counted (``part`` names what holds it: weights, KV cache or a part of the plan's ``beside``), refused or unknown (``part`` says why),
    neutral. ``short`` is its short name, ``place`` what its value names on the box (a file or
    directory that is read, a repository or directory, a place that is written, a socket), ``since`` and ``until`` the first and last version that has it
    where that is not all.
    """

    memory: str
    kind: str
    part: str = ""
    short: str = ""
    place: str = ""
    since: str = ""
    until: str = ""


def _counted(kind: str, part: str, **more: str) -> Argument:
    return Argument(COUNTED, kind, part, **more)


def _refused(kind: str, why: str, **more: str) -> Argument:
    return Argument(REFUSED, kind, why, **more)


def _unknown(kind: str, why: str, **more: str) -> Argument:
    return Argument(UNKNOWN, kind, why, **more)


def _neutral(kind: str, **more: str) -> Argument:
    return Argument(NEUTRAL, kind, **more)


ARGUMENTS: dict[str, Argument] = {
    "additional_config": _unknown(JSON, "what a platform plugin reads of it is not known"),
    "aggregate_engine_logging": _neutral(TRUTH),
    "all2all_backend": _neutral(TEXT),
    "allow_credentials": _neutral(TRUTH),
    "allow_deprecated_quantization": _neutral(TRUTH),
    "allowed_headers": _neutral(JSON),
    "allowed_local_media_path": _neutral(TEXT, place=PATH),
    "allowed_media_domains": _neutral(LIST),
    "allowed_methods": _neutral(JSON),
    "allowed_origins": _neutral(JSON),
    "anthropic_disabled_thinking_effort": _neutral(TEXT),
    "api_key": _neutral(LIST),
    "api_server_count": _counted(WHOLE, "host_processes", short="-asc"),
    "async_scheduling": _counted(TRUTH, "kv_cache"),
    "attention_backend": _neutral(TEXT),
    "attention_config": _neutral(JSON, short="-ac"),
    "aux_output_config": _unknown(JSON, ROUTED),
    "block_size": _counted(WHOLE, "kv_cache"),
    "calculate_kv_scales": _neutral(TRUTH, until="0.26"),
    "chat_template": _neutral(TEXT, place=PATH),
    "chat_template_content_format": _neutral(TEXT),
    "code_revision": _neutral(TEXT),
    "cohere_format": _neutral(TEXT),
    "cohere_is_reasoning_model": _neutral(TRUTH),
    "collect_detailed_traces": _neutral(LIST),
    "compilation_config": _counted(JSON, "graphs", short="-cc"),
    "config": _unknown(TEXT, "what stands in that file is not known to the plan", place=PATH),
    "config_format": _neutral(TEXT),
    "convert": _neutral(TEXT),
    "cp_kv_cache_interleave_size": _neutral(WHOLE),
    "cpu_distributed_timeout_seconds": _neutral(WHOLE),
    "cpu_offload_gb": _refused(NUMBER, SAME_MEMORY),
    "cpu_offload_params": _neutral(LIST),
    "cudagraph_capture_sizes": _counted(LIST, "graphs"),
    "cudagraph_metrics": _neutral(TRUTH),
    "custom_histogram_buckets": _neutral(JSON),
    "data_parallel_address": _neutral(TEXT, short="-dpa"),
    "data_parallel_backend": _neutral(TEXT, short="-dpb"),
    "data_parallel_external_lb": _neutral(TRUTH, short="-dpe"),
    "data_parallel_hybrid_lb": _neutral(TRUTH, short="-dph"),
    "data_parallel_multi_port_external_lb": _neutral(TRUTH, short="-dpm"),
    "data_parallel_rank": _neutral(WHOLE, short="-dpn"),
    "data_parallel_rpc_port": _neutral(WHOLE, short="-dpp"),
    "data_parallel_size": _neutral(WHOLE, short="-dp"),
    "data_parallel_size_local": _neutral(WHOLE, short="-dpl"),
    "data_parallel_start_rank": _neutral(WHOLE, short="-dpr"),
    "data_parallel_supervisor_port": _neutral(WHOLE),
    "dbo_decode_token_threshold": _neutral(WHOLE),
    "dbo_prefill_token_threshold": _neutral(WHOLE),
    "dcp_comm_backend": _neutral(TEXT),
    "dcp_kv_cache_interleave_size": _neutral(WHOLE),
    "dcp_q_replicate": _neutral(TRUTH),
    "decode_context_parallel_size": _counted(WHOLE, "kv_cache", short="-dcp"),
    "default_chat_template_kwargs": _neutral(JSON),
    "default_mm_loras": _neutral(JSON, place=REPOSITORY),
    "device_ids": _neutral(TEXT),
    "diffusion_config": _unknown(JSON, "its canvas is not counted", short="-dc"),
    "disable_access_log_for_endpoints": _neutral(TEXT),
    "disable_cascade_attn": _neutral(TRUTH),
    "disable_chunked_mm_input": _neutral(TRUTH),
    "disable_custom_all_reduce": _neutral(TRUTH),
    "disable_fastapi_docs": _neutral(TRUTH),
    "disable_hybrid_kv_cache_manager": _counted(TRUTH, "kv_cache"),
    "disable_log_stats": _neutral(TRUTH),
    "disable_nccl_for_dp_synchronization": _neutral(TRUTH),
    "disable_sliding_window": _neutral(TRUTH),
    "disable_uvicorn_access_log": _neutral(TRUTH),
    "distributed_executor_backend": _neutral(TEXT),
    "distributed_timeout_seconds": _neutral(WHOLE),
    "download_dir": _neutral(TEXT, place=WRITTEN),
    "dp_supervisor_probe_failure_threshold": _neutral(WHOLE),
    "dp_supervisor_probe_interval_s": _neutral(NUMBER),
    "dp_supervisor_probe_timeout_s": _neutral(NUMBER),
    "dp_sync_interval": _neutral(WHOLE),
    "dtype": _counted(TEXT, "weights"),
    "ec_manager_config": _unknown(JSON, PLUGIN),
    "ec_transfer_config": _unknown(JSON, EXTERNAL),
    "elastic_ep_max_dp_size": _neutral(WHOLE),
    "enable_auto_tool_choice": _neutral(TRUTH),
    "enable_batch_sharded_sampling": _neutral(TRUTH),
    "enable_bf16x3_router_gemm": _neutral(TRUTH, until="0.26"),
    "enable_chunked_prefill": _neutral(TRUTH),
    "enable_cumem_allocator": _neutral(TRUTH),
    "enable_dbo": _neutral(TRUTH),
    "enable_elastic_ep": _neutral(TRUTH),
    "enable_ep_weight_filter": _neutral(TRUTH),
    "enable_eplb": _neutral(TRUTH),
    "enable_expert_parallel": _neutral(TRUTH, short="-ep"),
    "enable_fault_tolerance": _neutral(TRUTH),
    "enable_flash_late_interaction": _neutral(TRUTH),
    "enable_flashinfer_autotune": _neutral(TRUTH),
    "enable_force_include_usage": _neutral(TRUTH),
    "enable_hc_sp": _neutral(TRUTH),
    "enable_layerwise_nvtx_tracing": _neutral(TRUTH),
    "enable_log_deltas": _neutral(TRUTH),
    "enable_log_outputs": _neutral(TRUTH),
    "enable_log_requests": _neutral(TRUTH),
    "enable_logging_iteration_details": _neutral(TRUTH),
    "enable_lora": _counted(TRUTH, "lora_slots"),
    "enable_mamba_cache_stochastic_rounding": _neutral(TRUTH),
    "enable_mamba_shared_prefix_checkpoint": _neutral(TRUTH),
    "enable_mfu_metrics": _neutral(TRUTH),
    "enable_mixed_moe_lora_format": _neutral(TRUTH),
    "enable_mm_embeds": _neutral(TRUTH),
    "enable_moe_shared_loras": _neutral(TRUTH),
    "enable_nccl_comm_suspend": _neutral(TRUTH),
    "enable_offline_docs": _neutral(TRUTH),
    "enable_per_request_metrics": _neutral(TRUTH),
    "enable_prefix_caching": _counted(TRUTH, "kv_cache"),
    "enable_prompt_embeds": _neutral(TRUTH),
    "enable_prompt_tokens_details": _neutral(TRUTH),
    "enable_request_id_headers": _neutral(TRUTH),
    "enable_return_routed_experts": _unknown(TRUTH, ROUTED),
    "enable_scale_out": _neutral(TRUTH),
    "enable_server_load_tracking": _neutral(TRUTH),
    "enable_shm_tensor_arena": _unknown(TRUTH, ARENA),
    "enable_sleep_mode": _neutral(TRUTH),
    "enable_ssl_refresh": _neutral(TRUTH),
    "enable_tokenizer_info_endpoint": _neutral(TRUTH),
    "enable_tower_connector_lora": _neutral(TRUTH),
    "enable_trace_replay": _neutral(TRUTH),
    "enforce_eager": _counted(TRUTH, "graphs"),
    "engram_config": _neutral(JSON),
    "eplb_config": _neutral(JSON),
    "exclude_tools_when_tool_choice_none": _neutral(TRUTH),
    "expert_placement_strategy": _neutral(TEXT),
    "fail_on_environ_validation": _neutral(TRUTH),
    "fault_tolerance_config": _neutral(JSON),
    "fingerprint_mode": _neutral(TEXT),
    "fingerprint_value": _neutral(TEXT),
    "fully_sharded_loras": _neutral(TRUTH),
    "gdn_prefill_backend": _counted(TEXT, "kv_cache"),
    "generation_config": _neutral(TEXT, place=PATH),
    "gpu_memory_utilization": _counted(NUMBER, "kv_cache"),
    "grpc": _neutral(TRUTH),
    "grpc_port": _neutral(WHOLE),
    "h11_max_header_count": _neutral(WHOLE),
    "h11_max_incomplete_event_size": _neutral(WHOLE),
    "headless": _neutral(TRUTH),
    "hf_config_path": _unknown(TEXT, OTHER_CONFIG, place=REPOSITORY),
    "hf_overrides": _counted(JSON, "kv_cache"),
    "hf_token": _neutral(TEXT),
    "host": _neutral(TEXT),
    "ignore_patterns": _neutral(LIST),
    "interleave_mm_strings": _neutral(TRUTH),
    "io_processor_plugin": _unknown(TEXT, PLUGIN),
    "ir_op_priority": _neutral(JSON),
    "jit_monitor_mode": _neutral(TEXT),
    "jit_monitor_verbose": _neutral(TRUTH),
    "kda_decode_backend": _neutral(TEXT),
    "kda_prefill_backend": _neutral(TEXT),
    "kernel_config": _neutral(JSON),
    "kv_cache_dtype": _counted(TEXT, "kv_cache"),
    "kv_cache_dtype_skip_layers": _counted(LIST, "kv_cache"),
    "kv_cache_memory_bytes": _counted(WHOLE, "kv_cache"),
    "kv_cache_metrics": _neutral(TRUTH),
    "kv_cache_metrics_sample": _neutral(NUMBER),
    "kv_events_config": _neutral(JSON),
    "kv_offloading_backend": _unknown(TEXT, EXTERNAL),
    "kv_offloading_size": _counted(NUMBER, "kv_offload"),
    "kv_sharing_fast_prefill": _neutral(TRUTH),
    "kv_transfer_config": _counted(JSON, "kv_offload"),
    "language_model_only": _counted(TRUTH, "multimodal_cache"),
    "limit_mm_per_prompt": _counted(JSON, "multimodal_cache"),
    "linear_backend": _neutral(TEXT),
    "load_format": _neutral(TEXT),
    "log_config_file": _neutral(TEXT, place=PATH),
    "log_error_stack": _neutral(TRUTH),
    "log_level": _neutral(TEXT),
    "logging_config": _neutral(JSON),
    "logits_processors": _unknown(LIST, PLUGIN),
    "logprobs_mode": _neutral(TEXT),
    "long_prefill_token_threshold": _neutral(WHOLE),
    "long_prefill_token_threshold_adaptive": _neutral(TRUTH),
    "lora_dtype": _counted(TEXT, "lora_slots"),
    "lora_modules": _neutral(LIST, place=PATH),
    "lora_target_modules": _neutral(LIST),
    "mamba_backend": _neutral(TEXT),
    "mamba_block_size": _neutral(WHOLE),
    "mamba_cache_dtype": _counted(TEXT, "kv_cache"),
    "mamba_cache_mode": _counted(TEXT, "kv_cache"),
    "mamba_cache_philox_rounds": _neutral(WHOLE),
    "mamba_ssm_cache_dtype": _counted(TEXT, "kv_cache"),
    "mamba_ssu_algorithm": _neutral(TEXT),
    "master_addr": _neutral(TEXT),
    "master_port": _neutral(WHOLE),
    "max_cpu_loras": _counted(WHOLE, "lora_adapters"),
    "max_cudagraph_capture_size": _counted(WHOLE, "graphs"),
    "max_log_len": _neutral(WHOLE),
    "max_logprobs": _neutral(WHOLE),
    "max_long_partial_prefills": _neutral(WHOLE, until="0.26"),
    "max_lora_cls_labels": _neutral(WHOLE),
    "max_lora_rank": _counted(WHOLE, "lora_slots"),
    "max_loras": _counted(WHOLE, "lora_slots"),
    "max_model_len": _counted(WHOLE, "kv_cache"),
    "max_num_active_seqs": _neutral(WHOLE),
    "max_num_batched_tokens": _counted(WHOLE, "activations"),
    "max_num_partial_prefills": _neutral(WHOLE, until="0.26"),
    "max_num_queued_reqs": _neutral(WHOLE),
    "max_num_queued_tokens": _neutral(WHOLE),
    "max_num_scheduled_tokens": _neutral(WHOLE),
    "max_num_seqs": _counted(WHOLE, "graphs"),
    "max_parallel_loading_workers": _neutral(WHOLE),
    "media_io_kwargs": _neutral(JSON),
    "middleware": _unknown(LIST, PLUGIN),
    "mm_device_do_normalize": _neutral(TRUTH),
    "mm_encoder_attn_backend": _neutral(TEXT),
    "mm_encoder_attn_dtype": _neutral(TEXT),
    "mm_encoder_fp8_scale_path": _neutral(TEXT, place=PATH),
    "mm_encoder_fp8_scale_save_margin": _neutral(NUMBER),
    "mm_encoder_fp8_scale_save_path": _neutral(TEXT, place=WRITTEN),
    "mm_encoder_only": _neutral(TRUTH),
    "mm_encoder_tp_mode": _neutral(TEXT),
    "mm_hasher_algorithm": _neutral(TEXT),
    "mm_ipc_gpu_memory_gb": _unknown(NUMBER, FROM_KV),
    "mm_processor_cache_gb": _counted(NUMBER, "multimodal_cache"),
    "mm_processor_cache_type": _neutral(TEXT),
    "mm_processor_device": _neutral(TEXT),
    "mm_processor_kwargs": _counted(JSON, "activations"),
    "mm_shm_cache_max_object_size_mb": _neutral(WHOLE),
    "mm_tensor_ipc": _neutral(TEXT),
    "model": _counted(TEXT, "weights", place=REPOSITORY),
    "model_class_overrides": _unknown(JSON, PLUGIN),
    "model_impl": _neutral(TEXT),
    "model_loader_extra_config": _neutral(JSON),
    "moe_backend": _neutral(TEXT),
    "monokernel": _neutral(TRUTH, since="0.33"),
    "nnodes": _neutral(WHOLE, short="-n"),
    "node_rank": _neutral(WHOLE, short="-r"),
    "num_gpu_blocks_override": _refused(WHOLE, BLOCKS),
    "numa_bind": _neutral(TRUTH),
    "numa_bind_cpus": _neutral(LIST),
    "numa_bind_nodes": _neutral(LIST),
    "offload_backend": _neutral(TEXT),
    "offload_group_size": _refused(WHOLE, SAME_MEMORY),
    "offload_num_in_group": _neutral(WHOLE),
    "offload_params": _neutral(LIST),
    "offload_prefetch_step": _neutral(WHOLE),
    "optimization_level": _counted(TEXT, "graphs"),
    "otlp_traces_endpoint": _neutral(TEXT),
    "override_attention_dtype": _neutral(TEXT, until="0.26"),
    "override_generation_config": _neutral(JSON),
    "per_request_spec_decode_metrics": _neutral(TEXT),
    "performance_mode": _counted(TEXT, "graphs"),
    "pipeline_parallel_size": _counted(WHOLE, "weights", short="-pp"),
    "pooler_config": _neutral(JSON),
    "port": _neutral(WHOLE),
    "prefill_context_parallel_size": _neutral(WHOLE, short="-pcp"),
    "prefill_schedule_interval": _neutral(WHOLE),
    "prefix_cache_retention_interval": _neutral(WHOLE),
    "prefix_caching_hash_algo": _neutral(TEXT),
    "prefix_match_unit": _neutral(WHOLE),
    "profiler_config": _neutral(JSON),
    "pt_load_map_location": _neutral(JSON),
    "quantization": _counted(TEXT, "weights", short="-q"),
    "quantization_config": _neutral(JSON),
    "ray_workers_use_nsight": _neutral(TRUTH),
    "reasoning_config": _neutral(JSON),
    "reasoning_effort_map": _neutral(JSON, since="0.33"),
    "reasoning_parser": _neutral(TEXT),
    "reasoning_parser_plugin": _unknown(TEXT, PLUGIN, place=PATH),
    "renderer_num_workers": _neutral(WHOLE),
    "replayssm_buffer_len": _neutral(WHOLE),
    "response_role": _neutral(TEXT),
    "return_sampling_mask": _neutral(TRUTH),
    "return_tokens_as_token_ids": _neutral(TRUTH),
    "revision": _neutral(TEXT),
    "root_path": _neutral(TEXT),
    "runner": _counted(TEXT, "weights"),
    "safetensors_load_strategy": _neutral(TEXT),
    "safetensors_prefetch_block_size": _neutral(WHOLE),
    "safetensors_prefetch_num_threads": _neutral(WHOLE),
    "scheduler_cls": _unknown(TEXT, PLUGIN),
    "scheduler_reserve_full_isl": _neutral(TRUTH),
    "scheduling_policy": _neutral(TEXT),
    "seed": _neutral(WHOLE),
    "served_model_name": _neutral(LIST),
    "show_hidden_metrics_for_version": _neutral(TEXT),
    "shutdown_timeout": _neutral(WHOLE),
    "skip_mm_profiling": _neutral(TRUTH),
    "skip_tokenizer_init": _neutral(TRUTH),
    "sleep_mode_backend": _unknown(TEXT, PLUGIN, since="0.33"),
    "sleep_mode_offload_cudagraph": _neutral(TRUTH),
    "sleep_preserve_parameter_names": _neutral(LIST),
    "sparse_indexer_topk_backend": _neutral(TEXT),
    "spec_method": _counted(TEXT, "speculation"),
    "spec_model": _counted(TEXT, "speculation", place=REPOSITORY),
    "spec_tokens": _counted(WHOLE, "speculation"),
    "specialize_active_lora": _counted(TRUTH, "graphs"),
    "speculative_config": _counted(JSON, "speculation", short="-sc"),
    "sse_keep_alive_interval": _neutral(WHOLE),
    "ssl_ca_certs": _neutral(TEXT, place=PATH),
    "ssl_cert_reqs": _neutral(WHOLE),
    "ssl_certfile": _neutral(TEXT, place=PATH),
    "ssl_ciphers": _neutral(TEXT),
    "ssl_keyfile": _neutral(TEXT, place=PATH),
    "stream_interval": _neutral(WHOLE),
    "structured_outputs_config": _neutral(JSON),
    "swa_bounded_replay": _neutral(TRUTH),
    "tensor_parallel_size": _counted(WHOLE, "weights", short="-tp"),
    "tokenizer": _neutral(TEXT, place=REPOSITORY),
    "tokenizer_mode": _neutral(TEXT),
    "tokenizer_revision": _neutral(TEXT),
    "tokens_only": _neutral(TRUTH),
    "tool_call_parser": _neutral(TEXT),
    "tool_parser_plugin": _unknown(TEXT, PLUGIN, place=PATH),
    "tool_server": _neutral(TEXT),
    "tool_strict_level": _neutral(TEXT),
    "trust_remote_code": _neutral(TRUTH),
    "trust_request_chat_template": _neutral(TRUTH),
    "trust_request_mm_kwargs": _neutral(TRUTH),
    "ubatch_size": _neutral(WHOLE),
    "uds": _neutral(TEXT, place=SOCKET),
    "use_fp64_gumbel": _neutral(TRUTH),
    "use_replayssm": _neutral(TRUTH),
    "use_tqdm_on_load": _neutral(TRUTH),
    "uvicorn_log_level": _neutral(TEXT),
    "video_pruning_method": _neutral(TEXT),
    "video_pruning_rate": _neutral(NUMBER),
    "watchdog_config": _neutral(JSON, since="0.33"),
    "watermark": _neutral(NUMBER),
    "watermark_config": _neutral(JSON),
    "weight_transfer_config": _unknown(JSON, EXTERNAL),
    "worker_cls": _unknown(TEXT, PLUGIN),
    "worker_extension_cls": _unknown(TEXT, PLUGIN),
}

# What objects name on the box: vLLM's config/speculative.py, structured_outputs.py, compilation.py, profiler.py.
PLACES_WITHIN = {
    "speculative_config": {"model": REPOSITORY},
    "structured_outputs_config": {"reasoning_parser_plugin": PATH},
    "compilation_config": {"cache_dir": WRITTEN, "debug_dump_path": WRITTEN},
    "profiler_config": {"torch_profiler_dir": WRITTEN, "proton_profiler_dir": WRITTEN},
}
# Objects below which connectors have settings of their own, at any depth: a path there is written, one of a file of settings is read.
CONNECTORS = {"kv_transfer_config": "kv_connector_extra_config", "ec_transfer_config": "ec_connector_extra_config"}
# Names that vLLM's parser takes for another one.
ALIASES = {
    "device_memory_utilization": "gpu_memory_utilization",
    "kv_cache_memory": "kv_cache_memory_bytes",
    **{row.short.lstrip("-"): name for name, row in ARGUMENTS.items() if row.short},
}
_OPPOSITE = re.compile(r"(?:no|(enable|disable))_(.+)")


def canonical(name: str) -> str:
    """The name of the table for a plain name as a user may write it: ``tp``, ``no_enforce_eager``, ``compilation_config.mode``, ``disable_lora``.

    What is not known comes back as it is.
    """
    head = name.partition(".")[0]
    head = ALIASES.get(head, head)
    turned = _OPPOSITE.fullmatch(head)
    if head in ARGUMENTS or not turned:
        return head
    word, rest = turned.groups()
    # vLLM's truth values are written --enable-x and --no-enable-x, from 0.30 on also --disable-x (and the other way round).
    other = rest if word is None else ("disable_" if word == "enable" else "enable_") + rest
    return other if other in ARGUMENTS and ARGUMENTS[other].kind == TRUTH else head


def row_of(name: str) -> Argument | None:
    """The row of an argument under any of its names; None for one that no vLLM from 0.26 to 0.33 has."""
    return ARGUMENTS.get(canonical(name))


def by_name(args: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments under the names of the table; ``no_x: true`` is ``x: false``. What is dotted or not known stays as it is."""
    found = {}
    for name, value in args.items():
        known = canonical(name)
        if "." in name or known not in ARGUMENTS:
            found[name] = value
        else:
            turned = ARGUMENTS[known].kind == TRUTH and known != ALIASES.get(name, name) and isinstance(value, bool)
            found[known] = not value if turned else value
    return found


def is_off(value: Any) -> bool:
    """Whether a value asks for nothing: absent, false, 0, empty."""
    return value in (None, "", "0", "false", "none", "null") or value is False or (isinstance(value, (int, float)) and value == 0) or value in ([], {}, ())

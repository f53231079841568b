# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The keys of arguments that are objects: vLLM ends its start over one that its class has not (``config/*.py`` of 0.32 and 0.33). Pure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.checks import words

KEYS = {
    "attention_config": words(
        "backend backend_per_kind disable_flashinfer_q_quantization flash_attn_max_num_splits_for_cuda_graph flash_attn_version flex_attn_block_m "
        "flex_attn_block_n flex_attn_kv_block_size flex_attn_q_block_size hisparse_config indexer_kv_dtype indexer_sparse_logits "
        "indexer_tp_shard_min_rows minimax_m3_indexer_cp minimax_m3_msa_decode_backend mla_prefill_backend sparse_mla_force_mqa "
        "sparse_mla_prefill_workspace_factor tokenspeed_mla_min_split_kv tq_max_kv_splits_for_cuda_graph trtllm_ragged_backend use_non_causal "
        "use_prefill_query_quantization use_trtllm_attention"
    ),
    "compilation_config": words(
        "backend cache_dir compile_cache_save_format compile_mm_encoder compile_ranges_endpoints compile_sizes cudagraph_capture_sizes "
        "cudagraph_copy_inputs cudagraph_decoder_replay cudagraph_mm_encoder cudagraph_mode cudagraph_num_of_warmups cudagraph_specialize_lora "
        "custom_ops debug_dump_path decoder_replay_cudagraph_capture_sizes decoder_replay_trim_threshold dynamic_shapes_config "
        "encoder_cudagraph_max_frames_per_batch encoder_cudagraph_max_vision_items_per_batch encoder_cudagraph_token_budgets fast_moe_cold_start "
        "inductor_compile_config inductor_passes ir_enable_torch_wrap max_cudagraph_capture_size mode pass_config splitting_ops "
        "use_inductor_graph_partition"
    ),
    "ec_transfer_config": words(
        "ec_buffer_device ec_buffer_size ec_connector ec_connector_extra_config ec_connector_module_path ec_ip ec_port ec_role engine_id"
    ),
    "eplb_config": words(
        "communicator enable_migration_batching log_balancedness log_balancedness_interval num_redundant_experts policy step_interval use_async window_size"
    ),
    "kernel_config": words(
        "enable_cutedsl_warmup enable_flashinfer_autotune enable_jit_warmup enable_rocm_segmented_attn_autotune ir_op_priority linear_backend "
        "linear_backend_per_quant moe_backend monokernel sparse_indexer_topk_backend"
    ),
    "kv_events_config": words("buffer_steps enable_kv_cache_events endpoint hwm max_queue_size publisher replay_endpoint topic"),
    "kv_transfer_config": words(
        "enable_permute_local_kv engine_id kv_buffer_device kv_connector kv_connector_extra_config kv_connector_module_path kv_load_failure_policy "
        "kv_port kv_role"
    ),
    "pooler_config": words(
        "dimensions enable_chunked_processing enable_flash_late_interaction logit_mean logit_sigma max_embed_len pooling_type returned_token_ids "
        "seq_pooling_type step_tag_id task tok_pooling_type use_activation"
    ),
    "profiler_config": words(
        "active_iterations capture_torch_profiler delay_iterations detailed_trace_annotation ignore_frontend max_iterations profiler proton_backend "
        "proton_context proton_data proton_graph_attribution proton_hook proton_mode proton_output_format proton_profiler_dir "
        "torch_profiler_activities torch_profiler_dir torch_profiler_dump_cuda_time_total torch_profiler_record_shapes torch_profiler_use_gzip "
        "torch_profiler_with_flops torch_profiler_with_memory torch_profiler_with_stack wait_iterations warmup_iterations"
    ),
    "reasoning_config": words("reasoning_end_str reasoning_parser reasoning_start_str"),
    "speculative_config": words(
        "attention_backend code_revision disable_eagle_block_drop disable_lookahead_block_hashes disable_padded_drafter_batch "
        "draft_lm_head_quantization draft_load_config draft_sample_method draft_tensor_parallel_size dspark_draft_topk enable_adaptive_verification "
        "enforce_eager fly_entropy_threshold fly_entropy_top_k fly_window_size index_share_for_mtp_iteration kv_cache_dtype max_model_len method "
        "model moe_backend num_speculative_tokens num_speculative_tokens_per_batch_size parallel_drafting prompt_lookup_max prompt_lookup_min "
        "quantization rejection_sample_method revision suffix_decoding_max_cached_requests suffix_decoding_max_spec_factor "
        "suffix_decoding_max_tree_depth suffix_decoding_min_token_prob synthetic_acceptance_length synthetic_acceptance_rates use_heterogeneous_vocab "
        "use_local_argmax_reduction xpress_topc"
    ),
    "structured_outputs_config": words(
        "backend disable_additional_properties disable_any_whitespace enable_in_reasoning reasoning_parser reasoning_parser_plugin"
    ),
}
# What recipes still write, and what says the same now.
RENAMED = {
    ("compilation_config", "level"): "say mode",
    ("compilation_config", "full_cuda_graph"): "say cudagraph_mode: FULL",
    ("compilation_config", "use_cudagraph"): "say cudagraph_mode",
    ("pooler_config", "normalize"): "say use_activation",
    ("pooler_config", "softmax"): "say use_activation",
    ("pooler_config", "activation"): "say use_activation",
    ("pooler_config", "logit_bias"): "say logit_mean",
    ("speculative_config", "tensor_parallel_size"): "say draft_tensor_parallel_size",
    ("speculative_config", "disable_by_batch_size"): "leave it out",
    ("speculative_config", "acceptance_method"): "say rejection_sample_method",
    ("structured_outputs_config", "disable_fallback"): "leave it out, there is no fallback any more",
}
OBJECTS = ("attention_config", "compilation_config", "kernel_config", "pooler_config", "structured_outputs_config")
LEVEL = {"compilation_config": ", or optimization_level for a number from 0 to 3"}
_SEQUENCE, _TOKEN = ("CLS", "LAST", "MEAN"), ("ALL", "STEP")
POOLING = (
    ("pooler_config", "seq_pooling_type", _SEQUENCE),
    ("pooler_config", "tok_pooling_type", _TOKEN),
    ("pooler_config", "pooling_type", (*_SEQUENCE, *_TOKEN)),
)
BACKENDS = ("auto", "xgrammar", "guidance", "outlines", "lm-format-enforcer")


def refuse(args: Mapping[str, Any], who: str) -> None:
    """GB10Error for the first key that its class has not, and for a backend of structured outputs that is none."""
    for name, known in KEYS.items():
        given = args.get(name)
        if name in OBJECTS and given not in (None, "") and not isinstance(given, Mapping):
            raise GB10Error(f"{who}: args.{name} is {str(given)[:40]!r}, and vLLM takes an object there: write a dictionary{LEVEL.get(name, '')}")
        for key in given if isinstance(given, Mapping) else ():
            plain = str(key).replace("-", "_")
            if plain not in known:
                near = difflib.get_close_matches(plain, known, n=1, cutoff=0.75)
                meant = RENAMED.get((name, plain)) or (f"did you mean {near[0]}?" if near else "leave it out")
                raise GB10Error(f"{who}: args.{name} has the key {plain[:60]}, over which vLLM refuses to start: {meant}")
    for name, key, values in POOLING:
        value = given.get(key) if isinstance(given := args.get(name), Mapping) else None
        if value is not None and value not in values:
            raise GB10Error(f"{who}: args.{name}.{key} is {str(value)[:40]!r}: vLLM takes one of {', '.join(values)}, in capitals")
    compiled = args.get("compilation_config")
    if args.get("cudagraph_capture_sizes") and isinstance(compiled, Mapping) and compiled.get("cudagraph_capture_sizes"):
        raise GB10Error(f"{who}: args says cudagraph_capture_sizes twice, also in compilation_config, which vLLM refuses: keep one of them")
    given = args.get("structured_outputs_config")
    backend = given.get("backend", "auto") if isinstance(given, Mapping) else "auto"
    if backend not in BACKENDS:
        raise GB10Error(f"{who}: args.structured_outputs_config.backend is {str(backend)[:40]!r}: vLLM takes one of {', '.join(BACKENDS)}")

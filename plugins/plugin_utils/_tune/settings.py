# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which settings a search must not touch: what decides what is served, who reaches it, whose code runs, and what leaves the box. Pure.

The names are those of ``vllm serve`` 0.26 to 0.33 (``_sizing.arguments``) and the keys of a server in the inventory.
"""

from __future__ import annotations

from collections.abc import Iterable

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.arguments import row_of
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.flags import canonical_name, plain_name

SERVED = frozenset(
    (
        "model", "served_model_name", "tokenizer", "tokenizer_mode", "tokenizer_revision", "skip_tokenizer_init", "revision", "code_revision", "config",
        "config_format", "hf_config_path", "hf_overrides", "hf_token", "runner", "convert", "task", "pooler_config", "generation_config",
        "override_generation_config", "chat_template", "chat_template_content_format", "default_chat_template_kwargs", "response_role",
        "enable_auto_tool_choice", "tool_call_parser", "exclude_tools_when_tool_choice_none", "tool_strict_level", "reasoning_parser", "reasoning_config",
        "reasoning_effort_map", "enable_lora", "lora_modules", "default_mm_loras", "language_model_only", "mm_encoder_only", "max_logprobs",
        "logprobs_mode", "enable_prompt_embeds", "enable_mm_embeds", "tokens_only", "seed", "watermark_config", "fingerprint_mode", "fingerprint_value",
    )
)  # fmt: skip
"""What is served: the model, how its words become tokens, what its answers are."""
REACHED = frozenset(
    (
        "host", "port", "uds", "grpc", "grpc_port", "headless", "api_key", "root_path", "allow_credentials", "disable_fastapi_docs", "enable_offline_docs",
        "enable_tokenizer_info_endpoint", "enable_scale_out", "enable_sleep_mode", "enable_ssl_refresh", "tool_server", "master_addr", "master_port",
        "nnodes", "node_rank", "data_parallel_address", "data_parallel_rpc_port", "data_parallel_supervisor_port", "data_parallel_rank",
        "data_parallel_start_rank", "data_parallel_external_lb", "data_parallel_hybrid_lb", "data_parallel_multi_port_external_lb", "kv_events_config",
        "kv_transfer_config", "ec_transfer_config", "ec_manager_config", "weight_transfer_config", "otlp_traces_endpoint", "collect_detailed_traces",
        "enable_log_requests", "enable_log_outputs", "enable_log_deltas", "log_config_file", "logging_config", "profiler_config", "enable_trace_replay",
    )
)  # fmt: skip
"""Who reaches it, and where what is asked of it goes."""
CODE = frozenset(
    (
        "trust_remote_code", "trust_request_chat_template", "trust_request_mm_kwargs", "middleware", "worker_cls", "worker_extension_cls", "scheduler_cls",
        "logits_processors", "io_processor_plugin", "reasoning_parser_plugin", "tool_parser_plugin", "model_class_overrides", "additional_config",
    )
)  # fmt: skip
"""Whose code runs."""
PREFIXES = ("ssl_", "allowed_")
OF_SERVERS = frozenset(("name", "address", "tls", "env", "image", "boxes", "recipe", "recipe_without", "args", "volumes", "locked"))
"""Keys of a server in the inventory that are no settings."""
MAY_BE_FILES = frozenset(("spec_model",))
"""What names a place on the box and is a setting all the same: a draft model."""


def is_kept(name: str) -> bool:
    """Whether a search must leave this setting as it is; ``name`` as a user may write it, also dotted, short, negated or only begun, as vLLM takes it."""
    plain = plain_name(name)
    known = canonical_name(plain.partition(".")[0])
    row = row_of(known)
    if known in SERVED | REACHED | CODE or plain in OF_SERVERS or known.startswith(PREFIXES):
        return True
    return row is not None and bool(row.place) and known not in MAY_BE_FILES


def refuse(names: Iterable[str]) -> None:
    """GB10Error in one sentence where one of these settings is none that a search may try."""
    wrong = [name for name in names if is_kept(name)]
    if wrong:
        raise GB10Error(f"{', '.join(wrong)} cannot be tuned: it decides what is served, who reaches it or whose code runs.")

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the engine is told and where it runs: the inputs of the KV arithmetic that are not in config.json."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Engine:
    """One ``vllm serve`` command line, as far as it decides the KV cache.

    ``None`` means "vLLM's default for this platform, version and model". ``platform`` is ``gb10``
    (one integrated CUDA 12.1 device) or ``cpu`` (vLLM's CPU build: blocks of 128 tokens, one batch in flight).
    """

    vllm_version: str = "0.33.0"
    platform: str = "gb10"
    cuda_runtime: str = "13.0"
    dtype: str = "auto"
    kv_cache_dtype: str = "auto"
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    decode_context_parallel_size: int = 1
    max_num_batched_tokens: int | None = None
    max_num_seqs: int | None = None
    enable_prefix_caching: bool | None = None
    mamba_cache_mode: str | None = None
    mamba_cache_dtype: str | None = None
    mamba_ssm_cache_dtype: str | None = None
    async_scheduling: bool | None = None
    speculative_method: str | None = None
    num_speculative_tokens: int = 0
    block_size: int | None = None
    gdn_prefill_backend: str | None = None
    disable_hybrid_kv_cache_manager: bool = False
    runner: str = "auto"

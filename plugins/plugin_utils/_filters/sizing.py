# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters for arithmetic people want in templates, and for showing a plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.plan import calculate
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.as_it_runs import as_it_runs
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.plan_picture import plan_picture
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.plan_table import plan_table
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.words import human_bytes


def kv_cache_bytes(
    config: dict[str, Any],
    max_model_len: int | str,
    concurrency: int = 1,
    kv_cache_dtype: str = "auto",
    vllm_version: str = "",
    tensor_parallel_size: int = 1,
    assume_full_attention: bool = False,
) -> int:
    """Bytes of KV cache that ``concurrency`` requests of ``max_model_len`` tokens need."""
    if not isinstance(config, dict):
        raise GB10Error(f"kv_cache_bytes wants a model's config.json as a dictionary, not {type(config).__name__}")
    config = config.get("config", config) if isinstance(config.get("config"), dict) else config
    answer = calculate(
        {"config": config},
        {"vllm_version": vllm_version},
        max_model_len=max_model_len,
        concurrency=concurrency,
        kv_cache_dtype=kv_cache_dtype,
        tensor_parallel_size=tensor_parallel_size,
        assume_full_attention=bool(assume_full_attention),
    )
    return answer["needed_bytes"]


FILTERS: dict[str, Callable] = {
    "kv_cache_bytes": kv_cache_bytes,
    "human_bytes": human_bytes,
    "plan_table": plan_table,
    "plan_picture": plan_picture,
    "plan_as_it_runs": as_it_runs,
}

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From a config.json and an engine to the KV cache layout: layers, pages, groups, blocks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Mapping

from ansible_collections.gb10.vllm.plugins.module_utils.sizing.engine import Engine


@dataclass(frozen=True)
class Group:
    """Layers that share one block table."""

    layers: int
    kind: str  # full | sliding | chunked | mla | sliding_mla | mamba | cross | mixed
    block_size: int
    page_size_bytes: int
    members: tuple = ()


@dataclass(frozen=True)
class KVLayout:
    """Everything that is known before the number of available bytes is (skeleton: see kv_layout)."""

    architecture: str
    dtype: str
    resolved_kv_cache_dtype: str
    derived_max_model_len: int
    block_size: int
    bytes_per_block: int
    groups: tuple[Group, ...]
    max_num_batched_tokens: int
    max_num_seqs: int
    kv_free: bool
    kv_bytes_per_token: float
    facts: Any
    engine: Engine
    warnings: tuple[str, ...] = field(default=())

    def pages_per_request(self, max_model_len: int) -> list[int]:
        """Blocks one request of ``max_model_len`` tokens takes, one number per group."""
        raise NotImplementedError

    def needed_bytes(self, max_model_len: int) -> int:
        """Bytes one request of ``max_model_len`` tokens takes."""
        raise NotImplementedError


def kv_layout(config: Mapping[str, Any], engine: Engine, *, assume_full_attention: bool = False) -> KVLayout:
    """The layout of ``config`` under ``engine``; GB10Error for an unknown architecture or a bad config."""
    raise NotImplementedError

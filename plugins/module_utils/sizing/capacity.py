# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From a layout and available bytes to what vLLM prints: blocks, tokens, concurrency, error, longest context."""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.gb10.vllm.plugins.module_utils.sizing.layout import KVLayout


@dataclass(frozen=True)
class Capacity:
    """What vLLM says about ``available_bytes`` and ``max_model_len``."""

    available_bytes: int
    max_model_len: int
    num_blocks: int
    tokens: int
    concurrency: float
    needed_bytes: int
    ok: bool
    estimated_max_model_len: int
    error: str | None
    log: str | None


def capacity(layout: KVLayout, available_bytes: int, max_model_len: int) -> Capacity:
    """vLLM's answer for one length."""
    raise NotImplementedError


def longest_max_model_len(layout: KVLayout, available_bytes: int, concurrency: float = 1) -> int:
    """The longest context for which ``concurrency`` requests fit (0: none), capped at the model's own length."""
    raise NotImplementedError


def bytes_for(layout: KVLayout, max_model_len: int, concurrency: float = 1) -> int:
    """The smallest KV bytes, a block multiple with the null block, that give ``concurrency`` at ``max_model_len``."""
    raise NotImplementedError


def auto_fit(layout: KVLayout, available_bytes: int) -> Capacity:
    """What ``--max-model-len auto`` gives; ``log`` is the Auto-fit line."""
    raise NotImplementedError

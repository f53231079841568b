# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which layer of a model is of which type where its file does not say: what the configuration class derives.

transformers: ``configuration_*.py`` ``__post_init__``. docs/extending.md says when an architecture needs an entry here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ansible_collections.gb10.vllm.plugins.module_utils._sizing.config import MAX_LAYERS, Config

FULL, SLIDING, CHUNKED, LINEAR = "full_attention", "sliding_attention", "chunked_attention", "linear_attention"


class Pattern(NamedTuple):
    """Every ``every``-th layer is full attention, the others are ``often``; ``key`` may say another ``every`` in the file."""

    often: str
    every: int
    key: str | None = None

    def names(self, text: Config, count: int) -> list[str]:
        """One name per layer."""
        every = text.integer(self.key, 1, MAX_LAYERS, self.every) if self.key else self.every
        return _every(count, every, self.often)


# model_type -> plain pattern (docs/extending.md)
PATTERNS: dict[str, Pattern] = {
    "afmoe": Pattern(SLIDING, 4, "global_attn_every_n_layers"),
    "cohere2": Pattern(SLIDING, 4, "sliding_window_pattern"),
    "cohere2_moe": Pattern(SLIDING, 4, "sliding_window_pattern"),
    "gemma2": Pattern(SLIDING, 2),
    "gemma3": Pattern(SLIDING, 6, "sliding_window_pattern"),
    "gemma3n": Pattern(SLIDING, 5),
    "gpt_oss": Pattern(SLIDING, 2),
    "muse_glimmer": Pattern(SLIDING, 4),
    "muse_glimmer_text": Pattern(SLIDING, 4),
    "olmo3": Pattern(SLIDING, 4),
    "qwen3_5": Pattern(LINEAR, 4, "full_attention_interval"),
    "qwen3_5_moe": Pattern(LINEAR, 4, "full_attention_interval"),
    "qwen3_5_moe_text": Pattern(LINEAR, 4, "full_attention_interval"),
    "qwen3_5_text": Pattern(LINEAR, 4, "full_attention_interval"),
    "qwen3_next": Pattern(LINEAR, 4, "full_attention_interval"),
    "vaultgemma": Pattern(SLIDING, 2),
}
# model types that count by their beginning (gemma3_text and whatever else Google appends), the longer first
_FAMILIES = ("gemma3n", "gemma4", "gemma3")


def layer_types(text: Config, model_type: str, count: int, window: int | None) -> list[str] | None:
    """One name per layer: the file's, or what the configuration class derives; None when the class has no such list."""
    name = next((family for family in _FAMILIES if model_type.startswith(family)), model_type)
    given = text.strings("layer_types") or text.strings("layers_block_type")
    if given:
        names = [{"mamba": LINEAR, "attention": FULL}.get(entry, entry) for entry in given]
        return _last_full(names) if name == "gemma4" and len(names) == count else names
    if name in PATTERNS:
        return PATTERNS[name].names(text, count)
    rule = RULES.get(name)
    return rule(text, count, window) if rule else None


def _every(count: int, every: int, often: str) -> list[str]:
    return [often if (index + 1) % every else FULL for index in range(count)]


def _last_full(names: list[str]) -> list[str]:
    return [*names[:-1], FULL]


def _gemma4(text: Config, count: int, window: int | None) -> list[str]:
    return _last_full(_every(count, 6, SLIDING))


def _exaone4(text: Config, count: int, window: int | None) -> list[str]:
    pattern = text.get("sliding_window_pattern", 4)
    if window is None or not pattern:
        return [FULL] * count
    # a text such as LLLG has one letter per layer
    every = len(pattern) if isinstance(pattern, str) else text.integer("sliding_window_pattern", 1, MAX_LAYERS, 4)
    return _every(count, every, SLIDING)


def _cwm(text: Config, count: int, window: int | None) -> list[str]:
    return [SLIDING if index % 4 else FULL for index in range(count)]


def _mimo_v2(text: Config, count: int, window: int | None) -> list[str]:
    pattern = text.integers("hybrid_layer_pattern", 0, 1)
    if pattern:
        return [SLIDING if entry else FULL for entry in pattern]
    return [FULL if index == 0 or (index + 1) % 6 == 0 else SLIDING for index in range(count)]


def _qwen(text: Config, count: int, window: int | None) -> list[str]:
    first = text.integer("max_window_layers", 0, MAX_LAYERS, 28)
    return [SLIDING if window is not None and index >= first else FULL for index in range(count)]


def _llama4(text: Config, count: int, window: int | None) -> list[str]:
    no_rope = text.integers("no_rope_layers", 0, 1)
    if no_rope:
        return [CHUNKED if entry else FULL for entry in no_rope]
    return _every(count, text.integer("no_rope_layer_interval", 1, MAX_LAYERS, 4), CHUNKED)


def _lfm2(text: Config, count: int, window: int | None) -> list[str]:
    full = text.integers("full_attn_idxs", 0, MAX_LAYERS)
    return [FULL if full is None or index in full else "conv" for index in range(count)]


def _jamba(text: Config, count: int, window: int | None) -> list[str]:
    period = text.integer("attn_layer_period", 1, MAX_LAYERS, 8)
    offset = text.integer("attn_layer_offset", 0, MAX_LAYERS, 4)
    return [FULL if index % period == offset else LINEAR for index in range(count)]


def _bamba(text: Config, count: int, window: int | None) -> list[str]:
    full = text.integers("attn_layer_indices", 0, MAX_LAYERS) or []
    return [FULL if index in full else LINEAR for index in range(count)]


def _olmo_hybrid(text: Config, count: int, window: int | None) -> list[str]:
    names = _every(count, 4, LINEAR)
    return names if FULL in names else _last_full(names)


# model_type -> what is no plain pattern: (configuration, number of layers, window) to one name per layer
RULES: dict[str, Callable[[Config, int, int | None], list[str]]] = {
    "bamba": _bamba,
    "cwm": _cwm,
    "exaone4": _exaone4,
    "exaone_moe": _exaone4,
    "gemma4": _gemma4,
    "jamba": _jamba,
    "lfm2": _lfm2,
    "lfm2_moe": _lfm2,
    "llama4": _llama4,
    "llama4_text": _llama4,
    "mimo_v2": _mimo_v2,
    "mimo_v2_flash": _mimo_v2,
    "olmo_hybrid": _olmo_hybrid,
    "qwen2": _qwen,
    "qwen2_5_vl": _qwen,
    "qwen2_5_vl_text": _qwen,
    "qwen2_vl": _qwen,
    "qwen2_vl_text": _qwen,
    "qwen3": _qwen,
}

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How many tokens a model was made for: the shortest length its configuration names, stretched by its rotary embedding.

vLLM: ``config/model.py`` ``_get_and_verify_max_len``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.checks import shown
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.config import MAX_LENGTH, Config
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.rules import Rules

_LENGTH_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "model_max_length",
    "max_target_positions",
    "max_sequence_length",
    "max_seq_length",
    "seq_len",
)
# rope types whose factor is not applied to the length (it is already in it)
_UNSCALED_ROPES = frozenset({"su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling"})
_LAYER_TYPE_NAMES = frozenset(
    {
        "full_attention",
        "sliding_attention",
        "chunked_attention",
        "linear_attention",
        "indexed_attention",
        "compressed_sparse_attention",
        "heavily_compressed_attention",
        "main",
        "compress",
    }
)


class Length(NamedTuple):
    """The model's own length in tokens, the key it comes from, and longrope's shorter default."""

    tokens: int
    key: str | None
    default: int | None
    warnings: tuple[str, ...]


class Limits(NamedTuple):
    """What besides the configuration limits a length: its window where windows are turned off, the tokenizer's and sentence-transformers' files."""

    window: int | None = None
    tokenizer: Any = math.inf
    sentence: Any = None


NO_LIMITS = Limits()


def model_length(text: Config, model_type: str, rules: Rules, limits: Limits = NO_LIMITS) -> Length:
    """The length of the language model ``text``; GB10Error when no model has it."""
    ropes = _ropes(text)
    named, key = _named_length(text)
    if not isinstance(limits.tokenizer, (int, float)):
        raise GB10Error(
            f"model_max_length in tokenizer_config.json is {shown(limits.tokenizer)}, which vLLM compares with the model's length and ends its start over:"
            " write a number, or take the line out."
        )
    for value, name in ((limits.window, "sliding_window"), (limits.tokenizer, "model_max_length in tokenizer_config.json")):
        # a tokenizer without a limit of its own says 10**30
        if _is_number(value) and value < (named or math.inf):
            named, key = int(value), name
    warnings = () if named else ("the configuration names no maximum length; vLLM then assumes 2048 tokens",)
    length: float = named or 2048
    if ropes and "gemma3" not in model_type:
        length = _stretched(text, length, ropes, rules)
    if limits.sentence is not None:
        # wins over all others, whichever is the longer (get_sentence_transformer_tokenizer_config)
        length, key = limits.sentence if _is_number(limits.sentence) else 0, "max_seq_length in sentence_*_config.json"
    if not 1 <= length <= MAX_LENGTH:
        name = text.name(key or "max_position_embeddings")
        raise GB10Error(f"config key {name!r} with its rope factor gives {shown(length)} tokens: no model has that length.")
    return Length(int(length), key, _longrope_default(text, ropes), warnings)


def _named_length(text: Config) -> tuple[int | None, str | None]:
    lengths = [(text.optional(key, 1, MAX_LENGTH), key) for key in _LENGTH_KEYS]
    explicit = text.optional("model_max_length", 1, MAX_LENGTH)
    if explicit is not None:
        return explicit, "model_max_length"
    found = [(value, key) for value, key in lengths if value is not None]
    return min(found, key=lambda pair: pair[0]) if found else (None, None)


def _stretched(text: Config, length: float, ropes: Sequence[Mapping[str, Any]], rules: Rules) -> float:
    """``length`` times the last factor that is not in it yet."""
    scale: float = 1.0
    for entry in ropes:
        kind = _rope_type(entry)
        unscaled = kind in _UNSCALED_ROPES
        original = _original(entry)
        if rules.yarn_from_original and kind == "yarn" and original is not None:
            length, unscaled = original, False
        if not unscaled:
            scale = _factor(text, entry, scale)
    return length * scale


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _factor(text: Config, entry: Mapping[str, Any], default: float) -> float:
    factor = entry.get("factor", default)
    if factor is None:
        return 1.0
    if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 0 < factor <= 1e6:
        raise GB10Error(f"config key {text.name('rope_scaling.factor')!r} is {shown(factor)}: it must be a positive number.")
    return factor


def _original(entry: Mapping[str, Any]) -> float | None:
    value = entry.get("original_max_position_embeddings")
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= MAX_LENGTH else None


def _longrope_default(text: Config, ropes: Sequence[Mapping[str, Any]]) -> int | None:
    """The length before scaling, which vLLM serves when no other is asked for."""
    if not any(_rope_type(entry) == "longrope" for entry in ropes):
        return None
    outer = text.optional("original_max_position_embeddings", 1, MAX_LENGTH)
    inner = [entry["original_max_position_embeddings"] for entry in ropes if isinstance(_original(entry), int)]
    return outer if outer is not None else inner[0] if inner else None


def _ropes(text: Config) -> list[Mapping[str, Any]]:
    """Rope parameters, one per layer type when they are nested, in either spelling."""
    merged: Mapping[str, Any] = {}
    for key in ("rope_parameters", "rope_scaling"):
        value = text.mapping(key)
        if value:
            merged = value
            break
    if merged and set(merged) <= _LAYER_TYPE_NAMES:
        return [entry for entry in merged.values() if isinstance(entry, Mapping) and entry]
    return [merged] if merged else []


def _rope_type(entry: Mapping[str, Any]) -> str:
    value = entry.get("rope_type", entry.get("type"))
    return value if isinstance(value, str) else "default"

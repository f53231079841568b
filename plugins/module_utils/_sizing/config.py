# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One configuration object of a model: every value is read through `Config`, which knows where it stands.

A value that no model has is refused in one sentence that names the key as a user finds it in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.checks import shown

MAX_LAYERS = 10_000
MAX_HEADS = 1_000_000
MAX_SIZE = 1 << 24  # widths
MAX_VOCAB = 1 << 28
MAX_LENGTH = 1 << 40

# other spellings of a key, in the order vLLM tries them
ALIASES: dict[str, tuple[str, ...]] = {
    "num_hidden_layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "hidden_size": ("hidden_size", "n_embd", "d_model", "dim"),
    "num_attention_heads": ("num_attention_heads", "n_head", "n_heads"),
    "num_key_value_heads": ("n_head_kv", "num_kv_heads", "num_key_value_heads", "multi_query_group_num", "num_attention_groups"),
    "vocab_size": ("vocab_size", "padded_vocab_size"),
    "intermediate_size": ("intermediate_size", "ffn_hidden_size", "n_inner", "ffn_dim", "hidden_dim"),
    "num_experts": ("num_experts", "moe_num_experts", "n_routed_experts", "num_local_experts"),
    "num_experts_per_token": ("num_experts_per_tok", "num_experts_per_token", "top_k_experts", "moe_topk", "moe_top_k", "moe_k", "top_k"),
    "moe_intermediate_size": ("moe_intermediate_size", "expert_ffn_hidden_size"),
    "num_nextn_predict_layers": ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_layers"),
}


class Config:
    """One configuration object: checked reads of keys, with the values of its class behind it."""

    __slots__ = ("data", "defaults", "where")

    def __init__(self, data: Mapping[str, Any], defaults: Mapping[str, Any] | None = None, where: str = "") -> None:
        if not isinstance(data, Mapping):
            raise GB10Error(f"{where.rstrip('.') or 'the model configuration'} is {shown(data)}: it must be a JSON object.")
        self.data = data
        self.defaults = defaults or {}
        self.where = where

    def name(self, key: str) -> str:
        """The key as a user finds it in the file."""
        return f"{self.where}{key}"

    def get(self, key: str, default: Any = None) -> Any:
        """The raw value; a key that is absent (not null) takes the class's value."""
        if key in self.data:
            value = self.data[key]
            return default if value is None else value
        return self.defaults.get(key, default)

    def has(self, key: str) -> bool:
        """Whether the file gives the key a value."""
        return self.data.get(key) is not None

    def child(self, key: str) -> Config | None:
        """A nested object, or None when it is absent."""
        value = self.data.get(key)
        if value is None:
            return None
        return Config(value, where=f"{self.where}{key}.")

    def fail(self, key: str, value: Any, wanted: str) -> GB10Error:
        """The error for a value that no model has."""
        return GB10Error(f"config key {self.name(key)!r} is {shown(value)}: it must be {wanted}.")

    def check_integer(self, key: str, value: Any, low: int, high: int) -> int:
        """``value``, which stands under ``key``, as an integer from ``low`` to ``high``."""
        if isinstance(value, float) and value.is_integer() and abs(value) <= high:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.fail(key, value, f"an integer from {low} to {high}")
        return value

    def optional(self, key: str, low: int = 0, high: int = MAX_SIZE) -> int | None:
        """An integer or None; aliases are tried in vLLM's order."""
        for name in ALIASES.get(key, (key,)):
            value = self.get(name)
            if value is not None:
                return self.check_integer(name, value, low, high)
        return None

    def integer(self, key: str, low: int = 1, high: int = MAX_SIZE, default: int | None = None) -> int:
        """An integer; GB10Error when the key is missing and has no default."""
        value = self.optional(key, low, high)
        if value is not None:
            return value
        if default is None:
            raise GB10Error(f"config key {self.name(key)!r} is missing: the KV cache cannot be sized without it.")
        return default

    def number(self, key: str, default: float | None = None) -> float | None:
        """A finite number or the default."""
        value = self.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e18:
            raise self.fail(key, value, "a number")
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        """A boolean (0 and 1 count)."""
        value = self.get(key, default)
        if isinstance(value, bool) or value in (0, 1):
            return bool(value)
        raise self.fail(key, value, "true or false")

    def text(self, key: str) -> str | None:
        """A string or None."""
        value = self.get(key)
        if value is not None and not isinstance(value, str):
            raise self.fail(key, value, "a string")
        return value

    def sequence(self, key: str) -> list[Any] | None:
        """A list or None; at most one entry per layer any model has."""
        value = self.get(key)
        if value is None:
            return None
        if not isinstance(value, (list, tuple)) or len(value) > MAX_LAYERS:
            raise self.fail(key, value, f"a list of at most {MAX_LAYERS} entries")
        return list(value)

    def strings(self, key: str) -> list[str] | None:
        """A list of strings or None."""
        value = self.sequence(key)
        if value is not None and not all(isinstance(entry, str) for entry in value):
            raise self.fail(key, value, "a list of strings")
        return value

    def integers(self, key: str, low: int = 0, high: int = MAX_SIZE) -> list[int] | None:
        """A list of integers or None."""
        value = self.sequence(key)
        return None if value is None else [self.check_integer(key, entry, low, high) for entry in value]

    def mapping(self, key: str) -> Mapping[str, Any] | None:
        """An object or None."""
        value = self.get(key)
        if value is not None and not isinstance(value, Mapping):
            raise self.fail(key, value, "an object")
        return value

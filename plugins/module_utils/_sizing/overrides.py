# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``--hf-overrides``: the configuration that vLLM goes on with, which is the one that is sized (vLLM: ``config/model.py``). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.checks import shown
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.mistral_params import from_mistral_params, is_mistral_params

# Where a configuration keeps that of its language model.
TEXT_KEYS = ("text_config", "llm_config", "language_config", "language_model", "text_model_config", "wrapped_model_config")
# Objects of a configuration that are no configurations themselves: they are replaced as a whole.
_PLAIN_OBJECTS = frozenset({"quantization_config", "compression_config", "generation_config", "rope_parameters", "rope_scaling"})


def overridden(config: Mapping[str, Any], overrides: Any, where: str) -> Mapping[str, Any]:
    """``config`` (config.json or params.json) with a server's ``hf_overrides``; GB10Error where they are no object.

    A value replaces the key of the outer configuration, an object is merged into a nested configuration (``ModelConfig._apply_dict_overrides``).
    """
    if overrides in (None, "", {}):
        return config
    if not isinstance(overrides, Mapping):
        raise GB10Error(f"{where}: args.hf_overrides is {shown(overrides)}: write a dictionary such as {{max_position_embeddings: 131072}}")
    made = dict(from_mistral_params(config) if is_mistral_params(config) else config)
    for key, value in overrides.items():
        held = made.get(key)
        if key in TEXT_KEYS and not isinstance(held, Mapping) and "thinker_config" not in made:
            raise GB10Error(f"{where}: args.hf_overrides names {key}, which the model's configuration has not: write its keys without {key} around them")
        nested = isinstance(value, Mapping) and key not in _PLAIN_OBJECTS and str(key).endswith("_config")
        made[key] = _merged(held if isinstance(held, Mapping) else {}, value) if nested else value
    return made


def _merged(held: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``ModelConfig._update_nested``: objects are merged, all else is replaced."""
    made = dict(held)
    for key, value in changes.items():
        inner = made.get(key)
        made[key] = _merged(inner, value) if isinstance(value, Mapping) and isinstance(inner, Mapping) else value
    return made

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From facts about a model to its cache layers: what each layer keeps, before block sizes and groups.

The rules are in `layers_attention`, `layers_latent` and `layers_recurrent`, one function each. vLLM: ``model_executor/models/*.py`` and each
layer's ``get_kv_cache_spec``.
"""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import layers_attention, layers_latent, layers_recurrent
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layer import FULL, MLA, RULES, SLIDING, STATE, Build, Layer
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layers_registry import MLA_FAMILIES

# Importing a file enters its rules in RULES.
RULE_FILES = (layers_attention, layers_latent, layers_recurrent)


def draft_layers(build: Build, layers: list[tuple[int, Layer]]) -> list[tuple[int, Layer]]:
    """The layers a multi-token-prediction head adds (``num_nextn_predict_layers`` of the model's last attention kind)."""
    facts = build.facts
    count = facts.num_nextn_predict_layers or (1 if facts.family == "gdn" else 0)
    if facts.family == "mimo_v2":
        count = min(count, 1) or 1
    if not count:
        raise GB10Error(
            f"speculative_method mtp needs heads in the checkpoint, but {facts.architecture} declares none "
            f"(config key {facts.text.name('num_nextn_predict_layers')!r})."
        )
    last = facts.num_layers
    if facts.family == "deepseek_v4":
        kinds = [layer for _index, layer in layers if layer.role == "window"][:1]
    elif facts.family == "mimo_v2":
        kinds = [layer for _index, layer in layers if layer.kind == SLIDING][:1]
    elif facts.family == "sparse_mla":
        kinds = [layers_latent.index_layer(build), next(layer for _index, layer in layers if layer.role == "latent")]
    else:
        kinds = [layer for _index, layer in layers if layer.kind in (FULL, MLA)][:1] or [layers[-1][1]]
    return [(last + number, layer) for number in range(count) for layer in kinds]


def _kept(index: int, layer: Layer, skipped: tuple[str, ...]) -> Layer:
    """A layer under ``--kv-cache-dtype-skip-layers``, whose layers keep the model's own dtype (``model_executor/layers/attention/attention.py``)."""
    left_out = str(index) in skipped or ("sliding_window" in skipped and layer.kind == SLIDING)
    return replace(layer, own_dtype=True) if left_out and layer.kind != STATE and layer.content_bytes is None else layer


def build_layers(build: Build) -> list[tuple[int, Layer]]:
    """Every cache of the model with the index of its decoder layer, in vLLM's order of construction."""
    facts, engine = build.facts, build.engine
    if facts.num_attention_heads:
        build.per_rank(facts.num_attention_heads, "attention heads")
        ranks, heads = engine.tensor_parallel_size, facts.num_key_value_heads
        if heads % ranks and ranks % heads and facts.text.get("kv_lora_rank") is None:
            raise GB10Error(f"tensor_parallel_size {ranks} and the model's {heads} key-value heads do not divide each other: choose another size.")
    if not engine.latent and facts.family in MLA_FAMILIES and facts.family != "mla":
        raise GB10Error(f"VLLM_MLA_DISABLE is set, and vLLM has no other attention for {facts.architecture}: take it out of the server's env.")
    layers = list(RULES[facts.family](build))
    if engine.kv_cache_dtype_skip_layers:
        layers = [(index, _kept(index, layer, engine.kv_cache_dtype_skip_layers)) for index, layer in layers]
    if engine.num_speculative_tokens and engine.speculative_method == "mtp" and layers:
        layers += draft_layers(build, layers)
    return layers

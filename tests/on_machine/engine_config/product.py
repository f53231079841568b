# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the product makes of a combination, in the words of ``ask_engine.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._model.directory import inspect_model
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layer import STATE, Build
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layers import build_layers
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layers_registry import STATE_ONLY_FAMILIES
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layout import DTYPE_BYTES, KVLayout
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.need import Common, need_of
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.wanted_server import read_server
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.environment import readable
from combinations import Combination

VERSION = "0.32.0"
TOTAL = int(119.7 * 2**30)


def answer(one: Combination, directory: Path) -> dict[str, Any]:
    """The product's answers, or its refusal in one sentence."""
    try:
        info = inspect_model(str(directory))
        env = readable(one.env, "gb10_servers entry 1 (s)")
        wanted = {"name": "s", "model": str(directory), "model_path": str(directory), "args": dict(one.args), "plan_env": env}
        server = read_server(wanted)
        need = need_of(server, info, {}, Common({"vllm_version": VERSION, "platform": "gb10", "source": "given"}, TOTAL, 0, False, {str(directory): info}))
    except GB10Error as error:
        return {"refused": str(error)}
    layout = need.layout
    length = server["max_model_len"] or layout.default_max_model_len
    return {
        "max_model_len": length,
        "kv_cache_dtype": layout.resolved_kv_cache_dtype,
        "block_size": layout.block_size if layers(layout).get("attention") and not layout.kv_free else None,
        "layers": layers(layout),
        "max_num_seqs": layout.max_num_seqs,
        "max_num_batched_tokens": layout.batch_tokens(length),
        "runner": layout.facts.runner,
        "quantization": need.quantization,
        "prefix_caching": layout.prefix_caching,
        "eager": server["eager"],
        "speculation": [layout.engine.speculative_method, layout.engine.num_speculative_tokens] if layout.engine.speculative_method else None,
    }


def layers(layout: KVLayout) -> dict[str, int]:
    """Layers that keep states are told apart from the others; a model without states is its number of layers."""
    caches = build_layers(Build(layout.facts, layout.engine, DTYPE_BYTES[layout.dtype]))
    states = {index for index, layer in caches if layer.kind == STATE}
    attention = {index for index, layer in caches if layer.kind != STATE and index < layout.facts.num_layers}
    if not states:
        return {"attention": layout.facts.num_layers}
    return {"state": len(states)} if layout.facts.family in STATE_ONLY_FAMILIES else {"attention": len(attention), "state": len(states)}

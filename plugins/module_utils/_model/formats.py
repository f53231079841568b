# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Directories that people take for a model which vLLM can serve: adapters, drafts, pipelines, formats of other engines. One sentence for each."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error

LIMIT = 16 * 2**20
# Formats of quantised weights that other engines have and no vLLM from 0.10 to 0.33 reads.
FOREIGN = {
    "exl2": "ExLlamaV2", "exl3": "ExLlamaV3", "mlx": "MLX", "quanto": "Quanto", "eetq": "EETQ", "higgs": "HIGGS", "spqr": "SpQR", "vptq": "VPTQ",
    "aqlm": "AQLM", "quip": "QuIP", "quip#": "QuIP", "bitnet": "BitNet", "sinq": "SINQ",
}  # fmt: skip


def check_directory(where: str, names: Collection[str], read: Callable[[str, int], bytes]) -> None:
    """GB10Error for a directory that holds no model of its own, as the names of its files show."""
    weights = [name for name in names if name.endswith((".safetensors", ".bin"))]
    if "adapter_config.json" in names and all(name.startswith(("adapter_", "non_lora", "training_args", "optimizer")) for name in weights):
        base = _text(_object(read, "adapter_config.json").get("base_model_name_or_path"))
        raise GB10Error(
            f"{where} holds a LoRA adapter (adapter_config.json) and no model: serve its base model{f' {base}' if base else ''} and name this directory"
            " in the server's args, {enable_lora: true, lora_modules: [NAME=DIRECTORY]}"
        )
    if "model_index.json" in names and "config.json" not in names:
        raise GB10Error(f"{where} holds a diffusers pipeline (model_index.json), which vLLM does not serve: use a language model")


def check_config(where: str, config: Mapping[str, Any]) -> None:
    """GB10Error for a configuration of what vLLM does not serve by itself."""
    speculators = config.get("speculators_config")
    if isinstance(speculators, Mapping):
        verifier = speculators.get("verifier")
        base = _text(verifier.get("name_or_path")) if isinstance(verifier, Mapping) else ""
        raise GB10Error(
            f"{where} holds a draft model (speculators_config): serve the model it drafts for{f', {base},' if base else ''} and name this directory as"
            " `model` in speculative_config"
        )
    found = [entry for key in ("quantization_config", "quantization") if isinstance(entry := config.get(key), Mapping)]
    if any("group_size" in entry and "bits" in entry and not entry.get("quant_method") for entry in found):
        raise GB10Error(
            f"{where} holds MLX weights (`quantization` without quant_method in config.json), which vLLM does not read:"
            " use the original model or one quantised for vLLM (FP8, NVFP4, AWQ, GPTQ)"
        )
    method = next((name for entry in found if (name := _text(entry.get("quant_method")).lower())), "")
    if method in FOREIGN:
        raise GB10Error(
            f"{where} holds weights in the format of {FOREIGN[method]} (quant_method {method}), which vLLM does not read:"
            " use the original model or one quantised for vLLM (FP8, NVFP4, AWQ, GPTQ)"
        )


def as_draft(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a draft model as vLLM goes on with it: that of its layers, where the library speculators wrote it.

    vLLM: ``transformers_utils/configs/speculators/base.py extract_transformers_pre_trained_config``.
    """
    layers, kind = config.get("transformer_layer_config"), _text(config.get("speculators_model_type")).lower()
    if not isinstance(layers, Mapping) or not kind:
        return dict(config)
    name = {"eagle": "Eagle", "eagle3": "Eagle3", "peagle": "Peagle"}.get(kind, "Eagle3")
    family = "Qwen3" if layers.get("model_type") == "qwen3" else "Llama"
    return {**layers, "draft_vocab_size": config.get("draft_vocab_size"), "architectures": [f"{name}{family}ForCausalLM"]}


def _object(read: Callable[[str, int], bytes], name: str) -> Mapping[str, Any]:
    try:
        found = json.loads(read(name, LIMIT))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, Mapping) else {}


def _text(value: Any) -> str:
    return value[:120] if isinstance(value, str) and value.isprintable() else ""

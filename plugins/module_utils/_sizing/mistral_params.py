# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mistral's params.json in the names of config.json (vLLM: ``transformers_utils/configs/mistral.py``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.checks import shown
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.config import MAX_LAYERS

_RENAMED = {
    "dim": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "hidden_dim": "intermediate_size",
    "tied_embeddings": "tie_word_embeddings",
}


def is_mistral_params(config: Mapping[str, Any]) -> bool:
    """Whether the object is Mistral's params.json and not a config.json."""
    return isinstance(config, Mapping) and "architectures" not in config and "n_layers" in config and "dim" in config


def from_mistral_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """The same model as a config.json would describe it; GB10Error naming the key that is wrong."""
    config: dict[str, Any] = {_RENAMED.get(key, key): value for key, value in params.items()}
    config.setdefault("max_position_embeddings", 128_000)
    config.setdefault("max_seq_len", config["max_position_embeddings"])
    config.setdefault("model_type", "transformer")
    _windows(config)
    _rope(config)
    _quantization(config)
    _experts(config)
    _name(config)
    return _wrapped(config)


def _object(config: dict[str, Any], key: str) -> Mapping[str, Any] | None:
    """Take an object out of ``config``; None when it is absent or empty."""
    value = config.pop(key, None)
    if value and not isinstance(value, Mapping):
        raise GB10Error(f"params key {key!r} is {shown(value)}: it must be an object.")
    return value or None


def _windows(config: dict[str, Any]) -> None:
    """A list of windows is a pattern that repeats over the layers."""
    window, layers = config.get("sliding_window"), config.get("num_hidden_layers")
    if not isinstance(window, list):
        return
    if not isinstance(layers, int) or not window or not 0 < layers <= MAX_LAYERS:
        raise GB10Error(f"params key 'sliding_window' is {shown(window)}: it must be one window per layer of a repeating pattern.")
    config["layer_types"] = ["sliding_attention" if window[i % len(window)] else "full_attention" for i in range(layers)]
    config["sliding_window"] = next((entry for entry in window if entry), None)


def _rope(config: dict[str, Any]) -> None:
    yarn = _object(config, "yarn")
    if yarn:
        config["rope_parameters"] = {
            "rope_type": "yarn",
            "factor": yarn.get("factor"),
            "original_max_position_embeddings": yarn.get("original_max_position_embeddings"),
            "rope_theta": config.get("rope_theta"),
        }


def _quantization(config: dict[str, Any]) -> None:
    given = _object(config, "quantization")
    if given:
        config["quantization_config"] = {"quant_method": "fp8"} if given.get("qformat_weight") == "fp8_e4m3" else dict(given)


def _experts(config: dict[str, Any]) -> None:
    moe = config.get("moe")
    if moe is not None and not isinstance(moe, Mapping):
        raise GB10Error(f"params key 'moe' is {shown(moe)}: it must be an object.")
    if moe:
        config["num_experts"] = moe.get("num_experts")
        config["num_experts_per_tok"] = moe.get("num_experts_per_tok")
        config["moe_intermediate_size"] = moe.get("expert_hidden_dim")


def _name(config: dict[str, Any]) -> None:
    """The architecture, which params.json does not name."""
    if config["model_type"] == "mamba":
        config["architectures"] = ["Mamba2ForCausalLM"]
    elif config.get("qk_nope_head_dim"):
        config["architectures"] = ["MistralLarge3ForCausalLM"]
        config["model_type"] = "deepseek_v3"
        config.setdefault("num_key_value_heads", config.get("num_attention_heads"))
    else:
        config["architectures"] = ["MixtralForCausalLM" if config.get("moe") else "MistralForCausalLM"]


def _wrapped(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration around the language model's when the model sees or hears."""
    vision = config.pop("vision_encoder", None)
    multimodal = config.pop("multimodal", None)
    if isinstance(multimodal, Mapping):
        vision = multimodal.get("vision_encoder_args") or vision
        if multimodal.get("whisper_model_args") and not vision:
            return {"architectures": ["VoxtralForConditionalGeneration"], "model_type": "voxtral", "text_config": config, "audio_config": multimodal}
    if not vision:
        return config
    wrapped = {"architectures": ["PixtralForConditionalGeneration"], "model_type": "pixtral", "text_config": config, "vision_config": vision}
    if "quantization_config" in config:
        wrapped["quantization_config"] = config["quantization_config"]
    return wrapped

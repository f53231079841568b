# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The models that are started on a real GPU, by their true shapes: a config.json, the tensors a checkpoint of it holds, and how it is served.

Configurations are the publishers', pruned: those that the weights' golden table holds, and one of our own. What does not fit a card of 80 GB is cut
in layers. Weights are random (``--load-format dummy``), tokenizers are small ones made on the spot.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import checkpoints
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import weights
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.weights import Tensor

HERE = Path(__file__).resolve().parent
GOLDEN = {model: row["config"] for (model, _tp), row in checkpoints.golden_weights().items()}
PARAMETER_BYTES = {model: row["param_bytes_at_load"] for (model, tp), row in checkpoints.golden_weights().items() if tp == 1}
# What MistralCommon, Qwen and others call the places of images in a prompt: the tokenizer must know them.
IMAGE_WORDS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")


@dataclass(frozen=True)
class Shape:
    """One start: its model by name, what its user states for it, further files of its directory, and images in its first load."""

    model: str
    server: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Any] = field(default_factory=dict)
    images: int = 0


def _text(config: dict[str, Any], architecture: str, model_type: str, **more: Any) -> dict[str, Any]:
    """The text part of a multimodal configuration as a model of its own."""
    outer = {key: config[key] for key in ("dtype", "torch_dtype", "quantization_config") if key in config}
    return {**outer, **config["text_config"], "architectures": [architecture], "model_type": model_type, **more}


def _one(config: dict[str, Any], nbytes: int) -> Iterable[Tensor]:
    """All the weights in one tensor: where only their sum matters."""
    return [checkpoints.tensor("model.layers.0.mlp.up_proj.weight", "BF16", nbytes // 2)]


NEXT = GOLDEN["Qwen3-Next-80B-A3B"]
QWEN_VL = json.loads((HERE / "qwen2.5-vl-7b.json").read_text())

CONFIGS: dict[str, dict[str, Any]] = {
    "devstral-small-2-24b-fp8": _text(
        GOLDEN["Devstral-Small-2-24B-Instruct-2512"], "MistralForCausalLM", "mistral", tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 1e8},
    ),
    "qwen3-30b-a3b": GOLDEN["Qwen3-30B-A3B"],
    "llama-3.1-8b": GOLDEN["Llama-3.1-8B"],
    "gpt-oss-20b": GOLDEN["gpt-oss-20b"],
    "deepseek-v2-lite": GOLDEN["DeepSeek-V2-Lite"],
    "nemotron-nano-9b-v2": GOLDEN["Nemotron-Nano-9B-v2"],
    "qwen3-next-12-layers": {**NEXT, "num_hidden_layers": 12, "layer_types": NEXT["layer_types"][:12]},
    "gemma-3-27b-text": _text(GOLDEN["gemma-3-27b-it"], "Gemma3ForCausalLM", "gemma3_text"),
    "qwen2.5-vl-7b": QWEN_VL["config"],
    "qwen3-0.6b": GOLDEN["Qwen3-0.6B"],
}  # fmt: skip

TENSORS: dict[str, Callable[[dict[str, Any]], Iterable[Tensor]]] = {
    "devstral-small-2-24b-fp8": lambda config: checkpoints.dense(config, fp8=True),
    "qwen3-30b-a3b": lambda config: checkpoints.dense(config, qk_norm=True),
    "llama-3.1-8b": checkpoints.dense,
    "gpt-oss-20b": checkpoints.gpt_oss,
    "deepseek-v2-lite": checkpoints.deepseek_v2_lite,
    "nemotron-nano-9b-v2": lambda config: _one(config, PARAMETER_BYTES["Nemotron-Nano-9B-v2"]),
    "qwen3-next-12-layers": checkpoints.qwen3_next,
    "gemma-3-27b-text": lambda config: checkpoints.dense({**config, "tie_word_embeddings": True}),
    "qwen2.5-vl-7b": lambda config: _one(config, QWEN_VL["parameters"] * 2),
    "qwen3-0.6b": lambda config: checkpoints.dense(config, qk_norm=True),
}

LONG = {"max_model_len": 32768, "concurrency": 8}
LARGE = {**LONG, "max_num_batched_tokens": 16384}
# In the order in which they are worth their time.
SHAPES: dict[str, Shape] = {
    "devstral": Shape("devstral-small-2-24b-fp8", {"max_model_len": 65536, "concurrency": 4}),
    "qwen3-30b": Shape("qwen3-30b-a3b", {"max_model_len": 32768, "concurrency": 3}),
    "llama-8b": Shape("llama-3.1-8b", LONG),
    "deepseek-lite": Shape("deepseek-v2-lite", LONG),
    "nemotron-nano": Shape("nemotron-nano-9b-v2", LONG),
    "qwen3-next": Shape("qwen3-next-12-layers", {**LONG, "args": {"gdn_prefill_backend": "triton"}}),  # the other one is FlashInfer's
    "qwen-vl": Shape("qwen2.5-vl-7b", LONG, QWEN_VL["files"]),
    "qwen-vl-image": Shape("qwen2.5-vl-7b", LONG, QWEN_VL["files"], images=1),
    "gemma-3": Shape("gemma-3-27b-text", {**LONG, "concurrency": 4}),
    "qwen3-0.6b": Shape("qwen3-0.6b", LONG),
    "deepseek-lite-16384": Shape("deepseek-v2-lite", LARGE),
    "qwen3-30b-16384": Shape("qwen3-30b-a3b", {**LARGE, "concurrency": 2}),
    "llama-8b-16384": Shape("llama-3.1-8b", {**LARGE, "max_num_seqs": 1024}),
    "gpt-oss": Shape("gpt-oss-20b", LONG),
    "llama-8b-lora": Shape("llama-3.1-8b", {**LONG, "args": {"enable_lora": True, "max_loras": 4, "max_lora_rank": 64}}),
    "devstral-eager": Shape("devstral-small-2-24b-fp8", {"max_model_len": 65536, "concurrency": 4, "cuda_graphs": "never"}),
}


def info(model: str) -> dict[str, Any]:
    """What ``gb10.vllm.model_info`` would say of a directory of this model."""
    config = CONFIGS[model]
    return {
        "present": True, "config": config, "weights": weights.summarise(list(TENSORS[model](config)), config), "layout": "hf", "kind": "chat",
        "tokenizer": True,
    }  # fmt: skip

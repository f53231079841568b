# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The models that people ask for on a GB10, and the plan of each, from configurations and weights that vLLM itself was asked about (``weights.json``)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import checkpoints
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import weights
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.budget import TYPICAL_BOX
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.plan import plan_box
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.groups import servers_of_boxes, stated

GIB = 2**30
ENGINE = {"vllm_version": "0.33.0"}
GOLDEN = checkpoints.golden_weights()


class Model(NamedTuple):
    """One model: its repository, where its configuration is from, and what its publisher ships."""

    repository: str
    config: str
    ships: str = "BF16"


MODELS = (
    Model("openai/gpt-oss-120b", "gpt-oss-20b", "MXFP4"),
    Model("openai/gpt-oss-20b", "gpt-oss-20b", "MXFP4"),
    Model("Qwen/Qwen3.5-35B-A3B", "Qwen3.5-35B-A3B"),
    Model("Qwen/Qwen3-Next-80B-A3B-Instruct", "Qwen3-Next-80B-A3B"),
    Model("Qwen/Qwen3-30B-A3B", "Qwen3-30B-A3B"),
    Model("Qwen/Qwen3-8B", "Qwen3-8B"),
    Model("google/gemma-4-26B-A4B-it", "gemma-4-26B-A4B"),
    Model("google/gemma-3-27b-it", "gemma-3-27b-it"),
    Model("mistralai/Devstral-Small-2-24B-Instruct-2512", "Devstral-Small-2-24B-Instruct-2512", "FP8"),
    Model("meta-llama/Llama-3.3-70B-Instruct", "Llama-3.1-70B"),
    Model("meta-llama/Llama-3.1-8B-Instruct", "Llama-3.1-8B"),
    Model("meta-llama/Llama-4-Scout-17B-16E-Instruct", "Llama-4-Scout-17B-16E"),
    Model("zai-org/GLM-4.5-Air", "GLM-4.5-Air"),
    Model("MiniMaxAI/MiniMax-M2.5", "MiniMax-M2.5", "FP8"),
    Model("deepseek-ai/DeepSeek-V4-Flash", "DeepSeek-V4-Flash", "FP8, experts MXFP4"),
    Model("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", "Nemotron-3-Nano-30B-A3B"),
    Model("nvidia/NVIDIA-Nemotron-Nano-9B-v2", "Nemotron-Nano-9B-v2"),
    Model("moonshotai/Kimi-Linear-48B-A3B-Instruct", "Kimi-Linear-48B-A3B"),
    Model("ibm-granite/granite-4.0-h-small", "Granite-4.0-H-Small"),
    Model("Qwen/Qwen3-Embedding-0.6B", "Qwen3-Embedding-0.6B"),
)
# What the larger gpt-oss has more of; all other values are the smaller one's.
GPT_OSS_120B = {"num_hidden_layers": 36, "num_local_experts": 128, "layer_types": ["sliding_attention", "full_attention"] * 18}


def config_of(model: Model) -> dict[str, Any]:
    config = GOLDEN[model.config, 1]["config"]
    return {**config, **GPT_OSS_120B} if model.repository.endswith("120b") else config


def facts_of(model: Model) -> dict[str, Any]:
    """What the plan reads of a model: its configuration, and its headers by class and size."""
    config = config_of(model)
    pooling = "Embedding" in model.repository
    made = {"present": True, "config": config, "weights": weights.summarise(_tensors(model, config), config), "layout": "hf", "tokenizer": True}
    return {**made, "kind": "embedding" if pooling else "chat"}


def _tensors(model: Model, config: dict[str, Any]) -> Iterator[weights.Tensor]:
    """Real names and shapes where the family's are known, else as many bytes as vLLM registers, alike in all layers."""
    if "gpt-oss" in model.config:
        yield from checkpoints.gpt_oss(config)
        return
    size = GOLDEN[model.config, 1]["param_bytes_at_load"]
    text = config.get("text_config", config)
    layers = text["num_hidden_layers"]
    tables = 1 if weights._tied(config, text) else 2
    table = text["vocab_size"] * text["hidden_size"] * 2
    for name in ("model.embed_tokens.weight", "lm_head.weight")[:tables]:
        yield checkpoints.tensor(name, "BF16", text["vocab_size"], text["hidden_size"])
    each = (size - tables * table) // layers
    dtype, width = ("BF16", 2) if model.ships == "BF16" else ("F8_E4M3", 1)
    for number in range(layers):
        yield checkpoints.tensor(f"model.layers.{number}.mlp.up_proj.weight", dtype, 1024, each // width // 1024)


def server(boxes: int = 1, **more: Any) -> dict[str, Any]:
    return {"name": "model", "model": "m", "model_path": "/m", "port": 8000, **({"boxes": boxes} if boxes > 1 else {}), **more}


def planned(facts: dict[str, Any], boxes: int = 1, **more: Any) -> dict[str, Any] | None:
    """The first box's part of a plan on typical boxes, clean after a boot; None where it is not sized or cannot be shared out."""
    models, wish = {"/m": facts}, server(boxes, **more)
    try:
        if boxes == 1:
            return plan_box(None, [wish], models, ENGINE)["servers"][0]
        names = [f"spark-{number}" for number in range(1, boxes + 1)]
        box = {**TYPICAL_BOX, "holders": [], "servers": {}, "docker": {"containers": []}}
        inputs = {"box": box, "servers": [{**wish, **stated(wish, "model")}], "models": models, "engine": ENGINE, "options": {}, "elsewhere": []}
        shared = servers_of_boxes(dict.fromkeys(names, inputs))
        return plan_box(box, shared[names[0]], models, ENGINE, {})["servers"][0]
    except GB10Error:
        return None


def row(model: Model) -> dict[str, Any]:
    """The plan of one model: on one box as it ships, on one box in FP8 made at load where it ships in 16 bits and does not fit, and on two."""
    facts = facts_of(model)
    found = {"model": model, "one": planned(facts), "fp8": None, "two": None, "two_fp8": None}
    if not fits(found["one"]):
        if model.ships == "BF16":
            found["fp8"] = planned(facts, args={"quantization": "fp8"})
        found["two"] = planned(facts, 2)
        if model.ships == "BF16" and not fits(found["two"]):
            found["two_fp8"] = planned(facts, 2, args={"quantization": "fp8"})
    return found


def fits(entry: dict[str, Any] | None) -> bool:
    return bool(entry) and entry["verdict"] == "fits"

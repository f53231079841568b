# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checkpoints as publishers ship them: tensor names, dtypes and shapes by family, and real (sparse) safetensors files."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._sizing.weights import DTYPE_BITS, Tensor

DATA = Path(__file__).resolve().parents[1] / "unit/plugins/module_utils/_sizing/data"
TINY_LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32, "vocab_size": 512, "max_position_embeddings": 4096,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip


def golden_weights() -> dict[tuple[str, int], dict[str, Any]]:
    """Parameters, bytes at load and buffers as vLLM 0.33 counts them, with the model's config, by (model, tensor parallel size)."""
    rows = {(r["model"], r["tensor_parallel_size"]): r for r in json.loads((DATA / "weights.json").read_text())}
    for (model, _tp), row in rows.items():
        row["config"] = row["config"] or rows[model, 1]["config"]
    return rows


def tensor(name: str, dtype: str, *shape: int) -> Tensor:
    return Tensor(name, dtype, shape, (math.prod(shape) * DTYPE_BITS[dtype] + 7) // 8)


def dense(config: dict[str, Any], *, prefix: str = "model.", fp8: bool = False, qk_norm: bool = False, tied_file: bool = False) -> Iterator[Tensor]:
    """Llama, Mistral, Qwen3 and their mixture-of-experts siblings with ``mlp.experts.N`` (Qwen3-MoE naming)."""
    text = config.get("text_config", config)
    hidden, inner, layers = text["hidden_size"], text["intermediate_size"], text["num_hidden_layers"]
    heads = text["num_attention_heads"]
    kv = text.get("num_key_value_heads") or heads
    dim = text.get("head_dim") or hidden // heads
    yield tensor(f"{prefix}embed_tokens.weight", "BF16", text["vocab_size"], hidden)
    experts = text.get("num_experts", 0)
    for n in range(layers):
        layer = f"{prefix}layers.{n}."
        matrices = [
            ("self_attn.q_proj", heads * dim, hidden),
            ("self_attn.k_proj", kv * dim, hidden),
            ("self_attn.v_proj", kv * dim, hidden),
            ("self_attn.o_proj", hidden, heads * dim),
        ]
        if experts:
            yield tensor(f"{layer}mlp.gate.weight", "BF16", experts, hidden)
            wide = text["moe_intermediate_size"]
            for e in range(experts):
                matrices += [
                    (f"mlp.experts.{e}.gate_proj", wide, hidden),
                    (f"mlp.experts.{e}.up_proj", wide, hidden),
                    (f"mlp.experts.{e}.down_proj", hidden, wide),
                ]
        else:
            matrices += [("mlp.gate_proj", inner, hidden), ("mlp.up_proj", inner, hidden), ("mlp.down_proj", hidden, inner)]
        for name, rows, columns in matrices:
            yield tensor(f"{layer}{name}.weight", "F8_E4M3" if fp8 else "BF16", rows, columns)
            if fp8:
                yield tensor(f"{layer}{name}.weight_scale", "F32")
                yield tensor(f"{layer}{name}.input_scale", "F32")
        if qk_norm:
            yield tensor(f"{layer}self_attn.q_norm.weight", "BF16", dim)
            yield tensor(f"{layer}self_attn.k_norm.weight", "BF16", dim)
        yield tensor(f"{layer}input_layernorm.weight", "BF16", hidden)
        yield tensor(f"{layer}post_attention_layernorm.weight", "BF16", hidden)
    yield tensor(f"{prefix}norm.weight", "BF16", hidden)
    if not text.get("tie_word_embeddings") or tied_file:
        yield tensor("lm_head.weight" if prefix == "model." else prefix.replace("model.", "lm_head.") + "weight", "BF16", text["vocab_size"], hidden)


def gpt_oss(config: dict[str, Any]) -> Iterator[Tensor]:
    """openai/gpt-oss: MXFP4 experts as packed blocks and scales."""
    hidden, inner, experts = config["hidden_size"], config["intermediate_size"], config["num_local_experts"]
    q, kv = config["num_attention_heads"] * config["head_dim"], config["num_key_value_heads"] * config["head_dim"]
    yield tensor("model.embed_tokens.weight", "BF16", config["vocab_size"], hidden)
    for n in range(config["num_hidden_layers"]):
        layer = f"model.layers.{n}."
        for name, rows in (("q_proj", q), ("k_proj", kv), ("v_proj", kv)):
            yield tensor(f"{layer}self_attn.{name}.weight", "BF16", rows, hidden)
            yield tensor(f"{layer}self_attn.{name}.bias", "BF16", rows)
        yield tensor(f"{layer}self_attn.o_proj.weight", "BF16", hidden, q)
        yield tensor(f"{layer}self_attn.o_proj.bias", "BF16", hidden)
        yield tensor(f"{layer}self_attn.sinks", "BF16", config["num_attention_heads"])
        yield tensor(f"{layer}mlp.router.weight", "BF16", experts, hidden)
        yield tensor(f"{layer}mlp.router.bias", "BF16", experts)
        for name, rows, columns in (("gate_up_proj", 2 * inner, hidden), ("down_proj", hidden, inner)):
            yield tensor(f"{layer}mlp.experts.{name}_blocks", "U8", experts, rows, columns // 32, 16)
            yield tensor(f"{layer}mlp.experts.{name}_scales", "U8", experts, rows, columns // 32)
            yield tensor(f"{layer}mlp.experts.{name}_bias", "BF16", experts, rows)
        yield tensor(f"{layer}input_layernorm.weight", "BF16", hidden)
        yield tensor(f"{layer}post_attention_layernorm.weight", "BF16", hidden)
    yield tensor("model.norm.weight", "BF16", hidden)
    yield tensor("lm_head.weight", "BF16", config["vocab_size"], hidden)


def deepseek_v2_lite(config: dict[str, Any]) -> Iterator[Tensor]:
    """MLA without a query projection rank, a dense first layer, shared experts."""
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    nope, rope, value, rank = (config[k] for k in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "kv_lora_rank"))
    yield tensor("model.embed_tokens.weight", "BF16", config["vocab_size"], hidden)
    for n in range(config["num_hidden_layers"]):
        layer = f"model.layers.{n}."
        yield tensor(f"{layer}self_attn.q_proj.weight", "BF16", heads * (nope + rope), hidden)
        yield tensor(f"{layer}self_attn.kv_a_proj_with_mqa.weight", "BF16", rank + rope, hidden)
        yield tensor(f"{layer}self_attn.kv_a_layernorm.weight", "BF16", rank)
        yield tensor(f"{layer}self_attn.kv_b_proj.weight", "BF16", heads * (nope + value), rank)
        yield tensor(f"{layer}self_attn.o_proj.weight", "BF16", hidden, heads * value)
        blocks = [("mlp.", config["intermediate_size"])]
        if n >= config["first_k_dense_replace"]:
            wide = config["moe_intermediate_size"]
            blocks = [(f"mlp.experts.{e}.", wide) for e in range(config["n_routed_experts"])]
            blocks.append(("mlp.shared_experts.", wide * config["n_shared_experts"]))
            yield tensor(f"{layer}mlp.gate.weight", "BF16", config["n_routed_experts"], hidden)
        for name, wide in blocks:
            yield tensor(f"{layer}{name}gate_proj.weight", "BF16", wide, hidden)
            yield tensor(f"{layer}{name}up_proj.weight", "BF16", wide, hidden)
            yield tensor(f"{layer}{name}down_proj.weight", "BF16", hidden, wide)
        yield tensor(f"{layer}input_layernorm.weight", "BF16", hidden)
        yield tensor(f"{layer}post_attention_layernorm.weight", "BF16", hidden)
    yield tensor("model.norm.weight", "BF16", hidden)
    yield tensor("lm_head.weight", "BF16", config["vocab_size"], hidden)


def glm4_moe(config: dict[str, Any]) -> Iterator[Tensor]:
    """GLM-4.5: a dense first layer, shared experts, and a next-token-prediction layer after the last one."""
    hidden, layers = config["hidden_size"], config["num_hidden_layers"]
    q, kv = config["num_attention_heads"] * config["head_dim"], config["num_key_value_heads"] * config["head_dim"]
    yield tensor("model.embed_tokens.weight", "BF16", config["vocab_size"], hidden)
    for n in range(layers + config["num_nextn_predict_layers"]):
        layer = f"model.layers.{n}."
        for name, rows, columns in (("q_proj", q, hidden), ("k_proj", kv, hidden), ("v_proj", kv, hidden), ("o_proj", hidden, q)):
            yield tensor(f"{layer}self_attn.{name}.weight", "BF16", rows, columns)
        blocks = [("mlp.", config["intermediate_size"])]
        if n >= config["first_k_dense_replace"]:
            wide = config["moe_intermediate_size"]
            blocks = [(f"mlp.experts.{e}.", wide) for e in range(config["n_routed_experts"])]
            blocks.append(("mlp.shared_experts.", wide * config["n_shared_experts"]))
            yield tensor(f"{layer}mlp.gate.weight", "BF16", config["n_routed_experts"], hidden)
            yield tensor(f"{layer}mlp.gate.e_score_correction_bias", "F32", config["n_routed_experts"])
        for name, wide in blocks:
            yield tensor(f"{layer}{name}gate_proj.weight", "BF16", wide, hidden)
            yield tensor(f"{layer}{name}up_proj.weight", "BF16", wide, hidden)
            yield tensor(f"{layer}{name}down_proj.weight", "BF16", hidden, wide)
        yield tensor(f"{layer}input_layernorm.weight", "BF16", hidden)
        yield tensor(f"{layer}post_attention_layernorm.weight", "BF16", hidden)
        if n >= layers:
            yield tensor(f"{layer}embed_tokens.weight", "BF16", config["vocab_size"], hidden)
            yield tensor(f"{layer}eh_proj.weight", "BF16", hidden, 2 * hidden)
            yield tensor(f"{layer}shared_head.head.weight", "BF16", config["vocab_size"], hidden)
            for name in ("enorm", "hnorm", "shared_head.norm"):
                yield tensor(f"{layer}{name}.weight", "BF16", hidden)
    yield tensor("model.norm.weight", "BF16", hidden)
    yield tensor("lm_head.weight", "BF16", config["vocab_size"], hidden)


def qwen3_next(config: dict[str, Any]) -> Iterator[Tensor]:
    """Gated delta nets between gated full attention, 512 experts with a gated shared one, a next-token-prediction block."""
    hidden, dim = config["hidden_size"], config["head_dim"]
    keys, values = config["linear_num_key_heads"], config["linear_num_value_heads"]
    key_dim, value_dim = keys * config["linear_key_head_dim"], values * config["linear_value_head_dim"]
    q, kv = config["num_attention_heads"] * dim, config["num_key_value_heads"] * dim

    def block(layer: str, kind: str) -> Iterator[Tensor]:
        if kind == "linear_attention":
            yield tensor(f"{layer}linear_attn.in_proj_qkvz.weight", "BF16", 2 * (key_dim + value_dim), hidden)
            yield tensor(f"{layer}linear_attn.in_proj_ba.weight", "BF16", 2 * values, hidden)
            yield tensor(f"{layer}linear_attn.conv1d.weight", "BF16", 2 * key_dim + value_dim, 1, config["linear_conv_kernel_dim"])
            yield tensor(f"{layer}linear_attn.A_log", "F32", values)
            yield tensor(f"{layer}linear_attn.dt_bias", "BF16", values)
            yield tensor(f"{layer}linear_attn.norm.weight", "F32", config["linear_value_head_dim"])
            yield tensor(f"{layer}linear_attn.out_proj.weight", "BF16", hidden, value_dim)
        else:
            for name, rows, columns in (("q_proj", 2 * q, hidden), ("k_proj", kv, hidden), ("v_proj", kv, hidden), ("o_proj", hidden, q)):
                yield tensor(f"{layer}self_attn.{name}.weight", "BF16", rows, columns)
            yield tensor(f"{layer}self_attn.q_norm.weight", "BF16", dim)
            yield tensor(f"{layer}self_attn.k_norm.weight", "BF16", dim)
        yield tensor(f"{layer}mlp.gate.weight", "BF16", config["num_experts"], hidden)
        yield tensor(f"{layer}mlp.shared_expert_gate.weight", "BF16", 1, hidden)
        blocks = [(f"mlp.experts.{e}.", config["moe_intermediate_size"]) for e in range(config["num_experts"])]
        for name, wide in [*blocks, ("mlp.shared_expert.", config["shared_expert_intermediate_size"])]:
            yield tensor(f"{layer}{name}gate_proj.weight", "BF16", wide, hidden)
            yield tensor(f"{layer}{name}up_proj.weight", "BF16", wide, hidden)
            yield tensor(f"{layer}{name}down_proj.weight", "BF16", hidden, wide)
        yield tensor(f"{layer}input_layernorm.weight", "BF16", hidden)
        yield tensor(f"{layer}post_attention_layernorm.weight", "BF16", hidden)

    yield tensor("model.embed_tokens.weight", "BF16", config["vocab_size"], hidden)
    for n, kind in enumerate(config["layer_types"]):
        yield from block(f"model.layers.{n}.", kind)
    yield tensor("model.norm.weight", "BF16", hidden)
    yield tensor("lm_head.weight", "BF16", config["vocab_size"], hidden)
    yield from block("mtp.layers.0.", "full_attention")
    yield tensor("mtp.fc.weight", "BF16", hidden, 2 * hidden)


def mistral_layout(config: dict[str, Any], *, fp8: bool = True) -> Iterator[Tensor]:
    """The text part of Devstral-Small-2 as Mistral names it in consolidated.safetensors."""
    text = config.get("text_config", config)
    hidden, inner = text["hidden_size"], text["intermediate_size"]
    q, kv = text["num_attention_heads"] * text["head_dim"], text["num_key_value_heads"] * text["head_dim"]
    yield tensor("tok_embeddings.weight", "BF16", text["vocab_size"], hidden)
    for n in range(text["num_hidden_layers"]):
        for name, rows, columns in (
            ("attention.wq", q, hidden),
            ("attention.wk", kv, hidden),
            ("attention.wv", kv, hidden),
            ("attention.wo", hidden, q),
            ("feed_forward.w1", inner, hidden),
            ("feed_forward.w2", hidden, inner),
            ("feed_forward.w3", inner, hidden),
        ):
            yield tensor(f"layers.{n}.{name}.weight", "F8_E4M3" if fp8 else "BF16", rows, columns)
            if fp8:
                yield tensor(f"layers.{n}.{name}.qscale_weight", "F32")
                yield tensor(f"layers.{n}.{name}.qscale_act", "F32")
        yield tensor(f"layers.{n}.attention_norm.weight", "BF16", hidden)
        yield tensor(f"layers.{n}.ffn_norm.weight", "BF16", hidden)
    yield tensor("norm.weight", "BF16", hidden)
    yield tensor("output.weight", "BF16", text["vocab_size"], hidden)


def pixtral_tower(config: dict[str, Any]) -> Iterator[Tensor]:
    """Vision tower and projector of the Mistral-3 family in HF names."""
    vision = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "patch_size": 14, **config.get("vision_config", {})}
    hidden, inner, text = vision["hidden_size"], vision["intermediate_size"], config["text_config"]["hidden_size"]
    yield tensor("vision_tower.patch_conv.weight", "BF16", hidden, 3, vision["patch_size"], vision["patch_size"])
    yield tensor("vision_tower.ln_pre.weight", "BF16", hidden)
    for n in range(vision["num_hidden_layers"]):
        layer = f"vision_tower.transformer.layers.{n}."
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            yield tensor(f"{layer}attention.{name}.weight", "BF16", hidden, hidden)
        yield tensor(f"{layer}feed_forward.gate_proj.weight", "BF16", inner, hidden)
        yield tensor(f"{layer}feed_forward.up_proj.weight", "BF16", inner, hidden)
        yield tensor(f"{layer}feed_forward.down_proj.weight", "BF16", hidden, inner)
        yield tensor(f"{layer}attention_norm.weight", "BF16", hidden)
        yield tensor(f"{layer}ffn_norm.weight", "BF16", hidden)
    merge = config.get("spatial_merge_size", 2)
    yield tensor("multi_modal_projector.norm.weight", "BF16", hidden)
    yield tensor("multi_modal_projector.patch_merger.merging_layer.weight", "BF16", hidden, hidden * merge * merge)
    yield tensor("multi_modal_projector.linear_1.weight", "BF16", text, hidden)
    yield tensor("multi_modal_projector.linear_2.weight", "BF16", text, text)


def bert(config: dict[str, Any]) -> Iterator[Tensor]:
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    yield tensor("bert.embeddings.word_embeddings.weight", "F32", config["vocab_size"], hidden)
    yield tensor("bert.embeddings.position_embeddings.weight", "F32", config["max_position_embeddings"], hidden)
    yield tensor("bert.embeddings.token_type_embeddings.weight", "F32", config["type_vocab_size"], hidden)
    yield tensor("bert.embeddings.LayerNorm.weight", "F32", hidden)
    yield tensor("bert.embeddings.LayerNorm.bias", "F32", hidden)
    for n in range(config["num_hidden_layers"]):
        layer = f"bert.encoder.layer.{n}."
        for name, rows, columns in (
            ("attention.self.query", hidden, hidden),
            ("attention.self.key", hidden, hidden),
            ("attention.self.value", hidden, hidden),
            ("attention.output.dense", hidden, hidden),
            ("intermediate.dense", inner, hidden),
            ("output.dense", hidden, inner),
        ):
            yield tensor(f"{layer}{name}.weight", "F32", rows, columns)
            yield tensor(f"{layer}{name}.bias", "F32", rows)
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            yield tensor(f"{layer}{name}.weight", "F32", hidden)
            yield tensor(f"{layer}{name}.bias", "F32", hidden)
    yield tensor("cls.predictions.transform.dense.weight", "F32", hidden, hidden)
    yield tensor("cls.predictions.bias", "F32", config["vocab_size"])


def split(tensors: list[Tensor], shards: int) -> list[list[Tensor]]:
    """Consecutive runs of about equal size."""
    total = sum(t.nbytes for t in tensors)
    parts: list[list[Tensor]] = [[]]
    done = 0
    for entry in tensors:
        if done > total * len(parts) / shards and len(parts) < shards:
            parts.append([])
        parts[-1].append(entry)
        done += entry.nbytes
    return parts


def header(tensors: list[Tensor]) -> tuple[bytes, int]:
    """Header with its length prefix, and the size of the data that follows."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for entry in tensors:
        entries[entry.name] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": [position, position + entry.nbytes]}
        position += entry.nbytes
    blob = json.dumps(entries).encode()
    blob += b" " * (-len(blob) % 8)
    return len(blob).to_bytes(8, "little") + blob, position


def write_shard(path: Path, tensors: list[Tensor]) -> None:
    """A safetensors file with a true header whose data are a hole in the file."""
    prefix, size = header(tensors)
    with path.open("wb") as handle:
        handle.write(prefix)
        handle.truncate(len(prefix) + size)


def write_model(path: Path, config: dict[str, Any], tensors: list[Tensor], shards: int = 1, *, index: bool = True, stem: str = "model") -> Path:
    """A model directory: config.json, tokenizer files, shards and index."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(config))
    (path / "tokenizer.json").write_text("{}")
    (path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    parts = split(tensors, shards)
    weight_map = {}
    for number, part in enumerate(parts, 1):
        name = f"{stem}.safetensors" if len(parts) == 1 else f"{stem}-{number:05}-of-{len(parts):05}.safetensors"
        write_shard(path / name, part)
        weight_map.update((t.name, name) for t in part)
    if index and len(parts) > 1:
        (path / f"{stem}.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return path

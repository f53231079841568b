# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Layer rules of latent and sparse attention: one compressed row per token, indexers, compressors (vLLM: ``model_executor/models/deepseek_v*``)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.config import Config
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layer import (
    MLA,
    SLIDING_MLA,
    Build,
    Layer,
    attention,
    rule,
)


def latent_layer(build: Build) -> Layer:
    """One row of the compressed key and value with the rotary part."""
    text = build.text
    size = text.integer("kv_lora_rank", 1, 65_536) + text.integer("qk_rope_head_dim", 0, 65_536, 0)
    return Layer(MLA, head_size=size, role="latent")


@rule
def mla(build: Build) -> Iterator[tuple[int, Layer]]:
    facts, text = build.facts, build.text
    nope, rope = text.optional("qk_nope_head_dim", 0, 65_536) or 0, text.optional("qk_rope_head_dim", 0, 65_536) or 0
    if facts.text_model_type == "deepseek" or not (nope or rope):
        layer = attention(build)
    elif text.get("kv_lora_rank") is None or not text.flag("is_causal", True) or not build.engine.latent:
        layer = attention(build, kv_heads=facts.num_attention_heads, head_size=nope + rope, head_size_v=nope + rope)
    else:
        layer = latent_layer(build)
    for index in range(facts.num_layers):
        yield index, layer


@rule
def longcat(build: Build) -> Iterator[tuple[int, Layer]]:
    layer = latent_layer(build)
    for index in range(build.facts.num_layers):
        yield index, layer
        yield index, layer  # two attention sublayers in each layer


def index_layer(build: Build, tokens_per_state: int = 1, alignment: int = 1) -> Layer:
    """fp8 keys with one float32 scale per 128 values."""
    size = build.text.integer("index_head_dim", 1, 65_536, 128)
    return Layer(MLA, head_size=size, role="indexer", content_bytes=size + size // 128 * 4, tokens_per_state=tokens_per_state, alignment=alignment)


def _has_indexer(build: Build, index: int) -> bool:
    """Layers may reuse an earlier layer's index (``models/deepseek_v32/attention.py``)."""
    text = build.text
    pattern = text.get("index_topk_pattern")
    if pattern is not None:
        if not isinstance(pattern, (str, list)):
            raise text.fail("index_topk_pattern", pattern, "one letter per layer")
        return index >= len(pattern) or pattern[index] != "S"
    every = text.integer("index_topk_freq", 1, 10_000, 1)
    offset = text.integer("index_skip_topk_offset", 0, 10_000, 2)
    return max(index - offset + 1, 0) % every == 0


@rule
def sparse_mla(build: Build) -> Iterator[tuple[int, Layer]]:
    indexer = index_layer(build)
    latent = replace(latent_layer(build), content_bytes=656)
    for index in range(build.facts.num_layers):
        if _has_indexer(build, index):
            yield index, indexer
        yield index, latent


_V4_PAGE = 576  # the sparse decode kernel's stride
_V4_ROW = 584  # 448 fp8 + 128 bf16 rope + 8 scale bytes


def _v4_ratios(build: Build) -> list[int]:
    text = build.text
    given = text.integers("compress_ratios", 0, 1 << 20)
    if given is not None:
        return given
    rates = text.mapping("compress_rates") or {"compressed_sparse_attention": 4, "heavily_compressed_attention": 128}
    types = text.strings("layer_types")
    if types is None:
        raise GB10Error(f"config key {text.name('compress_ratios')!r} is missing: it says how each layer's cache is compressed.")
    known = Config(rates, where=f"{text.where}compress_rates.")
    return [known.optional(name, 0, 1 << 20) or 0 for name in types]


@rule
def deepseek_v4(build: Build) -> Iterator[tuple[int, Layer]]:
    facts, text = build.facts, build.text
    ratios = _v4_ratios(build)
    if len(ratios) < facts.num_layers:
        raise GB10Error(f"config key {text.name('compress_ratios')!r} has {len(ratios)} entries for {facts.num_layers} layers: it must have one per layer.")
    size = facts.head_dim
    window = facts.sliding_window or 128
    swa = Layer(SLIDING_MLA, head_size=size, window=window, role="window", content_bytes=_V4_ROW, own_block=64, alignment=_V4_PAGE)
    index_size = text.integer("index_head_dim", 1, 65_536, 128)
    for index in range(facts.num_layers):
        ratio = max(1, ratios[index])
        if ratio not in (1, 4, 128):
            raise GB10Error(f"config key {text.name('compress_ratios')!r} holds {ratio}: vLLM knows 0, 4 and 128.")
        if ratio == 4:
            yield index, index_layer(build, tokens_per_state=4, alignment=_V4_PAGE)
            yield index, _compressor(index_size, 4)
        if ratio > 1:
            yield index, _compressor(size, ratio)
        yield index, swa
        if ratio > 1:
            yield index, Layer(MLA, head_size=size, role="latent", content_bytes=_V4_ROW, tokens_per_state=ratio, alignment=_V4_PAGE)


def _compressor(size: int, ratio: int) -> Layer:
    """float32 key and score states of the group being compressed (``models/deepseek_v4/compressor.py``)."""
    spread = 2 if ratio == 4 else 1
    values = 2 * spread * size
    return Layer(
        SLIDING_MLA,
        head_size=values,
        window=spread * ratio,
        role="compressor",
        content_bytes=4 * values,
        own_block=4 if ratio == 4 else 8,
        alignment=_V4_PAGE,
    )


@rule
def minimax_m3(build: Build) -> Iterator[tuple[int, Layer]]:
    facts, text = build.facts, build.text
    sparse = text.child("sparse_attention_config")
    frequency = (sparse.integers("sparse_attention_freq", 0, 1) if sparse else None) or []
    size = sparse.integer("sparse_index_dim", 1, 65_536, 128) if sparse else 128
    indexer = Layer(MLA, head_size=size, role="indexer", own_dtype=True)
    full = attention(build)
    types = facts.text.strings("layer_types") or []
    for index in range(facts.num_layers):
        if frequency[index] if index < len(frequency) else index < len(types) and types[index] != "full_attention":
            yield index, indexer
            yield index, replace(full, role="sparse")
        else:
            yield index, full

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Layer rules of plain attention: full, with a window, in chunks, shared between layers, across (vLLM: ``model_executor/models/*.py``)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.config import MAX_HEADS, MAX_LENGTH, Config
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layer import (
    CHUNKED,
    CROSS,
    Build,
    Layer,
    attention,
    rule,
)
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.model_config import ModelFacts


def _whole_model_window(facts: ModelFacts) -> int | None:
    """``engine/arg_utils.py``: one window for all layers, when there are no layer types or all are sliding."""
    if facts.layer_types is None or all(name == "sliding_attention" for name in facts.layer_types):
        return facts.sliding_window
    return None


@rule
def uniform(build: Build) -> Iterator[tuple[int, Layer]]:
    layer = attention(build, _whole_model_window(build.facts))
    for index in range(build.facts.num_layers):
        yield index, layer


def _by_type(build: Build, window: int | None, sliding_name: str = "sliding_attention") -> Iterator[tuple[int, Layer]]:
    facts = build.facts
    full, sliding = attention(build), attention(build, window)
    types = facts.layer_types or ()
    for index in range(facts.num_layers):
        yield index, sliding if types[index] == sliding_name else full


@rule
def typed(build: Build) -> Iterator[tuple[int, Layer]]:
    if build.facts.layer_types is None:
        return uniform(build)
    return _by_type(build, build.facts.sliding_window)


@rule
def cohere2(build: Build) -> Iterator[tuple[int, Layer]]:
    if build.facts.layer_types is None:
        return uniform(build)
    window = build.facts.sliding_window
    return _by_type(build, window + 1 if window else None)  # the model counts the current token in


@rule
def rnj1(build: Build) -> Iterator[tuple[int, Layer]]:
    if build.facts.layer_types is None:
        return uniform(build)
    return _by_type(build, build.facts.sliding_window, "chunked_attention")


@rule
def domyn_edge(build: Build) -> Iterator[tuple[int, Layer]]:
    """``window_sizes``: for each layer how far it looks back, not counting the token itself."""
    windows = build.text.sequence("window_sizes") or []
    for index in range(build.facts.num_layers):
        entry = windows[index] if index < len(windows) else 0
        value = build.text.check_integer("window_sizes", entry[0] if isinstance(entry, list) and entry else entry, -1, MAX_LENGTH)
        yield index, attention(build, value + 1 if value > 0 else None)


@rule
def looped(build: Build) -> Iterator[tuple[int, Layer]]:
    """Layers that run several times, each time with keys of its own; only the first round sees everything."""
    facts, text = build.facts, build.text
    first = attention(build, _whole_model_window(facts))
    later = attention(build, text.integer("loop_window_size", 1, MAX_LENGTH, 64))
    for turn in range(text.integer("loop_num", 1, 64, 2)):
        for index in range(facts.num_layers):
            yield turn * facts.num_layers + index, later if turn else first


@rule
def plamo3(build: Build) -> Iterator[tuple[int, Layer]]:
    windows = build.text.get("interleaved_sliding_window") or build.text.get("sliding_window")
    if not isinstance(windows, list):
        yield from typed(build)
        return
    for index in range(build.facts.num_layers):
        value = windows[index % len(windows)]
        yield index, attention(build, build.text.check_integer("sliding_window", value, 1, MAX_LENGTH) if value else None)


@rule
def pangu(build: Build) -> Iterator[tuple[int, Layer]]:
    windows = build.text.get("interleaved_sliding_window")
    if windows is None:
        yield from uniform(build)
        return
    windows = windows if isinstance(windows, list) and windows else [windows]
    for index in range(build.facts.num_layers):
        value = windows[index % len(windows)]
        yield index, attention(build, build.text.check_integer("interleaved_sliding_window", value, 0, MAX_LENGTH) if value else None)


@rule
def gpt_oss(build: Build) -> Iterator[tuple[int, Layer]]:
    facts = build.facts
    if not facts.sliding_window and not facts.text.get("sliding_window"):
        raise GB10Error(f"config key {facts.text.name('sliding_window')!r} is missing: every second layer of {facts.architecture} has a window.")
    full, sliding = attention(build), attention(build, facts.sliding_window)
    for index in range(facts.num_layers):
        yield index, full if index % 2 else sliding


def _shared_from(build: Build) -> int:
    """Index of the first layer that reads another layer's cache (``num_kv_shared_layers``)."""
    facts = build.facts
    shared = facts.text.optional("num_kv_shared_layers", 0, 10_000) or 0
    if shared >= facts.num_layers:
        raise GB10Error(f"config key {facts.text.name('num_kv_shared_layers')!r} is {shared}: it must be less than the {facts.num_layers} layers.")
    return facts.num_layers - shared


@rule
def gemma3n(build: Build) -> Iterator[tuple[int, Layer]]:
    end = _shared_from(build)
    for index, layer in typed(build):
        if index < end:
            yield index, layer


@rule
def gemma4(build: Build) -> Iterator[tuple[int, Layer]]:
    facts, text = build.facts, build.text
    size = text.integer("global_head_dim", 1, 65_536, 512)
    heads = facts.num_key_value_heads
    if text.flag("attention_k_eq_v", True):
        heads = text.optional("num_global_key_value_heads", 1, MAX_HEADS) or heads
    full = attention(build, kv_heads=heads, head_size=size, head_size_v=size)
    sliding = attention(build, facts.sliding_window)
    end = _shared_from(build)
    types = facts.layer_types or ()
    own = _per_layer(text)
    for index in range(end):
        layer = sliding if types[index] == "sliding_attention" else full
        if own is not None:
            # saved by transformers: only what differs from the whole model's values
            entry = own.get(index, Config({}))
            width = entry.integer("head_dim", 1, 65_536, facts.head_dim)
            count = entry.integer("num_key_value_heads", 1, MAX_HEADS, facts.num_key_value_heads)
            layer = replace(layer, kv_heads=count, head_size=width, head_size_v=width)
        yield index, layer


def _per_layer(text: Config) -> dict[int, Config] | None:
    """``per_layer_config`` by layer index, or None when the file has none."""
    given = text.mapping("per_layer_config")
    if given is None:
        return None
    found = {}
    for key, value in given.items():
        if not str(key).isdigit():
            raise text.fail("per_layer_config", key, "an object with layer numbers as keys")
        found[int(key)] = Config(value, where=f"{text.where}per_layer_config.{key}.")
    return found


@rule
def llama4(build: Build) -> Iterator[tuple[int, Layer]]:
    facts = build.facts
    full = attention(build)
    chunk = facts.text.optional("attention_chunk_size", 0, MAX_LENGTH) if "attention_chunk_size" in facts.text.data else 8192
    chunked = replace(full, kind=CHUNKED, chunk=chunk) if chunk else full
    for index, name in enumerate((facts.layer_types or ())[: facts.num_layers]):
        yield index, chunked if name == "chunked_attention" else full


@rule
def mimo_v2(build: Build) -> Iterator[tuple[int, Layer]]:
    facts, text = build.facts, build.text
    full = attention(build, head_size_v=text.integer("v_head_dim", 1, 65_536, facts.head_dim))
    window = text.optional("sliding_window_size", 1, MAX_LENGTH) or facts.sliding_window
    size = text.integer("swa_head_dim", 1, 65_536, facts.head_dim)
    sliding = attention(
        build,
        window,
        kv_heads=text.integer("swa_num_key_value_heads", 1, MAX_HEADS, facts.num_key_value_heads),
        head_size=size,
        head_size_v=text.integer("swa_v_head_dim", 1, 65_536, full.head_size_v),
    )
    for index, name in enumerate((facts.layer_types or ())[: facts.num_layers]):
        yield index, sliding if name == "sliding_attention" else full


@rule
def minimax_m2(build: Build) -> Iterator[tuple[int, Layer]]:
    facts = build.facts
    windows = facts.text.get("attn_window_size")
    for index in range(facts.num_layers):
        value = windows[index] if isinstance(windows, list) and index < len(windows) else windows
        window = facts.text.check_integer("attn_window_size", value, 1, MAX_LENGTH) if value and not isinstance(value, list) else None
        yield index, attention(build, window or _whole_model_window(facts))


@rule
def step3p5(build: Build) -> Iterator[tuple[int, Layer]]:
    if build.facts.layer_types is None:
        for index in range(build.facts.num_layers):
            yield index, attention(build)
    else:
        yield from _by_type(build, build.facts.sliding_window)


@rule
def minicpm3(build: Build) -> Iterator[tuple[int, Layer]]:
    text = build.text
    size = text.integer("qk_nope_head_dim", 1, 65_536) + text.integer("qk_rope_head_dim", 1, 65_536)
    layer = attention(build, kv_heads=build.facts.num_attention_heads, head_size=size, head_size_v=size)
    for index in range(build.facts.num_layers):
        yield index, layer


@rule
def nemotron_nas(build: Build) -> Iterator[tuple[int, Layer]]:
    facts = build.facts
    blocks = facts.text.sequence("block_configs")
    if not blocks:
        yield from uniform(build)
        return
    for index, block in enumerate(blocks[: facts.num_layers]):
        own = Config(block, where=f"{facts.text.where}block_configs[{index}].").child("attention")
        if own is None or own.flag("no_op"):
            continue
        group = own.optional("n_heads_in_group", 1, MAX_HEADS)
        if group:
            yield index, attention(build, kv_heads=max(1, facts.num_attention_heads // group))
        elif not own.flag("replace_with_linear"):
            yield index, attention(build)


@rule
def whisper(build: Build) -> Iterator[tuple[int, Layer]]:
    own = attention(build)
    cross = replace(own, kind=CROSS)
    for index in range(build.facts.num_layers):
        yield index, own
        yield index, cross


@rule
def encoder_only(build: Build) -> Iterator[tuple[int, Layer]]:
    return iter(())

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Layer rules of recurrent states: Mamba, gated delta nets, short convolutions, and the models that mix them with attention.

A state has one size whatever the context is. vLLM: ``model_executor/layers/mamba/mamba_utils.py``.
"""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.config import MAX_HEADS
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.engine import Engine
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layer import (
    STATE,
    Build,
    Layer,
    attention,
    rule,
)
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layers_latent import latent_layer

# query lengths FlashInfer's GDN prefill can export states at; FlashKDA's
GDN_CHECKPOINT_TOKENS = 64
KDA_CHECKPOINT_TOKENS = 16


def _mamba2_layer(build: Build, *, inner: int, groups: int, heads: int, head_dim: int, state: int, conv: int, dtype: str | None = None) -> Layer:
    """``mamba_utils.py mamba2_state_shape``: groups become one per rank when they do not divide."""
    if groups % build.engine.tensor_parallel_size:
        groups = build.engine.tensor_parallel_size
    width = build.per_rank(inner + 2 * groups * state, "convolution width")
    convolution = (conv - 1 + build.engine.num_speculative_tokens) * width * build.conv_bytes()
    recurrent = build.per_rank(heads, "state heads") * head_dim * state * build.state_bytes(dtype)
    return Layer(STATE, role="mamba2", state_bytes=convolution + recurrent, checkpoint=1 if build.engine.rules.mamba2_checkpoint else None)


def _mamba1_layer(build: Build, *, inner: int, state: int, conv: int) -> Layer:
    width = build.per_rank(inner, "state width")
    return Layer(STATE, role="mamba1", state_bytes=(conv - 1) * width * build.conv_bytes() + width * state * build.state_bytes())


def _gdn_layer(build: Build, *, checkpoints: bool = True) -> Layer:
    text, engine = build.text, build.engine
    key_heads, value_heads = text.integer("linear_num_key_heads", 1, MAX_HEADS), text.integer("linear_num_value_heads", 1, MAX_HEADS)
    key_dim, value_dim = text.integer("linear_key_head_dim", 1, 65_536), text.integer("linear_value_head_dim", 1, 65_536)
    conv = text.integer("linear_conv_kernel_dim", 1, 1024, 4)
    width = build.per_rank(2 * key_heads * key_dim + value_heads * value_dim, "convolution width")
    build.per_rank(key_heads, "linear key heads")
    convolution = (conv - 1 + engine.num_speculative_tokens) * width * build.conv_bytes()
    recurrent = build.per_rank(value_heads, "linear value heads") * value_dim * key_dim * build.state_bytes(text.text("mamba_ssm_dtype"), cpu_half=True)
    exported = checkpoints and engine.rules.gdn_checkpoint and gdn_prefill_kernel(engine, key_dim) == "flashinfer"
    return Layer(STATE, role="gdn", state_bytes=convolution + recurrent, checkpoint=GDN_CHECKPOINT_TOKENS if exported else None)


def gdn_prefill_kernel(engine: Engine, key_head_dim: int) -> str:
    """The kernel vLLM picks on a GB10 (``qwen_gdn_linear_attn.py _resolve_gdn_prefill_backend``): flashinfer or triton."""
    asked = engine.gdn_prefill_backend or "auto"
    if asked == "triton" or engine.platform == "cpu" or not engine.rules.gdn_flashinfer_sm12x:
        return "triton"
    try:
        major = int(str(engine.cuda_runtime).split(".", maxsplit=1)[0])
    except ValueError:
        raise GB10Error(f"cuda_runtime {engine.cuda_runtime!r} is not a version: give it as in '13.0'.") from None
    return "flashinfer" if key_head_dim == 128 and major >= 13 else "triton"


def _kda_layer(build: Build, *, heads: int, head_dim: int, conv: int, bounded: bool = False) -> Layer:
    width = build.per_rank(3 * heads * head_dim, "convolution width")
    convolution = (conv - 1 + build.engine.num_speculative_tokens) * width * build.conv_bytes()
    recurrent = build.per_rank(heads, "linear heads") * head_dim * head_dim * build.state_bytes("float32")
    exported = bounded and head_dim == 128 and build.engine.rules.null_block and build.engine.platform != "cpu"
    return Layer(STATE, role="kda", state_bytes=convolution + recurrent, checkpoint=KDA_CHECKPOINT_TOKENS if exported else None)


def _hybrid(build: Build, full: Layer, state: Layer, states: tuple[str, ...] = ("linear_attention",)) -> Iterator[tuple[int, Layer]]:
    facts = build.facts
    if facts.layer_types is None:
        raise GB10Error(f"config key {facts.text.name('layer_types')!r} is missing: it says which layers of {facts.architecture} are attention.")
    for index, name in enumerate(facts.layer_types[: facts.num_layers]):
        if name == "full_attention":
            yield index, full
        elif name in states:
            yield index, state
        else:
            raise facts.text.fail("layer_types", name, f"full_attention or {' or '.join(states)} for {facts.architecture}")


@rule
def mamba1(build: Build) -> Iterator[tuple[int, Layer]]:
    text = build.text
    inner = text.optional("intermediate_size", 1, 1 << 30) or text.integer("expand", 1, 1024, 2) * build.facts.hidden_size
    layer = _mamba1_layer(build, inner=inner, state=text.integer("state_size"), conv=text.integer("conv_kernel", 1, 1024, 4))
    for index in range(build.facts.num_layers):
        yield index, layer


@rule
def mamba2(build: Build) -> Iterator[tuple[int, Layer]]:
    text = build.text
    layer = _mamba2_layer(
        build,
        inner=text.integer("expand", 1, 1024, 2) * build.facts.hidden_size,
        groups=text.integer("n_groups", 1, MAX_HEADS),
        heads=text.integer("num_heads", 1, MAX_HEADS),
        head_dim=text.integer("head_dim", 1, 65_536, 64),
        state=text.integer("state_size"),
        conv=text.integer("conv_kernel", 1, 1024, 4),
    )
    for index in range(build.facts.num_layers):
        yield index, layer


@rule
def jamba(build: Build) -> Iterator[tuple[int, Layer]]:
    text = build.text
    inner = text.integer("mamba_expand", 1, 1024) * build.facts.hidden_size
    state = _mamba1_layer(build, inner=inner, state=text.integer("mamba_d_state"), conv=text.integer("mamba_d_conv", 1, 1024))
    return _hybrid(build, attention(build), state)


def _mamba_n_state(build: Build, inner: int) -> Layer:
    text = build.text
    heads = text.integer("mamba_n_heads", 1, MAX_HEADS)
    head_dim = text.get("mamba_d_head")
    return _mamba2_layer(
        build,
        inner=inner,
        groups=text.integer("mamba_n_groups", 1, MAX_HEADS),
        heads=heads,
        head_dim=inner // heads if head_dim in (None, "auto") else text.integer("mamba_d_head", 1, 65_536),
        state=text.integer("mamba_d_state"),
        conv=text.integer("mamba_d_conv", 1, 1024),
    )


@rule
def bamba(build: Build) -> Iterator[tuple[int, Layer]]:
    inner = build.text.integer("mamba_expand", 1, 1024) * build.facts.hidden_size
    return _hybrid(build, attention(build), _mamba_n_state(build, inner))


@rule
def granite_hybrid(build: Build) -> Iterator[tuple[int, Layer]]:
    inner = build.text.integer("mamba_expand", 1, 1024) * build.facts.hidden_size
    types = build.facts.layer_types or ()
    state = _mamba_n_state(build, inner) if "linear_attention" in types else Layer(STATE)
    return _hybrid(build, attention(build), state)


@rule
def falcon_h1(build: Build) -> Iterator[tuple[int, Layer]]:
    text = build.text
    inner = text.optional("mamba_d_ssm", 1, 1 << 30) or text.integer("mamba_expand", 1, 1024) * build.facts.hidden_size
    full, state = attention(build), _mamba_n_state(build, inner)
    for index in range(build.facts.num_layers):
        yield index, full
        yield index, state


_NEMOTRON_NAMES = {"M": "state", "mamba": "state", "linear_attention": "state", "*": "full", "attention": "full", "full_attention": "full"}
_NEMOTRON_CACHELESS = frozenset({"-", "E", "mlp", "moe"})


@rule
def nemotron_h(build: Build) -> Iterator[tuple[int, Layer]]:
    facts, text = build.facts, build.text
    pattern = text.get("hybrid_override_pattern") or text.get("layers_block_type") or text.get("layer_types")
    if not isinstance(pattern, (str, list)):
        raise GB10Error(f"config key {text.name('hybrid_override_pattern')!r} is missing: it says which layers are attention and which keep a state.")
    heads, head_dim = text.integer("mamba_num_heads", 1, MAX_HEADS), text.integer("mamba_head_dim", 1, 65_536)
    groups_key = "mamba_n_groups" if text.has("mamba_n_groups") else "n_groups"
    conv_key = "mamba_d_conv" if text.has("mamba_d_conv") else "conv_kernel"
    state = _mamba2_layer(
        build,
        inner=heads * head_dim,
        groups=text.integer(groups_key, 1, MAX_HEADS),
        heads=heads,
        head_dim=head_dim,
        state=text.integer("ssm_state_size"),
        conv=text.integer(conv_key, 1, 1024),
        dtype=text.text("mamba_ssm_cache_dtype") or "float32",
    )
    full = attention(build, facts.sliding_window)
    for index, letter in enumerate(pattern):
        name = _NEMOTRON_NAMES.get(letter) if isinstance(letter, str) else None
        if name is None and not (isinstance(letter, str) and letter in _NEMOTRON_CACHELESS):
            raise text.fail("hybrid_override_pattern", letter, "one of M, *, - and E in each place")
        if name:
            yield index, state if name == "state" else full


@rule
def zamba2(build: Build) -> Iterator[tuple[int, Layer]]:
    facts, text = build.facts, build.text
    names = text.strings("layers_block_type") or text.strings("layer_types")
    if not names:
        raise GB10Error(f"config key {text.name('layers_block_type')!r} is missing: it says which layers also hold attention.")
    width = text.optional("attention_head_dim", 1, 65_536) or 2 * facts.hidden_size // facts.num_attention_heads
    full = attention(build, head_size=width, head_size_v=width, kv_heads=facts.num_attention_heads)
    state = _mamba2_layer(
        build,
        inner=text.integer("mamba_expand", 1, 1024) * facts.hidden_size,
        groups=text.integer("mamba_ngroups", 1, MAX_HEADS),
        heads=text.integer("n_mamba_heads", 1, MAX_HEADS),
        head_dim=text.optional("mamba_headdim", 1, 65_536)
        or text.integer("mamba_expand", 1, 1024) * facts.hidden_size // text.integer("n_mamba_heads", 1, MAX_HEADS),
        state=text.integer("mamba_d_state"),
        conv=text.integer("mamba_d_conv", 1, 1024),
    )
    for index, name in enumerate(names[: facts.num_layers]):  # the shared attention is built before the layers
        if name == "hybrid":
            yield index, full
    for index in range(min(facts.num_layers, len(names))):
        yield index, state


@rule
def lfm2(build: Build) -> Iterator[tuple[int, Layer]]:
    facts, text = build.facts, build.text
    width = facts.hidden_size if facts.text_architecture == "Lfm2MoeForCausalLM" else text.optional("conv_dim", 1) or facts.hidden_size
    length = text.integer("conv_L_cache", 2, 1024, 3)
    state = Layer(STATE, role="short_conv", state_bytes=(length - 1) * build.per_rank(width, "convolution width") * build.conv_bytes())
    return _hybrid(build, attention(build), state, ("conv", "short_conv", "linear_attention"))


@rule
def gdn(build: Build) -> Iterator[tuple[int, Layer]]:
    return _hybrid(build, attention(build), _gdn_layer(build))


@rule
def olmo_hybrid(build: Build) -> Iterator[tuple[int, Layer]]:
    return _hybrid(build, attention(build), _gdn_layer(build, checkpoints=False))


@rule
def kda_mla(build: Build) -> Iterator[tuple[int, Layer]]:
    facts, text = build.facts, build.text
    linear = text.child("linear_attn_config")
    if linear is None:
        raise GB10Error(f"config key {text.name('linear_attn_config')!r} is missing: it says which layers keep a state.")
    state = _kda_layer(
        build,
        heads=linear.integer("num_heads", 1, MAX_HEADS),
        head_dim=linear.integer("head_dim", 1, 65_536),
        conv=linear.integer("short_conv_kernel_size", 1, 1024, 4),
        bounded=linear.get("gate_lower_bound") is not None,
    )
    kept = set(linear.integers("kda_layers", 1, 10_000) or [])
    latent = latent_layer(build)
    for index in range(facts.num_layers):
        yield index, state if index + 1 in kept else latent


@rule
def kda_full(build: Build) -> Iterator[tuple[int, Layer]]:
    text = build.text
    state = _kda_layer(
        build,
        heads=text.integer("linear_num_key_heads", 1, MAX_HEADS),
        head_dim=text.integer("linear_key_head_dim", 1, 65_536),
        conv=text.integer("linear_conv_kernel_dim", 1, 1024, 4),
    )
    return _hybrid(build, attention(build), state)


@rule
def linear_mla(build: Build) -> Iterator[tuple[int, Layer]]:
    facts, text = build.facts, build.text
    every = text.integer("layer_group_size", 1, 10_000, 1)
    size = facts.head_dim
    state = Layer(STATE, role="linear", state_bytes=build.per_rank(facts.num_attention_heads, "linear heads") * size * size * build.conv_bytes())
    latent = latent_layer(build)
    for index in range(facts.num_layers):
        yield index, state if (index + 1) % every else latent


@rule
def ling3(build: Build) -> Iterator[tuple[int, Layer]]:
    facts, text = build.facts, build.text
    every = text.integer("layer_group_size", 1, 10_000)
    state = _kda_layer(build, heads=facts.num_attention_heads, head_dim=facts.head_dim, conv=text.integer("short_conv_kernel_size", 1, 1024, 4))
    latent = latent_layer(build)
    whole = facts.num_layers // every * every
    for index in range(facts.num_layers):
        yield index, latent if (index + 1) % every == 0 or index >= whole else state

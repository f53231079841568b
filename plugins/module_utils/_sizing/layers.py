# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From facts about a model to its cache layers: what each layer keeps, before block sizes and groups.

One function per layer rule; `layers_registry` says which architecture follows which. A decoder layer may keep
several caches (latent and indexer, attention and state) or none (shared, MLP). vLLM: ``model_executor/models/*.py``
and each layer's ``get_kv_cache_spec``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.engine import DTYPE_BYTES, Engine
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.model_config import MAX_HEADS, MAX_LENGTH, Config, ModelFacts

FULL, SLIDING, CHUNKED, MLA, SLIDING_MLA, STATE, CROSS = "full", "sliding", "chunked", "mla", "sliding_mla", "state", "cross"
# query lengths FlashInfer's GDN prefill can export states at; FlashKDA's
GDN_CHECKPOINT_TOKENS = 64
KDA_CHECKPOINT_TOKENS = 16


@dataclass(frozen=True)
class Layer:
    """One cache of one layer. Sizes are per model (before tensor parallelism) except states, which are per rank."""

    kind: str
    kv_heads: int = 1
    head_size: int = 0
    head_size_v: int = 0
    window: int | None = None
    chunk: int | None = None
    role: str = ""  # latent | indexer | compressor ...: keeps caches of equal size but different use apart
    content_bytes: int | None = None  # bytes per stored state when the layout is opaque
    own_dtype: bool = False  # follows the model's dtype whatever the KV cache dtype is
    own_block: int | None = None  # tokens per block this cache insists on
    tokens_per_state: int = 1
    alignment: int = 1  # pages are rounded up to a multiple of this many bytes
    state_bytes: int = 0
    checkpoint: int | None = None  # prefill checkpoints: token alignment, None when the layer cannot export them


@dataclass(frozen=True)
class Build:
    """What a layer rule may look at."""

    facts: ModelFacts
    engine: Engine
    dtype_bytes: int

    @property
    def text(self) -> Config:
        """The language model's configuration."""
        return self.facts.text

    def per_rank(self, count: int, what: str) -> int:
        """``count`` shared out over the tensor-parallel ranks; GB10Error when it does not divide."""
        ranks = self.engine.tensor_parallel_size
        if count % ranks:
            raise GB10Error(f"tensor_parallel_size {ranks} does not divide the model's {what} ({count}): choose a divisor.")
        return count // ranks

    def conv_bytes(self) -> int:
        """Bytes of one value of a convolution state."""
        return DTYPE_BYTES.get(self.engine.mamba_cache_dtype, self.dtype_bytes)

    def state_bytes(self, default: str | None = None, *, cpu_half: bool = False) -> int:
        """Bytes of one value of a recurrent state; ``default`` is what the model asks for.

        ``cpu_half``: the accelerated CPU kernel keeps 16-bit states when they are asked for, all others want float32
        (``platforms/cpu.py``).
        """
        asked = self.engine.mamba_ssm_cache_dtype
        if asked == "auto":
            asked = default or "auto"
        if self.engine.platform == "cpu" and self.engine.cpu_avx512_bf16 and not (cpu_half and asked in ("float16", "bfloat16")):
            return 4
        if asked == "auto":
            return self.conv_bytes()
        if asked not in DTYPE_BYTES:
            raise GB10Error(f"config asks for states in {asked!r}: vLLM keeps them in one of {', '.join(DTYPE_BYTES)}.")
        return DTYPE_BYTES[asked]


Rule = Callable[[Build], Iterator[tuple[int, Layer]]]
RULES: dict[str, Rule] = {}


def _rule(function: Rule) -> Rule:
    RULES[function.__name__.lstrip("_")] = function
    return function


# --- attention ---------------------------------------------------------------------------------------------


def _attention(build: Build, window: int | None = None, **changes: int | None) -> Layer:
    facts = build.facts
    values: dict = {"kv_heads": facts.num_key_value_heads, "head_size": facts.head_dim, "head_size_v": facts.head_dim}
    values.update(changes)
    return Layer(SLIDING if window else FULL, window=window, **values)


def _whole_model_window(facts: ModelFacts) -> int | None:
    """``engine/arg_utils.py``: one window for all layers, when there are no layer types or all are sliding."""
    if facts.layer_types is None or all(name == "sliding_attention" for name in facts.layer_types):
        return facts.sliding_window
    return None


@_rule
def _uniform(build: Build) -> Iterator[tuple[int, Layer]]:
    layer = _attention(build, _whole_model_window(build.facts))
    for index in range(build.facts.num_layers):
        yield index, layer


def _by_type(build: Build, window: int | None, sliding_name: str = "sliding_attention") -> Iterator[tuple[int, Layer]]:
    facts = build.facts
    full, sliding = _attention(build), _attention(build, window)
    types = facts.layer_types or ()
    for index in range(facts.num_layers):
        yield index, sliding if types[index] == sliding_name else full


@_rule
def _typed(build: Build) -> Iterator[tuple[int, Layer]]:
    if build.facts.layer_types is None:
        return _uniform(build)
    return _by_type(build, build.facts.sliding_window)


@_rule
def _cohere2(build: Build) -> Iterator[tuple[int, Layer]]:
    if build.facts.layer_types is None:
        return _uniform(build)
    window = build.facts.sliding_window
    return _by_type(build, window + 1 if window else None)  # the model counts the current token in


@_rule
def _rnj1(build: Build) -> Iterator[tuple[int, Layer]]:
    if build.facts.layer_types is None:
        return _uniform(build)
    return _by_type(build, build.facts.sliding_window, "chunked_attention")


@_rule
def _plamo3(build: Build) -> Iterator[tuple[int, Layer]]:
    windows = build.text.get("interleaved_sliding_window") or build.text.get("sliding_window")
    if not isinstance(windows, list):
        yield from _typed(build)
        return
    for index in range(build.facts.num_layers):
        value = windows[index % len(windows)]
        yield index, _attention(build, build.text._integer("sliding_window", value, 1, MAX_LENGTH) if value else None)


@_rule
def _pangu(build: Build) -> Iterator[tuple[int, Layer]]:
    windows = build.text.get("interleaved_sliding_window")
    if windows is None:
        yield from _uniform(build)
        return
    windows = windows if isinstance(windows, list) and windows else [windows]
    for index in range(build.facts.num_layers):
        value = windows[index % len(windows)]
        yield index, _attention(build, build.text._integer("interleaved_sliding_window", value, 0, MAX_LENGTH) if value else None)


@_rule
def _gpt_oss(build: Build) -> Iterator[tuple[int, Layer]]:
    facts = build.facts
    if not facts.sliding_window:
        raise GB10Error(f"config key {facts.text.name('sliding_window')!r} is missing: every second layer of {facts.architecture} has a window.")
    full, sliding = _attention(build), _attention(build, facts.sliding_window)
    for index in range(facts.num_layers):
        yield index, full if index % 2 else sliding


def _shared_from(build: Build) -> int:
    """Index of the first layer that reads another layer's cache (``num_kv_shared_layers``)."""
    facts = build.facts
    shared = facts.text.optional("num_kv_shared_layers", 0, 10_000) or 0
    if shared >= facts.num_layers:
        raise GB10Error(f"config key {facts.text.name('num_kv_shared_layers')!r} is {shared}: it must be less than the {facts.num_layers} layers.")
    return facts.num_layers - shared


@_rule
def _gemma3n(build: Build) -> Iterator[tuple[int, Layer]]:
    end = _shared_from(build)
    for index, layer in _typed(build):
        if index < end:
            yield index, layer


@_rule
def _gemma4(build: Build) -> Iterator[tuple[int, Layer]]:
    facts, text = build.facts, build.text
    size = text.integer("global_head_dim", 1, 65_536, 512)
    heads = facts.num_key_value_heads
    if text.flag("attention_k_eq_v", True):
        heads = text.optional("num_global_key_value_heads", 1, MAX_HEADS) or heads
    full = _attention(build, kv_heads=heads, head_size=size, head_size_v=size)
    sliding = _attention(build, facts.sliding_window)
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


@_rule
def _llama4(build: Build) -> Iterator[tuple[int, Layer]]:
    facts = build.facts
    full = _attention(build)
    chunk = facts.text.optional("attention_chunk_size", 0, MAX_LENGTH) if "attention_chunk_size" in facts.text.data else 8192
    chunked = replace(full, kind=CHUNKED, chunk=chunk) if chunk else full
    for index, name in enumerate((facts.layer_types or ())[: facts.num_layers]):
        yield index, chunked if name == "chunked_attention" else full


@_rule
def _mimo_v2(build: Build) -> Iterator[tuple[int, Layer]]:
    facts, text = build.facts, build.text
    full = _attention(build, head_size_v=text.integer("v_head_dim", 1, 65_536, facts.head_dim))
    window = text.optional("sliding_window_size", 1, MAX_LENGTH) or facts.sliding_window
    size = text.integer("swa_head_dim", 1, 65_536, facts.head_dim)
    sliding = _attention(
        build,
        window,
        kv_heads=text.integer("swa_num_key_value_heads", 1, MAX_HEADS, facts.num_key_value_heads),
        head_size=size,
        head_size_v=text.integer("swa_v_head_dim", 1, 65_536, full.head_size_v),
    )
    for index, name in enumerate((facts.layer_types or ())[: facts.num_layers]):
        yield index, sliding if name == "sliding_attention" else full


@_rule
def _minimax_m2(build: Build) -> Iterator[tuple[int, Layer]]:
    facts = build.facts
    windows = facts.text.get("attn_window_size")
    for index in range(facts.num_layers):
        value = windows[index] if isinstance(windows, list) and index < len(windows) else windows
        window = facts.text._integer("attn_window_size", value, 1, MAX_LENGTH) if value and not isinstance(value, list) else None
        yield index, _attention(build, window or _whole_model_window(facts))


@_rule
def _step3p5(build: Build) -> Iterator[tuple[int, Layer]]:
    if build.facts.layer_types is None:
        for index in range(build.facts.num_layers):
            yield index, _attention(build)
    else:
        yield from _by_type(build, build.facts.sliding_window)


@_rule
def _minicpm3(build: Build) -> Iterator[tuple[int, Layer]]:
    text = build.text
    size = text.integer("qk_nope_head_dim", 1, 65_536) + text.integer("qk_rope_head_dim", 1, 65_536)
    layer = _attention(build, kv_heads=build.facts.num_attention_heads, head_size=size, head_size_v=size)
    for index in range(build.facts.num_layers):
        yield index, layer


@_rule
def _nemotron_nas(build: Build) -> Iterator[tuple[int, Layer]]:
    facts = build.facts
    blocks = facts.text.sequence("block_configs")
    if not blocks:
        yield from _uniform(build)
        return
    for index, block in enumerate(blocks[: facts.num_layers]):
        attention = Config(block, where=f"{facts.text.where}block_configs[{index}].").child("attention")
        if attention is None or attention.flag("no_op"):
            continue
        group = attention.optional("n_heads_in_group", 1, MAX_HEADS)
        if group:
            yield index, _attention(build, kv_heads=max(1, facts.num_attention_heads // group))
        elif not attention.flag("replace_with_linear"):
            yield index, _attention(build)


@_rule
def _whisper(build: Build) -> Iterator[tuple[int, Layer]]:
    own = _attention(build)
    cross = replace(own, kind=CROSS)
    for index in range(build.facts.num_layers):
        yield index, own
        yield index, cross


@_rule
def _encoder_only(build: Build) -> Iterator[tuple[int, Layer]]:
    return iter(())


# --- latent attention --------------------------------------------------------------------------------------


def _latent(build: Build) -> Layer:
    text = build.text
    size = text.integer("kv_lora_rank", 1, 65_536) + text.integer("qk_rope_head_dim", 0, 65_536, 0)
    return Layer(MLA, head_size=size, role="latent")


@_rule
def _mla(build: Build) -> Iterator[tuple[int, Layer]]:
    facts, text = build.facts, build.text
    nope, rope = text.optional("qk_nope_head_dim", 0, 65_536) or 0, text.optional("qk_rope_head_dim", 0, 65_536) or 0
    if facts.text_model_type == "deepseek" or not (nope or rope):
        layer = _attention(build)
    elif text.get("kv_lora_rank") is None or not text.flag("is_causal", True):
        layer = _attention(build, kv_heads=facts.num_attention_heads, head_size=nope + rope, head_size_v=nope + rope)
    else:
        layer = _latent(build)
    for index in range(facts.num_layers):
        yield index, layer


@_rule
def _longcat(build: Build) -> Iterator[tuple[int, Layer]]:
    layer = _latent(build)
    for index in range(build.facts.num_layers):
        yield index, layer
        yield index, layer  # two attention sublayers in each layer


def _index_layer(build: Build, **changes: int) -> Layer:
    """fp8 keys with one float32 scale per 128 values."""
    size = build.text.integer("index_head_dim", 1, 65_536, 128)
    return Layer(MLA, head_size=size, role="indexer", content_bytes=size + size // 128 * 4, **changes)


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


@_rule
def _sparse_mla(build: Build) -> Iterator[tuple[int, Layer]]:
    indexer = _index_layer(build)
    latent = replace(_latent(build), content_bytes=656)
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


@_rule
def _deepseek_v4(build: Build) -> Iterator[tuple[int, Layer]]:
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
            yield index, _index_layer(build, tokens_per_state=4, alignment=_V4_PAGE)
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


@_rule
def _minimax_m3(build: Build) -> Iterator[tuple[int, Layer]]:
    facts, text = build.facts, build.text
    sparse = text.child("sparse_attention_config")
    frequency = (sparse.integers("sparse_attention_freq", 0, 1) if sparse else None) or []
    size = sparse.integer("sparse_index_dim", 1, 65_536, 128) if sparse else 128
    indexer = Layer(MLA, head_size=size, role="indexer", own_dtype=True)
    full = _attention(build)
    types = facts.text.strings("layer_types") or []
    for index in range(facts.num_layers):
        if frequency[index] if index < len(frequency) else index < len(types) and types[index] != "full_attention":
            yield index, indexer
            yield index, replace(full, role="sparse")
        else:
            yield index, full


# --- recurrent states --------------------------------------------------------------------------------------


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


@_rule
def _mamba1(build: Build) -> Iterator[tuple[int, Layer]]:
    text = build.text
    inner = text.optional("intermediate_size", 1, 1 << 30) or text.integer("expand", 1, 1024, 2) * build.facts.hidden_size
    layer = _mamba1_layer(build, inner=inner, state=text.integer("state_size"), conv=text.integer("conv_kernel", 1, 1024, 4))
    for index in range(build.facts.num_layers):
        yield index, layer


@_rule
def _mamba2(build: Build) -> Iterator[tuple[int, Layer]]:
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


@_rule
def _jamba(build: Build) -> Iterator[tuple[int, Layer]]:
    text = build.text
    inner = text.integer("mamba_expand", 1, 1024) * build.facts.hidden_size
    state = _mamba1_layer(build, inner=inner, state=text.integer("mamba_d_state"), conv=text.integer("mamba_d_conv", 1, 1024))
    return _hybrid(build, _attention(build), state)


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


@_rule
def _bamba(build: Build) -> Iterator[tuple[int, Layer]]:
    inner = build.text.integer("mamba_expand", 1, 1024) * build.facts.hidden_size
    return _hybrid(build, _attention(build), _mamba_n_state(build, inner))


@_rule
def _granite_hybrid(build: Build) -> Iterator[tuple[int, Layer]]:
    inner = build.text.integer("mamba_expand", 1, 1024) * build.facts.hidden_size
    types = build.facts.layer_types or ()
    state = _mamba_n_state(build, inner) if "linear_attention" in types else Layer(STATE)
    return _hybrid(build, _attention(build), state)


@_rule
def _falcon_h1(build: Build) -> Iterator[tuple[int, Layer]]:
    text = build.text
    inner = text.optional("mamba_d_ssm", 1, 1 << 30) or text.integer("mamba_expand", 1, 1024) * build.facts.hidden_size
    full, state = _attention(build), _mamba_n_state(build, inner)
    for index in range(build.facts.num_layers):
        yield index, full
        yield index, state


_NEMOTRON_NAMES = {"M": "state", "mamba": "state", "linear_attention": "state", "*": "full", "attention": "full", "full_attention": "full"}
_NEMOTRON_CACHELESS = frozenset({"-", "E", "mlp", "moe"})


@_rule
def _nemotron_h(build: Build) -> Iterator[tuple[int, Layer]]:
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
    full = _attention(build, facts.sliding_window)
    for index, letter in enumerate(pattern):
        name = _NEMOTRON_NAMES.get(letter) if isinstance(letter, str) else None
        if name is None and not (isinstance(letter, str) and letter in _NEMOTRON_CACHELESS):
            raise text.fail("hybrid_override_pattern", letter, "one of M, *, - and E in each place")
        if name:
            yield index, state if name == "state" else full


@_rule
def _zamba2(build: Build) -> Iterator[tuple[int, Layer]]:
    facts, text = build.facts, build.text
    names = text.strings("layers_block_type") or text.strings("layer_types")
    if not names:
        raise GB10Error(f"config key {text.name('layers_block_type')!r} is missing: it says which layers also hold attention.")
    width = text.optional("attention_head_dim", 1, 65_536) or 2 * facts.hidden_size // facts.num_attention_heads
    full = _attention(build, head_size=width, head_size_v=width, kv_heads=facts.num_attention_heads)
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


@_rule
def _lfm2(build: Build) -> Iterator[tuple[int, Layer]]:
    facts, text = build.facts, build.text
    width = facts.hidden_size if facts.text_architecture == "Lfm2MoeForCausalLM" else text.optional("conv_dim", 1) or facts.hidden_size
    length = text.integer("conv_L_cache", 2, 1024, 3)
    state = Layer(STATE, role="short_conv", state_bytes=(length - 1) * build.per_rank(width, "convolution width") * build.conv_bytes())
    return _hybrid(build, _attention(build), state, ("conv", "short_conv", "linear_attention"))


@_rule
def _gdn(build: Build) -> Iterator[tuple[int, Layer]]:
    return _hybrid(build, _attention(build), _gdn_layer(build))


@_rule
def _olmo_hybrid(build: Build) -> Iterator[tuple[int, Layer]]:
    return _hybrid(build, _attention(build), _gdn_layer(build, checkpoints=False))


@_rule
def _kda_mla(build: Build) -> Iterator[tuple[int, Layer]]:
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
    latent = _latent(build)
    for index in range(facts.num_layers):
        yield index, state if index + 1 in kept else latent


@_rule
def _kda_full(build: Build) -> Iterator[tuple[int, Layer]]:
    text = build.text
    state = _kda_layer(
        build,
        heads=text.integer("linear_num_key_heads", 1, MAX_HEADS),
        head_dim=text.integer("linear_key_head_dim", 1, 65_536),
        conv=text.integer("linear_conv_kernel_dim", 1, 1024, 4),
    )
    return _hybrid(build, _attention(build), state)


@_rule
def _linear_mla(build: Build) -> Iterator[tuple[int, Layer]]:
    facts, text = build.facts, build.text
    every = text.integer("layer_group_size", 1, 10_000, 1)
    size = facts.head_dim
    state = Layer(STATE, role="linear", state_bytes=build.per_rank(facts.num_attention_heads, "linear heads") * size * size * build.conv_bytes())
    latent = _latent(build)
    for index in range(facts.num_layers):
        yield index, state if (index + 1) % every else latent


@_rule
def _ling3(build: Build) -> Iterator[tuple[int, Layer]]:
    facts, text = build.facts, build.text
    every = text.integer("layer_group_size", 1, 10_000)
    state = _kda_layer(build, heads=facts.num_attention_heads, head_dim=facts.head_dim, conv=text.integer("short_conv_kernel_size", 1, 1024, 4))
    latent = _latent(build)
    whole = facts.num_layers // every * every
    for index in range(facts.num_layers):
        yield index, latent if (index + 1) % every == 0 or index >= whole else state


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
        kinds = [_index_layer(build), next(layer for _index, layer in layers if layer.role == "latent")]
    else:
        kinds = [layer for _index, layer in layers if layer.kind in (FULL, MLA)][:1] or [layers[-1][1]]
    return [(last + number, layer) for number in range(count) for layer in kinds]


def build_layers(build: Build) -> list[tuple[int, Layer]]:
    """Every cache of the model with the index of its decoder layer, in vLLM's order of construction."""
    facts, engine = build.facts, build.engine
    if facts.num_attention_heads:
        build.per_rank(facts.num_attention_heads, "attention heads")
        ranks, heads = engine.tensor_parallel_size, facts.num_key_value_heads
        if heads % ranks and ranks % heads and facts.text.get("kv_lora_rank") is None:
            raise GB10Error(f"tensor_parallel_size {ranks} and the model's {heads} key-value heads do not divide each other: choose another size.")
    layers = list(RULES[facts.family](build))
    if engine.num_speculative_tokens and engine.speculative_method == "mtp" and layers:
        layers += draft_layers(build, layers)
    return layers

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From a config.json and an engine to the KV cache layout: layers, page sizes, groups, bytes per block.

The steps, each a function: `model_config.model_facts` -> `layers.build_layers` -> `block_size_for` ->
`page_of` -> `layout_groups.make_groups` -> `KVLayout`. Everything after that needs a number of bytes: `capacity`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import lcm
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import layers_registry as registry
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.engine import DTYPE_BYTES, Engine, check_engine
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layer import CROSS, FULL, MLA, SLIDING, SLIDING_MLA, STATE, Build, Layer
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layers import build_layers
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layers_dropped import check_dropped
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layout_groups import Group, Page, cdiv, make_groups
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.model_config import ModelFacts, Served, model_facts
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.parallel import check_parallel, pipeline_stages
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.rules import NEWEST, Rules, release_of, tells_no_age
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.shapes import Beside
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.speculation import CACHELESS, ON_TARGETS_CACHE

SPARSE_BLOCK = 64
V4_BLOCK = 256
MINIMAX_M3_BLOCK = 128
GPU_BLOCK = 16
CPU_BLOCK = 128
CPU_MLA_BLOCK = 16
_FLOAT16_UNSAFE = ("gemma2", "gemma3", "gemma3_text", "glm4", "plamo2")


@dataclass(frozen=True)
class KVLayout:
    """Everything that is known before the number of available bytes is. Sizes in bytes, lengths in tokens."""

    architecture: str
    dtype: str
    resolved_kv_cache_dtype: str
    derived_max_model_len: int
    default_max_model_len: int  # what vLLM uses when --max-model-len is not given
    block_size: int
    bytes_per_block: int
    groups: tuple[Group, ...]
    max_num_seqs: int
    batched_tokens: int | None  # as asked; None: vLLM's default
    default_batched_tokens: int
    batches_in_flight: int
    chunked_prefill: bool
    kv_free: bool
    mamba_cache_mode: str
    prefix_caching: bool
    num_layers_with_cache: int
    facts: ModelFacts
    engine: Engine
    warnings: tuple[str, ...] = field(default=())

    @property
    def rules(self) -> Rules:
        """The version's rules."""
        return self.engine.rules

    @property
    def max_num_batched_tokens(self) -> int:
        """Tokens of one batch at the model's own length."""
        return self.batch_tokens(self.default_max_model_len)

    def batch_tokens(self, max_model_len: int) -> int:
        """``engine/arg_utils.py``: the default never exceeds the sequences' total and covers one whole unchunked prompt."""
        if self.batched_tokens is not None:
            return self.batched_tokens
        tokens = self.default_batched_tokens
        if not self.chunked_prefill:
            tokens = max(tokens, max_model_len)
        return max(1, min(tokens, self.max_num_seqs * max_model_len))

    def in_flight_tokens(self, max_model_len: int) -> int:
        """Tokens scheduled but not settled (``VllmConfig.max_in_flight_tokens``); one batch before 0.26."""
        batches = self.batches_in_flight if self.rules.in_flight_batches else 1
        return self.batch_tokens(max_model_len) * batches

    def pages_per_request(self, max_model_len: int, in_flight: int | None = None) -> list[int]:
        """Blocks one request of ``max_model_len`` tokens takes, one number per group."""
        flight = self.in_flight_tokens(max_model_len) if in_flight is None else in_flight
        return [group.blocks(max_model_len, flight) for group in self.groups]

    def blocks_per_request(self, max_model_len: int, in_flight: int | None = None) -> int:
        """Blocks one request takes in all groups."""
        return sum(self.pages_per_request(max_model_len, in_flight))

    def needed_bytes(self, max_model_len: int, in_flight: int | None = None) -> int:
        """Bytes vLLM asks for one request of ``max_model_len`` tokens (``_max_memory_usage_bytes_from_groups``).

        0.12 and 0.13 add up the layers without the padding of groups; 0.14 to 0.18 look at the first group only.
        """
        flight = self.in_flight_tokens(max_model_len) if in_flight is None else in_flight
        rule = self.rules.needed_rule
        if rule == "groups" or len(self.groups) <= 1:
            return self.bytes_per_block * self.blocks_per_request(max_model_len, flight)
        if rule == "first_group":
            return self.bytes_per_block * self.groups[0].blocks(max_model_len, flight)
        return sum(count * page.page_size_bytes * page.blocks(max_model_len, flight) for group in self.groups for count, page in group.members)

    @property
    def kv_bytes_per_token(self) -> float:
        """Bytes one more token of a long request costs (windows and states are constant by then; one that no request outgrows is none)."""
        total = 0.0
        for group in self.groups:
            growing = [
                page.block_size * page.dcp
                for _count, page in group.members
                if page.kind in (FULL, MLA) or (page.window or page.chunk or 0) >= self.derived_max_model_len
            ]
            if growing:
                total += self.bytes_per_block / min(growing)
        return total


def resolve_dtype(facts: ModelFacts, engine: Engine, pooling: bool) -> str:
    """The run dtype (``config/model.py _resolve_auto_dtype``)."""
    asked = {"half": "float16", "float": "float32"}.get(engine.dtype, engine.dtype)
    if asked == "float16" and facts.text_model_type in _FLOAT16_UNSAFE and engine.platform == "gb10":
        raise GB10Error(f"dtype float16 is not supported by {facts.text_model_type}, whose numbers it cannot hold: use bfloat16 or auto.")
    if asked != "auto":
        return asked
    preferred = "float16" if pooling and facts.text_model_type not in _FLOAT16_UNSAFE else "bfloat16"
    declared = facts.dtype
    if declared in (None, "float32", "float64"):
        return preferred
    return declared if declared in DTYPE_BYTES else preferred


def resolve_kv_cache_dtype(facts: ModelFacts, engine: Engine) -> str:
    """What ``--kv-cache-dtype`` becomes; GB10Error for a dtype this model's attention does not take on this platform."""
    asked = engine.kv_cache_dtype
    if facts.family in ("sparse_mla", "deepseek_v4"):
        if asked in ("nvfp4",) or asked.endswith("_per_token_head"):
            raise GB10Error(f"kv_cache_dtype {asked} does not exist for the sparse latent attention of {facts.architecture}: vLLM keeps fp8_ds_mla.")
        return "fp8_ds_mla"
    resolved = facts.kv_cache_scheme if asked == "auto" and facts.kv_cache_scheme else asked
    if resolved == "fp8_inc" and engine.platform == "gb10":
        raise GB10Error("kv_cache_dtype fp8_inc is for Intel Gaudi: use auto or fp8.")
    if resolved == "fp8_ds_mla":
        raise GB10Error(f"kv_cache_dtype fp8_ds_mla is only for sparse latent attention, which {facts.architecture} has not: use auto or fp8.")
    latent = facts.family in registry.MLA_FAMILIES and engine.latent
    if resolved == "fp8_e5m2" and latent:
        raise GB10Error(f"kv_cache_dtype fp8_e5m2 is not supported for the latent attention of {facts.architecture}: use auto or fp8.")
    if resolved == "nvfp4" or resolved.endswith("_per_token_head"):
        if latent:
            raise GB10Error(f"kv_cache_dtype {resolved} is not supported for the latent attention of {facts.architecture}: use auto or fp8.")
        if resolved == "nvfp4" and facts.family == "gpt_oss":
            raise GB10Error("kv_cache_dtype nvfp4 is not supported with the attention sinks of gpt-oss: use auto or fp8.")
        if resolved == "nvfp4" and (facts.head_dim == 64 or facts.head_dim % 16):
            raise GB10Error(f"kv_cache_dtype nvfp4 does not take heads of {facts.head_dim} values: use auto or fp8.")
    return resolved


def content_bytes(layer: Layer, kv_dtype: str, dtype_bytes: int) -> int:
    """Bytes of one state of one head: key and value, or one latent vector."""
    if layer.content_bytes is not None:
        return layer.content_bytes
    size = layer.head_size + layer.head_size_v
    if layer.own_dtype or kv_dtype == "auto":
        return size * dtype_bytes
    if kv_dtype in DTYPE_BYTES:
        return size * DTYPE_BYTES[kv_dtype]
    if kv_dtype.startswith("nvfp4"):
        # fp4 data and one fp8 scale for 16 values, keys and values in slots of their own
        return layer.head_size // 2 + layer.head_size // 16 + layer.head_size_v // 2 + layer.head_size_v // 16
    if kv_dtype == "int4_per_token_head":
        return size // 2 + 8
    if kv_dtype.endswith("_per_token_head"):
        return size + 8
    return size


def heads_per_rank(layer: Layer, engine: Engine) -> int:
    """KV heads of one tensor-parallel rank; a latent vector is not divided."""
    if layer.kind in (MLA, SLIDING_MLA):
        return 1
    return max(1, layer.kv_heads // engine.tensor_parallel_size)


def token_bytes(layer: Layer, engine: Engine, kv_dtype: str, dtype_bytes: int) -> int:
    """Bytes of one stored state of one layer on one rank."""
    return heads_per_rank(layer, engine) * content_bytes(layer, kv_dtype, dtype_bytes)


def _plain_cpu_mla(facts: ModelFacts, engine: Engine) -> bool:
    """Latent attention on a CPU without AMX: blocks of 16, whole prompts, no prefix caching (``platforms/cpu.py``)."""
    return engine.platform == "cpu" and facts.family in registry.MLA_FAMILIES and not engine.cpu_amx


def _base_block(facts: ModelFacts, engine: Engine) -> tuple[int, int]:
    """The backend's default block and the multiple it accepts (tokens)."""
    if facts.family == "deepseek_v4":
        return V4_BLOCK, V4_BLOCK
    if engine.platform == "cpu":
        if _plain_cpu_mla(facts, engine):
            return CPU_MLA_BLOCK, CPU_MLA_BLOCK
        return CPU_BLOCK, 32
    if facts.family == "sparse_mla":
        return SPARSE_BLOCK, SPARSE_BLOCK
    if facts.family == "minimax_m3":
        return MINIMAX_M3_BLOCK, MINIMAX_M3_BLOCK
    return GPU_BLOCK, GPU_BLOCK


def block_size_for(facts: ModelFacts, engine: Engine, layers: Sequence[Layer], kv_dtype: str, dtype_bytes: int, mode: str) -> tuple[int, int | None]:
    """Tokens per block, and the page states are padded to (``platforms/interface.py _align_hybrid_block_size``)."""
    base, multiple = _base_block(facts, engine)
    if engine.block_size is not None and layers:
        if engine.block_size % multiple:
            raise GB10Error(f"block_size {engine.block_size} is not accepted by the attention backend of {facts.architecture}: give a multiple of {multiple}.")
        base = engine.block_size
    states = [layer for layer in layers if layer.kind == STATE]
    attention = [layer for layer in layers if layer.kind != STATE]
    largest = max((layer.state_bytes for layer in states), default=0)
    if not largest or not attention:
        return base, None
    per_token = _alignment_token_bytes(facts, engine, kv_dtype, dtype_bytes)
    latent = facts.family in registry.MLA_FAMILIES
    align = max(base, engine.rules.mla_hybrid_alignment) if latent else base
    checkpoints = [layer.checkpoint for layer in states]
    if mode == "align" and engine.rules.gdn_checkpoint and all(checkpoints):
        align = lcm(align, *(value for value in checkpoints if value))
    block = align * cdiv(largest, align * per_token)
    block = max(base, multiple * cdiv(block, multiple))
    page = block * per_token
    return block, page


def _blocks(
    facts: ModelFacts, engine: Engine, layers: list[tuple[int, Layer]], mode: str, kept_as: tuple[str, int]
) -> tuple[list[tuple[int, Layer]], int, int | None]:
    """Layers, tokens per block and the page of states. ``kept_as``: the cache's dtype, bytes of a value of the model's own.

    Where some layers keep that one, blocks grow until one of the smaller dtype holds the least of the larger, and the pages of all windows are padded
    to that (``platforms/interface.py _align_heterogeneous_kv_block_size``).
    """
    kv_dtype, dtype_bytes = kept_as
    block, state_page = block_size_for(facts, engine, [layer for _index, layer in layers], kv_dtype, dtype_bytes, mode)
    if not engine.kv_cache_dtype_skip_layers or not layers:
        return layers, block, state_page
    smaller, larger = (_alignment_token_bytes(facts, engine, dtype, dtype_bytes) for dtype in (kv_dtype, "auto"))
    if smaller >= larger:
        return layers, block, state_page
    least = max(larger * GPU_BLOCK, state_page or 0)
    block = max(block, block * cdiv(least, block * smaller))
    padded = [(index, _in_padded_pages(layer, block * smaller, engine, kv_dtype, dtype_bytes)) for index, layer in layers]
    return padded, block, state_page and block * smaller


def _in_padded_pages(layer: Layer, page: int, engine: Engine, kv_dtype: str, dtype_bytes: int) -> Layer:
    """A window's layer whose page is padded to ``page``, with as many tokens as fit (``Attention.get_kv_cache_spec``)."""
    if layer.kind != SLIDING:
        return layer
    tokens = page // token_bytes(layer, engine, kv_dtype, dtype_bytes) // GPU_BLOCK * GPU_BLOCK
    return replace(layer, own_block=max(GPU_BLOCK, tokens), alignment=page)


def _alignment_token_bytes(facts: ModelFacts, engine: Engine, kv_dtype: str, dtype_bytes: int) -> int:
    """Bytes of one token of one attention layer as the alignment sees it: from the model's own heads."""
    if facts.family in registry.MLA_FAMILIES and facts.text.get("kv_lora_rank") is not None:
        size = facts.text.integer("kv_lora_rank", 1, 65_536) + (facts.text.optional("qk_rope_head_dim", 0, 65_536) or 0)
        return token_bytes(Layer(MLA, head_size=size), engine, kv_dtype, dtype_bytes)
    size = facts.head_dim
    if facts.family == "zamba2":
        size = facts.text.optional("attention_head_dim", 1, 65_536) or 2 * facts.hidden_size // facts.num_attention_heads
    layer = Layer(FULL, kv_heads=facts.num_key_value_heads, head_size=size, head_size_v=size)
    return token_bytes(layer, engine, kv_dtype, dtype_bytes)


@dataclass(frozen=True)
class _Paging:
    """What turns a layer into a page."""

    engine: Engine
    kv_dtype: str
    dtype_bytes: int
    block: int
    state_page: int | None
    mode: str
    encoder_tokens: int
    extra: int


def page_of(layer: Layer, paging: _Paging) -> Page:
    """One layer's page: bytes, tokens, and how a request's length turns into blocks."""
    engine = paging.engine
    if layer.kind == STATE:
        spec = engine.num_speculative_tokens
        checkpoint = 1 if layer.checkpoint else 0
        return Page(
            STATE,
            block_size=paging.block,
            page_size_bytes=max(layer.state_bytes, paging.state_page or 0),
            unpadded_bytes=layer.state_bytes,
            fixed=2 + spec + checkpoint if paging.mode == "align" else 1 + spec,
            identity=(layer.role,),
        )
    block = layer.own_block or paging.block
    states = max(1, block // layer.tokens_per_state)
    unpadded = token_bytes(layer, engine, paging.kv_dtype, paging.dtype_bytes) * states
    return Page(
        layer.kind,
        block_size=block,
        page_size_bytes=cdiv(unpadded, layer.alignment) * layer.alignment,
        unpadded_bytes=unpadded,
        window=layer.window,
        chunk=layer.chunk,
        encoder_tokens=paging.encoder_tokens if layer.kind == CROSS else 0,
        extra=paging.extra if layer.kind in (SLIDING, SLIDING_MLA) else 0,
        dcp=engine.decode_context_parallel_size if layer.kind in (FULL, MLA) else 1,
        identity=(heads_per_rank(layer, engine), layer.head_size, layer.head_size_v, layer.own_dtype, layer.tokens_per_state, layer.role == "indexer"),
    )


def projected(groups: Sequence[Group], stages: Sequence[range], number: int) -> tuple[Group, ...]:
    """The groups as one pipeline stage has them: its own layers only (``v1/core/kv_cache_planning.py _project_kv_cache_groups_to_worker``).

    Layers of a draft come after the model's and lie on the last stage.
    """
    stage, last = stages[number], number == len(stages) - 1
    return tuple(group.only(lambda index: index in stage or (last and index >= stage.stop)) for group in groups)


def _bytes_per_block(groups: Sequence[Group], stages: Sequence[range]) -> int:
    """The stage with the largest blocks decides: vLLM takes the smallest block count of all ranks."""
    return max(group.bytes_per_block for number in range(len(stages)) for group in projected(groups, stages, number))


def _takes_pieces(facts: ModelFacts, engine: Engine) -> bool:
    """Whether a prompt may be computed in pieces (``config/model.py is_chunked_prefill_supported``); pooling over all of it forbids that."""
    if facts.kind in ("encoder_decoder", "encoder_only") or _plain_cpu_mla(facts, engine):
        return False
    return not set(facts.pooling) & {"MEAN", "CLS", "STEP"}


def _cache_mode(facts: ModelFacts, engine: Engine, has_states: bool, pooling: bool) -> tuple[str, bool]:
    """The state cache mode and whether prefix caching is on (``config/model.py is_prefix_caching_supported``)."""
    rules = engine.rules
    default = _takes_pieces(facts, engine)
    if has_states:
        default = default and facts.family not in registry.STATE_ONLY_FAMILIES and rules.hybrid_prefix_caching
    caching = default if engine.enable_prefix_caching is None else engine.enable_prefix_caching and not _plain_cpu_mla(facts, engine)
    if not has_states:
        return "none", caching
    if engine.mamba_cache_mode == "align" and not rules.mamba_align:
        raise GB10Error(f"mamba_cache_mode align does not exist in vLLM {engine.vllm_version}: it came with 0.16.")
    mode = "align" if caching and rules.mamba_align else "none"
    if mode == "align" and engine.enable_chunked_prefill is False:
        raise GB10Error("enable_chunked_prefill false does not go with the prefix caching of recurrent layers: leave it out, or turn that off too.")
    return mode, caching


def kv_layout(
    config: Mapping[str, Any],
    engine: Engine,
    *,
    assume_full_attention: bool = False,
    draft_config: Mapping[str, Any] | None = None,
    beside: Beside | None = None,
) -> KVLayout:
    """The KV cache layout of ``config`` (config.json or params.json as an object) under ``engine``.

    ``draft_config`` is the configuration of a separate draft model (EAGLE): its layers join the groups. ``beside``: what other files say.
    GB10Error for an architecture that is not known, a bad or contradictory key, a setting vLLM refuses;
    ``assume_full_attention`` counts an unknown architecture as plain attention and adds a warning.
    """
    check_engine(engine)
    served = Served(engine.runner, engine.convert, engine.disable_sliding_window, beside or Beside())
    facts = model_facts(config, engine.rules, assume_full_attention=assume_full_attention, served=served)
    check_parallel(facts, engine)
    return _layout_of(facts, engine, draft_config)


def _doubts(facts: ModelFacts, engine: Engine) -> list[str]:
    """What is not certain about this release and this model."""
    version = release_of(engine.vllm_version)
    found = []
    if tells_no_age(engine.vllm_version):
        found.append(
            f"vLLM {engine.vllm_version} is a development build whose number does not tell its age: the figures are those of 0.33;"
            " set gb10_image.vllm_version to the release it is nearest to"
        )
    if not engine.rules.kv_cache_memory_bytes:
        found.append(f"vLLM {engine.vllm_version} cannot be told the bytes of its KV cache (0.10.2 can): it measures them, and the figures move by 1 GiB")
    found += sorted({said for name in (facts.architecture, facts.text_architecture) if (said := check_dropped(name, engine.vllm_version, version))})
    if version > NEWEST:
        found.append(f"vLLM {engine.vllm_version} is newer than 0.33, the newest release whose KV cache rules are known here: the figures are those of 0.33")
    if facts.family in ("sparse_mla", "deepseek_v4", "minimax_m3") and version < NEWEST:
        found.append(f"the cache layout of {facts.architecture} is checked for vLLM 0.33 only, {engine.vllm_version} may differ")
    return found


def _layers(facts: ModelFacts, engine: Engine, dtype_bytes: int, draft_config: Mapping[str, Any] | None) -> list[tuple[int, Layer]]:
    """Every cache of the model and, counted on from its layers, of a separate draft model."""
    if draft_config is not None and draft_config.get("model_type") in ON_TARGETS_CACHE:
        engine, draft_config = replace(engine, num_speculative_tokens=0), None
    layers = build_layers(Build(facts, engine, dtype_bytes))
    if draft_config is not None and engine.num_speculative_tokens and engine.speculative_method not in CACHELESS:
        draft = model_facts(draft_config, engine.rules, draft=True)
        added = build_layers(Build(draft, replace(engine, num_speculative_tokens=0), dtype_bytes))
        layers += [(facts.num_layers + index, layer) for index, layer in added]
    if engine.decode_context_parallel_size > 1 and any(layer.kind not in (FULL, MLA) for _index, layer in layers):
        raise GB10Error(f"decode_context_parallel_size works with full and latent attention only, and {facts.architecture} has other layers.")
    return layers


def _draft_modules(facts: ModelFacts, engine: Engine) -> int:
    """How many prediction heads draft one token each; one head drafts them all."""
    return min(facts.num_nextn_predict_layers or 1, engine.num_speculative_tokens) if engine.speculative_method == "mtp" else 1


def _batches_in_flight(engine: Engine, pooling: bool) -> int:
    """Batches scheduled at once: one per pipeline stage, one more with asynchronous scheduling."""
    stages, asynchronous = engine.pipeline_parallel_size, engine.async_scheduling
    if asynchronous is None:
        asynchronous = not pooling and engine.platform != "cpu"
    return stages + 1 if asynchronous and (engine.rules.v2_pipeline_batches or stages == 1) else stages


def _default_batch(facts: ModelFacts, engine: Engine) -> tuple[int, int]:
    """vLLM's own ``max_num_seqs`` and ``max_num_batched_tokens`` here."""
    ranks = engine.tensor_parallel_size * engine.pipeline_parallel_size
    seqs, tokens = (128 * ranks, 2048 * ranks) if engine.platform == "cpu" else (256, 2048)
    if engine.performance_mode == "throughput":
        seqs, tokens = 2 * seqs, 2 * tokens
    if engine.rules.prefix_lm_batch_floor:
        tokens = max(tokens, facts.item_tokens)
    batch, sequences = engine.max_num_batched_tokens, engine.max_num_seqs
    if batch is not None and sequences is not None and batch < sequences:
        raise GB10Error(f"max_num_batched_tokens {batch} must be at least max_num_seqs {sequences}: raise the one or lower the other.")
    return min(seqs, engine.max_num_batched_tokens or seqs), tokens


def _checked(dtype: str, facts: ModelFacts, engine: Engine) -> str:
    """The dtype itself; GB10Error for 32 bits where no backend takes them."""
    if dtype == "float32" and engine.platform == "gb10" and facts.family in registry.MLA_FAMILIES and engine.latent:
        raise GB10Error(f"dtype float32 is taken by none of vLLM's backends for the latent attention of {facts.architecture}: use bfloat16 or auto.")
    return dtype


def _layout_of(facts: ModelFacts, engine: Engine, draft_config: Mapping[str, Any] | None) -> KVLayout:
    rules, pooling = engine.rules, facts.runner == "pooling"
    dtype = _checked(resolve_dtype(facts, engine, pooling), facts, engine)
    dtype_bytes = DTYPE_BYTES[dtype]
    kv_dtype = resolve_kv_cache_dtype(facts, engine)
    layers = _layers(facts, engine, dtype_bytes, draft_config)
    mode, caching = _cache_mode(facts, engine, any(layer.kind == STATE for _index, layer in layers), pooling)
    layers, block, state_page = _blocks(facts, engine, layers, mode, (kv_dtype, dtype_bytes))
    caches = [layer for _index, layer in layers]
    default_seqs, default_tokens = _default_batch(facts, engine)
    layout = KVLayout(
        architecture=facts.architecture,
        dtype=dtype,
        resolved_kv_cache_dtype=kv_dtype,
        derived_max_model_len=facts.derived_max_model_len,
        default_max_model_len=min(facts.original_max_model_len or facts.derived_max_model_len, facts.derived_max_model_len),
        block_size=block,
        bytes_per_block=0,
        groups=(),
        max_num_seqs=default_seqs if engine.max_num_seqs is None else engine.max_num_seqs,
        batched_tokens=engine.max_num_batched_tokens,
        default_batched_tokens=default_tokens,
        batches_in_flight=_batches_in_flight(engine, pooling),
        chunked_prefill=_takes_pieces(facts, engine) if engine.enable_chunked_prefill is None else engine.enable_chunked_prefill,
        kv_free=not caches,
        mamba_cache_mode=mode,
        prefix_caching=caching,
        num_layers_with_cache=len(caches),
        facts=facts,
        engine=engine,
        warnings=(*facts.warnings, *_doubts(facts, engine)),
    )
    if layout.batched_tokens is not None and layout.batched_tokens < layout.max_num_seqs:
        raise GB10Error(
            f"max_num_batched_tokens {layout.batched_tokens} must be at least max_num_seqs {layout.max_num_seqs}: raise the one or lower the other."
        )
    if not caches:
        return layout
    paging = _Paging(
        engine=engine,
        kv_dtype=kv_dtype,
        dtype_bytes=dtype_bytes,
        block=block,
        state_page=state_page,
        mode=mode,
        encoder_tokens=layout.max_num_batched_tokens,
        extra=engine.num_speculative_tokens - 1 if _draft_modules(facts, engine) > 1 else 0,
    )
    made: dict[Layer, Page] = {layer: page_of(layer, paging) for layer in dict.fromkeys(caches)}
    groups = make_groups(
        [(index, made[layer]) for index, layer in layers],
        ratio_percent=rules.group_ratio_percent,
        packed=facts.family == "deepseek_v4",
        disable_hybrid=engine.disable_hybrid_kv_cache_manager or (not rules.chunked_hybrid and any(layer.chunk for layer in caches)),
    )
    return replace(
        layout,
        groups=tuple(groups),
        bytes_per_block=_bytes_per_block(groups, pipeline_stages(facts.num_layers, engine.pipeline_parallel_size, engine.layer_partition)),
    )

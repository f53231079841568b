# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a cache of one layer is, and what a layer rule may look at.

A rule is a function from `Build` to (index of the decoder layer, `Layer`), entered in `RULES` under its name; `layers_registry` says which
architecture follows which. A decoder layer may keep several caches (latent and indexer, attention and state) or none (shared, MLP).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.config import Config
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.engine import DTYPE_BYTES, Engine
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.model_config import ModelFacts

FULL, SLIDING, CHUNKED, MLA, SLIDING_MLA, STATE, CROSS = "full", "sliding", "chunked", "mla", "sliding_mla", "state", "cross"


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
# docs/extending.md says when an architecture needs a rule of its own
RULES: dict[str, Rule] = {}


def rule(function: Rule) -> Rule:
    """Enter a layer rule under its function's name."""
    RULES[function.__name__] = function
    return function


def attention(build: Build, window: int | None = None, **changes: int | None) -> Layer:
    """One attention layer: the model's heads and widths unless ``changes`` says otherwise."""
    facts = build.facts
    values: dict = {"kv_heads": facts.num_key_value_heads, "head_size": facts.head_dim, "head_size_v": facts.head_dim}
    values.update(changes)
    return Layer(SLIDING if window else FULL, window=window, **values)

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How fast decoding can be at most: what a token has to read over the memory's speed, and what a share of that means. Pure.

A token of one stream reads every active weight once and the KV cache of its context once; nothing else of that size moves. So
``tokens/s <= bandwidth / (active weights + KV at this depth)``, and for B streams the weights that any of them touches are read once for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layer import CROSS, STATE
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layout import KVLayout, kv_layout
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.weights import DTYPE_BITS, RUN_DTYPE_BYTES, loaded_weights, run_dtype
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.weights_shares import is_output_head

BANDWIDTH = 273e9
"""Bytes a second of a GB10's LPDDR5X: 256 bits at 8533 MT/s."""
REACHED = {"dense": (0.60, 0.70), "experts": (0.35, 0.57)}
"""Which share of the roofline public GB10 figures reach without speculation, by kind of model."""
SUSPICIOUS = 0.5
"""Of the lower end: less is no matter of tuning."""
ABOVE = 1.05
"""A share that no engine can reach which reads what the files hold."""


@dataclass(frozen=True)
class TokenCost:
    """What one token reads. Bytes of one rank."""

    shared_bytes: int  # weights that every token reads
    experts_bytes: int  # all experts together
    experts: int
    experts_per_token: int
    layout: KVLayout

    @property
    def kind(self) -> str:
        """``dense`` or ``experts``."""
        return "experts" if self.experts_bytes and 0 < self.experts_per_token < self.experts else "dense"

    def weight_bytes(self, streams: int = 1) -> float:
        """Weights that one step of so many streams reads: of the experts those that at least one token is sent to, by chance."""
        if self.kind == "dense":
            return float(self.shared_bytes + self.experts_bytes)
        touched = 1 - (1 - self.experts_per_token / self.experts) ** streams
        return self.shared_bytes + self.experts_bytes * touched

    def kv_bytes(self, depth: int) -> float:
        """What one token reads of the caches when so many tokens lie before it: windows at most, states whole whatever the depth."""
        total = 0.0
        for group in self.layout.groups:
            for layers, page in group.members:
                if page.kind == STATE:
                    total += layers * page.unpadded_bytes
                elif page.kind != CROSS:
                    limit = page.window or page.chunk or depth
                    total += layers * page.unpadded_bytes * min(depth, limit) / page.block_size
        return total

    def ceiling(self, streams: int = 1, depth: int = 0, bandwidth: float = BANDWIDTH) -> float:
        """Tokens a second of all streams together that no engine can exceed without speculation."""
        return streams * bandwidth / (self.weight_bytes(streams) + streams * self.kv_bytes(depth))


def token_cost(summary: Mapping[str, Any], config: Mapping[str, Any], *, engine: Any, args: Mapping[str, Any] | None = None) -> TokenCost:
    """What a token of this model reads, from the summary of its weights (``weights.summarise``) and its configuration.

    ``engine``: ``_sizing.engine.Engine``; its ranks share the bytes. The input embedding is one row and counts nothing, unless it is the output head too;
    vision towers do not run while text is generated.
    """
    layout = kv_layout(config, engine)
    facts, settings = layout.facts, args or {}
    tp = engine.tensor_parallel_size

    def bytes_of(classes: list[Mapping[str, Any]]) -> int:
        loaded = loaded_weights(
            {"classes": classes, "tables": []},
            config,
            dtype=engine.dtype,
            tensor_parallel_size=tp,
            quantization=settings.get("quantization"),
            quantization_config=settings.get("quantization_config"),
            defaults=facts.text.defaults,
        )
        return loaded.total_bytes - loaded.buffer_bytes

    parts = [item for item in summary["classes"] if item["group"] not in ("vision", "embedding")]
    experts = [item for item in parts if item.get("expert") or item["mxfp4"]]
    shared = bytes_of([item for item in parts if item not in experts])
    head = _head_bytes(summary, RUN_DTYPE_BYTES[run_dtype(config, engine.dtype)]) // tp
    rows = _per_layer_rows(facts.text) * RUN_DTYPE_BYTES[run_dtype(config, engine.dtype)]
    return TokenCost(max(0, shared - rows) + head, bytes_of(experts), facts.num_experts, facts.num_experts_per_token, layout)


def _head_bytes(summary: Mapping[str, Any], width: int) -> int:
    """The output head; the only table where input and output share one."""
    tables = summary["tables"]
    heads = [table for table in tables if is_output_head(table["name"])] or tables[:1]
    return sum(int(t["rows"] * t["width"] * (width if t["dtype"] in ("F32", "F16", "BF16") else DTYPE_BITS.get(t["dtype"], 16) / 8)) for t in heads)


def _per_layer_rows(text: Any) -> int:
    """Values of Gemma's tables of embeddings for each layer, of which a token reads one row."""
    width, rows = text.get("hidden_size_per_layer_input") or 0, text.get("vocab_size_per_layer_input") or 0
    return int(width) * int(rows) * int(text.get("num_hidden_layers") or 0) if isinstance(width, int) and isinstance(rows, int) else 0


def expectation(cost: TokenCost, streams: int = 1, depth: int = 0, accepted: float = 1.0) -> dict[str, Any]:
    """What a GB10 reaches: {kind, bytes_per_token, ceiling, low, high}, tokens/s of all streams; ``accepted``: tokens each step yields by speculation."""
    low, high = REACHED[cost.kind]
    most = cost.ceiling(streams, depth) * max(1.0, accepted)
    each = cost.weight_bytes(streams) / streams + cost.kv_bytes(depth)
    return {"kind": cost.kind, "bytes_per_token": round(each), "ceiling": round(most, 2), "low": round(most * low, 2), "high": round(most * high, 2)}


CAUSES = (  # in the order in which they are met
    "a GPU that is stuck at a low clock (nvidia-smi -q -d CLOCK,PERFORMANCE under load: below 1000 MHz and 30 W;"
    " shut down, unplug the power supply, plug it in again)",
    "eager execution (--enforce-eager, or graphs that a repair took away)",
    "a back end for another architecture (the engine's log names those of attention and experts)",
)
ACROSS = "one half of the fabric (a link of two lanes, or a socket instead of RDMA)"


def judged(measured: float, expected: Mapping[str, Any], *, eager: bool = False, boxes: int = 1) -> dict[str, Any]:
    """{share, verdict, text} of a decode figure: ``verdict`` is ``slow``, ``below``, ``usual``, ``good`` or ``above``.

    Below half of the lower end of what its kind reaches the text says what usually costs that.
    """
    share = measured / expected["ceiling"]
    low, high = REACHED[expected["kind"]]
    name = "a dense model" if expected["kind"] == "dense" else "a mixture of experts"
    said = f"{measured:.1f} of at most {expected['ceiling']:.1f} tokens/s, {share:.0%}; {name} reaches {low:.0%} to {high:.0%} on a GB10"
    if share > ABOVE:
        verdict, said = (
            "above",
            f"{said}: more than the files allow, so the engine reads less than they hold (quantised at load) or several tokens come from one step",
        )
    elif share >= high:
        verdict = "good"
    elif share >= low:
        verdict = "usual"
    elif share >= low * SUSPICIOUS:
        verdict = "below"
    else:
        causes = [CAUSES[1], *CAUSES[:1], *CAUSES[2:]] if eager else list(CAUSES)
        verdict, said = "slow", f"{said}. Less than half of that usually comes from {'; '.join([*causes, *([ACROSS] if boxes > 1 else [])])}"
    return {"share": round(share, 4), "verdict": verdict, "text": said}

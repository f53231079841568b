# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From a layout and available bytes to what vLLM prints: blocks, tokens, concurrency, error, longest context.

vLLM: ``v1/core/kv_cache_planning.py`` (before 0.33 ``kv_cache_utils.py``) ``get_kv_cache_configs``,
``_check_enough_kv_cache_memory``, ``_auto_fit_max_model_len``, ``get_kv_cache_capacity``.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import floor

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.checks import GIB
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.config import MAX_LENGTH
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layout import KVLayout
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.rules import Rules

MAX_BYTES = 1 << 60


@dataclass(frozen=True)
class Capacity:
    """What vLLM says about ``available_bytes`` and ``max_model_len``."""

    available_bytes: int
    max_model_len: int
    num_blocks: int
    blocks_per_request: int
    tokens: int
    concurrency: float
    needed_bytes: int
    ok: bool
    estimated_max_model_len: int
    error: str | None  # vLLM's own text when it refuses to start
    log: str | None  # vLLM's own line (two lines before 0.28) when it starts


def format_gib(size: int, rules: Rules) -> str:
    """GiB as that release prints them: ``60.00`` up to 0.13, ``60.0`` since (``utils/mem_utils.py format_gib``)."""
    return f"{size / GIB:.2f}" if rules.gib_two_decimals else f"{round(size / GIB, 2)}"


def _whole(name: str, value: object, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise GB10Error(f"{name} is {value!r}: give an integer from {low} to {high}.")
    return value


def _budget(layout: KVLayout, available_bytes: int) -> int:
    """Bytes the check, the estimate and auto-fit count on: less one null block since 0.29."""
    return available_bytes - layout.bytes_per_block if layout.rules.null_block else available_bytes


def _longest(layout: KVLayout, budget: int, limit: int, in_flight: int) -> int:
    """The largest length up to ``limit`` whose request needs at most ``budget`` bytes; 0 when even one token does not fit."""
    if layout.needed_bytes(1, in_flight) > budget:
        return 0
    low, high = 1, limit
    while low < high:
        middle = (low + high + 1) // 2
        if layout.needed_bytes(middle, in_flight) <= budget:
            low = middle
        else:
            high = middle - 1
    return low


def _tokens(layout: KVLayout, num_blocks: int, concurrency: float, max_model_len: int) -> int:
    """The printed cache size (``get_kv_cache_capacity``; before 0.20.2 from the blocks)."""
    if layout.rules.tokens_rule == "concurrency":
        return int(concurrency * max_model_len)
    smallest = min(group.block_size for group in layout.groups)
    return num_blocks // len(layout.groups) * smallest * layout.engine.decode_context_parallel_size


def _log(layout: KVLayout, tokens: int, max_model_len: int, concurrency: float) -> str:
    device = layout.engine.device if layout.rules.device_in_log else "GPU"
    join = ", " if layout.rules.one_line_log else "\n"
    return f"{device} KV cache size: {tokens:,} tokens{join}Maximum concurrency for {max_model_len:,} tokens per request: {concurrency:.2f}x"


def _refusal(layout: KVLayout, budget: int, needed: int, max_model_len: int, estimate: int) -> str:
    rules = layout.rules
    if budget <= 0:
        return rules.no_memory_text
    sentence = rules.estimate_text.replace("{estimate}", str(estimate)) if estimate > 0 else ""
    if rules.needed_rule == "layers" and not sentence:
        sentence = " "  # 0.12 and 0.13 leave the space of the missing sentence
    return (
        rules.refused_text.replace("{max_model_len}", str(max_model_len))
        .replace("{needed}", format_gib(needed, rules))
        .replace("{available}", format_gib(budget, rules))
        .replace("{estimate}", sentence)
    )


def capacity(layout: KVLayout, available_bytes: int, max_model_len: int) -> Capacity:
    """vLLM's answer for ``available_bytes`` of KV cache and one length; never raises for a length that does not fit."""
    available = _whole("available_bytes", available_bytes, -MAX_BYTES, MAX_BYTES)
    length = _whole("max_model_len", max_model_len, 1, MAX_LENGTH)
    if layout.kv_free:
        return Capacity(available, length, 1, 0, 0, 0.0, 0, True, length, None, None)
    in_flight = layout.in_flight_tokens(length)
    budget = _budget(layout, available)
    num_blocks = max(0, available // layout.bytes_per_block)
    per_request = layout.blocks_per_request(length, in_flight)
    needed = layout.needed_bytes(length, in_flight)
    ok = budget > 0 and needed <= budget
    concurrency = num_blocks / per_request
    if ok:
        tokens = _tokens(layout, num_blocks, concurrency, length)
        return Capacity(available, length, num_blocks, per_request, tokens, concurrency, needed, True, length, None, _log(layout, tokens, length, concurrency))
    estimate = _longest(layout, budget, length, in_flight) if budget > 0 else 0
    tokens = _tokens(layout, num_blocks, concurrency, length)
    error = _refusal(layout, budget, needed, length, estimate)
    return Capacity(available, length, num_blocks, per_request, tokens, concurrency, needed, False, estimate, error, None)


def auto_fit(layout: KVLayout, available_bytes: int) -> Capacity:
    """What ``--max-model-len auto`` gives (0.14 and later); ``log`` is the Auto-fit line.

    When not even one token fits, ``ok`` is False and ``error`` is vLLM's text. The plan always writes a number and does not ask here; this
    stays beside `capacity` because a start of the real engine with ``auto`` (tests/on_machine/engine_sizing) proves the same arithmetic by it.
    """
    rules = layout.rules
    if not rules.max_model_len_auto:
        raise GB10Error(f"max_model_len auto does not exist in vLLM {layout.engine.vllm_version}: it came with 0.14, give a number.")
    derived = layout.default_max_model_len
    if layout.kv_free:
        found = capacity(layout, available_bytes, derived)
        text = f"Auto-fit max_model_len: attention-free model, using derived max_model_len={derived}"
        return Capacity(**{**found.__dict__, "log": text})
    available = _whole("available_bytes", available_bytes, -MAX_BYTES, MAX_BYTES)
    budget = _budget(layout, available)
    in_flight = layout.in_flight_tokens(derived)
    fitted = _longest(layout, budget, derived, in_flight) if budget > 0 else 0
    if fitted <= 0:
        refused = capacity(layout, available, derived)
        text = "Cannot auto-fit max_model_len: not enough GPU memory available to serve even a single token. Try increasing `gpu_memory_utilization`."
        return Capacity(**{**refused.__dict__, "error": text})
    per_request = layout.blocks_per_request(fitted, in_flight)
    num_blocks = available // layout.bytes_per_block
    concurrency = num_blocks / per_request
    template = rules.auto_full_text if fitted >= derived else rules.auto_less_text
    text = (
        template.replace("{derived}", str(derived))
        .replace("{fitted}", str(fitted))
        .replace("{available}", format_gib(budget, rules))
        .replace("{device}", layout.engine.device)
    )
    tokens = _tokens(layout, num_blocks, concurrency, fitted)
    needed = layout.needed_bytes(fitted, in_flight)
    return Capacity(available, fitted, num_blocks, per_request, tokens, concurrency, needed, True, fitted, None, text)


def _requests(concurrency: float) -> Fraction:
    if isinstance(concurrency, bool) or not isinstance(concurrency, (int, float, Fraction)) or not 0 < concurrency <= 1e9:
        raise GB10Error(f"concurrency is {concurrency!r}: give a positive number of requests.")
    return Fraction(concurrency)


def _blocks_wanted(layout: KVLayout, max_model_len: int, requests: Fraction, in_flight: int) -> int:
    """Blocks that print at least ``requests`` at that length and pass vLLM's own check."""
    per_request = layout.blocks_per_request(max_model_len, in_flight)
    wanted = -floor(-requests * per_request)
    needed = layout.needed_bytes(max_model_len, in_flight)
    admitted = -(-needed // layout.bytes_per_block) + (1 if layout.rules.null_block else 0)
    reserve = 1 if layout.rules.null_block else 0
    return max(wanted + reserve, admitted, 1)


def bytes_for(layout: KVLayout, max_model_len: int, concurrency: float = 1) -> int:
    """The smallest KV cache, a whole number of blocks, that holds ``concurrency`` requests of that length.

    The null block vLLM holds back (0.29 and later) comes on top, so that all requests really fit at once.
    """
    length = _whole("max_model_len", max_model_len, 1, MAX_LENGTH)
    requests = _requests(concurrency)
    if layout.kv_free:
        return 0
    return _blocks_wanted(layout, length, requests, layout.in_flight_tokens(length)) * layout.bytes_per_block


def longest_max_model_len(layout: KVLayout, available_bytes: int, concurrency: float = 1) -> int:
    """The longest context for which ``concurrency`` requests fit into ``available_bytes`` (0: none), at most the model's own."""
    available = _whole("available_bytes", available_bytes, -MAX_BYTES, MAX_BYTES)
    requests = _requests(concurrency)
    limit = layout.derived_max_model_len
    if layout.kv_free:
        return limit
    blocks = available // layout.bytes_per_block if available > 0 else 0

    def fits(length: int) -> bool:
        return _blocks_wanted(layout, length, requests, layout.in_flight_tokens(length)) <= blocks

    if not fits(1):
        return 0
    low, high = 1, limit
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    return low

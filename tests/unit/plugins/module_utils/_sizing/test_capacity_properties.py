# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Properties of the KV arithmetic that hold for every model, and its speed."""

from __future__ import annotations

import copy
import gzip
import json
import time
from fractions import Fraction
from pathlib import Path

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.capacity import (
    auto_fit,
    bytes_for,
    capacity,
    longest_max_model_len,
)
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.engine import Engine
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layout import KVLayout, kv_layout
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

GIB = 1 << 30
TABLE = json.loads(gzip.decompress((Path(__file__).parent / "data" / "kv-golden.json.gz").read_bytes()))
CONFIGS = {row["model"]: row["config"] for row in TABLE["rows"]}
LAYOUTS = [kv_layout(config, Engine()) for config in CONFIGS.values()]
CACHED = [layout for layout in LAYOUTS if not layout.kv_free]

layouts = st.sampled_from(CACHED)
sizes = st.integers(0, 128 * GIB)
lengths = st.integers(1, 1 << 20)
requests = st.one_of(st.integers(1, 64), st.floats(0.1, 64))


@given(layouts, sizes, sizes, lengths)
def test_more_memory_never_holds_less(layout: KVLayout, one: int, other: int, length: int) -> None:
    small, large = (capacity(layout, size, length) for size in sorted((one, other)))
    assert small.num_blocks <= large.num_blocks
    assert small.concurrency <= large.concurrency
    assert small.tokens <= large.tokens
    assert small.estimated_max_model_len <= large.estimated_max_model_len
    assert small.ok <= large.ok


@given(layouts, sizes, lengths, lengths)
def test_a_longer_context_never_needs_less(layout: KVLayout, size: int, one: int, other: int) -> None:
    short, long = sorted((one, other))
    assert layout.needed_bytes(short) <= layout.needed_bytes(long)
    assert capacity(layout, size, short).concurrency >= capacity(layout, size, long).concurrency


@given(layouts, sizes, lengths)
def test_the_estimate_is_the_longest_that_fits(layout: KVLayout, size: int, length: int) -> None:
    found = capacity(layout, size, length)
    estimate, flight = found.estimated_max_model_len, layout.in_flight_tokens(length)
    budget = size - layout.bytes_per_block
    assert 0 <= estimate <= length
    if estimate:
        assert layout.needed_bytes(estimate, flight) <= budget
    if estimate < length:
        assert layout.needed_bytes(estimate + 1, flight) > budget
    assert found.ok == (estimate == length)
    assert (found.error is None) == found.ok


@given(layouts, sizes, lengths)
def test_nothing_is_negative(layout: KVLayout, size: int, length: int) -> None:
    found = capacity(layout, size, length)
    assert min(found.num_blocks, found.tokens, found.needed_bytes, found.estimated_max_model_len) >= 0
    assert found.concurrency >= 0
    assert found.num_blocks * layout.bytes_per_block <= size


@given(layouts, lengths, requests)
def test_bytes_for_gives_what_was_asked_and_no_block_less_would(layout: KVLayout, length: int, wanted: float) -> None:
    size = bytes_for(layout, length, wanted)
    found = capacity(layout, size, length)
    assert size % layout.bytes_per_block == 0
    assert found.ok
    assert found.concurrency >= wanted
    fewer = size - layout.bytes_per_block
    usable = fewer // layout.bytes_per_block - 1  # without the null block
    assert not capacity(layout, fewer, length).ok or Fraction(usable, layout.blocks_per_request(length)) < Fraction(wanted)  # 1.1 is a little more than 11/10


@given(layouts, sizes, requests)
def test_longest_and_bytes_for_are_inverse(layout: KVLayout, size: int, wanted: float) -> None:
    length = longest_max_model_len(layout, size, wanted)
    assert 0 <= length <= layout.derived_max_model_len
    if length:
        assert bytes_for(layout, length, wanted) <= size
    if length < layout.derived_max_model_len:
        assert bytes_for(layout, length + 1, wanted) > size


@given(layouts, sizes, st.integers(1, 16), st.integers(1, 16))
def test_more_requests_never_allow_a_longer_context(layout: KVLayout, size: int, one: int, other: int) -> None:
    few, many = sorted((one, other))
    assert longest_max_model_len(layout, size, many) <= longest_max_model_len(layout, size, few)
    assert bytes_for(layout, 8192, few) <= bytes_for(layout, 8192, many)


@given(layouts, sizes)
def test_auto_fit_is_admitted(layout: KVLayout, size: int) -> None:
    fitted = auto_fit(layout, size)
    if not fitted.ok:
        assert fitted.error
        return
    assert fitted.max_model_len <= layout.derived_max_model_len
    assert layout.needed_bytes(fitted.max_model_len, layout.in_flight_tokens(layout.default_max_model_len)) <= size - layout.bytes_per_block


@pytest.mark.parametrize("model", ["Llama-3.1-8B", "Qwen3-8B", "Llama-3.1-70B"])
def test_tensor_parallelism_and_dtypes_scale_plain_attention(model: str) -> None:
    whole = kv_layout(CONFIGS[model], Engine()).bytes_per_block
    for ranks in (2, 4, 8):
        assert kv_layout(CONFIGS[model], Engine(tensor_parallel_size=ranks)).bytes_per_block * ranks == whole
    assert kv_layout(CONFIGS[model], Engine(tensor_parallel_size=16)).bytes_per_block * 8 == whole  # heads are copied, at least one each
    for dtype, share in {"fp8": 0.5, "fp8_e5m2": 0.5, "bfloat16": 1, "nvfp4": 0.28125, "fp8_per_token_head": 264 / 512}.items():
        assert kv_layout(CONFIGS[model], Engine(kv_cache_dtype=dtype)).bytes_per_block == whole * share


def test_latent_caches_are_not_divided() -> None:
    config = CONFIGS["DeepSeek-V2-Lite"]
    assert kv_layout(config, Engine(tensor_parallel_size=4)).bytes_per_block == kv_layout(config, Engine()).bytes_per_block


@pytest.mark.parametrize("stages", [2, 3, 4, 7])
def test_pipeline_stages_share_out_the_layers(stages: int) -> None:
    layout = kv_layout(CONFIGS["Llama-3.1-8B"], Engine(pipeline_parallel_size=stages))
    most = -(-32 // stages)
    assert layout.bytes_per_block == most * 65536
    assert layout.pages_per_request(131072) == [8192]


def test_context_parallelism_divides_the_length() -> None:
    config = CONFIGS["DeepSeek-V2-Lite"]
    alone, shared = kv_layout(config, Engine(tensor_parallel_size=4)), kv_layout(config, Engine(tensor_parallel_size=4, decode_context_parallel_size=4))
    assert shared.pages_per_request(163840) == [alone.pages_per_request(163840)[0] // 4]
    assert shared.kv_bytes_per_token * 4 == alone.kv_bytes_per_token
    with pytest.raises(GB10Error, match="full and latent"):
        kv_layout(CONFIGS["gpt-oss-20b"], Engine(tensor_parallel_size=2, decode_context_parallel_size=2))


def test_bytes_per_token_is_the_slope() -> None:
    for layout in CACHED:
        near, far = 1 << 24, 1 << 26
        flight = layout.in_flight_tokens(near)
        slope = (layout.needed_bytes(far, flight) - layout.needed_bytes(near, flight)) / (far - near)
        assert layout.kv_bytes_per_token == pytest.approx(slope, rel=1e-2), layout.architecture


# --- whatever stands in a config ---------------------------------------------------------------------------

JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-10, 10),
    st.integers(-(1 << 70), 1 << 70),
    st.floats(),
    st.text(max_size=8),
    st.lists(st.integers(-3, 300), max_size=4),
    st.lists(st.text(max_size=5), max_size=4),
    st.dictionaries(st.text(max_size=4), st.integers(), max_size=3),
)


@st.composite
def mutated_configs(draw: st.DrawFn) -> dict:
    config = copy.deepcopy(draw(st.sampled_from(list(CONFIGS.values()))))
    for _ in range(draw(st.integers(1, 4))):
        nested = [value for value in config.values() if isinstance(value, dict) and value]
        target = draw(st.sampled_from([config, *nested]))
        if not target:
            continue
        key = draw(st.sampled_from(sorted(target)))
        if draw(st.booleans()):
            del target[key]
        else:
            target[key] = draw(JUNK)
    return config


ENGINES = st.sampled_from(
    [
        Engine(),
        Engine(platform="cpu"),
        Engine(kv_cache_dtype="fp8", tensor_parallel_size=2),
        Engine(kv_cache_dtype="nvfp4"),
        Engine(vllm_version="0.12.0"),
        Engine(vllm_version="0.26.0", pipeline_parallel_size=2),
        Engine(num_speculative_tokens=2, speculative_method="mtp"),
    ]
)


@settings(max_examples=2500, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example])
@given(mutated_configs(), ENGINES, st.integers(0, 64 * GIB), st.integers(1, 1 << 30))
def test_a_damaged_config_gives_a_result_or_one_sentence(config: dict, engine: Engine, size: int, length: int) -> None:
    try:
        found = capacity(kv_layout(config, engine), size, length)
    except GB10Error as error:
        assert "\n" not in str(error)
        assert len(str(error)) > 20
        return
    assert found.num_blocks >= 0


@given(JUNK)
def test_a_config_that_is_no_object(value: object) -> None:
    with pytest.raises(GB10Error):
        kv_layout(value, Engine())


@given(layouts, JUNK, JUNK, JUNK)
def test_odd_numbers_are_refused_or_answered(layout: KVLayout, size: object, length: object, wanted: object) -> None:
    for call in (lambda: capacity(layout, size, length), lambda: bytes_for(layout, length, wanted), lambda: longest_max_model_len(layout, size, wanted)):
        try:
            call()
        except GB10Error as error:
            assert str(error).endswith(".")


# --- speed -------------------------------------------------------------------------------------------------


def test_a_thousand_plans_per_second() -> None:
    begun = time.perf_counter()
    plans = 0
    for index in range(40):
        for layout in CACHED:
            length = min(layout.derived_max_model_len, 65_536)
            capacity(layout, (8 + index) * GIB, length)
            plans += 1
    rate = plans / (time.perf_counter() - begun)
    assert rate > 1000, f"{rate:.0f} capacities per second"


def test_layouts_are_quick_too() -> None:
    begun = time.perf_counter()
    for config in CONFIGS.values():
        kv_layout(config, Engine())
    each = (time.perf_counter() - begun) / len(CONFIGS)
    assert each < 0.01, f"{each * 1000:.1f} ms a layout"

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The version table: what each release changed."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.capacity import auto_fit, bytes_for, capacity, format_gib
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.engine import Engine
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layout import kv_layout
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.rules import CHANGES, parse_version, release_of, rules_for, tells_no_age

GIB = 1 << 30
PLAIN = {
    "architectures": ["LlamaForCausalLM"],
    "num_hidden_layers": 4,
    "hidden_size": 512,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "dtype": "bfloat16",
    "max_position_embeddings": 8192,
}
MIXED = {**PLAIN, "layer_types": ["sliding_attention", "full_attention"] * 2, "sliding_window": 128}
HYBRID = {
    **PLAIN,
    "architectures": ["GraniteMoeHybridForCausalLM"],
    "layer_types": ["mamba", "attention"] * 2,
    "mamba_expand": 2,
    "mamba_n_heads": 16,
    "mamba_d_head": 64,
    "mamba_n_groups": 1,
    "mamba_d_state": 128,
    "mamba_d_conv": 4,
}


@pytest.mark.parametrize(
    ("text", "number"),
    [("0.33.0", (0, 33, 0)), ("v0.29.1rc1", (0, 29, 1)), ("0.32.0+cpu", (0, 32, 0)), ("0.20", (0, 20, 0)), ("0.11.2.dev3+g1234", (0, 11, 2))],
)
def test_versions_are_read(text: str, number: tuple) -> None:
    assert parse_version(text) == number


@pytest.mark.parametrize("text", ["", "latest", "0", None, 33, "0.33.0.0.x y", "-1.2"])
def test_what_is_no_version(text: object) -> None:
    if text == "0.33.0.0.x y":
        assert parse_version(text) == (0, 33, 0)
        return
    with pytest.raises(GB10Error, match="vllm_version"):
        parse_version(text)


@pytest.mark.parametrize("text", ["V0.33", "V0.33.0", "v0.33", " v0.33.0 ", "0.33"])
def test_a_version_with_a_letter_before_it(text: str) -> None:
    assert parse_version(text) == release_of(text) == (0, 33, 0)
    assert tells_no_age("V0.1.dev1+gda1daf40b") and not tells_no_age(text)


def test_the_table_is_in_order_and_older_releases_are_refused() -> None:
    numbers = [number for number, _change in CHANGES]
    assert numbers == sorted(set(numbers))
    with pytest.raises(GB10Error, match="older than 0.10.0"):
        rules_for("0.9.2")
    assert rules_for("0.99.0") == rules_for("0.33.0")


def test_gib_as_each_release_prints_it() -> None:
    assert format_gib(60 * GIB, rules_for("0.13.0")) == "60.00"
    assert format_gib(60 * GIB, rules_for("0.14.0")) == "60.0"
    assert format_gib(int(56.126 * GIB), rules_for("0.33.0")) == "56.13"


def test_the_null_block_came_with_029() -> None:
    for version, estimate in (("0.28.0", 1600), ("0.29.0", 1584)):
        layout = kv_layout(PLAIN, Engine(vllm_version=version))
        assert capacity(layout, 100 * layout.bytes_per_block, 8192).estimated_max_model_len == estimate
        assert capacity(layout, 100 * layout.bytes_per_block, 1600).ok == (version == "0.28.0")


def test_tokens_came_from_the_blocks_before_0202() -> None:
    old, new = (kv_layout(MIXED, Engine(vllm_version=version)) for version in ("0.20.0", "0.20.2"))
    size = 1001 * old.bytes_per_block
    assert capacity(old, size, 8192).tokens == 1001 // 2 * 16
    found = capacity(new, size, 8192)
    assert found.tokens == int(found.concurrency * 8192) > 1001 // 2 * 16


def test_windows_count_two_batches_since_026() -> None:
    old, new = (kv_layout(MIXED, Engine(vllm_version=version)) for version in ("0.25.0", "0.26.0"))
    assert old.pages_per_request(8192) == [-(-(127 + 2048) // 16) + 1, 512]
    assert new.pages_per_request(8192) == [-(-(127 + 4096) // 16) + 1, 512]
    pooling = kv_layout(MIXED, Engine(runner="pooling"))
    assert pooling.pages_per_request(8192) == old.pages_per_request(8192)


def test_needed_bytes_through_the_ages() -> None:
    sliding, whole = "sliding_attention", "full_attention"
    three = {**PLAIN, "num_hidden_layers": 5, "layer_types": [sliding, whole, sliding, sliding, whole], "sliding_window": 128}
    page, window, full = 16 * 2 * 64 * 2 * 2, 137, 512  # 127 + 2048 tokens and one block; 8192 tokens
    needed = {version: kv_layout(three, Engine(vllm_version=version)).needed_bytes(8192) for version in ("0.13.0", "0.14.0", "0.19.0")}
    assert needed["0.13.0"] == page * (3 * window + 2 * full)  # layer by layer
    assert needed["0.14.0"] == page * 2 * window  # the first group only
    assert needed["0.19.0"] == page * 2 * (2 * window + full)  # all groups, padding included


def test_group_sizes_changed_with_018() -> None:
    config = {**PLAIN, "num_hidden_layers": 9, "layer_types": ["sliding_attention"] * 5 + ["full_attention"] * 4, "sliding_window": 128}
    assert [group.layers for group in kv_layout(config, Engine(vllm_version="0.17.0")).groups] == [3, 2, 4]
    assert [group.layers for group in kv_layout(config, Engine(vllm_version="0.18.0")).groups] == [5, 4]


@pytest.mark.parametrize(
    ("version", "mode", "pages"),
    [("0.12.0", "none", 1), ("0.25.0", "none", 1), ("0.26.0", "align", 2), ("0.31.0", "align", 2), ("0.32.0", "align", 3), ("0.33.0", "align", 3)],
)
def test_states_through_the_ages(version: str, mode: str, pages: int) -> None:
    layout = kv_layout(HYBRID, Engine(vllm_version=version))
    assert layout.mamba_cache_mode == mode
    assert layout.pages_per_request(8192)[0] == pages
    off = kv_layout(HYBRID, Engine(vllm_version=version, enable_prefix_caching=False))
    assert off.pages_per_request(8192)[0] == 1


def test_wordings() -> None:
    def layout(version: str):
        return kv_layout(PLAIN, Engine(vllm_version=version))

    line = "KV cache size: 16,000 tokens"
    size = 1000 * layout("0.33.0").bytes_per_block
    assert capacity(layout("0.27.0"), size, 8192).log == f"GPU {line}\nMaximum concurrency for 8,192 tokens per request: 1.95x"
    assert capacity(layout("0.28.0"), size, 8192).log == f"GPU {line}, Maximum concurrency for 8,192 tokens per request: 1.95x"
    cpu = kv_layout(PLAIN, Engine(vllm_version="0.32.0+cpu", platform="cpu"))
    assert capacity(cpu, 1000 * cpu.bytes_per_block, 8192).log.startswith("CPU KV cache size: 128,000 tokens, ")
    assert "the models's max" in capacity(layout("0.21.0"), 1 << 20, 8192).error
    assert "the model's max" in capacity(layout("0.22.0"), 1 << 20, 8192).error
    assert capacity(layout("0.12.0"), 0, 8192).error == (
        "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine."
    )
    assert "despite its name" in capacity(layout("0.33.0"), 0, 8192).error
    assert "Based on" not in capacity(layout("0.33.0"), layout("0.33.0").bytes_per_block + 1, 8192).error


def test_auto_lengths() -> None:
    with pytest.raises(GB10Error, match="came with 0.14"):
        auto_fit(kv_layout(PLAIN, Engine(vllm_version="0.13.0")), GIB)
    old, new = (kv_layout(PLAIN, Engine(vllm_version=version)) for version in ("0.31.0", "0.33.0"))
    assert auto_fit(old, 100 * old.bytes_per_block).log == (
        "Auto-fit max_model_len: reduced from 8192 to 1584 to fit in available GPU memory (0.0 GiB available for KV cache)"
    )
    assert auto_fit(new, 100 * new.bytes_per_block).log == "Auto-fit max_model_len: reduced from 8192 to 1584 to fit in available KV cache memory (0.0 GiB GPU)"
    assert auto_fit(new, new.bytes_per_block).error.startswith("Cannot auto-fit max_model_len")


def test_what_a_release_has_not() -> None:
    for setting in ({"kv_cache_dtype": "nvfp4"}, {"kv_cache_dtype": "int8_per_token_head"}):
        with pytest.raises(GB10Error, match="came with 0.20"):
            kv_layout(PLAIN, Engine(vllm_version="0.19.0", **setting))
    dropped = {**HYBRID, "architectures": ["BambaForCausalLM"]}
    with pytest.raises(GB10Error, match="until 0.23.0, and 0.33.0 does not start it"):  # Transformers' layers without attention, which vLLM does not run
        kv_layout(dropped, Engine())
    taken_over = {**PLAIN, "architectures": ["PersimmonForCausalLM"]}
    assert any("after 0.25.0" in text for text in kv_layout(taken_over, Engine()).warnings)
    assert not kv_layout(dropped, Engine(vllm_version="0.23.0")).warnings
    assert any("newer than 0.33" in text for text in kv_layout(PLAIN, Engine(vllm_version="0.34.0")).warnings)


def test_yarn_lengths_through_the_ages() -> None:
    rope = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096}
    config = {**PLAIN, "max_position_embeddings": 8192, "rope_scaling": rope}
    assert kv_layout(config, Engine(vllm_version="0.29.0")).derived_max_model_len == 16384
    assert kv_layout(config, Engine(vllm_version="0.30.0")).derived_max_model_len == 8192


def test_ranks_that_share_a_context_hold_more_tokens_before_0202_too() -> None:
    for ranks in (1, 2):
        layout = kv_layout(PLAIN, Engine(vllm_version="0.20.0", tensor_parallel_size=8, decode_context_parallel_size=ranks))
        assert capacity(layout, 100 * layout.bytes_per_block, 1024).tokens == 100 * 16 * ranks


def test_part_of_a_request_is_rounded_up_to_a_whole_block() -> None:
    layout = kv_layout(PLAIN, Engine(vllm_version="0.28.0"))
    assert layout.blocks_per_request(48) == 3
    assert bytes_for(layout, 48, 1.5) == 5 * layout.bytes_per_block


def test_a_batch_is_never_larger_than_all_sequences_together() -> None:
    layout = kv_layout(PLAIN, Engine(max_num_seqs=2))
    assert layout.default_batched_tokens > 2 * 512
    assert layout.batch_tokens(512) == 2 * 512
    assert layout.batch_tokens(8192) == layout.default_batched_tokens

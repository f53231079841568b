# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Layer rules, page sizes and groups, worked out by hand on small models."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.capacity import bytes_for, capacity
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.engine import Engine
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layers import RULES, Layer
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layers_dropped import LAST_RELEASE, PLUGINS, TAKEN_OVER
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layers_registry import (
    CAUSAL_POOLING,
    ENCODER_ONLY,
    FAMILY_OF,
    TEXT_FAMILIES,
    TEXT_TYPES,
    WRAPPERS,
)
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layout import content_bytes, kv_layout, pipeline_stages
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layout_groups import Page, make_groups, pack, unify_pages

DATA = Path(__file__).parent / "data"
TABLE = json.loads(gzip.decompress((DATA / "kv-golden.json.gz").read_bytes()))
CONFIGS = {row["model"]: row["config"] for row in TABLE["rows"]}


def model(architecture: str, model_type: str, **more: object) -> dict:
    base = {"num_hidden_layers": 8, "hidden_size": 1024, "num_attention_heads": 8, "num_key_value_heads": 2, "max_position_embeddings": 32768}
    return {"architectures": [architecture], "model_type": model_type, "dtype": "bfloat16", **base, **more}


def shape(layout) -> list[tuple[int, str, int]]:
    return [(group.layers, group.kind, group.block_size) for group in layout.groups]


# --- tables ------------------------------------------------------------------------------------------------


def test_every_family_has_a_rule_and_every_name_one_family() -> None:
    assert set(TEXT_FAMILIES) <= set(RULES)
    assert sum(map(len, TEXT_FAMILIES.values())) == len(FAMILY_OF)
    tables = [set(FAMILY_OF), set(WRAPPERS), set(ENCODER_ONLY), set(CAUSAL_POOLING)]
    assert sum(map(len, tables)) == len(set.union(*tables))
    for target in [*filter(None, WRAPPERS.values()), *CAUSAL_POOLING.values(), *TEXT_TYPES.values()]:
        assert target in FAMILY_OF, target
    assert set(TAKEN_OVER) <= set(LAST_RELEASE) and not set(PLUGINS) & {*LAST_RELEASE, *set.union(*tables)}
    assert not set(LAST_RELEASE) & {*WRAPPERS.values(), *CAUSAL_POOLING.values(), *TEXT_TYPES.values()}, "the rule of one that vLLM has"


# --- pages -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "size"),
    [("auto", 512), ("bfloat16", 512), ("fp8", 256), ("fp8_e5m2", 256), ("nvfp4", 144), ("fp8_per_token_head", 264), ("int8_per_token_head", 264)],
)
def test_bytes_of_one_head_of_128(dtype: str, size: int) -> None:
    assert content_bytes(Layer("full", head_size=128, head_size_v=128), dtype, 2) == size


def test_bytes_of_other_heads() -> None:
    assert content_bytes(Layer("full", head_size=128, head_size_v=128), "int4_per_token_head", 2) == 136
    assert content_bytes(Layer("full", head_size=192, head_size_v=128), "auto", 2) == 640
    assert content_bytes(Layer("mla", head_size=576), "fp8", 2) == 576
    assert content_bytes(Layer("mla", head_size=128, own_dtype=True), "fp8", 2) == 256
    assert content_bytes(Layer("mla", head_size=132, content_bytes=132), "bfloat16", 2) == 132


@pytest.mark.parametrize(
    ("kind", "settings", "blocks"),
    [
        ("full", {}, 63),  # 1,000 tokens in blocks of 16
        ("full", {"dcp": 4}, 16),
        ("mla", {"dcp": 2}, 32),
        ("sliding", {"window": 128}, 1 + 40),  # 127 + 500 in flight
        ("sliding", {"window": 128, "extra": 2}, 1 + 40),
        ("sliding", {"window": 4096}, 1 + 63),
        ("chunked", {"chunk": 128}, 40),
        ("state", {"fixed": 3}, 3),
        ("cross", {"encoder_tokens": 1500}, 94),
    ],
)
def test_blocks_of_one_request(kind: str, settings: dict, blocks: int) -> None:
    assert Page(kind, 16, 1024, 1024, **settings).blocks(1000, 500) == blocks


# --- groups ------------------------------------------------------------------------------------------------


def test_smaller_pages_get_more_tokens_or_padding() -> None:
    large, state = Page("full", 16, 1024, 1024), Page("state", 16, 700, 700, fixed=1)
    half, odd = Page("sliding", 16, 512, 512, window=8), Page("sliding", 16, 768, 768, window=9)
    made = [page for _index, page in unify_pages([(0, large), (1, half), (2, odd), (3, state)])]
    assert [(page.block_size, page.page_size_bytes) for page in made] == [(16, 1024), (32, 1024), (16, 1024), (16, 1024)]
    with pytest.raises(GB10Error, match="latent cache"):
        unify_pages([(0, large), (1, Page("mla", 16, 768, 768)), (2, Page("sliding", 16, 512, 512, window=8))])


def test_full_and_latent_layers_share_one_table_whatever_their_sizes() -> None:
    groups = make_groups([(0, Page("full", 16, 1024, 1024)), (1, Page("mla", 16, 300, 300))], ratio_percent=150, packed=False, disable_hybrid=False)
    assert [(group.layers, group.kind, group.bytes_per_block) for group in groups] == [(2, "mixed", 1324)]


def test_short_groups_waste_blocks() -> None:
    window, full = Page("sliding", 16, 1024, 1024, window=64), Page("full", 16, 1024, 1024)
    placed = [(index, full if index % 4 == 3 else window) for index in range(14)]
    groups = make_groups(placed, ratio_percent=150, packed=False, disable_hybrid=False)
    assert [group.layers for group in groups] == [3, 3, 3, 2, 3]
    assert groups[0].layer_indices == (0, 5, 10)


def test_packing_of_deepseek_v4() -> None:
    assert pack([(0, Page("mla", 16, 64, 64)), (1, Page("mla", 16, 64, 64))]) is None
    window = [(index, Page("sliding_mla", 64, 300, 300, window=128)) for index in range(5)]
    pair = [(index, Page("sliding_mla", 4, size, size, window=8, identity=(size,))) for index in range(2) for size in (100, 200)]
    groups = pack(window + pair)
    assert groups is not None
    assert [group.layers for group in groups] == [2, 2, 1, 4]


def test_pipeline_stages() -> None:
    assert [len(stage) for stage in pipeline_stages(32, 3)] == [11, 11, 10]
    assert [len(stage) for stage in pipeline_stages(30, 4)] == [7, 8, 8, 7]
    assert sum(len(stage) for stage in pipeline_stages(61, 4)) == 61
    assert len(pipeline_stages(61, 4)[-1]) == 15


# --- families ----------------------------------------------------------------------------------------------


def test_one_window_for_all_layers() -> None:
    phi = kv_layout(model("Phi3ForCausalLM", "phi3", sliding_window=2047), Engine())
    assert shape(phi) == [(8, "sliding", 16)]
    assert phi.pages_per_request(32768) == [-(-(2046 + 4096) // 16) + 1]
    for unused in ({"use_sliding_window": False, "sliding_window": 4096}, {"sliding_window": None}, {"sliding_window": 0}):
        assert shape(kv_layout(model("Qwen2ForCausalLM", "qwen2", **unused), Engine())) == [(8, "full", 16)]


def test_alternating_windows() -> None:
    assert shape(kv_layout(model("Gemma2ForCausalLM", "gemma2", sliding_window=4096), Engine())) == [(4, "sliding", 16), (4, "full", 16)]
    cohere = kv_layout(model("Cohere2ForCausalLM", "cohere2", sliding_window=4096), Engine())
    assert shape(cohere) == [(2, "sliding", 16)] * 3 + [(2, "full", 16)]
    assert cohere.groups[0].members[0][1].window == 4097
    typed = model("LlamaForCausalLM", "llama", layer_types=["full_attention", "sliding_attention"] * 4, sliding_window=512)
    assert shape(kv_layout(typed, Engine())) == [(4, "full", 16), (4, "sliding", 16)]
    assert shape(kv_layout(typed, Engine(disable_hybrid_kv_cache_manager=True))) == [(8, "full", 16)]


def test_gemma_3_finds_its_pattern() -> None:
    config = model("Gemma3ForCausalLM", "gemma3_text", num_hidden_layers=12, sliding_window=1024)
    assert shape(kv_layout(config, Engine())) == [(2, "sliding", 16)] * 5 + [(2, "full", 16)]
    assert shape(kv_layout({**config, "sliding_window_pattern": 2}, Engine())) == [(6, "sliding", 16), (6, "full", 16)]


def test_shared_layers_keep_nothing() -> None:
    config = model("Gemma3nForCausalLM", "gemma3n_text", num_hidden_layers=20, sliding_window=512, num_kv_shared_layers=5)
    layout = kv_layout(config, Engine())
    assert layout.num_layers_with_cache == 15
    assert shape(layout) == [(3, "sliding", 16)] * 4 + [(3, "full", 16)]
    with pytest.raises(GB10Error, match="num_kv_shared_layers"):
        kv_layout({**config, "num_kv_shared_layers": 20}, Engine())


def test_gemma_4_has_two_head_sizes() -> None:
    text = CONFIGS["gemma-4-26B-A4B"]["text_config"]
    plain = kv_layout({**text, "architectures": ["Gemma4ForCausalLM"]}, Engine())
    assert shape(plain) == [(5, "sliding", 16)] * 5 + [(5, "full", 32)]
    assert plain.max_num_batched_tokens == 2048  # no images, no larger batch
    saved = {key: value for key, value in text.items() if key not in ("global_head_dim", "num_global_key_value_heads")}
    saved["per_layer_config"] = {f"{index:02}": {"head_dim": 512, "num_key_value_heads": 2} for index in range(5, 30, 6)}
    assert kv_layout({**saved, "architectures": ["Gemma4ForCausalLM"]}, Engine()).bytes_per_block == plain.bytes_per_block


def test_chunks() -> None:
    config = model("Llama4ForCausalLM", "llama4_text", attention_chunk_size=1024)
    layout = kv_layout(config, Engine(max_num_batched_tokens=512))
    assert shape(layout) == [(2, "chunked", 16)] * 3 + [(2, "full", 16)]
    assert layout.pages_per_request(32768) == [(1024 + 1024) // 16] * 3 + [2048]
    assert shape(kv_layout(config, Engine(vllm_version="0.13.0"))) == [(8, "full", 16)]


def test_mimo_has_other_heads_in_its_windows() -> None:
    config = model("MiMoV2FlashForCausalLM", "mimo_v2_flash", head_dim=192, v_head_dim=128, hybrid_layer_pattern=[0, 1, 1, 1, 1, 0, 1, 1])
    config.update(swa_head_dim=192, swa_v_head_dim=128, swa_num_key_value_heads=4, sliding_window_size=128, attention_chunk_size=128)
    layout = kv_layout(config, Engine())
    assert shape(layout) == [(2, "full", 32), (2, "sliding", 16), (2, "sliding", 16), (2, "sliding", 16)]
    assert layout.bytes_per_block == 2 * 16 * 4 * 320 * 2


def test_latent_attention() -> None:
    config = model("DeepseekV3ForCausalLM", "deepseek_v3", kv_lora_rank=512, qk_rope_head_dim=64, qk_nope_head_dim=128, v_head_dim=128)
    assert kv_layout(config, Engine()).bytes_per_block == 8 * 16 * 576 * 2
    kimi = {"architectures": ["KimiK25ForConditionalGeneration"], "text_config": {**config, "model_type": "kimi_k2"}}
    assert kv_layout(kimi, Engine(kv_cache_dtype="fp8")).bytes_per_block == 8 * 16 * 576
    long = {**config, "architectures": ["LongcatFlashForCausalLM"], "num_layers": 4}
    assert kv_layout(long, Engine()).num_layers_with_cache == 8
    with pytest.raises(GB10Error, match="latent attention"):
        kv_layout(config, Engine(kv_cache_dtype="nvfp4"))
    without = {key: value for key, value in config.items() if key != "kv_lora_rank"}
    with_heads = {**without, "kv_lora_rank": None}
    assert kv_layout(with_heads, Engine()).bytes_per_block == 8 * 16 * 8 * 2 * 192 * 2
    assert kv_layout(config, Engine(platform="cpu", cpu_amx=False)).block_size == 16
    assert kv_layout(config, Engine(platform="cpu")).block_size == 128


def test_sparse_latent_attention_and_shared_indexes() -> None:
    config = model("GlmMoeDsaForCausalLM", "glm_moe_dsa", kv_lora_rank=512, qk_rope_head_dim=64, index_head_dim=128, index_topk=2048)
    every, fourth = kv_layout(config, Engine()), kv_layout({**config, "index_topk_freq": 4}, Engine())
    assert every.bytes_per_block == 8 * 64 * (132 + 656)
    assert every.resolved_kv_cache_dtype == "fp8_ds_mla"
    assert fourth.num_layers_with_cache == 8 + 3  # layers 0, 1 and 5
    pattern = kv_layout({**config, "index_topk_pattern": "FSSSFSSS"}, Engine())
    assert pattern.num_layers_with_cache == 10
    with pytest.raises(GB10Error, match="sparse latent attention"):
        kv_layout(config, Engine(kv_cache_dtype="int8_per_token_head"))


def test_state_blocks_by_mode_speculation_and_cuda() -> None:
    config = CONFIGS["Qwen3.5-35B-A3B"]
    for settings, pages, block in (
        ({}, 3, 1088),
        ({"cuda_runtime": "12.9"}, 2, 1056),
        ({"gdn_prefill_backend": "triton"}, 2, 1056),
        ({"enable_prefix_caching": False}, 1, 1056),
        ({"vllm_version": "0.32.0"}, 2, 1056),
        ({"vllm_version": "0.25.0"}, 1, 1056),
        ({"mamba_ssm_cache_dtype": "bfloat16"}, 3, 576),
    ):
        layout = kv_layout(config, Engine(**settings))
        assert (layout.pages_per_request(8192)[0], layout.block_size) == (pages, block), settings


def test_short_convolutions() -> None:
    config = model("Lfm2ForCausalLM", "lfm2", full_attn_idxs=[1, 3, 5, 7], conv_L_cache=3, conv_dim=1024)
    layout = kv_layout(config, Engine())
    assert shape(layout) == [(4, "state", 16), (4, "full", 16)]
    assert layout.groups[0].members[0][1].unpadded_bytes == 2 * 1024 * 2


def test_pure_state_models_have_no_growing_cache() -> None:
    config = {"architectures": ["Mamba2ForCausalLM"], "model_type": "mamba2", "num_hidden_layers": 4, "hidden_size": 1024, "expand": 2, "n_groups": 1}
    config.update(num_heads=32, head_dim=64, state_size=128, conv_kernel=4, dtype="bfloat16")
    layout = kv_layout(config, Engine())
    assert layout.kv_bytes_per_token == 0
    assert layout.pages_per_request(100_000) == [1]
    assert layout.bytes_per_block == 4 * (3 * (2048 + 256) + 32 * 64 * 128) * 2
    assert not layout.kv_free


def test_parallel_hybrids_keep_both() -> None:
    config = model("FalconH1ForCausalLM", "falcon_h1", mamba_d_ssm=1536, mamba_n_heads=24, mamba_d_head=64, mamba_n_groups=1, mamba_d_state=128)
    config.update(mamba_d_conv=4, mamba_expand=2)
    layout = kv_layout(config, Engine())
    assert [group.layers for group in layout.groups] == [8, 8]
    assert layout.num_layers_with_cache == 16


def test_encoders_keep_nothing() -> None:
    layout = kv_layout(CONFIGS["bert-base-uncased"], Engine())
    assert layout.kv_free
    assert (layout.bytes_per_block, layout.groups, layout.dtype) == (0, (), "float16")
    assert capacity(layout, 1 << 30, 512).ok
    assert bytes_for(layout, 512, 10) == 0
    bidirectional = model("Qwen3ForCausalLM", "qwen3", is_causal=False)
    assert kv_layout(bidirectional, Engine()).kv_free


def test_encoder_decoders_keep_the_encoders_positions() -> None:
    layout = kv_layout(CONFIGS["whisper-tiny"], Engine(max_num_batched_tokens=4096))
    assert layout.pages_per_request(448) == [28, 256]
    assert layout.facts.kind == "encoder_decoder"


def test_draft_layers_join_the_groups() -> None:
    qwen = {**CONFIGS["Qwen3-Next-80B-A3B"], "num_hidden_layers": 64, "layer_types": None}
    qwen.pop("layer_types")
    layout = kv_layout(qwen, Engine(num_speculative_tokens=2, speculative_method="mtp"))
    assert [group.layers for group in layout.groups] == [16, 16, 16, 17]
    assert layout.bytes_per_block == 17 * layout.groups[-1].page_size_bytes
    assert layout.pages_per_request(8192)[0] == 5
    draft = model("LlamaForCausalLMEagle3", "llama", num_hidden_layers=1, num_attention_heads=64, num_key_value_heads=8, head_dim=64)
    engine = Engine(num_speculative_tokens=3, speculative_method="eagle3")
    oss = kv_layout(CONFIGS["gpt-oss-20b"], engine, draft_config=draft)
    assert [group.layers for group in oss.groups] == [12, 13]
    assert oss.bytes_per_block == 13 * 32768
    v3 = model("DeepseekV3ForCausalLM", "deepseek_v3", kv_lora_rank=512, qk_rope_head_dim=64, qk_nope_head_dim=128, num_nextn_predict_layers=1)
    assert kv_layout(v3, Engine(num_speculative_tokens=1, speculative_method="mtp")).num_layers_with_cache == 9


@pytest.mark.parametrize("pattern", [[[1]], ["M", None], "MX*", 7, []])
def test_odd_patterns_are_refused(pattern: object) -> None:
    config = {**CONFIGS["Nemotron-3-Nano-30B-A3B"], "hybrid_override_pattern": pattern}
    with pytest.raises(GB10Error, match="hybrid_override_pattern"):
        kv_layout(config, Engine())


def test_heads_that_some_formats_do_not_take() -> None:
    with pytest.raises(GB10Error, match="sinks"):
        kv_layout(CONFIGS["gpt-oss-20b"], Engine(kv_cache_dtype="nvfp4"))
    with pytest.raises(GB10Error, match="heads of 64"):
        kv_layout(model("LlamaForCausalLM", "llama", head_dim=64), Engine(kv_cache_dtype="nvfp4"))
    with pytest.raises(GB10Error, match="does not divide the model's linear key heads .4."):
        kv_layout({**CONFIGS["Qwen3-Next-80B-A3B"], "linear_num_key_heads": 4}, Engine(tensor_parallel_size=8))


def test_models_of_the_notes() -> None:
    """Figures of kv-cache.md section 7 for a model that is not in the table: gpt-oss-120b at 20 GiB."""
    config = {**CONFIGS["gpt-oss-20b"], "num_hidden_layers": 36, "layer_types": ["sliding_attention", "full_attention"] * 18, "num_local_experts": 128}
    layout = kv_layout(config, Engine())
    assert layout.bytes_per_block == 589824
    found = capacity(layout, 21474848825, 131072)
    assert (found.tokens, f"{found.concurrency:.2f}", f"{found.needed_bytes / (1 << 30):.3f}") == (564274, "4.31", "4.646")

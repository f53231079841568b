# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every argument of vLLM that takes memory is counted, refused or named: the plan's parts change, or it says why it cannot know."""

from __future__ import annotations

import checkpoints
import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import arguments, weights
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.arguments import ARGUMENTS
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.plan import plan_box

GIB = 2**30
GOLDEN = checkpoints.golden_weights()
DEVSTRAL = GOLDEN["Devstral-Small-2-24B-Instruct-2512", 1]["config"]
LLAMA, GEMMA = GOLDEN["Llama-3.1-8B", 1]["config"], GOLDEN["gemma-3-27b-it", 1]["config"]
HYBRID = GOLDEN["Qwen3-Next-80B-A3B", 1]["config"]
MODELS = {
    "/m/devstral": {
        "config": DEVSTRAL, "kind": "chat",
        "weights": weights.summarise([*checkpoints.dense(DEVSTRAL, prefix="language_model.model.", fp8=True), *checkpoints.pixtral_tower(DEVSTRAL)], DEVSTRAL),
    },
    "/m/llama": {"config": LLAMA, "kind": "chat", "weights": weights.summarise(list(checkpoints.dense(LLAMA)), LLAMA)},
    "/m/windows": {"config": GEMMA, "kind": "chat", "weights": weights.summarise([checkpoints.tensor("model.layers.0.mlp.x.weight", "BF16", 2**34)], GEMMA)},
    "/m/hybrid": {"config": HYBRID, "kind": "chat", "weights": weights.summarise([checkpoints.tensor("model.layers.0.mlp.x.weight", "BF16", 2**34)], HYBRID)},
}  # fmt: skip
BOX = {"memory": {"total_bytes": int(121.69 * GIB), "available_bytes": 112 * GIB, "cuda_total_bytes": int(121.69 * GIB), "cuda_total_source": "test"}}

# For each counted argument two values and what else has to be stated for them to matter.
LORA = {"enable_lora": True}
COUNTED = {
    "api_server_count": (1, 3, {}),
    "async_scheduling": (False, True, {"model": "windows"}),
    "block_size": (16, 32, {}),
    "compilation_config": ({}, {"cudagraph_mode": "NONE"}, {}),
    "cudagraph_capture_sizes": ([1, 2], list(range(1, 200)), {}),
    "disable_hybrid_kv_cache_manager": None,  # only which layers share blocks
    "decode_context_parallel_size": None,  # several GPUs
    "dtype": ("bfloat16", "float32", {"model": "llama"}),
    "enable_lora": (False, True, {}),
    "enable_prefix_caching": (False, True, {"model": "hybrid"}),
    "enforce_eager": (False, True, {}),
    "gdn_prefill_backend": ("triton", "flashinfer", {"model": "hybrid", "enable_prefix_caching": True}),
    "gpu_memory_utilization": (0.6, 0.7, {}),
    "hf_overrides": ({}, {"text_config": {"num_hidden_layers": 4}}, {}),
    "kv_cache_dtype": ("auto", "fp8", {}),
    "kv_cache_dtype_skip_layers": ([], ["0"], {"kv_cache_dtype": "fp8"}),
    "kv_cache_memory_bytes": (10 * GIB, 20 * GIB, {}),
    "kv_offloading_size": (0, 20, {}),
    "kv_transfer_config": ({}, {"kv_connector": "OffloadingConnector", "kv_role": "kv_both", "kv_connector_extra_config": {"cpu_bytes_to_use": 5 * GIB}}, {}),
    "language_model_only": (False, True, {}),
    "limit_mm_per_prompt": ({"image": 1}, {"image": 0}, {}),
    "lora_dtype": ("auto", "float32", LORA),
    "mamba_cache_dtype": ("auto", "float32", {"model": "hybrid"}),
    "mamba_cache_mode": None,  # what a block of states is kept for, in bytes that are fixed
    "mamba_ssm_cache_dtype": ("auto", "float32", {"model": "hybrid"}),
    "max_cpu_loras": (1, 8, LORA),
    "max_cudagraph_capture_size": (16, 512, {}),
    "max_lora_rank": (16, 64, LORA),
    "max_loras": (1, 4, LORA),
    "max_model_len": (8192, 16384, {}),
    "max_num_batched_tokens": (2048, 16384, {}),
    "max_num_seqs": (16, 256, {}),
    "mm_processor_cache_gb": (0, 4, {}),
    "mm_processor_kwargs": ({}, {"max_pixels": 40_000_000}, {}),
    "model": None,  # the server's model
    "optimization_level": (0, 2, {}),
    "performance_mode": ("balanced", "interactivity", {}),
    "pipeline_parallel_size": None,  # several GPUs
    "quantization": (None, "fp8", {"model": "llama"}),
    "runner": None,  # what the model is for
    "spec_method": ("", "ngram", {"spec_tokens": 4}),
    "spec_model": None,  # a model beside the server's
    "spec_tokens": (1, 8, {"spec_method": "ngram"}),
    "specialize_active_lora": (False, True, {**LORA, "max_loras": 4}),
    "speculative_config": ({}, {"method": "ngram", "num_speculative_tokens": 4}, {}),
    "tensor_parallel_size": None,  # several GPUs
}


def planned(**args):
    model = args.pop("model", "devstral")
    server = {"name": "s", "model": model, "model_path": f"/m/{model}", "max_model_len": 4096, "args": args}
    if "max_model_len" in args:
        del server["max_model_len"]
    return plan_box(BOX, [server], MODELS, {"vllm_version": "0.33.0"})["servers"][0]


def figures(entry):
    """What of the memory a plan says, without the figures that only follow from it."""
    parts = {name: part["value"] for name, part in entry["beside"].items()}
    return parts, entry["weights_bytes"]["value"], entry["bytes_per_block"], entry["block_size"], entry["needed_bytes"], entry["kv_cache_bytes"]


def test_every_counted_argument_is_tried():
    assert set(COUNTED) == {name for name, row in ARGUMENTS.items() if row.memory == arguments.COUNTED}


@pytest.mark.parametrize("name", [name for name, case in COUNTED.items() if case])
def test_a_counted_argument_changes_the_plan(name):
    less, more, further = COUNTED[name]
    one, other = planned(**further, **{name: less}), planned(**further, **{name: more})
    assert figures(one) != figures(other)
    part = ARGUMENTS[name].part
    if part not in ("weights", "kv_cache"):
        assert one["beside"].get(part, {}).get("value", 0) != other["beside"].get(part, {}).get("value", 0), part


@pytest.mark.parametrize("name", [name for name, row in ARGUMENTS.items() if row.memory == arguments.REFUSED])
def test_what_makes_no_sense_in_unified_memory_is_refused_in_one_sentence(name):
    with pytest.raises(GB10Error, match=f"server s: args.{name} is refused: .*Take it out") as error:
        planned(**{name: 8})
    assert "\n" not in str(error.value)
    planned(**{name: 0})


@pytest.mark.parametrize("name", [name for name, row in ARGUMENTS.items() if row.memory == arguments.UNKNOWN])
def test_what_cannot_be_known_is_named_with_the_way_to_reserve_for_it(name):
    # Of each kind one value that vLLM's parser takes.
    value = {arguments.TRUTH: True, arguments.NUMBER: 8, arguments.JSON: {"ec_connector": "lmcache", "ec_role": "ec_both"}}.get(ARGUMENTS[name].kind, "lmcache")
    found = [warning for warning in planned(**{name: value})["warnings"] if warning.startswith(f"{name}: ")]
    assert len(found) == 1 and "reserve_gib" in found[0] and "gb10_reserve_gib" in found[0]
    assert [warning for warning in planned(**{name: ""})["warnings"] if warning.startswith(name)] == []


def test_an_external_cache_is_named():
    warnings = planned(kv_transfer_config={"kv_connector": "LMCacheConnectorV1", "kv_role": "kv_both"})["warnings"]
    assert any("LMCacheConnectorV1" in warning and "reserve_gib" in warning for warning in warnings)


def test_what_is_reserved_for_a_server_is_not_planned_for():
    """For all servers by an option, for one by its own key; what a server states wins."""
    server = {"name": "s", "model": "devstral", "model_path": "/m/devstral", "max_model_len": 65536}

    def cache(server, **options):
        return plan_box(BOX, [server], MODELS, {"vllm_version": "0.33.0"}, options)["servers"][0]["kv_cache_bytes"]

    plain = cache(server)
    assert plain - cache(server, reserve_gib=5) >= 4.8 * GIB
    assert cache({**server, "reserve_gib": 5}) == cache(server, reserve_gib=5)
    assert cache({**server, "reserve_gib": 0}, reserve_gib=5) == plain
    with pytest.raises(GB10Error, match="reserve_gib"):
        cache(server, reserve_gib=-1)


def test_kv_offloading_no_longer_comes_out_of_the_floor():
    """40 GiB of a second KV cache are taken from the first one, not from the operating system's 12 GiB."""
    plain, offloading = planned(max_model_len=65536), planned(max_model_len=65536, kv_offloading_size=40)
    assert offloading["beside"]["kv_offload"]["value"] == 40 * GIB
    assert plain["kv_cache_bytes"] - offloading["kv_cache_bytes"] >= 39 * GIB


def test_prepared_images_are_kept_small_unless_their_user_says_otherwise():
    entry = planned()
    assert next(flag["value"] for flag in entry["flags"] if flag["flag"] == "--mm-processor-cache-gb") == 1
    assert planned(mm_processor_cache_gb=4)["beside"]["multimodal_cache"]["value"] == 4 * GIB
    assert planned(mm_processor_cache_gb=4, api_server_count=2)["beside"]["multimodal_cache"]["value"] == 8 * GIB
    assert "multimodal_cache" not in planned(language_model_only=True)["beside"]
    assert "--mm-processor-cache-gb" not in [flag["flag"] for flag in planned(model="hybrid")["flags"]]


def test_short_and_turned_names_count_too():
    assert planned(asc=3)["beside"]["host_processes"] == planned(api_server_count=3)["beside"]["host_processes"]
    assert arguments.by_name({"tp": 2, "no_enable_lora": True, "disable_lora": True, "cc.mode": 3}) == {
        "tensor_parallel_size": 2, "enable_lora": False, "cc.mode": 3,
    }  # fmt: skip


@pytest.mark.parametrize("args", [{"enable_lora": True, "max_loras": "many"}, {"mm_processor_cache_gb": -1}, {"kv_offloading_size": "1e999"}])
def test_a_number_that_is_none_is_refused(args):
    with pytest.raises(GB10Error, match="server s: args"):
        planned(**args)

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading config.json and params.json: aliases, nesting, class values, and one sentence for each bad value."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.config import Config
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.engine import Engine, cpu_features
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layer_types import FULL, SLIDING, layer_types
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layout import kv_layout
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.model_config import is_mistral_params, model_facts
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.rules import rules_for

RULES = rules_for("0.33.0")
LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131072,
    "vocab_size": 128256,
    "dtype": "bfloat16",
}
DEVSTRAL_PARAMS = {
    "dim": 5120,
    "n_layers": 40,
    "head_dim": 128,
    "hidden_dim": 32768,
    "n_heads": 32,
    "n_kv_heads": 8,
    "rope_theta": 100000000.0,
    "norm_eps": 1e-05,
    "vocab_size": 131072,
    "tied_embeddings": False,
    "max_position_embeddings": 393216,
    "yarn": {"original_max_position_embeddings": 8192, "factor": 48, "apply_scale": False, "beta": 4, "alpha": 1},
    "quantization": {"qformat_weight": "fp8_e4m3", "qscheme_act": "TENSOR"},
    "vision_encoder": {"hidden_size": 1024},
}


def facts(**changes: object):
    return model_facts({**LLAMA, **changes}, RULES)


def test_plain_facts() -> None:
    found = facts()
    assert (found.num_layers, found.hidden_size, found.num_attention_heads, found.num_key_value_heads, found.head_dim) == (32, 4096, 32, 8, 128)
    assert (found.vocab_size, found.dtype, found.kind, found.multimodal, found.tie_word_embeddings) == (128256, "bfloat16", "generate", False, False)
    assert (found.derived_max_model_len, found.derived_max_model_len_key) == (131072, "max_position_embeddings")
    assert not found.auto_map
    assert facts(auto_map={"AutoModel": "x.y"}).auto_map


def test_mistral_params_are_read_as_pixtral() -> None:
    assert is_mistral_params(DEVSTRAL_PARAMS)
    found = model_facts(DEVSTRAL_PARAMS, RULES)
    assert (found.architecture, found.text_architecture) == ("PixtralForConditionalGeneration", "MistralForCausalLM")
    assert (found.num_layers, found.num_key_value_heads, found.head_dim, found.hidden_size) == (40, 8, 128, 5120)
    assert found.derived_max_model_len == 393216
    assert found.quant_method == "fp8"
    assert found.kv_cache_scheme is None  # FP8 weights do not make the KV cache FP8
    assert kv_layout(DEVSTRAL_PARAMS, Engine()).bytes_per_block == 2621440
    assert model_facts(DEVSTRAL_PARAMS, rules_for("0.12.0")).derived_max_model_len == 393216


def test_mistral_params_of_other_kinds() -> None:
    text = {key: value for key, value in DEVSTRAL_PARAMS.items() if key not in ("vision_encoder", "yarn", "quantization")}
    windows = model_facts({**text, "sliding_window": [None, 4096]}, RULES)
    assert windows.layer_types == ("full_attention", "sliding_attention") * 20
    assert model_facts({**text, "moe": {"num_experts": 8, "num_experts_per_tok": 2}}, RULES).text_architecture == "MixtralForCausalLM"
    latent = {**text, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "kv_lora_rank": 512, "v_head_dim": 128}
    latent["moe"] = {"num_experts": 128, "num_experts_per_tok": 4, "num_shared_experts": 1}
    layout = kv_layout(latent, Engine())
    assert layout.architecture == "MistralLarge3ForCausalLM"
    assert layout.bytes_per_block == 40 * 16 * 576 * 2


def test_nested_text_configs_take_class_values() -> None:
    llava = {"architectures": ["LlavaForConditionalGeneration"], "text_config": {"model_type": "llama", "max_position_embeddings": 4096}}
    found = model_facts(llava, RULES)
    assert (found.num_layers, found.num_key_value_heads, found.head_dim, found.derived_max_model_len) == (32, 32, 128, 4096)
    assert found.multimodal
    for key in ("llm_config", "language_config"):
        other = {"architectures": ["InternVLChatModel"], key: {**LLAMA, "architectures": ["Qwen2ForCausalLM"]}}
        assert model_facts(other, RULES).num_key_value_heads == 8
    omni = {"architectures": ["Qwen2_5OmniModel"], "thinker_config": {"text_config": {**LLAMA, "model_type": "qwen2_5_omni_text"}}}
    assert model_facts(omni, RULES).num_layers == 32


def test_aliases() -> None:
    old = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_layer": 12, "n_embd": 768, "n_head": 12, "n_positions": 1024}
    found = model_facts(old, RULES)
    assert (found.num_layers, found.hidden_size, found.num_attention_heads, found.derived_max_model_len) == (12, 768, 12, 1024)
    falcon = {**LLAMA, "architectures": ["FalconForCausalLM"], "model_type": "falcon", "multi_query": True}
    assert model_facts(falcon, RULES).num_key_value_heads == 1
    assert model_facts({**falcon, "new_decoder_architecture": True, "num_kv_heads": 8}, RULES).num_key_value_heads == 8
    dbrx = {"architectures": ["DbrxForCausalLM"], "model_type": "dbrx", "d_model": 6144, "n_heads": 48, "n_layers": 40, "attn_config": {"kv_n_heads": 8}}
    assert model_facts(dbrx, RULES).num_key_value_heads == 8


@pytest.mark.parametrize(
    ("rope", "length"),
    [
        (None, 131072),
        ({"rope_type": "linear", "factor": 2.0}, 262144),
        ({"type": "dynamic", "factor": 4.0}, 524288),
        ({"rope_type": "llama3", "factor": 8.0}, 131072),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}, 131072),
        ({"rope_type": "linear", "factor": None}, 131072),
        ({"full_attention": {"rope_type": "default"}, "sliding_attention": {"rope_type": "default"}}, 131072),
    ],
)
def test_derived_lengths(rope: dict | None, length: int) -> None:
    assert facts(rope_scaling=rope).derived_max_model_len == length


def test_odd_lengths() -> None:
    assert facts(max_seq_len=4096).derived_max_model_len == 4096
    assert facts(model_max_length=8192).derived_max_model_len == 8192
    no_length = {key: value for key, value in LLAMA.items() if key not in ("max_position_embeddings", "model_type")}
    found = model_facts(no_length, RULES)
    assert found.derived_max_model_len == 2048
    assert found.warnings
    rope = {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}
    layout = kv_layout({**LLAMA, "rope_scaling": rope, "original_max_position_embeddings": 4096}, Engine())
    assert (layout.derived_max_model_len, layout.default_max_model_len) == (131072, 4096)


@pytest.mark.parametrize(
    ("quantization", "kv_cache_dtype"),
    [
        ({"quant_method": "fp8"}, "auto"),
        ({"quant_method": "mxfp4"}, "auto"),
        ({"quant_method": "compressed-tensors", "kv_cache_scheme": {"num_bits": 8, "type": "float"}}, "fp8"),
        ({"quant_method": "compressed-tensors", "kv_cache_scheme": None}, "auto"),
        ({"quant_method": "modelopt", "kv_cache_scheme": {"dynamic": False, "num_bits": 8, "type": "float"}}, "fp8_e4m3"),
        ({"quant_method": "modelopt_fp4", "quantization": {"kv_cache_quant_algo": "FP8"}}, "fp8_e4m3"),
        ({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": "NVFP4"}}, "nvfp4"),
        ({"quant_method": "modelopt", "kv_cache_quant_algo": "FANCY"}, "auto"),
    ],
)
def test_the_kv_dtype_a_checkpoint_declares(quantization: dict, kv_cache_dtype: str) -> None:
    assert kv_layout({**LLAMA, "quantization_config": quantization}, Engine()).resolved_kv_cache_dtype == kv_cache_dtype
    assert kv_layout({**LLAMA, "quantization_config": quantization}, Engine(kv_cache_dtype="bfloat16")).resolved_kv_cache_dtype == "bfloat16"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architectures": None}, "'architectures' is missing"),
        ({"architectures": []}, "'architectures' is missing"),
        ({"architectures": "LlamaForCausalLM"}, "'architectures' is 'LlamaForCausalLM'"),
        ({"architectures": ["NewForCausalLM"]}, "'NewForCausalLM' .config key 'architectures'. is not known"),
        ({"num_hidden_layers": None}, "'num_hidden_layers' is missing"),
        ({"num_hidden_layers": 0}, "'num_hidden_layers' is 0"),
        ({"num_hidden_layers": -1}, "'num_hidden_layers' is -1"),
        ({"num_hidden_layers": 10**9}, "'num_hidden_layers' is 1000000000"),
        ({"num_hidden_layers": "32"}, "'num_hidden_layers' is '32'"),
        ({"num_hidden_layers": True}, "'num_hidden_layers' is True"),
        ({"hidden_size": None}, "'hidden_size' is missing"),
        ({"hidden_size": 4.5}, "'hidden_size' is 4.5"),
        ({"num_attention_heads": 0}, "'num_attention_heads' is 0"),
        ({"num_key_value_heads": 5}, "'num_attention_heads' .32. and 'num_key_value_heads' .5. contradict"),
        ({"num_key_value_heads": 64}, "contradict"),
        ({"hidden_size": 16}, "'hidden_size' .16. and 'num_attention_heads' .32. contradict"),
        ({"head_dim": -128}, "'head_dim' is -128"),
        ({"max_position_embeddings": 0}, "'max_position_embeddings' is 0"),
        ({"max_position_embeddings": float("nan")}, "'max_position_embeddings' is nan"),
        ({"max_position_embeddings": 1 << 60}, "'max_position_embeddings' is"),
        ({"rope_scaling": {"rope_type": "linear", "factor": -2}}, "factor"),
        ({"rope_scaling": "linear"}, "'rope_scaling' is 'linear'"),
        ({"layer_types": ["sliding_attention"], "sliding_window": 128}, "'layer_types' has 1 entries for 32"),
        ({"layer_types": "full_attention"}, "'layer_types' is 'full_attention'"),
        ({"layer_types": [1] * 32}, "'layer_types' is"),
        ({"sliding_window": -5}, "'sliding_window' is -5"),
        ({"quantization_config": 8}, "'quantization_config' is 8"),
    ],
)
def test_bad_values_are_named(changes: dict, words: str) -> None:
    config = {key: value for key, value in {**LLAMA, **changes}.items() if value is not None}
    with pytest.raises(GB10Error, match=words) as caught:
        kv_layout(config, Engine())
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("config", [None, [], "config", 7, {}])
def test_what_is_no_config(config: object) -> None:
    with pytest.raises(GB10Error):
        kv_layout(config, Engine())


def test_nested_keys_are_named_with_their_place() -> None:
    config = {"architectures": ["Gemma3ForConditionalGeneration"], "text_config": {"model_type": "gemma3_text", "num_hidden_layers": "many"}}
    with pytest.raises(GB10Error, match=r"'text_config\.num_hidden_layers' is 'many'"):
        kv_layout(config, Engine())
    with pytest.raises(GB10Error, match="'text_config' is 5"):
        kv_layout({"architectures": ["Gemma3ForConditionalGeneration"], "text_config": 5}, Engine())
    unknown = {"architectures": ["LlavaForConditionalGeneration"], "text_config": {"model_type": "unheard_of"}}
    with pytest.raises(GB10Error, match="unheard_of"):
        kv_layout(unknown, Engine())


def test_an_unknown_architecture_can_be_counted_as_full_attention() -> None:
    layout = kv_layout({**LLAMA, "architectures": ["NewForCausalLM"]}, Engine(), assume_full_attention=True)
    assert layout.bytes_per_block == 32 * 65536
    assert "NewForCausalLM is not known" in layout.warnings[0]
    assert not kv_layout(LLAMA, Engine(), assume_full_attention=True).warnings


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"tensor_parallel_size": 0}, "tensor_parallel_size is 0"),
        ({"tensor_parallel_size": 3}, "does not divide"),
        ({"tensor_parallel_size": 2, "decode_context_parallel_size": 3}, "does not divide"),
        ({"pipeline_parallel_size": 33}, "more than the model's 32 layers"),
        ({"kv_cache_dtype": "fp7"}, "kv_cache_dtype is 'fp7'"),
        ({"kv_cache_dtype": "fp8_ds_mla"}, "only for sparse latent attention"),
        ({"block_size": 24}, "multiple of 16"),
        ({"platform": "tpu"}, "platform is 'tpu'"),
        ({"dtype": "int4"}, "dtype is 'int4'"),
        ({"max_num_batched_tokens": -1}, "max_num_batched_tokens is -1"),
        ({"vllm_version": "newest"}, "vllm_version 'newest'"),
        ({"platform": "cpu", "kv_cache_dtype": "nvfp4"}, "CPU backend"),
        ({"num_speculative_tokens": 3, "speculative_method": "mtp"}, "declares none"),
    ],
)
def test_bad_settings_are_named(setting: dict, words: str) -> None:
    with pytest.raises(GB10Error, match=words):
        kv_layout(LLAMA, Engine(**setting))


def test_what_a_cpu_can_do() -> None:
    assert cpu_features("processor : 0\nflags\t\t: fpu avx512f avx512_bf16 amx_bf16 amx_tile\n") == {"cpu_amx": True, "cpu_avx512_bf16": True}
    assert cpu_features("Features : fp asimd bf16 sve\n") == {"cpu_amx": False, "cpu_avx512_bf16": False}
    assert cpu_features("") == {"cpu_amx": False, "cpu_avx512_bf16": False}


@pytest.mark.parametrize(
    ("model_type", "names"),
    [("cwm", [FULL, SLIDING, SLIDING, SLIDING, FULL]), ("gpt_oss", [SLIDING, FULL, SLIDING, FULL, SLIDING]), ("gemma2", [SLIDING, FULL] * 2 + [SLIDING])],
)
def test_which_layer_is_full_where_the_file_does_not_say(model_type, names) -> None:
    assert layer_types(Config({"sliding_window": 4096}), model_type, 5, 4096) == names

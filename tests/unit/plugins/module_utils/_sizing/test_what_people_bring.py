# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Models, arguments and versions as their owners have them, from files on a disk to the plan; letters are the sections of the list of user cases."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._model.directory import inspect_model
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import flags
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import layers_registry as registry
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.engine import Engine, engine_identity
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layer import RULES
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layers_dropped import LAST_RELEASE, PLUGINS, TAKEN_OVER
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layers_refused import REFUSED, is_draft
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layout import kv_layout
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.plan import plan_box
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.deployment import wanted_inputs, without_secrets

GIB = 2**30
BOX = {
    "memory": {"total_bytes": int(119.7 * GIB), "available_bytes": 110 * GIB, "cuda_total_bytes": int(119.7 * GIB), "cuda_total_source": "cuDeviceTotalMem"},
    "holders": [], "servers": {}, "docker": {"containers": []},
}  # fmt: skip
BITS = {"BF16": 16, "F32": 32, "U8": 8, "F8_E4M3": 8}
QWEN = {
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "torch_dtype": "bfloat16", "hidden_size": 4096, "intermediate_size": 12288, "head_dim": 128,
    "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 40960, "rope_theta": 1000000,
    "vocab_size": 151936, "tie_word_embeddings": False,
}  # fmt: skip
ENCODER = {
    "architectures": ["XLMRobertaModel"], "model_type": "xlm-roberta", "torch_dtype": "float32", "hidden_size": 1024, "intermediate_size": 4096,
    "num_hidden_layers": 24, "num_attention_heads": 16, "max_position_embeddings": 8194, "position_embedding_type": "absolute", "vocab_size": 250002,
}  # fmt: skip
HYBRID = {
    "architectures": ["Qwen3_5ForConditionalGeneration"], "model_type": "qwen3_5", "text_config": {
        "model_type": "qwen3_5_text", "hidden_size": 5120, "intermediate_size": 17408, "num_hidden_layers": 64, "num_attention_heads": 24,
        "num_key_value_heads": 4, "head_dim": 256, "full_attention_interval": 4, "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128,
        "linear_value_head_dim": 128, "linear_num_key_heads": 16, "linear_num_value_heads": 48, "mtp_num_hidden_layers": 1, "vocab_size": 248320,
        "max_position_embeddings": 262144, "dtype": "bfloat16",
    },
}  # fmt: skip
LAYERS = [("model.layers.0.mlp.up_proj.weight", "BF16", 12288, 4096), ("model.embed_tokens.weight", "BF16", 151936, 4096)]
MODELOPT = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8", "group_size": 16}}
YARN = {"rope_type": "yarn", "rope_theta": 1000000, "factor": 4.0, "original_max_position_embeddings": 32768}


def model(folder, config, tensors=LAYERS, **files):
    """A directory with sparse weights; ``files``: further ones, a dictionary as JSON, a list as tensors; ``__`` stands for a dot in a name."""
    folder.mkdir(exist_ok=True)
    contents = {"config__json": config, "model__safetensors": tensors, **files}
    for name, content in contents.items():
        path = folder / name.replace("__", ".")
        if content is None:
            continue
        if path.suffix != ".safetensors":
            path.write_text(content if isinstance(content, str) else json.dumps(content))
            continue
        head, at = {}, 0
        for tensor, dtype, *shape in content:
            size = math.prod(shape) * BITS[dtype] // 8
            head[tensor] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
            at += size
        blob = json.dumps(head).encode()
        with path.open("wb") as out:
            out.write(struct.pack("<Q", len(blob)) + blob)
            out.truncate(8 + len(blob) + at)
    return str(folder)


def planned(path, version="0.33.0", options=None, **wanted):
    server = {"name": "s", "model": path, "model_path": path, "port": 8000, **wanted}
    return plan_box(BOX, [server], {path: inspect_model(path)}, {"vllm_version": version}, options)["servers"][0]


def flag(entry, name):
    words = entry["arguments"]
    return words[words.index(name) + 1] if name in words else None


class TestContext:  # A
    @pytest.mark.parametrize(
        ("files", "length"),
        [
            ({"sentence_bert_config__json": {"max_seq_length": 8192}}, 8192),
            ({"sentence_xlm-roberta_config__json": {"max_seq_length": 512}}, 512),
            ({"tokenizer_config__json": {"model_max_length": 8192}}, 8192),
            ({"tokenizer_config__json": {"model_max_length": 10**30}}, 8194),
            ({"tokenizer_config__json": {"model_max_length": 4096}, "sentence_bert_config__json": {"max_seq_length": 8192}}, 8192),
            ({}, 8194),
        ],
    )
    def test_an_encoder_is_as_long_as_its_files_say(self, tmp_path, files, length):
        path = model(tmp_path / "m", ENCODER, **files)
        assert planned(path)["max_model_len"] == length
        with pytest.raises(GB10Error, match=f"more than the {length} tokens"):
            planned(path, max_model_len=length + 1)

    def test_a_chat_models_tokenizer_limits_nothing_and_its_sentence_file_does(self, tmp_path):
        assert planned(model(tmp_path / "a", QWEN, tokenizer_config__json={"model_max_length": 2048}))["derived_max_model_len"] == 40960
        assert planned(model(tmp_path / "b", QWEN, sentence_bert_config__json={"max_seq_length": 2048}))["derived_max_model_len"] == 2048

    def test_a_sentence_file_that_says_nothing_sensible_is_named(self, tmp_path):
        with pytest.raises(GB10Error, match="max_seq_length in sentence_"):
            planned(model(tmp_path / "m", ENCODER, sentence_bert_config__json={"max_seq_length": None}))

    @pytest.mark.parametrize(("value", "allowed"), [("1", True), ("true", True), ("0", False), ("", False)])
    def test_vllms_own_variable_allows_more(self, tmp_path, value, allowed):
        path = model(tmp_path / "m", QWEN)
        shown = without_secrets({"env": {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": value, "HF_TOKEN": "hf_secret"}})
        assert shown == {"plan_env": {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": value}} == without_secrets(shown)
        if allowed:
            assert planned(path, max_model_len=65536, **shown)["max_model_len"] == 65536
        else:
            with pytest.raises(GB10Error, match="more than the 40960"):
                planned(path, max_model_len=65536, **shown)

    def test_that_variable_makes_no_running_server_another(self):
        server = {"name": "a", "address": "127.0.0.1", "plan_env": {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"}}
        assert wanted_inputs(server, "i", "m", {}) == wanted_inputs({"name": "a", "address": "127.0.0.1"}, "i", "m", {})

    def test_windows_turned_off_limit_the_context(self, tmp_path):
        config = {**QWEN, "architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 4096}
        entry = planned(model(tmp_path / "m", config), args={"disable_sliding_window": True})
        assert entry["max_model_len"] == 4096 and [group["kind"] for group in entry["groups"]] == ["full"]


class TestOverrides:  # F
    def test_yarn_by_override(self, tmp_path):
        path = model(tmp_path / "m", QWEN)
        for overrides in (
            {"hf_overrides": {"max_position_embeddings": 131072, "rope_parameters": YARN}},
            {"hf_overrides": json.dumps({"max_position_embeddings": 131072, "rope_parameters": YARN})},
            {"--hf-overrides.max_position_embeddings": "131072", "hf_overrides.rope_parameters": YARN},
        ):
            assert planned(path, max_model_len=131072, args=overrides)["verdict"] == "fits"

    def test_layers_heads_and_nested_configurations(self, tmp_path):
        plain, nested = model(tmp_path / "a", QWEN), model(tmp_path / "b", HYBRID)
        assert planned(plain, args={"hf_overrides": {"num_hidden_layers": 4}})["kv_bytes_per_token"] == 16384
        assert planned(plain, args={"hf_overrides.num_key_value_heads": 4})["kv_bytes_per_token"] == 147456 / 2
        assert planned(nested, args={"hf_overrides": {"text_config": {"max_position_embeddings": 65536}}})["derived_max_model_len"] == 65536
        assert planned(nested, args={"hf_overrides.text_config.max_position_embeddings": 32768})["derived_max_model_len"] == 32768
        assert planned(nested, args={"hf_overrides": {"max_position_embeddings": 65536}})["derived_max_model_len"] == 262144

    def test_another_architecture(self, tmp_path):
        path = model(tmp_path / "m", QWEN)
        assert planned(path, args={"hf_overrides": {"architectures": ["Qwen3ForSequenceClassification"]}})["architecture"] == "Qwen3ForSequenceClassification"
        with pytest.raises(GB10Error, match="'NoSuchForCausalLM'"):
            planned(path, args={"hf_overrides": {"architectures": ["NoSuchForCausalLM"]}})

    def test_what_vllm_refuses(self, tmp_path):
        path = model(tmp_path / "m", QWEN)
        with pytest.raises(GB10Error, match="names text_config, which the model's configuration has not"):
            planned(path, args={"hf_overrides": {"text_config": {"max_position_embeddings": 1}}})
        with pytest.raises(GB10Error, match="hf_overrides is 7"):
            planned(path, args={"hf_overrides": 7})


class TestCache:  # G
    def test_a_file_of_its_own_asks_for_an_fp8_cache(self, tmp_path):
        path = model(tmp_path / "m", QWEN, hf_quant_config__json=MODELOPT)
        assert planned(path)["kv_cache_dtype"] == "fp8_e4m3"
        assert planned(path, kv_cache_dtype="bfloat16")["kv_cache_dtype"] == "bfloat16"
        own = {**QWEN, "quantization_config": {"quant_method": "fp8", "activation_scheme": "dynamic"}}
        assert planned(model(tmp_path / "n", own, hf_quant_config__json=MODELOPT))["kv_cache_dtype"] == "auto"

    def test_modelopt_counts_in_the_outer_configuration_only(self, tmp_path):
        inner = {**HYBRID["text_config"], "quantization_config": {"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}
        assert planned(model(tmp_path / "m", {**HYBRID, "text_config": inner}))["kv_cache_dtype"] == "auto"
        outer = {**HYBRID, "quantization_config": inner["quantization_config"]}
        assert planned(model(tmp_path / "n", outer))["kv_cache_dtype"] == "fp8_e4m3"

    @pytest.mark.parametrize("method", ["mtp", "qwen3_next_mtp", "qwen3_5_mtp", "deepseek_mtp"])
    def test_every_name_of_prediction_heads_is_counted(self, tmp_path, method):
        path = model(tmp_path / "m", HYBRID)
        for args in (
            {"speculative_config": {"method": method, "num_speculative_tokens": 3}},
            {"speculative_config.method": method, "-sc.num_speculative_tokens": 3},
            {"spec_method": method, "spec_tokens": 3},
            {"speculative_config": json.dumps({"method": method, "num-speculative-tokens": 3})},
        ):
            assert planned(path, max_model_len=65536, args=args)["kv_bytes_per_token"] == 69632

    def test_drafts_without_layers_add_none(self, tmp_path):
        path = model(tmp_path / "m", QWEN)
        for draft in ({"method": "ngram"}, {"model": "[ngram]"}, {"method": "suffix"}):
            entry = planned(path, args={"speculative_config": {**draft, "num_speculative_tokens": 3}})
            assert entry["kv_bytes_per_token"] == 147456

    @pytest.mark.parametrize(
        ("wanted", "words"),
        [
            ({"method": "nonsense", "num_speculative_tokens": 1}, "not sized here"),
            ({"method": "no_such_mtp", "num_speculative_tokens": 1}, "not sized here"),
            ({"method": "eagle3", "num_speculative_tokens": 1}, "needs the draft model"),
            ({"method": "mtp", "num_speculative_tokens": 0.5}, "not a whole number"),
        ],
    )
    def test_what_vllm_refuses(self, tmp_path, wanted, words):
        with pytest.raises(GB10Error, match=words):
            planned(model(tmp_path / "m", HYBRID), args={"speculative_config": wanted})

    def test_the_number_of_tokens(self, tmp_path):
        four = {**HYBRID, "text_config": {**HYBRID["text_config"], "mtp_num_hidden_layers": 2}}
        path = model(tmp_path / "m", four)
        assert planned(path, args={"speculative_config": {"method": "mtp", "num_speculative_tokens": 4}})["verdict"] == "fits"
        with pytest.raises(GB10Error, match="multiple of the checkpoint's 2"):
            planned(path, args={"speculative_config": {"method": "mtp", "num_speculative_tokens": 3}})
        with pytest.raises(GB10Error, match="lacks num_speculative_tokens"):
            planned(path, args={"speculative_config": {"method": "mtp"}})
        with pytest.raises(GB10Error, match="names speculative_config.method twice"):
            planned(path, args={"spec_method": "mtp", "speculative_config": {"method": "mtp"}})

    def test_a_window_that_no_request_outgrows_costs_every_token(self, tmp_path):
        config = {**QWEN, "architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "sliding_window": 262144}
        assert planned(model(tmp_path / "m", config))["kv_bytes_per_token"] == 147456


class TestWeights:  # H
    @pytest.mark.parametrize(
        ("quantization", "share"),
        [("bitsandbytes", 4.5 / 16), ("fp8", 0.5), ("mxfp8", 8.25 / 16), ("mxfp4", 4.25 / 16), ("fp8_per_channel", 0.5), ("int8_per_channel_weight_only", 1.0)],
    )
    def test_made_smaller_at_load(self, tmp_path, quantization, share):
        linear = [("model.layers.0.mlp.up_proj.weight", "BF16", 16384, 16384)]
        plain = planned(model(tmp_path / "m", QWEN, linear))["weights_bytes"]["value"]
        small = planned(model(tmp_path / "m", QWEN, linear), args={"quantization": quantization})
        assert plain - small["weights_bytes"]["value"] == pytest.approx(2 * 16384**2 * (1 - share), abs=2)
        assert any("only as a plugin" in warning for warning in small["warnings"]) is (quantization == "bitsandbytes")

    def test_experts_only(self, tmp_path):
        experts = [("model.layers.0.mlp.experts.0.up_proj.weight", "BF16", 4096, 4096), ("model.layers.0.mlp.shared_expert.up_proj.weight", "BF16", 4096, 4096)]
        config = {**QWEN, "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "num_experts": 8, "num_experts_per_tok": 2}
        path = model(tmp_path / "m", config, experts)
        plain, small = planned(path), planned(path, args={"q": "experts_int8"})
        assert plain["weights_bytes"]["value"] - small["weights_bytes"]["value"] == 4096**2

    def test_what_contradicts_the_files(self, tmp_path):
        path = model(tmp_path / "m", {**QWEN, "quantization_config": {"quant_method": "awq", "bits": 4}})
        assert planned(path, args={"quantization": "awq_marlin"})["verdict"] == "fits"
        with pytest.raises(GB10Error, match="quantised with awq"):
            planned(path, args={"quantization": "fp8"})
        for method, words in (
            ("gptq", "only reads weights"),
            ("quark", "only reads weights"),
            ("online", "quantization_config"),
            ("fp_quant", "allow_deprecated"),
        ):
            with pytest.raises(GB10Error, match=words):
                planned(model(tmp_path / "n", QWEN), args={"quantization": method})
        with pytest.raises(GB10Error, match="'nonsense' is none that vLLM has"):
            planned(model(tmp_path / "n", QWEN), args={"quantization": "nonsense"})

    @pytest.mark.parametrize(
        ("declared", "computes"),
        [
            ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "bfloat16 or float16"),
            ({"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}, "bfloat16 or float16"),
            ({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}, "bfloat16 or float16"),
            ({"quant_method": "auto-round", "bits": 4, "group_size": 128}, "bfloat16 or float16"),
            (MODELOPT, "bfloat16 or float16"),
            ({"quant_method": "modelopt", "quant_algo": "FP8"}, "bfloat16 or float16"),
            ({"quant_method": "mxfp4"}, "bfloat16"),
            ({"quant_method": "modelopt", "quant_algo": "MXFP8"}, "bfloat16"),
            ({"quant_method": "mxfp8"}, "bfloat16"),
            ({"quant_method": "compressed-tensors"}, "bfloat16 or float16 or float32"),
            ({"quant_method": "torchao"}, "bfloat16 or float16 or float32"),
        ],
    )
    def test_a_method_computes_in_its_own_dtypes(self, tmp_path, declared, computes):
        config = {**QWEN, "quantization_config": declared}
        for dtype, long in (("float32", "float32"), ("float", "float32"), ("half", "float16"), ("bfloat16", "bfloat16")):
            path = model(tmp_path / "m", config)
            if long in computes.split(" or "):
                assert planned(path, args={"dtype": dtype})["verdict"] == "fits"
                continue
            with pytest.raises(GB10Error, match=rf"server s runs in {long}, and vLLM's \S+ computes in {computes} only: set args.dtype to bfloat16"):
                planned(path, args={"dtype": dtype})

    def test_a_dtype_of_the_files_counts_as_one_that_is_asked_for(self, tmp_path):
        path = model(tmp_path / "m", {**QWEN, "torch_dtype": "float16", "quantization_config": {"quant_method": "mxfp4"}})
        with pytest.raises(GB10Error, match="runs in float16, and vLLM's mxfp4 computes in bfloat16 only"):
            planned(path)
        assert planned(path, args={"dtype": "bfloat16"})["verdict"] == "fits"

    def test_what_is_made_at_load_computes_in_16_bits(self, tmp_path):
        path = model(tmp_path / "m", QWEN)
        for method in ("fp8", "mxfp4", "mxfp8", "fp8_per_channel", "experts_int8"):
            assert planned(path, args={"quantization": method, "dtype": "half"})["verdict"] == "fits"
            with pytest.raises(GB10Error, match="computes in bfloat16 or float16 only"):
                planned(path, args={"quantization": method, "dtype": "float32"})

    @pytest.mark.parametrize(
        ("declared", "version", "words"),
        [
            ({"quant_method": "gptq", "bits": 2, "sym": True}, "0.33.0", "gptq of 2 bits, and vLLM 0.33 reads 4 or 8 bits"),
            ({"quant_method": "gptq", "bits": 3, "sym": True}, "0.32.0", "gptq of 3 bits, and vLLM 0.32 reads 4 or 8 bits"),
            ({"quant_method": "gptq", "bits": 3, "sym": True}, "0.26.0", None),
            ({"quant_method": "gptq", "bits": 5, "sym": True}, "0.26.0", "gptq of 5 bits, and vLLM 0.26 reads 2 or 3 or 4 or 8 bits"),
            ({"quant_method": "gptq", "bits": 8, "sym": True}, "0.33.0", None),
            ({"quant_method": "gptq", "bits": 4, "sym": True, "dynamic": {"+:.*down.*": {"bits": 3}, "-:.*head.*": {}}}, "0.33.0", "gptq of 3 bits"),
            ({"quant_method": "gptq", "bits": 4, "sym": True, "dynamic": {"+:.*down.*": {"bits": 8}, "-:.*head.*": {}}}, "0.33.0", None),
            ({"quant_method": "gptq", "bits": 4, "sym": False}, "0.33.0", "gptq without symmetry"),
            ({"quant_method": "awq", "bits": 3}, "0.33.0", "awq of 3 bits, and vLLM 0.33 reads 4 bits"),
            ({"quant_method": "awq", "w_bit": 8}, "0.33.0", "awq of 8 bits, and vLLM 0.33 reads 4 bits"),
            ({"quant_method": "awq", "bits": "4"}, "0.33.0", "awq of '4' bits"),
            ({"quant_method": "auto-round", "bits": 3}, "0.33.0", None),
            ({"quant_method": "auto-round", "bits": 1}, "0.33.0", "auto-round of 1 bits"),
        ],
    )
    def test_bits_that_vllm_does_not_read(self, tmp_path, declared, version, words):
        path = model(tmp_path / "m", {**QWEN, "quantization_config": declared})
        if words is None:
            assert planned(path, version=version)["verdict"] == "fits"
            return
        with pytest.raises(GB10Error, match=words):
            planned(path, version=version)

    def test_every_file_is_loaded_where_no_index_says_which(self, tmp_path):
        extra = [("visual.blocks.0.attn.qkv.weight", "BF16", 8192, 8192)]
        path = model(tmp_path / "m", QWEN, model_extra__safetensors=extra)
        assert planned(path)["weights_bytes"]["value"] - planned(model(tmp_path / "n", QWEN))["weights_bytes"]["value"] == 2 * 8192**2

    def test_the_same_tensors_in_another_precision_count_once(self, tmp_path):
        twice = [(name, "F32", *shape) for name, _dtype, *shape in LAYERS]
        path = model(tmp_path / "m", QWEN, **{"model__fp32-00001-of-00001__safetensors": twice})
        assert planned(path)["weights_bytes"] == planned(model(tmp_path / "n", QWEN))["weights_bytes"]

    def test_the_load_format_picks_one_of_two_layouts(self, tmp_path):
        params = {"dim": 4096, "n_layers": 36, "n_heads": 32, "n_kv_heads": 8, "head_dim": 128, "hidden_dim": 12288, "vocab_size": 151936}
        small = [("layers.0.feed_forward.w1.weight", "BF16", 64, 64)]
        path = model(tmp_path / "m", QWEN, params__json=params, consolidated__safetensors=small)
        assert planned(path)["weights_bytes"]["value"] < planned(path, load_format="safetensors")["weights_bytes"]["value"]
        assert planned(path)["derived_max_model_len"] == 128000
        assert planned(path, args={"config_format": "hf"})["derived_max_model_len"] == 40960

    @pytest.mark.parametrize(
        ("config", "files", "words"),
        [
            (None, {"adapter_config__json": {"base_model_name_or_path": "ORG/BASE"}, "model__safetensors": None, "adapter_model__safetensors": LAYERS},
             "a LoRA adapter .adapter_config.json. and no model: serve its base model ORG/BASE"),
            ({**QWEN, "quantization": {"group_size": 64, "bits": 4}}, {}, "holds MLX weights"),
            ({**QWEN, "quantization_config": {"group_size": 64, "bits": 4}}, {}, "holds MLX weights"),
            ({**QWEN, "quantization_config": {"quant_method": "exl3", "bits": 4.0}}, {}, "format of ExLlamaV3"),
            ({**QWEN, "speculators_config": {"verifier": {"name_or_path": "ORG/BIG"}}}, {}, "holds a draft model .* ORG/BIG"),
            (None, {"model_index__json": {}}, "diffusers pipeline"),
        ],
    )  # fmt: skip
    def test_what_is_no_model_says_what_it_is(self, tmp_path, config, files, words):
        with pytest.raises(GB10Error, match=words):
            inspect_model(model(tmp_path / "m", config, **files))


class TestVersions:  # I
    @pytest.mark.parametrize("version", ["0.1.dev1+gda1daf40b", "0.1.dev16260", "0.1.dev20073+g1.d20260101", "0.0.0", "v0.1.1.dev3+gabc"])
    def test_a_number_that_tells_no_age_gets_the_newest_rules_and_a_warning(self, tmp_path, version):
        entry = planned(model(tmp_path / "m", QWEN), version=version)
        assert entry["verdict"] == "fits" and any("does not tell its age" in warning for warning in entry["warnings"])

    @pytest.mark.parametrize("version", ["0.11.1+9114fd76.nv25.11", "0.10.2", "0.11.0", "0.12.1.dev5+g12", "0.34.0rc1.dev7+gabc", "1.0.0+fork"])
    def test_other_numbers_are_sized_by_their_rules(self, tmp_path, version):
        assert planned(model(tmp_path / "m", QWEN), version=version)["verdict"] == "fits"

    def test_releases_that_take_no_bytes_are_not_given_any(self, tmp_path):
        entry = planned(model(tmp_path / "m", QWEN), version="0.10.1")
        assert "--kv-cache-memory-bytes" not in entry["arguments"] and any("cannot be told the bytes" in warning for warning in entry["warnings"])
        assert "--kv-cache-memory-bytes" in planned(model(tmp_path / "m", QWEN), version="0.10.2")["arguments"]

    @pytest.mark.parametrize(("version", "words"), [("nightly", "is not a version"), ("0.9.2", "older than 0.10.0"), ("25.11", "NGC container")])
    def test_what_stays_refused(self, tmp_path, version, words):
        with pytest.raises(GB10Error, match=words):
            planned(model(tmp_path / "m", QWEN), version=version)

    def test_what_the_user_says_wins_over_what_the_image_calls_itself(self):
        assert engine_identity({"vllm_version": "0.29.0", "image_version": "0.1.dev1+g1"})["vllm_version"] == "0.29.0"
        assert engine_identity({"image_version": "0.30.0"})["vllm_version"] == "0.30.0"
        assert engine_identity({"vllm_version": "0.32.0", "image_version": "0.32.0+cpu"})["platform"] == "cpu"
        unknown = engine_identity({"image_version": "dev"})
        assert unknown["vllm_version"] == "0.33.0" and "'dev'" in unknown["source"]


class TestArguments:  # C, J
    @pytest.mark.parametrize(
        ("written", "read"),
        [
            ({"enforce_eager": "false"}, {"enforce_eager": False}),
            ({"enforce_eager": "Yes"}, {"enforce_eager": True}),
            ({"no_enforce_eager": True}, {"enforce_eager": False}),
            ({"--no-enable-prefix-caching": ""}, {}),
            ({"disable_prefix_caching": True}, {"enable_prefix_caching": False}),
            ({"enable_prefix_caching": "on"}, {"enable_prefix_caching": True}),
            ({"tp": 1}, {"tensor_parallel_size": 1}),
            ({"-dcp": 1}, {"decode_context_parallel_size": 1}),
            ({"max_num_batched": 64}, {"max_num_batched_tokens": 64}),
            ({"disable_log_stats": "no"}, {}),
            ({"disable_log_stats": 1}, {"disable_log_stats": True}),
            ({"cc.mode": "3", "-cc.custom_ops+": "none,all"}, {"compilation_config": {"mode": 3, "custom_ops": ["none", "all"]}}),
            ({"compilation_config": {"mode": 3}, "compilation_config.level": "80g"}, {"compilation_config": {"mode": 3, "level": 80_000_000_000}}),
            ({"hf_overrides": '{"a": {"b": 1}}', "hf_overrides.a.c": "x"}, {"hf_overrides": {"a": {"b": 1, "c": "x"}}}),
            ({"a_flag_of_tomorrow": "x"}, {"a_flag_of_tomorrow": "x"}),
        ],
    )  # fmt: skip
    def test_all_spellings_of_vllms_parser(self, written, read):
        assert flags.normalise_args(written, "s") == read

    @pytest.mark.parametrize(
        ("written", "words"),
        [
            ({"enable_prefix_caching": "perhaps"}, "it is a switch, write true or false"),
            ({"tp": 1, "tensor_parallel_size": 1}, "names tensor_parallel_size twice"),
            ({"enforce_eager": True, "no_enforce_eager": True}, "names enforce_eager twice"),
            ({"api_ke": "x"}, "api_key in args would show"),
            ({"hf_overrides": "{"}, "hf_overrides is not JSON"),
            ({"hf_overrides": {"a": 1}, "hf_overrides.a": 2}, "names hf_overrides.a twice"),
            ({"a": 1, "-tp": 1, "tp": 1}, "names tensor_parallel_size twice"),
        ],
    )
    def test_what_says_nothing_clear(self, written, words):
        with pytest.raises(GB10Error, match=words):
            flags.check_switches(flags.normalise_args(written, "s"), "s")

    @pytest.mark.parametrize(
        ("args", "words"),
        [
            ({"enable_prefix_cashing": True}, "did you mean enable_prefix_caching"),
            ({"max_num": 4}, "several that begin so (max_num_active_seqs"),
            ({"a_flag_of_tomorrow": 1}, "so it refuses to start with it"),
            ({"swap_space": 4}, "has the argument swap_space: leave it out"),
        ],
    )
    def test_an_argument_that_vllm_has_not(self, tmp_path, args, words):
        path = model(tmp_path / "m", QWEN)
        for version in ("0.32.0", "0.33.0"):
            with pytest.raises(GB10Error) as refused:
                planned(path, version=version, args=args)
            assert words in str(refused.value) and len(str(refused.value)) < 300
        for version in ("0.31.0", "0.32.1.dev3", "0.33.0+nv1"):  # a fork may have it
            assert any(words in warning for warning in planned(path, version=version, args=args)["warnings"])
        for version in ("0.34.0", "0.1.dev5+g1", "0.25.0"):
            assert not any("has the argument" in warning for warning in planned(path, version=version, args=args)["warnings"])

    @pytest.mark.parametrize(("version", "args"), [("0.32.0", {"monokernel": True}), ("0.33.0", {"calculate_kv_scales": True})])
    def test_an_argument_that_this_release_has_not(self, tmp_path, version, args):
        with pytest.raises(GB10Error, match="only, so 0.3..0 refuses to start with it: leave it out"):
            planned(model(tmp_path / "m", QWEN), version=version, args=args)

    @pytest.mark.parametrize(
        ("args", "words"),
        [
            ({"max_num_batched_tokens": 128, "max_num_seqs": 256}, "must be at least max_num_seqs 256"),
            ({"max_num_batched_tokens": 128, "max_num_seqs": 8, "enable_chunked_prefill": False}, "less than one whole prompt"),
        ],
    )
    def test_batches_that_vllm_refuses(self, tmp_path, args, words):
        with pytest.raises(GB10Error, match=words):
            planned(model(tmp_path / "m", QWEN), max_model_len=8192, args=args)

    def test_no_graphs_only_when_that_is_meant(self, tmp_path):
        path = model(tmp_path / "m", QWEN)
        assert "--enforce-eager" not in planned(path, args={"enforce_eager": "false"})["arguments"]
        assert "--enforce-eager" in planned(path, args={"enforce_eager": "true"})["arguments"]
        assert "--enforce-eager" in planned(path, cuda_graphs="no")["arguments"]

    def test_one_name_with_spaces_is_mentioned(self, tmp_path):
        path = model(tmp_path / "m", QWEN)
        assert any("one name with spaces" in warning for warning in planned(path, served_model_name="a b c")["warnings"])
        assert flag(planned(path, served_model_name=["a", "b"]), "--served-model-name") == "a"


class TestArchitectures:  # O
    def test_full_attention_is_offered_only_where_it_is_enough(self, tmp_path):
        unknown = {**QWEN, "architectures": ["NoSuchForCausalLM"]}
        path = model(tmp_path / "a", unknown)
        with pytest.raises(GB10Error, match="set gb10_assume_full_attention"):
            planned(path)
        assert planned(path, options={"assume_full_attention": True})["kv_bytes_per_token"] == 147456
        recurrent = model(tmp_path / "b", {**unknown, "mamba_d_state": 128})
        for options in ({}, {"assume_full_attention": True}):
            with pytest.raises(GB10Error) as refused:
                planned(recurrent, options=options)
            assert "gb10_assume_full_attention" not in str(refused.value) and "leave the model to vLLM" not in str(refused.value)

    def test_a_name_that_is_left_out_is_asked_for(self, tmp_path):
        with pytest.raises(GB10Error, match="'architectures' is missing"):
            planned(model(tmp_path / "m", {**QWEN, "architectures": None}))
        assert (
            planned(model(tmp_path / "m", {**QWEN, "architectures": None}), args={"hf_overrides": {"architectures": ["Qwen3ForCausalLM"]}})["verdict"] == "fits"
        )

    def test_the_first_name_that_vllm_has_counts(self, tmp_path):
        path = model(tmp_path / "m", {**QWEN, "architectures": ["NoSuchForCausalLM", "Qwen3ForCausalLM"]})
        assert planned(path)["architecture"] == "Qwen3ForCausalLM"

    def test_what_a_model_cannot_be_served_as(self, tmp_path):
        with pytest.raises(GB10Error, match="cannot be served with runner generate"):
            planned(model(tmp_path / "m", ENCODER), args={"runner": "generate"})
        with pytest.raises(GB10Error, match="float16 is not supported by gemma2"):
            planned(model(tmp_path / "n", {**QWEN, "architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2"}), args={"dtype": "half"})

    def test_a_draft_as_model_says_so(self, tmp_path):
        with pytest.raises(GB10Error, match="drafts for another model"):
            planned(model(tmp_path / "m", {**QWEN, "architectures": ["LlamaForCausalLMEagle3"]}))

    def test_a_flat_configuration_that_sees(self, tmp_path):
        entry = planned(model(tmp_path / "m", {**QWEN, "architectures": ["MiniCPMV"], "model_type": "minicpmv", "vision_config": {"hidden_size": 1152}}))
        assert entry["kv_bytes_per_token"] == 147456


REGISTRY = json.loads((Path(__file__).parent / "data" / "vllm-0.33-architectures.json").read_text(encoding="utf-8"))


class TestRegistry:
    def test_every_name_of_vllms_newest_registry_is_planned_or_refused_for_a_reason(self):
        planned_names = {*registry.FAMILY_OF, *registry.WRAPPERS, *registry.ENCODER_ONLY, *registry.CAUSAL_POOLING}
        assert len(REGISTRY["architectures"]) >= 335
        assert set(REGISTRY["architectures"]) - planned_names == set(REFUSED)

    def test_no_draft_is_taken_for_a_model(self):
        assert [name for name in REGISTRY["drafts"] if not is_draft(name)] == []
        assert [name for name in REGISTRY["architectures"] if is_draft(name)] == []

    def test_every_wrapper_leads_to_a_rule(self):
        inner = {*registry.WRAPPERS.values(), *registry.CAUSAL_POOLING.values(), *registry.TEXT_TYPES.values()} - {None}
        assert inner <= set(registry.FAMILY_OF) and set(registry.TEXT_FAMILIES) <= set(RULES)


class TestItems:
    """One image or video must fit in one batch where a model attends both ways inside it."""

    GEMMA = {"architectures": ["Gemma4ForConditionalGeneration"], "model_type": "gemma4", "vision_config": {"hidden_size": 1152},
             "text_config": {**QWEN, "architectures": ["Gemma4ForCausalLM"], "model_type": "gemma4_text", "use_bidirectional_attention": "vision",
                             "sliding_window": 512, "layer_types": ["full_attention"] * 36}}  # fmt: skip
    BAGEL = {"architectures": ["BagelForConditionalGeneration"], "model_type": "bagel", "llm_config": {**QWEN, "architectures": ["Qwen2ForCausalLM"]}}

    @pytest.mark.parametrize(
        ("config", "changed", "tokens"),
        [(GEMMA, {}, 2496), (GEMMA, {"architectures": ["Gemma4UnifiedForConditionalGeneration"]}, 2496), (BAGEL, {}, 4900),
         (BAGEL, {"vit_max_num_patch_per_side": 64}, 4096), (BAGEL, {"vit_max_num_patch_per_side": 30}, 900)],
    )  # fmt: skip
    def test_the_default_batch_has_room_for_one_and_a_smaller_is_refused(self, tmp_path, config, changed, tokens):
        path = model(tmp_path / "m", {**config, **changed})
        assert kv_layout({**config, **changed}, Engine()).max_num_batched_tokens == max(2048, tokens)
        with pytest.raises(GB10Error, match=f"max_num_batched_tokens 512 is less than the {tokens} tokens of one image or video"):
            planned(path, args={"max_num_batched_tokens": 512})
        assert planned(path, args={"max_num_batched_tokens": tokens})["verdict"] == "fits"
        for args in ({"language_model_only": True}, {"limit_mm_per_prompt": {"image": 0, "video": 0}}):
            assert planned(path, args={"max_num_batched_tokens": 512, **args})["verdict"] == "fits"

    def test_shorter_videos_need_less(self, tmp_path):
        path = model(tmp_path / "m", self.GEMMA)
        for videos in (0, {"count": 1, "num_frames": 6}):
            assert planned(path, args={"max_num_batched_tokens": 512, "limit_mm_per_prompt": {"video": videos}})["verdict"] == "fits"
        with pytest.raises(GB10Error, match="less than the 780 tokens"):
            planned(path, args={"max_num_batched_tokens": 512, "limit_mm_per_prompt": {"video": {"count": 1, "num_frames": 10}}})


class TestDropped:
    """vLLM 0.33's _PREVIOUSLY_SUPPORTED_MODELS (50) and _OOT_SUPPORTED_MODELS (5)."""

    def test_they_are_all_known(self):
        assert (len(LAST_RELEASE), len(PLUGINS)) == (50, 5)
        assert not {*LAST_RELEASE, *PLUGINS} & {*REGISTRY["architectures"], *REFUSED}

    @pytest.mark.parametrize("name", [*LAST_RELEASE, *PLUGINS])
    @pytest.mark.parametrize("options", [{}, {"assume_full_attention": True}])
    def test_none_is_said_to_fit_where_vllm_does_not_start_it(self, tmp_path, name, options):
        mamba = {"mamba_d_state": 16, "mamba_d_conv": 4, "mamba_n_heads": 64, "mamba_d_head": 128, "mamba_n_groups": 1, "mamba_expand": 2}
        mamba["layer_types"] = ["full_attention"] * 36
        text = {"text_config": {**QWEN, "architectures": ["CohereForCausalLM"]}} if name in registry.WRAPPERS else {}
        path = model(tmp_path / "m", {**QWEN, **mamba, **text, "architectures": [name], "model_type": "x"})
        if name in TAKEN_OVER and registry.is_known(name):
            assert any("through Transformers, if at all" in warning for warning in planned(path, options=options)["warnings"])
            return
        with pytest.raises(GB10Error) as refused:
            planned(path, options=options)
        said = str(refused.value)
        assert LAST_RELEASE.get(name, PLUGINS.get(name)) in said and "serve another model" in said
        assert "full_attention" not in said and "not known here" not in said and len(said) < 600

    def test_the_last_release_that_has_one_is_planned(self, tmp_path):
        path = model(tmp_path / "m", {**QWEN, "architectures": ["QWenLMHeadModel"], "model_type": "qwen"})
        assert planned(path, version="0.23.0")["verdict"] == "fits"
        for version in ("0.24.0", "0.33.0", "0.1.dev1+gda1daf40b"):
            with pytest.raises(GB10Error, match="supported by vLLM until 0.23.0, and .* does not start it"):
                planned(path, version=version)

    def test_one_that_reads_for_another_counts_as_well(self, tmp_path):
        path = model(tmp_path / "m", {**QWEN, "architectures": ["XverseForSequenceClassification"], "model_type": "xverse"})
        with pytest.raises(GB10Error, match="'XverseForCausalLM' was supported by vLLM until 0.23.0"):
            planned(path)

    @pytest.mark.parametrize("key", ["attn_type_list", "attn_layer_indices", "full_attention_interval", "total_ut_steps"])
    def test_layers_of_several_kinds_are_not_offered_as_full(self, tmp_path, key):
        path = model(tmp_path / "m", {**QWEN, "architectures": ["NovelForCausalLM"], "model_type": "novel", key: [0, 1]})
        for options in ({}, {"assume_full_attention": True}):
            with pytest.raises(GB10Error, match="is not known here") as refused:
                planned(path, options=options)
            assert "gb10_assume_full_attention" not in str(refused.value)

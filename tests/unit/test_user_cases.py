# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What people really wrote, from public threads (docs/cases.md), as its owner would try it: read, reached, planned, made a container."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import user_models
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import options, wanted
from user_models import GIB

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("models")
    for name in ("adapter", "eagle", "gemma-4-assistant"):
        user_models.build(name, made)
        for path in (made / name, *(made / name).iterdir()):
            path.chmod(0o755 if path.is_dir() else 0o644)
    (made / "videos").mkdir(mode=0o755)
    return made


@pytest.fixture
def ask(folder):
    def asking(model, **more):
        return user_models.ask(folder, model, **{"max_model_len": 8192, **more})

    return asking


def fits(outcome) -> None:
    assert not outcome.refused, outcome.refused


def refused(outcome, *words) -> None:
    assert outcome.refused and all(word in outcome.refused for word in words), outcome.refused or outcome.container["command"]
    assert len(outcome.refused) <= 600 and "\n" not in outcome.refused


MTP = {"num_speculative_tokens": 3}
YARN = {
    "max_position_embeddings": 131072,
    "rope_parameters": {"rope_type": "yarn", "rope_theta": 1000000, "factor": 4.0, "original_max_position_embeddings": 32768},
}


@pytest.mark.parametrize("model", ["bge-m3", "bge-reranker"])
def test_a_the_context_of_pooling_models(ask, model):
    outcome = ask(model, max_model_len="auto")
    fits(outcome)
    assert int(outcome.flag("--max-model-len")) == 8192


def test_b_memory_that_an_argument_takes(ask):
    plain, offloading = ask("qwen3-8b"), ask("qwen3-8b", args={"kv_offloading_size": 40})
    assert offloading.refused or offloading.server["kv_cache_bytes"] <= plain.server["kv_cache_bytes"] - 39 * GIB
    sees = ask("qwen3.5-27b")
    assert sees.flag("--mm-processor-cache-gb") == "1", "twice 4 GiB would come out of the floor"


@pytest.mark.parametrize("name", ["tensor_parallel_size", "-tp", "tp", "tensor-parallel", "pipeline_parallel_size", "nnodes"])
def test_c_more_gpus_than_there_are(ask, name):
    refused(ask("qwen3-8b", args={name: 2}), "is 2")


def test_d_code_of_another_repository(ask):
    refused(ask("foreign-code", trust_remote_code=True), "ORG/OTHER-REPO", "auto_map")


def test_e_one_port(ask):
    outcome = ask("qwen3-8b", args={"port": 9000})
    assert outcome.flag("--port") == "9000" and outcome.container["published_ports"] == ["127.0.0.1:9000:9000"]


def test_f_overrides_are_the_configuration_that_is_sized(ask):
    fits(ask("qwen3-8b", max_model_len=131072, args={"hf_overrides": YARN}))
    assert ask("qwen3-8b", args={"hf_overrides": {"num_hidden_layers": 4}}).server["kv_bytes_per_token"] == 16384


def test_g_the_kv_cache_that_vllm_makes(ask):
    assert ask("l70-fp4", max_model_len=65536, concurrency=4).server["kv_bytes_per_token"] == 163840
    for method in ("qwen3_next_mtp", "mtp"):
        assert ask("qwen3.5-27b", max_model_len=65536, args={"speculative_config": {"method": method, **MTP}}).server["kv_bytes_per_token"] == 69632
    refused(ask("qwen3-8b", args={"kv_cache_dtype": "octave_4"}), "octave_4")


def test_h_weights_as_vllm_loads_them(ask):
    fits(ask("l70", args={"quantization": "bitsandbytes"}))
    refused(ask("adapter"), "adapter_config.json", "lora_modules", "ORG/BASE")


@pytest.mark.parametrize("version", ["0.1.dev1+gda1daf40b", "0.11.1+9114fd76.nv25.11", "0.10.2"])
def test_i_versions(ask, version):
    fits(ask("qwen3-8b", version=version))


def test_j_text_for_a_truth_value(ask):
    assert "--enforce-eager" not in ask("qwen3-8b", args={"enforce_eager": "false"}).container["command"]
    assert "--enable-prefix-caching" in ask("qwen3-8b", args={"enable_prefix_caching": "yes"}).container["command"]


# The public cases of docs/cases.md, by their number there.


def test_p_a_template_that_lies_in_the_image(ask):
    """1"""
    refused(ask("qwen3-8b", args={"chat_template": "examples/tool_chat_template_gemma4.jinja"}), "write image:examples/tool_chat_template_gemma4.jinja")
    outcome = ask("qwen3-8b", args={"chat_template": "image:examples/tool_chat_template_gemma4.jinja"})
    assert outcome.flag("--chat-template") == "examples/tool_chat_template_gemma4.jinja"


def test_p_media_of_a_directory_that_changes(ask, folder):
    """2"""
    args = {"allowed_local_media_path": str(folder / "videos"), "media_io_kwargs": '{"video": {"num_frames": -1}}'}
    before = ask("qwen3-8b", args=args)
    fits(before)
    inside = before.flag("--allowed-local-media-path")
    assert f"{folder}/videos:{inside}:ro" in before.container["volumes"]
    (folder / "videos" / "new.mp4").write_bytes(b"x")
    assert ask("qwen3-8b", args=args).container == before.container, "a new video replaces no server"
    refused(ask("qwen3-8b", args={"allowed_local_media_path": "/srv/gone"}), "/srv/gone", "not on the box")


@pytest.mark.parametrize("value", ["/", "//", "/.", "."])
def test_p_the_whole_box_is_no_directory_of_media(ask, value):
    """3"""
    refused(ask("qwen3-8b", args={"allowed_local_media_path": value}), "all that there is")


def test_p_an_old_form_of_a_limit(ask):
    """4"""
    refused(ask("qwen3-8b", args={"limit-mm-per-prompt": "image=3"}), "limit_mm_per_prompt is not JSON", "dictionary")
    assert ask("qwen3-8b", args={"limit_mm_per_prompt": '{"image":32}'}).flag("--limit-mm-per-prompt") == '{"image":32}'


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("enable_reasoning", True, "reasoning_parser alone"),
        ("guided_decoding_backend", "xgrammar", "structured_outputs_config"),
        ("task", "embed", "runner: pooling"),
        ("max_seq_len_to_capture", 131072, "max_cudagraph_capture_size"),
        ("num_scheduler_steps", 8, "leave it out"),
        ("swap_space", 16, "leave it out"),
        ("speculative_model", "x", "speculative_config"),
    ],
)
def test_p_arguments_that_are_gone_are_told_with_what_says_the_same_now(ask, name, value, words):
    """5 to 10"""
    refused(ask("qwen3-8b", args={name: value}), f"no vLLM from 0.26 to 0.33 has the argument {name}: ", words)
    warnings = ask("qwen3-8b", version="0.33.0+nv1", args={name: value}).warnings  # a fork may have it
    assert f"no vLLM from 0.26 to 0.33 has the argument {name}: " in warnings and words in warnings and "did you mean" not in warnings


def test_p_what_stretched_a_context_once_is_not_taken_for_a_length_that_is_too_long(ask):
    """11"""
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    refused(ask("qwen3-8b", max_model_len=131072, args={"rope_scaling": yarn}), "rope_scaling", "hf_overrides")


@pytest.mark.parametrize("args", [{"-O3": True}, {"-O": 3}, {"O": "3"}, {"-O3": None}])
def test_p_levels_of_optimisation(ask, args):
    """12"""
    assert ask("qwen3-8b", args=args).flag("--optimization-level") == "3"


def test_p_parts_of_the_compilation_by_their_old_short_name(ask):
    """13"""
    outcome = ask("qwen3-8b", args={"-O.cudagraph_mode": "FULL_DECODE_ONLY", "compilation_config.mode": 3})
    assert outcome.flag("--compilation-config") == '{"cudagraph_mode":"FULL_DECODE_ONLY","mode":3}'


def test_p_quotes_and_braces_of_shells_and_recipes(ask):
    """14, 15"""
    refused(ask("qwen3-8b", args={"compilation_config": "{'cudagraph_capture_sizes': [1, 2, 4, 8]}"}), "is not JSON", "dictionary")
    refused(ask("qwen3-8b", args={"speculative_config": '{{"method": "mtp", "num_speculative_tokens": 1}}'}), "is not JSON")


def test_p_a_draft_in_the_format_of_speculators(ask):
    """16"""
    plain, drafted = ask("l8"), ask("l8", args={"speculative_config": {"method": "eagle3", "model": "eagle", **MTP}})
    fits(drafted)
    assert drafted.server["kv_bytes_per_token"] - plain.server["kv_bytes_per_token"] == 2 * 8 * 128 * 2, "one layer more"
    assert drafted.server["weights_bytes"]["value"] > plain.server["weights_bytes"]["value"]


def test_p_an_adapter_of_a_higher_rank(ask):
    """17"""
    refused(ask("l8", args={"enable_lora": True, "lora_modules": ["x=adapter"]}), "rank 64", "max_lora_rank: 64")
    fits(ask("l8", args={"enable_lora": True, "lora_modules": ["x=adapter"], "max_lora_rank": 64}))
    refused(ask("l8", args={"lora_modules": ["x=adapter"]}), "enable_lora: true")


@pytest.mark.parametrize("name", ["load_format", "config_format"])
def test_p_mistrals_formats_for_a_model_without_its_files(ask, name):
    """18"""
    refused(ask("l8", args={name: "mistral"}), "params.json", "leave both out")


def test_p_commands_that_are_taken_as_they_are(ask):
    """19 to 30"""
    mamba = {"mamba_ssm_cache_dtype": "float32", "mamba_cache_mode": "align", "attention_backend": "flashinfer", "load_format": "fastsafetensors"}
    fits(ask("qwen3.5-27b", args={**mamba, "kv_cache_dtype": "fp8"}))
    fits(ask("qwen3.5-27b", args={"speculative_config": '{"method": "qwen3_next_mtp", "num_speculative_tokens": 5}'}))
    fits(ask("qwen3-8b", args={"hf_overrides": '{"is_matryoshka": true}', "runner": "pooling"}))
    fits(ask("qwen3-8b", args={"default-chat-template-kwargs": '{"enable_thinking": true}', "override_generation_config": '{"top_k": 64}'}))
    fits(ask("qwen3-8b", args={"compilation_config": '{"cudagraph_mode": 1}'}))
    fits(ask("qwen3-8b", served_model_name="THUDM/GLM-4.1V-9B-Thinking"))
    assert ask("qwen3-8b", args={"disable-log-requests": True}).container["command"].count("--no-enable-log-requests") == 1
    assert ask("qwen3-8b", max_model_len="32K").flag("--max-model-len") == "32768"
    assert "LMCacheConnectorV1" in ask("qwen3-8b", args={"kv_transfer_config": '{"kv_connector":"LMCacheConnectorV1","kv_role":"kv_both"}'}).warnings
    refused(ask("qwen3-8b", args={"cpu_offload_gb": 10}), "same memory")
    refused(ask("qwen3-8b", gpu_memory_utilization="85%"), "between 0 and 1")
    refused(ask("qwen3-8b", args={"--api-key": "secret123"}), "command line")


# The second look: what is in none of the files, by its number in docs/cases.md. Each failed before, or is here because it was right.


def test_q_layers_that_keep_their_own_dtype(ask):
    """1"""
    model, fp8 = "gpt-oss", {"kv_cache_dtype": "fp8"}
    every, some = (ask(model, max_model_len=32768, args={**fp8, **more}) for more in ({}, {"kv-cache-dtype-skip-layers": ["sliding_window"]}))
    assert some.server["block_size"] == 32 and some.server["bytes_per_block"] == 2 * every.server["bytes_per_block"]
    assert some.server["kv_tokens"] < 0.92 * every.server["kv_tokens"], "half of its layers keep 16 bits in their windows"
    named = ask("qwen3-8b", args={**fp8, "kv_cache_dtype_skip_layers": ["0", "1"]})
    assert named.server["kv_bytes_per_token"] == (34 + 2 * 2) * 2 * 8 * 128


@pytest.mark.parametrize("value", ["1", True])
def test_q_latent_attention_that_is_switched_off(ask, value):
    """2"""
    assert ask("deepseek").server["kv_bytes_per_token"] == 27 * 576 * 2
    assert ask("deepseek", env={"VLLM_MLA_DISABLE": value}).server["kv_bytes_per_token"] == 27 * 16 * 2 * 192 * 2


def test_q_a_tokenizer_of_mistrals_for_a_model_that_has_none(ask):
    """3"""
    refused(ask("qwen3-8b", args={"tokenizer_mode": "mistral"}), "tekken.json", "leave it out")


@pytest.mark.parametrize("model", ["unsloth/Qwen3-0.6B-GGUF:IQ1_S", "unsloth/Qwen3-8B-GGUF:UD-Q4_K_XL", "a/b:BF16"])
def test_q_one_gguf_file_of_a_repository(model):
    """4"""
    (said,) = wanted.server_mistakes([{"name": "s", "model": model}], "/srv/models")
    assert "GGUF is not supported" in said and "revision" not in said


def test_q_a_gguf_file_and_formats_of_other_files(ask, folder):
    """5, 6, 46, 58"""
    (folder / "x.gguf").write_bytes(b"GGUF")
    user_models.MODELS.setdefault("x.gguf", None)
    refused(ask("x.gguf"), "GGUF files are not supported")
    for name, words in (("gguf", "GGUF files"), ("pt", "*.pt"), ("npcache", "*.bin"), ("sharded_state", "model-rank-"), ("tensorizer", "tensorizer_uri")):
        refused(ask("qwen3-8b", load_format=name), f"load_format {name}", words)
    assert "no vLLM known here has the load_format bitsandbytes" in ask("qwen3-8b", load_format="bitsandbytes").warnings


@pytest.mark.parametrize("given", [{"method": "mtp"}, {}])
def test_q_the_assistant_of_gemma_4(ask, given):
    """7, 8"""
    plain, drafted = ask("gemma-4"), ask("gemma-4", args={"speculative_config": {**given, "model": "gemma-4-assistant", "num_speculative_tokens": 4}})
    fits(drafted)
    assert drafted.server["kv_bytes_per_token"] == plain.server["kv_bytes_per_token"], "it reads its target's cache and keeps none"
    assert drafted.server["weights_bytes"]["value"] > plain.server["weights_bytes"]["value"]


def test_q_a_reranker_out_of_a_model_that_sees(ask):
    """9, 10"""
    names = {"architectures": ["Qwen3VLForSequenceClassification"], "classifier_from_token": ["no", "yes"], "is_original_qwen3_reranker": True}
    outcome = ask("qwen3-vl", max_model_len=32768, args={"hf_overrides": json.dumps(names), "runner": "pooling"})
    fits(outcome)
    assert outcome.server["kv_bytes_per_token"] == 147456 and "vLLM" not in outcome.refused
    fits(ask("qwen3-vl", max_model_len=32768, args={"runner": "pooling"}))


def test_q_multi_vector_and_listwise_rankers(ask):
    """11 to 14"""
    assert int(ask("colbert", max_model_len="auto").flag("--max-model-len")) == 512
    fits(ask("jina-ranking"))
    refused(ask("jina-v4"), "JinaEmbeddingsV4Model")


def test_q_speech_and_omni_models(ask):
    """15 to 17"""
    outcome = ask("qwen3-asr", max_model_len=24000, args={"hf_overrides": '{"architectures": ["Qwen3ASRRealtimeGeneration"]}', "max_num_batched_tokens": 16384})
    assert outcome.server["kv_bytes_per_token"] == 28 * 2 * 8 * 128 * 2
    fits(ask("qwen3-asr", args={"limit_mm_per_prompt": '{"audio":{"count":1,"length":32768}}'}))
    assert ask("qwen3-omni-thinking").server["kv_bytes_per_token"] == 48 * 2 * 4 * 128 * 2


def test_q_arguments_of_vllm_omni(ask):
    """18"""
    args = {"omni": True, "stage-configs-path": "/srv/s.yaml"}
    refused(ask("qwen3-8b", args=args), "vLLM-Omni's", "and 1 more argument like it")
    warnings = ask("qwen3-8b", version="0.33.0+nv1", args=args).warnings
    assert warnings.count("vLLM-Omni's") == 2 and "did you mean" not in warnings


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"compilation_config": 3}, "optimization_level"),
        ({"-cc": "3"}, "optimization_level"),
        ({"compilation_config": '{"level": 3}'}, "say mode"),
        ({"compilation_config.level": 3}, "say mode"),
        ({"pooler_config": {"pooling_type": "LAST", "normalize": True}}, "say use_activation"),
        ({"speculative_config": {"method": "ngram", "num_speculative_tokens": 3, "disable_by_batch_size": 4}}, "leave it out"),
        ({"speculative_config": {"method": "ngram", "num_speculative_tokens": 3, "tensor_parallel_size": 1}}, "draft_tensor_parallel_size"),
        ({"speculative_config": {"num_speculative_tokens": 3}}, "neither method nor model"),
        ({"speculative_config": {"method": "ngram", "num_speculative_tokens": 0}}, "num_speculative_tokens"),
        ({"speculative_config": {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_min": 4, "prompt_lookup_max": 2}}, "prompt_lookup_max"),
        ({"structured_outputs_config": {"backend": "lmfe"}}, "lm-format-enforcer"),
        ({"pooler_config": {"pooling_type": "mean"}}, "in capitals"),
        ({"cudagraph_capture_sizes": [1, 2], "compilation_config": {"cudagraph_capture_sizes": [1]}}, "twice"),
    ],
)
def test_q_keys_and_values_of_objects(ask, args, words):
    """19 to 23, 51, 52"""
    refused(ask("qwen3-8b", args=args), words)
    assert not ask("qwen3-8b", version="0.32.0+fork", args={"compilation_config": {"of_a_fork": 1}}).refused


@pytest.mark.parametrize("name", ["tool_call_parser", "reasoning_parser"])
def test_q_parsers_that_no_release_has(ask, name):
    """24, 25"""
    more = {"enable_auto_tool_choice": True, "tool_call_parser": "hermes"}
    assert f"has the {name} super_v3" in ask("qwen3-8b", args={**more, name: "super_v3"}).warnings
    assert "did you mean qwen3_coder" in ask("qwen3-8b", args={**more, "tool_call_parser": "qwen_coder"}).warnings
    assert "refuses to start unless" not in ask("qwen3-8b", args={**more, "tool_call_parser": "qwen3_xml", "reasoning_parser": "qwen3"}).warnings


def test_q_a_tool_choice_without_a_parser(ask):
    """26"""
    refused(ask("qwen3-8b", args={"enable_auto_tool_choice": True}), "needs tool_call_parser")


def test_q_a_parser_that_came_with_the_model(ask, folder):
    """27"""
    args = {"reasoning_parser_plugin": "nano_v3_reasoning_parser.py", "reasoning_parser": "nano_v3"}
    refused(ask("qwen3-8b", args=args), "nano_v3_reasoning_parser.py", "not on the box")
    place = folder / "qwen3-8b" / "nano_v3_reasoning_parser.py"
    place.write_text("")
    place.chmod(0o644)
    assert ask("qwen3-8b", args=args).flag("--reasoning-parser-plugin") == "/models/s/nano_v3_reasoning_parser.py"
    place.unlink()


def test_q_recipes_of_2026_that_are_taken_as_they_are(ask):
    """28 to 33, 44"""
    mamba = {
        "mamba-ssm-cache-dtype": "float16",
        "enable-mamba-cache-stochastic-rounding": True,
        "mamba-cache-philox-rounds": 5,
        "mamba-ssu-algorithm": "horizontal",
    }
    fits(ask("qwen3.5-27b", args={**mamba, "speculative-config": '{"method":"qwen3_5_mtp","num_speculative_tokens":3,"enforce_eager":true}'}))
    draft = {"method": "dflash", "model": "z-lab/Qwen3-8B-DFlash", "num_speculative_tokens": 15}
    fits(ask("qwen3-8b", args={"attention-backend": "triton_attn", "speculative-config": draft}))
    chat = {"default-chat-template-kwargs": '{"preserve_thinking": true}', "distributed-executor-backend": "mp", "moe-backend": "FlashInfer-Cutlass"}
    fits(ask("qwen3-8b", args={**chat, "download-dir": "/models", "limit-mm-per-prompt": '{"video": 3}', "max-model-len": "16384"}))
    refused(ask("compressed", args={"quantization": "modelopt"}), "compressed-tensors", "leave it out")


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"VLLM_PORT": "tcp://10.43.1.39:8000"}, "VLLM_PORT"),
        ({"CUDA_VISIBLE_DEVICES": 1}, "names a GPU that a GB10 has not"),
        ({"CUDA_VISIBLE_DEVICES": "1,0"}, "names a GPU that a GB10 has not"),
        ({"CUDA_VISIBLE_DEVICES": ""}, "names a GPU that a GB10 has not, or none"),
        ({"CUDA_VISIBLE_DEVICES": "none"}, "names a GPU that a GB10 has not, or none"),
        ({"VLLM_DP_SIZE": 2}, "env.VLLM_DP_SIZE is for several engines"),
        ({"VLLM_DP_RANK": "1"}, "env.VLLM_DP_RANK is for several engines"),
        ({"VLLM USE_X": 1}, "which no shell takes"),
        ({"VLLM-USE-X": 1}, "which no shell takes"),
        ({"LMCACHE_EXTRA": {"a": 1}}, "is a mapping"),
        (["VLLM_USE_V1=1"], "`env` is a list"),
    ],
)
def test_q_environments_that_no_container_can_have(ask, env, words):
    """34, 37, 60, 61"""
    refused(ask("qwen3-8b", env=env), words)


def test_q_words_for_switches_of_the_environment():
    """35, 36"""
    given = {"VLLM_USE_DEEP_GEMM": True, "VLLM_BATCH_INVARIANT": "false", "VLLM_DSPARK_CONFIDENCE_SCHEDULER": "off", "HF_HUB_DISABLE_XET": True, "EMPTY": None}
    (server,) = wanted.normalise([{"name": "s", "model": "m", "env": {**given, "VLLM_ALLOW_LONG_MAX_MODEL_LEN": True}}], "/m")
    kept = {"VLLM_DSPARK_CONFIDENCE_SCHEDULER": "off", "HF_HUB_DISABLE_XET": True, "VLLM_ALLOW_LONG_MAX_MODEL_LEN": True}
    assert server["env"] == {"VLLM_USE_DEEP_GEMM": "1", "VLLM_BATCH_INVARIANT": "0", **kept}, "what a running server was started with stays"


def test_q_paths_and_names_of_the_environment(ask):
    """38, 39, 40"""
    warnings = ask("qwen3-8b", env={"HF_HOME": "/models", "VLLM_LOGGING_CONFIG_PATH": "/srv/l.json", "VLLM_ATTENTION_BACKEND": "FLASHINFER"}).warnings
    for words in ("env.HF_HOME is /models, where", "env.VLLM_LOGGING_CONFIG_PATH is /srv/l.json, which", "env.VLLM_ATTENTION_BACKEND is read by no vLLM"):
        assert words in warnings
    assert "env." not in ask("qwen3-8b", env={"HF_HOME": "/cache/hf", "VLLM_LOGGING_CONFIG_PATH": "/models/s/l.json", "NCCL_DEBUG": "INFO"}).warnings


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"gb10_servers": [{"name": "s", "model": "m", "image": "x", "ports": ["8000:8000"], "volumes": ["a:b"], "ipc": "host"}]},
            ("gb10_image", "`port`", "gb10_shm_gib"),
        ),
        ({"gb10_servers": [{"name": "s", "model": "m", "max_num_seqs": 4, "enforce-eager": True}]}, ("stand in `args`",)),
        ({"gb10_servers": [{"name": "s", "model": "m", "tensor_parallel_size": 2}]}, ("say `boxes`",)),
        ({"gb10_servers": [{"name": "s", "model": "m", "max_len": 1}]}, ("did you mean max_model_len",)),
        ({"gb10_servers": {"qwen": {"model": "m"}}}, ("a dash before each server",)),
        ({"gb10_servers": ["acme/x"]}, ("each server is a mapping",)),
        ({"gb10_image": "vllm/vllm-openai:v0.33.0"}, ("`source`",)),
        ({"gb10_shm_gib": "16g"}, ("as in 16",)),
        ({"gb10_os_floor_gib": "12 GiB"}, ("as in 12",)),
    ],
)
def test_q_what_compose_files_say(values, words):
    """41, 42, 43, 62, 63"""
    (said,) = options.option_mistakes(values)
    assert all(word in said for word in words) and len(said) <= 600, said
    good = {"gb10_shm_gib": "16", "gb10_image": '{"source": "existing"}', "gb10_servers": [{"name": "s", "model": "m", "args": {"max_num_seqs": 4}}]}
    assert options.option_mistakes(good) == []


@pytest.mark.parametrize(
    ("server", "words"),
    [
        ({"port": True}, "is not a port"),
        ({"api_key": ["a", "b"]}, "one key as text"),
        ({"args": {"--model": "/srv/x"}}, "a second model"),
        ({"args": {"host": "localhost"}}, "`address: 127.0.0.1`"),
    ],
)
def test_q_values_of_the_wrong_kind(server, words):
    """64 to 67"""
    (said,) = wanted.server_mistakes([{"name": "s", "model": "m", **server}], "/m")
    assert words in said


def test_q_a_cache_format_that_no_vllm_reads(ask):
    """45"""
    refused(ask("compressed-kv4"), "kv_cache_scheme", "8-bit float only")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"attention_backend": "FLASH_ATTN_VLLM_V1"}, "does not take"),
        ({"scheduling_policy": "sjf"}, "fcfs, priority"),
        ({"optimization_level": 5}, "0, 1, 2, 3"),
        ({"convert": "reward"}, "classify"),
        ({"distributed_executor_backend": "process"}, "external_launcher"),
        ({"enable_lora": True, "max_lora_rank": 24}, "8, 16, 32"),
        ({"enable_lora": True, "max_loras": 0}, "from 1 on"),
        ({"enable_lora": True, "max_loras": 4, "max_cpu_loras": 2}, "less than max_loras"),
        ({"stream_interval": 0}, "from 1 on"),
        ({"max_cudagraph_capture_size": 0}, "cuda_graphs: never"),
        ({"enable_expert_parallel": True}, "has none"),
        ({"model_impl": "terratorch"}, "terratorch"),
        ({"quantization": "none"}, "'none' is none that vLLM has"),
        ({"quantization": "petit_nvfp4"}, "none that vLLM has"),
    ],
)
def test_q_values_that_the_parser_refuses(ask, args, words):
    """47 to 50, 53 to 55"""
    refused(ask("qwen3-8b", args=args), words)


def test_q_what_the_parser_takes_all_the_same(ask):
    """47, 54, 56"""
    fits(ask("qwen3-8b", args={"max_loras": 0, "attention_backend": "auto", "quantization": "FP8", "scheduling_policy": "priority"}))
    assert "'sjf'" in ask("qwen3-8b", version="0.33.0+nv1", args={"scheduling_policy": "sjf"}).warnings, "a fork may have it"
    refused(ask("qwen3-8b", args={"calculate_kv_scales": True}), "calculate_kv_scales until 0.26 only")


def test_q_lengths_that_files_give_as_text_or_not_at_all(ask):
    """57, 59"""
    refused(ask("bert-text-length", max_model_len="auto"), "model_max_length in tokenizer_config.json", "'4096'")
    assert ask("mamba").flag("--max-model-len") == "8192", "a configuration that names no length takes the one asked for"


def test_q_no_cache_no_block_and_no_float32_of_latents(ask):
    """68, 69"""
    fits(ask("bge-reranker", max_model_len="auto", args={"block_size": 1}))
    refused(ask("deepseek", args={"dtype": "float32"}), "float32", "bfloat16")
    refused(ask("deepseek", args={"attention_backend": "flash_attn"}), "latent attention", "leave it out")
    refused(ask("qwen3.5-27b", args={"model_impl": "transformers"}), "other layers")
    refused(ask("bge-m3", max_model_len="auto", args={"speculative_config": {"method": "mtp", "num_speculative_tokens": 1}}), "needs heads")


def test_the_page_lists_every_case_and_each_has_a_test():
    rows = re.findall(r"^\| (\S+) \|.*\| `([^`]+)` \|$", (ROOT / "docs/cases.md").read_text(), re.M)
    assert len(rows) >= 47 + 30
    lost = []
    for number, where in rows:
        path, _colons, name = where.partition("::")
        file = ROOT / "tests" / path
        if not file.is_file() or (name and f"def {name}(" not in file.read_text()):
            lost.append(f"{number}: {where}")
    assert lost == []

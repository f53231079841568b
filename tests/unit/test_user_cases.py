# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What people really wrote, from public threads (docs/cases.md), as its owner would try it: read, reached, planned, made a container."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import user_models
from user_models import GIB

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("models")
    for name in ("adapter", "eagle"):
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
    warnings = ask("qwen3-8b", args={name: value}).warnings
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

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Weights at load against vLLM's own parameter bytes and against what a real engine logged."""

from __future__ import annotations

import json

import checkpoints
import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import weights

DEVSTRAL = "Devstral-Small-2-24B-Instruct-2512"


@pytest.fixture(scope="module")
def golden():
    return checkpoints.golden_weights()


def tensors_of(model, config):
    if model == "gpt-oss-20b":
        return list(checkpoints.gpt_oss(config))
    if model == "DeepSeek-V2-Lite":
        return list(checkpoints.deepseek_v2_lite(config))
    if model == "GLM-4.5-Air":
        return list(checkpoints.glm4_moe(config))
    if model == "Qwen3-Next-80B-A3B":
        return list(checkpoints.qwen3_next(config))
    if model == "bert-base-uncased":
        return list(checkpoints.bert(config))
    if model == DEVSTRAL:
        return [*checkpoints.dense(config, prefix="language_model.model.", fp8=True), *checkpoints.pixtral_tower(config)]
    return list(checkpoints.dense(config, qk_norm=model.startswith("Qwen3"), tied_file=True))


@pytest.mark.parametrize(
    "model,tp",
    [
        ("Llama-3.1-8B", 1),
        ("Llama-3.1-70B", 1),
        ("Llama-3.1-70B", 2),
        ("Qwen3-0.6B", 1),
        ("Qwen3-8B", 1),
        ("Qwen3-30B-A3B", 1),
        ("Mistral-7B-v0.1", 1),
        ("gpt-oss-20b", 1),
        ("DeepSeek-V2-Lite", 1),
        ("DeepSeek-V2-Lite", 2),
        ("GLM-4.5-Air", 1),
        ("Qwen3-Next-80B-A3B", 1),
        ("Qwen3-Next-80B-A3B", 2),
        ("bert-base-uncased", 1),
        (DEVSTRAL, 1),
    ],
)
def test_bytes_at_load_are_vllms_own(golden, model, tp):
    row = golden[model, tp]
    summary = weights.summarise(tensors_of(model, row["config"]), row["config"])
    loaded = weights.loaded_weights(summary, row["config"], tensor_parallel_size=tp)
    expected = row["param_bytes_at_load"] + row["buffer_bytes"]
    assert abs(loaded.total_bytes - expected) <= expected * 3e-4
    if model != "gpt-oss-20b":  # there vLLM counts packed bytes, we count weights
        assert abs(loaded.params - row["params"]) <= row["params"] * 1e-4


def test_rope_tables_are_vllms_own_for_every_golden_model(golden):
    for (model, _tp), row in golden.items():
        expected = row["param_bytes_at_load"] + row["buffer_bytes"]
        assert abs(weights.rope_bytes(row["config"]) - row["buffer_bytes"]) <= expected * 2e-4, model


def test_mistral_and_hf_names_weigh_the_same(golden):
    config = golden[DEVSTRAL, 1]["config"]
    hf = weights.summarise(checkpoints.dense(config, prefix="language_model.model.", fp8=True), config)
    mistral = weights.summarise(checkpoints.mistral_layout(config), config)
    assert hf["params"] == mistral["params"]
    assert hf["groups"] == mistral["groups"]
    assert weights.loaded_weights(hf, config).total_bytes == weights.loaded_weights(mistral, config).total_bytes


# What `Model loading took` was in bytes on a real H100 (shared reference gpu-runs.md).
@pytest.mark.parametrize(
    "model,measured,backend",
    [("Llama-3.1-8B", 16_110_919_680, "marlin"), (DEVSTRAL, 25_016_006_656, "marlin"), ("gpt-oss-20b", 13_990_115_328, "triton")],
)
def test_within_half_a_percent_of_a_real_engine(golden, model, measured, backend):
    config = golden[model, 1]["config"]
    tensors = list(checkpoints.mistral_layout(config)) if model == DEVSTRAL else tensors_of(model, config)  # the run had no vision tower
    loaded = weights.loaded_weights(weights.summarise(tensors, config), config, mxfp4_backend=backend)
    assert abs(loaded.total_bytes - measured) <= measured * 0.005


# GiB that public logs print as `Model loading took`.
@pytest.mark.parametrize("model,layers,experts,gib", [("gpt-oss-20b", 36, 128, 65.9651), ("Llama-3.1-8B", None, None, 14.9889)])
def test_public_logs(golden, model, layers, experts, gib):
    config = dict(golden[model, 1]["config"])
    if layers:  # gpt-oss-120b is the same body with more layers and experts
        config.update(num_hidden_layers=layers, num_local_experts=experts)
    loaded = weights.loaded_weights(weights.summarise(tensors_of(model, config), config), config)
    assert abs(loaded.total_bytes / 2**30 - gib) <= gib * 0.001


def test_the_seeds_log_said_24_1_gib(golden):
    config = golden[DEVSTRAL, 1]["config"]
    loaded = weights.loaded_weights(weights.summarise(tensors_of(DEVSTRAL, config), config), config)
    assert round(loaded.total_bytes / 2**30, 1) == 24.1


class TestCorrections:
    config = {"num_hidden_layers": 1, "hidden_size": 8, "vocab_size": 100, "tie_word_embeddings": False, "max_position_embeddings": None}

    def loaded(self, tensors, config=None, **kwargs):
        config = self.config if config is None else config
        return weights.loaded_weights(weights.summarise(tensors, config), config, **kwargs)

    def test_next_token_layers_count_only_with_speculation(self):
        t = checkpoints.tensor
        tensors = [t("model.layers.0.mlp.up_proj.weight", "BF16", 8, 8), t("model.layers.1.mlp.up_proj.weight", "BF16", 8, 8), t("mtp.fc.weight", "BF16", 8, 8)]
        assert self.loaded(tensors).total_bytes == 128
        assert self.loaded(tensors, speculative=True).total_bytes == 3 * 128

    def test_a_tied_head_in_the_files_is_counted_once(self):
        t = checkpoints.tensor
        tensors = [t("model.embed_tokens.weight", "BF16", 128, 8), t("lm_head.weight", "BF16", 128, 8)]
        assert self.loaded(tensors, {**self.config, "tie_word_embeddings": True}).total_bytes == 2048
        assert self.loaded(tensors).total_bytes == 4096

    def test_vocabulary_is_padded_to_64_rows(self):
        assert self.loaded([checkpoints.tensor("model.embed_tokens.weight", "BF16", 100, 8)]).total_bytes == 128 * 8 * 2

    def test_float32_becomes_the_run_dtype_but_scales_stay(self):
        t = checkpoints.tensor
        tensors = [t("model.layers.0.mlp.up_proj.weight", "F32", 8, 8), t("model.layers.0.mlp.up_proj.weight_scale", "F32", 8)]
        assert self.loaded(tensors).total_bytes == 128 + 32
        assert self.loaded(tensors, dtype="float32").total_bytes == 256 + 32

    def test_fp8_at_load_halves_linear_layers_only(self):
        t = checkpoints.tensor
        tensors = [t("model.layers.0.mlp.up_proj.weight", "BF16", 8, 8), t("model.embed_tokens.weight", "BF16", 64, 8), t("model.norm.weight", "BF16", 8)]
        assert self.loaded(tensors, quantization="fp8").total_bytes == 64 + 1024 + 16

    def test_inverse_frequencies_are_not_loaded(self):
        assert self.loaded([checkpoints.tensor("model.layers.0.self_attn.rotary_emb.inv_freq", "F32", 64)]).total_bytes == 0

    def test_groups_add_up_and_every_correction_says_why(self, golden):
        row = golden[DEVSTRAL, 1]
        summary = weights.summarise(tensors_of(DEVSTRAL, row["config"]), row["config"])
        loaded = weights.loaded_weights(summary, row["config"])
        assert sum(g["bytes"] for g in summary["groups"].values()) == summary["bytes"]
        assert sum(loaded.groups.values()) + loaded.buffer_bytes == loaded.total_bytes
        assert summary["bytes"] + sum(c["bytes"] for c in loaded.corrections) == loaded.total_bytes
        assert all(c["why"] for c in loaded.corrections)
        assert {g for g, v in summary["groups"].items() if v["bytes"]} == {"embedding", "attention", "mlp", "vision", "other"}


class TestHeaders:
    def parse(self, entries, data=0, name="/m/model.safetensors"):
        blob = json.dumps(entries).encode()
        return weights.parse_header(blob, 8 + len(blob) + data, name)

    def test_reads_tensors(self):
        shard = self.parse({"__metadata__": {"format": "pt"}, "a": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}}, 12)
        assert shard.tensors == (weights.Tensor("a", "BF16", (2, 3), 12),)
        assert shard.name == "model.safetensors"

    def test_four_bit_values_round_up_to_bytes(self):
        assert self.parse({"a": {"dtype": "F4", "shape": [3], "data_offsets": [0, 2]}}, 2).tensors[0].nbytes == 2

    def test_truncated_names_both_sizes(self):
        with pytest.raises(GB10Error, match=r"/m/model\.safetensors is truncated: it has 74 bytes and its header asks for 80"):
            weights.parse_header(b'{"a": {"dtype": "U8", "shape": [10], "data_offsets": [0, 10]}}', 74, "/m/model.safetensors")

    def test_longer_than_the_header_says(self):
        with pytest.raises(GB10Error, match="longer than its header says"):
            self.parse({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}, 5)

    @pytest.mark.parametrize(
        "entries,match",
        [
            ([1], "not a JSON object"),
            ({"a": 3}, "no valid dtype"),
            ({"a": {"dtype": "Q9", "shape": [1], "data_offsets": [0, 1]}}, "no valid dtype"),
            ({"a": {"dtype": "U8", "shape": [-1], "data_offsets": [0, 1]}}, "no valid dtype"),
            ({"a": {"dtype": "U8", "shape": [True], "data_offsets": [0, 1]}}, "no valid dtype"),
            ({"a": {"dtype": "U8", "shape": [2], "data_offsets": [0, 1]}}, "occupies 1 bytes where its shape and dtype need 2"),
            ({"a": {"dtype": "U8", "shape": [1], "data_offsets": [1, 2]}}, "gap or overlap"),
            (
                {"a": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}, "b": {"dtype": "U8", "shape": [2], "data_offsets": [1, 3]}},
                "gap or overlap",
            ),
        ],
    )
    def test_damaged_headers_are_named(self, entries, match):
        with pytest.raises(GB10Error, match=match):
            self.parse(entries, 2)

    def test_header_that_is_not_json(self):
        with pytest.raises(GB10Error, match="not valid JSON"):
            weights.parse_header(b"{nope", 13, "/m/x")

    def test_header_longer_than_the_file(self):
        with pytest.raises(GB10Error, match="declares a header of 5000 bytes but the file has only 100"):
            weights.header_length((5000).to_bytes(8, "little"), 100, "/m/x")

    def test_header_over_the_formats_limit(self):
        with pytest.raises(GB10Error, match="over the 100000000 bytes the safetensors format allows"):
            weights.header_length((100_000_001).to_bytes(8, "little"), 10**12, "/m/x")

    def test_too_short_and_lfs_pointer_and_gguf(self):
        with pytest.raises(GB10Error, match="only 3 bytes"):
            weights.header_length(b"abc", 3, "/m/x")
        with pytest.raises(GB10Error, match="Git LFS pointer"):
            weights.header_length(b"version https", 130, "/m/x")
        with pytest.raises(GB10Error, match="GGUF file"):
            weights.header_length(b"GGUF\x03\x00\x00\x00", 10**9, "/m/x")


class TestFiles:
    def test_mistral_files_come_first_as_in_vllm(self):
        names = ["config.json", "consolidated.safetensors", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
        assert weights.choose_files(names, "/m")[:2] == ("mistral", ["consolidated.safetensors"])
        assert weights.choose_files(names, "/m", "fastsafetensors")[0] == "hf"

    @pytest.mark.parametrize(
        "names,match",
        [
            (["m.Q4_K_M.gguf"], "GGUF weights"),
            (["pytorch_model.bin"], "pickled PyTorch weights"),
            (["config.json"], r"no \*.safetensors file"),
        ],
    )
    def test_other_formats_are_refused_by_name(self, names, match):
        with pytest.raises(GB10Error, match=match):
            weights.choose_files(names, "/m")

    def test_manifest_depends_on_content_not_on_order(self):
        one, two = ("a", 1, "x"), ("b", 2, "y")
        assert weights.manifest_hash([one, two]) == weights.manifest_hash([two, one])
        assert weights.manifest_hash([one, two]) != weights.manifest_hash([one, ("b", 2, "z")])


def test_run_dtype():
    assert weights.run_dtype({"torch_dtype": "float32"}) == "bfloat16"
    assert weights.run_dtype({"text_config": {"dtype": "float16"}}) == "float16"
    assert weights.run_dtype({}, "float32") == "float32"


def test_a_header_and_its_length_have_to_fit_into_the_file():
    prefix = (20).to_bytes(8, "little")
    assert weights.header_length(prefix, 28, "x.safetensors") == 20
    with pytest.raises(GB10Error, match="declares a header of 20 bytes but the file has only 27: it is truncated"):
        weights.header_length(prefix, 27, "x.safetensors")

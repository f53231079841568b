# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Model directories, whole and broken, on a real file system."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import checkpoints
import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._model import directory
from ansible_collections.gb10.vllm.plugins.module_utils._model.directory import inspect_model

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "num_hidden_layers": 4,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "vocab_size": 512,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}


@pytest.fixture
def model(tmp_path):
    return checkpoints.write_model(tmp_path / "models" / "tiny-llama", CONFIG, list(checkpoints.dense(CONFIG)), 3)


def refused(path, match, named=None):
    """The model at ``path`` is refused in one sentence that matches and names the file (default: the directory)."""
    with pytest.raises(GB10Error) as caught:
        inspect_model(str(path))
    text = str(caught.value)
    assert re.search(match, text), text
    assert str(named or path) in text
    assert "\n" not in text and "Traceback" not in text
    return text


def test_a_whole_model(model):
    info = inspect_model(str(model))
    assert info["present"] and info["architecture"] == "LlamaForCausalLM" and info["layout"] == "hf"
    assert info["kind"] == "chat" and info["tokenizer"] and info["chat_template"]
    assert len(info["files"]) == 3 and info["size_bytes"] == sum(p.stat().st_size for p in model.glob("*.safetensors"))
    rope = 4096 * 32 * 2
    assert info["weights"]["loaded_bytes"] == info["weights"]["bytes"] + rope
    assert json.loads(json.dumps(info)) == info


def test_single_file_and_missing_index_give_the_same_weights(model, tmp_path):
    whole = inspect_model(str(model))
    single = inspect_model(str(checkpoints.write_model(tmp_path / "one", CONFIG, list(checkpoints.dense(CONFIG)))))
    (model / "model.safetensors.index.json").unlink()
    loose = inspect_model(str(model))
    assert single["weights"]["params"] == loose["weights"]["params"] == whole["weights"]["params"]


def test_only_headers_are_read(model):
    before = _read_bytes()
    inspect_model(str(model))
    small = _read_bytes() - before
    assert small < 100_000


def _read_bytes():
    with open("/proc/self/io", encoding="ascii") as handle:
        return int(handle.readline().split()[1])


def test_mistral_layout_beside_hf(model):
    params = {"dim": 64, "n_layers": 4, "head_dim": 32, "hidden_dim": 128, "n_heads": 2, "n_kv_heads": 1, "vocab_size": 512, "norm_eps": 1e-5}
    (model / "params.json").write_text(json.dumps(params))
    (model / "tekken.json").write_text("{}")
    checkpoints.write_shard(model / "consolidated.safetensors", list(checkpoints.mistral_layout(CONFIG, fp8=False)))
    mistral, hf = inspect_model(str(model)), inspect_model(str(model), load_format="safetensors")
    assert (mistral["layout"], mistral["config_file"], len(mistral["files"])) == ("mistral", "params.json", 1)
    assert (hf["layout"], hf["config_file"], len(hf["files"])) == ("hf", "config.json", 3)
    assert mistral["weights"]["params"] == hf["weights"]["params"]


def test_manifest_changes_with_the_model(model):
    first = inspect_model(str(model))["manifest"]
    assert inspect_model(str(model))["manifest"] == first
    (model / "README.md").write_text("text")
    assert inspect_model(str(model))["manifest"] == first
    (model / "config.json").write_text(json.dumps({**CONFIG, "rope_theta": 5e5}))
    assert inspect_model(str(model))["manifest"] != first


def test_manifest_changes_with_a_config_of_the_same_size(model):
    found = set()
    for theta in ("1e6", "5e5"):
        (model / "config.json").write_text(json.dumps(CONFIG)[:-1] + f', "rope_theta": {theta}}}')
        found.add(inspect_model(str(model))["manifest"])
    assert len(found) == 2


@pytest.mark.parametrize("name", ["modeling_tiny.py", "tokenizer.model", "chat_template.jinja", "vocab.txt", "generation_config.json", "x.tiktoken"])
def test_manifest_changes_with_all_that_makes_the_model_another(model, name):
    first = inspect_model(str(model))["manifest"]
    (model / name).write_text("{}")
    assert inspect_model(str(model))["manifest"] != first


class TestRefusals:
    def test_unknown_directory_with_a_near_name(self, model):
        refused(model.parent / "tiny-lama", r"does not exist; did you mean .*/tiny-llama\?")

    def test_unknown_directory_without_one(self, model):
        refused(model.parent / "zzz", "does not exist: check the name")
        refused(model.parent / "no" / "such", "nor does")

    def test_missing_is_allowed_on_request(self, model):
        path = str(model.parent / "later")
        assert inspect_model(path, allow_missing=True) == {"present": False, "path": path}

    def test_missing_shard(self, model):
        (model / "model-00002-of-00003.safetensors").unlink()
        refused(model, r"lacks 1 of the 3 shards its index names, the first is model-00002-of-00003\.safetensors: finish the download")

    def test_missing_shard_without_index(self, model):
        (model / "model.safetensors.index.json").unlink()
        (model / "model-00002-of-00003.safetensors").unlink()
        refused(model, r"lacks shard model-00002-of-00003\.safetensors \(2 of 3 are there\)")

    @pytest.mark.parametrize("number", [1, 3])
    def test_first_or_last_shard_missing_without_index(self, model, number):
        (model / "model.safetensors.index.json").unlink()
        (model / f"model-0000{number}-of-00003.safetensors").unlink()
        refused(model, rf"lacks shard model-0000{number}-of-00003\.safetensors \(2 of 3 are there\)")

    def test_config_and_index_of_a_size_no_model_has(self, model, monkeypatch):
        os.truncate(model / "config.json", directory.CONFIG_LIMIT + 1)
        refused(model, "is larger than 16 MiB, which no real model needs", model / "config.json")
        (model / "config.json").write_text(json.dumps(CONFIG))
        monkeypatch.setattr(directory, "INDEX_LIMIT", 2**20)
        os.truncate(model / "model.safetensors.index.json", 2**20 + 1)
        refused(model, "is larger than 1 MiB, which no real model needs", model / "model.safetensors.index.json")

    def test_truncated_shard(self, model):
        shard = model / "model-00003-of-00003.safetensors"
        size = shard.stat().st_size
        os.truncate(shard, size - 10)
        refused(model, rf"is truncated: it has {size - 10} bytes and its header asks for {size}", shard)

    def test_shard_from_another_version(self, model):
        checkpoints.write_shard(model / "model-00002-of-00003.safetensors", [checkpoints.tensor("other", "BF16", 4)])
        refused(model, "the index places tensor .* which does not hold it .*index and shards are from different versions")

    def test_two_copies_without_index(self, model):
        (model / "model.safetensors.index.json").unlink()
        checkpoints.write_shard(model / "extra.safetensors", list(checkpoints.dense(CONFIG)))
        refused(model, "holds tensor .* twice")

    def test_config_that_is_not_json(self, model):
        (model / "config.json").write_text('{"architectures": [\n  "Llama",,]}')
        refused(model, r"is not JSON \(line 2, column \d+", model / "config.json")

    def test_config_that_is_a_list_or_binary_or_deep(self, model):
        (model / "config.json").write_text("[]")
        refused(model, "is not a JSON object", model / "config.json")
        (model / "config.json").write_bytes(b"\xff\xfe\x00\x81")
        refused(model, "is not JSON", model / "config.json")
        (model / "config.json").write_text("[" * 200_000)
        refused(model, "is not JSON text", model / "config.json")

    def test_no_config(self, model):
        (model / "config.json").unlink()
        refused(model, "has no config.json")

    def test_index_without_map_or_with_paths(self, model):
        index = model / "model.safetensors.index.json"
        index.write_text("{}")
        refused(model, "no weight_map", index)
        index.write_text(json.dumps({"weight_map": {"a": "../../etc/passwd"}}))
        refused(model, "is not a file name", index)

    def test_a_file_instead_of_a_directory(self, model):
        refused(model / "config.json", "is a file, not a directory")

    def test_gguf(self, tmp_path):
        (tmp_path / "config.json").write_text("{}")
        (tmp_path / "model.Q4_K_M.gguf").write_bytes(b"GGUF")
        refused(tmp_path, r"GGUF weights \(model.Q4_K_M.gguf\)")

    def test_symlink_loop(self, tmp_path):
        (tmp_path / "a").symlink_to("b")
        (tmp_path / "b").symlink_to("a")
        refused(tmp_path / "a", "leads back to itself")

    def test_shard_that_is_a_loop_or_a_broken_link(self, model):
        shard = model / "model-00001-of-00003.safetensors"
        shard.unlink()
        shard.symlink_to(shard.name)
        refused(model, "leads back to itself", shard)
        shard.unlink()
        shard.symlink_to("../blobs/gone")
        refused(model, "is a link to a file that does not exist", shard)

    def test_header_larger_than_file_and_over_the_limit(self, model):
        shard = model / "model-00001-of-00003.safetensors"
        shard.write_bytes((10**6).to_bytes(8, "little") + b"{}")
        refused(model, "declares a header of 1000000 bytes but the file has only 10", shard)
        with shard.open("wb") as handle:
            handle.write((200_000_000).to_bytes(8, "little"))
            handle.truncate(300_000_000)
        refused(model, "over the 100000000 bytes", shard)

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
    def test_unreadable_directory(self, model):
        model.chmod(0o700)
        for parent in list(model.parents)[:5]:
            if str(parent) not in ("/", "/tmp"):
                parent.chmod(0o755)
        code = "\n".join(
            [
                "import os, sys",
                "sys.path[:] = eval(sys.argv[2])",
                "from ansible_collections.gb10.vllm.plugins.module_utils._model.directory import inspect_model",
                "os.setgid(65534); os.setuid(65534)",
                "try: inspect_model(sys.argv[1])",
                "except Exception as e: print(type(e).__name__, e)",
            ]
        )
        done = subprocess.run([sys.executable, "-c", code, str(model), repr(sys.path)], capture_output=True, text=True, check=True)
        assert done.stdout.startswith("GB10Error") and "permission denied" in done.stdout, done


@pytest.mark.parametrize(
    "architecture,names,kind",
    [
        ("LlamaForCausalLM", {}, "completion"),
        ("Qwen3ForCausalLM", {"modules.json": 1}, "embedding"),
        ("BertModel", {}, "embedding"),
        ("WhisperForConditionalGeneration", {}, "transcription"),
        ("LlamaForSequenceClassification", {}, "classification"),
    ],
)
def test_kind(model, architecture, names, kind):
    (model / "tokenizer_config.json").unlink()
    (model / "config.json").write_text(json.dumps({**CONFIG, "architectures": [architecture], "auto_map": {"AutoModel": "x.Y"}}))
    for name in names:
        (model / name).write_text("[]")
    info = inspect_model(str(model))
    assert (info["kind"], info["auto_map"]) == (kind, ["AutoModel"])

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Models read over real HTTP before any download."""

from __future__ import annotations

import socket

import checkpoints
import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._model.directory import inspect_model
from ansible_collections.gb10.vllm.plugins.module_utils._model.hub import Hub, is_repo_id, token_from
from hub_server import HubServer

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 40, "hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8,
    "num_key_value_heads": 2, "vocab_size": 4096, "max_position_embeddings": 8192, "torch_dtype": "bfloat16", "tie_word_embeddings": False,
}  # fmt: skip
SAME = ("config", "layout", "architecture", "weights", "manifest", "size_bytes", "tokenizer", "chat_template", "kind")


@pytest.fixture
def model(tmp_path):
    return checkpoints.write_model(tmp_path / "acme-llama", CONFIG, list(checkpoints.dense(CONFIG)), 4)


@pytest.fixture
def hub(model):
    server = HubServer({"acme/llama": model, "acme/private": model}, token="hf_right", gated=("acme/private",))
    yield server
    server.close()


def client(hub, **kwargs):
    return Hub(hub.url, env={}, pause_s=0.01, **kwargs)


def test_the_same_facts_as_from_the_directory(hub, model):
    remote, local = client(hub).inspect("acme/llama"), inspect_model(str(model))
    assert {k: remote[k] for k in SAME} == {k: local[k] for k in SAME}
    assert [f["name"] for f in remote["files"]] == [f["name"] for f in local["files"]]
    assert all(f["sha256"] for f in remote["files"])
    assert remote["revision"] == "c0ffee" and remote["download"]["bytes"] > remote["size_bytes"]
    assert hub.sent_bytes < remote["size_bytes"] / 20


def test_headers_longer_than_the_first_read(hub, model):
    many = [checkpoints.tensor(f"model.layers.{n % 40}.mlp.experts.{n}.up_proj.weight", "BF16", 8, 8) for n in range(4000)]
    for path in model.glob("*.safetensors*"):
        path.unlink()
    checkpoints.write_shard(model / "model.safetensors", many)
    assert client(hub).inspect("acme/llama")["weights"]["params"] == 4000 * 64
    assert len([e for e in hub.log if e["range"] and "resolve" not in e["path"]]) == 2


def test_a_server_without_ranges_is_read_no_further_than_needed(hub, model):
    hub.ranges = False
    assert client(hub).inspect("acme/llama")["weights"] == inspect_model(str(model))["weights"]


def test_truncated_on_the_hub_names_both_sizes(hub, model):
    shard = model / "model-00002-of-00004.safetensors"
    with shard.open("r+b") as handle:
        handle.truncate(shard.stat().st_size - 1)
    with pytest.raises(GB10Error, match="is truncated: it has"):
        client(hub).inspect("acme/llama")


def test_token_is_sent_to_the_hub_only(hub):
    client(hub, token="hf_right").inspect("acme/private")
    api = {e["authorization"] for e in hub.log if e["path"].startswith("/api") or "/resolve/" in e["path"]}
    files = {e["authorization"] for e in hub.log if not e["path"].startswith("/api") and "/resolve/" not in e["path"]}
    assert api == {"Bearer hf_right"} and files == {None}


@pytest.mark.parametrize("token,words", [(None, "needs a token.*HF_TOKEN"), ("hf_wrong", "needs a token.*use a token that may read it")])
def test_gated(hub, token, words):
    with pytest.raises(GB10Error, match=words) as caught:
        client(hub, token=token).inspect("acme/private")
    assert "hf_wrong" not in str(caught.value)


def test_unknown_repo_and_revision(hub):
    with pytest.raises(GB10Error, match="needs a token, or does not exist"):
        client(hub).inspect("acme/nothing")
    with pytest.raises(GB10Error, match="check the name and the revision"):
        client(hub, token="hf_right").inspect("acme/nothing")
    with pytest.raises(GB10Error, match="has no such revision"):
        client(hub).inspect("acme/llama", revision="v9")


def test_a_busy_hub_is_asked_again(hub):
    hub.fail_first = 2
    assert client(hub).inspect("acme/llama")["architecture"] == "LlamaForCausalLM"


def test_a_slow_hub_times_out(hub):
    hub.delay_s = 0.5
    with pytest.raises(GB10Error, match=r"did not answer within 0\.1 s \(3 attempts\)"):
        client(hub, timeout_s=0.1).inspect("acme/llama")


def test_nobody_there():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(GB10Error, match="cannot be reached.*HF_ENDPOINT"):
        Hub(f"http://127.0.0.1:{port}", env={}, pause_s=0.01).inspect("acme/llama")


def test_not_a_hub(hub, model):
    with pytest.raises(GB10Error, match="not an http or https URL"):
        Hub("ftp://x", env={})
    with pytest.raises(GB10Error, match="form ORG/NAME"):
        client(hub).inspect("../etc")


def test_token_and_endpoint_from_the_environment(tmp_path, hub):
    (tmp_path / "token").write_text("hf_file\n")
    assert token_from({"HF_HOME": str(tmp_path)}) == "hf_file"
    assert token_from({"HF_TOKEN": "hf_env", "HF_HOME": str(tmp_path)}) == "hf_env"
    assert token_from({"HF_HOME": str(tmp_path / "none")}) is None
    assert Hub(env={"HF_ENDPOINT": hub.url + "/"}).endpoint == hub.url


@pytest.mark.parametrize("text,yes", [("mistralai/Devstral-Small-2", True), ("/srv/models/x", False), ("one", False), ("a/b/c", False), ("a/..b", False)])
def test_is_repo_id(text, yes):
    assert is_repo_id(text) is yes

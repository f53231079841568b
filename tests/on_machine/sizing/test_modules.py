# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The modules as Ansible runs them: a process of its own, arguments in, JSON out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import checkpoints
import pytest
from hub_server import HubServer

GIB = 2**30
COLLECTIONS = Path(__file__).resolve().parents[3] / ".ansible/collections"
DEVSTRAL = checkpoints.golden_weights()["Devstral-Small-2-24B-Instruct-2512", 1]["config"]
BOX = {"memory": {"total_bytes": int(119.7 * GIB), "available_bytes": 110 * GIB, "cuda_total_bytes": int(119.7 * GIB), "cuda_total_source": "cuDeviceTotalMem"}}


def run(name, env=None, check_mode=False, **arguments):
    """Result of a module; a traceback on stderr or anything but one JSON object on stdout is a failure of the test."""
    words = json.dumps({"ANSIBLE_MODULE_ARGS": {**arguments, "_ansible_check_mode": check_mode}})
    done = subprocess.run(
        [sys.executable, "-m", f"ansible_collections.gb10.vllm.plugins.modules.{name}"],
        input=words,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(COLLECTIONS), **(env or {})},
    )
    assert "Traceback" not in done.stderr, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def devstral(tmp_path_factory):
    tensors = [*checkpoints.dense(DEVSTRAL, prefix="language_model.model.", fp8=True), *checkpoints.pixtral_tower(DEVSTRAL)]
    return checkpoints.write_model(tmp_path_factory.mktemp("models") / "devstral", DEVSTRAL, tensors, 10)


def test_from_a_directory_to_a_plan(devstral):
    info = run("model_info", models=[str(devstral)])
    assert info["changed"] is False and info["models"][str(devstral)]["architecture"] == "Mistral3ForConditionalGeneration"
    wanted = {"name": "devstral", "model": "devstral", "model_path": str(devstral), "max_model_len": 65536, "concurrency": 4, "address": "127.0.0.1"}
    arguments = {"box": BOX, "servers": [wanted], "engine": {"vllm_version": "0.33.0"}}
    result = run("kv_cache_budget", models=info["models"], **arguments)
    assert result["changed"] is False and result["plan"]["verdict"] == "fits"
    assert result["plan"] == run("kv_cache_budget", check_mode=True, **arguments)["plan"]


def test_the_calculator_reads_the_seed(devstral):
    answer = run("kv_cache_budget", model=str(devstral), available_gib=56.126, engine={"vllm_version": "0.13.0"})["kv"]
    assert answer["kv_bytes_per_token"] == 163840 and answer["needed_bytes"] == 60 * GIB
    assert answer["estimated_max_model_len"] == 367824 and "60.00 GiB KV cache is needed" in answer["vllm_says"]


def test_one_call_for_all_servers_of_a_box(devstral):
    later = str(devstral.parent / "later")
    result = run("model_info", models=[str(devstral), later], allow_missing=True)
    assert [m["present"] for m in result["models"].values()] == [True, False]


def test_a_repo_id_without_a_download(devstral):
    server = HubServer({"mistralai/devstral": devstral}, token="hf_right", gated=("mistralai/devstral",))
    try:
        arguments = {"model": "mistralai/devstral", "hf_endpoint": server.url, "max_model_len": 65536, "concurrency": 4}
        result = run("kv_cache_budget", hf_token="hf_right", **arguments)
        assert result["kv"]["needed_bytes"] == 4 * 65536 * 163840 + 2621440
        assert result["models"]["mistralai/devstral"]["download"]["bytes"] > 24 * GIB
        assert server.sent_bytes < 2 * 2**20
        assert "hf_right" not in json.dumps(result["models"]) + json.dumps(result["kv"])
        refused = run("kv_cache_budget", hf_token="hf_wrong", **arguments)
        assert refused["failed"] and "needs a token" in refused["msg"] and "hf_wrong" not in json.dumps(refused["msg"])
    finally:
        server.close()


@pytest.mark.parametrize(
    "name,arguments,match",
    [
        ("model_info", {"path": "/nowhere/m"}, "/nowhere/m does not exist"),
        ("model_info", {}, "one of the following is required: path, models"),
        ("kv_cache_budget", {"model": "/nowhere/m"}, "/nowhere/m does not exist"),
        ("kv_cache_budget", {"model": "a/b", "hf_endpoint": "http://127.0.0.1:9"}, "cannot be reached"),
        ("kv_cache_budget", {"servers": [{"name": "a"}], "box": BOX}, "server a names no model"),
        ("kv_cache_budget", {"servers": [{"name": "a", "model_path": "/nowhere/m"}], "box": {"memory": {}}}, "/nowhere/m does not exist"),
        ("kv_cache_budget", {"servers": [], "box": {"memory": {}}}, "facts of the box"),
        ("kv_cache_budget", {"model": "/x", "available_gib": -1}, "available_gib is -1"),
    ],
)
def test_bad_input_is_one_sentence(name, arguments, match):
    result = run(name, **arguments)
    assert result["failed"] and match in result["msg"] and "\n" not in result["msg"]


def test_an_unsupported_architecture_names_the_model(tmp_path):
    config = {**DEVSTRAL["text_config"], "architectures": ["NovelForCausalLM"]}
    path = checkpoints.write_model(tmp_path / "novel", config, [checkpoints.tensor("a", "BF16", 4)])
    result = run("model_info", path=str(path))
    assert result["failed"] and str(path) in result["msg"] and "NovelForCausalLM" in result["msg"]
    assert run("model_info", path=str(path), assume_full_attention=True)["model"]["architecture"] == "NovelForCausalLM"

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Failures that the real vLLM produces, found and explained; where a repair is safe, it is applied and the server answers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml
from ansible_collections.gb10.vllm.plugins.module_utils._engine.container import collect
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis import diagnosis, knowledge, repair

SMALL_KV = ("--kv-cache-memory-bytes", "16M")


def explain(seen: dict, box: str = "box1") -> dict:
    """What the action plugin makes of a failed start."""
    logs = {box: "\n".join(seen["log"])}
    if seen["kernel_log"]:
        logs[f"{box} (kernel)"] = "\n".join(seen["kernel_log"])
    found = diagnosis.diagnose(logs, knowledge.load(), {"container", "api_key"})
    return {**found, "phase": seen["phase"]}


def test_a_kv_cache_that_is_too_small_is_repaired(engine):
    engine.start("good", "--max-model-len", "4096", "--kv-cache-memory-bytes", "2M")
    seen = engine.wait()
    found = explain(seen)
    assert (seen["phase"], found["id"]) == ("failed", "KB-101")
    assert seen["container"]["exit_code"] == 1
    assert seen["facts"]["kv_too_small"]["max_model_len"] == 4096

    change = repair.decide(found, seen["facts"], {"max_model_len": 4096}, [])
    length = change["set"]["max_model_len"]
    assert length == int(found["values"]["est_max_len"]) < 2048

    engine.start("good", "--max-model-len", str(length), "--kv-cache-memory-bytes", "2M")
    seen = engine.wait()
    assert seen["phase"] == "ready", seen
    assert seen["answer"]["kind"] == "chat"
    assert seen["answer"]["text"]
    assert seen["answer"]["model"] == "tiny"
    facts = seen["facts"]
    assert facts["max_model_len"] == length
    assert facts["available_kv_bytes"] == 2 * 2**20
    assert facts["num_blocks"] * facts["block_size"] >= length
    assert facts["vllm_version"].startswith("0.")
    assert 0 < facts["ready_s"] <= seen["elapsed_s"]
    assert "engine-test-key" not in json.dumps(seen)


def test_a_port_that_is_taken(engine):
    taken = subprocess.Popen(["python3", "-m", "http.server", str(engine.port), "--bind", "127.0.0.1"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        time.sleep(1)
        engine.start("good", *SMALL_KV, check=False)
        seen = engine.wait()
    finally:
        taken.terminate()
        taken.wait()
    assert (seen["phase"], explain(seen)["id"]) == ("failed", "KB-166")
    assert repair.decide(explain(seen), {}, {}, []) is None, "another port would surprise clients"


def test_a_missing_shard(engine):
    engine.start("missing-shard", *SMALL_KV)
    seen = engine.wait()
    found = explain(seen)
    assert (seen["phase"], found["id"]) == ("failed", "GB-010")
    assert "model-00002-of-00002.safetensors" in found["why"]


def test_a_wrong_model_type(engine):
    engine.start("wrong-type", *SMALL_KV)
    found = explain(engine.wait())
    assert found["id"] == "KB-178"
    assert "alpaca9" in found["why"]


def test_no_chat_template_then_a_killed_worker(engine):
    engine.start("no-template", *SMALL_KV)
    seen = engine.wait(kind="completion")
    assert (seen["phase"], seen["answer"]["kind"]) == ("ready", "completion")

    as_chat = engine.follower(kind="chat").observe()
    assert (as_chat["phase"], explain(as_chat)["id"]) == ("failed", "KB-183")
    assert engine.follower(kind="auto").observe()["answer"]["kind"] == "completion"

    other_name = engine.follower()
    other_name.served_model_name = "other"
    assert explain(other_name.observe())["id"] == "GB-002"

    other_key = engine.follower()
    other_key.api._headers = {"Authorization": "Bearer wrong"}
    assert explain(other_key.observe())["id"] == "GB-003"

    worker = engine.pids("VLLM::Worker") or engine.pids("VLLM::EngineCore")
    os.kill(worker[0], signal.SIGKILL)
    deadline = time.monotonic() + 60
    while (seen := engine.follower().observe())["phase"] == "ready" and time.monotonic() < deadline:
        time.sleep(1)
    seen = engine.wait()
    assert seen["phase"] == "failed"
    assert explain(seen)["id"] in ("GB-012", "KB-301"), explain(seen)


def test_an_embedding_model_answers_with_an_embedding(engine):
    engine.start("good", *SMALL_KV, "--runner", "pooling", "--convert", "embed")
    seen = engine.wait()
    assert (seen["phase"], seen["answer"]["kind"]) == ("ready", "embedding"), seen


def test_too_little_memory_for_the_container(engine):
    engine.start("good", *SMALL_KV, options=("--memory", "400m", "--memory-swap", "400m"))
    seen = engine.wait()
    assert seen["phase"] == "failed"
    assert seen["container"]["oom_killed"] or "Killed process" in "\n".join(seen["kernel_log"]), seen["log"][-5:]
    assert explain(seen)["id"] in ("GB-001", "KB-122"), explain(seen)


def test_a_hang_is_seen(engine):
    engine.start("good", *SMALL_KV)
    before = engine.follower()
    while not engine.pids("VLLM::EngineCore"):
        assert before.observe()["phase"] == "created"
        time.sleep(0.5)
    for pid in engine.pids():
        os.kill(pid, signal.SIGSTOP)
    follower = engine.follower(stall_s=8.0, last=before.observe()["activity"])
    began = time.monotonic()
    while (seen := follower.follow(wait_s=5.0, poll_s=1.0))["phase"] not in ("stalled", "ready", "failed"):
        assert time.monotonic() - began < 60
    assert seen["phase"] == "stalled"
    assert time.monotonic() - began < 30
    assert explain(seen)["id"] == "GB-006"


def test_a_crash_loop_is_not_followed_for_ever(engine):
    engine.start("wrong-type", *SMALL_KV, options=("--restart", "on-failure:5"))
    seen = engine.wait()
    assert seen["phase"] == "failed"
    assert explain(seen)["id"] == "KB-178", "the cause, not that it restarts"


def test_a_user_sees_one_message(engine, tmp_path):
    """Through the real ansible-playbook: progress, one message with the cause, the box and what to do, and the repair."""
    engine.start("good", "--max-model-len", "4096", "--kv-cache-memory-bytes", "2M")
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "connection": "local",
        "vars": {"ansible_python_interpreter": sys.executable},
        "tasks": [
            {
                "gb10.vllm.server_ready": {
                    "container": engine.name,
                    "base_url": f"http://127.0.0.1:{engine.port}",
                    "api_key_file": str(engine.key_file),
                    "served_model_name": "tiny",
                    "label": "devstral",
                    "wanted": {"max_model_len": 4096},
                },
                "register": "start",
                "ignore_errors": True,
            },
            {"ansible.builtin.copy": {"content": "{{ start | to_json }}", "dest": str(tmp_path / "start.json")}},
        ],
    }
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", str(tmp_path / "play.yml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=480, check=False)
    assert (tmp_path / "start.json").exists(), done.stdout + done.stderr
    start = json.loads((tmp_path / "start.json").read_text())
    assert "  localhost: devstral: " in done.stdout, done.stdout + done.stderr
    assert start["failed"]
    assert start["diagnosis"]["id"] == "KB-101"
    assert start["repair"]["set"]["max_model_len"] < 2048
    message = start["msg"]
    assert message.startswith("Server devstral on localhost did not start: it exited with code 1.")
    assert all(word in message for word in ("What: ", "Why: ", "What to do: ", "Source: KB-101", "  | ", "Repair: max_model_len 4096 -> "))
    assert "engine-test-key" not in done.stdout + done.stderr + json.dumps(start)


def test_a_key_in_a_private_file_is_not_shown(engine, tmp_path):
    """The server role keeps the key in a file that only the container's shell reads; Docker does not know it."""
    (tmp_path / "devstral").mkdir()
    (tmp_path / "devstral" / "key.env").write_text("VLLM_API_KEY='private-key-17'\n")
    engine.run("echo 'refused private-key-17'; exit 1")
    (seen,) = collect(engine.name, config_dir=str(tmp_path))
    assert (seen["server"], seen["api_key"], seen["status"]) == ("devstral", True, "exited")
    assert "refused ********" in seen["log"]
    assert "private-key-17" not in json.dumps(seen)


def test_the_playbook_diagnose_explains_what_ran_last(engine):
    """Every container with our label is explained, also one that has ended; the key it was given is not shown."""
    words = "OSError: [Errno 98] Address already in use by engine-test-key"
    engine.run(f"echo '{words}'; exit 1")
    variables = {"gb10_hosts": "localhost", "ansible_python_interpreter": sys.executable, "container": engine.name, "ansible_become": False}
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "gb10.vllm.diagnose", "-i", "localhost,", "-c", "local"]
    done = subprocess.run([*command, "-e", json.dumps(variables)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{engine.name} on localhost (exited): this is what went wrong" in done.stdout
    assert "Source: KB-166" in done.stdout
    assert "engine-test-key" not in done.stdout + done.stderr

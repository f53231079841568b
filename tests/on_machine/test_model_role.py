# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role model on this machine, as Ansible runs it: what it does once to models that are there, and that it then does nothing any more."""

from __future__ import annotations

import json
import os
import re

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import file_sha256
from ansible_collections.gb10.vllm.plugins.module_utils._model import store
from checkpoints import dense, write_model
from playbook import play

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 1, "hidden_size": 64, "intermediate_size": 128,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32, "vocab_size": 512, "max_position_embeddings": 4096,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  vars: {gb10_models_dir: "%(models)s", gb10_state_dir: "%(state)s", ansible_python_interpreter: /usr/bin/python3}
  tasks:
    - gb10.vllm.model_info:
        models: ["%(models)s/own", "%(models)s/acme/ours", "%(models)s/acme/missing"]
        allow_missing: true
        check_architecture: false
        state_dir: "%(state)s"
      register: plan_models
    - ansible.builtin.set_fact:
        plan_wanted: "{{ servers | gb10.vllm.distribution_wanted(plan_models.models) }}"
      vars:
        servers: [{name: a, model: own, model_path: "%(models)s/own"}, {name: b, model: acme/ours, repo_id: acme/ours, model_path: "%(models)s/acme/ours"}]
    - ansible.builtin.include_role: {name: gb10.vllm.model}
    - ansible.builtin.copy: {content: "{{ model_result.models | to_json }}", dest: "%(result)s"}
      changed_when: false
      check_mode: false
"""


@pytest.fixture
def box(tmp_path):
    """A model that its owner put there, and one that an earlier release of the collection downloaded."""
    for name in ("own", "acme/ours"):
        write_model(tmp_path / "models" / name, CONFIG, list(dense(CONFIG)))
    ours = tmp_path / "models/acme/ours"
    entries = {}
    for one in store.list_files(str(ours)):
        entries[one["name"]] = {"size": one["size"], "mtime_ns": one["mtime_ns"], "sha256": file_sha256(ours / one["name"])}
    store.write_record(str(ours), {"repo_id": "acme/ours", "revision": "a" * 40, "files": entries})
    names = {"models": tmp_path / "models", "state": tmp_path / "state", "result": tmp_path / "result.json"}
    (tmp_path / "play.yml").write_text(PLAY % names)
    return tmp_path


def run(box, *arguments):
    done = play(box / "play.yml", *arguments, cwd=box)
    assert done.returncode == 0, done.stdout[-4000:]
    models = {os.path.relpath(path, box / "models"): facts for path, facts in json.loads((box / "result.json").read_text()).items()}
    return models, int(re.search(r"changed=(\d+)", done.stdout).group(1))


def test_once_names_are_put_in_order_and_weights_are_read(box):
    models, changed = run(box, "--check")
    assert changed == 1 and not (box / "state").exists() and not (box / "models/acme/ours").is_symlink(), "check mode says so and does nothing"
    assert models["own"]["content"]["weights"] is None and models["acme/ours"]["version"] is None

    models, changed = run(box)
    assert changed == 1
    assert models["own"]["content"]["weights"] == models["acme/ours"]["content"]["weights"]
    assert models["own"]["content"]["weights"]
    assert models["own"]["directory"] == str(box / "models/own") and models["own"]["ours"] is False
    assert models["acme/ours"]["directory"] == str(box / "models" / ("acme/ours@" + "a" * 14)) and models["acme/ours"]["version"] == "a" * 14
    assert models["acme/missing"]["present"] is False
    assert sorted(os.listdir(box / "models/acme")) == ["ours", "ours@" + "a" * 14]
    assert [oct((box / "state/models" / name).stat().st_mode & 0o777) for name in os.listdir(box / "state/models")] == ["0o600"] * 2

    again, changed = run(box)
    assert changed == 0 and again == models

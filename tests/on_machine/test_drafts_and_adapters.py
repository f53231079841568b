# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A draft model and an adapter that a server names as repositories: from a hub on this machine into their places, and into the container's arguments."""

from __future__ import annotations

import json
import re

import pytest
from checkpoints import TINY_LLAMA, dense, write_model
from model_hub import ModelHub
from playbook import play

SPECULATORS = {
    "architectures": ["Eagle3Speculator"], "speculators_model_type": "eagle3", "draft_vocab_size": 256, "transformer_layer_config": TINY_LLAMA,
    "speculators_config": {"algorithm": "eagle3", "proposal_methods": [{"speculative_tokens": 3}], "verifier": {"name_or_path": "acme/base"}},
}  # fmt: skip
PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  vars:
    gb10_models_dir: "%(models)s"
    gb10_state_dir: "%(state)s"
    gb10_config_dir: "%(config)s"
    gb10_hub: {endpoint: "%(hub)s"}
    ansible_python_interpreter: /usr/bin/python3
    servers:
      - name: a
        model: base
        args:
          enable_lora: true
          lora_modules: [sql=acme/sql]
          speculative_config: {method: eagle3, model: acme/draft, num_speculative_tokens: 3}
    draft_config: "{{ (mounted | first).args.speculative_config }}"
    mounted: "{{ preflight_servers | gb10.vllm.as_mounted(preflight_result.box.named, model_result.models) }}"
    known: "{{ model_result.models | gb10.vllm.with_drafts(preflight_servers, preflight_result.box.named) }}"
  tasks:
    - ansible.builtin.set_fact:
        preflight_servers: "{{ servers | gb10.vllm.servers(gb10_models_dir) }}"
    - gb10.vllm.box_info:
        models: "{{ preflight_servers | gb10.vllm.models_wanted(gb10_models_dir) }}"
        parts: "{{ preflight_servers | gb10.vllm.parts_wanted(gb10_models_dir) }}"
        named: "{{ preflight_servers | gb10.vllm.files_named(gb10_models_dir) }}"
        allow_missing: true
        state_dir: "%(state)s"
      register: preflight_result
    - ansible.builtin.set_fact:
        plan_models: {models: "{{ preflight_result.models }}"}
        plan_models_wanted: "{{ wanted }}"
        plan_wanted: "{{ wanted | gb10.vllm.distribution_wanted(preflight_result.models) }}"
      vars:
        wanted: "{{ preflight_servers | gb10.vllm.with_parts(gb10_models_dir, preflight_result.box.named) }}"
    - ansible.builtin.include_role: {name: gb10.vllm.model}
    - gb10.vllm.kv_cache_budget:
        servers: "{{ mounted }}"
        models: "{{ known }}"
        box: {memory: {total_bytes: 128000000000, available_bytes: 120000000000}}
        engine: {vllm_version: 0.32.0}
      register: planned
    - ansible.builtin.copy:
        content: "{{ {'problems': preflight_result.model_problems, 'models': model_result.models, 'args': mounted[0].args,
          'draft': known[draft_config.model].config, 'plan': planned.plan} | to_json }}"
        dest: "%(result)s"
      changed_when: false
"""


@pytest.fixture
def box(tmp_path):
    hub = tmp_path / "hub"
    write_model(tmp_path / "models/base", TINY_LLAMA, list(dense(TINY_LLAMA)))
    write_model(hub / "draft", SPECULATORS, list(dense({**TINY_LLAMA, "num_hidden_layers": 1})))
    (hub / "sql").mkdir()
    (hub / "sql/adapter_config.json").write_text('{"r": 16, "base_model_name_or_path": "acme/base"}')
    (hub / "sql/adapter_model.bin").write_bytes(b"weights")
    (hub / "sql/picture.png").write_bytes(b"picture")
    server = ModelHub({"acme/draft": hub / "draft", "acme/sql": hub / "sql"})
    names = {name: tmp_path / name for name in ("models", "state", "config")}
    (tmp_path / "play.yml").write_text(PLAY % {**names, "hub": server.url, "result": tmp_path / "result.json"})
    yield tmp_path
    server.close()


def run(box):
    done = play(box / "play.yml", cwd=box)
    assert done.returncode == 0, done.stdout[-4000:]
    return json.loads((box / "result.json").read_text()), int(re.search(r"changed=(\d+)", done.stdout).group(1))


def test_they_are_brought_counted_and_named_by_their_places(box):
    seen, changed = run(box)
    assert changed and seen["problems"] == {}
    for name in ("acme/sql", "acme/draft"):
        facts = seen["models"][f"{box}/models/{name}"]
        assert facts["present"] and facts["ours"] and facts["directory"].startswith(f"{box}/models/{name}@"), name
    assert sorted(path.name for path in (box / "models/acme/sql").iterdir() if not path.name.startswith(".")) == ["adapter_config.json", "adapter_model.bin"]
    assert seen["args"]["lora_modules"][0].startswith("sql=/run/gb10-files/") and seen["draft"]["num_hidden_layers"] == 2
    (server,) = seen["plan"]["servers"]
    assert server["verdict"] == "fits" and server["kv_bytes_per_token"] == 4 * 2 * 32 * 2, "two layers of the model, two of its draft"

    again, changed = run(box)
    assert changed == 0 and again["args"] == seen["args"] and again["problems"] == {}
    assert {path: facts.get("manifest") for path, facts in again["models"].items()} == {path: facts.get("manifest") for path, facts in seen["models"].items()}

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A server over several boxes in the role plan, run by Ansible: each box gets its rank, and a run that would deploy is refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import checkpoints
import yaml
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import weights
from playbook import LOCAL, ROOT, play

GIB = 2**30
TINY = checkpoints.TINY_LLAMA
MODEL = checkpoints.golden_weights()["Llama-3.1-70B", 1]["config"]
FACTS = {"present": True, "config": MODEL, "weights": weights.summarise(checkpoints.dense(MODEL), MODEL), "kind": "chat", "layout": "hf", "manifest": "m"}
TINY_FACTS = {**FACTS, "config": TINY, "weights": weights.summarise(checkpoints.dense(TINY), TINY)}
PLAY = """
- hosts: gb10
  gather_facts: false
  any_errors_fatal: true
  tasks:
    - name: Note what the role preflight notes
      ansible.builtin.set_fact:
        preflight_servers: "{{ gb10_servers | gb10.vllm.servers('/m') + gb10_servers | gb10.vllm.server_groups('/m', inventory_hostname) }}"
    - name: Compute what fits
      ansible.builtin.include_role: {name: gb10.vllm.plan, rolespec_validate: false}
    - name: Show the plan
      gb10.vllm.show:
        plans: "{{ dict(ansible_play_hosts | zip(ansible_play_hosts | map('extract', hostvars, 'plan_result') | map(attribute='plan'))) }}"
        directory: "{{ playbook_dir }}"
      run_once: true
    - name: Refuse
      ansible.builtin.include_role: {name: gb10.vllm.plan, tasks_from: planned_only, rolespec_validate: false}
      when: deploy | default(false)
"""


def run(folder: Path, servers: list[dict], boxes: tuple[str, ...] = ("zero", "one", "two", "three"), **variables) -> tuple[int, str]:
    hosts = {}
    for number, name in enumerate(boxes):
        memory = {"total_bytes": int(121.69 * GIB), "available_bytes": (112 - number) * GIB, "cuda_total_bytes": int(121.69 * GIB)}
        box = {"memory": memory, "docker": {"images": {}, "containers": []}, "servers": {}, "holders": [], "named": {}, "architecture": "aarch64"}
        seen = {"box": box, "models": {"/m/llama": FACTS, "/m/small": TINY_FACTS}, "model_problems": {}}
        hosts[name] = {"preflight_result": seen, **yaml.safe_load("{" + LOCAL + "}")}
    common = {"gb10_servers": servers, "gb10_image": {"vllm_version": "0.33.0"}, **variables}
    (folder / "hosts.json").write_text(json.dumps({"gb10": {"hosts": hosts, "vars": common}}))
    (folder / "play.yml").write_text(PLAY)
    done = play(folder / "play.yml", "-i", "hosts.json", cwd=folder)
    return done.returncode, " ".join(done.stdout.split())


BIG = {"name": "big", "model": "llama", "boxes": ["two", "one"], "max_model_len": 32768}
SMALL = {"name": "other", "model": "small", "port": 8001, "boxes": ["three", "one"]}


def test_each_box_gets_its_rank_and_a_run_that_would_deploy_ends(tmp_path):
    rc, output = run(tmp_path, [BIG, SMALL], deploy=True)
    plans = json.loads((tmp_path / "gb10-plan.json").read_text())
    ranks = {(name, entry["name"]): entry["rank"]["number"] for name in plans for entry in plans[name]["servers"]}
    assert ranks == {("one", "big"): 1, ("two", "big"): 0, ("three", "other"): 0, ("one", "other"): 1}, output
    assert len({entry["kv_cache_bytes"] for name in ("one", "two") for entry in plans[name]["servers"] if entry["name"] == "big"}) == 1
    assert "big 1/2" in output
    assert rc != 0 and "big, other: a server over several boxes (`boxes`) is planned only in this release" in output


def test_a_run_that_would_deploy_is_refused_before_the_phase_supply():
    (plan,) = yaml.safe_load((ROOT / "playbooks" / "plan.yml").read_text())
    (refusal,) = [task for task in plan["tasks"] if (task.get("ansible.builtin.include_role") or {}).get("tasks_from") == "planned_only"]
    assert refusal["when"] == "model is not defined and not plan_in_full | default(true) and not ansible_check_mode"
    site = yaml.safe_load((ROOT / "playbooks" / "site.yml").read_text())
    assert site[0]["ansible.builtin.import_playbook" if "ansible.builtin.import_playbook" in site[0] else "import_playbook"] == "gb10.vllm.plan"
    assert site[0]["vars"] == {"plan_in_full": False}

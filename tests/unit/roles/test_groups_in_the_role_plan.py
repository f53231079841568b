# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A server over several boxes in the role plan, run by Ansible: each box gets its rank and is told where the others are."""

from __future__ import annotations

import json
from pathlib import Path

import checkpoints
import yaml
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import weights
from playbook import LOCAL, play

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
    - name: Show where they meet
      ansible.builtin.copy: {content: "{{ plan_shared.places | to_json }}", dest: "{{ playbook_dir }}/places.json", mode: "0644"}
      run_once: true
"""
# One box held the image and planned with its engine; the other one got it since.
AGAIN = """
- hosts: gb10
  gather_facts: false
  any_errors_fatal: true
  tasks:
    - name: Plan again where the engine is another one than planned with
      ansible.builtin.include_role: {name: gb10.vllm.plan, tasks_from: again, rolespec_validate: false}
      vars: {plan_images: {vllm-node: {vllm_version: 0.33.0+cpu, id: "sha256:2"}}, plan_outdated: "{{ inventory_hostname == 'two' }}"}
      when: inventory_hostname == 'two' or plan_inputs is defined
    - name: Show the arguments
      ansible.builtin.copy: {content: "{{ plan_result.plan.servers | to_json }}", dest: "{{ playbook_dir }}/{{ inventory_hostname }}.json", mode: "0644"}
"""


def cabled(number: int) -> dict[str, list[str]]:
    return {"enp1s0f0np0": [f"192.168.177.{number + 10}/24"]}


def run(folder: Path, servers: list[dict], boxes: tuple[str, ...] = ("zero", "one", "two", "three"), fabric=cabled, then="", **variables) -> tuple[int, str]:
    hosts = {}
    for number, name in enumerate(boxes):
        memory = {"total_bytes": int(121.69 * GIB), "available_bytes": (112 - number) * GIB, "cuda_total_bytes": int(121.69 * GIB)}
        box = {"memory": memory, "docker": {"images": {}, "containers": []}, "servers": {}, "holders": [], "named": {}, "architecture": "aarch64"}
        held = {"enP7s7": [f"192.168.1.{number + 10}/24"], **fabric(number), "docker0": ["172.17.0.1/16"]}
        box["network"] = {"addresses": held, "came": "enP7s7", "hcas": {"rocep1s0f0": "enp1s0f0np0"} if fabric(number) else {}, "infiniband": True}
        seen = {"box": box, "models": {"/m/llama": FACTS, "/m/small": TINY_FACTS}, "model_problems": {}}
        hosts[name] = {"preflight_result": seen, **yaml.safe_load("{" + LOCAL + "}")}
    common = {"gb10_servers": servers, "gb10_image": {"vllm_version": "0.33.0"}, **variables}
    (folder / "hosts.json").write_text(json.dumps({"gb10": {"hosts": hosts, "vars": common}}))
    (folder / "play.yml").write_text(PLAY + then)
    done = play(folder / "play.yml", "-i", "hosts.json", cwd=folder)
    return done.returncode, " ".join(done.stdout.split())


BIG = {"name": "big", "model": "llama", "boxes": ["two", "one"], "max_model_len": 32768}
SMALL = {"name": "other", "model": "small", "port": 8001, "boxes": ["three", "one"]}


def test_each_box_gets_its_rank_and_knows_where_the_others_are(tmp_path):
    rc, output = run(tmp_path, [BIG, SMALL])
    assert rc == 0, output
    plans = json.loads((tmp_path / "gb10-plan.json").read_text())
    ranks = {(name, entry["name"]): entry["rank"]["number"] for name in plans for entry in plans[name]["servers"]}
    assert ranks == {("one", "big"): 1, ("two", "big"): 0, ("three", "other"): 0, ("one", "other"): 1}, output
    assert len({entry["kv_cache_bytes"] for name in ("one", "two") for entry in plans[name]["servers"] if entry["name"] == "big"}) == 1
    assert "big 1/2" in output
    places = json.loads((tmp_path / "places.json").read_text())
    assert {box: place["address"] for box, place in places["big"].items()} == {"two": "192.168.177.12", "one": "192.168.177.11"}
    assert places["big"]["one"]["hcas"] == ["rocep1s0f0"] and places["big"]["one"]["infiniband"]


def test_boxes_without_a_common_network_are_refused_before_anything_changes(tmp_path):
    apart = [{"enP7s7": [f"10.{number}.0.1/24"]} for number in range(4)]
    rc, output = run(tmp_path, [BIG | {"boxes": ["zero", "one"]}], fabric=apart.__getitem__)
    assert rc != 0 and "server big: there is no network that all of its boxes are in (zero has 10.0.0.1/24" in output
    assert "Nothing was changed." in output


def test_all_boxes_of_a_server_plan_again_where_one_of_them_has_to(tmp_path):
    rc, output = run(tmp_path, [BIG], boxes=("one", "two", "three"), then=AGAIN)
    assert rc == 0, output
    ranks = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "two", "three")}
    assert ranks["three"] == [], "it has no part in the server"
    flags = {name: {one["flag"]: one["value"] for one in ranks[name][0]["flags"]} for name in ("one", "two")}
    own = ("--node-rank", "--headless")
    assert len({json.dumps({flag: value for flag, value in one.items() if flag not in own}, sort_keys=True) for one in flags.values()}) == 1, flags

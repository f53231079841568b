# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What plan says of servers that an earlier release deployed, and what replaces them; the role's own tasks on facts as box_info returns them."""

from __future__ import annotations

import json

import fleet_boxes
import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.deployment import spec_of
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.work import work_order
from playbook import LOCAL, play

PLAYBOOK = """
- hosts: boxes
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {name: gb10.vllm.fleet, tasks_from: kept, rolespec_validate: false}
    - ansible.builtin.include_role: {name: gb10.vllm.fleet, tasks_from: lacking, rolespec_validate: false}
    - ansible.builtin.debug: {msg: "create={{ server_orders.devstral.create }} {{ server_orders.devstral.reason }}"}
"""
SETTINGS = {**fleet_boxes.SETTINGS, "shm_gib": 8.0}


def given(box):
    server = fleet_boxes.server()
    return {
        "wanted": server, "plan": {"servers": [{**fleet_boxes.planned(server), "name": "devstral"}]}, "box": box, "unit_text": "", "settings": SETTINGS,
        "image": {"id": fleet_boxes.IMAGE, "name": "vllm-node", "vllm_version": "0.32.0"}, "options": {"history": 5, "repair": True},
        "models": {server["model_path"]: {"manifest": fleet_boxes.MANIFEST, "names": []}},
    }  # fmt: skip


@pytest.fixture
def site(tmp_path):
    fresh = work_order(given(fleet_boxes.box()))["deployment"]
    container = {key: value for key, value in fresh["container"].items() if key not in ("pids_limit", "oom_score_adj", "read_only", "tmpfs")}
    old = {**fresh, "container": container, "spec": spec_of(container, fresh["manifest"])}
    hosts = {}
    for name, one in (("spark-1", old), ("spark-2", fresh)):
        box = fleet_boxes.box(one)
        box["docker"]["images"]["vllm-node"]["vllm_version"] = "0.32.0"
        known = given(box)
        hosts[name] = {"preflight_result": {"box": box}, "plan_result": {"plan": known["plan"]}, "plan_models": {"models": known["models"]}}
    text = ", ".join(f"{name}: {{{LOCAL}, {json.dumps(facts)[1:-1]}}}" for name, facts in hosts.items())
    (tmp_path / "hosts.yml").write_text(f"boxes: {{hosts: {{{text}}}}}\n")
    (tmp_path / "play.yml").write_text(PLAYBOOK)
    return tmp_path


def run(site, **variables):
    done = play(
        "play.yml",
        "-i",
        "hosts.yml",
        "-e",
        json.dumps({"gb10_servers": [{"name": "devstral", "model": "devstral-24b"}], **variables}),
        cwd=site,
        ANSIBLE_DISPLAY_SKIPPED_HOSTS="false",
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_it_names_what_is_lacking_and_replaces_nothing(site):
    told = run(site)
    assert "spark-1 devstral still lacks: " in told and "a bound on its processes" in told
    assert "; applied at its next replacement, or now with -e gb10_replan=true." in told
    assert "spark-2 devstral still lacks" not in told and told.count("create=False unchanged") == 2


def test_replan_replaces_what_lacks_something_and_nothing_else(site):
    told = run(site, gb10_replan=True)
    assert "still lacks" not in told and told.count("create=False unchanged") == 1
    assert "create=True its pids_limit, oom_score_adj, read_only, tmpfs changed" in told


def test_a_root_that_stays_writable_by_wish_is_not_called_lacking(site):
    told = run(site, gb10_read_only=False)
    assert "still lacks: a bound on its processes" in told and "root file system" not in told


LOST = """
- hosts: spark-1
  gather_facts: false
  vars: {run_is_locked: true, gb10_state_dir: "{{ inventory_dir }}/state"}
  tasks:
    - gb10.vllm.run_lock: {state_dir: "{{ gb10_state_dir }}"}
      when: first | default(false)
    - ansible.builtin.file: {path: "{{ gb10_state_dir }}/run.lock", state: absent}
    - ansible.builtin.include_role: {name: gb10.vllm.server, tasks_from: serve}
      vars: {server_wanted: "{{ server_servers[0] }}"}
    - ansible.builtin.debug: {msg: "{{ server_failures | join }}"}
"""


@pytest.mark.parametrize("first", [True, False])
def test_a_run_that_lost_its_lock_replaces_nothing_and_puts_nothing_back(site, first):
    """Somebody deleted the lock. Nothing but the question whose it is reaches the box, which is this machine."""
    (site / "play.yml").write_text(LOST)
    told = " ".join(run(site, gb10_replan=True, first=first).split())
    assert "the lock of this run on this box is lost: another run has had it since, or somebody deleted it" in told
    assert "Nothing could be put back there." in told
    assert "Stop what runs" not in told and "Start again what served before" not in told and "Write the records" not in told

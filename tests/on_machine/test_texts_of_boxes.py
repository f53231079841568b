# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A text that a box said is no template for the controller, also when a decision has made a new text of it (as roles/server/tasks/serve.yml does)."""

from __future__ import annotations

import json

import pytest
from fleet_boxes import IMAGE, MANIFEST, SETTINGS, deployed, planned, server
from playbook import LOCAL, play

PLAYBOOK = """
- hosts: boxes
  gather_facts: false
  tasks:
    - ansible.builtin.command: {argv: [cat, "{{ said }}"]}
      register: from_box
    - ansible.builtin.set_fact:
        decision: >-
          {{ asked | combine({'record': from_box.stdout | from_json}) | gb10.vllm.deployment_decision }}
    - name: "Create the container: {{ reason }}"
      ansible.builtin.debug: {msg: "It would be created: {{ reason }}"}
      vars:
        reason: "{{ decision.reason if not own | default('') else own }}"
"""


@pytest.mark.parametrize("own", [False, True])
def test_a_text_of_a_box_is_not_evaluated_on_the_controller(tmp_path, own):
    """``own``: the same text as the controller's user wrote it, which Ansible evaluates, as the test has to see."""
    evil = f"{{{{ lookup('ansible.builtin.pipe', 'touch {tmp_path}/ran; echo ran') }}}}"
    one, record = server(), deployed()
    record["inputs"], record["container"]["command"] = "another", ["vllm", evil]
    (tmp_path / "said.json").write_text(json.dumps(record))
    containers = [{"name": "gb10-vllm-devstral", "labels": {"gb10.vllm.spec": "another"}}]
    asked = {"server": one, "planned": planned(one), "image": {"id": IMAGE, "name": "i"}, "manifest": MANIFEST, "settings": SETTINGS}
    given = {"said": f"{tmp_path}/said.json", "asked": {**asked, "containers": containers}}
    (tmp_path / "hosts.yml").write_text(f"boxes: {{hosts: {{spark-01: {{{LOCAL}}}}}}}\n")
    (tmp_path / "play.yml").write_text(PLAYBOOK)
    done = play("play.yml", "-i", "hosts.yml", "-e", json.dumps({**given, "own": evil} if own else given), cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert own or "lookup('ansible.builtin.pipe'" in done.stdout, "the text itself is in what is shown"
    assert (tmp_path / "ran").exists() is own

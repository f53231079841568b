# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role's own expressions choose another box than the one whose image Docker cannot read, and say so. Nothing here needs Docker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from playbook import LOCAL, play

DAMAGED = {"id": "sha256:1", "identity": "i", "damaged": "file integrity checksum failed"}
SOUND = {"id": "sha256:1", "identity": "i"}
CHOOSE = """
- hosts: boxes
  gather_facts: false
  tasks:
    - ansible.builtin.set_fact:
        preflight_result: {box: {docker: {images: "{{ held[inventory_hostname] }}"}}}
    - ansible.builtin.import_role: {name: gb10.vllm.distribution, tasks_from: choose}
    - ansible.builtin.debug: {msg: "{{ inventory_hostname }} builds"}
      when: distribution_here
"""


@pytest.mark.parametrize(
    ("held", "builds", "said"),
    [
        ({"a": SOUND, "b": {}, "c": {}}, "a", None),
        ({"a": {}, "b": {}, "c": {}}, "a", None),
        ({"a": DAMAGED, "b": {}, "c": SOUND}, "c", "c, which has the same image, sends it instead."),
        ({"a": DAMAGED, "b": {}, "c": {}}, "b", "no other box has that image, so b makes it again."),
    ],
)
def test_another_box_is_chosen(tmp_path, held, builds, said):
    name = "office.example/ai/vllm:1.2"
    (tmp_path / "hosts.yml").write_text("boxes: {hosts: {" + ", ".join(f"{host}: {{{LOCAL}}}" for host in held) + "}}\n")
    (tmp_path / "play.yml").write_text(CHOOSE)
    given = {"held": {host: {name: image} if image else {} for host, image in held.items()}, "gb10_image": {"name": name}}
    done = play("play.yml", "-i", "hosts.yml", "-e", json.dumps(given), cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    text = " ".join(done.stdout.split())
    assert [host for host in held if f"{host} builds" in text] == [builds]
    assert (said in text) if said else ("cannot read its copy" not in text)


NOTES = ("Note that Docker on this box", "Note which box stands in", "Refuse to go on", "Say which box stands in")


@pytest.mark.parametrize(
    ("has", "arrived", "said"),
    [
        ({"a": "sha256:1", "b": "sha256:1", "c": ""}, True, "b, which has the same image, sends it instead."),
        ({"a": "sha256:1", "b": "", "c": ""}, False, "no other box has that image, so b makes it again."),
    ],
)
@pytest.mark.parametrize("few_forks", [False, True])
def test_what_a_transfer_found_out_is_said_at_once(tmp_path, has, arrived, said, few_forks):
    """The tasks of send.yml behind the transfer; a box that only gives answers in the task before it where forks are few."""
    tasks = yaml.safe_load((Path(__file__).parents[2] / "roles/distribution/tasks/send.yml").read_text())
    skipped, gave = {"skipped": True, "changed": False}, {"changed": False, "shares": {"image": {"damaged": "layer does not exist"}}}
    took = {"changed": True, "shares": {"image": {"image_id": "sha256:1"}}} if arrived else {"failed": True, "msg": "c: vllm-node did not arrive"}
    facts = {
        "a": {"__distribution_offered": gave if few_forks else skipped, "__distribution_transferred": skipped if few_forks else gave},
        "b": {"__distribution_offered": skipped, "__distribution_transferred": skipped},
        "c": {"__distribution_offered": skipped, "__distribution_transferred": took},
    }
    for known in facts.values():
        known |= {
            "__distribution_opened": {"changed": False},
            "distribution_boxes": {one: {"image": {"name": "vllm-node", "id": has[one], "identity": "i" * bool(has[one])}} for one in has},
        }
    (tmp_path / "roles/said/tasks").mkdir(parents=True)
    (tmp_path / "roles/said/tasks/main.yml").write_text(yaml.safe_dump([task for task in tasks if task["name"].startswith(NOTES)]))
    begin = [{"ansible.builtin.set_fact": {key: f"{{{{ known[inventory_hostname].{key} }}}}"}} for key in facts["a"]]
    groups = [{"key": "image", "places": dict.fromkeys(has, "vllm-node"), "maker": "a"}]
    names = {"distribution_images": groups, "distribution_settings": {"source": "auto"}}
    playbook = [
        {"hosts": "boxes", "gather_facts": False, "any_errors_fatal": True, "vars": names, "tasks": [*begin, {"ansible.builtin.import_role": {"name": "said"}}]}
    ]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(playbook, sort_keys=False))
    (tmp_path / "hosts.yml").write_text("boxes: {hosts: {" + ", ".join(f"{host}: {{{LOCAL}}}" for host in has) + "}}\n")
    done = play("play.yml", "-i", "hosts.yml", "-e", json.dumps({"known": facts}), cwd=tmp_path)
    assert (done.returncode == 0) is arrived, done.stdout
    text = " ".join(done.stdout.split())
    assert f"Docker on a cannot read its copy of vllm-node any more (layer does not exist): {said}" in text
    if not arrived:
        assert "c: vllm-node did not arrive. The other boxes have what reached them" in text

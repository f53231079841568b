# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's disk is full when the lock file is written: what was locked stays, the run says so, and the boxes are given back."""

from __future__ import annotations

import json
import os
import subprocess

import fleet_boxes
import pytest
from playbook import LOCAL, play

PLAYBOOK = """
- hosts: boxes
  gather_facts: false
  tasks:
    - block:
        - gb10.vllm.run_lock: {state_dir: "{{ gb10_state_dir }}"}
        - ansible.builtin.include_role: {name: gb10.vllm.fleet, tasks_from: lock, rolespec_validate: false}
      rescue:
        - ansible.builtin.include_role: {name: gb10.vllm.fleet, tasks_from: unlock}
    - gb10.vllm.run_lock: {state_dir: "{{ gb10_state_dir }}", state: absent}
"""


@pytest.fixture
def site(tmp_path):
    if os.geteuid():
        pytest.skip("only root mounts a small disk")
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], check=True)
    (tmp_path / "play.yml").write_text(PLAYBOOK)
    yield tmp_path
    subprocess.run(["umount", str(small)], check=True)


def run(site, kv_tokens):
    """Write the lock file of a fleet whose only server has measured so many tokens."""
    box = fleet_boxes.box(fleet_boxes.deployed())
    box["servers"]["devstral"]["measured"]["facts"]["kv_tokens"] = kv_tokens
    facts = json.dumps({"preflight_result": {"box": box}})[1:-1]
    (site / "hosts.yml").write_text(f"boxes: {{hosts: {{spark-1: {{{LOCAL}, gb10_state_dir: {site}/state, {facts}}}}}}}\n")
    extra = {"gb10_lock_file": str(site / "small" / "gb10.lock.yml"), "gb10_hosts": "boxes", "gb10_servers": []}
    return play("play.yml", "-i", "hosts.yml", "-e", json.dumps(extra), cwd=site)


def test_a_lock_file_that_cannot_be_written_stays_as_it_was(site):
    lock, ballast = site / "small" / "gb10.lock.yml", site / "small" / "ballast"
    assert run(site, 4711).returncode == 0
    before = lock.read_text()
    assert "4711" in before
    with ballast.open("wb", buffering=0) as stream:
        try:
            while stream.write(bytes(4096)):
                pass
        except OSError:
            pass
    done = run(site, 8150)
    assert done.returncode == 2 and "No space left on device" in done.stdout, done.stdout
    assert lock.read_text() == before
    assert not (site / "state" / "run.lock").exists(), "the box is given back"
    ballast.unlink()
    assert run(site, 8150).returncode == 0 and "8150" in lock.read_text()

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One call reads a box, its models and takes its lock: real ansible-playbook processes, this machine as the box."""

from __future__ import annotations

import json
import time

import checkpoints
import pytest
from playbook import LOCAL, play

PLAYBOOK = """
- hosts: boxes
  gather_facts: false
  tasks:
    - gb10.vllm.box_info: {state_dir: "{{ state }}", models: "{{ models }}", allow_missing: "{{ missing | default(true) }}", lock: "{{ lock | default(true) }}"}
      register: seen
    - ansible.builtin.copy: {content: "{{ seen | to_json }}", dest: "{{ out }}"}
      check_mode: false
"""
CONFIG = checkpoints.TINY_LLAMA


@pytest.fixture
def site(tmp_path):
    (tmp_path / "hosts.yml").write_text(f"boxes: {{hosts: {{spark-01: {{{LOCAL}}}}}}}\n")
    (tmp_path / "play.yml").write_text(PLAYBOOK)
    checkpoints.write_model(tmp_path / "tiny", CONFIG, list(checkpoints.dense(CONFIG)))
    return tmp_path


def read(site, *words, **extra):
    variables = {"state": str(site / "state"), "models": [str(site / "tiny"), str(site / "none")], "out": str(site / "out.json"), **extra}
    done = play("play.yml", "-i", "hosts.yml", "-e", json.dumps(variables), *words, cwd=site)
    return done, json.loads((site / "out.json").read_text()) if done.returncode == 0 else {}


def test_the_lock_is_taken_before_the_box_and_its_models_are_read(site):
    done, seen = read(site)
    assert done.returncode == 0, done.stdout
    assert seen["changed"] is False and seen["lock"]["acquired"] and (site / "state" / "run.lock").exists()
    assert seen["box"]["cpu_features"].keys() == {"cpu_amx", "cpu_avx512_bf16"}
    assert seen["models"][str(site / "tiny")]["architecture"] == "LlamaForCausalLM"
    assert seen["models"][str(site / "none")] == {"present": False, "path": str(site / "none")}
    assert seen["model_problems"] == {}
    again, seen = read(site, missing=False)
    assert again.returncode == 0 and "spark-01: took over the lock of" in again.stdout
    assert "does not exist" in seen["model_problems"][str(site / "none")] and list(seen["models"]) == [str(site / "tiny")]


@pytest.mark.parametrize(("words", "lock"), [(["--check"], True), ([], False)])
def test_a_box_is_read_without_a_lock_and_in_check_mode(site, words, lock):
    done, seen = read(site, *words, lock=lock)
    assert done.returncode == 0, done.stdout
    assert "lock" not in seen and seen["box"]["hostname"] and seen["models"][str(site / "tiny")]["present"]
    assert not (site / "state").exists()


def test_a_box_that_another_run_changes_is_not_read(site):
    (site / "state").mkdir()
    holder = {"run": "feed", "owner": "ben@desk", "controller": {"machine": "x@desk", "boot_id": "b", "pid": 1}, "ttl_s": 3600, "acquired_at": time.time()}
    (site / "state" / "run.lock").write_text(json.dumps(dict(holder, refreshed_at=time.time())))
    done, _seen = read(site)
    assert done.returncode == 2 and "spark-01 is being changed by ben@desk" in done.stdout and "run again" in done.stdout


def test_what_of_the_host_is_not_as_wanted_is_read_with_the_box(site):
    (site / "play.yml").write_text(PLAYBOOK.replace("lock:", 'host: "{{ host }}", lock:'))
    done, seen = read(site, lock=False, host={"held": {"state": "present", "packages": ["dpkg"]}})
    assert done.returncode == 0, done.stdout
    assert len(seen["host"]) == 1 and seen["host"][0].startswith("apt-mark hold ") and "dpkg" in seen["host"][0].split()
    done, seen = read(site, lock=False, host={"held": {"state": "present", "packages": ["no-such-package"]}})
    assert seen["host"] == [] and "names no-such-package, which is not installed" in seen["findings"][0]["text"]

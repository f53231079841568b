# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two controllers, one box: real ansible-playbook processes, this machine as the box."""

from __future__ import annotations

import json
import os
import time

import pytest
from fake_docker import FakeDocker
from playbook import LOCAL, play, start

PLAYBOOK = """
- hosts: boxes
  gather_facts: false
  tasks:
    - gb10.vllm.run_lock: {state_dir: "{{ state }}", ttl_s: "{{ ttl | default(60) }}"}
    - ansible.builtin.wait_for: {path: "{{ state }}/go"}
      when: waits | default(false) | bool
      delegate_to: localhost
    - gb10.vllm.run_lock: {state_dir: "{{ state }}", state: absent}
      when: not (keeps | default(false) | bool)
"""


@pytest.fixture
def site(tmp_path):
    (tmp_path / "hosts.yml").write_text(f"boxes: {{hosts: {{spark-01: {{{LOCAL}}}}}}}\n")
    (tmp_path / "play.yml").write_text(PLAYBOOK)
    return tmp_path


def arguments(site, **extra):
    return ["-i", "hosts.yml", "-e", json.dumps({"state": str(site / "state"), **extra})]


def test_a_second_run_is_refused_while_the_first_is_at_work(site):
    first = start("play.yml", *arguments(site, waits=True), cwd=site)
    lock = site / "state" / "run.lock"
    for _try in range(300):
        if lock.exists():
            break
        time.sleep(0.1)
    holder = json.loads(lock.read_text())
    second = play("play.yml", *arguments(site), cwd=site)
    (site / "state" / "go").write_text("")
    output, _none = first.communicate(timeout=60)
    assert first.returncode == 0, output
    assert second.returncode == 2
    assert f"spark-01 is being changed by {holder['owner']} since" in second.stdout and f"(run {holder['run']})" in second.stdout
    assert not lock.exists()
    assert "changed=0" in output


def test_a_run_that_ended_here_without_releasing_is_taken_over_with_a_warning(site):
    assert play("play.yml", *arguments(site, keeps=True), cwd=site).returncode == 0
    again = play("play.yml", *arguments(site), cwd=site)
    assert again.returncode == 0, again.stdout
    assert "spark-01: took over the lock of" in again.stdout and "which has ended without giving it back" in again.stdout
    assert not (site / "state" / "run.lock").exists()


def test_another_controllers_lock_holds_until_it_is_too_old(site):
    state = site / "state"
    state.mkdir()
    holder = {"run": "feed", "owner": "ben@desk", "controller": {"machine": "x@desk", "boot_id": "b", "pid": 1}, "ttl_s": 3600, "acquired_at": time.time()}
    (state / "run.lock").write_text(json.dumps(dict(holder, refreshed_at=time.time())))
    refused = play("play.yml", *arguments(site), cwd=site)
    assert refused.returncode == 2 and "is being changed by ben@desk" in refused.stdout
    (state / "run.lock").write_text(json.dumps(dict(holder, refreshed_at=time.time() - 3601)))
    taken = play("play.yml", *arguments(site), cwd=site)
    assert taken.returncode == 0 and "too old to be still at work" in taken.stdout


def test_check_mode_leaves_nothing_on_the_box(site):
    checked = play("play.yml", *arguments(site), "--check", cwd=site)
    assert checked.returncode == 0, checked.stdout
    assert not (site / "state").exists()


BATCHES = """
- hosts: boxes
  gather_facts: false
  tasks:
    - gb10.vllm.run_lock: {state_dir: "{{ gb10_state_dir }}"}
- hosts: boxes
  gather_facts: false
  serial: 1
  max_fail_percentage: 0
  tasks:
    - block:
        - ansible.builtin.assert: {that: inventory_hostname != 'spark-02', fail_msg: It did not come up.}
        - gb10.vllm.run_lock: {state_dir: "{{ gb10_state_dir }}", state: absent}
      rescue:
        - ansible.builtin.include_role: {name: gb10.vllm.fleet, tasks_from: unlock}
"""


def test_a_batch_that_fails_gives_back_the_boxes_whose_turn_never_comes(site):
    boxes = [f"spark-{number:02}" for number in (1, 2, 3)]
    hosts = ", ".join(f"{box}: {{{LOCAL}, gb10_state_dir: {site}/{box}}}" for box in boxes)
    (site / "hosts.yml").write_text(f"boxes: {{hosts: {{{hosts}}}}}\n")
    (site / "play.yml").write_text(BATCHES)
    done = play("play.yml", "-i", "hosts.yml", cwd=site)
    assert done.returncode == 2, done.stdout
    assert done.stdout.count("It did not come up.") >= 2
    assert [(site / box / "run.lock").exists() for box in boxes] == [False, False, False]


LONG = """
- hosts: boxes
  gather_facts: false
  environment: {PATH: "{{ path }}"}
  tasks:
    - gb10.vllm.run_lock: {state_dir: "{{ state }}", ttl_s: 6}
    - gb10.vllm.image_build: {name: image, source: prebuilt, image: "there/image:1", state_dir: "{{ state }}", retries: 0, min_free_gib: 0}
      failed_when: false
      register: done
    - ansible.builtin.debug: {msg: "{{ done.msg }}"}
    - ansible.builtin.wait_for: {path: "{{ state }}/go"}
      delegate_to: localhost
    - gb10.vllm.run_lock: {state_dir: "{{ state }}", held: true}
    - ansible.builtin.file: {path: "{{ state }}/changed-more", state: touch, mode: "0644"}
"""


def wait_for(path):
    for _try in range(300):
        if path.exists():
            return
        time.sleep(0.1)
    raise AssertionError(f"{path} did not come")


def test_a_lock_outlives_long_work_and_one_that_is_lost_stops_the_run(site):
    """It lasts for six seconds; the work takes longer. When the first run is held up after it, the second one gets the box."""
    docker = FakeDocker(site / "bin")
    docker.answer("'pull '*", f"touch {site}/pulling; sleep 20; echo 'no such image there' >&2; exit 1")
    (site / "long.yml").write_text(LONG)
    path = os.pathsep.join([str(docker.path.parent), os.environ["PATH"]])
    first = start("long.yml", *arguments(site, path=path), cwd=site)
    wait_for(site / "pulling")
    time.sleep(8)
    refused = play("play.yml", *arguments(site), cwd=site)
    assert refused.returncode == 2 and "is being changed by" in refused.stdout, refused.stdout
    for _try in range(60):
        taken = play("play.yml", *arguments(site, ttl=60), cwd=site)
        if taken.returncode == 0:
            break
        time.sleep(0.5)
    assert "which is too old to be still at work" in taken.stdout, "the first run follows nothing any more and was not seen for that long"
    (site / "state" / "go").write_text("")
    output, _none = first.communicate(timeout=60)
    assert "no such image there" in output, "the work itself came to its own end"
    assert first.returncode == 2 and "the lock of this run on this box is lost" in output and "changes nothing more there" in output, output
    assert not (site / "state" / "changed-more").exists()

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The summary at the end of real runs."""

from __future__ import annotations

import re

import pytest
from playbook import LOCAL, play

PLAYBOOK = """
- name: Plan
  hosts: boxes
  gather_facts: false
  tasks:
    - name: Show it
      gb10.vllm.show: {text: planned}
    - name: "Change {{ inventory_hostname }}"
      ansible.builtin.command: "true"
    - name: A failure that is dealt with
      block:
        - name: Start
          ansible.builtin.fail: {msg: first try}
      rescue:
        - name: Start differently
          ansible.builtin.command: "true"
- name: Activate
  hosts: boxes
  gather_facts: false
  serial: 1
  max_fail_percentage: 0
  tasks:
    - name: Prove it
      ansible.builtin.assert: {that: inventory_hostname != broken | default(''), fail_msg: "Server a on it did not come up. Because of this. And that."}
- name: Report
  hosts: boxes
  gather_facts: false
  tasks:
    - ansible.builtin.ping:
"""


@pytest.fixture
def site(tmp_path):
    hosts = ", ".join(f"spark-{number}: {{{LOCAL}}}" for number in (1, 2, 3))
    (tmp_path / "hosts.yml").write_text(f"boxes: {{hosts: {{{hosts}}}}}\n")
    (tmp_path / "play.yml").write_text(PLAYBOOK)
    (tmp_path / "other.yml").write_text("- hosts: boxes\n  gather_facts: false\n  tasks: [{ansible.builtin.ping: {}}]\n")
    return tmp_path


def told(site, *arguments, playbook="play.yml"):
    done = play(playbook, "-i", "hosts.yml", *arguments, cwd=site, ANSIBLE_CALLBACKS_ENABLED="gb10.vllm.summary")
    assert "Traceback" not in done.stdout and "WARNING" not in done.stdout, done.stdout
    return done, done.stdout.rpartition("GB10 *")[2].splitlines()[1:]


def test_a_good_run(site):
    done, lines = told(site)
    assert done.returncode == 0, done.stdout
    assert lines[0] == "3 boxes: 3 ok"
    assert [line.split()[:5] for line in lines[1:4]] == [["ok", f"spark-{number}", "Report", "changed", "2"] for number in (1, 2, 3)]
    assert re.fullmatch(r"  Plan \d+ s, Activate \d+ s, Report \d+ s; in all \d+ s", lines[4])


def test_a_batch_that_fails(site):
    done, lines = told(site, "-e", "broken=spark-2")
    assert done.returncode != 0
    assert lines[0] == "3 boxes: 1 failed, 1 held back, 1 ok; the run stopped in phase Activate"
    assert lines[1].split()[:3] == ["FAILED", "spark-2", "Activate"]
    assert lines[2] == "      Prove it: Server a on it did not come up. Because of this."
    assert lines[3].split()[:4] == ["held", "back", "spark-3", "Plan"]


def test_a_box_that_is_off(site):
    (site / "hosts.yml").write_text((site / "hosts.yml").read_text().replace("}}}", "}, spark-4: {ansible_host: 127.0.0.1, ansible_port: 1}}}"))
    done, lines = told(site)
    assert lines[0].startswith("4 boxes: 1 unreachable, 3 ok")
    assert lines[1].split()[:2] == ["UNREACHABLE", "spark-4"]
    assert "Connection refused" in lines[2]


OFF = """
- hosts: boxes
  gather_facts: false
  tasks:
    - gb10.vllm.show: {text: planned}
      run_once: true
    - ansible.builtin.fail: {msg: This is why.}
      when: inventory_hostname == 'spark-1'
      ignore_errors: true
    - ansible.builtin.ping:
      ignore_unreachable: true
      delegate_to: away
"""
# As the roles end a run: the failure is told again after the lock was given back.
GONE = """
- hosts: boxes
  gather_facts: false
  tasks:
    - block:
        - gb10.vllm.show: {text: planned}
          run_once: true
        - name: Prove it
          ansible.builtin.fail: {msg: spark-1 has not answered for 90 s.}
          when: inventory_hostname == 'spark-1'
      rescue:
        - ansible.builtin.ping:
          ignore_unreachable: true
          delegate_to: away
        - name: End the run
          tags: [gb10-end-of-run]
          ansible.builtin.fail: {msg: "{{ ansible_failed_result.msg }}"}
"""


def test_what_is_ignored_is_no_trouble(site):
    (site / "off.yml").write_text(OFF)
    (site / "hosts.yml").write_text((site / "hosts.yml").read_text() + "others: {hosts: {away: {ansible_host: 127.0.0.1, ansible_port: 1}}}\n")
    done, lines = told(site, playbook="off.yml")
    assert done.returncode == 0 and lines[0] == "3 boxes: 3 ok"


def test_a_failure_is_told_although_the_box_is_gone_after_it(site):
    (site / "gone.yml").write_text(GONE)
    (site / "hosts.yml").write_text((site / "hosts.yml").read_text() + "others: {hosts: {away: {ansible_host: 127.0.0.1, ansible_port: 1}}}\n")
    _done, lines = told(site, playbook="gone.yml")
    assert lines[0].startswith("3 boxes: 1 failed, 2 ok") and lines[2] == "      Prove it: spark-1 has not answered for 90 s."


def test_nothing_is_said_of_other_playbooks(site):
    done, _lines = told(site, playbook="other.yml")
    assert done.returncode == 0 and "GB10 *" not in done.stdout

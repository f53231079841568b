# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The interpreter that an inventory names is not there or too old: preflight says so in one sentence, this machine as the box."""

from __future__ import annotations

import sys

from playbook import play

PLAYBOOK = """
- hosts: gb10
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {name: gb10.vllm.preflight}
"""
OLD = """#!/bin/sh
cat >/dev/null
printf '  File "<stdin>", line 3\\nSyntaxError: future feature annotations is not defined\\n' >&2
exit 1
"""

OLDER = """
import collections, sys
sys.version_info = collections.namedtuple("version_info", "major minor micro releaselevel serial")(3, 9, 0, "final", 0)
"""


def look(folder, interpreter):
    (folder / "play.yml").write_text(PLAYBOOK)
    box = f"ansible_connection: local, ansible_python_interpreter: {interpreter}, gb10_servers: [{{name: a, model: b}}], gb10_state_dir: {folder}/state"
    (folder / "hosts.yml").write_text(f"gb10: {{hosts: {{spark-01: {{{box}}}}}}}\n")
    done = play("play.yml", "-i", "hosts.yml", cwd=folder, ANSIBLE_PIPELINING="1")
    assert done.returncode == 2, done.stdout
    return " ".join(done.stdout.split())


def test_one_that_is_not_there(tmp_path):
    said = look(tmp_path, "/nowhere/python3")
    assert "spark-01: there is no Python at /nowhere/python3, which ansible_python_interpreter names. Install Python 3.10 or newer" in said


def test_one_that_cannot_even_read_what_ansible_sends(tmp_path):
    old = tmp_path / "python3.6"
    old.write_text(OLD)
    old.chmod(0o755)
    assert f"spark-01: its Python ({old}) is older than 3.10. Install Python 3.10 or newer there" in look(tmp_path, old)


def test_one_that_can_but_is_older_than_3_10(tmp_path):
    """No registry has such a Python for every machine; this one only says that it is."""
    (tmp_path / "sitecustomize.py").write_text(OLDER)
    old = tmp_path / "python3.9"
    old.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    old.chmod(0o755)
    assert "spark-01: this collection needs Python 3.10 or newer, and" in look(tmp_path, old)

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs that would end well and have done nothing, or end in Ansible's words: the playbook itself, as people start it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from sample import every

CHECKOUT = Path(__file__).parents[3]
LOCAL = {"ansible_connection": "local", "ansible_become": False, "ansible_python_interpreter": sys.executable}


def plan(tmp_path, group, *words, **variables):
    return play(tmp_path, "plan", group, *words, **variables)


def play(tmp_path, name, group, *words, **variables):
    inventory = tmp_path / "hosts.yml"
    other = {"hosts": {"elsewhere": LOCAL}}
    inventory.write_text(yaml.safe_dump({group: {"hosts": {"spark-01": {**LOCAL, **variables}}}, "other": other}))
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory), f"gb10.vllm.{name}", *words]
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".ansible" / "collections"),
        "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
        "ANSIBLE_FORCE_COLOR": "0",
    }
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    return done.returncode, " ".join(f"{done.stdout} {done.stderr}".split())


@pytest.mark.parametrize(
    ("group", "words", "variables", "said"),
    [
        ("sparks", [], {}, "No box of the inventory is in the group gb10"),
        ("gb10", ["-e", "gb10_hosts=dgx"], {}, "No box of the inventory is in dgx"),
        ("gb10", ["--tags", "plan"], {}, "The playbooks have no tags to choose by"),
        ("gb10", [], {"gb10_servers": [{"name": "a", "model": "x", "address": "localhost"}]}, "spark-01: gb10_servers entry 1 (a): `address: localhost`"),
        ("gb10", [], {"gb10_servers": None}, "gb10_servers is empty"),
        ("gb10", [], {"gb10_keep": None, "gb10_servers": [{"name": "a", "model": "x"}]}, "spark-01: gb10_keep is empty"),
    ],
)
def test_it_fails_in_one_sentence(tmp_path, group, words, variables, said):
    status, text = plan(tmp_path, group, *words, **variables)
    assert status != 0 and said in text
    assert "Finalization of task args" not in text and "Traceback" not in text and "NoneType" not in text


def first_play(name):
    play = yaml.safe_load((CHECKOUT / "playbooks" / f"{name}.yml").read_text(encoding="utf-8"))[0]
    return first_play(play["import_playbook"].removesuffix(".yml")) if "import_playbook" in play else play


@pytest.mark.parametrize("name", sorted(path.stem for path in (CHECKOUT / "playbooks").glob("*.yml")))
def test_every_playbook_begins_with_the_refusal_and_names_its_boxes_for_it(name):
    play = first_play(name)
    first = play["tasks"][0]
    assert (first["ansible.builtin.import_role"]["name"], first["ansible.builtin.import_role"]["tasks_from"]) == ("gb10.vllm.fleet", "chosen")
    assert "run_boxes" in play["vars"] and "run_boxes" in play["hosts"] or play["hosts"] == "localhost"
    # One that another imports may leave it to the first of them, and to nothing else.
    assert first.get("when", "not run_goes_on | default(false)") == "not run_goes_on | default(false)"


@pytest.mark.parametrize(
    "name",
    every(4, [
        "plan", "supply", "activate", "status", "stop", "rollback", "report", "unbundle", "diagnose", "benchmark", "monitoring", "tune", "fabric", "host",
        "router", "maintain",
    ]),
)  # fmt: skip
def test_every_playbook_that_goes_to_boxes_says_that_there_are_none(tmp_path, name):
    status, text = play(tmp_path, name, "sparks")
    assert status == 2 and "No box of the inventory is in the group gb10, so there is nothing to do." in text
    status, text = play(tmp_path, name, "gb10", "--limit", "elsewhere")
    assert status == 2 and "None of the hosts of --limit elsewhere is in the group gb10, so there is nothing to do." in text
    status, text = play(tmp_path, name, "gb10", "--tags", "some")
    assert status == 2 and "The playbooks have no tags to choose by (--tags)" in text


def test_a_search_on_a_box_that_is_none_says_so(tmp_path):
    status, text = play(tmp_path, "tune", "gb10", "-e", "gb10_tune_box=spark-09")
    assert status == 2 and "gb10_tune_box is spark-09, which is none of the boxes of this run: spark-01. Nothing was changed." in text


def test_a_log_needs_no_box(tmp_path):
    (tmp_path / "some.log").write_text("RuntimeError: CUDA out of memory.\n")
    status, text = play(tmp_path, "diagnose", "sparks", "-e", f"log={tmp_path}/some.log")
    assert status == 0 and "No box" not in text


def test_the_checkouts_playbook_runs_from_any_working_directory(tmp_path):
    clean = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    command = [str(Path(sys.executable).parent / "ansible-playbook"), str(CHECKOUT / "site.yml"), "-i", "spark-01,"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=clean)
    assert done.returncode == 2 and "No box of the inventory is in the group gb10" in " ".join(done.stdout.split()), done.stdout + done.stderr

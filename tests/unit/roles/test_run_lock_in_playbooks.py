# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every playbook that changes boxes takes their lock first, and gives it back however it ends."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
PLAYBOOKS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((ROOT / "playbooks").glob("*.yml"))}
LOCK = "gb10.vllm.run_lock"
# Only looks, or works on the controller.
LOOKS = {"adopt", "plan", "status", "diagnose", "discover", "recipe"}
# Roles, and entries of roles, that change nothing on a box.
HARMLESS = {"gb10.vllm.preflight", "gb10.vllm.plan", ("gb10.vllm.fleet", "observe"), ("gb10.vllm.fleet", "kept"), ("gb10.vllm.fleet", "lacking"),
            ("gb10.vllm.fleet", "lock_file"), ("gb10.vllm.fleet", "locked"), ("gb10.vllm.fleet", "unlock"), ("gb10.vllm.fleet", "chosen"),
            ("gb10.vllm.fleet", "discover"), ("gb10.vllm.fleet", "planned"), ("gb10.vllm.bundle", "refuse")}  # fmt: skip
# Completes what another playbook of the run has locked.
GOES_ON = {"report"}


def whole(name):
    """The plays of a playbook in their order, those of imported ones among them."""
    return [play for one in PLAYBOOKS[name] for play in (whole(one["import_playbook"].removesuffix(".yml")) if "import_playbook" in one else [one])]


def flat(tasks):
    for task in tasks:
        yield task
        for part in ("block", "rescue", "always"):
            yield from flat(task.get(part, []))


def roles(task):
    for kind in ("ansible.builtin.include_role", "ansible.builtin.import_role"):
        if kind in task:
            yield task[kind]["name"], task[kind].get("tasks_from")


def changes(play):
    used = {one for task in flat(play["tasks"]) for one in roles(task)}
    return {one for one in used if one not in HARMLESS and one[0] not in HARMLESS}


def work(play):
    """The tasks of a play after those that refuse a run to no box, or to one that is none of them, and those that leave out the rest."""
    beside = {"ansible.builtin.fail", "ansible.builtin.meta"}
    return [task for task in play["tasks"] if ("gb10.vllm.fleet", "chosen") not in roles(task) and not beside & set(task)]


def takes(task):
    return LOCK in task and task[LOCK].get("state", "present") == "present"


def gives_back(task):
    return (LOCK in task and task[LOCK].get("state") == "absent") or ("gb10.vllm.fleet", "unlock") in roles(task)


def test_it_is_known_of_each_playbook_whether_it_changes_boxes():
    assert {name for name in PLAYBOOKS if not any(map(changes, whole(name)))} == LOOKS


@pytest.mark.parametrize("name", sorted(set(PLAYBOOKS) - LOOKS - GOES_ON))
def test_nothing_changes_a_box_before_it_is_locked(name):
    first = next(play for play in whole(name) if changes(play))
    (block,) = work(first)
    assert takes(block["block"][0]), "the first task takes the lock, in the block whose end gives it back"


@pytest.mark.parametrize("name", sorted(set(PLAYBOOKS) - LOOKS))
def test_it_is_given_back_when_the_playbook_ends_and_when_it_fails(name):
    for play in whole(name):
        if changes(play):
            (block,) = work(play)
            assert any(map(gives_back, [*block.get("rescue", []), *block.get("always", [])])), f"{play['name']} keeps the boxes when it fails"
    (block,) = work([play for play in whole(name) if changes(play)][-1])
    assert any(map(gives_back, [*block["block"], *block.get("always", [])])), "and when all is well"


def test_what_activates_asks_again_before_it_changes_a_box():
    """Once for each box before shared files, once before each server, only where there is something to do."""
    for playbook in ("activate", "rollback"):
        assert PLAYBOOKS[playbook][0]["vars"]["run_is_locked"] is True
    for file in ("activate.yml", "box.yml"):
        tasks = yaml.safe_load((ROOT / "roles/server/tasks" / file).read_text())
        asked = [position for position, task in enumerate(tasks) if task.get(LOCK, {}).get("held") is True]
        reads = {LOCK, "ansible.builtin.debug", "ansible.builtin.import_tasks"}  # what is imported first decides and does nothing
        assert tasks[0].get("ansible.builtin.import_tasks", "order.yml") == "order.yml"
        first = next(position for position, task in enumerate(tasks) if not reads & set(task))
        assert asked and asked[0] < first
    serve = (ROOT / "roles/server/tasks/serve.yml").read_text()
    assert "'activate.yml' if server_order.start else 'prove.yml'" in serve, "in a steady state nobody is asked once more"

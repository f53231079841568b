# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What fails at a router fails for a whole batch, so that each of its boxes is given back; whole runs are in tests/on_machine/test_imitated_router.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from jinja2.nativetypes import NativeEnvironment

ROOT = Path(__file__).parents[3]
CANNOT_FAIL = {"ansible.builtin.set_fact", "ansible.builtin.include_tasks", "ansible.builtin.include_role"}
FILES = [*(ROOT / "roles/router/tasks").glob("*.yml"), *(ROOT / "playbooks" / f"{name}.yml" for name in ("activate", "rollback", "maintain", "router", "stop"))]


def flat(tasks):
    for task in tasks or []:
        yield task
        for part in ("tasks", "block", "rescue", "always"):
            yield from flat(task.get(part))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parents[1].name}/{path.name}")
def test_nothing_that_is_run_once_for_a_batch_fails(path):
    """Ansible fails it for all hosts twice: out of their block, and out of its rescue, which would give them back."""
    once = [task for task in flat(yaml.safe_load(path.read_text())) if task.get("run_once")]
    assert [task["name"] for task in once if not set(task) & CANNOT_FAIL and not task.get("ignore_errors")] == []


def test_the_routers_of_a_status_that_cannot_be_reached_do_not_end_it():
    tasks = yaml.safe_load((ROOT / "roles/fleet/tasks/observe.yml").read_text())
    (ask,) = [task for task in tasks if "gb10.vllm.router_info" in task]
    assert ask["run_once"] and ask["ignore_unreachable"] and ask["ignore_errors"]


def test_what_gives_no_answer_after_a_failure_is_not_used_again():
    (note,) = [task for task in yaml.safe_load((ROOT / "roles/router/tasks/back.yml").read_text()) if task["name"] == "Note which of them answer"]
    results = [
        {"item": {"name": "good"}, "phase": "ready"},
        {"item": {"name": "dead"}, "phase": "failed", "msg": "Would wait for dead to answer"},
        {"item": {"name": "gone"}, "unreachable": True},
    ]
    render = NativeEnvironment().from_string
    asked = list(render(note["vars"]["router_asked"]).render(__router_answers={"results": results}))
    assert list(render(note["vars"]["router_good"]).render(router_asked=asked)) == ["good"]


def test_batches_come_after_a_play_that_lets_variables_of_hosts_be_known():
    """In the first play of a run `hostvars` is not there yet when `serial` is worked out, and all boxes would be one batch."""
    for name in ("rollback", "maintain"):
        first, second = yaml.safe_load((ROOT / "playbooks" / f"{name}.yml").read_text())
        assert "serial" not in first and "hostvars" in str(second["vars"]) and "_first" in str(second["vars"]) and second["serial"]


def test_nothing_is_rescued_where_any_error_is_fatal():
    """Whoever is not at work then is out of the play all the same: a package that the first look did not find once ended a run over two boxes."""
    assert yaml.safe_load((ROOT / "playbooks/router.yml").read_text())[0]["any_errors_fatal"]
    for name in ("main", "one", "change", "floating"):
        tasks = flat(yaml.safe_load((ROOT / f"roles/router/tasks/{name}.yml").read_text()))
        assert [task["name"] for task in tasks if "rescue" in task] == [], name

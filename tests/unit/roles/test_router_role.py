# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What fails at a router fails for a whole batch, so that each of its boxes is given back; whole runs are in tests/on_machine/test_imitated_router.py."""

from __future__ import annotations

import datetime
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


def named(path, name):
    (found,) = [task for task in flat(yaml.safe_load((ROOT / path).read_text())) if task.get("name") == name]
    return found


def test_a_router_that_does_not_use_a_batch_ends_the_run():
    """What the routers answered is read: a rollout went on although no router used the first box."""
    told = named("roles/router/tasks/told.yml", "Use the servers of this batch again")
    noted = named("roles/router/tasks/told.yml", "Remember which routers do not use it")
    assert told["register"] == "__router_ready" and "go_on" not in told["gb10.vllm.router_drain"] and told["failed_when"] is False
    assert "__router_ready.results | gb10.vllm.router_refusals(router_required | bool, true)" in noted["ansible.builtin.set_fact"]["router_untold"]


def test_all_that_a_drain_waits_for_has_one_time_together():
    """Two routers and an engine took three times of what was asked for."""
    waits = [task for task in flat(yaml.safe_load((ROOT / "roles/router/tasks/drain.yml").read_text())) if "Wait until" in task["name"]]
    times = [next(value["timeout_s"] for key, value in task.items() if key.startswith("gb10.vllm.")) for task in waits]
    assert times == ["{{ router_left_s }}"] * 2
    assert named("roles/router/tasks/drain.yml", "Drain them at each router")["gb10.vllm.router_drain"]["timeout_s"] == 0
    left = yaml.safe_load((ROOT / "roles/router/vars/main.yml").read_text())["router_left_s"]
    now = datetime.datetime.now
    rendered = [NativeEnvironment().from_string(left).render(now=now, router_until=now().timestamp() + more) for more in (60, -60)]
    assert 50 < rendered[0] <= 60 and rendered[1] == 0


@pytest.mark.parametrize("name", ["activate", "rollback", "maintain", "stop"])
def test_whatever_drains_gives_back_what_answers_when_it_fails(name):
    """A stop that ran into its time-out left running servers drained for good."""
    blocks = [task for task in flat(yaml.safe_load((ROOT / "playbooks" / f"{name}.yml").read_text())) if "block" in task]
    draining = [one for one in blocks if any((task.get("ansible.builtin.include_role") or {}).get("tasks_from") == "drain" for task in one["block"])]
    assert draining
    for one in draining:
        assert [(task.get("ansible.builtin.include_role") or {}).get("tasks_from") for task in one["rescue"]] == ["back", "unlock"]

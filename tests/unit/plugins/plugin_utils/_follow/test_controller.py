# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which run is asking, and whether another one is still alive."""

from __future__ import annotations

import copy
import os
import subprocess
import time

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._follow.controller import clock_time, has_ended, this_run


def test_a_run_is_the_same_for_all_its_tasks_and_another_for_another_process():
    assert this_run(os.getpid()) == this_run(os.getpid())
    assert this_run(os.getpid())["run"] != this_run(os.getppid())["run"]
    assert "@" in this_run(os.getpid())["owner"]


def test_a_process_that_has_gone_is_known_to_have_ended():
    child = subprocess.Popen(["sleep", "60"])
    holder = this_run(child.pid)
    here = this_run(os.getpid())
    try:
        assert not has_ended(holder, here)
    finally:
        child.kill()
        child.wait()
    assert has_ended(holder, here)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"machine": "other@elsewhere"}, False),
        ({"boot_id": "an earlier boot"}, True),
        ({"pid_namespace": "pid:[1]"}, False),
        ({"pid_started": "1"}, True),
        ({"machine": ""}, False),
    ],
)
def test_what_can_be_known_of_another_run(change, expected):
    here = this_run(os.getpid())
    holder = copy.deepcopy(here)
    assert not has_ended(holder, here)
    holder["controller"].update(change)
    assert has_ended(holder, here) is expected


def test_a_lock_without_its_controller_is_not_known_to_be_dead():
    assert not has_ended({"run": "x"}, this_run(os.getpid()))


def test_clock_time_names_the_day_when_it_was_not_today():
    noon = time.mktime((2026, 11, 23, 12, 0, 0, 0, 0, -1))
    assert clock_time(noon - 3600, noon) == "11:00"
    assert clock_time(noon - 86400, noon) == "2026-11-22 12:00"

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The long part of a run: repeated, timed, stopped, told."""

from __future__ import annotations

import json
import subprocess
import time

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image.work import Work


@pytest.mark.parametrize(("retries", "ends", "attempts"), [(2, [1, 1, 0], 3), (2, [1, 1, 1], 3), (0, [1], 1), (2, [0], 1)])
def test_attempts(tmp_path, retries, ends, attempts):
    work = Work(tmp_path / "build", "x", 60)
    with work.alone():
        left = list(ends)
        assert work.tried(lambda: (left.pop(0), "i/o timeout"), retries, 0.0, lambda log: True) == (ends[-1], "i/o timeout", attempts)
    assert work.log().read_text().count("trying again in") == attempts - 1


def test_a_failure_that_another_try_does_not_mend_is_not_repeated(tmp_path):
    work = Work(tmp_path / "build", "x", 60)
    with work.alone():
        assert work.tried(lambda: (2, "syntax error"), 5, 0.0, lambda log: "timeout" in log) == (2, "syntax error", 1)


def test_time_ends_the_child_with_all_it_started(tmp_path):
    work = Work(tmp_path / "build", "x", 1)
    begun = time.monotonic()
    with pytest.raises(GB10Error, match=r"not ready after 1 s \(timeout_s\)"), work.alone():
        work.follow(["sh", "-c", "echo $$ > pid; sleep 60 & wait"], phase="build", environment={"PATH": "/usr/bin:/bin"}, cwd=tmp_path)
    assert time.monotonic() - begun < 10
    group = (tmp_path / "pid").read_text().strip()
    states = subprocess.run(["ps", "-o", "stat=", "-g", group], capture_output=True, text=True, check=False).stdout.split()
    assert [state for state in states if not state.startswith("Z")] == []
    told = [json.loads(line) for line in work.progress_path.read_text().splitlines()]
    assert told[-1]["phase"] == "finished" and "not ready after 1 s" in told[-1]["text"]


def test_what_a_command_says_is_in_the_log_and_in_its_own_part_of_it(tmp_path):
    work = Work(tmp_path / "build", "x", 60)
    with work.alone():
        work.note("before")
        assert work.follow(["sh", "-c", "echo one; echo two >&2; exit 3"], phase="build", environment={}) == (3, "one\ntwo\n")
    assert work.log().read_text() == "gb10.vllm: before\none\ntwo\n"


def test_the_last_ten_logs_of_an_image_are_kept(tmp_path):
    logs = tmp_path / "build" / "logs"
    logs.mkdir(parents=True)
    for number in range(12):
        (logs / f"20260101T0000{number:02}Z-x.log").touch()
    (logs / "20260101T000000Z-other.log").touch()
    Work(tmp_path / "build", "x", 60).log()
    assert len(list(logs.glob("*-x.log"))) == 10 and len(list(logs.glob("*-other.log"))) == 1

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Long work on a box that outlives a broken connection: started detached, followed from the controller, never silent."""

from __future__ import annotations

import json
import os
import shlex
import time
from typing import Any

from ansible_collections.gb10.vllm.plugins.plugin_utils._follow.locking import Hold
from ansible_collections.gb10.vllm.plugins.plugin_utils._follow.progress import Progress
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.words import duration, size

POLL_S = 2.0
STATUS_EVERY_S = 20.0
LOST_TIMES = 15
HERE = "--gb10--"
_ASYNC_KEYS = ("ansible_job_id", "started", "finished", "results_file", "stdout", "stderr", "stdout_lines", "stderr_lines")


def run_detached(
    action: Any, arguments: dict, task_vars: dict, progress: Progress, *, hold: Hold, progress_file: str, limit_s: int, what: str
) -> dict[str, Any]:
    """Run the action's module detached and show the last line of ``progress_file`` (on the box) until it ends; its result.

    ``action``: the ActionBase. ``what`` names the work in messages, as in "the image build". ``limit_s``: seconds after which Ansible ends it.
    ``hold``: the run's lock on the box, asked before the work begins and renewed with each look at it; without it nothing is begun or followed.
    """
    lost = hold.lost(action._low_level_execute_command(hold.command()).get("stdout", ""))
    if lost:
        return {"failed": True, "msg": lost}
    kept = action._task.async_val
    action._task.async_val = limit_s
    try:
        job = action._execute_module(module_args=arguments, task_vars=task_vars, wrap_async=True)
    finally:
        action._task.async_val = kept
    if job.get("failed") or "ansible_job_id" not in job:
        return job
    follow = f"{hold.command()}; echo {HERE}; tail -n 1 {shlex.quote(progress_file)} 2>/dev/null"
    asked = begun = time.monotonic()
    misses, pause = 0, 0.25
    while True:
        time.sleep(pause)
        pause = min(POLL_S, pause * 2)
        lock, line = _look(action, follow)
        lost = hold.lost(lock)
        if lost:
            return {"failed": True, "msg": f"{lost}; {what} was begun and ends by itself"}
        record = last_record(line)
        progress.update(describe(record) or f"working, {duration(time.monotonic() - begun)}")
        if record.get("phase") != "finished" and time.monotonic() - asked < STATUS_EVERY_S:
            continue
        asked = time.monotonic()
        try:
            status = _status(action, job, task_vars, "status")
            misses = 0
        except Exception as error:  # pylint: disable=broad-exception-caught
            misses += 1
            if misses > LOST_TIMES:
                text = f"the connection to the box was lost during {what} ({error}). The work goes on there; run the playbook again to follow it"
                return {"failed": True, "msg": text}
            continue
        if int(status.get("finished") or 0):
            _status(action, job, task_vars, "cleanup")
            for key in _ASYNC_KEYS:
                status.pop(key, None)
            return status
        if time.monotonic() - begun > limit_s + 300 or (status.get("failed") and "could not find job" in str(status.get("msg"))):
            return {"failed": True, "msg": f"the background job of {what} disappeared from the box (was it restarted?). Run it again"}


def _look(action: Any, command: str) -> tuple[str, str]:
    """What the box says of the lock, and the last line of the progress file; nothing from a connection that broke: the work there goes on."""
    try:
        lock, here, line = action._low_level_execute_command(command).get("stdout", "").partition(HERE)
    except Exception:  # pylint: disable=broad-exception-caught
        return "", ""
    return (lock, line.strip()) if here else ("", "")


def _status(action: Any, job: dict, task_vars: dict, mode: str) -> dict[str, Any]:
    return action._execute_module(
        module_name="ansible.legacy.async_status",
        module_args={"jid": job["ansible_job_id"], "mode": mode, "_async_dir": os.path.dirname(job["results_file"])},
        task_vars=task_vars,
    )


def last_record(line: str) -> dict[str, Any]:
    """A line of a progress file, ``{}`` when it is none."""
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def describe(record: dict[str, Any]) -> str:
    """A progress record as one line for people."""
    if not record:
        return ""
    parts = [f"step {record['step']} of {record['steps']}" if record.get("steps") else record.get("phase", "")]
    if record.get("text"):
        parts.append(record["text"])
    if record.get("bytes"):
        amount = size(record["bytes"])
        parts.append(f"{amount} of {size(record['total_bytes'])}" if record.get("total_bytes") else amount)
        if record.get("bytes_per_s"):
            parts.append(f"{size(record['bytes_per_s'])}/s")
    parts.append(duration(record.get("elapsed_s", 0)))
    return ", ".join(parts)

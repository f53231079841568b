# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller side of gb10.vllm.image_build: one quick look, then work in the background with its progress shown."""

from __future__ import annotations

import json
import os
import re
import shlex
import threading
import time
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.gb10.vllm.plugins.plugin_utils.diagnosis import diagnose, explain, load
from ansible_collections.gb10.vllm.plugins.plugin_utils.progress import Progress

POLL_S = 2.0
STATUS_EVERY_S = 20.0
_SLACK_S = 300


class ActionModule(ActionBase):
    """Run the module once when nothing is to do, else detached on the box."""

    def run(self, tmp: Any = None, task_vars: dict | None = None) -> dict[str, Any]:
        """See the module."""
        del tmp
        result: dict[str, Any] = super().run(task_vars=task_vars)
        task_vars = task_vars or {}
        arguments = dict(self._task.args)
        local = ""
        if arguments.get("archive_on") == "controller" and arguments.get("source") == "archive":
            local = os.path.abspath(os.path.expanduser(str(arguments.get("archive") or "")))
            try:
                status = os.stat(local)
            except OSError as error:
                return result | {
                    "failed": True,
                    "msg": f"the image archive {local} cannot be read on the controller ({error.strerror}). Write one with: docker save -o FILE IMAGE",
                }
            identity = str(arguments.get("checksum") or f"{os.path.basename(local)} {status.st_size} {int(status.st_mtime)}")
            arguments["archive_identity"] = identity
        if self._task.check_mode:
            return result | self._execute_module(module_args=arguments, task_vars=task_vars)
        probe = self._execute_module(module_args=arguments | {"defer": True}, task_vars=task_vars)
        if probe.get("failed") or not probe.get("deferred") or arguments.get("defer"):
            return result | probe
        host = task_vars.get("inventory_hostname", "box")
        progress = Progress(Display(), f"{host}: image", interactive=False if len(task_vars.get("ansible_play_hosts", [])) > 1 else None)
        progress.update(f"{probe['reason']}; starting", force=True)
        if local:
            failure = self._send(local, arguments, progress)
            if failure:
                return result | failure
        final = self._detached(arguments, task_vars, progress)
        final.pop("ansible_job_id", None)
        if final.get("failed"):
            self._explain(final, host)
            progress.done("failed")
        elif final.get("image"):
            image = final["image"]
            progress.done(f"{image['name']} ready in {_elapsed(final['duration_s'])} ({image['id'][7:19]}, {_size(image['size_bytes'])})")
        return result | final

    def _send(self, local: str, arguments: dict, progress: Progress) -> dict[str, Any]:
        """Copy the archive to the box's temporary directory, which is removed when the work ends."""
        folder = self._connection._shell.tmpdir or self._make_tmp_path()
        remote = self._connection._shell.join_path(folder, "image.tar")
        failures: list[Exception] = []

        def copy() -> None:
            try:
                self._connection.put_file(local, remote)
            except Exception as error:  # pylint: disable=broad-exception-caught
                failures.append(error)

        size = _size(os.path.getsize(local))
        progress.update(f"copying {os.path.basename(local)} ({size}) to the box", force=True)
        begun = time.monotonic()
        copying = threading.Thread(target=copy, daemon=True)
        copying.start()
        while copying.is_alive():
            copying.join(POLL_S)
            progress.update(f"copying {os.path.basename(local)} ({size}) to the box, {_elapsed(time.monotonic() - begun)}")
        if failures:
            return {"failed": True, "msg": f"copying {local} to the box failed: {failures[0]}. Nothing was changed; run it again"}
        arguments["archive"] = remote
        return {}

    def _detached(self, arguments: dict, task_vars: dict, progress: Progress) -> dict[str, Any]:
        limit = int(arguments.get("timeout_s") or 14400) + _SLACK_S
        kept = self._task.async_val
        self._task.async_val = limit
        try:
            job = self._execute_module(module_args=arguments, task_vars=task_vars, wrap_async=True)
        finally:
            self._task.async_val = kept
        if job.get("failed") or "ansible_job_id" not in job:
            return job
        follow = f"tail -n 1 {shlex.quote(_progress_file(arguments))} 2>/dev/null"
        asked = begun = time.monotonic()
        lost = 0
        while True:
            time.sleep(min(POLL_S, 0.5 + 0.1 * (time.monotonic() - begun)))
            try:
                line = self._low_level_execute_command(follow).get("stdout", "").strip()
            except Exception:  # pylint: disable=broad-exception-caught
                line = ""  # a connection that broke is tried again below; the work on the box goes on
            record = _record(line)
            progress.update(_text(record) or f"working, {_elapsed(time.monotonic() - begun)}")
            if record.get("phase") != "finished" and time.monotonic() - asked < STATUS_EVERY_S:
                continue
            asked = time.monotonic()
            try:
                status = self._status(job, task_vars, "status")
                lost = 0
            except Exception as error:  # pylint: disable=broad-exception-caught
                lost += 1
                if lost > 15:
                    return {
                        "failed": True,
                        "msg": f"the connection to the box was lost while its image was made ({error}). "
                        "The work goes on there; run the playbook again to follow it",
                    }
                continue
            if int(status.get("finished") or 0):
                self._status(job, task_vars, "cleanup")
                for key in ("ansible_job_id", "started", "finished", "results_file", "stdout", "stderr", "stdout_lines", "stderr_lines"):
                    status.pop(key, None)
                return status
            if time.monotonic() - begun > limit + _SLACK_S or (status.get("failed") and "could not find job" in str(status.get("msg"))):
                return {"failed": True, "msg": "the background job that made the image disappeared from the box (was it restarted?). Run it again"}

    def _status(self, job: dict, task_vars: dict, mode: str) -> dict[str, Any]:
        return self._execute_module(
            module_name="ansible.legacy.async_status",
            module_args={"jid": job["ansible_job_id"], "mode": mode, "_async_dir": os.path.dirname(job["results_file"])},
            task_vars=task_vars,
        )

    def _explain(self, final: dict[str, Any], host: str) -> None:
        """Put what the knowledge base knows about the log, or else its last lines, behind the module's sentence."""
        lines = final.get("last_lines") or []
        heading = f"{host}: {str(final.get('msg') or 'the image could not be made').rstrip('.')}"
        found = diagnose({host: "\n".join(lines)}, load()) if lines else {"found": False}
        final["msg"] = explain({**found, "lines": []}, heading) if found["found"] else f"{heading}."
        final.pop("exception", None)  # holds the shorter message, which would be shown in place of this one
        if lines:
            final["msg"] += "\nLast lines:\n" + "\n".join(f"  | {line}" for line in lines)


def _progress_file(arguments: dict) -> str:
    name = str(arguments.get("name") or "vllm-node")
    full = name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"
    slug = re.sub(r"[^A-Za-z0-9.-]+", "-", full)
    return os.path.join(str(arguments.get("state_dir") or "/var/lib/gb10-vllm"), "build", f"progress-{slug}.jsonl")


def _record(line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _text(record: dict[str, Any]) -> str:
    if not record:
        return ""
    parts = [f"step {record['step']} of {record['steps']}" if record.get("steps") else record.get("phase", "")]
    if record.get("text"):
        parts.append(record["text"])
    if record.get("bytes"):
        amount = _size(record["bytes"])
        parts.append(f"{amount} of {_size(record['total_bytes'])}" if record.get("total_bytes") else amount)
        if record.get("bytes_per_s"):
            parts.append(f"{_size(record['bytes_per_s'])}/s")
    parts.append(_elapsed(record.get("elapsed_s", 0)))
    return ", ".join(parts)


def _elapsed(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 60}:{whole % 60:02d} min" if whole >= 60 else f"{whole} s"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"

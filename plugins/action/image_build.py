# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller side of gb10.vllm.image_build: one quick look, then work in the background with its progress shown."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.gb10.vllm.plugins.module_utils._io.redaction import everywhere, redact
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis.diagnosis import diagnose, explain
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis.knowledge import load
from ansible_collections.gb10.vllm.plugins.plugin_utils._follow.background import POLL_S
from ansible_collections.gb10.vllm.plugins.plugin_utils._follow.long_task import follow, progress_of
from ansible_collections.gb10.vllm.plugins.plugin_utils._follow.progress import Progress
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.words import duration, size

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
                identity = _identity(local)
            except OSError as error:
                text = f"the image archive {local} cannot be read on the controller ({error.strerror}). Write one with: docker save -o FILE IMAGE"
                return result | {"failed": True, "msg": text}
            arguments["archive_identity"] = str(arguments.get("checksum") or identity)
        if self._task.check_mode:
            return result | self._execute_module(module_args=arguments, task_vars=task_vars)
        probe = self._execute_module(module_args=arguments | {"defer": True}, task_vars=task_vars)
        if probe.get("failed") or not probe.get("deferred") or arguments.get("defer"):
            return result | probe
        progress = progress_of(task_vars, "image")
        progress.update(f"{probe['reason']}; starting", force=True)
        if local:
            failure = self._send(local, arguments, progress)
            if failure:
                return result | failure
        final = follow(
            self, arguments, task_vars, progress,
            progress_file=probe["progress_file"],
            limit_s=int(arguments.get("timeout_s") or 14400) + _SLACK_S, what="the work on the image", closing=_summary, explain=_explain,
        )  # fmt: skip
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

        amount = size(os.path.getsize(local))
        progress.update(f"copying {os.path.basename(local)} ({amount}) to the box", force=True)
        begun = time.monotonic()
        copying = threading.Thread(target=copy, daemon=True)
        copying.start()
        while copying.is_alive():
            copying.join(POLL_S)
            progress.update(f"copying {os.path.basename(local)} ({amount}) to the box, {duration(time.monotonic() - begun)}")
        if failures:
            return {"failed": True, "msg": f"copying {local} to the box failed: {failures[0]}. Nothing was changed; run it again"}
        arguments["archive"] = remote
        return {}


def _identity(path: str) -> str:
    """Name, size and time of an archive on the controller, by which its box knows it again."""
    status = os.stat(path)
    return f"{os.path.basename(path)} {status.st_size} {int(status.st_mtime)}"


def _summary(final: dict[str, Any]) -> str:
    image = final.get("image")
    if not image:
        return "done"
    return f"{image['name']} ready in {duration(final['duration_s'])} ({image['id'][7:19]}, {size(image['size_bytes'])})"


def _explain(final: dict[str, Any], box: str) -> str:
    """The module's sentence with what the knowledge base knows about the log behind it, and the last lines."""
    last = final.get("last_lines") or []
    lines = final.pop("log_lines", None) or last
    heading = f"{box}: {str(final.get('msg') or 'the image could not be made').rstrip('.')}"
    found = diagnose({box: "\n".join(lines)}, load()) if lines else {"found": False}
    final.pop("exception", None)  # holds the shorter message, which would be shown in place of this one
    message = explain({**found, "lines": []}, heading) if found["found"] else f"{heading}."
    final["last_lines"] = everywhere(last)
    return redact(message, []) + ("\nLast lines:\n" + "\n".join(f"  | {line}" for line in final["last_lines"]) if last else "")

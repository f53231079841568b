# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller side of gb10.vllm.model_fetch: the download runs detached on the box and its progress is shown here."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.gb10.vllm.plugins.plugin_utils._follow.long_task import follow, progress_of
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.words import size


class ActionModule(ActionBase):
    """Follows one download."""

    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict | None = None) -> dict[str, Any]:
        """See the module."""
        del tmp
        result: dict[str, Any] = super().run(task_vars=task_vars)
        task_vars = task_vars or {}
        arguments = dict(self._task.args)
        if self._task.check_mode:
            return result | self._execute_module(module_args=arguments, task_vars=task_vars)
        progress = progress_of(task_vars, str(arguments.get("repo_id") or arguments.get("path")))
        progress.update(f"looking at revision {arguments.get('revision') or 'main'}" if arguments.get("repo_id") else "comparing checksums", force=True)
        final = follow(
            self, arguments, task_vars, progress,
            progress_file=f"{arguments.get('state_dir') or '/var/lib/gb10-vllm'}/transfer/download.jsonl",
            limit_s=int(arguments.get("timeout_s") or 86400), what="the download", closing=_summary,
        )  # fmt: skip
        return result | final


def _summary(final: dict[str, Any]) -> str:
    if not final.get("changed"):
        return "already there"
    return f"{(final['revision'] or 'it')[:12]} is in {final['path']} ({size(final['downloaded_bytes'])} downloaded)"

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller side of gb10.vllm.model_fetch: the download runs detached on the box and its progress is shown here."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.gb10.vllm.plugins.plugin_utils._follow.background import run_detached
from ansible_collections.gb10.vllm.plugins.plugin_utils._follow.progress import Progress
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
        host = task_vars.get("inventory_hostname", "box")
        progress = Progress(
            Display(),
            f"{host}: {arguments.get('repo_id') or arguments.get('path')}",
            interactive=False if len(task_vars.get("ansible_play_batch") or []) > 1 else None,
        )
        progress.update(f"looking at revision {arguments.get('revision') or 'main'}" if arguments.get("repo_id") else "comparing checksums", force=True)
        final = run_detached(
            self, arguments, task_vars, progress,
            progress_file=f"{arguments.get('state_dir') or '/var/lib/gb10-vllm'}/transfer/download.jsonl",
            limit_s=int(arguments.get("timeout_s") or 86400), what="the download",
        )  # fmt: skip
        if final.get("failed"):
            final["msg"] = f"{host}: {final.get('msg') or 'the download failed'}"
            progress.done("failed")
        elif final.get("changed"):
            progress.done(f"{(final['revision'] or 'it')[:12]} is in {final['path']} ({size(final['downloaded_bytes'])} downloaded)")
        else:
            progress.done("already there")
        return result | final

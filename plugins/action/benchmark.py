# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller side of gb10.vllm.benchmark: the runs go on detached on the box and their progress is shown here."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.gb10.vllm.plugins.plugin_utils._follow.long_task import follow, progress_of

SLACK_S = 600


class ActionModule(ActionBase):
    """Follows one benchmark."""

    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict | None = None) -> dict[str, Any]:
        """See the module."""
        del tmp
        result: dict[str, Any] = super().run(task_vars=task_vars)
        task_vars = task_vars or {}
        arguments = dict(self._task.args)
        if self._task.check_mode:
            return result | self._execute_module(module_args=arguments, task_vars=task_vars)
        progress = progress_of(task_vars, str(arguments.get("server")))
        each = int(arguments.get("run_timeout_s") or 1800) + int(arguments.get("cool_wait_s") or 300)
        final = follow(
            self, arguments, task_vars, progress,
            progress_file=f"{arguments.get('state_dir') or '/var/lib/gb10-vllm'}/benchmark/progress.jsonl",
            limit_s=SLACK_S + 2 * each * max(1, len(arguments.get("runs") or [])), what="the benchmark", closing=_summary,
        )  # fmt: skip
        return result | final


def _summary(final: dict[str, Any]) -> str:
    return f"the server died after {len(final.get('runs') or [])} runs" if final.get("died") else f"{len(final.get('runs') or [])} runs measured"

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller side of gb10.vllm.share: a transfer runs detached on the box and its progress is shown here."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.gb10.vllm.plugins.plugin_utils._follow.long_task import follow, progress_of
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.words import duration, size


class ActionModule(ActionBase):
    """Opening and closing are quick and go straight to the box."""

    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict | None = None) -> dict[str, Any]:
        """See the module."""
        del tmp
        result: dict[str, Any] = super().run(task_vars=task_vars)
        task_vars = task_vars or {}
        arguments = dict(self._task.args)
        if self._task.check_mode or arguments.get("state") != "transferred":
            return result | self._execute_module(module_args=arguments, task_vars=task_vars)
        progress = progress_of(task_vars, "transfer")
        places = [share["place"] for share in arguments.get("shares") or []]
        progress.update(", ".join(places), force=True)
        final = follow(
            self, arguments, task_vars, progress,
            progress_file=f"{arguments.get('state_dir') or '/var/lib/gb10-vllm'}/transfer/progress.jsonl",
            limit_s=int(arguments.get("timeout_s") or 14400), what="the transfer", closing=_summary,
        )  # fmt: skip
        return result | final


def _summary(final: dict[str, Any]) -> str:
    parts = []
    for key, share in (final.get("shares") or {}).items():
        if share.get("sources") is not None:
            amount, seconds = share.get("received_bytes", 0), share.get("transfer_s", 0)
            parts.append(f"{key}: {size(amount)} from {', '.join(share['sources']) or 'no box, it was all here'} in {duration(seconds)}")
    return "; ".join(parts) or "offered what it has"

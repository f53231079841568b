# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller's half of router_drain: says who asks."""

from __future__ import annotations

import os
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.gb10.vllm.plugins.plugin_utils._follow.controller import clock_time, this_run


class ActionModule(ActionBase):
    """One call on the router; says what another run had left drained and what somebody else holds."""

    _supports_check_mode = True
    _requires_connection = True

    def run(self, tmp: Any = None, task_vars: dict | None = None) -> dict[str, Any]:
        """See the module."""
        super().run(tmp, task_vars)
        # Tasks run in processes of their own; their parent is the ansible-playbook that all tasks of a run have in common.
        here = this_run(os.getppid())
        arguments = dict(self._task.args, owner={"run": here["run"], "owner": here["owner"]})
        seen = self._execute_module(module_args=arguments, task_vars=task_vars or {})
        for name, before in (seen.get("taken_over") or {}).items():
            when = clock_time(before.get("at") or 0)
            self._display.warning(f"{name} was left drained by {before.get('owner')} since {when} (run {before.get('run')}, {before.get('why')}); taken over.")
        for name in seen.get("others") or []:
            self._display.warning(f"{name} was taken out of the router by somebody else, and stays so.")
        for name, status in (seen.get("away") or {}).items():
            self._display.warning(f"{name} is ready, but the router does not use it: {status}.")
        if seen.get("unkept"):
            self._display.warning(f"A crash of HAProxy would undo this, because its state cannot be written down: {seen['unkept']}.")
        return seen

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller's half of run_lock: says who asks, and whether the run that holds the lock is still alive here."""

from __future__ import annotations

import os

from ansible.plugins.action import ActionBase
from ansible_collections.gb10.vllm.plugins.plugin_utils._follow.controller import clock_time, has_ended, this_run

MODULE = "gb10.vllm.run_lock"
STATE_DIR = "/var/lib/gb10-vllm"


class ActionModule(ActionBase):
    """One call on the box; a second one only to take over the lock of a run that has ended."""

    _supports_check_mode = True
    _requires_connection = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        if self._task.check_mode:
            return {"changed": False, "msg": "Nothing is locked in check mode."}
        task_vars = task_vars or {}
        box = task_vars.get("inventory_hostname", "this box")
        # Tasks run in processes of their own; their parent is the ansible-playbook that all tasks of a run have in common.
        here = this_run(os.getppid())
        arguments = dict(self._task.args, owner=here)
        if arguments.get("planned") is not None:
            deployed = {name: kinds.get("deployment") for name, kinds in arguments["planned"].items()}
            arguments["planned"] = {name: one.get("spec", "") for name, one in deployed.items() if one}
        seen = self._ask(arguments, task_vars)
        if seen.get("holder") and has_ended(seen["holder"], here):
            seen = self._ask(dict(arguments, take_over=seen["holder"]["run"]), task_vars)
        if seen.get("holder"):
            seen.update(failed=True, msg=refusal(box, seen["holder"], arguments.get("state_dir") or STATE_DIR))
        if seen.get("taken_from"):
            before = seen["taken_from"]
            why = "which has ended without giving it back" if seen["why"] == "ended" else "which is too old to be still at work"
            self._display.warning(f"{box}: took over the lock of {before['owner']} since {clock_time(before['acquired_at'])} (run {before['run']}), {why}.")
        return seen

    def _ask(self, arguments: dict, task_vars: dict) -> dict:
        seen = self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars)
        seen.pop("invocation", None)
        return seen


def refusal(box: str, holder: dict, state_dir: str) -> str:
    """One sentence on who is changing the box, and what to do."""
    return (
        f"{box} is being changed by {holder['owner']} since {clock_time(holder['acquired_at'])} (run {holder['run']}); nothing was changed there. "
        f"Wait until that run has ended; if it is known to be dead, delete {state_dir}/run.lock on {box} and run again."
    )

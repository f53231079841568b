# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller's half of box_info: where the lock is asked for, it says who asks and whether the run that holds it is still alive here."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.gb10.vllm.plugins.module_utils._box.findings import WARNING, finding
from ansible_collections.gb10.vllm.plugins.plugin_utils._fleet.replaced import REMEDY, replaced_servers
from ansible_collections.gb10.vllm.plugins.plugin_utils._follow.locking import with_lock


class ActionModule(ActionBase):
    """One call on the box; a second one only to take over the lock of a run that has ended."""

    _supports_check_mode = True
    _requires_connection = True

    def run(self, tmp: Any = None, task_vars: dict | None = None) -> dict[str, Any]:
        """See the module."""
        super().run(tmp, task_vars)
        variables = task_vars or {}

        def ask(arguments: dict[str, Any]) -> dict[str, Any]:
            seen = self._execute_module(module_args=arguments, task_vars=variables)
            if "lock" in seen:
                seen.pop("invocation", None)
            # Where servers are planned; this machine knows where they are named.
            hidden = replaced_servers(variables) if "servers" in arguments and "findings" in seen else ""
            if hidden:
                seen["findings"] = [*seen["findings"], finding(WARNING, "a list of servers is replaced", hidden, REMEDY)]
            return seen

        if self._task.check_mode or not boolean(self._task.args.get("lock", False), strict=False):
            return ask(dict(self._task.args))
        return with_lock(ask, self._task.args, variables.get("inventory_hostname", "this box"), self._display.warning, lambda seen: seen.get("lock") or {})

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller side of gb10.vllm.kv_cache_budget: a plan is arithmetic and made here; where something has to be read, the module reads it on the host."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.inputs import OPTIONS, REQUIRED_ONE_OF, answer, needs_a_look


class ActionModule(ActionBase):
    """No call to the host when all facts are given."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: dict | None = None) -> dict[str, Any]:
        """See the module."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _checked, wanted = self.validate_argument_spec(OPTIONS, required_one_of=REQUIRED_ONE_OF)
        try:
            if not needs_a_look(wanted):
                return result | {"changed": False} | answer(wanted)
        except GB10Error as error:
            return result | {"failed": True, "changed": False, "msg": str(error)} | error.details
        return result | self._execute_module(module_args=self._task.args, task_vars=task_vars)

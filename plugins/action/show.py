# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Print text or tables on the controller."""

from __future__ import annotations

from ansible.plugins.action import ActionBase
from ansible_collections.gb10.vllm.plugins.module_utils.sizing.picture import plan_table


class ActionModule(ActionBase):
    """Controller side of gb10.vllm.show."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _parsed, arguments = self.validate_argument_spec({"text": {"type": "str"}, "plans": {"type": "dict"}})
        text = arguments["text"] or ""
        if arguments["plans"]:
            text = "\n".join(filter(None, [text, plan_table(arguments["plans"])]))
        self._display.display(text)
        return dict(result, changed=False, text=text)

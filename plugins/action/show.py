# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Print text or tables on the controller."""

from __future__ import annotations

import json
import os
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.gb10.vllm.plugins.module_utils._io.redaction import redact
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.plan_picture import plan_picture
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.plan_table import plan_table
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.tell import tell
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.words import visible


class ActionModule(ActionBase):
    """Controller side of gb10.vllm.show."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: dict | None = None) -> dict[str, Any]:
        """See the module."""
        result = super().run(tmp, task_vars)
        specification = {"text": {"type": "str"}, "plans": {"type": "dict"}, "reasons": {"type": "bool", "default": True}, "directory": {"type": "path"}}
        _parsed, arguments = self.validate_argument_spec(specification)
        text, plans = arguments["text"] or "", arguments["plans"] or {}
        if plans:
            text = "\n".join(filter(None, [text, plan_table(plans, arguments["reasons"])]))
        text = visible(redact(text, []))
        tell(self._display, text)
        files = self._write(plans, arguments["directory"]) if plans and arguments["directory"] and not self._task.check_mode else []
        if files:
            tell(self._display, f"The same as data and as pictures: {', '.join(files)}")
        return dict(result, changed=False, text=text, files=files)

    @staticmethod
    def _write(plans: dict, directory: str) -> list[str]:
        """The plans as JSON and each box's memory as SVG; returns the paths."""
        contents = {"gb10-plan.json": json.dumps(plans, indent=2, sort_keys=True, default=str) + "\n"}
        contents.update({f"gb10-plan-{box}.svg": plan_picture(plan, box) for box, plan in plans.items()})
        try:
            os.makedirs(directory, exist_ok=True)
            for name, content in contents.items():
                with open(os.path.join(directory, name), "w", encoding="utf-8") as handle:
                    handle.write(content)
        except OSError as error:
            raise AnsibleActionFail(f"The plan could not be written: {error}. Name a directory you may write to with gb10_status_dir.") from None
        return [os.path.join(directory, name) for name in contents]

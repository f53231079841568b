# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller's half of diagnose: reads log files here, or has the box collect them, and explains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.gb10.vllm.plugins.module_utils._engine import log as engine_log
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis import diagnosis as knowledge

MOST_BYTES = 64 * 2**20


class ActionModule(ActionBase):
    """Explains logs."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: dict | None = None) -> dict[str, Any]:
        """See the module."""
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        box = task_vars.get("inventory_hostname", "localhost")
        try:
            entries = knowledge.load(_list(self._task.args.get("diagnoses")))
            files = _list(self._task.args.get("log"))
            if files:
                logs = {name: read_log(name) for name in files}
                findings = [self._explain(", ".join(files), logs, entries, set())]
            else:
                given = {name: value for name, value in self._task.args.items() if name not in ("log", "diagnoses")}
                seen = self._execute_module(module_name="gb10.vllm.diagnose", module_args=given, task_vars=task_vars)
                if seen.get("failed"):
                    return seen
                findings = [self._container(box, container, entries) for container in seen["containers"]]
        except GB10Error as error:
            return {"failed": True, "changed": False, "msg": str(error)}
        message = "\n\n".join(finding["text"] for finding in findings) or f"{box} has no server of this collection."
        Display().display(message + "\n")
        return {"changed": False, "findings": findings, "msg": message}

    def _container(self, box: str, container: dict, entries: list) -> dict:
        logs, context = knowledge.evidence(box, container["log"], container["kernel_log"], bool(container["api_key"]))
        return self._explain(f"{container['name']} on {box} ({container['status']})", logs, entries, context)

    def _explain(self, name: str, logs: dict[str, str], entries: list, context: set[str]) -> dict:
        found = knowledge.diagnose(logs, entries, context)
        text = "\n".join(logs.values())
        lines = engine_log.clean_lines(text)
        phase, words = engine_log.where(lines)
        healthy = not found["what"]
        heading = f"{name}: {'nothing wrong is known here' if healthy else 'this is what went wrong'}; it got as far as: {words}"
        if healthy:
            found = {**found, "why": ""}
        explanation = knowledge.explain(found, heading)
        for note in found["notes"]:
            explanation += f"\nNote ({note['id']}): {note['what'][:200]}\n  {note['todo']}"
        return {
            "name": name,
            "healthy": healthy,
            "phase": phase,
            "diagnosis": found,
            "facts": engine_log.parse_facts(text),
            "text": explanation,
        }


def read_log(name: str) -> str:
    """The last 64 MiB of a log file; GB10Error when it cannot be read."""
    path = Path(name).expanduser()
    try:
        with path.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - MOST_BYTES))
            return stream.read().decode("utf-8", "replace")
    except OSError as error:
        raise GB10Error(f"The log file {path.absolute()} on the controller cannot be read: {error.strerror}.") from error


def _list(value: Any) -> list:
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, (list, tuple)) else [part for part in str(value).split(",") if part]

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller's half of diagnose: reads log files here, or has the box collect them, and explains."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ansible import __version__ as ansible_version
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.gb10.vllm.plugins.module_utils._engine import log as engine_log
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.lines import clean_lines
from ansible_collections.gb10.vllm.plugins.module_utils._io.redaction import everywhere
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis import diagnosis, issue, knowledge
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis.files import read_logs
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.words import visible

ON_CONTROLLER = ("log", "diagnoses", "json")
VERDICTS = {
    "known": "this is what went wrong",
    "unknown": "what went wrong is not known",
    "healthy": "nothing wrong is known here",
    "nothing": "there is nothing to explain",
}


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
                findings = [self._explain(", ".join(files), read_logs(files), entries, set())]
            else:
                given = {name: value for name, value in self._task.args.items() if name not in ON_CONTROLLER}
                seen = self._execute_module(module_name="gb10.vllm.diagnose", module_args=given, task_vars=task_vars)
                if seen.get("failed"):
                    return seen
                findings = [self._container(box, container, entries) for container in seen["containers"]]
        except GB10Error as error:
            return {"failed": True, "changed": False, "msg": str(error)}
        try:
            _keep(self._task.args.get("json"), findings)
        except GB10Error as error:
            return {"failed": True, "changed": False, "msg": str(error)}
        message = "\n\n".join(finding["text"] for finding in findings) or f"{box} has no server of this collection."
        Display().display(visible(message) + "\n")
        return {"changed": False, "findings": findings, "msg": message}

    def _container(self, box: str, container: dict, entries: list) -> dict:
        logs, context = diagnosis.evidence(box, container["log"], container["kernel_log"], bool(container["api_key"]))
        return self._explain(f"{container['name']} on {box} ({container['status']})", logs, entries, context)

    def _explain(self, name: str, logs: dict[str, str], entries: list, context: set[str]) -> dict:
        found = diagnosis.diagnose(logs, entries, context)
        text = "\n".join(logs.values())
        facts = engine_log.parse_facts(text)
        phase, words = engine_log.where(clean_lines(text))
        heading = f"{name}: {VERDICTS[found['verdict']]}"
        if found["stage"] != "build" and (facts or found["verdict"] == "healthy"):
            heading += f"; it got as far as: {words}"
        explanation = diagnosis.explain(found, heading)
        for note in found["notes"]:
            explanation += f"\nNote ({note['id']}): {note['what'][:200]}\n  {note['todo']}"
        block = issue.block(found, facts, words, {"gb10.vllm": _version(), "ansible-core": ansible_version})
        if found["verdict"] in ("known", "unknown"):
            explanation += f"\nFor an issue (look through it first):\n{block}"
        finding = {
            "name": name,
            "healthy": found["verdict"] == "healthy",
            "phase": phase,
            "diagnosis": found,
            "facts": facts,
            "text": explanation,
            "issue": block,
        }
        return everywhere(finding)


def _keep(path: Any, findings: list[dict]) -> None:
    """Write what was found as JSON, readable by its owner alone: logs hold what their owner would not show."""
    if not path:
        return
    place = Path(str(path)).expanduser()
    try:
        with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
            json.dump(findings, stream, indent=1, ensure_ascii=False)
            stream.write("\n")
    except OSError as error:
        raise GB10Error(f"The findings cannot be written to {place.absolute()} on the controller: {error.strerror}.") from error


def _version() -> str:
    """Of this collection: the manifest of an installed one, galaxy.yml of a checkout."""
    root = Path(__file__).resolve().parents[2]
    try:
        if (root / "MANIFEST.json").exists():
            return json.loads((root / "MANIFEST.json").read_text(encoding="utf-8"))["collection_info"]["version"]
        lines = (root / "galaxy.yml").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("version:"))
    except (OSError, ValueError, KeyError, StopIteration):
        return "of unknown version"


def _list(value: Any) -> list:
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, (list, tuple)) else [part.strip() for part in str(value).split(",") if part.strip()]

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller's half of rehearse: says that it takes a moment, what could not be asked, and what vLLM refused and why."""

from __future__ import annotations

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.brief import briefly
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis import diagnosis, knowledge
from ansible_collections.gb10.vllm.plugins.plugin_utils._follow.long_task import box_of, progress_of
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.words import duration

LONGEST = 600
"""Characters of a refusal; the whole log is in the result."""


class ActionModule(ActionBase):
    """Rehearses the servers of one box."""

    _supports_check_mode = True
    _requires_connection = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        arguments, box = dict(self._task.args), box_of(task_vars)
        try:
            entries = knowledge.load([str(path) for path in arguments.get("diagnoses") or []])
        except GB10Error as error:
            return {"failed": True, "changed": False, "msg": str(error)}
        names = ", ".join(str(one["name"]) for one in arguments.get("servers") or [])
        progress = progress_of(task_vars, names)
        progress.update("asking vLLM whether it takes the arguments", force=True)
        seen = self._execute_module(module_args=arguments, task_vars=task_vars)
        seen.pop("invocation", None)
        found = seen.get("rehearsals") or []
        progress.done(seen.get("msg") or ", ".join(map(_outcome, found)) or "nothing is asked")
        for one in found:
            if one["verdict"] == "unable":
                Display().warning(f"{box}: {one['name']} is not rehearsed: {one['why']}. The run goes on; a canary shows whether it starts.")
        refused = [_refusal(one, box, entries) for one in found if one["verdict"] == "refused"]
        return {**seen, "failed": True, "msg": briefly(refused, "\n", LONGEST)} if refused else seen


def _outcome(one: dict) -> str:
    if one["verdict"] == "passed":
        return f"{one['name']} passes, as before" if one["remembered"] else f"{one['name']} passes after {duration(one['seconds'])}"
    return f"{one['name']} is refused" if one["verdict"] == "refused" else f"{one['name']} is not rehearsed"


def _refusal(one: dict, box: str, entries: list) -> str:
    """What vLLM refuses, explained as a start that failed is, in at most ``LONGEST`` characters."""
    logs, context = diagnosis.evidence(box, one["log"] or [one["why"]], [], True)
    found = diagnosis.diagnose(logs, entries, context)
    heading = f"{box}: vLLM refuses {one['name']}, asked before anything was stopped"
    known = found["found"]
    said = "" if known else f" It says: {_cut((found['lines'] or [one['why']])[-1].strip(), 250)}"
    parts = [f"{heading}.{said}"]
    if known:
        parts += [f"What: {_cut(found['what'], 160)}", f"Why: {_cut(found['why'], 200)}", f"What to do: {_cut(found['todo'], 200)}"]
    return _cut("\n".join(part for part in parts if part), LONGEST - 40) + "\nNothing that serves was changed."


def _cut(text: str, most: int) -> str:
    text = text or ""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"

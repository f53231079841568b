# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One line per box at the end of a run."""

from __future__ import annotations

DOCUMENTATION = r"""
name: summary
type: aggregate
short_description: One line per box at the end of a run, failures first
version_added: "0.1.0"
author:
  - gb10.vllm contributors (@gb10)
description:
  - After a run of a playbook of this collection, prints for each box the phase it reached, what changed, what was repaired and how long it took,
    with the failed step and the first sentence of its message; then the wall time of each phase.
  - Prints nothing after other playbooks.
requirements:
  - C(callbacks_enabled = gb10.vllm.summary) in the section C([defaults]) of C(ansible.cfg)
"""

import time
from typing import Any

from ansible import constants as C
from ansible import context
from ansible.plugins.callback import CallbackBase
from ansible_collections.gb10.vllm.plugins.module_utils._io.redaction import redact
from ansible_collections.gb10.vllm.plugins.plugin_utils._follow.warm_up import warm_up
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.run_summary import END_OF_RUN, summary
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.words import visible

COLLECTION = "gb10.vllm"
COLOURS = {"failed": "COLOR_ERROR", "unreachable": "COLOR_UNREACHABLE", "put back": "COLOR_WARN", "held back": "COLOR_SKIP", "ok": "COLOR_OK"}


class CallbackModule(CallbackBase):
    """Listens to a run; all wording is in run_summary.py."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "gb10.vllm.summary"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ours = False
        self._phase = ""
        self._phases: dict[str, float] = {}
        self._phase_began = 0.0
        self._began: dict[tuple[str, str], float] = {}
        self._boxes: dict[str, dict] = {}

    def v2_playbook_on_start(self, playbook):
        warm_up()

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._close_phase()
        self._phase = play.get_name().strip() or "unnamed play"
        self._phases.setdefault(self._phase, 0.0)
        self._phase_began = time.monotonic()

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        self._ours = self._ours or _is_ours(task)
        self._box(host)["phase"] = self._phase
        self._began[host.get_name(), task._uuid] = time.monotonic()

    def v2_runner_on_ok(self, result: Any) -> None:
        box = self._ended(result)
        box["changed"] += bool(result._result.get("changed"))

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._ended(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._trouble(result, ignore_errors)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._trouble(result, bool((result._task_fields or {}).get("ignore_unreachable")))

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._close_phase()
        if not self._ours:
            return
        boxes = []
        for name, box in self._boxes.items():
            counted = stats.summarize(name)
            failed = counted["failures"] > 0 and not box["held_back"]
            boxes.append(dict(box, name=name, failed=failed, unreachable=counted["unreachable"] > 0))
        self._display.banner("GB10")
        for text, state in summary(boxes, list(self._phases.items()), bool(context.CLIARGS.get("check"))):
            self._display.display(visible(text), color=getattr(C, COLOURS[state]) if state else None)
        self._display.display("")

    def _box(self, host: Any) -> dict:
        new = {"phase": "", "changed": 0, "repairs": [], "busy_s": 0.0, "step": "", "tags": [], "message": "", "held_back": False}
        return self._boxes.setdefault(host.get_name(), new)

    def _ended(self, result: Any) -> dict:
        box = self._box(result._host)
        now = time.monotonic()
        box["busy_s"] += now - self._began.pop((result._host.get_name(), result._task._uuid), now)
        return box

    def _trouble(self, result: Any, ignored: bool) -> None:
        box = self._ended(result)
        if ignored:
            return
        said = result._result
        fields = result._task_fields or {}
        step = str(fields.get("name") or result._task.get_name())
        failed_items = [one for one in said.get("results") or [] if isinstance(one, dict) and one.get("failed")]
        message = redact(str((failed_items[0] if failed_items else said).get("msg") or said.get("msg") or ""), [])
        # A box that ends in the words of its own failure failed there, not here; one that ends in other words did nothing wrong.
        tags = list(fields.get("tags") or [])
        box["held_back"] = END_OF_RUN in tags and message != box["message"]
        if END_OF_RUN not in tags:
            box.update(step=step, tags=tags, message=message)
        repair = said.get("repair")
        if isinstance(repair, dict) and repair.get("id"):
            box["repairs"].append(str(repair["id"]))

    def _close_phase(self) -> None:
        if self._phase:
            self._phases[self._phase] += time.monotonic() - self._phase_began
        self._phase = ""


def _is_ours(task: Any) -> bool:
    role = getattr(task, "_role", None)
    return str(getattr(task, "resolved_action", None) or task.action).startswith(f"{COLLECTION}.") or getattr(role, "_role_collection", None) == COLLECTION

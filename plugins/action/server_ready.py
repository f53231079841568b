# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller's half of server_ready: asks the box again and again, shows progress, diagnoses a failure."""

from __future__ import annotations

import time

from ansible.errors import AnsibleConnectionFailure
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.gb10.vllm.plugins.module_utils._engine import footprint
from ansible_collections.gb10.vllm.plugins.module_utils._engine.log import GIB, where
from ansible_collections.gb10.vllm.plugins.module_utils._engine.readiness import timeouts
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis import diagnosis, knowledge
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis import repair as repairs
from ansible_collections.gb10.vllm.plugins.plugin_utils._follow.progress import Progress
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.words import duration

MODULE = "gb10.vllm.server_ready"
ON_CONTROLLER = ("label", "wanted", "history", "repair", "diagnoses")
TERMINAL = ("ready", "failed", "stalled")
GONE_AFTER_S = 90.0
"""Silence of a box that is more than a hiccup of the network; ansible.cfg lets a dead connection hang for 60 s."""


class ActionModule(ActionBase):
    """Follows one start from the controller."""

    _supports_check_mode = True
    _requires_connection = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        given = self._task.args
        box = task_vars.get("inventory_hostname", "this box")
        server = given.get("label") or given.get("container")
        if given.get("measure") == "begin":
            return self._ask(dict(given), task_vars)
        on_box = {name: value for name, value in given.items() if name not in ON_CONTROLLER}
        if self._task.check_mode:
            return self._look_once(on_box, server, task_vars)
        try:
            # A broken file of diagnoses must not be found out when a start has just failed after ten minutes. Our own is read where something failed.
            own = _list(given.get("diagnoses"))
            entries = knowledge.load(own) if own else None
        except GB10Error as error:
            return {"failed": True, "changed": False, "msg": str(error)}
        seen = self._follow(on_box, box, server, task_vars)
        if seen.get("failed"):
            return seen
        if seen.get("phase") == "ready":
            return self._judge_memory(seen, box, server, given)
        return self._explain(seen, entries, box, server, given)

    def _look_once(self, on_box: dict, server: str, task_vars: dict) -> dict:
        seen = self._ask({**on_box, "wait_s": 0}, task_vars)
        if seen.pop("failed", False):
            seen["msg"] = f"Would wait for {server} to answer; now: {seen.get('msg', 'it cannot be looked at')}"
        elif seen["phase"] != "ready":
            seen["msg"] = f"Would wait for {server} to answer; now: {seen['reason'] or seen['progress']}"
        seen["changed"] = False
        return seen

    def _ask(self, arguments: dict, task_vars: dict) -> dict:
        seen = self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars)
        seen.pop("invocation", None)
        return seen

    def _follow(self, on_box: dict, box: str, server: str, task_vars: dict) -> dict:
        """Ask until the start is decided; the last answer, with ``phase`` stalled when time is up."""
        together = len(task_vars.get("ansible_play_batch") or [box]) > 1
        progress = Progress(Display(), f"{box}: {server}", interactive=False if together else None)
        total_s = float(on_box.get("timeout_s") or timeouts(int(on_box.get("model_bytes") or 0))[0])
        phase = ""
        last = ""
        arguments = dict(on_box)
        answered = time.monotonic()
        while True:
            asked = time.monotonic()
            try:
                seen = self._ask(arguments, task_vars)
            except AnsibleConnectionFailure as error:
                silent_s = time.monotonic() - answered
                if silent_s > GONE_AFTER_S:
                    progress.done(f"the box has not answered for {duration(silent_s)}")
                    return _gone(box, server, silent_s, last, error)
                progress.update(f"the box does not answer ({duration(silent_s)})", force=True)
                time.sleep(max(0.0, 5.0 - (time.monotonic() - asked)))
                continue
            answered = time.monotonic()
            if seen.get("failed"):
                progress.done(seen.get("msg", "cannot be looked at"))
                return seen
            # What was seen goes into the next look, which so knows how long the server has been silent.
            arguments["activity"] = seen.get("activity")
            if seen["container"].get("started_at") and seen["container"].get("status") != "created":
                arguments.setdefault("started_at", seen["container"]["started_at"])
            if seen["phase"] in TERMINAL:
                progress.done(_closing(seen))
                return seen
            if seen["elapsed_s"] > total_s:
                seen = self._last_look(arguments, total_s, task_vars)
                progress.done(seen["msg"] if seen.get("failed") else _closing(seen))
                return seen
            last = _status(seen)
            progress.update(last, force=seen["phase"] != phase)
            phase = seen["phase"]
            # A look that came back at once (the container is not there yet) must not become a busy loop.
            time.sleep(max(0.0, 1.0 - (time.monotonic() - asked)))

    def _last_look(self, arguments: dict, total_s: float, task_vars: dict) -> dict:
        """Time is up: fetch the whole log for the diagnosis, unless the server got ready in this moment."""
        seen = self._ask({**arguments, "wait_s": 0, "stall_s": -1}, task_vars)
        if not seen.get("failed") and seen["phase"] not in ("ready", "failed"):
            seen["reason"] = f"it was not ready after {seen['elapsed_s']:.0f} s (the limit is {total_s:.0f} s) and was still {seen['progress']}"
            seen["log"] = [*seen.get("log", [])[:-1], f"gb10.vllm: {seen['reason']}"]
            seen["phase"] = "stalled"
        return seen

    def _judge_memory(self, seen: dict, box: str, server: str, given: dict) -> dict:
        """What a server that answers leaves to its box, where that was measured: too little is repaired once, a figure without sense is kept out."""
        for doubt in seen["facts"].get("doubts") or []:
            Display().warning(f"{box}: {server} answers, but {doubt}.")
        memory = seen["facts"].get("memory")
        if not memory:
            return seen
        wanted = dict(given.get("wanted") or {})
        if memory.get("problem"):
            Display().warning(f"{box}: what {server} takes beside weights and KV cache is kept out: {memory['problem']}. The plan goes on as before.")
        if memory.get("shared_pool") and wanted.get("os_floor_bytes"):
            memory.update(footprint.left(memory, int(wanted["os_floor_bytes"]), int(wanted.get("margin_bytes") or 0)))
        change = repairs.keep_floor(memory, wanted, _list(given.get("history")))
        if change and boolean(given.get("repair", True)):
            message = f"Server {server} on {box} answers, but leaves too little of the memory of the box: {change['reason']}."
            return {**seen, "failed": True, "changed": False, "msg": message, "repair": change}
        if memory.get("missing_bytes"):
            short = f"{memory['lowest_bytes'] / GIB:.2f} GiB of the {int(wanted['os_floor_bytes']) / GIB:.2f} GiB for the operating system are left"
            Display().warning(f"{box}: {server} answers, but {short}; stop what else holds memory, or lower its max_model_len or concurrency.")
        return seen

    def _explain(self, seen: dict, entries: list | None, box: str, server: str, given: dict) -> dict:
        log = seen.pop("log", None) or seen.get("log_tail", [])
        if seen.get("left"):  # what happened, the other rank's own log says
            message = f"Server {server} on {box} was ended: {seen['left']}. All of its boxes start together or not at all."
            return {**seen, "failed": True, "changed": False, "msg": message, "repair": None}
        logs, context = diagnosis.evidence(box, log, seen.pop("kernel_log", []), bool(given.get("api_key_file")))
        found = diagnosis.diagnose(logs, entries or knowledge.load(), context)
        found["phase"] = seen["phase"]
        found["stalled_in"] = where(seen["log_tail"])[0] if seen["phase"] == "stalled" else ""
        facts = {**seen["facts"], "memory_available_bytes": seen["memory_available_bytes"]}
        allowed = boolean(given.get("repair", True))
        change = repairs.decide(found, facts, dict(given.get("wanted") or {}), _list(given.get("history")))
        happened = "made no progress" if seen["phase"] == "stalled" else "did not start"
        message = diagnosis.explain(found, f"Server {server} on {box} {happened}: {seen['reason']}")
        if change:
            message += f"\n{'Repair' if allowed else 'A safe repair would be'}: {change['reason']}"
        seen.update(failed=True, changed=False, msg=message, diagnosis=found, repair=change if allowed else None)
        if change and not allowed:
            seen["proposed_repair"] = change
        return seen


def _list(value) -> list:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _gone(box: str, server: str, silent_s: float, last: str, error: Exception) -> dict:
    message = (
        f"{box} has not answered for {duration(silent_s)} while server {server} was starting{last and f'; it was last seen {last}'}. "
        f"SSH says: {' '.join(str(error).split())}. A box whose memory runs out freezes: if it stays silent, switch it off and on. "
        "A start that was cut off is not repeated by itself; lower what the server asks for (max_model_len, concurrency) and run site again, "
        f"or go back with `ansible-playbook gb10.vllm.rollback --limit {box}`."
    )
    return {"failed": True, "changed": False, "gone": True, "msg": message}


def _status(seen: dict) -> str:
    free = seen.get("memory_available_bytes", 0) / GIB
    return f"{seen['progress']} ({duration(seen['elapsed_s'])}, {free:.1f} GiB of memory free)"


def _closing(seen: dict) -> str:
    if seen["phase"] != "ready":
        return f"{seen['phase']}: {seen['reason'] or seen['progress']}"
    return f"ready after {duration(seen['facts'].get('ready_s', seen['elapsed_s']))}, {seen['progress']}"

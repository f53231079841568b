# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of a lock on a box: who asks for it, and whether the run that holds it is still alive here."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.gb10.vllm.plugins.module_utils._box.run_lock import BOOT_ID, NAME, alive_path
from ansible_collections.gb10.vllm.plugins.module_utils._names import STATE_DIR
from ansible_collections.gb10.vllm.plugins.plugin_utils._follow.controller import clock_time, has_ended, this_run
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.words import visible

GONE = "gone"


@dataclass(frozen=True)
class Hold:
    """The lock that a run has on a box while it follows long work there: renewed and looked at with a command that is sent anyway."""

    run: str
    state_dir: str

    def command(self) -> str:
        """For a shell on the box: write that the run is alive, print whose the lock is. Prints nothing for a run that never took it."""
        alive, lock = shlex.quote(alive_path(self.state_dir, self.run)), shlex.quote(os.path.join(self.state_dir, NAME))
        renew = f"{{ cat {BOOT_ID} /proc/uptime > {alive}.new && mv -f {alive}.new {alive}; }} 2>/dev/null"
        return f"if [ -e {alive} ]; then {renew}; cat {lock} 2>/dev/null || echo {GONE}; fi"

    def lost(self, printed: str) -> str:
        """What has happened to the lock, in a sentence, from what ``command`` printed; "" while it is this run's, or never was."""
        text = printed.strip()
        try:
            holder = json.loads(text) if text not in ("", GONE) else {}
        except ValueError:
            return ""  # half of an answer, from a connection that broke
        if not text or (isinstance(holder, dict) and holder.get("run") == self.run):
            return ""
        return lost(holder if isinstance(holder, dict) else {})


def hold(state_dir: str) -> Hold:
    """The lock of the run that this task belongs to."""
    return Hold(this_run(os.getppid())["run"], state_dir)


def with_lock(
    ask: Callable[[dict[str, Any]], dict[str, Any]],
    arguments: Mapping[str, Any],
    box: str,
    warn: Callable[[str], None],
    lock_in: Callable[[dict[str, Any]], dict[str, Any]] = lambda seen: seen,
) -> dict[str, Any]:
    """One call on the box, and a second one only to take over the lock of a run that has ended; the result, failed when the box is another run's.

    ``ask``: runs the module with these arguments. ``lock_in``: where in its result the lock is told.
    """
    # Tasks run in processes of their own; their parent is the ansible-playbook that all tasks of a run have in common.
    here = this_run(os.getppid())
    filled = dict(arguments, owner=here)
    if filled.get("planned") is not None:
        deployed = {name: kinds.get("deployment") for name, kinds in filled["planned"].items()}
        filled["planned"] = {name: one.get("spec", "") for name, one in deployed.items() if one}
    seen = ask(filled)
    lock = lock_in(seen)
    if boolean(filled.get("held") or False, strict=False):
        if lock.get("acquired") is False:
            # Gone for this run: nothing is put back there either.
            seen.update(failed=True, gone=True, msg=f"{box}: {lost(lock.get('holder') or {})}.")
        return seen
    if lock.get("holder") and has_ended(lock["holder"], here):
        seen = ask(dict(filled, take_over=lock["holder"]["run"]))
        lock = lock_in(seen)
    if lock.get("holder"):
        seen.update(failed=True, msg=refusal(box, lock["holder"], filled.get("state_dir") or STATE_DIR))
    if lock.get("taken_from"):
        warn(taken_over(box, lock["taken_from"], lock["why"]))
    return seen


def lost(holder: Mapping[str, Any]) -> str:
    """One sentence, without its full stop, on a box that is no longer this run's, and what to do; ``holder``: {} where it is nobody's."""
    who = f"{holder.get('owner') or 'somebody'} took it (run {holder.get('run')})" if holder else "another run has had it since, or somebody deleted it"
    return visible(f"the lock of this run on this box is lost: {who}; this run changes nothing more there, run again when no other one is at work")


def refusal(box: str, holder: Mapping[str, Any], state_dir: str) -> str:
    """One sentence on who is changing the box, and what to do."""
    return visible(
        f"{box} is being changed by {holder['owner']} since {clock_time(holder['acquired_at'])} (run {holder['run']}); nothing was changed there. "
        f"Wait until that run has ended; if it is known to be dead, delete {state_dir}/run.lock on {box} and run again."
    )


def taken_over(box: str, before: Mapping[str, Any], why: str) -> str:
    """One sentence on whose lock was taken and why that was right."""
    reason = "which has ended without giving it back" if why == "ended" else "which is too old to be still at work"
    return visible(f"{box}: took over the lock of {before['owner']} since {clock_time(before['acquired_at'])} (run {before['run']}), {reason}.")

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of a lock on a box: who asks for it, and whether the run that holds it is still alive here."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._names import STATE_DIR
from ansible_collections.gb10.vllm.plugins.plugin_utils._follow.controller import clock_time, has_ended, this_run


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
    if lock.get("holder") and has_ended(lock["holder"], here):
        seen = ask(dict(filled, take_over=lock["holder"]["run"]))
        lock = lock_in(seen)
    if lock.get("holder"):
        seen.update(failed=True, msg=refusal(box, lock["holder"], filled.get("state_dir") or STATE_DIR))
    if lock.get("taken_from"):
        warn(taken_over(box, lock["taken_from"], lock["why"]))
    return seen


def refusal(box: str, holder: Mapping[str, Any], state_dir: str) -> str:
    """One sentence on who is changing the box, and what to do."""
    return (
        f"{box} is being changed by {holder['owner']} since {clock_time(holder['acquired_at'])} (run {holder['run']}); nothing was changed there. "
        f"Wait until that run has ended; if it is known to be dead, delete {state_dir}/run.lock on {box} and run again."
    )


def taken_over(box: str, before: Mapping[str, Any], why: str) -> str:
    """One sentence on whose lock was taken and why that was right."""
    reason = "which has ended without giving it back" if why == "ended" else "which is too old to be still at work"
    return f"{box}: took over the lock of {before['owner']} since {clock_time(before['acquired_at'])} (run {before['run']}), {reason}."

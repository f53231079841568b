# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the actions have in common whose modules work long on a box: a line of progress, the work detached, one sentence at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.utils.display import Display
from ansible_collections.gb10.vllm.plugins.module_utils._names import STATE_DIR
from ansible_collections.gb10.vllm.plugins.plugin_utils._follow.background import run_detached
from ansible_collections.gb10.vllm.plugins.plugin_utils._follow.locking import hold
from ansible_collections.gb10.vllm.plugins.plugin_utils._follow.progress import Progress


def box_of(task_vars: dict) -> str:
    """The box of a task as messages name it."""
    return task_vars.get("inventory_hostname", "box")


def progress_of(task_vars: dict, label: str) -> Progress:
    """The line of a box; whole lines instead where several boxes report at the same time."""
    box = box_of(task_vars)
    together = len(task_vars.get("ansible_play_batch") or [box]) > 1
    return Progress(Display(), f"{box}: {label}", interactive=False if together else None)


def follow(
    action: Any,
    arguments: dict,
    task_vars: dict,
    progress: Progress,
    *,
    progress_file: str,
    limit_s: int,
    what: str,
    closing: Callable[[dict], str],
    explain: Callable[[dict, str], str] | None = None,
) -> dict[str, Any]:
    """Run the action's module detached on the box, show how far it is, and end the line with its outcome; its result.

    :param progress_file: on the box; the module appends to it.
    :param limit_s: seconds after which Ansible ends the work.
    :param what: the work in messages, as in "the download".
    :param closing: the last line of work that went well.
    :param explain: message of work that failed, from its result and the name of the box; by default the module's own.
    """
    box = box_of(task_vars)
    ours = hold(str(arguments.get("state_dir") or STATE_DIR))
    final = run_detached(action, arguments, task_vars, progress, hold=ours, progress_file=progress_file, limit_s=limit_s, what=what)
    if final.get("failed"):
        final["msg"] = explain(final, box) if explain else f"{box}: {final.get('msg') or f'{what} failed'}"
        progress.done("failed")
    else:
        progress.done(closing(final))
    return final

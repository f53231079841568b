# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Does the steps that ``_host.settings`` decided, and writes down before the first one what was."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._host.facts import RFKILL, record_path
from ansible_collections.gb10.vllm.plugins.module_utils._host.settings import Outcome, Step
from ansible_collections.gb10.vllm.plugins.module_utils._io.command import run
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import disk_problem, write_json, write_whole

QUIET = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}


def carry_out(outcomes: Sequence[Outcome], record: dict[str, Any], state_dir: str) -> None:
    """Do what is to be done; GB10Error names the step that failed. What was before is on the disk first, so that a run that is killed loses none of it."""
    for outcome in outcomes:
        kept = dict(record)
        if outcome["record"] is not None and record.get(outcome["part"]) != outcome["record"]:
            record = _remember(state_dir, {**kept, outcome["part"]: outcome["record"]})
        for step in outcome["steps"]:
            _do(outcome["part"], step)
        if outcome["record"] is None and outcome["part"] in record:
            record = _remember(state_dir, {part: one for part, one in record.items() if part != outcome["part"]})


def _remember(state_dir: str, record: dict[str, Any]) -> dict[str, Any]:
    path = record_path(state_dir)
    try:
        if record:
            write_json(path, record, mode=0o600, durable=True, indent=2, sort_keys=True)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
    except OSError as error:
        raise disk_problem(path, error) from None
    return record


def _do(part: str, step: Step) -> None:
    try:
        if step["do"] == "write":
            write_whole(step["path"], step["text"], mode=step["mode"])
        elif step["do"] == "remove":
            os.unlink(step["path"])
            with contextlib.suppress(OSError):
                os.rmdir(os.path.dirname(step["path"])) if step["path"].endswith(".conf") else None
        elif step["do"] == "radio":
            with open(f"{RFKILL}/{step['name']}/soft", "w", encoding="ascii") as handle:
                handle.write("1" if step["blocked"] else "0")
        else:
            _command(part, step)
    except OSError as error:
        raise disk_problem(step.get("path") or f"{RFKILL}/{step.get('name')}", error) from None


def _command(part: str, step: Step) -> None:
    done = run(step["argv"], step["timeout_s"], env={**os.environ, **QUIET})
    if done.returncode and not step.get("may_fail"):
        heard = [line for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.strip()]
        if step["argv"][0] == "systemctl":
            # systemctl only says that it failed; the unit said why.
            heard += run(["journalctl", "--unit", step["argv"][-1], "--lines", "3", "--output", "cat", "--no-pager"]).stdout.splitlines()
        raise GB10Error(
            f"gb10_host.{part}: `{' '.join(step['argv'])}` ended with status {done.returncode}: {' | '.join(heard[-4:]) or 'it said nothing'}. "
            f"Correct that, or take the part out with `state: absent`, which puts back what was; then run this again."
        )

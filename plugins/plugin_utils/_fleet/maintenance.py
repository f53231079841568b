# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an operator wants done to boxes that serve, and which of their servers have to run again afterwards. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KINDS = ("packages", "command", "reboot")
RUNS = ("active", "activating")


def maintenance_work(named: Any, command: str = "") -> dict[str, Any]:
    """{packages, command, reboot: whether each is to be done, problem: "" or a sentence} from ``gb10_maintain``: a word of `KINDS` or a list of them."""
    words = [word.strip() for one in (named if isinstance(named, (list, tuple)) else [named]) for word in str(one or "").split(",") if word.strip()]
    unknown = [word for word in words if word not in KINDS]
    problem = ""
    if unknown:
        problem = f"gb10_maintain: {unknown[0]!r} is none of {', '.join(KINDS)}."
    elif not words:
        problem = "gb10_maintain does not say what to do: packages, command or reboot, as in -e gb10_maintain=packages."
    elif "command" in words and not command.strip():
        problem = "gb10_maintain_command is missing: the line that gb10_maintain: command is to run on each box."
    elif command.strip() and "command" not in words:
        problem = "gb10_maintain_command is given, but gb10_maintain does not name `command`, so it would not be run."
    return {**{kind: kind in words for kind in KINDS}, "problem": problem}


def running_servers(box: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The deployments whose unit runs on a box, or is being started, by what box_info read."""
    units = box.get("units") or {}
    found = {name: (record or {}).get("deployment") for name, record in (box.get("servers") or {}).items()}
    return [found[name] for name in sorted(found) if found[name] and (units.get(f"gb10-vllm-{name}.service") or {}).get("active") in RUNS]

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the other boxes of a fleet measured of their starts, for the plan of one box: from this run, from their records, else from the lock file. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._sizing.learned import weighing

Start = Mapping[str, Any]
"""{where: name of the box, deployment, measured: {spec, facts}}."""


def starts(names: Sequence[str], known: Callable[[str], Mapping[str, Any]], own: str, locked: Callable[[], Mapping[str, Any]]) -> list[Start]:
    """The measured starts of all boxes but ``own``, of each image, model and flags the one that took most.

    ``known(name)``: the variables of a box of this run; ``locked()``: the boxes of the lock file, read only where a box of it is not in this run or
    holds no record of its own.
    """
    found = {name: _of_box(name, known(name)) for name in names if name != own}
    told = dict(found)
    if not found or not all(found.values()):
        boxes = locked()
        told |= {name: _of_lock(name, boxes[name]) for name in boxes if not found.get(name) and (name != own or not _holds(known(own)))}
    return list(_largest(one for several in told.values() for one in several))


def _of_box(name: str, known: Mapping[str, Any]) -> list[Start]:
    """What was measured in this run (``server_learned``), and what the box had measured when it was read."""
    now = list(known.get("server_learned") or [])
    records = ((known.get("preflight_result") or {}).get("box") or {}).get("servers") or {}
    held = [{"where": name, "deployment": one.get("deployment") or {}, "measured": one.get("measured") or {}} for one in records.values()]
    return now + [one for one in held if _is_measured(one)]


def _holds(known: Mapping[str, Any]) -> bool:
    return bool(_of_box("", known))


def _of_lock(name: str, box: Mapping[str, Any]) -> list[Start]:
    servers = (box.get("servers") or {}).values()
    read = [{"where": name, "deployment": one["deployment"], "measured": {"spec": one["spec"], "facts": one.get("measured") or {}}} for one in servers]
    return [one for one in read if _is_measured(one)]


def _is_measured(start: Start) -> bool:
    return "beside_bytes" in (start["measured"].get("facts") or {})


def _largest(found: Iterable[Start]) -> Iterable[Start]:
    """One start of each image, model and flags: a fleet of many boxes runs few of them."""
    best: dict[str, Start] = {}
    for one in found:
        container = one["deployment"].get("container") or {}
        command = [str(word) for word in container.get("command") or []]
        flags = sorted(weighing(command[command.index("serve") + 2 :] if "serve" in command else []).items())
        key = json.dumps([container.get("image"), one["deployment"].get("manifest") or one["deployment"].get("model_path"), flags])
        if key not in best or _size(one) > _size(best[key]):
            best[key] = one
    return best.values()


def _size(start: Start) -> int:
    value = start["measured"]["facts"]["beside_bytes"]
    return value if isinstance(value, int) else 0

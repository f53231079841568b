# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters of the lock file and of the status of a fleet."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._fleet import drift, learned, lock, lock_file, maintenance, status, status_page
from ansible_collections.gb10.vllm.plugins.plugin_utils._monitoring.history import History, gap_s, span
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.line_chart import line_chart
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.plan_picture import plan_picture


def lock_content(text: str, path: str) -> lock.Content:
    """{boxes, problem}: what a lock file says, or why it cannot be read."""
    try:
        return {"boxes": lock_file.load(text, path), "problem": ""}
    except GB10Error as error:
        return {"boxes": {}, "problem": str(error)}


def lock_text(seen: Mapping[str, lock.Read], before: lock.Content, fleet_names: Sequence[str]) -> dict[str, str]:
    """{text, problem, report}: what the lock file has to hold after a run over the boxes in ``seen``, or why it must not be written; and the same to read.

    ``before``: the lock file as it is, {} where none is kept.
    """
    report = status.report_table(seen)
    if not before or before.get("problem"):
        return {"text": "", "problem": before.get("problem") or "", "report": report}
    earlier = before["boxes"]
    boxes = {name: lock.locked_box(one["address"], one["box"], earlier.get(name)) for name, one in seen.items() if one["box"]}
    try:
        return {"text": lock_file.dump(lock.merge_lock(earlier, boxes, fleet_names)), "problem": "", "report": report}
    except GB10Error as error:
        return {"text": "", "problem": str(error), "report": report}


def boxes_as_read(names: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]]) -> dict[str, lock.Read]:
    """{name: {address, box}} of boxes as they were read last: by the role fleet after something changed, else by the role preflight; {} when by none."""
    found: dict[str, lock.Read] = {}
    for name in names:
        known = hostvars[name]
        box = known["fleet_box_now"] if "fleet_box_now" in known else (known.get("preflight_result") or {}).get("box")
        found[name] = {"address": known.get("ansible_host", name), "box": box or {}}
    return found


def learned_starts(names: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]], own: str, text: str = "", path: str = "") -> list[learned.Start]:
    """What other boxes measured of their starts: those of this run by ``names``, and those that the text of the lock file at ``path`` names."""
    return learned.starts(names, hostvars.__getitem__, own, lambda: lock_content(text, path)["boxes"] if text else {})


def fleet_status(seen: Mapping[str, Any], made_at: str, routers: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The fleet as one JSON value, with what its ``routers`` think of it (router_info's by host, None for one that could not be reached)."""
    return status.status(seen, made_at, routers, time.time())


def fleet_page(fleet: Mapping[str, Any], seen: Mapping[str, Mapping[str, Any]], title: str = "GB10 fleet", history: History | None = None) -> str:
    """The HTML page of a status, with the memory picture of each box that has a plan (``plan`` in what was seen of it) and what was before."""
    pictures = {name: plan_picture(one["plan"], name) for name, one in seen.items() if one.get("plan")}
    past = {"problem": "", "pictures": [], **(history or {})}
    if history:
        past["span"] = span(history["end"] - history["start"])
    if history and not history["problem"]:
        past["pictures"] = [line_chart(one, history["start"], history["end"], gap_s(history)) for one in history["charts"]]
    return status_page.page(fleet, pictures, title, past if history else None)


FILTERS: dict[str, Callable] = {
    "boxes_as_read": boxes_as_read,
    "learned_starts": learned_starts,
    "lock_text": lock_text,
    "lock_content": lock_content,
    "lock_refused": lock.refused,
    "locked_problems": lock.locked_problems,
    "leftover_servers": drift.leftovers,
    "fleet_status": fleet_status,
    "fleet_table": status.status_table,
    "fleet_page": fleet_page,
    "fleet_report": status.report_table,
    "maintenance_work": maintenance.maintenance_work,
    "running_servers": maintenance.running_servers,
}

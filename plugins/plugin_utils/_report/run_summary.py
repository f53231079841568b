# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The end of a run in one line per box, failures first. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.plugin_utils._report.table import table
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.words import duration

STATES = ("failed", "unreachable", "put back", "held back", "ok")
# The tag of the task (roles/fleet/tasks/unlock.yml) with which all boxes of a run end when one of them failed.
END_OF_RUN = "gb10-end-of-run"
# The tag of the task (roles/server/tasks/undo.yml) with which a box ends that did nothing wrong, in a batch where another one failed.
BATCH_PUT_BACK = "gb10-put-back"
MOST_TEXT = 300
SHORT_SENTENCE = 60


def first_sentence(text: str) -> str:
    """The first sentence of a message on one line, with the second one when the first is too short to say why."""
    sentences = re.split(r"(?<=[.!?])\s+(?=[^a-z\s])", " ".join(text.split()))
    shown = sentences[0]
    if len(shown) < SHORT_SENTENCE and len(sentences) > 1:
        shown = f"{shown} {sentences[1]}"
    return shown if len(shown) <= MOST_TEXT else f"{shown[: MOST_TEXT - 3]}..."


def state_of(box: Mapping[str, Any], last_phase: str, trouble: bool) -> str:
    """``failed``, ``unreachable``, ``put back`` (well, but in the batch of one that failed), ``held back`` (well, its turn never came) or ``ok``."""
    if box["failed"]:
        return "put back" if BATCH_PUT_BACK in box.get("tags", ()) else "failed"
    if box["unreachable"]:
        return "unreachable"
    return "held back" if box.get("held_back") or (trouble and box["phase"] != last_phase) else "ok"


def natural(name: str) -> list:
    """Sort key by which spark-2 comes before spark-10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def summary(boxes: Sequence[Mapping[str, Any]], phases: Sequence[tuple[str, float]], check: bool = False) -> list[tuple[str, str]]:
    """Lines of text, each with the state it is about (``""`` for those about the whole run).

    ``boxes``: [{name, phase, changed, repairs, busy_s, failed, unreachable, held_back, step, tags, message}]; ``phases``: (name, wall seconds) in order.
    """
    last_phase = phases[-1][0] if phases else ""
    trouble = any(box["failed"] or box["unreachable"] for box in boxes)
    rows = sorted(((state_of(box, last_phase, trouble), box) for box in boxes), key=lambda row: (STATES.index(row[0]), natural(row[1]["name"])))
    states = [state for state, _box in rows]
    counts = [f"{states.count(state)} {state}" for state in STATES if state in states]
    stopped = f"; the run stopped in phase {last_phase}" if trouble and last_phase else ""
    plural = "box" if len(boxes) == 1 else "boxes"
    lines = [(f"{len(boxes)} {plural}: {', '.join(counts)}{stopped}{' (check mode: nothing was changed)' if check else ''}", "")]
    texts = table([_cells(state, box, "would change" if check else "changed") for state, box in rows], right=(5,))
    for (state, box), text in zip(rows, texts, strict=True):
        lines.append((f"  {text}", state))
        if box["repairs"]:
            lines.append((f"      repairs: {', '.join(box['repairs'])}", state))
        if state in ("failed", "unreachable", "put back"):
            lines.append((f"      {box['step']}: {first_sentence(box['message'] or 'no message')}", state))
    total_s = sum(seconds for _name, seconds in phases)
    lines.append((f"  {', '.join(f'{name} {duration(seconds)}' for name, seconds in phases)}; in all {duration(total_s)}", ""))
    return lines


def _cells(state: str, box: Mapping[str, Any], changed: str) -> tuple[str, ...]:
    return (
        state.upper() if state in ("failed", "unreachable") else state,
        box["name"],
        box["phase"] or "-",
        f"{changed} {box['changed']}" if box["changed"] else "unchanged",
        f"repaired {len(box['repairs'])}" if box["repairs"] else "",
        duration(box["busy_s"]),
    )

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a search works: one box, or all boxes of a server over several, and what came of a candidate on them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.expand import with_recipes

STAGES = ("unfit", "planned", "failed", "measured")
"""How far a box came with a candidate: its plan does not fit, or it fits, the candidate was started, and measured."""

Hosts = Mapping[str, Mapping[str, Any]]


def hosts_of(run: Sequence[str], variables: Hosts, box: str = "", server: str = "") -> list[str]:
    """The hosts a search goes to, before anything was read: one box, or those that a server over several has, or may have where the plan chose them.

    ``run``: the boxes of the run; ``box`` and ``server``: as the user names them, "" where he does not. What is wrong with them is said by the role.
    """
    first = [box if box in run else run[0]] if run else []
    known = variables[first[0]] if first else {}
    try:
        servers = [one for one in with_recipes(known.get("gb10_servers") or []) if isinstance(one, Mapping)]
    except GB10Error:
        return first
    name = server or known.get("gb10_tune_server") or (servers[0].get("name") if len(servers) == 1 else "")
    asked = next((one.get("boxes") for one in servers if one.get("name") == name), None)
    if not asked:
        return first
    return [one for one in run if not isinstance(asked, (list, tuple)) or one in asked] or first


def boxes_of(hosts: Sequence[str], variables: Hosts, server: str) -> list[str]:
    """The boxes on which a server is deployed, its head first, by what ``preflight_result`` of these hosts says; [] where it is on none."""
    for host in hosts:
        deployment = _record(variables[host], server).get("deployment")
        if deployment:
            return list((deployment.get("group") or {}).get("boxes") or [host])
    return []


def records_of(boxes: Sequence[str], variables: Hosts, server: str) -> dict[str, Mapping[str, Any]]:
    """The records of a server by box; {} for a box that has none, or is not in the run."""
    return {box: _record(variables.get(box) or {}, server) for box in boxes}


def _record(known: Mapping[str, Any], server: str) -> Mapping[str, Any]:
    box = (known.get("preflight_result") or {}).get("box") or {}
    return (box.get("servers") or {}).get(server) or {}


def came(boxes: Sequence[str], variables: Hosts, server: str) -> dict[str, str]:
    """{outcome, why, result} of a candidate on all boxes of its server: it came as far as the one that came least far, and only the head measured it.

    ``variables`` of each box: ``tune_stage``, how far it came; ``tune_why``; ``server_rank_failed``, where this box failed, and
    ``server_rank_left``, where that was because another one did.
    """
    told = {box: variables[box] for box in boxes}
    stages = {box: STAGES.index(str(one["tune_stage"])) for box, one in told.items()}
    outcome = STAGES[min(stages.values())]
    # A box says why it ended because of another one, too; that one knows more.
    fell = {box for box, one in told.items() if one.get("server_rank_failed") == server}
    own = {box for box in fell if not told[box].get("server_rank_left")} or fell
    first = sorted(told, key=lambda box: (box not in own, stages[box]))
    why = next((str(told[box]["tune_why"]) for box in first if told[box].get("tune_why")), "")
    result = str((told[boxes[0]].get("benchmark_result") or {}).get("json") or "")
    return {"outcome": outcome, "why": why, "result": result if outcome == "measured" else ""}

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What routers think of each server beside what its box says, and where they disagree. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._router.haproxy import is_held, is_up
from ansible_collections.gb10.vllm.plugins.plugin_utils._follow.controller import clock_time
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.table import table

SOON_S = 30 * 86400
HEAD = ("router", "box", "server", "the router says", "the box says", "requests", "waiting")


def routers(found: Mapping[str, Mapping[str, Any] | None], boxes: Mapping[str, Mapping[str, Any]], now_s: float) -> dict[str, Any]:
    """{router: {problem, version, certificate, servers: [{box, server, status, health, sessions, queue, drained, disagreement}]}}.

    ``found``: what router_info returned by router, nothing for one that could not be reached; ``boxes``: those of the status, with the health of each server.
    """
    health = {(name, server["server"]): server["health"] for name, box in boxes.items() for server in box["servers"]}
    return {name: _router(facts, health, now_s) for name, facts in sorted(found.items())}


def _router(facts: Mapping[str, Any] | None, health: Mapping[tuple[str, str], str], now_s: float) -> dict[str, Any]:
    if not facts:
        return {"problem": "it cannot be reached", "version": None, "certificate": "", "servers": []}
    problem = facts["problem"] if facts["version"] else "it has no HAProxy yet; the playbook router installs it"
    if facts["version"] and not facts["config"]["ours"]:
        problem = "its HAProxy has no configuration of this collection yet"
    servers = []
    for one in facts["servers"]:
        drain = facts["drains"].get(f"{one['server']}/{one['box']}")
        said = health.get((one["box"], one["server"]), "not asked")
        by = f"by {drain.get('owner')} since {clock_time(drain.get('at') or 0, now_s)} (run {drain.get('run')}, {drain.get('why')})" if drain else ""
        row = {key: one[key] for key in ("box", "server", "status", "sessions", "queue")}
        servers.append({**row, "health": said, "drained": by or ("by somebody else" if is_held(one) else ""), "disagreement": _disagreement(one, said)})
    known = {(one["box"], one["server"]) for one in facts["servers"]}
    if not problem:
        servers += [
            {"box": box, "server": server, "status": "unknown to it", "sessions": 0, "queue": 0, "health": said, "drained": "", "disagreement": "the router "
             "does not know it; the playbook router tells it"}
            for (box, server), said in health.items() if (box, server) not in known and said.startswith("answers")
        ]  # fmt: skip
    return {"problem": problem, "version": facts["version"] or None, "certificate": _ending(facts["certificate"], now_s), "servers": servers}


def _disagreement(one: Any, said: str) -> str:
    answers = said.startswith("answers")
    if answers and not is_up(one) and not is_held(one):
        return f"the box answers, but the router does not use it ({one['status']} {one['why']})".replace(" )", ")")
    if not answers and said != "not asked" and is_up(one):
        return "the router sends requests there, but the box gives no answer"
    return ""


def _ending(certificate: Mapping[str, Any] | None, now_s: float) -> str:
    """What is wrong with a router's certificate, or that it ends soon; "" where neither is."""
    if not certificate:
        return ""
    if certificate["problem"]:
        return str(certificate["problem"])
    ends = certificate["expires_at"]
    return f"its certificate ends on {certificate['expires']}" if ends and ends - now_s < SOON_S else ""


def lines(seen: Mapping[str, Any]) -> list[str]:
    """The routers as lines for the terminal, with what is worth a sentence below the table; nothing where there is none."""
    rows, notes = [], []
    for name, router in seen.items():
        notes += [f"Router {name}: {router[what]}." for what in ("problem", "certificate") if router[what]]
        for one in router["servers"]:
            rows.append((name, one["box"], one["server"], one["status"], one["health"].partition(":")[0], str(one["sessions"]), str(one["queue"])))
            if one["drained"]:
                notes.append(f"{one['box']} {one['server']} is taken out of router {name} {one['drained']}.")
            if one["disagreement"]:
                notes.append(f"{one['box']} {one['server']}: {one['disagreement']} (router {name}).")
    return [*(table([HEAD, *rows]) if rows else []), *notes]

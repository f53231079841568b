# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""In which order the servers of a box are changed, and what is stopped before: what fits in the end has to be reached step by step. Pure.

Servers are replaced one after the other. One that takes less memory than before goes before one that takes more, and one that leaves a port before
the one that comes to it. Where ports go round in a circle, the server that still holds one is stopped first and changed in its own turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.shapes import Deployment, Order, Server

RUNS = ("running", "created", "restarting")


class Place(TypedDict, total=False):
    """What a server holds of its box; nothing where it does not run."""

    port: int
    requested_bytes: int


class Move(TypedDict):
    """A server as it is and as it has to become."""

    name: str
    now: Place
    then: Place


class Step(TypedDict):
    """The next server to change, the servers that are stopped before it starts, and all that go back together when one of them fails."""

    name: str
    release: list[str]
    together: list[str]


def steps(moves: Sequence[Move]) -> list[Step]:
    """The servers in the order in which each finds its port free and its memory given back; otherwise as they are given."""
    remaining, found, released = list(moves), [], set()
    while remaining:
        pool = [one for one in remaining if _growth(one) <= 0] or remaining
        ways = {one["name"]: [other for other in _in_the_way(one, remaining) if other not in released] for one in pool}
        chosen = next((one for one in pool if not ways[one["name"]]), pool[0])
        released |= set(ways[chosen["name"]])
        found.append(Step(name=chosen["name"], release=ways[chosen["name"]], together=[]))
        remaining.remove(chosen)
    for step in found:
        if step["release"]:
            circle = _neighbours(step["name"], moves)
            step["together"] = [one["name"] for one in found if one["name"] in circle]
    return found


def _growth(move: Move) -> int:
    """Bytes that the server takes more than it holds now."""
    return int(move["then"].get("requested_bytes") or 0) - int(move["now"].get("requested_bytes") or 0)


def _in_the_way(move: Move, remaining: Sequence[Move]) -> list[str]:
    """The other servers that still hold the port this one comes to."""
    port = move["then"].get("port")
    return [other["name"] for other in remaining if other is not move and port and other["now"].get("port") == port]


def _neighbours(name: str, moves: Sequence[Move]) -> set[str]:
    """A server with all that come to a port which it or one of them leaves, and those whose port they come to."""
    near = {name}
    while True:
        ports = {port for one in moves if one["name"] in near for port in (one["now"].get("port"), one["then"].get("port")) if port}
        wider = {one["name"] for one in moves if ports & {one["now"].get("port"), one["then"].get("port")}}
        if wider <= near:
            return near
        near |= wider


def serving(servers: Sequence[Server], box: Mapping[str, Any], plan: Mapping[str, Any]) -> list[Step]:
    """The steps from what runs on a box to what is wanted; ``plan``: of the box, {} where there is none."""
    planned = {one["name"]: one for one in plan.get("servers") or []}
    moves = []
    for server in servers:
        then: Place = {"port": server["port"], "requested_bytes": (planned.get(server["name"]) or {}).get("requested_bytes") or 0}
        moves.append(Move(name=server["name"], now=_place(server["name"], box), then=then))
    return steps(moves)


def going_back(names: Sequence[str], box: Mapping[str, Any]) -> list[Step]:
    """The steps of a rollback: from what runs to the deployment that each server has in its history."""
    return steps([Move(name=name, now=_place(name, box), then=_of((_record(name, box).get("history") or [{}])[0])) for name in names])


def cannot_go_back(names: Sequence[str], box: Mapping[str, Any]) -> list[str]:
    """One phrase for each server whose earlier port is held by a server that does not go back with it."""
    held = {port: name for name in box.get("servers") or {} if (port := _place(name, box).get("port")) and name not in names}
    found = {name: _of((_record(name, box).get("history") or [{}])[0]).get("port") for name in names}
    return [f"{name} (port {port} is {held[port]}'s now)" for name, port in found.items() if port in held]


def _record(name: str, box: Mapping[str, Any]) -> Mapping[str, Any]:
    return (box.get("servers") or {}).get(name) or {}


def _of(deployment: Deployment | Mapping[str, Any]) -> Place:
    return {"port": deployment["port"], "requested_bytes": deployment.get("requested_bytes") or 0} if deployment.get("port") else {}


def _place(name: str, box: Mapping[str, Any]) -> Place:
    """What a server holds now: what its deployment says, as long as its container runs."""
    containers = (box.get("docker") or {}).get("containers") or []
    status = next((one.get("status") for one in containers if one.get("name") == f"gb10-vllm-{name}"), None)
    return _of(_record(name, box).get("deployment") or {}) if status in RUNS else {}


def in_sequence(servers: Sequence[Server], found: Sequence[Step]) -> list[Server]:
    """The same servers in the order of their steps."""
    by_name = {server["name"]: server for server in servers}
    return [by_name[step["name"]] for step in found]


def step_of(name: str, found: Sequence[Step]) -> Step:
    """The step of a server; one that stops nothing where it has none."""
    return next((step for step in found if step["name"] == name), Step(name=name, release=[], together=[]))


def deployments_before(names: Sequence[str], records: Mapping[str, Any], touched: Sequence[str], orders: Mapping[str, Order]) -> list[Deployment]:
    """What each of these servers was before this run: by its order where it was replaced, else as its record on the box still says. Some were nothing."""
    found = [orders[name].get("previous") if name in touched else (records.get(name) or {}).get("deployment") for name in names]
    return [one for one in found if one]

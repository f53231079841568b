# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Taking servers out of a router and back: who did it is written down first, and what somebody else took out stays out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.command import run
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import read_json, write_json
from ansible_collections.gb10.vllm.plugins.module_utils._router import haproxy
from ansible_collections.gb10.vllm.plugins.module_utils._router.haproxy import Ask, Seen
from ansible_collections.gb10.vllm.plugins.module_utils._router.look import DRAINS

Name = tuple[str, str]
Everybody = Callable[[], Sequence[Ask]]
Keep = Callable[[], str]
POLL_S = 1.0
TRIES = 20


def key(name: Name) -> str:
    """How a server of a box is called in the record of drains."""
    return f"{name[0]}/{name[1]}"


def words(names: Iterable[Name]) -> str:
    return ", ".join(f"{server} of {box}" for server, box in sorted(names))


class Drains:
    """What runs of this collection have drained on this router and not made ready again."""

    def __init__(self, records: str = haproxy.RECORDS) -> None:
        self.path = os.path.join(records, DRAINS)
        found = read_json(self.path)
        self.known: dict[str, Any] = found if isinstance(found, dict) else {}

    def note(self, names: Iterable[Name], owner: Mapping[str, Any], why: str) -> None:
        """Write down who takes these out, before it is done: a run that is killed in between leaves a trace."""
        for name in names:
            self.known[key(name)] = {"run": owner.get("run", ""), "owner": owner.get("owner", ""), "at": time.time(), "why": why}
        self._write()

    def forget(self, names: Iterable[Name]) -> None:
        """These are in use again."""
        gone = [self.known.pop(key(name), None) for name in list(names)]
        if gone:
            self._write()

    def _write(self) -> None:
        os.makedirs(os.path.dirname(self.path), mode=0o755, exist_ok=True)
        write_json(self.path, self.known, durable=True)


def keep_state() -> str:
    """Have HAProxy's view of its servers written down, so that a crash or a power cut changes none of it; "" or why that cannot be done."""
    done = run([haproxy.KEEP, haproxy.SOCKET, haproxy.CONFIG, haproxy.STATE_FILE], timeout_s=30)
    return "" if done.returncode == 0 else (done.stderr.strip() or f"{haproxy.KEEP} ended with {done.returncode}")[-300:]


def _seen(everybody: Everybody) -> dict[Name, Seen]:
    """What the router says of its servers, by name."""
    return {(one["server"], one["box"]): one for one in haproxy.servers(everybody())}


def _tell(everybody: Everybody, names: Sequence[Name], state: str, keep: Keep) -> str:
    """Tell HAProxy, have it written down and see that it is so; why it could not be written down, or "". GB10Error where HAProxy forgets it again.

    A reload of somebody else's in between starts a process that has not heard of it.
    """
    wanted = {"drain": "drain", "ready": ""}[state]
    for attempt in range(TRIES if names else 0):
        asks = everybody()
        for name in names:
            haproxy.told(asks, *name, state)
        unkept = keep()
        seen = _seen(everybody)
        if all(haproxy.held(seen[name]) == wanted for name in names if name in seen):
            return unkept
        time.sleep(0.1 * attempt)
    if names:
        raise GB10Error(f"HAProxy was told to set {words(names)} to {state} and says that they are not; look at `journalctl -u haproxy`.")
    return ""


def is_others(one: Mapping[str, Any], noted: bool) -> bool:
    """Whether somebody else took a server out. Maintenance is never ours, and a drain is only where it was ``noted``."""
    return haproxy.held(one) == "maint" or (haproxy.is_held(one) and not noted)


def last_of(seen: Mapping[Name, Seen], names: Iterable[Name]) -> list[Name]:
    """Those of ``names`` that take requests now while no other server of the same model would."""
    wanted = set(names)
    left = {server for (server, box), one in seen.items() if haproxy.is_up(one) and (server, box) not in wanted}
    return sorted(name for name in wanted if name in seen and haproxy.is_up(seen[name]) and name[0] not in left)


def drain(
    everybody: Everybody,
    names: Sequence[Name],
    owner: Mapping[str, Any],
    why: str,
    *,
    last: bool = False,
    records: str = haproxy.RECORDS,
    keep: Keep | None = None,
) -> dict[str, Any]:
    """Let no new request go to these servers: {drained, others, taken_over, unkept}, lists of names.

    ``others``: those that somebody took out by other means; they stay as they are. ``taken_over``: those that another run had drained and left so.
    ``unkept``: why a crash of HAProxy would lose the drain, or "". GB10Error before anything is done where a model would have no server left, unless ``last``.
    """
    seen = _seen(everybody)
    present = [name for name in names if name in seen]
    lonely = [] if last else last_of(seen, present)
    if lonely:
        raise GB10Error(
            f"{words(lonely)} is the last one that the router has for its model: whoever asks would be refused meanwhile. Bring another box up first, or "
            "go on with -e gb10_drain_last=true. This router drained nothing."
        )
    record = Drains(records)
    # What somebody has put back by hand is no drain of ours any more, and the next one there may be his.
    record.forget(name for name in seen if key(name) in record.known and not haproxy.is_held(seen[name]))
    others = [name for name in present if is_others(seen[name], key(name) in record.known)]
    ours = [name for name in present if name not in others]
    before = {key(name): record.known[key(name)] for name in ours if key(name) in record.known}
    if ours:
        record.note(ours, owner, why)
    unkept = _tell(everybody, ours, "drain", keep or keep_state)
    left = {name: one for name, one in before.items() if one.get("run") != owner.get("run")}
    return {"drained": [key(one) for one in ours], "others": [key(one) for one in others], "taken_over": left, "unkept": unkept}


def busy(everybody: Everybody, names: Iterable[Name]) -> dict[str, int]:
    """{name: sessions and waiting requests} of those servers that have any."""
    seen = _seen(everybody)
    held = {name: seen[name]["sessions"] + seen[name]["queue"] for name in names if name in seen}
    return {key(name): count for name, count in held.items() if count}


def wait_empty(everybody: Everybody, names: Sequence[Name], timeout_s: float) -> dict[str, int]:
    """Wait until no request is in these servers or waits for them; what is left after ``timeout_s`` seconds, as ``busy`` says it."""
    until = time.monotonic() + timeout_s
    while (left := busy(everybody, names)) and time.monotonic() < until:
        time.sleep(min(POLL_S, timeout_s))
    return left


def ready(everybody: Everybody, names: Sequence[Name], agree_s: float, *, records: str = haproxy.RECORDS, keep: Keep | None = None) -> dict[str, Any]:
    """Use these servers again: {ready, others, away, unkept}. Only what a run of ours took out is put back.

    ``others``: those that somebody else holds, left so. ``away``: {name: status} of those that the router does not use after ``agree_s`` seconds.
    ``unkept``: why a crash of HAProxy would have them drained again, or "".
    """
    record = Drains(records)
    seen = _seen(everybody)
    ours = [name for name in names if key(name) in record.known and not (name in seen and is_others(seen[name], True))]
    unkept = _tell(everybody, [name for name in ours if name in seen], "ready", keep or keep_state)
    if ours:
        record.forget(ours)
    until = time.monotonic() + agree_s
    while True:
        now = _seen(everybody)
        away = {key(name): f"{now[name]['status']} {now[name]['why']}".strip() for name in ours if name in now and not haproxy.is_up(now[name])}
        if not away or time.monotonic() > until:
            break
        time.sleep(min(POLL_S, agree_s))
    others = [key(name) for name in names if name in now and name not in ours and haproxy.is_held(now[name])]
    return {"ready": [key(one) for one in ours], "others": others, "away": away, "unkept": unkept}

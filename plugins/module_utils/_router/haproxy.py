# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A running HAProxy, asked and told through its sockets: the process that takes requests and those that only finish theirs after a reload."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypedDict

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error

MARK = "# Managed by the Ansible collection gb10.vllm; changes made here are replaced by its next run."
CONFIG = "/etc/haproxy/haproxy.cfg"
SOCKET = "/run/haproxy/admin.sock"
MASTER = "/run/haproxy-master.sock"
STATE_FILE = "/var/lib/gb10-vllm-router/state"
"""What HAProxy reads at its start: which servers are drained and which are dead."""
RECORDS = "/var/lib/gb10-vllm-router"
BACKEND = "gb10_"
"""Before the name of a server: its backend."""
KEEP = "/usr/local/lib/gb10-vllm/keep-state"
"""The role router's keep_state.py: writes ``STATE_FILE``."""
MAINTENANCE, DRAINED = 0x01 | 0x04, 0x08
"""Bits of ``srv_admin_state`` (HAProxy: include/haproxy/server-t.h, SRV_ADMF_FMAINT, SRV_ADMF_CMAINT, SRV_ADMF_FDRAIN)."""
LONGEST = 64 * 2**20
PATIENCE_S = 5.0
WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]*")


class Seen(TypedDict):
    """One server of one box as HAProxy sees it. ``sessions`` and ``queue`` are of all its processes."""

    held: str  # `drain` or `maint` where somebody took it out, also while it is down, which is all that its status says then
    server: str
    box: str
    status: str
    why: str
    sessions: int
    queue: int


Ask = Callable[[str], str]


def connected(path: str, timeout_s: float) -> socket.socket:
    """A connection to a socket of HAProxy's. For some moments around a start or a reload nobody listens there."""
    until = time.monotonic() + min(timeout_s, PATIENCE_S)
    while True:
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            line.settimeout(timeout_s)
            line.connect(path)
            return line
        except OSError as error:
            line.close()
            if not isinstance(error, ConnectionRefusedError) or time.monotonic() > until:
                raise
        time.sleep(0.05)


def _silent(path: str, error: OSError) -> GB10Error:
    return GB10Error(f"HAProxy does not answer at {path} ({error.strerror or error}); look at `systemctl status haproxy`.")


def ask_at(path: str, timeout_s: float = 10.0) -> Ask:
    """A function that gives a command to HAProxy at this socket and returns its answer. GB10Error when nobody answers there."""

    def once(command: str) -> str:
        found = bytearray()
        with connected(path, timeout_s) as line:
            line.sendall(command.encode() + b"\n")
            line.shutdown(socket.SHUT_WR)
            while len(found) < LONGEST and (part := line.recv(65536)):
                found += part
        return found.decode(errors="replace")

    def ask(command: str) -> str:
        until = time.monotonic() + min(timeout_s, PATIENCE_S)
        while True:
            try:
                return once(command)
            except ConnectionResetError as error:  # its socket changes hands in a start or a reload; what we say may be said twice
                if time.monotonic() > until:
                    raise _silent(path, error) from None
                time.sleep(0.05)
            except OSError as error:
                raise _silent(path, error) from None

    return ask


def former(ask_master: Ask) -> list[int]:
    """The ids of the processes that finish their requests since a reload and take no new ones, from `show proc` of the master."""
    text = ask_master("show proc").partition("# old workers")[2].partition("# programs")[0]
    return [int(line.split()[0]) for line in text.splitlines() if re.match(r"\d+\s+worker", line)]


def everybody(path: str = SOCKET, master: str = MASTER) -> list[Ask]:
    """A way to ask each process of HAProxy: the present one first, then those that only finish. GB10Error when the present one does not answer."""
    asks: list[Ask] = [ask_at(path)]
    if not os.path.exists(master):
        return asks
    ask_master = ask_at(master)

    def at(process: int) -> Ask:
        return lambda command: ask_master(f"@!{process} {command}")

    return [*asks, *(at(process) for process in former(ask_master))]


def rows(text: str) -> list[dict[str, str]]:
    """The lines of `show stat` or `show servers state` by the names in their head."""
    lines = [line for line in text.splitlines() if line.strip()]
    head = next((line for line in lines if line.startswith("# ")), "")
    comma = "," in head
    names = [name.strip() for name in head[2:].split("," if comma else None)]
    found = []
    for line in lines[lines.index(head) + 1 :] if head else []:
        words = line.split(",") if comma else line.split()
        if len(words) >= min(len(names), 18) and not line.startswith("#"):
            found.append(dict(zip(names, words, strict=False)))
    return found


def servers(asks: Iterable[Ask]) -> list[Seen]:
    """Every server behind HAProxy that is ours, as its present process judges it; sessions and queue are those of all."""
    found: dict[tuple[str, str], Seen] = {}
    for position, ask in enumerate(asks):
        for row in rows(ask("show stat")):
            backend, box = row.get("pxname", ""), row.get("svname", "")
            if not backend.startswith(BACKEND) or box in ("FRONTEND", "BACKEND"):
                continue
            key = backend.removeprefix(BACKEND), box
            if position == 0:
                why = " ".join(word for word in (row.get("check_status", ""), row.get("agent_status", "")) if word)
                status = row.get("status", "")
                found[key] = {"server": key[0], "box": box, "status": status, "why": why, "sessions": 0, "queue": 0, "held": by_status(status)}
            if key in found:
                found[key]["sessions"] += int(row.get("scur") or 0)
                found[key]["queue"] += int(row.get("qcur") or 0)
        for row in rows(ask("show servers state")) if position == 0 else []:
            key = row.get("be_name", "").removeprefix(BACKEND), row.get("srv_name", "")
            if key in found and row.get("srv_admin_state", "").isdigit():
                found[key]["held"] = by_admin_state(int(row["srv_admin_state"]))
    return list(found.values())


def by_status(status: str) -> str:
    """`drain` or `maint` for a server whose status says so."""
    return "drain" if status.startswith("DRAIN") else "maint" if status.startswith("MAINT") else ""


def by_admin_state(bits: int) -> str:
    """`drain` or `maint` for a server that somebody took out; one whose name nobody resolves is in maintenance, and nobody has put it there."""
    return "maint" if bits & MAINTENANCE else "drain" if bits & DRAINED else ""


def is_up(one: Seen) -> bool:
    """Whether new requests go there."""
    return one["status"].startswith(("UP", "no check"))


def is_held(one: Mapping[str, Any]) -> bool:
    """Whether somebody drained it or took it out."""
    return bool(held(one))


def held(one: Mapping[str, Any]) -> str:
    """`drain`, `maint` or "": what somebody did to a server; of one that an earlier release looked at its status says it."""
    return str(one.get("held", by_status(one["status"])))


def told(asks: Iterable[Ask], server: str, box: str, state: str) -> None:
    """Tell every process to drain a server or to use it again. GB10Error when the present one refuses."""
    if not WORD.fullmatch(server) or not WORD.fullmatch(box):
        raise GB10Error(f"{server!r} of {box!r} are no names that HAProxy could know.")
    for position, ask in enumerate(asks):
        answer = ask(f"set server {BACKEND}{server}/{box} state {state}").strip()
        if answer and position == 0:
            raise GB10Error(f"HAProxy did not set {server} of {box} to {state}: {answer}")


def running(ask: Ask) -> str:
    """The digest of our configuration that the present process has read; "" for another one."""
    line = next((line for line in ask("show info").splitlines() if line.lower().startswith("description:")), "")
    words = line.split()
    return words[2] if words[1:2] == ["gb10"] and len(words) > 2 else ""


def summary(config: str) -> dict[str, Any]:
    """Whose a configuration is: {ours: whether this collection wrote it, digest: of ours}."""
    ours = config.startswith(MARK)
    digest = next((line.split()[-1] for line in config.splitlines() if line.strip().startswith("description gb10 ")), "")
    return {"ours": ours, "digest": digest if ours else ""}

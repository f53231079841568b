# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Imitated boxes behind a router with the real HAProxy, and clients that stream through it without a pause."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imitation

ROOT = Path(__file__).parents[2]
ROUTER = "router-1"
KEY, BOX_KEY = "a-key-of-anna-000000000000", "router-key-of-the-whole-fleet-0123456789"
WISHES = {"gb10_routers": "fleet_routers", "gb10_router_key": BOX_KEY, "gb10_router_keys": {"anna": KEY}}


@contextlib.contextmanager
def fleet(folder: Path, routers: tuple[str, ...] = (ROUTER,), **wishes: Any) -> Iterator[imitation.Boxes]:
    """Two boxes that serve, and their routers."""
    with imitation.boxes(folder, 2, routers) as up:
        up.wish(**WISHES, **wishes)
        up.play("site")
        yield up


def inside(boxes: imitation.Boxes, router: str = ROUTER) -> list[str]:
    """What a command begins with that is to run in the network of a router."""
    return ["nsenter", "-t", boxes.pid(router), "-n", "--"]


@contextlib.contextmanager
def load(boxes: imitation.Boxes, clients: int = 16, tokens: int = 15, router: str = ROUTER) -> Iterator[dict[str, Any]]:
    """Clients that ask the router meanwhile; what they saw afterwards (tests/boxes/load), {asked, good, failed, first_s}."""
    place = boxes.folder / f"load-{time.monotonic_ns()}"
    place.mkdir()
    (place / "key").write_text(KEY)
    words = [f"https://{boxes.address(router)}:8443", "tiny", "--clients", str(clients), "--tokens", str(tokens)]
    for name in ("key-file", "stop", "report"):
        words += [f"--{name}", str(place / name.removesuffix("-file"))]
    running = subprocess.Popen([*inside(boxes, router), sys.executable, str(ROOT / "tests/boxes/load"), *words], stderr=subprocess.PIPE, text=True)
    seen: dict[str, Any] = {}
    try:
        time.sleep(1)
        yield seen
    finally:
        (place / "stop").touch()
        said = running.communicate(timeout=120)[1]
    assert running.returncode == 0, said
    seen.update(json.loads((place / "report").read_text()))


def whole(seen: dict[str, Any]) -> bool:
    """Whether clients asked all the time and no request of theirs failed."""
    assert seen["failed"] == [] and seen["good"] > 50, (seen["failed"][:5], len(seen["failed"]), seen["good"])
    return True


def servers(boxes: imitation.Boxes, router: str = ROUTER) -> dict[str, str]:
    """{box: status} as a router has it."""
    text = boxes.ask(router, "echo 'show stat' | python3 -c 'import socket,sys; s=socket.socket(1); s.connect(\"/run/haproxy/admin.sock\"); "
                             "s.sendall(sys.stdin.buffer.read()); print(s.makefile().read())'")  # fmt: skip
    rows = [line.split(",") for line in text.splitlines() if line.startswith("gb10_")]
    return {row[1]: row[17] for row in rows if row[1] not in ("FRONTEND", "BACKEND")}


def kept_drained(boxes: imitation.Boxes, router: str = ROUTER) -> list[str]:
    """The boxes that a router's HAProxy would have drained after a crash; one that is down as well says in its status only that."""
    lines = boxes.ask(router, "cat /var/lib/gb10-vllm-router/state").splitlines()
    head = next(line for line in lines if line.startswith("# "))[2:].split()
    rows = [dict(zip(head, line.split(), strict=False)) for line in lines if not line.startswith("#")]
    return [row["srv_name"] for row in rows if row.get("srv_admin_state") == "8"]

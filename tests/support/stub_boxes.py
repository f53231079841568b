# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stub engines that are processes of their own, each in a network of its own whose link can be cut; and clients that stream through a router."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import real_router

ROOT = Path(__file__).parents[2]
PORT = 8000
FIRST_S = 0.4
"""Until the first token: more than this machine adds, so that what is measured is where a request went."""
ENGINE = f"""
import signal, sys
sys.path[:0] = {[str(ROOT / ".ansible/collections"), str(ROOT / "tests/support")]!r}
import real_router
engine = real_router.StubEngine(sys.argv[1], "tiny", "0.0.0.0", {PORT}, 0.1, {FIRST_S})
signal.pause()
"""


class Box:
    """spark-01 at 10.78.1.2 and so on."""

    def __init__(self, number: int) -> None:
        self.name, self.link, self.address = f"spark-{number:02}", f"stub{number}", f"10.78.{number}.2"
        self.network = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        pid = str(self.network.pid)
        until = time.monotonic() + 30
        while Path(f"/proc/{pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink():
            assert time.monotonic() < until
            time.sleep(0.02)
        inside = ["nsenter", "-t", pid, "-n"]
        for command in (
            f"ip link add {self.link} type veth peer name box netns {pid}",
            f"ip addr add 10.78.{number}.1/24 dev {self.link}",
            f"ip link set {self.link} up",
        ):
            subprocess.run(command.split(), check=True)
        for command in (f"ip addr add {self.address}/24 dev box", "ip link set box up", "ip link set lo up"):
            subprocess.run([*inside, *command.split()], check=True)
        self.engine = subprocess.Popen([*inside, sys.executable, "-c", ENGINE, self.name])
        while True:
            with contextlib.suppress(OSError), socket.create_connection((self.address, PORT), timeout=1):
                break
            assert time.monotonic() < until + 60 and self.engine.poll() is None
            time.sleep(0.1)

    def kill(self) -> None:
        self.engine.kill()
        self.engine.wait()

    def cut(self) -> None:
        subprocess.run(["ip", "link", "set", self.link, "down"], check=True)

    def close(self) -> None:
        for one in (self.engine, self.network):
            one.kill()
            one.wait()
        subprocess.run(["ip", "link", "del", self.link], check=False, stderr=subprocess.DEVNULL)


def behind(boxes: list[Box]) -> list[dict[str, Any]]:
    return [real_router.behind(one.name, "tiny", one.address, PORT, ["tiny"], maxconn=16) for one in boxes]


@contextlib.contextmanager
def load(router: real_router.Router, clients: int = 16, tokens: int = 10) -> Iterator[dict[str, Any]]:
    """Clients that ask without a pause meanwhile; what they saw afterwards (tests/boxes/load)."""
    place = router.place / f"load-{time.monotonic_ns()}"
    place.mkdir()
    (place / "key").write_text(real_router.CLIENT_KEYS["anna"])
    words = [f"https://127.0.0.1:{router.given['port']}", "tiny", "--clients", str(clients), "--tokens", str(tokens)]
    for name in ("key-file", "stop", "report"):
        words += [f"--{name}", str(place / name.removesuffix("-file"))]
    running = subprocess.Popen([sys.executable, str(ROOT / "tests/boxes/load"), *words])
    seen: dict[str, Any] = {}
    try:
        time.sleep(3)
        yield seen
    finally:
        (place / "stop").touch()
        running.wait(120)
    seen.update(json.loads((place / "report").read_text()))

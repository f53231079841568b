# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two routers with the real HAProxy and the real keepalived, each in a network of its own on one switch, and two stub engines and a client beside them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import real_router
from ansible_collections.gb10.vllm.plugins.plugin_utils._router import floating

ROOT = Path(__file__).parents[2]
FLOATING = "10.79.0.100"
ROUTERS = {"r1": "10.79.0.1", "r2": "10.79.0.2"}
ENGINES = {"spark-01": "10.79.0.11", "spark-02": "10.79.0.12"}
PORT, AGENT_PORT, ROUTER_PORT = 8000, 8089, 8443
ENGINE = f"""
import signal, sys
sys.path[:0] = {[str(ROOT / ".ansible/collections"), str(ROOT / "tests/support")]!r}
import real_router
engine = real_router.StubEngine(sys.argv[1], "tiny", sys.argv[2], {PORT})
agent = real_router.StubAgent(sys.argv[2], {AGENT_PORT})
signal.pause()
"""
ASK = """
import http.client, json, ssl, sys
line = http.client.HTTPSConnection(sys.argv[1], int(sys.argv[2]), timeout=3, context=ssl._create_unverified_context())
line.request("POST", "/v1/completions", json.dumps({"model": "tiny", "prompt": "a", "max_tokens": 1}), {"Authorization": "Bearer " + sys.stdin.read()})
print(line.getresponse().read().decode())
"""


def keepalived() -> str | None:
    return shutil.which("keepalived", path="/usr/sbin:/usr/bin")


def until(what: Callable[[], object], timeout_s: float, said: Callable[[], str] = str) -> float:
    """Seconds until it is so."""
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < timeout_s, said()
        time.sleep(0.1)
    return time.monotonic() - began


class Network:
    """A network namespace that lives as long as this object."""

    def __init__(self) -> None:
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        own = Path("/proc/self/ns/net").readlink()
        until(lambda: Path(f"/proc/{self.holder.pid}/ns/net").readlink() != own, 30)
        self.inside = ["nsenter", "-t", str(self.holder.pid), "-n", "--"]
        self.run("ip link set lo up")

    def run(self, command: str) -> str:
        return subprocess.run([*self.inside, *command.split()], check=True, capture_output=True, text=True).stdout

    def close(self) -> None:
        self.holder.kill()
        self.holder.wait()


class RouterHost:
    """A host with HAProxy and keepalived, at one end of a cable to the switch."""

    def __init__(self, name: str, switch: Network, place: Path, checks: Path) -> None:
        self.name, self.address, self.switch, self.place = name, ROUTERS[name], switch, place
        place.mkdir()
        self.network = Network()
        switch.run(f"ip link add {name} type veth peer name lan netns {self.network.holder.pid}")
        for command in (f"ip link set {name} master switch", f"ip link set {name} up"):
            switch.run(command)
        for command in (f"ip addr add {self.address}/24 dev lan", "ip link set lan up"):
            self.network.run(command)
        servers = [real_router.behind(box, "tiny", address, PORT, ["tiny"]) for box, address in ENGINES.items()]
        given = real_router.settings(address="0.0.0.0", port=ROUTER_PORT, agent_port=AGENT_PORT)
        self.router = real_router.Router(place, servers, given, self.network.inside)
        text = floating.configuration(name, {"address": f"{FLOATING}/24"}, ROUTERS, {self.address: "lan"}, ROUTER_PORT)
        (place / "keepalived.conf").write_text(text.replace(floating.ANSWERS, str(checks)))
        pids = [f"--{what}={place / what}" for what in ("pid", "vrrp_pid", "checkers_pid")]
        command = [*self.network.inside, str(keepalived()), "--dont-fork", "--log-console", f"--use-file={place}/keepalived.conf", *pids]
        self.keepalived = subprocess.Popen(command, stdout=(place / "said").open("w"), stderr=subprocess.STDOUT)

    def has_it(self) -> bool:
        """Whether this one has the floating address."""
        return f"{FLOATING}/" in self.network.run("ip -o -4 addr show dev lan")

    def tell_haproxy(self, what: signal.Signals) -> None:
        """A signal to HAProxy's worker and its master."""
        for pid in (int(self.router.worker().split()[-1]) if what != signal.SIGCONT else self.hung, self.router.process.pid):
            if what == signal.SIGSTOP and pid != self.router.process.pid:
                self.hung = pid
            os.kill(pid, what)

    def cable(self, state: str) -> None:
        self.switch.run(f"ip link set {self.name} {state}")

    def close(self) -> None:
        self.keepalived.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.keepalived.wait(10)
        self.keepalived.kill()
        self.router.close()
        self.network.close()


class Pair:
    """All of it."""

    def __init__(self, place: Path) -> None:
        self.switch = Network()
        for command in ("ip link add switch type bridge", "ip link set switch up", "ip addr add 10.79.0.254/24 dev switch"):
            self.switch.run(command)
        for address in ENGINES.values():
            self.switch.run(f"ip addr add {address}/24 dev switch")
        self.engines = [subprocess.Popen([*self.switch.inside, sys.executable, "-c", ENGINE, box, address]) for box, address in ENGINES.items()]
        self.checks = Path(tempfile.mkdtemp(prefix="gb10-pair-"))
        self.checks.chmod(0o755)
        check = self.checks / "router-answers"
        check.write_text(f"#!/usr/bin/python3\n{(ROOT / 'roles/router/files/answers.py').read_text()}")
        check.chmod(0o755)
        self.hosts = {name: RouterHost(name, self.switch, place / name, check) for name in ROUTERS}

    def owner(self) -> str:
        """Who has the floating address; "" for nobody or, for a moment, both."""
        names = [name for name, host in self.hosts.items() if host.has_it()]
        return names[0] if len(names) == 1 else ""

    def said(self) -> str:
        return "\n".join((host.place / file).read_text()[-1500:] for host in self.hosts.values() for file in ("said", "log"))

    def asked(self) -> str:
        """Which box answered a client at the floating address; "" where nobody did."""
        words = [*self.switch.inside, sys.executable, "-c", ASK, FLOATING, str(ROUTER_PORT)]
        done = subprocess.run(words, input=real_router.CLIENT_KEYS["anna"], capture_output=True, text=True, check=False)
        try:
            return str(json.loads(done.stdout).get("by", ""))
        except ValueError:
            return ""

    def close(self) -> None:
        for host in self.hosts.values():
            host.close()
        for one in self.engines:
            one.kill()
            one.wait()
        self.switch.close()
        shutil.rmtree(self.checks)

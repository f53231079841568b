# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the watch of a box leaves, told by the real agent over systemd's socket activation, and what the real HAProxy makes of it."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
import real_router

ROOT = Path(__file__).parents[2]
AGENT = ROOT / "roles/server/files/agent.sh"
SOCKET = ROOT / "roles/server/templates/gb10-vllm-agent.socket.j2"
ACTIVATE = shutil.which("systemd-socket-activate")
pytestmark = pytest.mark.skipif(not real_router.installed() or not ACTIVATE, reason="needs HAProxy (tests/setup --router) and systemd's programs")


@pytest.fixture
def routed(tmp_path):
    """(router, where the watch leaves its word, port of the agent): one box, as its socket unit has it (Accept=yes)."""
    said, place = tmp_path / "said", tmp_path / "router"
    said.mkdir()
    place.mkdir()
    agent = tmp_path / "agent"
    agent.write_text("#!/bin/sh\n" + AGENT.read_text().replace("/run/gb10-vllm-agent", str(said)))
    given = real_router.settings()
    command = [ACTIVATE, "--accept", "--inetd", f"--listen=127.0.0.2:{given['agent_port']}", "/bin/sh", str(agent)]
    listening = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    engine = real_router.StubEngine("spark-01", "tiny", "127.0.0.2")
    router = real_router.Router(place, [real_router.behind("spark-01", "tiny", "127.0.0.2", engine.port, ["tiny"])], given)
    yield router, said, given["agent_port"]
    router.close()
    engine.close()
    listening.terminate()
    listening.wait()


def status(router):
    return router.seen()["tiny", "spark-01"]


def test_a_router_learns_within_seconds_what_the_watch_knows(routed):
    router, said, _port = routed
    router.wait(lambda: "L7OK" in status(router)["why"] and status(router)["status"] == "UP", 15)
    for word, seen in (("down\n", "DOWN (agent)"), ("up\n", "UP"), ("down\n", "DOWN (agent)")):
        (said / "tiny").write_text(word)
        began = time.monotonic()
        router.wait(lambda: status(router)["status"] == seen, 15)  # noqa: B023
        assert time.monotonic() - began < 15
    (said / "tiny").unlink()
    router.wait(lambda: status(router)["status"] == "UP", 15)


def test_words_that_would_change_what_an_operator_set_change_nothing(routed):
    router, said, _port = routed
    real_router.haproxy.told(router.asks(), "tiny", "spark-01", "drain")
    for word in ("ready\n", "up ready\n", "up\n"):
        (said / "tiny").write_text(word)
        time.sleep(4)
        assert status(router)["held"] == "drain"


def test_whoever_asks_without_a_pause_does_not_keep_a_router_from_its_answer(routed):
    router, said, port = routed
    router.wait(lambda: status(router)["status"] == "UP", 15)
    until = time.monotonic() + 5
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.2", port), timeout=1) as line:
            line.sendall(b"tiny\n")
    (said / "tiny").write_text("down\n")
    router.wait(lambda: status(router)["status"] == "DOWN (agent)", 15)


def test_a_flood_cannot_end_the_socket_for_good():
    """By default systemd gives up a socket that is asked more than 200 times within 2 s: no router would ever be told again."""
    lines = SOCKET.read_text().splitlines()
    assert {"TriggerLimitIntervalSec=0", "MaxConnections=64", "MaxConnectionsPerSource=16"} <= set(lines)

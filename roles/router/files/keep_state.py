# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keeps what HAProxy knows of its servers, before it reads its configuration anew: which are drained and which are dead.

    keep-state SOCKET CONFIGURATION FILE      # what the HAProxy at this socket knows: before a reload or a stop, and after a drain
    keep-state CONFIGURATION FILE             # what was kept, before a start: the configuration may be another one by now

Without it a reload would use a drained server again. It stands alone: Python's standard library, whatever the host brings.
"""

from __future__ import annotations

import os
import socket
import sys


def asked(path: str, command: str) -> str:
    """What HAProxy answers at its socket."""
    found = bytearray()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(10)
        line.connect(path)
        line.sendall(command.encode() + b"\n")
        line.shutdown(socket.SHUT_WR)
        while part := line.recv(65536):
            found += part
    return found.decode(errors="replace")


CONFIGURED = {"srv_check_port": "0", "srv_check_addr": "-", "srv_agent_port": "0", "srv_agent_addr": "-"}
"""What HAProxy takes from its configuration where the state says nothing of it (HAProxy: src/server_state.c, srv_state_srv_update)."""


def configured(config: str) -> dict[tuple[str, str], dict[str, str]]:
    """{(backend, server): {host, srv_port, srv_use_ssl}} of a configuration."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    backend = ""
    for line in config.splitlines():
        words = line.split()
        if words[:1] == ["backend"] and len(words) > 1:
            backend = words[1]
        elif words[:1] == ["server"] and len(words) > 2:
            host, _colon, port = words[2].rpartition(":")
            found[backend, words[1]] = {"host": host.strip("[]"), "srv_port": port, "srv_use_ssl": "1" if "ssl" in words[3:] else "0"}
    return found


def as_configured(text: str, config: str) -> str:
    """`show servers state` with all that a configuration says of a server itself; HAProxy would go on with what the state says, whatever it reads there.

    What is left of the state: who is drained, in maintenance or dead, weights and checks that somebody set, and the last address of a name that is the same.
    """
    servers = configured(config)
    lines = [line for line in text.splitlines() if line.strip()]
    head = next((line for line in lines if line.startswith("# ")), "# ")[2:].split()
    done = []
    for line in lines:
        words = line.split()
        row = dict(zip(head, words, strict=False)) if not line.startswith("#") else {}
        here = servers.get((row.get("be_name", ""), row.get("srv_name", "")))
        if here:
            address = row.get("srv_addr", "-") if row.get("srv_fqdn") == here["host"] else "-"
            wanted = {**CONFIGURED, **here, "srv_addr": address}
            line = " ".join(wanted.get(name, word) for name, word in zip(head, words, strict=False))
        done.append(line)
    return "\n".join(done or ["1"]) + "\n"


def kept(path: str) -> str:
    """What was kept before; "" where there is nothing."""
    try:
        with open(path, encoding="utf-8") as handle:
            return handle.read()
    except FileNotFoundError:
        return ""


def write(target: str, text: str) -> None:
    """Whole or not at all, also where the power goes."""
    with open(target + ".new", "w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(target + ".new", target)
    folder = os.open(os.path.dirname(target) or ".", os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def main() -> int:
    if len(sys.argv) not in (3, 4):
        print(__doc__, file=sys.stderr)
        return 2
    config, target = sys.argv[-2:]
    text = asked(sys.argv[1], "show servers state") if len(sys.argv) == 4 else kept(target)
    if not text.startswith("1") and len(sys.argv) == 4:
        print(f"HAProxy said no state of its servers: {text[:200]}", file=sys.stderr)
        return 1
    with open(config, encoding="utf-8") as handle:
        write(target, as_configured(text, handle.read()))
    return 0


if __name__ == "__main__":
    sys.exit(main())

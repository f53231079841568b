# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keeps what HAProxy knows of its servers, before it reads its configuration anew: which are drained and which are dead. systemd calls it.

    keep-state SOCKET CONFIGURATION FILE

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


def state_with_ports(text: str, config: str) -> str:
    """`show servers state` with the ports of a configuration: HAProxy would go on with those of the state, whatever the configuration says."""
    ports: dict[tuple[str, str], str] = {}
    backend = ""
    for line in config.splitlines():
        words = line.split()
        if words[:1] == ["backend"] and len(words) > 1:
            backend = words[1]
        elif words[:1] == ["server"] and len(words) > 2:
            ports[backend, words[1]] = words[2].rpartition(":")[2]
    lines = [line for line in text.splitlines() if line.strip()]
    head = next((line for line in lines if line.startswith("# ")), "# ")[2:].split()
    where = {name: head.index(name) for name in ("be_name", "srv_name", "srv_port") if name in head}
    done = []
    for line in lines:
        words = line.split()
        if len(where) == 3 and not line.startswith("#") and len(words) > where["srv_port"]:
            words[where["srv_port"]] = ports.get((words[where["be_name"]], words[where["srv_name"]]), words[where["srv_port"]])
            line = " ".join(words)
        done.append(line)
    return "\n".join(done or ["1"]) + "\n"


def main() -> int:
    if len(sys.argv) != 4:
        print(__doc__, file=sys.stderr)
        return 2
    path, config, target = sys.argv[1:]
    text = asked(path, "show servers state")
    if not text.startswith("1"):
        print(f"HAProxy said no state of its servers: {text[:200]}", file=sys.stderr)
        return 1
    with open(config, encoding="utf-8") as handle:
        kept = state_with_ports(text, handle.read())
    with open(target + ".new", "w", encoding="utf-8") as handle:
        handle.write(kept)
    os.replace(target + ".new", target)
    return 0


if __name__ == "__main__":
    sys.exit(main())

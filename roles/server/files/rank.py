# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One box of a vLLM server over several; systemd runs it as the unit's main process.

    rank run NAME    wait for the other boxes, run the container, end it when one of them is lost
    rank over NAME   the start is over: end the container if it still runs, and take away what closed the ports of the ranks

It waits until the other boxes are there, starts the container, and ends it as soon as one of them is lost, so that all of them start again
together: vLLM's head notices a dead rank with the first unlucky request, and its other ranks never notice a dead head. The head is tied to every other
rank, each of these to the head.

What it goes by: a rank keeps its connections to the head's master port for as long as it lives, so one that had some and has none of them any more is
another process or none; and each of these programs says on a port of its own, to whoever asks, what it is at (waiting, starting, met, answered), and by a
word of its own which start that is: a rank may die between two looks, before or after it met. With it goes a digest of the deployment: vLLM compares
nothing of its ranks, and a box that was lost while the others were deployed would meet them with what it had before.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import ipaddress
import json
import os
import secrets
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse

STATE_DIR = os.environ.get("GB10_STATE_DIR", "/var/lib/gb10-vllm")
GUARD = os.environ.get("GB10_GUARD", "/usr/local/lib/gb10-vllm/guard")
LOOK_S = float(os.environ.get("GB10_LOOK_S", "5"))
PATIENCE_LOOKS = 3
"""So often in a row a box may not answer before it counts as lost."""
ASK_S = 3.0
STOP_S = 10
IP_FREEBIND = 15  # the address may come up later than this
ESTABLISHED = "01"
START = secrets.token_hex(8)
# What differs from rank to rank, and from box to box (_decide/ranks.py: a test compares them).
OF_A_RANK = ("--node-rank", "--headless", "--host", "--middleware", "--ssl-certfile", "--ssl-keyfile")
OF_A_BOX = ("VLLM_HOST_IP", "NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME", "TP_SOCKET_IFNAME", "NCCL_IB_HCA", "GB10_KEY")
CONNECTIONS = ("/proc/net/tcp", "/proc/net/tcp6")


class Lost(Exception):
    """A rank that this one cannot go on without."""


class Group:
    """What ``deployment.json`` says of the group; ``peers``: (box, address) of those this rank is tied to."""

    def __init__(self, deployment: dict) -> None:
        group = deployment["group"]
        self.number, self.address = int(group["number"]), str(group["addresses"][group["number"]])
        self.head = self.number == 0
        self.master_port, self.port = int(group["master_port"]), int(group["guard_port"])
        members = list(zip(map(str, group["boxes"]), map(str, group["addresses"]), strict=False))
        self.addresses = [address for _box, address in members]
        self.peers = members[1:] if self.number == 0 else members[:1]
        self.url = str(deployment["probe_url"])
        self.alike = alike(deployment)


def alike(deployment: dict) -> str:
    """A digest of what all ranks must have in common: model, arguments, variables. "" where the record does not say."""
    container = deployment.get("container") or {}
    command = list(map(str, container.get("command") or []))
    if not command:
        return ""
    words, skipped = [], False
    for word in command[command.index("serve") + 1 if "serve" in command else 0 :]:
        skipped = word.partition("=")[0] in OF_A_RANK if word.startswith("--") else skipped
        words += [] if skipped else [word]
    env = {name: value for name, value in (container.get("env") or {}).items() if name not in OF_A_BOX}
    return hashlib.sha256(json.dumps([deployment.get("manifest"), words, env], sort_keys=True).encode()).hexdigest()[:16]


class Said:
    """What this rank is at, told to whoever asks on its port."""

    def __init__(self, group: Group) -> None:
        self.line = "waiting"
        said = self

        class Handler(socketserver.BaseRequestHandler):
            """Sends the line and hangs up."""

            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    self.request.sendall(f"{said.line}\n{START}\n{group.alike}\n".encode())

        self.server = socketserver.TCPServer((group.address, group.port), Handler, bind_and_activate=False)
        self.server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.server.socket.setsockopt(socket.SOL_IP, IP_FREEBIND, 1)
        self.server.server_bind()
        self.server.server_activate()
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def tell(text: str) -> None:
    """To the journal, and as the unit's status."""
    print(text, file=sys.stderr, flush=True)
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, contextlib.suppress(OSError):
            notify.sendto(b"STATUS=" + text.encode(), "\0" + address[1:] if address.startswith("@") else address)


def ask(address: str, port: int) -> tuple[str, str]:
    """What the rank at an address is at, and which start that is, with its digest in a second line; "" where it does not say."""
    with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=ASK_S) as connection:
        connection.settimeout(ASK_S)
        line, _break, start = connection.recv(4000).decode("utf-8", "replace").strip().partition("\n")
        return line.strip(), start.strip()
    return "", ""


def parse_connections(text: str) -> set[tuple[str, int, str, int]]:
    """(address, port, other address, other port) of the established ones in a text of /proc/net/tcp or tcp6."""
    found = set()
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 3 and fields[3] == ESTABLISHED:
            (here, port), (there, other) = (_end(field) for field in fields[1:3])
            found.add((here, port, there, other))
    return found


def _end(field: str) -> tuple[str, int]:
    words, _colon, port = field.rpartition(":")
    # The kernel prints words of 32 bits, each in the processor's order; both of ours begin with the lowest byte.
    address = ipaddress.ip_address(b"".join(bytes.fromhex(words[i : i + 8])[::-1] for i in range(0, len(words), 8)))
    return str(getattr(address, "ipv4_mapped", None) or address), int(port, 16)


def connections() -> set[tuple[str, int, str, int]]:
    found: set[tuple[str, int, str, int]] = set()
    for path in CONNECTIONS:
        with contextlib.suppress(OSError), open(path, encoding="ascii") as handle:
            found |= parse_connections(handle.read())
    return found


def ties(group: Group, address: str, held: set[tuple[str, int, str, int]]) -> set[tuple[str, int, str, int]]:
    """The connections to the master port between this rank and the one at ``address``."""
    return {one for one in held if one[2] == address and (one[1] if group.head else one[3]) == group.master_port}


class Tie:
    """What holds this rank to one other."""

    def __init__(self, group: Group, box: str, address: str, start: str) -> None:
        """``start``: which of its starts this one begins with."""
        self.group, self.box, self.address, self.start = group, box, address, start
        self.held: set[tuple[str, int, str, int]] = set()
        self.silent = 0
        self.begun = False

    def look(self, held: set[tuple[str, int, str, int]]) -> None:
        """Lost where the other rank is not the one any more that this one met."""
        now = ties(self.group, self.address, held)
        if self.held and not now & self.held:
            raise Lost(f"{self.box} has left the group: its rank ended or began anew")
        self.held = now or self.held
        word, start = ask(self.address, self.group.port)
        self.silent = 0 if word else self.silent + 1
        waits = word.startswith("waiting")
        # One that waits and was not seen to begin is a moment late; one that ended or began anew would leave this one waiting for ever.
        if word and (start != self.start or (waits and (self.held or self.begun))):
            raise Lost(f"{self.box} has left the group: its rank {f'is {word}' if waits else 'began anew'}")
        self.begun = self.begun or bool(word and not waits)
        if self.silent >= PATIENCE_LOOKS:
            raise Lost(f"{self.box} ({self.address}) has not answered for {self.silent} looks: the box is off, or the network between us is cut")


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False).stdout.strip()


def end(container: str) -> None:
    """Stop the container if it runs: one left over from an earlier start holds memory, and would meet nobody."""
    if docker("inspect", "--format", "{{.State.Running}}", container) == "true":
        docker("stop", "--time", str(STOP_S), container)


def present(group: Group) -> tuple[dict[str, str], list[str]]:
    """Which start of whom is there, by box, and who is not there yet, in words.

    The head waits until all wait for it, the others until it starts: those of an earlier start are no company.
    """
    found, missing = {}, []
    for box, address in group.peers:
        line, start = ask(address, group.port)
        word, theirs = line.partition(" ")[0], start.partition("\n")[2]
        if group.alike and theirs and theirs != group.alike:
            missing.append(f"{box} ({address}), which has another deployment than this box: run the playbook site over all boxes of this server")
            continue
        if word == ("waiting" if group.head else "starting"):
            found[box] = start
            continue
        why = {"": f"does not answer on port {group.port}", "waiting": "waits itself"}.get(word, "has not noticed yet that the group begins anew")
        missing.append(f"{box} ({address}), which {why}")
    return found, missing


def wait_for_all(group: Group, said: Said) -> dict[str, str]:
    """Until everybody is there, for as long as it takes, which costs no memory; by box which of its starts that is."""
    shown = ""
    while True:
        found, missing = present(group)
        if not missing:
            return found
        line = f"waiting for {' and '.join(missing)}"
        if line != shown:
            tell(line)
        said.line = shown = line
        time.sleep(min(2.0, LOOK_S))


# What vLLM's ranks say to each other is neither encrypted nor asked for a key. They listen on the master's port of all addresses, and on ports that the
# kernel gives them on the group's own address; Docker brings iptables along.
EPHEMERAL = "32768:60999"


def rules(group: Group) -> list[list[str]]:
    """Arguments of iptables: a chain of our own that lets in the boxes of the group, and what is sent through it."""
    chain, known = f"GB10-{group.master_port}", ["-p", "tcp", "--syn"]
    found = [["-N", chain], *(["-A", chain, "-s", address, "-j", "RETURN"] for address in group.addresses), ["-A", chain, "-i", "lo", "-j", "RETURN"]]
    found.append(["-A", chain, "-p", "tcp", "-j", "REJECT", "--reject-with", "tcp-reset"])
    found += [["-I", "INPUT", *known, "--dport", str(port), "-j", chain] for port in (group.master_port, group.port)]
    return [*found, ["-I", "INPUT", *known, "-d", group.address, "--dport", EPHEMERAL, "-j", chain]]


def iptables(arguments: list[str], version: str = "") -> int:
    try:
        return subprocess.run([f"ip{version}tables", "-w", "10", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode
    except OSError:
        return 127


def by_six(group: Group) -> list[str]:
    """The master's port over IPv6, by which no rank comes."""
    return ["INPUT", "!", "-i", "lo", "-p", "tcp", "--dport", str(group.master_port), "-j", "REJECT"]


def close(name: str, group: Group) -> None:
    """Close the ports of the ranks to all but the boxes of the group; a start goes on without, and says so."""
    open_again(group)
    iptables(["-I", *by_six(group)], "6")
    refused = [rule for rule in rules(group) if iptables(rule)]
    if refused:
        tell(f"{name}: the ports of its ranks could not be closed to others (iptables); whoever reaches {group.address} can speak to them")


def open_again(group: Group) -> None:
    for rule in reversed(rules(group)):
        if rule[0] == "-I":
            iptables(["-D", *rule[1:]])
    chain = f"GB10-{group.master_port}"
    iptables(["-F", chain])
    iptables(["-X", chain])
    iptables(["-D", *by_six(group)], "6")


def guard(action: str, name: str) -> None:
    subprocess.run([GUARD, action, name], check=False)


def answers(url: str) -> bool:
    """Whether the API server says that its engine is well."""
    with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connected(url)) as connection:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    return False


def connected(url: str) -> http.client.HTTPConnection:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "https":
        return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=ASK_S)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=ASK_S, context=context)


def has_answered(name: str) -> bool:
    """Whether the guard has seen an answer since the start: then it counts no start any more, and none is going on."""
    return not any(os.path.exists(os.path.join(STATE_DIR, "servers", name, file)) for file in ("starts.json", "starting.json"))


def progress(name: str, group: Group, met: bool) -> str:
    """What a rank that runs is at. The head asks its own server, the others the head; with an answer no rank counts its starts any more."""
    if not met:
        return "starting"
    if has_answered(name):
        return "answered"
    if group.head and answers(group.url):
        ask_for_a_token(name)
    elif not group.head and ask(group.peers[0][1], group.port)[0] == "answered":
        guard("forget", name)
    return "answered" if has_answered(name) else "met"


ASKING: list[subprocess.Popen] = []


def ask_for_a_token(name: str) -> None:
    """What the watch does every now and then, now; a token may take long, and meanwhile the others are looked at."""
    if not ASKING or ASKING[-1].poll() is not None:
        ASKING[:] = [subprocess.Popen([GUARD, "watch", name])]


def run(name: str, group: Group, said: Said) -> int:
    """The exit code of a start, from waiting for the others to the end of the container."""
    container = f"gb10-vllm-{name}"
    end(container)
    close(name, group)
    guard("hold", name)
    starts = wait_for_all(group, said)
    guard("go", name)
    said.line = "starting"
    tell(f"starts as rank {group.number}")
    child = subprocess.Popen(["docker", "start", "--attach", container], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    held = [Tie(group, box, address, starts[box]) for box, address in group.peers]
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.wait(LOOK_S)
        try:
            seen = connections()
            for tie in held:
                tie.look(seen)
        except Lost as lost:
            tell(f"{lost}. All ranks of {name} start again together.")
            end(container)
            child.wait()
            return 1
        line = progress(name, group, all(tie.held for tie in held))
        if line != said.line:
            tell(f"{name}: {line}")
        said.line = line


def main() -> int:
    if len(sys.argv) != 3 or sys.argv[1] not in ("run", "over"):
        print(__doc__, file=sys.stderr)
        return 2
    action, name = sys.argv[1:]
    try:
        with open(os.path.join(STATE_DIR, "servers", name, "deployment.json"), encoding="utf-8") as handle:
            group = Group(json.load(handle))
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        tell(f"not started: what the boxes of {name} are cannot be read from its deployment.json. Run the playbook site again.")
        return 1
    if action == "over":
        end(f"gb10-vllm-{name}")
        open_again(group)
        return 0
    return run(name, group, Said(group))


if __name__ == "__main__":
    sys.exit(main())

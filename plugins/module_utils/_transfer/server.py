# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The side that answers: a process of its own that outlives the task and passes files on while they still arrive."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.apart import apart
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import CHUNK, INCOMING, inside, open_below, read_json
from ansible_collections.gb10.vllm.plugins.module_utils._transfer import wire
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.index import DONE, alive, end_reason, index_path, workers
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.keys import remove_keys
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.listener import Listener

BEAT_S = 2.0
"""How often a client is told that we live while there is nothing to send, in seconds."""
BEGIN_S = 300.0
"""How long a box that was opened may take to begin its own part before others stop waiting for it, in seconds."""
CLIENT_S = 60.0
"""How long a client may neither read nor ask, in seconds."""
PID = "server.pid"


class Server(Listener):
    """Answers the boxes of this run with what the shares in ``root`` describe."""

    def __init__(self, root: str, keys: str, sockets: Sequence[socket.socket], idle_s: float, connections: int = 4) -> None:
        super().__init__(keys, sockets, connections)
        self.root, self.idle_s = root, idle_s
        self.used_at = time.monotonic()

    def answer(self, connection: socket.socket) -> None:
        """Answer what a box of the run asks, until it hangs up."""
        connection.settimeout(CLIENT_S)
        with connection.makefile("rb", buffering=wire.LONGEST_REQUEST) as lines:
            while line := lines.readline(wire.LONGEST_REQUEST):
                self.used_at = time.monotonic()
                _Conversation(self, connection).answer(wire.Request.parse(line))
                self.used_at = time.monotonic()


class _Conversation:
    """One request and its answer."""

    def __init__(self, server: Server, connection: socket.socket) -> None:
        self.server, self.connection = server, connection

    def _send(self, letter: bytes, payload: bytes | memoryview = b"") -> None:
        self.connection.sendall(wire.header(letter, len(payload)))
        if payload:
            self.connection.sendall(payload)

    def answer(self, wanted: wire.Request) -> None:
        """Send what is asked for, or why it cannot be had."""
        self._path = index_path(self.server.root, wanted.share)
        self._beat_at = time.monotonic()
        index = self._wait(lambda index: index if index and "items" in index and (not wanted.settled or _settled(index)) else None)
        if index is None:
            return
        if wanted.item is None:
            self._send(wire.LIST, json.dumps(listing(index)).encode())
        elif not 0 <= wanted.item < len(index["items"]) or index["items"][wanted.item].get("absent"):
            self._send(wire.NOT_HERE)
        else:
            self._send_item(index, wanted.item, wanted.offset)

    def _wait(self, ready: Callable[[Any], Any]) -> Any:
        """Poll the share's index until ``ready`` gives something, telling the client that we live; None when we had to give up."""
        begun = time.monotonic()
        while True:
            index = read_json(self._path)
            found = ready(index)
            if found is not None:
                return found
            if index is None and time.monotonic() - begun > BEGIN_S:
                self._send(wire.CANNOT, f"it has not begun its own transfer in {BEGIN_S:.0f} s".encode())
                return None
            if reason := end_reason(index or {}):
                self._send(wire.CANNOT, reason.encode())
                return None
            if index and index.get("state") == DONE:
                self._send(wire.NOT_HERE)
                return None
            self._beat()
            time.sleep(0.1)

    def _beat(self) -> None:
        self.server.used_at = now = time.monotonic()
        if now - self._beat_at >= BEAT_S:
            self._beat_at = now
            self._send(wire.WAITING)

    def _send_item(self, index: Mapping[str, Any], number: int, offset: int) -> None:
        item = index["items"][number]
        stream = self._wait(lambda now: open_item((now or index)["roots"], item["name"]))
        if stream is None:
            return
        with stream:
            if not self._send_bytes(stream, int(item["size"]), offset):
                return
        digest = self._wait(lambda now: (now or index)["items"][number].get("sha256"))
        if digest is not None:
            self._send(wire.COMPLETE, digest.encode())

    def _send_bytes(self, stream: Any, size: int, offset: int) -> bool:
        """Send a file from ``offset`` on, as fast as it arrives here; False when it will not become whole, which the client was told."""
        buffer = memoryview(bytearray(CHUNK))
        looked = time.monotonic()
        stream.seek(offset)
        while offset < size:
            got = stream.readinto(buffer[: min(CHUNK, size - offset)])
            if got:
                self._send(wire.DATA, buffer[:got])
                offset += got
                self._beat_at = self.server.used_at = time.monotonic()
                continue
            if os.fstat(stream.fileno()).st_nlink == 0:
                self._send(wire.CANNOT, b"the file is being fetched anew")
                return False
            self._beat()
            if time.monotonic() - looked > 1.0:
                looked = time.monotonic()
                if reason := end_reason(read_json(self._path) or {}):
                    self._send(wire.CANNOT, reason.encode())
                    return False
            time.sleep(0.02)
        return True


def _settled(index: Mapping[str, Any]) -> bool:
    return all(item.get("sha256") for item in index["items"])


def listing(index: Mapping[str, Any]) -> dict[str, Any]:
    """What a client is told of a share: its files without what is the server's own business."""
    items = [{key: item[key] for key in ("name", "size", "sha256", "mtime_ns") if key in item} for item in index["items"]]
    return {"items": items, "meta": index.get("meta")}


def open_item(roots: Sequence[str], name: str) -> BinaryIO | None:
    """A file of a share wherever it lies now, whole or still arriving; None when it is nowhere yet, or a link that leads out of there."""
    for root in roots:
        for one in (name, name + INCOMING):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                if inside(root, one) is not None:
                    return open(open_below(root, one), "rb", buffering=0)
    return None


def start_server(root: str, keys: str, port: int, idle_s: float = 900.0, *, addresses: Sequence[str] | None = None, connections: int = 4) -> int:
    """Start serving in a process of its own and return its port; a server of an earlier run ends first.

    ``addresses``: of this box, where it listens; None for every interface. ``connections``: how many a box opens at once.
    It ends by itself when nothing asked for ``idle_s`` seconds and no transfer works on this box. GB10Error when the port is taken.
    """
    stop_server(keys)
    try:
        server = Server(root, keys, _listen(addresses, port), idle_s, connections)
    except OSError as error:
        raise GB10Error(f"port {port} of this box cannot be used for the transfer ({error.strerror}); set gb10_distribution.port to a free one") from None
    lock = os.open(os.path.join(keys, PID), os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)

    def work() -> None:
        threading.Thread(target=_end_when_idle, args=(server,), daemon=True).start()
        server.serve_forever()

    def note(pid: int) -> None:
        os.ftruncate(lock, 0)
        os.write(lock, str(pid).encode())

    apart(work, note)
    os.close(lock)
    found = server.port
    server.close()
    return found


def _end_when_idle(server: Server) -> None:
    while True:
        time.sleep(min(5.0, server.idle_s / 3))
        with contextlib.suppress(OSError):
            if any(alive(pid) for pid in workers(server.root)):
                server.used_at = time.monotonic()
        if time.monotonic() - server.used_at > server.idle_s:
            remove_keys(server.keys)
            os._exit(0)


def _listen(addresses: Sequence[str] | None, port: int) -> list[socket.socket]:
    """Sockets that listen on one port of these addresses, of both families. OSError when it is taken on one of them."""
    for _attempt in range(5):
        found: list[socket.socket] = []
        try:
            for place in addresses if addresses is not None else ("::", "0.0.0.0") if socket.has_dualstack_ipv6() else ("0.0.0.0",):
                family, _kind, _protocol, _name, where = socket.getaddrinfo(place, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)[0]
                listening = socket.socket(family, socket.SOCK_STREAM)
                found.append(listening)
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listening.bind((where[0], found[0].getsockname()[1] if len(found) > 1 else port, *where[2:]))
                listening.listen(64)
            return found
        except OSError as error:
            for one in found:
                one.close()
            # A free port of one address may be taken on the next: then another free one is tried.
            if port or error.errno != errno.EADDRINUSE:
                raise
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def stop_server(keys: str) -> bool:
    """End the server that uses ``keys``, if one runs; whether there was one. The lock it holds proves that the pid is its."""
    try:
        lock = os.open(os.path.join(keys, PID), os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            for attempt in range(50):
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return number != signal.SIGTERM or attempt > 0
                except BlockingIOError:
                    text = os.pread(lock, 32, 0)
                    with contextlib.suppress(ProcessLookupError):
                        if text.isdigit():
                            os.kill(int(text), number)
                    time.sleep(0.05)
        return True
    finally:
        os.close(lock)

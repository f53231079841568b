# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who gets a connection: boxes of this run, within bounds that no stranger on the network can use up for them."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.gb10.vllm.plugins.module_utils._transfer.keys import server_context, trusted_path

HANDSHAKE_S = 5.0
"""How long somebody may take to show who it is, in seconds, however it spreads what it sends."""
PER_ADDRESS = 8
"""Connections of one address that have not shown who they are; the most of one box when it fetches four files at once."""
PAUSE_S = 0.2
"""Rest after a connection that could not be taken, for lack of descriptors or memory, in seconds."""
STACK_BYTES = 2**19
"""Memory for the stack of a connection's thread; with a buffer of 1 MiB and a request of 8 KiB that is what one takes at most."""


@dataclass(eq=False)
class _Unknown:
    """A connection whose owner has not shown who it is."""

    connection: socket.socket
    address: str
    since: float

    def hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


class Listener:
    """Takes connections on several sockets and hands those of the run's boxes to ``answer``, each in a thread of its own.

    At most ``connections`` (four as a rule) per box of the run, twice as many of a single one; until somebody has shown a certificate of this run, at
    most ``PER_ADDRESS`` of one address and ``HANDSHAKE_S`` seconds. When all places of those are taken, the one that took longest goes: a box
    of the run needs milliseconds.
    """

    def __init__(self, keys: str, sockets: Sequence[socket.socket], connections: int = 4) -> None:
        self.keys, self.connections = keys, max(1, connections)
        self._sockets = list(sockets)
        self._lock = threading.Lock()
        self._trusted: tuple[float, int, ssl.SSLContext] | None = None
        self._unknown: list[_Unknown] = []
        self._known: Counter[bytes] = Counter()

    @property
    def port(self) -> int:
        """Of all its sockets."""
        return int(self._sockets[0].getsockname()[1])

    def close(self) -> None:
        """Listen no more."""
        for one in self._sockets:
            one.close()

    def answer(self, connection: socket.socket) -> None:
        """Talk with a box of the run; to be defined by who listens."""
        raise NotImplementedError

    def serve_forever(self) -> None:
        """Take connections until the process ends."""
        threading.stack_size(STACK_BYTES)
        with selectors.DefaultSelector() as selector:
            for one in self._sockets:
                one.setblocking(False)
                selector.register(one, selectors.EVENT_READ)
            while True:
                for key, _events in selector.select(timeout=0.5):
                    self._take(key.fileobj)  # type: ignore[arg-type]
                self._drop_slow()

    def _take(self, listening: socket.socket) -> None:
        try:
            connection, address = listening.accept()
        except BlockingIOError:
            return
        except OSError:
            time.sleep(PAUSE_S)
            return
        trusted = self._tls()
        one = _Unknown(connection, str(address[0]), time.monotonic())
        if trusted is None or not self._may_wait(one, trusted[0]):
            connection.close()
            return
        try:
            connection.setblocking(True)
            connection.settimeout(HANDSHAKE_S)
            threading.Thread(target=self._serve, args=(one, *trusted), daemon=True).start()
        except (OSError, RuntimeError):  # no thread to be had
            self._forget(one)
            connection.close()
            time.sleep(PAUSE_S)

    def _may_wait(self, one: _Unknown, boxes: int) -> bool:
        """Give it a place among those who have not shown who they are, if there is one for its address."""
        with self._lock:
            if sum(other.address == one.address for other in self._unknown) >= max(PER_ADDRESS, 2 * self.connections):
                return False
            if len(self._unknown) + sum(self._known.values()) >= self.connections * max(2, boxes):
                if not self._unknown:
                    return False
                self._unknown.pop(0).hang_up()
            self._unknown.append(one)
        return True

    def _forget(self, one: _Unknown) -> None:
        with self._lock, contextlib.suppress(ValueError):
            self._unknown.remove(one)

    def _drop_slow(self) -> None:
        late = time.monotonic() - HANDSHAKE_S
        with self._lock:
            for one in [other for other in self._unknown if other.since < late]:
                self._unknown.remove(one)
                one.hang_up()

    def _serve(self, one: _Unknown, boxes: int, context: ssl.SSLContext) -> None:
        """The thread of one connection. Whatever its other side does is its own matter."""
        box = b""
        try:
            with contextlib.closing(one.connection), context.wrap_socket(one.connection, server_side=True) as connection:
                self._forget(one)
                found = connection.getpeercert(binary_form=True) or b""
                if self._seat(found, boxes):
                    box = found
                    self.answer(connection)
        except (OSError, ValueError, MemoryError, RecursionError):
            pass
        finally:
            self._forget(one)
            if box:
                with self._lock:
                    self._known[box] -= 1

    def _seat(self, box: bytes, boxes: int) -> bool:
        with self._lock:
            full = sum(self._known.values()) >= self.connections * max(2, boxes)
            if full or self._known[box] >= max(PER_ADDRESS, 2 * self.connections):
                return False
            self._known[box] += 1
        return True

    def _tls(self) -> tuple[int, ssl.SSLContext] | None:
        """How many boxes we were told to trust, and the context for them; None until then."""
        path = trusted_path(self.keys)
        try:
            changed = os.stat(path).st_mtime
            if self._trusted is None or self._trusted[0] != changed:
                with open(path, encoding="ascii") as stream:
                    text = stream.read()
                self._trusted = (changed, text.count("BEGIN CERTIFICATE"), server_context(self.keys, text))
            return self._trusted[1:]
        except (OSError, ssl.SSLError, ValueError):
            return None

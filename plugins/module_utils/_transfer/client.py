# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The side that asks: which source to ask now, one connection to it, and one share fetched from whichever can."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import CHUNK, INCOMING, arrived, safe_name
from ansible_collections.gb10.vllm.plugins.module_utils._io.incoming import STOPPED, Incoming
from ansible_collections.gb10.vllm.plugins.module_utils._transfer import wire
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.keys import client_context
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.wire import Gone, NotHere, NotReady

CONNECT_S = 5.0
SILENCE_S = 15.0
"""A source that sends neither data nor a sign of waiting for so long is gone, in seconds."""
NOT_READY_S = 30.0
"""How long a source that runs but has not been told whom to trust is waited for, in seconds."""
BAD_S = 30.0
"""How long the others are preferred to a source that failed, in seconds."""
AGAIN_S = 2.0
"""How soon it is asked again when there is no other."""
ATTEMPTS = 3
"""How often a file that arrives with a wrong sum is fetched anew."""

T = TypeVar("T")


def checked_list(found: Any) -> dict[str, Any]:
    """``{items, meta}`` as another box said it, when it is that; GB10Error for names that would leave the directory, ValueError for another shape."""
    items = found.get("items") if isinstance(found, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ValueError("no list of files")
    for item in items:
        name, size = item.get("name"), item.get("size")
        if not isinstance(name, str) or not safe_name(name) or isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise GB10Error(f"a box offered a file with the impossible name {str(name)[:200]!r}; nothing was written")
        if not isinstance(item.get("sha256"), (str, type(None))) or not _is_time(item.get("mtime_ns", 0)):
            raise ValueError(f"{name[:200]} has no proper sum or time")
    names = [item["name"] for item in items]
    if len(set(names)) != len(names):
        raise ValueError("a file is named twice")
    return found


def _is_time(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value < 2**63  # what a file system takes, in nanoseconds


class RateLimit:
    """At most so many bytes a second over all threads; 0 means no limit."""

    def __init__(self, bytes_per_s: float) -> None:
        self.rate = bytes_per_s
        self._free_at = time.monotonic()
        self._lock = threading.Lock()

    def __call__(self, count: int) -> None:
        """Wait until so many bytes more are allowed."""
        if self.rate <= 0:
            return
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic() - 0.1) + count / self.rate
            wait = self._free_at - time.monotonic()
        if wait > 0:
            time.sleep(wait)


class Sources:
    """The ordered sources of one share: which to ask now, who failed and why. Used by several threads."""

    def __init__(self, sources: Sequence[dict[str, Any]], patience_s: float = 120.0) -> None:
        self.sources = list(sources)
        self.patience_s = patience_s
        self.reasons: dict[str, str] = {}
        self.used: dict[str, int] = {}
        self._bad_at: dict[str, float] = {}
        self._first_not_ready: dict[str, float] = {}
        self._last_good = time.monotonic()
        self._lock = threading.Lock()

    def pick(self, absent: set[str]) -> dict[str, Any] | None:
        """The best source that is not known to be bad now, or None to wait a little. GB10Error when patience is over."""
        with self._lock:
            now = time.monotonic()
            usable = [source for source in self.sources if source["name"] not in absent]
            if not usable:
                raise GB10Error("no box that is left has this file: " + ", ".join(source["name"] for source in self.sources))
            if now - self._last_good > self.patience_s:
                raise GB10Error("; ".join(f"{name}: {reason}" for name, reason in self.reasons.items()) or "no source answered")
            fine = [source for source in usable if now - self._bad_at.get(source["name"], -BAD_S) >= BAD_S]
            return next(iter(fine), None) or next((source for source in usable if now - self._bad_at[source["name"]] >= AGAIN_S), None)

    def good(self, source: dict[str, Any], count: int) -> None:
        """It sent so many bytes."""
        with self._lock:
            self._last_good = time.monotonic()
            self.used[source["name"]] = self.used.get(source["name"], 0) + count

    def waiting(self) -> None:
        """A source is alive and waits itself."""
        with self._lock:
            self._last_good = time.monotonic()

    def bad(self, source: dict[str, Any], error: Exception) -> None:
        """It failed, or does not know us yet."""
        with self._lock:
            now, name = time.monotonic(), source["name"]
            self.reasons[name] = str(error)
            if isinstance(error, NotReady) and now - self._first_not_ready.setdefault(name, now) < NOT_READY_S:
                return  # asked again at once: going to the next source now would make everybody end up at the first
            self._bad_at[name] = now


class Link:
    """One TLS connection to one source."""

    def __init__(self, source: dict[str, Any], keys: str) -> None:
        self.source = source
        self._heard = False
        context = client_context(keys, source["certificate"])
        address, raw = self._connect(source)
        raw.settimeout(SILENCE_S)
        try:
            self.socket = context.wrap_socket(raw)
            self.socket.sendall(b"")
        except (ssl.SSLError, ConnectionError) as error:
            raw.close()
            if isinstance(error, ssl.SSLCertVerificationError):
                raise Gone(f"{address} shows another certificate than {source['name']} made for this run") from None
            raise NotReady(f"{address} is not ready ({error})") from None
        except OSError as error:
            raw.close()
            raise Gone(f"{address} did not answer ({error})") from None
        self._buffer = memoryview(bytearray(CHUNK))

    @staticmethod
    def _connect(source: dict[str, Any]) -> tuple[str, socket.socket]:
        last: Exception | None = None
        for address in source["addresses"]:
            try:
                return address, socket.create_connection((address, int(source["port"])), timeout=CONNECT_S)
            except OSError as error:
                last = error
        raise Gone(f"{', '.join(source['addresses'])} port {source['port']} cannot be reached ({last}); a firewall must let it through between the boxes")

    def close(self) -> None:
        """Hang up."""
        with contextlib.suppress(OSError):
            self.socket.close()

    def _broken(self, text: str) -> Exception:
        # A box that does not trust us (yet) hangs up before its first answer; how that looks depends on who is faster.
        return Gone(text) if self._heard else NotReady(f"it hung up; it does not know this box yet ({text})")

    def ask(self, request: wire.Request) -> None:
        """Send one request."""
        try:
            self.socket.sendall(request.line())
        except OSError as error:
            raise self._broken(f"the connection broke: {error}") from None

    def _read(self, count: int) -> memoryview:
        view = self._buffer[:count] if count <= CHUNK else memoryview(bytearray(count))
        done = 0
        while done < count:
            try:
                got = self.socket.recv_into(view[done:])
            except TimeoutError:
                raise Gone(f"it was silent for {SILENCE_S:.0f} s") from None
            except OSError as error:
                raise self._broken(f"the connection broke: {error}") from None
            if not got:
                raise self._broken("it closed the connection")
            done += got
        self._heard = True
        return view

    def frame(self) -> tuple[bytes, memoryview]:
        """(letter, content) of the next frame, the content good until the one after it. Gone and NotHere when that is the answer."""
        letter, length = wire.parse_header(bytes(self._read(wire.FRAME_BYTES)))
        if length > wire.LONGEST.get(letter, wire.LONGEST_FRAME):
            raise Gone("it sent a longer answer than this protocol has")
        payload = self._read(length)
        if letter == wire.CANNOT:
            raise Gone(bytes(payload).decode(errors="replace"))
        if letter == wire.NOT_HERE:
            raise NotHere
        return letter, payload


def _anything(index: dict[str, Any]) -> None:
    """Nobody said what it has to be."""


class Receiver:
    """Fetch one share: its list of files, then the files, from whichever source can.

    ``judge`` gets each list of files and raises Gone when it is not of what the controller asked for; another source is asked then.
    """

    def __init__(
        self,
        share: str,
        sources: Sequence[dict[str, Any]],
        keys: str,
        *,
        limit: RateLimit | None = None,
        patience_s: float = 120.0,
        judge: Callable[[dict[str, Any]], None] = _anything,
    ) -> None:
        self.share, self.keys = share, keys
        self.judge = judge
        self.sources = Sources(sources, patience_s)
        self.limit = limit or RateLimit(0)
        self.received_bytes = 0
        self._lock = threading.Lock()
        self._local = threading.local()
        self.stopped = threading.Event()

    def index(self) -> dict[str, Any]:
        """``{items, meta}`` as the nearest source that answers knows it; names that would leave the directory are refused."""
        found = self._try(self._listen, set())
        self.close()
        return checked_list(found)

    def settle(self) -> dict[str, str]:
        """SHA-256 of every file by name as the box says whose copy counts, once it knows them all; from now on nobody else is asked.

        The controller named that box and its certificate. GB10Error when it has gone meanwhile: nobody else's word is taken for it.
        """
        before = self.sources
        self.sources = Sources([source for source in before.sources if source.get("reference")], before.patience_s)
        self.sources.used = before.used
        found = checked_list(self._try(functools.partial(self._listen, settled=True), set()))
        self.close()
        return {item["name"]: str(item.get("sha256")) for item in found["items"]}

    def _listen(self, link: Link, settled: bool = False) -> dict[str, Any]:
        link.ask(wire.Request(self.share, settled=settled))
        while True:
            letter, payload = link.frame()
            if letter == wire.LIST:
                try:
                    found = json.loads(bytes(payload))
                    checked_list(found)
                    self.judge(found)
                except (ValueError, RecursionError, GB10Error) as error:
                    raise Gone(f"its list of files cannot be used ({error})") from None
                return found
            self.sources.waiting()

    def fetch(self, number: int, item: dict[str, Any], path: str, on_progress: Callable[[int], None] = lambda count: None) -> str:
        """Fetch one file to ``path``, going on where an earlier attempt stopped; returns its SHA-256 after comparing it.

        It has to be the one in ``item`` where that is known: what a neighbour says of its own bytes counts only where nothing else does.
        """
        absent: set[str] = set()
        root = path.removesuffix(item["name"])
        for _attempt in range(ATTEMPTS):
            with Incoming(path + INCOMING, item["size"], root=root) as file:
                told, source = self._try(functools.partial(self._receive, number, file, on_progress), absent)
                if file.offset == file.size and file.sha256 == (item.get("sha256") or told):
                    file.sync()
                    arrived(root, item["name"])
                    return file.sha256
            os.unlink(file.path)
            self.sources.bad(source, Gone(f"what it sent as {item['name']} is not that file"))
        raise GB10Error(
            f"{item['name']} arrived three times with a wrong checksum; check the disk and memory of {', '.join(self.sources.used)} and of this box"
        )

    def _receive(self, number: int, file: Incoming, on_progress: Callable[[int], None], link: Link) -> tuple[str, dict[str, Any]]:
        """Take in what this source sends of a file; the sum it says it has, and the source."""
        link.ask(wire.Request(self.share, number, file.offset))
        while True:
            if self.stopped.is_set():
                raise GB10Error(STOPPED)
            letter, payload = link.frame()
            if letter == wire.COMPLETE:
                return bytes(payload).decode(errors="replace"), link.source
            if letter != wire.DATA:
                self.sources.waiting()
                continue
            if len(payload) > file.size - file.offset:
                raise Gone("it sent more than the file has")
            file.add(payload)
            self.sources.good(link.source, len(payload))
            with self._lock:
                self.received_bytes += len(payload)
            on_progress(len(payload))
            self.limit(len(payload))

    def _try(self, action: Callable[[Link], T], absent: set[str]) -> T:
        while True:
            source = self.sources.pick(absent)
            if source is None:
                if self.stopped.wait(0.5):
                    raise GB10Error(STOPPED)
                continue
            try:
                return action(self._link(source))
            except NotHere:
                absent.add(source["name"])
            except (Gone, NotReady) as error:
                self.close()
                self.sources.bad(source, error)
                time.sleep(0.3 if isinstance(error, NotReady) else 0)
            except BaseException:
                self.close()
                raise

    def _link(self, source: dict[str, Any]) -> Link:
        link = getattr(self._local, "link", None)
        if link is None or link.source["name"] != source["name"]:
            self.close()
            link = self._local.link = Link(source, self.keys)
        return link

    def close(self) -> None:
        """Hang up the connection of this thread."""
        link = getattr(self._local, "link", None)
        if link is not None:
            link.close()
            self._local.link = None

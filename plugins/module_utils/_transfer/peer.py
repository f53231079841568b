# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files from box to box over TLS, passed on while they still arrive.

Both sides prove who they are with a certificate made for one run and named to each other by Ansible; nothing else is trusted,
nothing outlives the run, and only files that were offered can be asked for.

On the wire: the client sends one JSON object per line, ``{"share": key}`` for a list of files or ``{"share": key, "item": n,
"offset": bytes}`` for one; the server answers with frames of one letter, a length (4 bytes) and as many bytes: I the list, D data,
W still waiting for it myself, N not here, E cannot (text), Z complete (the SHA-256 as its first reader knows it).

A share is a directory ``ROOT/shares/ID`` with ``index.json``: ``{state: working | done | failed, reason, pid, roots: [...], items:
[{name, size, sha256}], meta}``. A file that is still arriving has the ending ``.incoming``.
"""

# pylint: disable=ansible-bad-function
# Plain Python: nothing here has an AnsibleModule whose run_command could be called instead of subprocess.
from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import signal
import socket
import socketserver
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import CHUNK, INCOMING, open_incoming, read_json, safe_name, sync, write_all

CONNECT_S = 5.0
SILENCE_S = 15.0
"""A source that sends neither data nor a sign of waiting for so long is gone, in seconds."""
BEAT_S = 2.0
NOT_READY_S = 30.0
"""How long a source that runs but has not been told whom to trust is waited for, in seconds."""
BEGIN_S = 300.0
"""How long a box that was opened may take to begin its own part before others stop waiting for it, in seconds."""
BAD_S = 30.0
"""How long the others are preferred to a source that failed, in seconds."""
AGAIN_S = 2.0
"""How soon it is asked again when there is no other."""
_FRAME = struct.Struct("!cI")
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME: the certificates are pinned, and boxes' clocks may disagree


class Gone(Exception):
    """A source cannot serve (any more); the text says why."""


class NotReady(Exception):
    """A source runs but does not know us yet."""


class NotHere(Exception):
    """A source is well and does not have this file."""


# ---- identity ---------------------------------------------------------------------------------------------------


def make_certificate(directory: str, name: str) -> str:
    """A new key and certificate in ``directory`` (0700); returns the certificate as PEM. Needs the openssl command."""
    os.makedirs(directory, mode=0o700, exist_ok=True)
    os.chmod(directory, 0o700)
    key, certificate = os.path.join(directory, "key.pem"), os.path.join(directory, "certificate.pem")
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={name[:60] or 'box'}"]
    try:
        done = subprocess.run(
            ["openssl", "req", "-x509", *kind, "-keyout", key, "-out", certificate],
            capture_output=True, text=True, errors="replace", timeout=30, check=False, umask=0o077,
        )  # fmt: skip
    except FileNotFoundError:
        raise GB10Error("the openssl command is not on this box, and box-to-box transfers are encrypted with it; install the package openssl") from None
    if done.returncode:
        raise GB10Error(f"openssl could not make a certificate for the transfer: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    with open(certificate, encoding="ascii") as stream:
        return stream.read()


def _context(side: int, directory: str, trusted: str) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags = ssl.VerifyFlags(int(context.verify_flags) | _NO_CHECK_TIME)
    context.load_cert_chain(os.path.join(directory, "certificate.pem"), os.path.join(directory, "key.pem"))
    context.load_verify_locations(cadata=trusted)
    return context


# ---- shares on disk ---------------------------------------------------------------------------------------------


def share_dir(root: str, key: str) -> str:
    """Where the share ``key`` is described; the key itself never becomes a path."""
    return os.path.join(root, "shares", hashlib.sha256(key.encode()).hexdigest()[:24])


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


# ---- server -----------------------------------------------------------------------------------------------------


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, root: str, keys: str, port: int, idle_s: float) -> None:
        self.root, self.keys, self.idle_s = root, keys, idle_s
        self.used_at = time.monotonic()
        self._trusted: tuple[float, ssl.SSLContext] | None = None
        self._lock = threading.Lock()
        if socket.has_dualstack_ipv6():
            self.address_family = socket.AF_INET6
        super().__init__(("::" if self.address_family == socket.AF_INET6 else "", port), _Handler)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is its own matter."""

    def tls(self) -> ssl.SSLContext | None:
        """The context for those we were told to trust; None until then."""
        path = os.path.join(self.keys, "trusted.pem")
        try:
            changed = os.stat(path).st_mtime
            with self._lock:
                if self._trusted is None or self._trusted[0] != changed:
                    with open(path, encoding="ascii") as stream:
                        self._trusted = (changed, _context(ssl.PROTOCOL_TLS_SERVER, self.keys, stream.read()))
                return self._trusted[1]
        except (OSError, ssl.SSLError):
            return None


class _Handler(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        context = self.server.tls()
        if context is None:
            return
        self.request.settimeout(60)
        with contextlib.suppress(OSError), context.wrap_socket(self.request, server_side=True) as self.connection, self.connection.makefile("rb") as lines:
            while line := lines.readline(65536):
                self.server.used_at = time.monotonic()
                self._answer(json.loads(line))
                self.server.used_at = time.monotonic()

    def _send(self, letter: bytes, payload: bytes | memoryview = b"") -> None:
        self.connection.sendall(_FRAME.pack(letter, len(payload)))
        if payload:
            self.connection.sendall(payload)

    def _answer(self, wanted: dict[str, Any]) -> None:
        self._beat_at = time.monotonic()
        index = self._wait(wanted, lambda index: index if index and "items" in index else None)
        if index is None:
            return
        if "item" not in wanted:
            items = [{key: item[key] for key in ("name", "size", "sha256", "mtime_ns") if key in item} for item in index["items"]]
            self._send(b"I", json.dumps({"items": items, "meta": index.get("meta")}).encode())
            return
        number = int(wanted["item"])
        if not 0 <= number < len(index["items"]) or index["items"][number].get("absent"):
            self._send(b"N")
            return
        self._send_item(wanted, index, number, max(0, int(wanted.get("offset") or 0)))

    def _wait(self, wanted: dict[str, Any], ready: Callable[[Any], Any]) -> Any:
        """Poll the share's index until ``ready`` gives something, telling the client that we live; None when we had to give up."""
        path = os.path.join(share_dir(self.server.root, str(wanted.get("share"))), "index.json")
        begun = time.monotonic()
        while True:
            index = read_json(path)
            found = ready(index)
            if found is not None:
                return found
            if index is None and time.monotonic() - begun > BEGIN_S:
                self._send(b"E", f"it has not begun its own transfer in {BEGIN_S:.0f} s".encode())
                return None
            if index and (index.get("state") == "failed" or (index.get("state") == "working" and not _alive(int(index.get("pid") or 0)))):
                self._send(b"E", str(index.get("reason") or "its own transfer was stopped").encode())
                return None
            if index and index.get("state") == "done":
                self._send(b"N")
                return None
            self._beat()
            time.sleep(0.1)

    def _beat(self) -> None:
        self.server.used_at = now = time.monotonic()
        if now - self._beat_at >= BEAT_S:
            self._beat_at = now
            self._send(b"W")

    def _send_item(self, wanted: dict[str, Any], index: dict[str, Any], number: int, offset: int) -> None:
        item = index["items"][number]
        stream = self._wait(wanted, lambda now: _open_item((now or index)["roots"], item["name"]))
        if stream is None:
            return
        path = os.path.join(share_dir(self.server.root, str(wanted["share"])), "index.json")
        buffer = memoryview(bytearray(CHUNK))
        looked = time.monotonic()
        with stream:
            stream.seek(offset)
            while offset < item["size"]:
                got = stream.readinto(buffer[: min(CHUNK, item["size"] - offset)])
                if got:
                    self._send(b"D", buffer[:got])
                    offset += got
                    self._beat_at = self.server.used_at = time.monotonic()
                    continue
                if os.fstat(stream.fileno()).st_nlink == 0:
                    self._send(b"E", b"the file is being fetched anew")
                    return
                self._beat()
                if time.monotonic() - looked > 1.0:
                    looked = time.monotonic()
                    now = read_json(path) or index
                    if now.get("state") != "done" and (now.get("state") == "failed" or not _alive(int(now.get("pid") or 0))):
                        self._send(b"E", str(now.get("reason") or "its own transfer was stopped").encode())
                        return
                time.sleep(0.02)
        digest = self._wait(wanted, lambda now: (now or index)["items"][number].get("sha256"))
        if digest is not None:
            self._send(b"Z", digest.encode())


def _open_item(roots: Sequence[str], name: str) -> Any:
    for root in roots:
        for path in (os.path.join(root, name), os.path.join(root, name + INCOMING)):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                return open(path, "rb", buffering=0)
    return None


def start_server(root: str, keys: str, port: int, idle_s: float = 900.0) -> int:
    """Start serving in a process of its own and return its port; a server of an earlier run ends first.

    It ends by itself when nothing asked for ``idle_s`` seconds and no transfer works on this box. GB10Error when the port is taken.
    """
    stop_server(keys)
    try:
        server = _Server(root, keys, port, idle_s)
    except OSError as error:
        raise GB10Error(f"port {port} of this box cannot be used for the transfer ({error.strerror}); set gb10_distribution.port to a free one") from None
    lock = os.open(os.path.join(keys, "server.pid"), os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    child = os.fork()
    if child:
        os.close(lock)
        found = server.server_address[1]
        server.socket.close()
        os.waitpid(child, 0)
        return found
    # Two forks and a session of its own: neither Ansible nor the SSH session waits for it or takes it along.
    os.setsid()
    grandchild = os.fork()
    if grandchild:
        os.ftruncate(lock, 0)
        os.write(lock, str(grandchild).encode())
        os._exit(0)
    try:
        os.chdir("/")
        quiet = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(quiet, descriptor)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        threading.Thread(target=_end_when_idle, args=(server,), daemon=True).start()
        server.serve_forever()
    finally:
        os._exit(0)


def _end_when_idle(server: _Server) -> None:
    while True:
        time.sleep(min(5.0, server.idle_s / 3))
        shares = os.path.join(server.root, "shares")
        with contextlib.suppress(OSError):
            for one in os.listdir(shares):
                index = read_json(os.path.join(shares, one, "index.json")) or {}
                if index.get("state") == "working" and _alive(int(index.get("pid") or 0)):
                    server.used_at = time.monotonic()
        if time.monotonic() - server.used_at > server.idle_s:
            remove_keys(server.keys)
            os._exit(0)


def stop_server(keys: str) -> bool:
    """End the server that uses ``keys``, if one runs; whether there was one. The lock it holds proves that the pid is its."""
    try:
        lock = os.open(os.path.join(keys, "server.pid"), os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            for _attempt in range(50):
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return number != signal.SIGTERM or _attempt > 0
                except BlockingIOError:
                    text = os.pread(lock, 32, 0)
                    with contextlib.suppress(ProcessLookupError):
                        if text.isdigit():
                            os.kill(int(text), number)
                    time.sleep(0.05)
        return True
    finally:
        os.close(lock)


def trust(keys: str, certificates: Sequence[str]) -> None:
    """Let those who hold one of these certificates ask for what this box offers."""
    path = os.path.join(keys, "trusted.pem")
    with open(path + ".new", "w", encoding="ascii") as stream:
        stream.write("\n".join(certificates))
    os.replace(path + ".new", path)


def remove_keys(keys: str) -> None:
    """Remove everything that could prove this box's identity in another run."""
    for name in ("key.pem", "certificate.pem", "trusted.pem"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(keys, name))


def own_addresses() -> list[str]:
    """The address this box uses towards its default route, if it has one. Nothing is sent."""
    found = []
    for family, target in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((target, 9))
            found.append(probe.getsockname()[0])
    return found


# ---- client -----------------------------------------------------------------------------------------------------


class RateLimit:
    """At most so many bytes a second over all threads; 0 means no limit."""

    def __init__(self, bytes_per_s: float) -> None:
        self.rate = bytes_per_s
        self._free_at = time.monotonic()
        self._lock = threading.Lock()

    def __call__(self, count: int) -> None:
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
        with self._lock:
            self._last_good = time.monotonic()
            self.used[source["name"]] = self.used.get(source["name"], 0) + count

    def waiting(self) -> None:
        """A source is alive and waits itself."""
        with self._lock:
            self._last_good = time.monotonic()

    def bad(self, source: dict[str, Any], error: Exception) -> None:
        with self._lock:
            now, name = time.monotonic(), source["name"]
            if isinstance(error, NotReady):
                first = self._first_not_ready.setdefault(name, now)
                self.reasons[name] = str(error)
                if now - first < NOT_READY_S:
                    return  # asked again at once: going to the next source now would make everybody end up at the first
            self._bad_at[name] = now
            self.reasons[name] = str(error)


class Link:
    """One TLS connection to one source."""

    def __init__(self, source: dict[str, Any], keys: str) -> None:
        self.source = source
        self._heard = False
        context = _context(ssl.PROTOCOL_TLS_CLIENT, keys, source["certificate"])
        last: Exception | None = None
        for address in source["addresses"]:
            try:
                raw = socket.create_connection((address, int(source["port"])), timeout=CONNECT_S)
                break
            except OSError as error:
                last = error
        else:
            raise Gone(f"{', '.join(source['addresses'])} port {source['port']} cannot be reached ({last}); a firewall must let it through between the boxes")
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

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.close()

    def _broken(self, text: str) -> Exception:
        # A box that does not trust us (yet) hangs up before its first answer; how that looks depends on who is faster.
        return Gone(text) if self._heard else NotReady(f"it hung up; it does not know this box yet ({text})")

    def ask(self, request: dict[str, Any]) -> None:
        """Send one request."""
        try:
            self.socket.sendall(json.dumps(request).encode() + b"\n")
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
        letter, length = _FRAME.unpack(bytes(self._read(_FRAME.size)))
        if length > 2**28:
            raise Gone("it sent something else than this protocol")
        payload = self._read(length)
        if letter == b"E":
            raise Gone(bytes(payload).decode(errors="replace"))
        if letter == b"N":
            raise NotHere
        return letter, payload


class Receiver:
    """Fetch one share: its list of files, then the files, from whichever source can."""

    def __init__(
        self,
        share: str,
        sources: Sequence[dict[str, Any]],
        keys: str,
        *,
        limit: RateLimit | None = None,
        patience_s: float = 120.0,
        told: Callable[[int], None] = lambda count: None,
    ) -> None:
        self.share, self.keys = share, keys
        self.sources = Sources(sources, patience_s)
        self.limit = limit or RateLimit(0)
        self.told = told
        self.received_bytes = 0
        self._lock = threading.Lock()
        self._local = threading.local()
        self.stopped = threading.Event()

    def index(self) -> dict[str, Any]:
        """``{items, meta}`` as the nearest source that answers knows it; names that would leave the directory are refused."""

        def listen(link: Link) -> dict[str, Any]:
            link.ask({"share": self.share})
            while True:
                letter, payload = link.frame()
                if letter == b"I":
                    return json.loads(bytes(payload))
                self.sources.waiting()

        found = self._try(listen, set())
        for item in found["items"]:
            if not safe_name(item["name"]) or int(item["size"]) < 0:
                raise GB10Error(f"a box offered a file with the impossible name {item['name']!r}; nothing was written")
        return found

    def fetch(self, number: int, item: dict[str, Any], path: str) -> str:
        """Fetch one file to ``path``, going on where an earlier attempt stopped; returns its SHA-256 after comparing it."""
        incoming = path + INCOMING
        os.makedirs(os.path.dirname(path), exist_ok=True)
        absent: set[str] = set()
        for _attempt in range(3):
            hasher = hashlib.sha256()
            with open_incoming(incoming) as stream:
                offset = _hash_existing(stream, hasher, item["size"])
                state = {"offset": offset}

                # pylint: disable-next=dangerous-default-value
                def receive(link: Link, stream: Any = stream, hasher: Any = hasher, state: dict[str, int] = state) -> str:
                    link.ask({"share": self.share, "item": number, "offset": state["offset"]})
                    while True:
                        if self.stopped.is_set():
                            raise GB10Error("stopped because another file failed")
                        letter, payload = link.frame()
                        if letter == b"Z":
                            return bytes(payload).decode()
                        if letter == b"D":
                            write_all(stream, payload, incoming)
                            hasher.update(payload)
                            state["offset"] += len(payload)
                            self.sources.good(link.source, len(payload))
                            with self._lock:
                                self.received_bytes += len(payload)
                            self.told(len(payload))
                            self.limit(len(payload))
                        else:
                            self.sources.waiting()

                expected = self._try(receive, absent)
                if state["offset"] == item["size"] and hasher.hexdigest() == expected:
                    sync(stream, incoming)
                    os.replace(incoming, path)
                    return expected
            os.unlink(incoming)
        raise GB10Error(
            f"{item['name']} arrived three times with a wrong checksum; check the disk and memory of {', '.join(self.sources.used)} and of this box"
        )

    def _try(self, action: Callable[[Link], Any], absent: set[str]) -> Any:
        while True:
            source = self.sources.pick(absent)
            if source is None:
                if self.stopped.wait(0.5):
                    raise GB10Error("stopped because another file failed")
                continue
            try:
                return action(self._link(source))
            except NotHere:
                absent.add(source["name"])
            except (Gone, NotReady) as error:
                self._drop()
                self.sources.bad(source, error)
                time.sleep(0.3 if isinstance(error, NotReady) else 0)
            except BaseException:
                self._drop()
                raise

    def _link(self, source: dict[str, Any]) -> Link:
        link = getattr(self._local, "link", None)
        if link is None or link.source["name"] != source["name"]:
            self._drop()
            link = self._local.link = Link(source, self.keys)
        return link

    def _drop(self) -> None:
        link = getattr(self._local, "link", None)
        if link is not None:
            link.close()
            self._local.link = None

    def close(self) -> None:
        self._drop()


def _hash_existing(stream: Any, hasher: Any, size: int) -> int:
    """Take in what an earlier attempt left; anything longer than the file is dropped."""
    if os.fstat(stream.fileno()).st_size > size:
        stream.truncate(0)
    while chunk := stream.read(CHUNK):
        hasher.update(chunk)
    return stream.tell()

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The real HAProxy with our configuration in front of stub engines, all on loopback and below one directory."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._router import haproxy
from ansible_collections.gb10.vllm.plugins.plugin_utils._router import configuration

PROGRAM = os.environ.get("GB10_HAPROXY", "haproxy")
"""Another one than this machine's: see tests/on_machine/test_router_versions.py."""
KEEP = Path(__file__).parents[2] / "roles/router/files/keep_state.py"
BOX_KEY = "router-key-of-the-whole-fleet-0123456789"
CLIENT_KEYS = {"anna": "a-key-of-anna-000000000000", "ci": "a-key-of-ci-11111111111111"}


def free_port() -> int:
    """Free at all addresses of this machine, and below those that the kernel gives to connections: it stays so until somebody listens there."""
    while True:
        with contextlib.suppress(OSError), socket.socket() as one:
            one.bind(("", random.randrange(15000, 30000)))
            return one.getsockname()[1]


def version() -> tuple[int, int]:
    """Of the HAProxy on this machine."""
    text = subprocess.run([PROGRAM, "-v"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"version (\d+)\.(\d+)", text)
    assert found
    return int(found[1]), int(found[2])


def body(request: BaseHTTPRequestHandler) -> bytes:
    """The body of a request, in one piece or in chunks."""
    if "chunked" not in request.headers.get("Transfer-Encoding", ""):
        return request.rfile.read(int(request.headers.get("Content-Length") or 0))
    found = b""
    while size := int(request.rfile.readline(), 16):
        found += request.rfile.read(size)
        request.rfile.readline()
    request.rfile.readline()
    return found


def handler(stub: StubEngine) -> type[BaseHTTPRequestHandler]:
    """What answers the requests of a stub."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65536
        disable_nagle_algorithm = True

        def log_message(self, *_arguments: object) -> None:
            pass

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self.answer(200 if self.path == "/health" and stub.healthy else 503, b"")

        def do_POST(self) -> None:
            with stub._lock:
                stub.running += 1
                stub.most = max(stub.most, stub.running)
            self.inside = True
            try:
                self.complete()
            finally:
                self.leave()

        def leave(self) -> None:
            with stub._lock:
                stub.running -= self.inside
            self.inside = False

        def complete(self) -> None:
            raw = body(self)
            form = self.headers.get("Content-Type", "").startswith("multipart/")
            asked = {} if form else json.loads(raw)
            stub.asked.append({"path": self.path, "headers": {name.lower(): value for name, value in self.headers.items()}, "bytes": len(raw), **asked})
            if self.headers.get("Authorization") != f"Bearer {BOX_KEY}":
                self.answer(401, b"{}")
                return
            tokens = int(asked.get("max_tokens", 1))
            if not asked.get("stream"):
                time.sleep(stub.token_s * tokens)
                self.leave()
                self.answer(200, json.dumps({"by": stub.name, "model": asked.get("model")}).encode())
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            time.sleep(stub.first_s)
            usage = [{"choices": [], "usage": {"completion_tokens": tokens}}] if asked.get("stream_options") else []
            for number in [*({"by": stub.name, "token": one} for one in range(tokens)), *usage, None]:
                line = f"data: {'[DONE]' if number is None else json.dumps(number)}\n\n".encode()
                self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
                self.wfile.flush()
                time.sleep(0 if number is None else stub.token_s)
            self.wfile.write(b"0\r\n\r\n")

    return Handler


class StubEngine:
    """Answers as vLLM does: /health, a completion as a stream of tokens that take a while, 401 without the router's key."""

    def __init__(self, name: str, model: str, address: str = "127.0.0.1", port: int = 0, token_s: float = 0.02, first_s: float = 0.0) -> None:
        self.name, self.model, self.token_s, self.first_s = name, model, token_s, first_s
        self.asked: list[dict[str, Any]] = []
        self.running = 0
        self.most = 0
        self.healthy = True
        self._lock = threading.Lock()

        class Server(ThreadingHTTPServer):
            request_queue_size = 256
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                """A check that HAProxy gives up is no error."""

        self.server = Server((address, port), handler(self))
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class StubAgent:
    """Says what the watch of a box would: `up` or `down` for the server that it is asked for."""

    def __init__(self, address: str, port: int) -> None:
        self.says: dict[str, str] = {}
        agent = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                name = self.rfile.readline().decode().strip()
                self.wfile.write(agent.says.get(name, "up").encode() + b"\n")

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        self.server = Server((address, port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def behind(box: str, server: str, address: str, port: int, models: Sequence[str], **more: Any) -> dict[str, Any]:
    return {
        "box": box,
        "server": server,
        "address": address,
        "port": port,
        "models": list(models),
        "maxconn": 4,
        "max_model_len": 4096,
        "agent": address,
        "tls_name": "",
        "key": "given",
        **more,
    }


def settings(**more: Any) -> dict[str, Any]:
    given = {
        "address": "127.0.0.1", "port": free_port(), "port_offset": 0, "body_bytes": 2**20, "timeout_s": 1800, "queue_timeout_s": 600,
        "connections": 6000, "affinity": "none", "ca": "@system-ca",
        "metrics_address": "127.0.0.1", "metrics_port": 0, "agent_port": free_port(), "open": False,
        "client_keys": CLIENT_KEYS, "box_key": BOX_KEY,
    }  # fmt: skip
    return given | more


class Router:
    """HAProxy in master-worker mode, as the unit of the distribution starts it."""

    def __init__(self, place: Path, servers: Sequence[Mapping[str, Any]], given: Mapping[str, Any], inside: Sequence[str] = ()) -> None:
        self.place, self.given, self.inside = place, dict(given), list(inside)
        self.socket, self.master, self.state = str(place / "admin.sock"), str(place / "master.sock"), place / "state"
        self.config = place / "haproxy.cfg"
        self.state.write_text("1\n")
        self.write(servers)
        make_certificate(place)
        self.start()

    def start(self) -> None:
        """As the unit does it."""
        subprocess.run([sys.executable, KEEP, self.config, self.state], check=True)
        self.process = subprocess.Popen(
            [*self.inside, PROGRAM, "-W", "-f", str(self.config), "-S", self.master], cwd=self.place, stderr=(self.place / "log").open("a")
        )
        self.wait(lambda: haproxy.running(haproxy.ask_at(self.socket)) == self.digest)

    def crash(self) -> None:
        """All of its processes end at once without a word, and it is started again."""
        workers = [int(line.split()[0]) for line in haproxy.ask_at(self.master)("show proc").splitlines() if re.match(r"\d+\s+worker", line)]
        for one in (self.process.pid, *workers):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        self.process.wait()
        self.start()

    @property
    def digest(self) -> str:
        return haproxy.summary(self.config.read_text())["digest"]

    def write(self, servers: Sequence[Mapping[str, Any]], **more: Any) -> None:
        self.given |= more
        found = configuration.files(servers, self.given, version())  # type: ignore[arg-type]
        for name, text in found.items():
            (self.place / name).write_text(self.here(text) if name == "haproxy.cfg" else text)

    def here(self, text: str) -> str:
        """The configuration for a place that is not /etc, /run and /var, and a HAProxy that runs as who started it."""
        text = text.replace(haproxy.SOCKET, self.socket).replace(haproxy.STATE_FILE, str(self.state))
        text = text.replace(" user root group haproxy", "").replace("log /dev/log local0", "log stderr format raw local0")
        return re.sub(r"(?m)^    (chroot|user|group) .*\n", "", text)

    def check(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run([PROGRAM, "-c", "-f", str(self.config)], capture_output=True, text=True, check=False)

    def keep(self) -> None:
        """What the unit does before a reload."""
        subprocess.run([sys.executable, KEEP, self.socket, self.config, self.state], check=True)

    def reload(self, keep: bool = True) -> None:
        if keep:
            self.keep()
        before = self.worker()
        self.process.send_signal(12)  # SIGUSR2
        self.wait(lambda: self.worker() != before and haproxy.running(haproxy.ask_at(self.socket)) == self.digest)

    def worker(self) -> str:
        return next(line for line in haproxy.ask_at(self.socket)("show info").splitlines() if line.startswith("Pid:"))

    def asks(self) -> list[haproxy.Ask]:
        return haproxy.everybody(self.socket, self.master)

    def seen(self) -> dict[tuple[str, str], haproxy.Seen]:
        return {(one["server"], one["box"]): one for one in haproxy.servers(self.asks())}

    def wait(self, what: Any, timeout_s: float = 30) -> None:
        until = time.monotonic() + timeout_s
        while True:
            try:
                if what():
                    return
            except Exception as error:
                last: object = error
            else:
                last = None
            if time.monotonic() > until or self.process.poll() is not None:
                raise AssertionError(f"not seen in time: {last} {(self.place / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def ask(
        self,
        path: str,
        body: object = None,
        key: str | None = CLIENT_KEYS["anna"],
        headers: Mapping[str, str] | None = None,
        port: int = 0,
        timeout_s: float = 60,
    ) -> tuple[int, bytes]:
        """(status, body) of a request, over TLS that is verified against the certificate made for this router.

        A refusal may come while the body is still being sent: it is read then, as httpx and curl do.
        """
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        all_headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {}), **(headers or {})}
        context = ssl.create_default_context(cafile=str(self.place / "certificate.pem"))
        with contextlib.closing(http.client.HTTPSConnection("127.0.0.1", port or self.given["port"], timeout=timeout_s, context=context)) as line:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
                line.request("GET" if body is None else "POST", path, data, all_headers)
            answer = line.getresponse()
            return answer.status, answer.read()

    def ask_here(self, path: str) -> int:
        """The status of a path, asked where HAProxy runs, without a key and without a look at its certificate."""
        program = "import ssl, sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=3, context=ssl._create_unverified_context()).status)"
        words = [*self.inside, sys.executable, "-c", program, f"https://127.0.0.1:{self.given['port']}{path}"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        return int(done.stdout or 0)

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def make_certificate(place: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30", "-subj", "/CN=router",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(place / "key.pem"), "-out", str(place / "certificate.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
    (place / configuration.CERTIFICATE).write_text((place / "certificate.pem").read_text() + (place / "key.pem").read_text())


def installed() -> bool:
    return shutil.which(PROGRAM) is not None

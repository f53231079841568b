# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Without a key a vLLM server answers nothing but /health. Runs inside the container, loaded by `vllm serve --middleware guard_keys.GuardKeys`.

vLLM's own check looks at a few prefixes only (/invocations, /metrics, /docs and others answer anybody) and keeps the key it was started with.
This one stands before every route, and reads the keys anew when their files change:

    key.env     VLLM_API_KEY        the server's own key opens everything
    fleet.env   GB10_ROUTER_KEY     opens what a client may ask, nothing that changes the engine
                GB10_METRICS_KEY    opens /metrics only

A key is sent as `Authorization: Bearer KEY` or `X-Api-Key: KEY`. It stands alone: Python's standard library, whatever vLLM's container brings.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import shlex
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

DIRECTORY = "/run/gb10"
KEY_FILE, FLEET_FILE = "key.env", "fleet.env"
OPEN = "/health"
METRICS = ("/metrics", "/metrics/")
# What a client asks, by vLLM's routers from 0.12 to 0.33; a prefix covers what lies below it. What is not listed here is the owner's.
CLIENT = (
    "/v1", "/v2", "/inference", "/cohere", "/invocations", "/tokenize", "/detokenize", "/tokenizer_info", "/pooling", "/classify", "/score", "/rerank",
    "/generative_scoring", "/metrics", "/load", "/ping", "/version", "/docs", "/redoc", "/openapi.json",
)  # fmt: skip
OWNER = ("/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/inference/v1/abort_requests")
MISSING = "This server asks for a key on every route but /health: send `Authorization: Bearer KEY`."
WRONG = "This key does not open this route of this server."


def values(text: str) -> dict[str, str]:
    """The NAME=value words of a private file as a shell reads them, comments left out; of two values the last counts."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    words = [word.partition("=") for word in shlex.split("\n".join(lines))]
    return {name: value for name, equals, value in words if equals}


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


class Keys:
    """The keys in a directory, as digests; read anew when a file there is replaced or written. What cannot be read opens nothing."""

    def __init__(self, directory: str) -> None:
        self._paths = [os.path.join(directory, name) for name in (KEY_FILE, FLEET_FILE)]
        self._seen: list[tuple[int, int, int] | None] | None = None
        self.server: list[bytes] = []
        self.router: list[bytes] = []
        self.metrics: list[bytes] = []

    def refresh(self) -> None:
        """Read the files where they are others than before; looked at for each request, which takes some microseconds."""
        seen = [self._stamp(path) for path in self._paths]
        if seen == self._seen:
            return
        own, fleet = (self._read(path) for path in self._paths)
        self.server = self._digests(own.get("VLLM_API_KEY"))
        self.router = self._digests(fleet.get("GB10_ROUTER_KEY"))
        self.metrics = self._digests(fleet.get("GB10_METRICS_KEY"))
        self._seen = seen

    @staticmethod
    def _stamp(path: str) -> tuple[int, int, int] | None:
        try:
            status = os.stat(path)
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino, status.st_size

    @staticmethod
    def _read(path: str) -> dict[str, str]:
        try:
            with open(path, encoding="utf-8") as handle:
                return values(handle.read())
        except (OSError, ValueError):
            return {}

    @staticmethod
    def _digests(key: str | None) -> list[bytes]:
        return [_digest(key.encode())] if key else []


def required_keys(directory: str) -> Keys:
    """The keys of a server that must not answer without one. RuntimeError where there is none."""
    keys = Keys(directory)
    keys.refresh()
    if not keys.server:
        raise RuntimeError(f"gb10.vllm: {directory}/{KEY_FILE} holds no key, and this server must not answer without one; run the playbook site again.")
    return keys


def offered(scope: Scope) -> list[bytes]:
    """The keys a request brings."""
    found = []
    for name, value in scope.get("headers") or []:
        if name.lower() == b"x-api-key":
            found.append(value.strip())
        elif name.lower() == b"authorization":
            scheme, _space, token = value.strip().partition(b" ")
            if scheme.lower() == b"bearer":
                found.append(token.strip())
    return [one for one in found if one]


def route(scope: Scope) -> str:
    """The path that decides which route answers: without the root path, as Starlette's ``get_route_path``. Nothing else is made of it, as there."""
    path, root = scope["path"], (scope.get("root_path") or "").rstrip("/")
    return path[len(root) :] if root and path.startswith(root + "/") else path


def _below(path: str, prefixes: tuple[str, ...]) -> bool:
    return any(path == prefix or path.startswith(prefix + "/") for prefix in prefixes)


def _is_for_clients(path: str) -> bool:
    """Whether the router's key may open it. The ``$`` at the end of Starlette's expressions also matches before a last line break (%0A)."""
    path = path.removesuffix("\n")
    return _below(path, CLIENT) and not _below(path, OWNER)


def _is_preflight(scope: Scope) -> bool:
    """What a browser asks before it sends a key; vLLM's CORS middleware answers it from its settings, before any route."""
    names = {name.lower() for name, _value in scope.get("headers") or []}
    return scope.get("method") == "OPTIONS" and {b"origin", b"access-control-request-method"} <= names


class GuardKeys:
    """ASGI middleware: hands on what has the key for it, answers 401 to everything else. RuntimeError where there is no key to ask for."""

    def __init__(self, app: App, directory: str = DIRECTORY) -> None:
        self.app = app
        self.keys = required_keys(directory)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._may(scope):
            await self.app(scope, receive, send)
        else:
            await refuse(scope, send, WRONG if offered(scope) else MISSING)

    def _may(self, scope: Scope) -> bool:
        path = route(scope)
        if scope["type"] == "http" and ((path == OPEN and scope.get("method") in ("GET", "HEAD")) or _is_preflight(scope)):
            return True
        self.keys.refresh()
        accepted = list(self.keys.server)
        if _is_for_clients(path):
            accepted += self.keys.router
        if path in METRICS:
            accepted += self.keys.metrics
        opens = False
        for one in offered(scope):
            for key in accepted:  # all are compared, whichever matches: the time says nothing of the keys
                opens |= hmac.compare_digest(_digest(one), key)
        return opens


async def refuse(scope: Scope, send: Send, why: str) -> None:
    """401 in the form of OpenAI's errors; a WebSocket is not accepted, with the same answer where the server can give one."""
    kind = "http.response"
    if scope["type"] == "websocket":
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            await send({"type": "websocket.close", "code": 1008, "reason": why[:120]})
            return
        kind = "websocket.http.response"
    error = {"message": why, "type": "invalid_request_error", "param": None, "code": "invalid_api_key"}
    body = json.dumps({"error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), (b"www-authenticate", b"Bearer")]
    await send({"type": f"{kind}.start", "status": 401, "headers": headers})
    await send({"type": f"{kind}.body", "body": body})


if os.environ.get("GB10_KEY") == "required":
    # While vLLM loads its middleware: some releases make it with the first request only, and would stay up without ever answering.
    required_keys(DIRECTORY)

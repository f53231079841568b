# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A hub on this machine: serves model directories by the Hugging Face API, files from a second port by redirect, with ranges."""

from __future__ import annotations

import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


class HubServer:
    """``repos`` maps ORG/NAME to a directory; ``token`` guards those in ``gated``; the switches below make it misbehave."""

    def __init__(self, repos: dict[str, Path], token: str = "", gated: tuple[str, ...] = ()) -> None:
        self.repos, self.token, self.gated = repos, token, gated
        self.ranges = True
        self.fail_first = 0
        self.delay_s = 0.0
        self.log: list[dict] = []
        self.files = self._serve(self._file)
        self.api = self._serve(self._api)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.api.server_port}"

    @property
    def sent_bytes(self) -> int:
        return sum(entry["sent"] for entry in self.log)

    def close(self) -> None:
        for server in (self.api, self.files):
            server.shutdown()
            server.server_close()

    def _serve(self, answer) -> ThreadingHTTPServer:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                entry = {"path": self.path, "authorization": self.headers.get("Authorization"), "range": self.headers.get("Range"), "sent": 0}
                hub.log.append(entry)
                time.sleep(hub.delay_s)
                status, headers, body = answer(urlsplit(self.path), self.headers)
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(headers.get("X-Length", len(body))))
                self.end_headers()
                try:
                    self.wfile.write(body)
                    entry["sent"] = len(body)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def log_message(self, *_args):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server

    def _refuse(self, repo: str, headers) -> tuple | None:
        if self.fail_first:
            self.fail_first -= 1
            return 503, {}, b"busy"
        given = (headers.get("Authorization") or "").removeprefix("Bearer ")
        if repo not in self.repos:
            return 401 if not given else 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
        if repo in self.gated and given != self.token:
            return 403 if given else 401, {"X-Error-Code": "GatedRepo"}, b"{}"
        return None

    def _api(self, url, headers) -> tuple:
        match = re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/(.+)", url.path)
        if match:
            repo, revision = match.group(1), unquote(match.group(2))
            refused = self._refuse(repo, headers)
            if refused:
                return refused
            if revision not in ("main", "c0ffee"):
                return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
            siblings = []
            for path in sorted(self.repos[repo].iterdir()):
                entry = {"rfilename": path.name, "size": path.stat().st_size}
                if path.suffix == ".safetensors":
                    entry["lfs"] = {"sha256": "ab" * 32, "size": path.stat().st_size}
                siblings.append(entry)
            return 200, {}, json.dumps({"id": repo, "sha": "c0ffee", "gated": repo in self.gated, "siblings": siblings}).encode()
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/c0ffee/(.+)", url.path)
        if match:
            refused = self._refuse(match.group(1), headers)
            if refused:
                return refused
            return 302, {"Location": f"http://localhost:{self.files.server_port}/{match.group(1)}/{match.group(2)}"}, b""
        return 404, {}, b"{}"

    def _file(self, url, headers) -> tuple:
        org, name, file = unquote(url.path).lstrip("/").split("/")
        path = self.repos[f"{org}/{name}"] / file
        size = path.stat().st_size
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", headers.get("Range") or "")
        with path.open("rb") as handle:
            if match and self.ranges:
                first, last = int(match.group(1)), min(int(match.group(2)), size - 1)
                handle.seek(first)
                return 206, {"Content-Range": f"bytes {first}-{last}/{size}"}, handle.read(last - first + 1)
            return 200, {}, handle.read()

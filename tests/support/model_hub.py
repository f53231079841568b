# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A hub over HTTP that can misbehave: real checksums, open-ended ranges, a content host of its own, connections that break."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34


class ModelHub:
    """``repos`` maps ORG/NAME to a directory. ``cut_after``: bytes after which the next file answers break off, one per answer."""

    def __init__(self, repos: dict[str, Path], token: str = "", gated: tuple[str, ...] = ()) -> None:
        self.repos, self.token, self.gated, self.commit = repos, token, gated, COMMIT
        self.cut_after: list[int] = []
        self.fail_next = 0
        self.ranges = True
        self.corrupt: set[str] = set()
        self.log: list[dict] = []
        self.api, self.content = self._serve(self._api), self._serve(self._file)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.api.server_port}"

    def requests(self, part: str) -> list[dict]:
        return [one for one in self.log if part in one["path"]]

    def close(self) -> None:
        for server in (self.api, self.content):
            server.shutdown()
            server.server_close()

    def _serve(self, answer) -> ThreadingHTTPServer:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                hub.log.append({"path": self.path, "authorization": self.headers.get("Authorization"), "range": self.headers.get("Range")})
                answer(self, unquote(urlsplit(self.path).path))

            def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server

    def _api(self, request, path: str) -> None:
        asked = re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/(.+)", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([0-9a-f]{40})/(.+)", path)
        repo = (asked or file).group(1)
        given = (request.headers.get("Authorization") or "").removeprefix("Bearer ")
        if repo not in self.repos:
            return request.reply(404 if given else 401, X_Error_Code="RepoNotFound")
        if asked and asked.group(2) not in ("main", self.commit):
            return request.reply(404, X_Error_Code="RevisionNotFound")
        if repo in self.gated and given != self.token and file:
            return request.reply(403 if given else 401, X_Error_Code="GatedRepo")
        if asked:
            return request.reply(200, json.dumps({"id": repo, "sha": self.commit, "siblings": self._siblings(self.repos[repo])}).encode())
        return request.reply(302, Location=f"http://localhost:{self.content.server_port}/{repo}/{file.group(3)}")

    @staticmethod
    def _siblings(root: Path) -> list[dict]:
        found = []
        for path in sorted(one for one in root.rglob("*") if one.is_file()):
            data = path.read_bytes()
            entry = {"rfilename": str(path.relative_to(root)), "size": len(data), "blobId": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()}
            if path.suffix in (".safetensors", ".bin"):
                entry["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
            found.append(entry)
        return found

    def _file(self, request, path: str) -> None:
        org, name, file = path.lstrip("/").split("/", 2)
        if self.fail_next:
            self.fail_next -= 1
            return request.reply(503)
        data = (self.repos[f"{org}/{name}"] / file).read_bytes()
        if file in self.corrupt:
            data = data[:-1] + bytes([data[-1] ^ 1])
        wanted = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range") or "")
        first = int(wanted.group(1)) if wanted and self.ranges else 0
        request.send_response(206 if first else 200)
        if first:
            request.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        request.send_header("Content-Length", str(len(data) - first))
        request.end_headers()
        if self.cut_after and len(data) - first > self.cut_after[0]:
            request.wfile.write(data[first : first + self.cut_after.pop(0)])
            request.close_connection = True
            return None
        request.wfile.write(data[first:])
        return None

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images pulled by the real engine from a registry in this process (Docker takes plain HTTP from loopback)."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import json
import os
import tarfile
import threading
import time

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from recipe import Recipe

DOCKER = "application/vnd.docker"


def layer(name: str, size: int) -> tuple[bytes, str]:
    """A compressed layer with one file of random bytes, and the digest of it uncompressed."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = size
        archive.addfile(member, io.BytesIO(os.urandom(size)))
    return gzip.compress(packed.getvalue(), 1), "sha256:" + hashlib.sha256(packed.getvalue()).hexdigest()


class Registry(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    blobs: dict[str, bytes] = {}
    manifests: dict[str, str] = {}
    bytes_per_s = 0.0
    broken = 0
    asked: list[str] = []

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        type(self).asked.append(self.path)
        last = self.path.rsplit("/", 1)[-1]
        if self.path == "/v2/":
            return self.reply(b"{}", "application/json")
        digest = self.manifests.get(last, last) if "/manifests/" in self.path else last
        if digest not in self.blobs:
            return self.reply(b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}', "application/json", 404)
        kind = f"{DOCKER}.distribution.manifest.v2+json" if "/manifests/" in self.path else "application/octet-stream"
        return self.reply(self.blobs[digest], kind, digest=digest)

    def reply(self, body, kind, status=200, digest=""):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if digest:
            self.send_header("Docker-Content-Digest", digest)
        self.end_headers()
        if self.command == "HEAD":
            return
        cls = type(self)
        if cls.broken and len(body) > 100_000:
            cls.broken -= 1
            self.wfile.write(body[:50_000])
            self.close_connection = True
            return
        step = 200_000
        for start in range(0, len(body), step):
            self.wfile.write(body[start : start + step])
            if self.bytes_per_s and len(body) > 100_000:
                time.sleep(step / self.bytes_per_s)

    def log_message(self, *_arguments):
        pass


def publish(sizes) -> str:
    """Put an image into the registry; returns its digest."""
    layers = [layer(f"file-{number}", size) for number, size in enumerate(sizes)]
    config = json.dumps(
        {
            "architecture": "amd64", "os": "linux", "config": {"Labels": {"gb10.vllm.vllm_version": "0.31.0"}},
            "rootfs": {"type": "layers", "diff_ids": [diff for _data, diff in layers]},
            "history": [{"created_by": "test"} for _ in layers],
        }
    ).encode()  # fmt: skip

    def put(data: bytes, kind: str) -> dict:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        Registry.blobs[digest] = data
        return {"mediaType": f"{DOCKER}.{kind}", "size": len(data), "digest": digest}

    manifest = {
        "schemaVersion": 2, "mediaType": f"{DOCKER}.distribution.manifest.v2+json",
        "config": put(config, "container.image.v1+json"),
        "layers": [put(data, "image.rootfs.diff.tar.gzip") for data, _diff in layers],
    }  # fmt: skip
    digest = put(json.dumps(manifest).encode(), "manifest")["digest"]
    Registry.manifests["latest"] = digest
    return digest


@pytest.fixture
def registry(monkeypatch):
    for name, value in {"blobs": {}, "manifests": {}, "asked": [], "broken": 0, "bytes_per_s": 0.0}.items():
        monkeypatch.setattr(Registry, name, value)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_address[1]}/ai/vllm"
    server.shutdown()


@pytest.fixture
def recipe(tmp_path, registry):
    made = Recipe(tmp_path)
    yield made
    made.remove()
    made.name = registry
    made.remove()


def test_pulled_by_digest_once(recipe, registry):
    digest = publish([300_000])
    first = recipe.build(source="prebuilt", image=f"{registry}:latest", digest=digest)
    assert first["changed"] and first["image"]["repo_digests"] == [f"{registry}@{digest}"]
    assert first["image"]["vllm_version"] == "0.31.0"
    Registry.asked.clear()
    assert not recipe.build(source="prebuilt", image=f"{registry}:latest", digest=digest)["changed"]
    assert Registry.asked == []


def test_progress_shows_bytes_and_rate(recipe, registry):
    digest = publish([6_000_000, 1_000_000])
    Registry.bytes_per_s = 2_000_000.0
    recipe.build(source="prebuilt", image=registry, digest=digest)
    lines = [line for line in recipe.progress() if line["phase"] == "pull" and line["bytes"]]
    assert any(0 < line["bytes"] < line["total_bytes"] and line["steps"] == 2 for line in lines)
    assert max(line["total_bytes"] for line in lines) == pytest.approx(7_000_000, rel=0.05)
    assert any(500_000 < line["bytes_per_s"] < 8_000_000 for line in lines)


def test_a_wrong_digest(recipe, registry):
    publish([300_000])
    with pytest.raises(GB10Error, match="pulling .*@sha256:0+ failed: .*(not found|unknown).*nothing was changed"):
        recipe.build(source="prebuilt", image=f"{registry}:latest", digest="sha256:" + "0" * 64)
    assert recipe.names() == []


def test_content_that_does_not_have_its_digest(recipe, registry):
    digest = publish([300_000])
    Registry.blobs[digest] = Registry.blobs[digest].replace(b'"schemaVersion"', b'"schemaVersioN"')
    with pytest.raises(GB10Error, match="failed: .*digest"):
        recipe.build(source="prebuilt", image=f"{registry}:latest", digest=digest)
    assert recipe.names() == []


def test_a_moving_tag_stays_where_it_was_pulled(recipe, registry):
    old = publish([200_000])
    first = recipe.build(source="prebuilt", image=f"{registry}:latest")
    assert f"is a moving tag; it is {old} today" in recipe.warnings[0]
    publish([210_000])
    assert recipe.build(source="prebuilt", image=f"{registry}:latest")["image"]["id"] == first["image"]["id"]
    moved = recipe.build(source="prebuilt", image=f"{registry}:latest", rebuild=["all"])
    assert moved["changed"] and moved["image"]["id"] != first["image"]["id"]


def test_a_connection_that_breaks_is_taken_up_again(recipe, registry):
    digest = publish([400_000])
    Registry.broken = 1
    assert recipe.build(source="prebuilt", image=registry, digest=digest, retries=2)["changed"]

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The trap of the seed: UV_HTTP_TIMEOUT in the shell does not reach uv inside docker build, ours does.

A package index on this machine sends half of a wheel, is silent for some seconds, and sends the rest. A real uv in a
real BuildKit build downloads it.
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import os
import subprocess
import threading
import time
import zipfile

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis import diagnosis, knowledge
from recipe import WITH_PYTHON, Recipe, docker, gateway, uv_binary

STALL_S = 5.0
DOCKERFILE = f"""\
ARG BASE={WITH_PYTHON}
FROM ${{BASE}}
COPY uv /usr/local/bin/uv
RUN uv venv -q /opt/venv
ARG INDEX
RUN env | grep UV_ || echo nothing about UV in here
RUN uv pip install -q --no-cache --python /opt/venv --index-url "$INDEX" slow-wheel
"""


def wheel() -> bytes:
    name = "slow_wheel-1.0"
    files = {
        "slow_wheel/__init__.py": b"#" + base64.b64encode(os.urandom(300_000)),
        f"{name}.dist-info/METADATA": b"Metadata-Version: 2.1\nName: slow-wheel\nVersion: 1.0\n",
        f"{name}.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}\n" for path, data in files.items()
    )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path, data in {**files, f"{name}.dist-info/RECORD": (record + f"{name}.dist-info/RECORD,,\n").encode()}.items():
            archive.writestr(path, data)
    return packed.getvalue()


class Index(http.server.BaseHTTPRequestHandler):
    content = wheel()
    metadata = b"Metadata-Version: 2.1\nName: slow-wheel\nVersion: 1.0\n"
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path.endswith(".metadata"):
            return self.reply(self.metadata, "text/plain")
        if self.path.endswith(".whl"):
            half = len(self.content) // 2
            self.send_response(200)
            self.send_header("Content-Type", "application/zip")
            self.send_header("Content-Length", str(len(self.content)))
            self.end_headers()
            try:
                self.wfile.write(self.content[:half])
                self.wfile.flush()
                time.sleep(STALL_S)
                self.wfile.write(self.content[half:])
            except OSError:
                self.close_connection = True  # uv gave up, as it should with a short timeout
            return None
        digest = hashlib.sha256(self.metadata).hexdigest()
        link = f'<a href="/files/slow_wheel-1.0-py3-none-any.whl" data-core-metadata="sha256={digest}">slow_wheel-1.0-py3-none-any.whl</a>'
        return self.reply(link.encode(), "text/html")

    def do_HEAD(self):
        self.reply(b"", "application/octet-stream")

    def reply(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments):
        pass


@pytest.fixture(scope="module")
def index():
    server = http.server.ThreadingHTTPServer((gateway(), 0), Index)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://{server.server_address[0]}:{server.server_address[1]}/simple/"
    server.shutdown()


@pytest.fixture
def recipe(tmp_path):
    made = Recipe(tmp_path)
    made.write(DOCKERFILE, uv=uv_binary())
    yield made
    made.remove()


def test_a_short_timeout_fails_as_the_seed_did_and_the_message_says_so(recipe, index):
    with pytest.raises(GB10Error) as caught:
        recipe.build("main", build_args={"INDEX": index}, uv_http_timeout_s=1, uv_http_retries=0)
    found = diagnosis.diagnose({"box1": "\n".join(caught.value.details["log_lines"])}, knowledge.load())
    assert (found["id"], found["values"]["current_s"]) == ("KB-001", "1")
    assert "gb10_uv_http_timeout_s" in found["todo"]
    assert any("UV_HTTP_TIMEOUT (current value: 1s)" in line for line in caught.value.details["last_lines"])
    assert recipe.leftovers() == []


def test_our_timeout_is_longer_than_the_stall_and_acts(recipe, index):
    result = recipe.build("main", build_args={"INDEX": index}, uv_http_timeout_s=30, uv_http_retries=0)
    assert result["changed"] and result["duration_s"] > STALL_S
    assert "slow_wheel" in docker("run", "--rm", recipe.name, "ls", *glob("/opt/venv/lib", recipe.name))


def glob(folder: str, image: str) -> list[str]:
    return [docker("run", "--rm", image, "sh", "-c", f"echo {folder}/python3.*/site-packages")]


def test_the_variable_in_the_shell_alone_does_not_reach_the_build(recipe, index):
    """`UV_HTTP_TIMEOUT=1 ./build-and-copy.sh`: were it to act, the stall would end the build as in the first test. It does not."""
    text = (recipe.source / "Dockerfile").read_text().replace("ARG INDEX", f"ARG INDEX={index}")
    recipe.write(text)
    done = subprocess.run(
        ["./build-and-copy.sh", "--tag", recipe.name, "--use-wheels"],
        cwd=recipe.source, capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "UV_HTTP_TIMEOUT": "1", "UV_HTTP_RETRIES": "0", "DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain",
             "PATH": os.path.dirname(recipe.docker) + os.pathsep + os.environ["PATH"]},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "nothing about UV in here" in done.stderr + done.stdout


def test_a_stall_is_survived_by_the_next_attempt(recipe, index):
    """A network failure is repeated; here the first attempt runs into the stall and the second finds the index fast."""
    calls: list[float] = []
    original = Index.do_GET

    def fast_after_the_first(self):
        if self.path.endswith(".whl"):
            calls.append(time.monotonic())
            if len(calls) > 1:
                return self.reply(self.content, "application/zip")
        return original(self)

    Index.do_GET = fast_after_the_first
    try:
        result = recipe.build("main", build_args={"INDEX": index}, uv_http_timeout_s=1, uv_http_retries=0, retries=1)
    finally:
        Index.do_GET = original
    assert result["changed"] and len(calls) == 2
    assert any(line["phase"] == "retry" and "the network failed" in line["text"] for line in recipe.progress())

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The real vLLM for CPU in containers of this machine's Docker, started wrongly on purpose."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import recipe
from ansible_collections.gb10.vllm.plugins.module_utils._engine.probe import Follower

ROOT = Path(__file__).resolve().parents[3]
BOXES = ROOT / "tests" / "boxes"
PREFIX = "gb10-enginetest-"
KEY = "engine-test-key"


def docker(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise AssertionError(f"docker {' '.join(arguments)}: {done.stderr}")
    return done.stdout.strip()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_arguments):
        pass


@pytest.fixture(scope="session")
def engine_image():
    """The image that the demo builds too; built here once from the same wheels and kept until they change."""
    given = os.environ.get("GB10_TEST_ENGINE_IMAGE")
    if given:
        return given
    source = recipe.STAND_IN
    lock = (BOXES / "engine-requirements.txt").read_bytes() + (source / "Dockerfile.wheels").read_bytes()
    image = f"gb10-enginetest:{hashlib.sha256(lock).hexdigest()[:12]}"
    if docker("images", "--quiet", image):
        return image
    subprocess.run([sys.executable, str(BOXES / "boxes"), "prepare"], check=True)
    folder = str(ROOT / ".cache" / "depot" / "http")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        wheels = f"WHEELS=http://127.0.0.1:{server.server_port}/wheels/"
        build = [recipe.engine(), "build", "-q", "--network", "host", "-t", image, "--build-arg", wheels]
        command = [*build, "-f", str(source / "Dockerfile.wheels"), str(source)]
        done = subprocess.run(command, check=False, env={**os.environ, "DOCKER_BUILDKIT": "1"}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    finally:
        server.shutdown()
        server.server_close()
    return image


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """A directory of models: one that works, and copies of it with one thing wrong."""
    folder = tmp_path_factory.mktemp("models")
    subprocess.run([sys.executable, str(BOXES / "make_model.py"), str(folder / "good")], check=True, capture_output=True)

    def spoilt(name: str) -> Path:
        return Path(shutil.copytree(folder / "good", folder / name))

    shards = spoilt("missing-shard")
    (shards / "model.safetensors").rename(shards / "model-00001-of-00002.safetensors")
    index = {"metadata": {}, "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (shards / "model.safetensors.index.json").write_text(json.dumps(index))
    config = spoilt("wrong-type") / "config.json"
    config.write_text(config.read_text().replace('"model_type": "llama"', '"model_type": "alpaca9"'))
    tokenizer = spoilt("no-template") / "tokenizer_config.json"
    settings = json.loads(tokenizer.read_text())
    del settings["chat_template"]
    tokenizer.write_text(json.dumps(settings))
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    folder.chmod(0o755)
    return folder


class Engine:
    """Starts one container and follows it."""

    def __init__(self, image: str, models: Path, key_file: Path, name: str) -> None:
        self.image, self.models, self.key_file = image, models, key_file
        self.name = PREFIX + name
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def start(self, model: str, *arguments: str, options: tuple[str, ...] = (), check: bool = True) -> None:
        """`vllm serve` as the server role runs it: no capabilities, the model read-only, the key in an env file."""
        self.remove()
        docker(
            "run", "--detach", "--name", self.name, "--publish", f"127.0.0.1:{self.port}:8000", "--cap-drop", "ALL",
            "--security-opt", "no-new-privileges", "--shm-size", "256m", "--env-file", str(self.key_file),
            "--env", "HF_HUB_OFFLINE=1", "--volume", f"{self.models}:/models:ro", *options, self.image,
            "vllm", "serve", f"/models/{model}", "--served-model-name", "tiny", "--dtype", "float32", "--enforce-eager", *arguments,
            check=check,
        )  # fmt: skip

    def run(self, script: str) -> None:
        """A shell script in place of vLLM, in a container with this collection's label; returns when it has ended."""
        self.remove()
        label = "gb10.vllm.server=devstral"
        docker("run", "--name", self.name, "--label", label, "--env-file", str(self.key_file), self.image, "sh", "-c", script, check=False)

    def follower(self, kind: str = "auto", stall_s: float = 300.0, **more) -> Follower:
        return Follower(self.name, f"http://127.0.0.1:{self.port}", str(self.key_file), "tiny", kind, "hi", stall_s, 60.0, **more)

    def wait(self, limit_s: float = 420.0, **more) -> dict:
        """What `server_ready` sees in the end."""
        follower = self.follower(**more)
        while True:
            seen = follower.follow(wait_s=10.0, poll_s=1.0)
            follower.start = follower.start or seen["container"].get("started_at")
            if seen["phase"] in ("ready", "failed", "stalled"):
                return seen
            assert seen["elapsed_s"] < limit_s, f"still {seen['progress']} after {seen['elapsed_s']} s: {seen['log_tail'][-5:]}"

    def pids(self, pattern: str = "") -> list[int]:
        """Processes of the container as this machine sees them."""
        rows = docker("top", self.name, "-eo", "pid,args").splitlines()[1:]
        return [int(row.split()[0]) for row in rows if pattern in row]

    def remove(self) -> None:
        docker("rm", "--force", self.name, check=False)


@pytest.fixture
def engine(engine_image, models, tmp_path, request):
    key_file = tmp_path / "key.env"
    key_file.write_text(f"VLLM_API_KEY={KEY}\n")
    key_file.chmod(0o600)
    started = Engine(engine_image, models, key_file, re.sub(r"[^a-zA-Z0-9]+", "-", request.node.name)[-40:])
    yield started
    started.remove()

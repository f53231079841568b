# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A repository with spark-vllm-docker's interface and a state directory, for tests that build images with the real engine."""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import subprocess
import uuid
import zipfile
from pathlib import Path

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._image.ensure import ImageBuild
from ansible_collections.gb10.vllm.plugins.module_utils._image.options import Options

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = ROOT / "tests" / "boxes" / "spark-vllm-docker"
CACHE = ROOT / ".cache"
BASE = "gb10-base:bookworm"  # a minimal Debian, made by tests/boxes/boxes
WITH_PYTHON = "gb10-box:latest"


def engine() -> str:
    """A docker command that can build with BuildKit (a newer client without the buildx plugin cannot)."""
    for folder in dict.fromkeys([*os.environ["PATH"].split(os.pathsep), "/usr/bin"]):
        command = os.path.join(folder, "docker")
        if not os.access(command, os.X_OK):
            continue
        version = subprocess.run([command, "version", "--format", "{{.Client.Version}}"], capture_output=True, text=True, check=False).stdout
        old = int(version.split(".")[0] or 99) < 23
        if old or subprocess.run([command, "buildx", "version"], capture_output=True, check=False).returncode == 0:
            return command
    return pytest.fail("no docker command here can build with BuildKit; run: make setup")


def docker(*arguments: str) -> str:
    done = subprocess.run([engine(), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def gateway() -> str:
    """This machine's address as containers on the default bridge see it."""
    subnet = docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Subnet}}")
    return str(next(ipaddress.ip_network(subnet).hosts()))


def uv_binary() -> Path:
    """The uv command, from the wheel on the package index, kept in .cache."""
    folder = CACHE / "tests"
    binary = folder / "uv"
    if not binary.exists():
        folder.mkdir(parents=True, exist_ok=True)
        found = sorted((CACHE / "depot" / "http" / "wheels").glob("uv-*.whl"))
        if not found:
            subprocess.run([ROOT / ".venv/bin/pip", "download", "-q", "--no-deps", "-d", folder, "uv"], check=True)
            found = sorted(folder.glob("uv-*.whl"))
        with zipfile.ZipFile(found[-1]) as wheel:
            member = next(name for name in wheel.namelist() if name.endswith("scripts/uv"))
            temporary = folder / f"uv.{os.getpid()}"
            temporary.write_bytes(wheel.read(member))
            temporary.chmod(0o755)
            temporary.replace(binary)
    return binary


class Recipe:
    """The repository ``source``, its checkout below ``state``, and images that are removed afterwards."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "source"
        self.state = folder / "state"
        self.checkout = self.state / "build" / "checkout"
        self.name = f"gb10-test-{uuid.uuid4().hex[:10]}"
        self.warnings: list[str] = []
        self.docker = engine()
        self.source.mkdir()
        self.git("init", "-q", "-b", "main")
        shutil.copy(STAND_IN / "build-and-copy.sh", self.source)

    def git(self, *arguments: str, cwd: Path | None = None) -> str:
        who = ["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", "-C", cwd or self.source, *who, *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def write(self, dockerfile: str, **files: str | Path) -> str:
        """Commit a Dockerfile (and other files: text or a path to copy) and fetch it into the checkout; returns the commit."""
        for name in ("Dockerfile", "Dockerfile.wheels"):
            (self.source / name).write_text(dockerfile)
        for name, content in files.items():
            if isinstance(content, Path):
                shutil.copy(content, self.source / name)
            else:
                (self.source / name).write_text(content)
        return self.commit()

    def commit(self) -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "state")
        if self.checkout.exists():
            self.git("fetch", "-q", "origin", cwd=self.checkout)
        else:
            self.checkout.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["git", "clone", "-q", self.source, self.checkout], check=True)
        return self.git("rev-parse", "HEAD")

    def job(self, ref: str = "main", *, check_mode: bool = False, defer: bool = False, docker: str = "", **options) -> ImageBuild:
        defaults = {"min_free_gib": 0.0, "retries": 0, "retry_delay_s": 0.1, "name": self.name, "state_dir": str(self.state), "ref": ref}
        return ImageBuild(Options(**{**defaults, **options}), check_mode=check_mode, defer=defer, docker=docker or self.docker, warn=self.warnings.append)

    def build(self, ref: str = "main", **options) -> dict:
        return self.job(ref, **options).run()

    def names(self) -> list[str]:
        lines = docker("images", "--format", "{{.Repository}}:{{.Tag}}").splitlines()
        return sorted(line for line in lines if line.startswith((self.name, self.job().temporary)))

    def progress(self) -> list[dict]:
        return [json.loads(line) for path in self.state.glob("build/progress-*.jsonl") for line in path.read_text().splitlines()]

    def leftovers(self) -> list[str]:
        """What must never stay behind: worktrees, temporary names, changes in the checkout."""
        found = [name for name in self.names() if name.startswith(self.job().temporary)]
        found += [line for line in self.git("worktree", "list", "--porcelain", cwd=self.checkout).splitlines() if line.startswith("worktree ")][1:]
        found += [str(path) for path in self.state.glob("build/worktree*")]
        found += self.git("status", "--porcelain", cwd=self.checkout).splitlines()
        return found

    def remove(self) -> None:
        for name in self.names():
            subprocess.run([self.docker, "rmi", "-f", name], capture_output=True, check=False)

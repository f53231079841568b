# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An emulated box and the playbooks as a user runs them; see tests/boxes/README.md. The fleet `test` is not the demo's."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import urllib.request

import pytest
from server_box import SshBox

ROOT = pathlib.Path(__file__).resolve().parents[2]
BOXES = ROOT / "tests/boxes/boxes"
INVENTORY = ROOT / ".cache/inventory/test"


@dataclasses.dataclass
class Run:
    """What a playbook run said."""

    code: int
    text: str
    seconds: float

    @property
    def changed(self) -> int:
        return sum(int(number) for number in re.findall(r" changed=(\d+) ", self.text))

    @property
    def words(self) -> str:
        """The text with line breaks and Ansible's wrapping taken out, for sentences."""
        return re.sub(r"\s+", " ", self.text)


class Box(SshBox):
    """spark-01 of the fleet `test` and the playbooks against it."""

    address = "172.30.10.101"
    url = "http://172.30.10.101:8000"

    def __init__(self) -> None:
        super().__init__("test")

    def start(self, playbook: str, *arguments: str, variables: dict | None = None) -> subprocess.Popen:
        command = [ROOT / ".venv/bin/ansible-playbook", *playbook.split(), "-i", INVENTORY, *arguments]
        if variables:
            command += ["-e", json.dumps(variables)]
        environment = {**os.environ, "ANSIBLE_FORCE_COLOR": "0", "PYTHONUNBUFFERED": "1"}
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, start_new_session=True
        )

    def playbook(self, playbook: str, *arguments: str, variables: dict | None = None, timeout: float = 900) -> Run:
        began = time.monotonic()
        running = self.start(playbook, *arguments, variables=variables)
        try:
            text, _ = running.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            raise
        return Run(running.returncode, text, time.monotonic() - began)

    def killed(self, marker: str, after_s: float = 0.0) -> str:
        """Run site.yml and kill it, with all its processes here, once a line matches (and some seconds more)."""
        running = self.start("site.yml")
        seen = []
        for line in running.stdout:
            seen.append(line)
            if re.search(marker, line):
                time.sleep(after_s)
                os.killpg(running.pid, signal.SIGKILL)
                break
        running.wait()
        text = "".join(seen)
        assert running.returncode == -signal.SIGKILL, f"the run ended before {marker!r} was seen:\n{text[-3000:]}"
        return text

    def chat(self, words: str = "Good morning") -> dict:
        body = {"model": "tiny-llama", "max_tokens": 8, "messages": [{"role": "user", "content": words}]}
        key = self.root("cat /etc/gb10-vllm/tiny/key.env").strip().partition("=")[2]
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        request = urllib.request.Request(f"{self.url}/v1/chat/completions", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=120) as reply:
            return json.load(reply)


def fresh() -> Box:
    """The box as it was delivered, with the images that its Docker engine already has."""
    subprocess.run([sys.executable, BOXES, "down", "--keep-images", "--fleet", "test"], check=True)
    subprocess.run([sys.executable, BOXES, "up", "1", "--fleet", "test"], check=True)
    with contextlib.suppress(FileNotFoundError):
        (INVENTORY / "gb10.lock.yml").unlink()
    return Box()


@pytest.fixture(scope="module")
def box():
    yield fresh()
    subprocess.run([sys.executable, BOXES, "down", "--keep-images", "--fleet", "test"], check=True)


@pytest.fixture
def another():
    """Puts a fresh box in the place of the one before."""
    return fresh

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real SSH connection is cut while a model is downloaded on a box: the work goes on there, and the same run follows it to its end.

The box is this machine behind an sshd of its own on loopback. Cut is what a dead link or a firewall does: the controller's ssh and every session of that
sshd are killed; who comes anew is let in again.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from model_hub import ModelHub
from playbook import start
from test_model_fetch import NEEDED, REPO, same, shard

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root may be let in without a password by an sshd of its own"),
    pytest.mark.skipif(not SSHD or not shutil.which("ssh"), reason="needs ssh and sshd"),
]


class SlowHub(ModelHub):
    """Weights take four seconds each, so that there is a download to cut a connection in."""

    def _file(self, request, path):
        if path.endswith(".safetensors"):
            time.sleep(4)
        super()._file(request, path)


class Sshd:
    """An sshd of its own and the way to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
        shutil.copy(folder / "user.pub", folder / "authorized")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        settings = {
            "Port": self.port, "ListenAddress": "127.0.0.1", "HostKey": folder / "host", "AuthorizedKeysFile": folder / "authorized", "PidFile": "none",
            "StrictModes": "no", "UsePAM": "no", "PermitRootLogin": "yes", "PasswordAuthentication": "no",
        }  # fmt: skip
        (folder / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        os.makedirs("/run/sshd", exist_ok=True)
        self.process = subprocess.Popen([str(SSHD), "-D", "-e", "-f", str(folder / "sshd_config")], stderr=(folder / "log").open("w"))
        until = time.monotonic() + 30
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.1)
        raise AssertionError((folder / "log").read_text())

    def inventory(self) -> Path:
        known = f"-o UserKnownHostsFile={self.folder}/known -o StrictHostKeyChecking=accept-new -o IdentitiesOnly=yes -o ControlPersist=60s"
        variables = {
            "ansible_host": "127.0.0.1", "ansible_port": self.port, "ansible_user": "root", "ansible_ssh_private_key_file": str(self.folder / "user"),
            "ansible_ssh_common_args": known, "ansible_python_interpreter": sys.executable, "ansible_remote_tmp": str(self.folder / "remote"),
            "ansible_control_path_dir": str(self.folder / "cp"),
        }  # fmt: skip
        (self.folder / "hosts.json").write_text(json.dumps({"all": {"hosts": {"spark-01": variables}}}))
        return self.folder / "hosts.json"

    def cut(self) -> int:
        """Kill every session, and the master that the controller keeps; how many processes that were. What runs on the box is not among them."""
        sessions = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        inner = [child for one in sessions for child in _children(one) if _command(child).startswith("sshd")]
        masters = [pid.name for pid in Path("/proc").glob("[0-9]*") if str(self.folder / "cp") in _command(pid.name) and _command(pid.name).startswith("ssh")]
        for pid in [*sessions, *inner, *masters]:
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue
        return len(sessions)

    def end(self) -> None:
        self.cut()
        self.process.kill()
        self.process.wait()


def _children(pid: str) -> list[str]:
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []


def _command(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


@pytest.fixture
def sshd(tmp_path):
    folder = tmp_path / "ssh"
    folder.mkdir()
    one = Sshd(folder)
    yield one
    one.end()


def test_a_connection_that_is_cut_during_a_download_ends_nothing_and_the_run_follows_it(sshd, tmp_path):
    root, final = tmp_path / "hub", tmp_path / "models" / "tiny"
    (root / "1_Pooling").mkdir(parents=True)
    for number in (1, 2, 3):
        shard(root / f"model-0000{number}-of-00003.safetensors", 300_000, number)
    for name, text in (("config.json", '{"architectures": ["X"]}'), ("tokenizer.json", "{}"), ("1_Pooling/config.json", "{}")):
        (root / name).write_text(text)
    hub = SlowHub({REPO: root})
    task = {"name": "Bring", "gb10.vllm.model_fetch": {"path": str(final), "repo_id": REPO, "endpoint": hub.url, "connections": 1, "state_dir": str(tmp_path)}}
    (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "spark-01", "gather_facts": False, "tasks": [task]}]))
    try:
        run = start("play.yml", "-i", str(sshd.inventory()), cwd=tmp_path)
        until = time.monotonic() + 200
        while not hub.requests(".safetensors") and time.monotonic() < until and run.poll() is None:
            time.sleep(0.1)
        assert run.poll() is None, run.communicate()[0]
        cut = [sshd.cut()]
        time.sleep(3)
        cut.append(sshd.cut())
        output, _none = run.communicate(timeout=300)
    finally:
        hub.close()
    assert sum(cut), "a connection was there to be cut"
    assert run.returncode == 0 and "changed=1" in output, output
    assert same(root, final, NEEDED)
    asked = [one["path"] for one in hub.requests("/resolve/") if ".safetensors" in one["path"]]
    assert len(asked) == len(set(asked)) == 3, "and what is on its way is not begun twice"

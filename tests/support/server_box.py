# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One emulated box for tests: commands on it over SSH, playbooks against it, requests to its servers from outside."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
BOXES = ROOT / "tests" / "boxes" / "boxes"
SERVER = {"name": "tiny", "model": "tiny-llama", "port": 8000, "address": "0.0.0.0", "max_model_len": 2048, "concurrency": 2,
          "cuda_graphs": "never", "args": {"dtype": "float32"}}  # fmt: skip
ANSIBLE_PLAYBOOK = Path(sys.executable).parent / "ansible-playbook"
FLEET = os.environ.get("GB10_E2E_FLEET", "test")
STATE = "/var/lib/gb10-vllm"
# What a run leaves on a box, except the image and the checkout it was built from: those are what takes long.
CLEAN = f"""
units=$(systemctl list-unit-files --no-legend 'gb10-vllm-*.service' | cut -d' ' -f1 | grep -v @)
timers=$(systemctl list-units --all --no-legend --plain 'gb10-vllm-watch@*.timer' | cut -d' ' -f1)
systemctl disable --now $timers $units 2>/dev/null
docker ps -aq | xargs -r docker rm -f >/dev/null
rm -rf /etc/gb10-vllm {STATE}/servers {STATE}/cache {STATE}/run.lock /usr/local/lib/gb10-vllm
rm -rf /etc/systemd/system/gb10-vllm-* /etc/systemd/system/*.wants/gb10-vllm-*
systemctl daemon-reload; systemctl reset-failed
"""


class SshBox:
    """A box of a fleet, reached as a user reaches it: over SSH."""

    def __init__(self, fleet: str, name: str = "spark-01") -> None:
        self.fleet, self.name = fleet, name

    def ssh(self, command: str, check: bool = True, timeout: float = 120) -> str:
        """Standard output of a command that the inventory's user runs on the box."""
        line = [sys.executable, BOXES, "--fleet", self.fleet, "ssh", self.name, command]
        done = subprocess.run(line, capture_output=True, text=True, timeout=timeout, check=False)
        assert done.returncode == 0 or not check, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def root(self, script: str, check: bool = True, timeout: float = 120) -> str:
        """The same by root, ended by the first command that fails."""
        return self.ssh(f"sudo sh -ec {shlex.quote(script)}", check, timeout)

    def reboot(self) -> None:
        subprocess.run([sys.executable, BOXES, "--fleet", self.fleet, "reboot", self.name], check=True)


class Box(SshBox):
    """The first box of a fleet, its inventory in a directory of the test's own; ``count``: how many boxes there are."""

    def __init__(self, folder: Path, variables: dict, count: int = 1) -> None:
        subprocess.run([sys.executable, BOXES, "--fleet", FLEET, "up", str(count)], check=True, timeout=900)
        written = (ROOT / ".cache" / "inventory" / FLEET / "hosts.yml").read_text()
        name, self.address = re.search(r"(\S+): \{ansible_host: (\S+)\}", written).groups()
        super().__init__(FLEET, name)
        self.container = f"gb10-{FLEET}-{self.name}"
        common = yaml.safe_load((ROOT / "inventory" / "demo" / "group_vars" / "gb10.yml").read_text())
        self.folder, self.variables = folder, {**common, "gb10_status_dir": str(folder), **variables}
        (folder / "hosts.yml").write_text(written)
        (folder / "group_vars").mkdir()
        self.wish()

    def wish(self, **changes) -> None:
        """Change what the inventory says."""
        self.variables.update(changes)
        path = self.folder / "group_vars" / "gb10.yml"
        path.touch(0o600)
        path.write_text(yaml.safe_dump(self.variables, sort_keys=False))

    def run(self, command: str, check: bool = True, timeout: float = 120) -> str:
        """Standard output of a command run by root on the box, without its last line break."""
        return self.ssh(f"sudo sh -c {shlex.quote(command)}", check, timeout).strip()

    def play(self, playbook: str, *arguments: str, rc: int = 0) -> str:
        """All that a playbook printed; fails unless it ended with ``rc``."""
        environment = dict(os.environ, ANSIBLE_NOCOLOR="1", ANSIBLE_COLLECTIONS_PATH=str(ROOT / ".ansible" / "collections"))
        path = playbook if playbook.endswith(".yml") else f"gb10.vllm.{playbook}"
        line = [str(ANSIBLE_PLAYBOOK), path, "-i", str(self.folder / "hosts.yml"), *arguments]
        began = time.monotonic()
        done = subprocess.run(line, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900, check=False)
        print(f"\n{playbook} {' '.join(arguments)}: {time.monotonic() - began:.0f} s, rc {done.returncode}")
        assert done.returncode == rc, done.stdout[-6000:]
        return done.stdout

    def killed(self, playbook: str, task: str, after: str) -> None:
        """Kill a run as soon as it says that a task has begun which follows the task ``after``."""
        environment = dict(os.environ, ANSIBLE_NOCOLOR="1", ANSIBLE_COLLECTIONS_PATH=str(ROOT / ".ansible" / "collections"), PYTHONUNBUFFERED="1")
        line = [str(ANSIBLE_PLAYBOOK), f"gb10.vllm.{playbook}", "-i", str(self.folder / "hosts.yml")]
        seen = ""
        with subprocess.Popen(
            line, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, start_new_session=True
        ) as process:
            assert process.stdout
            for said in process.stdout:
                seen += said
                if said.startswith("TASK [") and task in said and after in seen:
                    os.killpg(process.pid, signal.SIGKILL)
                    return
        raise AssertionError(f"no task {task!r} after {after!r}:\n{seen[-6000:]}")

    def ask(self, port: int, key: str | None = None, path: str = "/v1/completions", model: str = "tiny-llama", timeout: float = 20) -> int:
        """HTTP status of one request from outside the box; 0 when nothing answers."""
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
        body = json.dumps({"model": model, "prompt": "1", "max_tokens": 1}).encode() if path == "/v1/completions" else None
        request = urllib.request.Request(f"http://{self.address}:{port}{path}", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as reply:
                return reply.status if json.load(reply) else 0
        except urllib.error.HTTPError as error:
            return error.code
        except (OSError, ValueError):
            return 0

    def wait_until(self, holds, within_s: float = 300) -> float:
        """Seconds until ``holds()``; fails with the state of the box when that takes too long."""
        began = time.monotonic()
        while not holds():
            assert time.monotonic() - began < within_s, self.run("systemctl status 'gb10-vllm-*' --no-pager; docker ps -a", check=False)
            time.sleep(0.5)
        return time.monotonic() - began

    def starts_again(self, before: str) -> float:
        """Seconds until the container runs anew, ``before`` being its former StartedAt."""
        return self.wait_until(lambda: self.started_at() not in (before, "") and self.run("docker ps -q", check=False) != "")

    def answers(self, port: int, key: str | None) -> None:
        """Wait for a real answer."""
        print(f"answers after {self.wait_until(lambda: self.ask(port, key) == 200, within_s=900):.0f} s")

    def started_at(self, server: str = "tiny") -> str:
        return self.run(f"docker inspect -f '{{{{.State.StartedAt}}}}' gb10-vllm-{server}", check=False)

    def record(self, server: str, kind: str):
        return json.loads(self.run(f"cat {STATE}/servers/{server}/{kind}.json"))

    def unit(self, server: str, *properties: str) -> list[str]:
        shown = self.run(f"systemctl show gb10-vllm-{server}.service -p {','.join(properties)}")
        values = dict(line.split("=", 1) for line in shown.splitlines())
        return [values[one] for one in properties]

    def journal(self, unit: str) -> str:
        return self.run(f"journalctl -o cat --no-pager -u {unit}")

    def processes(self, pattern: str) -> list[int]:
        """Pids on the box whose name or command line has ``pattern``."""
        rows = self.run("ps -eo pid,args").splitlines()[1:]
        return [int(row.split()[0]) for row in rows if pattern in row]


class Arguments:
    """Collects the arguments of every process of this machine, the boxes' among them, while it is open."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._collect, daemon=True)

    def _collect(self) -> None:
        known: dict[str, float] = {}
        while not self._over.wait(0.05):
            for entry in os.scandir("/proc"):
                if not entry.name.isdigit():
                    continue
                try:
                    # A process is read twice: at its start it may still have its parent's arguments.
                    if known.get(entry.name, 0) < 2:
                        known[entry.name] = known.get(entry.name, 0) + 1
                        self.seen.add(Path(entry.path, "cmdline").read_bytes())
                except OSError:
                    continue

    def __enter__(self) -> Arguments:
        self._thread.start()
        return self

    def __exit__(self, *_error) -> None:
        self._over.set()
        self._thread.join()

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Imitated boxes: whole runs of the real ansible-core, roles and modules in seconds, without Docker, SSH and vLLM.

A box is this machine in namespaces of its own (files, processes, network): what a run writes, reads and starts there is real, and so are the modules and the
guard. Docker, systemd and the engines are played (imitated/world.py). Needs root and Linux.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import playbook
import yaml
from checkpoints import TINY_LLAMA, dense, write_model

HERE = Path(__file__).resolve().parent
WORLD = HERE / "imitated"
SERVER = {"name": "tiny", "model": "tiny", "port": 8000, "address": "0.0.0.0", "max_model_len": 2048, "concurrency": 2}
STATE = "/var/lib/gb10-vllm"


class Boxes:
    """A fleet of them: spark-01 and so on."""

    def __init__(self, folder: Path, count: int, routers: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.inventory = folder / "inventory"
        self.names = [f"spark-{number:02}" for number in range(1, count + 1)]
        self.routers = routers
        self.processes: list[subprocess.Popen] = []
        self.variables: dict[str, Any] = {}
        self.kept: dict[str, Any] = {}
        self.said = ""

    def up(self) -> None:
        models = self.folder / "models"
        for name in ("tiny", "other"):
            config = {**TINY_LLAMA, "vocab_size": 512 if name == "tiny" else 640}
            write_model(models / name, config, list(dense(config)))
        everybody = [*self.names, *self.routers]
        for name in everybody:
            (self.folder / name).mkdir()
            inside = ["/bin/sh", "-c", f"{sys.executable} {WORLD}/world.py {self.folder / name} {name}; exit"]
            unshare = ["unshare", "--mount", "--net", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child", "--propagation", "private"]
            with (self.folder / name / "log").open("w") as log:
                self.processes.append(subprocess.Popen([*unshare, *inside], stdout=log, stderr=log, stdin=subprocess.DEVNULL))
        for name, process in zip(everybody, self.processes, strict=True):
            self._wait_for(name, process)
        if self.routers:
            self._join()
        self.inventory.mkdir()
        self.wish(
            ansible_connection="imitated",
            ansible_user="root",
            ansible_become=False,
            ansible_python_interpreter=sys.executable,
            ansible_remote_tmp="/var/tmp/ansible",
            gb10_architectures=["x86_64", "aarch64"],
            gb10_least_free_gib={"docker": 1},
            gb10_image={"source": "existing", "name": "vllm-node"},
            gb10_soak_s=0,
            gb10_servers=[SERVER],
        )

    def cable(self) -> None:
        """A network that all boxes have in common: a bridge on the first, from which a cable goes to each other one."""
        hub = self.pid(self.names[0])
        self._ip(hub, "link add fab0 type bridge", "addr add 192.168.177.1/24 dev fab0", "link set fab0 up")
        for number, name in enumerate(self.names[1:], 2):
            self._ip(hub, f"link add to{number} type veth peer name fab0 netns {self.pid(name)}", f"link set to{number} master fab0 up")
            self._ip(self.pid(name), f"addr add 192.168.177.{number}/24 dev fab0", "link set fab0 up")

    def _wait_for(self, name: str, process: subprocess.Popen) -> None:
        for _try in range(600):
            if (self.folder / name / "up").exists():
                break
            assert process.poll() is None, (self.folder / name / "log").read_text()
            time.sleep(0.05)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        (self.folder / name / "pid").write_text(children[0])

    def _join(self) -> None:
        """One network for all, a bridge on the first router; boxes are at .11 and up, routers at .1 and up."""
        hub = self.pid(self.routers[0])
        self._ip(hub, "link add hub type bridge", f"addr add {self.address(self.routers[0])}/24 dev hub", "link set hub up")
        for number, name in enumerate([*self.names, *self.routers[1:]]):
            port = f"port{number}"
            self._ip(hub, f"link add {port} type veth peer name box netns {self.pid(name)}", f"link set {port} master hub up")
            self._ip(self.pid(name), f"addr add {self.address(name)}/24 dev box", "link set box up")

    @staticmethod
    def _ip(pid: str, *lines: str) -> None:
        for line in lines:
            subprocess.run(["nsenter", "-t", pid, "-n", "ip", *line.split()], check=True)

    def cut(self, box: str, state: str = "down") -> None:
        """Cut the link of a box, or mend it (``up``)."""
        self._ip(self.pid(self.routers[0]), f"link set port{self.names.index(box)} {state}")

    def address(self, name: str) -> str:
        return f"10.77.0.{11 + self.names.index(name) if name in self.names else 1 + self.routers.index(name)}"

    def pid(self, name: str) -> str:
        return (self.folder / name / "pid").read_text()

    def down(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()

    def wish(self, **variables: Any) -> None:
        """What the inventory says; None takes a variable out."""
        self.variables = {key: value for key, value in {**self.variables, **variables}.items() if value is not None}
        where = {name: {"ansible_host": self.address(name)} if self.routers else {} for name in [*self.names, *self.routers]}
        hosts, routers = ({name: {"imitated_box": str(self.folder / name), **where[name]} for name in some} for some in (self.names, self.routers))
        ways = {key: value for key, value in self.variables.items() if key.startswith("ansible_")}
        more = {"fleet_routers": {"hosts": routers, "vars": ways}} if routers else {}
        (self.inventory / "hosts.yml").write_text(json.dumps({"gb10": {"hosts": hosts, "vars": self.variables}, **more}))

    def rules(self, box: str, *rules: dict[str, Any]) -> None:
        """How engines of a box behave (world.py)."""
        (self.folder / box / "rules.json").write_text(json.dumps(rules))

    def box(self, box: str, *words: str) -> None:
        """``save`` a box as it is, or ``restore`` it to that, or to the moment (without its ending) that is named; ``relieve`` it of what holds its memory."""
        connection = socket.socket(socket.AF_UNIX)
        with connection, contextlib.chdir(f"/proc/{(self.folder / box / 'pid').read_text()}/root/run"):
            connection.connect("docker.sock")
            body = json.dumps({"name": "box", "words": words}).encode()
            connection.sendall(b"POST /command HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        assert b"200 OK" in answer, (answer, (self.folder / box / "log").read_text())

    def alike(self) -> None:
        """Give all boxes what the first one has: a run over it is enough."""
        first, *others = self.names
        self.box(first, "save")
        for name in others:
            for file in ("kept.tar", "kept.json"):
                shutil.copy(self.folder / first / file, self.folder / name / file)
            self.box(name, "restore")

    def save(self) -> None:
        """Boxes and inventory as they are now are what ``restore`` brings back."""
        for name in self.names:
            self.box(name, "save")
        shutil.copytree(self.inventory, self.folder / "kept-inventory")
        self.kept = dict(self.variables)

    def moments(self, box: str, name: str, *arguments: str, code: int = 0) -> list[str]:
        """Each state of a box between two modules of a run, in their order: what that run leaves that is killed there."""
        folder = self.folder / box / "moments"
        folder.mkdir()
        self.play(name, *arguments, code=code)
        kept = folder.rename(folder.with_name(f"moments-{len(list(folder.parent.glob('moments-*')))}"))
        states = {str(path.with_suffix("")): state(path.with_suffix("")) for path in sorted(kept.glob("*.json"))}
        return [moment for (moment, now), before in zip(states.items(), [None, *states.values()], strict=False) if now != before]

    def at(self, box: str, moment: str) -> None:
        """The box as it was then, and the lock file of the boxes as they were kept."""
        self.box(box, "restore", moment)
        shutil.copy(self.folder / "kept-inventory" / "gb10.lock.yml", self.inventory)

    def restore(self) -> None:
        for name in self.names:
            for left in ("off", "vanish", "short", "rules.json", "asked", "rehearsed"):
                (self.folder / name / left).unlink(missing_ok=True)
            for left in (self.folder / name).glob("moments*"):
                shutil.rmtree(left)
            self.box(name, "restore")
        shutil.rmtree(self.inventory)
        shutil.copytree(self.folder / "kept-inventory", self.inventory)
        self.variables = dict(self.kept)

    def ask(self, box: str, command: str, check: bool = True) -> str:
        """Standard output of a shell command that root runs on a box."""
        line = ["nsenter", "-t", (self.folder / box / "pid").read_text(), "-m", "-n", "-u", "-p", "--", "/bin/sh", "-c", command]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or not check, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def key(self, box: str, server: str = "tiny") -> str:
        return self.ask(box, f"cat /etc/gb10-vllm/{server}/key.env").partition("=")[2].strip().strip("'")

    def answers(self, box: str, server: str = "tiny", port: int = 8000) -> bool:
        """Whether a request with the server's own key is answered there."""
        request = f"u.Request('http://127.0.0.1:{port}/v1/models', headers={{'Authorization': 'Bearer {self.key(box, server)}'}})"
        return self.ask(box, f'{sys.executable} -c "import urllib.request as u; print(u.urlopen({request}).status)"', check=False).strip() == "200"

    def serves(self, box: str, server: str = "tiny") -> tuple[str, bool]:
        """What is deployed, and whether it answers."""
        return self.record(box, "deployment", server)["served_model_name"], self.answers(box, server)

    def locked(self, box: str, server: str = "tiny") -> bool:
        """Whether the lock file says of a box what is deployed there."""
        boxes = yaml.safe_load((self.inventory / "gb10.lock.yml").read_text())["gb10_lock"]["vars"]["boxes"]
        return boxes[box]["servers"][server]["spec"] == self.record(box, "deployment", server)["spec"]

    def containers(self, *boxes: str) -> list[str]:
        return [self.ask(box, "docker ps -aq") for box in boxes]

    def held(self) -> list[str]:
        """The boxes that a run holds."""
        return [box for box in self.names if self.ask(box, f"ls {STATE}/run.lock", check=False)]

    def record(self, box: str, kind: str, server: str = "tiny") -> Any:
        return json.loads(self.ask(box, f"cat {STATE}/servers/{server}/{kind}.json"))

    def asked(self, box: str) -> list[str]:
        """What was asked of a box since the last call: the module of each command."""
        file = self.folder / box / "asked"
        lines = file.read_text().split() if file.exists() else []
        file.unlink(missing_ok=True)
        return lines

    def rehearsed(self, box: str) -> list[str]:
        """The commands of the engines that were rehearsed on a box."""
        file = self.folder / box / "rehearsed"
        return file.read_text().splitlines() if file.exists() else []

    def start(self, name: str, *arguments: str) -> subprocess.Popen:
        environment = playbook.environment(
            ANSIBLE_CONFIG=str(HERE.parents[1] / "ansible.cfg"), ANSIBLE_CONNECTION_PLUGINS=str(WORLD / "connection"), PWD=str(self.folder)
        )
        return subprocess.Popen(
            [playbook.ANSIBLE_PLAYBOOK, f"gb10.vllm.{name}", "-i", str(self.inventory), *arguments],
            cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip

    def play(self, name: str, *arguments: str, code: int = 0) -> str:
        """All that a playbook printed; fails unless it ended with ``code``."""
        process = self.start(name, *arguments)
        try:
            output, _none = process.communicate(timeout=1800)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        self.said += output
        assert process.returncode == code, output
        assert "Traceback" not in output, output
        return output

    def kill_at(self, name: str, task: str, *arguments: str, after: str = "", later_s: float = 0.0) -> str:
        """Kill a run as soon as it says that a task has begun (one that follows the task ``after``), or so much later; what it printed until then."""
        process = self.start(name, *arguments)
        assert process.stdout
        seen = ""
        for line in process.stdout:
            seen += line
            if line.startswith("TASK [") and task in line and after in seen:
                time.sleep(later_s)
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return seen
        raise AssertionError(f"no task {task!r}:\n{seen}")


def state(moment: Path) -> tuple[Any, ...]:
    """What there is to tell two moments of a box apart: its files but for the lock, its containers, its units."""
    with tarfile.open(f"{moment}.tar") as files:
        content = {one.name: (one.mode, (files.extractfile(one) or io.BytesIO()).read() if one.isfile() else one.type) for one in files}
    containers, _logs, units = json.loads(Path(f"{moment}.json").read_text())
    running = {name: (one["Id"], one["State"]["Status"]) for name, one in containers.items()}
    return {name: one for name, one in content.items() if "run.lock" not in name}, running, units


@contextlib.contextmanager
def boxes(folder: Path, count: int, routers: tuple[str, ...] = ()) -> Iterator[Boxes]:
    fleet = Boxes(folder, count, routers)
    try:
        fleet.up()
        yield fleet
    finally:
        fleet.down()

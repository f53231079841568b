# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Boxes with a real systemd, networkd and netplan whose fabric is pairs of virtual cables that carry the names of a GB10's ports.

The image is that of the emulated boxes with netplan from the distribution; Docker does not run in them. ib_write_bw is a stand-in that prints what a
real one printed.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import light_boxes
from light_boxes import name, run

IMAGE = "gb10-networked-box"
DOCKERFILE = f"""
FROM {light_boxes.IMAGE}
RUN apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends netplan.io \\
 && rm -rf /var/lib/apt/lists/* && systemctl disable like-a-machine.service docker.service docker.socket \\
 && systemctl mask containerd.service systemd-networkd-wait-online.service systemd-udevd.service systemd-udevd-control.socket \\
    systemd-udevd-kernel.socket systemd-udev-trigger.service \\
 && ln -s /bin/true /usr/local/bin/udevadm
"""
# Containers have no udev, and netplan insists on telling it.
HALVES = ("enp1s0f0np0", "enP2p1s0f0np0")


@dataclass
class Pair:
    """Two boxes, a cable with both halves between them, and the way to both over SSH."""

    folder: Path
    octet: int

    @property
    def inventory(self) -> Path:
        return self.folder / "inventory"

    def container(self, number: int) -> str:
        return f"gb10-networked-{self.octet}-{name(number)}"

    def address(self, number: int) -> str:
        return f"{light_boxes.SUBNET}.{self.octet}.{number + 10}"

    def ask(self, number: int, command: str, *, check: bool = True) -> str:
        """What a shell command prints in a box, past SSH."""
        done = subprocess.run(["docker", "exec", self.container(number), "sh", "-c", command], capture_output=True, text=True, check=False, timeout=120)
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def play(self, playbook: str, *words: str, **variables: object) -> subprocess.CompletedProcess:
        """A playbook of the collection over both boxes."""
        given = ["-e", json.dumps(variables)] if variables else []
        return subprocess.run(
            [light_boxes.ANSIBLE_PLAYBOOK, "-i", str(self.inventory), f"gb10.vllm.{playbook}", *given, *words],
            cwd=self.folder, env=light_boxes.environment(self.folder), capture_output=True, text=True, check=False, timeout=420,
        )  # fmt: skip


@contextlib.contextmanager
def pair(folder: Path) -> Iterator[Pair]:
    """Two boxes that are cabled and not configured, removed again at the end."""
    light_boxes.prepare()
    run("docker", "build", "-q", "-t", IMAGE, "-", input=DOCKERFILE, env={**light_boxes.os.environ, "DOCKER_BUILDKIT": "0"})
    light_boxes.snapshot(folder)
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key"))
    both = Pair(folder, light_boxes._network())
    try:
        for number in (1, 2):
            _start(both, number)
        for half in HALVES:
            ends = [word for number in (1, 2) for word in (half, "netns", _pid(both, number))]
            run("ip", "link", "add", *ends[:3], "type", "veth", "peer", "name", *ends[3:])
        for number in (1, 2):
            for half in HALVES:
                both.ask(number, f"ip link set {half} up")
        _inventory(both)
        yield both
    finally:
        subprocess.run(["docker", "rm", "-f", "-v", *(both.container(number) for number in (1, 2))], capture_output=True, check=False)
        run("docker", "network", "rm", f"gb10-light-{both.octet}")


def _pid(both: Pair, number: int) -> str:
    return run("docker", "inspect", "-f", "{{.State.Pid}}", both.container(number)).strip()


def _start(both: Pair, number: int) -> None:
    flags = ["--hostname", name(number), "--network", f"gb10-light-{both.octet}", "--ip", both.address(number), "--label", f"gb10.light={both.octet}"]
    flags += ["--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp:exec"]
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        flags += ["--privileged", "--cgroupns=private"]
    else:
        flags += ["--cgroupns=host", "-v", "/sys/fs/cgroup:/sys/fs/cgroup:rw", "--cap-add=SYS_ADMIN", "--cap-add=NET_ADMIN"]
        flags += ["--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"]
    run("docker", "run", "-d", "--name", both.container(number), *flags, IMAGE)
    ends = time.monotonic() + 90
    while both.ask(number, "systemctl is-system-running", check=False) not in ("running", "degraded"):
        assert time.monotonic() < ends, both.ask(number, "systemctl --failed; journalctl -n 40 --no-pager", check=False)
        time.sleep(0.5)
    # What makes networkd see that no udev tells it when an interface is ready, as in every container.
    both.ask(number, "mount -o remount,ro /sys", check=False)
    key = (both.folder / "key.pub").read_text().strip()
    both.ask(number, f"mkdir -p /home/gb10/.ssh && echo '{key}' >/home/gb10/.ssh/authorized_keys && chown -R gb10: /home/gb10/.ssh && systemctl start ssh")
    rate = "echo ' 65536      882900           0.00               92.57              0.176564'"
    both.ask(number, f"printf '%s\\n' '#!/bin/sh' \"{rate}\" >/usr/local/bin/ib_write_bw && chmod 755 /usr/local/bin/ib_write_bw")


def _inventory(both: Pair) -> None:
    both.inventory.mkdir()
    hosts = {name(number): {"ansible_host": both.address(number)} for number in (1, 2)}
    variables = {
        "ansible_user": "gb10",
        "ansible_python_interpreter": light_boxes.INTERPRETER,
        "ansible_ssh_private_key_file": str(both.folder / "key"),
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={both.folder}/known_hosts -o StrictHostKeyChecking=accept-new -o IdentitiesOnly=yes",
        "ansible_timeout": 10,
    }
    (both.inventory / "hosts.yml").write_text(json.dumps({"gb10": {"hosts": hosts, "vars": variables}}, indent=1))

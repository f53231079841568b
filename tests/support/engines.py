# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Boxes with a Docker engine of their own, for tests and benchmarks of what goes from box to box."""

from __future__ import annotations

import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import distribution

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "gb10-box"
NETWORK = "gb10-share-test"
CONTAINERD = {
    "features": {"containerd-snapshotter": True},
    "default-runtime": "bounded",
    "runtimes": {"bounded": {"path": "/usr/local/bin/runc-within-bounds"}},
}


def docker(*arguments: str, check: bool = True, **more) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, errors="replace", check=False, **more)
    if check and done.returncode:
        raise RuntimeError(f"docker {' '.join(arguments)[:200]}: {done.stderr.strip()[-500:]}")
    return done.stdout.strip()


def available() -> bool:
    return bool(docker("images", "-q", IMAGE, check=False))


class Engine:
    """One box: a container with its own Docker, of the classic or the containerd kind. ``rate_mbit`` limits what it sends and takes."""

    def __init__(self, name: str, kind: str = "classic", rate_mbit: float = 0, image: str = IMAGE) -> None:
        self.name = name
        docker("rm", "-f", "-v", name, check=False)
        unconfined = ["--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"]
        docker(
            "run", "-d", "--init", "--name", name, "--hostname", name, "--network", NETWORK, "--cgroupns=host", "-v", "/sys/fs/cgroup:/sys/fs/cgroup:rw",
            "--tmpfs", "/run", "--tmpfs", "/tmp:exec", "-v", "/var/lib/docker", "-v", "/var/lib/containerd", "-v", f"{ROOT}:{ROOT}:ro",
            "-e", f"PYTHONPATH={ROOT}/.ansible/collections", "-e", "PYTHONDONTWRITEBYTECODE=1",
            "--cap-add=SYS_ADMIN", "--cap-add=NET_ADMIN", *unconfined, image, "sleep", "infinity",
        )  # fmt: skip
        self.address = json.loads(docker("inspect", name))[0]["NetworkSettings"]["Networks"][NETWORK]["IPAddress"]
        self.run("mount -o remount,rw /proc/sys")
        if kind == "containerd":
            self.run("cat > /etc/docker/daemon.json", input=json.dumps(CONTAINERD))
        if rate_mbit:
            self.limit(rate_mbit)
        docker("exec", "-d", name, "sh", "-c", "dockerd > /var/log/dockerd.log 2>&1")

    def limit(self, rate_mbit: float) -> None:
        """The same limit in both directions: shaped where it leaves the box, and where it leaves the host towards the box."""
        shape = f"root tbf rate {rate_mbit}mbit burst 256kb latency 100ms"
        self.run(f"tc qdisc replace dev eth0 {shape}")
        peer = self.run("cat /sys/class/net/eth0/iflink")
        links = {Path(one).parent.name for one in map(str, Path("/sys/class/net").glob("*/ifindex")) if Path(one).read_text().strip() == peer}
        subprocess.run(["tc", "qdisc", "replace", "dev", links.pop(), *shape.split()], check=True, capture_output=True)

    def ready(self) -> Engine:
        end = time.monotonic() + 60
        while not docker("exec", self.name, "docker", "version", "--format", "{{.Server.Version}}", check=False):
            if time.monotonic() > end:
                raise RuntimeError(f"{self.name}: {self.run('tail -3 /var/log/dockerd.log')}")
            time.sleep(0.3)
        return self

    def run(self, command: str, **more) -> str:
        return docker("exec", *(["-i"] if "input" in more else []), self.name, "sh", "-ec", command, **more)

    def step(self, step: str, **given) -> dict:
        answer = json.loads(docker("exec", "-i", self.name, "python3", f"{ROOT}/tests/support/share_on_box.py", input=json.dumps([step, given])))
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["ok"]

    def images(self) -> dict[str, str]:
        lines = self.run("docker images --no-trunc --format '{{.Repository}}:{{.Tag}} {{.ID}}'").splitlines()
        return dict(line.split() for line in lines)

    def received(self) -> int:
        return int(self.run("cat /sys/class/net/eth0/statistics/rx_bytes"))

    def build(self, name: str, payload_mb: int, note: str, note_bytes: int = 200_000) -> None:
        """An image of one large random layer, one small layer with ``note`` and a label."""
        self.run(
            f"mkdir -p /build && cd /build; [ -f big ] || head -c {payload_mb}000000 /dev/urandom > big; docker image inspect base:1 >/dev/null 2>&1 || "
            f"tar -c big | docker import - base:1; echo '{note}' > note; head -c {note_bytes} /dev/urandom >> note; "
            f"printf 'FROM base:1\\nCOPY note /note\\nLABEL gb10.vllm.vllm_version=0.32.0 note={note}\\n' > Dockerfile; docker build -q -t {name} ."
        )

    def remove(self) -> None:
        docker("rm", "-f", "-v", self.name, check=False)


def network() -> None:
    docker("network", "create", NETWORK, check=False)


def send(boxes: list[Engine], holders: list[Engine], shares: list[tuple[str, str, str]], **more) -> dict[str, dict]:
    """Open, plan, transfer on all boxes at once and close; ``shares``: (key, kind, place). Errors come back as ``{"error": text}``."""
    by_name = {box.name: box for box in boxes}
    given = [
        {
            "key": key, "kind": kind, "reference": holders[0].name, "holders": [one.name for one in holders],
            "targets": [one.name for one in boxes if one not in holders], "places": dict.fromkeys(by_name, place),
        }
        for key, kind, place in shares
    ]  # fmt: skip
    with ThreadPoolExecutor(len(boxes)) as pool:
        parts = distribution.taking_part(given)
        opened = dict(zip(parts, pool.map(lambda host: by_name[host].step("open", shares=parts[host], name=host, port=8417), parts), strict=True))
        plan = distribution.instructions(given, opened, {box.name: [box.address] for box in boxes})

        def transfer(host: str) -> dict:
            try:
                return by_name[host].step("transfer", **plan[host], **more)
            except RuntimeError as error:
                return {"error": str(error)}

        answers = dict(zip(plan, pool.map(transfer, plan), strict=True))
        complete = not any("error" in answer for answer in answers.values())
        list(pool.map(lambda host: by_name[host].step("close", complete=complete), parts))
    return answers

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Light boxes: containers with sshd and stand-ins for Docker, systemd and a served model, for what only concerns the control path.

The image is that of the emulated boxes (tests/boxes/boxes). On one box the collection's own roles work out what is deployed; all boxes get that
written as a site run would have left it, so that a site run over them finds nothing to do.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
IMAGE = "gb10-box"
COLLECTION = "collections/ansible_collections/gb10/vllm"
SUBNET = "172.30"
RECIPE = ROOT / "tests" / "boxes" / "spark-vllm-docker"
MODEL = ROOT / ".cache" / "models" / "tiny-llama"
INTERPRETER = "/usr/bin/python3"  # as inventory/gb10 and the inventories of tests/boxes/boxes name it
STARTED = "2026-11-23T10:00:00.000000000Z"
ANSIBLE_PLAYBOOK = os.environ.get("GB10_ANSIBLE_PLAYBOOK", str(ROOT / ".venv" / "bin" / "ansible-playbook"))


def run(*argv: str, **more) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, **more)
    if done.returncode:
        raise SystemExit(f"{' '.join(argv[:4])} ... failed:\n{done.stdout[-4000:]}{done.stderr[-2000:]}")
    return done.stdout


def name(number: int) -> str:
    return f"spark-{number:02}"


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Ansible as this repository ships it (ansible.cfg: forks, pipelining, ControlPersist), sockets apart from everybody else's."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    return dict(
        clean,
        ANSIBLE_CONFIG=str(folder / COLLECTION / "ansible.cfg"),
        ANSIBLE_COLLECTIONS_PATH=str(folder / "collections"),
        ANSIBLE_SSH_CONTROL_PATH_DIR=str(folder / "cp"),
        ANSIBLE_NOCOLOR="1",
        COLUMNS="160",
        **more,
    )


@dataclass
class Fleet:
    """Light boxes that are up: spark-01 and so on, in a network of their own."""

    count: int
    folder: Path
    octet: int

    @property
    def inventory(self) -> Path:
        return self.folder / "inventory"

    def container(self, number: int) -> str:
        return f"gb10-light-{self.octet}-{name(number)}"

    def address(self, number: int) -> str:
        return f"{SUBNET}.{self.octet}.{number + 10}"

    def ask(self, number: int, *command: str) -> str:
        """What a command prints that is run in a box, past SSH."""
        return run("docker", "exec", self.container(number), *command)


def prepare() -> None:
    """What a light box needs of this machine: a Docker engine that answers, the image of the emulated boxes and the tiny model."""
    program = [sys.executable, str(ROOT / "tests" / "boxes" / "boxes")]
    run(*program, "engine")
    if not run("docker", "images", "-q", IMAGE).strip():
        run(*program, "prepare")
    if not (MODEL / "config.json").exists():
        MODEL.parent.mkdir(parents=True, exist_ok=True)
        run(sys.executable, str(ROOT / "tests" / "boxes" / "make_model.py"), str(MODEL))


@contextlib.contextmanager
def boxes(count: int, folder: Path) -> Iterator[Fleet]:
    """``count`` light boxes in a steady state, removed again at the end."""
    prepare()
    snapshot(folder)
    keys = folder / "keys"
    keys.mkdir()
    for key in ("user", "host"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / key))
    repository = folder / "recipe"
    _commit(RECIPE, repository)
    ref = run("git", "-C", str(repository), "rev-parse", "HEAD").strip()
    fleet = Fleet(count, folder, _network())
    _inventory(fleet, ref)
    try:
        for number in range(1, count + 1):
            stand_ins = [part for tool in ("docker", "systemctl") for part in ("-v", f"{HERE}/light/{tool}:/usr/local/sbin/{tool}:ro")]
            run(
                "docker", "run", "-d", "--init", "--name", fleet.container(number), "--hostname", name(number), "--label", f"gb10.light={fleet.octet}",
                "--network", f"gb10-light-{fleet.octet}", "--ip", fleet.address(number), "-v", f"{HERE}/light:/light:ro", "-v", f"{keys}:/light-keys:ro",
                "-v", f"{MODEL}:/srv/models/tiny-llama:ro", *stand_ins, IMAGE, "/light/start",
            )  # fmt: skip
            _put(fleet, number, {}, {"var/lib/gb10-vllm/build/checkout": repository})
        _seed(fleet)
        yield fleet
    finally:
        left = run("docker", "ps", "-aq", "--filter", f"label=gb10.light={fleet.octet}").split()
        if left:
            run("docker", "rm", "-f", "-v", *left)
        run("docker", "network", "rm", f"gb10-light-{fleet.octet}")


def _network() -> int:
    """Makes the first network that is free; returns the third byte of its addresses. Docker refuses one that is taken."""
    for octet in range(20, 60):
        made = subprocess.run(
            ["docker", "network", "create", "--subnet", f"{SUBNET}.{octet}.0/24", f"gb10-light-{octet}"], capture_output=True, text=True, check=False
        )
        if made.returncode == 0:
            return octet
    raise SystemExit(f"no network is free between {SUBNET}.20.0/24 and {SUBNET}.59.0/24: {made.stderr}")


def snapshot(folder: Path, root: Path = ROOT) -> None:
    """The collection of a checkout as it is now: nobody who edits the checkout meanwhile changes what boxes are to hold."""
    target = folder / COLLECTION
    target.mkdir(parents=True)
    files = run("git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate")
    kept = [name for name in files.split("\0") if name and (root / name).is_file()]
    run("cp", "--parents", "-t", str(target), *kept, cwd=root)
    for other in (ROOT / ".ansible" / "collections" / "ansible_collections").iterdir():
        if other.name != "gb10":
            (target.parents[1] / other.name).symlink_to(other.resolve())


def _commit(source: Path, target: Path) -> None:
    run("cp", "-r", str(source), str(target))
    git = ["git", "-C", str(target), "-c", "user.name=light", "-c", "user.email=light@localhost"]
    run(*git, "init", "-q")
    run(*git, "add", "-A")
    run(*git, "commit", "-q", "-m", "recipe")
    run(*git, "checkout", "-q", "--detach")  # as Ansible leaves a commit


def _inventory(fleet: Fleet, ref: str) -> None:
    folder = fleet.folder
    fleet.inventory.mkdir()
    hosts = {name(number): {"ansible_host": fleet.address(number)} for number in range(1, fleet.count + 1)}
    host_key = (folder / "keys" / "host.pub").read_text().rsplit(" ", 1)[0]
    (folder / "known_hosts").write_text(f"{SUBNET}.{fleet.octet}.* {host_key}\n")
    variables = {
        "ansible_user": "gb10",
        "ansible_python_interpreter": INTERPRETER,
        "ansible_ssh_private_key_file": str(folder / "keys" / "user"),
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={folder}/known_hosts -o IdentitiesOnly=yes",
        "gb10_architectures": ["x86_64", "aarch64"],
        "gb10_os_floor_gib": 1,
        "gb10_margin_gib": 0.1,
        "gb10_least_free_gib": {"docker": 1},
        "gb10_image": {"repository": "file:///nowhere", "ref": ref},
        "gb10_servers": [{"name": "tiny", "model": "tiny-llama", "address": "0.0.0.0", "max_model_len": 2048, "concurrency": 2, "args": {"dtype": "float32"}}],
    }
    (fleet.inventory / "hosts.yml").write_text(json.dumps({"gb10": {"hosts": hosts, "vars": variables}}, indent=1))


def _put(fleet: Fleet, number: int, texts: dict[str, str], folders: dict[str, Path] | None = None) -> None:
    """Files (by path from the root) and folders into a box, owned by root."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path, text in texts.items():
            data = text.encode()
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(data), 0o600 if path.endswith(".env") else 0o755 if path.endswith("/guard") else 0o644
            tar.addfile(entry, io.BytesIO(data))
        for path, source in (folders or {}).items():
            tar.add(source, arcname=path, filter=_as_root)
    subprocess.run(["docker", "cp", "-", f"{fleet.container(number)}:/"], input=packed.getvalue(), check=True)


def _as_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    return entry


def _seed(fleet: Fleet) -> None:
    folder = fleet.folder
    arguments = ["-i", str(fleet.inventory), "-l", name(1), "-e", json.dumps({"collect_to": str(folder)})]
    run(ANSIBLE_PLAYBOOK, str(folder / COLLECTION / "tests" / "support" / "light" / "collect.yml"), *arguments, cwd=folder, env=environment(folder))
    collected = json.loads((folder / "collected.json").read_text())
    deployment = collected["deployment"]
    held = json.loads(fleet.ask(1, "cat", "/var/lib/light/docker.json"))
    container = deployment["container"]
    held["containers"] = [
        {
            "Id": "c" * 64,
            "Name": f"/{container['name']}",
            "Image": container["image"],
            "Config": {"Image": container["image"], "Labels": {"gb10.vllm.server": "tiny", "gb10.vllm.spec": deployment["spec"]}},
            "State": {"Status": "running", "Running": True, "ExitCode": 0, "OOMKilled": False, "StartedAt": STARTED},
            "HostConfig": {"PortBindings": {"8000/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8000"}]}},
        }
    ]
    measured = {"spec": deployment["spec"], "image_id": container["image"], "facts": {"kv_tokens": 4096, "concurrency": 2.0}}
    known = (folder / COLLECTION / "roles/server/vars/main.yml").read_text()  # a tree of before some of them is measured too
    there = [path for path in SHARED if path.endswith("/guard") or f"/{path.rpartition('/')[2]}" in known]
    shared = {path: fleet.ask(1, "cat", f"/{path}") for path in there}
    texts = {
        "var/lib/light/docker.json": json.dumps(held),
        "var/lib/light/units.json": json.dumps(["gb10-vllm-tiny.service", "gb10-vllm-watch@tiny.timer"]),
        "var/lib/gb10-vllm/servers/tiny/deployment.json": json.dumps(deployment),
        "var/lib/gb10-vllm/servers/tiny/measured.json": json.dumps(measured),
        "etc/gb10-vllm/tiny/key.env": "VLLM_API_KEY=light\n",
        "etc/systemd/system/gb10-vllm-tiny.service": collected["unit"],
        **shared,
    }
    for number in range(1, fleet.count + 1):
        _put(fleet, number, texts)
        fleet.ask(number, "sh", "-c", CLOSE)


# As a site run leaves it: private.
CLOSE = "cd /var/lib/gb10-vllm; for one in servers servers/* servers/*/* cache cache/* build /etc/gb10-vllm; do [ ! -e $one ] || chmod go= $one; done"
SHARED = (
    "usr/local/lib/gb10-vllm/engine/guard_keys.py",
    "usr/local/lib/gb10-vllm/format",
    "usr/local/lib/gb10-vllm/guard",
    "etc/systemd/system/gb10-vllm-watch@.service",
    "etc/systemd/system/gb10-vllm-watch@.timer",
)

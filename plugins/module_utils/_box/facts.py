# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a box is and what it holds, read once: nothing here changes anything.

The ``parse_*`` functions are pure; the ``read_*`` functions ask the running system and never raise for
something that is merely missing - they say so in a ``problem`` text, which ``findings.py`` turns into advice.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import hmac
import importlib.util
import ipaddress
import json
import os
import platform
import pwd
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._box.network import read_network
from ansible_collections.gb10.vllm.plugins.module_utils._box.records import read_records
from ansible_collections.gb10.vllm.plugins.module_utils._image.identity import identity
from ansible_collections.gb10.vllm.plugins.module_utils._io.command import run
from ansible_collections.gb10.vllm.plugins.module_utils._names import CONFIG_DIR, LIBRARY_DIR, PREFIX, SERVER_LABEL
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.engine import cpu_features

KIB = 1024
GPU_QUERY = "name,driver_version,compute_cap,utilization.gpu,clocks.sm,power.draw"
FIRST_USER, NOBODY = 1000, 65534
LINGER = "/var/lib/systemd/linger"
LOGIND = ("/usr/lib/systemd/logind.conf", "/etc/systemd/logind.conf")
OUR_FILES = (f"/etc/systemd/system/{PREFIX}*", f"{LIBRARY_DIR}/*", f"{LIBRARY_DIR}/engine/*")
PRIVATE_FILES = ("*.env", "*/*")
"""In the directory of private files."""
# The keys of the whole fleet are long and random enough to be told apart by their digest, so that no run has to write them to compare them.
DIGESTED = "fleet.env"
# What only root may enter or read, in the state directory. What lies deeper is closed with the directory above it.
PRIVATE = (
    "servers", "servers/*", "servers/*/deployment.json", "servers/*/history.json", "servers/*/measured.json", "servers/*/repairs.json",
    "cache", "cache/*", "build", "build/logs", "build/logs/*", "build/*.json*", "build/lock", "transfer",
)  # fmt: skip

# Runs in a process of its own: a broken driver may abort the interpreter, and CUDA must not stay loaded here.
CUDA_PROBE = """
import ctypes, json
cuda = ctypes.CDLL("libcuda.so.1")
def call(name, *args):
    code = getattr(cuda, name)(*args)
    if code:
        raise SystemExit("%s failed with CUDA error %d" % (name, code))
call("cuInit", 0)
device = ctypes.c_int()
call("cuDeviceGet", ctypes.byref(device), 0)
total = ctypes.c_size_t()
call("cuDeviceTotalMem_v2", ctypes.byref(total), device)
print(json.dumps({"total_bytes": total.value}))
"""


def parse_meminfo(text: str) -> dict[str, int]:
    """/proc/meminfo as bytes by field name."""
    fields = {}
    for line in text.splitlines():
        name, _colon, rest = line.partition(":")
        parts = rest.split()
        if parts and parts[0].isdigit():
            fields[name] = int(parts[0]) * (KIB if parts[-1] == "kB" else 1)
    return fields


def parse_os_release(text: str) -> dict[str, str]:
    """/etc/os-release as a dict with its quotes removed."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {key: value.strip().strip("\"'") for key, _equals, value in pairs}


def parse_listeners(text: str) -> list[dict]:
    """/proc/net/tcp or tcp6: the listening sockets as [{port, address}], addresses as people write them."""
    listeners = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 3 and fields[3] == "0A":
            words, _colon, port = fields[1].rpartition(":")
            # The kernel prints words of 32 bits, each in the processor's order; both of ours begin with the lowest byte.
            packed = b"".join(bytes.fromhex(words[i : i + 8])[::-1] for i in range(0, len(words), 8))
            listeners.append({"port": int(port, 16), "address": str(ipaddress.ip_address(packed))})
    return listeners


def parse_gpu_query(text: str) -> list[dict]:
    """Lines of ``nvidia-smi --query-gpu=... --format=csv,noheader`` with the fields of ``GPU_QUERY``; of what is not supported, or not asked, None."""
    gpus = []
    for line in text.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) >= 3 and fields[0]:
            figures = dict(zip(("utilization_percent", "sm_mhz", "power_w"), map(_leading_number, fields[3:]), strict=False))
            gpus.append({"name": fields[0], "driver_version": fields[1], "compute_capability": fields[2], **figures})
    return gpus


def _leading_number(text: str) -> float | None:
    """``96 %``, ``702 MHz``, ``18.20 W`` and the same without units as a number; None for ``[N/A]`` and the like."""
    found = re.match(r"\d+(\.\d+)?", text)
    return float(found[0]) if found else None


def parse_removes_ipc(texts: Sequence[str]) -> bool:
    """Whether logind removes what a user shares between processes with his last session: RemoveIPC of logind.conf and its drop-ins, the last one wins."""
    said = [line.partition("=")[2].strip().lower() for text in texts for line in text.splitlines() if re.match(r"\s*RemoveIPC\s*=", line)]
    return not said or said[-1] not in ("no", "false", "0", "off", "n", "f")


def parse_systemctl_show(text: str) -> dict[str, dict]:
    """Blocks of ``systemctl show`` (one unit each, separated by empty lines) by unit name."""
    units = {}
    for block in text.split("\n\n"):
        fields = dict(line.partition("=")[::2] for line in block.splitlines() if "=" in line)
        if fields.get("Id") and fields.get("LoadState") != "not-found":
            units[fields["Id"]] = {
                "active": fields.get("ActiveState", ""),
                "sub": fields.get("SubState", ""),
                "enabled": fields.get("UnitFileState", "") == "enabled",
                "result": fields.get("Result", ""),
                "restarts": int(fields.get("NRestarts") or 0),
            }
    return units


def trim_container(inspect: dict) -> dict:
    """The part of ``docker inspect`` that is of use and holds no environment (and so no secret)."""
    state = inspect.get("State") or {}
    config = inspect.get("Config") or {}
    host = inspect.get("HostConfig") or {}
    bindings = (host.get("PortBindings") or {}).values()
    ports = [{"address": b.get("HostIp", ""), "port": int(b.get("HostPort") or 0)} for bs in bindings for b in bs or []]
    return {
        "name": inspect.get("Name", "").lstrip("/"),
        "id": inspect.get("Id", ""),
        "image": config.get("Image", ""),
        "image_id": inspect.get("Image", ""),
        "labels": config.get("Labels") or {},
        "status": state.get("Status", ""),
        "exit_code": state.get("ExitCode"),
        "oom_killed": bool(state.get("OOMKilled")),
        "started_at": state.get("StartedAt", ""),
        "ports": ports or (_own_port(config.get("Cmd") or []) if host.get("NetworkMode") == "host" else []),
    }


def _own_port(command: Sequence[str]) -> list[dict]:
    """Where a server listens that has the network of its box, as [{address, port}]."""
    words = dict(zip(command, command[1:], strict=False))
    port = words.get("--port", "")
    return [{"address": words.get("--host", ""), "port": int(port)}] if port.isdigit() else []


def read_text(path: str) -> str:
    """The text of a file, "" when it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read()
    except OSError:
        return ""


def last_line(process: subprocess.CompletedProcess[str]) -> str:
    """The last thing a command said, first of all about what went wrong; "" when it said nothing."""
    return ((process.stderr or process.stdout).strip().splitlines() or [""])[-1]


def read_gpu() -> dict:
    """The first NVIDIA GPU as nvidia-smi names it, or a ``problem``."""
    process = run(["nvidia-smi", f"--query-gpu={GPU_QUERY}", "--format=csv,noheader"])
    gpus = parse_gpu_query(process.stdout) if process.returncode == 0 else []
    if not gpus:
        return {"present": False, "count": 0, "problem": last_line(process) or f"nvidia-smi ended with status {process.returncode}"}
    return {"present": True, "count": len(gpus), "problem": None, **gpus[0]}


def read_memory() -> dict:
    """Memory as the kernel and as CUDA see it, in bytes."""
    fields = parse_meminfo(read_text("/proc/meminfo"))
    process = run([sys.executable, "-c", CUDA_PROBE])
    try:
        cuda_total = json.loads(process.stdout)["total_bytes"] if process.returncode == 0 else None
    except (ValueError, KeyError):
        cuda_total = None
    return {
        "total_bytes": fields.get("MemTotal", 0),
        "available_bytes": fields.get("MemAvailable", 0),
        "page_cache_bytes": fields.get("Cached", 0),
        "swap_total_bytes": fields.get("SwapTotal", 0),
        "swap_free_bytes": fields.get("SwapFree", 0),
        "cuda_total_bytes": cuda_total,
        "cuda_total_source": "cuDeviceTotalMem" if cuda_total else "none",
        "cuda_problem": None if cuda_total else last_line(process) or f"status {process.returncode}",
    }


def read_versions(state_dir: str) -> dict[str, dict]:
    """{vllm_version, cuda_version} by image id, as the module image_build found them in the images; ``damaged`` where Docker could not read one."""
    try:
        record = json.loads(read_text(os.path.join(state_dir, "build", "images.json")))
        found = {image_id: {key: one.get(key) for key in ("vllm_version", "cuda_version")} for image_id, one in record.get("metadata", {}).items()}
        for image_id, reason in record.get("damaged", {}).items():
            found.setdefault(image_id, {})["damaged"] = reason
        return found
    except (ValueError, KeyError, AttributeError, TypeError):
        return {}


def read_inputs(state_dir: str) -> dict[str, dict]:
    """What was pulled or loaded, by image id: such an image does not say it itself."""
    try:
        names = json.loads(read_text(os.path.join(state_dir, "build", "images.json"))).get("names", {}).values()
        return {one["image_id"]: one["inputs"] for one in names if one.get("image_id") and (one.get("inputs") or {}).get("source", "build") != "build"}
    except (ValueError, KeyError, AttributeError, TypeError):
        return {}


CDI = ("/etc/cdi", "/var/run/cdi")
"""Where Docker looks for specifications of the Container Device Interface."""


RUNTIME = "/etc/nvidia-container-runtime/config.toml"
"""How NVIDIA's runtime gives a GPU to a container: by itself, or by a specification as Docker does without it."""


def _by_specification() -> bool:
    """Whether NVIDIA's runtime is in ``mode = "cdi"``, where it reads the same specifications; ``auto`` is not (no TOML in Python 3.10)."""
    try:
        text = Path(RUNTIME).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    section = re.search(r"^\s*\[nvidia-container-runtime\]\s*$(.*?)(?=^\s*\[|\Z)", text, re.M | re.S)
    return bool(section and re.search(r"^\s*mode\s*=\s*[\"']cdi[\"']", section.group(1), re.M))


def _has_specification() -> bool:
    """Whether a specification of NVIDIA's GPUs is in one of Docker's places."""
    for path in (path for place in CDI for path in sorted(Path(place).glob("*"))):
        with contextlib.suppress(OSError, ValueError):
            if re.search(r"kind\"?\s*:\s*\"?nvidia\.com/gpu", path.read_text(encoding="utf-8")):
                return True
    return False


def _gone_from_cdi() -> str | None:
    """The first file that NVIDIA's specification names and that is not there any more, as after an update of the driver."""
    for place in CDI:
        for path in sorted(Path(place).glob("*nvidia*")):
            with contextlib.suppress(OSError, ValueError):
                named = re.findall(r"hostPath\"?:\s*\"?(/[^\s\",]+)", path.read_text(encoding="utf-8"))
                gone = next((one for one in named if not os.path.exists(one)), None)
                if gone:
                    return gone
    return None


def _kind_of_docker(info: Mapping[str, Any]) -> str:
    """rootless where Docker runs as a user, userns where its root is another one than the box's, snap where it is one; "" for the usual one."""
    said = " ".join(map(str, info.get("SecurityOptions") or []))
    snap = str(info.get("DockerRootDir") or "").startswith("/var/snap/") or str(shutil.which("docker")).startswith("/snap/")
    return next((kind for kind in ("rootless", "userns") if f"name={kind}" in said), "snap" if snap else "")


def read_docker(image_names: list[str], versions: dict[str, dict]) -> dict[str, Any]:
    """The Docker engine, our containers on it and the named images; ``versions`` come from ``read_versions``."""
    facts: dict[str, Any] = {
        "installed": bool(shutil.which("docker")), "running": False, "version": None, "client_version": None, "buildkit": False,
        "nvidia": False, "cdi": False, "cdi_gone": None, "cdi_needed": False, "cdi_missing": False,
        "kind": "", "root_dir": None, "containers": [], "others": [], "would_stop": [], "images": {}, "problem": None,
    }  # fmt: skip
    if not facts["installed"]:
        facts["problem"] = "the docker command is not installed"
        return facts
    process = run(["docker", "info", "--format", "{{json .}}"])
    try:
        info = json.loads(process.stdout or "{}")
    except ValueError:
        info = {}
    errors = info.get("ServerErrors") or []
    if process.returncode or errors or not info.get("ServerVersion"):
        facts["problem"] = (errors or process.stderr.strip().splitlines() or ["docker info gave no answer"])[-1]
        facts["kind"] = "podman" if "podman" in process.stderr.lower() or "buildahVersion" in str(info) else ""
        return facts
    client = _printed("docker", "version", "--format", "{{.Client.Version}}").strip()
    facts.update(
        running=True,
        version=info["ServerVersion"],
        client_version=client,
        root_dir=info.get("DockerRootDir"),
        # Clients before 23 carry BuildKit themselves, later ones need the buildx plugin.
        buildkit=run(["docker", "buildx", "version"]).returncode == 0 or client.split(".")[0] in ("19", "20"),
        nvidia="nvidia" in (info.get("Runtimes") or {}) or bool(shutil.which("nvidia-container-runtime-hook")),
        cdi=any(str(device.get("ID")).startswith("nvidia.com/gpu") for device in info.get("DiscoveredDevices") or [] if isinstance(device, dict)),
        cdi_gone=_gone_from_cdi(),
        cdi_needed=_by_specification(),
        cdi_missing=not _has_specification(),
        kind=_kind_of_docker(info),
    )
    shown = f'{{{{.ID}}}} {{{{.Names}}}} {{{{.Label "{SERVER_LABEL}"}}}}'
    listed = [line.split() for line in _printed("docker", "ps", "-a", "--no-trunc", "--format", shown).splitlines()]
    ours = [words[0] for words in listed if len(words) > 2]
    facts["others"] = [words[1] for words in listed if len(words) == 2]
    if not (facts["nvidia"] or facts["cdi"]):
        facts["would_stop"] = _printed("docker", "ps", "--format", "{{.Names}}").split()
    if ours:
        facts["containers"] = [trim_container(one) for one in json.loads(_printed("docker", "inspect", *ours) or "[]")]
    facts["images"] = read_images(image_names, versions) if image_names else {}
    return facts


def read_images(names: list[str], versions: dict[str, dict]) -> dict[str, dict[str, Any]]:
    """{id, identity, size_bytes, labels, vllm_version, cuda_version, perhaps damaged} by those of these names that mean an image here."""
    images: dict[str, dict[str, Any]] = {}
    for one in json.loads(_printed("docker", "image", "inspect", *names) or "[]"):
        labels = (one.get("Config") or {}).get("Labels") or {}
        known = {key: labels.get(f"gb10.vllm.{key}") for key in ("vllm_version", "cuda_version")} | versions.get(one.get("Id", ""), {})
        image = {"id": one.get("Id"), "identity": identity(one), "size_bytes": one.get("Size"), "labels": labels, **known}
        its = {*(one.get("RepoTags") or []), one.get("Id")}
        images.update({name: image for name in names if name in its or f"{name}:latest" in its})
    return images


def _printed(*argv: str) -> str:
    return run(argv).stdout


def read_holders(least_bytes: int) -> list[dict]:
    """Processes that hold at least that much anonymous memory, largest first: [{pid, name, bytes}]."""
    holders = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        status = parse_meminfo(read_text(f"/proc/{pid}/status"))
        held = status.get("RssAnon", 0) + status.get("RssShmem", 0)
        if held >= least_bytes:
            holders.append({"pid": int(pid), "name": read_text(f"/proc/{pid}/comm").strip(), "bytes": held})
    return sorted(holders, key=lambda holder: -holder["bytes"])


def read_ipc_users() -> list[str]:
    """Users whose containers or engines use the host's shared memory, and lose it when their last session ends: RemoveIPC without linger."""
    drop_ins = [path for place in ("/usr/lib", "/run", "/etc") for path in glob.glob(f"{place}/systemd/logind.conf.d/*.conf")]
    # systemd sorts drop-ins by their names, whatever directory they lie in.
    if not parse_removes_ipc([read_text(path) for path in (*LOGIND, *sorted(drop_ins, key=os.path.basename))]):
        return []
    host, users = _namespaces("self"), set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, KeyError):
            owner = os.stat(f"/proc/{pid}").st_uid
            # logind leaves root's and system users' alone.
            if owner < FIRST_USER or owner == NOBODY or _namespaces(pid)[0] != host[0]:
                continue
            if _namespaces(pid)[1] != host[1] or read_text(f"/proc/{pid}/comm").startswith(("VLLM::", "ray::")):
                users.add(pwd.getpwuid(owner).pw_name)
    return sorted(user for user in users if not os.path.exists(os.path.join(LINGER, user)))


def _namespaces(pid: str) -> tuple[str, str]:
    """Which shared memory and which processes a process sees."""
    return os.readlink(f"/proc/{pid}/ns/ipc"), os.readlink(f"/proc/{pid}/ns/pid")


def read_disk(path: str) -> dict:
    """Free and total bytes of the file system that holds (or would hold) this path."""
    probe = os.path.abspath(path)
    while not os.path.exists(probe) and probe != "/":
        probe = os.path.dirname(probe)
    usage = shutil.disk_usage(probe)
    return {"path": path, "free_bytes": usage.free, "total_bytes": usage.total}


def say_which_are_as_wanted(files: dict[str, dict | None], wanted: Mapping[str, str]) -> None:
    """``same`` of each file that holds just the text that is wanted there: said here, so that no digest of a secret leaves the box."""
    for path, text in wanted.items():
        about = files.get(path)
        with contextlib.suppress(OSError):
            if about and not os.path.islink(path):
                with open(path, "rb") as handle:
                    about["same"] = hmac.compare_digest(handle.read(), text.encode())


def read_file_digest(path: str) -> dict | None:
    """{sha256, mode, uid} of a regular file, None when there is none; a private file's digest stays None, it may hold a weak secret."""
    try:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode):
            return None
        digest = None
        if status.st_mode & 0o077 or os.path.basename(path) == DIGESTED:
            with open(path, "rb") as handle:
                digest = hashlib.sha256(handle.read()).hexdigest()
    except OSError:
        return None
    return {"sha256": digest, "mode": f"{stat.S_IMODE(status.st_mode):04o}", "uid": status.st_uid}


def read_open(state_dir: str) -> list[str]:
    """Those of our private files and directories that others may read or enter: earlier releases left them so."""
    paths = [*(path for pattern in PRIVATE for path in glob.glob(os.path.join(glob.escape(state_dir), pattern))), CONFIG_DIR]
    return sorted(path for path in paths if _mode(path) & 0o077)


def _mode(path: str) -> int:
    """The permissions of a file or directory, 0 for a link and where there is none."""
    try:
        status = os.lstat(path)
    except OSError:
        return 0
    return 0 if stat.S_ISLNK(status.st_mode) else stat.S_IMODE(status.st_mode)


def read_box(*, state_dir: str, disks: list[str], images: list[str], holder_least_bytes: int = 2**30, config_dir: str = CONFIG_DIR) -> dict:
    """Everything the plan needs to know of this box, as plain data."""
    ours = (*OUR_FILES, *(os.path.join(config_dir, pattern) for pattern in PRIVATE_FILES))
    release = parse_os_release(read_text("/etc/os-release"))
    units = _printed("systemctl", "show", "--property=Id,LoadState,ActiveState,SubState,UnitFileState,Result,NRestarts", f"{PREFIX}*")
    docker = read_docker(images, read_versions(state_dir))
    inputs = read_inputs(state_dir) if images else {}
    for image in docker["images"].values():
        image.update({"inputs": inputs[image["id"]]} if image["id"] in inputs else {})
    return {
        "hostname": platform.node(),
        "architecture": platform.machine(),
        "kernel": platform.release(),
        "boot_id": read_text("/proc/sys/kernel/random/boot_id").strip(),
        "os": {key: release.get(key.upper(), "") for key in ("id", "version_id", "pretty_name")},
        "python": {"version": platform.python_version(), "requests": importlib.util.find_spec("requests") is not None},
        "cpu_features": cpu_features(read_text("/proc/cpuinfo")),
        "gpu": read_gpu(),
        "ipc_users": read_ipc_users(),
        "network": read_network(),
        "memory": read_memory(),
        "docker": docker,
        "disks": [read_disk(path) for path in [*disks, *([docker["root_dir"]] if docker["root_dir"] else [])]],
        "listeners": parse_listeners(read_text("/proc/net/tcp")) + parse_listeners(read_text("/proc/net/tcp6")),
        "holders": read_holders(holder_least_bytes),
        "units": parse_systemctl_show(units),
        "files": {path: read_file_digest(path) for pattern in ours for path in sorted(glob.glob(pattern))},
        "servers": read_records(state_dir),
        "open": read_open(state_dir),
        # Where the recipe of images lies at a commit, its HEAD says which; a branch's name says nothing.
        "recipe": read_text(os.path.join(state_dir, "build", "checkout", ".git", "HEAD")).strip(),
    }

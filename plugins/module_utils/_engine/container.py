# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One container as its box sees it: Docker's command line, /proc and the kernel's log. Reads only."""

# pylint: disable=ansible-bad-function
# Plain Python: nothing here has an AnsibleModule whose run_command could be called instead of subprocess.
from __future__ import annotations

import datetime
import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._engine.readiness import exit_reason
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.command import docker, no_docker, run
from ansible_collections.gb10.vllm.plugins.module_utils._io.env_file import parse, secrets
from ansible_collections.gb10.vllm.plugins.module_utils._io.lines import clean_line, split_lines
from ansible_collections.gb10.vllm.plugins.module_utils._io.redaction import redact, values_in
from ansible_collections.gb10.vllm.plugins.module_utils._names import CONFIG_DIR, SERVER_LABEL

LOG_HEAD_BYTES = 2 * 2**20
LOG_TAIL_BYTES = 4 * 2**20
DIAGNOSIS_LINES = 2000
DOCKER_S = 30.0
"""How long Docker may think about a container, in seconds: a start is followed, so it is asked again soon."""


def inspect(container: str) -> dict[str, Any] | None:
    """``docker inspect`` of a container, None when there is none; GB10Error when Docker does not answer."""
    process = docker("inspect", "--type", "container", container, timeout_s=DOCKER_S, missing_ok=True)
    return None if process.returncode else json.loads(process.stdout)[0]


def logs(container: str, since: str) -> list[tuple[float, str]]:
    """(epoch seconds, cleaned line) of everything the container printed since ``since`` (RFC 3339), oldest first.

    A log longer than 6 MiB keeps its beginning (the facts) and its end (what happens now).
    Docker notes the start a moment after the process has begun, so look from a second earlier.
    """
    began = epoch(since)
    argv = ["docker", "logs", "--timestamps", "--since", f"{began - 1:.6f}" if began else since, container]
    head, tail = bytearray(), bytearray()
    try:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except OSError as error:
        raise no_docker(error) from None
    with process:
        while process.stdout and (chunk := process.stdout.read(2**18)):
            room = LOG_HEAD_BYTES - len(head)
            head += chunk[:room]
            tail += chunk[max(room, 0) :]
            if len(tail) > 2 * LOG_TAIL_BYTES:
                del tail[: len(tail) - LOG_TAIL_BYTES]
    return read_log((head + tail).decode("utf-8", "replace"))


def read_log(text: str) -> list[tuple[float, str]]:
    """The lines of a log with Docker's time stamps in one order: (epoch seconds, cleaned line). Pure."""
    lines: list[tuple[float, str]] = []
    for line in text.split("\n"):
        stamp, _space, rest = line.partition(" ")
        at = epoch(stamp)
        if at is not None:
            lines.extend((at, clean_line(piece)) for piece in split_lines(rest))
    lines.sort(key=lambda entry: entry[0])  # stdout and stderr may each be late
    return lines


def epoch(stamp: str) -> float | None:
    """Epoch seconds of Docker's RFC 3339 time stamp, None when it is not one (or Docker's zero time)."""
    head, separator, rest = stamp.partition(".")
    fraction = ""
    if separator:
        digits = len(rest) - len(rest.lstrip("0123456789"))
        fraction, zone = rest[:digits], rest[digits:]
    else:
        head, zone = (stamp[:-1], "Z") if stamp.endswith("Z") else (stamp[:19], stamp[19:])
    try:
        moment = datetime.datetime.fromisoformat(head + ("+00:00" if zone in ("Z", "") else zone))
    except ValueError:
        return None
    if moment.year < 1980:
        return None
    return moment.timestamp() + (float("0." + fraction) if fraction else 0.0)


def memory_available_bytes() -> int:
    """MemAvailable of the box, in bytes; what vLLM calls free memory on a GB10."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def activity(container: str) -> dict[str, Any]:
    """Disk reads, resident memory and processes of a container, as signs of life."""
    process = docker("top", container, "-eo", "pid", timeout_s=DOCKER_S, check=False)
    read_bytes = rss_bytes = 0
    pids = sorted(int(word) for word in process.stdout.split() if word.isdigit()) if process.returncode == 0 else []
    for pid in pids:
        try:
            for line in Path(f"/proc/{pid}/io").read_text(encoding="ascii").splitlines():
                if line.startswith("read_bytes:"):
                    read_bytes += int(line.split()[1])
            rss_bytes += int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * 4096
        except (OSError, ValueError, IndexError):
            continue  # the process ended meanwhile
    return {"read_bytes": read_bytes, "rss_bytes": rss_bytes, "processes": pids}


def kernel_log(since_epoch: float) -> list[str]:
    """The kernel's lines since then (out-of-memory kills, GPU faults); empty where it may not be read."""
    try:
        uptime_s = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError):
        return []
    return kernel_lines(run(["dmesg"], 10).stdout, time.time() - uptime_s, since_epoch)


def kernel_lines(text: str, booted: float, since_epoch: float) -> list[str]:
    """The last 500 lines of dmesg, stamped in seconds since ``booted``, that are not from before ``since_epoch``. Pure."""
    lines = []
    for line in text.splitlines():
        stamp, separator, _text = line.partition("]")
        try:
            if separator and booted + float(stamp.lstrip("[ ")) >= since_epoch:
                lines.append(line)
        except ValueError:
            continue
    return lines[-500:]


def collect(container: str | None, lines: int = DIAGNOSIS_LINES, config_dir: str = CONFIG_DIR) -> list[dict[str, Any]]:
    """State and last lines of one container, or of every server of this collection on the box.

    ``config_dir`` holds a directory per server with its private files; what they keep secret is taken out of the lines.
    """
    if container:
        names = [container]
    else:
        names = sorted(docker("ps", "--all", "--filter", f"label={SERVER_LABEL}", "--format", "{{.Names}}", timeout_s=DOCKER_S).stdout.split())
    return [_collected(name, lines, config_dir) for name in names]


def _collected(name: str, lines: int, config_dir: str) -> dict[str, Any]:
    details = inspect(name)
    if details is None:
        raise GB10Error(f"There is no container {name} on this box; `docker ps --all` lists what there is.")
    state = details["State"]
    started = epoch(state["StartedAt"])
    entries = logs(name, state["StartedAt"]) if started else []
    config = details.get("Config") or {}
    server = (config.get("Labels") or {}).get(SERVER_LABEL, "")
    kept = server_secrets(config.get("Env") or [], sorted(Path(config_dir, server).glob("*.env")) if server else [])
    hidden = [*kept.values(), *values_in(config_dir)]
    told = [redact(line, hidden) for _at, line in entries[-lines:]]
    if state["Status"] in ("exited", "dead") or state.get("Error"):
        told.append(redact(f"gb10.vllm: {exit_reason(state)}", hidden))
    return {
        "name": name,
        "server": server,
        "status": state["Status"],
        "api_key": "VLLM_API_KEY" in kept,
        "log": told,
        "kernel_log": kernel_log(started or time.time()),
    }


def server_secrets(environment: Sequence[str], files: Sequence[Path]) -> dict[str, str]:
    """What is secret by its name in a container's environment (``NAME=value``, as it is) and in the private files of its server."""
    found = secrets(dict(one.partition("=")[::2] for one in environment))
    for path in files:
        found.update(secrets(parse(path.read_text(encoding="utf-8", errors="replace"))))
    return found

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes what only this box knows into a file that the node exporter serves; systemd calls it every half minute.

    collector DIRECTORY     writes DIRECTORY/gb10.prom, whole or not at all

What it tells: the fields that a GB10's nvidia-smi fills, the state of each server's unit and container, what the watch saw last and how long its token
took, what the plan promised and the start measured, what differs from the record, and which links of the fabric had a carrier. What cannot be read is left
out: a figure that is missing is no figure, and `gb10_collector_problems` counts who said nothing. It changes nothing and asks no other host.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from time import CLOCK_BOOTTIME, clock_gettime
from typing import Any

STATE_DIR = os.environ.get("GB10_STATE_DIR", "/var/lib/gb10-vllm")
MEMORY_DIR = os.environ.get("GB10_MEMORY_DIR", os.path.join("/run/gb10-vllm-guard", STATE_DIR.strip("/").replace("/", "-")))
LINKS_DIR = os.environ.get("GB10_LINKS_DIR", "/run/gb10-vllm-collector")
DOCKER = os.environ.get("GB10_DOCKER_SOCKET", "/run/docker.sock")
NETWORK = os.environ.get("GB10_NETWORK_DIR", "/sys/class/net")
PATIENCE_S = 10

# What nvidia-smi is asked for: (field, metric, what it is). A GB10 has no figure for its memory, which is the system's.
GPU = (
    ("power.draw", "gb10_gpu_power_watts", "Power of the GPU. A GPU that waits looks busy by utilization, and cool by this."),
    ("clocks.sm", "gb10_gpu_sm_clock_mhz", "Clock of the GPU's multiprocessors."),
    ("temperature.gpu", "gb10_gpu_temperature_celsius", "Temperature of the GPU."),
    ("utilization.gpu", "gb10_gpu_utilization_percent", "Share of time in which any kernel was resident."),
)
# Its two names, of drivers before and since 535.
REASONS = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")
# NVML's nvmlClocksEventReasons (nvml.h).
REASON_BITS = {
    0x4: "sw_power_cap", 0x8: "hw_slowdown", 0x20: "sw_thermal_slowdown", 0x40: "hw_thermal_slowdown", 0x80: "hw_power_brake",
}  # fmt: skip
PLANNED = (("kv_tokens", "Tokens of KV cache"), ("concurrency", "Requests of full length at once"), ("max_model_len", "Longest context, tokens"))
FAILING = ("silent", "stands still", "wedged")


class Metrics:
    """Samples by metric, in Prometheus' text format."""

    def __init__(self) -> None:
        self.samples: dict[str, list[str]] = {}
        self.problems: list[str] = []

    def add(self, name: str, words: str, value: object, **labels: str) -> None:
        """One sample; what is no finite number is left out."""
        if isinstance(value, bool):
            value = int(value)
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            return
        inner = ",".join(f'{label}="{escaped(str(text))}"' for label, text in labels.items())
        lines = self.samples.setdefault(name, [f"# HELP {name} {words}", f"# TYPE {name} gauge"])
        lines.append(f"{name}{{{inner}}} {value}" if inner else f"{name} {value}")

    def text(self) -> str:
        return "".join(line + "\n" for lines in self.samples.values() for line in lines)


def escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def read_json(file: str) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError, RecursionError), open(file, encoding="utf-8") as handle:
        value = json.load(handle)
        return value if isinstance(value, dict) else {}
    return {}


def below(value: dict[str, Any], *keys: str) -> Any:
    """What lies below these keys of a file that anybody may have written; None where the way there ends."""
    found: Any = value
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as handle:
        return handle.read().strip()


def printed(*argv: str) -> str | None:
    """What a program prints; None when it fails or there is none."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


# The GPU


def read_gpu(metrics: Metrics) -> None:
    """One question; a second one without the reasons where a driver knows neither of their names."""
    fields = [field for field, _metric, _words in GPU]
    for more in ([REASONS[0]], [REASONS[1]], []):
        text = printed("nvidia-smi", f"--query-gpu={','.join(['index', *fields, *more])}", "--format=csv,noheader,nounits")
        if text is not None:
            break
    else:
        metrics.problems.append("nvidia-smi")
        return
    for line in text.splitlines():
        index, *values = [value.strip() for value in line.split(",")]
        for (_field, name, words), value in zip(GPU, values, strict=False):
            with contextlib.suppress(ValueError):  # [N/A]
                metrics.add(name, words, float(value), gpu=index)
        if more and len(values) == len(GPU) + 1:
            with contextlib.suppress(ValueError):
                active = int(values[-1], 16)
                for bit, reason in REASON_BITS.items():
                    metrics.add("gb10_gpu_throttled", "Whether the GPU's clock is held down for this reason.", bool(active & bit), gpu=index, reason=reason)


# Servers


def servers() -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, deployment.json) of each server that has one."""
    folder = os.path.join(STATE_DIR, "servers")
    with contextlib.suppress(OSError):
        for name in sorted(os.listdir(folder)):
            deployment = read_json(os.path.join(folder, name, "deployment.json"))
            if deployment and re.fullmatch(r"[a-z0-9-]{1,40}", name):
                yield name, deployment


def read_units(names: list[str], metrics: Metrics) -> dict[str, dict[str, str]]:
    """Properties of the units of servers, by server; one question for all."""
    wanted = "Id,ActiveState,UnitFileState,NRestarts,ExecMainStartTimestampMonotonic"
    text = printed("systemctl", "show", f"--property={wanted}", *(f"gb10-vllm-{name}.service" for name in names)) if names else ""
    if text is None:
        metrics.problems.append("systemd")
        return {}
    blocks = (dict(line.partition("=")[::2] for line in block.splitlines()) for block in text.split("\n\n"))
    return {block["Id"].removeprefix("gb10-vllm-").removesuffix(".service"): block for block in blocks if block.get("Id")}


class DockerConnection(http.client.HTTPConnection):
    """Docker's API, by its socket."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(DOCKER)


def read_containers(metrics: Metrics) -> dict[str, dict[str, str]] | None:
    """Labels and state of the collection's containers, by server; None when Docker does not say."""
    try:
        with contextlib.closing(DockerConnection("docker", timeout=PATIENCE_S)) as connection:
            connection.request("GET", "/containers/json?all=1&filters=%7B%22label%22%3A%5B%22gb10.vllm.server%22%5D%7D")
            answer = connection.getresponse()
            found = json.loads(answer.read()) if answer.status == 200 else None
    except (OSError, ValueError, http.client.HTTPException):
        found = None
    if not isinstance(found, list):
        metrics.problems.append("docker")
        return None
    return {one["Labels"]["gb10.vllm.server"]: {"spec": one["Labels"].get("gb10.vllm.spec", ""), "state": one.get("State", "")} for one in found}


def whole_number(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0


def tell_server(metrics: Metrics, name: str, deployment: dict[str, Any], unit: dict[str, str]) -> None:
    folder, memory = os.path.join(STATE_DIR, "servers", name), os.path.join(MEMORY_DIR, name)
    spec, image = str(deployment.get("spec") or ""), str(below(deployment, "container", "image") or "")
    about = {"model": str(deployment.get("model") or ""), "vllm_version": str(deployment.get("vllm_version") or "")}
    metrics.add("gb10_server_info", "What is deployed.", 1, server=name, **about, image=image[:19], spec=spec[:12])
    if unit:
        metrics.add("gb10_server_enabled", "Whether the unit starts at boot; `stop` disables it.", unit.get("UnitFileState") == "enabled", server=name)
        metrics.add("gb10_server_active", "Whether the unit runs.", unit.get("ActiveState") == "active", server=name)
        metrics.add("gb10_server_restarts", "Restarts by systemd in a row.", whole_number(unit.get("NRestarts")), server=name)
        began = whole_number(unit.get("ExecMainStartTimestampMonotonic"))
        if began:
            metrics.add("gb10_server_started_seconds", "When the server was started last, since the boot.", began / 1e6, server=name)
    starting = read_json(os.path.join(memory, "starting.json")) or read_json(os.path.join(folder, "starting.json"))
    goes_on = bool(starting) and not starting.get("forgotten") and starting.get("boot_id") == boot_id()
    metrics.add("gb10_server_starting", "Whether a start is not over.", goes_on, server=name)
    tell_watch(metrics, name, read_json(os.path.join(memory, "watched.json")))
    measured = read_json(os.path.join(folder, "measured.json"))
    facts = measured.get("facts") if measured.get("spec") == spec else {}
    for key, words in PLANNED:
        metrics.add(f"gb10_planned_{key}", f"{words}, as planned.", below(deployment, "planned", key), server=name)
        metrics.add(f"gb10_measured_{key}", f"{words}, as the engine said at its start.", below({"facts": facts}, "facts", key), server=name)
    metrics.add("gb10_planned_memory_bytes", "Memory that the plan gives to the server.", deployment.get("requested_bytes"), server=name)


def tell_watch(metrics: Metrics, name: str, seen: dict[str, Any]) -> None:
    if seen.get("boot_id") != boot_id() or not isinstance(seen.get("since_boot_s"), (int, float)):
        return
    metrics.add("gb10_watch_failing", "Whether the watch's last request for one token led to nothing.", seen.get("verdict") in FAILING, server=name)
    metrics.add("gb10_watch_token_seconds", "How long the watch's last token took.", seen.get("token_s"), server=name)
    metrics.add("gb10_watch_age_seconds", "When the watch asked last.", round(clock_gettime(CLOCK_BOOTTIME) - seen["since_boot_s"], 1), server=name)


def tell_drift(metrics: Metrics, name: str, deployment: dict[str, Any], unit: dict[str, str], containers: dict[str, dict[str, str]] | None) -> None:
    """What differs from the record; what the inventory says the playbook status compares."""
    words = "Whether what is there differs from what was deployed."
    if containers is not None:
        differs = containers.get(name, {}).get("spec") != deployment.get("spec")
        metrics.add("gb10_server_drift", words, differs, server=name, what="container")
    if unit:
        metrics.add("gb10_server_drift", words, unit.get("UnitFileState") != "enabled", server=name, what="boot")


# The fabric


def read_links(metrics: Metrics) -> None:
    """The ports of a ConnectX that had a carrier since the boot are expected to have one; an empty one is expected to have none."""
    seen = read_json(os.path.join(LINKS_DIR, "links.json"))
    now = dict.fromkeys(seen if all(isinstance(name, str) for name in seen) else {}, 1)
    for device in ports():
        with contextlib.suppress(OSError), open(os.path.join(NETWORK, device, "carrier"), encoding="ascii") as handle:
            if handle.read().strip() == "1":
                now[device] = 1
    if now != seen:
        with contextlib.suppress(OSError):
            os.makedirs(LINKS_DIR, mode=0o755, exist_ok=True)
            write_whole(os.path.join(LINKS_DIR, "links.json"), json.dumps(now))
    for device in sorted(now):
        metrics.add("gb10_fabric_expected", "This port of the fabric had a carrier since the boot.", 1, device=device)


def ports() -> list[str]:
    found = []
    with contextlib.suppress(OSError):
        for device in sorted(os.listdir(NETWORK)):
            with contextlib.suppress(OSError):
                if os.path.basename(os.readlink(os.path.join(NETWORK, device, "device", "driver"))) == "mlx5_core":
                    found.append(device)
    return found


def write_whole(file: str, text: str) -> None:
    """Whole or not at all: the exporter may read at any moment."""
    partial = f"{file}.{os.getpid()}"
    try:
        with open(partial, "w", encoding="utf-8") as handle:
            handle.write(text)
        os.chmod(partial, 0o644)
        os.replace(partial, file)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)


def collect() -> str:
    metrics = Metrics()
    read_gpu(metrics)
    read_links(metrics)
    deployed = dict(servers())
    units = read_units(list(deployed), metrics)
    containers = read_containers(metrics) if deployed else None
    for name, deployment in deployed.items():
        tell_server(metrics, name, deployment, units.get(name, {}))
        tell_drift(metrics, name, deployment, units.get(name, {}), containers)
    floors = [floor for floor in (one.get("floor_bytes") for one in deployed.values()) if isinstance(floor, int)]
    if floors:
        metrics.add("gb10_memory_floor_bytes", "Memory that stays free for the operating system.", max(floors))
    for problem in metrics.problems:
        print(f"{problem} says nothing, so its figures are left out", file=sys.stderr)
    metrics.add("gb10_collector_problems", "Programs that were asked for figures and gave none.", len(metrics.problems))
    return metrics.text()


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    write_whole(os.path.join(sys.argv[1], "gb10.prom"), collect())
    return 0


if __name__ == "__main__":
    sys.exit(main())

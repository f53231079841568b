# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A fleet of one box as the monitoring sees it: Prometheus and Alertmanager as the role starts them, the real node exporter with the collector's file, what the
real vLLM and HAProxy said when they were recorded, and a stub that says it again to whoever has the key.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import socketserver
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.gb10.vllm.plugins.plugin_utils._filters import monitoring
from ansible_collections.gb10.vllm.plugins.plugin_utils._monitoring import prometheus, settings
from monitoring_programs import PROGRAMS, ROOT, get, running, until

RECORDED = ROOT / "tests" / "on_machine" / "monitoring" / "recorded"
COLLECTOR = ROOT / "roles" / "monitoring" / "files" / "collector.py"
KEY = "metrics-key-of-32-characters-or-more"
MANAGEMENT = "127.0.0.2"
PORTS = {"port": 29090, "alertmanager_port": 29094, "node_exporter_port": 29100, "router_port": 29101}
SERVER_PORT = 28000
DEPLOYMENT = {
    "name": "tiny", "spec": "5" * 64, "model": "tiny-llama", "vllm_version": "0.32.0", "container": {"image": "sha256:" + "1" * 64},
    "requested_bytes": 4 * 2**30, "floor_bytes": 2**20, "planned": {"kv_tokens": 65536, "concurrency": 32.0, "max_model_len": 2048},
}  # fmt: skip


class Recorded:
    """What a server says: one recording after the other, the last one for ever."""

    def __init__(self, *names: str, key: str = "") -> None:
        self.texts = [(RECORDED / f"{name}.prom").read_bytes() for name in names]
        self.key, self.asked = key, 0

    def says(self, *names: str) -> None:
        self.texts = [(RECORDED / f"{name}.prom").read_bytes() for name in names]
        self.asked = 0

    def answer(self, key: str) -> tuple[int, bytes]:
        if self.key and key != f"Bearer {self.key}":
            return 401, b""
        self.asked += 1
        return 200, self.texts[min(self.asked // 3, len(self.texts) - 1)]


class Live(Recorded):
    """What a real engine says at this moment, to whoever has the key: in the fleet, the collection's own guard asks for it."""

    def __init__(self, url: str, key: str) -> None:
        self.url, self.key, self.asked = url, key, 0

    def answer(self, key: str) -> tuple[int, bytes]:
        if key != f"Bearer {self.key}":
            return 401, b""
        self.asked += 1
        with urllib.request.urlopen(self.url, timeout=10) as reply:
            return 200, reply.read()


@contextlib.contextmanager
def serving(recorded: Recorded, port: int) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, text = recorded.answer(self.headers.get("Authorization", "")) if self.path == "/metrics" else (404, b"")
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_arguments):
            pass

    with ThreadingHTTPServer((MANAGEMENT, port), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


@contextlib.contextmanager
def docker(path: Path, spec: str) -> Iterator[None]:
    """Docker's socket on a box with one container of ours."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            text = json.dumps([{"Labels": {"gb10.vllm.server": "tiny", "gb10.vllm.spec": spec}, "State": "running"}]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_arguments):
            pass

        def address_string(self):
            return "socket"

    with socketserver.ThreadingUnixStreamServer(str(path), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


SYSTEMCTL = """#!/bin/sh
echo Id=gb10-vllm-tiny.service; echo ActiveState=active; echo UnitFileState=enabled; echo NRestarts=0; echo ExecMainStartTimestampMonotonic=41000000
"""


def box(folder: Path) -> dict[str, str]:
    """A box's files below a folder, and the environment in which the collector finds them."""
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    files = {
        "state/servers/tiny/deployment.json": DEPLOYMENT,
        "state/servers/tiny/measured.json": {"spec": DEPLOYMENT["spec"], "facts": {"kv_tokens": 65408, "concurrency": 31.9}},
        "memory/tiny/watched.json": {"boot_id": boot_id, "since_boot_s": 1.0, "verdict": "answers", "token_s": 0.094},
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    (folder / "bin").mkdir()
    (folder / "bin/systemctl").write_text(SYSTEMCTL)
    (folder / "bin/nvidia-smi").write_bytes((ROOT / "tests/boxes/box/nvidia-smi").read_bytes())
    for name in ("systemctl", "nvidia-smi"):
        (folder / "bin" / name).chmod(0o755)
    # A network device of this machine takes the part of a port of the fabric. Of the loopback the node exporter tells no bytes.
    port = next(one.parent.name for one in sorted(Path("/sys/class/net").glob("*/operstate")) if one.read_text().strip() == "up")
    (folder / "net" / port / "device").mkdir(parents=True)
    (folder / "net" / port / "device/driver").symlink_to("/sys/bus/pci/drivers/mlx5_core")
    (folder / "net" / port / "carrier").write_text("1\n")
    return {
        "GB10_STATE_DIR": str(folder / "state"), "GB10_MEMORY_DIR": str(folder / "memory"), "GB10_LINKS_DIR": str(folder / "links"),
        "GB10_DOCKER_SOCKET": str(folder / "docker.sock"), "GB10_NETWORK_DIR": str(folder / "net"), "PATH": f"{folder}/bin:{os.environ['PATH']}",
    }  # fmt: skip


def collect(folder: Path, environment: dict[str, str]) -> str:
    """What the collector writes, run as systemd runs it."""
    (folder / "textfiles").mkdir(exist_ok=True)
    done = subprocess.run([sys.executable, COLLECTOR, folder / "textfiles"], env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return (folder / "textfiles/gb10.prom").read_text()


def faster(text: str, times: int) -> str:
    """Rules whose durations are so many times shorter; an alert that waits for a minute waits for some seconds."""
    content = yaml.safe_load(text)

    def shorter(found: str, unit: int) -> str:
        return f"{max(2, int(found) * unit // times)}s"

    for rule in content["groups"][0]["rules"]:
        if "for" in rule:
            rule["for"] = re.sub(r"(\d+)m", lambda match: shorter(match[1], 60), rule["for"])
        rule["expr"] = re.sub(r"\[(\d+)([mh])\]", lambda match: f"[{shorter(match[1], 60 if match[2] == 'm' else 3600)}]", rule["expr"])
    return yaml.safe_dump(content, width=10000)


class Fleet:
    """``engine`` and ``router``: what they say; ``url``: of Prometheus.

    ``live_router``: the box that collects is the router too, and somebody else starts it where the inventory has it tell.
    """

    def __init__(self, folder: Path, engine: Recorded | None = None, live_router: bool = False) -> None:
        self.folder = folder
        self.url, self.alerts_url = f"http://{MANAGEMENT}:{PORTS['port']}", f"http://{MANAGEMENT}:{PORTS['alertmanager_port']}"
        self.engine = engine or Recorded("vllm-0.32.0-cpu-before", "vllm-0.32.0-cpu-after", key=KEY)
        self.router = Recorded("haproxy-2.6.12-before", "haproxy-2.6.12-after")
        server = {"name": "tiny", "model": "tiny-llama", "port": SERVER_PORT, "address": MANAGEMENT}
        self.hostvars = {
            "spark-01": {"ansible_host": MANAGEMENT, "gb10_servers": [server], "gb10_metrics_key": KEY, "groups": {"gb10_monitoring": ["spark-01"]}},
            "router-1": {"ansible_host": MANAGEMENT},
            "monitor": {"ansible_host": MANAGEMENT},
        }
        ports = {name: port for name, port in PORTS.items() if name != "router_port" or not live_router}
        self.live_router = live_router
        self.settings = {**settings.settings(ports), "address": MANAGEMENT, "key": True, "scrape_interval_s": 1}

    def routers(self) -> dict[str, Any]:
        """The routers of the inventory, with where they tell their metrics."""
        names = ["spark-01" if self.live_router else "router-1"]
        return monitoring.monitored(names, self.hostvars, names, ["spark-01"])

    def write(self, pace: int) -> None:
        """What the role writes, below a folder of the test; the rules so many times faster."""
        known = {"boxes": monitoring.monitored(["spark-01"], self.hostvars), "routers": self.routers()}
        for one in monitoring.monitoring_files(known, self.settings, "spark-01"):
            path = Path(self.placed(one["path"]))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.placed(faster(one["content"], pace) if path.name == "rules.yml" else one["content"]))
        (self.folder / "etc/metrics.key").write_text(KEY)
        (self.folder / "etc/alertmanager.yml").write_text(monitoring.alertmanager_file([]))

    def placed(self, text: str) -> str:
        moved = {prometheus.DIRECTORY: "etc", prometheus.TEXTFILES: "textfiles", "/var/lib/prometheus": "data"}
        for path, name in moved.items():
            text = text.replace(path, str(self.folder / name))
        return text.replace("/usr/bin/", f"{PROGRAMS}/")

    def command(self, unit: str) -> list[str]:
        """The command line that the drop-in of a unit gives to systemd, with the folders of this test."""
        line = monitoring.prometheus.drop_in(unit, self.settings).rpartition("ExecStart=")[2].partition("\nRestartSec")[0]
        return shlex.split(self.placed(line).replace("\\\n", " "))

    @contextlib.contextmanager
    def up(self, pace: int = 1) -> Iterator[Fleet]:
        self.write(pace)
        with contextlib.ExitStack() as stack:
            self.environment = box(self.folder)
            stack.enter_context(docker(self.folder / "docker.sock", DEPLOYMENT["spec"]))
            collect(self.folder, self.environment)
            stack.enter_context(serving(self.engine, SERVER_PORT))
            if not self.live_router:
                stack.enter_context(serving(self.router, PORTS["router_port"]))
            self.processes = {
                unit: stack.enter_context(running(self.command(unit), self.folder / f"{unit}.log"))
                for unit in ("prometheus-node-exporter", "prometheus-alertmanager", "prometheus")
            }
            until(lambda: self.ask("vector(1)"), 30)
            yield self

    def ask(self, query: str) -> list[dict]:
        """The result of an instant query."""
        return get(f"{self.url}/api/v1/query?query={urllib.parse.quote(query)}")["data"]["result"]

    def firing(self) -> set[str]:
        return {one["metric"]["alertname"] for one in self.ask('ALERTS{alertstate="firing"}')}

    def says_of_its_unit(self, state: str) -> None:
        """Have the box say that its unit is enabled or disabled."""
        path = self.folder / "bin/systemctl"
        path.write_text(re.sub(r"UnitFileState=\w+", f"UnitFileState={state}", path.read_text()))
        collect(self.folder, self.environment)

    def silence(self, **labels: str) -> str:
        """Silence what has these labels, as the docs say it with amtool; returns the id of the silence."""
        matchers = [f"{name}={value}" for name, value in labels.items()]
        command = [
            f"{PROGRAMS}/amtool",
            f"--alertmanager.url={self.alerts_url}",
            "silence",
            "add",
            *matchers,
            "--duration=2h",
            "--comment=work",
            "--author=test",
        ]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def speak(self, silence: str) -> None:
        subprocess.run([f"{PROGRAMS}/amtool", f"--alertmanager.url={self.alerts_url}", "silence", "expire", silence], check=True)

    def told(self) -> set[str]:
        """What Alertmanager tells at this moment."""
        return {one["labels"]["alertname"] for one in get(f"{self.alerts_url}/api/v2/alerts") if one["status"]["state"] == "active"}

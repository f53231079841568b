#!/usr/bin/env python3
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the monitoring costs:   .venv/bin/python tests/benchmarks/bench_monitoring.py [--boxes 50] [--seconds 180]

On a box: memory and processor time of the real node exporter, asked every 15 seconds, and of the collector, run every 30 seconds. On the monitoring host:
those of the real Prometheus with all rules, which asks so many boxes (what vLLM and a node exporter said when they were recorded) every 15 seconds. Needs
`tests/setup --monitoring`. nvidia-smi is emulated; a real one adds its own time to the collector's. Exit status 1 where a budget of ``BUDGETS`` is exceeded.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / ".ansible" / "collections"), str(ROOT / "tests" / "support")]

from monitored_fleet import MANAGEMENT, PORTS, RECORDED, Fleet, box, collect, docker  # noqa: E402
from monitoring_programs import running, until  # noqa: E402

TICK = os.sysconf("SC_CLK_TCK")
INTERVAL_S = 15
ON_A_BOX, CORE, HOST = "both, MB", "both, % of one core", "Prometheus, cores"
BUDGETS = {ON_A_BOX: 150.0, CORE: 1.0, HOST: 0.5}
"""What issue 16 allows: on a box, and on the host that asks 50 boxes."""


def used_s(pid: int) -> float:
    """Processor seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def memory_mb(pid: int, field: str = "VmHWM") -> float:
    """Its memory at its highest, in MB."""
    (kilobytes,) = [line.split()[1] for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(field)]
    return int(kilobytes) * 1024 / 1e6


def serve(texts: dict[str, bytes], port: int) -> None:
    """/vllm and /node to everybody; what a counter says does not matter here."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            text = texts[self.path.rpartition("/")[2]]
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_arguments):
            pass

    ThreadingHTTPServer((MANAGEMENT, port), Handler).serve_forever()


def on_a_box(folder: Path) -> tuple[dict[str, float], bytes]:
    """Figures of the node exporter and the collector, and what the exporter says."""
    fleet = Fleet(folder)
    environment = box(folder)
    with docker(folder / "docker.sock", "5" * 64):
        collect(folder, environment)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        runs = 20
        for _ in range(runs):
            collect(folder, environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    collector_s = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / runs
    with running(fleet.command("prometheus-node-exporter"), folder / "log", env={**os.environ, "GOMAXPROCS": "1"}) as exporter:
        url = f"http://{MANAGEMENT}:{PORTS['node_exporter_port']}/metrics"
        text = until(lambda: urllib.request.urlopen(url, timeout=10).read())
        first, asked = used_s(exporter.pid), 100
        for _ in range(asked):
            urllib.request.urlopen(url, timeout=10).read()
        exporter_s = (used_s(exporter.pid) - first) / asked
        figures = {
            "collector, processor s a run": collector_s,
            "collector, MB at its highest while it runs": after.ru_maxrss * 1024 / 1e6,
            "node exporter, processor s a question": exporter_s,
            "node exporter, MB": memory_mb(exporter.pid),
            ON_A_BOX: after.ru_maxrss * 1024 / 1e6 + memory_mb(exporter.pid),
            CORE: 100 * (collector_s / 30 + exporter_s / INTERVAL_S),
        }
    return figures, text


def on_the_host(folder: Path, texts: dict[str, bytes], boxes: int, seconds: int) -> dict[str, float]:
    """Figures of a Prometheus that asks so many boxes."""
    fleet = Fleet(folder)
    fleet.settings["scrape_interval_s"] = INTERVAL_S
    fleet.write(1)
    port = 28100
    stub = multiprocessing.get_context("spawn").Process(target=serve, args=(texts, port), daemon=True)
    stub.start()
    for kind, file in (("vllm", "servers"), ("node", "boxes")):
        labels = {"model": "m", "server": "s"} if kind == "vllm" else {}
        found = [
            {"targets": [f"{MANAGEMENT}:{port}"], "labels": {**labels, "box": f"b{n}", "instance": f"b{n}", "__metrics_path__": f"/b{n}/{kind}"}}
            for n in range(boxes)
        ]
        (folder / f"etc/targets/{file}.json").write_text(json.dumps(found))
    (folder / "etc/targets/routers.json").write_text("[]")
    with running(fleet.command("prometheus"), folder / "prometheus.log") as prometheus:
        until(lambda: sum(int(one["value"][1]) for one in fleet.ask("count(up == 1)")) >= 2 * boxes, 90)
        began, first = time.monotonic(), used_s(prometheus.pid)
        time.sleep(seconds)
        share = (used_s(prometheus.pid) - first) / (time.monotonic() - began)
        series = float(fleet.ask("prometheus_tsdb_head_series")[0]["value"][1])
        figures = {"boxes": boxes, "series": series, HOST: share, "Prometheus, MB": memory_mb(prometheus.pid)}
    stub.terminate()
    return figures


def exceeded(figures: dict[str, float]) -> list[str]:
    """A line for each budget that the figures exceed, or that no figure says anything of."""
    lines = []
    for name, most in BUDGETS.items():
        value = figures.get(name)
        if value is None:
            lines.append(f"{name} was not measured; the budget is {most:g}")
        elif not value <= most:
            lines.append(f"{name} is {value:,.3f}; the budget is {most:g}")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boxes", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=180)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        here, node = on_a_box(Path(one))
        texts = {"node": node, "vllm": (RECORDED / "vllm-0.32.0-cpu-after.prom").read_bytes()}
        there = on_the_host(Path(other), texts, wanted.boxes, wanted.seconds)
    figures = {**here, **there}
    for name, value in figures.items():
        print(f"{name:45} {value:,.3f}")
    missed = exceeded(figures)
    print("\n".join(missed) or "All within the budgets.")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

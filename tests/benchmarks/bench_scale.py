# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a steady-state run of site costs over 2, 10, 25 and 50 boxes, beside a bare play with as many remote no-op tasks.

    .venv/bin/python tests/benchmarks/bench_scale.py --boxes 2 10 25 50 --json scale.json

Light boxes (light_boxes.py): real SSH, sudo, Python and modules; stand-ins for Docker, systemd and the served model. What a box is asked is counted on
the box, by its own sshd. Wall time here says little about other machines (all boxes share these cores); the counts, the controller's CPU seconds and
the bytes do. The bare play runs in the same minute, over the same boxes and connections.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import light_boxes

COUNTED = "Starting session: command"
SITE = "gb10.vllm.site"


def on_all(fleet: light_boxes.Fleet, *command: str) -> list[str]:
    return [fleet.ask(number, *command) for number in range(1, fleet.count + 1)]


def asked(fleet: light_boxes.Fleet) -> list[int]:
    """Commands each box was sent over SSH so far."""
    return [text.count(COUNTED) for text in on_all(fleet, "cat", "/var/log/sshd.log")]


def moved(fleet: light_boxes.Fleet) -> int:
    """Bytes that went into and out of all boxes so far."""
    names = ("rx_bytes", "tx_bytes")
    return sum(int(word) for text in on_all(fleet, "cat", *(f"/sys/class/net/eth0/statistics/{name}" for name in names)) for word in text.split())


def tree(root: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            parent = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry))
    found, todo = [], [root]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


def memory(pids: list[int]) -> int:
    """Memory of processes in bytes, shared pages counted once (PSS)."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            match = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
            total += int(match.group(1)) * 1024 if match else 0
    return total


@contextlib.contextmanager
def watched(pid: int, every_s: float) -> Iterator[dict[str, int]]:
    """The most memory a controller took; to look costs it time, the more the more processes it has."""
    seen, stop = {"memory_bytes": 0}, threading.Event()

    def look() -> None:
        while not stop.wait(every_s):
            seen["memory_bytes"] = max(seen["memory_bytes"], memory(tree(pid)))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def measure(fleet: light_boxes.Fleet, playbook: str) -> dict:
    """One run: commands per box, wall and CPU seconds, bytes and memory."""
    asked_before, moved_before = asked(fleet), moved(fleet)
    cpu_before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    process = subprocess.Popen(
        [light_boxes.ANSIBLE_PLAYBOOK, playbook, "-i", str(fleet.inventory), "-f", "50"],
        cwd=fleet.folder, env=light_boxes.environment(fleet.folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    with watched(process.pid, max(0.5, fleet.count / 10)) as most:
        output, _none = process.communicate()
    wall_s = time.monotonic() - began
    cpu = resource.getrusage(resource.RUSAGE_CHILDREN)
    clean = len(re.findall(r"changed=0 +unreachable=0 +failed=0", output)) == fleet.count
    if process.returncode or not clean:
        raise SystemExit(f"{playbook} over {fleet.count} boxes was not a steady state:\n{output[-6000:]}")
    commands = [after - before for before, after in zip(asked_before, asked(fleet), strict=True)]
    return {
        "commands": max(commands),
        "commands_in_all": sum(commands),
        "wall_s": round(wall_s, 1),
        "cpu_s": round(cpu.ru_utime + cpu.ru_stime - cpu_before.ru_utime - cpu_before.ru_stime, 1),
        "bytes": moved(fleet) - moved_before,
        "memory_bytes": most["memory_bytes"],
    }


def bare(folder: Path, tasks: int) -> str:
    """A play of no-op tasks, each of which asks the box once."""
    one = [{"name": f"Nothing {number}", "ansible.builtin.ping": {}} for number in range(tasks)]
    path = folder / "bare.yml"
    path.write_text(json.dumps([{"name": "Bare", "hosts": "gb10", "gather_facts": False, "become": True, "tasks": one}]))
    return str(path)


def table(rows: list[dict]) -> str:
    head = (
        "| boxes | SSH commands per box | site s | bare play s | site / bare | controller CPU s per box (bare) | KiB moved per box (bare) | "
        "controller memory MiB (bare) |"
    )
    lines = [head, "|---" * 8 + "|"]
    for row in rows:
        site, plain, count = row["site"], row["bare"], row["boxes"]
        lines.append(
            f"| {count} | {site['commands']} | {site['wall_s']} | {plain['wall_s']} | {site['wall_s'] / plain['wall_s']:.2f} "
            f"| {site['cpu_s'] / count:.2f} ({plain['cpu_s'] / count:.2f}) | {site['bytes'] / count / 1024:.0f} ({plain['bytes'] / count / 1024:.0f}) "
            f"| {site['memory_bytes'] / 2**20:.0f} ({plain['memory_bytes'] / 2**20:.0f}) |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boxes", type=int, nargs="+", default=[2, 10, 25, 50])
    parser.add_argument("--json", type=Path, help="write the figures there too")
    chosen = parser.parse_args()
    rows = []
    for count in chosen.boxes:
        with tempfile.TemporaryDirectory(prefix="gb10-scale-") as name:
            folder = Path(name)
            with light_boxes.boxes(count, folder) as fleet:
                # Connects to every box and writes the lock file; what is measured after it is the steady state.
                light_boxes.run(light_boxes.ANSIBLE_PLAYBOOK, SITE, "-i", str(fleet.inventory), cwd=folder, env=light_boxes.environment(folder))
                site = measure(fleet, SITE)
                # The first command of a run finds the interpreter, in both plays; all others are tasks.
                row = {"boxes": count, "site": site, "bare": measure(fleet, bare(folder, site["commands"] - 1))}
                row["load"] = os.getloadavg()[0]
        rows.append(row)
        print(json.dumps(row), flush=True)
    print(table(rows))
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a steady-state run of site costs over 2, 10, 25 and 50 boxes, beside a bare play with as many remote no-op tasks.

    .venv/bin/python tests/benchmarks/bench_scale.py --boxes 2 10 25 50 --before ../checkout-of-another-commit --json scale.json

Light boxes (light_boxes.py): real SSH, sudo, Python and modules; stand-ins for Docker, systemd and the served model. What a box is asked is counted on
the box, by its own sshd. Wall time here says little about other machines (all boxes share these cores); the counts, the controller's CPU seconds and
the bytes do. The bare play runs in the same minute, over the same boxes and connections. With --before the collection of another checkout runs
over the same boxes too, with the inventory that was shipped with it.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
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


@dataclasses.dataclass
class Controller:
    """A collection and an inventory over the boxes of a fleet."""

    fleet: light_boxes.Fleet
    folder: Path

    def start(self, playbook: str) -> subprocess.Popen:
        command = [light_boxes.ANSIBLE_PLAYBOOK, playbook, "-i", str(self.folder / "inventory"), "-f", "50"]
        environment = light_boxes.environment(self.folder)
        return subprocess.Popen(command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def warm_up(self) -> None:
        """Connects to every box and writes the lock file; what is measured after it is the steady state."""
        process = self.start(SITE)
        output, _none = process.communicate()
        if process.returncode:
            raise SystemExit(f"{SITE} failed:\n{output[-6000:]}")

    def measure(self, playbook: str) -> dict:
        """One run: commands per box, wall and CPU seconds, bytes and memory."""
        fleet = self.fleet
        asked_before, moved_before = asked(fleet), moved(fleet)
        cpu_before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.monotonic()
        process = self.start(playbook)
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


def before(fleet: light_boxes.Fleet, checkout: Path) -> Controller:
    """Another checkout's collection over the same boxes, with its inventory as it was shipped."""
    folder = fleet.folder / "before"
    light_boxes.snapshot(folder, checkout)
    inventory = json.loads((fleet.inventory / "hosts.yml").read_text())
    if "ansible_python_interpreter" not in (checkout / "inventory/gb10/group_vars/gb10.yml").read_text():
        del inventory["gb10"]["vars"]["ansible_python_interpreter"]
    (folder / "inventory").mkdir()
    (folder / "inventory" / "hosts.yml").write_text(json.dumps(inventory))
    return Controller(fleet, folder)


def bare(folder: Path, tasks: int) -> str:
    """A play of no-op tasks, each of which asks the box once."""
    one = [{"name": f"Nothing {number}", "ansible.builtin.ping": {}} for number in range(tasks)]
    path = folder / "bare.yml"
    path.write_text(json.dumps([{"name": "Bare", "hosts": "gb10", "gather_facts": False, "become": True, "tasks": one}]))
    return str(path)


RUNS = ("before", "site", "bare")
FIGURES = {
    "SSH commands per box": lambda run, boxes: f"{run['commands']}",
    "wall s": lambda run, boxes: f"{run['wall_s']:.1f}",
    "controller CPU s per box": lambda run, boxes: f"{run['cpu_s'] / boxes:.2f}",
    "KiB moved per box": lambda run, boxes: f"{run['bytes'] / boxes / 1024:.0f}",
    "controller memory MiB": lambda run, boxes: f"{run['memory_bytes'] / 2**20:.0f}",
}


def table(rows: list[dict]) -> str:
    """One line per fleet; each figure of all runs (before, site, bare play), then the ratios that are goals."""
    names = [name for name in RUNS if name in rows[0]]
    head = ["boxes", *(f"{figure}: {', '.join(names)}" for figure in FIGURES)]
    ratios = [("wall, site / before", "wall_s", "before")] * ("before" in names) + [("memory, site / bare", "memory_bytes", "bare")]
    lines = [head + [title for title, _figure, _other in ratios], ["---"] * (len(head) + len(ratios))]
    for row in rows:
        cells = [", ".join(shown(row[name], row["boxes"]) for name in names) for shown in FIGURES.values()]
        lines.append([str(row["boxes"]), *cells, *(f"{row['site'][figure] / row[other][figure]:.2f}" for _title, figure, other in ratios)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boxes", type=int, nargs="+", default=[2, 10, 25, 50])
    parser.add_argument("--before", type=Path, help="a checkout of another commit, to compare with")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    chosen = parser.parse_args()
    rows = []
    for count in chosen.boxes:
        with tempfile.TemporaryDirectory(prefix="gb10-scale-") as name:
            folder = Path(name)
            with light_boxes.boxes(count, folder) as fleet:
                row: dict = {"boxes": count}
                if chosen.before:
                    other = before(fleet, chosen.before.resolve())
                    other.warm_up()
                    row["before"] = other.measure(SITE)
                here = Controller(fleet, folder)
                here.warm_up()
                row["site"] = here.measure(SITE)
                row["bare"] = here.measure(bare(folder, row["site"]["commands"]))
                row["load"] = os.getloadavg()[0]
        rows.append(row)
        print(json.dumps(row), flush=True)
    print(table(rows))
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()

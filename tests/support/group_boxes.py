# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two emulated boxes that serve one server, the real engine with tensor parallelism over their network."""

from __future__ import annotations

import contextlib
import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

from server_box import BOXES, CLEAN, FLEET, STATE, Box, SshBox

ENV = {"TORCHDYNAMO_DISABLE": "1"}  # else a compiler would have to be in the image
DUO = {
    "name": "duo", "model": "tiny-llama", "port": 8000, "address": "0.0.0.0", "boxes": ["spark-01", "spark-02"], "max_model_len": 2048, "concurrency": 2,
    "kv_cache_memory_gib": 0.25, "args": {"dtype": "float32", "enforce_eager": True}, "env": ENV,
}  # fmt: skip

NOTICED_S = 30
"""Within which a lost rank, head or box is noticed by the others (docs/groups.md)."""

# Processes of containers (they have a number in a PID namespace of their own too) that are not of the server's container as it runs now.
LEFT_OVER = """
found=$(grep -hs '^NSpid:' /proc/[0-9]*/status | awk 'NF > 2 {print $2}')
own=$(docker top gb10-vllm-duo -eo pid 2>/dev/null | tail -n +2 | tr -d ' ')
for pid in $found; do echo "$own" | grep -qx "$pid" || ps -o pid=,args= -p "$pid"; done
"""

# Takes memory for real until so many bytes are available on the box, and keeps it so, whatever else comes and goes there.
HOG = """
cat > /tmp/hog.py <<'END'
import time
CHUNK, held, until = 2**27, [], time.monotonic() + 900
def available():
    with open("/proc/meminfo") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
while time.monotonic() < until:
    if available() > {target} + CHUNK:
        held.append(bytearray(b"x") * CHUNK)
    elif held and available() < {target} - CHUNK:
        held.pop()
    else:
        time.sleep(0.1)
END
setsid nohup python3 /tmp/hog.py >/dev/null 2>&1 </dev/null &
echo $!
"""


class Pair(Box):
    """The head, and the box beside it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, {}, count=2)
        self.other = SshBox(FLEET, "spark-02")
        self.key = ""

    def of(self, number: int, command: str, check: bool = True) -> str:
        return self.run(command, check) if number == 0 else self.other.ssh(f"sudo sh -c {shlex.quote(command)}", check).strip()

    def chat(self) -> int:
        return self.ask(8000, self.key)

    def site(self) -> str:
        said = self.play("site.yml")
        self.key = self.run(". /etc/gb10-vllm/duo/key.env; echo $VLLM_API_KEY")
        return said

    def started(self, number: int) -> str:
        return self.of(number, "docker inspect -f '{{.State.StartedAt}}' gb10-vllm-duo", check=False)

    def both_start_again(self, before: list[str], within_s: float = 300) -> float:
        """Seconds until both containers run anew and the head answers."""
        took = self.wait_until(lambda: all(self.started(number) not in (before[number], "") for number in (0, 1)) and self.chat() == 200, within_s)
        print(f"answers again after {took:.0f} s")
        return took

    def journal_of(self, number: int) -> str:
        return self.of(number, "journalctl --quiet --unit gb10-vllm-duo.service --lines 20 --output cat", check=False)

    def clock(self) -> str:
        """The time on the head, as its journal takes it."""
        return self.run("date +%s")

    def loses(self, since: str) -> bool:
        """Whether the head has noticed since a time that the other box is lost: it says so, or its container has ended."""
        said = self.run(f"journalctl --quiet --unit gb10-vllm-duo.service --since @{since} --output cat", check=False)
        return "start again together" in said or self.run("docker ps -q --filter name=gb10-vllm-duo") == ""

    def left_over(self, number: int) -> str:
        """Processes on a box that an earlier start left over; "" where there are none."""
        return self.of(number, LEFT_OVER, check=False)

    def deployed(self, number: int) -> dict:
        """The deployment of a box."""
        return json.loads(self.of(number, f"cat {STATE}/servers/duo/deployment.json"))

    def available(self, number: int) -> int:
        """Bytes of memory that are available on a box."""
        return int(self.of(number, "awk '/^MemAvailable/ {print $2 * 1024}' /proc/meminfo"))

    def now(self) -> list[str]:
        return [self.started(number) for number in (0, 1)]

    def waits(self) -> bool:
        """Whether the head waits for the other box, without a container."""
        said = self.run("systemctl show --property StatusText gb10-vllm-duo")
        return said.startswith("StatusText=waiting for spark-02") and self.run("docker ps -q --filter name=gb10-vllm-duo") == ""

    def clean(self) -> None:
        for number in (0, 1):
            self.of(number, CLEAN, check=False)


@contextlib.contextmanager
def pair_of_boxes(folder: Path, reuse: bool = False) -> Iterator[Pair]:
    """The boxes before the first run; with ``reuse`` they are as an earlier test left them, and stay."""
    made = Pair(folder)
    if not reuse:
        made.clean()
    made.wish(gb10_servers=[DUO], gb10_soak_s=0)
    yield made
    if not reuse:
        made.clean()
        subprocess.run(["python3", str(BOXES), "--fleet", FLEET, "down", "--keep-images"], check=False)

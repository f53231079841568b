# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What both halves of a cable carry at once, measured with perftest's ib_write_bw."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.command import MISSING, run

FIRST_PORT = 18515
"""perftest's own; one more for each further half."""
# Its results: bytes, iterations, peak, average and message rate.
ROW = re.compile(r"^\s*\d+\s+\d+\s+[\d.]+\s+([\d.]+)\s+[\d.]+\s*$", re.MULTILINE)


def arguments(half: Mapping[str, Any], number: int, seconds: int) -> list[str]:
    """The same for both ends, or they do not understand each other. For ``seconds``, not by count; by RDMA's connection manager, which goes by address."""
    return ["ib_write_bw", "-d", str(half["hca"]), "-p", str(FIRST_PORT + number), "--report_gbits", "-q", "4", "-D", str(seconds), "-R", "-F"]


def parse(text: str) -> float | None:
    """The average of an ib_write_bw with ``--report_gbits`` in Gb/s, None where there is none."""
    found = ROW.findall(text)
    return float(found[-1]) if found else None


def serve(halves: Sequence[Mapping[str, Any]], seconds: int) -> None:
    """Wait for the other end on each half, in units that end by themselves."""
    for number, half in enumerate(halves):
        unit = f"gb10-fabric-bandwidth-{number}"
        run(["systemctl", "stop", f"{unit}.service"])
        # Bound to the address of its half; both ends have to be started within the time, and the client comes right after.
        command = [*arguments(half, number, seconds), "--bind_source_ip", str(half["address"])]
        done = run(["systemd-run", "--quiet", "--collect", "--unit", unit, f"--property=RuntimeMaxSec={seconds + 40}", *command])
        if done.returncode:
            raise GB10Error(f"ib_write_bw cannot be started on this box: {' '.join(done.stderr.split())}. Install it: apt-get install perftest.")


def measure(halves: Sequence[Mapping[str, Any]], seconds: int) -> list[dict[str, Any]]:
    """[{interface, gbits, said}] of all halves at the same time; ``gbits`` is None where nothing was measured."""

    def one(number: int, half: Mapping[str, Any]) -> dict[str, Any]:
        command = [*arguments(half, number, seconds), "--bind_source_ip", str(half["address"]), str(half["peer"])]
        for left in (4, 3, 2, 1, 0):
            done = run(command, seconds + 30)
            if done.returncode == MISSING:
                raise GB10Error("ib_write_bw is not installed on this box; install it: apt-get install perftest.")
            # The other end may need a moment to listen.
            if done.returncode == 0 or not left:
                break
            time.sleep(1)
        return {"interface": half["interface"], "gbits": parse(done.stdout), "said": " ".join((done.stderr or done.stdout).split())[-200:]}

    with ThreadPoolExecutor(max(1, len(halves))) as pool:
        return list(pool.map(one, range(len(halves)), halves))

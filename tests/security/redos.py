# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Times every signature of diagnoses.yml on hostile text: one long line, and a true megabyte of such lines.

    PYTHONPATH=CHECKOUT/.ansible/collections python redos.py CHECKOUT

The lines are made from each signature's own parts and its example: what matches over and over, a beginning that matches with filler its repetitions accept.
They come to the expressions as every log does: cleaned and, since issue 11, cut. Only the time of the process counts, whatever else the machine does; each
signature is tried in a child that the kernel ends after CPU_S seconds of its own.
"""

from __future__ import annotations

import multiprocessing
import re
import resource
import sys
from pathlib import Path

import yaml

sys.path[:0] = [str(Path(sys.argv[1]) / "tests/support")]

from ansible_collections.gb10.vllm.plugins.module_utils._io import lines
from hostile_text import megabyte, seconds

LONG, MEGABYTE = 100_000, 1_000_000
LINE_S = 0.05
MEGABYTE_S = 3.0
CPU_S = 30
MOST = 120
"""Hostile lines for each signature."""
ENOUGH = 3
"""So many slow ones say it all."""


def strings(example: str, size: int) -> list[str]:
    """What the report of issue 11 tried."""
    first = example.splitlines()[0]
    words = first.split() or ["x"]
    half = first[: max(1, len(first) // 2)]
    whole = first[:-1] or "x"
    return [
        *(one * size for one in " a1.'"),
        half + "a" * size,
        half + " " * size,
        *((one * (size // len(one) + 1))[:size] for one in (words[0] + " ", half, whole)),
    ]


def judge(signature: str, example: str, queue: multiprocessing.SimpleQueue) -> None:
    """Puts (seconds for a line, seconds for a megabyte, how the slowest line begins); runs in a process of its own."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    pattern = re.compile(signature, re.MULTILINE)
    told = [(took, 0.0, text[:40]) for text in map(lines.clean_line, strings(example, LONG)) if (took := seconds(pattern, text, most=10**6)) is not None]
    told += [(0.0, seconds(pattern, "\n" * MEGABYTE, most=10**6), "")]
    told += megabyte(pattern, example, LONG, MOST, lines.clean_line)
    queue.put((max(one[0] for one in told), *max((one[1], one[2]) for one in told)))


def main() -> int:
    checkout = Path(sys.argv[1])
    entries = yaml.safe_load((checkout / "plugins/plugin_utils/_diagnosis/diagnoses.yml").read_text())
    examples = yaml.safe_load((checkout / "tests/unit/plugins/plugin_utils/_diagnosis/examples.yml").read_text())
    slow, worst = [], (0.0, 0.0)
    for entry in entries:
        queue: multiprocessing.SimpleQueue = multiprocessing.SimpleQueue()
        child = multiprocessing.Process(target=judge, args=(entry["signature"], examples[entry["id"]]["example"], queue))
        child.start()
        child.join()
        line_s, megabyte_s, text = queue.get() if not queue.empty() else (float("inf"), float("inf"), "")
        queue.close()
        worst = (max(worst[0], line_s), max(worst[1], megabyte_s))
        if line_s > LINE_S or megabyte_s > MEGABYTE_S:
            slow.append(entry["id"])
            print(f"{entry['id']:12} {line_s:8.3f} s for a line, {megabyte_s:8.3f} s for a megabyte  {text!r}", flush=True)
        if len(slow) == ENOUGH:
            break
    print(f"{len(entries)} signatures, {len(slow)} slower than {LINE_S} s a line or {MEGABYTE_S} s a megabyte; worst {worst[0]:.4f} and {worst[1]:.3f}")
    return bool(slow)


sys.exit(main())

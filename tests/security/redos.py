# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Times every signature of diagnoses.yml on hostile text of 1 MB (one long line, and many lines).

    python redos.py CHECKOUT [SECONDS_PER_TRY]

Each try runs in a child that is ended after SECONDS_PER_TRY (default 5). The strings are made from each signature's own literal parts:
a prefix that matches, repeated filler that the expression's repetitions accept, and an end that spoils the match.
"""

import functools
import multiprocessing
import re
import sys
import time
from pathlib import Path

import yaml
from ansible_collections.gb10.vllm.plugins.module_utils._io import lines

SIZE = 1_000_000


def strings(example):
    first = example.splitlines()[0]
    words = first.split() or ["x"]
    half = first[: max(1, len(first) // 2)]
    return {
        "spaces": " " * SIZE,
        "a": "a" * SIZE,
        "digits": "1" * SIZE,
        "dots": "." * SIZE,
        "quote": "'" * SIZE,
        "newlines": "\n" * SIZE,
        "example once, then a": half + "a" * SIZE,
        "example once, then spaces": half + " " * SIZE,
        "first words over and over, one line": ((words[0] + " ") * SIZE)[:SIZE],
        "half the example over and over, one line": (half * (SIZE // len(half) + 1))[:SIZE],
        "whole first line but its end, over and over": ((first[:-1] or "x") * (SIZE // max(1, len(first) - 1) + 1))[:SIZE],
    }


@functools.lru_cache(32)
def cleaned(text):
    """As every log comes to the expressions: cleaned, and since issue 11 cut."""
    return "\n".join(lines.clean_line(line) for line in text.split("\n"))


def one(signature, text, queue):
    pattern = re.compile(signature, re.MULTILINE)
    at = time.perf_counter()
    n = 0
    for _match in pattern.finditer(text):
        n += 1
        if n == 3:
            break
    queue.put(time.perf_counter() - at)


def main():
    checkout, limit = sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 5.0
    entries = yaml.safe_load((Path(checkout) / "plugins/plugin_utils/_diagnosis/diagnoses.yml").read_text())
    examples = yaml.safe_load((Path(checkout) / "tests/unit/plugins/plugin_utils/_diagnosis/examples.yml").read_text())
    slow = []
    for entry in entries:
        worst = (0.0, "")
        for what, text in strings(examples[entry["id"]]["example"]).items():
            queue = multiprocessing.SimpleQueue()
            child = multiprocessing.Process(target=one, args=(entry["signature"], cleaned(text), queue))
            child.start()
            child.join(limit)
            if child.is_alive():
                child.kill()
                child.join()
                took = float("inf")
            else:
                took = queue.get() if not queue.empty() else float("nan")
            worst = max(worst, (took, what))
            if took == float("inf"):
                break
        if worst[0] > 0.5:
            slow.append((worst[0], entry["id"], worst[1]))
            print(f"{entry['id']:12} {worst[0]:8.2f} s  {worst[1]}", flush=True)
    print(len(entries), "signatures,", len(slow), "slower than 0.5 s on 1 MB")
    return bool(slow)


sys.exit(main())

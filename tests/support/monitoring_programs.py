# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The distribution's Prometheus, Alertmanager and node exporter as `tests/setup --monitoring` unpacks them, started as the drop-ins of the role start them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / ".cache" / "monitoring" / "usr" / "bin"
MISSING = not (PROGRAMS / "prometheus-node-exporter").exists()
NEEDS = "needs the distribution's Prometheus (tests/setup --monitoring)"


def program(name: str) -> str:
    return str(PROGRAMS / name)


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def until(what: Callable[[], Any], seconds: float = 60, every: float = 0.2) -> Any:
    """The first answer of ``what`` that is true; an assertion with its last one when there is none in time."""
    end = time.monotonic() + seconds
    last: Any = None
    while time.monotonic() < end:
        try:
            last = what()
        except (urllib.error.URLError, OSError) as error:
            last = error
        if last and not isinstance(last, Exception):
            return last
        time.sleep(every)
    raise AssertionError(f"not within {seconds} s; the last answer was {last!r}")


@contextlib.contextmanager
def running(arguments: list[str], log: Path, **more: Any) -> Iterator[subprocess.Popen]:
    """A program until the end of the block."""
    with log.open("w") as out, subprocess.Popen(arguments, stdout=out, stderr=subprocess.STDOUT, **more) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()

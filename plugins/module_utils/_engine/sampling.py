# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Readings of a box's memory around one start: before it, its lowest value while nobody looks, and with the shares of all processes.

What happens between two looks of a run over SSH must not be missed, so a process of its own watches a start; it ends when the start is decided, when
its file is gone, or when no start takes that long.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._box.facts import parse_meminfo, read_text
from ansible_collections.gb10.vllm.plugins.module_utils._io.apart import apart
from ansible_collections.gb10.vllm.plugins.module_utils._io.command import run
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import write_whole
from ansible_collections.gb10.vllm.plugins.module_utils._names import RUN_DIR

MIB = 2**20
EVERY_S = 0.1
DEVICE_EVERY_S = 0.5
WANDER_S = 1.0
RESTLESS_BYTES = 128 * MIB
LONGEST_UNREST_S = 15.0
DIGITS = 20
"""A file begins with the lowest value, always as wide, so that it is overwritten at once."""


def available_bytes() -> int:
    """MemAvailable of the box."""
    return int(parse_meminfo(read_text("/proc/meminfo")).get("MemAvailable", 0))


def share_bytes(rollup: str) -> int:
    """What a process holds that only its end gives back: its proportional share of anonymous and shared memory, from ``smaps_rollup``. Pure."""
    fields = parse_meminfo(rollup)
    return fields["Pss_Anon"] + fields.get("Pss_Shmem", 0) if "Pss_Anon" in fields else fields.get("Pss", 0)


def device_memory(text: str) -> tuple[int | None, int]:
    """(bytes in use, bytes in all) of the devices in ``nvidia-smi --query-gpu=memory.used,memory.total --format=csv,noheader,nounits``.

    (None, 0) where the driver names no numbers, as on a GB10, whose device has no memory of its own. Pure.
    """
    rows = [[word.strip() for word in line.split(",")] for line in text.splitlines() if line.strip()]
    if not rows or not all(len(row) == 2 and row[0].isdigit() and row[1].isdigit() for row in rows):
        return None, 0
    return sum(int(row[0]) for row in rows) * MIB, sum(int(row[1]) for row in rows) * MIB


def device_apps(text: str) -> dict[int, int]:
    """Bytes on the device by process, from ``nvidia-smi --query-compute-apps=pid,used_memory --format=csv,noheader,nounits``. Pure."""
    rows = [[word.strip() for word in line.split(",")] for line in text.splitlines()]
    return {int(row[0]): int(row[1]) * MIB for row in rows if len(row) == 2 and row[0].isdigit() and row[1].isdigit()}


def _query(what: str) -> str:
    process = run(["nvidia-smi", f"--query-{what}", "--format=csv,noheader,nounits"], 10)
    return process.stdout if process.returncode == 0 else ""


def moment(ours: Collection[int] = ()) -> dict[str, Any]:
    """One reading, see ``footprint.Moment``; ``ours``: pids of the server's processes."""
    used, in_all = device_memory(_query("gpu=memory.used,memory.total"))
    apps = device_apps(_query("compute-apps=pid,used_memory")) if used is None else {}
    shares = _shares()
    own = sum(held for pid, held in shares.items() if pid in ours)
    elsewhere = sum(held for pid, held in [*shares.items(), *apps.items()] if pid not in ours)
    fields = parse_meminfo(read_text("/proc/meminfo"))
    return {
        "at": round(time.time(), 1),
        "total_bytes": fields.get("MemTotal", 0),
        "available_bytes": fields.get("MemAvailable", 0),
        "ours_bytes": own,
        "others_bytes": elsewhere,
        "device_bytes": used,
        "device_total_bytes": in_all,
    }


def _shares() -> dict[int, int]:
    """What every process holds, by pid: its share, or where only its owner may see that, its resident anonymous and shared memory."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            found[int(pid)] = share_bytes(Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii"))
        except PermissionError:
            status = parse_meminfo(read_text(f"/proc/{pid}/status"))
            found[int(pid)] = status.get("RssAnon", 0) + status.get("RssShmem", 0)
        except OSError:
            continue  # it ended meanwhile, or it is a thread of the kernel
    return found


def before() -> dict[str, Any]:
    """The reading before a container is made, with ``wander_bytes``: by how much MemAvailable moves while nothing is started."""
    seen = []
    began = time.monotonic()
    while time.monotonic() - began < WANDER_S:
        seen.append(available_bytes())
        time.sleep(EVERY_S)
    return {**moment(), "wander_bytes": max(seen) - min(seen)}


class Lowest:
    """The lowest MemAvailable while it is open, and on a discrete GPU the most that is in use; sampled by a thread of its own."""

    def __init__(self, device: bool = False) -> None:
        self.lowest_bytes = available_bytes()
        self.most_device_bytes = 0
        self._device = device
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        asked = 0.0
        while not self._over.wait(EVERY_S / 2):
            self.lowest_bytes = min(self.lowest_bytes, available_bytes())
            if self._device and time.monotonic() - asked > DEVICE_EVERY_S:
                asked = time.monotonic()
                self.most_device_bytes = max(self.most_device_bytes, device_memory(_query("gpu=memory.used,memory.total"))[0] or 0)

    def __enter__(self) -> Lowest:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()


def file_of(container: str) -> Path:
    """Where the watch over the start of a container keeps what it saw."""
    return Path(RUN_DIR, f"start-{container}")


def begin(container: str, longest_s: float) -> dict[str, Any]:
    """Note the memory as it is now, before the container is made, and watch it until the start is over; returns the note.

    While memory still comes back from what ran before, or the box is restless, the note waits a little.
    """
    began, noted = time.monotonic(), before()
    while noted["wander_bytes"] > RESTLESS_BYTES and time.monotonic() - began < LONGEST_UNREST_S:
        noted = before()
    path = file_of(container)
    path.unlink(missing_ok=True)
    write_whole(path, f"{noted['available_bytes']:0{DIGITS}d}\n{json.dumps(noted)}\n", mode=0o600)
    _detach(path, noted["available_bytes"], longest_s)
    return noted


def noted(container: str) -> tuple[dict[str, Any], int] | None:
    """(the note before the start, the lowest MemAvailable since) of a start that is watched; None where none is."""
    lowest, _newline, note = read_text(str(file_of(container))).partition("\n")
    try:
        return json.loads(note), int(lowest)
    except ValueError:
        return None


def end(container: str) -> None:
    """The start is decided: its watch ends."""
    with contextlib.suppress(OSError):
        file_of(container).unlink()


def watch(path: Path, lowest: int, longest_s: float) -> None:
    """Write the lowest MemAvailable into ``path`` until that file is gone (another may have its name then), or ``longest_s`` have passed."""
    began = time.monotonic()
    with contextlib.suppress(FileNotFoundError), path.open("r+b", buffering=0) as stream:
        while os.fstat(stream.fileno()).st_nlink and time.monotonic() - began < longest_s:
            now = available_bytes()
            if now < lowest:
                lowest = now
                os.pwrite(stream.fileno(), f"{now:0{DIGITS}d}".encode(), 0)
            time.sleep(EVERY_S)
        if os.fstat(stream.fileno()).st_nlink:
            path.unlink()  # a note that is so old says nothing of what starts now


def _detach(path: Path, lowest: int, longest_s: float) -> None:
    def work() -> None:
        os.closerange(3, 256)
        watch(path, lowest, longest_s)

    apart(work)

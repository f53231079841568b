# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run at a time per box: the lock file on the box and the rules of who may have it.

Only the box's time since it was started counts, which no setting of its clock moves, and only one process at a time looks at the file
(``flock`` on its directory), so two controllers that arrive in the same instant cannot both get it.

Beside the lock lies ``run.lock.RUN``, which its run writes anew while it follows long work: proof that it is alive, and that it once had the lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import math
import os
import time
from collections.abc import Iterator
from typing import NamedTuple

from ansible_collections.gb10.vllm.plugins.module_utils._box.records import read_records
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import read_json, write_json, write_whole

NAME = "run.lock"
BOOT_ID = "/proc/sys/kernel/random/boot_id"


class Instant(NamedTuple):
    """Now, on a box: seconds of its clock, and those since the start of which this is the id."""

    clock_s: float
    boot_id: str
    boot_s: float


def instant() -> Instant:
    """What time it is on this box."""
    return Instant(time.time(), _text(BOOT_ID), time.clock_gettime(time.CLOCK_BOOTTIME))


def standing(holder: dict | None, run: str, now: Instant) -> str:
    """What a lock means to a run: ``free``, ``ours``, ``held`` or ``expired``."""
    if not holder:
        return "free"
    if holder["run"] == run:
        return "ours"
    return "held" if _age_s(holder, now) < holder["ttl_s"] else "expired"


def _age_s(holder: dict, now: Instant) -> float:
    """Seconds for which nothing was heard of its run; where the box was started since, so many at least.

    A release before this one left only what the clock said. What it says of the future was written before the clock was corrected.
    """
    if not holder.get("boot_id"):
        return abs(now.clock_s - holder["refreshed_at"])
    return abs(now.boot_s - holder["refreshed_boot_s"]) if holder["boot_id"] == now.boot_id else now.boot_s


def alive_path(state_dir: str, run: str) -> str:
    """The file that a run writes anew while it is at work: the id of the box's boot and the seconds since."""
    return os.path.join(state_dir, f"{NAME}.{run}")


def moved_on(planned: dict[str, str], records: dict[str, dict]) -> list[str]:
    """Servers whose deployment on the box is no longer the one that a plan started from (``planned``: spec by server)."""
    found = {name: kinds.get("deployment") for name, kinds in records.items()}
    now = {name: deployment.get("spec", "") for name, deployment in found.items() if deployment and isinstance(deployment, dict)}
    return sorted(name for name in {*planned, *now} if planned.get(name) != now.get(name))


def read(state_dir: str) -> dict | None:
    """The lock as it lies there, as young as its run was seen last; None when there is none or it is no lock at all (it is only ever written whole)."""
    holder = read_json(os.path.join(state_dir, NAME))
    try:
        run, controller = str(holder["run"]), holder.get("controller")
        numbers = {key: float(holder[key]) for key in ("refreshed_at", "ttl_s")}
        numbers["acquired_at"] = float(holder.get("acquired_at") or numbers["refreshed_at"])
        seen = _alive(state_dir, run) or (str(holder.get("boot_id") or ""), float(holder.get("refreshed_boot_s") or 0))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None
    if not all(map(math.isfinite, (*numbers.values(), seen[1]))):
        return None
    who = {"run": run, "owner": str(holder.get("owner") or "somebody"), "controller": controller if isinstance(controller, dict) else {}}
    return {**holder, **who, **numbers, "boot_id": seen[0], "refreshed_boot_s": seen[1]}


def acquire(state_dir: str, owner: dict, ttl_s: float, take_over: str | None, planned: dict[str, str] | None, held: bool = False) -> dict:
    """Take the lock: {acquired, holder, taken_from, why}.

    ``owner``: {run, owner, controller}; ``take_over``: id of a run that is known to have ended; ``planned``: spec by server that the run's plan
    started from; ``held``: the run has the lock already, and only renews it. When another run holds the lock, ``acquired`` is false and ``holder``
    says who; with ``held`` it is false, too, when nobody does. Raises GB10Error when another run changed the servers after they were planned, or
    when the file cannot be written.
    """
    if not owner.get("run"):
        raise GB10Error("The lock of a box is taken through the action plugin of the module, which fills in `owner`.")
    with _alone(state_dir):
        now = instant()
        holder = read(state_dir) or {}
        state = standing(holder, owner["run"], now)
        if held and state != "ours":
            return {"acquired": False, "holder": holder or None, "taken_from": None, "why": None}
        if state == "held" and holder["run"] != take_over:
            return {"acquired": False, "holder": holder, "taken_from": None, "why": None}
        changed = [] if planned is None else moved_on(planned, read_records(state_dir))
        if changed:
            raise GB10Error(f"Another run changed {', '.join(changed)} on this box after this run had planned; nothing was changed. Run again.")
        since = holder["acquired_at"] if state == "ours" else now.clock_s
        seen = {"boot_id": now.boot_id, "refreshed_boot_s": now.boot_s}
        _write(state_dir, dict(owner, acquired_at=since, refreshed_at=now.clock_s, ttl_s=ttl_s, **seen), now)
        taken = holder if state in ("held", "expired") else None
        return {"acquired": True, "holder": None, "taken_from": taken, "why": {"held": "ended", "expired": "expired"}.get(state)}


def release(state_dir: str, run: str) -> bool:
    """Give back the lock of this run; False when it is not there or someone else's."""
    if not os.path.isdir(state_dir):
        return False
    with _alone(state_dir):
        ours = standing(read(state_dir), run, instant()) == "ours"
        for path in [*([os.path.join(state_dir, NAME)] if ours else []), alive_path(state_dir, run)]:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        return ours


def remove(state_dir: str) -> None:
    """Take away every trace of the lock, also this run's: nothing is left here that it could guard."""
    if os.path.isdir(state_dir):
        with _alone(state_dir):
            for path in glob.glob(os.path.join(glob.escape(state_dir), f"{NAME}*")):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)


@contextlib.contextmanager
def _alone(state_dir: str) -> Iterator[None]:
    try:
        os.makedirs(state_dir, mode=0o755, exist_ok=True)
        handle = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise GB10Error(f"The lock in {state_dir} cannot be reached: {error.strerror}; the run needs root on the box (become: true).") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read().strip()
    except (OSError, ValueError):
        return ""


def _alive(state_dir: str, run: str) -> tuple[str, float] | None:
    """When a run was seen last: (id of the boot, seconds since); None where it wrote nothing that can be read."""
    words = _text(alive_path(state_dir, run)).split()
    try:
        return words[0], float(words[1])
    except (IndexError, ValueError):
        return None


def _write(state_dir: str, holder: dict, now: Instant) -> None:
    path = os.path.join(state_dir, NAME)
    try:
        write_json(path, holder, durable=True, sort_keys=True)
        os.chmod(path, 0o644)  # whatever the umask: other users may ask who changes the box
        write_whole(alive_path(state_dir, holder["run"]), f"{now.boot_id} {now.boot_s:.2f}\n")
        # Of runs that were killed. One of this boot may be at work without its lock, and finds that out by its file.
        for other in glob.glob(f"{glob.escape(path)}.*"):
            if _text(other).split()[:1] != [now.boot_id]:
                os.unlink(other)
    except OSError as error:
        raise GB10Error(f"The lock {path} cannot be written: {error.strerror}.") from error

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run at a time per box: the lock file on the box and the rules of who may have it.

Only the box's clock counts, and only one process at a time looks at the file (``flock`` on its directory),
so two controllers that arrive in the same instant cannot both get it.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import time
from collections.abc import Iterator

from ansible_collections.gb10.vllm.plugins.module_utils._box.records import read_records
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import read_json, write_json

NAME = "run.lock"


def standing(holder: dict | None, run: str, now: float) -> str:
    """What a lock means to a run: ``free``, ``ours``, ``held`` or ``expired``; ``now`` in epoch seconds of the box.

    A lock from further in the future than it may last was written by a clock that has been corrected since; nobody can be waiting for that.
    """
    if not holder:
        return "free"
    if holder["run"] == run:
        return "ours"
    return "held" if abs(now - holder["refreshed_at"]) < holder["ttl_s"] else "expired"


def moved_on(planned: dict[str, str], records: dict[str, dict]) -> list[str]:
    """Servers whose deployment on the box is no longer the one that a plan started from (``planned``: spec by server)."""
    found = {name: kinds.get("deployment") for name, kinds in records.items()}
    now = {name: deployment.get("spec", "") for name, deployment in found.items() if deployment and isinstance(deployment, dict)}
    return sorted(name for name in {*planned, *now} if planned.get(name) != now.get(name))


def read(state_dir: str) -> dict | None:
    """The lock as it lies there; None when there is none or it is no lock at all (it is only ever written whole)."""
    holder = read_json(os.path.join(state_dir, NAME))
    try:
        times = {name: float(holder[name]) for name in ("refreshed_at", "ttl_s")} | {"acquired_at": float(holder.get("acquired_at", holder["refreshed_at"]))}
        return dict(holder, run=str(holder["run"]), **times) if all(math.isfinite(one) for one in times.values()) else None
    except (AttributeError, ValueError, KeyError, TypeError, OverflowError):
        return None


def acquire(state_dir: str, owner: dict, ttl_s: float, take_over: str | None, planned: dict[str, str] | None) -> dict:
    """Take the lock: {acquired, holder, taken_from, why}.

    ``owner``: {run, owner, controller}; ``take_over``: id of a run that is known to have ended; ``planned``: spec by server that the run's plan
    started from. When another run holds the lock, ``acquired`` is false and ``holder`` says who. Raises GB10Error when another run changed the
    servers after they were planned, or when the file cannot be written.
    """
    if not owner.get("run"):
        raise GB10Error("The lock of a box is taken through the action plugin of the module, which fills in `owner`.")
    with _alone(state_dir):
        now = time.time()
        holder = read(state_dir) or {}
        state = standing(holder, owner["run"], now)
        if state == "held" and holder["run"] != take_over:
            return {"acquired": False, "holder": holder, "taken_from": None, "why": None}
        changed = [] if planned is None else moved_on(planned, read_records(state_dir))
        if changed:
            raise GB10Error(f"Another run changed {', '.join(changed)} on this box after this run had planned; nothing was changed. Run again.")
        since = holder["acquired_at"] if state == "ours" else now
        _write(state_dir, dict(owner, acquired_at=since, refreshed_at=now, ttl_s=ttl_s))
        taken = holder if state in ("held", "expired") else None
        return {"acquired": True, "holder": None, "taken_from": taken, "why": {"held": "ended", "expired": "expired"}.get(state)}


def release(state_dir: str, run: str) -> bool:
    """Give back the lock of this run; False when it is not there or someone else's."""
    if not os.path.isdir(state_dir):
        return False
    with _alone(state_dir):
        if standing(read(state_dir), run, time.time()) != "ours":
            return False
        os.unlink(os.path.join(state_dir, NAME))
        return True


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


def _write(state_dir: str, holder: dict) -> None:
    path = os.path.join(state_dir, NAME)
    try:
        write_json(path, holder, durable=True, sort_keys=True)
        os.chmod(path, 0o644)  # whatever the umask: other users may ask who changes the box
    except OSError as error:
        raise GB10Error(f"The lock {path} cannot be written: {error.strerror}.") from error

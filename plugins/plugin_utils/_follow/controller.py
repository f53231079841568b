# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is running this playbook: one ansible-playbook process on one controller, and whether another one is still alive."""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
import subprocess
import time
import uuid
from pathlib import Path


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def process_started(pid: int) -> str:
    """When a process began, as its kernel counts; "" when there is no such process. Tells a process from a later one with its number."""
    status = _text(f"/proc/{pid}/stat")
    if status:
        return status.rpartition(")")[2].split()[19]
    if os.path.isdir("/proc/self"):
        return ""
    # In one language and time zone: two terminals of one person may have their own.
    plain = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    done = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False, env=plain)
    return " ".join(done.stdout.split())


def this_run(pid: int) -> dict:
    """{run, owner, controller} of the ansible-playbook process ``pid`` on this machine; the same for all its tasks."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = str(os.getuid())
    host = platform.node()
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    controller = {
        # Cloned machines share a machine-id, containers share a host name with others elsewhere: together they tell one from another.
        "machine": f"{_text('/etc/machine-id') or uuid.getnode()}@{host}",
        "boot_id": _text("/proc/sys/kernel/random/boot_id"),
        "pid_namespace": namespace,
        "pid": pid,
        "pid_started": process_started(pid),
    }
    run = hashlib.sha256(repr(sorted(controller.items())).encode()).hexdigest()[:8]
    return {"run": run, "owner": f"{user}@{host.partition('.')[0]}", "controller": controller}


def has_ended(holder: dict, here: dict) -> bool:
    """Whether the run of a lock is known to have ended: it ran on this very controller and its process is gone. ``here``: this_run().

    False also when it cannot be known from here (another controller, another container on this one).
    """
    theirs, ours = holder.get("controller") or {}, here["controller"]
    if not theirs.get("machine") or theirs["machine"] != ours["machine"]:
        return False
    if theirs.get("boot_id") != ours["boot_id"]:
        return True
    if theirs.get("pid_namespace") != ours["pid_namespace"]:
        return False
    pid = theirs.get("pid")
    return isinstance(pid, int) and process_started(pid) != theirs.get("pid_started")


def clock_time(at_s: float, now_s: float | None = None) -> str:
    """An instant as people on the controller say it: ``14:02``, with the date when it was not today."""
    today = time.localtime(now_s)
    try:
        then = time.localtime(at_s)
    except (OverflowError, ValueError, OSError):
        return "a time that is none"
    return time.strftime("%H:%M" if then[:3] == today[:3] else "%Y-%m-%d %H:%M", then)

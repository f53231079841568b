#!/usr/bin/python3
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keeps a vLLM server on its box out of trouble when nobody watches; systemd calls it.

    guard before-start NAME   refuse a start that would starve the box, or that follows a crash of the box during a start
    guard after-stop NAME     the start is over, one way or the other
    guard watch NAME          ask for one token; restart the unit after several failures in a row
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

STATE_DIR = os.environ.get("GB10_STATE_DIR", "/var/lib/gb10-vllm")
CONFIG_DIR = os.environ.get("GB10_CONFIG_DIR", "/etc/gb10-vllm")
FAILURES_BEFORE_RESTART = 3
PROBE_TIMEOUT_S = 60
GIB = 2**30


def path(name: str, file: str) -> str:
    return os.path.join(STATE_DIR, "servers", name, file)


def read_json(file: str) -> dict:
    try:
        with open(file, encoding="utf-8") as handle:
            return json.load(handle)
    except (OSError, ValueError):
        return {}


def write_json(file: str, value: dict) -> None:
    """Whole or not at all, and on the disk before we go on: the box may die in the next minute."""
    with open(file + ".new", "w", encoding="utf-8") as handle:
        json.dump(value, handle)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(file + ".new", file)


def forget(name: str, file: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path(name, file))


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as handle:
        return handle.read().strip()


def available_bytes() -> int:
    with open("/proc/meminfo", encoding="ascii") as handle:
        return next(int(line.split()[1]) * 1024 for line in handle if line.startswith("MemAvailable:"))


def before_start(name: str) -> str | None:
    """None when the start may go on, else why not."""
    sentinel = read_json(path(name, "starting.json"))
    if sentinel and sentinel.get("boot_id") != boot_id():
        return (
            f"the box went down while {name} was starting (at {sentinel.get('time', 'an unknown time')}), so it is not started again by itself. "
            f"Run the playbook site again, or remove {path(name, 'starting.json')} and start the unit."
        )
    deployment = read_json(path(name, "deployment.json"))
    if not deployment:
        return f"{path(name, 'deployment.json')} is missing or unreadable. Run the playbook site again."
    free, needed, floor = available_bytes(), int(deployment["requested_bytes"]), int(deployment["floor_bytes"])
    if free - needed < floor:
        return (
            f"{name} takes {needed / GIB:.1f} GiB and {free / GIB:.1f} GiB are available; that would leave {(free - needed) / GIB:.1f} GiB "
            f"of the {floor / GIB:.1f} GiB this box keeps for itself. Stop what holds memory, or run the playbook plan to see what fits."
        )
    write_json(path(name, "starting.json"), {"boot_id": boot_id(), "time": time.strftime("%Y-%m-%d %H:%M:%S %Z")})
    return None


def api_key(name: str) -> str:
    try:
        with open(os.path.join(CONFIG_DIR, name, "key.env"), encoding="utf-8") as handle:
            return handle.read().partition("VLLM_API_KEY=")[2].splitlines()[0].strip("'\"")
    except (OSError, IndexError):
        return ""


def generates(name: str, deployment: dict) -> bool:
    """Whether the server answers one token (or one embedding) for real."""
    headers = {"Content-Type": "application/json"}
    key = api_key(name)
    if key:
        headers["Authorization"] = "Bearer " + key
    model = deployment["served_model_name"]
    tries = [("/v1/completions", {"model": model, "prompt": "1", "max_tokens": 1}), ("/v1/embeddings", {"model": model, "input": "1"})]
    for route, body in tries:
        request = urllib.request.Request(deployment["probe_url"] + route, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=PROBE_TIMEOUT_S) as answer:
                return bool(json.load(answer))
        except urllib.error.HTTPError as error:
            if error.code not in (400, 404, 405, 501):
                return False
        except (OSError, ValueError):
            return False
    return False


def watch(name: str) -> None:
    unit = f"gb10-vllm-{name}.service"
    if subprocess.run(["systemctl", "is-active", "--quiet", unit], check=False).returncode:
        return
    if generates(name, read_json(path(name, "deployment.json"))):
        forget(name, "starting.json")
        forget(name, "failures.json")
        return
    if os.path.exists(path(name, "starting.json")):
        return
    failures = read_json(path(name, "failures.json")).get("in_a_row", 0) + 1
    write_json(path(name, "failures.json"), {"in_a_row": failures})
    print(f"{name} did not answer ({failures} of {FAILURES_BEFORE_RESTART})", flush=True)
    if failures >= FAILURES_BEFORE_RESTART:
        forget(name, "failures.json")
        print(f"restarting {unit}", flush=True)
        subprocess.run(["systemctl", "restart", unit], check=False)


def main() -> int:
    if len(sys.argv) != 3 or sys.argv[1] not in ("before-start", "after-stop", "watch"):
        print(__doc__, file=sys.stderr)
        return 2
    action, name = sys.argv[1:]
    if action == "before-start":
        refusal = before_start(name)
        if refusal:
            print(f"not started: {refusal}", file=sys.stderr)
            return 1
    elif action == "after-stop":
        forget(name, "starting.json")
    else:
        watch(name)
    return 0


if __name__ == "__main__":
    sys.exit(main())

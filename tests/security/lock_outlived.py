# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A run that works for longer than its lock lasts: may a second controller begin meanwhile, and does the first one notice?

PYTHONPATH=CHECKOUT/.ansible/collections python lock_outlived.py CHECKOUT; ends with 1 where there is a hole.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from ansible_collections.gb10.vllm.plugins.module_utils._box import run_lock
from ansible_collections.gb10.vllm.plugins.plugin_utils._follow import locking

TTL_S = 2.0
ANNA = {"run": "aaaa", "owner": "anna@laptop", "controller": {"machine": "m1"}}
BERT = {"run": "bbbb", "owner": "bert@desk", "controller": {"machine": "m2"}}


def look(state: str) -> str:
    """What the first run does every two seconds while it follows a build, a download or a transfer; nothing in the releases before."""
    if not hasattr(locking, "Hold"):
        return ""
    hold = locking.Hold(ANNA["run"], state)
    return hold.lost(subprocess.run(["/bin/sh", "-c", hold.command()], capture_output=True, text=True, check=True).stdout)


def holes() -> list[str]:
    """What is wrong, one sentence each."""
    found = []
    state = tempfile.mkdtemp(prefix="gb10-lock-")
    run_lock.acquire(state, ANNA, TTL_S, None, {})
    until = time.monotonic() + 3 * TTL_S
    while time.monotonic() < until:
        time.sleep(0.5)
        if look(state) or run_lock.acquire(state, BERT, TTL_S, None, {})["acquired"]:
            found.append("a second controller got the box while the first one followed its work there")
            break
    state = tempfile.mkdtemp(prefix="gb10-lock-")
    run_lock.acquire(state, ANNA, 14400.0, None, {})
    real = time.time
    run_lock.time.time = lambda: real() + 14401
    if run_lock.acquire(state, BERT, 14400.0, None, {})["acquired"]:
        found.append("a clock that was set four hours forward gave the box away")
    run_lock.time.time = real
    state = tempfile.mkdtemp(prefix="gb10-lock-")
    run_lock.acquire(state, ANNA, 0.0, None, {})
    run_lock.acquire(state, BERT, 14400.0, None, {})
    if not look(state):
        found.append("the first run follows its work and does not notice that the box is no longer its own")
    for name in ("unbundle",):
        text = yaml.safe_dump(yaml.safe_load((Path(sys.argv[1]) / "playbooks" / f"{name}.yml").read_text()))
        if "gb10.vllm.run_lock" not in text:
            found.append(f"{name} takes no lock")
    return found


if __name__ == "__main__":
    seen = holes()
    print("\n".join(seen) or "no hole")
    sys.exit(bool(seen))

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keeps a vLLM server on its box out of trouble when nobody watches; systemd calls it.

    guard before-start NAME   refuse a start that would starve the box, or that follows a crash of the box during a start
    guard after-stop NAME     the start is over, one way or the other; say how the server ended
    guard watch NAME          ask for one token; restart the unit after several failures in a row, stop it when restarts do not help

Settings, through `systemctl edit gb10-vllm-watch@NAME.service` and Environment=: GB10_PROBE_TIMEOUT_S (60), GB10_FAILURES_BEFORE_RESTART (3),
GB10_RESTARTS_BEFORE_STOP (3), GB10_START_LIMIT_S (3600; a start that takes longer counts as silence).
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

STATE_DIR = os.environ.get("GB10_STATE_DIR", "/var/lib/gb10-vllm")
CONFIG_DIR = os.environ.get("GB10_CONFIG_DIR", "/etc/gb10-vllm")
PROBE_TIMEOUT_S = float(os.environ.get("GB10_PROBE_TIMEOUT_S", "60"))
FAILURES_BEFORE_RESTART = int(os.environ.get("GB10_FAILURES_BEFORE_RESTART", "3"))
RESTARTS_BEFORE_STOP = int(os.environ.get("GB10_RESTARTS_BEFORE_STOP", "3"))
START_LIMIT_S = float(os.environ.get("GB10_START_LIMIT_S", "3600"))
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


def tell(text: str) -> None:
    """To the journal, and as the unit's status: `systemctl status` shows only the journal of the last try, which says no more than that it was one
    too many."""
    print(text, file=sys.stderr, flush=True)
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, contextlib.suppress(OSError):
            notify.sendto(b"STATUS=" + text.encode(), "\0" + address[1:] if address.startswith("@") else address)


def stop_was_asked_for(name: str) -> bool:
    """Whether systemd is carrying out a stop, restart or shutdown of the unit."""
    shown = subprocess.run(["systemctl", "show", "--property=Job", "--value", f"gb10-vllm-{name}.service"], capture_output=True, text=True, check=False)
    return shown.stdout.strip() not in ("", "0")


def after_stop(name: str) -> str | None:
    """None after an orderly end, else how the server ended and what to do; systemd tells it in the environment."""
    # The sentinel of another boot refused this start and has to refuse the next one too.
    if read_json(path(name, "starting.json")).get("boot_id") == boot_id():
        forget(name, "starting.json")
    code, status = os.environ.get("EXIT_CODE"), os.environ.get("EXIT_STATUS")
    if not code or (os.environ.get("SERVICE_RESULT", "success") == "success" and stop_was_asked_for(name)):
        return None
    return (
        f"{name} {f'ended with exit code {status}' if code == 'exited' else f'was killed by {status}'}. "
        f"`docker logs gb10-vllm-{name}` has its last words, the playbook diagnose explains them. After too many restarts it stays down until "
        f"the playbook site runs, or `systemctl reset-failed gb10-vllm-{name}` and `systemctl start gb10-vllm-{name}`."
    )


def api_key(name: str) -> str:
    """The key as the shell in the container reads it."""
    try:
        with open(os.path.join(CONFIG_DIR, name, "key.env"), encoding="utf-8") as handle:
            return next((word.partition("=")[2] for word in shlex.split(handle.read()) if word.startswith("VLLM_API_KEY=")), "")
    except (OSError, ValueError):
        return ""


def starting_for_s(name: str) -> float:
    """How long a start has been going on; 0.0 without one."""
    try:
        return max(0.0, time.time() - os.stat(path(name, "starting.json")).st_mtime)
    except FileNotFoundError:
        return 0.0


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
    if 0 < starting_for_s(name) < START_LIMIT_S:
        return
    seen = read_json(path(name, "failures.json"))
    failures, restarts = seen.get("in_a_row", 0) + 1, seen.get("restarts", 0)
    print(f"{name} did not answer ({failures} of {FAILURES_BEFORE_RESTART})", flush=True)
    if failures < FAILURES_BEFORE_RESTART:
        write_json(path(name, "failures.json"), {"in_a_row": failures, "restarts": restarts})
    elif restarts < RESTARTS_BEFORE_STOP:
        write_json(path(name, "failures.json"), {"in_a_row": 0, "restarts": restarts + 1})
        print(f"restarting {unit}", flush=True)
        subprocess.run(["systemctl", "restart", unit], check=False)
    else:
        forget(name, "failures.json")
        print(
            f"{name} did not answer even after {restarts} restarts, so it is stopped now. The playbook diagnose explains its log; "
            "the playbook site starts it again.",
            flush=True,
        )
        subprocess.run(["systemctl", "stop", unit], check=False)


def main() -> int:
    if len(sys.argv) != 3 or sys.argv[1] not in ("before-start", "after-stop", "watch"):
        print(__doc__, file=sys.stderr)
        return 2
    action, name = sys.argv[1:]
    if action == "before-start":
        refusal = before_start(name)
        if refusal:
            tell(f"not started: {refusal}")
            return 1
    elif action == "after-stop":
        ending = after_stop(name)
        if ending:
            tell(ending)
    else:
        watch(name)
    return 0


if __name__ == "__main__":
    sys.exit(main())

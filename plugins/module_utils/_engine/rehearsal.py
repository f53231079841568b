# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A rehearsal: a server's arguments and environment asked of the vLLM in its image before what runs is stopped, in a container that is thrown away.

That container is the server's own - image, command, mounts, limits - but for its network, its name, its keys and how far it goes (``rehearsing.py``).
"""

from __future__ import annotations

import hashlib
import json
import os
import pkgutil
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._box.memory import available_bytes
from ansible_collections.gb10.vllm.plugins.module_utils._engine.rehearsing import LIMIT, MARK
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.command import docker
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import read_json, write_json
from ansible_collections.gb10.vllm.plugins.module_utils._io.lines import clean_line, split_lines
from ansible_collections.gb10.vllm.plugins.module_utils._io.redaction import redact, values_of
from ansible_collections.gb10.vllm.plugins.module_utils._names import GIB, RUN_DIR

PASSED, REFUSED, UNABLE = "passed", "refused", "unable"
MEMORY_BYTES = 1280 * 2**20
"""What its container may take; vLLM 0.32 was seen to take 400 MiB up to its configuration. One that takes more ends without a verdict."""
PRIVATE = "/run/gb10"
"""Where a server's container finds its private files."""
PROGRAM = "rehearsing.py"
RECORD = "rehearsed.json"
LINES = 400
KEY = "VLLM_API_KEY=none-in-a-rehearsal\n"

Wish = Mapping[str, Any]
"""``name``, ``container`` (of its deployment), ``manifest`` and ``environment`` (the text of its ``server.env``) of one server."""


def program() -> str:
    """The text of what runs inside the image."""
    return (pkgutil.get_data(__package__, PROGRAM) or b"").decode()


def digest(wish: Wish) -> str:
    """SHA-256 of all that a rehearsal depends on: image, arguments, environment, mounts, model, and the program itself."""
    asked = [wish["container"], wish.get("manifest") or "", wish.get("environment") or "", program()]
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()


def rehearse(wish: Wish, floor_bytes: int, state_dir: str, limit_s: float, available: Callable[[], int] = available_bytes) -> dict[str, Any]:
    """One server: {name, verdict, why, seconds, remembered, log}. Only what passed is remembered; without a verdict nothing is known against it."""
    begun = time.monotonic()
    found = {"name": wish["name"], "verdict": PASSED, "why": "", "seconds": 0.0, "remembered": False, "log": []}
    record, asked = os.path.join(state_dir, "servers", wish["name"], RECORD), digest(wish)
    if (read_json(record) or {}).get("passed") == asked:
        return {**found, "remembered": True}
    left = available() - MEMORY_BYTES
    if left < floor_bytes:
        why = f"{left / GIB:.1f} GiB would be left meanwhile, and {floor_bytes / GIB:.1f} GiB are the floor of this box"
        return {**found, "verdict": UNABLE, "why": why}
    lost = missing(wish["container"])
    if lost:
        return {**found, "verdict": UNABLE, "why": f"{lost} is not on the box"}
    try:
        text = _run(wish, limit_s)
    except GB10Error as error:
        return {**found, "verdict": UNABLE, "why": str(error)}
    hidden = values_of([wish.get("environment") or ""])
    said, why = verdict(text)
    found |= {"verdict": said, "why": redact(why, hidden), "log": [redact(line, hidden) for line in lines(text)], "seconds": round(time.monotonic() - begun, 1)}
    if found["verdict"] == PASSED and os.path.isdir(os.path.dirname(record)):
        write_json(record, {"passed": asked}, mode=0o600)
    return found


def verdict(text: str) -> tuple[str, str]:
    """(verdict, why) from what the container printed. Pure."""
    said = [line.partition(MARK)[2].strip() for line in text.splitlines() if line.startswith(MARK)]
    found, _space, why = said[-1].partition(" ") if said else ("", "", "")
    if found in (PASSED, REFUSED, UNABLE):
        return found, why
    told = lines(text)
    if any(line.startswith("Timeout (") for line in told):
        return UNABLE, "it had not made its configuration when its time was up"
    return UNABLE, f"it ended without a verdict{f' ({told[-1][:200]})' if told else ''}"


def lines(text: str) -> list[str]:
    """The last lines of what vLLM itself printed, without stamps and colours. Pure."""
    return [clean_line(piece) for piece in split_lines(text) if piece.strip() and not piece.startswith(MARK)][-LINES:]


def missing(container: Mapping[str, Any]) -> str:
    """A place of the box that the container mounts and that is not there, as Docker would make an empty directory of it; "" where all are."""
    places = [source for source, target, _mode in map(_volume, container["volumes"]) if target != PRIVATE and not _ours(target)]
    return next((place for place in places if not os.path.exists(place)), "")


def command(container: Mapping[str, Any], name: str, private: str, limit_s: float) -> list[str]:
    """The words behind ``docker`` that start the container of a rehearsal. ``private``: directory that takes the place of the server's own. Pure."""
    words = ["run", "--rm", "--name", name, "--network", "none", "--gpus", "all", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    words += ["--memory", str(MEMORY_BYTES), "--memory-swap", str(MEMORY_BYTES), "--oom-score-adj", "1000", "--log-driver", "none", "--pull", "never"]
    words += ["--pids-limit", str(container.get("pids_limit") or 8192), "--entrypoint", ""]
    words += ["--read-only"] if container.get("read_only") else []
    words += [word for one in container.get("tmpfs") or [] for word in ("--tmpfs", one)]
    words += [word for one in container.get("ulimits") or [] for word in ("--ulimit", one)]
    for source, target, mode in map(_volume, container["volumes"]):
        place = private if target == PRIVATE else source
        # The library of keys is not there before the first start; nothing of it is loaded up to the configuration.
        words += [] if _ours(target) and not os.path.exists(place) else ["--volume", f"{place}:{target}:{mode}"]
    for key, value in {**(container.get("env") or {}), LIMIT: f"{limit_s:g}"}.items():
        words += ["--env", f"{key}={value}"]
    said = _without_the_network(container)
    start = said.index("vllm")
    return [*words, container["image"], *said[:start], "python3", f"{PRIVATE}/{PROGRAM}", *said[start:]]


def _without_the_network(container: Mapping[str, Any]) -> list[str]:
    """The command of a server, which binds its port before it makes its configuration (vLLM: ``setup_server``).

    A rank has its box's network and listens on an address of it, which a container without a network has not. What else it says of the group
    (``--nnodes``, ``--node-rank``, ``--master-addr``, ``--master-port``, ``--headless``) is only judged up to there: nothing is waited for, asked or bound.
    """
    words = list(container["command"])
    if container.get("network_mode") == "host" and "--host" in words:
        words[words.index("--host") + 1] = "127.0.0.1"
    return words


def _volume(text: str) -> tuple[str, str, str]:
    source, target, mode = text.rsplit(":", 2)
    return source, target, mode


def _ours(target: str) -> bool:
    return target == "/opt/gb10-vllm"


def _run(wish: Wish, limit_s: float) -> str:
    """What the container printed. The private files are there as long as it is."""
    name = f"gb10-rehearsal-{wish['name']}-{secrets.token_hex(4)}"
    os.makedirs(RUN_DIR, mode=0o700, exist_ok=True)
    private = tempfile.mkdtemp(prefix="rehearsal-", dir=RUN_DIR)
    try:
        for file, text in ((PROGRAM, program()), ("server.env", wish.get("environment") or ""), ("key.env", KEY)):
            with open(os.path.join(private, file), "w", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600)) as out:
                out.write(text)
        done = docker(*command(wish["container"], name, private, limit_s), timeout_s=limit_s + 30, check=False)
        return done.stdout if done.returncode == 0 else f"{done.stdout}\n{done.stderr}"
    finally:
        docker("rm", "--force", name, check=False)
        shutil.rmtree(private, ignore_errors=True)

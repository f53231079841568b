# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What of this collection is on a host, read for its removal: nothing here changes anything."""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._box.facts import parse_systemctl_show
from ansible_collections.gb10.vllm.plugins.module_utils._image.record import Record
from ansible_collections.gb10.vllm.plugins.module_utils._io.command import docker, docker_text, run
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import read_json
from ansible_collections.gb10.vllm.plugins.module_utils._model import versions
from ansible_collections.gb10.vllm.plugins.module_utils._model.record import read_record
from ansible_collections.gb10.vllm.plugins.module_utils._names import PREFIX
from ansible_collections.gb10.vllm.plugins.module_utils._removal import places
from ansible_collections.gb10.vllm.plugins.module_utils._removal.items import is_ours
from ansible_collections.gb10.vllm.plugins.module_utils._router.haproxy import MARK

DEPTH = 3
"""How deep models lie below their directory: ORG/NAME@VERSION."""
PROGRAMS = {"/etc/haproxy/haproxy.cfg": "haproxy", "/etc/keepalived/keepalived.conf": "keepalived"}
PACKAGES = {
    "router": ("haproxy", "keepalived"),
    "monitoring": ("prometheus", "prometheus-alertmanager", "prometheus-node-exporter", "grafana"),
    "server": ("python3-requests",),
}


def found(state_dir: str, config_dir: str, models_dir: str) -> dict[str, Any]:
    """Everything that ``_removal.items.removal`` decides by. GB10Error where Docker is there and does not answer."""
    containers = _inspected("ps", "-aq", "--no-trunc")
    ours = {part: _there(patterns) for part, patterns in places.PARTS.items()}
    configured = [path for path in PROGRAMS if _begins(path, MARK)]
    mine = [*_there(places.in_state(state_dir)), *_there(places.in_config(config_dir))]
    files = {"router": [*ours.pop("router"), *configured], **ours}
    # The records go last: a run that is killed before that finds the rest again.
    server = files.pop("server")
    files["server"] = [*server, *mine]
    _drop_doubles(files)
    known = Record(Path(state_dir) / "build").read()
    return {
        "units": _units(),
        "containers": containers,
        "chains": _chains(),
        "images": _inspected("images", "-aq", "--no-trunc", kind="image"),
        "image_names": known.get("names", {}),
        "image_received": known.get("received", {}),
        "models": _models(models_dir, containers),
        "models_dir": models_dir,
        "settings": sorted(f"gb10_host.{part}" for part in read_json(os.path.join(state_dir, "host.json")) or {}),
        "router": [PROGRAMS[path] for path in configured],
        "files": files,
        "foreign": _foreign(state_dir, [*places.in_state(state_dir), *(os.path.join(state_dir, one) for one in places.LOCK)])
        + _foreign(config_dir, places.in_config(config_dir)),
        "packages": _packages([part for part, paths in files.items() if paths]),
    }


def _there(patterns: Iterable[str]) -> list[str]:
    return sorted({path for pattern in patterns for path in [*glob.glob(pattern), *([pattern] if os.path.islink(pattern) else [])]})


def _drop_doubles(files: dict[str, list[str]]) -> None:
    """A path belongs to the most particular part that names it."""
    special = {path for part, paths in files.items() if part != "server" for path in paths}
    files["server"] = [path for path in files["server"] if path not in special]


def _begins(path: str, mark: str) -> bool:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").startswith(mark)
    except OSError:
        return False


def _units() -> list[str]:
    shown = run(["systemctl", "show", "--all", "--property=Id,LoadState,ActiveState,SubState,UnitFileState,Result,NRestarts", f"{PREFIX}*"]).stdout
    states = parse_systemctl_show(shown)
    kinds = (".service", ".timer", ".socket")
    return [name for name, one in states.items() if name.endswith(kinds) and (one["enabled"] or one["active"] not in ("inactive", "")) and _stops(name)]


def _stops(name: str) -> bool:
    """What a timer or a socket starts ends by itself."""
    return not re.match(rf"{PREFIX}(watch|agent)@.*\.service$|{PREFIX}collector\.service$", name)


def _inspected(*words: str, kind: str = "") -> list[dict[str, Any]]:
    """``docker inspect`` of all that these words list; [] where there is no Docker."""
    if not shutil.which("docker"):
        return []
    names = sorted(set(docker_text(*words).split()))
    # One that goes meanwhile is left out of the answer, whose status is then not 0.
    shown = docker(*([kind, "inspect"] if kind else ["inspect"]), *names, missing_ok=True).stdout if names else ""
    return json.loads(shown or "[]")


def _chains() -> list[str]:
    """Chains that the ranks of a server over several boxes made and, killed, left."""
    return re.findall(r"^-N (GB10-\d+)$", run(["iptables", "-S"]).stdout, re.M) if shutil.which("iptables") else []


def _models(models_dir: str, containers: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What we brought, as {path, link, used_by}: directories with our record, and links that lead to them."""
    mounts = [
        (str(one.get("Name", "")).lstrip("/"), os.path.realpath(mount.get("Source") or "/dev/null"))
        for one in containers
        if not is_ours(one)
        for mount in one.get("Mounts") or []
    ]
    brought = []
    for place, directories, _names in os.walk(models_dir):
        deep = place[len(models_dir) :].count("/")
        for path in [os.path.join(place, name) for name in sorted(directories)]:
            if os.path.islink(path) and versions.is_ours(path):
                brought.append({"path": path, "link": True, "used_by": _user(path, mounts)})
            elif not os.path.islink(path) and read_record(path):
                brought.append({"path": path, "link": False, "used_by": _user(path, mounts)})
        directories[:] = [one for one in directories if deep + 1 < DEPTH and not read_record(os.path.join(place, one))]
    return brought


def _user(path: str, mounts: Iterable[tuple[str, str]]) -> str:
    """The container that mounts a directory, something in it, or one around it."""
    real = os.path.realpath(path)
    return next((name for name, source in mounts if source == real or source.startswith(f"{real}/") or real.startswith(f"{source.rstrip('/')}/")), "")


def _foreign(directory: str, ours: list[str]) -> list[str]:
    """What else lies in a directory of ours that may be the user's choice."""
    left = []
    for path in sorted(glob.glob(os.path.join(directory, "*")) + glob.glob(os.path.join(directory, ".[!.]*"))):
        if places.covers(path, ours):
            continue
        below = [os.path.join(path, name) for name in sorted(os.listdir(path))] if os.path.isdir(path) and not os.path.islink(path) else [path]
        left += [one for one in below if not places.covers(one, ours)]
    return left


def _packages(here: Iterable[str]) -> list[str]:
    named = [package for part in here for package in PACKAGES.get(part, ())]
    shown = run(["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Package}\n", *named]).stdout if named and shutil.which("dpkg-query") else ""
    return sorted(words[1] for line in shown.splitlines() if (words := line.split())[:1] == ["installed"])

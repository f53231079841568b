# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Model directories on a box: what they hold, how a new one takes its place, which old ones may go.

A model that arrives lies in ``NAME.partial`` until every file was verified, then takes the name ``NAME`` in one step; what had that
name becomes ``NAME@REVISION``. A small record in the directory says where it came from and the SHA-256 of each file.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io import command
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import INCOMING, file_sha256, has_size, read_json, write_json
from ansible_collections.gb10.vllm.plugins.module_utils._names import GIB

RECORD = ".gb10-vllm-record"
PARTIAL = ".partial"
_SKIPPED_DIRS = (".cache", ".git", ".huggingface")


def read_record(path: str) -> dict[str, Any]:
    """``{repo_id, revision, files: {name: {size, sha256, mtime_ns}}}`` of a model directory we made; ``{}`` of any other."""
    record = read_json(os.path.join(path, RECORD))
    return record if isinstance(record, dict) else {}


def write_record(path: str, record: Mapping[str, Any]) -> None:
    """Write the record of a model directory."""
    write_json(os.path.join(path, RECORD), record)


def list_files(path: str) -> list[dict[str, Any]]:
    """``[{name, size, mtime_ns, sha256}]`` of a model directory, largest first; links are followed to the files they mean.

    ``sha256`` comes from the record where size and time are still as recorded, else it is None. GB10Error for a link that leads nowhere.
    """
    known = read_record(path).get("files") or {}
    files = []
    for place, directories, names in os.walk(path):
        directories[:] = sorted(one for one in directories if one not in _SKIPPED_DIRS)
        for name in sorted(names):
            if name == RECORD or name.endswith(INCOMING):
                continue
            full = os.path.join(place, name)
            try:
                status = os.stat(full)
            except OSError as error:
                raise GB10Error(f"{full} cannot be read ({error.strerror}); finish or repair this model before it can be sent to other boxes") from None
            relative = os.path.relpath(full, path)
            entry = known.get(relative) or {}
            same = entry.get("size") == status.st_size and entry.get("mtime_ns") == status.st_mtime_ns
            files.append({"name": relative, "size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": entry.get("sha256") if same else None})
    return sorted(files, key=lambda one: (-one["size"], one["name"]))


def identity(path: str) -> str | None:
    """SHA-256 over names, sizes and origin of a model directory (no file is read); None when there is none."""
    if not os.path.isdir(path):
        return None
    record = read_record(path)
    parts = [sorted((one["name"], one["size"]) for one in list_files(path)), record.get("repo_id"), record.get("revision")]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def check_space(path: str, needed_bytes: int) -> None:
    """GB10Error when the file system of ``path`` lacks room for so many bytes and 1 GiB more."""
    place = path
    while not os.path.exists(place):
        place = os.path.dirname(place)
    free = shutil.disk_usage(place).free
    if needed_bytes and free < needed_bytes + GIB:
        raise GB10Error(
            f"{place} has {free / GIB:.1f} GiB free and {path} needs {needed_bytes / GIB:.1f} GiB (and 1 GiB to spare); "
            "free space there or set another gb10_models_dir. Nothing was written"
        )


def begun_bytes(partial: str, names: Iterable[str]) -> int:
    """How much of these files an interrupted transfer left, as far as they are not complete."""
    return sum(os.path.getsize(path) for name in names if os.path.exists(path := os.path.join(partial, name + INCOMING)))


def reuse(partial: str, final: str, items: Iterable[Mapping[str, Any]]) -> int:
    """Take over from ``final`` (an earlier revision) what is known to be the same file, as a second name for it; bytes spared."""
    known = {one["name"]: one for one in list_files(final)} if os.path.isdir(final) else {}
    spared = 0
    for item in items:
        old, target = known.get(item["name"]), os.path.join(partial, item["name"])
        if old and old["sha256"] and old["sha256"] == item.get("sha256") and old["size"] == item["size"] and not os.path.exists(target):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            try:
                os.link(os.path.realpath(os.path.join(final, item["name"])), target)
                spared += item["size"]
            except OSError:
                continue
    return spared


def prepare_partial(final: str, identity_wanted: str) -> str:
    """The directory a model arrives in; what an interrupted transfer of the same content left there is kept, anything else goes."""
    partial = final + PARTIAL
    left = read_record(partial)
    if os.path.isdir(partial) and left.get("arriving") != identity_wanted:
        shutil.rmtree(partial)
    os.makedirs(partial, exist_ok=True)
    if not left or left.get("arriving") != identity_wanted:
        write_record(partial, {"arriving": identity_wanted})
    return partial


def put_in_place(partial: str, final: str, record: Mapping[str, Any]) -> str | None:
    """Give the complete directory its name in one step; returns the name its predecessor got, if there was one."""
    for name, entry in (record.get("files") or {}).items():
        if entry.get("mtime_ns"):
            os.utime(os.path.join(partial, name), ns=(entry["mtime_ns"], entry["mtime_ns"]))
    _open_to_readers(partial)
    write_record(partial, record)
    os.chmod(os.path.join(partial, RECORD), 0o644)
    before = None
    if os.path.lexists(final):
        before = _name_before(final)
        if _exchange(partial, final):
            os.rename(partial, before)
        else:
            os.rename(final, before)
            os.rename(partial, final)
    else:
        os.rename(partial, final)
    descriptor = os.open(os.path.dirname(final), os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return before


def _open_to_readers(path: str) -> None:
    """Everybody may read a model, only root may change it."""
    for place, directories, names in os.walk(path):
        for name in directories:
            os.chmod(os.path.join(place, name), 0o755)
        for name in names:
            os.chmod(os.path.join(place, name), 0o644)
    os.chmod(path, 0o755)


def _name_before(final: str) -> str:
    """The free name that what lies in ``final`` gets when something else takes its place."""
    # A hub or another box says what a revision is called; it has to be one part of a path.
    stamp = re.sub(r"[^\w.-]", "-", str(read_record(final).get("revision") or time.strftime("%Y%m%d%H%M%S", time.gmtime()))[:14])
    name = f"{final}@{stamp}"
    return name + time.strftime("-%H%M%S", time.gmtime()) if os.path.lexists(name) else name


def adopt(final: str, sums: Mapping[str, Mapping[str, Any]], on_progress: Callable[[int], None] = lambda count: None) -> str | None:
    """Verify what was copied into ``NAME.partial`` against ``{name: {size, sha256}}`` and give it its name; its predecessor's new name.

    GB10Error names the first file that is missing or differs; nothing becomes visible then.
    """
    partial = final + PARTIAL
    record = {key: value for key, value in read_record(partial).items() if key not in ("files", "arriving")}
    entries = {}
    for name, entry in sums.items():
        path = os.path.join(partial, name)
        if not has_size(path, entry["size"]):
            raise GB10Error(f"{name} of {final} did not arrive whole; copy it again, what is there is kept in {partial}")
        if file_sha256(path, on_progress) != entry["sha256"]:
            raise GB10Error(f"{name} of {final} arrived with a wrong checksum; check the bundle and the disk, then copy it again")
        entries[name] = {"size": entry["size"], "sha256": entry["sha256"], "mtime_ns": os.stat(path).st_mtime_ns}
    return put_in_place(partial, final, {**record, "files": entries})


def _exchange(one: str, other: str) -> bool:
    """Swap two names atomically (renameat2, RENAME_EXCHANGE); False where the C library or file system cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    at_cwd = -100
    return rename is not None and rename(at_cwd, os.fsencode(one), at_cwd, os.fsencode(other), 2) == 0


def previous(final: str) -> list[str]:
    """Earlier versions of the model in ``final`` that we kept, newest first."""
    place, name = os.path.split(final)
    try:
        names = [one for one in os.listdir(place) if one.startswith(f"{name}@") and os.path.isdir(os.path.join(place, one))]
    except OSError:
        return []
    return sorted((os.path.join(place, one) for one in names), key=lambda path: (os.stat(path).st_ctime, path), reverse=True)


def mounted(docker: str = "docker") -> tuple[set[str], set[tuple[int, int]]]:
    """What containers mount: the paths any of them names, and (device, inode) of what running ones really hold. GB10Error when Docker does not say.

    A directory that was renamed while a container runs is still held under its old path, so paths alone would lie.
    """
    if not shutil.which(docker):
        return set(), set()
    names = command.docker_text("ps", "-aq", "--no-trunc", command=docker, timeout_s=60).split()
    # A container that goes meanwhile is missed in the list, and its status is then not 0: what is left is told all the same.
    text = command.docker("inspect", *names, command=docker, timeout_s=60, missing_ok=True).stdout if names else ""
    paths, held = set(), set()
    for one in json.loads(text or "[]"):
        pid = (one.get("State") or {}).get("Pid") or 0
        for mount in one.get("Mounts") or []:
            if mount.get("Source"):
                paths.add(os.path.realpath(mount["Source"]))
            try:
                status = os.stat(f"/proc/{pid}/root{mount['Destination']}") if pid else None
            except OSError:
                status = None
            if status:
                held.add((status.st_dev, status.st_ino))
    return paths, held


def in_use(path: str, paths: set[str], held: set[tuple[int, int]]) -> bool:
    """Whether a container mounts this directory, something in it, or a directory around it that is not the models' root."""
    real = os.path.realpath(path)
    status = os.stat(path)
    return (status.st_dev, status.st_ino) in held or any(one == real or one.startswith(real + "/") for one in paths)


def prune(finals: Sequence[str], keep: int, docker: str = "docker", check: bool = False) -> list[str]:
    """Remove earlier versions beyond the newest ``keep`` of each model, but none that a container uses; returns what went.

    Nothing goes while Docker does not say what its containers use.
    """
    removed = []
    excess = [path for final in finals for path in previous(final)[max(0, keep) :]]
    try:
        paths, held = mounted(docker) if excess else (set(), set())
    except GB10Error:
        return []
    for path in excess:
        if in_use(path, paths, held):
            continue
        removed.append(path)
        if not check:
            shutil.rmtree(path)
    return removed


def prune_partial(finals: Sequence[str], older_s: float, check: bool = False) -> list[str]:
    """Remove what interrupted transfers left and nothing touched for so many seconds; returns what went."""
    removed = []
    for final in finals:
        partial = final + PARTIAL
        if not os.path.isdir(partial):
            continue
        newest = max(os.stat(os.path.join(place, name)).st_mtime for place, _dirs, names in os.walk(partial) for name in [".", *names])
        if time.time() - newest > older_s:
            removed.append(partial)
            if not check:
                shutil.rmtree(partial)
    return removed

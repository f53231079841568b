# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Model directories on a box: what they hold, how a new version gets its place, which old ones may go.

A model that arrives lies in ``NAME.partial`` until every file was verified, then becomes ``NAME@VERSION`` in one step (see ``versions``); what a running
or restarting server reads is never touched. A small record in the directory says where it came from and the SHA-256 of each file.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import INCOMING, inside, safe_name, sha256_below
from ansible_collections.gb10.vllm.plugins.module_utils._model import versions
from ansible_collections.gb10.vllm.plugins.module_utils._model.in_use import in_use, mounted
from ansible_collections.gb10.vllm.plugins.module_utils._model.record import RECORD, entries_of, read_record, recorded_files, write_record
from ansible_collections.gb10.vllm.plugins.module_utils._model.versions import previous
from ansible_collections.gb10.vllm.plugins.module_utils._names import GIB

PARTIAL = ".partial"
FOLLOW_S = 1.0
"""How often it is looked whether another one that brings a model is ready, in seconds."""
SKIPPED_DIRS = (".cache", ".git", ".huggingface")


def list_files(path: str) -> list[dict[str, Any]]:
    """``[{name, size, mtime_ns, sha256}]`` of a model directory, largest first; links within it are followed to the files they mean.

    ``sha256`` comes from the record where size and time are still as recorded, else it is None. GB10Error for a link that leads nowhere or
    out of the directory: whoever may write into it could otherwise have root hand out any file of the box.
    """
    known = recorded_files(path)
    files = []
    for place, directories, names in os.walk(path):
        directories[:] = sorted(one for one in directories if one not in SKIPPED_DIRS)
        for name in sorted(names):
            if name == RECORD or name.endswith(INCOMING):
                continue
            full = os.path.join(place, name)
            try:
                status = os.stat(full)
            except OSError as error:
                raise GB10Error(f"{full} cannot be read ({error.strerror}); finish or repair this model before it can be sent to other boxes") from None
            relative = os.path.relpath(full, path)
            if not stat.S_ISREG(status.st_mode) or inside(path, relative) is None:
                raise GB10Error(
                    f"{full} is {'a link that leads out of' if os.path.islink(full) else 'no plain file in'} the model's directory, which is not followed; "
                    "put the file itself in its place (cp -L) before this model is sent to other boxes"
                )
            entry = known.get(relative) or {}
            same = entry.get("size") == status.st_size and entry.get("mtime_ns") == status.st_mtime_ns
            files.append({"name": relative, "size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": entry.get("sha256") if same else None})
    return sorted(files, key=lambda one: (-one["size"], one["name"]))


def identity(path: str) -> str | None:
    """SHA-256 over names, sizes and origin of a model directory (no file is read); None when there is none."""
    return identity_of(list_files(path), read_record(path)) if os.path.isdir(path) else None


def identity_of(files: Iterable[Mapping[str, Any]], record: Mapping[str, Any]) -> str:
    """``identity`` of a directory with these files and this record. Pure."""
    parts = [sorted((one["name"], one["size"]) for one in files), record.get("repo_id"), record.get("revision")]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def content_of(files: Iterable[Mapping[str, Any]]) -> str | None:
    """SHA-256 over names, sizes and SHA-256 of files; None while a sum is not known. Pure."""
    parts = sorted((one["name"], one["size"], one.get("sha256") or "") for one in files)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest() if all(one[2] for one in parts) else None


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
    """Take over from the versions of ``final`` what is known to be the same file, as a second name for it; bytes spared."""
    known: dict[tuple[str, int, str], str] = {}
    for place in dict.fromkeys([versions.current(final), *previous(final)]):
        for one in list_files(place) if read_record(place) else []:
            if one["sha256"]:
                known.setdefault((one["name"], one["size"], one["sha256"]), os.path.join(place, one["name"]))
    spared = 0
    for item in items:
        old, target = known.get((item["name"], item["size"], item.get("sha256") or "")), os.path.join(partial, item["name"])
        if old and not os.path.lexists(target):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            try:
                os.link(os.path.realpath(old), target, follow_symlinks=False)
                spared += item["size"]
            except OSError:
                continue
    return spared


def prepare_partial(final: str, identity_wanted: str) -> str:
    """The directory a model arrives in; what an interrupted transfer of the same content left there is kept, anything else goes.

    Only what is ours is kept: a directory of root's that nobody else may write into, and in it plain files.
    """
    partial = own_directory(final + PARTIAL)
    kept = read_record(partial).get("arriving") == identity_wanted
    with os.scandir(partial) as entries:
        left = [one for one in entries if not kept or one.is_symlink()]
    for one in left:
        shutil.rmtree(one.path) if one.is_dir(follow_symlinks=False) else os.unlink(one.path)
    if not kept:
        write_record(partial, {"arriving": identity_wanted})
    for place, directories, names in os.walk(partial):
        for path in (os.path.join(place, name) for name in [*directories, *names]):
            if stat.S_IFMT(os.lstat(path).st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
                os.unlink(path)
    return partial


def own_directory(path: str) -> str:
    """Have a directory that belongs to us and into which nobody else may write; a link, or what belongs to another, goes."""
    if os.path.lexists(path):
        status = os.lstat(path)
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(path)
        elif status.st_uid != os.geteuid() or status.st_mode & 0o022:
            shutil.rmtree(path)
    if not os.path.isdir(path):
        os.makedirs(path, exist_ok=True)
        os.chmod(path, 0o755)  # whatever the umask: else it would not be ours the next time
    return path


@contextlib.contextmanager
def arriving(final: str, waiting: Callable[[], None]) -> Iterator[bool]:
    """Be the only one who brings a model to ``final``: another that does is waited for. Gives whether one was.

    ``waiting`` is called when it has to. The lock lies on the directory NAME.partial itself and goes with its holder, however that ends.
    """
    partial, waited = final + PARTIAL, False
    while True:
        lock = os.open(own_directory(partial), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            while not _locked(lock):
                if not waited:
                    waiting()
                waited = True
                time.sleep(FOLLOW_S)
            if os.path.isdir(partial) and os.path.samestat(os.fstat(lock), os.stat(partial)):
                yield waited
                return
        finally:
            os.close(lock)
        waited = True  # what it held has its name by now


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def put_in_place(partial: str, final: str, record: Mapping[str, Any], docker: str = "docker") -> str | None:
    """Make the complete directory a version of ``final`` that counts from now on; returns where the version before lies, if there was one.

    Nothing that a container mounts changes: the version before keeps its files, and its name where it has one of its own. GB10Error where the plain
    name is somebody else's.
    """
    refuse_foreign(final)
    files = {name: dict(entry) for name, entry in entries_of(record).items()}
    for name, entry in files.items():
        path = os.path.join(partial, name)
        if os.lstat(path).st_nlink > 1:  # another version's file too, whose record names its time
            entry["mtime_ns"] = os.lstat(path).st_mtime_ns
        elif entry.get("mtime_ns"):
            os.utime(path, ns=(entry["mtime_ns"], entry["mtime_ns"]), follow_symlinks=False)
    _open_to_readers(partial)
    record = {**record, "files": files} if files else record
    write_record(partial, record)
    os.chmod(os.path.join(partial, RECORD), 0o644)
    versions.set_aside(final)
    before = versions.directory_of(final) if os.path.isdir(versions.current(final)) else None
    place = versions.place_for(final, record)
    if os.path.lexists(place):
        shutil.rmtree(partial)
    else:
        os.rename(partial, place)
        versions.sync_directory(os.path.dirname(final))
    versions.point(final, place, docker)
    return before if before != os.path.realpath(place) else None


def refuse_foreign(final: str) -> None:
    """GB10Error where a name is its owner's own directory, file or link: that is never renamed or replaced."""
    if os.path.lexists(final) and not versions.is_ours(final):
        raise GB10Error(
            f"{final} was not brought by this collection, so it is not replaced; move it away to have the model brought, or leave `revision` out to keep it"
        )


def _open_to_readers(path: str) -> None:
    """Everybody may read a model, only root may change it. GB10Error for a link in it: what lies behind one is nobody's to open."""
    for place, directories, names in os.walk(path):
        for name in [*directories, *names]:
            full = os.path.join(place, name)
            try:
                descriptor = os.open(full, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            except OSError as error:
                raise GB10Error(
                    f"{full} is a link or cannot be opened ({error.strerror}), so this model does not get its name; remove it and run again"
                ) from None
            os.fchown(descriptor, os.geteuid(), os.getegid())
            os.fchmod(descriptor, 0o755 if name in directories else 0o644)
            os.close(descriptor)
    os.chown(path, os.geteuid(), os.getegid(), follow_symlinks=False)
    os.chmod(path, 0o755)


def adopt(final: str, sums: Mapping[str, Mapping[str, Any]], on_progress: Callable[[int], None] = lambda count: None, docker: str = "docker") -> str | None:
    """Verify what was copied into ``NAME.partial`` against ``{name: {size, sha256}}`` and give it its name; its predecessor's new name.

    GB10Error names the first file that is missing or differs; nothing becomes visible then.
    """
    refuse_foreign(final)
    partial = final + PARTIAL
    record = {key: value for key, value in read_record(partial).items() if key not in ("files", "arriving")}
    entries = {}
    for name, entry in sums.items():
        if not safe_name(name) or not isinstance(entry, Mapping):
            raise GB10Error(f"the sums of {final} name {name!r}, which cannot be a file of a model; make the bundle anew")
        try:
            status = os.lstat(os.path.join(partial, name))
            digest = sha256_below(partial, name, on_progress) if status.st_size == entry.get("size") else ""
        except OSError:
            digest = ""
        if not digest:
            raise GB10Error(f"{name} of {final} did not arrive whole; copy it again, what is there is kept in {partial}")
        if digest != entry.get("sha256"):
            raise GB10Error(f"{name} of {final} arrived with a wrong checksum; check the bundle and the disk, then copy it again")
        entries[name] = {"size": entry["size"], "sha256": entry["sha256"], "mtime_ns": status.st_mtime_ns}
    for place, _directories, names in os.walk(partial):
        for path in (os.path.join(place, name) for name in names):
            name = os.path.relpath(path, partial)
            if name not in entries and name != RECORD:
                raise GB10Error(f"{name} lies in {partial} and not among the files of {final}; remove it, or copy the model again")
    return put_in_place(partial, final, {**record, "files": entries}, docker)


def prune(finals: Sequence[str], keep: int, docker: str = "docker", check: bool = False) -> list[str]:
    """Remove earlier versions beyond the newest ``keep`` of each model, but none that a container uses; returns what went.

    Nothing goes while Docker does not say what its containers use, and nothing that we did not bring.
    """
    removed = []
    excess = [path for final in finals for path in [one for one in previous(final) if read_record(one)][max(0, keep) :]]
    try:
        paths, held = mounted(docker) if excess else (set(), set())
    except GB10Error:
        return []
    for path in excess:
        if in_use(path, paths, held):
            continue
        removed.append(path)
        if not check:
            _remove(path)
    return removed


def _remove(path: str) -> None:
    """Remove a version, its record last: a run that is killed meanwhile leaves what the next one knows for ours, and takes the rest away.

    OSError for a link: what it leads to is not ours.
    """
    place = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        for name in os.listdir(place):
            if stat.S_ISDIR(os.stat(name, dir_fd=place, follow_symlinks=False).st_mode):
                shutil.rmtree(f"/proc/self/fd/{place}/{name}")
            elif name != RECORD:
                os.unlink(name, dir_fd=place)
    finally:
        os.close(place)
    shutil.rmtree(path)


def prune_partial(finals: Sequence[str], older_s: float, check: bool = False) -> list[str]:
    """Remove what interrupted transfers left and nothing touched for so many seconds; returns what went."""
    removed = []
    for final in finals:
        partial = final + PARTIAL
        if os.path.islink(partial) or not os.path.isdir(partial):
            continue
        newest = max(os.lstat(os.path.join(place, name)).st_mtime for place, _dirs, names in os.walk(partial) for name in [".", *names])
        if time.time() - newest > older_s:
            removed.append(partial)
            if not check:
                shutil.rmtree(partial)
    return removed

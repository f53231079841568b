# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is in the files of a model, as two digests beside the manifest of names and headers.

``small``: configuration, code, templates, tokenizers, read whole each time. ``weights``: the SHA-256 of each file of weights, known where we brought it (its
record has the sum) or where it was read once (``Sums``); None until then: the content is not verified yet.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import CHUNK, INCOMING, file_sha256, inside, read_json, write_json
from ansible_collections.gb10.vllm.plugins.module_utils._model.record import RECORD, recorded_files
from ansible_collections.gb10.vllm.plugins.module_utils._names import STATE_DIR

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")
SMALL = (".json", ".model", ".txt", ".jinja", ".py", ".tiktoken", ".yaml", ".yml", ".vocab", ".bpe")
NO_MODEL = ("license", "licence", "readme", "notice", "requirements")
SMALL_LIMIT = 64 * 2**20
_SKIPPED = (".cache", ".git", ".huggingface")


class File:
    """One file of a model: its name below the directory, where it is, and by what it is known again."""

    def __init__(self, directory: str, path: str, status: os.stat_result) -> None:
        self.name, self.path, self.size = os.path.relpath(path, directory), path, status.st_size
        self.small = not path.lower().endswith(WEIGHTS) and status.st_size <= SMALL_LIMIT
        self.mtime_ns = status.st_mtime_ns
        self.stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def files_of(directory: str) -> Iterator[File]:
    """The files that make a model what it is, sorted; links are followed, to read. What cannot be looked at is left out."""
    for place, folders, names in os.walk(directory):
        folders[:] = sorted(one for one in folders if one not in _SKIPPED)
        for name in sorted(names):
            lower = name.lower()
            if name == RECORD or name.endswith(INCOMING) or lower.startswith(NO_MODEL) or not lower.endswith(WEIGHTS + SMALL):
                continue
            path = os.path.join(place, name)
            try:
                status = os.stat(path)
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode):
                yield File(directory, path, status)


def contradict(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> bool:
    """Whether two contents (as ``read`` returns them) are known to differ; what is not known of either contradicts nothing."""
    pairs = [((one or {}).get(part), (other or {}).get(part)) for part in ("small", "weights")]
    return any(here and there and here != there for here, there in pairs)


def not_verified(directory: str) -> str:
    """What is said beside a model whose weights nobody has read, without a full stop."""
    return f"the weights in {directory} are not verified yet: site has them read once, in the background"


def first_outside(directory: str) -> str | None:
    """The first file that is a link to somewhere outside the directory, as in the cache of huggingface_hub: it is read, and not sent."""
    for place, folders, names in os.walk(directory):
        folders[:] = sorted(one for one in folders if one not in _SKIPPED)
        for name in sorted(names):
            path = os.path.join(place, name)
            if os.path.islink(path) and inside(directory, os.path.relpath(path, directory)) is None:
                return os.path.relpath(path, directory)
    return None


class Sums:
    """SHA-256 of files of weights that were read on this box, by directory: ``{name: {stamp, sha256}}``, true as long as size, times and inode are."""

    def __init__(self, directory: str, state_dir: str = STATE_DIR) -> None:
        self.directory = os.path.realpath(directory)
        self.path = os.path.join(state_dir, "models", hashlib.sha256(self.directory.encode()).hexdigest()[:24] + ".json")
        held = read_json(self.path)
        files = held.get("files") if isinstance(held, dict) else None
        self.files: dict[str, Any] = files if isinstance(files, dict) else {}

    def get(self, file: File) -> str | None:
        """The sum of a file that is still the one that was read."""
        entry = self.files.get(file.name)
        return entry.get("sha256") if isinstance(entry, dict) and entry.get("stamp") == file.stamp else None

    def put(self, file: File, sha256: str) -> None:
        """Keep a sum. OSError where the disk refuses."""
        self.files[file.name] = {"stamp": file.stamp, "sha256": sha256}
        write_json(self.path, {"directory": self.directory, "files": self.files}, mode=0o600)


def read(directory: str, state_dir: str = STATE_DIR) -> dict[str, str | None]:
    """``{small, weights}`` of a model directory. No weights are read. GB10Error for a small file that cannot be."""
    small, weights = [], []
    recorded, sums = recorded_files(directory), Sums(directory, state_dir)
    for file in files_of(directory):
        if file.small:
            small.append((file.name, _digest(file)))
        else:
            weights.append((file.name, known(file, recorded, sums)))
    whole = all(digest for _name, digest in weights)
    return {"small": _of(small), "weights": _of(weights) if whole else None}


def known(file: File, recorded: Mapping[str, Mapping[str, Any]], sums: Sums) -> str | None:
    """The sum of a file of weights: as it arrived where size and time are still those, else as it was read here."""
    entry = recorded.get(file.name) or {}
    if (entry.get("size"), entry.get("mtime_ns")) == (file.size, file.mtime_ns) and entry.get("sha256"):
        return str(entry["sha256"])
    return sums.get(file)


def unread(directory: str, state_dir: str = STATE_DIR) -> list[File]:
    """The files of weights whose sums nobody knows."""
    recorded, sums = recorded_files(directory), Sums(directory, state_dir)
    return [file for file in files_of(directory) if not file.small and not known(file, recorded, sums)]


def sha256_gently(file: File) -> str:
    """SHA-256 of a large file that leaves no trace in the page cache: on a GB10 that is the memory a server starts in."""
    hasher = hashlib.sha256()
    with open(os.open(file.path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as stream:
        offset = 0
        while chunk := stream.read(4 * CHUNK):
            hasher.update(chunk)
            os.posix_fadvise(stream.fileno(), offset, len(chunk), os.POSIX_FADV_DONTNEED)
            offset += len(chunk)
    return hasher.hexdigest()


def _digest(file: File) -> str:
    try:
        return file_sha256(file.path)
    except OSError as error:
        raise GB10Error(f"{file.path} cannot be read ({error.strerror}); give read permission or run with become") from None


def _of(parts: list[tuple[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(sorted(parts)).encode()).hexdigest()

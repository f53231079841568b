# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The record in a model directory that we brought: where it came from, and the SHA-256 of each file as it arrived."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._io.files import open_below, write_json

RECORD = ".gb10-vllm-record"
_LIMIT = 64 * 2**20


def read_record(path: str) -> dict[str, Any]:
    """``{repo_id, revision, files: {name: {size, sha256, mtime_ns}}}`` of a model directory we made; ``{}`` of any other."""
    try:
        with open(open_below(path, RECORD), "rb") as stream:
            record = json.loads(stream.read(_LIMIT) or b"")
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def write_record(path: str, record: Mapping[str, Any]) -> None:
    """Write the record of a model directory."""
    write_json(os.path.join(path, RECORD), record)


def recorded_files(path: str) -> dict[str, dict[str, Any]]:
    """``{name: {size, sha256, mtime_ns}}`` of a directory's record, whatever shape somebody gave it."""
    return entries_of(read_record(path))


def entries_of(record: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """``{name: {size, sha256, mtime_ns}}`` of a record, without what is no entry."""
    files = record.get("files")
    return {str(name): entry for name, entry in files.items() if isinstance(entry, dict)} if isinstance(files, dict) else {}


def intact(path: str) -> bool:
    """Whether each file of a directory with a record still has the size and time it was recorded with."""
    for name, entry in recorded_files(path).items():
        try:
            status = os.lstat(os.path.join(path, name))
        except OSError:
            return False
        if (status.st_size, status.st_mtime_ns) != (entry.get("size"), entry.get("mtime_ns")):
            return False
    return True


def files_digest(record: Mapping[str, Any]) -> str:
    """SHA-256 over names, sizes and sums of a record's files; "" where it names none."""
    parts = sorted((name, entry.get("size"), entry.get("sha256")) for name, entry in entries_of(record).items())
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest() if parts else ""

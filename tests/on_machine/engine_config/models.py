# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Model directories of the combinations: configuration, a tokenizer, the files beside it, and a checkpoint of one small tensor."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from pathlib import Path

from combinations import Combination


def directory_of(one: Combination) -> str:
    """The name of the directory: combinations of one configuration and the same files share it."""
    return hashlib.sha256(json.dumps([one.config, dict(one.files)], sort_keys=True).encode()).hexdigest()[:16]


def build(one: Combination, root: Path, tokenizer: Path) -> Path:
    """The directory of a combination below ``root``; ``tokenizer``: a folder whose files every model gets."""
    where = root / directory_of(one)
    if where.exists():
        return where
    where.mkdir(parents=True)
    for file in tokenizer.iterdir():
        shutil.copy(file, where / file.name)
    (where / "config.json").write_text(json.dumps(one.config))
    header = json.dumps({"model.norm.weight": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}).encode()
    (where / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0\0")
    for name, content in one.files.items():
        (where / name).parent.mkdir(exist_ok=True)
        (where / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return where

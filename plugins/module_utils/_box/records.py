# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What earlier runs left on a box about its servers: one JSON file per server and kind."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._names import FORMAT_FILE, RECORD_FORMAT

RECORD_KINDS = ("deployment", "measured", "repairs", "history", "starting", "benchmark")


def read_records(state_dir: str) -> dict[str, dict[str, Any]]:
    """What lies in STATE_DIR/servers/NAME/KIND.json, by server and kind; an unreadable file is reported under ``unreadable``, not hidden."""
    records: dict[str, dict[str, Any]] = {}
    root = os.path.join(state_dir, "servers")
    for name in sorted(os.listdir(root)) if os.path.isdir(root) else []:
        records[name] = {}
        for kind in RECORD_KINDS:
            try:
                with open(os.path.join(root, name, f"{kind}.json"), encoding="utf-8", errors="replace") as stream:
                    text = stream.read()
                if text:
                    records[name][kind] = json.loads(text)
            except OSError:
                continue
            except (ValueError, RecursionError):
                records[name].setdefault("unreadable", []).append(kind)
    return records


def images_of(records: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Ids of the images that servers run with, or would go back to. ``records``: see ``read_records``."""
    held = [one for record in records.values() for one in [record.get("deployment"), *_listed(record.get("history"))] if isinstance(one, dict)]
    return {str((one.get("container") or {}).get("image") or "") for one in held} - {""}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def refuse_newer(path: str = FORMAT_FILE) -> None:
    """GB10Error where a later release wrote the records of this box: this one would misread them, and replace what runs for it."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            found = re.fullmatch(r"format ([0-9]{1,9})\s*", stream.read(100))
    except OSError:
        return
    if found and int(found[1]) > RECORD_FORMAT:
        raise GB10Error(
            f"its records are of format {found[1]}, and this release of gb10.vllm reads up to format {RECORD_FORMAT}: a later release deployed it. "
            "Nothing was changed; use that release or a later one (ansible-galaxy collection install --upgrade gb10.vllm). To go back to this one, "
            "run `remove` of the later release first, which keeps the models."
        )

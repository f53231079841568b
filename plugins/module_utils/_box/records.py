# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What earlier runs left on a box about its servers: one JSON file per server and kind."""

from __future__ import annotations

import json
import os
from typing import Any

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

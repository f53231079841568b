# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Imports of the collection, and of the checkpoints the unit tests are made of."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
COLLECTIONS = ROOT / ".ansible" / "collections"
for path in (str(Path(__file__).resolve().parent), str(ROOT / "tests/unit/plugins/module_utils/sizing"), str(COLLECTIONS)):
    if path not in sys.path:
        sys.path.insert(0, path)

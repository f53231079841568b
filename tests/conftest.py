# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every layer of tests needs: this checkout as ``ansible_collections.gb10.vllm``, and the helpers of ``tests/support``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COLLECTIONS = ROOT / ".ansible" / "collections"
if ROOT.parent.parent.name != "ansible_collections":  # in an ansible-test tree the import already works
    link = COLLECTIONS / "ansible_collections" / "gb10" / "vllm"
    if not link.exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to("../../../..", target_is_directory=True)
    sys.path.insert(0, str(COLLECTIONS))
sys.path.insert(0, str(ROOT / "tests" / "support"))

# The same examples on every machine; GB10_RANDOM=1 looks for new ones.
try:
    from hypothesis import settings
except ImportError:  # ansible-test units installs what it likes
    pass
else:
    settings.register_profile("repeatable", derandomize=True)
    if not os.environ.get("GB10_RANDOM"):
        settings.load_profile("repeatable")

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What `make mutants` changes: each package with the tests that have to find it (unit tests, and those on a machine that need no Docker)."""

from __future__ import annotations

from typing import NamedTuple

UTILS, UNIT = "plugins/module_utils", "tests/unit/plugins/module_utils"
PLUGINS, PLUGINS_UNIT = "plugins/plugin_utils", "tests/unit/plugins/plugin_utils"


class Package(NamedTuple):
    files: list[str]
    tests: list[str]


def utils(folder: str, *more: str) -> Package:
    return Package([f"{UTILS}/{folder}/*.py"], [f"{UNIT}/{folder}", *more])


PACKAGES = {
    # What guards secrets, paths, locks, deletion and floors comes first.
    "_io/files": Package([f"{UTILS}/_io/files.py"], [f"{UNIT}/_io/test_files.py", f"{UNIT}/_model/test_model_store.py", f"{UNIT}/_transfer/test_client.py"]),
    "_io/redaction": Package([f"{UTILS}/_io/redaction.py"], [f"{UNIT}/_io/test_redaction.py", f"{UNIT}/_engine/test_readiness.py"]),
    "_box/run_lock": Package([f"{UTILS}/_box/run_lock.py"], [f"{UNIT}/_box/test_run_lock.py"]),
    "_decide/sequence": Package([f"{PLUGINS}/_decide/sequence.py"], [f"{PLUGINS_UNIT}/_decide/test_sequence.py"]),
    "_sizing/budget": Package([f"{UTILS}/_sizing/budget.py"], [f"{UNIT}/_sizing/test_budget.py", f"{UNIT}/_sizing/test_plan.py"]),
    "_model": utils("_model"),
    "_transfer": utils("_transfer"),
    "_io": utils("_io"),
    "_box": utils("_box"),
    "_engine": utils("_engine"),
    "_image": utils("_image"),
    "_sizing": utils("_sizing"),
    "_decide": Package([f"{PLUGINS}/_decide/*.py"], [f"{PLUGINS_UNIT}/_decide", "tests/unit/roles/test_repair_seam.py"]),
    "_fleet": Package([f"{PLUGINS}/_fleet/*.py"], [f"{PLUGINS_UNIT}/_fleet"]),
    "_follow": Package([f"{PLUGINS}/_follow/*.py"], [f"{PLUGINS_UNIT}/_follow"]),
    "_report": Package([f"{PLUGINS}/_report/*.py"], [f"{PLUGINS_UNIT}/_report"]),
    "_diagnosis": Package([f"{PLUGINS}/_diagnosis/*.py"], [f"{PLUGINS_UNIT}/_diagnosis"]),
}

# Changes that do nothing, with the reason.
EQUIVALENT: dict[str, str] = {}

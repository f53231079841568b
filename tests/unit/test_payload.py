# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What travels to a box: a module and whatever it imports, however far. Small modules stay small."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "ansible_collections.gb10.vllm.plugins."


@cache
def imported(path: Path) -> frozenset[Path]:
    """Files of this collection that a file names in its imports, wherever in it they stand."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module, *(f"{node.module}.{one.name}" for one in node.names)] if node.module and not node.level else []
        else:
            continue
        places = [ROOT / "plugins" / name.removeprefix(PACKAGE).replace(".", "/") for name in names if name.startswith(PACKAGE)]
        found.update(place.with_suffix(".py") for place in places if place.with_suffix(".py").is_file())
    return frozenset(found)


def payload(module: str) -> set[str]:
    """Names below module_utils of the files that Ansible ships with a module, its empty packages left out."""
    todo, seen = [ROOT / "plugins" / "modules" / f"{module}.py"], set()
    while todo:
        path = todo.pop()
        if path not in seen:
            seen.add(path)
            todo += imported(path)
    return {str(path.relative_to(ROOT / "plugins" / "module_utils")) for path in seen if "module_utils" in path.parts}


@pytest.mark.parametrize("module", ["box_info", "run_lock", "prune", "model_info", "server_ready", "diagnose"])
def test_a_module_that_sends_nothing_carries_no_file_transfer(module):
    assert {name for name in payload(module) if name.startswith("_transfer/")} == set()


def test_the_lock_is_a_few_files():
    assert payload("run_lock") <= {"_box/run_lock.py", "_box/records.py", "_errors.py", "_io/files.py", "_names.py"}

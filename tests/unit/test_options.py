# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An option that a module documents does something: it is named in the module's code or in its action plugin's."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
MODULES = sorted(path.stem for path in (PLUGINS / "modules").glob("*.py"))
FRAGMENTS = {"gb10.vllm.state_dir": {"state_dir"}}


def documented(module: str) -> set[str]:
    """Names of the options in a module's documentation, those of its fragments too."""
    for node in ast.parse((PLUGINS / "modules" / f"{module}.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "DOCUMENTATION":
            text = yaml.safe_load(ast.literal_eval(node.value))
            return set(text["options"]).union(*(FRAGMENTS.get(one, set()) for one in text.get("extends_documentation_fragment", [])))
    raise AssertionError(f"{module} has no DOCUMENTATION")


def words(path: Path) -> list[str]:
    """Texts and attributes in the code of a file; keys of an argument spec (a mapping to a mapping with a type) and prose do not count."""
    if not path.exists():
        return []
    found = []
    tree = ast.parse(path.read_text(encoding="utf-8"))
    spec = {
        id(key)
        for node in ast.walk(tree)
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(value, ast.Dict) and any(getattr(one, "value", None) == "type" for one in value.keys)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in spec and "\n" not in node.value:
            found.append(node.value)
        elif isinstance(node, (ast.Attribute, ast.keyword)):
            found.append(node.attr if isinstance(node, ast.Attribute) else node.arg or "")
    return found


# Where a module hands all its options on, who reads them.
READERS = {
    "kv_cache_budget": ["module_utils/_sizing/inputs.py"],
    "box_info": ["module_utils/_box/findings.py", "plugin_utils/_follow/locking.py"],
    "benchmark": ["module_utils/_engine/bench.py"],
    "run_lock": ["plugin_utils/_follow/locking.py"],
}


@pytest.mark.parametrize("module", [name for name in MODULES if name != "image_build"])  # its options are the fields of a dataclass
def test_every_option_is_read(module):
    places = [f"modules/{module}.py", f"action/{module}.py", *READERS.get(module, [])]
    assert documented(module) - {word for place in places for word in words(PLUGINS / place)} == set()

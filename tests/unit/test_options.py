# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a module documents is in its code, or in its action plugin's: options that do something, results that come, and none that are not documented."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
MODULES = sorted(path.stem for path in (PLUGINS / "modules").glob("*.py"))
FRAGMENTS = {"gb10.vllm.state_dir": {"state_dir"}}


def text_of(module: str, name: str) -> dict:
    """One of the YAML texts at the head of a module."""
    for node in ast.parse((PLUGINS / "modules" / f"{module}.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name:
            return yaml.safe_load(ast.literal_eval(node.value)) or {}
    raise AssertionError(f"{module} has no {name}")


def documented(module: str) -> set[str]:
    """Names of the options in a module's documentation, those of its fragments too."""
    text = text_of(module, "DOCUMENTATION")
    return set(text["options"]).union(*(FRAGMENTS.get(one, set()) for one in text.get("extends_documentation_fragment", [])))


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


# What Ansible itself knows of any result.
ANYWHERE = {"changed", "msg", "failed", "skipped", "warnings", "diff", "exception"}
# What a module hands to its action plugin, which makes the result of it.
BETWEEN = {"diagnose": {"containers"}}


def given(path: Path) -> set[str]:
    """Names that a module ends with, as far as they stand in the call."""
    if not path.exists():
        return set()
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    keywords = [one for call in calls if getattr(call.func, "attr", "") == "exit_json" for one in call.keywords]
    spread = [key for one in keywords if one.arg is None and isinstance(one.value, ast.Dict) for key in one.value.keys]
    return {one.arg for one in keywords if one.arg} | {key.value for key in spread if isinstance(key, ast.Constant)}


def imported(path: Path) -> list[Path]:
    """Files of this collection that a file names in its imports."""
    if not path.exists():
        return []
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ansible_collections.gb10.vllm.plugins."):
            place = PLUGINS / node.module.removeprefix("ansible_collections.gb10.vllm.plugins.").replace(".", "/")
            found += [place.with_suffix(".py"), *(place / f"{one.name}.py" for one in node.names)]
    return [one for one in found if one.exists()]


@pytest.mark.parametrize("module", MODULES)
def test_every_result_is_documented_and_every_documented_result_comes(module):
    places = [PLUGINS / "modules" / f"{module}.py", PLUGINS / "action" / f"{module}.py"]
    results = set(text_of(module, "RETURN"))
    assert set().union(*(given(place) for place in places)) - results - ANYWHERE - BETWEEN.get(module, set()) == set()
    near = [*places, *(one for place in places for one in imported(place))]
    assert results - {word for place in near for word in words(place)} - ANYWHERE == set()


def test_the_test_of_results_sees_what_it_should(tmp_path):
    (tmp_path / "one.py").write_text("module.exit_json(changed=True, a=1, **{'b': 2}, **more)\n")
    assert given(tmp_path / "one.py") == {"changed", "a", "b"}

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rules of the tree that docs/ARCHITECTURE.md states, read from the tree itself."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PLUGINS = ROOT / "plugins"
OURS = "ansible_collections.gb10.vllm.plugins."
CODE = sorted(path for path in PLUGINS.rglob("*.py") if path.read_text().strip())
LONGEST_FILE, LONGEST_CLASS, LONGEST_FUNCTION = 600, 250, 60
MOST_LONG_EXPRESSIONS, LONG_EXPRESSION = 20, 100
BARE = ("when", "that", "loop", "until", "changed_when", "failed_when")


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PLUGINS).with_suffix("").parts).removesuffix(".__init__")


FILES = {name_of(path): path for path in CODE}


@cache
def imports(name: str) -> frozenset[str]:
    """What a file of ours imports, by dotted name below plugins/ ("ansible" for anything of Ansible)."""
    found = set()
    for node in ast.walk(ast.parse(FILES[name].read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            module = node.module
            for one in node.names:
                whole = f"{module}.{one.name}"
                found.add(whole if whole.removeprefix(OURS) in FILES else module)
        elif isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
    ours = {one.removeprefix(OURS) for one in found if one.startswith(OURS)}
    return frozenset(ours | ({"ansible"} if any(one.split(".")[0] == "ansible" for one in found) else set()))


def reached(*starts: str) -> set[str]:
    seen: set[str] = set()
    todo = list(starts)
    while todo:
        name = todo.pop()
        if name in seen or name not in FILES:
            continue
        seen.add(name)
        todo += imports(name)
    return seen


def test_no_import_leads_back_to_where_it_came_from():
    circles = [name for name in FILES if name in reached(*imports(name))]
    assert circles == []


def test_what_a_box_runs_knows_neither_ansible_nor_the_controller():
    strangers = {
        name: sorted(one for one in imports(name) if one == "ansible" or one.startswith(("plugin_utils", "modules", "action")))
        for name in FILES
        if name.startswith("module_utils.")
    }
    assert {name: found for name, found in strangers.items() if found} == {}


def test_what_lies_in_module_utils_goes_to_a_box():
    unused = {name for name in FILES if name.startswith("module_utils.")} - reached(*(name for name in FILES if name.startswith("modules.")))
    assert unused == set()


def test_what_lies_in_plugin_utils_is_used():
    starts = [name for name in FILES if name.split(".")[0] in ("action", "filter", "callback", "lookup", "test")]
    unused = {name for name in FILES if name.startswith("plugin_utils.")} - reached(*starts)
    assert unused == set()


def test_packages_are_private_and_every_file_says_its_idea():
    public = [name for name in FILES if name.split(".")[0] in ("module_utils", "plugin_utils") and not name.split(".")[1].startswith("_")]
    assert public == []
    silent = [name for name, path in FILES.items() if not name.startswith("modules.") and not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []


def sizes(kind: type | tuple[type, ...]) -> list[tuple[int, str]]:
    return sorted(
        (node.end_lineno - node.lineno + 1, f"{name}.{node.name}")
        for name, path in FILES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, kind)
    )


def test_files_classes_and_functions_stay_small_enough_to_be_read():
    code = [*CODE, *(path for folder in ("roles", "playbooks") for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".yml", ".j2"))]
    assert [path for path in code if path.read_text().count("\n") > LONGEST_FILE] == []
    assert [one for one in sizes(ast.ClassDef) if one[0] > LONGEST_CLASS] == []
    assert [one for one in sizes((ast.FunctionDef, ast.AsyncFunctionDef)) if one[0] > LONGEST_FUNCTION] == []


def expressions(value: object, key: str = "") -> list[str]:
    """Every Jinja expression of a YAML value: in braces or as a statement, and bare where Ansible takes one; lines are joined, examples count."""
    if isinstance(value, dict):
        return [one for name, below in value.items() for one in expressions(below, str(name))]
    if isinstance(value, list):
        return [one for below in value for one in expressions(below, key)]
    if not isinstance(value, str):
        return []
    found = re.findall(r"\{\{.*?\}\}|\{%.*?%\}", value, re.DOTALL)
    bare = [value] if key in BARE and not found else []
    return [" ".join(one.split()) for one in [*found, *bare]]


def long_expressions() -> dict[str, list[str]]:
    found = {}
    for folder in ("plugins", "roles", "playbooks", "extensions", "inventory"):
        for path in sorted((ROOT / folder).rglob("*.yml")):
            documents = yaml.load_all(path.read_text(), Loader=yaml.CSafeLoader)
            found[str(path.relative_to(ROOT))] = [one for one in expressions(list(documents)) if len(one) > LONG_EXPRESSION]
    return {path: found for path, found in found.items() if found}


def test_decisions_are_not_made_in_templates():
    found = long_expressions()
    assert sum(map(len, found.values())) <= MOST_LONG_EXPRESSIONS, "\n".join(f"{path}: {one}" for path, many in found.items() for one in many)


@pytest.mark.parametrize("role", ["server"])
def test_a_role_reads_like_a_table_of_contents(role):
    assert len(list((ROOT / "roles" / role / "tasks").glob("*.yml"))) <= 16
    assert len(yaml.safe_load((ROOT / "roles" / role / "defaults/main.yml").read_text())) <= 25


def test_the_page_shows_the_tree_and_it_is_the_tree():
    done = subprocess.run([sys.executable, ROOT / "tests" / "tree", "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def tasks_of(value: object) -> list[dict]:
    """Every task of a file of tasks or plays, however deep in blocks."""
    if isinstance(value, list):
        return [task for one in value for task in tasks_of(one)]
    if not isinstance(value, dict):
        return []
    inside = [task for part in ("tasks", "pre_tasks", "post_tasks", "handlers", "block", "rescue", "always") for task in tasks_of(value.get(part))]
    return [value, *inside]


def test_every_file_of_tasks_that_is_named_is_there_and_every_one_that_is_there_is_named():
    named = set()
    for path in sorted([*ROOT.glob("playbooks/*.yml"), *ROOT.glob("roles/*/tasks/*.yml")]):
        for task in tasks_of(yaml.safe_load(path.read_text())):
            for kind in ("include_tasks", "import_tasks"):
                wanted = str(task.get(f"ansible.builtin.{kind}") or "")
                named |= {path.parent / file for file in re.findall(r"\w+\.yml", wanted)}
            for kind in ("include_role", "import_role"):
                role = task.get(f"ansible.builtin.{kind}") or {}
                if str(role.get("name")).startswith("gb10.vllm."):
                    named.add(ROOT / "roles" / role["name"].removeprefix("gb10.vllm.") / "tasks" / f"{role.get('tasks_from', 'main').removesuffix('.yml')}.yml")
    # An entry with options of its own is for users.
    for specs in ROOT.glob("roles/*/meta/argument_specs.yml"):
        named |= {specs.parents[1] / "tasks" / f"{entry}.yml" for entry in yaml.safe_load(specs.read_text())["argument_specs"]}
    assert named == set(ROOT.glob("roles/*/tasks/*.yml"))


def test_no_host_of_a_registry_is_named():
    hosts = re.compile(r"deb\.debian\.org|archive\.ubuntu\.com|pypi\.org|pythonhosted\.org|registry\.npmjs\.org")
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    files = [name for name in files if (ROOT / name).is_file() and name != "tests/unit/test_house.py"]
    named = [name for name in files if hosts.search((ROOT / name).read_text(errors="replace"))]
    assert [name for name in named if "/_diagnosis/" not in name] == [], "logs of failures quote what a program printed"


def test_names_of_tasks_are_told_apart():
    """In the output of a run one cannot tell two tasks of a role with the same name apart."""
    twice = {}
    for role in sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir()):
        names = [line.strip() for path in (ROOT / "roles" / role / "tasks").glob("*.yml") for line in re.findall(r"^\s*- name: (.*)$", path.read_text(), re.M)]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            twice[role] = repeated
    assert twice == {}


def _remembered(tasks):
    """Names that these tasks and the blocks in them keep by set_fact."""
    for task in tasks_of(tasks):
        yield from task.get("ansible.builtin.set_fact") or {}


def test_what_a_run_remembers_is_at_most_begun_with_and_never_derived_under_the_same_name():
    """What set_fact keeps hides a role's variable of that name from then on, so the two must not mean different things."""
    hidden = []
    for role in sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir()):
        files = [role / name / "main.yml" for name in ("defaults", "vars")]
        values = {name: value for path in files if path.exists() for name, value in (yaml.safe_load(path.read_text()) or {}).items()}
        kept = {name for path in (role / "tasks").glob("*.yml") for name in _remembered(yaml.safe_load(path.read_text()))}
        hidden += [name for name in sorted(kept & set(values)) if "{{" in str(values[name])]
    assert hidden == []

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The README of a role: its variables are the argument specs', what it leaves behind is what it keeps, and its example can be used."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())


def part(role: str, title: str) -> str:
    """What stands below a heading of a README."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", (ROOT / "roles" / role / "README.md").read_text(), re.M | re.S)
    assert found, f"roles/{role}/README.md has no heading {title}"
    return found.group(1)


def promised(role: str) -> set[str]:
    return set(re.findall(r"^\| `(\w+)` \|", part(role, "Results"), re.M))


def tasks(found: list | None) -> Iterator[dict]:
    for task in found or []:
        yield task
        for below in ("block", "rescue", "always"):
            yield from tasks(task.get(below))


@cache
def kept(role: str) -> frozenset[str]:
    """What tasks of a role remember for later; a leading __ says that it is nobody else's."""
    names: set[str] = set()
    for path in (ROOT / "roles" / role / "tasks").glob("*.yml"):
        for task in tasks(yaml.safe_load(path.read_text())):
            names |= {*(task.get("ansible.builtin.set_fact") or {}), task.get("register", "__")}
    return frozenset(name for name in names if re.fullmatch(r"[a-z]\w*", name))


@cache
def texts_outside(role: str) -> str:
    paths = [path for pattern in ("roles/**/*.yml", "roles/**/*.j2", "playbooks/*.yml") for path in sorted(ROOT.glob(pattern))]
    return "\n".join(path.read_text() for path in paths if f"roles/{role}/" not in str(path))


def test_the_variables_are_those_of_the_argument_specs():
    done = subprocess.run([sys.executable, ROOT / "tests" / "readmes", "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("role", ROLES)
def test_every_result_that_is_told_is_left_behind_and_the_other_way_round(role):
    """What other roles and playbooks read is told: as a result that others may read too, or as one that is no promise."""
    inner = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^Between the roles of this collection.*$", part(role, "Results"), re.M))))
    vars_of = ROOT / "roles" / role / "vars" / "main.yml"
    derived = set(yaml.safe_load(vars_of.read_text())) if vars_of.exists() else set()
    assert (promised(role) | inner) - kept(role) - derived == set()
    read = {name for name in kept(role) if name.startswith(f"{role}_") and re.search(rf"(?<!\w){name}(?!\w)", texts_outside(role))}
    assert read - promised(role) - inner == set()


@pytest.mark.parametrize("role", ROLES)
def test_the_example_can_be_used(role):
    """A play of the role, or variables that the argument specs take and a playbook that exists."""
    text = part(role, "Example")
    (block,) = re.findall(r"^```yaml\n(.*?)^```", text, re.M | re.S)
    example = yaml.safe_load(block)
    if isinstance(example, list):
        assert f"gb10.vllm.{role}" in {one["role"] for play in example for one in play["roles"]}
        example = {name: value for play in example for name, value in play.get("vars", {}).items()}
    else:
        named = re.findall(r"ansible-playbook gb10\.vllm\.(\w+)", text)
        assert named and all((ROOT / "playbooks" / f"{one}.yml").exists() for one in named)
    specs = [path for one in ROLES for path in (ROOT / "roles" / one / "meta").glob("argument_specs.yml")]
    entries = [entry for path in specs for entry in yaml.safe_load(path.read_text())["argument_specs"].values()]
    known = {name: option for entry in entries for name, option in (entry.get("options") or {}).items()}
    given = {name: value for name, value in example.items() if name in known}
    assert set(example) == set(given)
    assert ArgumentSpecValidator({name: known[name] for name in given}).validate(given).error_messages == []

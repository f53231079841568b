# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table "Promises and their tests" of docs/ARCHITECTURE.md names tests that are there, and says so where nothing looks."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "ARCHITECTURE.md"
BEGIN, END = "<!-- promises -->\n", "<!-- end of promises -->"


def rows() -> list[list[str]]:
    """Promise, tests, and what they do not see; without the headings of the table."""
    table = PAGE.read_text().split(BEGIN)[1].split(END)[0].strip().splitlines()[2:]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table]
    return [row for row in cells if not row[0].startswith("**")]


@cache
def functions(path: Path) -> frozenset[str]:
    """The tests of a file, those of its classes too."""
    if not path.is_file():
        return frozenset()
    found = (node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef))
    return frozenset(name for name in found if name.startswith("test_"))


@cache
def tasks(scenario: str) -> frozenset[str]:
    """The names of all tasks of a molecule scenario."""

    def names(found):
        for one in found or []:
            if isinstance(one, dict):
                yield one.get("name")
                for part in ("tasks", "block", "rescue", "always"):
                    yield from names(one.get(part))

    files = (ROOT / "extensions" / "molecule" / scenario).glob("*.yml")
    return frozenset(name for path in files for name in names(yaml.safe_load(path.read_text())) if name)


def exists(test: str) -> bool:
    """Whether ``path::function`` below tests/, ``molecule SCENARIO: TASK`` or ``make TARGET`` is there."""
    if test.startswith("molecule "):
        scenario, _, task = test.removeprefix("molecule ").partition(": ")
        return task in tasks(scenario)
    if test.startswith("make "):
        return re.search(rf"^{re.escape(test.removeprefix('make '))}:", (ROOT / "Makefile").read_text(), re.MULTILINE) is not None
    path, _, function = test.partition("::")
    return function in functions(ROOT / "tests" / path)


def test_every_promise_has_a_test_that_is_there_or_says_that_none_looks():
    table = rows()
    assert len(table) > 50 and len({row[0] for row in table}) == len(table)
    wrong = []
    for promise, named, unseen in table:
        tests = re.findall(r"`([^`]+)`", named)
        wrong += [f"{promise}: {test} is not there" for test in tests if not exists(test)]
        if named != ", ".join(f"`{test}`" for test in tests) and named != "none":
            wrong.append(f"{promise}: {named} is no list of tests")
        if named == "none" and not unseen:
            wrong.append(f"{promise}: nothing looks, and it is not said why")
    assert wrong == []


@pytest.mark.parametrize(
    ("test", "there"),
    [
        ("unit/test_promises.py::test_the_reader_tells_what_is_there_from_what_is_not", True),
        ("unit/test_promises.py::rows", False),
        ("unit/test_promises.py", False),
        ("unit/test_promise.py::test_the_reader_tells_what_is_there_from_what_is_not", False),
        ("molecule fleet: A canary that fails", True),
        ("molecule fleet: A canary", False),
        ("molecule nowhere: A canary that fails", False),
        ("make compat", True),
        ("make comp", False),
    ],
)
def test_the_reader_tells_what_is_there_from_what_is_not(test, there):
    assert exists(test) is there

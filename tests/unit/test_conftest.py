# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What tests/conftest.py makes of skipped tests and of the order, on a few tests of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import conftest
import pytest

TESTS = Path(__file__).parents[1]
SOURCE = """
import pytest

def test_first(): pass

@pytest.mark.skipif(True, reason="needs Chromium")
def test_marked(): pass

def test_inside(): pytest.skip("mounting needs root")

@pytest.mark.xfail(reason="known")
def test_expected(): assert False
"""
MODULE = "import pytest\npytest.skip('no engine', allow_module_level=True)\n"


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What pytest says of a few tests in CI, the last one first."""
    folder = tmp_path_factory.mktemp("some")
    (folder / "test_some.py").write_text(SOURCE)
    (folder / "test_whole.py").write_text(MODULE)
    command = [sys.executable, "-m", "pytest", "-v", "-rA", "--continue-on-collection-errors", "-p", "conftest", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "CI": "true", "GB10_REVERSE": "1"}
    done = subprocess.run([*command, "--rootdir", str(folder), str(folder)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    return done.stdout


def test_in_ci_a_skipped_test_has_failed(said):
    assert "skipped" not in said.splitlines()[-1] and "1 passed, 1 xfailed" in said
    for reason in ("needs Chromium", "mounting needs root", "no engine"):
        assert f"{reason}. In CI nothing is skipped" in said


def test_the_last_test_can_be_the_first(said):
    assert re.findall(r"::(test_\w+) (?:PASSED|FAILED|ERROR|XFAIL) ", said) == ["test_expected", "test_inside", "test_marked", "test_first"]


def test_an_order_is_what_its_number_stands_for_and_keeps_files_together():
    items = [SimpleNamespace(path=Path(file), name=number) for number in range(9) for file in "abc"]
    orders = {number: [(one.path.name, one.name) for one in conftest.shuffled(items, number)] for number in ("1", "2", "3")}
    assert len(set(map(tuple, orders.values()))) == 3 and orders["1"] == [(one.path.name, one.name) for one in conftest.shuffled(items, "1")]
    for order in orders.values():
        assert sorted(order) == sorted((one.path.name, one.name) for one in items)
        assert sum(before[0] != after[0] for before, after in zip(order, order[1:], strict=False)) == 2


@pytest.mark.parametrize(("ci", "path", "outcome"), [("", "tests/unit", "skipped"), ("true", "tests/unit", "failed"), ("true", "tests/gpu", "skipped")])
def test_elsewhere_and_where_it_is_said_why_a_test_may_be_skipped(monkeypatch, ci, path, outcome):
    monkeypatch.setenv("CI", ci)
    report = SimpleNamespace(skipped=True, outcome="skipped", longrepr=("test_x.py", 1, "Skipped: why"))
    assert conftest._without_silent_skip(report, TESTS.parent / path / "test_x.py").outcome == outcome

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The list of known mutants fits the code as it is; `make mutants-known` makes them."""

from __future__ import annotations

import collections
import importlib.machinery
import importlib.util
import sys
from pathlib import Path

import pytest

MUTANTS = Path(__file__).parents[1] / "mutants"


@pytest.fixture(scope="module")
def run():
    sys.path.insert(0, str(MUTANTS))
    import run

    yield run
    sys.path.remove(str(MUTANTS))


def test_every_known_mutant_can_still_be_made(run):
    everything = [*run.MUTANTS, *run.EQUIVALENT]
    assert [problem for one in everything if (problem := run.problem(one))] == []
    assert [name for name, times in collections.Counter(one.name for one in everything).items() if times > 1] == []
    assert all(one.harm in ("high", "medium", "low") and (run.ROOT / one.tests.partition("::")[0]).is_file() for one in everything)
    assert all(one.why for one in run.EQUIVALENT)


@pytest.mark.parametrize(("passed", "verdict"), [(True, "SURVIVED"), (False, "killed"), (None, "BROKEN")])
def test_the_tests_see_the_change_and_the_file_is_as_it_was(run, tmp_path, monkeypatch, passed, verdict):
    file = tmp_path / "doubled.py"
    file.write_text("def double(x):\n    return 2 * x\n")
    seen = []

    def tests_pass(tree, tests):
        seen.append((file.read_text(), tests))
        return passed

    monkeypatch.setattr(run, "tests_pass", tests_pass)
    assert run.verdict(tmp_path, run.Mutant("m", "low", "doubled.py", "2 * x", "3 * x", "test_it.py")) == verdict
    assert seen == [("def double(x):\n    return 3 * x\n", {"test_it.py"})]
    assert file.read_text() == "def double(x):\n    return 2 * x\n"


def test_every_promise_can_still_be_broken(run):
    """`make mutants-planted` breaks them; its tests are those of tests/on_machine/test_imitated_runs.py."""
    loader = importlib.machinery.SourceFileLoader("planted", str(MUTANTS / "planted"))
    planted = importlib.util.module_from_spec(importlib.util.spec_from_loader("planted", loader))
    loader.exec_module(planted)
    assert [problem for one in planted.HARMS if (problem := planted.problem(one))] == []
    there = (MUTANTS.parent / "on_machine" / "test_imitated_runs.py").read_text()
    assert [one.test for one in planted.HARMS if f"def {one.test}(" not in there] == []

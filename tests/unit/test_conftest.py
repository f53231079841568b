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


def run(folder, **environment):
    (folder / "test_some.py").write_text(SOURCE)
    (folder / "test_whole.py").write_text(MODULE)
    plain = {name: value for name, value in os.environ.items() if name not in ("CI", "GB10_REVERSE")}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-v",
        "-rA",
        "--continue-on-collection-errors",
        "-p",
        "conftest",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(folder),
        str(folder),
    ]
    done = subprocess.run(command, env={**plain, "PYTHONPATH": str(TESTS), **environment}, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_outside_ci_a_test_may_be_skipped(tmp_path):
    code, said = run(tmp_path)
    assert code == 0 and "1 passed, 3 skipped, 1 xfailed" in said


def test_in_ci_a_skipped_test_has_failed(tmp_path):
    code, said = run(tmp_path, CI="true")
    assert code != 0 and "skipped" not in said.splitlines()[-1]
    for reason in ("needs Chromium", "mounting needs root", "no engine"):
        assert f"{reason}. In CI nothing is skipped" in said


def test_the_last_test_can_be_the_first(tmp_path):
    _code, said = run(tmp_path, GB10_REVERSE="1")
    assert re.findall(r"::(test_\w+) (?:PASSED|SKIPPED|XFAIL)", said)[:4] == ["test_expected", "test_inside", "test_marked", "test_first"]

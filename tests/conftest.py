# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every layer of tests needs: this checkout as ``ansible_collections.gb10.vllm``, and the helpers of ``tests/support``.

``CI`` set: a test that is skipped has failed, for the set-up brings what it needs. ``GB10_REVERSE=1``: the last test first, to see that none needs another;
``GB10_SHUFFLE=NUMBER``: in an order that the number stands for, file by file.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COLLECTIONS = ROOT / ".ansible" / "collections"
if ROOT.parent.parent.name != "ansible_collections":  # in an ansible-test tree the import already works
    link = COLLECTIONS / "ansible_collections" / "gb10" / "vllm"
    if not link.exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to("../../../..", target_is_directory=True)
    sys.path.insert(0, str(COLLECTIONS))
sys.path.insert(0, str(ROOT / "tests" / "support"))

# The same examples on every machine; GB10_RANDOM=1 looks for new ones.
try:
    from hypothesis import settings
except ImportError:  # ansible-test units installs what it likes
    pass
else:
    # No deadline: what is slow on a busy machine is no fault; bounds of time are tests of their own, in seconds of a processor.
    settings.register_profile("repeatable", derandomize=True, deadline=None)
    if not os.environ.get("GB10_RANDOM"):
        settings.load_profile("repeatable")


# What may be skipped in CI, and why.
MAY_SKIP = {"tests/gpu": "needs a real GB10"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    if os.environ.get("GB10_REVERSE"):
        items.reverse()
    if number := os.environ.get("GB10_SHUFFLE"):
        items[:] = shuffled(items, number)


def shuffled(items, number):
    """The same tests, files and tests of a file in an order that the number stands for: what a file sets up once is still set up once."""
    order = random.Random(number)
    files: dict[Path, list] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    return [item for path in order.sample(sorted(files), len(files)) for item in order.sample(files[path], len(files[path]))]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    return _without_silent_skip((yield), item.path)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    return _without_silent_skip((yield), collector.path)


def _without_silent_skip(report, path):
    allowed = any(path.is_relative_to(ROOT / one) for one in MAY_SKIP)
    if os.environ.get("CI", "") not in ("", "0", "false") and report.skipped and not hasattr(report, "wasxfail") and not allowed:
        reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{reason}. In CI nothing is skipped: let the set-up bring what the test needs, or name it in MAY_SKIP of tests/conftest.py."
    return report

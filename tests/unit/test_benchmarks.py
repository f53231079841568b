# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A benchmark whose budget is exceeded, or whose figure is missing, ends with exit status 1."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parents[1] / "benchmarks" / "bench_monitoring.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_monitoring", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_within_its_budgets_passes(bench):
    assert bench.exceeded(dict(bench.BUDGETS)) == []


@pytest.mark.parametrize("changed", [1.01, float("nan"), None])
def test_each_budget_that_is_exceeded_or_was_not_measured_is_named(bench, changed):
    for name, most in bench.BUDGETS.items():
        figures = {**bench.BUDGETS, name: None if changed is None else most * changed}
        (said,) = bench.exceeded(figures)
        assert said.startswith(f"{name} ") and f"the budget is {most:g}" in said

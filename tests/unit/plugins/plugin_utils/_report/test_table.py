# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one table for the terminal."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.table import table

ROWS = [("box", "tokens", "", "state"), ("spark-1", "1,024", "", "ok"), ("b", "-", "", "")]


def test_columns_are_aligned_and_empty_ones_left_out():
    assert table(ROWS) == ["box      tokens  state", "spark-1  1,024   ok", "b        -"]
    assert table(ROWS, right=(1,), rule=True) == ["box      tokens  state", "-------  ------  -----", "spark-1   1,024  ok", "b             -"]
    assert table([]) == []


def test_long_names_give_way_in_their_order():
    rows = [("x" * 30, "y" * 30, "z")]
    assert table(rows, columns=60, shrink=(1, 0)) == [f"{'x' * 30}  {'y' * 24}…  z"]
    assert table(rows, columns=40, shrink=(1, 0)) == [f"{'x' * 24}…  {'y' * 9}…  z"]
    assert table(rows, columns=5, shrink=(1, 0)) == [f"{'x' * 9}…  {'y' * 9}…  z"]
    assert table(rows, columns=80, shrink=(1, 0)) == table(rows)


def test_rows_of_different_lengths_are_a_mistake():
    with pytest.raises(ValueError):
        table([("a", "b"), ("c",)])

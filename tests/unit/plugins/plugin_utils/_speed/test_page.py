# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page of a benchmark and its charts as text; tests/on_machine/test_benchmark_page_browser.py draws it."""

from __future__ import annotations

import re
import sys

import bench_runs
import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._speed import charts, page

GRID = {"grid": {"input_tokens": 512, "output_tokens": 16, "depths": [0, 1024], "concurrency": [1, 2], "repeats": 3}}


def test_each_chart_once_and_the_one_by_depth_where_there_are_depths():
    assert "Prefill and decode of one stream by depth" not in charts.charts(bench_runs.result())
    found = charts.charts(bench_runs.result("grid", own=GRID))
    assert len(found) == 5 and all(text.startswith("<svg") and text.rstrip().endswith("</svg>") for text in found.values())
    names = [set(re.findall(r'id="([^"]+)"', text)) for text in found.values()]
    clips = [{one for one in each if re.fullmatch(r"[pm][0-9a-f]{10}", one)} for each in names]
    assert sum(map(len, clips)) == len(set().union(*clips)), "two charts of one page share a name, so one would be cut by the other's frame"


def test_nothing_of_the_page_lies_elsewhere():
    text = page.page(bench_runs.result("grid", own=GRID), bench_runs.result("grid", own=GRID, speed=0.5))
    assert not re.findall(r'(?:src|href)="(?!#)[^"]*"', text) and "<script" not in text and "<link" not in text and "@import" not in text
    assert not re.findall(r"url\((?!#)", text)


def test_a_page_of_the_cpu_engine_says_that_its_figures_are_none():
    assert page.ON_CPU in page.page(bench_runs.result())
    assert page.ON_CPU not in page.page(bench_runs.result(vllm_version="0.33.0"))


def test_hostile_names_are_shown_as_text():
    evil = "<script>alert(1)</script>"
    result = bench_runs.result(model=evil)
    result["points"][0]["faults"] = [evil]
    result["points"][0]["name"] = f"{evil} $x_1$ & <b>"
    assert evil not in page.page(result, result)


def test_a_result_without_one_number_still_has_a_page():
    result = bench_runs.result()
    for point in result["points"]:
        point |= {"figures": {}, "counted": 0, "faults": ["2 of 2 requests failed"]}
    text = page.page(result)
    assert "<svg" not in text and "2 of 2 requests failed" in text


def test_the_front_is_what_no_other_point_beats():
    assert charts.pareto([(10, 100), (20, 50), (5, 90), (20, 40), (1, 300)]) == [(20, 50), (10, 100), (1, 300)]


def test_without_matplotlib_one_sentence_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(GB10Error, match="pip install matplotlib"):
        page.page(bench_runs.result())

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Table, picture and chart of plain figures, sign for sign as they were looked at, in drawn.txt.

Where one is to change: PYTHONPATH=.ansible/collections python3 THIS_FILE writes drawn.txt anew, and its difference is what has to be looked at.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._report import line_chart, plan_picture, plan_table, table, tell

DRAWN = Path(__file__).with_name("drawn.txt")
GIB = 2**30


def part(count, source="assumed", why="so"):
    return {"value": count * GIB, "source": source, "why": why}


def server(name, verdict="fits", **more):
    return {
        "name": name, "verdict": verdict, "weights_bytes": part(10, "read from the files"), "kv_bytes_per_token": 1000, "kv_cache_bytes": 20 * GIB,
        "kv_tokens": 21000, "concurrency": 2.5, "max_model_len": 8192, "gpu_memory_utilization": 0.3, "requested_bytes": 35 * GIB, "needed_bytes": 34 * GIB,
        "reason": f"server {name} {verdict}.", "warnings": [], "changes": [], "beside": {"graphs": part(2, "measured"), "workspaces": part(0)},
        "flags": [{"flag": "--max-model-len", "value": 8192, "why": "stated"}, {"flag": "--chat-template", "value": "a b" * 30, "why": "why " * 40}],
        **more,
    }  # fmt: skip


def plan(*servers, others=(), headroom=15, verdict="fits", **more):
    box = {
        "total_bytes": 100 * GIB, "available_bytes": 90 * GIB, "headroom_bytes": headroom * GIB, "floor_bytes": 5 * GIB, "left_for_os_bytes": 20 * GIB,
        "total_source": "CUDA", "others": list(others), **more,
    }  # fmt: skip
    return {"box": box, "servers": list(servers), "verdict": verdict}


OTHERS = [{"name": name, "bytes": count * GIB} for name, count in (("a", 1), ("b", 4), ("c", 3), ("d", 2))]
HUGE = server(
    "huge", "cannot_fit", needed_bytes=40 * GIB, warnings=["a warning " * 14], kv_bytes_per_token=0, beside={"host_processes": part(1)},
    changes=[
        {"change": "less context", "set": {"x": 1}, "boxes": 2, "stop": [], "freed_bytes": GIB, "cost": "shorter", "max_model_len": 4096.4, "note": "x"},
        {"change": "nothing", "set": {}},
    ],
)  # fmt: skip
PLANS = {
    "box-1": plan(
        server("one"), server("two", kv_cache_bytes=0, rank={"number": 1, "boxes": ["p", "q", "r"]}), HUGE, others=OTHERS, verdict="cannot_fit",
        warnings=["look here"],
    ),
    "none": plan(headroom=-3),
}  # fmt: skip
POINTS = {"label": "<a>" + "x" * 30, "points": [[0, 1], [300, 2.5], [1200, 4], [1500, -1]]}
CHART = {"title": "T & t", "unit": "GiB", "lines": [POINTS, *({"label": f"l{n}", "points": [[900 + n, n]]} for n in range(5))], "more": 2}


def drawn():
    parts = {
        "table": plan_table.plan_table(PLANS),
        "table without reasons": plan_table.plan_table(PLANS, reasons=False),
        **{f"picture of {name}": plan_picture.plan_picture(one, name if one["servers"] else "") for name, one in PLANS.items()},
        "parts": "".join(f"{one}\n" for one in plan_picture.segments(PLANS["box-1"])),
        "chart": line_chart.line_chart(CHART, 0, 3600, 700),
        "chart of 8 hours without a line": line_chart.line_chart({"title": "T", "unit": "s", "lines": [], "more": 0}, 0, 28800, 700),
    }
    return "".join(f"==== {name}\n{text}" for name, text in parts.items())


def test_all_that_is_drawn_is_as_it_was_looked_at():
    assert drawn().splitlines() == DRAWN.read_text(encoding="utf-8").splitlines()


def test_a_line_goes_on_over_as_much_as_a_gap_may_be_and_breaks_above_it():
    def pieces(gap):
        line = {"label": "a", "points": [[0, 1], [700, 1]]}
        return line_chart.line_chart({"title": "", "unit": "", "lines": [line], "more": 0}, 0, 1000, gap).count("<polyline")

    assert (pieces(700), pieces(699)) == (1, 2)


def test_the_style_of_the_ninth_line_is_no_other_s():
    styles = [line_chart._style(number) for number in range(9)]
    assert len(set(styles[:8])) == 8
    assert styles[0] == styles[8] == 'stroke="#1f5fa8" stroke-width="1.6"' and styles[2] == 'stroke="#2f7d32" stroke-width="1.6" stroke-dasharray="6 3"'


def test_a_part_of_the_bar_says_its_figure_from_where_it_has_room():
    room = (plan_picture.WIDTH - 2 * plan_picture.LEFT) / plan_picture.LEAST_LABELLED
    for total, labelled in ((room, True), (room * 1.001, False)):
        parts = [plan_picture._part("kv", "x", GIB, "")]
        assert ("<text" in "".join(plan_picture._bar(parts, int(total * GIB)))) is labelled


def test_columns_give_way_in_their_order_and_never_to_nothing():
    rows = [("name", "n", "", "why"), ("a" * 20, "1", "", "b" * 20)]
    assert table.table(rows) == ["name" + " " * 18 + "n  why", f"{'a' * 20}  1  {'b' * 20}"]
    assert table.table(rows, right=(1, 3), rule=True, columns=40, shrink=(3, 0)) == [
        "name                  n              why",
        "--------------------  -  " + "-" * 15,
        f"{'a' * 20}  1  {'b' * 14}…",
    ]
    assert [len(line) for line in table.table(rows, columns=10, shrink=(3, 0))] == [18, 25]
    assert table.table(rows, columns=45, shrink=(0,)) == table.table(rows) and table.table([]) == []


@pytest.mark.parametrize(("hours", "words"), [(0, "now"), (0.5, "30 min ago"), (1, "1 h ago"), (1.5, "1.5 h ago")])
def test_how_long_ago(hours, words):
    assert line_chart._ago(hours) == words


def test_the_top_of_an_axis_bears_a_thousandth():
    assert [line_chart.ceiling(value) for value in (1.0009, 1.0011, 2.001, 2.003)] == [1, 2, 2, 5]


def test_a_plan_of_a_verdict_and_a_size_that_nobody_knows_is_drawn():
    empty = plan(verdict="odd", headroom=0, total_bytes=1, available_bytes=1, floor_bytes=1)
    text = plan_picture.plan_picture(empty)
    assert "<title>Memory of box: 0.0 GiB, odd</title>" in text and f'width="{plan_picture.WIDTH - 2 * plan_picture.LEFT}.00"' in text


def test_long_reasons_go_on_below_themselves():
    for what in ({"weights_bytes": part(1, why="why " * 40)}, {"changes": [{"change": "a change " * 20}]}, {"warnings": ["look " * 40]}):
        lines = plan_table.plan_table({"b": plan(server("s", "cannot_fit", flags=[], beside={}, **what))}).splitlines()
        first = next(number for number, line in enumerate(lines) if line.startswith(("  weights: 1.00", "  change", "  warning")))
        assert lines[first + 1].startswith("    ") and lines[first + 1][4] != " "


def test_a_plan_of_an_earlier_release_says_nothing_of_what_is_beside_the_weights():
    old = {key: value for key, value in server("s", "cannot_fit").items() if key != "beside"}
    assert plan_table.plan_table({"b": plan(old)}).splitlines()[-1] == "  weights: 10.00 GiB, read from the files: so"


def test_what_is_read_as_data_is_told_beside_it(monkeypatch):
    for callback, stderr in (("ansible.posix.json", True), ("default", False)):
        shown = []
        monkeypatch.setattr(tell.C, "DEFAULT_STDOUT_CALLBACK", callback)
        tell.tell(SimpleNamespace(display=lambda *given, **named: shown.append((given, named))), "a\x1b[31m", before="\r", color="red")  # noqa: B023
        assert tell.is_data() is stderr and shown == [(("\r" + tell.visible("a\x1b[31m"),), {"color": "red", **({"stderr": True} if stderr else {})})]


if __name__ == "__main__":
    DRAWN.write_text(drawn(), encoding="utf-8")

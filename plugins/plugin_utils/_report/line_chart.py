# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lines over time as a picture (SVG). Pure: numbers in, text out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

from ansible_collections.gb10.vllm.plugins.plugin_utils._report.words import cut

if TYPE_CHECKING:
    from ansible_collections.gb10.vllm.plugins.plugin_utils._monitoring.history import Chart, Line

# Told apart without colour by their dashes.
STROKES = ("#1f5fa8", "#b3541e", "#2f7d32", "#7b3fa0", "#8a6d00", "#a3195b", "#00757a", "#555555")
DASHES = ("", "6 3", "2 2", "8 3 2 3")
WIDTH, LEFT, RIGHT, TOP, PLOT = 960, 64, 20, 40, 150
ROW = 20
COLUMNS = 4
SMALL = 'font-size="11" fill="#555"'


def line_chart(chart: Chart, start: float, end: float, gap_s: float) -> str:
    """A self-contained SVG. ``start``, ``end``: of the time axis, in seconds; a line is broken where more than ``gap_s`` lie between two points."""
    rows = math.ceil(len(chart["lines"]) / COLUMNS)
    bottom = TOP + PLOT
    height = bottom + 30 + ROW * rows + (ROW if chart["more"] else 0)
    top = ceiling(max((value for line in chart["lines"] for _at, value in line["points"]), default=0))
    title = escape(f"{chart['title']} ({chart['unit']})")
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img"'
        ' font-family="system-ui, sans-serif" font-size="13" fill="#1a1a1a">',
        f"<title>{title}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="24" font-size="15" font-weight="600">{title}</text>',
        *_axes(top, (end - start) / 3600),
        *_lines(chart["lines"], (start, end, top), gap_s),
        *_legend(chart["lines"], bottom + 40),
    ]
    if not chart["lines"]:
        out.append(f'<text x="{WIDTH / 2:.0f}" y="{TOP + PLOT / 2:.0f}" text-anchor="middle" fill="#555">nothing was recorded</text>')
    if chart["more"]:
        out.append(f'<text x="{LEFT}" y="{bottom + 40 + ROW * rows}" {SMALL}>and {chart["more"]} more with lower values</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def ceiling(value: float) -> float:
    """The least 1, 2 or 5 times a power of ten that is no less; 1 where nothing is."""
    if value <= 0:
        return 1.0
    power = 10 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * 0.999)


def _axes(top: float, hours: float) -> Iterator[str]:
    bottom = TOP + PLOT
    for part in range(5):
        y = bottom - PLOT * part / 4
        yield f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#ddd"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" {SMALL} text-anchor="end">{top * part / 4:.4g}</text>'
    for part in range(5):
        x = LEFT + (WIDTH - LEFT - RIGHT) * part / 4
        ago = hours * (4 - part) / 4
        yield f'<text x="{x:.1f}" y="{bottom + 16}" {SMALL} text-anchor="{("start", "middle", "middle", "middle", "end")[part]}">{_ago(ago)}</text>'


def _ago(hours: float) -> str:
    return "now" if not hours else f"{hours:g} h ago" if hours >= 1 else f"{hours * 60:.0f} min ago"


def _style(number: int) -> str:
    dash = DASHES[number // 2 % len(DASHES)]
    return f'stroke="{STROKES[number % len(STROKES)]}" stroke-width="1.6"' + (f' stroke-dasharray="{dash}"' if dash else "")


def _lines(lines: Sequence[Line], scale: tuple[float, float, float], gap_s: float) -> Iterator[str]:
    start, end, top = scale
    for number, line in enumerate(lines):
        pieces: list[list[str]] = []
        before = -math.inf
        for at, value in line["points"]:
            x = LEFT + (WIDTH - LEFT - RIGHT) * (at - start) / max(1.0, end - start)
            y = TOP + PLOT - PLOT * min(max(value, 0) / top, 1)
            if at - before > gap_s:
                pieces.append([])
            pieces[-1].append(f"{x:.1f},{y:.1f}")
            before = at
        # A point alone is no line: it gets one of no length, which round ends show.
        for piece in pieces:
            yield f'<polyline points="{" ".join(piece if len(piece) > 1 else piece * 2)}" fill="none" stroke-linecap="round" {_style(number)}/>'


def _legend(lines: Sequence[Line], top: int) -> Iterator[str]:
    wide = (WIDTH - LEFT - RIGHT) / COLUMNS
    for number, line in enumerate(lines):
        x, y = LEFT + wide * (number % COLUMNS), top + ROW * (number // COLUMNS)
        yield f'<line x1="{x:.0f}" y1="{y - 4}" x2="{x + 22:.0f}" y2="{y - 4}" {_style(number)}/>'
        yield f'<text x="{x + 28:.0f}" y="{y}">{escape(cut(line["label"], 26))}</text>'

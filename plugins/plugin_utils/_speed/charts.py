# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The charts of a result as SVG, drawn by matplotlib on the controller; nothing in them comes from elsewhere."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error

SIZE = (6.4, 3.6)
MISSING = (
    "The page of a benchmark needs matplotlib on the controller, for the Python that runs Ansible ({why}); install it (pip install matplotlib, or "
    "python3-matplotlib of the distribution), or leave the page out with -e gb10_benchmark_page=false."
)


def drawing() -> Any:
    """matplotlib, imported where it is needed; GB10Error in one sentence where it is not there."""
    try:
        import matplotlib
        import matplotlib.figure
    except ImportError as error:
        raise GB10Error(MISSING.format(why=error)) from None
    return matplotlib


def charts(result: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> dict[str, str]:
    """SVG by title; a chart without figures is left out. ``before``: an earlier result, drawn dashed where both have points."""
    plt = drawing()
    depths = sorted({one["depth"] for one in result["points"]})
    drawn = {
        "Output of all streams by concurrency": lambda axes: _throughput(axes, result, before),
        "Time to the first token by concurrency": lambda axes: _percentiles(axes, result, "ttft", depths[0]),
        "Time between tokens by concurrency": lambda axes: _percentiles(axes, result, "itl", depths[0]),
        "Prefill and decode of one stream by depth": lambda axes: _by_depth(axes, result) if len(depths) > 1 else False,
        "What each user gets and what all get": lambda axes: _pareto(axes, result, before),
    }
    found = {}
    for title, draw in drawn.items():
        # A salt of its own: parts are named by it, and all charts stand in one page.
        with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.family": "sans-serif", "font.size": 10}):
            figure = plt.figure.Figure(figsize=SIZE, layout="constrained")
            axes = figure.add_subplot()
            if draw(axes):
                axes.grid(alpha=0.3)
                found[title] = _svg(figure, title)
    return found


def trials(bars: Sequence[tuple[str, float, float, bool]]) -> str:
    """Bars of (name, mean, spread, whether the aim was reached) as SVG."""
    plt = drawing()
    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": "trials", "font.family": "sans-serif", "font.size": 10}):
        figure = plt.figure.Figure(figsize=SIZE, layout="constrained")
        axes = figure.add_subplot()
        colours = ["C0" if reached else "C7" for _name, _mean, _spread, reached in bars]
        axes.bar([one[0] for one in bars], [one[1] for one in bars], yerr=[one[2] for one in bars], capsize=4, color=colours)
        axes.set_xlabel("trial (grey: misses the aim)")
        axes.set_ylabel("tokens/s")
        axes.grid(alpha=0.3, axis="y")
        return _svg(figure, "Trials")


def _svg(figure: Any, title: str) -> str:
    """The figure as an element of HTML: without the prologue that names a document type elsewhere."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    text = buffer.getvalue()
    return re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)


def _series(result: Mapping[str, Any], name: str, depth: int | None = None) -> list[tuple[float, float, float]]:
    """(concurrency, mean, spread) of a figure at one depth, by concurrency."""
    points = [one for one in result["points"] if name in one["figures"] and depth in (None, one["depth"])]
    return sorted((one["concurrency"], one["figures"][name]["mean"], one["figures"][name]["std"]) for one in points)


def _line(axes: Any, series: Sequence[tuple[float, float, float]], **look: Any) -> bool:
    if series:
        axes.errorbar([x for x, _y, _e in series], [y for _x, y, _e in series], yerr=[e for _x, _y, e in series], marker="o", capsize=3, **look)
    return bool(series)


def _streams(axes: Any, result: Mapping[str, Any]) -> None:
    """The horizontal axis of concurrencies: those that were asked, evenly."""
    asked = sorted({one["concurrency"] for one in result["points"]})
    axes.set_xscale("log", base=2)
    axes.set_xticks(asked, [str(one) for one in asked])
    axes.minorticks_off()
    axes.set_xlabel("streams at once")


def _throughput(axes: Any, result: Mapping[str, Any], before: Mapping[str, Any] | None) -> bool:
    depths = sorted({one["depth"] for one in result["points"]})
    some = [_line(axes, _series(result, "total", depth), label=f"depth {depth:,}") for depth in depths]
    if before:
        for depth in sorted({one["depth"] for one in before["points"]} & set(depths)):
            _line(axes, _series(before, "total", depth), label=f"earlier, depth {depth:,}", linestyle="--", alpha=0.6)
    _streams(axes, result)
    axes.set_ylabel("tokens/s")
    axes.set_ylim(bottom=0)
    if len(depths) > 1 or before:
        axes.legend(fontsize=8)
    return any(some)


def _percentiles(axes: Any, result: Mapping[str, Any], name: str, depth: int) -> bool:
    some = [_line(axes, _series(result, f"{name}_{p}", depth), label=label) for p, label in (("p50", "median"), ("p95", "p95"), ("p99", "p99"))]
    _streams(axes, result)
    axes.set_ylabel("ms")
    axes.set_ylim(bottom=0)
    if any(some):
        axes.legend(fontsize=8)
    return any(some)


def _by_depth(axes: Any, result: Mapping[str, Any]) -> bool:
    fewest = min(one["concurrency"] for one in result["points"])
    points = sorted((one for one in result["points"] if one["concurrency"] == fewest and one["figures"].get("decode_user")), key=lambda one: one["depth"])
    if not points:
        return False
    depths = [one["depth"] for one in points]
    axes.plot(depths, [one["figures"]["decode_user"]["mean"] for one in points], marker="o", color="C0", label="decode")
    axes.set_xlabel("tokens before the prompt")
    axes.set_ylabel("decode, tokens/s", color="C0")
    axes.set_ylim(bottom=0)
    expected = [one["expected"]["ceiling"] / fewest for one in points if one.get("expected")]
    if len(expected) == len(points):
        axes.plot(depths, expected, linestyle=":", color="C0", label="roofline")
    prefill = [one for one in points if one["figures"].get("prefill")]
    if prefill:
        other = axes.twinx()
        other.plot([one["depth"] for one in prefill], [one["figures"]["prefill"]["mean"] for one in prefill], marker="s", color="C1", label="prefill")
        other.set_ylabel("prefill, tokens/s", color="C1")
        other.set_ylim(bottom=0)
    return True


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of (speed of a user, speed of all) those that no other point beats in both, from the fastest user on."""
    front: list[tuple[float, float]] = []
    for user, total in sorted(points, reverse=True):
        if not front or total > front[-1][1]:
            front.append((user, total))
    return front


def _pareto(axes: Any, result: Mapping[str, Any], before: Mapping[str, Any] | None) -> bool:
    some = False
    for side, look in ((before, {"alpha": 0.5, "linestyle": "--", "color": "C7"}), (result, {"color": "C0"})):
        known = [one for one in (side or {"points": []})["points"] if {"decode_user", "total"} <= set(one["figures"])]
        found = [(one["figures"]["decode_user"]["mean"], one["figures"]["total"]["mean"], one) for one in known]
        if not found:
            continue
        front = pareto([(user, total) for user, total, _one in found])
        axes.plot([user for user, _total in front], [total for _user, total in front], **look)
        axes.scatter([user for user, _total, _one in found], [total for _user, total, _one in found], color=look["color"], alpha=0.8, s=18)
        if side is result:
            some = True
            for user, total, one in found:
                axes.annotate(one["name"], (user, total), fontsize=7, xytext=(3, 3), textcoords="offset points")
    axes.set_xlabel("decode of each stream, tokens/s")
    axes.set_ylabel("all streams, tokens/s")
    axes.margins(0.15)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    return some

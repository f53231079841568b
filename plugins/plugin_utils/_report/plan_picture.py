# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A plan as a picture of its box's memory (SVG). Pure: plan in, text out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from ansible_collections.gb10.vllm.plugins.plugin_utils._report.plan_table import VERDICT_WORDS, box_of
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.words import GIB, cut, gib, human_bytes

# Distinct in grey as well as in colour, readable with black text.
COLOURS = {"weights": "#7aa6d8", "overhead": "#d9c27a", "kv": "#8cc48c", "others": "#b9b9b9", "headroom": "#f2f2f2", "floor": "#e59a86"}
WIDTH = 960
LEFT = 20
BAR_TOP = 52
BAR_HEIGHT = 56
BAR_BOTTOM = BAR_TOP + BAR_HEIGHT
ROW = 22
LEAST_LABELLED = 46
"""Width from which a part of the bar has room for its figure."""
SMALL = 'font-size="11" fill="#555"'
EDGE = 'stroke="#444" stroke-width="0.7"'


def segments(plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The memory of a box from what others use to the floor, in drawing order: ``{kind, label, bytes, note}``.

    The bytes add up to the total as CUDA sees it, unless running servers already reach into the floor.
    """
    box = box_of(plan)
    used = max(0, box["total_bytes"] - box["available_bytes"])
    largest = ", ".join(f"{one['name']} {gib(one['bytes'])}" for one in sorted(box["others"], key=lambda one: -one["bytes"])[:3])
    parts = [_part("others", "in use otherwise: system and other programs", used, largest)]
    for server in plan["servers"]:
        if server["verdict"] == "fits":
            parts += _server_parts(server)
    parts.append(_part("headroom", "headroom", max(0, box["headroom_bytes"]), "free for more"))
    parts.append(_part("floor", "floor for the operating system", box["floor_bytes"], "never planned away"))
    return parts


def plan_picture(plan: Mapping[str, Any], title: str = "") -> str:
    """A self-contained SVG: one bar for the box's memory, a legend with GiB below it, and a line for each server that does not fit."""
    parts = segments(plan)
    box = plan["box"]
    total = max(1, sum(part["bytes"] for part in parts))
    misfits = [server for server in plan["servers"] if server["verdict"] != "fits"]
    rows = [part for part in parts if part["bytes"] > 0]
    height = BAR_BOTTOM + 34 + ROW * (len(rows) + len(misfits)) + 14
    legend = BAR_BOTTOM + 40
    text = escape(f"{title or 'box'}: {gib(box['total_bytes'])}, {VERDICT_WORDS.get(plan['verdict'], plan['verdict'])}")
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img"'
        ' font-family="system-ui, sans-serif" font-size="14" fill="#1a1a1a">',
        f"<title>Memory of {text}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="30" font-size="18" font-weight="600">{text}</text>',
        *_bar(rows, total),
        f'<text x="{LEFT}" y="{BAR_BOTTOM + 16}" {SMALL}>0</text>',
        f'<text x="{WIDTH - LEFT}" y="{BAR_BOTTOM + 16}" {SMALL} text-anchor="end">{gib(total)} ({escape(box["total_source"])})</text>',
        *_legend(rows, legend),
        *_misfits(misfits, max(0, box["headroom_bytes"]), legend + ROW * len(rows)),
        "</svg>",
    ]
    return "\n".join(out) + "\n"


def _part(kind: str, label: str, count: int, note: str) -> dict[str, Any]:
    return {"kind": kind, "label": label, "bytes": count, "note": note}


def _server_parts(server: Mapping[str, Any]) -> list[dict[str, Any]]:
    name, weights, kv = server["name"], server["weights_bytes"]["value"], server["kv_cache_bytes"]
    sources = sorted({part["source"] for part in server["beside"].values() if part["value"]})
    requests = f"{server['kv_tokens']:,} tokens, {server['concurrency']:.2f} requests of {server['max_model_len']:,}" if kv else "none"
    overhead = max(0, server["requested_bytes"] - weights - kv)
    return [
        _part("weights", f"{name}: weights", weights, server["weights_bytes"]["source"]),
        _part("overhead", f"{name}: activations, graphs, processes, margin", overhead, " and ".join(sources)),
        _part("kv", f"{name}: KV cache", kv, requests),
    ]


def _bar(parts: Sequence[Mapping[str, Any]], total: int) -> Iterator[str]:
    x = float(LEFT)
    scale = (WIDTH - 2 * LEFT) / total
    for part in parts:
        wide = part["bytes"] * scale
        yield (
            f'<rect x="{x:.2f}" y="{BAR_TOP}" width="{wide:.2f}" height="{BAR_HEIGHT}" fill="{COLOURS[part["kind"]]}" {EDGE}>'
            f"<title>{escape(part['label'])}: {human_bytes(part['bytes'])}</title></rect>"
        )
        if wide >= LEAST_LABELLED:
            yield f'<text x="{x + wide / 2:.2f}" y="{BAR_TOP + 33}" text-anchor="middle">{part["bytes"] / GIB:.1f}</text>'
        x += wide


def _legend(parts: Sequence[Mapping[str, Any]], top: int) -> Iterator[str]:
    for number, part in enumerate(parts):
        y = top + number * ROW
        yield f'<rect x="{LEFT}" y="{y - 12}" width="14" height="14" fill="{COLOURS[part["kind"]]}" {EDGE}/>'
        yield f'<text x="{LEFT + 24}" y="{y}">{escape(cut(part["label"], 56))}</text>'
        yield f'<text x="{LEFT + 480}" y="{y}" text-anchor="end">{gib(part["bytes"], 2)}</text>'
        yield f'<text x="{LEFT + 496}" y="{y}" fill="#555">{escape(cut(part["note"], 66))}</text>'


def _misfits(servers: Sequence[Mapping[str, Any]], headroom: int, top: int) -> Iterator[str]:
    for number, server in enumerate(servers):
        short = max(0, server["needed_bytes"] - headroom)
        yield (
            f'<text x="{LEFT}" y="{top + number * ROW}" fill="#9c1c00">{escape(server["name"])} is not in the picture:'
            f" it needs {gib(server['needed_bytes'])}, {short / GIB:.1f} more than there are</text>"
        )

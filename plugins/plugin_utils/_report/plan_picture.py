# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A plan to look at: a picture of a box's memory (SVG) and a table for the terminal. Pure: plan in, text out."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Mapping
from html import escape
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import flags
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.budget import GIB
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.words import human_bytes

COLUMNS = 120
VERDICT_WORDS = {"fits": "fits", "fits_with_change": "needs a change", "cannot_fit": "cannot fit"}
PARTS = {"weights_bytes": "weights", "activation_bytes": "activations", "graph_bytes": "CUDA graphs", "non_torch_bytes": "processes"}
# Distinct in grey as well as in colour, readable with black text.
COLOURS = {"weights": "#7aa6d8", "overhead": "#d9c27a", "kv": "#8cc48c", "others": "#b9b9b9", "headroom": "#f2f2f2", "floor": "#e59a86"}


def segments(plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The memory of a box from what others use to the floor, in drawing order: ``{kind, label, bytes, note}``.

    The bytes add up to the total as CUDA sees it, unless running servers already reach into the floor.
    """
    box = _box(plan)
    done = [
        {
            "kind": "others",
            "label": "in use otherwise: system and other programs",
            "bytes": max(0, box["total_bytes"] - box["available_bytes"]),
            "note": ", ".join(f"{o['name']} {o['bytes'] / GIB:.1f} GiB" for o in sorted(box["others"], key=lambda o: -o["bytes"])[:3]),
        }
    ]
    for server in plan["servers"]:
        if server["verdict"] != "fits":
            continue
        weights, kv = server["weights_bytes"]["value"], server["kv_cache_bytes"]
        overhead = server["requested_bytes"] - weights - kv
        sources = sorted({server[key]["source"] for key in ("activation_bytes", "graph_bytes", "non_torch_bytes")})
        name = server["name"]
        done += [
            {"kind": "weights", "label": f"{name}: weights", "bytes": weights, "note": server["weights_bytes"]["source"]},
            {
                "kind": "overhead",
                "label": f"{name}: activations, graphs, processes, margin",
                "bytes": max(0, overhead),
                "note": " and ".join(sources),
            },
            {
                "kind": "kv",
                "label": f"{name}: KV cache",
                "bytes": kv,
                "note": f"{server['kv_tokens']:,} tokens, {server['concurrency']:.2f} requests of {server['max_model_len']:,}" if kv else "none",
            },
        ]
    done.append({"kind": "headroom", "label": "headroom", "bytes": max(0, box["headroom_bytes"]), "note": "free for more"})
    done.append({"kind": "floor", "label": "floor for the operating system", "bytes": box["floor_bytes"], "note": "never planned away"})
    return done


def plan_picture(plan: Mapping[str, Any], title: str = "") -> str:
    """A self-contained SVG: one bar for the box's memory, a legend with GiB below it, and a line for each server that does not fit."""
    parts = segments(plan)
    box = plan["box"]
    width, left, bar_top, bar_height, row = 960, 20, 52, 56, 22
    total = max(1, sum(p["bytes"] for p in parts))
    misfits = [s for s in plan["servers"] if s["verdict"] != "fits"]
    rows = [p for p in parts if p["bytes"] > 0]
    height = bar_top + bar_height + 34 + row * (len(rows) + len(misfits)) + 14
    name = title or "box"
    text = f"{name}: {box['total_bytes'] / GIB:.1f} GiB, {VERDICT_WORDS.get(plan['verdict'], plan['verdict'])}"
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img"'
        ' font-family="system-ui, sans-serif" font-size="14" fill="#1a1a1a">',
        f"<title>Memory of {escape(text)}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{left}" y="30" font-size="18" font-weight="600">{escape(text)}</text>',
    ]
    x = float(left)
    scale = (width - 2 * left) / total
    for part in rows:
        wide = part["bytes"] * scale
        out.append(
            f'<rect x="{x:.2f}" y="{bar_top}" width="{wide:.2f}" height="{bar_height}" fill="{COLOURS[part["kind"]]}" stroke="#444" stroke-width="0.7">'
            f"<title>{escape(part['label'])}: {human_bytes(part['bytes'])}</title></rect>"
        )
        if wide >= 46:
            out.append(f'<text x="{x + wide / 2:.2f}" y="{bar_top + 33}" text-anchor="middle">{part["bytes"] / GIB:.1f}</text>')
        x += wide
    out.append(f'<text x="{left}" y="{bar_top + bar_height + 16}" font-size="11" fill="#555">0</text>')
    out.append(
        f'<text x="{width - left}" y="{bar_top + bar_height + 16}" font-size="11" fill="#555" text-anchor="end">{total / GIB:.1f} GiB'
        f" ({escape(box['total_source'])})</text>"
    )
    y = bar_top + bar_height + 40
    for part in rows:
        out.append(f'<rect x="{left}" y="{y - 12}" width="14" height="14" fill="{COLOURS[part["kind"]]}" stroke="#444" stroke-width="0.7"/>')
        out.append(f'<text x="{left + 24}" y="{y}">{escape(_cut(part["label"], 56))}</text>')
        out.append(f'<text x="{left + 480}" y="{y}" text-anchor="end">{part["bytes"] / GIB:.2f} GiB</text>')
        out.append(f'<text x="{left + 496}" y="{y}" fill="#555">{escape(_cut(part["note"], 66))}</text>')
        y += row
    for server in misfits:
        short = max(0, server["needed_bytes"] - max(0, box["headroom_bytes"]))
        out.append(
            f'<text x="{left}" y="{y}" fill="#9c1c00">{escape(server["name"])} is not in the picture:'
            f" it needs {server['needed_bytes'] / GIB:.1f} GiB, {short / GIB:.1f} more than there are</text>"
        )
        y += row
    out.append("</svg>")
    return "\n".join(out) + "\n"


def plan_table(plans: Mapping[str, Mapping[str, Any]], reasons: bool = True) -> str:
    """One line per server, at most 120 columns, then each server's flags with reasons, warnings and possible changes.

    Without ``reasons`` nothing more is said of servers that fit and have no warning.
    """
    if not isinstance(plans, Mapping):
        raise GB10Error("plan_table wants plans by name of the box")
    head = ["box", "server", "weights", "KV/token", "KV cache", "tokens", "requests", "context", "util", "OS left", "verdict"]
    lines = []
    for box_name, plan in plans.items():
        left = f"{_box(plan)['left_for_os_bytes'] / GIB:.1f} GiB"
        if not plan["servers"]:
            lines.append([str(box_name), "(none)", *[""] * 7, left, ""])
        for server in plan["servers"]:
            lines.append(
                [
                    str(box_name),
                    server["name"],
                    f"{server['weights_bytes']['value'] / GIB:.1f} GiB",
                    f"{server['kv_bytes_per_token']:,.0f} B" if server["kv_bytes_per_token"] else "none",
                    f"{server['kv_cache_bytes'] / GIB:.2f} GiB",
                    f"{server['kv_tokens']:,}",
                    f"{server['concurrency']:.2f}x",
                    f"{server['max_model_len']:,}",
                    f"{server['gpu_memory_utilization']:.3f}",
                    left,
                    VERDICT_WORDS[server["verdict"]],
                ]
            )
    widths = [max(len(r[i]) for r in [head, *lines]) for i in range(len(head))]
    over = sum(widths) + 2 * (len(widths) - 1) - COLUMNS
    for i in (1, 0):  # names give way first
        if over > 0:
            cut = min(over, max(0, widths[i] - 10))
            widths[i] -= cut
            over -= cut
    out = [_row(head, widths), "  ".join("-" * w for w in widths), *(_row(line, widths) for line in lines)]
    for box_name, plan in plans.items():
        for warning in plan["box"].get("warnings", ()):
            out += ["", *_wrap(f"{box_name}: warning: {warning}", "")]
        for server in plan["servers"]:
            if not reasons and server["verdict"] == "fits" and not server["warnings"]:
                continue
            out += ["", *_wrap(f"{box_name}: {server['reason']}", "")]
            for entry in server["flags"] if server["verdict"] == "fits" else ():
                shown = " ".join(shlex.quote(w) for w in flags.words(entry["flag"], entry["value"]))
                indent = max(44, len(shown) + 4)
                first = f"  {shown}".ljust(indent)
                if indent > 70:
                    out += [first.rstrip(), *_wrap(entry["why"], " " * 44)]
                else:
                    wrapped = textwrap.wrap(entry["why"], COLUMNS - indent) or [""]
                    out += [(first + wrapped[0]).rstrip(), *(" " * indent + w for w in wrapped[1:])]
            for key, what in PARTS.items():
                part = server[key]
                out += _wrap(f"{what}: {part['value'] / GIB:.2f} GiB, {part['source']}: {part['why']}", "  ", "    ")
            for warning in server["warnings"]:
                out += _wrap(f"warning: {warning}", "  ", "    ")
            for number, change in enumerate(server["changes"], 1):
                numbers = _numbers(change)
                out += _wrap(f"change {number}: {change['change']}{f' ({numbers})' if numbers else ''}", "  ", "    ")
    return "\n".join(out) + "\n"


def _numbers(change: Mapping[str, Any]) -> str:
    words = []
    for key, value in change.items():
        if key in ("change", "set", "stop", "boxes"):
            continue
        if key.endswith("_bytes"):
            words.append(f"{key.removesuffix('_bytes').replace('_', ' ')} {human_bytes(value)}")
        elif key == "cost":
            words.append(f"cost: {value}")
        elif isinstance(value, (int, float)):
            words.append(f"{key.replace('_', ' ')} {value:,.0f}")
    return ", ".join(words)


def _box(plan: Any) -> Mapping[str, Any]:
    if not isinstance(plan, Mapping) or not isinstance(plan.get("box"), Mapping) or "servers" not in plan:
        raise GB10Error("this is not a plan: pass what gb10.vllm.kv_cache_budget returns as plan")
    return plan["box"]


def _row(cells: list[str], widths: list[int]) -> str:
    """Names and the verdict to the left, numbers to the right."""
    done = [_cut(c, w).ljust(w) if i in (0, 1, len(cells) - 1) else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
    return "  ".join(done).rstrip()


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def _wrap(text: str, indent: str, later: str | None = None) -> list[str]:
    return textwrap.wrap(text, COLUMNS, initial_indent=indent, subsequent_indent=later or indent + "  ", break_on_hyphens=False)

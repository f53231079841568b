# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The status of a fleet as one HTML page that needs nothing else: no script, no font, no image from elsewhere. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from ansible_collections.gb10.vllm.plugins.plugin_utils._fleet.lock import short

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, sans-serif; color: #1c2024; background: #f6f7f8; margin: 0 auto; max-width: 1080px; padding: 24px; }
h1 { font-size: 22px; margin: 0 0 4px; }
h2 { font-size: 17px; margin: 0 0 8px; }
.when { color: #5a6169; margin: 0 0 20px; }
table { border-collapse: collapse; width: 100%; background: #fff; }
th, td { text-align: left; padding: 6px 10px; border-bottom: 1px solid #e3e6e8; vertical-align: top; }
th { font-weight: 600; background: #eceff1; position: sticky; top: 0; }
.number { text-align: right; white-space: nowrap; }
td.number { font-variant-numeric: tabular-nums; }
code { font: 13px/1.4 ui-monospace, monospace; }
.wide { overflow-x: auto; margin-bottom: 24px; }
.good { color: #14632b; } .bad { color: #a31515; font-weight: 600; } .warn { color: #7a4b00; }
section { background: #fff; padding: 16px 18px; margin-bottom: 16px; border: 1px solid #e3e6e8; border-radius: 6px; }
section svg { max-width: 100%; height: auto; display: block; margin: 8px 0; }
ul { margin: 6px 0; padding-left: 20px; }
details { margin-top: 6px; }
@media print { body { background: #fff; } section { break-inside: avoid; } }
"""
COLUMNS = ("box", "server", "runs", "vLLM", "health", "KV tokens", "concurrency", "memory left", "drift")
NUMBERS = ("KV tokens", "concurrency", "memory left")
NUMBER = ' class="number"'


def page(fleet: Mapping[str, Any], pictures: Mapping[str, str], title: str = "GB10 fleet") -> str:
    """The page of a fleet (``fleet.status``) with the memory picture (SVG text) of each box that has one. All text in it is escaped."""
    boxes = fleet["boxes"]
    servers = [server for box in boxes.values() for server in box["servers"]]
    well = sum(server["health"].startswith("answers") for server in servers)
    drifted = sum(bool(server["drift"]) for server in servers)
    summary = f"{len(boxes)} boxes, {well} of {len(servers)} servers answer, {drifted} differ from what is wanted or locked"
    rows = "\n".join(_row(name, box, server) for name, box in boxes.items() for server in box["servers"] or [None])
    heads = "".join(f'<th scope="col"{NUMBER if head in NUMBERS else ""}>{head}</th>' for head in COLUMNS)
    sections = "\n".join(_section(name, box, pictures.get(name, "")) for name, box in boxes.items())
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<p class="when">{escape(summary)}. Seen at {escape(str(fleet["made_at"]))}.</p>
<div class="wide"><table id="fleet">
<thead><tr>{heads}</tr></thead>
<tbody>
{rows}
</tbody>
</table></div>
{sections}
</body>
</html>
"""


def _row(name: str, box: Mapping[str, Any], server: Mapping[str, Any] | None) -> str:
    left = _gib((box["memory"] or {}).get("available_bytes"))
    link = f'<a href="#{_anchor(name)}">{escape(name)}</a>'
    if server is None:
        problem = f'<span class="bad">{escape(box["problem"])}</span>' if box["problem"] else "no server"
        return f'<tr data-box="{escape(name)}"><td>{link}</td><td colspan="6">{problem}</td><td class="number">{left}</td><td></td></tr>'
    runs = f"{escape(str(server['model']))}<br><code>{short(server['image_id'])}</code>" if server["image_id"] else "-"
    state = server["health"].partition(":")[0]
    colour = "good" if state.startswith("answers") else "bad"
    drift = f'<span class="warn">{len(server["drift"])}</span>' if server["drift"] else "unknown" if state == "unreachable" else "none"
    cells = [
        f"<td>{link}</td>",
        f"<td>{escape(server['server'])}{'' if server['wanted'] else ' (not in the inventory)'}</td>",
        f"<td>{runs}</td>",
        f"<td>{escape(server['vllm_version'] or '-')}</td>",
        f'<td class="{colour}">{escape(state)}</td>',
        f'<td class="number">{_count(server["kv_tokens"])}</td>',
        f'<td class="number">{_times(server["concurrency"])}</td>',
        f'<td class="number">{left}</td>',
        f"<td>{drift}</td>",
    ]
    return f'<tr data-box="{escape(name)}" data-server="{escape(server["server"])}">{"".join(cells)}</tr>'


def _section(name: str, box: Mapping[str, Any], picture: str) -> str:
    parts = [f"<h2>{escape(name)}</h2>"]
    if box["problem"]:
        parts.append(f'<p class="bad">{escape(box["problem"])}</p>')
    if picture:
        parts.append(picture)
    for server in box["servers"]:
        lines = [f'<li class="warn">{escape(one)}</li>' for one in server["drift"]]
        if not server["health"].startswith("answers"):
            lines.append(f'<li class="bad">{escape(server["health"])}</li>')
        lines += [f"<li>repaired: {escape(one)}</li>" for one in server["repairs"]]
        figures = f", {server['figures']}: {_count(server['kv_tokens'])} KV tokens, {_times(server['concurrency'])}" if server["figures"] else ""
        where = f" at <code>{escape(server['endpoint'])}</code>" if server["endpoint"] else ""
        parts.append(f"<p><strong>{escape(server['server'])}</strong>{where}{escape(figures)}</p>")
        if lines:
            parts.append(f"<ul>{''.join(lines)}</ul>")
        if server["history"]:
            earlier = "".join(f"<li>{escape(str(one['model']))} on <code>{short(one['image_id'])}</code></li>" for one in server["history"])
            parts.append(f"<details><summary>{len(server['history'])} earlier deployments to go back to</summary><ul>{earlier}</ul></details>")
    return f'<section id="{_anchor(name)}">\n{chr(10).join(parts)}\n</section>'


def _anchor(name: str) -> str:
    return "box-" + "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)


def _gib(value: float | None) -> str:
    return "-" if value is None else f"{value / 2**30:.1f} GiB"


def _count(value: float | None) -> str:
    return f"{value:,}" if value else "-"


def _times(value: float | None) -> str:
    return f"{value:.2f}x" if value else "-"

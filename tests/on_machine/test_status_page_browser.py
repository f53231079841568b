# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page of a fleet in a real browser: Chromium draws it and measures what it drew."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._filters.fleet import fleet_page
from ansible_collections.gb10.vllm.plugins.plugin_utils._fleet import status, status_page
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.plan_picture import plan_picture
from fleet_boxes import UNIT_DIGEST, box, deployed, server

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars",
]  # fmt: skip
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt-get install chromium)")
EVIL = "<script>document.title='broken into'</script>"

# Runs in the page after it was drawn; the page itself has no script.
MEASURE = """
<script>
const seen = {
  title: document.title,
  overflow: document.documentElement.scrollWidth - window.innerWidth,
  rows: [...document.querySelectorAll('#fleet tbody tr')].map(row => row.innerText),
  loaded: performance.getEntriesByType('resource').map(entry => entry.name),
  dangling: [...document.querySelectorAll('a')].filter(link => !document.getElementById(link.getAttribute('href').slice(1))).length,
  pictures: [...document.querySelectorAll('section svg')].map(svg => ({
    box: svg.closest('section').querySelector('h2').innerText,
    width: svg.getBoundingClientRect().width,
    bars: [...svg.querySelectorAll('rect')].filter(one => one.querySelector('title')).map(one => one.getBoundingClientRect().width),
    texts: [...svg.querySelectorAll('text')].filter(one => one.getBoundingClientRect().right > svg.getBoundingClientRect().right + 1).length,
  })),
};
const result = document.createElement('pre');
result.id = 'seen';
result.innerText = JSON.stringify(seen);
document.body.append(result);
</script>
"""
GIB = 2**30
PLAN = {
    "verdict": "fits",
    "box": {
        "total_bytes": 120 * GIB, "total_source": "cuDeviceTotalMem", "available_bytes": 112 * GIB, "floor_bytes": 12 * GIB, "usable_bytes": 100 * GIB,
        "headroom_bytes": 10 * GIB, "left_for_os_bytes": 22 * GIB, "others": [{"name": "gnome-shell", "bytes": 2 * GIB}], "warnings": [],
    },
    "servers": [
        {
            "name": "devstral", "verdict": "fits", "weights_bytes": {"value": 24 * GIB, "source": "computed", "why": ""}, "kv_cache_bytes": 60 * GIB,
            "requested_bytes": 90 * GIB, "kv_tokens": 393216, "concurrency": 6.0, "max_model_len": 65536,
            **{key: {"value": 2 * GIB, "source": "assumed", "why": ""} for key in ("activation_bytes", "graph_bytes", "non_torch_bytes")},
            "beside": {key: {"value": 2 * GIB, "source": "assumed", "why": ""} for key in ("activations", "graphs", "host_processes")},
        }
    ],
}  # fmt: skip


def seen(one, **more):
    decision = {"create": False, "reason": "unchanged", "deployment": deployed()}
    ready = {"phase": "ready", "answer": {"latency_s": 0.2}}
    base = {"wanted": [server()], "decisions": {"devstral": {**decision, "unit_digest": UNIT_DIGEST}}, "answers": {"devstral": ready}}
    return {"box": one, **base, **more}


def past(lines=9):
    """A day of two charts, one with nothing in it."""
    day = [[300 * number, 40 + number % 7] for number in range(288) if not 100 < number < 120]
    drawn = [{"label": f"spark-{number:02} devstral {EVIL}", "points": day} for number in range(lines)]
    charts = [{"title": "Tokens generated", "unit": "tokens/s", "more": 3, "lines": drawn}, {"title": "Queue", "unit": "requests", "more": 0, "lines": []}]
    return {"charts": charts, "start": 0, "end": 86400, "problem": ""}


def look(tmp_path, page, width=1280):
    file = tmp_path / "page.html"
    file.write_text(page.replace("</body>", f"{MEASURE}</body>"))
    shown = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path}/profile", f"--window-size={width},900"]
    done = subprocess.run([*shown, "--dump-dom", f"file://{file}"], capture_output=True, text=True, check=True, timeout=120)
    found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.S)
    return json.loads(html.unescape(found.group(1)))


@pytest.mark.parametrize("width", [1280, 500])
def test_is_drawn_whole_with_a_picture_of_each_boxs_memory(tmp_path, width):
    boxes = {f"spark-{number:02}": seen(box(deployed())) for number in range(1, 4)}
    boxes["spark-04"] = seen(None, problem=f"spark-04 cannot be reached: {EVIL}")
    boxes[EVIL] = seen(box(deployed(), deployed(server("old"))))
    fleet = status.status(boxes, "2026-11-23 14:02")
    pictures = {name: plan_picture(PLAN, name) for name in boxes if name != "spark-04"}
    shown = look(tmp_path, status_page.page(fleet, pictures), width)
    assert shown["title"] == "GB10 fleet" and shown["loaded"] == [] and shown["dangling"] == 0
    assert shown["overflow"] <= 0, "the page is wider than the window"
    assert len(shown["rows"]) == 6 and "393,000" in shown["rows"][1] and "unreachable" in " ".join(shown["rows"])
    assert [one["box"] for one in shown["pictures"]] == [name for name in sorted(boxes) if name != "spark-04"]
    for picture in shown["pictures"]:
        scale = picture["width"] / 960 * (960 - 40) / 120
        expected = [8, 24, 6, 60, 10, 12]  # GiB: in use, weights, overhead, KV cache, headroom, floor
        assert picture["bars"] == pytest.approx([gib * scale for gib in expected], abs=1.5)
        assert picture["texts"] == 0, "text runs out of the picture"


@pytest.mark.parametrize("width", [1280, 600])
def test_the_last_day_is_drawn_whole_and_asks_nobody(tmp_path, width):
    page = fleet_page(status.status({"spark-01": seen(box(deployed()))}, "2026-11-23 14:02"), {}, history=past())
    shown = look(tmp_path, page, width)
    assert shown["title"] == "GB10 fleet" and shown["loaded"] == [] and shown["overflow"] <= 0
    assert [one["box"] for one in shown["pictures"]] == ["The last 24 hours"] * 2
    assert [one["texts"] for one in shown["pictures"]] == [0, 0], "text runs out of the picture"

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page of a benchmark in a real browser: Chromium draws it, and whatever it would ask for anywhere is seen."""

from __future__ import annotations

import html
import json
import re
import subprocess

import bench_runs
import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._speed import page
from test_status_page_browser import CHROMIUM, FLAGS

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt-get install chromium)")
GRID = {"grid": {"input_tokens": 512, "output_tokens": 16, "depths": [0, 1024, 4096], "concurrency": [1, 2, 4], "repeats": 3}}
MEASURE = """
<script>
const charts = [...document.querySelectorAll('.charts svg')];
const seen = {
  title: document.title,
  overflow: document.documentElement.scrollWidth - window.innerWidth,
  rows: document.querySelectorAll('#points tbody tr').length,
  loaded: performance.getEntriesByType('resource').map(entry => entry.name),
  charts: charts.map(svg => ({
    title: svg.closest('section').querySelector('h2').innerText,
    width: svg.getBoundingClientRect().width,
    height: svg.getBoundingClientRect().height,
    texts: [...svg.querySelectorAll('text')].map(one => one.textContent),
    outside: [...svg.querySelectorAll('text')].filter(one => {
      const box = one.getBoundingClientRect(), frame = svg.getBoundingClientRect();
      return box.left < frame.left - 2 || box.right > frame.right + 2 || box.bottom > frame.bottom + 2;
    }).map(one => one.textContent),
    lines: [...svg.querySelectorAll('path')].filter(one => one.getBoundingClientRect().width > 40).length,
  })),
  changes: [...document.querySelectorAll('#changes li')].map(one => one.className),
};
const result = document.createElement('pre');
result.id = 'seen';
result.innerText = JSON.stringify(seen);
document.body.append(result);
</script>
"""


@pytest.mark.parametrize("width", [1280, 500])
def test_is_drawn_whole_with_its_charts_and_asks_nobody_anything(tmp_path, width):
    text = page.page(bench_runs.result("grid", own=GRID), bench_runs.result("grid", own=GRID, speed=0.5, made_at="2026-11-25 12:00"))
    file = tmp_path / "page.html"
    file.write_text(text.replace("</body>", f"{MEASURE}</body>"))
    # Any name that is asked for leads nowhere and is written down.
    log = tmp_path / "net.json"
    shown = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path}/profile", f"--window-size={width},900", f"--log-net-log={log}", "--dump-dom", f"file://{file}"]
    done = subprocess.run(shown, capture_output=True, text=True, check=True, timeout=120)
    seen = json.loads(html.unescape(re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.S).group(1)))
    assert seen["title"] == "Benchmark of tiny on spark-01" and seen["loaded"] == [] and seen["rows"] == 9
    assert seen["overflow"] <= 0, "the page is wider than the window"
    assert len(seen["charts"]) == 5
    for chart in seen["charts"]:
        assert chart["width"] > 300 and chart["height"] > 150 and chart["lines"] >= 1, chart["title"]
        assert chart["outside"] == [], f"text runs out of {chart['title']}"
    assert "streams at once" in seen["charts"][0]["texts"] and {"1", "2", "4"} <= set(seen["charts"][0]["texts"])
    assert set(seen["changes"]) == {"better"}
    asked = set(re.findall(r'"url":"(https?://[^"/]+)', log.read_text())) if log.exists() else set()
    assert not [host for host in asked if "w3.org" in host or "matplotlib" in host], asked

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The site that `make release` made: no link of it leads nowhere, everything public has its page, and a browser draws it and asks nobody anything."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / ".cache" / "release" / "site" / "html"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--allow-file-access-from-files",
]  # fmt: skip
pytestmark = pytest.mark.skipif(not (SITE / "index.html").exists(), reason="tests/release site has not made it")
LOOKED_AT = ["index", "README", "CHANGELOG", "docs/recipes", "collections/box_info_module", "collections/server_role"]
# Runs in the page after it was drawn.
MEASURE = """
<script>
window.addEventListener('load', () => {
  const result = document.createElement('pre');
  result.id = 'seen';
  result.innerText = JSON.stringify({
    title: document.title,
    overflow: document.documentElement.scrollWidth - window.innerWidth,
    headings: [...document.querySelectorAll('h1')].map(one => one.innerText),
    loaded: performance.getEntriesByType('resource').map(entry => entry.name),
    broken: [...document.images].filter(one => one.complete && !one.naturalWidth).map(one => one.src),
    menu: document.querySelectorAll('nav a').length,
    menu_width: document.querySelector('nav').getBoundingClientRect().width,
    text: document.querySelector('[itemprop=articleBody]').getBoundingClientRect().height,
    styled: getComputedStyle(document.querySelector('nav')).backgroundColor,
  });
  document.body.append(result);
});
</script>
"""


class Links(HTMLParser):
    """What a page links to and loads, and the places in it that can be linked to."""

    def __init__(self, page: Path):
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()
        self.feed(page.read_text())

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.places |= {given[name] for name in ("id", "name") if given.get(name)}
        self.links += [given[name] for name in ("href", "src") if given.get(name)]


@cache
def read(page: Path) -> Links:
    return Links(page)


def broken(page: Path) -> list[str]:
    """Links of a page into the site that lead nowhere: a file that is not there, or a place that the page has not."""
    wrong = []
    for link in read(page).links:
        to = urlsplit(link)
        if to.scheme or to.netloc or link == "#":
            continue
        target = (page.parent / unquote(to.path)).resolve() if to.path else page
        if target.is_dir():
            target /= "index.html"
        missing = not target.exists() or (to.fragment and target.suffix == ".html" and unquote(to.fragment) not in read(target).places)
        if missing:
            wrong.append(f"{page.relative_to(SITE)}: {link}")
    return wrong


def test_no_link_leads_nowhere():
    pages = sorted(SITE.rglob("*.html"))
    assert len(pages) > 150
    assert [one for page in pages for one in broken(page)] == []


def test_the_reader_of_links_sees_what_leads_nowhere(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "SITE", tmp_path)
    (tmp_path / "a.html").write_text(
        '<a href="b.html#here"></a><a href="b.html#there"></a><a href="c.html"></a><a href="#x"></a><a href="https://x.example/"></a>'
    )
    (tmp_path / "b.html").write_text('<p id="here">')
    assert broken(tmp_path / "a.html") == ["a.html: b.html#there", "a.html: c.html", "a.html: #x"]


def test_everything_public_has_its_page():
    modules = [f"collections/{path.stem}_module.html" for path in (ROOT / "plugins/modules").glob("*.py") if path.stem != "__init__"]
    filters = [f"collections/{path.stem}_filter.html" for path in (ROOT / "plugins/filter").glob("*.yml")]
    roles = [f"collections/{path.name}_role.html" for path in (ROOT / "roles").iterdir() if path.is_dir()]
    guides = [f"docs/{path.stem}.html" for path in (ROOT / "docs").glob("*.md")]
    assert [one for one in (*modules, *filters, *roles, *guides) if not (SITE / one).exists()] == []
    # and the way there from the first page
    seen, todo = set(), [SITE / "index.html"]
    while todo:
        page = todo.pop()
        if page in seen or page.suffix != ".html" or not page.exists():
            continue
        seen.add(page)
        todo += [(page.parent / unquote(urlsplit(link).path)).resolve() for link in read(page).links if not urlsplit(link).scheme and urlsplit(link).path]
    assert [one for one in (*modules, *filters, *roles, *guides) if SITE / one not in seen] == []


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt-get install chromium)")
@pytest.mark.parametrize("name", LOOKED_AT)
def test_a_browser_draws_it_and_asks_nobody(name, tmp_path):
    page = SITE / f"{name}.html"
    looked_at = page.with_name(f"looked-at-{page.name}")
    looked_at.write_text(page.read_text().replace("</body>", f"{MEASURE}</body>"))
    try:
        shown = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path}/profile", "--window-size=1280,900", "--virtual-time-budget=5000"]
        done = subprocess.run([*shown, "--dump-dom", f"file://{looked_at}"], capture_output=True, text=True, check=True, timeout=120)
    finally:
        looked_at.unlink()
    seen = json.loads(html.unescape(re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.S).group(1)))
    assert "gb10.vllm" in seen["title"] and seen["headings"] and seen["text"] > 200
    assert seen["overflow"] <= 0, "nothing but tables and code scrolls sideways, each in itself"
    assert seen["broken"] == [] and [one for one in seen["loaded"] if not one.startswith("file:")] == []
    assert seen["menu"] > 10 and 150 < seen["menu_width"] < 500 and seen["styled"] not in ("rgba(0, 0, 0, 0)", "rgb(255, 255, 255)")

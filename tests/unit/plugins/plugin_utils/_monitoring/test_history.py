# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The last day of a fleet, from Prometheus' answers to a picture on the status page."""

from __future__ import annotations

import http.server
import json
import re
import threading
import xml.etree.ElementTree as ElementTree

import pytest
from ansible_collections.gb10.vllm.plugins.lookup import history as asked
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._filters.fleet import fleet_page
from ansible_collections.gb10.vllm.plugins.plugin_utils._monitoring import history
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.line_chart import ceiling, line_chart

QUESTION = history.Question("Memory left", "GiB", "x", 2**-30)
EVIL = "<script>alert(1)</script>"
FLEET = {"boxes": {}, "made_at": "now"}


def answer(*series):
    return {"status": "success", "data": {"result": [{"metric": labels, "values": values} for labels, values in series]}}


@pytest.mark.parametrize(("hours", "words"), [(1, "hour"), (24, "24 hours"), (1.5, "1.5 hours"), (0.5, "30 minutes"), (168, "168 hours"), (1e-9, "1 minutes")])
def test_how_long_the_past_is_in_words(hours, words):
    assert history.span(hours * 3600) == words


@pytest.mark.parametrize("hours", [0, -1, float("nan"), float("inf"), 1e9])
def test_hours_that_are_none_are_a_sentence_and_nobody_is_asked(hours):
    found = asked.history("http://127.0.0.1:9", hours, 5)
    assert found["problem"].startswith(f"gb10_status_hours is {hours:g}, so nothing") and fleet_page(FLEET, {}, history=found).count("<svg") == 0


def test_values_come_in_the_unit_that_is_shown_and_nan_is_no_point():
    (line,) = history.chart(QUESTION, answer(({"box": "a", "server": "s", "job": "x"}, [[10, str(2**30)], [20, "NaN"], [30, "+Inf"]])))["lines"]
    assert line == {"label": "a s", "points": [[10.0, 1.0]]}


def test_of_many_lines_the_highest_are_drawn_and_the_others_counted():
    found = history.chart(QUESTION, answer(*(({"box": f"b{number:02}"}, [[0, str(number * 2**30)]]) for number in range(50))))
    assert [line["label"] for line in found["lines"]] == [f"b{number}" for number in range(42, 50)] and found["more"] == 42


@pytest.mark.parametrize("wrong", [None, [], {"data": {}}, {"data": {"result": [{}]}}, answer(({}, [["x", "y"]])), answer(({"box": "a"}, [[1]]))])
def test_an_answer_of_any_shape_ends_in_a_sentence(wrong):
    with pytest.raises(GB10Error, match="no answer of Prometheus"):
        history.chart(QUESTION, wrong)


def chart(*lines, more=0):
    return {"title": f"T {EVIL}", "unit": "s", "lines": [{"label": label, "points": points} for label, points in lines], "more": more}


def test_a_picture_is_well_formed_and_escaped_and_breaks_lines_where_nothing_was_recorded():
    text = line_chart(chart((EVIL, [[0, 1], [300, 2], [5000, 3], [5300, 9]]), ("alone", [[100, 5]]), more=3), 0, 86400, 700)
    root = ElementTree.fromstring(text)
    lines = root.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 3 and EVIL not in text and "and 3 more" in text
    for line in lines:
        for x, y in (map(float, pair.split(",")) for pair in line.get("points").split()):
            assert 64 <= x <= 940 and 40 <= y <= 190


def test_a_picture_of_nothing_says_so():
    assert "nothing was recorded" in line_chart(chart(), 0, 86400, 700)


@pytest.mark.parametrize(("value", "top"), [(0, 1), (-3, 1), (0.7, 1), (1, 1), (1.1, 2), (3, 5), (99, 100), (120, 200), (0.02, 0.02), (0.021, 0.05)])
def test_the_top_of_an_axis(value, top):
    assert ceiling(value) == pytest.approx(top)


def test_the_page_shows_the_past_or_why_there_is_none_or_nothing_of_it():
    past = {"charts": [chart(("a", [[1, 1]]))], "start": 0, "end": 86400, "problem": ""}
    assert fleet_page(FLEET, {}, history=past).count("<svg") == 1
    failed = fleet_page(FLEET, {}, history={**past, "problem": f"Prometheus {EVIL}"})
    assert "<svg" not in failed and "Prometheus &lt;script" in failed
    assert "24 hours" not in fleet_page(FLEET, {})


class Prometheus(http.server.BaseHTTPRequestHandler):
    """Answers every question with one line, or as a test wants it."""

    status, text, seen = 200, json.dumps(answer(({"box": "a"}, [[1, "2"]]))), []

    def do_GET(self):
        self.seen.append(self.path)
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.text.encode())

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def prometheus():
    handler = type("Handler", (Prometheus,), {"seen": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", handler
        server.shutdown()


def test_each_question_is_asked_once_and_of_no_proxy(prometheus, monkeypatch):
    url, handler = prometheus
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    found = asked.history(url, 24, 5)
    assert found["problem"] == "" and len(found["charts"]) == len(handler.seen) == len(history.QUESTIONS)
    assert all(re.match(r"/api/v1/query_range\?query=\S+&start=\d+&end=\d+&step=300$", one) for one in handler.seen)
    json.dumps(found)


@pytest.mark.parametrize(
    ("status", "text", "words"),
    [(503, "", "could not be asked for the last 24 hours"), (200, "<html>", "could not be asked"), (200, "{}", "no answer of Prometheus")],
)
def test_a_prometheus_that_does_not_answer_is_a_sentence_and_asked_no_more(prometheus, status, text, words):
    url, handler = prometheus
    handler.status, handler.text = status, text
    found = asked.history(url, 24, 5)
    assert words in found["problem"] and found["charts"] == [] and len(handler.seen) == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "nonsense", "", "ftp://x"])
def test_an_address_that_is_none_is_a_sentence(url):
    assert asked.history(url, 24, 2)["problem"].startswith("Prometheus at ")

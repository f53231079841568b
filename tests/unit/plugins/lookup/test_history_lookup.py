# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lookup history asks a Prometheus, here a small one of the test's, and makes a sentence of whatever goes wrong."""

from __future__ import annotations

import http.server
import io
import json
import threading
import time
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from ansible import constants as C
from ansible_collections.gb10.vllm.plugins.lookup import history
from ansible_collections.gb10.vllm.plugins.plugin_utils._monitoring.history import QUESTIONS

VALUES = {"status": "success", "data": {"result": [{"metric": {"box": "a"}, "values": [[10, "1"]]}]}}


@pytest.fixture
def prometheus(monkeypatch):
    """(address, questions so far, what it answers: a value, or a function of how often it was asked)."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    asked, answers = [], [VALUES]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            said = answers[min(len(asked), len(answers)) - 1]
            self.send_response(200 if said is not None else 503)
            self.end_headers()
            self.wfile.write(json.dumps(said).encode())

        def log_message(self, *_given):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked, answers
    server.shutdown()


def look(*terms, **options):
    lookup = history.LookupModule()
    lookup._load_name = "gb10.vllm.history"  # as Ansible's loader does, which finds a collection by its path alone
    C.config.initialize_plugin_configuration_definitions("lookup", lookup._load_name, yaml.safe_load(history.DOCUMENTATION)["options"])
    return lookup.run(list(terms), variables={}, **options)


def test_every_question_is_asked_for_the_hours_that_are_wanted_whatever_proxy_is_set(prometheus):
    address, asked, _answers = prometheus
    (found,) = look(f"{address}/", hours=2)
    assert len(found["charts"]) == len(asked) == len(QUESTIONS) and found["problem"] == "" and found["charts"][0]["lines"][0]["label"] == "a"
    assert found["end"] - found["start"] == pytest.approx(7200) and abs(found["end"] - time.time()) < 60
    for path in asked:
        assert urlsplit(path).path == "/api/v1/query_range"
        query = parse_qs(urlsplit(path).query)
        assert float(query["end"][0]) - float(query["start"][0]) == pytest.approx(7200, abs=2)


def test_a_day_is_looked_at_by_default_and_each_address_has_its_history(prometheus):
    address, _asked, _answers = prometheus
    one, two = look(address, address)
    assert one["end"] - one["start"] == pytest.approx(86400) and len(two["charts"]) == len(QUESTIONS)


def test_after_the_first_question_that_fails_no_other_is_asked_and_nothing_is_shown(prometheus):
    address, asked, answers = prometheus
    answers.append(None)
    (found,) = look(address)
    assert len(asked) == 2 and found["charts"] == []
    assert found["problem"].startswith(f"Prometheus at {address} could not be asked for the last 24 hours (HTTP Error 503")
    answers[:] = [{"data": {}}]
    asked.clear()
    assert look(address)[0]["problem"].startswith(f"Prometheus at {address} was asked for the last 24 hours and ") and len(asked) == 1


def test_an_address_that_is_none_is_a_sentence():
    assert "could not be asked" in look("nonsense")[0]["problem"] and "could not be asked" in look("http://127.0.0.1:9", timeout_s=1)[0]["problem"]


def test_each_address_goes_without_its_last_stroke_and_with_the_options(monkeypatch):
    asked = []
    monkeypatch.setattr(history, "history", lambda *given: asked.append(given) or "past")
    assert look("http://a/b//", "/c", hours=2, timeout_s=3) == ["past", "past"] and look("d") == ["past"]
    assert asked == [("http://a/b", 2, 3), ("/c", 2, 3), ("d", 24, 5)]


@pytest.mark.parametrize("hours", [0, -1, 24 * 366 + 1])
def test_hours_that_are_none_ask_nobody(monkeypatch, hours):
    monkeypatch.setattr(history, "time", SimpleNamespace(time=lambda: 5.0))
    said = f"gb10_status_hours is {hours}, so nothing is shown of the past; give it a number of hours above 0 and at most 8784."
    assert history.history("x", hours, 1) == {"charts": [], "start": 5.0, "end": 5.0, "problem": said}


def test_what_is_asked_and_how_and_what_is_told(monkeypatch):
    asked = []

    class Answer(io.BytesIO):
        def read(self, most):
            asked.append(most)
            return super().read(most)

    def open_url(address, **more):
        asked.append((address, more))
        return Answer(json.dumps(VALUES).encode())

    monkeypatch.setattr(history, "time", SimpleNamespace(time=lambda: 10**6))
    monkeypatch.setattr(history, "open_url", open_url)
    found = history.history("http://p", 24 * 366, 7)
    assert (found["start"], found["end"], found["problem"], len(found["charts"])) == (10**6 - 3600 * 24 * 366, 10**6, "", len(QUESTIONS))
    assert asked[:2] == [("http://p" + history.request(QUESTIONS[0], 10**6, 24 * 366), {"timeout": 7, "use_proxy": False}), 32 * 2**20]
    monkeypatch.setattr(history, "open_url", lambda *_given, **_more: 1 / 0)
    found = history.history("http://p", 1, 7)
    assert found == {
        "charts": [],
        "start": 10**6 - 3600,
        "end": 10**6,
        "problem": "Prometheus at http://p could not be asked for the last hour (division by zero).",
    }
    monkeypatch.setattr(history, "open_url", lambda *_given, **_more: io.BytesIO(b"[]"))
    said = "Prometheus at http://p was asked for the last hour and what it says is no answer of Prometheus (TypeError)."
    assert history.history("http://p", 1, 7)["problem"] == said

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page of a fleet. A real browser looks at it in tests/on_machine."""

from __future__ import annotations

from html.parser import HTMLParser

from ansible_collections.gb10.vllm.plugins.plugin_utils._fleet import status, status_page
from fleet_boxes import UNIT_DIGEST, box, deployed, server

VOID = {"meta", "br"}


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.text, self.attributes = [], [], []

    def handle_starttag(self, tag, attrs):
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(seen, pictures=None):
    html = status_page.page(status.status(seen, "2026-11-23 14:02"), pictures or {})
    reader = Reader()
    reader.feed(html)
    assert reader.open == []
    return html, reader


def seen(one, **more):
    decision = {"create": False, "reason": "unchanged", "deployment": deployed()}
    ready = {"phase": "ready", "answer": {"latency_s": 0.2}}
    base = {"wanted": [server()], "decisions": {"devstral": {**decision, "unit_digest": UNIT_DIGEST}}, "answers": {"devstral": ready}}
    return {"box": one, **base, **more}


def test_shows_each_box_with_its_picture_and_needs_nothing_from_elsewhere():
    html, reader = read({"a": seen(box(deployed())), "b": seen(None, problem="no route to b")}, {"a": "<svg></svg>"})
    assert "2 boxes, 1 of 2 servers answer, 0 differ" in html
    assert html.count("<svg") == 1 and "no route to b" in html and "393,000" in html
    assert not [value for name, value in reader.attributes if name in ("src", "href") and not value.startswith("#")]
    assert "<script" not in html and "@import" not in html and "url(" not in html


def test_what_boxes_say_cannot_become_markup():
    evil = "<script>alert(1)</script>"
    one = seen(box(deployed(server(model=f"/{evil}"))), problem=evil, answers={"devstral": {"phase": "failed", "reason": evil}})
    html, _reader = read({'"><b>': one})
    assert "<script" not in html and "<b>" not in html and "&lt;script&gt;" in html


def test_tells_what_differs_and_what_can_be_gone_back_to():
    one = box(deployed(), deployed(server("old")))
    one["servers"]["devstral"]["history"] = [deployed(image="sha256:" + "e" * 64)]
    html, _reader = read({"a": seen(one)})
    assert "no longer in the inventory" in html and "(not in the inventory)" in html
    assert "1 earlier deployments to go back to" in html and "eeeeeeeeeeee" in html


def test_no_text_of_a_status_can_become_markup():
    one = box(deployed(), deployed(server("old")))
    one["servers"]["devstral"]["history"] = [deployed(image="sha256:" + "e" * 64)]
    one["servers"]["devstral"]["repairs"] = {"applied": [{"id": "KB-101"}]}
    failed = {"phase": "failed", "reason": "gone"}
    fleet = status.status({"a": seen(one, answers={"devstral": failed}), "b": seen(None, problem="no route to b")}, "2026-11-23 14:02")
    marked = []

    def mark(value):
        if isinstance(value, dict):
            return {key: mark(one) for key, one in value.items()}
        if isinstance(value, list):
            return [mark(one) for one in value]
        if isinstance(value, str):
            marked.append(f"<i id='{len(marked)}'>")
            return marked[-1] + value
        return value

    fleet["boxes"] = {f"<i id='box'>{name}": mark(one) for name, one in fleet["boxes"].items()}
    html = status_page.page({**fleet, "made_at": mark("now")}, {}, title=mark("fleet"))
    assert "<i" not in html
    (first, _old), (failed,) = fleet["boxes"]["<i id='box'>a"]["servers"], fleet["boxes"]["<i id='box'>b"]["servers"] or [{"server": None}]
    shown = [first[key] for key in ("server", "model", "vllm_version", "endpoint", "health", "figures")] + first["drift"] + first["repairs"]
    for text in [*shown, first["history"][0]["model"], fleet["boxes"]["<i id='box'>b"]["problem"]]:
        assert text.replace("<", "&lt;").replace(">", "&gt;").replace("'", "&#39;") in html, text


def test_what_does_not_answer_is_not_green():
    html, _reader = read({"a": seen(box(deployed()))})
    assert '<td class="good">answers in 0.2 s</td>' in html and 'class="bad"' not in html
    html, _reader = read({"a": seen(box(deployed()), answers={"devstral": {"phase": "failed", "reason": "it exited with code 1"}})})
    assert '<td class="bad">failed</td>' in html and 'class="good"' not in html


def test_shows_what_each_router_thinks_and_where_it_disagrees():
    one = {"server": "devstral", "box": "a", "status": "DOWN", "why": "L4CON", "sessions": 3, "queue": 4}
    config = {"ours": True, "stock": False, "present": True}
    drains = {"devstral/a": {"owner": "<b>anna", "run": "1", "at": 0, "why": "a rollout"}}
    facts = {"version": "3.0", "problem": "", "config": config, "servers": [one], "drains": drains, "certificate": None}
    fleet = status.status({"a": seen(box(deployed()))}, "2026-11-23 14:02", {"r1": facts, "r2": None}, 0.0)
    html = status_page.page(fleet, {})
    assert 'data-router="r1" data-box="a"' in html and "the box answers, but the router does not use it (DOWN L4CON)" in html
    assert "taken out by &lt;b&gt;anna" in html and "it cannot be reached" in html and '<td class="number">4</td>' in html
    assert "data-router" not in status_page.page(status.status({"a": seen(box(deployed()))}, "2026-11-23 14:02"), {})

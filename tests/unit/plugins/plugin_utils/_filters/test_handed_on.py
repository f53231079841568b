# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the filters hand on to the functions behind them, and what they make of the answers."""

from __future__ import annotations

import hashlib
import json
from types import SimpleNamespace

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._filters import bundle, distribution, fleet, servers, tune


def noted(monkeypatch, module, name, answer=None):
    """What a function of another module is called with."""
    seen = []

    def call(*given, **named):
        seen.append((*given, *([named] if named else [])))
        return answer(*given) if callable(answer) else answer

    monkeypatch.setattr(module, name, call)
    return seen


def test_the_checksums_of_a_model_are_those_of_its_directory(monkeypatch):
    monkeypatch.setattr(bundle.bundle, "safe_directory", lambda model: f"safe {model}")
    seen = noted(monkeypatch, bundle.bundle, "model_sums", {"a": "b"})
    assert bundle.bundle_sums({"files": 1}, "acme/m") == {"a": "b"} and seen == [({"files": 1}, "safe acme/m")]


@pytest.mark.parametrize(
    ("own", "groups", "said"),
    [
        ([], ["n"], ""),
        ([], [], ""),
        ([], ["n", "m"], "these boxes have several (n, m)"),
        (["x"], ["n"], "server x of b has an image of its own"),
    ],
)
def test_a_bundle_holds_one_image(monkeypatch, own, groups, said):
    hostvars = {"a": {}, "b": {"preflight_images": {"own": own}}}
    seen = noted(monkeypatch, bundle.distribution, "image_groups", [{"places": {"a": name, "b": "other"}} for name in groups])
    told = f"A bundle holds one image, gb10_image, and {said}: write it for boxes and servers that run with that (--limit, without `image`)."
    assert bundle.bundle_refusal(["a", "b"], hostvars) == (told if said else "") and seen == [(["a", "b"], hostvars)]


def test_a_page_of_the_fleet_gets_its_pictures_and_its_past(monkeypatch):
    drawn = noted(monkeypatch, fleet, "plan_picture", lambda plan, name: f"{plan} {name}")
    lines = noted(monkeypatch, fleet, "line_chart", lambda chart, *_times: f"line {chart}")
    pages = noted(monkeypatch, fleet.status_page, "page", "page")
    seen = {"a": {"plan": "P"}, "b": {}, "c": {"plan": None}}
    assert fleet.fleet_page({"f": 1}, seen) == "page" and pages == [({"f": 1}, {"a": "P a"}, "GB10 fleet", None)] and drawn == [("P", "a")]
    history = {"start": 1000.0, "end": 1000.0 + 7200, "problem": "", "charts": ["x", "y"]}
    fleet.fleet_page({}, {}, "title", history)
    assert pages[1] == ({}, {}, "title", {**history, "pictures": ["line x", "line y"], "span": "2 hours"})
    assert lines == [(one, 1000.0, 8200.0, fleet.gap_s(history)) for one in "xy"]
    fleet.fleet_page({}, {}, "title", {**history, "problem": "no"})
    assert pages[2][3] == {**history, "problem": "no", "pictures": [], "span": "2 hours"} and len(lines) == 2


def test_what_was_read_of_boxes_last_counts():
    hosts = {
        "a": {"fleet_box_now": {"n": 1}, "preflight_result": {"box": {"n": 2}}, "ansible_host": "10.0.0.1"},
        "b": {"preflight_result": {"box": {"n": 2}}},
        "c": {"fleet_box_now": None},
        "d": {},
    }
    assert fleet.boxes_as_read("abcd", hosts) == {
        "a": {"address": "10.0.0.1", "box": {"n": 1}}, "b": {"address": "b", "box": {"n": 2}}, "c": {"address": "c", "box": {}},
        "d": {"address": "d", "box": {}},
    }  # fmt: skip


def test_the_state_of_a_fleet_is_that_of_now(monkeypatch):
    seen = noted(monkeypatch, fleet.status, "status", {})
    monkeypatch.setattr(fleet, "time", SimpleNamespace(time=lambda: 5.0))
    fleet.fleet_status({"a": 1}, "now", {"r": 2})
    fleet.fleet_status({}, "now")
    assert seen == [({"a": 1}, "now", {"r": 2}, 5.0), ({}, "now", None, 5.0)]


def test_what_was_learned_is_looked_up_in_the_lock_file_where_there_is_one(monkeypatch):
    seen = noted(monkeypatch, fleet.learned, "starts", [])
    read = noted(monkeypatch, fleet, "lock_content", {"boxes": {"b": 1}})
    fleet.learned_starts(["a"], {"a": 7}, "own", "text", "path")
    fleet.learned_starts([], {}, "own")
    assert [(names, own) for names, _get, own, _locked in seen] == [(["a"], "own"), ([], "own")]
    assert seen[0][1]("a") == 7 and read == [] and seen[0][3]() == {"b": 1} and seen[1][3]() == {} and read == [("text", "path")]


def test_a_lock_is_written_of_the_boxes_that_were_read(monkeypatch):
    monkeypatch.setattr(fleet.status, "report_table", lambda seen: f"report {len(seen)}")
    locked = noted(monkeypatch, fleet.lock, "locked_box", lambda *given: given)
    merged = noted(monkeypatch, fleet.lock, "merge_lock", "merged")
    monkeypatch.setattr(fleet.lock_file, "dump", lambda value: f"text of {value}")
    seen = {"a": {"address": "1", "box": {"x": 1}}, "b": {"address": "2", "box": {}}}
    before = {"boxes": {"a": "earlier"}, "problem": ""}
    assert fleet.lock_text(seen, before, ["a", "b"]) == {"text": "text of merged", "problem": "", "report": "report 2"}
    assert locked == [("1", {"x": 1}, "earlier")] and merged == [({"a": "earlier"}, {"a": ("1", {"x": 1}, "earlier")}, ["a", "b"])]
    assert fleet.lock_text(seen, {}, []) == {"text": "", "problem": "", "report": "report 2"}
    assert fleet.lock_text(seen, {"boxes": {}, "problem": "broken"}, []) == {"text": "", "problem": "broken", "report": "report 2"}

    def refuse(_value):
        raise GB10Error("no")

    monkeypatch.setattr(fleet.lock_file, "dump", refuse)
    assert fleet.lock_text(seen, before, []) == {"text": "", "problem": "no", "report": "report 2"}


def test_files_are_stale_whose_content_or_mode_is_other():
    def held(text, mode="0644"):
        return {"sha256": hashlib.sha256(text.encode()).hexdigest(), "mode": mode}

    wanted = [{"dest": name, "content": "é", "mode": "0644"} for name in "abcd"]
    assert servers.stale_files(wanted, {"a": held("é"), "b": held("x"), "c": held("é", "0600")}) == wanted[1:]


def test_the_failure_that_a_rescue_speaks_of():
    items = [{"failed": False}, 3, {"failed": True, "n": 1}, {"failed": True, "n": 2}]
    assert servers.first_failure({"results": items}) == {"failed": True, "n": 1}
    for whole in ({"msg": "x"}, {"results": None}, {"results": [{"failed": False}]}):
        assert servers.first_failure(whole) is whole
    journal = ["not started: one", "Started.", "not started: it is held", "x"]
    assert servers.start_refusal("systemd", journal) == "Not started: it is held" and servers.start_refusal("systemd", ["a not started: x"]) == "systemd"


def test_mistakes_of_recipes_are_said_alone_and_of_images_last(monkeypatch):
    recipes = noted(monkeypatch, servers.expand, "mistakes", [])
    expanded = noted(monkeypatch, servers.expand, "with_recipes", "expanded")
    others = noted(monkeypatch, servers.wanted, "server_mistakes", [])
    images = noted(monkeypatch, servers.images, "mistakes", ["image"])
    given = [{"name": "a", "recipe": "r"}, {"name": "b"}]
    assert servers.server_mistakes(given, "/m", image={"ref": 1}, x=2) == ["image"]
    assert (recipes, expanded) == ([(given, {"ref": 1})], [(given, {"ref": 1})])
    assert others == [("expanded", "/m", {"x": 2})] and images == [("expanded", {"ref": 1}, ["a"])]
    assert servers.server_mistakes(given) == ["image"] and recipes[1] == expanded[1] == (given, {}) and images[1][1] is None
    monkeypatch.setattr(servers.wanted, "server_mistakes", lambda *_given, **_named: ["server"])
    assert servers.server_mistakes(given) == ["server"]
    monkeypatch.setattr(servers.expand, "mistakes", lambda *_given: ["recipe"])
    assert servers.server_mistakes(given) == ["recipe"]
    one, several = noted(monkeypatch, servers.wanted, "of_one_box", [1]), noted(monkeypatch, servers.wanted, "of_several_boxes", [2])
    assert servers.servers(given, "/m", x=1) == [1] and servers.server_groups(given, "/m", x=1) == [2] and one == several == [("expanded", "/m", {"x": 1})]


def test_what_is_exposed_goes_by_the_engine_that_a_server_has(monkeypatch):
    verdicts = {"1": "refuse", "2": "warn", "3": "fine"}
    seen = noted(monkeypatch, servers, "exposure_verdict", lambda version, _address: {"verdict": verdicts[version], "reason": f"v{version}"})
    wanted = [{"name": name, "address": name * 2} for name in "abc"]
    planned = [{"name": "a", "engine": {"vllm_version": "1"}}, {"name": "b", "engine": {"vllm_version": "3"}}, {"name": "c"}]
    assert servers.exposures(wanted, "2", planned) == {"refuse": ["a: v1"], "warn": ["c: v2"]}
    assert seen == [("1", "aa"), ("3", "bb"), ("2", "cc")]
    assert servers.exposures(wanted, "") == {"refuse": [], "warn": []} and len(seen) == 3


def test_downloads_are_those_of_the_boxes_that_have_any(monkeypatch):
    seen = noted(monkeypatch, distribution.distribution, "downloads", lambda _boxes, host, *_more: ["x"] if host == "a" else [])
    assert distribution.downloads({"a": 1, "b": 2}, "hub") == {"a": ["x"]}
    distribution.downloads({"a": 1}, "hub", True)
    assert seen == [({"a": 1, "b": 2}, "a", "hub", False), ({"a": 1, "b": 2}, "b", "hub", False), ({"a": 1}, "a", "hub", True)]
    shares = noted(monkeypatch, distribution.distribution, "instructions", {})
    distribution.plan([1], {"o": 1}, {"a": 1})
    assert shares == [([1], {"o": 1}, {"a": 1})]


# ---- tune


def test_a_search_needs_its_points_twice(monkeypatch):
    asked = noted(monkeypatch, tune.profiles, "profile", lambda *_given: {"repeats": 1})
    message = r"^A search needs each point measured twice or more, or nothing tells a gain from noise; raise gb10_benchmark_repeats\.$"
    with pytest.raises(GB10Error, match=message):
        tune.tune_profile("p")
    assert tune.tune_profile("p", {"o": 1}, "2") == {"repeats": 2} and asked == [("p", None), ("p", {"o": 1})]
    monkeypatch.setattr(tune.profiles, "profile", lambda *_given: {"repeats": 2})
    assert tune.tune_profile("p") == {"repeats": 2}


def test_a_search_begins_with_what_was_held(monkeypatch):
    seen = noted(monkeypatch, tune.search, "begun", {})
    wish = {"most": "3", "state": "/s.json"}
    tune.tune_begun({"name": "a"}, wish, {"r": 1})
    tune.tune_begun({}, wish, {}, '{"x": 1}', {"a": {}, "b": {}})
    tune.tune_begun({}, wish, {}, "[1]", {"a": {}})
    assert seen == [
        ({"name": "a"}, {"most": 3, "state": "/s.json"}, {"r": 1}, None, None),
        ({}, {"most": 3, "state": "/s.json"}, {}, {"x": 1}, {"a": {}, "b": {}}),
        ({}, {"most": 3, "state": "/s.json"}, {}, None, None),
    ]
    said = r"^/s\.json is not JSON, so it is not known what ran before the search; run the playbook site and delete it\.$"
    with pytest.raises(GB10Error, match=said):
        tune.tune_begun({}, wish, {}, "{")


def test_a_candidate_is_tried_in_its_server_alone(monkeypatch):
    monkeypatch.setattr(tune.search, "applied", lambda one, settings: {**one, **settings})
    given = [{"name": "a"}, {"name": "b", "boxes": 2}, {"name": "c", "boxes": 2}]
    assert tune.tune_servers(given, "a", {"x": 1}) == [{"name": "a", "x": 1}]
    assert tune.tune_servers(given, "b", {"x": 1}) == [{"name": "a"}, {"name": "b", "boxes": 2, "x": 1}]
    assert tune.tune_servers(given, "z", {"x": 1}) == given
    seen = noted(monkeypatch, tune.search, "with_trial", {"n": 1})
    assert tune.tune_trial({"s": 1}, {"c": 1}, {"outcome": "o", "why": "w", "result": json.dumps({"r": 1})}) == {"n": 1}
    tune.tune_trial({}, {}, {"outcome": "o", "why": "", "result": ""})
    assert seen == [({"s": 1}, {"c": 1}, "o", "w", {"r": 1}), ({}, {}, "o", "", None)]

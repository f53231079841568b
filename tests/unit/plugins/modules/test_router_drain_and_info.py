# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the modules router_drain and router_info say of a router, and what they leave alone. With the real HAProxy in tests/on_machine."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._router import drain, look
from certificate_files import pair
from in_process import run_module
from router_here import RouterHost, ours

ME = {"run": "me", "owner": "anna@laptop"}
TINY = [{"server": "tiny", "box": "spark-01"}]
NOTHING = {"changed": False, "drained": [], "ready": [], "others": [], "busy": {}, "away": {}}


@pytest.fixture
def host(tmp_path, monkeypatch):
    host = RouterHost(tmp_path, monkeypatch)
    host.config.write_text(ours("abc"))
    host.running.write_text(ours("abc"))
    host.stat = {("tiny", "spark-01"): ["UP", 0, 0, 0], ("tiny", "spark-02"): ["UP", 2, 1, 0]}
    monkeypatch.setattr(drain, "POLL_S", 0.02)
    host.serve()
    return host


def drained(**more):
    return run_module("router_drain", **{"state": "drained", "servers": TINY, "owner": ME, "timeout_s": 0.1, **more})


def put_back(**more):
    return drained(state="ready", **more)


def known(host):
    return json.loads((host.records / "drains.json").read_text())


def test_a_server_is_drained_and_put_back_and_who_did_it_is_known_meanwhile(host):
    began = time.time()
    found = drained(why="a reboot")
    assert found == {"changed": True, "drained": ["tiny/spark-01"], "others": [], "taken_over": {}, "unkept": "", "busy": {}}
    assert host.stat["tiny", "spark-01"][0] == "DRAIN" and host.stat["tiny", "spark-02"][0] == "UP"
    one = known(host)["tiny/spark-01"]
    assert began <= one.pop("at") <= time.time() and one == {**ME, "why": "a reboot"}
    assert host.programs.calls("keep-state") == [f"keep-state {host.socket} {host.config} {host.records}/state"]
    assert put_back() == {"changed": True, "ready": ["tiny/spark-01"], "others": [], "away": {}, "unkept": ""}
    assert host.stat["tiny", "spark-01"][0] == "UP" and known(host) == {} and put_back()["changed"] is False


def test_requests_that_are_left_end_it_unless_they_may_be_cut_off(host):
    host.stat["tiny", "spark-01"][1:3] = [2, 2]
    said = drained()
    assert said["failed"] and said["busy"] == {"tiny/spark-01": 4} and said["drained"] == ["tiny/spark-01"]
    assert "at the end of gb10_drain_timeout_s (tiny/spark-01 4), so nothing is touched" in said["msg"] and "gb10_drain_go_on=true" in said["msg"]
    assert drained(go_on=True)["busy"] == {"tiny/spark-01": 4}


def test_what_the_router_does_not_use_again_ends_it_unless_it_may_go_on(host):
    drained()
    host.stat["tiny", "spark-01"][0] = "DOWN"
    said = put_back()
    assert said["failed"] and said["away"] == {"tiny/spark-01": "DOWN"} and "does not use what is ready (tiny/spark-01: DOWN), 0 s after" in said["msg"]
    drained()
    assert put_back(go_on=True) == {"changed": True, "ready": ["tiny/spark-01"], "others": [], "away": {"tiny/spark-01": "DOWN"}, "unkept": ""}


def test_the_last_server_of_a_model_is_drained_only_when_that_is_said(host):
    del host.stat["tiny", "spark-02"]
    said = drained()
    assert said["failed"] and "is the last one that the router has for its model" in said["msg"] and host.stat["tiny", "spark-01"][0] == "UP"
    assert drained(last=True)["changed"]


def test_what_a_crash_would_undo_is_said(host):
    host.programs.answer("keep-state", "*", "echo 'the disk is full' >&2; exit 1")
    assert drained()["unkept"] == "the disk is full"
    host.programs.answer("keep-state", "*", "exit 3")
    assert put_back()["unkept"].endswith("keep-state ended with 3")


@pytest.mark.parametrize("more", [{"servers": []}, {"_check": True}, {"_config": ""}, {"_config": "global\n"}])
def test_nothing_is_asked_where_nothing_is_to_be_done(host, more):
    if "_config" in more:
        host.config.write_text(more.pop("_config"))
    check = more.pop("_check", False)
    assert drained(check=check, **more) == NOTHING and put_back(check=check, **more) == NOTHING and host.asked == []


@pytest.mark.parametrize("owner", [None, {}, {"owner": "anna@laptop"}])
def test_nobody_drains_without_a_name(host, owner):
    assert "is called through its action plugin" in drained(owner=owner)["msg"] and host.asked == []


def test_a_router_that_does_not_answer_is_said(host):
    host.socket += ".none"
    assert "HAProxy does not answer at" in drained()["msg"]


def router(host):
    return run_module("router_info")["router"]


def test_what_a_router_is(host):
    drained()
    (host.records / "servers.json").write_text('{"of": "abc"}')
    host.programs.answer("ip", "-j*", 'echo \'[{"ifname": "eth0", "addr_info": [{"local": "192.168.1.5"}, {}]}, {"ifname": "lo"}]\'')
    found = router(host)
    assert found["version"] == "2.6.12" and found["running"] == "abc" and found["problem"] == ""
    assert found["config"] == {"present": True, "stock": False, "ours": True, "digest": "abc"}
    assert [(one["box"], one["status"], one["sessions"], one["queue"], one["held"]) for one in found["servers"]] == [
        ("spark-01", "DRAIN", 0, 0, "drain"),
        ("spark-02", "UP", 2, 1, ""),
    ]
    assert found["drains"]["tiny/spark-01"]["owner"] == "anna@laptop" and found["record"] == {"of": "abc"} and found["interfaces"] == {"192.168.1.5": "eth0"}
    assert found["certificate"] is None and found["stale_certificate"] is False


def test_a_host_without_haproxy_is_asked_nothing_more(host, monkeypatch, tmp_path):
    monkeypatch.setattr(look, "PROGRAM", str(tmp_path / "none"))
    found = router(host)
    assert (found["version"], found["servers"], found["running"], found["problem"], found["record"]) == ("", [], "", "", {}) and host.asked == []


def test_a_silent_haproxy_is_a_problem_and_no_failure(host):
    host.socket += ".none"
    assert router(host)["problem"].startswith("HAProxy does not answer at ")


def test_what_a_tool_prints_that_is_no_answer_is_none(host):
    host.programs.answer("ip", "*", "echo 'no such object'")
    (host.records).mkdir()
    (host.records / "drains.json").write_text("[]")
    found = router(host)
    assert found["interfaces"] == {} and found["drains"] == {}


@pytest.fixture
def pem(tmp_path, monkeypatch):
    """The file that HAProxy reads, in place of the one in /etc."""
    certificate, key = pair(tmp_path)
    path = tmp_path / "gb10-router.pem"
    path.write_text(look.joined([Path(certificate).read_text(), Path(key).read_text()]))
    path.chmod(0o600)
    return str(path), {"certificate": certificate, "key": key}


def test_a_certificate_is_stale_when_it_was_renewed_where_it_came_from(pem, tmp_path):
    text, given = Path(pem[0]).read_text(), pem[1]
    assert not look._is_stale(text, given, {})
    pair(tmp_path)
    assert look._is_stale(text, given, {})
    assert not look._is_stale(text, {**given, "key": str(tmp_path / "gone")}, {}), "what cannot be read says nothing"


@pytest.mark.parametrize(("left_s", "stale"), [(look.LEAST_LEFT_S + 60, False), (look.LEAST_LEFT_S - 60, True), (-5, True)])
def test_one_of_ours_is_stale_when_it_soon_ends(left_s, stale):
    assert look._is_stale("", {}, {"expires_at": time.time() + left_s}) is stale
    assert not look._is_stale("", {}, {"expires_at": None})

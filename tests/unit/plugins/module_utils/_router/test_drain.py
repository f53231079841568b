# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Draining and putting back: whose a drain is, when none is done, when it is over. With the real HAProxy in tests/on_machine/test_router_haproxy.py."""

from __future__ import annotations

import json

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._router import drain

ME, OTHER = {"run": "me", "owner": "anna@laptop"}, {"run": "other", "owner": "ben@desk"}
ONE, TWO = ("tiny", "spark-01"), ("tiny", "spark-02")


HEAD = "# be_name srv_name srv_admin_state"


class Router:
    """Answers as HAProxy does: a status, sessions and requests that wait for each server, and which of them somebody holds."""

    def __init__(self, **statuses):
        self.status = {("tiny", f"spark-{number}"): word for number, word in (("01", "UP"), ("02", "UP"))} | {
            ("tiny", key): word for key, word in statuses.items()
        }
        self.sessions = dict.fromkeys(self.status, 0)
        self.told = []
        self.admin = {name: {"DRAIN": 8, "MAINT": 1}.get(word.split()[0], 0) for name, word in self.status.items()}

    def ask(self, command):
        if command == "show stat":
            head = "# pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,dresp,ereq,econ,eresp,wretr,wredis,status,weight"
            rows = [f"gb10_{server},{box},0,0,{self.sessions[server, box]},0,,,,,,,,,,,,{word},1" for (server, box), word in self.status.items()]
            for name in self.sessions:
                self.sessions[name] = max(0, self.sessions[name] - 1)
            return "\n".join([head, *rows])
        if command == "show servers state":
            return "\n".join(["1", HEAD, *(f"gb10_{server} {box} {bits}" for (server, box), bits in self.admin.items())])
        _set, _server, name, _state, state = command.split()
        server, box = name.removeprefix("gb10_").split("/")
        self.told.append((server, box, state))
        self.admin[server, box] = {"drain": 8, "ready": 0}[state]
        if not self.status[server, box].startswith("DOWN"):
            self.status[server, box] = {"drain": "DRAIN", "ready": "UP"}[state]
        return ""

    def by_hand(self, name, bits):
        """What an operator does at HAProxy's socket; a server that is down only says so."""
        self.admin[name] = bits
        if not self.status[name].startswith("DOWN"):
            self.status[name] = {0: "UP", 1: "MAINT", 8: "DRAIN"}[bits]

    def __call__(self):
        return [self.ask]


@pytest.fixture
def records(tmp_path, monkeypatch):
    monkeypatch.setattr(drain, "keep_state", lambda: "")
    return str(tmp_path)


def known(records):
    with open(f"{records}/drains.json", encoding="utf-8") as handle:
        return json.load(handle)


def test_who_drained_is_written_down_before_it_is_done(records):
    router = Router()
    ask = router.ask

    def killed(command):
        if command.startswith("set server"):
            assert known(records)["tiny/spark-01"]["owner"] == "anna@laptop"
        return ask(command)

    router.ask = killed
    assert drain.drain(router, [ONE], ME, "a rollout", records=records)["drained"] == ["tiny/spark-01"]
    assert router.status[ONE] == "DRAIN"


def test_the_last_server_of_a_model_is_not_drained_unasked(records):
    for router, names in ((Router(**{"spark-02": "DOWN (agent)"}), [ONE]), (Router(), [ONE, TWO]), (Router(**{"spark-02": "DRAIN"}), [ONE])):
        with pytest.raises(GB10Error, match=r"tiny of spark-01.* is the last one .*gb10_drain_last=true"):
            drain.drain(router, names, ME, "", records=records)
        assert router.told == []
    router = Router()
    assert drain.drain(router, [ONE, TWO], ME, "", last=True, records=records)["drained"] == ["tiny/spark-01", "tiny/spark-02"]


def test_what_is_down_anyway_may_be_drained(records):
    assert drain.drain(Router(**{"spark-01": "DOWN", "spark-02": "DOWN"}), [ONE], ME, "", records=records)["drained"] == ["tiny/spark-01"]


def test_the_drain_of_another_operator_is_never_cancelled(records):
    router = Router(**{"spark-01": "MAINT"})
    assert drain.drain(router, [ONE], ME, "", records=records) == {"drained": [], "others": ["tiny/spark-01"], "taken_over": {}, "unkept": ""}
    assert drain.ready(router, [ONE], 0, records=records) == {"ready": [], "others": ["tiny/spark-01"], "away": {}, "unkept": ""}
    assert router.told == [] and router.status[ONE] == "MAINT"


@pytest.mark.parametrize("status", ["UP", "DOWN", "DOWN (agent)"])
@pytest.mark.parametrize("bits", [1, 8])
def test_neither_while_the_server_is_down_nor_after(records, status, bits):
    """Of one that is down HAProxy's status says only that; whether somebody holds it is in its administrative state."""
    router = Router(**{"spark-01": status})
    router.by_hand(ONE, bits)
    assert drain.drain(router, [ONE], ME, "", records=records)["others"] == ["tiny/spark-01"]
    assert drain.ready(router, [ONE], 0, records=records)["ready"] == [] and router.admin[ONE] == bits


def test_maintenance_is_never_ours_whatever_was_written_down(records):
    router = Router()
    drain.drain(router, [ONE], OTHER, "a rollout", records=records)
    router.by_hand(ONE, 1)
    assert drain.drain(router, [ONE], ME, "a rollout", records=records)["others"] == ["tiny/spark-01"]
    assert drain.ready(router, [ONE], 0, records=records)["others"] == ["tiny/spark-01"] and router.admin[ONE] == 1
    assert "tiny/spark-01" in known(records), "what was ours before is not forgotten"


def test_what_was_put_back_and_drained_again_by_hand_is_not_ours(records):
    router = Router()
    drain.drain(router, [ONE], OTHER, "a rollout", records=records)
    router.by_hand(ONE, 0)
    drain.drain(router, [TWO], ME, "a rollout", records=records)
    router.by_hand(ONE, 8)
    assert drain.ready(router, [ONE, TWO], 0, records=records)["ready"] == ["tiny/spark-02"] and router.admin[ONE] == 8


def test_what_was_told_is_written_down_before_the_record_is(records):
    """Killed in between, the next run still knows whose the drain is."""
    router, seen = Router(), []

    def keep():
        seen.append((router.admin[ONE], sorted(known(records))))
        return ""

    drain.drain(router, [ONE], ME, "", records=records, keep=keep)
    drain.ready(router, [ONE], 0, records=records, keep=keep)
    assert seen == [(8, ["tiny/spark-01"]), (0, ["tiny/spark-01"])] and known(records) == {}
    assert drain.drain(router, [ONE], ME, "", records=records, keep=lambda: "no space")["unkept"] == "no space"


def test_a_process_that_started_meanwhile_hears_it_too(records, monkeypatch):
    """A reload by somebody else reads a state of before."""
    monkeypatch.setattr(drain.time, "sleep", lambda _seconds: None)
    router, reloads = Router(), [1]

    def keep():
        if reloads:
            reloads.pop()
            router.by_hand(ONE, 0)
        return ""

    assert drain.drain(router, [ONE], ME, "", records=records, keep=keep)["drained"] == ["tiny/spark-01"]
    assert router.admin[ONE] == 8 and len(router.told) == 2
    with pytest.raises(GB10Error, match="was told to set tiny of spark-01 to drain"):
        drain.drain(router, [ONE], ME, "", last=True, records=records, keep=lambda: router.by_hand(ONE, 0) or "")


def test_what_a_killed_run_left_drained_is_found_taken_over_and_put_back(records):
    router = Router()
    drain.drain(router, [ONE], OTHER, "a rollout", records=records)
    again = drain.drain(router, [ONE], ME, "a rollout", records=records)
    assert again["taken_over"]["tiny/spark-01"]["owner"] == "ben@desk" and again["drained"] == ["tiny/spark-01"]
    assert drain.ready(router, [ONE], 0, records=records)["ready"] == ["tiny/spark-01"]
    assert router.status[ONE] == "UP" and known(records) == {}


def test_it_waits_until_nothing_is_left(records, monkeypatch):
    slept = []
    monkeypatch.setattr(drain.time, "sleep", slept.append)
    router = Router()
    router.sessions[ONE] = 3
    assert drain.wait_empty(router, [ONE], 60) == {} and len(slept) == 3
    router.sessions[ONE] = 10**6
    assert drain.wait_empty(router, [ONE], 0)["tiny/spark-01"] > 10**5


def test_what_the_router_does_not_use_after_it_was_told_is_named(records):
    router = Router()
    drain.drain(router, [ONE], ME, "", records=records)
    ask = router.ask
    router.ask = lambda command: ask(command) if command == "show stat" else router.status.update({ONE: "DOWN"}) or ""
    assert drain.ready(router, [ONE], 0, records=records)["away"] == {"tiny/spark-01": "DOWN"}


def test_servers_that_the_router_does_not_have_are_left_out(records):
    assert drain.drain(Router(), [("new", "spark-01")], ME, "", records=records)["drained"] == []

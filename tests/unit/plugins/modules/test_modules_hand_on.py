# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Modules that only hand on: what they give to those who do the work, and that nothing of an answer or of a refusal is lost."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._router import haproxy
from ansible_collections.gb10.vllm.plugins.modules import benchmark, box_info, diagnose, router_drain, router_info, server_ready, share
from in_process import run_module

ME = {"run": "me", "owner": "anna@laptop"}
ONE = [{"server": "tiny", "box": "spark-01"}]


def refuses(*_given, **_named):
    raise GB10Error("no.", rc=3, last_lines=["why"])


@pytest.mark.parametrize(
    ("module", "place", "given"),
    [
        (benchmark, "Bench", {}), (box_info, "refuse_newer", {}), (diagnose, "collect", {}), (server_ready, "Follower", {"container": "c"}),
        (share, "Shares", {"state": "closed"}),
    ],
)  # fmt: skip
def test_a_refusal_arrives_with_all_that_is_known_of_it(monkeypatch, module, place, given):
    monkeypatch.setattr(module, place, refuses)
    options = {name: one for name, one in (getattr(module, "OPTIONS", None) or getattr(module, "ARGUMENTS", None) or {}).items() if one.get("required")}
    blank = {"str": "x", "path": "/x", "int": 1, "list": [], "dict": {}, "bool": False, "float": 1.0}
    said = run_module(module.__name__.rpartition(".")[2], **{**{name: blank[one["type"]] for name, one in options.items()}, **given})
    assert (said["failed"], said["msg"], said["rc"], said["last_lines"]) == (True, "no.", 3, ["why"])


def test_a_benchmark_is_given_all_options_and_a_place_for_its_progress(monkeypatch, tmp_path):
    seen = []

    class Bench:
        def __init__(self, wanted, progress):
            seen.extend((wanted, progress))

        def measure(self):
            return {"runs": [1], "died": False, "box": {"a": 1}}

    monkeypatch.setattr(benchmark, "Bench", Bench)
    monkeypatch.setattr(benchmark, "ProgressLog", str)
    required = {
        name: {"str": "x", "path": "/x", "int": 1, "list": [], "dict": {}}[one["type"]] for name, one in benchmark.OPTIONS.items() if one.get("required")
    }
    given = {**required, "state_dir": str(tmp_path)}
    assert run_module("benchmark", **given) == {"changed": False, "runs": [1], "died": False, "box": {"a": 1}}
    assert seen[0]["state_dir"] == str(tmp_path) and seen[0]["run_timeout_s"] == 1800 and seen[1] == f"{tmp_path}/benchmark/progress.jsonl"
    assert run_module("benchmark", check=True, **given) == {"changed": False, "runs": [], "died": False, "box": {}} and len(seen) == 2
    monkeypatch.setattr(Bench, "measure", lambda _self: (_ for _ in ()).throw(OSError(28, "No space left on device", "/v/x")))
    assert run_module("benchmark", **given)["msg"].startswith("/v/x cannot be used (No space left on device)")
    monkeypatch.setattr(Bench, "measure", lambda _self: (_ for _ in ()).throw(OSError("gone")))
    assert run_module("benchmark", **given)["msg"].startswith(f"{tmp_path} cannot be used (gone)")


def test_what_diagnose_collects_is_what_it_says(monkeypatch):
    monkeypatch.setattr(diagnose, "collect", lambda *given: [list(given)])
    assert run_module("diagnose", container="c") == {"changed": False, "containers": [["c", 2000, "/etc/gb10-vllm"]]}
    assert run_module("diagnose", lines=5, config_dir="/e", check=True) == {"changed": False, "containers": [[None, 5, "/e"]]}


def test_what_is_known_of_a_router_is_what_is_returned(monkeypatch):
    monkeypatch.setattr(router_info, "router", lambda: {"version": "3.0"})
    assert run_module("router_info") == {"changed": False, "router": {"version": "3.0"}}


@pytest.fixture
def router(monkeypatch):
    """What the module asks of the router, and what that answers."""
    asked, answers = [], {"drain": {"drained": ["a"], "ready": [], "others": [], "away": {}}, "wait_empty": {}, "ready": {"ready": ["a"], "away": {}}}
    for name in answers:
        monkeypatch.setattr(router_drain.drain, name, lambda *given, name=name, **named: asked.append((name, given, named)) or answers[name])
    monkeypatch.setattr(router_drain.look, "configuration", lambda: {"ours": True})
    return asked, answers


def test_draining_hands_on_who_asks_why_and_how_long(router):
    asked, answers = router
    names = [("tiny", "spark-01")]
    said = run_module("router_drain", state="drained", servers=ONE, owner=ME, timeout_s=7)
    assert said == {"changed": True, "busy": {}, **answers["drain"]}
    everybody = haproxy.everybody
    assert [(name, given[:3]) for name, given, _named in asked] == [("drain", (everybody, names, ME)), ("wait_empty", (everybody, names, 7.0))]
    answers["wait_empty"] = {"tiny/spark-02": 1, "tiny/spark-01": 2}
    said = run_module("router_drain", state="drained", servers=ONE, owner=ME)
    assert said["failed"] and said["busy"] == answers["wait_empty"] and said["drained"] == ["a"] and "(tiny/spark-01 2, tiny/spark-02 1)" in said["msg"]
    assert run_module("router_drain", state="drained", servers=ONE, owner=ME, go_on=True) == {
        "changed": True,
        "busy": answers["wait_empty"],
        **answers["drain"],
    }
    answers["drain"]["drained"] = []
    assert run_module("router_drain", state="drained", servers=ONE, owner=ME, go_on=True)["changed"] is False


def test_what_is_made_ready_is_said_and_what_stays_away_is_no_success(router):
    asked, answers = router
    given = {"servers": ONE, "owner": ME, "state": "ready", "timeout_s": 9}
    assert run_module("router_drain", **given) == {"changed": True, "ready": ["a"], "away": {}}
    assert asked == [("ready", (haproxy.everybody, [("tiny", "spark-01")], 9.0), {})]
    answers["ready"] = {"ready": [], "away": {"b": "DOWN", "a": "MAINT"}}
    said = run_module("router_drain", **given)
    assert (
        said["failed"]
        and said["away"] == answers["ready"]["away"]
        and said["msg"].startswith("The router does not use what is ready (a: MAINT, b: DOWN), 9 s after")
    )
    assert run_module("router_drain", **given, go_on=True) == {"changed": False, **answers["ready"]}


def test_nothing_is_drained_in_check_mode_of_nothing_and_where_no_router_is(router, monkeypatch):
    nothing = {"changed": False, "drained": [], "ready": [], "others": [], "busy": {}, "away": {}}
    assert (
        run_module("router_drain", state="drained", servers=ONE, owner=ME, check=True)
        == nothing
        == run_module("router_drain", state="drained", servers=[], owner=ME)
    )
    monkeypatch.setattr(router_drain.look, "configuration", lambda: {"ours": False})
    assert run_module("router_drain", state="drained", servers=ONE, owner=ME) == nothing and router[0] == []
    assert "is called through its action plugin" in run_module("router_drain", state="drained", servers=ONE, owner={})["msg"]
    monkeypatch.setattr(router_drain.look, "configuration", lambda: {"ours": True})
    monkeypatch.setattr(router_drain.drain, "drain", refuses)
    assert run_module("router_drain", state="drained", servers=ONE, owner=ME)["msg"] == "no."


@pytest.mark.parametrize(
    ("load", "asked"),
    [
        (None, None), ({"batch_tokens": "1", "context": "2"}, None), ({"batch_tokens": "1", "context": "0", "requests": 3}, None),
        ({"batch_tokens": "x", "context": "2", "requests": 3}, None), ({"batch_tokens": "1", "context": 2, "requests": "3", "more": 9}, (1, 2, 3)),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("measure", "check", "measured"), [("prove", False, True), ("prove", True, False), ("no", False, False)])
def test_a_proof_is_asked_for_only_where_something_is_measured(monkeypatch, load, asked, measure, check, measured):
    seen = {}

    class Follower:
        def __init__(self, **given):
            seen.update(given)

        def observe(self):
            return {"by": "observe"}

        def follow(self, wait_s):
            return {"by": wait_s}

    monkeypatch.setattr(server_ready, "Follower", Follower)
    required = {name: {"str": name, "path": "/x", "int": 5, "dict": {}}[one["type"]] for name, one in server_ready.ARGUMENTS.items() if one.get("required")}
    given = {**required, "container": "c", "measure": measure, "model_bytes": 5, "stall_s": 11, **({"load": load} if load else {})}
    assert run_module("server_ready", check=check, **given) == {"changed": False, "by": "observe" if check else 15.0}
    proof = seen["proof"]
    assert (proof is not None) == measured and seen["container"] == "c" and seen["stall_s"] == 11.0 and seen["answer_timeout_s"] == 180.0
    if measured:
        found = vars(proof)
        assert "c" in found.values() and 5 in found.values()
        assert [
            tuple(getattr(one, name) for name in ("batch_tokens", "context", "requests")) for one in found.values() if isinstance(one, server_ready.Load)
        ] == ([asked] if asked else [])


def test_the_beginning_waits_for_memory_and_watches_as_long_as_a_start_may_take(monkeypatch):
    seen = []
    monkeypatch.setattr(server_ready, "wait_for_memory", lambda size: seen.append(size))
    monkeypatch.setattr(server_ready.sampling, "begin", lambda *given: seen.append(given) or {"available_bytes": 1})
    required = {name: {"str": name, "path": "/x", "int": 5, "dict": {}}[one["type"]] for name, one in server_ready.ARGUMENTS.items() if one.get("required")}
    given = {**required, "container": "c", "measure": "begin", "memory_bytes": 77, "timeout_s": 100, "answer_timeout_s": 10}
    assert run_module("server_ready", **given) == {"changed": False, "memory": {"available_bytes": 1}} and seen == [77, ("c", 120.0)]
    assert run_module("server_ready", check=True, **given) == {"changed": False} and len(seen) == 2


def test_a_share_is_opened_closed_and_transferred_with_what_was_asked(monkeypatch, tmp_path):
    seen = []

    class Shares:
        def __init__(self, state_dir):
            seen.append(state_dir)

        def open(self, *given, **named):
            seen.append(("open", given, named))
            return {"port": 1}

        def close(self, complete):
            seen.append(("close", complete))

        def transfer(self, *given, **named):
            seen.append(("transfer", given, named))
            return {"changed": True, "shares": {"m": {"replaced": list("abcdef"), "sent_by": ["x", "y"]}, "n": {}}}

    monkeypatch.setattr(share, "Shares", Shares)
    warned = []
    monkeypatch.setattr(share.AnsibleModule, "warn", lambda _self, text: warned.append(text))
    common = {"state_dir": str(tmp_path), "connections": 3}
    assert run_module("share", state="opened", name="me", port=9, idle_s=8, addresses=["a"], link_address="l", **common) == {"changed": False, "port": 1}
    assert run_module("share", state="closed", complete=False, **common) == {"changed": False}
    said = run_module("share", state="transferred", keep=4, patience_s=5, rate_limit_mib_s=2, trusted=["t"], **common)
    assert said["changed"] is True and set(said["shares"]) == {"m", "n"}
    assert seen[1] == ("open", ([], "me", 9, 8), {"connections": 3, "link": "l", "addresses": ["a"]}) and seen[3] == ("close", False)
    assert seen[5] == ("transfer", ([], ["t"]), {"rate_bytes_s": 2 * 2**20, "connections": 3, "keep": 4, "patience_s": 5})
    assert warned == [share.DISTRUST.format(key="m", files="a, b, c, d, e", boxes="x or y")]
    assert run_module("share", state="transferred", check=True, **common) == {"changed": False, "shares": {}} and len(seen) == 6

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""HAProxy's answers as they are read: whose a configuration is, which servers are held and by whom, which processes still finish."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._router import haproxy

STAT = "# pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,dresp,ereq,econ,eresp,wretr,wredis,status,weight,check_status,agent_status,\n"


def row(backend, box, queue, sessions, status, check="", agent=""):
    return f"{backend},{box},{queue},0,{sessions},0,,,,,,,,,,,,{status},1,{check},{agent},\n"


def process(stat, state=""):
    return lambda command: {"show stat": stat, "show servers state": state}[command]


def test_sessions_are_those_of_all_processes_and_the_judgement_is_the_present_ones():
    now = (
        STAT
        + row("gb10_m", "FRONTEND", 9, 9, "OPEN")
        + row("other", "a", 9, 9, "UP")
        + row("gb10_m", "a", 1, 2, "UP", "L7OK", "L4OK")
        + row("gb10_m", "b", "", "", "MAINT (x)")
    )
    now += row("gb10_m", "c", 0, 1, "DRAIN") + "short,line\n"
    old = STAT + row("gb10_m", "a", 4, 8, "DOWN") + row("gb10_m", "gone", 1, 1, "UP")
    state = f"1\n# be_name srv_name srv_admin_state\ngb10_m a {haproxy.DRAINED}\ngb10_m b -\ngb10_x y 1\n"
    common = {"server": "m"}
    assert haproxy.servers([process(now, state), process(old)]) == [
        {**common, "box": "a", "status": "UP", "why": "L7OK L4OK", "sessions": 10, "queue": 5, "held": "drain"}, {**common, "box": "b", "status": "MAINT (x)",
        "why": "", "sessions": 0, "queue": 0, "held": "maint"},
        {**common, "box": "c", "status": "DRAIN", "why": "", "sessions": 1, "queue": 0, "held": "drain"},
    ]  # fmt: skip
    assert haproxy.rows("") == haproxy.rows("no head\n") == [] and haproxy.servers([]) == []


@pytest.mark.parametrize(("one", "held", "up"), [
    ({"status": "UP"}, "", True), ({"status": "no check"}, "", True), ({"status": "DRAIN (agent)"}, "drain", False), ({"status": "MAINT"}, "maint", False),
    ({"status": "DOWN", "held": "drain"}, "drain", False),
    ({"status": "MAINT", "held": ""}, "", False),
])  # fmt: skip
def test_what_somebody_did_to_a_server(one, held, up):
    assert (haproxy.held(one), haproxy.is_held(one), haproxy.is_up(one)) == (held, bool(held), up)
    assert [haproxy.by_admin_state(bits) for bits in (0, haproxy.DRAINED, haproxy.MAINTENANCE, haproxy.DRAINED | haproxy.MAINTENANCE)] == [
        "",
        "drain",
        "maint",
        "maint",
    ]


def test_every_process_is_told_and_only_the_present_one_may_refuse():
    said = []
    haproxy.told([lambda command: said.append(command) or " \n", lambda command: said.append(command) or "gone"], "m", "spark-01", "drain")
    assert said == ["set server gb10_m/spark-01 state drain"] * 2
    with pytest.raises(GB10Error, match="^HAProxy did not set m of a to ready: No such server.$"):
        haproxy.told([lambda _command: "No such server.\n"], "m", "a", "ready")
    for server, box in (("m x", "a"), ("m", "a;b")):
        with pytest.raises(GB10Error, match="are no names that HAProxy could know"):
            haproxy.told([], server, box, "ready")


@pytest.mark.parametrize(
    ("info", "digest"),
    [("Name: HAProxy\nDescription: gb10 abc\n", "abc"), ("description: gb10", ""), ("description: other abc", ""), ("Name: x", ""), ("", "")],
)
def test_which_of_our_configurations_runs(info, digest):
    assert haproxy.running(lambda command: info if command == "show info" else "description: gb10 no") == digest


def test_whose_a_configuration_is():
    assert haproxy.summary(f"{haproxy.MARK}\nglobal\n  description gb10 abc\n") == {"ours": True, "digest": "abc"}
    assert haproxy.summary("global\n  description gb10 abc\n") == {"ours": False, "digest": ""} and haproxy.summary(haproxy.MARK) == {
        "ours": True,
        "digest": "",
    }


def test_those_that_still_finish_are_asked_through_the_master(tmp_path, monkeypatch):
    text = "#<PID> <type>\n10 master 0\n# workers\n11 worker 0\n# old workers\n12 worker 1\n13 worker 2\nx worker\n# programs\n14 worker 0\n"
    assert haproxy.former(lambda command: text if command == "show proc" else "") == [12, 13]
    asked = []
    monkeypatch.setattr(haproxy, "ask_at", lambda path, *_more: lambda command: asked.append((path, command)) or text)
    assert len(haproxy.everybody("s", str(tmp_path / "none"))) == 1
    (tmp_path / "master").touch()
    for ask in haproxy.everybody("s", str(tmp_path / "master")):
        ask("show stat")
    master = str(tmp_path / "master")
    assert asked == [(master, "show proc"), ("s", "show stat"), (master, "@!12 show stat"), (master, "@!13 show stat")]

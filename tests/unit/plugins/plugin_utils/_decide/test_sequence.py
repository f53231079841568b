# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A plan that fits is reached: step by step no port is taken twice and no memory is given out twice."""

from __future__ import annotations

import random

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import sequence
from fleet_boxes import box, deployed, server


def move(name, now, then):
    """Ports and sizes as (port, GiB); None: it does not run."""
    place = lambda one: {"port": one[0], "requested_bytes": one[1]} if one else {}  # noqa: E731
    return {"name": name, "now": place(now), "then": place(then)}


def walk(moves, memory):
    """Carry the steps out as the role does, and see that each start finds what it needs."""
    holds = {one["name"]: one["now"] for one in moves}
    then = {one["name"]: one["then"] for one in moves}
    found = sequence.steps(moves)
    assert sorted(step["name"] for step in found) == sorted(then)
    for step in found:
        for name in [*step["release"], step["name"]]:
            holds[name] = {}
        wanted = then[step["name"]]
        others = [one for name, one in holds.items() if one]
        assert wanted["port"] not in [one["port"] for one in others], found
        assert wanted["requested_bytes"] + sum(one["requested_bytes"] for one in others) <= memory, found
        holds[step["name"]] = wanted
    assert holds == then
    return [(step["name"], step["release"]) for step in found]


@pytest.mark.parametrize(
    ("moves", "expected"),
    [
        ([("a", (1, 40), (1, 40)), ("b", (2, 40), (2, 40))], [("a", []), ("b", [])]),
        ([("a", (1, 20), (1, 60)), ("b", (2, 70), (2, 30))], [("b", []), ("a", [])]),
        ([("new", None, (3, 50)), ("b", (2, 90), (2, 40))], [("b", []), ("new", [])]),
        ([("a", (1, 40), (2, 40)), ("b", (2, 40), (1, 40))], [("a", ["b"]), ("b", [])]),
        ([("a", (1, 40), (2, 40)), ("b", (2, 40), (3, 40))], [("b", []), ("a", [])]),
        ([("a", (1, 30), (2, 30)), ("b", (2, 30), (3, 30)), ("c", (3, 30), (1, 30))], [("a", ["b"]), ("c", []), ("b", [])]),
        ([("a", (1, 60), (2, 30)), ("b", (2, 30), (1, 60))], [("a", ["b"]), ("b", [])]),
        ([("a", (1, 60), (2, 20)), ("b", (2, 30), (3, 70))], [("a", ["b"]), ("b", [])]),
        ([("a", None, (1, 40)), ("b", None, (2, 40))], [("a", []), ("b", [])]),
    ],
)
def test_ports_and_models_are_swapped_and_one_grows_while_another_shrinks(moves, expected):
    assert walk([move(*one) for one in moves], 100) == expected


def test_any_plan_that_fits_is_reached_from_any_state_that_fits():
    chance = random.Random(11)
    for _case in range(3000):
        count = chance.randint(1, 6)
        names, moves = [f"s{number}" for number in range(count)], []
        states = []
        for _state in range(2):
            cuts = sorted(chance.randint(0, 100) for _one in range(count - 1))
            sizes = [after - before for before, after in zip([0, *cuts], [*cuts, 100], strict=True)]
            states.append(list(zip(chance.sample(range(1, 8), count), sizes, strict=True)))
        for name, now, then in zip(names, *states, strict=True):
            moves.append(move(name, None if chance.random() < 0.2 else now, then))
        walk(moves, 100)


def names(found):
    return [(step["name"], step["release"]) for step in found]


def on(*deployments):
    """A box on which these run."""
    return box(*deployments)


def test_what_runs_and_what_is_wanted_are_read_off_the_box_and_the_plan():
    was = [deployed(server("a", port=8000), requested_bytes=20), deployed(server("b", port=8001), requested_bytes=70)]
    plan = {"servers": [{"name": "a", "requested_bytes": 60}, {"name": "b", "requested_bytes": 30}]}
    wanted = [server("a", port=8001), server("b", port=8000)]
    assert names(sequence.serving(wanted, on(*was), plan)) == [("b", ["a"]), ("a", [])]
    down = on(*was)
    for one in down["docker"]["containers"]:
        one["status"] = "exited"
    assert names(sequence.serving(wanted, down, plan)) == [("a", []), ("b", [])], "what does not run holds nothing"
    assert names(sequence.serving(wanted, {}, {})) == [("a", []), ("b", [])]


def test_the_way_back_is_the_other_way_round():
    old = [deployed(server("a", port=8000), requested_bytes=20), deployed(server("b", port=8001), requested_bytes=70)]
    there = on(deployed(server("a", port=8002), requested_bytes=60), deployed(server("b", port=8000), requested_bytes=30))
    for one in old:
        there["servers"][one["name"]]["history"] = [one]
    assert names(sequence.going_back(["b", "a"], there)) == [("a", ["b"]), ("b", [])]
    assert names(sequence.going_back(["a"], there)) == [("a", [])]
    assert sequence.cannot_go_back(["a", "b"], there) == sequence.cannot_go_back(["b"], there) == []
    assert sequence.cannot_go_back(["a"], there) == ["a (port 8000 is b's now)"], "refused before anything is stopped"


def test_who_moves_in_a_circle_goes_back_together():
    """With c, which took the port that a left, a could not go back; d and e have nothing to do with it, and nothing of theirs is stopped."""
    moves = [move("a", (1, 9), (2, 9)), move("b", (2, 9), (3, 9)), move("c", (3, 9), (1, 9)), move("d", (4, 9), (5, 9)), move("e", (6, 9), (4, 9))]
    found = sequence.steps(moves)
    assert [(step["name"], step["release"], step["together"]) for step in found] == [
        ("d", [], []), ("e", [], []), ("a", ["b"], ["a", "c", "b"]), ("c", [], []), ("b", [], []),
    ]  # fmt: skip
    assert sequence.step_of("a", found)["release"] == ["b"] and sequence.step_of("x", found) == {"name": "x", "release": [], "together": []}
    assert [one["name"] for one in sequence.in_sequence([{"name": one["name"]} for one in moves], found)] == ["d", "e", "a", "c", "b"]


def test_what_was_there_before_is_known_of_those_that_were_replaced_and_of_those_only_stopped():
    records = {"a": {"deployment": {"spec": "old a"}}, "b": {"deployment": {"spec": "old b"}}, "new": {}}
    orders = {"a": {"previous": {"spec": "proven a"}}, "b": {"previous": {"spec": "older b"}}, "new": {"previous": {}}}
    found = sequence.deployments_before(["a", "b", "new"], records, ["a", "new"], orders)
    assert found == [{"spec": "proven a"}, {"spec": "old b"}]


def test_who_does_not_grow_goes_before_who_does():
    assert walk([move("a", (1, 20), (1, 60)), move("b", (2, 40), (3, 40))], 100) == [("b", []), ("a", [])]


def test_who_comes_to_a_port_and_who_leaves_one_goes_back_together_with_what_was_stopped():
    """c comes to where a was, a to where b was; d has nothing to do with them."""
    found = sequence.steps([move("d", (9, 5), (9, 5)), move("c", (4, 10), (1, 10)), move("a", (1, 60), (2, 20)), move("b", (2, 20), (3, 50))])
    assert [(step["name"], step["release"], "".join(step["together"])) for step in found] == [
        ("d", [], ""),
        ("c", ["a"], "cab"),
        ("a", ["b"], "cab"),
        ("b", [], ""),
    ]


def test_what_is_not_known_takes_nothing(monkeypatch):
    assert sequence._growth({"name": "a", "then": {"port": 1}, "now": {}}) == 0
    assert [sequence._of(one) for one in ({}, {"port": None}, {"port": 7})] == [{}, {}, {"port": 7, "requested_bytes": 0}]
    monkeypatch.setattr(sequence, "steps", list)
    (asked,) = sequence.serving([{"name": "a", "port": 8}], {}, {})
    assert asked == {"name": "a", "now": {}, "then": {"port": 8, "requested_bytes": 0}}


def test_a_server_holds_its_port_as_long_as_its_own_container_runs():
    docker = {"containers": [{"name": f"gb10-vllm-{name}", "status": status} for name, status in (("a", "running"), ("b", "exited"), ("c", "restarting"))]}
    held = {"docker": docker, "servers": {name: {"deployment": {"port": ord(name), "requested_bytes": 1}} for name in "abcd"}}
    assert [sequence._place(name, held).get("port") for name in "abcd"] == [97, None, 99, None]

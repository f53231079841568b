# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/public.md lists what is public, and what is public changes with a fragment and a version only."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[1] / "public"
loader = importlib.machinery.SourceFileLoader("public", str(TOOL))
public = importlib.util.module_from_spec(importlib.util.spec_from_loader("public", loader))
sys.modules["public"] = public
loader.exec_module(public)
One = public.One
BEFORE = [
    One("module", "box_info", "", "box_info"),
    One("module", "box_info: option named", "list of str", "box_info"),
    One("variable", "gb10_x", "int, default 3", "server"),
    One("variable", "gb10_kind", "str, one of a b", "server"),
]


def of(*many):
    return {(one.kind, one.name): one for one in many}


def page(*many, since="1.2.0", released="1.2.0"):
    return public.Page({key: (one.said, since) for key, one in of(*many).items()}, {}, released)


def judged(now, version, fragments=""):
    """What is amiss once the page was written for a tree that was released as 1.2.0 with what stands in BEFORE."""
    written = public.read(public.written(public.merged(page(*BEFORE), of(*now), version)))
    return " / ".join(public.amiss(written, of(*now), version, fragments))


def test_what_is_public_is_listed_and_changed_with_a_fragment_and_a_version():
    assert public.amiss(*public.state()) == []


def test_kinds_of_all_rooms_are_listed():
    names = set(public.listed())
    assert {kind for kind, _name in names} == set(public.KINDS)
    wanted = {
        ("variable", "gb10_servers[].port"),
        ("module", "box_info: option state_dir"),
        ("module", "box_info: result findings"),
        ("result", "plan_result"),
        ("playbook", "diagnose: -e log"),
        ("role", "server, tasks_from rollback"),
        ("file", "/var/lib/gb10-vllm/servers/NAME/deployment.json"),
        ("file", "unit gb10-vllm-NAME.service"),
        ("file", "label gb10.vllm.spec"),
        ("filter", "work_order"),
    }
    assert wanted - names == set()


def test_a_change_that_is_not_on_the_page_is_named():
    assert public.amiss(page(*BEFORE), of(*BEFORE), "1.2.0", "") == []
    assert "variable gb10_x" in public.amiss(page(*BEFORE), of(*BEFORE[:2]), "2.0.0", "")[0]


NEW = One("variable", "gb10_new", "str", "server")


@pytest.mark.parametrize(
    ("now", "version", "fragments", "said"),
    [
        (BEFORE, "1.2.0", "", ""),
        (BEFORE, "1.2.1", "", ""),
        ([*BEFORE, NEW], "1.2.0", "gb10_new", "galaxy.yml still says so"),
        ([*BEFORE, NEW], "1.2.1", "gb10_new", "needs version 1.3.0"),
        ([*BEFORE, NEW], "1.3.0", "", "no fragment"),
        ([*BEFORE, NEW], "1.3.0", "role server - a thing", "no fragment"),
        ([*BEFORE, NEW], "1.3.0", "server - ``gb10_new`` is new", ""),
        (BEFORE[:-1], "1.3.0", "gb10_kind", "needs version 2.0.0"),
        (BEFORE[:-1], "2.0.0", "gb10_kind", ""),
        (BEFORE[:-1], "2.0.0", "", "no fragment"),
        ([*BEFORE[:2], One("variable", "gb10_x", "int, default 4", "server"), BEFORE[3]], "1.3.0", "gb10_x", "needs version 2.0.0"),
        ([*BEFORE[:2], One("variable", "gb10_x", "int, default 4", "server"), BEFORE[3]], "2.0.0", "gb10_x", ""),
        ([*BEFORE[:3], One("variable", "gb10_kind", "str, one of a b c", "server")], "1.3.0", "gb10_kind", ""),
        ([*BEFORE[:3], One("variable", "gb10_kind", "str, one of a", "server")], "1.3.0", "gb10_kind", "needs version 2.0.0"),
        ([*BEFORE, One("module", "show", "", "show"), One("module", "show: option text", "str", "show")], "1.3.0", "show is a new module", ""),
        ([*BEFORE, One("module", "box_info: option other", "str", "box_info")], "1.3.0", "box_info has more", "no fragment"),
        ([*BEFORE, One("module", "box_info: option other", "str", "box_info")], "1.3.0", "- box_info has more\n- any other thing", "no fragment"),
        ([*BEFORE, One("module", "box_info: option other", "str", "box_info")], "1.3.0", "- box_info - new option ``other``", ""),
    ],
)
def test_semantic_versioning(now, version, fragments, said):
    found = judged(now, version, fragments)
    assert said in found if said else found == ""


def test_what_came_after_the_release_may_still_change_before_the_next_and_a_second_change_is_none_less():
    first = public.merged(page(*BEFORE), of(*BEFORE, NEW), "1.3.0")
    again = public.merged(first, of(*BEFORE, One("variable", "gb10_new", "int", "server")), "1.3.0")
    assert again.there[("variable", "gb10_new")] == ("int", "1.3.0")
    assert public.merged(again, of(*BEFORE), "1.3.0").gone == {}
    other = public.merged(page(*BEFORE), of(*BEFORE[:3], One("variable", "gb10_kind", "str, one of a", "server")), "2.0.0")
    more = public.merged(other, of(*BEFORE[:3], One("variable", "gb10_kind", "str, one of a d", "server")), "2.0.0")
    assert more.there[("variable", "gb10_kind")][1] == "1.2.0!2.0.0"


def test_a_page_for_a_version_that_is_not_this_one_is_named():
    written = public.merged(page(*BEFORE), of(*BEFORE, NEW), "1.3.0")
    assert "names 1.3.0" in public.amiss(written, of(*BEFORE, NEW), "1.4.0", "gb10_new")[0]

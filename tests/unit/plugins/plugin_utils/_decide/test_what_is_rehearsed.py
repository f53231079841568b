# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which servers are rehearsed, and by which box of a fleet."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.rehearsal import env_text, rehearsals, rehearsals_wanted, rehearsed_by

SERVER = {"name": "a", "env": {"HF_TOKEN": "it's", "N": 1}}


def order(**more):
    deployment = {"container": {"image": "i"}, "manifest": "m", "inputs": "wanted", "spec": "s"}
    return {"create": True, "new": False, "proven": False, "deployment": {**deployment, **more.pop("deployment", {})}, **more}


@pytest.mark.parametrize("more", [{"create": False}, {"new": True}, {"proven": True}])
def test_only_what_runs_and_gets_something_unproven(more):
    assert rehearsals_wanted({"a": order()}, [SERVER]).keys() == {"a"}
    assert rehearsals_wanted({"a": order(**more)}, [SERVER]) == {} == rehearsals_wanted({}, [SERVER])


def test_what_is_asked():
    wanted = {"name": "a", "container": {"image": "i"}, "manifest": "m", "environment": "HF_TOKEN='it'\"'\"'s'\nN=1\n"}
    assert rehearsals({"a": order()}, [SERVER, {"name": "b"}], ["a"]) == [wanted]
    assert rehearsals({"a": order()}, [SERVER], []) == [] and env_text({"name": "b"}) == ""


def test_figures_that_were_measured_make_no_other_question_but_the_environment_does():
    def asked(env="x", **more):
        return rehearsals_wanted({"a": order(deployment=more)}, [{"name": "a", "env": {"A": env}}])

    assert asked() == asked(container={"command": ["--kv-cache-memory-bytes", "7"]}, spec="t") != asked(inputs="other")
    assert asked() != asked(env="y")


def test_of_boxes_that_ask_the_same_the_one_with_the_most_memory_does():
    asked = {"one": {"a": "1", "b": "2"}, "two": {"a": "1"}, "three": {"a": "3", "b": "2"}, "four": {}}
    free = {"one": 5, "two": 9, "three": 5}
    assert {box: rehearsed_by(box, asked, free) for box in asked} == {"one": ["b"], "two": ["a"], "three": ["a"], "four": []}
    assert rehearsed_by("five", asked, free) == []

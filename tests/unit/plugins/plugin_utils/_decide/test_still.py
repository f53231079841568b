# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When a run leaves out the tasks that would bring something: only where each of the reasons for them is missing, on every box."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.still import box_is_still, nothing_to_bring

HUB = "/etc/gb10-vllm/hub.env"
PATH = "/srv/models/tiny"
ASKED = {"model": "tiny", "model_path": PATH, "repo_id": "org/tiny", "revision": None, "load_format": None}
INFO = {"present": True, "manifest": "m", "content": {"weights": "w"}, "ours": True, "version": "1", "directory": f"{PATH}@1"}


def box(**changes):
    """What the phase plan leaves behind on a box that has what is wanted; a change is named by its place, as ``result__host``."""
    known = {
        "preflight_result": {"host": [], "box": {"files": {}, "docker": {"images": {"vllm-node": {"id": "sha256:a", "identity": "i"}}}}},
        "preflight_servers": [{"name": "chat", **ASKED}],
        "plan_models": {"models": {PATH: dict(INFO)}},
        "plan_wanted": [{**ASKED, **INFO}],
        "server_orders": {"chat": {"create": False}},
        "plan_still": True,
    }
    known = copy.deepcopy(known)
    for where, value in changes.items():
        *folders, last = where.split("__")
        place = known
        for folder in folders:
            place = place[folder]
        if value is None:
            place.pop(last, None)
        else:
            place[last] = value
    return known


def test_a_box_that_has_what_is_wanted_is_still():
    assert box_is_still(box(), HUB)
    assert box_is_still(box(preflight_result__box__files={"/etc/gb10-vllm/chat/key.env": {}}), HUB)


@pytest.mark.parametrize(
    "changes",
    [
        {"preflight_servers": []},
        {"preflight_result__host": [{"what": "the clock"}]},
        {"preflight_result__box__files": {HUB: {}}},
        {"preflight_servers": [{"name": "duo", "boxes": ["a", "b"], **ASKED}], "server_orders": {"duo": {"create": False}}},
        {"server_orders": {}},
        {"server_orders": None},
        {"server_orders": {"chat": {"create": True}}},
        {"plan_wanted": [{**ASKED, "present": False}]},
        {"plan_models": {"models": {PATH: {**INFO, "content": {"weights": ""}}}}},
        {"plan_models": {"models": {PATH: {**INFO, "version": ""}}}},
    ],
)
def test_a_box_that_lacks_one_of_them_is_not(changes):
    assert not box_is_still(box(**changes), HUB)


def test_an_owners_own_directory_needs_no_version_and_what_is_not_there_no_content():
    assert box_is_still(box(plan_models={"models": {PATH: {**INFO, "ours": False, "version": ""}, "/srv/models/other": {"present": False}}}), HUB)


MADE = {"changed": False, "image": {"id": "sha256:a"}}


def asked(shared=True, everywhere=False, a=None, b=None):
    hostvars = {"a": box(**{"image_results": {"vllm-node": MADE}, **(a or {})}), "b": box(**(b or {}))}
    return nothing_to_bring(["a", "b"], hostvars, "a", shared, everywhere)


def test_nothing_is_brought_where_all_boxes_have_the_same():
    assert asked() and asked(shared=False)
    assert asked(a={"image_results": None, "image_result": {"changed": False, "image": {"name": "vllm-node", "id": "sha256:a"}}})


@pytest.mark.parametrize(
    "given",
    [
        {"b": {"plan_still": False}},
        {"b": {"plan_still": None}},
        {"a": {"image_results": {"vllm-node": {"changed": True, "image": {"id": "sha256:a"}}}}},
        {"a": {"image_results": {"vllm-node": {"changed": False, "image": {"id": "sha256:b"}}}}},
        {"a": {"image_results": {"vllm-node": {"changed": False, "image": {}}}}},
        {"b": {"preflight_result__box__docker": {"images": {}}}},
        {"b": {"preflight_result__box__docker": {"images": {"vllm-node": {"id": "sha256:c", "identity": "other"}}}}},
        {"a": {"plan_wanted": [{**ASKED, **INFO, "revision": "v2"}]}},
        {"b": {"plan_models": {"models": {}}}},
    ],
)
def test_something_may_have_to_be_brought(given):
    assert not asked(**given)


def test_boxes_that_send_each_other_nothing_may_differ():
    other = {"preflight_result__box__docker": {"images": {"vllm-node": {"id": "sha256:c", "identity": "other"}}}}
    assert asked(shared=False, b=other)
    # Each asks the hub for itself: a revision that is named is looked at on both.
    assert not asked(shared=False, everywhere=True, b={"plan_wanted": [{**ASKED, **INFO, "revision": "v2"}]})

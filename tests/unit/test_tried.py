# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/testing.md says which test sets each variable and goes down each way on which a run fails, and nothing is left out."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import re
from pathlib import Path

import pytest
from test_promises import exists

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tried():
    loader = importlib.machinery.SourceFileLoader("tried", str(ROOT / "tests" / "tried"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("tried", loader))
    loader.exec_module(module)
    return module


def test_every_variable_is_set_by_a_test_that_goes_through_the_roles(tried):
    found = {variable: tried.tried(variable) for variable in tried.variables()}
    assert len(found) > 40
    assert {variable for variable, tests in found.items() if not tests["with roles"] and not tests["on boxes"]} == set()


def test_every_variable_is_read_by_a_playbook(tried):
    unread = [variable for variable in tried.variables() if not tried.playbooks(variable)]
    looked_up = {"gb10_management_address", "gb10_link_address"} | {name for name in unread if name.startswith("gb10_router_")}
    assert set(unread) == looked_up, "those are looked up by their names, of each host"


def test_every_way_on_which_a_run_fails_is_gone_by_a_test_that_is_there(tried):
    blocks = tried.blocks()
    assert len(blocks) > 12 and set(tried.WAYS) == set(blocks)
    assert [test for test in tried.WAYS.values() if not exists(test)] == []


def test_a_name_is_a_whole_word_and_a_sentence_about_it_in_another_file_is_none(tried):
    assert tried.words("x: {gb10_keep: 1}") == {"gb10_keep"} and tried.words("gb10_keeper, no_gb10_keep") == {"gb10_keeper"}
    assert "site" in tried.playbooks("gb10_prune") and "site" not in tried.playbooks("gb10_bundle")


def test_the_page_is_what_the_tree_says(tried):
    assert tried.main(["--check"]) == 0, "tests/tried writes it anew"


def test_what_the_page_names_is_there():
    named = set(re.findall(r"`([\w/]+\.py::\w+)`", (ROOT / "docs" / "testing.md").read_text()))
    assert len(named) > 50 and [test for test in sorted(named) if not exists(test)] == []

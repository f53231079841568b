# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/testing.md says which test sets each variable and goes down each way on which a run fails, and nothing is left out."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path

import pytest
from test_promises import exists

ROOT = Path(__file__).parents[2]
# Variables that no test sets through the roles yet: those of features that came together with this table.
UNSET = {
    "gb10_agent_port",
    "gb10_benchmark_cool_c",
    "gb10_benchmark_key",
    "gb10_benchmark_page",
    "gb10_benchmark_timeout_s",
    "gb10_drain_go_on",
    "gb10_fabric_all_gather",
    "gb10_management_address",
    "gb10_prometheus_url",
    "gb10_router_ca",
    "gb10_router_floating",
    "gb10_router_tls",
    "gb10_router_tls_name",
    "gb10_server_address",
    "gb10_tune_aim",
    "gb10_tune_box",
    "gb10_tune_dir",
    "gb10_tune_most",
    "gb10_tune_parameters",
    "gb10_tune_server",
    "gb10_tune_settings",
}
# Ways that no test goes down, each with the reason.
UNTRIED = {
    ("roles/router/tasks/told.yml", "Tell the routers"): "not yet: needs a router that fails between the drain and the proof of a batch",
    ("roles/router/tasks/change.yml", "Get HAProxy onto {{ router_host }}"): "not looked at yet: came together with this table",
    ("playbooks/benchmark.yml", "Measure while no other run changes the boxes"): "not looked at yet: came together with this table",
    ("playbooks/fabric.yml", "Set up or examine the fabric"): "not looked at yet: came together with this table",
    ("playbooks/host.yml", "Set up hosts while no other run changes them"): "not looked at yet: came together with this table",
    ("playbooks/monitoring.yml", "Change the boxes while no other run does"): "not looked at yet: came together with this table",
    ("playbooks/monitoring.yml", "Change the monitoring host while no other run does"): "not looked at yet: came together with this table",
    ("playbooks/tune.yml", "Search while no other run changes the box"): "not looked at yet: came together with this table",
    ("roles/benchmark/tasks/measure.yml", "Measure {{ benchmark_name }}"): "not looked at yet: came together with this table",
    ("roles/fabric/tasks/keep.yml", "Keep the network once the box was reached again"): "not looked at yet: came together with this table",
    ("roles/monitoring/tasks/programs.yml", "Install the distribution's packages"): "not looked at yet: came together with this table",
    ("roles/monitoring/tasks/receivers.yml", "Write the receivers"): "not looked at yet: came together with this table",
    ("roles/tune/tasks/main.yml", "Try one candidate after the other, and put back what ran"): "not looked at yet: came together with this table",
    ("roles/tune/tasks/try.yml", "Try candidate {{ tune_candidate.number }}"): "not looked at yet: came together with this table",
    ("roles/server/tasks/repair.yml", "Repair and try again: {{ server_wanted.name }}"): "not yet: needs a server that fails after its repair, too",
    ("roles/server/tasks/restore.yml", "Put back what served before {{ server_wanted.name }}"): "not yet: needs one whose former deployment fails, too",
    ("roles/server/tasks/restore.yml", "Put back what moved together with {{ server_wanted.name }}"): "both of two that swapped would have to fail twice",
    ("playbooks/status.yml", "Plan for each box"): "a plan that cannot be computed on a box that serves needs a model that was damaged meanwhile",
}


@pytest.fixture(scope="module")
def tried():
    loader = importlib.machinery.SourceFileLoader("tried", str(ROOT / "tests" / "tried"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("tried", loader))
    loader.exec_module(module)
    return module


def test_every_variable_is_set_by_a_test_that_goes_through_the_roles(tried):
    found = {variable: tried.tried(variable) for variable in tried.variables()}
    assert len(found) > 40
    assert {variable for variable, tests in found.items() if not tests["with roles"] and not tests["on boxes"]} == UNSET


def test_every_variable_is_read_by_a_playbook(tried):
    unread = [variable for variable in tried.variables() if not tried.playbooks(variable)]
    looked_up = {"gb10_management_address"} | {name for name in unread if name.startswith("gb10_router_")}
    assert set(unread) == looked_up, "those are looked up by their names, of each host"


def test_every_way_on_which_a_run_fails_is_gone_by_a_test_that_is_there(tried):
    blocks = tried.blocks()
    assert len(blocks) > 12 and set(tried.WAYS) == set(blocks)
    untried = {way for way, test in tried.WAYS.items() if test == "none"}
    assert untried == set(UNTRIED)
    assert [test for test in tried.WAYS.values() if test != "none" and not exists(test)] == []


def test_a_name_is_a_whole_word_and_a_sentence_about_it_in_another_file_is_none(tried):
    assert tried.reads("x: {gb10_keep: 1}", "gb10_keep") and not tried.reads("gb10_keeper", "gb10_keep")
    assert "site" in tried.playbooks("gb10_prune") and "site" not in tried.playbooks("gb10_bundle")


def test_the_page_is_what_the_tree_says(tried):
    assert tried.main(["--check"]) == 0, "tests/tried writes it anew"

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters between wish, plan and what runs."""

from __future__ import annotations

from ansible_collections.gb10.vllm.plugins.filter.servers import exposures

SERVERS = [{"name": "inside", "address": "127.0.0.1"}, {"name": "outside", "address": "192.168.1.5"}]


def test_an_old_version_is_refused_where_others_reach_it():
    seen = exposures(SERVERS, "0.17.1")
    assert seen["warn"] == []
    assert len(seen["refuse"]) == 1
    assert seen["refuse"][0].startswith("outside: vLLM 0.17.1 is older than 0.18.0") and "127.0.0.1" in seen["refuse"][0]


def test_a_middling_version_is_warned_about_and_a_new_one_allowed():
    assert exposures(SERVERS, "0.29.0")["refuse"] == []
    assert exposures(SERVERS, "0.29.0")["warn"][0].startswith("outside: ")
    assert exposures(SERVERS, "0.33.0+cpu") == exposures(SERVERS, "") == {"refuse": [], "warn": []}

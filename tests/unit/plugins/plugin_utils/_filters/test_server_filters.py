# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters between wish, plan and what runs."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.gb10.vllm.plugins.plugin_utils._filters.servers import REFUSED, exposures, start_refusal

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


def test_a_start_that_the_guard_refuses_says_why():
    guard = (Path(__file__).resolve().parents[5] / "roles" / "server" / "files" / "guard.py").read_text()
    assert f'tell(f"{REFUSED}' in guard, "the guard and the role have the same word for it"
    systemd = "Unable to start service x.service: Job for x.service failed"
    journal = ["not started: long ago", "Starting x.service", "not started: x takes 9.0 GiB and 8.0 GiB are available.", "x.service: Failed with result"]
    assert start_refusal(systemd, journal) == "Not started: x takes 9.0 GiB and 8.0 GiB are available."
    assert start_refusal(systemd, ["Starting x.service", "it was not started: no"]) == start_refusal(systemd, []) == systemd

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an operator may ask for with gb10_maintain, and what has to run again afterwards."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._fleet.maintenance import maintenance_work, running_servers


@pytest.mark.parametrize(
    ("named", "command", "done"),
    [
        ("packages", "", ["packages"]),
        ("reboot", "", ["reboot"]),
        ("packages, reboot", "", ["packages", "reboot"]),
        (["command", "reboot"], "fwupdmgr upgrade", ["command", "reboot"]),
    ],
)
def test_what_is_named_is_done(named, command, done):
    found = maintenance_work(named, command)
    assert [kind for kind in ("packages", "command", "reboot") if found[kind]] == done and found["problem"] == ""


@pytest.mark.parametrize(
    ("named", "command", "said"),
    [
        (None, "", "does not say what to do"),
        ("", "", "does not say what to do"),
        ([], "", "does not say what to do"),
        ("restart", "", "'restart' is none of packages, command, reboot"),
        (["reboot", 3], "", "'3' is none of"),
        ("command", "  ", "gb10_maintain_command is missing"),
        ("reboot", "true", "would not be run"),
    ],
)
def test_what_says_nothing_is_refused(named, command, said):
    assert said in maintenance_work(named, command)["problem"]


def test_only_what_ran_has_to_run_again():
    units = {"gb10-vllm-a.service": {"active": "active"}, "gb10-vllm-b.service": {"active": "failed"}, "gb10-vllm-c.service": {"active": "activating"}}
    servers = {name: {"deployment": {"name": name}} for name in "bca"} | {"d": {}}
    assert [one["name"] for one in running_servers({"units": units, "servers": servers})] == ["a", "c"]
    assert running_servers({}) == []

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The configuration of a floating address as the distribution's keepalived takes it."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._router import floating

PROGRAM = shutil.which("keepalived", path="/usr/sbin:/usr/bin")
pytestmark = pytest.mark.skipif(not PROGRAM or os.geteuid() != 0, reason="needs root and keepalived (tests/setup --router brings it)")
INSIDE = 'ip link add box type veth peer name other && exec "$0" "$@"'


def checked(tmp_path, text):
    # A host has the program that asks HAProxy before it has this file (roles/router/tasks/change.yml).
    (tmp_path / "keepalived.conf").write_text(text.replace(floating.ANSWERS, "/usr/bin/true"))
    command = ["unshare", "--net", "/bin/sh", "-c", INSIDE, PROGRAM, "--config-test", f"--use-file={tmp_path}/keepalived.conf"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("address", "routers"),
    [
        ("10.0.0.100/24", {"r1": "10.0.0.1", "r2": "10.0.0.2"}),
        ("10.0.0.100/24", {"r1": "10.0.0.1", "r2": "10.0.0.2", "r3": "10.0.0.3"}),
        ("fd00::100/64", {"r1": "fd00::1", "r2": "fd00::2"}),
    ],
)
def test_keepalived_takes_what_is_written_without_a_word(tmp_path, address, routers):
    for router, own in routers.items():
        done = checked(tmp_path, floating.configuration(router, {"address": address}, routers, {own: "box"}))
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_it_would_have_said_what_is_wrong(tmp_path):
    text = floating.configuration("r1", {"address": "10.0.0.100/24"}, {"r1": "10.0.0.1", "r2": "10.0.0.2"}, {"10.0.0.1": "box"})
    assert checked(tmp_path, text.replace("virtual_router_id 51", "virtual_router_id 999")).returncode

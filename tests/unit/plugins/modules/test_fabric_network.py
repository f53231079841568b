# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module fabric_network over netplan's files below a directory: nothing is applied without its way back, and it stays only once it was confirmed."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._fabric import netplan
from ansible_collections.gb10.vllm.plugins.module_utils._fabric.text import NOTHING, OUR_FILE, render
from in_process import Programs, run_module

WANTED = render({"fab0": "10.0.0.1/24"}, 9000)


class Box:
    """systemd-run runs what it is given at once where it is waited for; the timer of the way back only counts as set."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        etc, run = folder / "etc/netplan", folder / "run/netplan"
        etc.mkdir(parents=True)
        (etc / "50-cloud-init.yaml").write_text("network: {version: 2}\n")
        values = {"PLACES": (str(run), str(etc)), "STAYS": f"{etc}/{OUR_FILE}", "CANDIDATE": f"{run}/{OUR_FILE}", "UNDO": f"{folder}/undo"}
        values |= {"APPLY": f"{folder}/apply", "BACKENDS": (f"{folder}/networkd/10-netplan-*.network",), "SYSCTL": f"{folder}/sysctl"}
        for name, value in values.items():
            monkeypatch.setattr(netplan, name, value)
        self.stays, self.candidate, self.undo = (netplan.STAYS, netplan.CANDIDATE, netplan.UNDO)
        self.programs = Programs(folder / "bin", monkeypatch)
        for program in ("netplan", "systemctl", "ip", "journalctl"):
            self.programs.answer(program)
        self.programs.answer("systemd-run", "*--wait*", f"sh {folder}/apply")
        self.programs.answer("systemd-run", "*--on-active*")

    def set(self, content=None, check=False, diff=False, **more):
        given = {"content": content} if content is not None else {}
        return run_module("fabric_network", check=check, diff=diff, state_dir=str(self.folder / "state"), **given, **more)

    def lies(self):
        return [os.path.exists(path) for path in (self.stays, self.candidate, self.undo)]


@pytest.fixture
def box(tmp_path, monkeypatch):
    return Box(tmp_path, monkeypatch)


def test_it_is_applied_with_its_way_back_set_first_and_stays_when_confirmed(box):
    assert box.set(WANTED, confirm_s=77) == {"changed": True, "awaits": True}
    assert box.lies() == [False, True, True] and Path(box.candidate).read_text() == WANTED
    calls = [one for one in box.programs.calls() if one.startswith(("systemd-run", "netplan apply"))]
    assert calls[0].startswith("systemd-run --quiet --collect --unit gb10-fabric-undo --on-active=77 ") and calls[0].endswith(box.undo)
    assert calls[1].startswith("systemd-run --quiet --collect --wait --unit gb10-fabric-apply ") and calls[2] == "netplan apply"
    assert (stat.S_IMODE(os.stat(box.undo).st_mode), stat.S_IMODE(os.stat(box.candidate).st_mode)) == (0o700, 0o600)
    record = json.loads((box.folder / "state/fabric.json").read_text())
    assert record == {"fab0": {"mtu": 1500, "up": False, "sysctl": {}}}, "what netplan does not put back is remembered"
    assert box.set(WANTED, state="confirmed", check=True)["changed"] and box.lies() == [False, True, True]
    assert box.set(WANTED, state="confirmed") == {"changed": True, "awaits": False}
    assert box.lies() == [True, False, False] and Path(box.stays).read_text() == WANTED and not os.path.exists(box.folder / "apply")
    assert "systemctl stop gb10-fabric-undo.timer" in box.programs.calls() and box.programs.calls()[-1] == "netplan generate"
    assert box.set(WANTED) == {"changed": False, "awaits": False} and box.set(WANTED, state="confirmed")["changed"] is False


def applied(box, content=WANTED):
    box.set(content) if content else box.set(state="absent")
    box.set(content, state="confirmed")


def test_what_was_kept_goes_again_and_its_record_with_it(box):
    applied(box)
    assert box.set(state="absent")["awaits"] and Path(box.candidate).read_text() == NOTHING and os.path.exists(box.stays)
    assert box.set(state="confirmed")["changed"] and box.lies() == [False, False, False]
    assert not (box.folder / "state/fabric.json").exists() and box.set(state="absent")["changed"] is False
    assert (
        any(one.startswith("ip link set dev fab0 mtu 1500 down") for one in box.programs.calls("ip"))
        and "ip address del 10.0.0.1/24 dev fab0" in box.programs.calls()
    )


def test_the_way_back_leaves_the_box_as_it_was(box):
    box.set(WANTED)
    subprocess.run(["sh", box.undo], check=True)
    assert box.lies() == [False, False, False] and not (box.folder / "state/fabric.json").exists()
    said = box.set(WANTED, state="confirmed")
    assert said["failed"] and said["msg"] == netplan.TAKEN_BACK


def test_a_way_back_that_is_being_taken_is_not_overtaken(box):
    box.set(WANTED)
    for word in ("active", "activating"):
        box.programs.answer("systemctl", "is-active*", f"echo {word}")
        assert box.set(WANTED, state="confirmed")["msg"] == netplan.TAKEN_BACK and box.lies()[:2] == [False, True]


def test_another_file_than_the_one_that_was_applied_is_not_kept(box):
    box.set(WANTED)
    assert box.set(render({"fab1": "10.0.0.9/24"}, 9000), state="confirmed")["failed"] and box.lies()[0] is False


def test_what_cannot_be_applied_is_taken_back_and_said(box):
    box.programs.answer("netplan", "apply", "exit 1")
    box.programs.answer("journalctl", "*gb10-fabric-apply*", "echo 'fab0: no carrier'")
    said = box.set(WANTED)
    assert said["failed"] and said["msg"].startswith("the network of the fabric could not be applied (fab0: no carrier); what was is in place again")
    assert box.lies() == [False, False, False] and "systemctl stop gb10-fabric-undo.timer" in box.programs.calls()


def test_without_a_timer_for_the_way_back_nothing_is_changed(box):
    box.programs.answer("systemd-run", "*--on-active*", "echo 'no bus' >&2; exit 1")
    said = box.set(WANTED)
    assert said["failed"] and "cannot start the timer that would take a bad network back (no bus), so nothing was changed" in said["msg"]
    assert box.lies()[:2] == [False, False] and "netplan apply" not in box.programs.calls()


@pytest.mark.parametrize("check", [True, False])
def test_what_netplan_refuses_is_said_in_its_words_and_not_applied(box, check):
    box.programs.answer(
        "netplan", "generate*", f'grep -q fab0 "$3{box.folder}/run/netplan/{OUR_FILE}" 2>/dev/null && {{ echo "$3/etc: twice" >&2; exit 1; }}; :'
    )
    said = box.set(WANTED, check=check)
    assert said["failed"] and "netplan refuses the network of the fabric beside what is there: /etc: twice. Nothing was changed" in said["msg"]
    assert box.lies() == [False, False, False]
    box.programs.answer("netplan", "generate*", "echo broken; exit 1")
    assert "netplan refuses the files that are there already: broken." in box.set(WANTED, check=check)["msg"]


def test_a_change_of_somebodys_that_waits_is_not_applied_along(box):
    script = f'mkdir -p "$3{box.folder}/networkd" && echo new >"$3{box.folder}/networkd/10-netplan-eth0.network"'
    box.programs.answer("netplan", "'generate --root-dir'*", script)
    said = box.set(WANTED)
    assert said["failed"] and f"({box.folder}/networkd/10-netplan-eth0.network would become another)" in said["msg"] and box.lies() == [False, False, False]
    (box.folder / "networkd").mkdir()
    (box.folder / "networkd/10-netplan-eth0.network").write_text("new\n")
    assert box.set(WANTED)["changed"], "as it was applied"


def test_check_mode_only_asks_netplan_and_shows_the_difference(box):
    said = box.set(WANTED, check=True, diff=True)
    assert said["changed"] and said["awaits"] is False and said["diff"] == {
        "before_header": box.stays, "after_header": box.stays, "before": "", "after": WANTED,
    }  # fmt: skip
    assert box.lies() == [False, False, False] and box.programs.calls("systemd-run") == [] and not (box.folder / "state").exists()
    assert "diff" not in box.set(WANTED, check=True)


def test_what_a_killed_run_left_is_taken_back_before_anything_else(box):
    box.set(WANTED)
    other = render({"fab0": "10.0.0.2/24"}, 9000)
    assert box.set(other)["awaits"] and Path(box.candidate).read_text() == other
    assert "ip address del 10.0.0.1/24 dev fab0" in box.programs.calls()


def test_a_file_that_cannot_be_read_is_named(box):
    os.makedirs(box.stays)
    assert box.set(WANTED)["msg"].startswith(f"{box.stays} cannot be read (")

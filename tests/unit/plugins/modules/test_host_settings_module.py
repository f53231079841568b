# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module host_settings over a host of real files: what it reads, what it does in which order, and what it remembers for the way back."""

from __future__ import annotations

import json
import os
import stat

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._host import carry_out, facts, settings
from in_process import Programs, run_module


class Host:
    def __init__(self, folder, monkeypatch):
        self.folder, self.state, self.record = folder, folder / "state", folder / "state/host.json"
        self.programs = Programs(folder / "bin", monkeypatch)
        units = str(folder / "units")
        moved = {name: f"{units}/{os.path.relpath(getattr(settings, name), settings.UNITS)}" for name in ("GUARD_DROP_IN", "ORDER_DROP_IN")}
        moved |= {"ORDER": str(folder / "lib/oom-order"), "UNITS": units}
        for name, value in moved.items():
            monkeypatch.setattr(settings, name, value)
        files = (*(moved[name] for name in ("GUARD_DROP_IN", "ORDER_DROP_IN", "ORDER")), f"{units}/{settings.CLOCKS}", f"{units}/{settings.WIFI}")
        monkeypatch.setattr(facts, "OUR_FILES", files)
        for module in (facts, carry_out):
            monkeypatch.setattr(module, "RFKILL", str(folder / "rfkill"))
        monkeypatch.setattr(facts, "NET", str(folder / "net"))
        monkeypatch.setattr(facts, "ways", lambda: ["eth0", "wlan0"])
        self.radio("rfkill0", "wlan", "0")
        self.radio("rfkill1", "bluetooth", "0")
        (folder / "net/eth0").mkdir(parents=True)
        for program in ("systemctl", "apt-get", "apt-mark", "journalctl", "nvidia-smi"):
            self.programs.answer(program)
        self.programs.answer("nmcli", "-t*", "echo enabled")
        self.programs.answer("nmcli", "radio*")
        self.programs.answer(
            "dpkg-query", "*", "printf 'install installed linux-image-6\\nhold installed nvidia-driver-580\\ninstall config-files linux-image-5\\n'"
        )

    def radio(self, name, kind, soft):
        (self.folder / "rfkill" / name).mkdir(parents=True)
        (self.folder / "rfkill" / name / "type").write_text(f"{kind}\n")
        (self.folder / "rfkill" / name / "soft").write_text(f"{soft}\n")

    def set(self, check=False, diff=False, **parts):
        wanted = {part: {"state": given} if isinstance(given, str) else given for part, given in parts.items()}
        return run_module("host_settings", check=check, diff=diff, settings=wanted, state_dir=str(self.state))

    def done(self, *programs):
        return [one for one in self.programs.calls() if one.startswith(programs) and " show " not in one]

    def remembered(self):
        return json.loads(self.record.read_text())


@pytest.fixture
def host(tmp_path, monkeypatch):
    return Host(tmp_path, monkeypatch)


def test_wifi_goes_off_and_what_was_comes_back(host):
    said = host.set(wifi_off="present")
    unit = f"{host.folder}/units/gb10-host-wifi.service"
    assert said["changed"] and said["parts"]["wifi_off"][0] == f"write {unit}" and stat.S_IMODE(os.stat(unit).st_mode) == 0o644
    assert host.done("systemctl", "nmcli radio") == [
        "systemctl daemon-reload", "systemctl enable gb10-host-wifi.service", "systemctl restart gb10-host-wifi.service", "nmcli radio wifi off",
    ]  # fmt: skip
    assert host.remembered() == {"wifi_off": {"radios": {"rfkill0": False}, "network_manager": "enabled"}} and stat.S_IMODE(host.record.stat().st_mode) == 0o600
    (host.folder / "rfkill/rfkill0/soft").write_text("1\n")
    host.programs.answer("nmcli", "-t*", "echo disabled")
    host.programs.answer("systemctl", "show*", "printf 'Id=gb10-host-wifi.service\\nLoadState=loaded\\nActiveState=active\\nUnitFileState=enabled\\n'")
    assert host.set(wifi_off="present") == {"changed": False, "parts": {"wifi_off": []}}
    assert host.set(wifi_off="absent")["parts"]["wifi_off"] == [
        "systemctl disable --now gb10-host-wifi.service", f"remove {unit}", "systemctl daemon-reload", "switch the radio rfkill0 on", "nmcli radio wifi on",
    ]  # fmt: skip
    assert (host.folder / "rfkill/rfkill0/soft").read_text() == "0" and not os.path.exists(unit) and not host.record.exists()


def test_a_box_that_is_reached_by_wifi_keeps_it(host):
    for way in ("wireless", "phy80211"):
        (host.folder / "net/wlan0" / way).mkdir(parents=True)
        said = host.set(wifi_off="present")
        assert said["failed"] and "wlan0 is Wi-Fi" in said["msg"] and not host.record.exists() and host.done("systemctl", "nmcli radio") == []
        os.rmdir(host.folder / "net/wlan0" / way)


def test_what_was_is_written_down_before_the_first_step_and_the_step_that_failed_is_named(host):
    host.programs.answer("apt-mark", "*", "echo one; echo '' ; echo two >&2; exit 100")
    said = host.set(held="present")
    assert said["failed"] and said["msg"].startswith("gb10_host.held: `apt-mark hold linux-image-6` ended with status 100: one | two. Correct that, or")
    assert host.remembered() == {"held": {"packages": ["linux-image-6"]}}
    host.programs.answer("apt-mark", "*")
    host.programs.answer("dpkg-query", "*", "printf 'hold installed linux-image-6\\nhold installed nvidia-driver-580\\n'")
    assert host.set(held="absent")["parts"] == {"held": ["apt-mark unhold linux-image-6"]}, "a hold that was there before stays"


def test_a_unit_that_fails_is_said_in_its_own_words(host):
    host.programs.answer("systemctl", "restart*", "echo 'Job failed' >&2; exit 1")
    host.programs.answer("journalctl", "*gb10-host-clocks.service*", "echo 'clock out of range'")
    said = host.set(gpu_clocks="present")
    assert "`systemctl restart gb10-host-clocks.service` ended with status 1: Job failed | clock out of range." in said["msg"]
    host.programs.answer("systemctl", "restart*", "exit 1")
    host.programs.answer("journalctl", "*")
    assert "ended with status 1: it said nothing." in host.set(gpu_clocks="present")["msg"]


def test_commands_of_packages_ask_nobody(host):
    host.programs.answer("apt-get", "*", f"echo $DEBIAN_FRONTEND $LC_ALL >{host.folder}/heard")
    host.set(earlyoom="present")
    assert (host.folder / "heard").read_text() == "noninteractive C.UTF-8\n"


def test_the_memory_guard_comes_and_goes(host):
    host.programs.answer("systemctl", "enable*", ":")
    order = host.folder / "lib/oom-order"
    said = host.set(earlyoom="present")
    assert stat.S_IMODE(order.stat().st_mode) == 0o755 and said["parts"]["earlyoom"][-1] == str(order)
    assert host.remembered() == {"earlyoom": {"installed": False, "enabled": False, "active": False}}
    order.write_text(f"#!/bin/sh\necho $1 >{host.folder}/restored\nexit 3\n")
    host.programs.answer("dpkg-query", "*", "printf 'install installed earlyoom\\n'")
    said = host.set(earlyoom="absent")
    assert (host.folder / "restored").read_text() == "restore\n" and said["parts"]["earlyoom"][-1] == "apt-get purge --yes earlyoom"
    assert not order.exists() and list((host.folder / "units").iterdir()) == [] and not host.record.exists(), "directories of drop-ins that are empty go too"


def test_a_directory_of_drop_ins_that_holds_more_stays(host):
    host.set(earlyoom="present")
    theirs = host.folder / "units/earlyoom.service.d/mine.conf"
    theirs.write_text("[Service]\n")
    host.set(earlyoom="absent")
    assert theirs.exists()


def test_parts_that_are_not_named_are_neither_touched_nor_forgotten(host):
    host.set(held="present")
    host.set(gpu_clocks="present")
    assert set(host.remembered()) == {"held", "gpu_clocks"}
    host.set(gpu_clocks="absent")
    assert set(host.remembered()) == {"held"}


def test_check_mode_shows_what_would_be_done_and_does_nothing(host):
    said = host.set(check=True, diff=True, gpu_clocks="present")
    assert said["changed"] and said["parts"]["gpu_clocks"][-1] == "systemctl restart gb10-host-clocks.service"
    assert (
        said["diff"][0]["before"] == "" and "--lock-gpu-clocks=200,2150" in said["diff"][0]["after"] and "run: systemctl enable" in said["diff"][1]["prepared"]
    )
    assert host.done("systemctl") == [] and not host.record.exists() and not (host.folder / "units").exists() and "diff" not in host.set(gpu_clocks="present")


def test_without_network_manager_it_is_not_asked(host):
    host.programs.answer("nmcli", "*", "exit 8")
    host.set(wifi_off="present")
    assert host.remembered()["wifi_off"]["network_manager"] is None and host.done("nmcli radio") == []


@pytest.mark.parametrize("text", ["[]", "no json", "7"])
def test_a_record_that_is_none_is_as_good_as_none(host, text):
    host.state.mkdir()
    host.record.write_text(text)
    assert host.set(held="present")["changed"] and host.remembered() == {"held": {"packages": ["linux-image-6"]}}


def test_a_full_disk_is_named(host, monkeypatch):
    def full(path, *_given, **_named):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(carry_out, "write_json", full)
    said = host.set(held="present")
    assert said["failed"] and "became full while host.json was written" in said["msg"] and host.done("apt-mark") == []

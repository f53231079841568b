# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A router's new configuration: taken up whole, or what was is there and runs. With the real HAProxy in tests/on_machine/test_router_host.py."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._router import apply, look
from certificate_files import pair
from in_process import run_module
from router_here import HAPROXY_GROUP, RouterHost, ours

MAP = "gb10-models.map"


@pytest.fixture
def host(tmp_path, monkeypatch):
    host = RouterHost(tmp_path, monkeypatch)
    host.serve()
    return host


@pytest.fixture
def tls(tmp_path):
    certificate, key = pair(tmp_path)
    return {"certificate": certificate, "key": key}


def configure(host, digest, tls, more="", check=False, **arguments):
    files = {"haproxy.cfg": ours(digest, more), MAP: f"model {digest}\n"}
    return run_module("router_config", check=check, files=files, certificate=tls, record={"of": digest}, **arguments)


def lies(host):
    return {path.name: path.read_text() for path in host.etc.iterdir()}


def test_a_new_router_gets_all_its_files_starts_now_and_at_boot_and_a_second_run_does_nothing(host, tls):
    host.down.touch()
    assert configure(host, "abc", tls) == {"changed": True}
    assert lies(host)["haproxy.cfg"] == ours("abc") and lies(host)[MAP] == "model abc\n"
    both = [Path(tls[part]).read_text().strip() for part in ("certificate", "key")]
    assert lies(host)[apply.PEM] == "\n".join(both) + "\n" and ".gb10-staged" not in lies(host)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in host.etc.iterdir()}
    assert modes == {"haproxy.cfg": 0o640, MAP: 0o640, apply.PEM: 0o600}
    assert host.owners == {"haproxy.cfg": (0, HAPROXY_GROUP), MAP: (0, HAPROXY_GROUP)}, "HAProxy may read what is no key"
    assert host.boot.exists() and "systemctl restart haproxy.service" in host.programs.calls() and host.running.read_text() == ours("abc")
    assert (host.records / "state").read_text() == "1\n" and json.loads((host.records / "servers.json").read_text()) == {"of": "abc"}
    before = host.programs.calls("systemctl")
    assert configure(host, "abc", tls) == {"changed": False} and host.programs.calls("systemctl") == before


def test_one_that_runs_is_reloaded_and_its_view_of_the_servers_is_left(host, tls):
    configure(host, "abc", tls)
    (host.records / "state").write_text("1\nwhat HAProxy wrote\n")
    assert configure(host, "def", tls)["changed"]
    assert host.programs.calls("systemctl re")[-1] == "systemctl reload haproxy.service" and host.running.read_text() == ours("def")
    assert (host.records / "state").read_text() == "1\nwhat HAProxy wrote\n"


def test_of_the_same_servers_that_lie_elsewhere_only_the_record_is_new(host, tls):
    configure(host, "abc", tls)
    files = {"haproxy.cfg": ours("abc"), MAP: "model abc\n"}
    assert run_module("router_config", files=files, certificate=tls, record={"of": "moved"}) == {"changed": False}
    assert json.loads((host.records / "servers.json").read_text()) == {"of": "moved"}


def test_a_file_that_others_may_read_is_written_again(host, tls):
    configure(host, "abc", tls)
    (host.etc / apply.PEM).chmod(0o644)
    assert configure(host, "abc", tls)["changed"] and stat.S_IMODE((host.etc / apply.PEM).stat().st_mode) == 0o600


def test_what_lies_there_and_was_not_read_is_read(host, tls):
    configure(host, "abc", tls)
    host.running.write_text(ours("of before"))
    assert configure(host, "abc", tls, check=True)["changed"] and configure(host, "abc", tls)["changed"] and host.running.read_text() == ours("abc")


def test_check_mode_says_what_would_change_and_changes_nothing(host, tls):
    assert configure(host, "abc", tls, check=True) == {"changed": True} and lies(host) == {} and not host.records.exists()
    configure(host, "abc", tls)
    assert configure(host, "abc", tls, check=True) == {"changed": False}
    assert configure(host, "def", tls, check=True) == {"changed": True} and lies(host)["haproxy.cfg"] == ours("abc")
    renewed = dict(zip(("certificate", "key"), pair(host.records, "b"), strict=True))
    assert configure(host, "abc", renewed, check=True) == {"changed": True}
    assert configure(host, "abc", {}, check=True, names=["a"]) == {"changed": True} and f"{apply.MADE}.crt" not in lies(host)


def test_what_haproxy_refuses_never_takes_the_place_of_what_runs(host, tls):
    configure(host, "abc", tls)
    before = lies(host)
    said = configure(host, "def", tls, "mistake\n")
    assert said["failed"] and said["msg"] == "HAProxy refuses the new configuration, so the old one stays: config : unknown keyword mistake"
    assert lies(host) == before and host.running.read_text() == ours("abc") and json.loads((host.records / "servers.json").read_text()) == {"of": "abc"}


def test_what_haproxy_does_not_take_up_is_taken_back(host, tls):
    configure(host, "abc", tls)
    (host.etc / MAP).unlink()
    before = lies(host)
    host.deaf.touch()
    said = configure(host, "def", tls)
    assert said["failed"] and "HAProxy did not take up the new configuration, so the old one is back: it does not say within 0 s" in said["msg"]
    assert lies(host) == before and host.programs.calls("systemctl re")[-1] == "systemctl reload haproxy.service"
    assert json.loads((host.records / "servers.json").read_text()) == {"of": "abc"}


def test_systemds_own_words_are_passed_on(host, tls):
    host.programs.answer("systemctl", "reload*", "echo 'Job for haproxy.service failed.' >&2; exit 1")
    assert "so the old one is back: Job for haproxy.service failed.; see `journalctl -u haproxy`" in configure(host, "abc", tls)["msg"] and lies(host) == {}
    host.programs.answer("systemctl", "enable*", "exit 1")
    assert configure(host, "abc", tls)["msg"] == "systemd does not start HAProxy at boot: systemctl enable failed"


def test_a_configuration_of_somebody_is_left(host, tls):
    host.config.write_text("global\n  maxconn 7\n")
    for check in (True, False):
        said = configure(host, "abc", tls, check=check)
        assert said["failed"] and said["msg"].startswith(f"{host.config} is somebody's") and lies(host) == {"haproxy.cfg": "global\n  maxconn 7\n"}
    digest = "eb2c4a1a0d8b3b9c6a5f4e3d2c1b0a99"
    host.programs.answer("dpkg-query", "*", f"echo ' {host.config} {digest}'")
    assert configure(host, "abc", tls)["failed"], "the package's own, changed by somebody"
    digest = subprocess.run(["md5sum", host.config], capture_output=True, text=True, check=True).stdout.split()[0]
    host.programs.answer("dpkg-query", "*", f"echo ' {host.config} {digest}'")
    assert configure(host, "abc", tls)["changed"], "the package's own"


def test_without_a_certificate_one_is_made_for_the_names_and_kept_while_it_lasts(host, monkeypatch):
    names = ["router.example.net", "192.168.1.5", "fd00::5"]
    crt, key = host.etc / f"{apply.MADE}.crt", host.etc / f"{apply.MADE}.key"
    assert configure(host, "abc", {}, names=names) == {"changed": True, "made_certificate": str(crt)}
    assert look.certificate_names(str(crt)) == names and (stat.S_IMODE(crt.stat().st_mode), stat.S_IMODE(key.stat().st_mode)) == (0o644, 0o600)
    assert subprocess.run(["openssl", "x509", "-noout", "-checkend", str(820 * 86400), "-in", crt], check=False, capture_output=True).returncode == 0
    made = crt.read_text()
    assert configure(host, "abc", {}, names=["Router.Example.Net"]) == {"changed": False} and crt.read_text() == made
    assert configure(host, "abc", {}, names=[*names, "other"])["made_certificate"] and crt.read_text() != made
    made = crt.read_text()
    monkeypatch.setattr(apply, "LEAST_LEFT_S", 826 * 86400)
    assert configure(host, "abc", {}, names=names)["changed"] and crt.read_text() != made, "one that soon ends is made anew"
    monkeypatch.undo()


def test_a_key_that_is_lost_makes_a_new_pair(host):
    configure(host, "abc", {}, names=["a"])
    os.unlink(host.etc / f"{apply.MADE}.key")
    assert configure(host, "abc", {}, names=["a"])["made_certificate"]


def test_a_certificate_that_cannot_be_used_or_made_is_said(host, tls, tmp_path):
    _other, key = pair(tmp_path, "b")
    said = configure(host, "abc", {**tls, "key": key})
    assert said["failed"] and said["msg"] == f"gb10_router_tls cannot be used: {key} is not the key of {tls['certificate']}. Nothing was changed."
    host.programs.answer("openssl", "req*", "echo 'no random numbers' >&2; exit 1")
    said = configure(host, "abc", {}, names=["a"])
    assert said["msg"] == "No certificate could be made with openssl (no random numbers); name one with gb10_router_tls. Nothing was changed."
    assert lies(host) == {}


def test_a_disk_that_takes_nothing_is_said(host, tls, monkeypatch):
    def full(path, *_given, **_named):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(apply, "write_whole", full)
    said = configure(host, "abc", tls)
    assert said["failed"] and said["msg"].endswith("cannot be written: No space left on device. Run with become: true, and look at the disk.")

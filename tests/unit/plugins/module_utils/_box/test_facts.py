# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The parsers of the box's facts, on texts as the tools print them."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._box import facts as box


def test_meminfo_is_in_bytes():
    assert box.parse_meminfo("MemTotal:       125440336 kB\nHugePages_Total:       0\n") == {"MemTotal": 125440336 * 1024, "HugePages_Total": 0}


def test_os_release_loses_its_quotes():
    assert box.parse_os_release('ID=ubuntu\nPRETTY_NAME="Ubuntu 24.04.3 LTS"\n# x=y\n') == {"ID": "ubuntu", "PRETTY_NAME": "Ubuntu 24.04.3 LTS"}


def test_only_listening_sockets_count():
    text = (
        "  sl  local_address rem_address   st tx_queue rx_queue\n"
        "   0: 0100007F:1F40 00000000:0000 0A 00000000:00000000\n"
        "   1: 0B01A8C0:0016 0101A8C0:D431 01 00000000:00000000\n"
    )
    assert box.parse_listeners(text) == [{"port": 8000, "address": "127.0.0.1"}]
    assert box.parse_listeners("h\n 0: 00000000000000000000000000000000:1F41 0:0 0A") == [{"port": 8001, "address": "::"}]
    assert box.parse_listeners("h\n 0: 00000000000000000000000001000000:1F40 0:0 0A") == [{"port": 8000, "address": "::1"}]
    assert box.parse_listeners("h\n 0: 000000FD000000000000000005000000:1F40 0:0 0A") == [{"port": 8000, "address": "fd00::5"}]


def test_gpu_as_a_gb10_prints_it():
    assert box.parse_gpu_query("NVIDIA GB10, 580.95.05, 12.1\n") == [{"name": "NVIDIA GB10", "driver_version": "580.95.05", "compute_capability": "12.1"}]
    assert box.parse_gpu_query("No devices were found\n") == []


def test_units_that_do_not_exist_are_left_out():
    text = (
        "Id=gb10-vllm-a.service\nLoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\nResult=success\nNRestarts=2\n\n"
        "Id=gb10-vllm-b.service\nLoadState=not-found\nActiveState=inactive\n"
    )
    assert box.parse_systemctl_show(text) == {
        "gb10-vllm-a.service": {"active": "active", "sub": "running", "enabled": True, "result": "success", "restarts": 2}
    }


def test_a_container_is_shown_without_its_environment():
    inspect = {
        "Name": "/gb10-vllm-a",
        "Id": "1",
        "Image": "sha256:2",
        "Config": {"Env": ["VLLM_API_KEY=secret"], "Labels": {"gb10.vllm.server": "a"}, "Image": "vllm-node"},
        "State": {"Status": "running", "ExitCode": 0},
        "HostConfig": {"PortBindings": {"8000/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8000"}]}},
    }
    trimmed = box.trim_container(inspect)
    assert trimmed["name"] == "gb10-vllm-a"
    assert trimmed["ports"] == [{"address": "0.0.0.0", "port": 8000}]
    assert "secret" not in json.dumps(trimmed)


def test_digest_of_a_private_file_is_not_shown(tmp_path):
    public, private = tmp_path / "unit", tmp_path / "key.env"
    public.write_text("a")
    public.chmod(0o644)
    private.write_text("a")
    private.chmod(0o600)
    assert box.read_file_digest(str(public))["sha256"] == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    assert box.read_file_digest(str(private)) == {"sha256": None, "mode": "0600", "uid": private.stat().st_uid}
    assert box.read_file_digest(str(tmp_path)) is None


def test_the_keys_of_the_fleet_are_told_apart_by_their_digest(tmp_path):
    fleet = tmp_path / "fleet.env"
    fleet.write_text("a")
    fleet.chmod(0o600)
    assert box.read_file_digest(str(fleet))["sha256"].startswith("ca978112")


def test_private_files_are_found_where_they_were_put(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    for file in ("hub.env", "a/key.env"):
        (tmp_path / file).write_text("x")
        (tmp_path / file).chmod(0o600)
    monkeypatch.setattr(box, "run", lambda *_args, **_more: subprocess.CompletedProcess([], 127, "", ""))
    found = box.read_box(state_dir=str(tmp_path), disks=[], images=[], config_dir=str(tmp_path))["files"]
    assert {str(tmp_path / "hub.env"), str(tmp_path / "a/key.env")} <= set(found)


def test_an_unreadable_record_is_named_and_the_others_are_read(tmp_path):
    server = tmp_path / "servers" / "a"
    server.mkdir(parents=True)
    (server / "deployment.json").write_text('{"spec": "1"}')
    (server / "measured.json").write_text("{")
    assert box.read_records(str(tmp_path)) == {"a": {"deployment": {"spec": "1"}, "unreadable": ["measured"]}}
    assert box.read_records(str(tmp_path / "none")) == {}


def test_what_a_command_said_last():
    def said(stdout, stderr):
        return box.last_line(subprocess.CompletedProcess([], 1, stdout, stderr))

    assert said("a\nb\n", "") == "b"
    assert said("a\n", "c\nd\n") == "d"
    assert said("", " \n") == ""


def test_an_image_is_found_by_its_name_its_tag_and_its_id(monkeypatch):
    image = {"Id": "sha256:1", "RepoTags": ["vllm-node:latest"], "Size": 5, "Config": {"Labels": {"gb10.vllm.vllm_version": "0.1"}}}
    monkeypatch.setattr(box, "_printed", lambda *_argv: json.dumps([image]))
    found = box.read_images(["vllm-node", "vllm-node:latest", "sha256:1", "other"], {"sha256:1": {"cuda_version": "13.0"}})
    assert set(found) == {"vllm-node", "vllm-node:latest", "sha256:1"}
    assert found["vllm-node"]["vllm_version"] == "0.1" and found["vllm-node"]["cuda_version"] == "13.0" and found["vllm-node"]["size_bytes"] == 5


def test_a_box_tells_what_its_cpu_can():
    assert set(box.read_box(state_dir="/nonexistent", disks=[], images=[])["cpu_features"]) == {"cpu_amx", "cpu_avx512_bf16"}


def test_a_file_that_only_its_group_may_read_is_compared_too(tmp_path):
    file = tmp_path / "unit"
    file.write_text("a")
    for mode, shown in ((0o640, True), (0o604, True), (0o600, False), (0o700, False)):
        file.chmod(mode)
        assert (box.read_file_digest(str(file))["sha256"] is not None) == shown, oct(mode)


def test_what_a_process_shares_counts_as_held(monkeypatch):
    status = {"7": "RssAnon: 1024 kB\nRssFile: 9999 kB\nRssShmem: 1024 kB\n", "8": "RssAnon: 2047 kB\n", "9": "RssShmem: 4096 kB\n", "10": ""}
    monkeypatch.setattr(box.os, "listdir", lambda _path: [*status, "self", "meminfo"])
    monkeypatch.setattr(box, "read_text", lambda path: status[path.split("/")[2]] if path.endswith("/status") else "ollama\n")
    assert box.read_holders(2 * 2**20) == [{"pid": 9, "name": "ollama", "bytes": 4 * 2**20}, {"pid": 7, "name": "ollama", "bytes": 2 * 2**20}]


def test_what_others_may_read_of_ours_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(box, "CONFIG_DIR", str(tmp_path / "etc"))
    state = tmp_path / "state"
    for path, mode in (("servers/a", 0o755), ("cache/a", 0o700), ("build/logs", 0o755), ("build/worktree/deep", 0o755), ("../etc", 0o755)):
        (state / path).mkdir(parents=True)
        (state / path).chmod(mode)
    (state / "servers/a/deployment.json").write_text("{}")
    (state / "build/images.json").write_text("{}")
    for path, mode in (("servers", 0o700), ("cache", 0o711), ("build", 0o755), ("build/images.json", 0o600), ("servers/a/deployment.json", 0o644)):
        (state / path).chmod(mode)
    (state / "cache/link").symlink_to("/etc")
    found = box.read_open(str(state))
    assert found == sorted([str(tmp_path / "etc"), *(f"{state}/{one}" for one in ("servers/a", "servers/a/deployment.json", "cache", "build", "build/logs"))])
    for path in found:
        os.chmod(path, os.stat(path).st_mode & 0o700)
    assert box.read_open(str(state)) == box.read_open(str(tmp_path / "nothing")) == []


@pytest.mark.parametrize(
    ("said", "figures"),
    [
        ("96 %, 702 MHz, 18.20 W", {"utilization_percent": 96.0, "sm_mhz": 702.0, "power_w": 18.2}),
        ("96, 702, 18.20", {"utilization_percent": 96.0, "sm_mhz": 702.0, "power_w": 18.2}),
        ("[N/A], [Not Supported], [Unknown Error]", {"utilization_percent": None, "sm_mhz": None, "power_w": None}),
    ],
)
def test_what_a_gpu_does_is_read_with_what_it_is(said, figures):
    (gpu,) = box.parse_gpu_query(f"NVIDIA GB10, 580.95.05, 12.1, {said}\n")
    assert {name: gpu[name] for name in figures} == figures and gpu["compute_capability"] == "12.1"


@pytest.mark.parametrize(
    ("texts", "removes"),
    [
        ([], True),
        (["[Login]\n#RemoveIPC=no\n"], True),
        (["[Login]\nRemoveIPC=no\n"], False),
        (["RemoveIPC=no", " RemoveIPC = yes"], True),
        (["", "RemoveIPC=0"], False),
    ],
)
def test_whether_logind_removes_what_is_shared(texts, removes):
    assert box.parse_removes_ipc(texts) is removes


def test_whether_a_private_file_holds_what_is_wanted_is_said_without_its_digest(tmp_path):
    path, link, gone = tmp_path / "key.env", tmp_path / "link", tmp_path / "gone"
    path.write_text("VLLM_API_KEY=k\n")
    path.chmod(0o600)
    link.symlink_to(path)
    files = {str(one): box.read_file_digest(str(one)) for one in (path, link, gone)}
    box.say_which_are_as_wanted(files, {str(one): "VLLM_API_KEY=k\n" for one in (path, link, gone)})
    assert files[str(path)] == {"sha256": None, "mode": "0600", "uid": path.stat().st_uid, "same": True} and files[str(link)] is files[str(gone)] is None
    box.say_which_are_as_wanted(files, {str(path): "VLLM_API_KEY=other\n"})
    assert files[str(path)]["same"] is False


def test_what_was_pulled_or_loaded_is_known_by_the_image(tmp_path):
    pulled = {"source": "prebuilt", "image": "acme/x:1"}
    names = {"a:1": {"image_id": "sha256:1", "inputs": pulled}, "b:1": {"image_id": "sha256:2", "inputs": {"source": "build"}}, "c:1": {"image_id": "sha256:3"}}
    (tmp_path / "build").mkdir()
    (tmp_path / "build/images.json").write_text(json.dumps({"names": names}))
    assert box.read_inputs(str(tmp_path)) == {"sha256:1": pulled}
    for damaged in ("[]", "{", '{"names": {"a": 3}}', '{"names": []}'):
        (tmp_path / "build/images.json").write_text(damaged)
        assert box.read_inputs(str(tmp_path)) == {}

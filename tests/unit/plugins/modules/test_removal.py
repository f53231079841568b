# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module removal over a host of real files: what it finds and takes away is ours, what it leaves is somebody's."""

from __future__ import annotations

import json
import os

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._removal import carry_out, found, places
from ansible_collections.gb10.vllm.plugins.module_utils._router.haproxy import MARK
from in_process import Programs, run_module

OURS = {"Name": "/gb10-vllm-tiny", "Image": "sha256:1", "Config": {"Labels": {"gb10.vllm.server": "tiny"}}}
THEIRS = {"Name": "/webui", "Image": "sha256:9", "Config": {"Labels": {}}}
UNITS = """Id=gb10-vllm-tiny.service
LoadState=loaded
ActiveState=inactive
UnitFileState=enabled

Id=gb10-vllm-watch@tiny.timer
LoadState=loaded
ActiveState=active
UnitFileState=disabled

Id=gb10-vllm-watch@tiny.service
LoadState=loaded
ActiveState=active
UnitFileState=static

Id=gb10-vllm-collector.service
LoadState=loaded
ActiveState=active
UnitFileState=static

Id=gb10-vllm-idle.service
LoadState=loaded
ActiveState=inactive
UnitFileState=disabled

Id=gb10-vllm-tiny.slice
LoadState=loaded
ActiveState=active
"""


class Host:
    def __init__(self, folder, monkeypatch):
        self.folder, self.programs = folder, Programs(folder / "bin", monkeypatch)
        self.state, self.config, self.models = folder / "state", folder / "config", folder / "models"
        parts = {part: tuple(f"{folder}{one}" for one in patterns) for part, patterns in places.PARTS.items()}
        monkeypatch.setattr(places, "PARTS", parts)
        monkeypatch.setattr(found, "PROGRAMS", {f"{folder}{path}": name for path, name in found.PROGRAMS.items()})
        answer = self.programs.answer
        for program in ("systemctl", "docker", "iptables", "ip6tables", "dpkg-query"):
            answer(program)

    def docker(self, containers=(), images=()):
        answer = self.programs.answer
        for name, listed, words in (("c", containers, "ps -aq --no-trunc"), ("i", images, "images -aq --no-trunc")):
            (self.folder / name).write_text(json.dumps(listed))
            answer("docker", f"'{words}'", "echo a; echo b; echo a" if listed else ":")
        answer("docker", "'inspect a b'", f"cat {self.folder}/c")
        answer("docker", "'image inspect a b'", f"cat {self.folder}/i")

    def write(self, path, text="x"):
        file = self.folder / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return str(file)

    def model(self, name, record=True, **more):
        self.write(f"models/{name}/config.json")
        if record:
            self.write(f"models/{name}/.gb10-vllm-record", json.dumps({"repo_id": "acme/tiny", **more}))
        return str(self.models / name)

    def look(self, check=True, **more):
        return run_module("removal", check=check, state_dir=str(self.state), config_dir=str(self.config), models_dir=str(self.models), **more)

    def goes(self, **more):
        return [(one["kind"], one["name"]) for one in self.look(**more)["goes"]]


@pytest.fixture
def host(tmp_path, monkeypatch):
    return Host(tmp_path, monkeypatch)


def test_a_host_that_has_nothing_of_ours_is_left_as_it_is(host):
    for check in (True, False):
        assert host.look(check) == {"changed": False, "goes": [], "stays": [], "parts": [], "text": "there is nothing of gb10.vllm here"}
    assert "systemctl daemon-reload" not in host.programs.calls()


def test_units_that_run_or_start_at_boot_go_and_what_ends_by_itself_is_not_waited_for(host):
    host.write("units", UNITS)
    host.programs.answer("systemctl", "show*", f"cat {host.folder}/units")
    assert host.goes() == [("unit", "gb10-vllm-watch@tiny.timer"), ("unit", "gb10-vllm-tiny.service")]
    assert host.look(False)["changed"]
    calls = [one for one in host.programs.calls("systemctl") if " show " not in one]
    assert calls[:4] == [
        "systemctl disable gb10-vllm-watch@tiny.timer", "systemctl stop gb10-vllm-watch@tiny.timer", "systemctl reset-failed gb10-vllm-watch@tiny.timer",
        "systemctl disable gb10-vllm-tiny.service",
    ]  # fmt: skip
    assert calls[-1] == "systemctl daemon-reload"


def test_a_unit_that_does_not_stop_ends_it_before_anything_else_goes(host):
    host.write("units", UNITS)
    host.programs.answer("systemctl", "show*", f"cat {host.folder}/units")
    host.programs.answer("systemctl", "stop*", "exit 1")
    record = host.write("state/servers/tiny/deployment.json")
    said = host.look(False)
    assert said["failed"] and said["msg"].startswith("systemd does not stop gb10-vllm-watch@tiny.timer: it said nothing; look at") and os.path.exists(record)
    host.programs.answer("systemctl", "stop*", "echo 'it hangs' >&2; exit 1")
    assert "tiny.timer: it hangs; look at" in host.look(False)["msg"]


def test_our_containers_and_images_go_and_those_of_others_stay(host):
    built = {"Id": "sha256:1", "RepoTags": ["vllm-node:latest"], "Config": {"Labels": {"gb10.vllm.inputs": "x"}}}
    pulled = {"Id": "sha256:2", "RepoTags": ["acme/vllm:1"], "Config": {}}
    sent = {"Id": "sha256:3", "RepoTags": ["acme/other:1"], "Config": {}}
    host.docker([OURS, THEIRS], [built, pulled, sent])
    host.write("state/build/images.json", json.dumps({"names": {"acme/vllm:1": {"image_id": "sha256:2"}}, "received": {"sha256:3": "acme/other:1"}}))
    assert host.goes()[:4] == [("container", "gb10-vllm-tiny"), ("image", "vllm-node:latest"), ("image", "acme/vllm:1"), ("image", "acme/other:1")]
    host.look(False)
    assert host.programs.calls("docker rm") == [
        "docker rm --force --volumes gb10-vllm-tiny",
        "docker rmi vllm-node:latest",
        "docker rmi acme/vllm:1",
        "docker rmi acme/other:1",
    ]


def test_what_went_meanwhile_is_no_mistake_and_what_docker_refuses_is_one(host):
    host.docker([OURS])
    host.programs.answer("docker", "rm*", "echo 'Error: No such container: gb10-vllm-tiny' >&2; exit 1")
    assert host.look(False)["changed"]
    host.programs.answer("docker", "rm*", "echo 'device is busy' >&2; exit 1")
    assert host.look(False)["msg"] == "docker rm --force failed on this box: device is busy"


def test_chains_that_ranks_left_go_with_what_leads_to_them(host):
    host.programs.answer("iptables", "-S", "printf -- '-P INPUT ACCEPT\\n-N GB10-8000\\n-N DOCKER\\n-A INPUT -p tcp -j GB10-8000\\n-A INPUT -j DOCKER\\n'")
    assert host.goes() == [("rules", "GB10-8000")]
    host.look(False)
    assert [one for one in host.programs.calls("iptables") if not one.endswith("-S")] == [
        "iptables -w 10 -D INPUT -p tcp -j GB10-8000", "iptables -w 10 -F GB10-8000", "iptables -w 10 -X GB10-8000",
    ]  # fmt: skip
    assert host.programs.calls("ip6tables") == ["ip6tables -w 10 -D INPUT ! -i lo -p tcp --dport 8000 -j REJECT"]


def test_models_that_we_brought_are_found_at_every_depth_and_no_others(host):
    one, deep = host.model("tiny@1"), host.model("acme/tiny@1")
    host.model("theirs", record=False)
    host.model("a/b/c/too-deep@1")
    inside = host.model("tiny@1/nested")
    os.symlink("tiny@1", host.models / "tiny")
    os.symlink("theirs", host.models / "mine")
    names = [name for kind, name in host.goes(models=True) if kind == "model"]
    assert sorted(names) == sorted([one, deep, str(host.models / "tiny")])
    host.look(False, models=True)
    assert sorted(os.listdir(host.models)) == ["a", "mine", "theirs"], "a directory of an organisation goes when it is empty"
    assert not os.path.exists(inside)


@pytest.mark.parametrize("mount", ["models/tiny@1", "models/tiny@1/sub", "models", ""])
def test_a_model_that_a_container_of_somebody_mounts_stays(host, mount):
    one = host.model("tiny@1")
    host.write("models/tiny@1/sub/x")
    host.docker([{**THEIRS, "Mounts": [{"Source": None}, {"Source": f"{host.folder}/{mount}" if mount else "/"}]}])
    said = host.look(False, models=True)
    assert f"model {one}: the container webui uses it" in said["stays"] and os.path.exists(one)


@pytest.mark.parametrize("mounts", [None, [], [{"Source": None}], ["models/tiny@10"], ["mod"]])
def test_a_mount_of_something_else_keeps_no_model(host, mounts):
    one = host.model("tiny@1")
    mounts = [{"Source": f"{host.folder}/{where}"} if isinstance(where, str) else where for where in mounts] if mounts else mounts
    host.docker([{**THEIRS, "Mounts": mounts}, {**OURS, "Mounts": [{"Source": one}]}])
    assert ("model", one) in host.goes(models=True)


def test_files_of_ours_go_by_their_part_and_what_is_somebodys_keeps_its_directory(host):
    unit = host.write("/etc/systemd/system/gb10-vllm-tiny.service")
    drop_in = host.write("/etc/systemd/system/haproxy.service.d/gb10-vllm.conf")
    host.write("/etc/systemd/system/docker.service")
    os.makedirs(f"{host.folder}/etc/systemd/system/multi-user.target.wants")
    link = f"{host.folder}/etc/systemd/system/multi-user.target.wants/gb10-vllm-tiny.service"
    os.symlink("/nowhere", link)
    record, key, notes, mine = map(host.write, ("state/servers/tiny/deployment.json", "config/tiny/key.env", "state/notes", "config/tiny/mine.pem"))
    host.write("config/other/key.env")
    host.write("state/run.lock", "{}")
    said = host.look()
    assert said["parts"] == ["router", "server"] and os.path.exists(unit)
    files = [one["name"] for one in said["goes"]]
    assert files[0] == drop_in and files[1:3] == [unit, link] and files.count(drop_in) == 1
    assert files[3:] == [str(host.state / "servers"), str(host.config / "other/key.env"), key]
    assert said["stays"] == [f"{notes}: this collection did not write it", f"{mine}: this collection did not write it"]
    done = host.look(False)
    assert done["goes"] == said["goes"] and done["text"].startswith("removed:") and said["text"].startswith("to be removed:")
    assert not any(
        os.path.lexists(path) for path in (unit, link, drop_in, os.path.dirname(drop_in), record, key, host.config / "other", host.state / "run.lock")
    )
    assert os.path.exists(notes) and os.path.exists(mine) and os.path.exists(f"{host.folder}/etc/systemd/system/docker.service")
    os.unlink(notes)
    os.unlink(mine)
    assert host.look(False)["changed"] is False and not host.state.exists() and not host.config.exists()


def test_everything_of_somebodys_in_a_directory_of_ours_is_named(host):
    mine = [host.write(path) for path in ("state/.hidden", "state/letters/a", "state/letters/b", "state/notes")]
    host.write("state/servers/tiny/deployment.json")
    assert sorted(host.look()["stays"]) == [f"{path}: this collection did not write it" for path in mine]


def test_an_image_that_stays_names_who_uses_it_and_nobody_else(host):
    built = {"Id": "sha256:1", "RepoTags": ["vllm-node:latest"], "Config": {"Labels": {"gb10.vllm.inputs": "x"}}}
    host.docker([{**THEIRS, "Image": "sha256:1"}, {**THEIRS, "Name": "/bystander"}], [built])
    assert host.look()["stays"] == ["image vllm-node:latest: the container webui uses it"]


def test_a_drop_in_of_somebody_beside_ours_stays(host):
    host.write("/etc/systemd/system/haproxy.service.d/gb10-vllm.conf")
    theirs = host.write("/etc/systemd/system/haproxy.service.d/limits.conf")
    assert host.look(False)["changed"] and os.path.exists(theirs)


def test_the_configuration_of_a_router_goes_where_it_is_ours(host):
    ours = host.write("/etc/haproxy/haproxy.cfg", f"{MARK}\nglobal\n")
    theirs = host.write("/etc/keepalived/keepalived.conf", "global_defs\n")
    found = host.look(False)
    assert [(one["kind"], one["name"]) for one in found["goes"]] == [("unit", "haproxy.service"), ("file", ours)]
    assert not os.path.exists(ours) and os.path.exists(theirs)


def test_settings_of_the_host_and_packages_are_named(host):
    host.write("state/host.json", json.dumps({"wifi_off": {}, "held": {}}))
    host.write("/etc/haproxy/gb10-models.map")
    host.programs.answer("dpkg-query", "*", "printf 'installed haproxy\\nconfig-files keepalived\\ninstalled python3-requests\\n'")
    said = host.look()
    assert [one["name"] for one in said["goes"] if one["kind"] == "setting"] == ["gb10_host.held", "gb10_host.wifi_off"]
    assert said["stays"] == ["packages that this collection may have installed: haproxy, python3-requests (apt-get purge takes them)"]
    assert " haproxy keepalived python3-requests" in host.programs.calls(), "asked for packages of the parts that are here alone"
    assert host.look(False)["changed"] and not host.state.exists()


def test_a_disk_that_does_not_let_go_is_named(host, monkeypatch):
    record = host.write("state/servers/tiny/deployment.json")

    def denied(path):
        raise OSError(30, "Read-only file system", path)

    monkeypatch.setattr(carry_out.shutil, "rmtree", denied)
    said = host.look(False)
    assert said["failed"] and said["msg"] == f"{host.state}/servers cannot be removed (Read-only file system); look at that disk, then run this again."
    assert os.path.exists(record)


def test_a_link_in_place_of_a_directory_goes_and_what_it_leads_to_stays(host):
    kept = host.write("elsewhere/precious")
    host.state.mkdir()
    os.symlink(host.folder / "elsewhere", host.state / "cache")
    assert host.look(False)["changed"] and os.path.exists(kept) and not os.path.lexists(host.state / "cache")

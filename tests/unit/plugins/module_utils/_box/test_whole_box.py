# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All that is read of a box, put together: from programs and files of our own, each key of the answer."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
from types import SimpleNamespace

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._box import facts, network, tenants

INFO = {
    "ServerVersion": "27.1", "DockerRootDir": "/d", "Runtimes": {"runc": {}}, "SecurityOptions": ["name=userns"],
    "DiscoveredDevices": [7, {"ID": "intel.com/x"}, {"ID": "nvidia.com/gpu=0"}],
}  # fmt: skip
INSPECTED = {
    "Name": "/gb10-vllm-a", "Id": "1", "Image": "sha256:2", "Config": {"Labels": {"gb10.vllm.server": "a"}, "Image": "vllm-node", "Cmd": ["serve", "--host",
    "::", "--port", "8001"]},
    "State": {"Status": "exited", "ExitCode": 3, "OOMKilled": True, "StartedAt": "then"}, "HostConfig": {"NetworkMode": "host"},
}  # fmt: skip
TRIMMED = {
    "name": "gb10-vllm-a", "id": "1", "image": "vllm-node", "image_id": "sha256:2", "labels": {"gb10.vllm.server": "a"}, "status": "exited", "exit_code": 3,
    "oom_killed": True,
    "started_at": "then", "ports": [{"address": "::", "port": 8001}],
}  # fmt: skip
SHOWN = '{{.ID}} {{.Names}} {{.Label "gb10.vllm.server"}}'


@pytest.fixture
def programs(monkeypatch):
    """{command line: what it prints}; an unknown one prints nothing and fails."""
    said, there = {}, {"docker"}

    def run(words, *_more, **_named):
        text = said.get(" ".join(words))
        return SimpleNamespace(stdout=text or "", stderr="" if text is not None else "Cannot connect\nreally", returncode=0 if text is not None else 1)

    for module in (facts, tenants):
        monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(facts.shutil, "which", lambda name: f"/usr/bin/{name}" if name in there else None)
    for name in ("_gone_from_cdi", "_by_specification"):
        monkeypatch.setattr(facts, name, lambda name=name: name)
    monkeypatch.setattr(facts, "_has_specification", lambda: True)
    said["there"] = there
    return said


NOTHING = {
    "installed": True, "running": False, "version": None, "client_version": None, "buildkit": False, "nvidia": False, "cdi": False, "cdi_gone": None,
    "cdi_needed": False,
    "cdi_missing": False, "kind": "", "root_dir": None, "containers": [], "others": [], "would_stop": [], "images": {}, "problem": None,
}  # fmt: skip


def test_an_engine_that_is_not_there_or_does_not_answer_says_why(programs):
    programs["there"].clear()
    assert facts.read_docker(["x"], {}) == {**NOTHING, "installed": False, "problem": "the docker command is not installed"}
    programs["there"].add("docker")
    assert facts.read_docker(["x"], {}) == {**NOTHING, "problem": "really"}
    for text, problem, kind in (
        ("no JSON", "docker info gave no answer", ""), ('{"ServerErrors": ["a", "b"], "ServerVersion": "1"}', "b", ""), ("{}", "docker info gave no answer",
        ""),
        ('{"buildahVersion": "1"}', "docker info gave no answer", "podman"),
    ):  # fmt: skip
        programs["docker info --format {{json .}}"] = text
        assert facts.read_docker(["x"], {}) == {**NOTHING, "problem": problem, "kind": kind}


def test_an_engine_that_answers_is_told_whole(programs, monkeypatch):
    image = {
        "Id": "sha256:2",
        "Size": 7,
        "RepoTags": ["vllm-node:latest"],
        "Config": {"Labels": {"gb10.vllm.vllm_version": "0.33.0"}},
        "RootFS": {"Layers": ["l"]},
    }
    monkeypatch.setattr(facts, "identity", lambda one: f"identity of {one['Id']}")
    programs |= {
        "docker info --format {{json .}}": json.dumps(INFO), "docker version --format {{.Client.Version}}": "27.0\n", "docker buildx version": "",
        "docker inspect 1": json.dumps([INSPECTED]),
        f"docker ps -a --no-trunc --format {SHOWN}": "1 gb10-vllm-a a\n2 theirs\n3 \n", "docker ps --format {{.Names}}": "theirs gb10-vllm-a",
        "docker image inspect vllm-node other": json.dumps([image]),
    }  # fmt: skip
    told = {
        "id": "sha256:2", "identity": "identity of sha256:2", "size_bytes": 7, "labels": {"gb10.vllm.vllm_version": "0.33.0"}, "vllm_version": "0.33.0",
        "cuda_version": "13",
    }  # fmt: skip
    whole = {
        **NOTHING, "running": True, "version": "27.1", "client_version": "27.0", "root_dir": "/d", "buildkit": True, "cdi": True,
        "cdi_gone": "_gone_from_cdi", "cdi_needed": "_by_specification",
        "kind": "userns", "containers": [TRIMMED], "others": ["theirs"], "images": {"vllm-node": told},
    }  # fmt: skip
    assert facts.read_docker(["vllm-node", "other"], {"sha256:2": {"cuda_version": "13"}}) == whole
    del programs["docker buildx version"]
    programs["docker info --format {{json .}}"] = json.dumps({**INFO, "DiscoveredDevices": [{"ID": "x"}], "SecurityOptions": None})
    again = facts.read_docker([], {})
    assert again == {**whole, "buildkit": False, "cdi": False, "kind": "", "would_stop": ["theirs", "gb10-vllm-a"], "images": {}}
    for client, built in (("20.10", True), ("19.3", True), ("2.0", False), ("23.0", False)):
        programs["docker version --format {{.Client.Version}}"] = client
        assert facts.read_docker([], {})["buildkit"] is built
    programs["there"].add("nvidia-container-runtime-hook")
    assert facts.read_docker([], {})["nvidia"] is True
    programs["there"].clear()
    programs["there"].add("docker")
    programs["docker info --format {{json .}}"] = json.dumps({**INFO, "Runtimes": {"nvidia": {}}})
    assert facts.read_docker([], {})["nvidia"] is True


def test_the_box_is_told_whole(programs, monkeypatch, tmp_path):
    texts = {
        "/etc/os-release": 'ID=ubuntu\nVERSION_ID="24.04"\nPRETTY_NAME="Ubuntu"\n', "/proc/sys/kernel/random/boot_id": "boot\n", "/proc/cpuinfo": "cpu",
        "/proc/net/tcp": "4", "/proc/net/tcp6": "6",
        f"{tmp_path}/build/checkout/.git/HEAD": "commit\n",
    }  # fmt: skip
    docker = {"images": {"a": {"id": "1"}, "b": {"id": "2"}}, "root_dir": "/d"}
    asked = {}
    for name, one in {
        "read_text": lambda path: texts.get(path, ""), "read_versions": lambda state: {"versions": state}, "read_inputs": lambda state: {"1": {"of": state}},
        "read_docker": lambda images, versions: asked.update(images=images, versions=versions) or json.loads(json.dumps(docker)),
        "cpu_features": lambda text: {"of": text}, "read_gpu": lambda: "gpu",
        "read_ipc_users": lambda: ["u"], "read_network": lambda: "network", "read_memory": lambda: "memory", "read_disk": lambda path: path,
        "parse_listeners": lambda text: [text],
        "read_holders": lambda least: least, "read_records": lambda state: f"records of {state}", "read_open": lambda state: f"open of {state}",
        "read_file_digest": lambda path: f"digest of {path}",
        "OUR_FILES": (f"{tmp_path}/ours*",), "PRIVATE_FILES": ("*.env",),
    }.items():  # fmt: skip
        monkeypatch.setattr(facts, name, one)
    shown = "systemctl show --property=Id,LoadState,ActiveState,SubState,UnitFileState,Result,NRestarts gb10-vllm-*"
    programs[shown] = "Id=gb10-vllm-a.service\nActiveState=active\nUnitFileState=disabled\n"
    (tmp_path / "etc").mkdir()
    for path in ("ours-b", "ours-a", "etc/key.env", "etc/other"):
        (tmp_path / path).touch()
    files = [f"{tmp_path}/ours-a", f"{tmp_path}/ours-b", f"{tmp_path}/etc/key.env"]
    found = facts.read_box(state_dir=str(tmp_path), disks=["/x"], images=["i"], config_dir=f"{tmp_path}/etc")
    assert found == {
        "hostname": platform.node(), "architecture": platform.machine(), "kernel": platform.release(), "boot_id": "boot", "os": {"id": "ubuntu",
        "version_id": "24.04", "pretty_name": "Ubuntu"},
        "python": {"version": platform.python_version(), "requests": importlib.util.find_spec("requests") is not None}, "cpu_features": {"of": "cpu"},
        "gpu": "gpu", "ipc_users": ["u"],
        "network": "network", "memory": "memory", "docker": {"images": {"a": {"id": "1", "inputs": {"of": str(tmp_path)}}, "b": {"id": "2"}},
        "root_dir": "/d"}, "disks": ["/x", "/d"],
        "listeners": ["4", "6"], "holders": 2**30, "units": {"gb10-vllm-a.service": {"active": "active", "sub": "", "enabled": False, "result": "",
        "restarts": 0}},
        "files": {path: f"digest of {path}" for path in files}, "servers": f"records of {tmp_path}", "open": f"open of {tmp_path}", "recipe": "commit",
    }  # fmt: skip
    assert list(found["files"]) == files and asked == {"images": ["i"], "versions": {"versions": str(tmp_path)}}
    docker["root_dir"] = None
    less = facts.read_box(state_dir=str(tmp_path), disks=["/x"], images=[], holder_least_bytes=5, config_dir="/nowhere")
    assert (less["disks"], less["holders"], less["docker"]["images"], list(less["files"])) == (["/x"], 5, {"a": {"id": "1"}, "b": {"id": "2"}}, files[:2])


def test_whose_shared_memory_goes_with_his_last_session(monkeypatch, tmp_path):
    places = {
        "self": ("i", "p"),
        "1": ("i", "other"),
        "2": ("i", "p"),
        "3": ("i", "p"),
        "4": ("mine", "other"),
        "5": ("i", "other"),
        "6": ("i", "other"),
        "7": ("i", "other"),
    }
    owners = {"1": 1001, "2": 1002, "3": 1003, "4": 1004, "5": facts.FIRST_USER - 1, "6": facts.NOBODY, "7": facts.FIRST_USER}
    real = os.stat
    monkeypatch.setattr(facts, "_namespaces", lambda pid: places[pid])
    monkeypatch.setattr(facts.os, "listdir", lambda path: [*owners, "9999", "uptime"] if path == "/proc" else [])
    monkeypatch.setattr(facts.os, "stat", lambda path, **how: SimpleNamespace(st_uid=owners[path[6:]]) if str(path)[6:] in owners else real(path, **how))
    monkeypatch.setattr(facts.pwd, "getpwuid", lambda uid: SimpleNamespace(pw_name=f"u{uid}"))
    monkeypatch.setattr(facts, "LINGER", str(tmp_path))
    monkeypatch.setattr(facts, "parse_removes_ipc", lambda _texts: True)
    monkeypatch.setattr(facts, "read_text", lambda path: {"/proc/2/comm": "VLLM::Worker\n", "/proc/3/comm": "bash\n"}.get(path, ""))
    assert facts.read_ipc_users() == [f"u{uid}" for uid in sorted({1001, 1002, facts.FIRST_USER})]
    (tmp_path / "u1001").touch()
    assert "u1001" not in facts.read_ipc_users()
    monkeypatch.setattr(facts, "parse_removes_ipc", lambda _texts: False)
    assert facts.read_ipc_users() == []


def test_a_text_that_is_none_is_read_all_the_same_and_the_last_word_counts(tmp_path):
    (tmp_path / "x").write_bytes(b"a\xffb")
    assert facts.read_text(str(tmp_path / "x")) == "a\ufffdb" and facts.read_text(str(tmp_path / "y")) == ""
    for stderr, stdout, last in (("a\nb\n", "c", "b"), ("", "c\nd\n", "d"), ("", "", "")):
        assert facts.last_line(SimpleNamespace(stderr=stderr, stdout=stdout)) == last
    assert facts._own_port(["serve", "--port", "80"]) == [{"address": "", "port": 80}] and facts._own_port(["--port", "x"]) == facts._own_port([]) == []


def test_who_has_what_monitoring_needs_is_told_whole(programs, monkeypatch, tmp_path):
    said = [{"addr_info": [{"local": "10.0.0.1", "scope": "global"}]}]
    programs |= {
        "ip -json address show": json.dumps(said),
        "ss -Hltnp": 'LISTEN 0 1 0.0.0.0:9090 *:* users:(("prometheus",pid=71,fd=7))\nLISTEN 0 1 10.0.0.2:9100 *:* x\nLISTEN 0 1 10.0.0.1:9100 *:* x\n',
        "dpkg-query --show --showformat=${Conffiles}\n prometheus": "prometheus\n /x abc\n",
    }  # fmt: skip
    texts = {"/proc/71/cgroup": "0::/system.slice/prometheus.service\n", "/proc/71/comm": "prometheus\n"}
    monkeypatch.setattr(tenants, "read_text", lambda path: texts.get(path, ""))
    monkeypatch.setattr(tenants, "file_owner", lambda path, packaged: "nobody" if path == "/none" else f"{path} {packaged}")
    monkeypatch.setattr(tenants, "read_disk", lambda path: {"path": path})
    given = {
        "address": "10.0.0.1",
        "ports": {"prometheus": 9090, "node": 9100, "free": 1},
        "files": ["/x", "/none"],
        "units": ["prometheus"],
        "directory": "/d",
    }
    common = {"unit": "prometheus.service", "program": "prometheus"}
    assert tenants.read(**given) == {
        "addresses": ["10.0.0.1"], "management": "10.0.0.1", "disk": {"path": "/d"}, "files": {"/x": "/x {'/x': 'abc'}"},
        "taken": {
            "prometheus": [{"address": "0.0.0.0", "port": 9090, "pid": 71, **common}], "node": [{"address": "10.0.0.1", "port": 9100, "pid": 0, "unit": "",
            "program": ""}], "free": [],
        },
    }  # fmt: skip
    assert tenants.read(**{**given, "address": "10.9.9.9"})["taken"] == {"prometheus": [], "node": [], "free": []}
    nothing = tenants.read(address="10.0.0.1", ports={}, files=["/x"], units=[], directory="/d")
    assert (nothing["taken"], nothing["files"]) == ({}, {"/x": "/x {}"})


def test_only_what_is_up_counts_of_a_network(monkeypatch):
    up = {"ifname": "a", "flags": ["UP", "LOWER_UP"]}
    links = [
        up,
        {"ifname": "b", "flags": ["UP"]},
        {"ifname": "lo", "flags": ["LOOPBACK", "LOWER_UP"]},
        {"ifname": "c"},
        {"ifname": "d", "flags": None},
        {**up, "ifname": "e"},
    ]
    monkeypatch.setattr(network, "ip_json", lambda *words: links if words == ("address",) else [])
    monkeypatch.setattr(network, "addresses", lambda some: {one["ifname"]: ["10.0.0.1/24"] if one["ifname"] != "e" else [] for one in some})
    monkeypatch.setattr(network, "ssh_connection", lambda: "said")
    monkeypatch.setattr(network, "talked_by", lambda connection, held: f"{connection} {sorted(held)}")
    monkeypatch.setattr(network.glob, "glob", lambda pattern: ["/sys/class/infiniband/roce1/device/net/en1", "/sys/class/infiniband/roce0/device/net/en0"])
    monkeypatch.setattr(network.os.path, "isdir", lambda path: path == "/dev/infiniband")
    assert network.read_network() == {"addresses": {"a": ["10.0.0.1/24"]}, "came": "said ['a']", "hcas": {"roce0": "en0", "roce1": "en1"}, "infiniband": True}

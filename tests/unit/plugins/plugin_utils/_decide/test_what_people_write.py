# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Values as people write them, and boxes as they are: each works or ends in one sentence that says what to do."""

from __future__ import annotations

import json

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._box import facts, findings
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.options import option_mistakes
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.preflight import box_problem, named_twice
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.wanted import directory_mistakes, image_mistakes, normalise, server_mistakes

HERE = {"name": "spark-01", "user": "gb10", "address": "192.168.1.11", "interpreter": ""}
SERVER = {"name": "a", "model": "tiny"}


def one(**more):
    return normalise([{**SERVER, **more}], "/srv/models")[0]


@pytest.mark.parametrize("key", ["api_key", "env", "args", "tls", "port", "concurrency", "reserve_gib", "gpu_memory_utilization", "kv_cache_memory_gib"])
def test_an_empty_setting_of_a_server_is_absent(key):
    assert one(**{key: None}) == one()
    assert option_mistakes({"gb10_servers": [{**SERVER, key: None}]}) == []


@pytest.mark.parametrize("name", ["gb10_image", "gb10_hub", "gb10_distribution", "gb10_api_key"])
def test_an_empty_mapping_or_text_is_no_error(name):
    assert option_mistakes({name: None}) == [] and image_mistakes({}) == []


@pytest.mark.parametrize("name", ["gb10_keep", "gb10_margin_gib", "gb10_servers", "gb10_prune", "gb10_history"])
def test_an_empty_number_switch_or_list_is_named(name):
    assert option_mistakes({name: None}) == [f"{name} is empty; give it a value or delete the line."]


def test_a_port_is_one_truth():
    assert one(args={"port": 9000})["port"] == one(args={"--port": "9000"})["port"] == one(port=9000, args={"port": 9000})["port"] == 9000
    (said,) = server_mistakes([{**SERVER, "port": 8001, "args": {"port": 9000}}], "/srv/models")
    assert said.startswith("gb10_servers entry 1 (a): ") and "keep `port`" in said
    with pytest.raises(GB10Error, match="is not a port"):
        one(args={"port": "http"})


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "192.168.1.5", "::1"])
def test_a_host_inside_the_container_is_refused_for_the_address(host):
    (said,) = server_mistakes([{**SERVER, "args": {"host": host}}], "/srv/models")
    address = "127.0.0.1" if host == "localhost" else host  # `address: localhost` would be the next thing to be refused
    assert f"`address: {address}`" in said


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_host_that_listens_everywhere_is_fine(host):
    assert one(args={"--host": host})["port"] == 8000


@pytest.mark.parametrize("key", ["port", "--port", "por", "-por"])
def test_every_spelling_of_the_port_is_the_port(key):
    """vLLM's parser takes a beginning that only one argument has, so that is where it listens."""
    assert one(args={key: 9000})["port"] == 9000
    (said,) = server_mistakes([{**SERVER, "port": 8001, "args": {key: 9000}}], "/srv/models")
    assert "keep `port`" in said
    assert one(args={key: ""})["port"] == 8000


@pytest.mark.parametrize("host", ["", None, "None", "[::]"])
def test_a_host_that_says_nothing_or_everywhere_is_fine(host):
    assert one(args={"host": host})["port"] == 8000


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("*", "`address: 0.0.0.0`"),
        ("[::1]", "`address: ::1`"),
        ("spark-01.local", "on which IP address of the box"),
        ("fe80::1%eth0", "on which IP address of the box"),
        ("x" * 2000, "on which IP address of the box"),
    ],
)
def test_the_address_that_a_host_is_told_is_one_that_is_taken(host, words):
    for key in ("host", "hos", "--host"):
        (said,) = server_mistakes([{**SERVER, "args": {key: host}}], "/srv/models")
        assert words in said and len(said) < 300
    if "`address: " in said:
        assert one(address=said.partition("`address: ")[2].partition("`")[0])


@pytest.mark.parametrize(
    "args",
    [{"grpc": True}, {"--grpc": "on"}, {"grpc": "true"}, {"headless": True}, {"headles": 1}, {"data_parallel_multi_port_external_lb": True}, {"-dpm": True},
     {"api_server_count": 0}, {"-asc": "0"}],
)  # fmt: skip
def test_what_serves_no_api_with_keys_is_refused(args):
    for open_ in (False, True):
        (said,) = server_mistakes([{**SERVER, "args": args}], "/srv/models", open_)
        assert said.startswith("gb10_servers entry 1 (a): args.") and said.endswith("leave it out.") and len(said) < 200


@pytest.mark.parametrize("args", [{"grpc": False}, {"grpc": ""}, {"headless": "false"}, {"api_server_count": 2}])
def test_what_is_turned_off_is_fine(args):
    assert one(args=args)


def test_a_front_end_that_asks_for_no_key_is_refused_while_one_is_due():
    for value in ("1", 1, True, "true"):
        (said,) = server_mistakes([{**SERVER, "env": {"VLLM_USE_RUST_FRONTEND": value}}], "/srv/models")
        assert "asks for no key" in said and "gb10_allow_open" in said
        assert server_mistakes([{**SERVER, "env": {"VLLM_USE_RUST_FRONTEND": value}}], "/srv/models", True) == []
    assert one(env={"VLLM_USE_RUST_FRONTEND": "0"})


@pytest.mark.parametrize("address", ["localhost", "spark-01.local", "fe80::1%eth0", "10.0.0.1:8000", "http://10.0.0.1", "10.0.0.0/24", "ff02::1", 0.5])
def test_an_address_that_cannot_be_is_said_with_its_server(address):
    (said,) = server_mistakes([{**SERVER, "address": address}], "/srv/models")
    assert said.startswith("gb10_servers entry 1 (a): `address:") and len(said) <= 600 and "\n" not in said


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("https://huggingface.co/ORG/NAME", ["`model: ORG/NAME`"]),
        ("https://huggingface.co/ORG/NAME/tree/v2", ["`model: ORG/NAME`", "`revision: v2`"]),
        ("https://hf.co/ORG/NAME/tree/main", ["`model: ORG/NAME`"]),
        ("s3://bucket/model", ["ORG/NAME"]),
        ("ORG/NAME:main", ["`model: ORG/NAME`", "`revision: main`"]),
        ("~/models/x", ["whole path"]),
        ("./models/x", ["gb10_models_dir"]),
        ("../x", ["gb10_models_dir"]),
    ],
)
def test_a_model_that_is_named_in_another_way(model, words):
    (said,) = server_mistakes([{**SERVER, "model": model}], "/srv/models")
    assert all(word in said for word in words) and said.startswith("gb10_servers entry 1 (a): ")


def test_a_version_that_is_kept_is_a_model_like_any_other():
    assert one(model="ORG/NAME@c0ffee00c0ffee")["model_path"] == "/srv/models/ORG/NAME@c0ffee00c0ffee"


def test_a_home_in_a_directory_is_anybodys():
    assert "anybody's home" in directory_mistakes({"gb10_models_dir": "~/models"})[0]


@pytest.mark.parametrize(
    ("result", "word"),
    [
        ({"msg": "Missing sudo password"}, "-K"),
        ({"msg": "Module result deserialization failed: No start of json char found", "module_stderr": "/bin/sh: 1: sudo: not found"}, "apt-get install sudo"),
        ({"msg": "MODULE FAILURE", "module_stdout": "bash: sudo: command not found"}, "apt-get install sudo"),
        ({"msg": "x", "module_stderr": "sudo: a password is required"}, "ansible_become_password"),
    ],
)
def test_sudo_that_cannot_be_used(result, word):
    said = box_problem({**result, "failed": True}, HERE)
    assert said.startswith("spark-01: sudo ") and word in said and "json" not in said


def docker(monkeypatch, tmp_path, answer, err="", specification=None, runtime=None):
    """What is found of a box whose docker gives this answer."""
    place = tmp_path / "docker"
    place.write_text(f"#!/bin/sh\necho '{err}' >&2\ncase \"$1\" in info) echo '{json.dumps(answer)}';; version) echo 29.1.2;; esac\n")
    place.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(facts, "CDI", (str(tmp_path / "cdi"),))
    monkeypatch.setattr(facts, "RUNTIME", str(tmp_path / "config.toml"))
    if runtime:
        (tmp_path / "config.toml").write_text(runtime)
    if specification:
        (tmp_path / "cdi").mkdir()
        (tmp_path / "cdi" / "nvidia.yaml").write_text(specification)
    found = findings._docker({"docker": facts.read_docker([], {})}, {"builds": False, "servers": []})
    return [finding["text"] for finding in found if finding["level"] == "error"]


NEW = {"ServerVersion": "29.1.2", "DockerRootDir": "/data/docker", "Runtimes": {"runc": {}}}
DEVICES = {"DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=all"}]}


def test_a_docker_with_cdi_only_can_hand_out_the_gpu(monkeypatch, tmp_path):
    assert docker(monkeypatch, tmp_path, {**NEW, **DEVICES}, specification=f"    - hostPath: {tmp_path}\n") == []


def test_a_specification_of_an_earlier_driver_is_stale(monkeypatch, tmp_path):
    (said,) = docker(monkeypatch, tmp_path, {**NEW, **DEVICES}, specification="    - hostPath: /usr/lib/libcuda.so.570.1\n")
    assert "libcuda.so.570.1" in said and "nvidia-ctk cdi generate" in said


WITH_RUNTIME = {**NEW, "Runtimes": {"runc": {}, "nvidia": {"path": "nvidia-container-runtime"}}}
MODE_CDI = '#mode = "auto"\n[nvidia-container-cli]\nmode = "x"\n\n[nvidia-container-runtime]\nlog-level = "info"\n  mode = "cdi"\nruntimes = ["runc"]\n'
MODE_CDI += "[nvidia-container-runtime.modes.cdi]\n"
SPECIFIED = "cdiVersion: 0.5.0\nkind: nvidia.com/gpu\n    - hostPath: "


def test_a_runtime_in_mode_cdi_needs_a_specification_that_holds(monkeypatch, tmp_path):
    (said,) = docker(monkeypatch, tmp_path, WITH_RUNTIME, runtime=MODE_CDI)
    assert "missing" in said and 'mode = "cdi"' in said and "nvidia-ctk cdi generate" in said and 'mode = "auto"' in said
    (said,) = docker(monkeypatch, tmp_path, WITH_RUNTIME, runtime=MODE_CDI, specification=f"{SPECIFIED}/usr/lib/libcuda.so.570.1\n")
    assert "stale" in said and "libcuda.so.570.1" in said and "nvidia-ctk cdi generate" in said


def test_a_runtime_in_mode_cdi_with_its_specification_is_fine(monkeypatch, tmp_path):
    assert docker(monkeypatch, tmp_path, WITH_RUNTIME, runtime=MODE_CDI, specification=f"{SPECIFIED}{tmp_path}\n") == []


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_runtime_in_another_mode_needs_none(monkeypatch, tmp_path, mode):
    text = MODE_CDI.replace('mode = "cdi"', f'mode = "{mode}"') + '[other]\nmode = "cdi"\n'
    assert docker(monkeypatch, tmp_path, WITH_RUNTIME, runtime=text, specification=f"{SPECIFIED}/usr/lib/libcuda.so.570.1\n") == []


def test_a_docker_without_any_way_to_the_gpu(monkeypatch, tmp_path):
    (said,) = docker(monkeypatch, tmp_path, {**NEW, "DiscoveredDevices": [{"Source": "cdi", "ID": "vendor.com/nic=0"}]})
    assert "nvidia-container-toolkit" in said


def test_podman_and_rootless_docker_are_named(monkeypatch, tmp_path):
    (said,) = docker(monkeypatch, tmp_path, {"host": {"arch": "arm64"}, "version": {"Version": "4.9.3"}}, "Emulate Docker CLI using podman.")
    assert "podman" in said and "apt-get install docker.io" in said
    (said,) = docker(monkeypatch, tmp_path, {**NEW, **DEVICES, "SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless"]})
    assert "rootless" in said and "systemctl enable --now docker" in said


def test_a_docker_whose_root_is_another_user_and_one_that_is_a_snap_are_named(monkeypatch, tmp_path):
    (said,) = docker(monkeypatch, tmp_path, {**NEW, **DEVICES, "SecurityOptions": ["name=userns"]})
    assert "userns-remap" in said and "/etc/docker/daemon.json" in said
    (said,) = docker(monkeypatch, tmp_path, {**NEW, **DEVICES, "DockerRootDir": "/var/snap/docker/common/var-lib-docker"})
    assert "snap remove docker" in said and len(said) < 600


def test_a_server_that_was_renamed(monkeypatch):
    held = {"status": "running", "labels": {"gb10.vllm.server": "old"}, "ports": [{"port": 8000}]}
    box = {"docker": {"containers": [held]}, "listeners": [{"port": 8000, "address": "127.0.0.1"}]}
    wants = {"servers": [{"name": "new", "port": 8000}]}
    (said,) = findings._ports(box, wants)
    assert "gb10_prune" in said["text"] and "old" in said["text"] and "ss -ltnp" not in said["text"]
    assert findings._ports(box, {**wants, "prune": True}) == []


def test_one_box_under_two_names():
    boxes = {"a": {"ansible_host": "10.0.0.1"}, "b": {"ansible_host": "10.0.0.1"}, "10.0.0.2": {}, "c": {"ansible_host": "10.0.0.1", "ansible_port": 2222}}
    assert named_twice(list(boxes), boxes).startswith("a and b are both 10.0.0.1: one box has two names")
    assert named_twice(["a", "10.0.0.2", "c"], boxes) == ""
    assert named_twice(["x", "y"], {name: {"ansible_host": "h", "ansible_connection": "local"} for name in "xy"}) == ""

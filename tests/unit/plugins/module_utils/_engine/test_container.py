# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a box sees of a container: time stamps, logs in one order, the kernel's lines, secrets. The docker here is a script."""

from __future__ import annotations

import json

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._engine import container as engine_container
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error


def test_docker_time_stamps():
    assert engine_container.epoch("1970-01-01T00:00:00Z") is None, "Docker's zero time"
    assert engine_container.epoch("0001-01-01T00:00:00Z") is None
    assert engine_container.epoch("not a time") is None
    whole = engine_container.epoch("2026-11-23T14:16:02Z")
    assert engine_container.epoch("2026-11-23T14:16:02.215138961Z") == pytest.approx(whole + 0.215138961)
    assert engine_container.epoch("2026-11-23T15:16:02.5+01:00") == whole + 0.5


def test_memory_is_read_from_the_kernel():
    assert engine_container.memory_available_bytes() > 2**20


def test_secrets_in_private_files(tmp_path):
    (tmp_path / "key.env").write_text("A=1\nVLLM_API_KEY='a b\\c'\nexport HF_TOKEN=\"hf_x\"\nMY_PASSWORD=it's\nEMPTY_KEY=\n# KEY\n")
    found = engine_container.server_secrets([], [tmp_path / "key.env"])
    assert found == {"VLLM_API_KEY": "a b\\c", "HF_TOKEN": "hf_x", "MY_PASSWORD": "it's"}


def test_secrets_of_a_containers_environment_are_taken_as_they_are():
    assert engine_container.server_secrets(['A_KEY="x" y', "HOME=/", "B_TOKEN="], []) == {"A_KEY": '"x" y'}


def test_a_log_is_cleaned_once_and_brought_into_one_order():
    text = (
        "2026-11-23T14:16:03.5Z (EngineCore_DP0 pid=9) INFO 11-23 14:16:03 [core.py:1] second\r\x1b[32mthird\x1b[0m\n"
        "2026-11-23T14:16:02Z INFO 11-23 14:16:02 [api.py:1] first\n"
        "not a stamp\n2026-11-23T14:16:04Z \n"
    )
    start = engine_container.epoch("2026-11-23T14:16:02Z")
    assert engine_container.read_log(text) == [(start, "first"), (start + 1.5, "second"), (start + 1.5, "third")]


def test_the_kernels_lines_since_then():
    text = "[   10.5] early\n[  100.0] oom-kill: vllm\n[ 101] after\nno stamp\n[x] odd\n"
    assert engine_container.kernel_lines(text, booted=1000.0, since_epoch=1100.0) == ["[  100.0] oom-kill: vllm", "[ 101] after"]
    assert len(engine_container.kernel_lines("[ 1] x\n" * 600, 0.0, 0.0)) == 500


@pytest.fixture
def docker(tmp_path, monkeypatch):
    """A docker that answers ``inspect`` with this text and ``logs`` with the file, and nothing else."""

    def make(inspected, log=""):
        (tmp_path / "inspected").write_text(inspected)
        (tmp_path / "log").write_text(log)
        script = f"""#!/bin/sh
case "$1" in
  inspect) if [ -s {tmp_path}/inspected ]; then cat {tmp_path}/inspected; else echo "Error: No such container: $4" >&2; exit 1; fi;;
  logs) cat {tmp_path}/log;;
  *) echo "Cannot connect to the Docker daemon" >&2; exit 1;;
esac
"""
        (tmp_path / "docker").write_text(script)
        (tmp_path / "docker").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return make


def test_a_container_that_is_not_there_and_a_docker_that_is_not(docker, monkeypatch):
    docker("")
    assert engine_container.inspect("x") is None
    with pytest.raises(GB10Error, match="There is no container x on this box"):
        engine_container.collect("x")
    with pytest.raises(GB10Error, match="the Docker daemon is not running"):
        engine_container.collect(None)
    assert engine_container.activity("x") == {"read_bytes": 0, "rss_bytes": 0, "processes": []}
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(GB10Error, match="there is no docker command on this box"):
        engine_container.inspect("x")
    with pytest.raises(GB10Error, match="there is no docker command on this box"):
        engine_container.logs("x", "2026-11-23T14:16:02Z")


def test_what_is_collected_of_a_container_holds_no_secret(docker, tmp_path):
    state = {"Status": "exited", "ExitCode": 1, "StartedAt": "2026-11-23T14:16:02Z"}
    config = {"Labels": {"gb10.vllm.server": "a"}, "Env": ["HF_TOKEN=from-env"]}
    docker(json.dumps([{"State": state, "Config": config}]), "2026-11-23T14:16:02Z INFO 11-23 14:16:02 [a.py:1] key from-file and from-env\n")
    (tmp_path / "etc" / "a").mkdir(parents=True)
    (tmp_path / "etc" / "a" / "key.env").write_text("VLLM_API_KEY='from-file'\n")
    (found,) = engine_container.collect("gb10-vllm-a", config_dir=str(tmp_path / "etc"))
    assert found["log"] == ["key ******** and ********", "gb10.vllm: it exited with code 1"]
    assert (found["server"], found["status"], found["api_key"]) == ("a", "exited", True)

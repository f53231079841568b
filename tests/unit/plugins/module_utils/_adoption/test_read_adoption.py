# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Servers in containers that are not ours: what Docker is asked, whose are left out, what of a container's processes and mounts is told."""

from __future__ import annotations

import json
import os
import re

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._adoption import read
from ansible_collections.gb10.vllm.plugins.module_utils._engine.container import SERVER_LABEL
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from fake_docker import FakeDocker

IMAGE = "sha256:" + "a" * 64


def container(name, **more):
    return {"Id": f"id-{name}", "Name": f"/{name}", "Image": IMAGE, "Config": {"Labels": None}, "State": {"Running": False}, **more}


@pytest.fixture
def docker(tmp_path, monkeypatch):
    made = FakeDocker(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    made.answer("'ps -aq --no-trunc'", "echo id-a; echo id-b; echo id-c")
    found = [container("a", State={"Running": True}), container("b", Config={"Labels": {SERVER_LABEL: "b"}}), container("c", Image="")]
    made.answer("'inspect id-a id-b id-c'", f"cat <<'END'\n{json.dumps(found)}\nEND\necho 'Error: No such container: x' >&2; exit 1")
    made.answer(f"'image inspect {IMAGE}'", f"cat <<'END'\n{json.dumps([{'Id': IMAGE, 'Config': {}}])}\nEND\n")
    made.answer("'top id-a '*", f"echo PID; echo ' {os.getpid()}'; echo 999999999")
    return made


@pytest.fixture
def told(monkeypatch):
    """What each container is described by; a second one that serves nothing."""
    given = {}

    def described(one, image, processes):
        given[one["Id"]] = (image, processes)
        return {"name": one["Name"].lstrip("/"), "mounts": []} if one["Id"] != "id-c" else None

    monkeypatch.setattr(read, "described", described)
    return given


def test_all_but_ours_are_described_by_their_image_and_what_runs_in_them(docker, told):
    assert read.servers() == [{"name": "a", "mounts": [], "snapshots": {}}] == read.servers("a")
    with open("/proc/self/cmdline", "rb") as stream:
        mine = [word.decode(errors="replace") for word in stream.read().rstrip(b"\0").split(b"\0")]
    assert told == {"id-a": ({"Id": IMAGE, "Config": {}}, [mine]), "id-c": ({}, [])}
    calls = docker.calls()
    assert calls[:4] == ["ps -aq --no-trunc", "inspect id-a id-b id-c", f"image inspect {IMAGE}", "top id-a -eo pid"] and len(calls) == 8


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x", "there is no container x on this box; of those that this collection did not start these serve with vLLM: a."),
        ("b", "the container b is one of this collection already; there is nothing to adopt."),
        ("c", "the container c runs no `vllm serve`, so there is nothing to adopt; of the others these do: a."),
    ],
)
def test_one_that_cannot_be_adopted_is_named_with_those_that_can(docker, told, name, said):
    with pytest.raises(GB10Error, match=f"^{re.escape(said)}$"):
        read.servers(name)


def test_a_box_without_containers_has_none_and_says_so(docker, told):
    docker.answer("'ps -aq --no-trunc'", ":")
    assert read.servers() == [] and docker.calls() == ["ps -aq --no-trunc"]
    with pytest.raises(GB10Error, match="these serve with vLLM: none\\.$"):
        read.servers("a")


def test_models_in_a_mounted_cache_are_found_wherever_it_begins(tmp_path, monkeypatch):
    monkeypatch.setattr(read, "snapshot", lambda home: "" if home.endswith("empty") else home + "/snap")
    for place in ("models--acme--m", "hub/models--acme--n", "huggingface/hub/models--solo", "models--acme--empty", "datasets--x--y"):
        (tmp_path / place).mkdir(parents=True)
    mounts = {"mounts": [{"source": str(tmp_path)}, {"source": "/nowhere/at/all"}]}
    assert read._snapshots(mounts) == {
        "acme/m": f"{tmp_path}/models--acme--m/snap", "acme/n": f"{tmp_path}/hub/models--acme--n/snap", "solo": f"{tmp_path}/huggingface/hub/models--solo/snap",
    }  # fmt: skip

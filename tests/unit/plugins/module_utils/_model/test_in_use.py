# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What containers hold of a box's models: what is asked of Docker, and what is made of its answer."""

from __future__ import annotations

import json
import os

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io import command
from ansible_collections.gb10.vllm.plugins.module_utils._model import in_use
from fake_docker import FakeDocker

ALL = "ps -aq --no-trunc"


@pytest.fixture
def docker(tmp_path):
    """A docker whose stopped containers are only told to who asks for all (`-a`)."""
    made = FakeDocker(tmp_path / "bin")
    made.answer(f"'{ALL}'", "echo one; echo two")
    made.shows = lambda containers, more="": made.answer("'inspect '*", f"cat <<'END'\n{json.dumps(containers)}\nEND\n{more}")
    return made


def test_stopped_containers_count_and_running_ones_tell_what_they_really_hold(docker, tmp_path):
    held, link = tmp_path / "held", tmp_path / "link"
    held.mkdir()
    link.symlink_to(held)
    docker.shows(
        [
            {"State": {"Pid": 0}, "Mounts": [{"Source": str(link), "Destination": "/proc"}, {"Destination": "/no/source"}]},
            {
                "State": {"Pid": os.getpid()},
                "Mounts": [{"Source": "/gone/m", "Destination": str(held)}, {"Source": "/gone/n", "Destination": "/nowhere/at/all"}],
            },
            {"State": None, "Mounts": None},
            {"State": {"Pid": os.getpid()}, "Mounts": [{"Source": "/gone/o", "Destination": None}]},
        ]
    )
    inside, root = os.stat(held), os.stat("/")
    both = {(inside.st_dev, inside.st_ino), (root.st_dev, root.st_ino)}
    assert in_use.mounted(str(docker.path)) == ({str(held), "/gone/m", "/gone/n", "/gone/o"}, both)
    assert docker.calls() == [ALL, "inspect one two"]


def test_docker_is_given_its_time_and_a_container_that_went_meanwhile_is_borne(docker, tmp_path, monkeypatch):
    docker.shows([{"Mounts": [{"Source": "/models/m"}]}], "echo 'Error: No such container: two' >&2; exit 1")
    asked, real = [], command.docker
    monkeypatch.setattr(command, "docker", lambda *words, **how: asked.append((words, how)) or real(*words, **how))
    assert in_use.mounted(str(docker.path)) == ({"/models/m"}, set())
    how = {"command": str(docker.path), "timeout_s": 60}
    assert [one for one in asked if one[0][0] == "inspect"] == [(("inspect", "one", "two"), how | {"missing_ok": True})]
    assert all(one[1]["timeout_s"] == 60 for one in asked) and asked


def test_unless_said_docker_is_the_docker_of_the_path(docker, monkeypatch):
    docker.shows([{"Mounts": [{"Source": "/models/m"}]}])
    monkeypatch.setenv("PATH", str(docker.path.parent), prepend=":")
    assert (docker.path.name, in_use.mounted()[0], in_use.named("/models/m"), in_use.named("/models/n")) == ("docker", {"/models/m"}, True, False)


def test_an_engine_that_does_not_say_is_an_error_and_one_that_is_not_there_is_none(docker, tmp_path):
    docker.answer("'inspect '*", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    with pytest.raises(GB10Error):
        in_use.mounted(str(docker.path))
    assert in_use.named("/models/m", str(docker.path)) is True
    assert in_use.mounted(str(tmp_path / "no-docker")) == (set(), set())
    assert in_use.named("/models/m", str(tmp_path / "no-docker")) is False
    docker.answer(f"'{ALL}'", ":")
    assert (in_use.mounted(str(docker.path)), docker.calls()[-1]) == ((set(), set()), ALL), "there is no container to look into"


@pytest.mark.parametrize(("path", "meant"), [("/models/m", True), ("/models/x/../m", True), ("/models/m/a", False), ("/models", False), (".", False)])
def test_a_name_is_meant_when_a_container_mounts_just_it(docker, path, meant):
    docker.shows([{"Mounts": [{"Source": ""}, {"Source": "/models/o"}, {"Source": "/models//m/"}]}])
    assert in_use.named(path, str(docker.path)) is meant


def test_in_use_is_what_is_mounted_what_holds_a_mount_and_what_is_held_under_another_name(tmp_path):
    model, beside = tmp_path / "m", tmp_path / "mm"
    model.mkdir()
    beside.mkdir()
    status = os.stat(model)
    (tmp_path / "link").symlink_to(model)
    for path in (model, tmp_path / "link"):
        assert [in_use.in_use(str(path), {one}, set()) for one in (str(model), f"{model}/a", str(beside), str(tmp_path), "/")] == [
            True,
            True,
            False,
            False,
            False,
        ]
        assert in_use.in_use(str(path), set(), {(status.st_dev, status.st_ino)})
        assert not in_use.in_use(str(path), set(), {(status.st_dev + 1, status.st_ino), (status.st_dev, status.st_ino + 1)})

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A command that cannot run is a status, a docker that cannot is one sentence. The docker here is a script."""

from __future__ import annotations

import sys

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io import command


@pytest.fixture
def fake(tmp_path):
    """A docker that runs these lines of shell."""

    def make(script: str) -> str:
        path = tmp_path / "docker"
        path.write_text("#!/bin/sh\n" + script)
        path.chmod(0o755)
        return str(path)

    return make


def test_a_command_runs_without_a_shell_and_in_english():
    process = command.run([sys.executable, "-c", "import os, sys; print(sys.argv[1], os.environ['LC_ALL'], sys.stdin.read())", "$HOME"])
    assert (process.returncode, process.stdout) == (0, "$HOME C \n")
    assert command.run(["cat"], given="in").stdout == "in"
    assert command.run(["/usr/bin/env"], env={"ONLY": "1"}).stdout == "ONLY=1\n"


def test_what_cannot_run_is_a_status_with_a_reason(tmp_path):
    process = command.run(["/no/such/program"])
    assert (process.returncode, process.stderr) == (127, "/no/such/program is not installed")
    (tmp_path / "x").write_text("")
    process = command.run([str(tmp_path / "x")])
    assert process.returncode == 127
    assert "cannot be run (Permission denied)" in process.stderr
    process = command.run(["sleep", "5"], 0.05)
    assert (process.returncode, process.stderr) == (124, "sleep did not answer within 0.05 s")


def test_there_is_no_docker_command():
    with pytest.raises(GB10Error, match=r"^there is no docker command on this box; install Docker"):
        command.docker("ps", command="/no/such/docker")


def test_a_docker_that_hangs(fake):
    with pytest.raises(GB10Error, match=r"docker ps did not answer within 0 s on this box; look at: systemctl status docker"):
        command.docker("ps", command=fake("exec sleep 5\n"), timeout_s=0.05)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("permission denied while trying to connect to unix:///var/run/docker.sock", "this user may not talk to Docker"),
        ("Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?", "the Docker daemon is not running"),
        (
            "failed to connect to the docker API at unix:///var/run/docker.sock; check if the path is correct and if the daemon is running: "
            "dial unix /var/run/docker.sock: connect: no such file or directory",
            "the Docker daemon is not running",
        ),
        ("first\nlast line", "docker image inspect failed on this box: last line"),
        ("", "docker image inspect failed on this box: status 3"),
    ],
)
def test_why_docker_failed(fake, said, expected):
    docker = fake(f"printf '%s' '{said}' >&2; exit 3\n")
    with pytest.raises(GB10Error, match=expected):
        command.docker("image", "inspect", "x", command=docker, missing_ok=True)
    assert command.docker("image", "inspect", "x", command=docker, check=False).returncode == 3
    assert command.docker_text("image", "inspect", "x", command=docker, check=False) == ""


@pytest.mark.parametrize("what", ["Error: No such image: x", "Error response from daemon: No such container: x", "Error: No such object: x"])
def test_what_is_missing_may_be_missing(fake, what):
    docker = fake(f"echo '[]'; echo '{what}' >&2; exit 1\n")
    assert command.docker_text("image", "inspect", "x", command=docker, missing_ok=True) == ""
    with pytest.raises(GB10Error, match="[Nn]o such"):
        command.docker_text("image", "inspect", "x", command=docker)


def test_what_docker_prints(fake):
    docker = fake('echo "  $*  "\n')
    assert command.docker_text("ps", "-a", command=docker) == "ps -a"
    assert command.docker("ps", "-a", command=docker).stdout == "  ps -a  \n"

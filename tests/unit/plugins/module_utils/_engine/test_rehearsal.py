# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The container of a rehearsal: what it is started with, what is left of it, and what its words mean."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._engine import rehearsal
from ansible_collections.gb10.vllm.plugins.module_utils._engine.rehearsing import MARK
from fake_docker import FakeDocker

GIB = 2**30
SECRET = "zq7xwv-secret-of-the-user"


@pytest.fixture
def docker(tmp_path, monkeypatch):
    made = FakeDocker(tmp_path / "bin")
    made.answer("'rm '*", ":")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setattr(rehearsal, "RUN_DIR", str(tmp_path / "run"))
    return made


@pytest.fixture
def wish(tmp_path):
    for name in ("model", "cache", "state/servers/tiny"):
        (tmp_path / name).mkdir(parents=True)
    container = {
        "image": "sha256:" + "1" * 64,
        "command": ["/bin/sh", "-c", 'exec "$@"', "gb10-vllm", "vllm", "serve", "/models/tiny", "--port", "8000"],
        "env": {"HF_HUB_OFFLINE": "1"},
        "volumes": [f"{tmp_path}/model:/models/tiny:ro", f"{tmp_path}/etc/tiny:/run/gb10:ro", f"{tmp_path}/cache:/cache:rw", "/absent:/opt/gb10-vllm:ro"],
        "pids_limit": 8192, "read_only": True, "tmpfs": ["/tmp:exec"], "ulimits": ["nofile=1:1"],
    }  # fmt: skip
    return {"name": "tiny", "container": container, "manifest": "m", "environment": f"HF_TOKEN={SECRET}\n"}


def ask(wish, tmp_path, floor=12 * GIB, available=40 * GIB):
    return rehearsal.rehearse(wish, floor, str(tmp_path / "state"), 60, lambda: available)


def test_it_is_the_servers_own_container_but_for_its_network_its_keys_and_how_far_it_goes(wish, tmp_path):
    words = rehearsal.command(wish["container"], "gb10-rehearsal-x", "/run/private", 60)
    text = " ".join(words)
    for part in ("--network none", "--gpus all", "--cap-drop ALL", "--security-opt no-new-privileges", "--read-only", "--tmpfs /tmp:exec",
                 "--ulimit nofile=1:1", "--log-driver none", "--memory 1342177280 --memory-swap 1342177280", "--pids-limit 8192",
                 "--pull never", "--rm"):  # fmt: skip
        assert part in text, part
    mounts = [words[number + 1] for number, word in enumerate(words) if word == "--volume"]
    assert mounts == [f"{tmp_path}/model:/models/tiny:ro", "/run/private:/run/gb10:ro", f"{tmp_path}/cache:/cache:rw"]
    image = words.index(wish["container"]["image"])
    assert words[image - 2 : image] == ["--env", "GB10_REHEARSAL_S=60"]
    expected = ["/bin/sh", "-c", 'exec "$@"', "gb10-vllm", "python3", "/run/gb10/rehearsing.py", "vllm", "serve", "/models/tiny", "--port", "8000"]
    assert words[image + 1 :] == expected and "--publish" not in words


def test_a_rank_is_asked_without_the_address_that_its_container_has_not(wish):
    """vLLM binds its port before it makes its configuration, and what it cannot bind it would refuse."""
    words = [
        "vllm",
        "serve",
        "/models/tiny",
        "--host",
        "192.168.177.1",
        "--port",
        "8000",
        "--nnodes",
        "2",
        "--node-rank",
        "0",
        "--master-addr",
        "192.168.177.1",
    ]
    asked = [{**wish["container"], "command": words, **more} for more in ({"network_mode": "host"}, {})]
    rank, alone = (rehearsal.command(one, "gb10-rehearsal-x", "/run/private", 60) for one in asked)
    assert rank[-len(words) :] == [*words[:4], "127.0.0.1", *words[5:]] and alone[-len(words) :] == words


def test_what_passed_is_remembered_until_anything_of_it_changes(docker, wish, tmp_path):
    docker.answer("'run '*", f"echo hello; echo '{MARK} passed'")
    first = ask(wish, tmp_path)
    assert (first["verdict"], first["remembered"], first["log"]) == ("passed", False, ["hello"])
    assert ask(wish, tmp_path)["remembered"] and len(docker.calls("run")) == 1
    record = tmp_path / "state/servers/tiny/rehearsed.json"
    assert stat.S_IMODE(record.stat().st_mode) == 0o600 and SECRET not in record.read_text()
    container = wish["container"]
    others = [
        {**wish, "environment": "HF_TOKEN=another\n"},
        {**wish, "manifest": "n"},
        {**wish, "container": {**container, "image": "sha256:2"}},
        {**wish, "container": {**container, "command": [*container["command"], "--x"]}},
    ]
    assert len({rehearsal.digest(one) for one in [wish, *others]}) == 5
    assert not ask(others[0], tmp_path)["remembered"]


def test_what_was_refused_is_asked_again(docker, wish, tmp_path):
    docker.answer("'run '*", f"echo 'error: no such flag'; echo '{MARK} refused it ended with 2'")
    seen = [ask(wish, tmp_path) for _time in range(2)]
    assert [(one["verdict"], one["why"]) for one in seen] == [("refused", "it ended with 2")] * 2
    assert not (tmp_path / "state/servers/tiny/rehearsed.json").exists()


def test_the_private_files_are_roots_alone_and_gone_afterwards(docker, wish, tmp_path):
    see = f"for file in {tmp_path}/run/*/*; do stat -c '%a %n' $file; done; cat {tmp_path}/run/*/server.env; echo '{MARK} passed'"
    docker.answer("'run '*", see)
    seen = ask(wish, tmp_path)
    modes = {Path(line.split()[1]).name: line.split()[0] for line in seen["log"][:3]}
    assert modes == dict.fromkeys(("key.env", "rehearsing.py", "server.env"), "600")
    assert SECRET not in json.dumps(seen) and seen["log"][3] == "HF_TOKEN=********"
    assert list((tmp_path / "run").iterdir()) == [] and stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
    name = docker.calls("run")[0].split("--name ")[1].split()[0]
    assert docker.calls("rm") == [f"rm --force {name}"] and name.startswith("gb10-rehearsal-tiny-")
    assert all(SECRET not in call for call in docker.calls())


def test_never_below_the_floor(docker, wish, tmp_path):
    docker.answer("'run '*", f"echo '{MARK} passed'")
    left = ask(wish, tmp_path, available=12 * GIB + rehearsal.MEMORY_BYTES - 1)
    assert left["verdict"] == "unable" and left["why"] == "12.0 GiB would be left meanwhile, and 12.0 GiB are the floor of this box"
    assert docker.calls("run") == []
    assert ask(wish, tmp_path, available=12 * GIB + rehearsal.MEMORY_BYTES)["verdict"] == "passed"


def test_nothing_is_made_where_a_mount_is_missing(docker, wish, tmp_path):
    wish["container"]["volumes"].append(f"{tmp_path}/adapter:/run/gb10-files/1:ro")
    seen = ask(wish, tmp_path)
    assert (seen["verdict"], seen["why"]) == ("unable", f"{tmp_path}/adapter is not on the box")
    assert docker.calls("run") == [] and not (tmp_path / "adapter").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ("unable", "it ended without a verdict")),
        ("Killed\n", ("unable", "it ended without a verdict (Killed)")),
        ("docker: Error response from daemon: no GPU\n", ("unable", "it ended without a verdict (docker: Error response from daemon: no GPU)")),
        ("Timeout (0:05:00)!\nThread 1 (most recent call first):\n", ("unable", "it had not made its configuration when its time was up")),
        (f"{MARK} something else\n", ("unable", "it ended without a verdict")),
        (f"INFO a\n{MARK} unable no vLLM\n", ("unable", "no vLLM")),
        (f"{MARK} refused a\n{MARK} passed\n", ("passed", "")),
    ],
)
def test_without_a_verdict_nothing_is_known_against_it(text, expected):
    assert rehearsal.verdict(text) == expected


def test_a_docker_that_fails_stops_no_run(docker, wish, tmp_path):
    docker.answer("'run '*", "echo 'docker: Cannot connect to the Docker daemon' >&2; exit 125")
    assert ask(wish, tmp_path)["why"] == "it ended without a verdict (docker: Cannot connect to the Docker daemon)"


def test_the_program_is_sent_as_it_is():
    assert rehearsal.program() == (Path(rehearsal.__file__).with_name("rehearsing.py")).read_text()

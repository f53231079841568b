# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An image that docker save cannot read any more: the box says so, and the next run uses another one."""

from __future__ import annotations

import json

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._box import facts
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image.identity import identity
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.share import Shares
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import distribution
from fake_docker import FakeDocker

ID = "sha256:" + "1" * 64
DAMAGE = "Error response from daemon: file integrity checksum failed for usr/lib/libtorch.so"


@pytest.fixture
def docker(tmp_path):
    fake = FakeDocker(tmp_path / "bin")
    fake.has("vllm-node", ID)
    return fake


def offer(tmp_path, docker):
    wanted = identity({"RootFS": {"Layers": ["l1"]}})
    (tmp_path / "keys").mkdir()
    share = {"key": "image", "kind": "image", "place": "vllm-node", "identity": wanted, "give": True, "skip_layers": 0, "sources": []}
    shares = Shares(str(tmp_path / "state"), keys=str(tmp_path / "keys"), docker=str(docker.path))
    return shares.transfer([share], [])


def index(tmp_path):
    found = list((tmp_path / "state" / "transfer" / "shares").rglob("index.json"))
    return json.loads(found[0].read_text())


def test_the_run_goes_on_with_other_sources_and_the_damage_is_remembered(tmp_path, docker):
    docker.answer("'save '*", f"echo '{DAMAGE}' >&2; exit 1")
    answer = offer(tmp_path, docker)
    assert answer == {"changed": False, "shares": {"image": {"damaged": DAMAGE}}}
    told = index(tmp_path)
    assert told["state"] == "failed" and DAMAGE in told["reason"], "who asks for it goes to the next source at once"
    assert facts.read_versions(str(tmp_path / "state")) == {ID: {"damaged": DAMAGE}}
    copies = {"spark-01": {"id": ID, **facts.read_versions(str(tmp_path / "state"))[ID]}, "spark-02": {}}
    assert distribution.choose_source(list(copies), copies) == "spark-02", "run again, and it does not end there again"


def test_damage_in_the_middle_of_the_archive(tmp_path, docker):
    docker.answer("'save '*", f"head -c 700 /dev/zero | tr '\\0' x; echo '{DAMAGE}' >&2; exit 1")
    assert offer(tmp_path, docker)["shares"]["image"]["damaged"] == DAMAGE
    assert not (tmp_path / "state" / "transfer" / "blobs").exists()


@pytest.mark.parametrize(
    "script",
    [
        "echo 'Error response from daemon: write /var/lib/docker/tmp/x: no space left on device' >&2; exit 1",
        "echo 'Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?' >&2; exit 1",
        "kill -9 $$",
    ],
)
def test_what_passes_is_an_error_and_not_held_against_the_box(tmp_path, docker, script):
    docker.answer("'save '*", script)
    with pytest.raises(GB10Error, match="vllm-node could not be offered: docker save of vllm-node failed on this box"):
        offer(tmp_path, docker)
    assert facts.read_versions(str(tmp_path / "state")) == {}

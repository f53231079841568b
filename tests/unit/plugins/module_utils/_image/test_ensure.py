# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a run decides, with a docker command of our own: nothing to do, something to do and why, what is said of it."""

from __future__ import annotations

import json

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image import inputs as image_inputs
from ansible_collections.gb10.vllm.plugins.module_utils._image.ensure import ImageBuild, reason, similar
from ansible_collections.gb10.vllm.plugins.module_utils._image.options import Options
from fake_docker import FakeDocker

ID, OLD = "sha256:" + "1" * 64, "sha256:" + "2" * 64
PINNED = {"source": "prebuilt", "image": "registry/vllm:1", "digest": "sha256:" + "d" * 64}
PULLED = "registry/vllm@sha256:" + "d" * 64


@pytest.fixture
def docker(tmp_path):
    return FakeDocker(tmp_path / "bin")


def job(tmp_path, docker, check_mode=False, defer=False, **options):
    given = {"state_dir": str(tmp_path / "state"), "min_free_gib": 0.0, "retry_delay_s": 0.0, **options}
    return ImageBuild(Options(**given), check_mode=check_mode, defer=defer, docker=str(docker.path))


@pytest.mark.parametrize(
    ("there", "known", "changed", "why"),
    [
        (False, None, [], "image vllm-node is not there"),
        (True, None, [{"input": "x", "before": None, "after": 1}], "image vllm-node is there, but was not made by gb10.vllm from source=build"),
        (True, {"jobs": 4}, [{"input": "jobs", "before": 4, "after": 8}], "inputs changed: jobs (4 -> 8)"),
        (True, {}, [], "a rebuild was asked for (vllm, deps)"),
    ],
)
def test_the_reason(there, known, changed, why):
    assert reason(Options(rebuild=["vllm", "deps"]), there, known, changed) == why


def test_what_could_have_been_meant():
    assert similar(["debian:12"]) == "" and similar(["vllm:1", "<none>:<none>", "x"]) == " Images that are there: vllm:1."


@pytest.mark.parametrize("mode", [{"defer": True}, {"check_mode": True}])
def test_the_probe_says_where_the_progress_will_be_and_changes_nothing(tmp_path, docker, mode):
    probe = job(tmp_path, docker, name="office.example:5000/ai/vllm:7", **mode, **PINNED).run()
    assert probe["changed"] and probe["deferred"] is bool(mode.get("defer"))
    assert probe["progress_file"] == f"{tmp_path}/state/build/progress-office.example-5000-ai-vllm-7.jsonl"
    assert probe["reason"] == "image office.example:5000/ai/vllm:7 is not there" and probe["log"] == ""
    assert not (tmp_path / "state").exists()


def test_a_pull_gives_the_name_last_and_is_remembered(tmp_path, docker):
    docker.has("vllm-node:latest", OLD)
    docker.has(PULLED, ID, Config={"Labels": {"gb10.vllm.vllm_version": "0.31.0"}})
    docker.answer("'pull '*", ":")
    docker.answer("'images -aq '*", f"echo {ID}")
    result = job(tmp_path, docker, **PINNED).run()
    assert result["changed"] and result["image"]["id"] == ID and result["image"]["vllm_version"] == "0.31.0"
    tags = docker.calls("tag")
    assert tags[0].startswith(f"tag {OLD} vllm-node:previous-") and tags[1] == f"tag {ID} vllm-node:latest"
    assert docker.calls().index(tags[0]) > docker.calls().index(f"pull {PULLED}")
    record = json.loads((tmp_path / "state/build/images.json").read_text())
    assert record["names"]["vllm-node:latest"] == {"image_id": ID, "inputs": PINNED}
    assert json.loads((tmp_path / "state/build" / "progress-vllm-node-latest.jsonl").read_text().splitlines()[-1])["phase"] == "finished"

    docker.has("vllm-node:latest", ID)
    again = job(tmp_path, docker, **PINNED).run()
    assert not again["changed"] and len(docker.calls("pull")) == 1


def test_an_earlier_image_of_the_same_inputs_is_taken_unless_it_is_damaged(tmp_path, docker):
    commit = "0" * 40
    docker.answer("'images --no-trunc -q --filter '*", f"echo {ID}")
    docker.has(ID, ID)
    docker.answer("'images -aq '*", f"echo {ID}")
    result = job(tmp_path, docker, ref=commit).run()
    assert result["image"]["id"] == ID and result["log"] == ""
    asked = docker.calls("images --no-trunc -q --filter")[0]
    assert f"label={image_inputs.INPUTS}={image_inputs.digest(result['inputs'])}" in asked

    run = job(tmp_path, docker, ref=commit)
    run.record.keep_damage(ID, "file integrity checksum failed")
    with pytest.raises(GB10Error) as caught:
        run.run()
    assert caught.value.details["log"], "it went on to build"


def test_too_little_room_starts_nothing(tmp_path, docker):
    docker.answer("'info '*", "echo /var/lib/docker")
    with pytest.raises(GB10Error, match="but source=prebuilt needs 9000000 GiB.*docker builder prune.*Nothing was started"):
        job(tmp_path, docker, **{**PINNED, "min_free_gib": 9e6}).run()
    assert docker.calls("pull") == []


def test_existing_says_what_is_there(tmp_path, docker):
    docker.answer("'images --format '*", "echo 'other/vllm:2'")
    with pytest.raises(GB10Error, match=r"source=existing neither builds nor pulls one.*Images that are there: other/vllm:2\."):
        job(tmp_path, docker, source="existing").run()

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The two interfaces of build-and-copy.sh with a docker that records: what would be built, pulled, refused."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from recipe import Recipe

HERE = Path(__file__).parent
DOCKER = str(HERE / "recording" / "docker")


class Recorded(Recipe):
    """A recipe whose docker writes down what it is asked."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.docker = DOCKER
        self.record = folder / "record"
        self.record.mkdir()

    def calls(self, what: str) -> list[dict]:
        path = self.record / "calls.jsonl"
        found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [call for call in found if call["arguments"][0] == what and call["arguments"][-1] != "-"]

    def forget(self) -> None:
        (self.record / "calls.jsonl").unlink(missing_ok=True)

    def names(self) -> list[str]:
        path = self.record / "images.json"
        return sorted(json.loads(path.read_text())) if path.exists() else []

    def remove(self) -> None:
        pass


@pytest.fixture
def august(tmp_path, monkeypatch):
    made = Recorded(tmp_path)
    monkeypatch.setenv("RECORD", str(made.record))
    for name in ("build-and-copy.sh", "Dockerfile"):
        shutil.copy(HERE / "recipe_august" / name, made.source / name)
    (made.source / ".gitignore").write_text(".wheel-cache/\n")
    made.commit()
    return made


def test_the_settings_act_in_every_stage_over_those_of_the_file(august):
    result = august.build("main", uv_http_timeout_s=900, uv_http_retries=4)
    assert result["changed"] and result["image"]["vllm_version"] == "0.31.0"
    (call,) = august.calls("build")
    text = call["dockerfile"]
    line = "ENV UV_HTTP_TIMEOUT=900 UV_HTTP_RETRIES=4"
    assert text.count(line) == 5  # three stages that run something, and again behind each ENV of the file
    assert text.index("ENV UV_HTTP_RETRIES=10") < text.rindex(line, 0, text.index("RUN uv pip install torch"))
    assert "FROM scratch AS vllm-export\nCOPY" in text
    assert call["environment"]["UV_HTTP_TIMEOUT"] == "900" and call["environment"]["DOCKER_BUILDKIT"] == "1"
    assert "UV_HTTP_TIMEOUT=900" in Path(result["log"]).read_text()  # host-side uvx sees it too
    assert august.leftovers() == []


@pytest.mark.parametrize(
    "options, builds",
    [
        ({}, [""]),
        ({"wheels": "prebuilt"}, [""]),
        ({"wheels": "none", "jobs": 4}, ["vllm-export", ""]),
        ({"vllm_ref": "v0.30.0"}, ["vllm-export", ""]),
        ({"wheels": "none", "rebuild": ["all"]}, ["flashinfer-export", "vllm-export", ""]),
        ({"rebuild": ["vllm"]}, [""]),
        ({"arguments": ["--network", "host"]}, [""]),
        ({"build_args": {"CUDA_IMAGE": "mirror.example/cuda:13"}}, [""]),
    ],
)
def test_what_is_built(august, options, builds):
    august.build("main", **options)
    calls = august.calls("build")
    targets = [c["arguments"][c["arguments"].index("--target") + 1] if "--target" in c["arguments"] else "" for c in calls]
    assert targets == builds
    assert august.calls("pull") == []
    assert all("--progress=plain" in call["arguments"] for call in calls)
    if "build_args" in options:
        assert calls[0]["dockerfile"].count("ARG CUDA_IMAGE=mirror.example/cuda:13") == 1


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"wheels": "release"}, "offers prebuilt, none"),
        ({"transformers": "pre"}, "has Transformers 5 already"),
        ({"rebuild": ["deps"]}, "has no --rebuild-deps flag"),
        ({"arguments": ["--triton-ref", "x"]}, "has no --triton-ref flag"),
        ({"build_args": {"NOPE": "1"}}, "has an ARG NOPE"),
    ],
)
def test_what_is_refused(august, options, sentence):
    with pytest.raises(GB10Error, match=sentence):
        august.build("main", **options)
    assert august.calls("build") == [] and august.leftovers() == []


def test_downloaded_wheels_serve_the_next_build(august):
    august.build("main")
    wheel = august.state / "build" / "wheels" / ".wheel-cache" / "vllm" / "regular" / "vllm-prebuilt.whl"
    first = wheel.read_text()
    august.build("main", uv_http_timeout_s=500)
    assert wheel.read_text() == first
    august.build("main", rebuild=["vllm"])
    assert wheel.read_text() != first


def test_a_box_without_buildx_is_told_so(august, tmp_path):
    lame = tmp_path / "docker"
    lame.write_text(f'#!/bin/sh\n[ "$1" = buildx ] && exit 1\nexec {DOCKER} "$@"\n')
    lame.chmod(0o755)
    with pytest.raises(GB10Error, match="buildx plugin.*docker-buildx"):
        august.build("main", docker=str(lame))


def test_the_projects_image_by_digest(august):
    digest = "sha256:" + "a" * 64
    first = august.build(source="prebuilt", image="eugr/spark-vllm:latest", digest=digest)
    assert first["changed"] and first["inputs"]["digest"] == digest
    assert [call["arguments"][1] for call in august.calls("pull")] == [f"eugr/spark-vllm@{digest}"]
    august.forget()
    assert not august.build(source="prebuilt", image="eugr/spark-vllm:latest", digest=digest)["changed"]
    assert august.calls("pull") == [] and august.warnings == []
    moved = august.build(source="prebuilt", image="eugr/spark-vllm:latest", digest="sha256:" + "b" * 64)
    assert moved["changed"] and moved["changed_inputs"][0]["input"] == "digest"


def test_a_moving_tag_is_pulled_once_and_named(august):
    august.build(source="prebuilt", image="eugr/spark-vllm:latest")
    assert "is a moving tag; it is sha256:" in august.warnings[0]
    august.forget()
    assert not august.build(source="prebuilt", image="eugr/spark-vllm:latest")["changed"]
    assert august.calls("pull") == []
    august.build(source="prebuilt", image="eugr/spark-vllm:latest", rebuild=["all"])
    assert len(august.calls("pull")) == 1


def test_a_registry_with_a_port(august):
    august.build(source="prebuilt", image="office.example:5000/ai/vllm:7", digest="sha256:" + "c" * 64)
    assert august.calls("pull")[0]["arguments"][1] == "office.example:5000/ai/vllm@sha256:" + "c" * 64


def test_mods_are_layers_and_their_digests_are_inputs(august):
    mod = august.source / "mods" / "fix-it"
    mod.mkdir(parents=True)
    (mod / "run.sh").write_text("echo fixed > /fixed\n")
    august.commit()
    result = august.build("main", mods=["mods/fix-it"])
    layer = august.calls("build")[-1]
    assert layer["dockerfile"].startswith("FROM gb10-vllm-build-") and "COPY mods/fix-it /workspace/mods/fix-it" in layer["dockerfile"]
    ((name, digest),) = [one.split() for one in result["inputs"]["mods"]]
    assert name == "mods/fix-it" and len(digest) == 40
    august.forget()
    assert not august.build("main", mods=["mods/fix-it"])["changed"] and august.calls("build") == []
    (mod / "run.sh").write_text("echo again > /fixed\n")
    august.commit()
    assert august.build("main", mods=["mods/fix-it"])["inputs"]["mods"] != result["inputs"]["mods"]
    with pytest.raises(GB10Error, match="has no mod mods/other; it has fix-it"):
        august.build("main", mods=["mods/other"])
    (mod / "run.sh").write_text("echo 3 > /proc/sys/vm/drop_caches\n")
    august.commit()
    with pytest.raises(GB10Error, match="needs privilege on the box"):
        august.build("main", mods=["mods/fix-it"])


def test_a_mod_of_ones_own_takes_the_place_of_the_projects_and_is_an_input(august):
    mod = august.source / "mods" / "fix-it"
    mod.mkdir(parents=True)
    (mod / "run.sh").write_text("echo theirs\n")
    august.commit()
    files = {"mods/fix-it": {"run.sh": {"content": base64.b64encode(b"echo mine\n").decode(), "executable": True}}}
    mine = august.build("main", mods=["/srv/mods/fix-it"], mod_files=files)
    assert "COPY mods/fix-it /workspace/mods/fix-it" in august.calls("build")[-1]["dockerfile"]
    theirs = august.build("main", mods=["mods/fix-it"])
    assert mine["inputs"]["mods"] != theirs["inputs"]["mods"] and theirs["changed"]
    august.forget()
    assert not august.build("main", mods=["mods/fix-it"])["changed"]
    with pytest.raises(GB10Error, match="did not come along"):
        august.build("main", mods=["/srv/mods/fix-it"])


def test_a_mod_of_ones_own_is_laid_over_a_pulled_image_once(august):
    files = {"mods/mine": {"run.sh": {"content": base64.b64encode(b"echo 1\n").decode(), "executable": False}}}
    wanted = {"source": "prebuilt", "image": "acme/x:1", "digest": "sha256:" + "c" * 64, "mods": ["/srv/mods/mine"]}
    done = august.build(**wanted, mod_files=files)
    assert len(august.calls("pull")) == 1 and "COPY mods/mine /workspace/mods/mine" in august.calls("build")[-1]["dockerfile"]
    assert done["changed"] and done["inputs"]["mods"][0].startswith("mods/mine ")
    august.forget()
    assert not august.build(**wanted, mod_files=files)["changed"] and august.calls("pull") == august.calls("build") == []
    files["mods/mine"]["run.sh"]["content"] = base64.b64encode(b"echo 2\n").decode()
    again = august.build(**wanted, mod_files=files)  # the recording docker tells images by their Dockerfile alone
    assert again["inputs"]["mods"] != done["inputs"]["mods"] and len(august.calls("build")) == 1
    with pytest.raises(GB10Error, match="mods/theirs is a mod of the project"):
        august.build(**{**wanted, "mods": ["mods/theirs"]})


def test_a_pull_request_is_checked_where_the_dockerfile_writes_its_diff(august):
    with pytest.raises(GB10Error, match="no Dockerfile of .* applies pull requests"):
        august.build("main", vllm_prs={"634": "a" * 64})
    text = (august.source / "Dockerfile").read_text()
    lines = 'ARG VLLM_PRS\nRUN for pr in $VLLM_PRS; do \\\n    git diff --binary a b > "$patch_file"; \\\n    git apply "$patch_file"; done\n'
    (august.source / "Dockerfile").write_text(text.replace("RUN uv pip install vllm\n", lines))
    august.commit()
    august.build("main", vllm_prs={"634": f"sha256:{'a' * 64}"})
    built = next(call for call in august.calls("build") if "vllm-export" in call["arguments"])
    assert f"634) expected={'a' * 64};;" in built["dockerfile"]

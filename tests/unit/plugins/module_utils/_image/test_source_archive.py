# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An image from a file."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image import saved
from ansible_collections.gb10.vllm.plugins.module_utils._image.archive import Archive
from ansible_collections.gb10.vllm.plugins.module_utils._image.options import Options
from ansible_collections.gb10.vllm.plugins.module_utils._image.store import ImageStore
from ansible_collections.gb10.vllm.plugins.module_utils._image.work import Work
from fake_docker import FakeDocker

ID = "sha256:" + "1" * 64


@pytest.fixture
def docker(tmp_path):
    return FakeDocker(tmp_path / "bin")


@pytest.fixture
def work(tmp_path):
    made = Work(tmp_path / "build", "vllm-node-latest", 60)
    with made.alone():
        yield made


def archive(path: Path, entries: int = 1, layers=("layer",), there=("layer",)) -> Path:
    manifest = [{"Config": f"{'1' * 64}.json", "Layers": list(layers), "RepoTags": ["someone/vllm:1"]}] * entries
    files = {"manifest.json": json.dumps(manifest).encode(), f"{'1' * 64}.json": b"{}", **dict.fromkeys(there, b"x")}
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_what_an_archive_holds(tmp_path):
    assert saved.one_image(archive(tmp_path / "a.tar")) == (ID, ["someone/vllm:1"])
    with pytest.raises(GB10Error, match="holds 2 images"):
        saved.one_image(archive(tmp_path / "two.tar", entries=2))
    with pytest.raises(GB10Error, match="is cut short: layer2 is missing"):
        saved.one_image(archive(tmp_path / "cut.tar", layers=("layer", "layer2")))
    (tmp_path / "noise.tar").write_bytes(b"nonsense" * 200)
    with pytest.raises(GB10Error, match="damaged or not written by docker save"):
        saved.one_image(tmp_path / "noise.tar")


def load(path: Path, docker: FakeDocker, work: Work, **options):
    return Archive(Options(source="archive", archive=str(path), **options), ImageStore(str(docker.path)), work).make()


def test_a_loaded_image_takes_nobodys_name(tmp_path, docker, work):
    docker.has("someone/vllm:1", "sha256:" + "2" * 64)
    docker.has(ID, ID)
    docker.answer("'load'", "cat > /dev/null; echo 'Loaded image: someone/vllm:1'")
    assert load(archive(tmp_path / "a.tar"), docker, work).id == ID
    assert docker.calls("tag") == [f"tag sha256:{'2' * 64} someone/vllm:1"]


def test_an_archive_that_docker_refuses_or_that_is_another_one(tmp_path, docker, work):
    path = archive(tmp_path / "a.tar")
    docker.answer("'load'", "echo 'open /x: invalid tar header' >&2; exit 1")
    with pytest.raises(GB10Error, match="docker could not load the image archive .*invalid tar header.*Nothing was changed"):
        load(path, docker, work)
    with pytest.raises(GB10Error, match="is not the one wanted: its SHA-256 is [0-9a-f]{64}, not 0000"):
        load(path, docker, work, checksum="sha256:" + "0" * 64)


def test_what_identifies_a_file(tmp_path, docker, work):
    path = archive(tmp_path / "a.tar")
    os.utime(path, (1700000000, 1700000000))

    def identity(**options):
        return Archive(Options(source="archive", archive=str(path), **options), ImageStore(str(docker.path)), work).inputs()["archive"]

    assert identity() == f"{path} {path.stat().st_size} 1700000000"
    assert identity(checksum="sha256:x") == "sha256:x" and identity(archive_identity="from the controller", checksum="sha256:x") == "from the controller"

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is in an image."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._image import versions
from ansible_collections.gb10.vllm.plugins.module_utils._image.record import Record
from ansible_collections.gb10.vllm.plugins.module_utils._image.store import Image
from fake_docker import FakeDocker

ID = "sha256:" + "1" * 64


@pytest.fixture
def docker(tmp_path):
    return FakeDocker(tmp_path / "bin")


def test_where_a_version_is_known_from():
    said = (
        'warning: x\nGB10{"vllm_version": "2", "torch_version": "2.13", "cuda_version": null, "build_metadata": "vllm_version: 3\\nargs:\\n  ref: main\\n"}\n'
    )
    assert versions.judge(said, {"gb10.vllm.vllm_version": "1"}, {"CUDA_VERSION": "13.0"}) == {
        "vllm_version": "1", "torch_version": "2.13", "cuda_version": "13.0", "build_metadata": {"vllm_version": "3", "ref": "main"},
    }  # fmt: skip
    assert versions.judge(said, {}, {})["vllm_version"] == "2"
    assert versions.judge("sh: python3: not found", {}, {}) == {"vllm_version": None, "torch_version": None, "cuda_version": None, "build_metadata": {}}


def test_an_image_is_asked_once(tmp_path, docker):
    docker.answer("'run '*", """echo 'GB10{"vllm_version": "9"}'""")
    image = Image(ID, {}, {}, 1, [], "arm64")
    warnings: list[str] = []
    for look in (True, False, False):
        assert versions.Versions("x", Record(tmp_path), str(docker.path), warnings.append, look=look).of(image)["vllm_version"] == "9"
    assert len(docker.calls("run")) == 2, "a look keeps nothing"
    docker.answer("'run '*", "exit 1")
    versions.Versions("x:1", Record(tmp_path / "other"), str(docker.path), warnings.append).of(image)
    assert warnings == ["image x:1 (111111111111) has no vLLM that its python3 can find; a server from it will not start"]

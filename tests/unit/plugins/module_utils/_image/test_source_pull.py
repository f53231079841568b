# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An image from a registry."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image import pull
from ansible_collections.gb10.vllm.plugins.module_utils._image.options import Options
from ansible_collections.gb10.vllm.plugins.module_utils._image.store import ImageStore
from ansible_collections.gb10.vllm.plugins.module_utils._image.work import Work
from fake_docker import FakeDocker

ID = "sha256:" + "1" * 64
DIGEST = "sha256:" + "d" * 64


@pytest.fixture
def docker(tmp_path):
    return FakeDocker(tmp_path / "bin")


@pytest.fixture
def work(tmp_path):
    made = Work(tmp_path / "build", "vllm-node-latest", 60)
    with made.alone():
        yield made


@pytest.mark.parametrize(
    ("image", "digest", "wanted"),
    [
        ("eugr/spark-vllm:latest", "", "eugr/spark-vllm:latest"),
        ("eugr/spark-vllm:latest", DIGEST, f"eugr/spark-vllm@{DIGEST}"),
        ("vllm", DIGEST, f"vllm@{DIGEST}"),
        ("host:5000/vllm", DIGEST, f"host:5000/vllm@{DIGEST}"),
        (f"host:5000/vllm@{DIGEST}", DIGEST, f"host:5000/vllm@{DIGEST}"),
    ],
)
def test_what_is_pulled(image, digest, wanted):
    assert pull.reference(image, digest) == wanted


def test_a_moving_tag_is_warned_about_with_its_digest(docker, work):
    docker.has("eugr/spark-vllm:latest", ID, RepoDigests=[f"eugr/spark-vllm@{DIGEST}"])
    docker.answer("'pull '*", "echo 'Status: Image is up to date'")
    warnings: list[str] = []
    image = pull.Pull(Options(), ImageStore(str(docker.path)), work, warnings.append).make()
    assert image.id == ID and warnings == [f"eugr/spark-vllm:latest is a moving tag; it is {DIGEST} today. Set digest to keep all boxes on it"]
    assert "Status: Image is up to date" in work.log().read_text()


@pytest.mark.parametrize(("text", "pulls"), [("dial tcp: i/o timeout", 3), ("toomanyrequests: i/o timeout", 1), ("manifest unknown", 1)])
def test_a_pull_is_repeated_only_where_that_helps(docker, work, text, pulls):
    docker.answer("'pull '*", f"echo 'Error: {text}'; exit 1")
    with pytest.raises(GB10Error, match="pulling x:1 failed: .*; nothing was changed"):
        pull.Pull(Options(image="x:1", retries=2, retry_delay_s=0.0), ImageStore(str(docker.path)), work, print).make()
    assert len(docker.calls("pull")) == pulls

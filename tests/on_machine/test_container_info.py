# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Containers that a real Docker made by hand, as container_info reads them; none of them is started."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._adoption.read import servers
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.adopted import adopted

pytestmark = pytest.mark.skipif(
    not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode != 0, reason="no Docker answers here"
)
NAME, KEY = "gb10-by-hand", "key-that-nobody-may-see"


@pytest.fixture(scope="module")
def image():
    """An image with nothing in it but its settings."""
    empty = io.BytesIO()
    tarfile.open(fileobj=empty, mode="w").close()
    made = ["docker", "import", "--change", 'ENV VLLM_BASE_DIR="/workspace"', "--change", 'ENTRYPOINT ["vllm", "serve"]', "-", f"{NAME}:1"]
    subprocess.run(made, input=empty.getvalue(), capture_output=True, check=True)
    yield f"{NAME}:1"
    subprocess.run(["docker", "rmi", "--force", f"{NAME}:1"], capture_output=True, check=True)


@pytest.fixture
def create(image):
    def made(*options, command=("/models/tiny", "--max-model-len", "1024")):
        subprocess.run(["docker", "create", "--name", NAME, *options, image, *command], capture_output=True, check=True)

    yield made
    subprocess.run(["docker", "rm", "--force", NAME], capture_output=True, check=True)


def test_a_container_as_people_make_it_is_read_whole_and_without_its_secrets(create, tmp_path):
    options = ["-v", f"{tmp_path}:/models/tiny", "-p", "127.0.0.1:8123:8000", "--ipc", "host", "--shm-size", "1g", "--restart", "unless-stopped"]
    create(*options, "-e", f"HF_TOKEN={KEY}", "-e", "VLLM_USE_V1=1", command=("/models/tiny", "--api-key", KEY, "--max-model-len", "1024"))
    (seen,) = servers(NAME)
    assert KEY not in json.dumps(seen)
    assert seen["command"][:3] == ["vllm", "serve", "/models/tiny"] and sorted(seen["secrets"]) == ["--api-key", "HF_TOKEN"]
    assert seen["env"] == {"VLLM_USE_V1": "1"} and seen["image_names"] == [f"{NAME}:1"]
    assert seen["options"] == ["--ipc", "--restart", "--shm-size"]
    found = adopted([seen])
    assert found["servers"] == [
        {
            "name": "gb10-by-hand", "model": str(tmp_path), "served_model_name": "/models/tiny", "port": 8123, "max_model_len": 1024,
            "env": {"VLLM_USE_V1": "1"},
        }
    ]  # fmt: skip
    assert found["replace"].startswith(f"docker update --restart=no {NAME}\n")


def test_one_that_is_none_is_said(create):
    create("--label", "gb10.vllm.server=tiny")
    with pytest.raises(GB10Error, match="is one of this collection already"):
        servers(NAME)
    with pytest.raises(GB10Error, match="there is no container nobody on this box"):
        servers("nobody")

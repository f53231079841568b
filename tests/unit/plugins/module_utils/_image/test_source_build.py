# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An image from the script: what its environment and its worktree get from us."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image import build
from ansible_collections.gb10.vllm.plugins.module_utils._image.options import Options


def test_the_environment_of_the_script():
    ours = {"PATH": "/usr/bin:/bin", "HOME": "/home/me", "UV_HTTP_TIMEOUT": "1"}
    made = build.environment(Options(uv_http_timeout_s=900), "/opt/docker/docker", ours)
    assert made["PATH"] == "/opt/docker:/usr/bin:/bin" and made["HOME"] == "/home/me" and made["USER"] == "root"
    assert (made["UV_HTTP_TIMEOUT"], made["UV_HTTP_RETRIES"], made["DOCKER_BUILDKIT"], made["BUILDKIT_PROGRESS"]) == ("900", "5", "1", "plain")
    assert build.environment(Options(), "docker", ours)["PATH"] == build.environment(Options(), "/usr/bin/docker", ours)["PATH"] == "/usr/bin:/bin"


def test_our_changes_to_a_worktree(tmp_path):
    bundle = tmp_path / "office.pem"
    bundle.write_text("certificates")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "Dockerfile").write_text("ARG BASE=a\nFROM ${BASE}\nRUN true\n")
    (tree / "Dockerfile.md").write_text("FROM is an instruction\n")
    (tree / ".dockerignore").write_text("*")
    build.prepare(tree, Options(ca_bundle=str(bundle), build_args={"BASE": "b"}), "here")
    text = (tree / "Dockerfile").read_text()
    assert "ARG BASE=b" in text and "UV_HTTP_TIMEOUT=300" in text and f"PIP_CERT={build.CA_IN_IMAGE}" in text
    assert (tree / "Dockerfile.md").read_text() == "FROM is an instruction\n"
    assert (tree / ".dockerignore").read_text() == f"*\n!{build.CA_NAME}\n" and (tree / build.CA_NAME).read_text() == "certificates"
    with pytest.raises(GB10Error, match="no Dockerfile of here has an ARG WHEEL; build_args can set BASE"):
        build.prepare(tree, Options(build_args={"WHEEL": "b"}), "here")
    (tree / "Dockerfile").unlink()
    with pytest.raises(GB10Error, match="here has no Dockerfile in its top directory"):
        build.prepare(tree, Options(), "here")


def test_two_state_directories_make_images_under_two_names():
    assert build.temporary_name(Path("/a/build")) != build.temporary_name(Path("/b/build"))
    assert build.temporary_name(Path("/var/lib/gb10-vllm/build")).startswith("gb10-vllm-build-")

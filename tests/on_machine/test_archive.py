# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The archive holds what users need and nothing else."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HELD = {
    "CHANGELOG.md", "FILES.json", "LICENSE", "MANIFEST.json", "README.md", "SECURITY.md", "docs", "inventory", "meta", "playbooks", "plugins", "roles", "tests",
}  # fmt: skip
# Galaxy runs the sanity tests of what is uploaded; this says for which Python.
TESTS = {"tests/config.yml"}


def test_holds_what_runs_and_documents(tmp_path):
    galaxy = Path(sys.executable).parent / "ansible-galaxy"
    subprocess.run([galaxy, "collection", "build", "--output-path", tmp_path], cwd=ROOT, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        members = tar.getmembers()
        files = {member.name for member in members if not member.isdir()}
    assert {name.split("/")[0] for name in files} == HELD
    assert {name for name in files if name.startswith("tests/")} == TESTS
    assert {name for name in files if name.startswith("inventory/")} == {"inventory/gb10/hosts.yml", "inventory/gb10/group_vars/gb10.yml"}
    assert not [member.name for member in members if member.issym() or "__pycache__" in member.name or ".lock." in member.name]
    tracked = set(subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split())
    assert {path for path in tracked if path.startswith(("plugins/", "roles/", "playbooks/", "meta/"))} <= files
    # The known failures are a fifth of it, and grow; what is not for users would be larger than that.
    assert archive.stat().st_size < 2_000_000

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which commit a name means, and the worktree it is built in."""

from __future__ import annotations

import subprocess

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image.worktree import Checkout, candidates, is_dockerfile, what_is_there


def git(folder, *arguments):
    who = ["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", "-C", folder, *who, *arguments], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    source = tmp_path / "source"
    subprocess.run(["git", "init", "-q", "-b", "main", source], check=True)
    (source / "Dockerfile").write_text("ARG BASE=a:1\nFROM ${BASE}\nFROM b:2\n")
    (source / ".gitignore").write_text("wheels\n")
    git(source, "add", "-A")
    git(source, "commit", "-qm", "one")
    git(source, "tag", "v1")
    subprocess.run(["git", "clone", "-q", source, tmp_path / "checkout"], check=True)
    git(source, "commit", "-q", "--allow-empty", "-m", "two")
    (tmp_path / "build").mkdir()
    return Checkout(tmp_path / "checkout", tmp_path / "build")


def test_which_commit_a_name_means(checkout, tmp_path):
    one, two = git(tmp_path / "source", "rev-parse", "v1"), git(tmp_path / "source", "rev-parse", "main")
    assert [checkout.resolve(ref) for ref in ("main", "v1", one)] == [one, one, one], "as it was fetched last"
    assert checkout.resolve(two, later=True) == checkout.resolve(two, check_mode=True) == two
    with pytest.raises(GB10Error, match=f"has no commit, tag or branch called {two}.*The newest commits there are {one} \\(.*: one\\); `ref: main`"):
        checkout.resolve(two)
    missing = Checkout(tmp_path / "none", tmp_path / "build")
    assert missing.resolve(two) == two and missing.resolve("main", check_mode=True) is None
    with pytest.raises(GB10Error, match="is not a git checkout"):
        missing.resolve("main")


def test_no_git(tmp_path):
    with pytest.raises(GB10Error, match="there is no git command on this box; install the package git"):
        Checkout(tmp_path, tmp_path, "/nonexistent/git").git("status")


def test_a_worktree_keeps_the_wheels_and_leaves_nothing(checkout, tmp_path):
    commit = checkout.resolve("main")
    for _twice in range(2):
        with checkout.worktree(commit) as tree:
            (tree / "wheels").mkdir(exist_ok=True)
            (tree / "wheels" / f"{len(list((tree / 'wheels').iterdir()))}.whl").touch()
    assert not checkout.tree.exists() and git(checkout.path, "worktree", "list").count("\n") == 0
    assert sorted(path.name for path in (tmp_path / "build/wheels/wheels").iterdir()) == ["0.whl", "1.whl"]


def test_what_a_commit_is_built_from(checkout):
    assert checkout.base_images(checkout.resolve("main"), {"BASE": "c:3"}) == ["c:3", "b:2"]
    assert checkout.base_images("f" * 40, {}) == checkout.base_images(None, {}) == []


def test_changes_somebody_made_are_refused(checkout):
    checkout.refuse_changes("f" * 40)
    (checkout.path / "Dockerfile").write_text("FROM other\n")
    with pytest.raises(GB10Error, match=r"has local changes \(Dockerfile\), which a build of commit ffffffffffff would not hold"):
        checkout.refuse_changes("f" * 40)


def test_words_for_refs_and_files():
    assert candidates("f" * 40) == ["f" * 40] and candidates("main") == ["refs/remotes/origin/main", "refs/tags/main", "main"]
    assert [is_dockerfile(name) for name in ("Dockerfile", "Dockerfile.wheels", "Dockerfile.md", "Dockerfile.dockerignore", "x.Dockerfile")] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert what_is_there([]) == what_is_there(["fatal: no"]) == ""

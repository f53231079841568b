# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The checkout of spark-vllm-docker on a box: which commit a name means, and a worktree of ours to build that commit in."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image import dockerfile
from ansible_collections.gb10.vllm.plugins.module_utils._io.command import MISSING, run

# The checkout may belong to another user than the one who builds.
GIT_ENVIRONMENT = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
NEWEST = ("log", "--remotes=origin", "--max-count=3", "--format=%H %cs %s")
_GIT_S = 300.0
_WHEEL_FOLDERS = (".wheel-cache", "wheels")  # the script's own; only where its .gitignore names them


def is_commit(ref: str) -> bool:
    """Whether a ref is a full commit. Pure."""
    return bool(re.fullmatch(r"[0-9a-f]{40}", ref))


def is_dockerfile(name: str) -> bool:
    """Whether a file of this name is one that docker build takes. Pure."""
    return (name == "Dockerfile" or name.startswith("Dockerfile.")) and not name.endswith((".dockerignore", ".md"))


def candidates(ref: str) -> list[str]:
    """What git is asked for ``ref``, first match first: a commit is one; a branch is what was fetched last, not what is checked out. Pure."""
    return [ref] if is_commit(ref) else [f"refs/remotes/origin/{ref}", f"refs/tags/{ref}", ref]


def what_is_there(lines: Sequence[str]) -> str:
    """The newest commits, lines of ``NEWEST``, as a sentence that says what to write as ref instead; "" when there are none. Pure."""
    newest = [f"{words[0]} ({words[1]}: {words[2]})" for words in (line.split(" ", 2) for line in lines) if len(words) == 3 and is_commit(words[0])]
    return f"The newest commits there are {', '.join(newest)}; `ref: main` is resolved to the newest of that branch, which is recorded" if newest else ""


class Checkout:
    """``folder``: the build directory, where the worktree and the wheels lie; ``path``: the checkout, which is only read."""

    def __init__(self, path: Path, folder: Path, git: str = "git") -> None:
        self.path = path
        self.folder = folder
        self.tree = folder / "worktree"
        self._git_path = git

    def git(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run git in the checkout (or ``cwd``), asking nobody anything. GB10Error only when there is no git."""
        environment = {**os.environ, "LC_ALL": "C", **GIT_ENVIRONMENT, "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
        environment.setdefault("HOME", "/root")
        process = run([self._git_path, "-C", str(cwd or self.path), *arguments], _GIT_S, env=environment)
        if process.returncode == MISSING:
            raise GB10Error("there is no git command on this box; install the package git")
        return process

    def exists(self) -> bool:
        """Whether something that git can read is there."""
        return (self.path / ".git").exists() or (self.path / "HEAD").exists()

    def resolve(self, ref: str, *, check_mode: bool = False, later: bool = False) -> str | None:
        """The full commit of ``ref``; None when it is not known yet because there is no checkout (check mode, first run).

        ``later``: a full commit that is not there may still be fetched before it is built.
        """
        if not self.exists():
            if is_commit(ref):
                return ref
            if check_mode:
                return None
            raise GB10Error(
                f"{self.path} is not a git checkout of spark-vllm-docker, so ref {ref} cannot be looked up. "
                "The role gb10.vllm.image clones it; with the module alone clone it first (ansible.builtin.git)"
            )
        for candidate in candidates(ref):
            process = self.git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{candidate}^{{commit}}")
            if process.returncode == 0:
                return process.stdout.strip()
        if is_commit(ref) and (check_mode or later):
            return ref
        newest = what_is_there(self.git(*NEWEST).stdout.splitlines())
        raise GB10Error(
            f"the checkout {self.path} has no commit, tag or branch called {ref}. "
            f"Check the ref for a typing mistake; a new one has to be fetched first (the role does that){'. ' + newest if newest else ''}"
        )

    def base_images(self, commit: str | None, build_args: dict[str, str]) -> list[str]:
        """Images the Dockerfiles of a commit start from; none when the commit is not there."""
        if not commit or not (self.path / ".git").exists() or self.git("cat-file", "-e", f"{commit}^{{commit}}").returncode:
            return []
        found: list[str] = []
        for path in self.git("ls-tree", "--name-only", commit).stdout.split("\n"):
            if is_dockerfile(path):
                found += dockerfile.base_images(self.git("show", f"{commit}:{path}").stdout, build_args)
        return list(dict.fromkeys(found))

    def trees(self, commit: str | None, folder: str) -> dict[str, str]:
        """Git's digests of the directories in a folder at a commit, by path; {} where the commit or the folder is not there."""
        if not commit or not self.exists():
            return {}
        listed = self.git("ls-tree", "-d", commit, f"{folder}/").stdout.splitlines()
        return {path: words.split()[2] for words, _tab, path in (line.partition("\t") for line in listed) if path}

    def refuse_changes(self, commit: str) -> None:
        """GB10Error when somebody changed files in the checkout and may believe that they are built."""
        lines = self.git("status", "--porcelain", "--untracked-files=no").stdout.split("\n")
        dirty = [line[3:] for line in lines if line.strip()]
        if dirty:
            raise GB10Error(
                f"the checkout {self.path} has local changes ({', '.join(dirty[:5])}), which a build of commit {commit[:12]} would not hold. "
                "Commit them and name that commit as ref, or undo them (git checkout -- .)"
            )

    @contextlib.contextmanager
    def worktree(self, commit: str) -> Iterator[Path]:
        """A worktree of ours at a fixed place (a fixed path keeps docker's build cache valid); gone afterwards."""
        self.drop_worktree()
        process = self.git("worktree", "add", "--detach", "--force", str(self.tree), commit)
        if process.returncode:
            lines = process.stderr.strip().splitlines()
            raise GB10Error(f"git could not lay out commit {commit[:12]} of {self.path}: {lines[-1] if lines else 'no reason given'}")
        try:
            for kept in self._wheel_folders():
                if kept.exists() and not (self.tree / kept.name).exists():
                    kept.rename(self.tree / kept.name)
            yield self.tree
        finally:
            self.drop_worktree()

    def drop_worktree(self) -> None:
        """Remove the worktree, also one that a killed run left; its wheels are kept for the next try."""
        if self.tree.exists():
            for kept in self._wheel_folders():
                if (self.tree / kept.name).is_dir() and not (self.tree / kept.name).is_symlink():
                    shutil.rmtree(kept, ignore_errors=True)
                    (self.tree / kept.name).rename(kept)
            self.git("worktree", "remove", "--force", str(self.tree))
            shutil.rmtree(self.tree, ignore_errors=True)
        self.git("worktree", "prune")

    def _wheel_folders(self) -> list[Path]:
        """Where the script's folders of downloaded and compiled wheels are kept between builds, so that a new try begins with them."""
        shelf = self.folder / "wheels"
        shelf.mkdir(mode=0o755, exist_ok=True)
        return [shelf / name for name in _WHEEL_FOLDERS if not self.git("check-ignore", "-q", f"{name}/x", cwd=self.tree).returncode]

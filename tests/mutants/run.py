#!/usr/bin/env python3
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes the harmful changes of known.py one at a time, in a copy of this checkout, and says which of them its test finds.

tests/mutants/run.py [NAME...]      only the changes whose name or file contains one of the words
tests/mutants/run.py --check        no test runs: only whether each change can still be made
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from known import EQUIVALENT, MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
PYTHON = str(ROOT / ".venv/bin/python") if (ROOT / ".venv").exists() else sys.executable
TREE = Path(".ansible/collections/ansible_collections")
SECONDS = 300


def copy_of_the_tree(target: Path) -> None:
    """What git knows and what is new, with this checkout's .venv and collections; nothing that is changed there reaches this checkout."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if not (ROOT / name).exists() and not (ROOT / name).is_symlink():
            continue  # removed and not yet committed
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name, follow_symlinks=False)
    (target / TREE / "gb10").mkdir(parents=True)
    (target / TREE / "gb10" / "vllm").symlink_to("../../../..", target_is_directory=True)
    for other in (ROOT / TREE).iterdir():
        if other.name != "gb10":
            (target / TREE / other.name).symlink_to(other, target_is_directory=True)
    (target / ".venv").symlink_to(ROOT / ".venv", target_is_directory=True)


def tests_pass(tree: Path, tests: set[str]) -> bool | None:
    """Whether these tests pass; None when they could not be run to an end."""
    command = [PYTHON, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--no-header", *sorted(tests)]
    # Without CI: what is missing on this machine is skipped. Without byte code: a change of the same second and length would not be seen.
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | {"PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return False
    if done.returncode not in (0, 1):
        print(done.stdout[-2000:] + done.stderr[-2000:], file=sys.stderr)
    return {0: True, 1: False}.get(done.returncode)


def verdict(tree: Path, mutant: Mutant) -> str:
    """``killed``, ``SURVIVED`` or ``BROKEN`` (its tests cannot be run with it)."""
    file = tree / mutant.file
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        return {True: "SURVIVED", False: "killed", None: "BROKEN"}[tests_pass(tree, {mutant.tests})]
    finally:
        file.write_text(text, encoding="utf-8")


def problem(mutant: Mutant) -> str | None:
    """Why a change cannot be made: the code has moved on."""
    file = ROOT / mutant.file
    times = file.read_text(encoding="utf-8").count(mutant.old) if file.is_file() else 0
    if times != 1:
        return f"{mutant.name}: its text is {times} times in {mutant.file}; write the same change for the code as it is now"
    return None


def main(words: list[str]) -> int:
    problems = list(filter(None, map(problem, (*MUTANTS, *EQUIVALENT))))
    if problems or words == ["--check"]:
        print("\n".join(problems) or f"{len(MUTANTS)} changes can be made, {len(EQUIVALENT)} more change nothing")
        return bool(problems)
    chosen = [one for one in MUTANTS if not words or any(word in one.name or word in one.file for word in words)]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gb10-mutants-") as folder:
        tree = Path(folder)
        copy_of_the_tree(tree)
        if not tests_pass(tree, {one.tests for one in chosen}):
            print("without any change these tests do not all pass; mend them first: pytest -x " + " ".join(sorted({one.tests for one in chosen})))
            return 1
        counts: dict[str, int] = {}
        for one in chosen:
            found = verdict(tree, one)
            counts[found] = counts.get(found, 0) + 1
            print(f"{found:<9} {one.harm:<7} {one.name:<24} {one.file}", flush=True)
    figures = ", ".join(f"{number} {name}" for name, number in sorted(counts.items()))
    print(f"{figures}; {len(EQUIVALENT)} are known to change nothing; {time.monotonic() - began:.0f} s")
    return set(counts) != {"killed"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

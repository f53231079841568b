# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A pinned ref that the repository lacks, over the role with real git: what is there is named. Nothing here needs Docker."""

from __future__ import annotations

import json
import subprocess

import pytest
from playbook import LOCAL, play
from sample import first


@pytest.fixture
def site(tmp_path):
    source = tmp_path / "source"
    subprocess.run(["git", "init", "-q", "-b", "main", source], check=True)
    for subject in ("one", "two", "three", "four"):
        who = ["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", source, *who, "commit", "-q", "--allow-empty", "-m", subject], check=True)
    (tmp_path / "hosts.yml").write_text(f"boxes: {{hosts: {{spark-01: {{{LOCAL}}}}}}}\n")
    (tmp_path / "play.yml").write_text("- hosts: boxes\n  gather_facts: false\n  roles: [gb10.vllm.image]\n")
    return tmp_path


def run(site, ref, repository=""):
    image = {"repository": repository or str(site / "source"), "ref": ref}
    done = play("play.yml", "-i", "hosts.yml", "-e", json.dumps({"gb10_state_dir": str(site / "state"), "gb10_image": image}), cwd=site)
    assert done.returncode == 2, done.stdout
    return " ".join(done.stdout.split())


@pytest.mark.parametrize(("ref", "why"), first(1, [("v9", "v9"), ("0" * 40, "reference is not a tree")]))
def test_the_newest_commits_are_named(site, ref, why):
    newest = subprocess.run(["git", "-C", site / "source", "log", "--format=%H"], capture_output=True, text=True, check=True).stdout.split()
    for _first_and_with_a_checkout in range(2):
        text = run(site, ref)
        assert f"spark-01: {ref} could not be checked out of {site / 'source'} to {site / 'state'}/build/checkout: " in text and why in text
        assert f"The newest commits there are {newest[0]} (" in text and ": four), " in text and newest[2] in text and newest[3] not in text
        assert "`ref: main` is resolved to the newest of that branch, which is recorded; nothing was built." in text


def test_a_repository_that_cannot_be_reached_names_no_old_commits(site):
    run(site, "v9")
    text = run(site, "v9", str(site / "gone"))
    assert "The newest commits there" not in text and "Check gb10_image.repository and gb10_image.ref" in text

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is said when the recipe cannot be checked out, from real answers of Ansible's git module."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.recipe import problem

NEWEST = [f"{'a' * 40} 2026-08-14 Pin torch", f"{'b' * 40} 2026-08-03 Use build contexts: faster"]
CHECK = "Check gb10_image.repository and gb10_image.ref, and that the box reaches the repository; nothing was built."
THERE = (
    f"The newest commits there are {'a' * 40} (2026-08-14: Pin torch), {'b' * 40} (2026-08-03: Use build contexts: faster); "
    "`ref: main` is resolved to the newest of that branch, which is recorded; nothing was built."
)


def said(msg, stderr="", repository="/srv/repo.git", newest=NEWEST):
    return problem({"msg": msg, "stderr": stderr, "failed": True}, repository, "v9", "/checkout", newest)


@pytest.mark.parametrize(
    ("msg", "stderr", "why"),
    [
        ("Failed to checkout 0000", "fatal: reference is not a tree: 0000\n", "fatal: reference is not a tree: 0000"),
        (
            "Failed to checkout branch v9",
            "error: pathspec 'v9' did not match any file(s) known to git",
            "error: pathspec 'v9' did not match any file(s) known to git",
        ),
        ("Could not determine remote revision for v9", None, "Could not determine remote revision for v9"),
    ],
)
def test_a_ref_that_the_repository_lacks(msg, stderr, why):
    assert said(msg, stderr) == f"v9 could not be checked out of /srv/repo.git to /checkout: {why}. {THERE}"
    assert said(msg, stderr, newest=[]).endswith(CHECK)


@pytest.mark.parametrize(
    ("msg", "stderr", "why"),
    [
        ("Failed to download remote objects and refs:  fatal: unable to access", "\nfatal: unable to access 'x': Could not resolve host: x\n",
         "fatal: unable to access 'x': Could not resolve host: x"),
        ("Local modifications exist in the destination: /checkout (force=no).", "", "Local modifications exist in the destination: /checkout (force=no)"),
        ("", "", "no reason given"),
        ("something else", "a warning\n", "a warning"),
    ],
)  # fmt: skip
def test_any_other_failure_does_not_name_what_an_earlier_fetch_left(msg, stderr, why):
    assert said(msg, stderr) == f"v9 could not be checked out of /srv/repo.git to /checkout: {why}. {CHECK}"


def test_no_credentials_are_shown():
    text = said("fatal: repository 'https://user:secret@host/r.git/' not found", repository="https://user:secret@host/r.git")
    assert "secret" not in text and "out of https://host/r.git to" in text

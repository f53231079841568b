# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Why a box has no recipe to build from, out of what Ansible's git module answered."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._image.worktree import what_is_there

_TELLING = re.compile(r"(?:fatal|error):|Failed|Local modifications")
_ABSENT = re.compile(
    r"reference is not a tree|not our ref|did not match any|unadvertised object|couldn't find remote ref|unknown revision|"
    r"Could not determine remote revision|Failed to checkout|not a commit",
    re.IGNORECASE,
)


def problem(failure: Mapping[str, Any], repository: str, ref: str, checkout: str, newest: Sequence[str] = ()) -> str:
    """One message without credentials: what failed, git's most telling line, and what to do.

    ``failure``: the failed result; ``newest``: lines "COMMIT DATE SUBJECT" of what the checkout has of the repository, newest first. They are named
    where git reached the repository and did not find ``ref`` in it.
    """
    text = _without_credentials(f"{failure.get('stderr') or ''}\n{failure.get('msg') or ''}")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    why = next((line for line in lines if _TELLING.match(line)), lines[0] if lines else "no reason given").removesuffix(".")
    there = what_is_there(newest) if _ABSENT.search(text) else ""
    advice = there or "Check gb10_image.repository and gb10_image.ref, and that the box reaches the repository"
    return f"{ref} could not be checked out of {_without_credentials(repository)} to {checkout}: {why}. {advice}; nothing was built."


def _without_credentials(text: str) -> str:
    return re.sub(r"//[^@/\s]*@", "//", text)

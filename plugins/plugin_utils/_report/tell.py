# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where our own words go: to standard output, unless a program reads that as JSON."""

from __future__ import annotations

from typing import Any

from ansible import constants as C


def is_data() -> bool:
    """Whether the standard output of this run is JSON (``ansible.posix.json``, ``ansible.posix.jsonl`` and others of such a name)."""
    return str(C.DEFAULT_STDOUT_CALLBACK).rpartition(".")[2].startswith("json")


def tell(display: Any, text: str, **more: Any) -> None:
    """Show ``text`` to a person by Ansible's ``Display``, or anything with its ``display`` method."""
    display.display(text, **(more | {"stderr": True} if is_data() else more))

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where our own words go: to standard output, unless a program reads that as JSON."""

from __future__ import annotations

from typing import Any

from ansible import constants as C
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.words import visible


def is_data() -> bool:
    """Whether the standard output of this run is JSON (``ansible.posix.json``, ``ansible.posix.jsonl`` and others of such a name)."""
    return str(C.DEFAULT_STDOUT_CALLBACK).rpartition(".")[2].startswith("json")


def tell(display: Any, text: str, before: str = "", **more: Any) -> None:
    """Show ``text`` to a person by Ansible's ``Display``, or anything with its ``display`` method; no escape in it reaches the terminal, only ``before``."""
    display.display(before + visible(text), **(more | {"stderr": True} if is_data() else more))

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What modules say of check mode and diff mode; a module names only what is other with it."""

from __future__ import annotations


class ModuleDocFragment:
    """``gb10.vllm.attributes`` for what changes something, ``gb10.vllm.attributes.reads`` for what only reads."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    support: full
    description: Can run in check mode and return what it would change, without changing it.
  diff_mode:
    support: none
    description: Shows no differences.
"""

    READS = r"""
options: {}
attributes:
  check_mode:
    support: full
    description: Can run in check mode, where it does the same.
  diff_mode:
    support: N/A
    description: Nothing is changed.
"""

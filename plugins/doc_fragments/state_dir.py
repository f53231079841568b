# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The directory on a box that modules with records share."""

from __future__ import annotations


class ModuleDocFragment:
    """``gb10.vllm.state_dir``."""

    DOCUMENTATION = r"""
options:
  state_dir:
    description: Directory on the box in which the collection keeps its records.
    type: path
    default: /var/lib/gb10-vllm
"""

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters of the role image."""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import recipe

FILTERS: dict[str, Callable] = {"recipe_problem": recipe.problem}

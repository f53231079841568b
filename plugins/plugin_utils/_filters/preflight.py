# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters that judge what was read of a box before anything is changed."""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.gb10.vllm.plugins.module_utils._host import settings
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import brief, options, preflight, prepare

FILTERS: dict[str, Callable] = {
    "access_notes": preflight.access_notes,
    "briefly": brief.briefly,
    "host_mistakes": settings.mistakes,
    "option_mistakes": options.option_mistakes,
    "box_problem": preflight.box_problem,
    "named_twice": preflight.named_twice,
    "preparation": prepare.preparation,
    "models_refused": preflight.models_refused,
}

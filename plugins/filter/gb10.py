# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All filters. One file, for Ansible goes through every file of this folder for each filter that a process meets."""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.gb10.vllm.plugins.plugin_utils._as_filter import as_filters
from ansible_collections.gb10.vllm.plugins.plugin_utils._filters import (
    bundle,
    distribution,
    fabric,
    fleet,
    image,
    monitoring,
    preflight,
    router,
    servers,
    sizing,
    speed,
    tune,
)

FILTERS = as_filters(
    {
        name: function
        for room in (bundle, distribution, fabric, fleet, image, monitoring, preflight, router, servers, sizing, speed, tune)
        for name, function in room.FILTERS.items()
    }
)


class FilterModule:
    """The filters of this collection."""

    def filters(self) -> dict[str, Callable]:
        return FILTERS

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters that decide who builds, who downloads and who gets what from whom."""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import distribution, still


def plan(shares: list, opened: dict, addresses: dict) -> dict:
    """The filter distribution_plan."""
    return distribution.instructions(shares, opened, addresses)


def downloads(boxes: dict, source: str, everywhere: bool = False) -> dict:
    """The filter distribution_downloads: what each box fetches from the hub, by host; those with nothing to fetch are left out."""
    found = {host: distribution.downloads(boxes, host, source, everywhere) for host in boxes}
    return {host: items for host, items in found.items() if items}


FILTERS: dict[str, Callable] = {
    "distribution_boxes": distribution.boxes_of,
    "distribution_chosen": distribution.chosen,
    "distribution_copies": distribution.copies_now,
    "distribution_made_by": distribution.made_by,
    "distribution_known": distribution.known_models,
    "distribution_outcome": distribution.outcome,
    "distribution_settings": distribution.settings,
    "distribution_source": distribution.choose_source,
    "distribution_wanted": distribution.wanted_models,
    "distribution_first": distribution.first_of,
    "distribution_elsewhere": distribution.elsewhere,
    "distribution_downloads": downloads,
    "distribution_shares": distribution.lacking,
    "distribution_parts": distribution.taking_part,
    "distribution_plan": plan,
    "distribution_stand_in": distribution.stand_in,
    "distribution_stand_ins": distribution.stand_ins,
    "distribution_arrived": distribution.arrived,
    "box_is_still": still.box_is_still,
    "nothing_to_bring": still.nothing_to_bring,
}

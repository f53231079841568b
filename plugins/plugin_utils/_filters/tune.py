# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters of a search over the settings of a server."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._speed import profiles
from ansible_collections.gb10.vllm.plugins.plugin_utils._tune import boxes, ending, search

LEAST_REPEATS = 2


def tune_profile(name: str, own: Any = None, repeats: int = 0) -> dict[str, Any]:
    """The profile that candidates are measured with, as part of what a search is known by. GB10Error where its repeats show no noise."""
    wanted = profiles.profile(name, own)
    wanted["repeats"] = int(repeats) or wanted["repeats"]
    if wanted["repeats"] < LEAST_REPEATS:
        raise GB10Error("A search needs each point measured twice or more, or nothing tells a gain from noise; raise gb10_benchmark_repeats.")
    return wanted


def tune_begun(
    server: Mapping[str, Any], wish: Mapping[str, Any], record: Mapping[str, Any], held: str = "", ranks: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """The state of a search, new or the one that was held (its JSON). ``ranks``: the records of each box of a server over several."""
    try:
        before = json.loads(held) if held else None
    except ValueError:
        raise GB10Error(f"{wish.get('state')} is not JSON, so it is not known what ran before the search; run the playbook site and delete it.") from None
    several = ranks if ranks and len(ranks) > 1 else None
    return search.begun(server, {**wish, "most": int(wish["most"])}, record, before if isinstance(before, Mapping) else None, several)


def tune_servers(servers: Sequence[Mapping[str, Any]], name: str, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The servers of the inventory with the settings of a candidate in the one of that name; without others over several boxes, which are not all there."""
    known = any(one.get("name") == name for one in servers)
    kept = [one for one in servers if not known or not one.get("boxes") or one.get("name") == name]
    return [search.applied(one, settings) if one.get("name") == name else dict(one) for one in kept]


def tune_trial(state: Mapping[str, Any], candidate: Mapping[str, Any], came: Mapping[str, str]) -> dict[str, Any]:
    """The state after a trial; ``came``: {outcome, why, result (JSON of a benchmark)}."""
    return search.with_trial(state, candidate, came["outcome"], came["why"], json.loads(came["result"]) if came["result"] else None)


FILTERS: dict[str, Callable] = {
    "tune_profile": tune_profile,
    "tune_begun": tune_begun,
    "tune_boxes": boxes.boxes_of,
    "tune_came": boxes.came,
    "tune_following": search.following,
    "tune_hosts": boxes.hosts_of,
    "tune_original": search.original_of,
    "tune_records": boxes.records_of,
    "tune_replaced": search.replaced,
    "tune_servers": tune_servers,
    "tune_trial": tune_trial,
    "tune_ending": ending.ending,
    "tune_page": ending.page,
}

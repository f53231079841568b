# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters between what the user wrote, the plan and what runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import deployment, groups, images, lacking, mounts, ranks, rehearsal, sequence, wanted, work
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.flavours import image_settings
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis.vulnerabilities import exposure_verdict
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe import adopted, expand, mod_files

REFUSED = "not started: "
"""How the guard (roles/server/files/guard.py) begins what it says of a start that it refuses."""


def stale_files(wanted_files: list[dict], held: dict) -> list[dict]:
    """Those of ``wanted_files`` ({dest, content, mode}) that a box does not hold like that; ``held`` as box_info returns its ``files``."""
    found = []
    for one in wanted_files:
        seen = held.get(one["dest"]) or {}
        if (seen.get("sha256"), seen.get("mode")) != (hashlib.sha256(one["content"].encode()).hexdigest(), one["mode"]):
            found.append(one)
    return found


def first_failure(result: dict) -> dict:
    """In a rescue: the result of the task that failed, or of the first of its items that did."""
    return next((one for one in result.get("results") or [] if isinstance(one, dict) and one.get("failed")), result)


def start_refusal(message: str, journal: list[str]) -> str:
    """Why a unit did not start: what its guard said of the last try, where it refused, else ``message``, which is systemd's.

    :param journal: the last lines of the unit's journal.
    """
    said = [line for line in journal if line.startswith(REFUSED)]
    return said[-1][0].upper() + said[-1][1:] if said else message


def servers(given: list[dict], *args: Any, **kwargs: Any) -> list:
    """``wanted.of_one_box`` of servers of which some may name a recipe."""
    return wanted.of_one_box(expand.with_recipes(given), *args, **kwargs)


def server_groups(given: list[dict], *args: Any, **kwargs: Any) -> list:
    """``wanted.of_several_boxes`` of servers of which some may name a recipe."""
    return wanted.of_several_boxes(expand.with_recipes(given), *args, **kwargs)


def server_mistakes(given: Any, *args: Any, image: Mapping[str, Any] | None = None, **kwargs: Any) -> list[str]:
    """``wanted.server_mistakes`` of servers of which some may name a recipe; first what is wrong with the recipes. ``image``: gb10_image."""
    said = expand.mistakes(given, image or {})
    if said:
        return said
    expanded = expand.with_recipes(given, image or {})
    said = wanted.server_mistakes(expanded, *args, **kwargs)
    return said or images.mistakes(expanded, image, [one.get("name") for one in given if one.get("recipe")])


def exposures(servers: list[dict], vllm_version: str, planned: list[dict] | None = None) -> dict[str, list[str]]:
    """Sentences on the servers that others can reach with a version that has known vulnerabilities: {refuse: [...], warn: [...]}.

    ``planned``: the plan's part for each server, which says the ``engine`` of one that has another.
    """
    found: dict[str, list[str]] = {"refuse": [], "warn": []}
    own = {one["name"]: one["engine"]["vllm_version"] for one in planned or [] if one.get("engine")}
    for server in servers:
        version = own.get(server["name"], vllm_version)
        if not version:
            continue
        seen = exposure_verdict(version, server["address"])
        if seen["verdict"] in found:
            found[seen["verdict"]].append(f"{server['name']}: {seen['reason']}")
    return found


FILTERS: dict[str, Callable] = {
    "adopted": adopted.adopted,
    "servers": servers,
    "server_groups": server_groups,
    "group_servers": groups.placed,
    "group_split": groups.split_by_batches,
    "group_compared": ranks.compared,
    "group_unstarted": ranks.unstarted,
    "going_back": ranks.going_back,
    "rollout_batches": ranks.batches,
    "server_mistakes": server_mistakes,
    "directory_mistakes": wanted.directory_mistakes,
    "exposures": exposures,
    "predicted_against_measured": deployment.comparison,
    "deployments_before": sequence.deployments_before,
    "deployment_decision": deployment.decision,
    "first_failure": first_failure,
    "fleet_keys": work.fleet_keys,
    "private_texts": work.private_texts,
    "fleet_lacks": lacking.fleet_text,
    "image_mistakes": wanted.image_mistakes,
    "image_settings": image_settings,
    "images_of_servers": images.of_a_box,
    "image_engine": images.engine_of,
    "images_changed": images.others_now,
    "other_engine": images.other_engine,
    "with_engines": images.with_engines,
    "mod_files": mod_files.mod_files,
    "as_mounted": mounts.as_mounted,
    "files_named": mounts.files_named,
    "files_refused": mounts.files_refused,
    "models_wanted": mounts.models_wanted,
    "parts_wanted": mounts.parts_wanted,
    "with_drafts": mounts.with_drafts,
    "in_sequence": sequence.in_sequence,
    "rehearsals": rehearsal.rehearsals,
    "rehearsals_wanted": rehearsal.rehearsals_wanted,
    "rehearsed_by": rehearsal.rehearsed_by,
    "rollback_blocked": sequence.cannot_go_back,
    "rollback_steps": sequence.going_back,
    "serving_steps": sequence.serving,
    "step_of": sequence.step_of,
    "stale_files": stale_files,
    "start_refusal": start_refusal,
    "work_order": work.work_order,
    "rollout_mistakes": wanted.rollout_mistakes,
    "unit_word": wanted.unit_word,
    "unknown_variables": wanted.unknown_variables,
    "with_its_model": deployment.with_its_model,
    "with_parts": mounts.with_parts,
    "with_recipes": expand.with_recipes,
    "without_secrets": deployment.without_secrets,
}

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters of the role fabric."""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.gb10.vllm.plugins.plugin_utils._fabric import doctor, plan, ranks

FILTERS: dict[str, Callable] = {
    "all_gather_findings": ranks.all_gather_findings,
    "bandwidth_findings": doctor.bandwidth_findings,
    "fabric_findings": doctor.fabric_findings,
    "fabric_pairs": doctor.fabric_pairs,
    "fabric_plan": plan.fabric_plan,
    "fabric_ranks": ranks.fabric_ranks,
}

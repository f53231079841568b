# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters that decide who builds, who downloads and who gets what from whom."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.gb10.vllm.plugins.module_utils import distribution
from ansible_collections.gb10.vllm.plugins.module_utils.errors import GB10Error


def _told(function: Callable) -> Callable:
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except GB10Error as error:
            raise AnsibleFilterError(str(error)) from None

    return call


def plan(shares: list, opened: dict, addresses: dict) -> dict:
    """The filter distribution_plan."""
    return distribution.instructions(shares, opened, addresses)


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable]:
        return {
            "distribution_settings": _told(distribution.settings),
            "distribution_source": _told(distribution.choose_source),
            "distribution_wanted": _told(distribution.wanted_models),
            "distribution_first": _told(distribution.first_of),
            "distribution_elsewhere": _told(distribution.elsewhere),
            "distribution_downloads": _told(distribution.downloads),
            "distribution_shares": _told(distribution.lacking),
            "distribution_parts": _told(distribution.taking_part),
            "distribution_plan": _told(plan),
            "distribution_arrived": _told(distribution.arrived),
        }

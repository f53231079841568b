# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters of the router in front of a fleet."""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.gb10.vllm.plugins.plugin_utils._router import servers, work

FILTERS: dict[str, Callable] = {
    "router_hosts": servers.router_hosts,
    "listen_address": servers.listen_address,
    "router_work": work.work,
    "router_mistakes": work.mistakes,
    "router_targets": work.targets,
    "router_idle": work.idle,
    "router_refusals": work.refusals,
    "router_sends": work.sends,
}

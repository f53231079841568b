# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether boxes have all that is wanted of them, so that a run need not pass the tasks which would bring it. Pure.

Ansible forks a process for each task and box, also for one that is skipped: over fifty boxes most of a run that changes nothing is spent with that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import distribution


def box_is_still(known: Mapping[str, Any], hub_file: str) -> bool:
    """Whether the phase supply has nothing to do on this box by itself: its host is as wanted, its models lie there and were read, what runs is kept.

    ``known``: what the roles of the phase plan left behind (``preflight_result``, ``preflight_servers``, ``plan_models``, ``plan_wanted``,
    ``server_orders``). ``hub_file``: where the hub's token would lie, which goes where nothing is downloaded.
    """
    result, orders = known.get("preflight_result") or {}, known.get("server_orders") or {}
    servers, wanted = known.get("preflight_servers") or [], known.get("plan_wanted") or []
    there = [info for info in ((known.get("plan_models") or {}).get("models") or {}).values() if info.get("content") is not None]
    return (
        bool(servers)
        and not result.get("host")
        and hub_file not in ((result.get("box") or {}).get("files") or {})
        # Servers over several boxes are planned by all of these boxes together.
        and all("boxes" not in server and server["name"] in orders and not orders[server["name"]]["create"] for server in servers)
        and all(one.get("present") for one in wanted)
        and all(info["content"].get("weights") and not (info.get("ours") and not info.get("version")) for info in there)
    )


def nothing_to_bring(hosts: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]], source: str, shared: bool, everywhere: bool) -> bool:
    """Whether no box of a run gets anything once its images were asked for: no model, no image of another box, and no image was made anew.

    ``hostvars`` is Ansible's, with ``plan_still`` of each box (``box_is_still``). ``source``, ``shared``: which box counts, and whether boxes send each
    other anything (``distribution.chosen``); ``everywhere``: whether each asks the hub for itself.
    """
    if not all(hostvars[host].get("plan_still") for host in hosts) or distribution.made_anew(hosts, hostvars):
        return False
    wanted = {host: hostvars[host]["plan_wanted"] for host in hosts}
    if any(distribution.downloads(wanted, host, source, everywhere) for host in hosts):
        return False
    return not shared or not distribution.lacking(distribution.boxes_of(hosts, hostvars, source), source, hostvars[hosts[0]].get("distribution_images"))

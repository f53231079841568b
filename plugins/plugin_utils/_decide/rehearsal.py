# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What has to be rehearsed before it is deployed, and on which box of a fleet. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.deployment import digest
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.shapes import Order, Server


def rehearsals_wanted(orders: Mapping[str, Order], servers: Sequence[Server]) -> dict[str, str]:
    """Which servers of a box have to be rehearsed: those that run here and get another deployment than the one that proved itself.

    By name a digest of what is asked, the same on every box that is to get the same: figures that were measured differ from box to box and are left out.
    """
    found = {}
    for server in servers:
        order = orders.get(server["name"])
        if order and order["create"] and not order["new"] and not order["proven"]:
            found[server["name"]] = digest({"inputs": order["deployment"]["inputs"], "environment": env_text(server)})
    return found


def rehearsals(orders: Mapping[str, Order], servers: Sequence[Server], names: Sequence[str]) -> list[dict[str, Any]]:
    """What these servers would be started with, as M(gb10.vllm.rehearse) takes it: {name, container, manifest, environment}."""
    found = []
    for server in servers:
        if server["name"] in names:
            made = orders[server["name"]]["deployment"]
            found.append({"name": server["name"], "container": made["container"], "manifest": made["manifest"], "environment": env_text(server)})
    return found


def rehearsed_by(box: str, asked: Mapping[str, Mapping[str, str]], available: Mapping[str, int]) -> list[str]:
    """Names of the servers that this box rehearses: of those boxes that ask the same, the one with the most memory does.

    ``asked``: by box and server what has to be asked; ``available``: bytes by box.
    """

    def does(name: str) -> bool:
        same = [other for other, names in asked.items() if names.get(name) == asked[box][name]]
        return box == max(same, key=lambda other: available.get(other) or 0)

    return [name for name in asked.get(box) or {} if does(name)]


def env_text(server: Server) -> str:
    """``server.env`` of a server, as the role writes it."""
    return "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in (server.get("env") or {}).items())

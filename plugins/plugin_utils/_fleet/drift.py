# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a server differs from what is wanted and locked, what nobody wants any more, and how well a server is: in words. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import deployment as deployments
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.shapes import Locked, Order
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.work import UNIT_DIR


def leftovers(box: Mapping[str, Any], wanted: Sequence[str]) -> list[str]:
    """Servers of this collection that a box holds (records, container or unit) and nobody wants any more."""
    units = {unit.removeprefix("gb10-vllm-").removesuffix(".service") for unit in box.get("units") or {} if unit.endswith(".service")}
    containers = {one["labels"].get("gb10.vllm.server", "") for one in (box.get("docker") or {}).get("containers", [])}
    held = set(box.get("servers") or {}) | containers | {unit for unit in units if not unit.startswith("watch@")}
    return sorted(held - set(wanted) - {""})


def drift(name: str, box: Mapping[str, Any], order: Order | None, locked: Locked | None, prune: bool = False) -> list[str]:
    """How a server differs from what is wanted and locked, each with what the next run of site does about it.

    ``order``: the server's work order, None for a server that is no longer in the inventory; ``locked``: its part of the lock file, None without one.
    """
    if order is None:
        return [f"no longer in the inventory; site {'removes it (gb10_prune)' if prune else 'leaves it until gb10_prune is true'}"]
    record = ((box.get("servers") or {}).get(name) or {}).get("deployment")
    if record is None:
        return ["not deployed yet; site creates it"]
    found = [f"{order['reason']}; site replaces the container"] if order["create"] else []
    found += _unit_drift(name, box, order.get("unit_digest") or "")
    if locked and locked["spec"] != record["spec"]:
        found.append(f"it is not what is locked ({deployments.changed_because(locked['deployment'], record)}); site locks what runs once it is proven")
    return found


def _unit_drift(name: str, box: Mapping[str, Any], unit_digest: str) -> list[str]:
    """How the server's systemd unit differs from what it should be; ``unit_digest``: SHA-256 of its file, "" when not known."""
    unit = f"gb10-vllm-{name}.service"
    path = f"{UNIT_DIR}/{unit}"
    file = (box.get("files") or {}).get(path)
    state = (box.get("units") or {}).get(unit) or {}
    found = []
    if file is None:
        found.append("its unit file is gone; site writes it again")
    elif unit_digest and file["sha256"] != unit_digest:
        found.append("its unit file was edited or is of another version; site writes it back")
    if f"{path}.d" in (box.get("files") or {}):
        found.append(f"{posixpath.basename(path)}.d changes its unit by hand; site leaves it, remove it with `systemctl revert {unit}`")
    starting = ((box.get("servers") or {}).get(name) or {}).get("starting") or {}
    if starting and starting.get("boot_id") != box.get("boot_id"):
        found.append("the box went down while it was starting, so it was not started again by itself; site starts it")
    elif file is not None and state.get("active") not in ("active", "activating"):
        # systemd counts the restart that it refused too.
        often = f" after {state['restarts'] - 1} restarts" if state.get("active") == "failed" and state.get("restarts", 0) > 1 else ""
        found.append(f"its unit is {state.get('active') or 'unknown'}{often}; site starts it")
    if file is not None and not state.get("enabled"):
        found.append("it does not start at boot; site enables it")
    return found


def health(answer: Mapping[str, Any] | None, deployed: bool) -> str:
    """One server's health in words: from one real request (the result of server_ready in check mode), never from a port that is open."""
    if not deployed:
        return "not deployed"
    if not answer:
        return "not asked"
    if answer.get("phase") == "ready":
        latency = (answer.get("answer") or {}).get("latency_s")
        return "answers" if latency is None else f"answers in {float(latency):.1f} s"
    said = str(answer.get("reason") or answer.get("progress") or answer.get("msg") or "no answer")
    return f"{answer['phase']}: {said}" if answer.get("phase") else said

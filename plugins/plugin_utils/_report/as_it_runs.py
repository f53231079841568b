# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A plan as it is shown: of a server that keeps what it was deployed with, the figures of what runs and not those of a plan that nobody asked for. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis.repair import flags_of

GIB = 2**30
FIGURES = ("kv_cache_bytes", "num_blocks", "kv_tokens", "concurrency", "max_model_len")
PARTS = ("weights_bytes", "activation_bytes", "graph_bytes")
DEPLOYED = "as it was deployed"


def as_it_runs(plan: Mapping[str, Any], orders: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The plan with each server that is kept as its deployment says; ``orders``: work orders of the box's servers, as far as there are any."""
    servers = [_shown(one, orders.get(one["name"]) or {}) for one in plan["servers"]]
    more = sum(one["requested_bytes"] for one in servers) - sum(one["requested_bytes"] for one in plan["servers"])
    box = {**plan["box"], **{key: plan["box"][key] - more for key in ("headroom_bytes", "left_for_os_bytes") if key in plan["box"]}}
    return {**plan, "servers": servers, "box": box}


def _shown(server: Mapping[str, Any], order: Mapping[str, Any]) -> dict[str, Any]:
    deployment = order.get("deployment") or {}
    planned = deployment.get("planned") or {}
    if order.get("create", True) or not planned.get("kv_tokens") or server["verdict"] != "fits":
        return dict(server)
    flags = {one["flag"]: one["value"] for one in flags_of(deployment["container"]["command"])}
    why = {one["flag"]: one["why"] for one in server["flags"] if str(one["value"]) == str(flags.get(one["flag"]))}
    shown = {
        **server,
        **{key: planned[key] for key in (*FIGURES, *PARTS) if planned.get(key) is not None},
        "requested_bytes": deployment["requested_bytes"],
        "gpu_memory_utilization": flags.get("--gpu-memory-utilization", server["gpu_memory_utilization"]),
        "flags": [{"flag": flag, "value": value, "why": why.get(flag, DEPLOYED)} for flag, value in flags.items()],
        "reason": f"server {server['name']} runs {DEPLOYED}: {deployment['requested_bytes'] / GIB:.1f} GiB requested, {planned['kv_tokens']:,} KV tokens, "
        f"{planned['concurrency']:.2f} requests of {planned['max_model_len']:,} tokens.",
    }
    shown["non_torch_bytes"] = {**server["non_torch_bytes"], **_rest(shown)}
    named = {"activations": "activation_bytes", "graphs": "graph_bytes", "consumed": "non_torch_bytes"}
    shown["beside"] = {name: shown[key] for name, key in named.items() if shown.get(key)}
    source = (planned.get("beside_bytes") or shown["non_torch_bytes"])["source"]
    shown["beside_bytes"] = {"value": sum(int(part["value"]) for part in shown["beside"].values()), "source": source, "why": DEPLOYED}
    return shown


def _rest(shown: Mapping[str, Any]) -> dict[str, Any]:
    """What a deployment requested beside the parts it names is what was counted for its processes."""
    parts = sum(int((shown.get(key) or {}).get("value") or 0) for key in ("weights_bytes", "activation_bytes", "graph_bytes"))
    return {"value": max(0, shown["requested_bytes"] - parts - shown["kv_cache_bytes"] - shown["margin_bytes"]), "why": DEPLOYED}

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is shown for a running server is what runs, whatever a fresh plan would give."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.as_it_runs import as_it_runs
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.plan_picture import plan_picture
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.plan_table import plan_table

GIB = 2**30


def part(gib, source="assumed"):
    return {"value": int(gib * GIB), "source": source, "why": "w"}


PLAN = {
    "verdict": "fits",
    "box": {"total_bytes": 120 * GIB, "available_bytes": 110 * GIB, "floor_bytes": 12 * GIB, "headroom_bytes": GIB, "left_for_os_bytes": 13 * GIB,
            "total_source": "t", "usable_bytes": 98 * GIB, "returned_bytes": 0, "others": [], "warnings": []},
    "engine": {"vllm_version": "0.33.0", "platform": "gb10", "source": "s"},
    "servers": [{
        "name": "a", "model": "m", "architecture": "X", "verdict": "fits", "reason": "fresh", "weights_bytes": part(24), "activation_bytes": part(0),
        "graph_bytes": part(1), "beside": {"graphs": part(1), "host_processes": part(3)},
        "non_torch_bytes": part(3), "margin_bytes": int(1.5 * GIB), "kv_bytes_per_token": 1024.0, "kv_cache_bytes": 67 * GIB,
        "num_blocks": 4, "kv_tokens": 70_000, "concurrency": 7.0, "wanted_concurrency": 4, "max_model_len": 10_000, "requested_bytes": 97 * GIB,
        "gpu_memory_utilization": 0.81, "changes": [], "warnings": [], "repairs": [], "kv_cache_dtype": "auto",
        "flags": [{"flag": "--port", "value": 8000, "why": "the port"}, {"flag": "--kv-cache-memory-bytes", "value": 67 * GIB, "why": "67"}],
    }],
}  # fmt: skip
PLANNED = {"kv_cache_bytes": 62 * GIB, "num_blocks": 3, "kv_tokens": 60_000, "concurrency": 6.0, "max_model_len": 10_000, "weights_bytes": part(24),
           "activation_bytes": part(0.5), "graph_bytes": part(5)}  # fmt: skip
COMMAND = ["vllm", "serve", "/m", "--port", "8000", "--kv-cache-memory-bytes", str(62 * GIB), "--gpu-memory-utilization", "0.8"]
KEPT = {"create": False, "deployment": {"planned": PLANNED, "requested_bytes": 96 * GIB, "container": {"command": COMMAND}}}


def test_of_a_server_that_is_kept_the_deployment_is_shown():
    plan = copy.deepcopy(PLAN)
    shown = as_it_runs(plan, {"a": KEPT})
    assert plan == PLAN, "what is deployed comes from the plan as it is"
    (one,) = shown["servers"]
    assert {key: one[key] for key in PLANNED} == PLANNED
    assert (one["requested_bytes"], one["gpu_memory_utilization"]) == (96 * GIB, 0.8)
    assert one["non_torch_bytes"]["value"] == int((96 - 24 - 0.5 - 5 - 62 - 1.5) * GIB), "the parts are those of the sum that was requested"
    assert list(one["beside"]) == ["activations", "graphs", "consumed"], "not the parts of the fresh plan"
    assert one["beside_bytes"]["value"] == sum(part["value"] for part in one["beside"].values()) == int((96 - 24 - 62 - 1.5) * GIB)
    assert {flag["flag"]: (flag["value"], flag["why"]) for flag in one["flags"]} == {
        "--port": (8000, "the port"), "--kv-cache-memory-bytes": (62 * GIB, "as it was deployed"), "--gpu-memory-utilization": (0.8, "as it was deployed"),
    }  # fmt: skip
    assert "server a runs as it was deployed: 96.0 GiB requested, 60,000 KV tokens" in one["reason"]
    assert (shown["box"]["left_for_os_bytes"], shown["box"]["headroom_bytes"]) == (14 * GIB, 2 * GIB)
    assert "60,000" in plan_table({"spark-1": shown}) and "70,000" not in plan_table({"spark-1": shown})
    assert "svg" in plan_picture(shown, "spark-1")


@pytest.mark.parametrize("order", [None, {}, {"create": True, "deployment": KEPT["deployment"]}, {"create": False, "deployment": {}}])
def test_of_any_other_server_the_plan_is_shown(order):
    assert as_it_runs(PLAN, {"a": order} if order is not None else {}) == PLAN


def test_what_does_not_fit_is_not_hidden_by_what_runs():
    refused = {**PLAN, "servers": [{**PLAN["servers"][0], "verdict": "cannot_fit"}]}
    assert as_it_runs(refused, {"a": KEPT}) == refused

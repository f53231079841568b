# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role hands over to the repairs is what the server was started with: through the role's own expression, on a plan of the real planner."""

from __future__ import annotations

import json

import checkpoints
import pytest
import rendered
import yaml
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import weights
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.plan import plan_box
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import wanted
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis import diagnosis, knowledge, repair

GIB = 2**30
ENTRIES = knowledge.load()
OUT_OF_MEMORY = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
CAPTURE = "torch.AcceleratorError: CUDA error: operation not permitted when stream is capturing"
LOADER = "ModuleNotFoundError: No module named 'fastsafetensors'"
ATTENTION = "ValueError: No valid attention backend found for cuda with AttentionSelectorConfig(head_size=80)"
NOTHING_LEFT = "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`"
GONE = "vllm: error: unrecognized arguments: --swap-space"
CONFIG = checkpoints.golden_weights()["Qwen3-0.6B", 1]["config"]
INFO = {"present": True, "config": CONFIG, "weights": weights.summarise(list(checkpoints.dense(CONFIG)), CONFIG), "layout": "hf", "kind": "chat",
        "tokenizer": True, "manifest": "c" * 64, "names": ["config.json"]}  # fmt: skip
IMAGE = {"id": "sha256:" + "a" * 64, "name": "vllm-node", "vllm_version": "0.33.0"}
MEMORY = {"total_bytes": int(119.7 * GIB), "available_bytes": 110 * GIB, "cuda_total_bytes": int(119.7 * GIB), "cuda_total_source": "cuDeviceTotalMem"}
BOX = {"memory": MEMORY, "holders": [], "servers": {}, "docker": {"containers": [], "images": {}}, "files": {}, "units": {}, "boot_id": "b"}


def wish(**settings):
    return wanted.normalise([{"name": "qwen", "model": "qwen", "max_model_len": 32768, **settings}], "/srv/models")[0]


def planned(repairs=(), **settings):
    """The plan of such a server, with repairs that are recorded on its box."""
    server = wish(**settings)
    # Of a release the plan knows each argument; what a build of one's own lacks shows at its start.
    version = "0.1.dev20+g0123abc" if "swap_space" in settings.get("args", {}) else "0.33.0"
    return plan_box(BOX, [server], {server["model_path"]: INFO}, {"vllm_version": version}, records={"qwen": {"repairs": list(repairs)}})


def handed_over(**settings):
    """What the task of the role that follows a start gets as ``wanted``, for a server with these settings."""
    server = wish(**settings)
    plan = planned(**settings)
    assert plan["verdict"] == "fits", plan["servers"][0]["reason"]
    variables = rendered.variables_of("server") | {
        "server_wanted": server,
        "server_unit_text": "the unit's text",
        "preflight_result": {"box": BOX},
        "plan_result": {"plan": json.loads(json.dumps(plan))},
        "distribution_result": {"image": IMAGE, "models": {server["model_path"]: INFO}},
    }
    tasks = yaml.safe_load((rendered.ROLES / "server/tasks/order.yml").read_text())
    variables |= rendered.trusted(tasks[0]["vars"])
    orders = rendered.render(rendered.task("server", "order.yml", "ansible.builtin.set_fact")["server_orders"], variables)
    variables["server_orders"] = json.loads(json.dumps(orders))
    return rendered.render(rendered.task("server", "prove.yml", "gb10.vllm.server_ready")["wanted"], variables)


def repaired(log, history=(), facts=None, **settings):
    return repair.decide(diagnosis.diagnose({"spark-1": log}, ENTRIES), facts or {}, handed_over(**settings), list(history))


def test_out_of_memory_never_raises_a_batch_that_is_as_small_as_it_gets():
    kv = planned(max_num_batched_tokens=2048)["servers"][0]["kv_cache_bytes"]
    change = repaired(OUT_OF_MEMORY, max_num_batched_tokens=2048)
    # 2 GiB were asked for in vain; with the cache in bytes a lower share would change nothing.
    assert (change["id"], change["set"]) == ("KB-109", {"reserve_gib": 2.5, "kv_cache_most_bytes": kv - 5 * GIB // 2})


@pytest.mark.parametrize("settings", [{}, {"kv_cache_memory_gib": 20}, {"gpu_memory_utilization": 0.5}, {"reserve_gib": 3}, {"max_model_len": "auto"}])
def test_a_repair_is_a_new_plan_of_one_piece(settings):
    """What is kept back leaves fewer bytes to the cache, and all that is said of the server says the same."""
    before = planned(max_num_batched_tokens=2048, **settings)["servers"][0]
    change = repaired(OUT_OF_MEMORY, max_num_batched_tokens=2048, **settings)
    after = planned([change], max_num_batched_tokens=2048, **settings)["servers"][0]
    assert after["verdict"] == "fits"
    assert 0 <= before["kv_cache_bytes"] - 5 * GIB // 2 - after["kv_cache_bytes"] <= after["bytes_per_block"] + 0.13 * GIB
    flags = {one["flag"]: one["value"] for one in after["flags"]}
    assert flags["--kv-cache-memory-bytes"] == after["kv_cache_bytes"] == after["num_blocks"] * after["bytes_per_block"]
    assert after["margin_bytes"] == before["margin_bytes"] + 5 * GIB // 2
    assert after["kv_tokens"] < before["kv_tokens"] and [one["id"] for one in after["repairs"]] == ["KB-109"]
    assert flags["--gpu-memory-utilization"] == after["gpu_memory_utilization"]


def test_the_repair_of_a_broken_floor_never_asks_for_less_than_was_wanted():
    least = 32768 * planned()["servers"][0]["kv_bytes_per_token"]
    cap = {"id": "floor", "set": {"kv_cache_most_bytes": 1}, "reason": "r"}
    assert planned([cap])["servers"][0]["kv_cache_bytes"] >= least
    cap["set"]["kv_cache_most_bytes"] = 20 * GIB
    assert 0 <= 20 * GIB - planned([cap])["servers"][0]["kv_cache_bytes"] < planned()["servers"][0]["bytes_per_block"]


def test_out_of_memory_halves_the_batch_that_the_server_ran_with():
    first = repaired(OUT_OF_MEMORY, max_num_batched_tokens=6000, gpu_memory_utilization=0.8)
    assert first["set"] == {"max_num_batched_tokens": 3000} and "6000 -> 3000" in first["reason"]
    assert repaired(OUT_OF_MEMORY, [first], max_num_batched_tokens=3000, gpu_memory_utilization=0.8)["set"] == {"max_num_batched_tokens": 2048}


def test_a_batch_that_nobody_knows_is_not_guessed():
    found = diagnosis.diagnose({"spark-1": OUT_OF_MEMORY}, ENTRIES)
    assert repair.decide(found, {}, {}, []) is None
    assert repair.decide(found, {}, {"gpu_memory_utilization": 0.8}, []) is None, "nor is the gate of a start a remedy"


@pytest.mark.parametrize(
    ("log", "settings", "change"),
    [
        (LOADER, {"load_format": "fastsafetensors"}, {"load_format": "auto"}),
        (ATTENTION, {"args": {"attention_backend": "FLASHINFER"}}, {"args": {"--attention-backend": None}}),
        (ATTENTION, {"kv_cache_dtype": "fp8"}, {"kv_cache_dtype": "auto"}),
        (GONE, {"args": {"swap_space": 4}}, {"args": {"--swap-space": None}}),
        (CAPTURE, {"args": {"compilation_config": {"mode": 3}}}, {"args": {"--compilation-config": {"mode": 3, "cudagraph_mode": "PIECEWISE"}}}),
        (NOTHING_LEFT, {"gpu_memory_utilization": 0.6}, {"gpu_memory_utilization": 0.65}),
    ],
)
def test_each_rule_reads_what_the_server_was_started_with(log, settings, change):
    assert repaired(log, facts={"total_bytes": 120 * GIB, "memory_available_bytes": 110 * GIB}, **settings)["set"] == change


def test_graphs_that_are_off_or_that_the_user_insists_on_are_left_alone():
    assert repaired(CAPTURE, cuda_graphs="always") is None
    assert repaired(CAPTURE, cuda_graphs="never") is None
    assert repaired(CAPTURE, args={"enforce_eager": True}) is None


def test_the_role_waits_for_the_memory_that_the_failed_try_held():
    """Every repair says so; the role has to do it between the stop and the next look at the box."""
    tasks = yaml.safe_load((rendered.ROLES / "server/tasks/repair.yml").read_text())[0]["block"]
    names = [next(key for key in task if "." in key) for task in tasks]
    waits = next(task for task in tasks if task.get("when") == "server_offer.wait_for_memory")
    assert names.index("ansible.builtin.systemd_service") < tasks.index(waits) < names.index("ansible.builtin.include_role")
    variables = rendered.variables_of("server") | {"plan_result": {"plan": {"box": {"available_bytes": 110 * GIB}}}}
    assert int(rendered.render(rendered.trusted(waits["gb10.vllm.box_info"]), variables)["wait_for_memory_bytes"]) == 110 * GIB

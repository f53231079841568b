# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What kv_cache_budget was asked for, what has to be read for it, and its answer; the same on a controller and on a box."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._model.directory import inspect_model
from ansible_collections.gb10.vllm.plugins.module_utils._model.hub import Hub, is_repo_id
from ansible_collections.gb10.vllm.plugins.module_utils._model.read import placed
from ansible_collections.gb10.vllm.plugins.module_utils._model.versions import current
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import checks
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.engine import cpu_features
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.plan import calculate, draft_models, engine_identity, plan_box
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.shapes import Calculation, EngineFacts, Options

OPTIONS: dict[str, Any] = {
    "box": {"type": "dict"},
    "servers": {"type": "list", "elements": "dict"},
    "models": {"type": "dict", "default": {}},
    "engine": {"type": "dict", "default": {}},
    "os_floor_gib": {"type": "float", "default": 12.0},
    "margin_gib": {"type": "float", "default": 1.5},
    "reserve_gib": {"type": "float", "default": 0.0},
    "assume_full_attention": {"type": "bool", "default": False},
    "records": {"type": "dict"},
    "elsewhere": {"type": "list", "elements": "dict", "default": []},
    "model": {"type": "str"},
    "available_gib": {"type": "float"},
    "max_model_len": {"type": "int"},
    "concurrency": {"type": "int"},
    "kv_cache_dtype": {"type": "str", "default": "auto"},
    "revision": {"type": "str", "default": "main"},
    "hf_endpoint": {"type": "str"},
    "hf_token": {"type": "str", "no_log": True},
    "hf_timeout_s": {"type": "float", "default": 10.0},
}
REQUIRED_ONE_OF = [("servers", "model")]


def needs_a_look(wanted: Mapping[str, Any]) -> bool:
    """Whether something of the machine the module runs on (a model, its processor) or of a hub is needed; without that the answer is arithmetic."""
    models = wanted["models"]
    servers = wanted["servers"] or []
    unread = any(server.get("model_path") not in models and server.get("model") not in models for server in servers)
    drafts = any(draft not in models for draft in draft_models(servers))
    single = bool(wanted["model"]) and wanted["model"] not in models
    return unread or drafts or single or (_on_cpu(wanted) and not (wanted["box"] or {}).get("cpu_features"))


def answer(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """{kv, plan, models} as far as they were asked for; ``models``: those that were read here, by path or repo id. Raises GB10Error."""
    read: dict[str, Any] = {}
    engine: EngineFacts = wanted["engine"]
    if _on_cpu(wanted):
        engine = {**_processor(wanted["box"] or {}), **engine}
    result: dict[str, Any] = {}
    if wanted["model"]:
        result["kv"] = _calculated(wanted, engine, read)
    if wanted["servers"] is not None:
        options: Options = {
            "os_floor_gib": wanted["os_floor_gib"],
            "margin_gib": wanted["margin_gib"],
            "reserve_gib": wanted["reserve_gib"],
            "assume_full_attention": wanted["assume_full_attention"],
        }
        models = _models(wanted, read)
        result["plan"] = plan_box(wanted["box"], wanted["servers"], models, engine, options, wanted["records"], wanted["elsewhere"])
    return result | ({"models": read} if read else {})


def _on_cpu(wanted: Mapping[str, Any]) -> bool:
    return engine_identity(wanted["engine"])["platform"] == "cpu"


def _processor(box: Mapping[str, Any]) -> EngineFacts:
    """The engine's blocks and states depend on the processor it will run on: the box's, or this machine's where the box is not given."""
    if box.get("cpu_features"):
        return box["cpu_features"]
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as handle:
        return cpu_features(handle.read())


def _calculated(wanted: Mapping[str, Any], engine: EngineFacts, read: dict[str, Any]) -> Calculation:
    available = None if wanted["available_gib"] is None else checks.gib(wanted["available_gib"], "available_gib")
    for key in ("max_model_len", "concurrency"):
        if wanted[key] is not None and wanted[key] < 1:
            raise GB10Error(f"{key} is {wanted[key]}: give a whole number above 0")
    name = wanted["model"]
    return calculate(
        wanted["models"].get(name) or read.setdefault(name, _read(name, wanted)),
        engine,
        available_bytes=available,
        max_model_len=wanted["max_model_len"],
        concurrency=wanted["concurrency"],
        kv_cache_dtype=wanted["kv_cache_dtype"],
        assume_full_attention=wanted["assume_full_attention"],
    )


def _models(wanted: Mapping[str, Any], read: dict[str, Any]) -> dict[str, Any]:
    """The models that were given and those that had to be read, drafts among them."""
    models = dict(wanted["models"])
    for server in wanted["servers"]:
        path, name = server.get("model_path"), server.get("model")
        if path in models or name in models:
            continue
        key = path if path and (os.path.isdir(path) or not is_repo_id(name or "")) else name
        if not key:
            raise GB10Error(f"server {server.get('name')} names no model: set model to a directory or a Hugging Face repo id")
        models[key] = read[key] = _read(key, wanted)
    for draft in draft_models(wanted["servers"]):
        if draft not in models and (os.path.isdir(draft) or is_repo_id(draft)):
            models[draft] = read[draft] = _read(draft, wanted, part=True)
    return models


def _read(name: str, hub: Mapping[str, Any], part: bool = False) -> dict[str, Any]:
    """Facts of a directory of this machine, or of a hub repository when there is no such directory; on a box also what is in its files."""
    if is_repo_id(name) and not os.path.isdir(name):
        return Hub(hub["hf_endpoint"], hub["hf_token"], hub["hf_timeout_s"]).inspect(name, hub["revision"], part=part)
    facts = inspect_model(current(name), part=part)
    return facts | placed(facts["path"]) if hub.get("box") else facts

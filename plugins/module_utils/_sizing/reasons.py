# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan's sentences about one server: why it fits or not, with the numbers, and what to beware of. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ansible_collections.gb10.vllm.plugins.module_utils._model.content import not_verified
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import beside_arguments, choices, environment, flags, quantization
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.budget import GIB
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.outcome import Outcome
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.rules import release_of
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.shapes import ModelInfo
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.solver import SHORTEST_AUTO_CONTEXT
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.speculation import speculation


def reason(outcome: Outcome) -> str:
    """One sentence (two when something has to change) that a user can act on."""
    name, need, grant, state = outcome.server["name"], outcome.need, outcome.grant, outcome.state
    rank = outcome.server["rank"]
    place = f" as {rank.words}" if rank else ""
    if grant.fits:
        if state is None:
            return f"server {name} fits{place}: it keeps no KV cache and requests {grant.requested_bytes / GIB:.1f} GiB."
        return (
            f"server {name} fits{place}: {grant.requested_bytes / GIB:.1f} GiB requested of {outcome.memory.usable_bytes / GIB:.1f} GiB usable,"
            f" {state.tokens:,} KV tokens, {state.concurrency:.2f} requests of {outcome.length:,} tokens."
        )
    overhead = need.beside.value + need.margin_bytes
    kv = need.least_kv_bytes
    wanted = f"{need.concurrency} x {need.max_model_len or SHORTEST_AUTO_CONTEXT:,} tokens" + ("" if need.max_model_len else " at least")
    change = f" Cheapest change: {outcome.changes[0]['change']}." if outcome.changes else " Use a smaller or more quantised model."
    return (
        f"server {name} does not fit{place}: weights {need.weights.value / GIB:.1f} + KV cache {kv / GIB:.2f} for {wanted} + overheads and margin"
        f" {overhead / GIB:.1f} = {(need.fixed_bytes + kv) / GIB:.1f} GiB, but {_limit(outcome)}.{change}"
    )


def _limit(outcome: Outcome) -> str:
    """What stands in the way."""
    need, limit, memory = outcome.need, outcome.grant.limit_bytes, outcome.memory
    less = f"{memory.available_bytes / GIB:.1f} available less {memory.floor_bytes / GIB:g} for the system"
    if need.utilization is None:
        rest = "" if limit == memory.usable_bytes else " and the servers before it"
        text = f"{max(0, limit) / GIB:.1f} GiB can be had ({less}{rest})"
    else:
        asked = math.ceil(memory.total_bytes * need.utilization)
        if asked <= memory.usable_bytes:
            text = f"gpu_memory_utilization {need.utilization:g} allows {limit / GIB:.1f} GiB"
        else:
            text = f"gpu_memory_utilization {need.utilization:g} asks for {asked / GIB:.1f} GiB and {limit / GIB:.1f} GiB can be had ({less})"
    if need.kv_cache_bytes is not None and need.kv_cache_bytes < need.least_kv_bytes:
        text += f", and kv_cache_memory_gib allows {need.kv_cache_bytes / GIB:.2f} GiB of KV cache"
    return text


def warnings(outcome: Outcome, models: Mapping[str, ModelInfo]) -> list[str]:
    """What a user should know although the plan stands."""
    server, info = outcome.server, outcome.info
    found = list(outcome.layout.warnings)
    if info.get("auto_map") and not server["trust_remote_code"] and not server["trust_stated"]:
        found.append("the model brings its own code (auto_map); should vLLM ask for it, read that code and set `trust_remote_code: true`")
    if info.get("kind") in ("chat", "completion") and info.get("tokenizer") is False:
        found.append("the model directory holds no tokenizer; vLLM will refuse text requests until its files are there")
    if info.get("source") == "hub":
        size = (info.get("download") or {}).get("bytes") or info.get("size_bytes") or 0
        found.append(f"the model is not on the box yet: {size / GIB:.1f} GiB to download from {info.get('path')}, {size * 8 / 1e9 / 60:.0f} min at 1 Gbit/s")
    if info.get("content") and not info["content"].get("weights"):
        found.append(not_verified(info.get("directory") or info.get("path") or "its directory"))
    if server["revision"] and info.get("ours") is False:
        found.append(f"`revision` is not looked at: {info.get('path')} was not brought by this collection, and what is its owner's own is left as it is")
    names = server["served_model_name"]
    if isinstance(names, str) and " " in names.strip():
        found.append(f"served_model_name {names!r} is one name with spaces in it: write a list where several names are meant")
    found += flags.unknown_names(server["args"], outcome.layout.engine.vllm_version)
    found += choices.doubts(server["args"], server["load_format"], outcome.layout.engine.vllm_version)
    found += environment.doubts(server["env"], server["name"])
    found += quantization.doubts(outcome.need.quantization, release_of(outcome.layout.engine.vllm_version))
    found += beside_arguments.unknown(server["args"])
    found += server["rank"].notes if server["rank"] else ()
    draft = speculation(server["args"], server["name"]).get("model")
    if draft and str(draft) not in models:
        found.append(f"the draft model {draft} is not counted, because its facts were not given: pass it in models")
    return found

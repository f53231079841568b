# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From box facts, models and wanted servers to the plan everything after it reads (docs/ARCHITECTURE.md). Pure.

The steps: `wanted_server.read_server` -> `need.need_of` -> `solver.allocate` -> `outcome.outcome_of` -> `command_line.flags_of`, `reasons.reason`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._sizing import budget, checks, learned, solver
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.capacity import bytes_for, capacity, longest_max_model_len
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.command_line import flags_of
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.engine import engine_identity, engine_of
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.flags import arguments
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layout import KVLayout, kv_layout
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.need import Common, check_length, need_of
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.outcome import Outcome, outcome_of
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.parallel import stage_of
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.rank import Rank
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.ranks import stage_layouts
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.reasons import reason, warnings
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.shapes import (
    BoxFacts,
    Calculation,
    EngineFacts,
    LayoutFacts,
    ModelInfo,
    Options,
    Plan,
    PlanBox,
    PlanServer,
    Start,
    WantedServer,
)
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.wanted_server import check_unique, draft_models, model_of, read_server
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.weights import loaded_weights

# What other packages use of this one: the plan and what has to be known before it.
__all__ = ["calculate", "draft_models", "engine_identity", "plan_box"]

VERDICTS = ("fits", "fits_with_change", "cannot_fit")


def plan_box(
    box: BoxFacts | None,
    servers: Sequence[WantedServer],
    models: Mapping[str, ModelInfo],
    engine: EngineFacts | None = None,
    options: Options | None = None,
    records: Mapping[str, Any] | None = None,
    elsewhere: Sequence[Start] = (),
) -> Plan:
    """The memory plan of one box.

    ``box`` is what ``box_info`` returns (None: a typical GB10, labelled as an assumption), ``servers`` the wanted ones, ``models`` the
    result of ``model_info`` by path, ``records`` what earlier runs left, by server (default: the box's own), ``elsewhere`` the starts that other boxes
    measured. A server with an image of its own says its ``engine``, which the plan's entry then has too; all others run ``engine``. GB10Error in one
    sentence for what is wrong with the input; what merely does not fit is a verdict, not an error.
    """
    engine, options = engine or {}, options or {}
    facts = box or budget.TYPICAL_BOX
    records = budget.as_map(facts.get("servers") if records is None else records)
    identity = engine_identity(engine)
    engines = [_own_engine(server, facts) or engine for server in servers]
    floor = checks.gib(options.get("os_floor_gib", budget.OS_FLOOR_GIB), "os_floor_gib")
    margin = checks.gib(options.get("margin_gib", budget.MARGIN_GIB), "margin_gib")
    checks.gib(options.get("reserve_gib", 0.0), "reserve_gib")
    reserved: list[WantedServer] = [{"reserve_gib": options.get("reserve_gib", 0.0), **s} for s in servers]
    wanted = [
        read_server(s, budget.as_map(records.get(str(s.get("name")))).get("repairs"), str(own.get("image_id") or ""))
        for s, own in zip(reserved, engines, strict=True)
    ]
    check_unique(wanted)
    memory = budget.box_memory({**facts, "servers": records}, [s["name"] for s in wanted], floor, identity["platform"])
    starts = [*learned.starts_here(records), *learned.starts_elsewhere(elsewhere)]
    whole = bool(options.get("assume_full_attention"))
    commons = [Common(engine_identity(own), memory.total_bytes, margin, whole, models, str(own.get("image_id") or ""), starts) for own in engines]
    infos = [model_of(s, models) for s in wanted]
    needs = [need_of(s, info, budget.as_map(records.get(s["name"])), common) for s, info, common in zip(wanted, infos, commons, strict=True)]
    grants = solver.allocate(needs, memory.usable_bytes, memory.total_bytes)
    stoppable = [(o["server"], o["bytes"]) for o in memory.others if o.get("server")]
    entries = []
    for i, (server, info, need, grant) in enumerate(zip(wanted, infos, needs, grants, strict=True)):
        rivals = stoppable + [(wanted[j]["name"], g.requested_bytes) for j, g in enumerate(grants) if j != i and g.fits]
        entry = _entry(outcome_of(server, info, need, grant, memory=memory, rivals=rivals), models)
        if servers[i].get("engine"):
            entry["engine"] = commons[i].identity
        entries.append(entry)
    verdict = max((entry["verdict"] for entry in entries), key=VERDICTS.index, default="fits")
    return {"verdict": verdict, "box": _box_part(memory, entries), "engine": identity, "servers": entries}


def _own_engine(server: WantedServer, box: BoxFacts) -> EngineFacts:
    """The engine of a server that has an image of its own, with what decides blocks of vLLM's CPU build; empty for one that has the box's."""
    own: EngineFacts = server.get("engine") or {}
    processor: EngineFacts | None = box.get("cpu_features") if own and engine_identity(own)["platform"] == "cpu" else None
    return {**(processor or {}), **own}


def _box_part(memory: budget.BoxMemory, entries: Sequence[PlanServer]) -> PlanBox:
    """The plan's part for the box: what there is and what is left."""
    taken = sum(entry["requested_bytes"] for entry in entries if entry["verdict"] == "fits")
    return {
        "total_bytes": memory.total_bytes,
        "total_source": memory.total_source,
        "available_bytes": memory.available_bytes,
        "floor_bytes": memory.floor_bytes,
        "usable_bytes": memory.usable_bytes,
        "returned_bytes": memory.returned_bytes,
        "others": [dict(other) for other in memory.others],
        "headroom_bytes": memory.usable_bytes - taken,
        "left_for_os_bytes": memory.available_bytes - taken,
        "warnings": list(memory.warnings),
    }


def _entry(outcome: Outcome, models: Mapping[str, ModelInfo]) -> PlanServer:
    """The plan's part for one server: figures, flags with reasons, verdict and changes."""
    server, info, need, grant, layout, state = outcome.server, outcome.info, outcome.need, outcome.grant, outcome.layout, outcome.state
    kv, chosen = grant.kv_cache_bytes, flags_of(outcome)
    longest = outcome.length if layout.kv_free else longest_max_model_len(layout, kv, 1) if kv else 0
    entry: PlanServer = {
        "name": server["name"],
        "model": server["model"],
        "served_model_name": _first_name(server["served_model_name"]),
        "port": server["port"],
        "architecture": layout.architecture or info.get("architecture", ""),
        "kind": info.get("kind", "completion"),
        "verdict": outcome.verdict,
        "reason": reason(outcome),
        "weights_bytes": need.weights.as_dict(),
        "activation_bytes": need.activation.as_dict(),
        "graph_bytes": need.graph.as_dict(),
        "non_torch_bytes": need.non_torch.as_dict(),
        "beside_bytes": need.beside.as_dict(),
        "beside": {name: part.as_dict() for name, part in need.parts.items()},
        "margin_bytes": need.margin_bytes,
        **layout_facts(layout),
        "kv_cache_dtype": layout.resolved_kv_cache_dtype,
        "kv_cache_bytes": kv,
        "num_blocks": state.num_blocks if state else 0,
        "kv_tokens": state.tokens if state else 0,
        "concurrency": state.concurrency if state else 0.0,
        "wanted_concurrency": need.concurrency,
        "max_model_len": outcome.length,
        "longest_max_model_len": longest,
        "derived_max_model_len": layout.derived_max_model_len,
        "needed_bytes": need.fixed_bytes + need.least_kv_bytes,
        "gpu_memory_utilization": outcome.utilization,
        "requested_bytes": grant.requested_bytes,
        "flags": chosen,
        "arguments": arguments(chosen),
        "changes": list(outcome.changes),
        "repairs": server["repairs"],
        "warnings": warnings(outcome, models),
    }
    if server["rank"]:
        entry["rank"] = _rank_facts(server["rank"], layout)
    return entry


def _rank_facts(rank: Rank, layout: KVLayout) -> dict[str, Any]:
    """A box's place in a server over several, as plain data; ``layers``: those it has, from the first up to the one before the last number."""
    stage = stage_of(layout.facts.num_layers, layout.engine, rank.number)
    return {
        "number": rank.number,
        "boxes": list(rank.boxes),
        "tensor": rank.tensor,
        "pipeline": rank.pipeline,
        "layers": [stage.first, stage.end],
        "bytes_per_block": stage_layouts(layout)[rank.number // rank.tensor].bytes_per_block,
        "why": rank.why,
    }


def layout_facts(layout: KVLayout) -> LayoutFacts:
    """The layout as plain data: bytes per token and block, block size, groups."""
    return {
        "kv_bytes_per_token": layout.kv_bytes_per_token,
        "bytes_per_block": layout.bytes_per_block,
        "block_size": layout.block_size,
        "groups": [{"layers": g.layers, "kind": g.kind, "block_size": g.block_size, "page_size_bytes": g.page_size_bytes} for g in layout.groups],
    }


def _first_name(names: Any) -> str:
    """The name clients see first; a server may be served under several."""
    return str(names[0]) if isinstance(names, (list, tuple)) and names else str(names)


def calculate(
    info: ModelInfo,
    engine: EngineFacts | None = None,
    *,
    available_bytes: int | None = None,
    max_model_len: int | str | None = None,
    concurrency: int | None = None,
    kv_cache_dtype: str = "auto",
    tensor_parallel_size: int = 1,
    assume_full_attention: bool = False,
) -> Calculation:
    """The plain calculator, without a box: whichever of memory, context and concurrency is missing is the answer.

    Memory given: blocks, tokens, concurrency and vLLM's own words for ``max_model_len`` (default: the model's own length), and the
    longest context for ``concurrency`` requests. Memory not given: the bytes for ``concurrency`` (default 1) such requests.
    """
    identity = engine_identity(engine or {})
    settings = {"kv_cache_dtype": kv_cache_dtype, "tensor_parallel_size": checks.whole(tensor_parallel_size, "tensor_parallel_size", 1, 1024)}
    layout = kv_layout(info["config"], engine_of(identity, settings), assume_full_attention=assume_full_attention)
    requests = checks.whole(concurrency or 1, "concurrency", 1, 1_000_000)
    length = checks.tokens(max_model_len, "max_model_len") or layout.derived_max_model_len
    check_length(length, layout, "this model")
    loaded = None
    if info.get("weights"):
        loaded = loaded_weights(info["weights"], info["config"], tensor_parallel_size=tensor_parallel_size, defaults=layout.facts.text.defaults)
    result: Calculation = {
        "architecture": layout.architecture,
        "engine": identity,
        "kv_cache_dtype": layout.resolved_kv_cache_dtype,
        **layout_facts(layout),
        "weights_bytes": loaded.total_bytes if loaded else None,
        "max_model_len": length,
        "needed_bytes_per_request": 0 if layout.kv_free else layout.needed_bytes(length),
        "needed_bytes": 0 if layout.kv_free else bytes_for(layout, length, requests),
        "requests": requests,
        "warnings": list(layout.warnings),
    }
    if available_bytes is not None and not layout.kv_free:
        state = capacity(layout, available_bytes, length)
        result["available_bytes"] = available_bytes
        result["num_blocks"] = state.num_blocks
        result["kv_tokens"] = state.tokens
        result["concurrency"] = state.concurrency
        result["fits"] = state.ok
        result["estimated_max_model_len"] = state.estimated_max_model_len
        result["longest_max_model_len"] = longest_max_model_len(layout, available_bytes, requests)
        result["vllm_says"] = state.log or state.error
    return result

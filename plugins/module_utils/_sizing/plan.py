# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From box facts, models and wanted servers to the plan everything after it reads (docs/ARCHITECTURE.md). Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import budget, checks, flags, solver
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.budget import GIB, Part
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.capacity import Capacity, bytes_for, capacity, longest_max_model_len
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.engine import Engine
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layer import STATE
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layout import KVLayout, kv_layout
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.weights import RUN_DTYPE_BYTES, loaded_weights, run_dtype

NEWEST_RULES = "0.33.0"
VERDICTS = ("fits", "fits_with_change", "cannot_fit")

# Flags of the user's that are fields of Engine.
ENGINE_ARGS = (
    "dtype", "tensor_parallel_size", "pipeline_parallel_size", "decode_context_parallel_size", "enable_prefix_caching", "mamba_cache_mode",
    "mamba_cache_dtype", "mamba_ssm_cache_dtype", "async_scheduling", "block_size", "gdn_prefill_backend", "disable_hybrid_kv_cache_manager", "runner",
)  # fmt: skip
INT_ENGINE_ARGS = ("tensor_parallel_size", "pipeline_parallel_size", "decode_context_parallel_size", "block_size")
# Flags whose value changes what a start measures besides the KV cache.
OVERHEAD_FLAGS = ("--max-num-batched-tokens", "--max-num-seqs", "--enforce-eager", "--quantization", "--dtype", "--tensor-parallel-size", "--load-format")


def plan_box(
    box: Mapping[str, Any] | None,
    servers: Sequence[Mapping[str, Any]],
    models: Mapping[str, Mapping[str, Any]],
    engine: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    records: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The memory plan of one box.

    ``box`` is what ``box_info`` returns (None: a typical GB10, labelled as an assumption), ``servers`` the wanted ones, ``models`` the
    result of ``model_info`` by path, ``engine`` ``{vllm_version, platform, cuda_runtime, source}``, ``options`` ``{os_floor_gib, margin_gib,
    assume_full_attention}``, ``records`` what earlier runs left, by server (default: the box's own). GB10Error in one sentence for what is
    wrong with the input; what merely does not fit is a verdict, not an error.
    """
    options = options or {}
    box = box or budget.TYPICAL_BOX
    records = budget.as_map(box.get("servers") if records is None else records)
    identity = engine_identity(engine or {})
    platform = identity["platform"]
    floor = checks.gib(options.get("os_floor_gib", budget.OS_FLOOR_GIB), "os_floor_gib")
    margin = checks.gib(options.get("margin_gib", budget.MARGIN_GIB), "margin_gib")
    image_id = str((engine or {}).get("image_id") or "")
    wanted = [read_server(s, budget.as_map(records.get(str(s.get("name")))).get("repairs"), image_id) for s in servers]
    _unique(wanted, "name", "name")
    _unique(wanted, "port", "port")
    memory = budget.box_memory({**box, "servers": records}, [s["name"] for s in wanted], floor, platform)
    needs = []
    for server in wanted:
        info = _model(server, models)
        record = budget.as_map(records.get(server["name"]))
        needs.append(_need(server, info, identity, memory.total_bytes, margin, bool(options.get("assume_full_attention")), record, models))
    grants = solver.allocate(needs, memory.usable_bytes, memory.total_bytes)
    stoppable = [(o["server"], o["bytes"]) for o in memory.others if o.get("server")]
    entries = []
    for i, (server, need, grant) in enumerate(zip(wanted, needs, grants, strict=True)):
        rivals = stoppable + [(wanted[j]["name"], g.requested_bytes) for j, g in enumerate(grants) if j != i and g.fits]
        entries.append(_entry(server, _model(server, models), need, grant, memory, rivals, models))
    taken = sum(e["requested_bytes"] for e in entries if e["verdict"] == "fits")
    return {
        "verdict": max((e["verdict"] for e in entries), key=VERDICTS.index, default="fits"),
        "box": {
            "total_bytes": memory.total_bytes,
            "total_source": memory.total_source,
            "available_bytes": memory.available_bytes,
            "floor_bytes": memory.floor_bytes,
            "usable_bytes": memory.usable_bytes,
            "returned_bytes": memory.returned_bytes,
            "others": [dict(o) for o in memory.others],
            "headroom_bytes": memory.usable_bytes - taken,
            "left_for_os_bytes": memory.available_bytes - taken,
            "warnings": list(memory.warnings),
        },
        "engine": identity,
        "servers": entries,
    }


def calculate(
    info: Mapping[str, Any],
    engine: Mapping[str, Any] | None = None,
    *,
    available_bytes: int | None = None,
    max_model_len: int | str | None = None,
    concurrency: int | None = None,
    kv_cache_dtype: str = "auto",
    tensor_parallel_size: int = 1,
    assume_full_attention: bool = False,
) -> dict[str, Any]:
    """The plain calculator, without a box: whichever of memory, context and concurrency is missing is the answer.

    Memory given: blocks, tokens, concurrency and vLLM's own words for ``max_model_len`` (default: the model's own length), and the
    longest context for ``concurrency`` requests. Memory not given: the bytes for ``concurrency`` (default 1) such requests.
    """
    identity = engine_identity(engine or {})
    settings = {"kv_cache_dtype": kv_cache_dtype, "tensor_parallel_size": checks.whole(tensor_parallel_size, "tensor_parallel_size", 1, 1024)}
    layout = kv_layout(info["config"], _engine(identity, settings), assume_full_attention=assume_full_attention)
    requests = checks.whole(concurrency or 1, "concurrency", 1, 1_000_000)
    length = checks.tokens(max_model_len, "max_model_len") or layout.derived_max_model_len
    _check_length(length, layout, "this model")
    loaded = None
    if info.get("weights"):
        loaded = loaded_weights(info["weights"], info["config"], tensor_parallel_size=tensor_parallel_size, defaults=layout.facts.text.defaults)
    result = {
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
        result.update(
            available_bytes=available_bytes,
            num_blocks=state.num_blocks,
            kv_tokens=state.tokens,
            concurrency=state.concurrency,
            fits=state.ok,
            estimated_max_model_len=state.estimated_max_model_len,
            longest_max_model_len=longest_max_model_len(layout, available_bytes, requests),
            vllm_says=state.log or state.error,
        )
    return result


# --- input ------------------------------------------------------------------------------------------------------------


def engine_identity(engine: Mapping[str, Any]) -> dict[str, Any]:
    """``{vllm_version, platform, cuda_runtime, source}``: a version ending in ``+cpu`` is vLLM's CPU build, anything else a GB10's."""
    version = str(engine.get("vllm_version") or "").strip().removeprefix("v")
    source = str(engine.get("source") or ("given" if version else f"assumed: no version is known, the rules of {NEWEST_RULES} are used"))
    version = version or NEWEST_RULES
    platform = engine.get("platform") or ("cpu" if "cpu" in version.partition("+")[2] else "gb10")
    if platform not in ("gb10", "cpu"):
        raise GB10Error(f"engine.platform is {platform!r}; it can be gb10 or cpu")
    identity = {"vllm_version": version, "platform": platform, "source": source}
    if engine.get("cuda_runtime"):
        identity["cuda_runtime"] = str(engine["cuda_runtime"])
    identity.update({key: engine[key] for key in ("cpu_amx", "cpu_avx512_bf16") if platform == "cpu" and key in engine})
    return identity


def read_server(server: Mapping[str, Any], repairs: Any = None, image_id: str = "") -> dict[str, Any]:
    """A wanted server with its ``args`` split into what the plan decides and what is passed on, and recorded repairs applied.

    Repairs count for the image they were made with; without ``image_id`` they are taken to be for this one.
    Returns a dict with checked types; GB10Error names the server and the key that is wrong.
    """
    name = str(server.get("name") or "")
    if not name or not name.isprintable() or len(name) > 64:
        raise GB10Error(f"a server in gb10_servers has the name {name[:64]!r}: give each a short printable name")
    for key in ("model", "model_path", "kv_cache_dtype", "load_format"):
        if not str(server.get(key) or "").isprintable():
            raise GB10Error(f"server {name}: {key} is {str(server[key])[:64]!r}: it must be printable text on one line")
    merged = dict(server)
    merged["args"] = flags.normalise_args(server.get("args"), name)
    applied = []
    for repair in _repairs(repairs, image_id):
        changed = _apply(merged, repair.get("set") or {})
        if changed:
            applied.append({"id": str(repair.get("id") or "repair"), "reason": str(repair.get("reason") or ""), "set": changed})
    args = merged["args"]
    where = f"server {name}"
    for arg, key in flags.PLANNED_ARGS.items():
        if arg in args:
            merged[key] = args.pop(arg)
    eager = merged.get("enforce_eager")
    return {
        "name": name,
        "model": str(server.get("model") or server.get("model_path") or ""),
        "model_path": str(server.get("model_path") or ""),
        "port": checks.whole(merged.get("port", 8000), f"{where}: port", 1, 65535),
        "max_model_len": checks.tokens(merged.get("max_model_len"), f"{where}: max_model_len"),
        "concurrency": checks.whole(merged.get("concurrency") or 1, f"{where}: concurrency", 1, 1_000_000),
        "utilization": checks.fraction(merged.get("gpu_memory_utilization"), f"{where}: gpu_memory_utilization"),
        "kv_cache_bytes": _kv_bytes(merged, where),
        "kv_cache_dtype": str(merged.get("kv_cache_dtype") or "auto"),
        "served_model_name": merged.get("served_model_name") or str(server.get("model") or name).rstrip("/").rpartition("/")[2],
        "eager": bool(eager) if eager is not None else checks.choice(merged.get("cuda_graphs"), f"{where}: cuda_graphs") == "never",
        "graphs_stated": eager is not None or merged.get("cuda_graphs") in ("always", "never", True, False),
        "load_format": str(merged.get("load_format") or "auto"),
        "trust_remote_code": merged.get("trust_remote_code") in (True, "true", "yes", "always"),
        "trust_stated": merged.get("trust_remote_code") not in (None, "auto"),
        "max_num_batched_tokens": checks.tokens(merged.get("max_num_batched_tokens"), f"{where}: max_num_batched_tokens"),
        "max_num_seqs": checks.tokens(merged.get("max_num_seqs"), f"{where}: max_num_seqs"),
        "args": args,
        "repairs": applied,
    }


def _repairs(repairs: Any, image_id: str) -> list[Mapping[str, Any]]:
    """``{image_id, applied: [...]}`` as the server role keeps it, or just the list."""
    if isinstance(repairs, Mapping):
        made_with = str(repairs.get("image_id") or "")
        if image_id and made_with and image_id != made_with:
            return []
        repairs = repairs.get("applied")
    return [r for r in budget.as_list(repairs) if isinstance(r, Mapping) and isinstance(r.get("set"), Mapping)]


def _apply(server: dict[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Merge a repair over a server and return what it changed; a shorter context the user chose since then stays.

    In ``args`` None removes a flag. ``env`` and ``container`` go to the container and change no number here.
    """
    changed = {}
    for key, value in settings.items():
        if key == "args" and isinstance(value, Mapping):
            server["args"].update(flags.normalise_args(value, server["name"]))
            for name in value:
                if value[name] is None:
                    server["args"].pop(flags.plain_name(name), None)
            changed[key] = dict(value)
        elif key in ("env", "container"):
            changed[key] = value
        elif key == "max_model_len" and isinstance(value, int) and isinstance(server.get(key), int) and server[key] <= value:
            continue
        elif server.get(key) != value:
            server[key] = value
            changed[key] = value
    return changed


def _unique(servers: Sequence[Mapping[str, Any]], key: str, what: str) -> None:
    seen: dict[Any, str] = {}
    for server in servers:
        if server[key] in seen:
            raise GB10Error(f"two servers of one box have the {what} {server[key]} ({seen[server[key]]} and {server['name']}): give each its own")
        seen[server[key]] = server["name"]


def _model(server: Mapping[str, Any], models: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    for key in (server["model_path"], server["model"]):
        if key and key in models:
            info = models[key]
            if info.get("present") is False and info.get("source") != "hub":
                raise GB10Error(f"the model of server {server['name']} is not at {key} yet: download it or give its Hugging Face repo id")
            if not isinstance(info.get("config"), Mapping) or not isinstance(info.get("weights"), Mapping):
                raise GB10Error(f"the facts of model {key} (server {server['name']}) lack config or weights: pass what gb10.vllm.model_info returns")
            return info
    raise GB10Error(f"no facts are given for the model {server['model_path'] or server['model']} of server {server['name']}: run gb10.vllm.model_info on it")


def _speculation(value: Any, name: str) -> Mapping[str, Any]:
    """``speculative_config`` of a server's args, which may be written as an object or as JSON text; empty without one."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise GB10Error(f"server {name}: args.speculative_config is not JSON: write it as a dictionary") from None
    if value is not None and not isinstance(value, Mapping):
        raise GB10Error(f"server {name}: args.speculative_config must be a dictionary such as {{method: mtp, num_speculative_tokens: 1}}")
    return value or {}


def draft_models(servers: Sequence[Mapping[str, Any]]) -> list[str]:
    """Paths or repo ids of the draft models that servers' ``args`` name."""
    found = []
    for server in servers:
        name = str(server.get("name") or "")
        draft = _speculation(flags.normalise_args(server.get("args"), name).get("speculative_config"), name).get("model")
        if isinstance(draft, str) and draft:
            found.append(draft)
    return found


def _engine(identity: Mapping[str, Any], settings: Mapping[str, Any]) -> Engine:
    extra = {key: identity[key] for key in ("cuda_runtime", "cpu_amx", "cpu_avx512_bf16") if key in identity}
    return Engine(vllm_version=identity["vllm_version"], platform=identity["platform"], **extra, **settings)


# --- one server -------------------------------------------------------------------------------------------------------


def _need(
    server: Mapping[str, Any],
    info: Mapping[str, Any],
    identity: Mapping[str, Any],
    total_bytes: int,
    margin_bytes: int,
    assume_full_attention: bool,
    record: Mapping[str, Any],
    models: Mapping[str, Mapping[str, Any]],
) -> solver.Need:
    """Sizes of one server's parts; the KV dtype, graph and two-box variants are computed only when something does not fit."""
    config, args, name = info["config"], server["args"], server["name"]
    settings: dict[str, Any] = {"kv_cache_dtype": server["kv_cache_dtype"]}
    settings.update({key: server[key] for key in ("max_num_batched_tokens", "max_num_seqs") if server[key]})
    for key in ENGINE_ARGS:
        if key in args:
            settings[key] = checks.whole(args[key], f"server {name}: args.{key}", 1, 1_000_000) if key in INT_ENGINE_ARGS else args[key]
    if info.get("kind") == "embedding":
        settings.setdefault("runner", "pooling")  # vLLM finds modules.json and does the same
    speculative = _speculation(args.get("speculative_config"), name)
    draft = models.get(str(speculative.get("model"))) if speculative.get("model") else None
    if speculative:
        settings["speculative_method"] = str(speculative.get("method") or ("draft_model" if speculative.get("model") else ""))
        settings["num_speculative_tokens"] = checks.whole(
            speculative.get("num_speculative_tokens", 1), f"server {name}: speculative_config.num_speculative_tokens", 0, 64
        )

    def size(engine_settings: Mapping[str, Any], eager: bool) -> solver.Need:
        engine = _engine(identity, engine_settings)
        layout = kv_layout(config, engine, assume_full_attention=assume_full_attention, draft_config=draft["config"] if draft else None)
        _check_length(server["max_model_len"], layout, f"server {name}")
        tp = engine.tensor_parallel_size
        loaded = loaded_weights(
            info["weights"],
            config,
            dtype=engine.dtype,
            tensor_parallel_size=tp,
            pipeline_parallel_size=engine.pipeline_parallel_size,
            speculative=bool(speculative) and not speculative.get("model"),
            quantization=args.get("quantization") if isinstance(args.get("quantization"), str) else None,
            defaults=layout.facts.text.defaults,
        )
        element = RUN_DTYPE_BYTES[run_dtype(config, engine.dtype)]
        drafted = loaded_weights(draft["weights"], draft["config"], tensor_parallel_size=tp).total_bytes if draft else 0
        why = _weights_why(loaded) + (f", with {drafted / GIB:.2f} GiB of the draft model" if draft else "")
        parts = {
            "weights": Part(loaded.total_bytes + drafted, "computed", why),
            "activation": budget.activation(
                layout.facts,
                max_num_batched_tokens=layout.batch_tokens(server["max_model_len"] or layout.default_max_model_len),
                max_num_seqs=layout.max_num_seqs,
                tensor_parallel_size=tp,
                element=element,
            ),
            "graph": budget.graphs(total_bytes, platform=engine.platform, eager=eager),
            "non_torch": budget.non_torch(engine.platform),
        }
        present = {
            "--max-num-batched-tokens": layout.batch_tokens(server["max_model_len"] or layout.default_max_model_len),
            "--max-num-seqs": _num_seqs(layout, None),
            "--enforce-eager": True if eager else None,
            "--load-format": server["load_format"],
        }
        present.update({f: args.get(f[2:].replace("-", "_")) for f in OVERHEAD_FLAGS if f not in present})
        parts.update(budget.measured_parts(record, server, identity["vllm_version"], present))
        return solver.Need(
            name,
            layout,
            parts["weights"],
            parts["activation"],
            parts["graph"],
            parts["non_torch"],
            margin_bytes,
            server["max_model_len"],
            server["concurrency"],
            server["kv_cache_bytes"],
            server["utilization"],
        )

    need = size(settings, server["eager"])
    alternatives = {}
    if not need.layout.kv_free and server["kv_cache_dtype"] == "auto" and not need.layout.resolved_kv_cache_dtype.startswith(("fp8", "nvfp4")):
        alternatives["fp8"] = lambda: size({**settings, "kv_cache_dtype": "fp8"}, server["eager"])
    if need.graph.value and not server["graphs_stated"]:
        alternatives["eager"] = lambda: size(settings, True)
    if identity["platform"] == "gb10" and not args.get("tensor_parallel_size") and not args.get("pipeline_parallel_size"):
        alternatives["two_boxes"] = lambda: size({**settings, "tensor_parallel_size": 2}, server["eager"])
    return replace(need, alternatives=alternatives)


def _entry(
    server: Mapping[str, Any],
    info: Mapping[str, Any],
    need: solver.Need,
    grant: solver.Grant,
    memory: budget.BoxMemory,
    rivals: Sequence[tuple[str, int]],
    models: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """The plan's part for one server: figures, flags with reasons, verdict and changes."""
    layout = need.layout
    kv = grant.kv_cache_bytes
    length = need.max_model_len
    if length is None:
        length = layout.derived_max_model_len if layout.kv_free else longest_max_model_len(layout, kv, need.concurrency) if kv else 0
    state: Capacity | None = capacity(layout, kv, length) if kv and length and not layout.kv_free else None
    offers = [] if grant.fits else solver.changes(need, grant, memory.total_bytes, memory.usable_bytes, rivals)
    on_this_box = [c for c in offers if not c.get("boxes")]
    verdict = "fits" if grant.fits else "fits_with_change" if on_this_box else "cannot_fit"
    warnings = list(layout.warnings)
    if info.get("auto_map") and not server["trust_remote_code"] and not server["trust_stated"]:
        warnings.append("the model brings its own code (auto_map); should vLLM ask for it, read that code and set `trust_remote_code: true`")
    if info.get("kind") in ("chat", "completion") and info.get("tokenizer") is False:
        warnings.append("the model directory holds no tokenizer; vLLM will refuse text requests until its files are there")
    if info.get("source") == "hub":
        size = (info.get("download") or {}).get("bytes") or info.get("size_bytes") or 0
        warnings.append(f"the model is not on the box yet: {size / GIB:.1f} GiB to download from {info.get('path')}, {size * 8 / 1e9 / 60:.0f} min at 1 Gbit/s")
    draft = _speculation(server["args"].get("speculative_config"), server["name"]).get("model")
    if draft and str(draft) not in models:
        warnings.append(f"the draft model {draft} is not counted, because its facts were not given: pass it in models")
    chosen = _flags(server, info, need, grant, length, state, memory)
    return {
        "name": server["name"],
        "model": server["model"],
        "served_model_name": _first_name(server["served_model_name"]),
        "port": server["port"],
        "architecture": layout.architecture or info.get("architecture", ""),
        "kind": info.get("kind", "completion"),
        "verdict": verdict,
        "reason": _reason(server, need, grant, memory, length, state, offers),
        "weights_bytes": need.weights.as_dict(),
        "activation_bytes": need.activation.as_dict(),
        "graph_bytes": need.graph.as_dict(),
        "non_torch_bytes": need.non_torch.as_dict(),
        "margin_bytes": need.margin_bytes,
        **layout_facts(layout),
        "kv_cache_dtype": layout.resolved_kv_cache_dtype,
        "kv_cache_bytes": kv,
        "num_blocks": state.num_blocks if state else 0,
        "kv_tokens": state.tokens if state else 0,
        "concurrency": state.concurrency if state else 0.0,
        "wanted_concurrency": need.concurrency,
        "max_model_len": length,
        "longest_max_model_len": longest_max_model_len(layout, kv, 1) if kv and not layout.kv_free else length if layout.kv_free else 0,
        "derived_max_model_len": layout.derived_max_model_len,
        "needed_bytes": need.fixed_bytes + need.least_kv_bytes,
        "gpu_memory_utilization": grant.utilization,
        "requested_bytes": grant.requested_bytes,
        "flags": chosen,
        "arguments": flags.arguments(chosen),
        "changes": offers,
        "repairs": server["repairs"],
        "warnings": warnings,
    }


def layout_facts(layout: KVLayout) -> dict[str, Any]:
    """The layout as plain data: bytes per token and block, block size, groups."""
    return {
        "kv_bytes_per_token": layout.kv_bytes_per_token,
        "bytes_per_block": layout.bytes_per_block,
        "block_size": layout.block_size,
        "groups": [{"layers": g.layers, "kind": g.kind, "block_size": g.block_size, "page_size_bytes": g.page_size_bytes} for g in layout.groups],
    }


def _flags(
    server: Mapping[str, Any],
    info: Mapping[str, Any],
    need: solver.Need,
    grant: solver.Grant,
    length: int,
    state: Capacity | None,
    memory: budget.BoxMemory,
) -> list[dict[str, Any]]:
    """Every flag of ``vllm serve`` with one sentence why; the user's own win."""
    layout, args = need.layout, dict(server["args"])
    repaired = {key: r for r in server["repairs"] for key in r["set"]}
    done: list[dict[str, Any]] = []

    def add(flag: str, value: Any, why: str, key: str = "") -> None:
        if key in repaired:
            why = f"repair {repaired[key]['id']} of an earlier start: {repaired[key]['reason'] or why}"
        done.append({"flag": flag, "value": value, "why": why})

    add("--host", args.pop("host", "0.0.0.0"), "inside the container; what is reachable from outside is the published address")
    add("--port", server["port"], "the server's port")
    add("--served-model-name", server["served_model_name"], "the name clients ask for, whatever the path in the container is")
    if length:
        why = f"the longest context that leaves {need.concurrency} full-length request{'s' if need.concurrency > 1 else ''}"
        add("--max-model-len", length, "stated for this server" if need.max_model_len else why, "max_model_len")
    if grant.kv_cache_bytes:
        fact = f", {state.concurrency:.2f} requests of {length:,} tokens" if state and state.concurrency else ""
        add(
            "--kv-cache-memory-bytes",
            grant.kv_cache_bytes,
            f"{grant.kv_cache_bytes // layout.bytes_per_block:,} whole blocks ({grant.kv_cache_bytes / GIB:.2f} GiB{fact}); fixed in bytes because the"
            " engine's own measurement moves from boot to boot",
            "kv_cache_memory_gib",
        )
    add(
        "--gpu-memory-utilization",
        grant.utilization,
        "stated for this server"
        if need.utilization is not None
        else f"the engine checks at its start that this share of {memory.total_bytes / GIB:.2f} GiB ({grant.requested_bytes / GIB:.2f} GiB: weights, KV cache,"
        " overheads and margin) is free",
        "gpu_memory_utilization",
    )
    if not layout.kv_free or server["max_num_batched_tokens"]:
        add(
            "--max-num-batched-tokens",
            layout.batch_tokens(length or layout.default_max_model_len),
            "stated for this server" if server["max_num_batched_tokens"] else "vLLM's default here, pinned because activations and window caches depend on it",
            "max_num_batched_tokens",
        )
    add(
        "--max-num-seqs",
        _num_seqs(layout, state),
        "stated for this server"
        if server["max_num_seqs"]
        else "one state block per running sequence is all the KV cache holds"
        if _num_seqs(layout, state) != layout.max_num_seqs
        else "vLLM's default here, pinned because the sampler's memory depends on it",
        "max_num_seqs",
    )
    if not layout.kv_free:
        resolved = layout.resolved_kv_cache_dtype
        add(
            "--kv-cache-dtype",
            server["kv_cache_dtype"],
            "stated for this server"
            if server["kv_cache_dtype"] != "auto"
            else f"the model's own ({layout.dtype if resolved == 'auto' else resolved}); fp8 weights alone do not make the cache fp8",
            "kv_cache_dtype",
        )
    add(
        "--load-format",
        server["load_format"],
        "stated for this server" if server["load_format"] != "auto" else f"auto reads this model's {info.get('layout', 'hf')} safetensors",
        "load_format",
    )
    if server["eager"]:
        add("--enforce-eager", True, "CUDA graphs are turned off for this server", "cuda_graphs")
    if server["trust_remote_code"] and info.get("auto_map"):
        add("--trust-remote-code", True, "the model brings its own code (auto_map) and you allowed it", "trust_remote_code")
    for key, value in sorted(args.items()):
        add(flags.flag_name(key), value, "stated in the server's args", "args")
    return done


def _num_seqs(layout: KVLayout, state: Capacity | None) -> int:
    """``max_num_seqs``; a recurrent model needs one state block per running sequence, and vLLM refuses more than it has."""
    if state is not None and state.num_blocks and any(g.kind == STATE for g in layout.groups):
        return max(1, min(layout.max_num_seqs, state.num_blocks))
    return layout.max_num_seqs


def _reason(
    server: Mapping[str, Any],
    need: solver.Need,
    grant: solver.Grant,
    memory: budget.BoxMemory,
    length: int,
    state: Capacity | None,
    offers: Sequence[Mapping[str, Any]],
) -> str:
    """One sentence (two when something has to change) that a user can act on."""
    name = server["name"]
    if grant.fits:
        if state is None:
            return f"server {name} fits: it keeps no KV cache and requests {grant.requested_bytes / GIB:.1f} GiB."
        return (
            f"server {name} fits: {grant.requested_bytes / GIB:.1f} GiB requested of {memory.usable_bytes / GIB:.1f} GiB usable,"
            f" {state.tokens:,} KV tokens, {state.concurrency:.2f} requests of {length:,} tokens."
        )
    overhead = need.activation.value + need.graph.value + need.non_torch.value + need.margin_bytes
    kv = need.least_kv_bytes
    wanted = f"{need.concurrency} x {need.max_model_len or solver.SHORTEST_AUTO_CONTEXT:,} tokens" + ("" if need.max_model_len else " at least")
    if need.utilization is not None and math.ceil(memory.total_bytes * need.utilization) <= memory.usable_bytes:
        limit = f"gpu_memory_utilization {need.utilization:g} allows {grant.limit_bytes / GIB:.1f} GiB"
    elif need.utilization is not None:
        limit = (
            f"gpu_memory_utilization {need.utilization:g} asks for {math.ceil(memory.total_bytes * need.utilization) / GIB:.1f} GiB and"
            f" {grant.limit_bytes / GIB:.1f} GiB can be had ({memory.available_bytes / GIB:.1f} available less {memory.floor_bytes / GIB:g} for the system)"
        )
    else:
        rest = "" if grant.limit_bytes == memory.usable_bytes else " and the servers before it"
        limit = (
            f"{max(0, grant.limit_bytes) / GIB:.1f} GiB can be had ({memory.available_bytes / GIB:.1f} available less {memory.floor_bytes / GIB:g} for the"
            f" system{rest})"
        )
    if need.kv_cache_bytes is not None and need.kv_cache_bytes < kv:
        limit += f", and kv_cache_memory_gib allows {need.kv_cache_bytes / GIB:.2f} GiB of KV cache"
    text = (
        f"server {name} does not fit: weights {need.weights.value / GIB:.1f} + KV cache {kv / GIB:.2f} for {wanted} + overheads and margin"
        f" {overhead / GIB:.1f} = {(need.fixed_bytes + kv) / GIB:.1f} GiB, but {limit}."
    )
    if offers:
        return text + " Cheapest change: " + offers[0]["change"] + "."
    return text + " Use a smaller or more quantised model."


def _weights_why(loaded: Any) -> str:
    parts = [f"{c['what']} {c['bytes'] / GIB:+.2f} GiB" for c in loaded.corrections if abs(c["bytes"]) >= GIB // 200]
    return "from the safetensors headers" + (f", corrected as vLLM loads ({', '.join(parts)})" if parts else "")


def _first_name(names: Any) -> str:
    return str(names[0]) if isinstance(names, (list, tuple)) and names else str(names)


# --- checked values ---------------------------------------------------------------------------------------------------


def _kv_bytes(server: Mapping[str, Any], where: str) -> int | None:
    """The KV cache a user fixed, in bytes; bytes win over GiB."""
    if server.get("kv_cache_memory_bytes") not in (None, ""):
        return checks.whole(server["kv_cache_memory_bytes"], f"{where}: kv_cache_memory_bytes", 1, checks.MOST_BYTES)
    return checks.positive_gib(server.get("kv_cache_memory_gib"), f"{where}: kv_cache_memory_gib")


def _check_length(length: int | None, layout: KVLayout, who: str) -> None:
    if length is not None and length > layout.derived_max_model_len > 0:
        raise GB10Error(
            f"{who}: max_model_len {length} is more than the {layout.derived_max_model_len} tokens the model was made for: use at most that, or auto"
        )

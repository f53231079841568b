# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What one server needs of a box: the engine it is started as, its layout, and the bytes of each of its parts. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import (
    arguments,
    beside,
    beside_arguments,
    budget,
    checks,
    choices,
    environment,
    flags,
    learned,
    object_keys,
    object_values,
    quantization,
    quantization_limits,
)
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.budget import GIB, Part
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.engine import Engine, engine_of
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layer import STATE
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layers_registry import FRAME_TOKENS, MLA_FAMILIES, PREFIX_LM_VIDEOS, VIDEO_FRAMES
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layout import KVLayout, kv_layout
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.model_config import prediction_heads
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.overrides import overridden
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.parallel import Stage, check_blocks, check_release, read_partition, stage_of
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.rules import NEWEST, release_of, tells_no_age
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.shapes import Beside, EngineFacts, ModelInfo, Server, Start
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.solver import Need
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.speculation import draft_of, draft_tokens, method_with_draft, speculation
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.weights import RUN_DTYPE_BYTES, LoadedWeights, loaded_weights, run_dtype

# Flags of the user's that are fields of Engine.
ENGINE_ARGS = (
    "dtype", "tensor_parallel_size", "pipeline_parallel_size", "decode_context_parallel_size", "enable_prefix_caching", "mamba_cache_mode",
    "mamba_cache_dtype", "mamba_ssm_cache_dtype", "async_scheduling", "block_size", "gdn_prefill_backend", "disable_hybrid_kv_cache_manager", "runner",
    "convert", "disable_sliding_window", "enable_chunked_prefill", "performance_mode",
)  # fmt: skip
INT_ENGINE_ARGS = ("tensor_parallel_size", "pipeline_parallel_size", "decode_context_parallel_size", "block_size")
# Sizes of which each one more takes another GPU, and how many GPUs each server of one box may have.
GPU_SIZES = (
    "tensor_parallel_size", "pipeline_parallel_size", "prefill_context_parallel_size", "data_parallel_size", "data_parallel_size_local", "nnodes",
    "decode_context_parallel_size",
)  # fmt: skip
GPUS = 1
# What only an engine among several has (``entrypoints/cli/serve.py``, ``EngineArgs.create_engine_config``, ``config/parallel.py``).
ONE_OF_SEVERAL = (
    "node_rank", "data_parallel_rank", "data_parallel_external_lb", "data_parallel_hybrid_lb", "data_parallel_multi_port_external_lb", "enable_elastic_ep",
    "enable_eplb", "enable_dbo", "enable_fault_tolerance",
)  # fmt: skip
SHARED_OUT = ("tensor_parallel_size", "pipeline_parallel_size", "nnodes", "decode_context_parallel_size")
# Backends that take plain attention only (``AttentionBackend.is_mla``).
NOT_LATENT = ("FLASH_ATTN", "TRITON_ATTN", "FLEX_ATTENTION", "FLASHINFER")
# Flags whose value changes what a start measures besides the KV cache.
OVERHEAD_FLAGS = ("--max-num-batched-tokens", "--max-num-seqs", "--enforce-eager", "--quantization", "--dtype", "--tensor-parallel-size", "--load-format")


@dataclass(frozen=True)
class Common:
    """What all servers of one plan have in common."""

    identity: EngineFacts
    total_bytes: int
    margin_bytes: int
    assume_full_attention: bool
    models: Mapping[str, ModelInfo]
    image_id: str = ""
    starts: Sequence[Start] = ()


@dataclass(frozen=True)
class _Variant:
    """One server in one way to start it. ``settings`` are fields of Engine, ``record`` is what earlier starts left on the box."""

    server: Server
    info: ModelInfo
    record: Mapping[str, Any]
    common: Common
    settings: Mapping[str, Any]
    eager: bool

    @property
    def speculation(self) -> Mapping[str, Any]:
        """What the server's args say about speculative decoding."""
        return speculation(self.server["args"], self.server["name"])

    @property
    def draft(self) -> ModelInfo | None:
        """The draft model, where one is named and its facts were given."""
        return draft_of(self.speculation, self.common.models)


def need_of(server: Server, info: ModelInfo, record: Mapping[str, Any], common: Common) -> Need:
    """Sizes of one server's parts; the variants with another KV dtype or without graphs are computed only when something does not fit."""
    beside_arguments.refuse(server["args"], f"server {server['name']}", common.identity["platform"])
    check_gpus(server, common.identity["platform"])
    _check_arguments(server, common.identity.get("vllm_version") or "")
    flags.refuse_lost_length(server["args"], common.identity.get("vllm_version") or "", server["name"])
    choices.check_files(server["load_format"], server["args"], info.get("names"), f"server {server['name']}")
    info = _as_read(server, info)
    config = overridden(info["config"], server["args"].get("hf_overrides"), f"server {server['name']}")
    if config is not info["config"]:
        info = {**info, "config": config}
    settings = _engine_settings(server, info, common)
    if server["rank"]:  # what an engine logged alone says nothing of a rank; a rank's own starts are told by their arguments
        record = {}
    variant = _Variant(server, info, record, common, settings, server["eager"])
    need = _size(variant)
    alternatives = {}
    if not need.layout.kv_free and server["kv_cache_dtype"] == "auto" and not need.layout.resolved_kv_cache_dtype.startswith(("fp8", "nvfp4")):
        alternatives["fp8"] = lambda: _size(replace(variant, settings={**settings, "kv_cache_dtype": "fp8"}))
    if need.graph.value and not server["graphs_stated"]:
        alternatives["eager"] = lambda: _size(replace(variant, eager=True))
    return replace(need, alternatives=alternatives)


def _check_arguments(server: Server, version: str) -> None:
    """GB10Error for an argument that vLLM's parser or one of its configuration classes refuses, where the release is one whose values are known."""
    if choices.is_known(version) and (strange := flags.unknown_names(server["args"], version)):
        raise GB10Error(
            f"server {server['name']}: {strange[0]}" + (f" (and {len(strange) - 1} more argument{'s' if strange[2:] else ''} like it)" if strange[1:] else "")
        )
    choices.refuse(server["args"], version, f"server {server['name']}")
    if choices.is_known(version):
        object_keys.refuse(server["args"], f"server {server['name']}")
        object_values.refuse(server["args"], f"server {server['name']}")


def _as_read(server: Server, info: ModelInfo) -> ModelInfo:
    """The model as this server's load and configuration formats read a directory that holds it under Mistral's and under the usual names."""
    if "mistral" in (server["load_format"], server["args"].get("config_format")) and info.get("layout", "mistral") != "mistral":
        # vLLM: model_loader/default_loader.py _prepare_weights, transformers_utils/config.py MistralConfigParser
        raise GB10Error(
            f"server {server['name']}: the model has no files under Mistral's names (params.json, consolidated*.safetensors), which load_format: mistral"
            " and config_format: mistral ask for: leave both out"
        )
    other = info.get("hf")
    if not other:
        return info
    made: ModelInfo = {**info}
    if server["load_format"] not in ("auto", "mistral", "dummy"):
        made["weights"] = other["weights"]
    if server["args"].get("config_format") == "hf":
        made["config"] = other["config"]
    return made


def check_length(length: int | None, layout: KVLayout, who: str) -> None:
    """GB10Error for a context longer than the model was made for, unless its user has told vLLM to allow that."""
    key = layout.facts.derived_max_model_len_key
    if key and length is not None and length > layout.derived_max_model_len > 0 and not layout.engine.allow_long_max_model_len:
        raise GB10Error(
            f"{who}: max_model_len {length} is more than the {layout.derived_max_model_len} tokens the model was made for ({key}): use at most that, or auto"
        )


def check_kind(args: Mapping[str, Any], layout: KVLayout, who: str) -> None:
    """GB10Error for arguments that go with other kinds of model only (``config/vllm.py``, ``config/model.py``)."""
    facts = layout.facts
    if args.get("enable_expert_parallel") is True and not facts.num_experts and choices.is_known(layout.engine.vllm_version):
        raise GB10Error(f"{who}: args.enable_expert_parallel needs a model with experts, and {facts.architecture} has none: leave it out")
    if args.get("model_impl") == "terratorch" and facts.architecture != "Terratorch":
        raise GB10Error(f"{who}: args.model_impl terratorch is for models of that library, and {facts.architecture} is none: leave it out")

    if args.get("model_impl") == "transformers" and any(group.kind == STATE for group in layout.groups):
        raise GB10Error(f"{who}: args.model_impl transformers makes other layers of {facts.architecture}, which are not sized here: leave it out")
    if object_values.backend_of(args) in NOT_LATENT or choices.is_known(layout.engine.vllm_version):
        latent = facts.family in MLA_FAMILIES and layout.engine.latent
        sparse = (latent and facts.family != "mla") or any(facts.text.get(key) is not None for key in ("index_topk", "sparse_attention_config"))
        object_values.check_backend(args, latent, sparse, layout.engine.platform == "gb10", who)


def check_batch(length: int, layout: KVLayout, who: str) -> None:
    """GB10Error for a batch that a whole prompt does not fit in, where prompts are not computed in pieces (``SchedulerConfig.verify_max_model_len``)."""
    if layout.batched_tokens is not None and not layout.chunked_prefill and layout.batched_tokens < length:
        raise GB10Error(
            f"{who}: max_num_batched_tokens {layout.batched_tokens} is less than one whole prompt of {length} tokens, and this model's prompts are not"
            " computed in pieces: raise it, or lower max_model_len"
        )


def check_items(args: Mapping[str, Any], layout: KVLayout, who: str) -> None:
    """GB10Error for a batch that the largest image or video does not fit in, where it may not be cut.

    ``platforms/cuda.py check_and_update_config`` forbids the cut, ``encoder_cache_manager.py compute_mm_encoder_budget`` refuses the batch.
    """
    facts, batch = layout.facts, layout.batched_tokens
    if batch is None or batch >= facts.item_tokens or not layout.rules.prefix_lm_batch_floor or layout.engine.platform != "gb10":
        return
    tokens, videos = facts.item_tokens, beside.as_object(args.get("limit_mm_per_prompt")).get("video")
    if facts.architecture in PREFIX_LM_VIDEOS and videos is not None:
        frames = videos.get("num_frames") if isinstance(videos, Mapping) else None
        tokens = 0 if arguments.is_off(videos) else min(frames, VIDEO_FRAMES) * FRAME_TOKENS if isinstance(frames, int) else tokens
    if batch < tokens and beside_arguments.takes_images(facts, args):
        raise GB10Error(
            f"{who}: max_num_batched_tokens {batch} is less than the {tokens} tokens of one image or video, which {facts.architecture} reads in one piece:"
            " raise it or leave it out, or set args.language_model_only where nobody sends any"
        )


def check_gpus(server: Server, platform: str) -> None:
    """GB10Error for a server that wants more GPUs than the one a GB10 has (vLLM: ``config/parallel.py``, World size ... larger than ...)."""
    if platform != "gb10":
        return
    args, who = server["args"], f"server {server['name']}"
    for key in GPU_SIZES:
        value = args.get(key)
        size = GPUS if value is None else checks.whole(value, f"{who}: args.{key}", 0, 1_000_000)
        if size > GPUS and not (server["rank"] and key in SHARED_OUT):
            offer = f"say `boxes: {size}` for the server to have it planned over {size} boxes" if key in SHARED_OUT else "leave it out"
            raise GB10Error(f"{who}: args.{key} is {size}, but a GB10 has one GPU: {offer}, or take a smaller or more quantised model")
    for key in ONE_OF_SEVERAL:
        value, ranked = args.get(key), server["rank"] and key in ("node_rank", "enable_eplb", "enable_dbo")
        if value is not None and not ranked and (key == "data_parallel_rank" or not arguments.is_off(value)):
            raise GB10Error(f"{who}: args.{key} is for several engines that share the work, and a GB10 has one GPU: leave it out")
    if arguments.is_off(args.get("data_parallel_size_local", 1)):
        raise GB10Error(f"{who}: args.data_parallel_size_local is 0, so no engine would start on the box: leave it out")
    if args.get("data_parallel_start_rank") is not None and args.get("data_parallel_size_local") is not None:
        raise GB10Error(f"{who}: args.data_parallel_start_rank is for several engines that share the work, and a GB10 has one GPU: leave it out")
    devices = str(args.get("device_ids") or 0).strip()
    if devices != "0" and not devices.startswith(("GPU-", "MIG-")):
        raise GB10Error(f"{who}: args.device_ids is {checks.shown(args['device_ids'])}, but a GB10 has one GPU, 0: leave it out")


def _engine_settings(server: Server, info: ModelInfo, common: Common) -> dict[str, Any]:
    """The fields of Engine that the server's keys and args decide."""
    args, name = server["args"], server["name"]
    settings: dict[str, Any] = {"kv_cache_dtype": server["kv_cache_dtype"]}
    if server["max_num_batched_tokens"]:
        settings["max_num_batched_tokens"] = server["max_num_batched_tokens"]
    if server["max_num_seqs"]:
        settings["max_num_seqs"] = server["max_num_seqs"]
    for key in ENGINE_ARGS:
        if key in args:
            settings[key] = checks.whole(args[key], f"server {name}: args.{key}", 1, 1_000_000) if key in INT_ENGINE_ARGS else args[key]
    rank = server["rank"]
    if rank:
        settings |= {"tensor_parallel_size": rank.tensor, "pipeline_parallel_size": rank.pipeline}
        settings["layer_partition"] = read_partition(server["env"].get("VLLM_PP_LAYER_PARTITION"))
    if info.get("kind") == "embedding" and "beside" not in info:
        settings.setdefault("runner", "pooling")  # facts of an earlier version of this collection: modules.json was there
    if server["env"].get(environment.ALLOW_LONG, "0").strip().lower() in ("1", "true"):
        settings["allow_long_max_model_len"] = True
    settings["latent"] = server["env"].get(environment.NO_LATENT, "0").strip() in ("", "0")
    skipped = args.get("kv_cache_dtype_skip_layers") or ()
    settings["kv_cache_dtype_skip_layers"] = tuple(map(str, skipped if isinstance(skipped, (list, tuple)) else str(skipped).split()))
    wanted = speculation(args, name)
    if wanted:
        draft = draft_of(wanted, common.models)
        method = method_with_draft(wanted, draft["config"] if draft else None)
        heads = prediction_heads(draft["config"] if draft else info["config"]) if method == "mtp" else 0
        settings["speculative_method"] = method
        settings["num_speculative_tokens"] = draft_tokens({**wanted, "method": method}, heads, f"server {name}")
    return settings


def _size(variant: _Variant) -> Need:
    server, common, draft = variant.server, variant.common, variant.draft
    engine = engine_of(common.identity, variant.settings)
    layout = kv_layout(
        variant.info["config"],
        engine,
        assume_full_attention=common.assume_full_attention,
        draft_config=draft["config"] if draft else None,
        beside=_beside(variant),
    )
    check_length(server["max_model_len"], layout, f"server {server['name']}")
    check_kind(server["args"], layout, f"server {server['name']}")
    check_batch(server["max_model_len"] or layout.default_max_model_len, layout, f"server {server['name']}")
    batch = layout.batch_tokens(server["max_model_len"] or layout.default_max_model_len)
    args, who = {**arguments.by_name(server["args"]), "speculative_config": variant.speculation}, f"server {server['name']}"
    check_items(args, layout, who)
    rank = server["rank"]
    if rank:
        check_release(engine.vllm_version)
        check_blocks(variant.info["config"], layout.facts, rank.tensor)
    stage = stage_of(layout.facts.num_layers, engine, rank.number) if rank else None
    facts = replace(layout.facts, num_layers=stage.end - stage.first) if stage else layout.facts
    step = beside.Step(
        tokens=batch,
        sequences=layout.max_num_seqs,
        element=RUN_DTYPE_BYTES[run_dtype(variant.info["config"], engine.dtype)],
        tp=engine.tensor_parallel_size,
        platform=engine.platform,
        vllm_version=engine.vllm_version,
        eager=variant.eager,
        rank=rank,
    )
    added = beside_arguments.parts(layout.facts, step, args, who)
    found = common.identity.get("image_version") or engine.vllm_version
    logged = budget.measured_parts(variant.record, server, found, _overhead_flags(variant, batch, layout.max_num_seqs))
    weights = logged.pop("weights", None)
    if weights:
        added.pop("lora_slots", None)  # vLLM logs them as loaded with the model
    weights = weights or _weights(variant, engine, layout, stage)
    assumed = {**beside.parts(facts, step, args), **added}
    return Need(
        name=server["name"],
        layout=layout,
        weights=weights,
        parts=_learned(variant, layout, batch, {**assumed, **logged}) or _as_logged(assumed, logged),
        margin_bytes=common.margin_bytes + server["reserve_bytes"],
        max_model_len=server["max_model_len"],
        concurrency=server["concurrency"],
        kv_cache_bytes=server["kv_cache_bytes"],
        kv_cache_most_bytes=server["kv_cache_most_bytes"],
        utilization=server["utilization"],
        ceiling=server["ceiling"],
        quantization=_quantization(variant, layout),
    )


def _beside(variant: _Variant) -> Beside:
    """What files beside the configuration say, and the ways of pooling that ``--pooler-config`` says instead."""
    found: Beside = {**variant.info.get("beside", {})}
    asked = variant.server["args"].get("pooler_config")
    if isinstance(asked, Mapping):
        found["pooler"] = [str(asked[key]).upper() for key in ("pooling_type", "seq_pooling_type", "tok_pooling_type") if asked.get(key)]
    return found


def _quantization(variant: _Variant, layout: KVLayout) -> str | None:
    """The method vLLM ends up with; GB10Error where what is asked for contradicts the files or is no method at all."""
    config, who, version = variant.info["config"], f"server {variant.server['name']}", layout.engine.vllm_version
    method = quantization.resolved(
        layout.facts.quant_method,
        variant.server["args"].get("quantization"),
        who,
        model_type=str(config.get("model_type") or ""),
        algorithm=quantization.modelopt_algorithm(config),
        names=variant.info.get("names", ()),
    )
    declared = layout.facts.quant_method
    if not tells_no_age(version) and release_of(version) <= NEWEST:
        quantization.check_known(method, who, release_of(version), variant.server["args"])
        quantization_limits.check_dtype(method, declared, run_dtype(config, layout.engine.dtype), who)
        quantization_limits.check_format(config, declared, release_of(version), who)
    if choices.is_known(version):
        quantization.check_modelopt(declared, config, who)
    return method


def _weights(variant: _Variant, engine: Engine, layout: KVLayout, stage: Stage | None) -> Part:
    """The model's weights at load, those of one rank of several, and the draft model's, which lies on the last stage."""
    config, args = variant.info["config"], variant.server["args"]
    loaded = loaded_weights(
        variant.info["weights"],
        config,
        dtype=engine.dtype,
        tensor_parallel_size=engine.tensor_parallel_size,
        stage=stage,
        tower=str(args.get("mm_encoder_tp_mode") or "weights"),
        speculative=bool(variant.speculation) and not variant.speculation.get("model"),
        quantization=args.get("quantization"),
        quantization_config=args.get("quantization_config"),
        defaults=layout.facts.text.defaults,
    )
    draft, why = variant.draft, _corrections(loaded)
    if stage is not None:
        divided = f", divided by {engine.tensor_parallel_size}" if engine.tensor_parallel_size > 1 else ""
        why = f"layers {stage.first + 1} to {stage.end} of {stage.layers}{divided}, {why}"
    if draft is None or (stage is not None and not stage.is_last):
        return Part(loaded.total_bytes, "computed", why)
    drafted = loaded_weights(draft["weights"], draft["config"], tensor_parallel_size=engine.tensor_parallel_size).total_bytes
    return Part(loaded.total_bytes + drafted, "computed", f"{why}, with {drafted / GIB:.2f} GiB of the draft model")


def _corrections(loaded: LoadedWeights) -> str:
    parts = [f"{c['what']} {c['bytes'] / GIB:+.2f} GiB" for c in loaded.corrections if abs(c["bytes"]) >= GIB // 200]
    return "from the safetensors headers" + (f", corrected as vLLM loads ({', '.join(parts)})" if parts else "")


def _as_logged(assumed: Mapping[str, Part], logged: Mapping[str, Part]) -> dict[str, Part]:
    """The assumed parts, each replaced by what the engine of an earlier start logged of it.

    What it calls consumed holds all but activations and graphs.
    """
    held = ("context", "workspaces", "host_processes") if "consumed" in logged else ()
    return {name: logged.get(name, part) for name, part in {**assumed, **logged}.items() if name not in held}


def _learned(variant: _Variant, layout: KVLayout, batch_tokens: int, parts: Mapping[str, Part]) -> dict[str, Part]:
    """The parts beside weights and KV cache as earlier starts were seen to take them together; empty where none was measured.

    The total is known, its split only as far as vLLM logged its graphs. What fills only with use stays counted, and
    so do the slots of adapters, which vLLM logs with the weights.
    """
    common, asked = variant.common, _asked(variant, layout, batch_tokens)
    total, kept_out = learned.beside(common.starts, asked, common.total_bytes)
    if total is None:
        processes = parts["host_processes"]
        return {**_as_logged(parts, {}), "host_processes": replace(processes, why="; ".join([processes.why, *kept_out]))} if kept_out else {}
    graphs = min(parts["graphs"].value, total.value) if parts["graphs"].source == "measured" else 0
    found = {"graphs": Part(graphs, "measured", total.why)} if graphs else {}
    found["together"] = replace(total, value=total.value - graphs)
    return {**found, **{name: parts[name] for name in (*beside_arguments.WITH_USE, "lora_slots") if name in parts}}


def _asked(variant: _Variant, layout: KVLayout, batch_tokens: int) -> learned.Asked:
    """The server as earlier starts are compared with it."""
    server, info, settings = variant.server, variant.info, variant.settings
    rows: dict[str, Any] = {flags.flag_name(key): value for key, value in server["args"].items()}
    rows |= {flag: value for flag, value, _why in beside_arguments.own_flags(layout.facts, server["args"])}
    if not layout.kv_free or server["max_num_batched_tokens"]:
        rows["--max-num-batched-tokens"] = batch_tokens
    if not layout.kv_free:
        rows["--kv-cache-dtype"] = settings["kv_cache_dtype"]
    rows |= {"--max-num-seqs": layout.max_num_seqs, "--load-format": server["load_format"]}
    if "tensor_parallel_size" in settings:
        rows["--tensor-parallel-size"] = settings["tensor_parallel_size"]
    rank = server["rank"]
    if rank:  # a head, another rank that shares its layers, and another stage take different things
        rows |= {"--pipeline-parallel-size": rank.pipeline, "--nnodes": len(rank.boxes), "--node-rank": rank.number}
        rows |= {} if rank.head else {"--headless": True}
    rows |= {"--enforce-eager": True} if variant.eager else {}
    rows |= {"--trust-remote-code": True} if server["trust_remote_code"] and info.get("auto_map") else {}
    return learned.Asked(
        server["model_path"],
        str(info.get("manifest") or ""),
        variant.common.image_id,
        variant.common.identity["vllm_version"],
        flags.arguments([{"flag": flag, "value": value} for flag, value in rows.items()]),
        not server["max_num_seqs"] and any(group.kind == STATE for group in layout.groups),
    )


def _overhead_flags(variant: _Variant, batch_tokens: int, max_num_seqs: int) -> dict[str, Any]:
    """The flags an earlier start must have had for its measurements to count; None for one that must be absent."""
    present: dict[str, Any] = {
        "--max-num-batched-tokens": batch_tokens,
        "--max-num-seqs": max_num_seqs,
        "--enforce-eager": True if variant.eager else None,
        "--load-format": variant.server["load_format"],
    }
    args = variant.server["args"]
    return {flag: present[flag] if flag in present else args.get(flag[2:].replace("-", "_")) for flag in OVERHEAD_FLAGS}

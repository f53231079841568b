# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every flag of ``vllm serve`` for one server, with one sentence why; the user's own win. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ansible_collections.gb10.vllm.plugins.module_utils._sizing import beside_arguments
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.budget import GIB
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.flags import flag_name
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.outcome import Outcome
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.shapes import Flag

PLANNED_RANKS = ("tensor_parallel_size", "pipeline_parallel_size", "nnodes", "node_rank", "headless")
STATED = "stated for this server"


class _Row(NamedTuple):
    """A flag with its reason; ``key`` is the server's key that decides it."""

    flag: str
    value: Any
    why: str
    key: str = ""


def flags_of(outcome: Outcome) -> list[Flag]:
    """The flags in their order on the command line; one that a repair set says so."""
    repaired = {key: repair for repair in outcome.server["repairs"] for key in repair["set"]}
    found: list[Flag] = []
    for part in (_address, _context_and_cache, _batches, _formats, _switches, _ranks, _own):
        for flag, value, why, key in part(outcome):
            if key in repaired:
                why = f"repair {repaired[key]['id']} of an earlier start: {repaired[key]['reason'] or why}"
            found.append({"flag": flag, "value": value, "why": why})
    return found


def _address(outcome: Outcome) -> Iterator[_Row]:
    server = outcome.server
    host = str(server["args"].get("host") or "0.0.0.0").strip().replace("None", "0.0.0.0")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    yield _Row("--host", host, "inside the container; what is reachable from outside is the published address")
    yield _Row("--port", server["port"], "the server's port")
    yield _Row("--served-model-name", server["served_model_name"], "the name clients ask for, whatever the path in the container is")


def _context_and_cache(outcome: Outcome) -> Iterator[_Row]:
    need, grant, state = outcome.need, outcome.grant, outcome.state
    if outcome.length:
        why = f"the longest context that leaves {need.concurrency} full-length request{'s' if need.concurrency > 1 else ''}"
        yield _Row("--max-model-len", outcome.length, STATED if need.max_model_len else why, "max_model_len")
    if grant.kv_cache_bytes and outcome.layout.rules.kv_cache_memory_bytes:
        fact = f", {state.concurrency:.2f} requests of {outcome.length:,} tokens" if state and state.concurrency else ""
        why = (
            f"{grant.kv_cache_bytes // outcome.layout.bytes_per_block:,} whole blocks ({grant.kv_cache_bytes / GIB:.2f} GiB{fact}); fixed in bytes because the"
            " engine's own measurement moves from boot to boot"
        )
        if outcome.server["rank"] and outcome.server["rank"].kv_why:
            why = f"{why}; {outcome.server['rank'].kv_why}"
        yield _Row("--kv-cache-memory-bytes", grant.kv_cache_bytes, why, "kv_cache_memory_gib")
    why = (
        f"the engine checks at its start that this share of {outcome.memory.total_bytes / GIB:.2f} GiB ({grant.requested_bytes / GIB:.2f} GiB: weights, KV"
        " cache, overheads and margin) is free"
    )
    rank = outcome.server["rank"]
    if rank and rank.utilization:
        why = "the least of all ranks, so that their arguments are equal; each checks at its start that this share is free"
    yield _Row("--gpu-memory-utilization", outcome.utilization, STATED if need.utilization is not None else why, "gpu_memory_utilization")


def _batches(outcome: Outcome) -> Iterator[_Row]:
    server, layout = outcome.server, outcome.layout
    if not layout.kv_free or server["max_num_batched_tokens"]:
        tokens = layout.batch_tokens(outcome.length or layout.default_max_model_len)
        why = "vLLM's default here, pinned because activations and window caches depend on it"
        yield _Row("--max-num-batched-tokens", tokens, STATED if server["max_num_batched_tokens"] else why, "max_num_batched_tokens")
    if server["max_num_seqs"]:
        why = STATED
    elif outcome.max_num_seqs != layout.max_num_seqs:
        why = "one state block per running sequence is all the KV cache holds"
    else:
        why = "vLLM's default here, pinned because the sampler's memory depends on it"
    yield _Row("--max-num-seqs", outcome.max_num_seqs, why, "max_num_seqs")


def _formats(outcome: Outcome) -> Iterator[_Row]:
    server, layout = outcome.server, outcome.layout
    if not layout.kv_free:
        resolved = layout.resolved_kv_cache_dtype
        why = f"the model's own ({layout.dtype if resolved == 'auto' else resolved}); fp8 weights alone do not make the cache fp8"
        yield _Row("--kv-cache-dtype", server["kv_cache_dtype"], STATED if server["kv_cache_dtype"] != "auto" else why, "kv_cache_dtype")
    why = f"auto reads this model's {outcome.info.get('layout', 'hf')} safetensors"
    yield _Row("--load-format", server["load_format"], STATED if server["load_format"] != "auto" else why, "load_format")


def _switches(outcome: Outcome) -> Iterator[_Row]:
    if outcome.server["eager"]:
        yield _Row("--enforce-eager", True, "CUDA graphs are turned off for this server", "cuda_graphs")
    if outcome.server["trust_remote_code"] and outcome.info.get("auto_map"):
        yield _Row("--trust-remote-code", True, "the model brings its own code (auto_map) and you allowed it", "trust_remote_code")


def _ranks(outcome: Outcome) -> Iterator[_Row]:
    rank = outcome.server["rank"]
    if rank is None:
        return
    yield _Row("--tensor-parallel-size", rank.tensor, rank.why)
    yield _Row("--pipeline-parallel-size", rank.pipeline, rank.why)
    yield _Row("--nnodes", len(rank.boxes), "one GPU in each box")
    yield _Row("--node-rank", rank.number, f"the place of this box among {', '.join(rank.boxes)}; the first is the head")
    if not rank.head:
        yield _Row("--headless", True, "the API server is on the head only")


def _own(outcome: Outcome) -> Iterator[_Row]:
    for flag, value, why in beside_arguments.own_flags(outcome.layout.facts, outcome.server["args"]):
        yield _Row(flag, value, why, "args")
    for key, value in sorted(outcome.server["args"].items()):
        if key != "host" and not (outcome.server["rank"] and key in PLANNED_RANKS):
            yield _Row(flag_name(key), value, "stated in the server's args", "args")

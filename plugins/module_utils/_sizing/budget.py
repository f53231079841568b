# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The byte budget of a box: what there is, who holds it, and what a server takes beside weights and KV cache. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.checks import GIB
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.model_config import ModelFacts
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.shapes import BoxFacts, PartFacts, Server

# Field reports: GB10 boxes reset hard near 6 GiB of available memory and run clean from 11 GiB on.
OS_FLOOR_GIB = 12.0
# MemAvailable moves by 0.3 to 1.2 GiB between boots of the same box (kv-cache notes in docs/sizing.md).
MARGIN_GIB = 1.5
# Two public GB10 logs: utilisation 0.92 behaved as 0.8778 and 0.80 as 0.758 once graphs were charged.
GRAPH_SHARE = 0.042
# Three logged GB10 starts took 2.8 to 3.6 GiB beside the weights, of which about 0.5 GiB is the activation formula's.
NON_TORCH_GB10_BYTES = int(3.0 * GIB)
# vLLM's CPU build: API server, engine core and worker before they hold weights (0.6 + 0.6 + 0.7 GiB resident).
NON_TORCH_CPU_BYTES = int(1.9 * GIB)
# What a planner may suppose about a running server whose start was not measured.
UNMEASURED_OVERHEAD_BYTES = 2 * GIB


@dataclass(frozen=True)
class Part:
    """One term of the budget: bytes, where the number comes from, and why."""

    value: int
    source: str  # computed | measured | assumed
    why: str

    def as_dict(self) -> PartFacts:
        """The part as plain data."""
        return {"value": self.value, "source": self.source, "why": self.why}


@dataclass(frozen=True)
class BoxMemory:
    """Memory of a box as the plan may use it.

    ``available_bytes`` is MemAvailable now plus what the wanted servers that already run would give back, ``usable_bytes``
    that less the floor for the operating system.
    """

    total_bytes: int
    total_source: str
    available_bytes: int
    floor_bytes: int
    usable_bytes: int
    returned_bytes: int
    others: tuple[dict[str, Any], ...]
    warnings: tuple[str, ...]


# Boxes of 2025 report 119.7 GiB; right after boot 101 to 113 GiB of it were available in public reports.
TYPICAL_BOX: BoxFacts = {
    "memory": {
        "total_bytes": int(119.7 * GIB),
        "available_bytes": int(107 * GIB),
        "cuda_total_bytes": int(119.7 * GIB),
        "cuda_total_source": "assumed: a typical GB10, 119.7 GiB with 107 GiB available",
    }
}


def box_memory(box: BoxFacts, wanted_names: Sequence[str], floor_bytes: int, platform: str = "gb10") -> BoxMemory:
    """Read ``box_info``'s facts as a budget; GB10Error when they hold no memory figures."""
    memory = as_map(box.get("memory"))
    mem_total = _count(memory.get("total_bytes"))
    available_now = _count(memory.get("available_bytes"))
    cuda_total = _count(memory.get("cuda_total_bytes"))
    total = cuda_total if platform == "gb10" and cuda_total else mem_total
    if not total or not available_now:
        raise GB10Error("the facts of the box hold no total and available memory: gather them with gb10.vllm.box_info")
    warnings = []
    if platform == "cpu":
        source = "MemTotal (vLLM's CPU build counts the memory of the box)"
    elif cuda_total:
        source = str(memory.get("cuda_total_source") or "CUDA")
        source = source if source.startswith("assumed") else f"measured ({source})"
    else:
        source = "assumed: MemTotal, because CUDA was not asked"
        warnings.append(
            "the total memory CUDA reports is not known on this box and MemTotal is assumed; on GB10 119.7 and 121.69 GiB both occur, so the"
            " utilisation may be off by up to 2 %"
        )
    if available_now > mem_total > 0:
        raise GB10Error(f"the facts of the box claim {available_now} bytes available of {mem_total} in total: gather them again")
    returned = requested_running = 0
    others = []
    for name, held, requested in running_servers(box):
        if name in wanted_names:
            returned += held
            requested_running += requested
        else:
            others.append({"name": f"server {name}", "server": name, "bytes": held})
    for holder in as_list(box.get("holders")):
        if isinstance(holder, Mapping) and not _is_engine(holder):
            pid = holder.get("pid")
            others.append({"name": str(holder.get("name", "?")), "pid": pid if isinstance(pid, int) else None, "bytes": _count(holder.get("bytes"))})
    available = min(available_now + returned, max(mem_total - GIB, available_now))
    # What runs has shown that it fits: its own reservation is never refused because a measurement moved a little.
    usable = max(0, available - floor_bytes, requested_running)
    if returned and available_now < floor_bytes:
        warnings.append(
            f"only {available_now / GIB:.1f} GiB are available on this box now, less than the floor of {floor_bytes / GIB:g} GiB for the operating system"
        )
    return BoxMemory(total, source, available, floor_bytes, usable, returned, tuple(others), tuple(warnings))


def running_servers(box: BoxFacts) -> list[tuple[str, int, int]]:
    """Servers of this collection that run now: (name, bytes they hold, bytes they requested), from containers and records."""
    found = []
    records = as_map(box.get("servers"))
    for container in map(as_map, as_list(as_map(box.get("docker")).get("containers"))):
        name = as_map(container.get("labels")).get("gb10.vllm.server")
        if not name or container.get("status") != "running":
            continue
        record = as_map(records.get(str(name)))
        deployment = as_map(record.get("deployment"))
        planned = as_map(deployment.get("planned"))
        facts = as_map(as_map(record.get("measured")).get("facts"))
        requested = _count(deployment.get("requested_bytes"))
        weights = _count(facts.get("weights_bytes")) or value_of(planned.get("weights_bytes"))
        held = weights + value_of(planned.get("kv_cache_bytes"))
        if not held:
            continue
        consumed, beside = _count(facts.get("consumed_bytes")), facts.get("beside_bytes")
        extra = max(0, consumed - weights) + _count(facts.get("graph_bytes")) if consumed else UNMEASURED_OVERHEAD_BYTES
        if isinstance(beside, int) and not isinstance(beside, bool) and beside >= 0:
            extra = beside  # as the box saw it
        held = min(held + extra, requested) if requested else held
        found.append((str(name), held, requested))
    return found


def activation(facts: ModelFacts, *, max_num_batched_tokens: int, max_num_seqs: int, tensor_parallel_size: int = 1, element: int = 2) -> Part:
    """Transient peak of the profile run, labelled as an assumption: vLLM has no formula, it measures.

    Dense layers: up and gate projections, their product and three residual copies are alive at once, ``3 x (ffn + hidden)``
    values per token, which two H100 runs show to 2 %; compiled graphs took 10 % more. Experts: ``top_k`` such rows and 50 % for the
    permutation's copies. Never less than the float32 logits of ``max_num_seqs`` rows. ``element``: bytes of the run dtype.
    """
    hidden = facts.hidden_size
    ffn = facts.intermediate_size or 4 * hidden
    tp = max(1, tensor_parallel_size)
    if facts.num_experts and facts.num_experts_per_token:
        inner = facts.moe_intermediate_size or ffn
        rows = facts.num_experts_per_token * (3 * inner // tp + 2 * hidden) + 3 * hidden
        factor = 1.5
    else:
        rows, factor = 3 * (ffn // tp + hidden), 1.1
    layers = int(max_num_batched_tokens * rows * element * factor)
    logits = max_num_seqs * facts.vocab_size * 4
    why = (
        f"formula over {max_num_batched_tokens} batched tokens"
        if layers >= logits
        else f"float32 logits of {max_num_seqs} sequences x {facts.vocab_size} tokens of the vocabulary"
    )
    return Part(max(layers, logits), "assumed", why + "; learned from the first start")


def graphs(total_bytes: int, *, platform: str, eager: bool) -> Part:
    """Memory CUDA graphs take: none without them, else the share two public GB10 reports agree on."""
    if platform == "cpu":
        return Part(0, "computed", "the CPU build captures no CUDA graphs")
    if eager:
        return Part(0, "computed", "CUDA graphs are off (--enforce-eager)")
    return Part(int(total_bytes * GRAPH_SHARE), "assumed", f"{GRAPH_SHARE} of the total, as public GB10 logs show; learned from the first start")


def non_torch(platform: str) -> Part:
    """What the processes hold outside torch: CUDA context, libraries, API server, pinned buffers."""
    if platform == "cpu":
        return Part(NON_TORCH_CPU_BYTES, "assumed", "resident memory of vLLM's three processes, as measured with its CPU build")
    return Part(NON_TORCH_GB10_BYTES, "assumed", "three logged GB10 starts took 2.8 to 3.6 GiB beside the weights; learned from the first start")


def measured_parts(record: Mapping[str, Any], server: Server, vllm_version: str, settings: Mapping[str, Any]) -> dict[str, Part]:
    """Weights and overheads an earlier start of the same image, model and flags measured on this box; empty without one.

    ``record`` is ``box.servers[name]``; ``settings`` are the flags that change the overheads, as the command line has them
    (``--max-num-seqs`` and so on; None for a flag that is absent).
    """
    deployment, measured = as_map(record.get("deployment")), as_map(record.get("measured"))
    facts = as_map(measured.get("facts"))
    if not facts or not deployment or measured.get("spec") != deployment.get("spec"):
        return {}
    if deployment.get("model_path") != server.get("model_path") or str(deployment.get("vllm_version") or "") not in ("", vllm_version):
        return {}
    command = [str(word) for word in as_list(as_map(deployment.get("container")).get("command"))]
    for flag, value in settings.items():
        if value is None:
            if flag in command:
                return {}
        elif flag not in command or (value is not True and command[command.index(flag) + 1 : command.index(flag) + 2] != [str(value)]):
            return {}
    why = "measured on this box by the last start with the same image, model and flags"
    parts = {}
    weights = _count(facts.get("weights_bytes"))
    if weights:
        parts["weights"] = Part(weights, "measured", why)
    if _count(facts.get("activation_bytes")):
        parts["activation"] = Part(_count(facts["activation_bytes"]), "measured", why)
    graph = _count(facts.get("graph_bytes")) or _count(facts.get("graph_estimate_bytes"))
    if graph and settings.get("--enforce-eager") is None:
        parts["graph"] = Part(graph, "measured", why)
    consumed = _count(facts.get("consumed_bytes"))
    if weights and consumed > weights:
        parts["non_torch"] = Part(consumed - weights, "measured", why + " (consumed less weights)")
    return parts


def value_of(part: Any) -> int:
    """Bytes of a plan's term, whether it is a number or ``{value, source, why}``."""
    return _count(part.get("value")) if isinstance(part, Mapping) else _count(part)


def _is_engine(holder: Mapping[str, Any]) -> bool:
    return str(holder.get("name", "")).startswith(("VLLM", "vllm"))


def as_map(value: Any) -> Mapping[str, Any]:
    """``value`` where it is a mapping, else an empty one: records are files on a box and may hold anything."""
    return value if isinstance(value, Mapping) else {}


def as_list(value: Any) -> Sequence[Any]:
    """``value`` where it is a list, else an empty one."""
    return value if isinstance(value, (list, tuple)) else ()


def _count(value: Any) -> int:
    """Bytes from a fact; 0 for what is no sensible number of bytes."""
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 2**60 else 0

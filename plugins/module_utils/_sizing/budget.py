# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The byte budget of a box: what there is, who holds it, and what the engine of an earlier start logged of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.checks import GIB
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.shapes import BoxFacts, PartFacts, Server

# Field reports: GB10 boxes reset hard near 6 GiB of available memory and run clean from 11 GiB on.
OS_FLOOR_GIB = 12.0
# MemAvailable moves by 0.3 to 1.2 GiB between boots of the same box (kv-cache notes in docs/sizing.md).
MARGIN_GIB = 1.5
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


# Public reports of the boxes that are sold now: 121.63 or 121.69 GiB in all as CUDA sees it, 112 to 116 GiB available after a clean boot, 97 to 110
# on boxes that have run for long. Boxes of 2025 said 119.7.
TYPICAL_BOX: BoxFacts = {
    "memory": {
        "total_bytes": int(121.69 * GIB),
        "available_bytes": int(112 * GIB),
        "cuda_total_bytes": int(121.69 * GIB),
        "cuda_total_source": "assumed: a typical GB10, 121.69 GiB with 112 GiB available after a clean boot (97 to 110 later)",
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
        parts["activations"] = Part(_count(facts["activation_bytes"]), "measured", why)
    graph = _count(facts.get("graph_bytes")) or _count(facts.get("graph_estimate_bytes"))
    if graph and settings.get("--enforce-eager") is None:
        parts["graphs"] = Part(graph, "measured", why)
    consumed = _count(facts.get("consumed_bytes"))
    if weights and consumed > weights:
        parts["consumed"] = Part(consumed - weights, "measured", why + " (consumed less weights)")
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

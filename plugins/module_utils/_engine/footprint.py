# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a server takes beside weights and KV cache, from what its box says of its memory before and after the start. Pure.

With the bytes of the KV cache given, vLLM measures nothing (``v1/worker/gpu_worker.py determine_available_memory`` returns early), so the box is
asked. On a GB10 device and host are one pool: what MemAvailable lost is what the server took, less what others took meanwhile. On a discrete GPU
the device's memory in use counts, and what the server's processes hold of the host's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._names import GIB

MIB = 2**20
ROUNDING_BYTES = GIB // 100
"""vLLM prints weights with two decimals."""
WANDER_BYTES = 32 * MIB
"""The kernel's estimate of what is available moves by as much on a box where nothing happens."""
VAGUE_BYTES = 2 * GIB
"""A figure that is less certain than this is no better than the assumption it would replace."""

Moment = Mapping[str, Any]
"""One reading of a box in bytes, by ``_engine.sampling.moment``: ``available_bytes``, ``ours_bytes`` and ``others_bytes`` (proportional shares of
the anonymous and shared memory of the server's processes and of all others), ``device_bytes`` (in use on a discrete
GPU, None on a shared pool), ``total_bytes``, and for the first one ``wander_bytes``, by how much MemAvailable moved while nothing was started."""


def beside(before: Moment, ready: Moment, end: Moment, weights_bytes: int, kv_bytes: int) -> dict[str, Any]:
    """{beside_bytes, beside_uncertainty_bytes, host_bytes} of a start, or {problem: why there is no such figure}.

    ``before``: before the container was made. ``ready`` and ``end``: when it answered and after its first load; ``end`` also has ``lowest_bytes``, the
    least MemAvailable in between, and on a discrete GPU ``most_device_bytes``. ``weights_bytes`` and ``kv_bytes`` as the engine says.
    """
    if before.get("total_bytes") != end.get("total_bytes"):
        return {"problem": "the memory of the box has another size than before the start"}
    others, unsure = _others(before, ready, end)
    host = int(end.get("ours_bytes") or 0)
    if end.get("device_bytes") is None or before.get("device_bytes") is None:
        taken = before["available_bytes"] - end["lowest_bytes"] - others
    else:
        # Other programs on the device cannot be told apart, other programs on the host do not matter.
        taken, unsure = end["most_device_bytes"] - before["device_bytes"] + host, WANDER_BYTES
    value = taken - weights_bytes - kv_bytes
    uncertainty = unsure + max(WANDER_BYTES, int(before.get("wander_bytes") or 0)) + ROUNDING_BYTES
    problem = nonsense(value, uncertainty, before["total_bytes"] + int(before.get("device_total_bytes") or 0))
    if problem:
        return {"problem": problem}
    return {"beside_bytes": max(0, value), "beside_uncertainty_bytes": uncertainty, "host_bytes": host}


def _others(before: Moment, ready: Moment, end: Moment) -> tuple[int, int]:
    """(bytes that other programs took since ``before``, how far that may be off).

    The lowest moment lies between ready and end, so their mean is taken and half their distance is not known; a quarter of what was taken or given
    back may be pages that no share accounts for (page tables, buffers in the kernel).
    """
    was, then, now = (int(one["others_bytes"]) for one in (before, ready, end))
    moved = (then + now) // 2 - was
    return moved, abs(now - then) // 2 + abs(moved) // 4


def nonsense(value: Any, uncertainty: Any, total_bytes: Any) -> str:
    """Why a figure cannot be what a server takes beside weights and KV cache; "" where it can. A little below nothing is nothing."""
    if not all(isinstance(one, int) and not isinstance(one, bool) for one in (value, uncertainty, total_bytes)):
        return "it is no number of bytes"
    if uncertainty < 0 or uncertainty > VAGUE_BYTES:
        return f"other programs moved so much memory meanwhile that it is known to {uncertainty / GIB:.1f} GiB only"
    if value < -uncertainty:
        return f"it would be negative ({value / GIB:.2f} GiB): something gave memory back while the server started"
    if value > total_bytes:
        return f"it would be {value / GIB:.1f} GiB, more than the box has"
    return ""


def left(end: Moment, floor_bytes: int, margin_bytes: int) -> dict[str, int]:
    """What a proven server leaves: ``lowest_bytes`` since it was ready, ``missing_bytes`` of the floor, ``idle_bytes`` beside floor and margin."""
    lowest = int(end["lowest_bytes"])
    return {
        "lowest_bytes": lowest,
        "missing_bytes": max(0, floor_bytes - lowest),
        "idle_bytes": max(0, lowest - floor_bytes - margin_bytes),
    }


def split(facts: Mapping[str, Any]) -> list[tuple[str, int]]:
    """The measured total in its known parts, [(name, bytes)]: graphs as vLLM logged them, the processes' share of the host, and the rest."""
    total, graphs, host = (int(facts.get(key) or 0) for key in ("beside_bytes", "graph_bytes", "host_bytes"))
    parts = [("CUDA graphs", graphs), ("processes on the host", host)]
    rest = total - graphs - host
    return [(name, value) for name, value in [*parts, ("CUDA context, activations, workspaces", rest)] if value > 0]

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The first load of a server that has just answered, and what its box says of its memory meanwhile. Only after a start that was watched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._engine import footprint, sampling, warm
from ansible_collections.gb10.vllm.plugins.module_utils._engine.container import activity
from ansible_collections.gb10.vllm.plugins.module_utils._engine.readiness import error_text

KV_BYTES = "--kv-cache-memory-bytes"


@dataclass(frozen=True)
class Proof:
    """What there is to measure of the start of one container.

    :param container: its name.
    :param weights_bytes: weights as planned, for an engine that does not log what it loaded.
    :param load: what the server is asked after its first answer; None asks nothing more.
    """

    container: str
    weights_bytes: int = 0
    load: warm.Load | None = None

    def measure_rank(self, facts: Mapping[str, Any], command: Sequence[str]) -> dict[str, Any]:
        """Facts to add of a rank without an API, whose head has answered and stood its load; empty where nobody watched the start.

        What an engine takes for a batch it keeps, so the box is read once. ``command``: of its container, as such a rank does not say its KV cache's size.
        """
        noted = sampling.noted(self.container)
        if noted is None:
            return {}
        before, lowest_start = noted
        now = sampling.moment(activity(self.container)["processes"])
        end = {**now, "lowest_bytes": now["available_bytes"], "most_device_bytes": now["device_bytes"] or 0}
        sampling.end(self.container)
        words = [word for part in command for word in part.split("=", 1)]
        given = words[words.index(KV_BYTES) + 1] if KV_BYTES in words[:-1] else ""
        known = {**facts, "kv_cache_memory_bytes": int(given)} if given.isdecimal() else facts
        return _figures(before, lowest_start, now, end, known, self.weights_bytes)

    def measure(self, call: warm.Call, kind: str, model: str, facts: Mapping[str, Any], timeout_s: float) -> tuple[dict[str, Any], str]:
        """(facts to add, why the server did not stand its load). Both empty where nobody watched the start; the load is not put on it then.

        A load that the server refuses (HTTP 4xx) is no fault of the server: what it took until then counts.
        """
        noted = sampling.noted(self.container)
        if noted is None:
            return {}, ""
        before, lowest_start = noted
        pids = activity(self.container)["processes"]
        ready = sampling.moment(pids)
        done: dict[str, Any] = {}
        with sampling.Lowest(device=ready["device_bytes"] is not None) as lowest:
            if self.load is not None and kind != "transcription":
                done = dict(warm.run(call, kind, model, self.load, timeout_s))
        if "problem" in done:
            status, text = done["problem"]
            if status == 0 or status >= 500:
                return {}, f"HTTP {status}, {error_text(text)}" if status else text
            done["problem"] = f"HTTP {status}, {error_text(text)}"
        end = sampling.moment(pids)
        end["lowest_bytes"] = min(lowest.lowest_bytes, ready["available_bytes"], end["available_bytes"])
        end["most_device_bytes"] = max(lowest.most_device_bytes, ready["device_bytes"] or 0, end["device_bytes"] or 0)
        sampling.end(self.container)
        return _figures(before, lowest_start, ready, end, facts, self.weights_bytes) | ({"load": done} if done else {}), ""


def _figures(
    before: dict[str, Any], lowest_start: int, ready: dict[str, Any], end: dict[str, Any], facts: Mapping[str, Any], weights_bytes: int
) -> dict[str, Any]:
    """The facts of a start as its box saw it: the total beside weights and KV cache, and under ``memory`` the readings it comes from."""
    memory: dict[str, Any] = {
        "before_bytes": before["available_bytes"],
        "lowest_start_bytes": min(lowest_start, end["lowest_bytes"]),
        "ready_bytes": ready["available_bytes"],
        "lowest_bytes": end["lowest_bytes"],
        "others_bytes": end["others_bytes"] - before["others_bytes"],
        "shared_pool": end["device_bytes"] is None,
    }
    weights = facts.get("weights_bytes") or weights_bytes
    kv = facts.get("kv_cache_memory_bytes") or facts.get("available_kv_bytes")
    if facts.get("blocks_override"):
        found: dict[str, Any] = {"problem": "num_gpu_blocks_override makes the KV cache another size than its bytes say"}
    elif not weights or (not kv and facts.get("kv_tokens")):
        found = {"problem": "the engine did not say how much its weights and its KV cache take"}
    else:
        found = footprint.beside(before, ready, end, weights, kv or 0)
    if "problem" in found:
        memory["problem"] = found.pop("problem")
    return {**found, "memory": memory}

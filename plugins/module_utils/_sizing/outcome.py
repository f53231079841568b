# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What came of one server: what it needs, what it was granted, what that holds, and what would help. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.gb10.vllm.plugins.module_utils._sizing import solver
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.budget import BoxMemory
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.capacity import Capacity, capacity, longest_max_model_len
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layer import STATE
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layout import KVLayout
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.shapes import Change, ModelInfo, Server


@dataclass(frozen=True)
class Outcome:
    """All that the plan says about one server comes from here; ``length`` in tokens, ``state`` None without a KV cache."""

    server: Server
    info: ModelInfo
    need: solver.Need
    grant: solver.Grant
    memory: BoxMemory
    length: int
    state: Capacity | None
    changes: tuple[Change, ...]

    @property
    def layout(self) -> KVLayout:
        """The server's KV layout."""
        return self.need.layout

    @property
    def verdict(self) -> str:
        """``fits``, ``fits_with_change`` when something on this box would do, else ``cannot_fit``."""
        if self.grant.fits:
            return "fits"
        return "fits_with_change" if self.changes else "cannot_fit"

    @property
    def utilization(self) -> float:
        """``--gpu-memory-utilization``: of several ranks the one for all; it is a check at the start only, the cache has its bytes."""
        rank = self.server["rank"]
        return rank.utilization if rank and rank.utilization else self.grant.utilization

    @property
    def max_num_seqs(self) -> int:
        """``max_num_seqs``; a recurrent model needs one state block per running sequence, and vLLM refuses more than it has."""
        if self.state is not None and self.state.num_blocks and any(group.kind == STATE for group in self.layout.groups):
            return max(1, min(self.layout.max_num_seqs, self.state.num_blocks))
        return self.layout.max_num_seqs


def outcome_of(server: Server, info: ModelInfo, need: solver.Need, grant: solver.Grant, *, memory: BoxMemory, rivals: Sequence[tuple[str, int]]) -> Outcome:
    """``rivals``: (name, bytes) of the servers that could be stopped instead."""
    layout, kv, length = need.layout, grant.kv_cache_bytes, need.max_model_len
    if length is None:
        length = layout.derived_max_model_len if layout.kv_free else longest_max_model_len(layout, kv, need.concurrency) if kv else 0
    state = capacity(layout, kv, length) if kv and length and not layout.kv_free else None
    changes = [] if grant.fits else solver.changes(need, grant, memory.total_bytes, memory.usable_bytes, rivals)
    return Outcome(server, info, need, grant, memory, length, state, tuple(changes))

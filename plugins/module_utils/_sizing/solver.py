# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Memory from context, context from memory, and the cheapest change when both are given and do not fit. Pure.

All arithmetic about tokens and blocks is ``capacity``'s; this module only decides who gets which bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.beside import total
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.budget import GIB, Part
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.capacity import bytes_for, longest_max_model_len
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layout import KVLayout
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.shapes import Change

# A server whose context is left to us is not worth starting below this many tokens.
SHORTEST_AUTO_CONTEXT = 4096


@dataclass(frozen=True)
class Need:
    """One server as the solver sees it. ``max_model_len`` None: the longest that leaves ``concurrency`` full requests."""

    name: str
    layout: KVLayout
    weights: Part
    parts: Mapping[str, Part]  # what it takes beside weights and KV cache, by name
    margin_bytes: int
    max_model_len: int | None
    concurrency: int = 1
    kv_cache_bytes: int | None = None
    kv_cache_most_bytes: int | None = None
    utilization: float | None = None
    ceiling: float | None = None  # share of the memory above which nothing is added to what is wanted
    quantization: str | None = None
    # The same server with another KV dtype or without graphs; each None or raising GB10Error where it cannot be.
    alternatives: dict[str, Callable[[], Need]] = field(default_factory=dict)

    @property
    def fixed_bytes(self) -> int:
        """All the server takes beside its KV cache, with the margin."""
        return self.weights.value + self.beside.value + self.margin_bytes

    @property
    def beside(self) -> Part:
        """What it takes beside weights and KV cache, without the margin; assumed where any of it is."""
        return replace(total(list(self.parts.values())), why=", ".join(name.replace("_", " ") for name, part in self.parts.items() if part.value))

    @property
    def activation(self) -> Part:
        """Activations, where they are known apart."""
        return self.parts.get("activations") or Part(0, "measured", "in the total that was measured")

    @property
    def graph(self) -> Part:
        """CUDA graphs, where they are known apart."""
        return self.parts.get("graphs") or Part(0, "measured", "in the total that was measured")

    @property
    def non_torch(self) -> Part:
        """All the rest."""
        rest = {name: part for name, part in self.parts.items() if name not in ("activations", "graphs")}
        found = total(list(rest.values()))
        return found if len(rest) == 1 else replace(found, why=", ".join(name.replace("_", " ") for name, part in rest.items() if part.value))

    @property
    def least_kv_bytes(self) -> int:
        """The smallest KV cache that gives what is wanted."""
        if self.layout.kv_free:
            return 0
        length = self.max_model_len or min(SHORTEST_AUTO_CONTEXT, self.layout.derived_max_model_len)
        return bytes_for(self.layout, length, self.concurrency)

    @property
    def stated_kv_bytes(self) -> int | None:
        """The KV cache that its user fixed, as far as it may be had."""
        return None if self.kv_cache_bytes is None else min(self.kv_cache_bytes, self.capped(self.kv_cache_bytes))

    def capped(self, kv_bytes: int) -> int:
        """``kv_bytes``, or what the floor of the box left of it when the server once ran; never less than what is wanted of the server takes."""
        most = self.kv_cache_most_bytes
        return kv_bytes if most is None else min(kv_bytes, max(most, self.least_kv_bytes))

    def below_ceiling(self, kv_bytes: int, total_bytes: int) -> int:
        """``kv_bytes``, or what its user's ceiling leaves of it."""
        return kv_bytes if self.ceiling is None else min(kv_bytes, math.ceil(total_bytes * self.ceiling) - self.fixed_bytes)

    @property
    def most_kv_bytes(self) -> int:
        """Above this no request of the wanted length could ever use more: ``max_num_seqs`` full-length requests."""
        if self.layout.kv_free:
            return 0
        return bytes_for(self.layout, self.max_model_len or self.layout.derived_max_model_len, max(self.layout.max_num_seqs, self.concurrency))


@dataclass(frozen=True)
class Grant:
    """What a server gets: ``fits`` with ``kv_cache_bytes`` under ``utilization``, or what would be left for it."""

    fits: bool
    kv_cache_bytes: int
    utilization: float
    requested_bytes: int
    limit_bytes: int


def whole_blocks(layout: KVLayout, available_bytes: int) -> int:
    """The largest multiple of a block's bytes that is not more than ``available_bytes``, at least 0."""
    if layout.kv_free or layout.bytes_per_block <= 0:
        return 0
    return max(0, available_bytes // layout.bytes_per_block * layout.bytes_per_block)


def smallest_utilization(needed_bytes: int, total_bytes: int, limit_bytes: int) -> float:
    """The roundest ``--gpu-memory-utilization`` u with ``needed <= ceil(u * total) <= limit``.

    vLLM: ``v1/worker/utils.py request_memory`` asks for ``ceil(total * u)`` and refuses to start when less is free.
    """
    for digits in (3, 4, 5, 6, 7, 8, 9):
        scale = 10**digits
        value = math.ceil(needed_bytes * scale / total_bytes) / scale
        if math.ceil(total_bytes * value) < needed_bytes:
            value = round(value + 1 / scale, digits)
        if math.ceil(total_bytes * value) <= max(limit_bytes, needed_bytes):
            return value
    return min(1.0, math.ceil(needed_bytes * 10**9 / total_bytes) / 10**9)


def allocate(needs: Sequence[Need], usable_bytes: int, total_bytes: int) -> list[Grant]:
    """Share a box's usable bytes among its servers, in the order in which they are listed and will be started.

    Each gets what its context and concurrency need (or the bytes, or the utilisation, its user fixed). What is left over
    goes to the one server of a box, since nothing else wants it, up to ``max_num_seqs`` full-length requests; of several
    servers only those whose context is auto share it, so that stating a context keeps the rest free.
    """
    grants: list[Grant] = []
    remaining = usable_bytes
    for need in needs:
        if need.utilization is not None:
            requested = math.ceil(total_bytes * need.utilization)
            kv = whole_blocks(need.layout, need.capped(min(need.stated_kv_bytes or requested, requested - need.fixed_bytes)))
            fits = requested <= remaining and kv >= need.least_kv_bytes and requested >= need.fixed_bytes
            if need.stated_kv_bytes is not None:
                fits = fits and kv >= whole_blocks(need.layout, need.stated_kv_bytes)
        else:
            kv = need.least_kv_bytes if need.stated_kv_bytes is None else whole_blocks(need.layout, need.stated_kv_bytes)
            requested = need.fixed_bytes + kv
            fits = requested <= remaining and kv >= need.least_kv_bytes
        if fits:
            grants.append(Grant(True, kv, need.utilization or 0.0, requested, remaining))
            remaining -= requested
        else:
            limit = remaining if need.utilization is None else min(remaining, math.ceil(total_bytes * need.utilization))
            left = limit - need.fixed_bytes
            if need.kv_cache_bytes is not None:
                left = min(left, need.kv_cache_bytes)
            grants.append(Grant(False, whole_blocks(need.layout, left), need.utilization or 0.0, min(limit, need.fixed_bytes + max(0, left)), limit))
    flexible = [i for i, (n, g) in enumerate(zip(needs, grants, strict=True)) if g.fits and n.utilization is None and n.kv_cache_bytes is None]
    takers = flexible if len(needs) == 1 else [i for i in flexible if needs[i].max_model_len is None]
    for position, i in enumerate(takers):
        need, grant = needs[i], grants[i]
        share = remaining // (len(takers) - position)
        limit = math.ceil(total_bytes * (math.floor((grant.requested_bytes + share) * 1000 / total_bytes) / 1000))
        most = need.most_kv_bytes if len(needs) == 1 else bytes_for(need.layout, need.layout.derived_max_model_len, need.concurrency)
        kv = max(grant.kv_cache_bytes, whole_blocks(need.layout, need.capped(need.below_ceiling(min(limit - need.fixed_bytes, most), total_bytes))))
        remaining -= kv - grant.kv_cache_bytes
        grants[i] = replace(grant, kv_cache_bytes=kv, requested_bytes=need.fixed_bytes + kv)
    for i, (need, grant) in enumerate(zip(needs, grants, strict=True)):
        if need.utilization is None and grant.fits:
            value = smallest_utilization(max(1, grant.requested_bytes), total_bytes, grant.requested_bytes + remaining)
            requested = math.ceil(total_bytes * value)
            remaining -= requested - grant.requested_bytes
            grants[i] = replace(grant, utilization=value, requested_bytes=requested)
        elif need.utilization is None:
            grants[i] = replace(grant, utilization=math.floor(grant.requested_bytes * 1000 / total_bytes) / 1000)
    return grants


def changes(need: Need, grant: Grant, total_bytes: int, usable_bytes: int, others: Sequence[tuple[str, int]]) -> list[Change]:
    """What would make a server fit, cheapest first, each with its numbers; empty when nothing on this box would.

    ``others``: (server name, bytes it holds) of servers that could be stopped instead.
    """
    left = grant.limit_bytes - need.fixed_bytes
    if need.kv_cache_bytes is not None:
        left = min(left, need.kv_cache_bytes)
    return [
        *_another_utilization(need, total_bytes, usable_bytes),
        *_another_cache(need, grant),
        *(_less_context(need, left) if left > 0 and not need.layout.kv_free else ()),
        *_another_way(need, grant),
        *_one_server_less(need, grant, others),
    ]


def _another_utilization(need: Need, total_bytes: int, usable_bytes: int) -> Iterator[Change]:
    """One that is enough, or one that leaves the floor, where the user fixed it."""
    if need.utilization is None:
        return
    requested = math.ceil(total_bytes * need.utilization)
    free = replace(need, utilization=None)
    wanted = free.fixed_bytes + (whole_blocks(need.layout, need.kv_cache_bytes) if need.kv_cache_bytes else free.least_kv_bytes)
    if wanted <= usable_bytes and requested < wanted:
        value = smallest_utilization(wanted, total_bytes, usable_bytes)
        yield {
            "change": "a higher gpu_memory_utilization",
            "set": {"gpu_memory_utilization": value},
            "requested_bytes": math.ceil(total_bytes * value),
            "cost": "none",
        }
    elif requested > usable_bytes:
        yield {
            "change": "a gpu_memory_utilization that leaves the floor to the operating system",
            "set": {"gpu_memory_utilization": "auto"},
            "requested_bytes": usable_bytes,
            "cost": "none",
        }


def _another_cache(need: Need, grant: Grant) -> Iterator[Change]:
    """A larger one, where the user fixed it below the need."""
    least = need.least_kv_bytes
    if need.kv_cache_bytes is not None and need.kv_cache_bytes < least <= grant.limit_bytes - need.fixed_bytes:
        gib = math.ceil(least * 100 / GIB) / 100
        yield {"change": f"a KV cache of {gib:g} GiB", "set": {"kv_cache_memory_gib": gib}, "kv_cache_bytes": least, "cost": "none"}


def _less_context(need: Need, left: int) -> Iterator[Change]:
    """Fewer full-length requests, or a shorter context, in the bytes that are left for the cache."""
    length = need.max_model_len
    if length:
        fewer = next((n for n in _descending(need.concurrency) if bytes_for(need.layout, length, n) <= left), 0)
        if fewer:
            yield {
                "change": f"{fewer} instead of {need.concurrency} full-length requests at a time",
                "set": {"concurrency": fewer},
                "kv_cache_bytes": bytes_for(need.layout, length, fewer),
                "concurrency": fewer,
                "cost": "more requests wait when all are long",
            }
    shorter = longest_max_model_len(need.layout, left, need.concurrency)
    if shorter > 0 and (length is None or shorter < length):
        yield {
            "change": f"max_model_len {shorter}",
            "set": {"max_model_len": shorter},
            "max_model_len": shorter,
            "kv_cache_bytes": whole_blocks(need.layout, left),
        }


def _another_way(need: Need, grant: Grant) -> Iterator[Change]:
    """A smaller KV dtype, no graphs."""
    ways: tuple[tuple[str, str, dict[str, Any], str], ...] = (
        ("fp8", "an fp8 KV cache", {"kv_cache_dtype": "fp8"}, "half the bytes per token; accuracy and, for some workloads on GB10, speed suffer: test it"),
        ("eager", "no CUDA graphs", {"cuda_graphs": "never"}, "one request decodes up to 2.5 times slower (41 against 103 tokens/s on an H100)"),
    )
    for key, text, settings, cost in ways:
        other = _alternative(need, key)
        if other is not None and other.fixed_bytes + other.least_kv_bytes <= grant.limit_bytes:
            yield {
                "change": text,
                "set": settings,
                "kv_cache_bytes": other.least_kv_bytes,
                "requested_bytes": other.fixed_bytes + other.least_kv_bytes,
                "kv_bytes_per_token": other.layout.kv_bytes_per_token,
                "cost": cost,
            }


def _one_server_less(need: Need, grant: Grant, others: Sequence[tuple[str, int]]) -> Iterator[Change]:
    short = need.fixed_bytes + need.least_kv_bytes - grant.limit_bytes
    for name, held in sorted(others, key=lambda item: item[1]):
        if held >= short > 0:
            yield {"change": f"server {name} stopped", "set": {}, "stop": name, "frees_bytes": held, "cost": f"server {name} no longer answers"}


def _alternative(need: Need, key: str) -> Need | None:
    make = need.alternatives.get(key)
    if make is None:
        return None
    try:
        return make()
    except GB10Error:
        return None


def _descending(concurrency: int) -> list[int]:
    """Candidates below ``concurrency``, largest first: all of them while they are few."""
    if concurrency <= 256:
        return list(range(concurrency - 1, 0, -1))
    return [n for n in (concurrency * 3 // 4, concurrency // 2, concurrency // 4, 256, 128, 64, 32, 16, 8, 4, 2, 1) if 0 < n < concurrency]

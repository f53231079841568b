# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From pages to groups: layers that share one block table (vLLM: ``v1/core/kv_cache_planning.py``)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layer import CHUNKED, CROSS, FULL, MLA, SLIDING, SLIDING_MLA, STATE

_WINDOWED = frozenset({SLIDING, SLIDING_MLA, CHUNKED})


def cdiv(a: int, b: int) -> int:
    """Ceiling of a / b for non-negative a and positive b."""
    return -(-a // b)


@dataclass(frozen=True)
class Page:
    """What one block of one layer is: equal pages may share a group."""

    kind: str
    block_size: int  # tokens
    page_size_bytes: int
    unpadded_bytes: int
    window: int | None = None
    chunk: int | None = None
    fixed: int | None = None  # blocks a request takes whatever its length (states)
    encoder_tokens: int = 0
    extra: int = 0  # tokens kept below the window for several draft modules
    dcp: int = 1
    identity: tuple = ()  # heads, sizes, dtype: what else must agree inside a group

    def blocks(self, length: int, in_flight: int) -> int:
        """Blocks one request of ``length`` tokens takes with ``in_flight`` tokens scheduled but not settled."""
        if self.fixed is not None:
            return self.fixed
        if self.kind == CHUNKED:
            return cdiv(min((self.chunk or 0) + in_flight, length), self.block_size)
        if self.window is not None and self.kind in _WINDOWED:
            return cdiv(min(self.window - 1 + self.extra + in_flight, length), self.block_size) + 1
        if self.kind == CROSS:
            return cdiv(self.encoder_tokens, self.block_size)
        return cdiv(cdiv(length, self.dcp), self.block_size)

    @property
    def family(self) -> tuple:
        """Pages with equal values here can share a block table though their sizes differ (``is_uniform_type``)."""
        kind = FULL if self.kind == MLA else self.kind
        if kind == STATE:
            return kind, self.block_size, self.fixed, self.page_size_bytes
        return kind, self.block_size, self.window if kind in _WINDOWED else None, self.chunk, self.dcp


@dataclass(frozen=True)
class Group:
    """Layers that share one block table. ``members`` holds (layers, page) for a group of several page sizes."""

    layers: int
    kind: str  # full | sliding | chunked | mla | sliding_mla | state | cross | mixed
    block_size: int
    page_size_bytes: int  # of one layer; of all layers together when mixed
    members: tuple[tuple[int, Page], ...]
    layer_indices: tuple[int, ...]
    layer_pages: tuple[int, ...]  # bytes of each layer's page

    @property
    def bytes_per_block(self) -> int:
        """Bytes of one block of all its layers."""
        return sum(self.layer_pages)

    def blocks(self, length: int, in_flight: int) -> int:
        """Blocks one request takes in this group: the most demanding member's."""
        if len(self.members) == 1:
            return self.members[0][1].blocks(length, in_flight)
        return max(page.blocks(length, in_flight) for _count, page in self.members)

    def only(self, kept: Callable[[int], bool]) -> Group:
        """The group with those layers alone whose index is ``kept``; one without any goes on taking a request's blocks, as in vLLM."""
        places = [place for place, index in enumerate(self.layer_indices) if kept(index)]
        if len(places) == self.layers:
            return self
        sizes = tuple(self.layer_pages[place] for place in places)
        members = self.members
        if places and len(members) > 1:
            left = set(sizes)
            members = tuple((sizes.count(page.page_size_bytes), page) for _count, page in members if page.page_size_bytes in left)
        elif len(members) == 1:
            members = ((len(places), members[0][1]),)
        return replace(self, layers=len(places), members=members, layer_indices=tuple(self.layer_indices[place] for place in places), layer_pages=sizes)


Placed = tuple[int, Page]  # index of the decoder layer, its page


def _group(placed: Sequence[Placed]) -> Group:
    counts = Counter(page for _index, page in placed)
    pages = tuple(page for _index, page in placed)
    kinds = {page.kind for page in counts}
    one = len(counts) == 1
    return Group(
        layers=len(placed),
        kind=kinds.pop() if len(kinds) == 1 else "mixed",
        block_size=pages[0].block_size,
        page_size_bytes=pages[0].page_size_bytes if one else sum(page.page_size_bytes for page in pages),
        members=tuple((count, page) for page, count in counts.items()),
        layer_indices=tuple(index for index, _page in placed),
        layer_pages=tuple(page.page_size_bytes for page in pages),
    )


def promote(placed: Sequence[Placed]) -> list[Placed]:
    """Windows and chunks kept in full (``--disable-hybrid-kv-cache-manager``): only beside full attention."""
    kinds = {page.kind for _index, page in placed}
    if not kinds & {FULL, MLA} or not kinds & _WINDOWED:
        return list(placed)
    blocks = {page.block_size for _index, page in placed if page.kind in (FULL, MLA)}
    block = blocks.pop() if len(blocks) == 1 else None
    return [(index, _promoted(page, block) if page.kind in _WINDOWED else page) for index, page in placed]


def _promoted(page: Page, block: int | None) -> Page:
    size = block or page.block_size
    unpadded = page.unpadded_bytes * size // page.block_size
    padded = max(page.page_size_bytes, unpadded) if page.page_size_bytes != page.unpadded_bytes else unpadded
    kind = MLA if page.kind == SLIDING_MLA else FULL
    return replace(page, kind=kind, block_size=size, unpadded_bytes=unpadded, page_size_bytes=padded, window=None, chunk=None, extra=0)


def unify_pages(placed: Sequence[Placed]) -> list[Placed]:
    """Equal page sizes: more tokens where the size divides the largest, padding for states and plain attention."""
    largest = max(page.page_size_bytes for _index, page in placed)
    changed: dict[Page, Page] = {}
    for _index, page in placed:
        if page in changed or page.page_size_bytes == largest:
            continue
        if page.kind == STATE:
            changed[page] = replace(page, page_size_bytes=largest)
        elif largest % page.page_size_bytes == 0:
            ratio = largest // page.page_size_bytes
            changed[page] = replace(page, block_size=page.block_size * ratio, unpadded_bytes=page.unpadded_bytes * ratio, page_size_bytes=largest)
        elif page.kind != MLA:
            changed[page] = replace(page, page_size_bytes=largest)
        else:
            raise GB10Error(f"vLLM cannot give this model's layers one page size: {page.page_size_bytes} bytes of latent cache do not divide {largest}.")
    return [(index, changed.get(page, page)) for index, page in placed]


def _buckets(placed: Sequence[Placed]) -> list[list[Placed]]:
    found: dict[Page, list[Placed]] = {}
    for entry in placed:
        found.setdefault(entry[1], []).append(entry)
    return list(found.values())


def split_equally(placed: Sequence[Placed], ratio_percent: int) -> list[Group]:
    """Groups of one size: the smallest bucket's, or the largest's when that is not much more."""
    buckets = _buckets(placed)
    smallest, largest = min(map(len, buckets)), max(map(len, buckets))
    size = largest if largest * 100 < smallest * ratio_percent else smallest
    groups = []
    for bucket in buckets:
        count = cdiv(len(bucket), size)
        groups += [_group(bucket[start::count]) for start in range(count)]
    return groups


def _least_padding(counts: Iterable[int], floor: int) -> int:
    """The size whose multiples waste least over ``counts``; the larger of equals."""
    counts = list(counts)
    sizes = range(max(1, floor), max(counts) + 1)
    return min(sizes, key=lambda size: (sum(-count % size for count in counts), -size), default=max(1, floor))


def pack(placed: Sequence[Placed]) -> list[Group] | None:
    """Block-outermost packing (DeepSeek-V4): several page sizes side by side in one block."""
    if len({page.page_size_bytes for _index, page in placed}) <= 1:
        return None
    buckets: dict[tuple, list[Placed]] = {}
    for entry in placed:
        buckets.setdefault(entry[1].family, []).append(entry)
    shaped = []
    for bucket in buckets.values():
        by_size: dict[int, list[Placed]] = {}
        for entry in bucket:
            by_size.setdefault(entry[1].page_size_bytes, []).append(entry)
        counts = [len(entries) for entries in by_size.values()]
        shaped.append((bucket, by_size, max(counts), len(set(counts)) == 1))
    floor = max((most for _bucket, by_size, most, even in shaped if even and len(by_size) > 1), default=0)
    repeats = _least_padding([most for _bucket, _sizes, most, even in shaped if even], floor) if floor else None
    groups = []
    for bucket, by_size, most, even in shaped:
        count = cdiv(most, repeats) if even and repeats else 1
        if count == 1:
            groups.append(_group(bucket))
            continue
        rows = list(zip(*by_size.values(), strict=True))
        groups += [_group([entry for row in rows[start::count] for entry in row]) for start in range(count)]
    return groups


def make_groups(placed: Sequence[Placed], *, ratio_percent: int, packed: bool, disable_hybrid: bool) -> list[Group]:
    """vLLM's grouping (``get_kv_cache_groups``) in its order of attempts."""
    if not placed:
        return []
    if disable_hybrid:
        placed = promote(placed)
    pages = {page for _index, page in placed}
    if len(pages) == 1 or len({page.family for page in pages}) == 1:
        return [_group(placed)]
    if packed:
        groups = pack(placed)
        if groups:
            return groups
    return split_equally(unify_pages(placed), ratio_percent)

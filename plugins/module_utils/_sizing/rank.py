# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What one box is in a server over several boxes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import checks


@dataclass(frozen=True)
class Rank:
    """One box of a server over several: its ``number`` among ``boxes`` (0: the head), and how the model is shared out.

    ``tensor`` GPUs share each layer and ``pipeline`` stages share out the layers, ``why`` says why; ``kv_why`` where the bytes of the KV cache come from,
    ``notes`` are what its user should know, ``utilization`` is the one for all ranks, None as long as it is not known.
    """

    number: int
    boxes: tuple[str, ...]
    tensor: int
    pipeline: int
    why: str
    kv_why: str = ""
    notes: tuple[str, ...] = ()
    utilization: float | None = None

    @property
    def head(self) -> bool:
        """Whether the API server is here."""
        return self.number == 0

    @property
    def words(self) -> str:
        """The rank in words."""
        how = f"tensor parallel {self.tensor}, pipeline parallel {self.pipeline}"
        return f"rank {self.number} of {len(self.boxes)} ({', '.join(self.boxes)}; {how})"


def read_rank(value: Any, who: str) -> Rank | None:
    """The ``rank`` of a wanted server, as the planning of a group gives it; None for a server of one box."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise GB10Error(f"{who}: rank is no mapping; it is made from `boxes`, and nobody needs to write it.")
    boxes = tuple(str(box) for box in value.get("boxes") or ())
    number, tensor, pipeline = (checks.whole(value.get(key), f"{who}: rank.{key}", low, 1024) for key, low in (("number", 0), ("tensor", 1), ("pipeline", 1)))
    if tensor * pipeline != len(boxes) or number >= len(boxes):
        raise GB10Error(f"{who}: rank {number} with tensor parallel {tensor} and pipeline parallel {pipeline} does not go with {len(boxes)} boxes.")
    notes = tuple(str(note) for note in value.get("notes") or ())
    share = checks.fraction(value.get("utilization"), f"{who}: rank.utilization")
    return Rank(number, boxes, tensor, pipeline, str(value.get("why") or ""), str(value.get("kv_why") or ""), notes, share)

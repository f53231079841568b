# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which part of a checkpoint lies on one pipeline stage (vLLM: ``model_executor/models/*.py``: ``make_layers``, ``PPMissingLayer``). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._sizing.parallel import Stage

HEAD = re.compile(r"(?:^|\.)(?:lm_head|embed_out|proj_out)\.weight$|^output\.weight$")


def is_output_head(table: str) -> bool:
    """Whether the name of a vocabulary table says that it is the output head, which every token reads whole."""
    return bool(HEAD.search(table.lower()))


class ByLayer:
    """How many values of each class of tensors every decoder layer has, while the tensors of a checkpoint are read."""

    def __init__(self) -> None:
        self._found: dict[Any, dict[int, int]] = {}

    def add(self, key: Any, layer: re.Match[str] | None, params: int) -> None:
        """One tensor of the class ``key``; ``layer`` holds the number of its layer, None: it belongs to none."""
        if layer is not None:
            counts = self._found.setdefault(key, {})
            counts[int(layer[1])] = counts.get(int(layer[1]), 0) + params

    def of(self, key: Any) -> dict[str, Any]:
        """``{"layers": [[first layer, number of layers, values of each], ...]}``; empty for what belongs to no layer."""
        runs: list[list[int]] = []
        for number, params in sorted(self._found.get(key, {}).items()):
            if runs and runs[-1][0] + runs[-1][1] == number and runs[-1][2] == params:
                runs[-1][1] += 1
            else:
                runs.append([number, 1, params])
        return {"layers": runs} if runs else {}


class Here:
    """What of a checkpoint one stage loads; without a stage all of it.

    The input embedding lies on the first stage and the head on the last; where both share their memory, the embedding lies on both. What looks at
    images, and what belongs to no layer, lies on every stage.
    """

    def __init__(self, stage: Stage | None, summary: Mapping[str, Any], tied: bool) -> None:
        self._stage, self._all = stage, summary["tables"]
        self._tied = tied or any(item["skip"] == "tied" for item in summary["classes"])
        self.tables = [table for table in self._all if self._has(table)]

    def _has(self, table: Mapping[str, Any]) -> bool:
        stage = self._stage
        if stage is None:
            return True
        if HEAD.search(table["name"].lower()):
            return stage.is_last
        return stage.is_first or (stage.is_last and self._tied)

    def share(self, item: Mapping[str, Any]) -> float:
        """The share of a class of tensors, from 0 to 1, that this stage loads."""
        stage = self._stage
        if stage is None or item["group"] == "vision" or not item["params"]:
            return 1.0
        if item["skip"] == "mtp":
            return 1.0 if stage.is_last else 0.0
        if item["group"] == "embedding":
            return self._embedding(item, stage)
        if "layers" in item:
            held = sum(max(0, min(first + count, stage.end) - max(first, stage.first)) * params for first, count, params in item["layers"])
            whole = sum(count * params for _first, count, params in item["layers"])
            return (held + (item["params"] - whole)) / item["params"]
        # Facts of an earlier release of this collection say of no class on which layer it lies.
        return (stage.end - stage.first) / stage.layers if item["group"] in ("attention", "mlp") else 1.0

    def _embedding(self, item: Mapping[str, Any], stage: Stage) -> float:
        """Tables that are here; what is no table (positions) goes with the input."""
        every = sum(table["rows"] * table["width"] for table in self._all if table["dtype"] == item["dtype"])
        held = sum(table["rows"] * table["width"] for table in self.tables if table["dtype"] == item["dtype"])
        rest = max(0, item["params"] - every) if stage.is_first else 0
        return min(1.0, (held + rest) / item["params"])

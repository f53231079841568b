# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""On how many boxes a recipe's server runs: what its author allows, and what its command comes to. Pure."""

from __future__ import annotations

from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._sizing.flags import truth
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.parallel import MOST_BOXES as MOST
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.document import Document
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.rows import CHANGED, REFUSED, Row

FIELDS = ("min_nodes", "max_nodes", "solo_only", "cluster_only", "mode")


def allowed(document: Document) -> tuple[int, int]:
    """(least, most) boxes, by ``min_nodes``, ``max_nodes``, ``solo_only``, ``cluster_only`` and ``mode``. GB10Error names the field."""
    least = _number(document, "min_nodes") or 1
    most = _number(document, "max_nodes") or MOST
    mode = str(document.fields.get("mode") or "auto").strip().lower()
    if mode not in ("auto", "solo", "cluster"):
        raise document.error("mode", f"{mode[:20]!r} is none of auto, solo and cluster")
    solo, cluster = (_switch(document, name) for name in ("solo_only", "cluster_only"))
    if solo and cluster:
        raise document.error("solo_only", "it is for one box only, and `cluster_only` says it is for several")
    if solo or mode == "solo":
        most = 1
    if cluster or mode == "cluster":
        least = max(least, 2)
    if least > most:
        raise document.error("min_nodes" if "min_nodes" in document.fields else "mode", f"at least {least} boxes and at most {most} cannot both be")
    return least, most


def _number(document: Document, name: str) -> int:
    value = document.fields.get(name)
    if value in (None, ""):
        return 0
    if isinstance(value, bool) or not str(value).isdecimal() or not 1 <= int(value) <= MOST:
        raise document.error(name, f"{str(value)[:20]!r} is no number of boxes from 1 to {MOST}")
    return int(value)


def _switch(document: Document, name: str) -> bool:
    value = document.fields.get(name)
    found = truth(value) if value not in (None, "") else False
    if found is None:
        raise document.error(name, f"{str(value)[:20]!r} is neither true nor false")
    return found


def placed(document: Document, tensor: int, pipeline: int, boxes: tuple[int, int]) -> tuple[dict[str, Any], list[Row]]:
    """(settings, rows): ``boxes`` and how the model is shared out over them; {} for one box."""
    least, most = boxes
    number = tensor * pipeline
    if most == 1 and number > 1:
        field = "solo_only" if "solo_only" in document.fields else "max_nodes" if "max_nodes" in document.fields else "mode"
        why = f"for one box only, which has one GPU: the {number} parts that the command asks for become one"
        return {}, [Row(field, document.line(field), CHANGED, "one box", why)]
    field = "min_nodes" if "min_nodes" in document.fields else "cluster_only" if "cluster_only" in document.fields else "mode"
    if number < least:
        why = f"at least {least} boxes are asked for, and the command shares the model out over {number}: say --tensor-parallel-size in the command"
        return {}, [Row(field, document.line(field), REFUSED, "", why)]
    if number > most:
        why = f"at most {most} boxes are allowed, and the command shares the model out over {number}"
        return {}, [Row("max_nodes", document.line("max_nodes"), REFUSED, "", why)]
    if number == 1:
        return {}, []
    return {"boxes": number, "tensor_parallel": tensor, "pipeline_parallel": pipeline}, []

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What earlier starts of the same image, model and flags took beside weights and KV cache, on this box or on another one. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.gb10.vllm.plugins.module_utils._engine.footprint import nonsense
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.budget import GIB, Part, as_list, as_map
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.shapes import Start

HERE = "here"
# Flags that change nothing of what a server takes beside its weights and its KV cache.
WITHOUT_WEIGHT = {
    "--host", "--port", "--served-model-name", "--kv-cache-memory-bytes", "--gpu-memory-utilization", "--max-model-len", "--seed", "--chat-template",
    "--middleware", "--enable-auto-tool-choice", "--tool-call-parser", "--reasoning-parser", "--master-addr", "--master-port",
}  # fmt: skip


class Asked(NamedTuple):
    """A server as a plan wants to start it; ``words``: its flags as on a command line, ``any_sequences``: the plan may lower ``--max-num-seqs``."""

    model_path: str
    manifest: str
    image_id: str
    vllm_version: str
    words: Sequence[str]
    any_sequences: bool


def starts_here(records: Mapping[str, Any]) -> Iterator[Start]:
    """The starts that the records of a box (``box_info``'s ``servers``) hold."""
    for record in map(as_map, records.values()):
        yield {"where": HERE, "deployment": as_map(record.get("deployment")), "measured": as_map(record.get("measured"))}


def starts_elsewhere(given: Sequence[Any]) -> Iterator[Start]:
    """The starts that other boxes measured, as they came over YAML: any of it may be missing."""
    for one in map(as_map, given):
        yield {"where": str(one.get("where") or "another box"), "deployment": as_map(one.get("deployment")), "measured": as_map(one.get("measured"))}


def beside(starts: Sequence[Start], asked: Asked, total_bytes: int) -> tuple[Part | None, list[str]]:
    """(what such a server was seen to take beside weights and KV cache, what was kept out and why).

    What was measured on this box wins; of several other boxes the one that took most. The uncertainty of the figure is added to it.
    """
    found: list[tuple[bool, int, Part]] = []
    kept_out = []
    for start in starts:
        facts = as_map(start["measured"].get("facts"))
        if "beside_bytes" not in facts or not same(start, asked):
            continue
        value, unsure = facts["beside_bytes"], facts.get("beside_uncertainty_bytes", 0)
        why_not = nonsense(value, unsure, total_bytes)
        if why_not:
            kept_out.append(f"what was measured {_place(start)} is kept out: {why_not}")
            continue
        why = f"measured {_place(start)} by a start of the same image, model and flags: {value / GIB:.2f} GiB, known to {unsure / GIB:.2f} GiB"
        found.append((start["where"] == HERE, value + unsure, Part(value + unsure, "measured", why)))
    return (max(found, key=lambda one: one[:2])[2] if found else None), kept_out


def _place(start: Start) -> str:
    return HERE if start["where"] == HERE else f"on {start['where']}"


def same(start: Start, asked: Asked) -> bool:
    """Whether a start was one of the same image, model and flags, and is the one that its record speaks of."""
    deployment, measured = start["deployment"], start["measured"]
    if not deployment or measured.get("spec") != deployment.get("spec"):
        return False
    container = as_map(deployment.get("container"))
    manifest = str(deployment.get("manifest") or "")
    if manifest and asked.manifest:
        if manifest != asked.manifest:
            return False
    elif deployment.get("model_path") != asked.model_path:
        return False
    if asked.image_id:
        if container.get("image") != asked.image_id:
            return False
    elif str(deployment.get("vllm_version") or "") != asked.vllm_version:
        return False
    command = [str(word) for word in as_list(container.get("command"))]
    ran = weighing(command[command.index("serve") + 2 :] if "serve" in command else [])
    wanted = weighing(asked.words)
    if asked.any_sequences:
        ran.pop("--max-num-seqs", None)
        wanted.pop("--max-num-seqs", None)
    return ran == wanted


def weighing(words: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The flags in the words after ``vllm serve MODEL`` that may change what a server takes, with their values."""
    found: dict[str, list[str]] = {}
    flag = ""
    for word in words:
        if word.startswith("--"):
            flag = word
            found[flag] = []
        elif flag:
            found[flag].append(word)
    return {name: tuple(values) for name, values in found.items() if name not in WITHOUT_WEIGHT}

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The KV cache of a server over several GPUs, rank by rank (vLLM: ``v1/core/kv_cache_planning.py get_kv_cache_configs`` with one spec per rank). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.capacity import Capacity, capacity
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layout import KVLayout, projected
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.parallel import pipeline_stages


def stage_layouts(layout: KVLayout) -> list[KVLayout]:
    """The layout of each pipeline stage: the groups of the whole model, with this stage's layers and the bytes of its own blocks."""
    engine = layout.engine
    stages = pipeline_stages(layout.facts.num_layers, engine.pipeline_parallel_size, engine.layer_partition)
    found = []
    for number in range(len(stages)):
        groups = projected(layout.groups, stages, number)
        size = max((group.bytes_per_block for group in groups), default=0)
        if groups and not size:
            raise GB10Error(f"pipeline stage {number + 1} of {len(stages)} of {layout.architecture} has no layer with a cache: choose fewer stages.")
        found.append(replace(layout, groups=groups, bytes_per_block=size))
    return found


def group_capacity(layout: KVLayout, available_bytes: Sequence[int], max_model_len: int) -> Capacity:
    """vLLM's answer for the bytes that each rank has, in the order of ranks: the first that has too few refuses, else the fewest blocks count for all.

    The scheduler reckons with the groups of rank 0 (``generate_scheduler_kv_cache_config``).
    """
    engine, stages = layout.engine, stage_layouts(layout)
    ranks = engine.tensor_parallel_size * engine.pipeline_parallel_size
    if len(available_bytes) != ranks:
        raise GB10Error(f"{len(available_bytes)} amounts of memory are given for {ranks} ranks: give one for each.")
    found = [capacity(stages[rank // engine.tensor_parallel_size], size, max_model_len) for rank, size in enumerate(available_bytes)]
    refused = next((one for one in found if not one.ok), None)
    if refused is not None or layout.kv_free:
        return refused or found[0]
    blocks = min(one.num_blocks for one in found)
    return capacity(stages[0], blocks * stages[0].bytes_per_block, max_model_len)

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The shapes that cross YAML and JSON on the way to a plan and out of it. What a box or a user wrote may lack any key (``total=False``).

Values that a user may write in several ways (``auto``, 64K) are ``Any`` until `wanted_server.read_server` has checked them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from ansible_collections.gb10.vllm.plugins.module_utils._sizing.rank import Rank


class EngineFacts(TypedDict, total=False):
    """Which vLLM will run, as far as it is known."""

    vllm_version: str
    image_version: str
    platform: str
    cuda_runtime: str
    source: str
    image_id: str
    cpu_amx: bool
    cpu_avx512_bf16: bool


class MemoryFacts(TypedDict, total=False):
    """``memory`` of ``box_info``, in bytes; the CUDA total is None where CUDA was not asked."""

    total_bytes: int
    available_bytes: int
    cuda_total_bytes: int | None
    cuda_total_source: str


class BoxFacts(TypedDict, total=False):
    """What ``box_info`` returns, as far as the plan reads it. ``servers`` are records on the box: files that may hold anything."""

    memory: MemoryFacts
    holders: Sequence[Mapping[str, Any]]
    docker: Mapping[str, Any]
    servers: Mapping[str, Any]
    cpu_features: EngineFacts


class Start(TypedDict):
    """A start that was measured: ``where`` is "here" or the name of another box, the rest what a box keeps of a server (any of it may be empty)."""

    where: str
    deployment: Mapping[str, Any]
    measured: Mapping[str, Any]


class Options(TypedDict, total=False):
    """What the user decides for the whole plan."""

    os_floor_gib: float
    margin_gib: float
    reserve_gib: float
    assume_full_attention: bool


class Beside(TypedDict, total=False):
    """What files beside config.json say: lengths as they stand there, ``pooling`` where sentence-transformers' modules.json has such a module.

    ``pooler``: ways of pooling that an argument asks for instead.
    """

    sentence_max_length: Any
    tokenizer_max_length: Any
    pooling: list[str]
    pooler: list[str]


class ModelInfo(TypedDict, total=False):
    """What ``model_info`` returns for one model, as far as the plan reads it."""

    path: str
    present: bool
    source: str
    config: Mapping[str, Any]
    weights: Mapping[str, Any]
    kind: str
    layout: str
    architecture: str
    tokenizer: bool
    auto_map: Any
    size_bytes: int
    manifest: str
    download: Mapping[str, Any] | None
    directory: str
    ours: bool
    content: Mapping[str, str | None]
    beside: Beside
    hf: Mapping[str, Any]
    names: Sequence[str]


class WantedServer(TypedDict, total=False):
    """An entry of ``gb10_servers``, as far as the plan reads it."""

    name: str
    model: str
    model_path: str
    port: Any
    max_model_len: Any
    concurrency: Any
    gpu_memory_utilization: Any
    gpu_memory_ceiling: Any
    kv_cache_memory_gib: Any
    reserve_gib: Any
    kv_cache_memory_bytes: Any
    kv_cache_dtype: str
    served_model_name: Any
    load_format: str
    cuda_graphs: Any
    trust_remote_code: Any
    max_num_batched_tokens: Any
    max_num_seqs: Any
    engine: EngineFacts  # of the server's own image, where it is another one than the box's
    args: Mapping[str, Any]
    plan_env: Mapping[str, str]
    boxes: Any
    tensor_parallel: Any
    pipeline_parallel: Any
    rank: Mapping[str, Any]  # one box of a server over several, as `_decide/groups.py` makes it from ``boxes``


class Repair(TypedDict):
    """A recorded repair, and what it changed of the server."""

    id: str
    reason: str
    set: dict[str, Any]


class Server(TypedDict):
    """A wanted server as `wanted_server.read_server` returns it: every key there, every value checked."""

    name: str
    model: str
    model_path: str
    port: int
    max_model_len: int | None
    concurrency: int
    utilization: float | None
    ceiling: float | None
    kv_cache_bytes: int | None
    kv_cache_dtype: str
    served_model_name: Any
    eager: bool
    graphs_stated: bool
    load_format: str
    trust_remote_code: bool
    trust_stated: bool
    revision: str
    max_num_batched_tokens: int | None
    max_num_seqs: int | None
    reserve_bytes: int
    kv_cache_most_bytes: int | None
    args: dict[str, Any]
    env: dict[str, str]
    repairs: list[Repair]
    rank: Rank | None


class PartFacts(TypedDict):
    """One term of the budget; ``source`` is computed, measured or assumed."""

    value: int
    source: str
    why: str


class GroupFacts(TypedDict):
    """One group of layers that share blocks."""

    layers: int
    kind: str
    block_size: int
    page_size_bytes: int


class LayoutFacts(TypedDict):
    """A KV layout as plain data, in bytes and tokens."""

    kv_bytes_per_token: float
    bytes_per_block: int
    block_size: int
    groups: list[GroupFacts]


class Flag(TypedDict):
    """One flag of ``vllm serve`` and why it is there."""

    flag: str
    value: Any
    why: str


class Change(TypedDict, total=False):
    """What would make a server fit: in words, as keys to set, and with its figures."""

    change: str
    set: dict[str, Any]
    cost: str
    requested_bytes: int
    kv_cache_bytes: int
    kv_bytes_per_token: float
    concurrency: int
    max_model_len: int
    stop: str
    frees_bytes: int
    boxes: int


class PlanServer(LayoutFacts, total=False):
    """The plan's part for one server."""

    name: str
    model: str
    served_model_name: str
    port: int
    architecture: str
    kind: str
    verdict: str
    reason: str
    weights_bytes: PartFacts
    activation_bytes: PartFacts
    graph_bytes: PartFacts
    non_torch_bytes: PartFacts
    beside_bytes: PartFacts
    beside: dict[str, PartFacts]
    margin_bytes: int
    kv_cache_dtype: str
    kv_cache_bytes: int
    num_blocks: int
    kv_tokens: int
    concurrency: float
    wanted_concurrency: int
    max_model_len: int
    longest_max_model_len: int
    derived_max_model_len: int
    needed_bytes: int
    gpu_memory_utilization: float
    requested_bytes: int
    flags: list[Flag]
    arguments: list[str]
    changes: list[Change]
    repairs: list[Repair]
    warnings: list[str]
    engine: EngineFacts  # of a server with an image of its own
    rank: dict[str, Any]  # of a server over several boxes: number, boxes, tensor, pipeline, layers, why


class PlanBox(TypedDict, total=False):
    """The plan's part for the box, in bytes."""

    total_bytes: int
    total_source: str
    available_bytes: int
    floor_bytes: int
    usable_bytes: int
    returned_bytes: int
    others: list[dict[str, Any]]
    headroom_bytes: int
    left_for_os_bytes: int
    warnings: list[str]


class Plan(TypedDict, total=False):
    """What everything after it reads (docs/ARCHITECTURE.md); ``verdict`` is the worst of the servers'."""

    verdict: str
    box: PlanBox
    engine: EngineFacts
    servers: list[PlanServer]


class Calculation(LayoutFacts, total=False):
    """The answer of the calculator without a box; from ``available_bytes`` on only when memory was given."""

    architecture: str
    engine: EngineFacts
    kv_cache_dtype: str
    weights_bytes: int | None
    max_model_len: int
    needed_bytes_per_request: int
    needed_bytes: int
    requests: int
    warnings: list[str]
    available_bytes: int
    num_blocks: int
    kv_tokens: int
    concurrency: float
    fits: bool
    estimated_max_model_len: int
    longest_max_model_len: int
    vllm_says: str | None

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What arguments of the user's take beside weights and KV cache, which of them make no sense on a GB10, and whose memory nobody can know. Pure.

The table of all arguments is `arguments`; each part here names vLLM's file and function.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._names import GIB
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import arguments, beside
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.beside import ASSUMED, COMPUTED, Step
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.budget import Part
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.checks import MOST_GIB
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.model_config import ModelFacts

# vLLM's own default is 4 GiB; on a GB10 that is memory of the KV cache, and 1 GiB holds some 70 large images.
PROCESSOR_CACHE_GIB = 1
# vLLM's ``simple_cpu_offload_connector.py DEFAULT_CPU_CAPACITY_BYTES``.
SIMPLE_OFFLOAD_BYTES = 8 * GIB
# Connectors whose buffer in host memory is what they are told (``v1/kv_offload/cpu/spec.py``, ``tiering/spec.py``).
OFFLOADING = ("OffloadingConnector", "SimpleCPUOffloadConnector")
# A drafter's own graphs and buffers; no start on a GB10 was seen.
DRAFTER_BYTES = GIB // 4
# What fills only with use, so that no start shows it.
WITH_USE = ("multimodal_cache", "lora_adapters")
# Speculation that runs no model of its own.
WITHOUT_MODEL = ("ngram", "ngram_gpu", "suffix")


def parts(facts: ModelFacts, step: Step, args: Mapping[str, Any], who: str) -> dict[str, Part]:
    """The parts that this server's arguments add, in the order of their names; GB10Error for a value that is none."""
    found = {
        **_lora(facts, step, args, who),
        "speculation": _speculation(facts, step, args),
        "multimodal_cache": _multimodal(facts, args, who),
        "kv_offload": _kv_offload(args, who),
    }
    return {name: part for name, part in found.items() if part is not None}


def own_flags(facts: ModelFacts, args: Mapping[str, Any]) -> list[tuple[str, Any, str]]:
    """Flags the plan sets although nobody stated them, because vLLM's default would take memory: [(flag, value, why)]."""
    if not takes_images(facts, args) or "mm_processor_cache_gb" in args:
        return []
    why = f"vLLM would keep up to 4 GiB of prepared images, which on a GB10 the KV cache would lack; {PROCESSOR_CACHE_GIB} GiB holds some 70 large ones"
    return [("--mm-processor-cache-gb", PROCESSOR_CACHE_GIB, why)]


def refuse(args: Mapping[str, Any], who: str, platform: str) -> None:
    """GB10Error for the first argument that makes no sense where device and host share their memory."""
    for name, value in args.items():
        row = arguments.row_of(name)
        if platform == "gb10" and row is not None and row.memory == arguments.REFUSED and not arguments.is_off(value):
            raise GB10Error(f"{who}: args.{name} is refused: {row.part}. Take it out of the server's args.")


def unknown(args: Mapping[str, Any]) -> list[str]:
    """A warning for each argument whose memory cannot be known."""
    found = []
    for name, value in args.items():
        row = arguments.row_of(name)
        why = row.part if row is not None and row.memory == arguments.UNKNOWN and str(value) != "native" else _external(name, value)
        if why and not arguments.is_off(value):
            found.append(f"{arguments.canonical(name)}: {why}, so nothing is kept back for it: state reserve_gib for this server, or gb10_reserve_gib for all")
    return found


def _external(name: str, value: Any) -> str:
    """Why the memory of a cache outside vLLM is not known; "" where the argument names none."""
    if arguments.canonical(name) != "kv_transfer_config":
        return ""
    connector = str(beside.as_object(value).get("kv_connector") or "")
    return "" if connector in OFFLOADING else f"{connector or 'the connector'} keeps buffers of its own, sized by its own settings"


def takes_images(facts: ModelFacts, args: Mapping[str, Any]) -> bool:
    """Whether the server takes images, sounds or videos at all."""
    limits = beside.as_object(args.get("limit_mm_per_prompt"))
    switched_off = bool(limits) and all(arguments.is_off(count) for count in limits.values())
    return facts.multimodal and facts.kind in ("generate", "pooling") and not beside.is_true(args.get("language_model_only")) and not switched_off


def _multimodal(facts: ModelFacts, args: Mapping[str, Any], who: str) -> Part | None:
    """Prepared images: whole in the engine, with one API server only their keys there; with several, whole in each (``multimodal/cache/factories.py``)."""
    if not takes_images(facts, args):
        return None
    each = _gib(args.get("mm_processor_cache_gb", PROCESSOR_CACHE_GIB), f"{who}: args.mm_processor_cache_gb")
    servers = min(beside.api_servers(args), beside.MOST_API_SERVERS)
    why = f"prepared images, up to {each / GIB:g} GiB (--mm-processor-cache-gb)" + (f" in each of {servers} API servers" if servers > 1 else "")
    return Part(each * servers, COMPUTED, why)


def _lora(facts: ModelFacts, step: Step, args: Mapping[str, Any], who: str) -> dict[str, Part]:
    """Slots on the device and adapters kept on the host: ``lora/layers/base_linear.py create_lora_weights``, ``config/lora.py``."""
    if not beside.is_true(args.get("enable_lora")):
        return {}
    slots, rank = _whole(args.get("max_loras"), 1, f"{who}: args.max_loras"), _whole(args.get("max_lora_rank"), 16, f"{who}: args.max_lora_rank")
    kept = max(slots, _whole(args.get("max_cpu_loras"), slots, f"{who}: args.max_cpu_loras"))
    element = 4 if str(args.get("lora_dtype")) == "float32" else step.element
    linear, ends = _adapted(facts, step.tp), 2 * (facts.vocab_size + facts.hidden_size)
    device, host = slots * rank * (linear + ends) * element, kept * rank * linear * element
    return {
        "lora_slots": Part(device, COMPUTED, f"{slots} slot{'s' if slots > 1 else ''} of rank {rank} beside each linear layer, on the device"),
        "lora_adapters": Part(host, COMPUTED, f"{kept} adapter{'s' if kept > 1 else ''} of rank {rank} kept on the host (--max-cpu-loras)"),
    }


def _adapted(facts: ModelFacts, tp: int) -> int:
    """Values of one adapter of rank 1: for each linear layer as many as it has rows and columns together."""
    hidden, heads, width = facts.hidden_size, facts.num_attention_heads, facts.head_dim
    query, keys = heads * width // tp, 2 * facts.num_key_value_heads * width // tp
    attention = 3 * hidden + query + keys + query + hidden
    inner = (facts.moe_intermediate_size if facts.num_experts else None) or facts.intermediate_size or 4 * hidden
    experts = max(1, facts.num_experts)
    return facts.num_layers * (attention + experts * 3 * (hidden + inner // tp))


def _speculation(facts: ModelFacts, step: Step, args: Mapping[str, Any]) -> Part | None:
    """Logits of all drafted tokens (``v1/sample/rejection_sampler.py``: bfloat16 and float32), and the drafter's own graphs and buffers."""
    settings = beside.as_object(args.get("speculative_config"))
    method = settings.get("method")
    if not (method or settings.get("model")):
        return None
    drafted = beside.drafted_tokens(args)
    logits = step.sequences * drafted * facts.vocab_size * 6
    drafter = 0 if str(method) in WITHOUT_MODEL or step.platform == "cpu" else DRAFTER_BYTES
    return Part(logits + drafter, ASSUMED, f"logits of {step.sequences} sequences x {drafted} drafted tokens" + (", the drafter's graphs" if drafter else ""))


def _kv_offload(args: Mapping[str, Any], who: str) -> Part | None:
    """The buffer of a KV cache in host memory: ``config/vllm.py _post_init_kv_transfer_config``."""
    size = _gib(args.get("kv_offloading_size") or 0, f"{who}: args.kv_offloading_size")
    transfer = beside.as_object(args.get("kv_transfer_config"))
    extra = transfer.get("kv_connector_extra_config")
    if not size and transfer.get("kv_connector") in OFFLOADING:
        default = SIMPLE_OFFLOAD_BYTES if transfer["kv_connector"] == "SimpleCPUOffloadConnector" else 0
        size = _whole(beside.as_object(extra).get("cpu_bytes_to_use"), default, f"{who}: cpu_bytes_to_use in args.kv_transfer_config")
    if not size:
        return None
    return Part(
        size, COMPUTED, f"a second KV cache of {size / GIB:g} GiB in host memory; on a GB10 that is the same memory, without it the first one is larger"
    )


def _whole(value: Any, default: int, where: str) -> int:
    """A whole number of bytes or pieces that may be written as text; GB10Error for what is none."""
    found = default if value is None else beside.count_of(value)
    if found is None:
        raise GB10Error(f"{where} is {str(value)[:40]!r}: give a whole number from 0 on")
    return found


def _gib(value: Any, where: str) -> int:
    """Bytes of a number of GiB that may be written as text; GB10Error for what is none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if isinstance(value, bool) or not 0 <= number <= MOST_GIB:
        raise GB10Error(f"{where} is {str(value)[:40]!r}: give a number of GiB from 0 on")
    return int(number * GIB)

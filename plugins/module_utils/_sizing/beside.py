# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a server takes beside weights and KV cache before anybody has measured it: named parts, each from what is known of vLLM and of real starts. Pure.

Sources of the numbers are in docs/sizing.md, measured starts in tests/gpu/results.jsonl; what arguments of the user's add is in `beside_arguments`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._names import GIB
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.budget import Part
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layers_registry import MLA_FAMILIES
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.model_config import ModelFacts
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.rank import Rank
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.rules import parse_version

KIB, MIB = 2**10, 2**20
ASSUMED, COMPUTED = "assumed", "computed"

# CUDA: 0.52 GiB were gone before vLLM did anything (total less free at its start), 0.22 GiB more went outside torch in each of five H100 starts.
CONTEXT_BYTES = 552_402_944 + 241_172_480
# Modules that are loaded while graphs are captured, then per layer and captured graph: twelve starts agree to 0.1 GiB.
GRAPH_BASE_BYTES = int(0.15 * GIB)
GRAPH_LAYER_BYTES = 72 * KIB
# FlashAttention keeps partial results of at most 32 splits of a decoding batch in each full graph (attention.flash_attn_max_num_splits_for_cuda_graph), twice.
GRAPH_SPLITS = 2 * 32
MOST_CAPTURED = 512
MOST_STATED = 1 << 16
# Buffers of the model runner, cuBLAS workspaces, and what torch keeps in pieces too small to use again: 0.1 to 0.5 GiB beside all the other parts at the peak
# of a first load, with model runner V1 up to 0.6.
BUFFER_BYTES = int(0.50 * GIB)
BUFFER_V1_BYTES = int(0.65 * GIB)
# Engine core with its worker 1.43 to 1.77 GiB, API server 0.64 to 0.77, a tracker of shared memory 0.01: ten H100 starts. 2.2 to 2.8 in public GB10 reports.
PROCESSES_BYTES = int(2.5 * GIB)
API_SERVER_BYTES = int(0.8 * GIB)
MOST_API_SERVERS = 1 << 10
# vLLM's CPU build: API server, engine core and worker before they hold weights (0.6 + 0.6 + 0.7 GiB resident).
PROCESSES_CPU_BYTES = int(1.9 * GIB)
# Ranks on two H200 held 3.0 to 3.4 GiB of the host's memory with the API server, 2.5 to 2.7 without; alone it is 2.1 to 2.5 (tests/gpu/group.jsonl).
LAUNCHER_BYTES = int(1.0 * GIB)
HEADLESS_CPU_BYTES = int(1.3 * GIB)
# Beside a start alone: ranks that share layers took 1.2 GiB more, most of it while graphs were captured (1.51 GiB against 0.58), stages none.
COMMUNICATION_BYTES = int(1.5 * GIB)
STAGES_COMMUNICATION_BYTES = int(0.15 * GIB)
# Bytes per logit while tokens are drawn: model runner V1 keeps bfloat16, float32, probabilities and random numbers, V2 works in place.
SAMPLER_V1_BYTES, SAMPLER_V2_BYTES = 14, 8
# The whole graph of a layer that was compiled keeps a tenth more alive than its operations one by one.
COMPILED = 1.1
# An image of 1540 x 1540 pixels; larger ones take more.
IMAGE_SIDE = 1540
# vLLM's v1/attention/backends/mla: a chunk of context is expanded at once, at most so many tokens.
MLA_CHUNK_TOKENS = 65536


@dataclass(frozen=True)
class Step:
    """One step of the engine as far as its memory goes: ``tokens`` in a batch, ``sequences`` at once, bytes of an ``element``, ranks ``tp``."""

    tokens: int
    sequences: int
    element: int = 2
    tp: int = 1
    platform: str = "gb10"
    vllm_version: str = "0.33.0"
    eager: bool = False
    rank: Rank | None = None  # one box of a server over several


def parts(facts: ModelFacts, step: Step, args: Mapping[str, Any]) -> dict[str, Part]:
    """The parts that every server has, in the order in which they are shown."""
    return {
        "context": context(step),
        "graphs": graphs(facts, step, args),
        "activations": activations(facts, step, args),
        "workspaces": workspaces(facts, step),
        "host_processes": host_processes(step, args),
        **({"communication": communication(step)} if step.rank else {}),
    }


def communication(step: Step) -> Part:
    """What talks to the other boxes keeps for itself: NCCL's communicators and their buffers."""
    if step.platform == "cpu":
        return Part(0, COMPUTED, "Gloo's buffers are the processes'")
    if step.tp == 1:
        return Part(STAGES_COMMUNICATION_BYTES, ASSUMED, "NCCL between stages: nothing was seen of it on two H200")
    return Part(COMMUNICATION_BYTES, ASSUMED, "NCCL between boxes that share layers, and its part of the graphs: 1.2 GiB on two H200")


def context(step: Step) -> Part:
    """CUDA's context and the libraries that are loaded into it."""
    if step.platform == "cpu":
        return Part(0, COMPUTED, "the CPU build has no CUDA context")
    return Part(CONTEXT_BYTES, ASSUMED, "CUDA context 0.51 GiB and libraries outside torch 0.22 GiB, the same in five starts on an H100")


def capture_sizes(sequences: int, tokens: int, args: Mapping[str, Any], ceiling: int = MOST_CAPTURED) -> list[int]:
    """The batch sizes for which graphs are captured (``config/vllm.py _set_cudagraph_sizes``): 1, 2, 4, then by 8 up to 256, then by 16."""
    own = compilation(args)
    sizes = args.get("cudagraph_capture_sizes") or own.get("cudagraph_capture_sizes")
    if isinstance(sizes, (list, tuple)) and sizes:
        return sorted({size for size in map(count_of, sizes) if size})
    stated = count_of(args.get("max_cudagraph_capture_size") or own.get("max_cudagraph_capture_size"))
    most = min(2 * sequences * (1 + drafted_tokens(args)), ceiling) if stated is None else min(stated, MOST_STATED)
    most = min(most, tokens)
    first = range(1, 33) if args.get("performance_mode") == "interactivity" else (1, 2, 4)
    return sorted({size for size in [*first, *range(8, 256, 8), *range(256, most + 1, 16)] if size <= most})


def compilation(args: Mapping[str, Any]) -> Mapping[str, Any]:
    """``compilation_config`` of a server's args, an object or JSON text; dotted keys (``compilation_config.mode``) are read too."""
    dotted = {key.partition(".")[2]: value for key, value in args.items() if key.startswith("compilation_config.")}
    return {**as_object(args.get("compilation_config")), **dotted}


def graph_mode(step: Step, args: Mapping[str, Any]) -> str:
    """``cudagraph_mode`` as it will be (``config/vllm.py``): in pieces below optimisation level 2, none at 0."""
    level = {"0": "NONE", "1": "PIECEWISE"}.get(str(args.get("optimization_level", "")).removeprefix("O"), "FULL_AND_PIECEWISE")
    mode = str(compilation(args).get("cudagraph_mode") or level).upper()
    return "NONE" if step.eager or mode == "0" else mode


def graphs(facts: ModelFacts, step: Step, args: Mapping[str, Any]) -> Part:
    """CUDA graphs: one per captured size in pieces for every batch, and one in full for batches that only decode."""
    if step.platform == "cpu":
        return Part(0, COMPUTED, "the CPU build captures no CUDA graphs")
    mode = graph_mode(step, args)
    if mode == "NONE":
        return Part(0, COMPUTED, "CUDA graphs are off")
    sizes = capture_sizes(step.sequences, step.tokens, args, 2 * MOST_CAPTURED if facts.text_model_type == "gpt_oss" else MOST_CAPTURED)
    full = [size for size in sizes if size <= step.sequences * (1 + drafted_tokens(args))] if "FULL" in mode else []
    number = (len(full) + (len(sizes) if "PIECEWISE" in mode else 0)) * _adapter_cases(args)
    splits = GRAPH_SPLITS * max(full, default=0) * facts.num_attention_heads // step.tp * _split_width(facts) * 4
    value = GRAPH_BASE_BYTES + int(GRAPH_LAYER_BYTES * facts.num_layers * _layer_weight(facts)) * number + splits
    return Part(value, ASSUMED, f"{number} graphs of {facts.num_layers} layers, as starts on an H100 took")


def _split_width(facts: ModelFacts) -> int:
    """Values that a head keeps of one split; with latent attention its output is as wide as the latent."""
    latent = facts.text.optional("kv_lora_rank", 0, 1 << 20) if facts.family in MLA_FAMILIES else None
    return latent or facts.head_dim


def _layer_weight(facts: ModelFacts) -> float:
    """Kernels of a layer against those of most: about twice as many with norms before and after each part (Gemma) or latent attention.

    What Nemotron-H calls a layer is one part of it: a mixer or a feed-forward network.
    """
    if facts.family == "nemotron_h":
        return 0.5
    return 2 if facts.family in MLA_FAMILIES or facts.text_model_type.startswith("gemma") else 1


def _adapter_cases(args: Mapping[str, Any]) -> int:
    """For how many numbers of active adapters each graph is captured (``v1/worker/gpu/lora_utils.py``): none, and any or each power of two."""
    if not is_true(args.get("enable_lora")):
        return 1
    slots = count_of(args.get("max_loras")) or 1
    return 2 + (slots.bit_length() if is_true(args.get("specialize_active_lora")) else 0)


def drafted_tokens(args: Mapping[str, Any]) -> int:
    """How many tokens are drafted per step; 0 without speculation."""
    settings = as_object(args.get("speculative_config"))
    if not (settings.get("method") or settings.get("model")):
        return 0
    return count_of(settings.get("num_speculative_tokens")) or 1


def activations(facts: ModelFacts, step: Step, args: Mapping[str, Any]) -> Part:
    """The transient peak of a step: the widest moment of a layer, of drawing tokens, or of looking at an image."""
    if step.platform == "cpu":
        layers, logits = _rows(facts, step.tp) * step.tokens * step.element * COMPILED, 4 * step.sequences * facts.vocab_size
    else:
        layers, logits = _layer_bytes(facts, step), _sampler_bytes(facts, step)
    image = _image_side(args)
    widest = {
        f"formula over {step.tokens} batched tokens": int(layers),
        f"logits of {step.sequences} sequences x {facts.vocab_size} tokens of the vocabulary": int(logits),
        f"an image of {image} x {image} pixels": _image_bytes(facts, step, image),
    }
    why, value = max(widest.items(), key=lambda item: item[1])
    return Part(value, ASSUMED, why)


def _kept(facts: ModelFacts, step: Step) -> int:
    """What torch keeps of the lesser of the two peaks of a step, layers and logits: its pieces do not fit the other."""
    return int(min(_layer_bytes(facts, step), _sampler_bytes(facts, step)))


def _layer_bytes(facts: ModelFacts, step: Step) -> float:
    """The widest moment of one layer over a whole batch, in bytes."""
    factor = step.element * (1.0 if step.eager else COMPILED)
    rows = max(_rows(facts, step.tp), _attention_rows(facts, step.tp))
    chunk = 0
    if facts.family in MLA_FAMILIES:
        # ``_compute_prefill_context``: keys and values of a chunk of context, expanded for all heads
        chunk = MLA_CHUNK_TOKENS * facts.num_attention_heads // step.tp * _mla_widths(facts)[1] * step.element
    return step.tokens * rows * factor + chunk


def _rows(facts: ModelFacts, tp: int) -> int:
    """Values per token in the feed-forward part: up and gate projections, their product and three residual copies are alive at once.

    ``3 x (ffn + hidden)``, which two H100 runs show to 2 %; with experts what the workspace of the kernels does not hold: shared experts and copies.
    """
    hidden, ffn = facts.hidden_size, facts.intermediate_size or 4 * facts.hidden_size
    if not (facts.num_experts and facts.num_experts_per_token):
        return 3 * (ffn // tp + hidden)
    inner = facts.moe_intermediate_size or ffn
    return 3 * (_shared_width(facts, inner) // tp) + 6 * hidden


def _shared_width(facts: ModelFacts, inner: int) -> int:
    """The width of the experts that every token goes through."""
    text = facts.text
    shared = text.get("n_shared_experts") or text.get("num_shared_experts")
    stated = text.get("shared_expert_intermediate_size") or text.get("shared_intermediate_size") or text.get("moe_shared_expert_intermediate_size")
    if isinstance(stated, int) and not isinstance(stated, bool):
        return stated
    return inner * shared if isinstance(shared, int) and not isinstance(shared, bool) else 0


def _mla_widths(facts: ModelFacts) -> tuple[int, int]:
    """Widths of one head with latent attention: (query, expanded key and value)."""
    nope, rope, value = (facts.text.optional(key, 0, 1 << 16) or 0 for key in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"))
    return nope + rope, nope + value


def _attention_rows(facts: ModelFacts, tp: int) -> int:
    """Values per token in the attention or state part."""
    heads = facts.num_attention_heads // tp
    if facts.family in MLA_FAMILIES:
        query, expanded = _mla_widths(facts)
        return heads * (2 * query + expanded + query) + 2 * facts.hidden_size
    rows = (2 * heads + 2 * facts.num_key_value_heads) * facts.head_dim + 3 * facts.hidden_size
    return max(rows, _state_rows(facts))


def _state_rows(facts: ModelFacts) -> int:
    """Values per token of a recurrent layer: its projections, and the states between the chunks that a long prompt is cut into."""
    text = facts.text

    def number(*keys: str) -> int:
        found = (text.optional(key, 0, 1 << 20) for key in keys)
        return next((value for value in found if value), 0)

    values, width = number("linear_num_value_heads"), number("linear_value_head_dim")
    if values and width:  # gated delta net: chunks of 64 tokens
        keys = number("linear_num_key_heads") * number("linear_key_head_dim")
        return 6 * values * width + 4 * keys + values * width * number("linear_key_head_dim") // 64
    heads, width = number("mamba_num_heads", "mamba_n_heads"), number("mamba_head_dim", "mamba_d_head")
    if heads and width:  # Mamba2: float32 states between chunks
        state, chunk = number("ssm_state_size", "mamba_d_state"), number("chunk_size", "mamba_chunk_size") or 256
        return 6 * heads * width + 2 * heads * width * state // chunk
    return 0


def runner_v2(facts: ModelFacts, vllm_version: str) -> bool:
    """Whether vLLM takes model runner V2 (``config/vllm.py use_v2_model_runner``): for all from 0.32 on, for dense models from 0.26 on."""
    number = parse_version(vllm_version)
    if number >= (0, 32, 0):
        return True
    plain = facts.kind == "generate" and not _state_rows(facts)
    return number >= (0, 26, 0) and plain and (not facts.num_experts or facts.architecture in ("DeepseekV2ForCausalLM", "GraniteMoeForCausalLM"))


def _sampler_bytes(facts: ModelFacts, step: Step) -> int:
    """Logits of all sequences and what drawing from them takes, beside the hidden states they come from."""
    each = SAMPLER_V2_BYTES if runner_v2(facts, step.vllm_version) else SAMPLER_V1_BYTES
    return each * min(step.sequences, step.tokens) * facts.vocab_size + 3 * step.tokens * facts.hidden_size * step.element


def _image_side(args: Mapping[str, Any]) -> int:
    """The side of the largest image that is reckoned with: what the user lets the processor make of one, else what is usual."""
    most = count_of(as_object(args.get("mm_processor_kwargs")).get("max_pixels"))
    return math.isqrt(min(most, 2**40)) if most else IMAGE_SIDE


def _image_bytes(facts: ModelFacts, step: Step, side: int) -> int:
    """The widest moment of the vision tower over one image."""
    tower = facts.vision
    if not tower or step.platform == "cpu":
        return 0
    patches = math.ceil(min(side, tower["image_size"] or side) / tower["patch_size"]) ** 2
    return int(patches * (3 * tower["intermediate_size"] + 8 * tower["hidden_size"]) * step.element)


def workspaces(facts: ModelFacts, step: Step) -> Part:
    """What is kept from step to step: buffers of the runner, and the experts' workspace (``v1/worker/workspace.py``), as large as the largest batch."""
    if step.platform == "cpu":
        return Part(0, COMPUTED, "with the processes")
    experts = _expert_bytes(facts, step)
    kept = _kept(facts, step)
    buffers = BUFFER_BYTES if runner_v2(facts, step.vllm_version) else BUFFER_V1_BYTES
    why = f"buffers of the model runner {buffers / GIB:.2f} GiB, kept by torch {kept / GIB:.2f} GiB"
    return Part(buffers + kept + experts, ASSUMED, why + (f", workspace of the experts {experts / GIB:.2f} GiB" if experts else ""))


def _expert_bytes(facts: ModelFacts, step: Step) -> int:
    """``fused_moe/experts/triton_moe.py workspace_shapes``: two rows per token and chosen expert, as wide as what goes in and comes out."""
    if not (facts.num_experts and facts.num_experts_per_token):
        return 0
    hidden = facts.hidden_size
    inner = (facts.moe_intermediate_size or facts.intermediate_size or 4 * hidden) // step.tp
    return step.tokens * facts.num_experts_per_token * (max(inner, hidden) + max(2 * inner, hidden)) * step.element


def host_processes(step: Step, args: Mapping[str, Any]) -> Part:
    """What the processes hold of the host's memory, which on a GB10 is the same."""
    if step.rank and not step.rank.head:
        size = PROCESSES_BYTES - API_SERVER_BYTES + LAUNCHER_BYTES if step.platform != "cpu" else HEADLESS_CPU_BYTES
        return Part(size, ASSUMED, "launcher and worker, no API server: the head has that")
    if step.platform == "cpu":
        return Part(PROCESSES_CPU_BYTES, ASSUMED, "resident memory of vLLM's three processes, as measured with its CPU build")
    apart = LAUNCHER_BYTES if step.rank else 0
    more = min(api_servers(args), MOST_API_SERVERS) - 1
    why = "API server and engine: 2.1 to 2.5 GiB in starts on an H100, 2.2 to 2.8 in public GB10 reports"
    why += "; the head's engine and worker are processes of their own" if step.rank else ""
    return Part(PROCESSES_BYTES + apart + more * API_SERVER_BYTES, ASSUMED, why + (f"; {more} more API server{'s' if more > 1 else ''}" if more else ""))


def api_servers(args: Mapping[str, Any]) -> int:
    """How many API servers are asked for; 1 without a number."""
    return count_of(args.get("api_server_count")) or 1


def as_object(value: Any) -> Mapping[str, Any]:
    """An object that may be written as JSON text; empty for anything else."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    return value if isinstance(value, Mapping) else {}


def count_of(value: Any) -> int | None:
    """A whole number from 0 on that may be written as text; None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if 0 <= value < 2**60 else None
    return int(value) if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 19 else None


def is_true(value: Any) -> bool:
    """Whether a switch is on, however it is written."""
    return value is True or str(value).lower() in ("true", "yes", "on", "1")


def total(found: Sequence[Part]) -> Part:
    """Several parts as one; assumed where any of it is."""
    source = next((name for name in (ASSUMED, "measured") if any(part.value and part.source == name for part in found)), COMPUTED)
    return Part(sum(part.value for part in found), source, "; ".join(part.why for part in found if part.value))

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the keys of objects among the arguments take, and which attention a model and a GB10 can be given (vLLM 0.32 and 0.33 together). Pure.

vLLM: the types of ``config/*.py`` (recorded in the tests' vllm-arguments.json.gz), ``v1/attention/backends/registry.py`` and each backend's
``supports_compute_capability``, ``is_mla`` and ``is_sparse``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.checks import shown
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.choices import ATTENTION, CHOICES, meant

VALUES = {
    ("attention_config", "backend"): " ".join(sorted(ATTENTION)),
    ("attention_config", "flash_attn_version"): "2 3 4",
    ("attention_config", "minimax_m3_msa_decode_backend"): "triton cutlass",
    ("attention_config", "mla_prefill_backend"): "FLASH_ATTN FLASHINFER TRTLLM_RAGGED TOKENSPEED_MLA ROCM_AITER_FA CPU ZEN_CPU CUSTOM",
    ("attention_config", "trtllm_ragged_backend"): "trtllm-gen cute-dsl",
    ("compilation_config", "compile_cache_save_format"): "binary unpacked",
    ("compilation_config", "cudagraph_mode"): "NONE PIECEWISE FULL FULL_DECODE_ONLY FULL_AND_PIECEWISE",
    ("compilation_config", "mode"): "NONE STOCK_TORCH_COMPILE DYNAMO_TRACE_ONCE VLLM_COMPILE",
    ("ec_transfer_config", "ec_role"): "ec_producer ec_both ec_consumer",
    ("eplb_config", "communicator"): "torch_nccl torch_gloo torch_xccl nixl pynccl",
    ("eplb_config", "policy"): "default",
    ("kernel_config", "linear_backend"): CHOICES["linear_backend"],
    ("kernel_config", "moe_backend"): CHOICES["moe_backend"],
    ("kernel_config", "sparse_indexer_topk_backend"): CHOICES["sparse_indexer_topk_backend"],
    ("kv_events_config", "publisher"): "null zmq",
    ("kv_transfer_config", "kv_load_failure_policy"): "recompute fail",
    ("kv_transfer_config", "kv_role"): "kv_producer kv_both kv_consumer",
    ("logging_config", "formatter"): "text json",
    ("logging_config", "log_level"): CHOICES["log_level"],
    ("pooler_config", "task"): "embed classify token_embed token_classify plugin embed&token_classify",
    ("profiler_config", "profiler"): "torch cuda proton",
    ("profiler_config", "proton_backend"): "cupti",
    ("profiler_config", "proton_context"): "shadow python",
    ("profiler_config", "proton_data"): "tree trace",
    ("profiler_config", "proton_hook"): "triton",
    ("profiler_config", "proton_output_format"): "hatchet hatchet_msgpack chrome_trace",
    ("speculative_config", "attention_backend"): " ".join(sorted(ATTENTION)),
    ("speculative_config", "draft_lm_head_quantization"): "fp8 nvfp4",
    ("speculative_config", "draft_sample_method"): "greedy probabilistic",
    ("speculative_config", "moe_backend"): CHOICES["moe_backend"],
    ("speculative_config", "rejection_sample_method"): "standard synthetic block fly",
    ("watermark_config", "algorithm"): "gumbel dual_key_gumbel",
    ("watermark_config", "deduplicate_contexts"): "none single_turn all",
    ("watermark_config", "prf"): "philox",
}
# Enumerations: their names in any case, of two of them also the numbers.
NAMED = {
    ("attention_config", "backend"): (), ("attention_config", "mla_prefill_backend"): (), ("speculative_config", "attention_backend"): (),
    ("compilation_config", "cudagraph_mode"): (0, 1, 2), ("compilation_config", "mode"): (0, 1, 2, 3),
}  # fmt: skip
LOWERED = ("linear_backend", "moe_backend")
# Without a role a connector does nothing, and vLLM refuses it.
ROLES = {"kv_transfer_config": ("kv_connector", "kv_role"), "ec_transfer_config": ("ec_connector", "ec_role")}
# Backends of other compute capabilities than 12.1.
OTHER_CARDS = (
    "CUTLASS_MLA", "FLASHINFER_MLA", "FLASHINFER_MLA_SPARSE", "FLASHINFER_MLA_SPARSE_SM90", "FLASHMLA", "FLASHMLA_SPARSE", "FLASH_ATTN_MLA",
    "FLASH_ATTN_MLA_SPARSE", "HPC_ATTN", "TOKENSPEED_MLA", "TRITON_FLASH_ATTN",
)  # fmt: skip
# Tags that no class stands behind.
NOT_TO_CHOOSE = ("NO_ATTENTION", "TORCH_SDPA")
OWN_CACHE = ("TURBOQUANT", "ULTRAQUANT")
SPARSE = ("CUTLASS_MSA", "MINIMAX_M3_SPARSE", "STEP5_DSA", "TRITON_MSA")


def refuse(args: Mapping[str, Any], who: str) -> None:
    """GB10Error for the first value in an object that its class does not take."""
    for (name, key), text in VALUES.items():
        value = _within(args, name, key)
        known = text.split()
        if value is None or _takes(name, key, value, known):
            continue
        nearest = meant(str(value).upper() if (name, key) in NAMED else str(value), known)
        raise GB10Error(f"{who}: args.{name}.{key} is {shown(value)}, over which vLLM refuses to start: {nearest}")
    for name, (connector, role) in ROLES.items():
        if _within(args, name, connector) and _within(args, name, role) is None:
            raise GB10Error(f"{who}: args.{name} names a {connector} without a {role}, which vLLM refuses: add one, such as {role.partition('_')[0]}_both")
    if args.get("attention_backend") not in (None, "", "None") and _within(args, "attention_config", "backend") is not None:
        raise GB10Error(f"{who}: args.attention_backend and attention_config.backend both say the backend, which vLLM refuses: keep one of them")


def _within(args: Mapping[str, Any], name: str, key: str) -> Any:
    given = args.get(name)
    return {str(one).replace("-", "_"): value for one, value in given.items()}.get(key) if isinstance(given, Mapping) else None


def _takes(name: str, key: str, value: Any, known: list[str]) -> bool:
    if (name, key) in NAMED:
        numbers = NAMED[name, key]
        named = isinstance(value, str) and (value.upper() in known or (value.lower() == "auto" and not numbers))
        return named or (isinstance(value, int) and not isinstance(value, bool) and value in numbers)
    text = str(value)
    return (text.lower().replace("-", "_") if key in LOWERED else text) in known and not isinstance(value, bool)


def backend_of(args: Mapping[str, Any]) -> str:
    """The attention backend that a user asks for, in capitals; "" for none or vLLM's own choice."""
    said = str(args.get("attention_backend") or _within(args, "attention_config", "backend") or "").upper()
    return "" if said in ("AUTO", "NONE") else said


def check_backend(args: Mapping[str, Any], latent: bool, sparse: bool, of_gb10: bool, who: str) -> None:
    """GB10Error for an attention backend that the model or the GPU cannot have. ``latent``, ``sparse``: what the model's attention is."""
    backend = backend_of(args)
    if not backend or backend not in ATTENTION:
        return
    for_latent = "MLA" in backend
    why = ""
    if backend in NOT_TO_CHOOSE:
        why = "is none that can be chosen"
    elif for_latent and not latent:
        why = "is for latent attention, which this model has not"
    elif latent and not for_latent and backend != "CUSTOM":
        why = "does not take the latent attention of this model"
    elif ("SPARSE" in backend or backend in SPARSE) and not sparse:
        why = "is for sparse attention, which this model has not"
    elif backend in OWN_CACHE:
        why = "needs a kv_cache_dtype of its own, which is not planned here"
    elif of_gb10 and backend in OTHER_CARDS:
        why = "needs another compute capability than a GB10's 12.1"
    if why:
        raise GB10Error(f"{who}: attention_backend {backend} in args {why}, so vLLM would refuse to start: leave it out")

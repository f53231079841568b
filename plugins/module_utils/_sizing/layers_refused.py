# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Architectures of vLLM that are known and not sized, each with its reason, and what counting every layer as full attention would mean for one.

vLLM: ``model_executor/models/registry.py`` of 0.33. An architecture of `layers_registry` is not in here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layers_dropped import is_dropped, why_not


class Refusal(NamedTuple):
    """Why an architecture is not sized; ``safe``: full attention in every layer is at least what it keeps."""

    why: str
    safe: bool = False


_POOLED_INDEX = Refusal("beside latent attention and recurrent states it keeps a pooled index of its prompts, whose size is not known here")
_SPARSE_QWEN = Refusal("its sparse attention keeps compressed copies of keys, and its gated layers several kinds of states, which are not known here")
_WINDOWED_CONV = Refusal("each attention layer also keeps the inputs of short convolutions, which are not known here")
_STEP5 = Refusal("its sparse layers keep summaries of keys beside the keys, which are not known here")
_ENCODER_DECODER = Refusal("its decoder keeps keys of its own and of the encoder's output, in numbers that are not known here")
_LOOPS = Refusal("its layers run several times and keep keys for each time, which is not known here")

REFUSED: dict[str, Refusal] = {
    "CohereAsrForConditionalGeneration": _ENCODER_DECODER,
    "DeepseekV41ForCausalLM": Refusal("its compressed and sparse layers differ from DeepSeek V4's and are not known here"),
    "DiffusionGemmaForBlockDiffusion": Refusal("it writes blocks of text by diffusion, and the canvas it keeps beside the KV cache is not known here"),
    "DoryForCausalLM": _LOOPS,
    "Dots3NoteForCausalLM": Refusal("its layers of sparse and windowed latent attention are padded to one size that is not known here"),
    "Glm5NextForCausalLM": _POOLED_INDEX,
    "Glm5NextForConditionalGeneration": _POOLED_INDEX,
    "HYV4ForCausalLM": Refusal("it keeps an index beside its latent attention on some GPUs and none on others; which a GB10 has is not known here", safe=True),
    "HrmTextForCausalLM": _LOOPS,
    "InklingForCausalLM": _WINDOWED_CONV,
    "InklingForConditionalGeneration": _WINDOWED_CONV,
    "KimiK3ForConditionalGeneration": Refusal("the states of its linear layers and the residuals that its layers share are not known here"),
    "Lfm2BidirectionalModel": Refusal("what its convolutions keep while it looks both ways is not known here"),
    "NemotronParseForConditionalGeneration": _ENCODER_DECODER,
    "PanguProMoEV2ForCausalLM": Refusal("its attention keeps learned entries beside those of the prompt, whose number is not known here"),
    "Qwen4ExpForCausalLM": _SPARSE_QWEN,
    "Qwen4ExpForConditionalGeneration": _SPARSE_QWEN,
    "RadioMBartPrefixForCausalLM": _ENCODER_DECODER,
    "Step5ForCausalLM": _STEP5,
    "Step5ForConditionalGeneration": _STEP5,
    "VoxtralRealtimeGeneration": Refusal("its audio encoder keeps a KV cache of its own, in blocks that are not known here"),
}

# What vLLM's registry has as drafts of other models; they are named in speculative_config.
_DRAFT_WORDS = (
    "Eagle",
    "EAGLE",
    "MTP",
    "Medusa",
    "MLPSpeculator",
    "DFlash",
    "DSpark",
    "NextN",
    "AssistantModel",
    "ExtractHiddenStates",
    "DraftModel",
    "Peagle",
    "XPress",
)
# Keys of a configuration that tell of more than one attention per layer.
_MORE_THAN_ATTENTION = (
    "is_encoder_decoder", "num_loops", "loop_num", "mamba_d_state", "mamba_num_heads", "ssm_state_size", "state_size", "linear_num_value_heads",
    "conv_L_cache", "index_head_dim", "index_topk", "compress_ratios", "linear_attn_config", "hybrid_override_pattern", "layers_block_type", "rwkv",
    "attn_type_list", "layer_attn_types", "mixer_types", "attn_layer_indices", "attn_layer_period", "full_attention_interval", "mb_per_layer",
    "mamba_d_conv", "mamba_step", "total_ut_steps", "cross_attention_layers",
)  # fmt: skip
_FULL = "set gb10_assume_full_attention to count every layer as full attention, which is at least what it keeps"


def is_draft(architecture: str) -> bool:
    """Whether an architecture drafts for another model."""
    return any(word in architecture for word in _DRAFT_WORDS) and not architecture.endswith("ForConditionalGeneration")


def full_attention_is_safe(architecture: str, config: Mapping[str, Any]) -> bool:
    """Whether full attention in every layer is at least what a model keeps: of one that is not known, as far as its configuration tells."""
    if architecture in REFUSED:
        return REFUSED[architecture].safe
    if is_draft(architecture) or is_dropped(architecture) or any(config.get(key) for key in _MORE_THAN_ATTENTION):
        return False
    kinds = config.get("layer_types")
    return not isinstance(kinds, list) or all(isinstance(kind, str) and kind.endswith(("full_attention", "sliding_attention")) for kind in kinds)


def refusal(architecture: str, config: Mapping[str, Any]) -> GB10Error:
    """The error for an architecture that is not sized; ``config``: the language model's configuration."""
    named = f"architecture {architecture!r} (config key 'architectures')"
    if is_draft(architecture):
        return GB10Error(f"{named} drafts for another model: serve that model and name this directory as `model` in its speculative_config.")
    if is_dropped(architecture):
        return GB10Error(f"{named} {why_not(architecture)}.")
    known = REFUSED.get(architecture)
    why = f"cannot be sized: {known.why}" if known else "is not known here, so its KV cache cannot be sized"
    step = _FULL if full_attention_is_safe(architecture, config) else "serve another model, or read docs/extending.md on how to add it"
    return GB10Error(f"{named} {why}; {step}.")

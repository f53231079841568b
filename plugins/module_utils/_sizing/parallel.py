# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How one model is shared out over several GPUs: which layers a pipeline stage has, what divides, and what is best for a number of boxes. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.engine import Engine
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.model_config import ModelFacts
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.rules import release_of, tells_no_age

# Sized architectures of 0.33 whose class has no ``SupportsPP`` (``config/model.py verify_with_parallel_config`` refuses them).
NO_PIPELINE = frozenset((
    "AliceAIForCausalLM", "AriaForConditionalGeneration", "BertForMaskedLM", "BertForSequenceClassification", "BertForTokenClassification", "BertModel",
    "BertSpladeSparseEmbeddingModel", "BgeM3EmbeddingModel", "CLIPModel", "ColBERTJinaRobertaModel", "ColBERTLfm2Model", "ColBERTModernBertModel",
    "ColModernVBertForRetrieval", "ColUltraVBertForRetrieval", "D3ForSequenceClassification", "DomynEdgeForCausalLM", "EmbeddingGemma2Model",
    "FireRedASR2ForConditionalGeneration", "FunASRForConditionalGeneration", "GPT2ForSequenceClassification", "Gemma3TextModel", "Gemma3nForCausalLM",
    "Gemma3nForConditionalGeneration", "GteModel", "GteNewForSequenceClassification", "GteNewModel", "HF_ColBERT", "IQuestLoopCoderForCausalLM",
    "Idefics3ForConditionalGeneration", "JinaForRanking", "LlamaBidirectionalForSequenceClassification", "LlamaBidirectionalModel", "Mamba2ForCausalLM",
    "ModernBertForSequenceClassification", "ModernBertForTokenClassification", "ModernBertModel", "ModernVBertModel", "NemotronH_Nano_Omni_Reasoning_V3",
    "NemotronH_Nano_VL_V2", "NemotronH_Omni_Reasoning_V3", "NemotronH_Super_Omni_Reasoning_V3", "NomicBertModel",
    "OpenAIPrivacyFilterForTokenClassification", "PaddleOCRVLForConditionalGeneration", "Phi4MMForCausalLM", "RobertaForMaskedLM",
    "RobertaForSequenceClassification", "RobertaForTokenClassification", "RobertaModel", "SiglipModel", "SmolVLMForConditionalGeneration", "Terratorch",
    "VoyageQwen3BidirectionalEmbedModel", "WhisperForConditionalGeneration", "XLMRobertaForSequenceClassification", "XLMRobertaForTokenClassification",
    "XLMRobertaModel", "Zamba2ForCausalLM",
))  # fmt: skip
MOST_BOXES = 64
NATIVE = (0, 11, 1)


@dataclass(frozen=True)
class Stage:
    """The decoder layers of one pipeline stage, from ``first`` up to ``end``, of ``layers`` in all."""

    first: int
    end: int
    layers: int

    @property
    def is_first(self) -> bool:
        """Whether the input embedding lies here."""
        return self.first == 0

    @property
    def is_last(self) -> bool:
        """Whether the output head lies here."""
        return self.end >= self.layers


def pipeline_stages(layers: int, stages: int, partition: Sequence[int] | None = None) -> list[range]:
    """Decoder layers of each pipeline stage (``distributed/utils.py get_pp_indices``): the last stage gets no extra one.

    ``partition``: layers of each stage as ``VLLM_PP_LAYER_PARTITION`` gives them.
    """
    if stages > layers:
        raise GB10Error(f"pipeline_parallel_size {stages} is more than the model's {layers} layers: choose fewer stages.")
    if partition is not None and stages > 1:
        if len(partition) != stages or sum(partition) != layers:
            shown = ",".join(map(str, partition))
            raise GB10Error(f"VLLM_PP_LAYER_PARTITION is {shown}: give {stages} numbers that add up to the model's {layers} layers.")
        sizes = list(partition)
    else:
        sizes = [layers // stages] * stages
        for step in range(2, layers % stages + 2):
            sizes[-step] += 1
    starts = [sum(sizes[:stage]) for stage in range(stages)]
    return [range(start, start + size) for start, size in zip(starts, sizes, strict=True)]


def stage_of(layers: int, engine: Engine, rank: int) -> Stage:
    """The stage of a rank: tensor parallel ranks of one stage are neighbours (``parallel_state.py``: data x pipeline x tensor)."""
    stages = pipeline_stages(layers, engine.pipeline_parallel_size, engine.layer_partition)
    here = stages[rank // engine.tensor_parallel_size]
    return Stage(here.start, here.stop, layers)


def check_parallel(facts: ModelFacts, engine: Engine) -> None:
    """GB10Error for a model that vLLM does not share out like this."""
    if engine.pipeline_parallel_size > 1 and facts.architecture in NO_PIPELINE:
        raise GB10Error(
            f"pipeline_parallel_size {engine.pipeline_parallel_size}: vLLM cannot share out the layers of {facts.architecture} over stages (no SupportsPP);"
            " use tensor parallelism only."
        )


def check_release(version: str) -> None:
    """GB10Error for a vLLM that has no engine over several boxes of its own (``--nnodes`` came with 0.11.1)."""
    if not tells_no_age(version) and release_of(version) < NATIVE:
        raise GB10Error(
            f"vLLM {version} cannot run one server over several boxes by itself: 0.11.1 is the first that can. Take a newer image; a Ray cluster, which older"
            " ones need, is not set up here."
        )


def check_blocks(config: Mapping[str, Any], facts: ModelFacts, tensor: int) -> None:
    """GB10Error for weights that are quantised in blocks which ``tensor`` ranks would cut (``fp8_utils.py validate_fp8_block_shape`` and ``..._moe``)."""
    quantised = config.get("quantization_config")
    block = quantised.get("weight_block_size") if isinstance(quantised, Mapping) else None
    size = block[0] if isinstance(block, (list, tuple)) and block else None
    width = (facts.moe_intermediate_size if facts.num_experts else None) or facts.intermediate_size
    if tensor == 1 or not isinstance(size, int) or isinstance(size, bool) or size < 1 or not width:
        return
    if width % tensor or width // tensor % size:
        raise GB10Error(
            f"tensor_parallel_size {tensor} would cut blocks of the quantised weights: {width} / {tensor} is no multiple of {size}; choose a smaller size."
        )


def candidates(boxes: int) -> list[tuple[int, int]]:
    """(tensor, pipeline) whose product is the number of boxes, most tensor parallelism first."""
    return [(boxes // stages, stages) for stages in range(1, boxes + 1) if boxes % stages == 0]


def read_partition(text: str | None) -> tuple[int, ...] | None:
    """``VLLM_PP_LAYER_PARTITION``: layers of each stage, with commas between them; None where it is not set."""
    if not text or not text.strip():
        return None
    numbers = [part.strip() for part in text.split(",")]
    if not all(number.isascii() and number.isdecimal() and 0 < len(number) < 6 for number in numbers):
        raise GB10Error(f"VLLM_PP_LAYER_PARTITION is {text[:64]!r}: give the layers of each stage, such as 20,20.")
    return tuple(map(int, numbers))

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Architectures that vLLM had once, each with the last release that has it, and those that are in plugins of others now.

vLLM: ``model_executor/models/registry.py _PREVIOUSLY_SUPPORTED_MODELS`` and ``_OOT_SUPPORTED_MODELS`` of 0.33. Of some Transformers has a class that
vLLM runs instead (``_try_resolve_transformers``), if each of its layers attends (``models/transformers/base.py create_attention_instances``).
"""

from __future__ import annotations

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error

# architecture -> the last release that has it
LAST_RELEASE: dict[str, str] = {
    "AquilaForCausalLM": "0.24.0",
    "AquilaModel": "0.24.0",
    "ArcticForCausalLM": "0.28.0",
    "AyaVisionForConditionalGeneration": "0.24.0",
    "BaiChuanForCausalLM": "0.23.0",
    "BaichuanForCausalLM": "0.23.0",
    "BambaForCausalLM": "0.23.0",
    "ChameleonForConditionalGeneration": "0.28.0",
    "Cheers": "0.28.0",
    "CheersForConditionalGeneration": "0.28.0",
    "DonutForConditionalGeneration": "0.10.2",
    "Dots1ForCausalLM": "0.23.0",
    "ErnieForSequenceClassification": "0.23.0",
    "ErnieForTokenClassification": "0.23.0",
    "ErnieModel": "0.23.0",
    "Fairseq2LlamaForCausalLM": "0.28.0",
    "FireRedLIDForConditionalGeneration": "0.28.0",
    "FuyuForCausalLM": "0.25.0",
    "GritLM": "0.28.0",
    "Grok1ForCausalLM": "0.24.0",
    "Grok1ModelForCausalLM": "0.24.0",
    "HCXVisionForCausalLM": "0.28.0",
    "InternLM2VEForCausalLM": "0.23.0",
    "InternLMForCausalLM": "0.23.0",
    "JAISLMHeadModel": "0.22.0",
    "MPTForCausalLM": "0.28.0",
    "MantisForConditionalGeneration": "0.24.0",
    "MiniMaxForCausalLM": "0.23.0",
    "MiniMaxM1ForCausalLM": "0.23.0",
    "MiniMaxText01ForCausalLM": "0.23.0",
    "MiniMaxVL01ForConditionalGeneration": "0.23.0",
    "MllamaForConditionalGeneration": "0.10.2",
    "MotifForCausalLM": "0.10.2",
    "MptForCausalLM": "0.28.0",
    "MusicFlamingoForConditionalGeneration": "0.24.0",
    "OuroForCausalLM": "0.26.0",
    "PersimmonForCausalLM": "0.25.0",
    "Phi3SmallForCausalLM": "0.9.2",
    "Phi4FlashForCausalLM": "0.10.2",
    "Phi4MultimodalForCausalLM": "0.12.0",
    "Plamo2ForCausalLM": "0.26.0",
    "PrithviGeoSpatialMAE": "0.28.0",
    "QWenLMHeadModel": "0.23.0",
    "QwenVLForConditionalGeneration": "0.23.0",
    "RWForCausalLM": "0.28.0",
    "StableLMEpochForCausalLM": "0.28.0",
    "Tarsier2ForConditionalGeneration": "0.23.0",
    "TarsierForConditionalGeneration": "0.24.0",
    "TeleChatForCausalLM": "0.25.0",
    "XverseForCausalLM": "0.23.0",
}
# architecture -> the plugin that has it
PLUGINS: dict[str, str] = {
    **dict.fromkeys(("BartModel", "BartForConditionalGeneration", "MBartForConditionalGeneration"), "vllm-project/bart-plugin"),
    "Florence2ForConditionalGeneration": "vllm-project/bart-plugin",
    "Nemotron3_5AsrForRNNT": "Sohaib-Ahmed21/vllm-nemotron-asr-plugin",
}
# Those whose class in Transformers (5.16 to 5.20) says that another's attention may be put into it, in every layer.
TAKEN_OVER = frozenset(
    (
        "AyaVisionForConditionalGeneration", "ChameleonForConditionalGeneration", "Dots1ForCausalLM", "ErnieForSequenceClassification",
        "ErnieForTokenClassification", "ErnieModel", "FuyuForCausalLM", "MusicFlamingoForConditionalGeneration", "PersimmonForCausalLM",
        "Phi4MultimodalForCausalLM",
    )
)  # fmt: skip


def is_dropped(architecture: str) -> bool:
    """Whether some release of vLLM had an architecture that the newest has no class of its own for."""
    return architecture in LAST_RELEASE or architecture in PLUGINS


def why_not(architecture: str) -> str:
    """Why one that is dropped and not sized here is refused, whatever the release: it goes on after the architecture's name."""
    if architecture in PLUGINS:
        return f"is no part of vLLM any more, but of its plugin {PLUGINS[architecture]}, and is not sized here; serve another model"
    after = "; later ones run it through Transformers, if at all" if architecture in TAKEN_OVER else ", and no later release runs it"
    return f"was supported by vLLM until {LAST_RELEASE[architecture]}{after}, and it is not sized here; serve another model"


def check_dropped(architecture: str, version: str, found: tuple[int, int, int]) -> str | None:
    """What to say of an architecture that is sized and that vLLM ``version`` (``found`` as numbers) has no class of its own for; None of others.

    GB10Error where Transformers does not take over.
    """
    last = LAST_RELEASE.get(architecture)
    if last is None or found <= tuple(map(int, last.split("."))):
        return None
    if architecture in TAKEN_OVER:
        return f"vLLM dropped its own {architecture} after {last}: {version} runs it through Transformers, if at all"
    raise GB10Error(
        f"architecture {architecture!r} was supported by vLLM until {last}, and {version} does not start it: serve another model, or an image with that release"
    )

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What differs between vLLM 0.10 and 0.33, as data: one row per release that changed something.

Read from the wheels (``vllm/v1/core/kv_cache_utils.py``, ``kv_cache_interface.py``, ``config/model.py``,
``platforms/interface.py``). A version takes every row up to and including its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error

OLDEST = (0, 10, 0)
NEWEST = (0, 33, 0)

_MORE = " See https://docs.vllm.ai/en/latest/configuration/conserving_memory/ for more details."
_CPU_HINT = " (which also controls CPU memory on the CPU backend)"
_REFUSED = (
    "To serve at least one request with the {model} max seq len ({max_model_len}), ({needed} GiB KV cache is needed, "
    "which is larger than the available KV cache memory ({available} GiB). {estimate}"
    "Try increasing `gpu_memory_utilization`{hint} or decreasing `max_model_len` when initializing the engine.{more}"
)
_NO_MEMORY = "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine{hint}.{more}"
_AUTO_FULL = "Auto-fit max_model_len: full model context length {derived} fits in available "
_AUTO_LESS = "Auto-fit max_model_len: reduced from {derived} to {fitted} to fit in available "


@dataclass(frozen=True)
class Rules:
    """The rules of one release; the defaults are those of 0.10.0."""

    gib_two_decimals: bool = True  # "60.00"; later round(bytes / 2**30, 2): "60.0"
    max_model_len_auto: bool = False  # --max-model-len auto
    needed_rule: str = "layers"  # layers: without group padding; first_group: only group 0 counted; groups: all of them
    tokens_rule: str = "blocks"  # blocks: num_blocks // groups * smallest block; concurrency: int(concurrency * length)
    null_block: bool = False  # one block held back in the check, the estimate and auto-fit
    kv_cache_memory_bytes: bool = False  # --kv-cache-memory-bytes
    group_ratio_percent: int = 100  # largest bucket under this share of the smallest: group size is the largest
    in_flight_batches: bool = False  # windows count every batch in flight, not one
    v2_pipeline_batches: bool = False  # pp + 1 batches in flight with async scheduling (model runner V2)
    hybrid_prefix_caching: bool = False  # prefix caching (mamba mode align) by default for attention + state models
    mamba_align: bool = False  # cache modes align/none exist
    mamba2_checkpoint: bool = False  # Mamba2 keeps one prefill checkpoint block more
    gdn_checkpoint: bool = False  # so does GDN with the FlashInfer prefill kernel, and blocks are multiples of 64
    mla_hybrid_alignment: int = 64  # blocks of MLA + state models are multiples of this
    yarn_from_original: bool = True  # yarn: original_max_position_embeddings * factor, not max_position_embeddings
    chunked_hybrid: bool = False  # chunked attention keeps its own groups; before, it is kept in full
    prefix_lm_batch_floor: bool = False  # Gemma 4: max_num_batched_tokens raised to the largest multimodal item
    packed_kv_dtypes: bool = False  # nvfp4 and per-token-head KV dtypes exist
    gdn_flashinfer_sm12x: bool = False  # FlashInfer's GDN prefill kernel is picked on compute 12.x
    one_line_log: bool = False
    device_in_log: bool = False
    refused_text: str = ""
    no_memory_text: str = ""
    auto_full_text: str = ""
    auto_less_text: str = ""
    estimate_text: str = ""


def _refused(model: str, hint: str, more: str) -> str:
    return _REFUSED.replace("{model}", model).replace("{hint}", hint).replace("{more}", more)


def _no_memory(hint: str, more: str) -> str:
    return _NO_MEMORY.replace("{hint}", hint).replace("{more}", more)


_ESTIMATE = "Based on the available memory, the estimated maximum model length is {estimate}. "
_NO_MEMORY_HINT = " (this flag also controls CPU memory reservation on the CPU backend, despite its name)"

# release -> what it changed
CHANGES: tuple[tuple[tuple[int, int, int], dict[str, Any]], ...] = (
    (
        (0, 10, 0),
        {
            "refused_text": _refused("models's", "", ""),
            "no_memory_text": _no_memory("", ""),
            "estimate_text": _ESTIMATE,
        },
    ),
    ((0, 10, 2), {"kv_cache_memory_bytes": True}),
    ((0, 12, 0), {"group_ratio_percent": 125}),
    ((0, 13, 0), {"refused_text": _refused("models's", "", _MORE), "no_memory_text": _no_memory("", _MORE)}),
    (
        (0, 14, 0),
        {
            "gib_two_decimals": False,
            "chunked_hybrid": True,
            "max_model_len_auto": True,
            "needed_rule": "first_group",
            "auto_full_text": _AUTO_FULL + "GPU memory",
            "auto_less_text": _AUTO_LESS + "GPU memory ({available} GiB available for KV cache)",
        },
    ),
    ((0, 16, 0), {"mamba_align": True}),
    ((0, 18, 0), {"group_ratio_percent": 150}),
    ((0, 19, 0), {"needed_rule": "groups"}),
    (
        (0, 20, 0),
        {
            "packed_kv_dtypes": True,
            "mla_hybrid_alignment": 16,
        },
    ),
    ((0, 20, 2), {"tokens_rule": "concurrency"}),
    (
        (0, 22, 0),
        {
            "refused_text": _refused("model's", _CPU_HINT, _MORE),
            "no_memory_text": _no_memory(_NO_MEMORY_HINT, _MORE),
            "prefix_lm_batch_floor": True,
        },
    ),
    ((0, 26, 0), {"hybrid_prefix_caching": True, "in_flight_batches": True}),
    ((0, 27, 0), {"mla_hybrid_alignment": 128}),
    ((0, 28, 0), {"one_line_log": True}),
    ((0, 29, 0), {"null_block": True}),
    ((0, 30, 0), {"yarn_from_original": False}),
    (
        (0, 32, 0),
        {
            "mamba2_checkpoint": True,
            "v2_pipeline_batches": True,
            "gdn_flashinfer_sm12x": True,
            "device_in_log": True,
            "auto_full_text": _AUTO_FULL + "KV cache memory ({available} GiB {device})",
            "auto_less_text": _AUTO_LESS + "KV cache memory ({available} GiB {device})",
        },
    ),
    ((0, 33, 0), {"gdn_checkpoint": True}),
)

_VERSION = re.compile(r"^\s*[vV]?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?(?:[^0-9].*)?$")


def parse_version(version: str) -> tuple[int, int, int]:
    """``0.33.0``, ``v0.29.1rc1`` or ``0.32.0+cpu`` as three integers; GB10Error when it is no version."""
    match = _VERSION.match(version) if isinstance(version, str) else None
    if not match:
        raise GB10Error(f"vllm_version {version!r} is not a version: give it as in '0.33.0'.")
    return int(match.group(1)), int(match.group(2)), int(match.group(3) or 0)


# Numbers that builds without a tag give themselves (setuptools-scm): they say nothing of their age.
_AGELESS = re.compile(r"^\s*[vV]?0\.(?:0|1)(?:\.\d+)?(?:\.?(?:dev|post)\d*|\+)|^\s*[vV]?0\.0(?:\.0)?\s*$")
# The year is the first number of an NGC container's name.
_FIRST_NGC = 20


def is_version(version: str) -> bool:
    """Whether a text is a version at all."""
    return bool(_VERSION.match(version))


def tells_no_age(version: str) -> bool:
    """Whether a version such as ``0.1.dev16260+g1234`` is a development build whose number does not say how old it is."""
    return bool(_AGELESS.match(version))


def release_of(version: str) -> tuple[int, int, int]:
    """The release whose rules hold for a version: its number, or the newest for a build that does not tell its age.

    GB10Error for what is no version, and for that of a container.
    """
    if isinstance(version, str) and tells_no_age(version):
        return NEWEST
    number = parse_version(version)
    if number[0] >= _FIRST_NGC:
        raise GB10Error(f"vllm_version {version!r} is the version of an NGC container: give that of the vLLM in it (`vllm --version`), such as '0.33.0'.")
    return number


_CACHE: dict[tuple[int, int, int], Rules] = {}


def rules_for(version: str) -> Rules:
    """The rules of a release; a newer one than 0.33 gets the newest known, an older one than 0.10 is refused."""
    number = release_of(version)
    if number < OLDEST:
        raise GB10Error(
            f"vllm_version {version!r} is older than 0.10.0, the oldest release whose KV cache rules are known here:"
            " use a newer image, or set gb10_image.vllm_version if the image only calls itself so."
        )
    rules = _CACHE.get(number)
    if rules is None:
        changed: dict[str, Any] = {}
        for since, change in CHANGES:
            if number >= since:
                changed.update(change)
        rules = _CACHE[number] = replace(Rules(), **changed)
    return rules

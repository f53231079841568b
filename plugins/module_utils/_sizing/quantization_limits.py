# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a method of quantisation takes: the dtypes it computes in, and the bits of the weights it reads. Pure.

vLLM: ``config/vllm.py _get_quantization_config`` and each method's ``get_supported_act_dtypes`` and ``from_config`` below ``layers/quantization``.
No method asks for more than compute capability 100 (``get_min_capability``: fp_quant), and a GB10 has 121.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.checks import shown

SIXTEEN, BRAIN = ("bfloat16", "float16"), ("bfloat16",)
# compressed-tensors and torchao, which are not here, take float32 too.
DTYPES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("awq", "awq_marlin", "auto_awq", "gptq", "gptq_marlin", "auto_gptq", "moe_wna16", "inc", "auto-round"), SIXTEEN),
    **dict.fromkeys(("fp8", "fbgemm_fp8", "deepseek_v4_fp8", "modelopt", "modelopt_fp4", "modelopt_mixed", "quark", "humming"), SIXTEEN),
    **dict.fromkeys(("online", "experts_int8", "fp8_per_tensor", "fp8_per_block", "fp8_per_channel", "ptpc_fp8"), SIXTEEN),
    **dict.fromkeys(("int8_per_channel_weight_only", "nvfp4_per_token"), SIXTEEN),
    **dict.fromkeys(("mxfp4", "gpt_oss_mxfp4", "mxfp8", "modelopt_mxfp8", "fp_quant"), BRAIN),
}
# Of these two 16-bit weights are made at load as well, by the class of all methods that do so (online/base.py).
_MADE_AT_LOAD = ("mxfp4", "mxfp8")


class Reads(NamedTuple):
    """What a format may be in: the keys of its bits, those that vLLM 0.32 reads, and those that earlier releases do."""

    keys: tuple[str, ...]
    now: tuple[int, ...]
    before: tuple[int, ...]


# auto_gptq.py AutoGPTQConfig, auto_awq.py AutoAWQConfig, inc/inc.py INCConfig
FORMATS: dict[str, Reads] = {
    "gptq": Reads(("bits",), (4, 8), (2, 3, 4, 8)),
    "awq": Reads(("w_bit", "bits"), (4,), (4, 8)),
    "auto-round": Reads(("bits",), (2, 3, 4, 5, 6, 7, 8), (2, 3, 4, 5, 6, 7, 8)),
}
UNIFIED = (0, 32, 0)
_OTHERS = "use the original model, or one in FP8, NVFP4, or AWQ or GPTQ of 4 bits"


def check_dtype(method: str | None, declared: str | None, dtype: str, where: str) -> None:
    """GB10Error where vLLM's ``method`` does not compute in ``dtype``; ``declared``: the method that the model's files are in."""
    taken = DTYPES.get(method or "")
    if declared is None and method in _MADE_AT_LOAD:
        taken = SIXTEEN
    if taken and dtype not in taken:
        raise GB10Error(f"{where} runs in {dtype}, and vLLM's {method} computes in {' or '.join(taken)} only: set args.dtype to {taken[0]}")


def check_format(config: Mapping[str, Any], declared: str | None, version: tuple[int, int, int], where: str) -> None:
    """GB10Error for weights in bits that this release's method does not read; ``config``: config.json."""
    reads, found = FORMATS.get(declared or ""), _quantization_of(config)
    if reads is None or not found:
        return
    said = next((found[key] for key in reads.keys if key in found), reads.now[0])
    known = reads.now if version >= UNIFIED else reads.before
    release, listed = ".".join(map(str, version[:2])), " or ".join(map(str, known))
    for bits in (said, *_of_single_layers(found)):
        if bits not in known:
            raise GB10Error(f"{where}: the model's weights are {declared} of {shown(bits)} bits, and vLLM {release} reads {listed} bits: {_OTHERS}")
    if declared == "gptq" and version >= UNIFIED and found.get("sym", True) is not True:
        raise GB10Error(f"{where}: the model's weights are gptq without symmetry (sym: false), which vLLM {release} does not read: {_OTHERS}")


def _quantization_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The description of the format, in the order of ``weight_utils.py get_quant_config``."""
    text = config.get("text_config")
    places = (config.get("quantization_config"), text.get("quantization_config") if isinstance(text, Mapping) else None, config.get("compression_config"))
    return next((place for place in places if isinstance(place, Mapping) and place), {})


def _of_single_layers(found: Mapping[str, Any]) -> Iterator[Any]:
    """The bits that GPTQModel's ``dynamic`` gives to layers (``utils/gptq_utils.py override_config``)."""
    rules = found.get("dynamic")
    for pattern, rule in rules.items() if isinstance(rules, Mapping) else ():
        if not str(pattern).startswith("-:") and isinstance(rule, Mapping) and isinstance(rule.get("bits"), int):
            yield rule["bits"]

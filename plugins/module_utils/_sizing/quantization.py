# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which quantisation vLLM ends up with, and what one that it makes at load leaves of a weight. Pure.

vLLM: ``config/model.py _verify_quantization``, ``config/quantization.py``, ``model_executor/layers/quantization``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.checks import shown


class Online(NamedTuple):
    """What a quantisation at load makes of 16-bit weights: bits per value with its scales, and whether of linear layers, experts or both."""

    bits: float
    linear: bool = True
    experts: bool = True


# bits: 32-bit scales per 128 x 128 block or per row are below 0.01 bit; mxfp8 has 8 bits for 32 values, nf4 16 or 32 bits for 64.
ONLINE: dict[str, Online] = {
    "fp8": Online(8),
    "fp8_per_tensor": Online(8),
    "fp8_per_block": Online(8),
    "fp8_per_channel": Online(8),
    "mxfp8": Online(8.25),
    "mxfp4": Online(4.25),
    "bitsandbytes": Online(4.5),
    "experts_int8": Online(8, linear=False),
    "int8_per_channel_weight_only": Online(8, linear=False),
    "nvfp4_per_token": Online(4.5, linear=False),
}
# Names that stand for another one.
SAME = {"ptpc_fp8": "fp8_per_channel", "compressed_tensors": "compressed-tensors"}
# Methods that only read weights which are in their format already, with the files that may describe it (get_config_filenames).
_GPTQ, _AWQ, _MODELOPT_FILES = ("quantize_config.json",), ("quant_config.json", "quantize_config.json"), ("hf_quant_config.json",)
READING: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("gptq", "auto_gptq", "gptq_marlin"), _GPTQ),
    **dict.fromkeys(("awq", "auto_awq", "awq_marlin"), _AWQ),
    **dict.fromkeys(("modelopt", "modelopt_fp4", "modelopt_mxfp8", "modelopt_mixed"), _MODELOPT_FILES),
    **dict.fromkeys(("moe_wna16", "inc"), (*_GPTQ, *_AWQ)),
    **dict.fromkeys(("compressed-tensors", "torchao", "quark", "gguf"), ()),
}
# Methods that vLLM 0.32 takes only with --allow-deprecated-quantization.
DEPRECATED, DEPRECATED_SINCE = ("fbgemm_fp8", "fp_quant"), (0, 32, 0)
# What vLLM calls the format of a checkpoint once it has seen it, and the names that may be asked for instead (override_quantization_method).
_OVERRIDES: dict[str, tuple[str, tuple[str, ...]]] = {
    "gptq": ("auto_gptq", ("gptq", "gptq_marlin", "auto_gptq", "marlin", "moe_wna16")),
    "awq": ("auto_awq", ("awq", "awq_marlin", "auto_awq", "marlin", "moe_wna16")),
    "auto-round": ("inc", ("inc", "auto-round", "auto_round")),
}
# All methods that some vLLM from 0.10 to 0.33 has (QUANTIZATION_METHODS).
KNOWN = frozenset(
    (
        "auto-round", "auto_awq", "auto_gptq", "awq", "awq_marlin", "bitblas", "bitsandbytes", "compressed-tensors", "cpu_awq", "cpu_gptq",
        "deepseek_v4_fp8", "deepspeedfp", "experts_int8", "fbgemm_fp8", "fp8", "fp8_per_block", "fp8_per_channel", "fp8_per_tensor", "fp_quant", "gguf",
        "gpt_oss_mxfp4", "gptq", "gptq_bitblas", "gptq_marlin", "gptq_marlin_24", "hqq", "humming", "inc", "int8_per_channel_weight_only", "ipex",
        "modelopt", "modelopt_fp4", "modelopt_mixed", "modelopt_mxfp8", "moe_wna16", "mxfp4", "mxfp8", "nvfp4_per_token", "online",
        "petit_nvfp4", "ptpc_fp8", "quark", "rtn", "torchao", "tpu_int8",
    )
)  # fmt: skip
_MODELOPT = {"FP8": "modelopt", "NVFP4": "modelopt_fp4", "MXFP8": "modelopt_mxfp8", "MIXED_PRECISION": "modelopt_mixed"}
# What is a plugin of its own since a release, and which.
PLUGINS = {"bitsandbytes": ((0, 28, 0), "vllm-bnb-plugin")}


def resolved(declared: str | None, asked: Any, where: str, *, model_type: str = "", algorithm: str | None = None, names: Collection[str] = ()) -> str | None:
    """The method of a checkpoint that declares ``declared`` (with ModelOpt's ``algorithm``) under ``--quantization asked``.

    ``names``: files of the checkpoint; some formats are described in one of their own. GB10Error where the two contradict each other.
    """
    if asked in (None, "", "None"):
        asked = None
    elif not isinstance(asked, str):
        raise GB10Error(f"{where}: args.quantization is {shown(asked)}: write the name of a method, such as fp8")
    asked = SAME.get(asked.lower(), asked.lower()) if asked else None
    if declared is None and asked in READING and not any(name in names for name in READING[asked]):
        raise GB10Error(f"{where}: args.quantization {asked} only reads weights that are quantised so, and this model's are not: leave it out, or use fp8")
    if declared is None or asked == "humming":
        return asked or declared
    fixed = _fixed(declared, model_type, algorithm)
    if fixed is not None:
        return fixed
    name, others = _OVERRIDES.get(declared, (declared, (declared,)))
    if asked is None or asked == name or asked in others:
        return "moe_wna16" if asked == "moe_wna16" else name
    raise GB10Error(f"{where}: args.quantization is {asked}, but the model's files are quantised with {declared}: leave it out, vLLM reads it there")


def check_known(method: str | None, where: str, version: tuple[int, int, int], args: Mapping[str, Any]) -> None:
    """GB10Error for a method that no vLLM known here has, and for what goes with another argument only."""
    if method == "online" and not args.get("quantization_config"):
        raise GB10Error(f"{where}: args.quantization online needs quantization_config, which says what is made of which layers: add it, or write fp8")
    if method in DEPRECATED and version >= DEPRECATED_SINCE and not args.get("allow_deprecated_quantization"):
        raise GB10Error(f"{where}: vLLM takes the quantisation {method} only with allow_deprecated_quantization: add it to args, or use another model")
    if method and (method not in KNOWN or (method in GONE and version >= DEPRECATED_SINCE)):
        raise GB10Error(f"{where}: the quantisation {shown(method)} is none that vLLM has: use the original model, or one in FP8, NVFP4, AWQ or GPTQ")


GONE = frozenset(("bitblas", "cpu_awq", "cpu_gptq", "deepspeedfp", "gptq_bitblas", "gptq_marlin_24", "hqq", "ipex", "petit_nvfp4", "rtn", "tpu_int8"))
"""Methods of earlier releases that neither 0.32 nor 0.33 has."""


def _fixed(declared: str, model_type: str, algorithm: str | None) -> str | None:
    """The method that vLLM takes whatever is asked for; None for a format that leaves a choice."""
    if declared.startswith("modelopt"):
        return _MODELOPT.get(algorithm or "")
    if declared == "mxfp4" and model_type == "gpt_oss":
        return "gpt_oss_mxfp4"
    return "deepseek_v4_fp8" if declared == "fp8" and model_type == "deepseek_v4" else None


def modelopt_algorithm(config: Mapping[str, Any]) -> str | None:
    """``quant_algo`` of a ModelOpt checkpoint's ``quantization_config``, in upper case; None for another's."""
    found = config.get("quantization_config")
    if not isinstance(found, Mapping):
        return None
    inner = found.get("quantization", found)
    return str(inner.get("quant_algo") or "").upper() or None if isinstance(inner, Mapping) else None


def online(declared: str | None, asked: Any, config: Mapping[str, Any] | None = None) -> Online | None:
    """What is made of 16-bit weights while they are loaded; None where the files are quantised already or nothing is asked for.

    ``config``: ``--quantization-config``, whose ``linear`` and ``moe`` name such a method each.
    """
    if declared is not None:
        return None
    asked = SAME.get(asked, asked) if isinstance(asked, str) else asked
    found = ONLINE.get(asked) if isinstance(asked, str) else None
    if isinstance(config, Mapping) and (asked in (None, "online") or found is not None):
        linear, moe = (ONLINE.get(str(config.get(key))) for key in ("linear", "moe"))
        if linear is not None or moe is not None:
            bits = max(entry.bits for entry in (linear, moe) if entry is not None)
            return Online(bits, linear=linear is not None, experts=moe is not None)
    return found


def doubts(method: Any, version: tuple[int, int, int]) -> list[str]:
    """What is not certain about a method in this release."""
    since, plugin = PLUGINS.get(method, ((9999, 0, 0), "")) if isinstance(method, str) else ((9999, 0, 0), "")
    if version >= since:
        return [f"vLLM has {method} only as a plugin ({plugin}) since {'.'.join(map(str, since[:2]))}: the image must bring it, or the start is refused"]
    return []

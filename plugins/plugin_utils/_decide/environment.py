# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A server's environment as people write it, and as a shell and vLLM can read it. Pure; no message holds a value that may be a secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Switches of vLLM's that take the words true and false (``envs.py``, 0.32 and 0.33). Its other ones are read as a number, and a word ends the start.
WORDS = (
    "VLLM_ALLOW_LONG_MAX_MODEL_LEN", "VLLM_ALLOW_RUNTIME_LORA_UPDATING", "VLLM_BEAM_ALWAYS_CONSTRAIN_OUTPUT", "VLLM_DEBUG_LOG_API_SERVER_RESPONSE",
    "VLLM_DISABLE_PYNCCL", "VLLM_ENABLE_CUDA_COMPATIBILITY", "VLLM_ENFORCE_STRICT_TOOL_CALLING", "VLLM_MOONCAKE_STORE_TIER_LOG",
    "VLLM_MXFP4_EMULATION_DEQUANT_AT_LOAD", "VLLM_MXFP8_EMULATION_DEQUANT_AT_LOAD", "VLLM_REPLICATE_EMBED", "VLLM_SKIP_MODEL_NAME_VALIDATION",
    "VLLM_TRITON_FORCE_FIRST_CONFIG", "VLLM_USE_HW_AGNOSTIC", "VLLM_USE_MODELSCOPE", "VLLM_USE_OINK_OPS",
)  # fmt: skip
GPUS = "CUDA_VISIBLE_DEVICES"
# Of data-parallel engines, with the value that a single one has (``config/parallel.py``).
ONE_ENGINE = {"VLLM_DP_SIZE": "1", "VLLM_DP_RANK": "0"}


def readable(env: Any, where: str) -> dict[str, Any]:
    """``env`` with its switches as numbers and without what is empty; GB10Error for what no environment can hold."""
    if not isinstance(env, Mapping):
        raise GB10Error(f"{where}: `env` is a {_kind(env)}: write it as a mapping, as in {{NCCL_DEBUG: INFO}}.")
    done: dict[str, Any] = {}
    for name, value in env.items():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise GB10Error(f"{where}: `env` has the name {str(name)[:40]!r}, which no shell takes: letters, digits and underscores, no digit first.")
        if isinstance(value, (list, tuple, Mapping)):
            raise GB10Error(f"{where}: env.{name} is a {_kind(value)}: an environment holds text, so write JSON in quotes.")
        if value is not None:
            done[name] = _switch(name, value)
    devices = str(done.get(GPUS, "0")).strip().split(",", maxsplit=1)[0].strip()
    if devices != "0" and not devices.startswith(("GPU-", "MIG-")):
        raise GB10Error(f"{where}: env.{GPUS} names a GPU that a GB10 has not, or none, so vLLM would find none: leave it out.")
    for name, alone in ONE_ENGINE.items():
        if str(done.get(name, alone)).strip() != alone:
            raise GB10Error(f"{where}: env.{name} is for several engines that share the work, and a GB10 has one GPU: leave it out.")
    port = str(done.get("VLLM_PORT", "0"))
    if not port.isdigit():
        raise GB10Error(f"{where}: env.VLLM_PORT must be a number, the first port that vLLM's processes use among themselves; leave it out, and say `port`.")
    return done


def _switch(name: str, value: Any) -> Any:
    """A switch of vLLM's as the number it reads; other values as they are, and so are those that it takes already, whose servers run."""
    meant = str(value).strip().lower()
    if name.startswith("VLLM_") and name not in WORDS and meant in ("true", "false"):
        return "1" if meant == "true" else "0"
    return value


def _kind(value: Any) -> str:
    return "list" if isinstance(value, (list, tuple)) else "mapping" if isinstance(value, Mapping) else "text"

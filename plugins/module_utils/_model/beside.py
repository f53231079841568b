# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What lies beside config.json and changes what vLLM makes of a model: sentence-transformers' files, the tokenizer's length, ModelOpt's format."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.shapes import Beside

LIMIT = 16 * 2**20
# vLLM: transformers_utils/config.py get_sentence_transformer_tokenizer_config, in its order; the first that says something counts.
SENTENCE_FILES = tuple(f"sentence_{name}_config.json" for name in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet"))
# get_pooling_config
POOLING_TYPES = ("sentence_transformers.models.Pooling", "sentence_transformers.sentence_transformer.modules.pooling.Pooling")
QUANTIZATION_FILE = "hf_quant_config.json"
_SEQUENCE, _TOKEN = ("CLS", "LAST", "MEAN"), ("ALL", "STEP")

Read = Callable[[str, int], bytes]


def read_beside(where: str, names: Collection[str], read: Read) -> Beside:
    """The facts of the files beside config.json, as far as they are there; GB10Error for one that is no JSON."""

    def load(name: str) -> Any:
        try:
            return json.loads(read(name, LIMIT))
        except (ValueError, RecursionError) as exc:
            raise GB10Error(f"{where}/{name} is not JSON ({type(exc).__name__}): download it again") from exc

    found: Beside = {}
    for name in SENTENCE_FILES:
        content = load(name) if name in names else None
        if content:
            if isinstance(content, Mapping) and "max_seq_length" in content:
                found["sentence_max_length"] = content["max_seq_length"]
            break
    tokenizer = load("tokenizer_config.json") if "tokenizer_config.json" in names else None
    if isinstance(tokenizer, Mapping) and "model_max_length" in tokenizer:
        found["tokenizer_max_length"] = tokenizer["model_max_length"]
    if "modules.json" in names:
        modules = load("modules.json")
        entries = [entry for entry in modules if isinstance(entry, Mapping)] if isinstance(modules, list) else []
        pooling = next((entry for entry in entries if entry.get("type") in POOLING_TYPES), None)
        if pooling is not None:
            found["pooling"] = _pooling(str(pooling.get("path") or ""), load)
    return found


def _pooling(folder: str, load: Callable[[str], Any]) -> list[str]:
    """The ways of pooling that the module in ``folder`` names, such as CLS; empty where the model's class decides."""
    if not folder or folder.startswith("/") or ".." in folder:
        return []
    try:
        content = load(f"{folder}/config.json")
    except GB10Error:
        return []
    kinds = []
    for key, value in content.items() if isinstance(content, Mapping) else ():
        name = value if key == "pooling_mode" and isinstance(value, str) else key if value is True else None
        if name is not None:
            word = name.replace("pooling_mode_", "").split("_", 1)[0]
            kinds.append("LAST" if "lasttoken" in word else word.upper())
    return [kind for kind in kinds if kind in (*_SEQUENCE, *_TOKEN)]


def with_quantization(config: dict[str, Any], where: str, names: Collection[str], read: Read) -> dict[str, Any]:
    """``config`` with the format that ModelOpt before 0.31 wrote into a file of its own, which vLLM reads where config.json names none."""
    if config.get("quantization_config") is not None or QUANTIZATION_FILE not in names:
        return config
    try:
        found = json.loads(read(QUANTIZATION_FILE, LIMIT))
    except (ValueError, RecursionError) as exc:
        raise GB10Error(f"{where}/{QUANTIZATION_FILE} is not JSON ({type(exc).__name__}): download it again") from exc
    return {**config, "quantization_config": found} if isinstance(found, dict) and found else config

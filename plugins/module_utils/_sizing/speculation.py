# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Speculative decoding as a server's arguments ask for it, under the names vLLM itself uses (vLLM: ``config/speculative.py``). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import checks
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.shapes import ModelInfo

# Methods whose draft is a model of its own, and those that need none.
WITH_MODEL = ("eagle", "eagle3", "dflash", "dspark", "draft_model", "medusa", "mlp_speculator", "custom_class")
WITHOUT_MODEL = ("mtp", "ngram", "ngram_gpu", "suffix")
# vLLM's many names of prediction heads in the checkpoint; all are ``mtp`` (MTPModelTypes of 0.10 to 0.33).
HEADS = frozenset(
    f"{name}_mtp"
    for name in (
        "bailing_hybrid", "bailing_hybrid_v3", "deepseek", "dots3_note", "ernie", "exaone4_5", "exaone_moe", "gemma4", "glm4_moe", "glm4_moe_lite", "glm5_next",
        "glm_ocr", "hy_v3", "hy_v4", "inkling", "kimi_k3", "longcat_flash", "mimo", "mimo_v2", "minimax_m3", "nemotron_h", "pangu_ultra_moe", "qwen3_5",
        "qwen3_next", "qwen4_exp", "step3p5",
    )
)  # fmt: skip
# Drafts that keep no KV cache of their own.
CACHELESS = ("ngram", "ngram_gpu", "suffix", "medusa", "mlp_speculator", "custom_class")
SUFFIX_TOKENS = 24  # suffix_decoding_max_tree_depth


def speculation(args: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What the ``args`` of server ``name`` (as `flags.normalise_args` returns them) say of speculative decoding; empty without it.

    ``method`` is vLLM's own: each of its many ``*_mtp`` is ``mtp``, absent is told from ``model``. GB10Error for what vLLM refuses.
    """
    given = args.get("speculative_config")
    if isinstance(given, str):
        raise GB10Error(f"server {name}: args.speculative_config is not JSON: write it as a dictionary")
    if given is not None and not isinstance(given, Mapping):
        raise GB10Error(f"server {name}: args.speculative_config must be a dictionary such as {{method: mtp, num_speculative_tokens: 1}}")
    found = {str(key).replace("-", "_"): value for key, value in (given or {}).items() if value is not None}
    if not found:
        return {}
    method, model = found.get("method"), found.get("model")
    if not isinstance(method or "", str) or not isinstance(model or "", str):
        raise GB10Error(f"server {name}: method and model of speculative_config must be text: write {{method: mtp, num_speculative_tokens: 1}}")
    found["method"] = _method(method, model)
    if method is None and not found["method"] and not model:
        raise GB10Error(f"server {name}: speculative_config names neither method nor model, which vLLM refuses: say one, such as {{method: mtp}} or ngram")
    _check_lookup(found, name)
    if found["method"] not in (*WITH_MODEL, *WITHOUT_MODEL, ""):
        raise GB10Error(f"server {name}: speculative_config.method {method!r} is not sized here: use one of {', '.join(sorted((*WITH_MODEL, *WITHOUT_MODEL)))}")
    if found["method"] in WITHOUT_MODEL[1:]:
        found.pop("model", None)
    elif found["method"] in WITH_MODEL and not model:
        raise GB10Error(f"server {name}: speculative_config.method {method!r} needs the draft model as `model`: name its directory")
    return found


def _check_lookup(found: Mapping[str, Any], name: str) -> None:
    """GB10Error for n-grams whose least length is more than their greatest."""
    least, most = found.get("prompt_lookup_min"), found.get("prompt_lookup_max")
    if isinstance(least, int) and isinstance(most, int) and least > most and found["method"] in ("ngram", "ngram_gpu"):
        raise GB10Error(f"server {name}: speculative_config.prompt_lookup_min {least} is more than prompt_lookup_max {most}: turn them round")


def _method(method: str | None, model: str | None) -> str:
    """The method under the one name vLLM goes on with; empty where only the draft model's configuration tells."""
    if not method:
        return "ngram" if model in ("ngram", "[ngram]") else ""
    return "mtp" if method in HEADS else method


def method_with_draft(wanted: Mapping[str, Any], draft: Mapping[str, Any] | None) -> str:
    """The method once the draft model's configuration is known: its directory's name or its type tells where none was given."""
    method = wanted.get("method") or ""
    if method and method != "draft_model":
        return method
    name = str(wanted.get("model") or "").lower()
    for word, found in (("eagle-", "eagle"), ("eagle3", "eagle3"), ("dflash", "dflash"), ("dspark", "dspark")):
        if word in name:
            return found
    kind = str((draft or {}).get("model_type") or "")
    if kind in ("medusa", "mlp_speculator"):
        return kind
    return "mtp" if kind in HEADS else "draft_model"


def draft_tokens(wanted: Mapping[str, Any], heads: int, where: str) -> int:
    """Tokens drafted at once; of heads in a model of their own vLLM takes all without being told. GB10Error where the ``heads`` do not divide it."""
    given = wanted.get("num_speculative_tokens")
    if given is None:
        found = heads if wanted.get("method") == "mtp" and wanted.get("model") else SUFFIX_TOKENS if wanted.get("method") == "suffix" else 0
        if not found:
            raise GB10Error(f"{where}: speculative_config lacks num_speculative_tokens: say how many tokens are drafted at once, such as 3")
        return found
    tokens = checks.whole(given, f"{where}: speculative_config.num_speculative_tokens", 1, 64)
    if wanted.get("method") == "mtp" and heads and tokens > heads and tokens % heads:
        raise GB10Error(f"{where}: speculative_config.num_speculative_tokens {tokens} must be a multiple of the checkpoint's {heads} prediction layers")
    return tokens


def draft_of(wanted: Mapping[str, Any], models: Mapping[str, ModelInfo]) -> ModelInfo | None:
    """The draft model's facts, where one is named and they were given."""
    name = wanted.get("model")
    return models.get(str(name)) if name else None

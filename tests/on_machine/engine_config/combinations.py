# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What vLLM and the product are both asked: a configuration with the files beside it, a server's arguments and environment. Data and its making.

Real ones are what public threads and repositories hold (``real.json``); generated ones cross the configurations of the golden tables with the
ways people write arguments.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TABLES = HERE.parents[1] / "unit" / "plugins" / "module_utils" / "_sizing" / "data"


@dataclass(frozen=True)
class Combination:
    """One question; ``args`` as a user writes them in YAML, ``files`` beside config.json by name."""

    name: str
    config: Mapping[str, Any]
    args: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Any] = field(default_factory=dict)
    quick: bool = False

    def words(self) -> list[str]:
        """The command line that the user would have typed for vLLM; an object is JSON, a list several words."""
        return [word for key, value in self.args.items() for word in typed(key, value)]


def typed(key: str, value: Any) -> list[str]:
    """One argument as it is typed: short names with one dash, a truth value as the flag or its ``--no-``."""
    head, dot, tail = key.lstrip("-").partition(".")
    flag = key if key.startswith("-") else "--" + head.replace("_", "-") + dot + tail
    if value is True:
        return [flag]
    if value is False:
        return ["--no-" + flag.removeprefix("--")]
    if isinstance(value, Mapping):
        return [flag, json.dumps(value)]
    return [flag, *(str(entry) for entry in value)] if isinstance(value, list) else [flag, str(value)]


def table(name: str) -> Any:
    return json.loads(gzip.decompress((TABLES / name).read_bytes()))


def configurations() -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Every configuration of the golden tables with the settings it was tried with."""
    found = {f"cpu/{row['name']}": (row["config"], row["engine"]) for row in table("kv-vllm-0.32-cpu.json.gz")["rows"]}
    for row in table("kv-golden.json.gz")["rows"]:
        found.setdefault(f"golden/{row['model']}", (row["config"], {}))
    return found


# Ways to write arguments, each tried on every model of CROSSED.
WAYS: dict[str, dict[str, Any]] = {
    "short length": {"max_model_len": 1024},
    "length with a suffix": {"max_model_len": "1k"},
    "too long": {"max_model_len": 100_000_000},
    "auto": {"max_model_len": "auto"},
    "kv fp8": {"kv_cache_dtype": "fp8"},
    "kv fp8_e5m2": {"kv_cache_dtype": "fp8_e5m2"},
    "no prefix caching": {"no_enable_prefix_caching": True},
    "prefix caching off": {"enable_prefix_caching": False},
    "two GPUs by the short name": {"-tp": 2},
    "two stages": {"pipeline_parallel_size": 2},
    "block 32": {"block_size": 32},
    "batch": {"max_num_batched_tokens": 4096, "max_num_seqs": 17},
    "throughput": {"performance_mode": "throughput"},
    "layers by override": {"hf_overrides": {"num_hidden_layers": 4}},
    "length by dotted override": {"hf_overrides.max_position_embeddings": 12345},
    "override in a nested object": {"hf_overrides": {"text_config": {"max_position_embeddings": 7777}}},
    "no windows": {"disable_sliding_window": True},
    "whole prompts": {"no_enable_chunked_prefill": True},
    "pooling": {"runner": "pooling"},
    "embed": {"convert": "embed"},
    "eager": {"enforce_eager": True},
    "fp8 at load": {"quantization": "fp8"},
    "abbreviated": {"max_num_batched": 4096},
    "ngram": {"speculative_config": {"method": "ngram", "num_speculative_tokens": 3}},
}
CROSSED = (
    "golden/Llama-3.1-8B", "golden/Qwen3-Next-80B-A3B", "golden/gpt-oss-20b", "golden/DeepSeek-V2-Lite", "golden/gemma-3-27b-it", "golden/bert-base-uncased",
    "cpu/x/phi3long", "cpu/mistral/MistralForCausalLM",
)  # fmt: skip
QUICK = ("short length", "too long", "two GPUs by the short name", "layers by override", "kv fp8", "no prefix caching")


def generated() -> Iterator[Combination]:
    known = configurations()
    for name, (config, settings) in known.items():
        yield Combination(name, config, settings)
    for model in CROSSED:
        config = known[model][0]
        for way, args in WAYS.items():
            yield Combination(f"{model}, {way}", config, args, quick=way in QUICK and model == CROSSED[0])


def real() -> Iterator[Combination]:
    """``real.json``: {configurations: {name: config}, combinations: [{name, config, changed, args, env, files, quick}]}."""
    found = json.loads((HERE / "real.json").read_text(encoding="utf-8"))
    for entry in found["combinations"]:
        config, changed = entry.pop("config"), entry.pop("changed", {})
        base = found["configurations"][config] if isinstance(config, str) else config
        yield Combination(config={**base, **changed}, **entry)


def combinations() -> list[Combination]:
    made = [*real(), *generated()]
    assert len({one.name for one in made}) == len(made), "two combinations have one name"
    return made

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Between what a user writes for a server and what ``vllm serve`` gets: reading ``args``, writing the command line. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error

_NAME = re.compile(r"[a-z0-9][a-z0-9_.]*")
SECRET_ARGS = ("api_key", "hf_token", "ssl_keyfile_password")

# Arguments that the plan has to know, with the server key they stand for.
PLANNED_ARGS = {
    "max_model_len": "max_model_len",
    "gpu_memory_utilization": "gpu_memory_utilization",
    "kv_cache_memory_bytes": "kv_cache_memory_bytes",
    "kv_cache_memory": "kv_cache_memory_bytes",
    "kv_cache_dtype": "kv_cache_dtype",
    "load_format": "load_format",
    "served_model_name": "served_model_name",
    "port": "port",
    "trust_remote_code": "trust_remote_code",
    "enforce_eager": "enforce_eager",
    "max_num_batched_tokens": "max_num_batched_tokens",
    "max_num_seqs": "max_num_seqs",
}


def normalise_args(args: Any, server: str) -> dict[str, Any]:
    """The user's ``args`` with plain names (``--max-num-seqs`` and ``max_num_seqs`` are the same); secrets are refused."""
    if args in (None, ""):
        return {}
    if not isinstance(args, Mapping):
        raise GB10Error(f"server {server}: args must map flag names to values, such as {{max_num_seqs: 64}}, not {type(args).__name__}")
    done: dict[str, Any] = {}
    for key, value in args.items():
        name = plain_name(key)
        if not _NAME.fullmatch(name):
            raise GB10Error(f"server {server}: args has the entry {str(key)[:40]!r}, which is not the name of a vllm serve flag")
        if name in SECRET_ARGS:
            raise GB10Error(f"server {server}: {name} in args would show on the command line; use the server's `api_key` or `env` for secrets instead")
        if name in done:
            raise GB10Error(f"server {server}: args names {name} twice; keep one of them")
        if endless(value):
            raise GB10Error(f"server {server}: args.{name} holds a number that is infinite or none (.inf, .nan), which no plan can carry: write it as text")
        if value is not None:
            done[name] = value
    return done


def endless(value: Any) -> bool:
    """Whether a value of YAML holds an infinite number or NaN, which JSON has no word for."""
    if isinstance(value, float):
        return not math.isfinite(value)
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    return any(map(endless, inner))


def plain_name(key: Any) -> str:
    """``--max-num-seqs`` -> ``max_num_seqs``."""
    return str(key).strip().lstrip("-").replace("-", "_")


def words(flag: str, value: Any) -> list[str]:
    """The words of one flag: true is bare, false is ``--no-flag``, a list repeats values, a dict is JSON."""
    if value is True:
        return [flag]
    if value is False:
        return ["--no-" + flag.removeprefix("--")]
    if isinstance(value, Mapping):
        return [flag, json.dumps(value, separators=(",", ":"), sort_keys=True)]
    if isinstance(value, (list, tuple)):
        return [flag, *(_word(v) for v in value)]
    return [flag, _word(value)]


def arguments(flags: Sequence[Mapping[str, Any]]) -> list[str]:
    """The command line after ``vllm serve MODEL`` from the plan's flags."""
    return [word for entry in flags for word in words(entry["flag"], entry["value"])]


def flag_name(key: str) -> str:
    """``max_num_seqs`` -> ``--max-num-seqs`` (a dotted part keeps its underscores, as vLLM's nested options want)."""
    head, dot, tail = key.partition(".")
    return "--" + head.replace("_", "-") + dot + tail


def _word(value: Any) -> str:
    if isinstance(value, Mapping):
        return json.dumps(value, separators=(",", ":"), sort_keys=True)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Between what a user writes for a server and what ``vllm serve`` gets: reading ``args``, writing the command line. Pure."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import values
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.arguments import ALIASES, ARGUMENTS, JSON, TRUTH, canonical
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.checks import human_int, shown
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.rules import NEWEST, release_of, tells_no_age

_NAME = re.compile(r"(?:[a-z0-9][a-z0-9_]*|O)(?:\.[A-Za-z0-9_-][A-Za-z0-9_.-]*\+?)?")
_TRUE, _FALSE = ("true", "yes", "on", "1", "y", "t"), ("false", "no", "off", "0", "n", "f")
TABLE_SINCE = (0, 26, 0)  # the first release that the table of arguments describes
# Arguments that are parts of speculative_config, and the keys they stand for (``EngineArgs.create_speculative_config``).
SPECULATION = {"spec_method": "method", "spec_model": "model", "spec_tokens": "num_speculative_tokens"}
# Switches that vLLM has in one direction only: turned off is not said.
ONE_WAY = ("headless", "grpc", "data_parallel_multi_port_external_lb", "disable_log_stats", "aggregate_engine_logging")
# What releases before the table had and recipes still name, and what says the same now.
REMOVED = {
    "cuda_graph_sizes": "say cudagraph_capture_sizes",
    "device": "leave it out",
    "disable_mm_preprocessor_cache": "say mm_processor_cache_gb: 0",
    "enable_reasoning": "leave it out, reasoning_parser alone turns it on",
    "full_cuda_graph": "say compilation_config: {cudagraph_mode: FULL}",
    "guided_decoding_backend": "say structured_outputs_config: {backend: ...}",
    "guided_decoding_disable_any_whitespace": "say structured_outputs_config: {disable_any_whitespace: true}",
    "guided_decoding_disable_fallback": "leave it out, there is no fallback any more",
    "max_seq_len_to_capture": "say max_cudagraph_capture_size",
    "multi_step_stream_outputs": "leave it out",
    "num_lookahead_slots": "say speculative_config: {num_speculative_tokens: ...}",
    "num_scheduler_steps": "leave it out, there are no steps of several tokens any more",
    "num_speculative_tokens": "say speculative_config: {num_speculative_tokens: ...}",
    "omni": "it is vLLM-Omni's, which this collection does not run: leave it out",
    "override_pooler_config": "say pooler_config",
    "preemption_mode": "leave it out, what is preempted is computed again",
    "rope_scaling": "say hf_overrides: {rope_parameters: {...}, max_position_embeddings: ...}",
    "rope_theta": "say hf_overrides: {rope_parameters: {rope_theta: ..., rope_type: default}}",
    "stage_configs_path": "it is vLLM-Omni's, which this collection does not run: leave it out",
    "speculative_model": "say speculative_config: {model: ...}",
    "swap_space": "leave it out, what is preempted is computed again",
    "task": "say runner: pooling, and convert where the model is made into another kind",
    "use_v2_block_manager": "leave it out",
    "worker_use_ray": "leave it out, a server here runs on one box",
}
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
    """The user's ``args`` under the names and in the types of vLLM's own parser; secrets are refused.

    ``--max-num-seqs``, ``max_num_seqs`` and any beginning that only it has are one argument; so are ``tp`` and ``tensor_parallel_size``,
    ``no_enable_x`` or ``disable_x`` and ``enable_x`` turned round, ``a.b`` and ``a`` with an object. Text for a truth value becomes one.
    """
    if args in (None, ""):
        return {}
    if not isinstance(args, Mapping):
        raise GB10Error(f"server {server}: args must map flag names to values, such as {{max_num_seqs: 64}}, not {type(args).__name__}")
    done: dict[str, Any] = {}
    parts: list[tuple[str, str, Any]] = []
    for key, value in args.items():
        key, value = _level(key, value)
        written, head, tail = _names(key, value, server)
        if value is None:
            continue
        if tail and kind_of(head) == JSON:
            parts.append((head, tail, value))
            continue
        known = f"{head}.{tail}" if tail else head
        if known in done:
            raise GB10Error(f"server {server}: args names {known} twice; keep one of them")
        value = _typed(written, known, value, server)
        if value is not None:
            done[known] = value
    parts += [("speculative_config", key, done.pop(short)) for short, key in SPECULATION.items() if short in done]
    for head, tail, value in parts:
        done[head] = _with_part(done.get(head), head, tail, value, server)
    return done


def _level(key: Any, value: Any) -> tuple[Any, Any]:
    """``-O3``, ``-O 3`` and ``-O.key value`` as vLLM's parser reads them (``utils/argparse_utils.py``); anything else as it is."""
    name, _dot, tail = str(key).strip().lstrip("-").partition(".")
    if name == "O":
        return (f"compilation_config.{tail}" if tail else "optimization_level"), value
    if len(name) == 2 and name[0] == "O" and name[1].isdigit() and value in (True, None, "") and not tail:
        return "optimization_level", int(name[1])
    return key, value


def _names(key: Any, value: Any, server: str) -> tuple[str, str, str]:
    """(the name as it is written, vLLM's name, what follows a dot) of one entry; GB10Error for what is no flag, a secret or endless."""
    name = plain_name(key)
    if not _NAME.fullmatch(name):
        raise GB10Error(f"server {server}: args has the entry {str(key)[:40]!r}, which is not the name of a vllm serve flag")
    written, _dot, tail = name.partition(".")
    head = canonical_name(written)
    if head in SECRET_ARGS:
        raise GB10Error(f"server {server}: {head} in args would show on the command line; use the server's `api_key` or `env` for secrets instead")
    if endless(value):
        raise GB10Error(f"server {server}: args.{name} holds a number that is infinite or none (.inf, .nan), which no plan can carry: write it as text")
    return written, head, tail


def canonical_name(name: str) -> str:
    """The name in the table of vLLM's arguments that its parser would take ``name`` for; ``name`` itself where there is none.

    Like argparse, a beginning that only one argument has stands for it.
    """
    known = canonical(name)
    if known in ARGUMENTS or len(name) < 3:
        return known
    turned = name.startswith("no_")
    begun = [full for full in ARGUMENTS if full.startswith(name.removeprefix("no_") if turned else name)]
    return begun[0] if len(begun) == 1 and (not turned or kind_of(begun[0]) == TRUTH) else known


def kind_of(name: str) -> str:
    """Of what type an argument is; empty for one that the table does not have."""
    return ARGUMENTS[name].kind if name in ARGUMENTS else ""


def _typed(written: str, name: str, value: Any, server: str) -> Any:
    """A value in the type of its argument; None for one that changes nothing. ``written``: the name as the user has it."""
    kind = kind_of(name)
    if kind == JSON and isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            raise GB10Error(f"server {server}: args.{name} is not JSON: write it as a dictionary") from None
    if kind != TRUTH:
        return values.read(name, kind, value)  # `check_switches` says what is of another kind
    if value == "":
        return None
    flag = truth(value)
    if flag is None:
        return value  # so does it
    if written not in ALIASES and not name.startswith(written):
        flag = not flag  # no_x, or disable_x for enable_x
    return None if not flag and name in ONE_WAY else flag


def unknown_names(args: Mapping[str, Any], version: str) -> list[str]:
    """One sentence for each argument that no release of the table has, or not this one, where the engine is one of them: its parser ends the start."""
    if tells_no_age(version) or not TABLE_SINCE <= release_of(version) <= NEWEST:
        return []
    found = []
    for head in dict.fromkeys(name.partition(".")[0] for name in args):
        if head not in ARGUMENTS:
            found.append(f"no vLLM from 0.26 to 0.33 has the argument {head[:60]}{_meant(head)}")
            continue
        since, until = ARGUMENTS[head].since, ARGUMENTS[head].until
        if (until and release_of(version)[:2] > _two(until)) or (since and release_of(version)[:2] < _two(since)):
            found.append(
                f"vLLM has the argument {head} {f'until {until}' if until else f'since {since}'} only, so {version} refuses to start with it: leave it out"
            )
    return found


def _meant(head: str) -> str:
    """What somebody meant by a name that no argument has: what says the same now, several that begin so, or the nearest."""
    if head in REMOVED:
        return f": {REMOVED[head]}"
    begun = [name for name in ARGUMENTS if name.startswith(head.removeprefix("no_"))]
    if len(begun) > 1:
        return f", but several that begin so ({', '.join(begun[:4])}{' ...' if len(begun) > 4 else ''}): write the whole name"
    near = difflib.get_close_matches(head, ARGUMENTS, n=1, cutoff=0.75)
    return f"; did you mean {near[0]}?" if near else ", so it refuses to start with it"


def _two(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split("."))


def refuse_lost_length(args: Mapping[str, Any], version: str, server: str) -> None:
    """GB10Error for an argument that once stretched the context and is ignored by no vLLM of the table: each refuses to start with it."""
    known = not tells_no_age(version) and TABLE_SINCE <= release_of(version) <= NEWEST
    gone = next((name for name in ("rope_scaling", "rope_theta") if known and name in args), None)
    if gone:
        raise GB10Error(f"server {server}: no vLLM from 0.26 to 0.33 has the argument {gone}: {REMOVED[gone]}")


def check_switches(args: Mapping[str, Any], server: str) -> None:
    """GB10Error for the first value of ``normalise_args``' result that is not of its argument's kind: a switch that is neither on nor off among them."""
    for name, value in args.items():
        kind = kind_of(name)
        if kind == TRUTH and not isinstance(value, bool):
            raise GB10Error(f"server {server}: args.{name} is {shown(value)}: it is a switch, write true or false")
        values.refuse(name, kind, value, f"server {server}")


def truth(value: Any) -> bool | None:
    """A truth value as people write it in YAML, INI and templates; None for what is none."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    word = value.strip().lower() if isinstance(value, str) else ""
    return True if word in _TRUE else False if word in _FALSE else None


def _with_part(held: Any, head: str, tail: str, value: Any, server: str) -> dict[str, Any]:
    """``held`` with what ``--head.tail value`` sets in it; a name that ends in ``+`` appends to a list."""
    if held is None:
        held = {}
    if not isinstance(held, Mapping):
        raise GB10Error(f"server {server}: args has {head} as text and parts of it ({head}.{tail}): write one dictionary")
    grown = tail.endswith("+")
    *outer, last = tail.removesuffix("+").split(".")
    made = inner = dict(held)
    for key in outer:
        nested = inner.get(key)
        inner[key] = inner = dict(nested) if isinstance(nested, Mapping) else {}
    if last in inner and not grown:
        raise GB10Error(f"server {server}: args names {head}.{tail} twice; keep one of them")
    if isinstance(value, str):
        value = value.split(",") if grown else _json_or_text(value)
    inner[last] = [*inner.get(last, []), *(value if isinstance(value, (list, tuple)) else [value])] if grown else value
    return made


def _json_or_text(value: str) -> Any:
    """What vLLM makes of the text of a dotted argument: JSON, a number such as 80g, or the text."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        pass
    try:
        return human_int(value, "")
    except GB10Error:
        return value


def endless(value: Any) -> bool:
    """Whether a value of YAML holds an infinite number or NaN, which JSON has no word for."""
    if isinstance(value, float):
        return not math.isfinite(value)
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    return any(map(endless, inner))


def plain_name(key: Any) -> str:
    """``--max-num-seqs`` -> ``max_num_seqs``; what follows a dot names a key of an object and stays as it is."""
    head, dot, tail = str(key).strip().lstrip("-").partition(".")
    return head.replace("-", "_") + dot + tail


def words(flag: str, value: Any) -> list[str]:
    """The words of one flag: true is bare, false is ``--no-flag``, a list repeats values, a dict is JSON."""
    if value is True:
        return [flag]
    if value is False:
        return ["--no-" + flag.removeprefix("--")]
    if isinstance(value, Mapping):
        return [flag, json.dumps(value, separators=(",", ":"), sort_keys=True)]
    if isinstance(value, (list, tuple)):
        again = flag.removeprefix("--").replace("-", "_") in values.AGAIN
        return [word for v in value for word in (flag, _word(v))] if again else [flag, *(_word(v) for v in value)]
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

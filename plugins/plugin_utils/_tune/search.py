# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which settings are tried next, and which are best so far: decided from what was tried, so a search that was killed goes on where it was. Pure.

One setting after the other is moved away from the best that is known; what is better by more than the noise becomes the best, and the settings are gone
through again from there, until no neighbour of the best is untried. A list of candidates is tried in its order instead.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.flags import plain_name
from ansible_collections.gb10.vllm.plugins.plugin_utils._speed.compare import change
from ansible_collections.gb10.vllm.plugins.plugin_utils._tune import aim as aims
from ansible_collections.gb10.vllm.plugins.plugin_utils._tune import settings as limits

FORMAT = 1
SPACE: dict[str, list[Any]] = {
    # What was seen to matter on a GB10 for any model. Speculation, back ends and what changes answers (an FP8 cache) depend on the model: name them.
    "max_num_batched_tokens": [2048, 4096, 8192],
    "max_num_seqs": [16, 64, 256],
    "enable_prefix_caching": [True, False],
}
OWN_KEYS = (
    "kv_cache_dtype", "max_model_len", "load_format", "gpu_memory_utilization", "concurrency", "cuda_graphs", "kv_cache_memory_gib", "reserve_gib",
    "gpu_memory_ceiling", "tensor_parallel", "pipeline_parallel",
)  # fmt: skip
"""Settings that are keys of a server; all others are its ``args``."""
NAME = "_benchmark_name"
MISSED_NOISE = 0.02
KEPT = ("total", "decode_user", "ttft_p95", "itl_p95")
SECRETS = ("api_key", "env")


def space_of(given: Any) -> dict[str, list[Any]]:
    """The settings to search, by name; the collection's own where none are given. GB10Error for what is none."""
    if given in (None, {}, ""):
        return dict(SPACE)
    if not isinstance(given, Mapping) or not all(isinstance(values, (list, tuple)) and values for values in given.values()):
        raise GB10Error("gb10_tune_settings is no mapping of settings to lists of values; write it as {max_num_seqs: [16, 64]}.")
    found = {plain_name(key): list(values) for key, values in given.items()}
    if len(found) != len(given):
        raise GB10Error("gb10_tune_settings names a setting twice, with - and with _ in its name; write it once, with all of its values.")
    limits.refuse(found)
    return found


def records_of(text: str, path: str) -> list[dict[str, Any]]:
    """Candidates from a parameter file of vLLM's sweep tool: a list of mappings, or a mapping of names to such (``benchmarks/sweep/param_sweep.py``)."""
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if isinstance(value, Mapping):
        value = [{NAME: name, **one} if isinstance(one, Mapping) else one for name, one in value.items()]
    if not isinstance(value, list) or not value or not all(isinstance(one, Mapping) for one in value):
        raise GB10Error(f"{path} is no parameter file: it holds a JSON list of mappings, or a mapping of names to such, as `vllm bench sweep` reads them.")
    found = [{NAME if key == NAME else plain_name(key): part for key, part in one.items()} for one in value]
    for one in found:
        limits.refuse(key for key in one if key != NAME)
    return found


def applied(server: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The server of the inventory with these settings in it: in its ``args``, or in its own key where it has one."""
    made = dict(server)
    args = dict(made.get("args") or {})
    for name, value in settings.items():
        if name == NAME:
            continue
        if name == "enforce_eager":
            made["cuda_graphs"] = "never" if value else "always"
        elif name in OWN_KEYS:
            made[name] = value
        else:
            for key in [key for key in args if plain_name(key) in (name, f"no_{name}", f"disable_{name.removeprefix('enable_')}")]:
                del args[key]
            args[name] = value
    return {**made, "args": args} if args or "args" in made else made


def key_of(server: Mapping[str, Any]) -> str:
    """What a candidate is known by: a digest of the server as it would be asked for, without its secrets."""
    return hashlib.sha256(json.dumps(without_secrets(server), sort_keys=True, default=str).encode()).hexdigest()[:16]


def without_secrets(server: Mapping[str, Any]) -> dict[str, Any]:
    """The server without its key and environment."""
    return {key: value for key, value in server.items() if key not in SECRETS}


def begun(
    server: Mapping[str, Any],
    wish: Mapping[str, Any],
    record: Mapping[str, Any],
    before: Mapping[str, Any] | None = None,
    ranks: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """The state of a search: a new one, or ``before`` where that is the same search. ``wish``: {aim, settings, parameters, path, profile, most, state}.

    ``record``: the box's records of the server, whose deployment comes back in the end; ``ranks``: the same of every box of a server over several.
    GB10Error for an aim, settings or profile that cannot be used, and where another search was not ended: what it tried last may still run, and only its
    state knows what ran before.
    """
    aims.read(wish["aim"])
    space = {} if wish.get("parameters") else space_of(wish.get("settings"))
    records = records_of(wish["parameters"], wish.get("path") or "the parameter file") if wish.get("parameters") else []
    plain = without_secrets(server)
    asked = {"server": plain, "aim": wish["aim"], "space": space, "records": records, "profile": wish["profile"], "most": wish["most"]}
    held = before if before and before.get("format") == FORMAT and not before.get("ended") else None
    if held and {key: held.get(key) for key in asked} == json.loads(json.dumps(asked)):
        return dict(held)
    if held:
        raise GB10Error(
            f"An earlier search over {server['name']} was not ended ({len(held.get('trials') or [])} trials, aim {held.get('aim')}), and what it tried last "
            f"may still run: run that one again to its end, or run the playbook site and delete {wish.get('state') or 'its state'}."
        )
    own = {"ranks": {box: _original(one) for box, one in ranks.items()}} if ranks else {}
    return {"format": FORMAT, **json.loads(json.dumps(asked)), "original": _original(record), **own, "trials": [], "ended": False}


def _original(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a box has before the search: what runs, and what can be gone back to."""
    return {"deployment": record["deployment"], "history": record.get("history") or []}


def original_of(state: Mapping[str, Any], box: str) -> dict[str, Any]:
    """What ran on a box before the search, {deployment, history}."""
    return dict((state.get("ranks") or {}).get(box) or state["original"])


def replaced(state: Mapping[str, Any], records: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The boxes that have something else now than before the search. ``records``: those of the server by box."""
    return [box for box, one in records.items() if (one.get("deployment") or {}).get("spec") != original_of(state, box)["deployment"]["spec"]]


def following(state: Mapping[str, Any]) -> dict[str, Any]:
    """The next candidate, {number, key, set, base}; {} when the search is over. The server as it is comes first, for all others are compared with it."""
    trials, server = state["trials"], state["server"]
    tried = {trial["key"] for trial in trials}
    base = key_of(server)
    if base not in tried:
        return {"number": 0, "key": base, "set": {}, "base": True}
    if not best_of(state) or len(trials) > int(state["most"]):
        return {}
    wishes = state["records"] or _neighbours(state["space"], best_of(state)["set"])
    for settings in wishes:
        key = key_of(applied(server, settings))
        if key not in tried:
            return {"number": len(trials), "key": key, "set": settings, "base": False}
    return {}


def _neighbours(space: Mapping[str, Sequence[Any]], best: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{**best, name: value} for name, values in space.items() for value in values]


def best_of(state: Mapping[str, Any]) -> dict[str, Any]:
    """The best trial so far, in the order in which they were made; {} where none was measured."""
    best: dict[str, Any] = {}
    for trial in state["trials"]:
        if trial["outcome"] == "measured" and (not best or better(best["worth"], trial["worth"])):
            best = trial
    return best


def better(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether a worth is better by more than the noise: the aim is reached now, more tokens/s while it is, or clearly less missing while it is not."""
    if before["reached"] != after["reached"]:
        return bool(after["reached"])
    if after["reached"]:
        return bool(change(before["value"], after["value"], True)["verdict"] == "better")
    return bool(after["missed"] < before["missed"] - MISSED_NOISE)


def with_trial(
    state: Mapping[str, Any], candidate: Mapping[str, Any], outcome: str, told: str = "", document: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The state after a trial: ``outcome`` is ``measured``, ``unfit`` (planned and never started) or ``failed``; ``told``: why, in words."""
    trial: dict[str, Any] = {**candidate, "outcome": outcome, "why": told, "worth": {}, "verdict": outcome}
    if outcome == "measured":
        points = (document or {}).get("points") or []
        trial["points"] = [{"name": one["name"], **{name: one["figures"][name] for name in KEPT if name in one["figures"]}} for one in points]
        trial["worth"] = aims.worth({"points": points}, aims.read(state["aim"]))
        best = best_of(state)
        if not trial["worth"]:
            trial |= {"outcome": "failed", "why": "its benchmark has no number for this aim", "verdict": "failed"}
        elif candidate["base"]:
            trial["verdict"] = "first"
        else:
            trial["verdict"] = "better" if not best or better(best["worth"], trial["worth"]) else "not better"
    return {**state, "trials": [*state["trials"], trial]}

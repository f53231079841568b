# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A wanted server as its user wrote it, read into checked values: ``args`` taken apart, recorded repairs applied, its model found. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import budget, checks, flags
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.rank import read_rank
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.shapes import ModelInfo, Repair, Server, WantedServer
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.speculation import speculation


def read_server(server: WantedServer, repairs: Any = None, image_id: str = "") -> Server:
    """A wanted server with its ``args`` split into what the plan decides and what is passed on, and recorded repairs applied.

    Repairs count for the image they were made with; without ``image_id`` they are taken to be for this one.
    GB10Error names the server and the key that is wrong.
    """
    name = str(server.get("name") or "")
    if not name or not name.isprintable() or len(name) > 64:
        raise GB10Error(f"a server in gb10_servers has the name {name[:64]!r}: give each a short printable name")
    for key in ("model", "model_path", "kv_cache_dtype", "load_format"):
        if not str(server.get(key) or "").isprintable():
            raise GB10Error(f"server {name}: {key} is {str(server[key])[:64]!r}: it must be printable text on one line")
    merged: dict[str, Any] = dict(server)
    for key in ("kv_cache_dtype", "load_format", "served_model_name"):
        value, several = merged.get(key), key == "served_model_name"
        if isinstance(value, (bool, Mapping)) or (isinstance(value, (list, tuple)) and not several):
            raise GB10Error(f"server {name}: {key} is {checks.shown(value)}: write {'a name or a list of them' if several else 'one text'} there")
    merged["args"] = flags.normalise_args(server.get("args"), name)
    flags.check_switches(merged["args"], name)
    applied: list[Repair] = []
    for repair in _repairs(repairs, image_id):
        changed = _apply(merged, repair.get("set") or {})
        if changed:
            applied.append({"id": str(repair.get("id") or "repair"), "reason": str(repair.get("reason") or ""), "set": changed})
    args = merged["args"]
    where = f"server {name}"
    for arg, key in flags.PLANNED_ARGS.items():
        if arg in args:
            merged[key] = args.pop(arg)
    if flags.endless(merged.get("served_model_name")):
        raise GB10Error(f"{where}: served_model_name is {checks.shown(merged['served_model_name'])}: give a name")
    eager = flags.truth(merged.get("enforce_eager"))
    return {
        "name": name,
        "model": str(server.get("model") or server.get("model_path") or ""),
        "model_path": str(server.get("model_path") or ""),
        "port": checks.whole(merged.get("port", 8000), f"{where}: port", 1, 65535),
        "max_model_len": checks.tokens(merged.get("max_model_len"), f"{where}: max_model_len"),
        "concurrency": checks.whole(merged.get("concurrency") or 1, f"{where}: concurrency", 1, 1_000_000),
        "utilization": checks.fraction(merged.get("gpu_memory_utilization"), f"{where}: gpu_memory_utilization"),
        "ceiling": checks.fraction(merged.get("gpu_memory_ceiling"), f"{where}: gpu_memory_ceiling"),
        "kv_cache_bytes": _kv_bytes(merged, where),
        "kv_cache_dtype": str(merged.get("kv_cache_dtype") or "auto"),
        "served_model_name": merged.get("served_model_name") or str(server.get("model") or name).rstrip("/").rpartition("/")[2],
        "eager": eager if eager is not None else checks.choice(merged.get("cuda_graphs"), f"{where}: cuda_graphs") == "never",
        "graphs_stated": eager is not None or checks.choice(merged.get("cuda_graphs"), f"{where}: cuda_graphs") != "auto",
        "load_format": str(merged.get("load_format") or "auto"),
        "trust_remote_code": merged.get("trust_remote_code") == "always" or flags.truth(merged.get("trust_remote_code")) is True,
        "trust_stated": merged.get("trust_remote_code") not in (None, "auto"),
        "max_num_batched_tokens": checks.tokens(merged.get("max_num_batched_tokens"), f"{where}: max_num_batched_tokens"),
        "max_num_seqs": checks.tokens(merged.get("max_num_seqs"), f"{where}: max_num_seqs"),
        "reserve_bytes": checks.gib(merged.get("reserve_gib") or 0, f"{where}: reserve_gib"),
        "kv_cache_most_bytes": _most_kv_bytes(merged, where),
        "args": args,
        "revision": str(merged.get("revision") or ""),
        "env": {str(key): str(value) for key, value in budget.as_map(server.get("plan_env")).items()},
        "repairs": applied,
        "rank": read_rank(merged.get("rank"), where),
    }


def _repairs(repairs: Any, image_id: str) -> list[Mapping[str, Any]]:
    """``{image_id, applied: [...]}`` as the server role keeps it, or just the list."""
    if isinstance(repairs, Mapping):
        made_with = str(repairs.get("image_id") or "")
        if image_id and made_with and image_id != made_with:
            return []
        repairs = repairs.get("applied")
    return [r for r in budget.as_list(repairs) if isinstance(r, Mapping) and isinstance(r.get("set"), Mapping)]


def _apply(server: dict[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Merge a repair over a server and return what it changed; a shorter context the user chose since then stays.

    In ``args`` None removes a flag. ``env`` and ``container`` go to the container and change no number here.
    """
    changed = {}
    for key, value in settings.items():
        if key == "args" and isinstance(value, Mapping):
            server["args"].update(flags.normalise_args(value, server["name"]))
            for name in value:
                if value[name] is None:
                    server["args"].pop(flags.canonical_name(flags.plain_name(name)), None)
            changed[key] = dict(value)
        elif key in ("env", "container"):
            changed[key] = value
        elif key == "max_model_len" and isinstance(value, int) and isinstance(server.get(key), int) and server[key] <= value:
            continue
        elif server.get(key) != value:
            server[key] = value
            changed[key] = value
    return changed


def check_unique(servers: Sequence[Server]) -> None:
    """No two servers of a box share a name or a port."""
    seen: dict[tuple[str, Any], str] = {}
    for server in servers:
        for what in (("name", server["name"]), ("port", server["port"])):
            if what in seen:
                raise GB10Error(f"two servers of one box have the {what[0]} {what[1]} ({seen[what]} and {server['name']}): give each its own")
            seen[what] = server["name"]


def model_of(server: Server, models: Mapping[str, ModelInfo]) -> ModelInfo:
    """The facts of the server's model, by path or by name; GB10Error when they are not there or not whole."""
    for key in (server["model_path"], server["model"]):
        if key and key in models:
            info = models[key]
            if info.get("present") is False and info.get("source") != "hub":
                raise GB10Error(f"the model of server {server['name']} is not at {key} yet: download it or give its Hugging Face repo id")
            if not isinstance(info.get("config"), Mapping) or not isinstance(info.get("weights"), Mapping):
                raise GB10Error(f"the facts of model {key} (server {server['name']}) lack config or weights: pass what gb10.vllm.model_info returns")
            return info
    raise GB10Error(f"no facts are given for the model {server['model_path'] or server['model']} of server {server['name']}: run gb10.vllm.model_info on it")


def draft_models(servers: Sequence[WantedServer]) -> list[str]:
    """Paths or repo ids of the draft models that servers' ``args`` name."""
    found = []
    for server in servers:
        name = str(server.get("name") or "")
        draft = speculation(flags.normalise_args(server.get("args"), name), name).get("model")
        if isinstance(draft, str) and draft:
            found.append(draft)
    return found


def _most_kv_bytes(server: Mapping[str, Any], where: str) -> int | None:
    """What a KV cache may have at most, in bytes: a repair says so where the floor of the box was not kept."""
    most = server.get("kv_cache_most_bytes")
    return None if most is None else checks.whole(most, f"{where}: kv_cache_most_bytes", 0, checks.MOST_BYTES)


def _kv_bytes(server: Mapping[str, Any], where: str) -> int | None:
    """The KV cache a user fixed, in bytes; bytes win over GiB."""
    if server.get("kv_cache_memory_bytes") not in (None, ""):
        return checks.whole(server["kv_cache_memory_bytes"], f"{where}: kv_cache_memory_bytes", 1, checks.MOST_BYTES)
    return checks.positive_gib(server.get("kv_cache_memory_gib"), f"{where}: kv_cache_memory_gib")

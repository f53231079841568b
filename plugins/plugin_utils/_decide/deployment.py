# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a server is made of, as one value: the plan's arguments turned into a container. Pure.

A deployment is compared, kept for rollback and handed to ``community.docker.docker_container`` as it is.
It never holds a secret: keys and the user's environment travel in private files that the container reads at its start.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import Mapping
from typing import Any, cast

from ansible_collections.gb10.vllm.plugins.module_utils._engine import footprint
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.lacking import lacking
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.shapes import Asked, Container, Decision, Deployment, Image, Server, Settings
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.table import table

# Reads the private files, then becomes vLLM: no secret in `docker inspect`, argv or the image.
ENTRYPOINT = ["/bin/sh", "-c", 'set -a; for file in /run/gb10/*.env; do [ -r "$file" ] && . "$file"; done; set +a; exec "$@"', "gb10-vllm"]
CACHE_ENV = {
    "HOME": "/cache",
    "VLLM_CACHE_ROOT": "/cache/vllm",
    "TRITON_CACHE_DIR": "/cache/triton",
    "FLASHINFER_WORKSPACE_BASE": "/cache",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
}
GIB = 2**30
PIDS = 8192
"""Processes and threads of a container at most: several times what an engine with all its compilers was seen to have."""
OOM_SCORE_ADJ = 800
"""Of 1000: when memory runs out the kernel ends an engine, whose memory on a GPU it does not count, before sshd, systemd and Docker."""
TMPFS = ["/tmp:exec,mode=1777,size=4g"]
"""Sockets, and what compilers load again; with a bound, as a GB10's memory is the GPU's, too."""
SECRET_KEYS = ("api_key", "env")
HASHED = ("shm_gib", "floor_bytes", "stop_timeout_s", "state_dir", "config_dir")
PLANNED = (
    "kv_cache_bytes", "num_blocks", "kv_tokens", "concurrency", "max_model_len", "weights_bytes", "activation_bytes", "graph_bytes"
)  # fmt: skip
# What later releases added: a record without them stays as it is.
PLANNED_SINCE = ("beside_bytes",)
LEAST_GAIN_BYTES = GIB // 2
"""Memory moves by as much from boot to boot; less is no reason to speak of a new plan."""
COMPARED = {
    # figure of the plan: (how it is called, the fact of server_ready that measures it)
    "weights_bytes": ("weights", "weights_bytes"),
    "activation_bytes": ("activations", "activation_bytes"),
    "graph_bytes": ("CUDA graphs", "graph_bytes"),
    "beside_bytes": ("beside weights and KV cache", "beside_bytes"),
    "kv_cache_bytes": ("KV cache", "available_kv_bytes"),
    "kv_tokens": ("KV tokens", "kv_tokens"),
    "concurrency": ("concurrency", "concurrency"),
}
DRIFT_SHARE = 0.02


def digest(value: object) -> str:
    """SHA-256 of a JSON value, the same for the same content."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode()).hexdigest()


def is_loopback(address: str) -> bool:
    """Whether a listening address can be reached only from the box itself. Raises GB10Error when it is not an IP address."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        raise GB10Error(f"`address: {address}` is not an IP address; name an address of the box, 0.0.0.0 for all of them or 127.0.0.1 for none.") from None


def endpoint(address: str, port: int) -> str:
    """Address and port in one text, an IPv6 address in brackets: as URLs, people and ``community.docker`` take it."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def probe_url(address: str, port: int) -> str:
    """The URL under which the box itself reaches a server that is published on this address."""
    parsed = ipaddress.ip_address(address)
    host = ("127.0.0.1" if parsed.version == 4 else "::1") if parsed.is_unspecified else str(parsed)
    return f"http://{endpoint(host, port)}"


def without_secrets(server: Server) -> Server:
    """The same server without its key and environment: what may be shown, recorded and hashed."""
    return cast(Server, {key: value for key, value in server.items() if key not in SECRET_KEYS})


def wanted_inputs(server: Server, image_id: str, manifest: str, options: Mapping[str, Any]) -> str:
    """Digest of all that decides a deployment apart from live measurements: the same inputs keep what runs (a plan is sticky).

    What a release makes of a wish is no part of it: a key that it gives a server on loopback, which earlier ones left without, is not asked for.
    """
    if server.get("key_policy") == "generate" and is_loopback(server["address"]):
        server = cast(Server, {**server, "key_policy": "none"})
    return digest({"server": server, "image": image_id, "manifest": manifest, "options": options})


def repaired(repairs: list[dict], kind: str) -> dict:
    """What the repairs recorded in a plan ask of the container: ``kind`` is ``env`` (a variable that shall go is emptied) or ``container``."""
    found: dict = {}
    for repair in repairs:
        found.update((repair.get("set") or {}).get(kind) or {})
    return {name: "" if value is None else str(value) for name, value in found.items()} if kind == "env" else found


def build(planned: Mapping[str, Any], wanted: Server, image: Image, manifest: str, inputs: str, options: Settings) -> Deployment:
    """The deployment of one server.

    ``planned``: the server's part of the plan (``arguments``, ``requested_bytes``, ...); ``manifest``: hash of the model's files; ``inputs``:
    from ``wanted_inputs``. Its ``spec`` is the digest of all that makes the container, the files it serves among them.
    """
    name = wanted["name"]
    model_target = f"/models/{name}"
    repairs = planned.get("repairs") or []
    settings = repaired(repairs, "container")
    container: Container = {
        "name": f"gb10-vllm-{name}",
        "image": image["id"],
        "command": [*ENTRYPOINT, "vllm", "serve", model_target, *planned["arguments"]],
        "env": CACHE_ENV | repaired(repairs, "env"),
        "volumes": [
            f"{wanted['model_path']}:{model_target}:ro",
            f"{options['config_dir']}/{name}:/run/gb10:ro",
            f"{options['state_dir']}/cache/{name}:/cache:rw",
        ],
        "published_ports": [f"{endpoint(wanted['address'], wanted['port'])}:{wanted['port']}"],
        "shm_size_bytes": int(float(str(settings.get("shm_size", options["shm_gib"])).rstrip("g")) * GIB),
        "ulimits": settings.get("ulimits", []),
        "stop_timeout_s": int(options["stop_timeout_s"]),
        "pids_limit": PIDS,
        "oom_score_adj": OOM_SCORE_ADJ,
    }
    if options.get("read_only", True):
        container |= {"read_only": True, "tmpfs": TMPFS}
    deployment: Deployment = {
        "name": name,
        "container": container,
        "image_name": image["name"],
        "vllm_version": image.get("vllm_version"),
        "model": wanted["model"],
        "model_path": wanted["model_path"],
        "manifest": manifest,
        "served_model_name": planned["served_model_name"],
        "address": wanted["address"],
        "port": wanted["port"],
        "probe_url": probe_url(wanted["address"], wanted["port"]),
        "requested_bytes": planned["requested_bytes"],
        "floor_bytes": options["floor_bytes"],
        "inputs": inputs,
        "planned": {key: planned.get(key) for key in PLANNED} | {key: planned[key] for key in PLANNED_SINCE if key in planned},
    }
    return {**deployment, "spec": spec_of(container, manifest)}


def spec_of(container: Container, manifest: str) -> str:
    """Digest of all that makes a container: its settings and the model files it serves."""
    return digest({"container": container, "manifest": manifest})


def with_its_model(deployment: Deployment, models: Mapping[str, Mapping[str, Any]]) -> Deployment:
    """The same deployment over the files it once ran with, wherever they are now: a model that was replaced stays beside its successor.

    ``models``: what M(gb10.vllm.model_info) found with O(kept), by path. Raises GB10Error when those files are gone.
    """
    manifest, path = deployment["manifest"], deployment["model_path"]
    found = [place for place in sorted(models, key=lambda place: place != path) if models[place].get("manifest") == manifest]
    found = [place for place in found if place == path or place.startswith(f"{path}@")]
    if not found:
        raise GB10Error(
            f"{deployment['name']}: the files that {path} held when this deployment ran are gone, so it cannot be brought back. "
            "Put them back, or go on with the playbook site; gb10_keep says how many earlier versions of a model stay."
        )
    old = deployment["container"]
    container: Container = {**old, "volumes": [f"{found[0]}:/models/{deployment['name']}:ro", *old["volumes"][1:]]}
    return {**deployment, "container": container, "spec": spec_of(container, manifest)}


def decision(asked: Asked) -> Decision:
    """What a server's container must be, and whether that means a new one, see ``decide``."""
    server, image, manifest, settings = asked["server"], asked["image"], asked["manifest"], asked["settings"]
    options = {key: settings[key] for key in HASHED}  # type: ignore[literal-required]
    options["repairs"] = settings.get("repairs") or {}
    inputs = wanted_inputs(without_secrets(server), image["id"], manifest, options)
    fresh = build(asked["planned"], server, image, manifest, inputs, settings)
    return decide({**fresh, "repairs": options["repairs"]}, asked.get("record"), asked["containers"], bool(asked.get("replan")))


def decide(fresh: Deployment, record: Deployment | None, containers: list[dict], replan: bool = False) -> Decision:
    """What has to be done for a server: {deployment, create, reason, lacking}.

    ``record`` is the deployment that earlier proved itself on the box, ``containers`` those of box_info. With unchanged inputs the recorded
    deployment is kept even if a fresh plan would differ (measurements move by a few hundred MiB from boot to boot, and a later release builds
    more into a container); ``lacking`` says what it has to do without. With ``replan`` the fresh one takes its place.
    """
    name = f"gb10-vllm-{fresh['name']}"
    kept = record if record and record.get("inputs") == fresh["inputs"] and not replan else fresh
    lacks = lacking(kept, fresh)
    existing = next((one for one in containers if one["name"] == name), None)
    if existing is None:
        reason = "it does not exist yet" if record is None else "its container is gone"
    elif existing["labels"].get("gb10.vllm.spec") != kept["spec"]:
        reason = changed_because(record, kept) if record else "a container of this name exists that this collection did not finish"
    else:
        unchanged: Decision = {"deployment": kept, "create": False, "reason": "unchanged", "lacking": lacks}
        return {**unchanged, "gain": more} if (more := gain(kept, fresh)) else unchanged
    return {"deployment": kept, "create": True, "reason": reason, "lacking": lacks}


def gain(kept: Deployment, fresh: Deployment) -> dict[str, int]:
    """{bytes, tokens} of KV cache that ``fresh`` has more than ``kept``; empty where that is too little to speak of."""
    was, now = kept.get("planned") or {}, fresh.get("planned") or {}
    more = {key: int(now.get(figure) or 0) - int(was.get(figure) or 0) for key, figure in (("bytes", "kv_cache_bytes"), ("tokens", "kv_tokens"))}
    return more if more["bytes"] >= LEAST_GAIN_BYTES and more["tokens"] > 0 else {}


def changed_because(before: Deployment, after: Deployment) -> str:
    """One line on what differs between two deployments."""
    old, new = before["container"], after["container"]
    if old["image"] != new["image"]:
        return f"the image changed from {old['image'][:19]} to {new['image'][:19]}"
    removed = [word for word in old["command"] if word not in new["command"]]
    added = [word for word in new["command"] if word not in old["command"]]
    if removed or added:
        return f"its arguments changed ({' '.join(removed) or 'nothing'} -> {' '.join(added) or 'nothing'})"
    keys = [key for key, value in new.items() if old.get(key) != value]
    if not keys and before.get("manifest") != after["manifest"]:
        return f"the files in {after['model_path']} changed"
    return f"its {', '.join(keys)} changed" if keys else "its container was changed by hand"


def compare(planned: dict, facts: dict) -> list[dict]:
    """What was predicted against what the start measured, one entry for each figure that both have.

    ``planned`` is a deployment's; ``facts`` are those of ``server_ready``. An entry: {figure, name, predicted, measured, difference, share,
    drift}. ``*_bytes`` figures are in bytes; ``share`` is the difference by the prediction (None when that is 0); ``drift``: above 2 %.
    """
    entries = []
    for figure, (name, fact) in COMPARED.items():
        predicted, measured = planned.get(figure), facts.get(fact)
        if isinstance(predicted, dict):
            predicted = predicted.get("value")
        if predicted is None or measured is None:
            continue
        difference = measured - predicted
        # vLLM logs GiB with two decimals: below that nothing was measured.
        seen = abs(difference) > (GIB / 100 if figure.endswith("_bytes") else 0)
        entries.append(
            {
                "figure": figure,
                "name": name,
                "predicted": predicted,
                "measured": measured,
                "difference": difference,
                "share": difference / predicted if predicted else None,
                "drift": seen and abs(difference) > DRIFT_SHARE * abs(predicted),
            }
        )
    return entries


def comparison(planned: dict, facts: dict) -> str:
    """``compare`` as lines for people, drift marked; says so when the start measured nothing that was predicted."""
    entries = compare(planned, facts)
    if not entries:
        return "The start measured nothing that was predicted."
    rows = [("", "predicted", "measured", "difference", "")]
    for one in entries:
        share = f"{one['share']:+.1%}" if one["share"] is not None else ""
        mark = "more than 2 %; the next plan uses what was measured" if one["drift"] else ""
        rows.append((one["name"], *(_figure(one["figure"], one[key], sign) for key, sign in FIGURES), f"{share} {mark}".strip()))
    return "\n".join([*table(rows), *_as_the_box_saw_it(facts)])


def _as_the_box_saw_it(facts: Mapping[str, Any]) -> list[str]:
    """How sure the measured total is and what it consists of, and what was left; nothing where the box was not asked."""
    memory, lines = facts.get("memory") or {}, []
    if "beside_bytes" in facts:
        parts = ", ".join(f"{name} {value / GIB:.2f}" for name, value in footprint.split(facts))
        sure = facts.get("beside_uncertainty_bytes", 0) / GIB
        lines.append(f"Measured on the box, known to {sure:.2f} GiB; of it {parts or 'nothing that is known'} GiB.")
    if "lowest_bytes" in memory:
        lines.append(
            f"At least {memory['lowest_bytes'] / GIB:.2f} GiB were left since it was ready, {memory['lowest_start_bytes'] / GIB:.2f} while it started."
        )
    return lines


FIGURES = (("predicted", ""), ("measured", ""), ("difference", "+"))


def _figure(figure: str, value: float, sign: str) -> str:
    if figure.endswith("_bytes"):
        return f"{value / GIB:{sign}.2f} GiB"
    return f"{value:{sign},}" if isinstance(value, int) else f"{value:{sign}.2f}"

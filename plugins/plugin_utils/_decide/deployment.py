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
from collections.abc import Mapping, Sequence
from typing import Any, cast

from ansible_collections.gb10.vllm.plugins.module_utils._engine import footprint
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._model.content import contradict
from ansible_collections.gb10.vllm.plugins.module_utils._names import LIBRARY_DIR
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import environment
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.checks import short
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.rules import parse_version
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import ranks
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.lacking import lacking
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.shapes import Asked, Container, Decision, Deployment, Image, Server, Settings
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.table import table

# Reads the user's environment, then becomes vLLM: no secret in `docker inspect`, argv or the image. Where a key is due it ends without one, and
# vLLM never sees it: its own check would go on asking for the key of its start, and earlier releases wrote it into their compile caches.
START = (
    "umask 077; due=${GB10_KEY-}; "
    "set -a; [ -r /run/gb10/server.env ] && . /run/gb10/server.env; set +a; "
    'if [ "$due" = required ]; then unset VLLM_API_KEY; '
    '( . /run/gb10/key.env && [ -n "$VLLM_API_KEY" ] ) 2>/dev/null || '
    '{ echo "gb10.vllm: this server must not answer without a key, and /run/gb10/key.env holds none; run the playbook site again." >&2; exit 1; }; '
    'export PYTHONPATH="/opt/gb10-vllm${PYTHONPATH:+:$PYTHONPATH}"; fi; exec "$@"'
)
ENTRYPOINT = ["/bin/sh", "-c", START, "gb10-vllm"]
GUARD = "guard_keys.GuardKeys"
"""What vLLM loads as its outermost middleware (the role server's file guard_keys.py)."""
KEYS = {"given": "given", "generate": "generated", "none": "none"}
"""What ``key_policy`` makes of a server's key, as its deployment says it."""
CLOSED_TO_BROWSERS = (0, 32, 0)
"""The release from which vLLM admits no web page of another origin unless it is told to (``allowed_origins``); 0.26.0 admitted all."""
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
        raise GB10Error(
            f"`address: {short(address)}` is not an IP address; name an address of the box, 0.0.0.0 for all of them or 127.0.0.1 for none."
        ) from None


def endpoint(address: str, port: int) -> str:
    """Address and port in one text, an IPv6 address in brackets: as URLs, people and ``community.docker`` take it."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def probe_url(address: str, port: int, scheme: str = "http") -> str:
    """The URL under which the box itself reaches a server that is published on this address."""
    parsed = ipaddress.ip_address(address)
    host = ("127.0.0.1" if parsed.version == 4 else "::1") if parsed.is_unspecified else str(parsed)
    return f"{scheme}://{endpoint(host, port)}"


def key_of(server: Server, api_key: str = "") -> str:
    """Whose key a server asks for: ``given`` (by the user), ``generated`` (on the box) or ``none``. ``api_key``: of all servers that name none."""
    given = server.get("api_key", api_key)
    return "given" if given else KEYS[server.get("key_policy") or "none"]


def guarded(deployment: Mapping[str, Any]) -> bool:
    """Whether this deployment's keys are asked for on every route, and read anew when they change."""
    return deployment.get("key", "none") != "none"


def without_secrets(server: Server) -> Server:
    """The same server without its key and environment: what may be shown and recorded. ``plan_env``: the few variables that change its plan."""
    shown = {key: value for key, value in server.items() if key not in SECRET_KEYS}
    env = server.get("env")
    planned = {name: str(env[name]) for name in environment.PLANNED if env.get(name) is not None} if isinstance(env, Mapping) else {}
    return cast(Server, shown | ({"plan_env": planned} if planned else {}))


def wanted_inputs(server: Server, image_id: str, manifest: str, options: Mapping[str, Any], files: Mapping[str, str] | None = None) -> str:
    """Digest of all that decides a deployment apart from live measurements: the same inputs keep what runs (a plan is sticky).

    What a release makes of a wish is no part of it: a key that it gives a server on loopback, which earlier ones left without, is not asked for.
    ``files``: digests of what the server's arguments name on the box and its container mounts. Of an image counts which one it is, not how it is said.
    """
    if server.get("key_policy") == "generate" and is_loopback(server["address"]):
        server = cast(Server, {**server, "key_policy": "none"})
    server = cast(Server, {key: value for key, value in server.items() if key not in ("plan_env", "image")})
    return digest({"server": server, "image": image_id, "manifest": manifest, "options": options} | ({"files": files} if files else {}))


def repaired(repairs: list[dict], kind: str) -> dict:
    """What the repairs recorded in a plan ask of the container: ``kind`` is ``env`` (a variable that shall go is emptied) or ``container``."""
    found: dict = {}
    for repair in repairs:
        found.update((repair.get("set") or {}).get(kind) or {})
    return {name: "" if value is None else str(value) for name, value in found.items()} if kind == "env" else found


def build(
    planned: Mapping[str, Any], wanted: Server, image: Image, manifest: str, inputs: str, options: Settings, model: Mapping[str, Any] | None = None
) -> Deployment:
    """The deployment of one server.

    ``planned``: the server's part of the plan (``arguments``, ``requested_bytes``, ...); ``manifest``: hash of the model's files; ``inputs``:
    from ``wanted_inputs``. Its ``spec`` is the digest of all that makes the container, the files it serves among them. ``model``: what else is
    known of the files, ``directory`` (of this version, which nobody renames), ``content`` and ``volumes`` (what is mounted beside it).
    """
    name = wanted["name"]
    model_target = f"/models/{name}"
    repairs = planned.get("repairs") or []
    settings = repaired(repairs, "container")
    key = options.get("key") or key_of(wanted)
    arguments = [*planned["arguments"], *_access(planned["arguments"], wanted, image, key)]
    content = {part: digest for part, digest in ((model or {}).get("content") or {}).items() if digest}
    container: Container = {
        "name": f"gb10-vllm-{name}",
        "image": image["id"],
        "command": [*ENTRYPOINT, "vllm", "serve", model_target, *arguments],
        "env": CACHE_ENV | repaired(repairs, "env") | ({"GB10_KEY": "required"} if key != "none" else {}),
        "volumes": [
            f"{(model or {}).get('directory') or wanted['model_path']}:{model_target}:ro",
            f"{options['config_dir']}/{name}:/run/gb10:ro",
            f"{options['state_dir']}/cache/{name}:/cache:rw",
            *([f"{LIBRARY_DIR}/engine:/opt/gb10-vllm:ro"] if key != "none" else []),
            *(f"{wanted['tls'][part]}:/run/gb10-tls/{part}.pem:ro" for part in ("certificate", "key") if wanted.get("tls")),
            *((model or {}).get("volumes") or []),
        ],
        "published_ports": [f"{endpoint(wanted['address'], wanted['port'])}:{wanted['port']}"],
        "shm_size_bytes": int(float(str(settings.get("shm_size", options["shm_gib"])).rstrip("g")) * GIB),
        "ulimits": settings.get("ulimits", []),
        "stop_timeout_s": int(options["stop_timeout_s"]),
        "pids_limit": PIDS,
        "oom_score_adj": OOM_SCORE_ADJ,
    }
    if options.get("read_only", True):
        container |= _read_only(container)
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
        "key": key,
        "probe_url": probe_url(wanted["address"], wanted["port"], "https" if _names(arguments, "--ssl-certfile") else "http"),
        "requested_bytes": planned["requested_bytes"],
        "floor_bytes": options["floor_bytes"],
        "inputs": inputs,
        "planned": {key: planned.get(key) for key in PLANNED} | {key: planned[key] for key in PLANNED_SINCE if key in planned},
    }
    if content:
        deployment["content"] = content
    return _specified(deployment)


def _read_only(container: Container) -> Container:
    """What changes where a container cannot write its root. Images come without compiled Python as a rule: it goes into the caches, apart per image."""
    compiled = {"PYTHONPYCACHEPREFIX": f"/cache/python/{container['image'].removeprefix('sha256:')[:12]}"}
    return {"read_only": True, "tmpfs": TMPFS, "env": compiled | container["env"]}


def _access(arguments: Sequence[str], wanted: Server, image: Image, key: str) -> list[str]:
    """The flags that say who gets in. Ours is the last middleware, which vLLM makes the outermost: none of the user's answers before it."""
    found = ["--ssl-certfile", "/run/gb10-tls/certificate.pem", "--ssl-keyfile", "/run/gb10-tls/key.pem"] if wanted.get("tls") else []
    if not _names(arguments, "--allowed-origins") and not _closed_to_browsers(image.get("vllm_version") or ""):
        found += ["--allowed-origins", "[]"]
    return found + (["--middleware", GUARD] if key != "none" else [])


def _names(arguments: Sequence[str], flag: str) -> bool:
    return any(word.partition("=")[0] == flag for word in arguments)


def _closed_to_browsers(version: str) -> bool:
    try:
        return parse_version(version) >= CLOSED_TO_BROWSERS
    except GB10Error:
        return False


def spec_of(container: Container, manifest: str, content: Mapping[str, str] | None = None) -> str:
    """Digest of all that makes a container: its settings and the model files it serves, ``content`` as far as it was known."""
    return digest({"container": container, "manifest": manifest} | ({"content": content} if content else {}))


def known_content(deployment: Deployment) -> dict[str, str]:
    """What is known of the content of the files that a deployment serves; nothing where an earlier release made it, or nobody has read them yet."""
    return {**(deployment.get("verified") or {}), **(deployment.get("content") or {})}


def _with_what_became_known(record: Deployment, fresh: Deployment) -> Deployment:
    """The recorded deployment, which learns the sum of weights that were read since it was made. What is hashed of it stays."""
    weights = (fresh.get("content") or {}).get("weights")
    same = mounted_directory(record) == mounted_directory(fresh)
    if not weights or not same or not record.get("content") or "weights" in known_content(record):
        return record
    return {**record, "verified": {"weights": weights}}


def _specified(deployment: Deployment) -> Deployment:
    return {**deployment, "spec": spec_of(deployment["container"], deployment["manifest"], deployment.get("content"))}


def mounted_directory(deployment: Deployment) -> str:
    """The directory of the box in which a deployment's container finds its model."""
    return deployment["container"]["volumes"][0].removesuffix(f":/models/{deployment['name']}:ro")


def version(deployment: Deployment) -> str:
    """The version of the model that a deployment's container mounts; "" where it mounts a directory that has none."""
    path, directory = deployment["model_path"], mounted_directory(deployment)
    return directory.removeprefix(f"{path}@") if directory.startswith(f"{path}@") else ""


def with_directory(deployment: Deployment, directory: str) -> Deployment:
    """The same deployment over a directory of the same files."""
    if directory == mounted_directory(deployment):
        return deployment
    volumes = [f"{directory}:/models/{deployment['name']}:ro", *deployment["container"]["volumes"][1:]]
    return _specified({**deployment, "container": {**deployment["container"], "volumes": volumes}})


def with_its_model(deployment: Deployment, models: Mapping[str, Mapping[str, Any]]) -> Deployment:
    """The same deployment over the files it once ran with, wherever they are now: the versions of a model lie beside each other.

    ``models``: what M(gb10.vllm.model_info) found with O(kept), by path. Raises GB10Error when those files are gone.
    """
    manifest, path = deployment["manifest"], deployment["model_path"]
    content = known_content(deployment)
    found = [place for place in models if models[place].get("manifest") == manifest and not contradict(content, models[place].get("content"))]
    found = [place for place in found if place == path or place.startswith(f"{path}@")]
    # Where two have the same names, sizes and headers, the one that is known to have the same content.
    found.sort(key=lambda place: (bool(content) and (models[place].get("content") or {}).get("weights") is None, place != path))
    if not found:
        raise GB10Error(
            f"{deployment['name']}: the files that {path} held when this deployment ran are gone, so it cannot be brought back. "
            "Put them back, or go on with the playbook site; gb10_keep says how many earlier versions of a model stay."
        )
    return with_directory(deployment, models[found[0]].get("directory") or found[0])


def decision(asked: Asked) -> Decision:
    """What a server's container must be, and whether that means a new one, see ``decide``."""
    server, image, manifest, settings = asked["server"], asked["image"], asked["manifest"], asked["settings"]
    rank, where = asked["planned"].get("rank"), asked.get("places") or {}
    group = ranks.group_of(server, rank, where) if rank else {}
    options = {key: settings[key] for key in HASHED}  # type: ignore[literal-required]
    options["repairs"] = settings.get("repairs") or {}
    record, plain = asked.get("record"), without_secrets(server)
    if group:  # which boxes they are and where they meet may have been chosen
        plain = cast(Server, {**plain, "boxes": group["boxes"], "group": {**group, "place": where[group["boxes"][group["number"]]]}})
    files = asked.get("files") or {}
    inputs = wanted_inputs(plain, image["id"], manifest, options, files)
    # A key may change without a new container where the container looks for it itself; whether there is one may not, see ``_same_wish``.
    if record and record.get("key"):
        others = {wanted_inputs(cast(Server, {**plain, "key_policy": policy}), image["id"], manifest, options, files) for policy in KEYS}
        inputs = record["inputs"] if record["inputs"] in others else inputs
    fresh = build(asked["planned"], server, image, manifest, inputs, settings, asked.get("model"))
    if group:
        own = repaired(asked["planned"].get("repairs") or [], "env")
        container = ranks.as_rank(fresh["container"], group, where[group["boxes"][group["number"]]], server["address"], own)
        fresh = _specified({**fresh, "container": container, "group": group})
    return decide({**fresh, "repairs": options["repairs"]}, record, asked["containers"], bool(asked.get("replan")))


def _same_wish(record: Deployment, fresh: Deployment) -> bool:
    """Whether nothing that was asked for changed since ``record``; one of an earlier release says nothing of its key, and is kept with it or without."""
    same_key = "key" not in record or guarded(record) == guarded(fresh)
    return record.get("inputs") == fresh["inputs"] and same_key and not contradict(known_content(record), fresh.get("content"))


def decide(fresh: Deployment, record: Deployment | None, containers: list[dict], replan: bool = False) -> Decision:
    """What has to be done for a server: {deployment, create, reason, lacking}.

    ``record`` is the deployment that earlier proved itself on the box, ``containers`` those of box_info. With unchanged inputs the recorded
    deployment is kept even if a fresh plan would differ (measurements move by a few hundred MiB from boot to boot, and a later release builds
    more into a container); ``lacking`` says what it has to do without. With ``replan`` the fresh one takes its place. The content of the model's
    files is no input, as it may become known only later: only what is known to be other content replaces what runs.
    """
    name = f"gb10-vllm-{fresh['name']}"
    kept = _with_what_became_known(record, fresh) if record and _same_wish(record, fresh) and not replan else fresh
    if "key" in kept:
        kept = {**kept, "key": fresh["key"]}
    lacks = lacking(kept, fresh)
    existing = next((one for one in containers if one["name"] == name), None)
    if existing is None:
        reason = "it does not exist yet" if record is None else "its container is gone"
    elif existing["labels"].get("gb10.vllm.spec") != kept["spec"]:
        reason = changed_because(record, kept) if record else "a container of this name exists that this collection did not finish"
    else:
        unchanged: Decision = {"deployment": kept, "create": False, "reason": "unchanged", "lacking": lacks}
        return {**unchanged, "gain": more} if (more := gain(kept, fresh)) else unchanged
    # A container that has to be made anyway mounts the directory that the files have now.
    kept = with_directory(kept, mounted_directory(fresh))
    return {"deployment": kept, "create": True, "reason": reason, "lacking": lacking(kept, fresh)}


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
    removed = [word for word in old["command"] if word not in new["command"] and "/run/gb10" not in word]
    added = [word for word in new["command"] if word not in old["command"] and "/run/gb10" not in word]
    arguments = f"its arguments changed ({' '.join(removed) or 'nothing'} -> {' '.join(added) or 'nothing'})" if removed or added else ""
    keys = [key for key, value in new.items() if old.get(key) != value]
    if before.get("manifest") != after.get("manifest") or contradict(known_content(before), known_content(after)):
        versions = [version(one) for one in (before, after)]
        named = all(versions) and versions[0] != versions[1]
        files = f"the files in {after['model_path']} changed" + (f" from version {versions[0]} to {versions[1]}" if named else "")
        if before.get("model_path") == after["model_path"] or keys in ([], ["volumes"]):
            return f"{files}, and {arguments}" if arguments else files
    if arguments:
        return arguments
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
    doubts = [f"It answers, but {doubt}." for doubt in facts.get("doubts") or []]
    if not entries:
        return "\n".join(["The start measured nothing that was predicted.", *doubts])
    rows = [("", "predicted", "measured", "difference", "")]
    for one in entries:
        share = f"{one['share']:+.1%}" if one["share"] is not None else ""
        mark = "more than 2 %; the next plan uses what was measured" if one["drift"] else ""
        rows.append((one["name"], *(_figure(one["figure"], one[key], sign) for key, sign in FIGURES), f"{share} {mark}".strip()))
    return "\n".join([*table(rows), *_as_the_box_saw_it(facts), *doubts])


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

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the lock file says of the boxes of a fleet, and why it must not be written or cannot be deployed. Pure.

``box`` is always what ``gb10.vllm.box_info`` returns; the records under ``box["servers"][NAME]`` are those the role ``server`` keeps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._model.content import contradict
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import deployment as deployments
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.shapes import Deployment, Image, Locked, Order, Server

FORMAT = 1
COUNTS = ("kv_tokens", "num_blocks", "block_size", "concurrency")
SHORT = 12


class Read(TypedDict, total=False):
    """What is known of one box of the run; ``box`` is empty where it could not be read."""

    address: str
    box: dict[str, Any]


class Content(TypedDict, total=False):
    """What a lock file says: by box {address, servers: {name: Locked}}, or why it cannot be read."""

    boxes: dict[str, Any]
    problem: str


class Question(TypedDict, total=False):
    """May what is locked be deployed on this box?

    ``images``: those that were supplied, by name, {} before that; ``image_names``: by server the name of its image, ``image_name`` where it says nothing;
    ``orders``: work orders by server.
    """

    lock: Content
    path: str
    box_name: str
    fleet: Sequence[str]
    boxes: Mapping[str, Read]
    images: Mapping[str, Image]
    image_name: str
    image_names: Mapping[str, str]
    models: Mapping[str, Mapping[str, Any]]
    servers: Sequence[Server]
    orders: Mapping[str, Order]


def short(identity: str | None) -> str:
    """The part of an image id, digest or commit by which people know it."""
    return (identity or "").removeprefix("sha256:")[:SHORT] or "none"


def measured_figures(record: Mapping[str, Any] | None) -> dict[str, Any]:
    """Of what a start measured, the figures that belong to the deployment (bytes, tokens, blocks), not those of the moment (seconds)."""
    facts = (record or {}).get("facts") or {}
    return {key: value for key, value in facts.items() if value is not None and (key.endswith("_bytes") or key in COUNTS)}


def locked_box(address: str, box: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What the lock file says of one box: {address, servers: {name: {...}}}.

    Only deployments that proved themselves are locked; for one that has not, what was locked before (``before``) stays.
    """
    earlier = (before or {}).get("servers") or {}
    images = {image["id"]: image for image in (box.get("docker") or {}).get("images", {}).values()}
    servers = {}
    for name, record in sorted((box.get("servers") or {}).items()):
        deployed, was = record.get("deployment"), earlier.get(name)
        if not deployed or (record.get("measured") or {}).get("spec") != deployed.get("spec"):
            if was:
                servers[name] = was
            continue
        image_id = deployed["container"]["image"]
        same = was if was and was.get("image_id") == image_id else {}
        labels = (images.get(image_id) or {}).get("labels") or {}
        servers[name] = {
            "commit": labels.get("gb10.vllm.commit") or same.get("commit"),
            "image_id": image_id,
            "vllm_version": deployed.get("vllm_version"),
            "manifest": deployed["manifest"],
            "spec": deployed["spec"],
            "repairs": record.get("repairs") or {},
            "measured": measured_figures(record["measured"]),
            "deployment": deployed,
        }
    return {"address": address, "servers": servers}


def refused(content: Content, fleet: Sequence[str]) -> str:
    """Why a lock file must not be overwritten in the end, empty when it may: it cannot be read, or it is another fleet's."""
    before = content.get("boxes") or {}
    if content.get("problem") or not before or set(before) & set(fleet):
        return content.get("problem") or ""
    return (
        f"The lock file belongs to another inventory: it names {_names(before)}, this one has {_names(fleet)}. It was not overwritten; "
        "move it away, or set gb10_lock_file to a path of this inventory's own."
    )


def merge_lock(before: Mapping[str, Any], boxes: Mapping[str, Any], fleet: Sequence[str]) -> dict[str, Any]:
    """The new lock: boxes of this run as they are now, other boxes of the inventory as they were locked, boxes that left it no more.

    Raises GB10Error when the lock names boxes and none of them is of this inventory: then it is another fleet's.
    """
    refused_because = refused({"boxes": dict(before), "problem": ""}, fleet)
    if refused_because:
        raise GB10Error(refused_because)
    kept = {name: entry for name, entry in before.items() if name in fleet}
    return dict(sorted({**kept, **boxes}.items()))


def pack(lock: Mapping[str, Any]) -> dict[str, Any]:
    """The lock as it is written: each deployment once, however many boxes have it."""
    packed: dict[str, Any] = {"format": FORMAT, "boxes": {}, "deployments": {}}
    for name, box in sorted(lock.items()):
        servers = {}
        for server, entry in sorted(box["servers"].items()):
            deployed = dict(entry["deployment"])
            planned = deployed.pop("planned", {})
            key = deployments.digest(deployed)[:SHORT]
            packed["deployments"][key] = deployed
            servers[server] = dict(entry, planned=planned, deployment=key)
        packed["boxes"][name] = {"address": box["address"], "servers": servers}
    packed["deployments"] = dict(sorted(packed["deployments"].items()))
    return packed


def unpack(packed: Any, path: str) -> dict[str, Any]:
    """The inverse of ``pack``. Raises GB10Error for what is not a lock file, or one of a newer collection."""
    remedy = "restore it from version control, or delete it and run site once to have it written anew"
    if not isinstance(packed, Mapping) or not isinstance(packed.get("boxes"), Mapping) or not isinstance(packed.get("deployments"), Mapping):
        raise GB10Error(f"{path} is not a lock file of gb10.vllm; {remedy}.")
    if packed.get("format") != FORMAT:
        raise GB10Error(f"{path} has format {packed.get('format')}, this collection reads format {FORMAT}; use the collection that wrote it, or {remedy}.")
    lock: dict[str, Any] = {}
    try:
        for name, box in packed["boxes"].items():
            servers = {}
            for server, entry in box["servers"].items():
                deployed = dict(packed["deployments"][entry["deployment"]], planned=entry["planned"])
                spec = deployments.spec_of(deployed["container"], deployed["manifest"], deployed.get("content"))
                if spec != entry["spec"] or deployed["container"]["image"] != entry["image_id"]:
                    raise GB10Error(f"{path} was edited by hand: server {server} of {name} is not what its hash says; {remedy}.")
                servers[server] = {key: value for key, value in dict(entry, deployment=deployed).items() if key != "planned"}
            lock[name] = {"address": box["address"], "servers": servers}
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
        raise GB10Error(f"{path} is not complete; {remedy}.") from None
    return lock


def locked_problems(question: Question) -> list[str]:
    """Why what is locked cannot be deployed on a box as it is, one sentence each; empty when it can."""
    lock, path, name = question["lock"]["boxes"], question["path"], question["box_name"]
    if question["lock"].get("problem"):
        return [question["lock"]["problem"]]
    if not lock:
        return [f"gb10_locked is set and there is nothing in {path}; run once without it to have the lock file written."]
    if not set(lock) & set(question["fleet"]):
        return [f"{path} belongs to another inventory: it names {_names(lock)}, this one has {_names(question['fleet'])}."]
    if name not in lock:
        return [f"{path} does not name {name}; run it once without gb10_locked (with --limit {name})."]
    address = question["boxes"][name]["address"]
    if lock[name]["address"] != address:
        return [f"{path} was written for {name} at {lock[name]['address']}, this inventory has it at {address}; is it another inventory's lock file?"]
    problems = []
    locked = lock[name]["servers"]
    wanted = {server["name"] for server in question["servers"]}
    for server in sorted({*wanted, *locked}):
        if server not in locked:
            problems.append(f"server {server} is wanted and not locked.")
        elif server not in wanted:
            problems.append(f"server {server} is locked and no longer wanted.")
        else:
            problems += _unlike(server, locked[server], question["orders"][server]["deployment"], question)
    return [f"{problem} {path} does not allow that; run without gb10_locked to deploy and lock anew." for problem in problems]


def _image_ids(server: str, question: Question) -> dict[str, str | None]:
    """The id of a server's image on each box of the run: as it was read, and what was supplied to this one."""
    ids = {}
    called = (question.get("image_names") or {}).get(server) or question["image_name"]
    for name, known in question["boxes"].items():
        images = ((known.get("box") or {}).get("docker") or {}).get("images") or {}
        ids[name] = (images.get(called) or {}).get("id")
    supplied = ((question.get("images") or {}).get(called) or {}).get("id")
    return {**ids, question["box_name"]: supplied} if supplied else ids


def _unlike(name: str, locked: Locked, fresh: Deployment, question: Question) -> list[str]:
    problems = []
    ids = _image_ids(name, question)
    image_id = ids.get(question["box_name"])
    if image_id and image_id != locked["image_id"]:
        problems.append(f"server {name} would run image {short(image_id)}, locked is {short(locked['image_id'])}.")
    if not image_id and locked["image_id"] not in ids.values():
        problems.append(f"server {name} is locked to image {short(locked['image_id'])}, which is on no box of this run; a new build never has the same id.")
    problems += _other_files(name, locked, question["models"].get(fresh["model_path"]) or {}, bool(question.get("images")))
    if fresh["spec"] != locked["spec"]:
        problems.append(f"server {name} would run differently: {deployments.changed_because(locked['deployment'], fresh)}.")
    return problems


def _other_files(name: str, locked: Locked, model: Mapping[str, Any], supplied: bool) -> list[str]:
    """Why the model files of a box are not the locked ones, or cannot be said to be; ``supplied``: nothing more will be brought."""
    manifest, path = model.get("manifest"), locked["deployment"]["model_path"]
    if not manifest:
        return []
    if manifest != locked["manifest"]:
        return [f"the files in {path} (server {name}) are not the locked ones ({short(manifest)}, locked is {short(locked['manifest'])})."]
    wanted, found = deployments.known_content(locked["deployment"]), model.get("content") or {}
    if contradict(wanted, found):
        part = next(part for part in wanted if found.get(part) and found[part] != wanted[part])
        said = f"{short(found[part])}, locked is {short(wanted[part])}"
        return [f"the files in {path} (server {name}) have the locked names and sizes, and their content is another one ({part}: {said})."]
    mount = deployments.mounted_directory(locked["deployment"])
    if model.get("directory") and mount not in (model["directory"], path):
        return [f"server {name} is locked to {mount}, and the same files lie in {model['directory']}."]
    if supplied and wanted.get("weights") and "content" in model and not found.get("weights"):
        return [f"the files in {path} (server {name}) were not verified yet; they are read in the background now, so run again in some minutes."]
    return []


def _names(boxes: Sequence[str] | Mapping[str, Any]) -> str:
    names = sorted(boxes)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") or "none"

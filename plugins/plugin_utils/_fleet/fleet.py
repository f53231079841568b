# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What runs on each box of a fleet: the content of the lock file, drift, and the rows of the status. Pure.

``box`` is always what ``gb10.vllm.box_info`` returns; the records under ``box["servers"][NAME]`` are those the role ``server`` keeps.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import deployment as deployments

FORMAT = 1
COUNTS = ("kv_tokens", "num_blocks", "block_size", "concurrency")
UNIT_DIR = "/etc/systemd/system"
SHORT = 12


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
        same_image = was is not None and was.get("image_id") == image_id
        labels = (images.get(image_id) or {}).get("labels") or {}
        servers[name] = {
            "commit": labels.get("gb10.vllm.commit") or (was["commit"] if same_image else None),
            "image_id": image_id,
            "vllm_version": deployed.get("vllm_version"),
            "manifest": deployed["manifest"],
            "spec": deployed["spec"],
            "repairs": record.get("repairs") or {},
            "measured": measured_figures(record["measured"]),
            "deployment": deployed,
        }
    return {"address": address, "servers": servers}


def merge_lock(before: Mapping[str, Any], boxes: Mapping[str, Any], fleet: Sequence[str]) -> dict[str, Any]:
    """The new lock: boxes of this run as they are now, other boxes of the inventory as they were locked, boxes that left it no more.

    Raises GB10Error when the lock names boxes and none of them is of this inventory: then it is another fleet's.
    """
    if before and not set(before) & set(fleet):
        raise GB10Error(
            f"The lock file belongs to another inventory: it names {_names(before)}, this one has {_names(fleet)}. It was not overwritten; "
            "move it away, or set gb10_lock_file to a path of this inventory's own."
        )
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
    """The inverse of ``pack``. Raises GB10Error for what is no lock file, or one of a newer collection."""
    remedy = "restore it from version control, or delete it and run site once to have it written anew"
    if not isinstance(packed, Mapping) or not isinstance(packed.get("boxes"), Mapping) or not isinstance(packed.get("deployments"), Mapping):
        raise GB10Error(f"{path} is no lock file of gb10.vllm; {remedy}.")
    if packed.get("format") != FORMAT:
        raise GB10Error(f"{path} has format {packed.get('format')}, this collection reads format {FORMAT}; use the collection that wrote it, or {remedy}.")
    lock: dict[str, Any] = {}
    try:
        for name, box in packed["boxes"].items():
            servers = {}
            for server, entry in box["servers"].items():
                deployed = dict(packed["deployments"][entry["deployment"]], planned=entry["planned"])
                if deployments.spec_of(deployed["container"], deployed["manifest"]) != entry["spec"] or deployed["container"]["image"] != entry["image_id"]:
                    raise GB10Error(f"{path} was edited by hand: server {server} of {name} is not what its hash says; {remedy}.")
                servers[server] = {key: value for key, value in dict(entry, deployment=deployed).items() if key != "planned"}
            lock[name] = {"address": box["address"], "servers": servers}
    except (KeyError, TypeError, AttributeError):
        raise GB10Error(f"{path} is not complete; {remedy}.") from None
    return lock


def locked_problems(
    lock: Mapping[str, Any],
    path: str,
    box_name: str,
    address: str,
    fleet: Sequence[str],
    images: Mapping[str, Mapping[str, Any]],
    image_name: str,
    manifests: Mapping[str, str],
    wanted: Mapping[str, Mapping[str, Any]],
) -> list[str]:
    """Why what is locked cannot be deployed on a box as it is, one sentence each; empty when it can.

    ``images``: images by name, by box (as box_info returns them); ``image_name``: the one the servers use; ``manifests``: manifest hash by model path,
    for those that are there; ``wanted``: the deployment that would be made of each wanted server, given the locked image.
    """
    if not lock:
        return [f"gb10_locked is set and there is nothing in {path}; run once without it to have the lock file written."]
    if not set(lock) & set(fleet):
        return [f"{path} belongs to another inventory: it names {_names(lock)}, this one has {_names(fleet)}."]
    if box_name not in lock:
        return [f"{path} does not name {box_name}; run it once without gb10_locked (with --limit {box_name})."]
    locked = lock[box_name]
    if locked["address"] != address:
        return [f"{path} was written for {box_name} at {locked['address']}, this inventory has it at {address}; is it another inventory's lock file?"]
    ids = {box: (held.get(image_name) or {}).get("id") for box, held in images.items()}
    problems = []
    for name in sorted({*wanted, *locked["servers"]}):
        if name not in locked["servers"]:
            problems.append(f"server {name} is wanted and not locked.")
            continue
        if name not in wanted:
            problems.append(f"server {name} is locked and no longer wanted.")
            continue
        problems += _unlike(name, locked["servers"][name], wanted[name], ids.get(box_name), list(ids.values()), manifests)
    return [f"{problem} {path} does not allow that; run without gb10_locked to deploy and lock anew." for problem in problems]


def _unlike(name: str, locked: Mapping[str, Any], fresh: Mapping[str, Any], image_id: str | None, anywhere: list, manifests: Mapping[str, str]) -> list[str]:
    problems = []
    if image_id and image_id != locked["image_id"]:
        problems.append(f"server {name} would run image {short(image_id)}, locked is {short(locked['image_id'])}.")
    if not image_id and locked["image_id"] not in anywhere:
        problems.append(f"server {name} is locked to image {short(locked['image_id'])}, which is on no box of this run; a new build never has the same id.")
    manifest = manifests.get(fresh["model_path"])
    if manifest and manifest != locked["manifest"]:
        problems.append(
            f"the files in {fresh['model_path']} (server {name}) are not the locked ones ({short(manifest)}, locked is {short(locked['manifest'])})."
        )
    if fresh["spec"] != locked["spec"]:
        problems.append(f"server {name} would run differently: {deployments.changed_because(locked['deployment'], fresh)}.")
    return problems


def leftovers(box: Mapping[str, Any], wanted: Sequence[str]) -> list[str]:
    """Servers of this collection that a box holds (records, container or unit) and nobody wants any more."""
    units = {unit.removeprefix("gb10-vllm-").removesuffix(".service") for unit in box.get("units") or {} if unit.endswith(".service")}
    containers = {one["labels"].get("gb10.vllm.server", "") for one in (box.get("docker") or {}).get("containers", [])}
    held = set(box.get("servers") or {}) | containers | {unit for unit in units if not unit.startswith("watch@")}
    return sorted(held - set(wanted) - {""})


def drift(
    name: str, box: Mapping[str, Any], decision: Mapping[str, Any] | None, unit_digest: str, locked: Mapping[str, Any] | None, prune: bool = False
) -> list[str]:
    """How a server differs from what is wanted and locked, each with what the next run of site does about it.

    ``decision``: of the filter deployment_decision, None for a server that is no longer in the inventory; ``unit_digest``: SHA-256 of the unit file as
    it should be, "" when not known; ``locked``: the server's part of the lock file, None without one.
    """
    if decision is None:
        return [f"no longer in the inventory; site {'removes it (gb10_prune)' if prune else 'leaves it until gb10_prune is true'}"]
    unit = f"gb10-vllm-{name}.service"
    record = ((box.get("servers") or {}).get(name) or {}).get("deployment")
    found = []
    if record is None:
        return ["not deployed yet; site creates it"]
    if decision["create"]:
        found.append(f"{decision['reason']}; site replaces the container")
    file, path = (box.get("files") or {}).get(f"{UNIT_DIR}/{unit}"), f"{UNIT_DIR}/{unit}"
    state = (box.get("units") or {}).get(unit) or {}
    if file is None:
        found.append("its unit file is gone; site writes it again")
    elif unit_digest and file["sha256"] != unit_digest:
        found.append("its unit file was edited or is of another version; site writes it back")
    if f"{path}.d" in (box.get("files") or {}):
        found.append(f"{posixpath.basename(path)}.d changes its unit by hand; site leaves it, remove it with `systemctl revert {unit}`")
    starting = ((box.get("servers") or {}).get(name) or {}).get("starting") or {}
    if starting and starting.get("boot_id") != box.get("boot_id"):
        found.append("the box went down while it was starting, so it was not started again by itself; site starts it")
    elif file is not None and state.get("active") not in ("active", "activating"):
        # systemd counts the restart that it refused too.
        often = f" after {state['restarts'] - 1} restarts" if state.get("active") == "failed" and state.get("restarts", 0) > 1 else ""
        found.append(f"its unit is {state.get('active') or 'unknown'}{often}; site starts it")
    if file is not None and not state.get("enabled"):
        found.append("it does not start at boot; site enables it")
    if locked is not None and locked["spec"] != record["spec"]:
        found.append(f"it is not what is locked ({deployments.changed_because(locked['deployment'], record)}); site locks what runs once it is proven")
    return found


def health(answer: Mapping[str, Any] | None, deployed: bool) -> str:
    """One server's health in words: from one real request (the result of server_ready in check mode), never from a port that is open."""
    if not deployed:
        return "not deployed"
    if not answer:
        return "not asked"
    if answer.get("phase") == "ready":
        latency = (answer.get("answer") or {}).get("latency_s")
        return "answers" if latency is None else f"answers in {float(latency):.1f} s"
    said = str(answer.get("reason") or answer.get("progress") or answer.get("msg") or "no answer")
    return f"{answer['phase']}: {said}" if answer.get("phase") else said


def status_rows(seen: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The servers of one box, wanted ones first: one row each, plain values.

    ``seen``: {name, box, problem, wanted: [server], decisions: {name: decision}, unit_digests: {name: sha256}, answers: {name: result},
    locked: {name: entry}, prune}; ``box`` and ``locked`` are empty when there is nothing to read.
    """
    box = seen.get("box") or {}
    records = box.get("servers") or {}
    names = [server["name"] for server in seen.get("wanted") or []]
    models = {server["name"]: server["model"] for server in seen.get("wanted") or []}
    rows = []
    for name in [*names, *leftovers(box, names)]:
        record = records.get(name) or {}
        deployed, measured = record.get("deployment"), measured_figures(record.get("measured"))
        planned = (deployed or {}).get("planned") or {}
        locked = seen.get("locked") or {}
        decision = (seen.get("decisions") or {}).get(name) if name in names else None
        if not box:
            differs = []
        elif name in names and decision is None:
            differs = ["what is wanted could not be worked out"] if deployed else ["not deployed yet"]
        else:
            differs = drift(
                name,
                box,
                decision,
                (seen.get("unit_digests") or {}).get(name, ""),
                locked.get(name),
                bool(seen.get("prune")),
            )
        rows.append(
            {
                "server": name,
                "wanted": name in names,
                "model": (deployed or {}).get("model") or models.get(name),
                "image_id": deployed["container"]["image"] if deployed else None,
                "vllm_version": (deployed or {}).get("vllm_version"),
                "spec": (deployed or {}).get("spec"),
                "endpoint": f"{deployed['address']}:{deployed['port']}" if deployed else None,
                "drift": differs,
                "health": health((seen.get("answers") or {}).get(name), bool(deployed)) if box else "unreachable",
                "kv_tokens": measured.get("kv_tokens") or planned.get("kv_tokens"),
                "concurrency": measured.get("concurrency") or planned.get("concurrency"),
                "max_model_len": planned.get("max_model_len"),
                "figures": "measured" if measured.get("kv_tokens") else "planned" if planned.get("kv_tokens") else None,
                "planned": planned,
                "measured": measured,
                "repairs": [one.get("id", "") for one in (record.get("repairs") or {}).get("applied", [])],
                "history": [
                    {"image_id": one["container"]["image"], "vllm_version": one.get("vllm_version"), "spec": one.get("spec"), "model": one.get("model")}
                    for one in record.get("history") or []
                ],
                "unreadable": record.get("unreadable") or [],
            }
        )
    return rows


def status(seen: Mapping[str, Mapping[str, Any]], made_at: str) -> dict[str, Any]:
    """The fleet as one JSON value: {format, made_at, boxes: {name: {problem, memory, servers}}}; ``seen`` by box, see ``status_rows``."""
    boxes = {}
    for name in sorted(seen):
        memory = (seen[name].get("box") or {}).get("memory") or {}
        boxes[name] = {
            "problem": seen[name].get("problem") or None,
            "memory": {key: memory.get(key) for key in ("total_bytes", "available_bytes", "cuda_total_bytes")} if memory else None,
            "servers": status_rows(dict(seen[name], name=name)),
        }
    return {"format": FORMAT, "made_at": made_at, "boxes": boxes}


def status_table(fleet: Mapping[str, Any]) -> str:
    """The status as a table for the terminal, with one line below it for each drift and problem."""
    head = ("box", "server", "runs", "vLLM", "health", "KV tokens", "concurrency", "memory left", "history", "drift")
    rows: list[tuple[str, ...]] = []
    notes = []
    for name, box in fleet["boxes"].items():
        free = (box["memory"] or {}).get("available_bytes")
        left = f"{free / 2**30:.1f} GiB" if free is not None else "-"
        if box["problem"]:
            notes.append(f"{name}: {box['problem']}")
        if not box["servers"]:
            rows.append((name, "-", "-", "-", "-", "-", "-", left, "-", "-"))
        for server in box["servers"]:
            tokens = f"{server['kv_tokens']:,}" if server["kv_tokens"] else "-"
            times = f"{server['concurrency']:.2f}x" if server["concurrency"] else "-"
            state, _colon, _why = server["health"].partition(":")
            runs = f"{server['model']} on {short(server['image_id'])}" if server["image_id"] else "-"
            mark = "unknown" if state == "unreachable" else f"{len(server['drift'])} below" if server["drift"] else "none"
            earlier = str(len(server["history"]) or "-")
            rows.append((name, server["server"], runs, server["vllm_version"] or "-", state, tokens, times, left, earlier, mark))
            notes += [f"{name} {server['server']}: {one}." for one in server["drift"]]
            if state != server["health"]:
                notes.append(f"{name} {server['server']} {server['health']}")
            notes += [f"{name} {server['server']}: its record {kind}.json cannot be read; site writes it anew." for kind in server["unreadable"]]
    return "\n".join([*_table([head, *rows]), *(["", *notes] if notes else [])])


def report_table(seen: Mapping[str, Mapping[str, Any]]) -> str:
    """What runs where and what was predicted against what the start measured; ``seen``: {box: {"box": facts}}."""
    head = ("box", "server", "runs", "vLLM", "endpoint", "KV tokens", "predicted", "difference", "concurrency", "weights", "predicted")
    rows = []
    for name in sorted(seen):
        for server, record in sorted((seen[name]["box"].get("servers") or {}).items()):
            deployed = record.get("deployment")
            if not deployed:
                continue
            planned, measured = deployed.get("planned") or {}, measured_figures(record.get("measured"))
            was, is_now = planned.get("kv_tokens"), measured.get("kv_tokens")
            weights = planned.get("weights_bytes") or {}
            rows.append(
                (
                    name,
                    server,
                    f"{deployed['model']} on {short(deployed['container']['image'])}",
                    deployed.get("vllm_version") or "-",
                    f"{deployed['address']}:{deployed['port']}",
                    f"{is_now:,}" if is_now else "not measured",
                    f"{was:,}" if was else "-",
                    f"{(is_now - was) / was:+.1%}" if was and is_now else "-",
                    f"{measured['concurrency']:.2f}x" if measured.get("concurrency") else "-",
                    f"{measured['weights_bytes'] / 2**30:.2f} GiB" if measured.get("weights_bytes") else "-",
                    f"{weights['value'] / 2**30:.2f} GiB" if weights.get("value") else "-",
                )
            )
    return "\n".join(_table([head, *rows])) if rows else "No server runs on these boxes."


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _names(boxes: Sequence[str] | Mapping[str, Any]) -> str:
    names = sorted(boxes)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") or "none"

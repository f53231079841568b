# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The status of a fleet: one row for each server, as plain values and as tables for the terminal. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from ansible_collections.gb10.vllm.plugins.module_utils._io.redaction import everywhere
from ansible_collections.gb10.vllm.plugins.module_utils._model.content import not_verified
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import ranks
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.deployment import endpoint, version
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.lacking import more, sentence
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.shapes import Record, Seen
from ansible_collections.gb10.vllm.plugins.plugin_utils._fleet.drift import drift, health, leftovers
from ansible_collections.gb10.vllm.plugins.plugin_utils._fleet.lock import Read, measured_figures, short
from ansible_collections.gb10.vllm.plugins.plugin_utils._fleet.speed import speed, words
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.table import table
from ansible_collections.gb10.vllm.plugins.plugin_utils._router import view

FORMAT = 1
WORTH_TELLING_BYTES = 2 * 2**30

UNTOLD = {"look": "The box could not be read.", "plan": "The plan could not be computed."}


def problem(seen: Seen) -> str | None:
    """What stood in the way of reading and planning a box, in one text; None when nothing did."""
    failures = seen.get("failures") or {}
    told = [failures[step] or untold for step, untold in UNTOLD.items() if step in failures]
    return " ".join([*told, *([seen["problem"]] if seen.get("problem") else [])]) or None


def named(server: Mapping[str, Any]) -> str:
    """The model of a row with its version, where it has one."""
    return server["model"] + (f"@{server['model_version']}" if server.get("model_version") else "")


def status_rows(seen: Seen) -> list[dict[str, Any]]:
    """The servers of one box, wanted ones first: one row each, plain values."""
    box = seen.get("box") or {}
    models = {server["name"]: server["model"] for server in seen.get("wanted") or []}
    return [_row(name, seen, models.get(name)) for name in [*models, *leftovers(box, list(models))]]


def _row(name: str, seen: Seen, wanted_model: str | None) -> dict[str, Any]:
    """The row of one server; ``wanted_model``: None for a server that nobody wants any more."""
    box = seen.get("box") or {}
    record = cast(Record, (box.get("servers") or {}).get(name) or {})
    deployed, measured = record.get("deployment"), measured_figures(record.get("measured"))
    planned = (deployed or {}).get("planned") or {}
    figures = measured if measured.get("kv_tokens") else planned
    facts = (seen.get("models") or {}).get((deployed or {}).get("model_path") or "") or {}
    return {
        "server": name,
        "wanted": wanted_model is not None,
        "model": (deployed or {}).get("model") or wanted_model,
        "model_version": version(deployed) or None if deployed else None,
        "unverified": (facts.get("directory") or facts.get("path")) if "content" in facts and not (facts["content"] or {}).get("weights") else None,
        "image_id": deployed["container"]["image"] if deployed else None,
        "vllm_version": (deployed or {}).get("vllm_version"),
        "spec": (deployed or {}).get("spec"),
        "endpoint": endpoint(deployed["address"], deployed["port"]) if deployed and ranks.head_or_alone(deployed) else None,
        "share": ranks.share(deployed or {}),
        "key_file": _key_file(name, box) if deployed else None,
        "certificate": (box.get("certificates") or {}).get(name),
        "drift": _differs(name, seen, wanted_model is not None, bool(deployed)),
        "gain": ((seen.get("decisions") or {}).get(name) or {}).get("gain") or {} if deployed else {},
        "idle": idle(planned, record.get("measured")) if deployed else {},
        "lacking": ((seen.get("decisions") or {}).get(name) or {}).get("lacking") or [] if deployed else [],
        "health": health((seen.get("answers") or {}).get(name), bool(deployed)) if box else "unreachable",
        "kv_tokens": figures.get("kv_tokens"),
        "concurrency": measured.get("concurrency") or planned.get("concurrency"),
        "max_model_len": planned.get("max_model_len"),
        "figures": None if not figures.get("kv_tokens") else "measured" if figures is measured else "planned",
        "planned": planned,
        "measured": measured,
        "speed": speed(record, (deployed or {}).get("spec")),
        "repairs": [one.get("id", "") for one in (record.get("repairs") or {}).get("applied", [])],
        "history": [
            {
                "image_id": one["container"]["image"],
                "vllm_version": one.get("vllm_version"),
                "spec": one.get("spec"),
                "model": one.get("model"),
                "model_version": version(one) or None,
            }
            for one in record.get("history") or []
        ],
        "unreadable": record.get("unreadable") or [],
    }


def _key_file(name: str, box: Mapping[str, Any]) -> str | None:
    """Where the key of a server lies on its box; None for one without."""
    return next((path for path in box.get("files") or {} if path.endswith(f"/{name}/key.env")), None)


def certificate_words(certificate: Mapping[str, Any] | None) -> str:
    """What there is to say of the certificate a server speaks TLS with, without a full stop; "" where it speaks none."""
    if not certificate:
        return ""
    word = "ended on" if certificate.get("over") else "is valid until"
    valid = f"{word} {certificate['expires']}" if certificate["expires"] else "could not be read for its end (there is no openssl on the box)"
    return str(certificate["problem"] or f"its certificate {certificate['certificate']} {valid}")


def _at(now_s: float, row: dict[str, Any]) -> dict[str, Any]:
    """The row of a server at this time, by which its certificate may have ended."""
    certificate = row["certificate"]
    over = bool(certificate and certificate.get("expires_at") and certificate["expires_at"] <= now_s)
    return {**row, "certificate": {**certificate, "over": True}} if over else row


def _differs(name: str, seen: Seen, wanted: bool, deployed: bool) -> list[str]:
    """How one server differs from what is wanted and locked; nothing where the box could not be read."""
    box = seen.get("box") or {}
    order = (seen.get("decisions") or {}).get(name) if wanted else None
    if not box:
        return []
    if wanted and order is None:
        return ["what is wanted could not be worked out"] if deployed else ["not deployed yet"]
    return drift(name, box, order, (seen.get("locked") or {}).get(name), bool(seen.get("prune")))


def status(seen: Mapping[str, Seen], made_at: str, routers: Mapping[str, Any] | None = None, now_s: float = 0.0) -> dict[str, Any]:
    """The fleet as one JSON value: {format, made_at, boxes: {name: {problem, memory, servers}}}; ``seen`` by box, see ``status_rows``.

    ``routers``: what router_info returned by router, None for one that could not be reached; they are told beside the boxes where there are any.
    ``now_s``: the time, by which a certificate soon ends, or has ended.
    """
    boxes = {}
    for name in sorted(seen):
        memory = (seen[name].get("box") or {}).get("memory") or {}
        boxes[name] = {
            "problem": problem(seen[name]),
            "memory": {key: memory.get(key) for key in ("total_bytes", "available_bytes", "cuda_total_bytes")} if memory else None,
            "servers": [_at(now_s, row) for row in status_rows(seen[name])],
        }
    _name_unequal(boxes, seen)
    told = {"routers": everywhere(view.routers(routers, boxes, now_s))} if routers else {}
    return {"format": FORMAT, "made_at": made_at, "boxes": everywhere(boxes), **told}


def _name_unequal(boxes: Mapping[str, Any], seen: Mapping[str, Seen]) -> None:
    """Say at the first box of each server over several that its boxes were not deployed alike: a box was lost in between."""
    found: dict[str, dict[str, Any]] = {}
    for name in boxes:
        for server, record in ((seen[name].get("box") or {}).get("servers") or {}).items():
            deployment = record.get("deployment") or {}
            if deployment.get("group"):
                found.setdefault(server, {})[name] = deployment
    for server, deployments in found.items():
        said = ranks.differ(deployments)
        if said:
            row = next(row for row in boxes[next(iter(deployments))]["servers"] if row["server"] == server)
            row["drift"] = [*row["drift"], f"its boxes do not have the same deployment ({said}), so they wait for each other; site over all of them mends it"]


def status_table(fleet: Mapping[str, Any]) -> str:
    """The status as a table for the terminal, with one line below it for each drift, what is lacking, and each problem."""
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
            runs = f"{named(server)} on {short(server['image_id'])}" if server["image_id"] else "-"
            mark = "unknown" if state == "unreachable" else f"{len(server['drift'])} below" if server["drift"] else "none"
            earlier = str(len(server["history"]) or "-")
            rows.append((name, server["server"] + server["share"], runs, server["vllm_version"] or "-", state, tokens, times, left, earlier, mark))
            notes += [f"{name} {server['server']}: {one}." for one in server["drift"]]
            notes += [f"{name} {server['server']} {text}." for text in (sentence(server["lacking"]), more(server["gain"]), words(server["speed"])) if text]
            notes += [f"{name} {server['server']}: {certificate_words(server['certificate'])}."] if server["certificate"] else []
            if server["unverified"]:
                notes.append(f"{name} {server['server']}: {not_verified(server['unverified'])}.")
            if state != server["health"]:
                notes.append(f"{name} {server['server']} {server['health']}")
            notes += [f"{name} {server['server']}: its record {kind}.json cannot be read; site writes it anew." for kind in server["unreadable"]]
    keys = sorted(
        {server["key_file"].replace(f"/{server['server']}/", "/SERVER/") for box in fleet["boxes"].values() for server in box["servers"] if server["key_file"]}
    )
    notes += [f"A server's key lies on its box in {' or '.join(keys)}, readable for root."] if keys else []
    routed = view.lines(fleet.get("routers") or {})
    return "\n".join([*table([head, *rows]), *(["", *notes] if notes else []), *(["", *routed] if routed else [])])


def idle(planned: Mapping[str, Any], measured: Mapping[str, Any] | None) -> dict[str, int]:
    """{bytes, tokens} that a proven start left idle beside floor and margin; empty where that is 2 GiB or less, or was not measured."""
    left = int((((measured or {}).get("facts") or {}).get("memory") or {}).get("idle_bytes") or 0)
    kv, tokens = int(planned.get("kv_cache_bytes") or 0), int(planned.get("kv_tokens") or 0)
    return {"bytes": left, "tokens": left * tokens // kv} if left > WORTH_TELLING_BYTES and kv and tokens else {}


def report_table(seen: Mapping[str, Read]) -> str:
    """What runs where and what was predicted against what the start measured; ``seen``: {box: {"box": facts}}."""
    head = ("box", "server", "runs", "vLLM", "endpoint", "KV tokens", "predicted", "difference", "concurrency", "weights", "predicted")
    rows, notes = [], []
    for name in sorted(seen):
        for server, record in sorted((seen[name]["box"].get("servers") or {}).items()):
            deployed = record.get("deployment")
            if not deployed:
                continue
            planned, measured = deployed.get("planned") or {}, measured_figures(record.get("measured"))
            was, is_now = planned.get("kv_tokens"), measured.get("kv_tokens")
            answers = ranks.head_or_alone(deployed)
            weights = planned.get("weights_bytes") or {}
            spare = idle(planned, record.get("measured"))
            if spare:
                told = f"{spare['bytes'] / 2**30:.1f} GiB were idle beside floor and margin when it was proven, {spare['tokens']:,} tokens"
                notes.append(f"{name} {server}: {told}; a new plan uses what was measured (-e gb10_replan=true).")
            told = words(speed(record, deployed.get("spec")))
            notes += [f"{name} {server} {told}."] if told else []
            rows.append(
                (
                    name,
                    server + ranks.share(deployed),
                    f"{named({'model': deployed['model'], 'model_version': version(deployed)})} on {short(deployed['container']['image'])}",
                    deployed.get("vllm_version") or "-",
                    endpoint(deployed["address"], deployed["port"]) if answers else "-",
                    f"{is_now:,}" if is_now else "not measured" if answers else "-",
                    f"{was:,}" if was else "-",
                    f"{(is_now - was) / was:+.1%}" if was and is_now else "-",
                    f"{measured['concurrency']:.2f}x" if measured.get("concurrency") else "-",
                    f"{measured['weights_bytes'] / 2**30:.2f} GiB" if measured.get("weights_bytes") else "-",
                    f"{weights['value'] / 2**30:.2f} GiB" if weights.get("value") else "-",
                )
            )
    return "\n".join([*table([head, *rows]), *(["", *notes] if notes else [])]) if rows else "No server runs on these boxes."

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The status of a fleet as one HTML page that needs nothing else: no script, no font, no image from elsewhere. Its markup is status.html.j2."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._model.content import not_verified
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.lacking import more, sentence
from ansible_collections.gb10.vllm.plugins.plugin_utils._fleet.lock import short
from ansible_collections.gb10.vllm.plugins.plugin_utils._fleet.speed import words
from ansible_collections.gb10.vllm.plugins.plugin_utils._fleet.status import certificate_words, named
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.words import gib
from ansible_collections.gb10.vllm.plugins.plugin_utils._router.view import HEAD
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

COLUMNS = ("box", "server", "runs", "vLLM", "health", "KV tokens", "concurrency", "memory left", "drift")
NUMBERS = ("KV tokens", "concurrency", "memory left")


def page(fleet: Mapping[str, Any], pictures: Mapping[str, str], title: str = "GB10 fleet", past: Mapping[str, Any] | None = None) -> str:
    """The page of a fleet (``fleet.status``) with the memory picture (SVG text) of each box that has one. All text in it is escaped.

    ``past``: {problem, pictures} of what Prometheus has recorded; None where there is none.
    """
    boxes = [
        {
            "name": name,
            "anchor": _anchor(name),
            "left": gib((box["memory"] or {}).get("available_bytes")),
            "problem": box["problem"],
            "picture": pictures.get(name, ""),
            "servers": [_server(server) for server in box["servers"]],
        }
        for name, box in fleet["boxes"].items()
    ]
    servers = [server for box in boxes for server in box["servers"]]
    answering, drifted = sum(server["answers"] for server in servers), sum(bool(server["drift"]) for server in servers)
    summary = f"{len(boxes)} box{'es' * (len(boxes) != 1)}, {answering} of {len(servers)} servers answer, {drifted} differ from what is wanted or locked"
    routers = fleet.get("routers") or {}
    return _template().render(
        title=title, summary=summary, made_at=fleet["made_at"], columns=COLUMNS, numbers=NUMBERS, boxes=boxes, past=past, routers=routers, routed=HEAD
    )


@lru_cache(maxsize=1)
def _template() -> Template:
    """The template beside this file, wherever the collection is installed."""
    here = FileSystemLoader(Path(__file__).parent)
    settings = Environment(loader=here, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    return settings.get_template("status.html.j2")


def _server(server: Mapping[str, Any]) -> dict[str, Any]:
    """What the page shows of a server: its figures as text."""
    state = server["health"].partition(":")[0]
    return {
        **server,
        "state": state,
        "answers": state.startswith("answers"),
        "model": named(server) if server["model"] else None,
        "image": short(server["image_id"]),
        "unverified": not_verified(server["unverified"]) if server["unverified"] else "",
        "kv_tokens": f"{server['kv_tokens']:,}" if server["kv_tokens"] else "-",
        "concurrency": f"{server['concurrency']:.2f}x" if server["concurrency"] else "-",
        "lacks": [text for text in (sentence(server["lacking"]), more(server.get("gain") or {})) if text],
        "speed": words(server.get("speed") or {}),
        "tls": certificate_words(server["certificate"]),
        "no_drift": "unknown" if state == "unreachable" else "none",
        "history": [{"model": named(one), "image": short(one["image_id"])} for one in server["history"]],
    }


def _anchor(name: str) -> str:
    return "box-" + "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)

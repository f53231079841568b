# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A plan as a table for the terminal, with the reasons below it. Pure: plans in, text out."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import flags
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.table import table
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.words import gib, human_bytes

COLUMNS = 120
WHY_COLUMN = 44
"""Where the reasons of flags begin, unless a flag is longer."""
LONGEST_FLAG = 70
"""A longer flag stands on a line of its own."""
HEAD = ("box", "server", "weights", "KV/token", "KV cache", "tokens", "requests", "context", "util", "OS left", "verdict")
VERDICT_WORDS = {"fits": "fits", "fits_with_change": "needs a change", "cannot_fit": "cannot fit"}
PARTS = {
    "context": "CUDA context", "graphs": "CUDA graphs", "activations": "activations", "workspaces": "workspaces", "host_processes": "processes",
    "together": "beside weights and KV cache", "consumed": "outside activations and graphs", "lora_slots": "adapters on the device",
    "lora_adapters": "adapters on the host", "speculation": "speculation", "multimodal_cache": "prepared images", "kv_offload": "KV cache in host memory",
    "routed_experts": "chosen experts", "communication": "talk between boxes",
}  # fmt: skip
"""What the parts beside weights and KV cache are called."""


def plan_table(plans: Mapping[str, Mapping[str, Any]], reasons: bool = True) -> str:
    """One line per server, at most 120 columns, then each server's flags with reasons, warnings and possible changes.

    Without ``reasons`` nothing more is said of servers that fit and have no warning.
    """
    if not isinstance(plans, Mapping):
        raise GB10Error("plan_table wants plans by name of the box")
    rows = [HEAD, *(row for name, plan in plans.items() for row in _rows(str(name), plan))]
    # Names and the verdict to the left, numbers to the right; where there is no room, names give way first.
    out = table(rows, right=range(2, len(HEAD) - 1), rule=True, columns=COLUMNS, shrink=(1, 0))
    for name, plan in plans.items():
        for warning in plan["box"].get("warnings", ()):
            out += ["", *_wrap(f"{name}: warning: {warning}", "")]
        for server in plan["servers"]:
            if reasons or server["verdict"] != "fits" or server["warnings"]:
                out += ["", *_wrap(f"{name}: {server['reason']}", ""), *_why(server)]
    return "\n".join(out) + "\n"


def box_of(plan: Any) -> Mapping[str, Any]:
    """The box of a plan; GB10Error for what is not a plan."""
    if not isinstance(plan, Mapping) or not isinstance(plan.get("box"), Mapping) or "servers" not in plan:
        raise GB10Error("this is not a plan: pass what gb10.vllm.kv_cache_budget returns as plan")
    return plan["box"]


def _rows(name: str, plan: Mapping[str, Any]) -> list[list[str]]:
    left = gib(box_of(plan)["left_for_os_bytes"])
    if not plan["servers"]:
        return [[name, "(none)", *[""] * (len(HEAD) - 4), left, ""]]
    return [
        [
            name,
            _placed(server),
            gib(server["weights_bytes"]["value"]),
            f"{server['kv_bytes_per_token']:,.0f} B" if server["kv_bytes_per_token"] else "none",
            gib(server["kv_cache_bytes"], 2),
            f"{server['kv_tokens']:,}",
            f"{server['concurrency']:.2f}x",
            f"{server['max_model_len']:,}",
            f"{server['gpu_memory_utilization']:.3f}",
            left,
            VERDICT_WORDS[server["verdict"]],
        ]
        for server in plan["servers"]
    ]


def _placed(server: Mapping[str, Any]) -> str:
    """The server's name, and which of its boxes this is where it has several."""
    rank = server.get("rank")
    return f"{server['name']} {rank['number'] + 1}/{len(rank['boxes'])}" if rank else server["name"]


def _why(server: Mapping[str, Any]) -> Iterator[str]:
    """The flags of a server that fits, where its memory goes, what to look out for and what could be changed."""
    for entry in server["flags"] if server["verdict"] == "fits" else ():
        yield from _flag(entry)
    for what, part in (("weights", server["weights_bytes"]), *((PARTS[name], part) for name, part in server.get("beside", {}).items() if part["value"])):
        yield from _wrap(f"{what}: {gib(part['value'], 2)}, {part['source']}: {part['why']}", "  ", "    ")
    for warning in server["warnings"]:
        yield from _wrap(f"warning: {warning}", "  ", "    ")
    for number, change in enumerate(server["changes"], 1):
        numbers = _numbers(change)
        yield from _wrap(f"change {number}: {change['change']}{f' ({numbers})' if numbers else ''}", "  ", "    ")


def _flag(entry: Mapping[str, Any]) -> list[str]:
    """A flag with its value as a shell takes it, and why beside it, or below it when it is long."""
    shown = "  " + " ".join(shlex.quote(word) for word in flags.words(entry["flag"], entry["value"]))
    indent = max(WHY_COLUMN, len(shown) + 2)
    if indent > LONGEST_FLAG:
        return [shown.rstrip(), *_wrap(entry["why"], " " * WHY_COLUMN)]
    first, *later = textwrap.wrap(entry["why"], COLUMNS - indent) or [""]
    return [(shown.ljust(indent) + first).rstrip(), *(" " * indent + line for line in later)]


def _numbers(change: Mapping[str, Any]) -> str:
    words = []
    for key, value in change.items():
        if key in ("change", "set", "stop", "boxes"):
            continue
        if key.endswith("_bytes"):
            words.append(f"{key.removesuffix('_bytes').replace('_', ' ')} {human_bytes(value)}")
        elif key == "cost":
            words.append(f"cost: {value}")
        elif isinstance(value, (int, float)):
            words.append(f"{key.replace('_', ' ')} {value:,.0f}")
    return ", ".join(words)


def _wrap(text: str, indent: str, later: str | None = None) -> list[str]:
    return textwrap.wrap(text, COLUMNS, initial_indent=indent, subsequent_indent=later or indent + "  ", break_on_hyphens=False)

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a search ends: in words, as a diff for the inventory, as a parameter file of vLLM's sweep tool, and as a page. Pure but for the chart."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.table import table
from ansible_collections.gb10.vllm.plugins.plugin_utils._speed.charts import trials as trials_chart
from ansible_collections.gb10.vllm.plugins.plugin_utils._tune import search
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

COLUMNS = ("trial", "settings", "outcome", "tokens/s", "at", "aim", "verdict")
QUALITY = ("kv_cache_dtype", "quantization", "dtype")


def settings_of(trial: Mapping[str, Any]) -> str:
    """The settings of a trial as people read them."""
    said = ", ".join(f"{name}={json.dumps(value) if isinstance(value, (dict, bool)) else value}" for name, value in trial["set"].items() if name != search.NAME)
    return said or "as it is"


def diff(state: Mapping[str, Any]) -> str:
    """The change of the inventory that the best trial comes to; "" where the server is best as it is. Without secrets: those lines stay as they are."""
    best = search.best_of(state)
    if not best or best["base"]:
        return ""
    # Ansible's own kinds of texts and mappings know where they came from; YAML cannot write them.
    plain = json.loads(json.dumps([state["server"], search.applied(state["server"], best["set"])]))
    before, after = (yaml.safe_dump({"gb10_servers": [one]}, sort_keys=False, width=200).splitlines() for one in plain)
    return "\n".join(difflib.unified_diff(before, after, "inventory: gb10_servers", "inventory: gb10_servers", lineterm="", n=100)) + "\n"


def rows(state: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """One row for each trial, as the cells of ``COLUMNS``."""
    found: list[tuple[str, ...]] = []
    for number, trial in enumerate(state["trials"]):
        worth = trial.get("worth") or {}
        value = worth.get("value")
        spread = f"{value['mean']:,.1f} ± {value['std']:,.1f}" if value else "-"
        aim = "-" if not worth else "reached" if worth["reached"] else f"missed by {worth['missed']:.0%}"
        found.append((str(number), settings_of(trial), trial["outcome"], spread, worth.get("point") or "-", aim, trial["verdict"]))
    return found


def ending(state: Mapping[str, Any]) -> dict[str, str]:
    """{text, diff, parameters, problem} of a search; ``problem``: why nothing came of it, with the best that was found."""
    best = search.best_of(state)
    lines = [f"Aim: {state['aim']}", *table([COLUMNS, *rows(state)])]
    lines += ["", *(f"trial {number}: {trial['why']}" for number, trial in enumerate(state["trials"]) if trial["why"])]
    problem = ""
    if not best:
        why = state["trials"][-1]["why"] if state["trials"] else "nothing was tried"
        problem = f"No settings of {state['server']['name']} could be measured: {why}."
    elif not best["worth"]["reached"]:
        problem = (
            f"Nothing that was tried reaches {state['aim']}: nearest comes {settings_of(best)}, which misses it by {best['worth']['missed']:.0%} at "
            f"{best['worth']['point']} ({best['worth']['value']['mean']:,.1f} tokens/s)."
        )
    elif best["base"]:
        lines.append(f"Nothing that was tried is better than what runs by more than the noise: {state['server']['name']} stays as it is.")
    else:
        lines.append(f"Best is {settings_of(best)}. Nothing was changed in the inventory; this is what to write there:")
        lines += ["", diff(state)]
        if set(QUALITY) & set(best["set"]):
            lines.append("This changes answers, not only their speed: compare some before you keep it.")
    return {"text": "\n".join(lines), "diff": diff(state), "parameters": _parameters(state), "problem": problem}


def _parameters(state: Mapping[str, Any]) -> str:
    """All that was tried, as ``--serve-params`` of ``vllm bench sweep serve`` takes it."""
    return json.dumps(
        [{search.NAME: f"trial-{n}", **{k: v for k, v in trial["set"].items() if k != search.NAME}} for n, trial in enumerate(state["trials"])], indent=1
    )


def page(state: Mapping[str, Any], box: str) -> str:
    """The page of a search: chart, trials, diff. All text in it is escaped. GB10Error where matplotlib is missing."""
    told = ending(state)
    measured = [(str(number), trial) for number, trial in enumerate(state["trials"]) if trial["outcome"] == "measured"]
    bars = [(number, trial["worth"]["value"]["mean"], trial["worth"]["value"]["std"], trial["worth"]["reached"]) for number, trial in measured]
    best = search.best_of(state)
    on_cpu = "cpu" in str(state["original"]["deployment"].get("vllm_version") or "").partition("+")[2]
    return _template().render(
        title=f"Tuning of {state['server']['name']} on {box}",
        aim=state["aim"],
        profile=state["profile"],
        on_cpu=on_cpu,
        columns=COLUMNS,
        rows=rows(state),
        best=str(state["trials"].index(best)) if best else "",
        whys=[(number, trial["why"]) for number, trial in enumerate(state["trials"]) if trial["why"]],
        chart=trials_chart(bars) if bars else "",
        diff=told["diff"],
        problem=told["problem"],
    )


@lru_cache(maxsize=1)
def _template() -> Template:
    """The template beside this file, wherever the collection is installed."""
    here = FileSystemLoader(Path(__file__).parent)
    settings = Environment(loader=here, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    return settings.get_template("tune.html.j2")

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One result of a benchmark as one JSON value: what was asked of which server in which state, the figures, and the runs they come from. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.engine import engine_identity, engine_of
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.deployment import version
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.shapes import Deployment
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.table import table
from ansible_collections.gb10.vllm.plugins.plugin_utils._speed import compare, profiles, results, roofline

COLUMNS = ("point", "runs", "total t/s", "decode t/s per stream", "first token p50, p95 ms", "between p50, p95 ms", "prefill t/s", "of the roofline")


def arguments_of(deployment: Mapping[str, Any]) -> list[str]:
    """What follows ``vllm serve MODEL`` in a deployment."""
    command = deployment["container"]["command"]
    return [str(text) for text in command[command.index("serve") + 2 :]] if "serve" in command else []


def work(deployment: Mapping[str, Any], name: str, own: Any = None, repeats: int = 0, begun: str = "") -> dict[str, Any]:
    """What the box is to measure of a server: {profile, points, left_out, runs, tokenizer, volumes}. GB10Error for a profile or server that cannot be used.

    ``begun``: the moment at which it is begun, from which its prompts come; the same one gives the same prompts.
    """
    wanted = profiles.repeated(profiles.profile(name, own), repeats)
    arguments = arguments_of(deployment)
    given = compare.flags(arguments)
    if given.get("--runner") == "pooling":
        raise GB10Error(
            f"{deployment['name']} pools and generates nothing, so there is nothing that this benchmark measures; leave it out with -e server=NAME."
        )
    chosen, left_out = profiles.points(wanted, int((deployment.get("planned") or {}).get("max_model_len") or 0))
    model = f"/models/{deployment['name']}"
    tokenizer = ["--tokenizer", given.get("--tokenizer", model)]
    tokenizer += ["--tokenizer-mode", given["--tokenizer-mode"]] if "--tokenizer-mode" in given else []
    tokenizer += ["--trust-remote-code"] if "--trust-remote-code" in given else []
    volumes = [one for one in deployment["container"]["volumes"] if one.endswith(":ro") and one.split(":")[1].startswith("/models/")]
    runs = profiles.runs(wanted, chosen, profiles.first_seed(begun))
    return {"profile": wanted, "points": chosen, "left_out": left_out, "runs": runs, "tokenizer": tokenizer, "volumes": volumes}


def cost_of(deployment: Mapping[str, Any], facts: Mapping[str, Any] | None) -> roofline.TokenCost | None:
    """What a token of a deployment reads; None on the CPU engine, whose memory is not a GB10's, and for a model that is not known here."""
    identity = engine_identity({"vllm_version": deployment.get("vllm_version") or ""})
    if identity["platform"] != "gb10" or not (facts or {}).get("weights") or not (facts or {}).get("config"):
        return None
    given = compare.flags(arguments_of(deployment))
    settings: dict[str, Any] = {"kv_cache_dtype": given.get("--kv-cache-dtype", "auto"), "tensor_parallel_size": int(given.get("--tensor-parallel-size", 1))}
    if "--dtype" in given:
        settings["dtype"] = given["--dtype"]
    try:
        engine = engine_of(identity, settings)
        return roofline.token_cost((facts or {})["weights"], (facts or {})["config"], engine=engine, args={"quantization": given.get("--quantization")})
    except GB10Error:
        return None


def document(
    asked: Mapping[str, Any], measured: Mapping[str, Any], deployment: Mapping[str, Any], facts: Mapping[str, Any] | None, about: Mapping[str, Any]
) -> dict[str, Any]:
    """The result; ``asked``: of ``work``, ``measured``: of the module benchmark, ``about``: {box, made_at, target}."""
    state = {
        "vllm_version": deployment.get("vllm_version"),
        "image_id": deployment["container"]["image"],
        "spec": deployment["spec"],
        "model": deployment["model"],
        "model_version": version(cast(Deployment, deployment)) or None,
        "arguments": arguments_of(deployment),
        "planned": deployment.get("planned") or {},
        "box": measured.get("box") or {},
    }
    points = results.merged(asked["points"], measured["runs"], results.prefix_cached(state))
    cost = cost_of(deployment, facts)
    eager = "--enforce-eager" in state["arguments"]
    for point in points:
        if cost is not None and point["figures"].get("decode"):
            depth = point["depth"] + point["prefix_tokens"] + point["input_tokens"] + point["output_tokens"] // 2
            point["expected"] = roofline.expectation(cost, point["concurrency"], depth, point["accepted"])
            point["judged"] = roofline.judged(point["figures"]["decode"]["mean"], point["expected"], eager=eager, boxes=int(about.get("boxes") or 1))
    return {
        "format": results.FORMAT,
        "made_at": about["made_at"],
        "box": about["box"],
        "server": deployment["name"],
        "target": about.get("target") or "the server itself",
        "profile": asked["profile"],
        "state": state,
        "points": points,
        "left_out": asked["left_out"],
        "runs": results.cleaned(measured["runs"]),
    }


def text(result: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> str:
    """A result for the terminal: a table, then what has to be said of it and, with ``before``, how it compares."""
    rows = [COLUMNS, *(row(point) for point in result["points"])]
    lines = [f"{result['box']} {result['server']}, profile {result['profile']['name']}, asked at {result['target']}:", *table(rows)]
    notes = notes_of(result)
    if before:
        told = compare.compared(before, result)
        notes += [f"Beside {before['made_at']}: {len(told['rows'])} figures compared."]
        notes += [f"differs: {one}" for one in told["differs"]]
        notes += [compare.words(row) for row in told["rows"] if row["verdict"] != "noise"]
    return "\n".join([*lines, *(["", *notes] if notes else [])])


def notes_of(result: Mapping[str, Any]) -> list[str]:
    """What has to be said of a result beside its figures."""
    notes = [f"{one}." for one in result["left_out"]]
    for point in result["points"]:
        notes += [f"{point['name']}: {point['runs'] - point['counted']} of {point['runs']} runs are no numbers: {why}." for why in point["faults"]]
        if (point.get("judged") or {}).get("verdict") in ("slow", "above"):
            notes.append(f"{point['name']}: {point['judged']['text']}.")
    if not any(point.get("expected") for point in result["points"]):
        notes.append("No expected speed: the roofline is known for models that are sized here, on a GB10.")
    return notes


def row(point: Mapping[str, Any]) -> tuple[str, ...]:
    """One point as the cells of ``COLUMNS``."""
    figures, judged = point["figures"], point.get("judged") or {}

    def shown(*names: str, places: int = 1) -> str:
        known = [name for name in names if name in figures]
        return ", ".join(f"{figures[name]['mean']:,.{places}f}" for name in known) or "-"

    share = f"{judged['share']:.0%}, {judged['verdict']}" if judged else "-"
    return (
        point["name"], f"{point['counted']} of {point['runs']}", shown("total"), shown("decode_user"), shown("ttft_p50", "ttft_p95", places=0),
        shown("itl_p50", "itl_p95"), shown("prefill", places=0), share,
    )  # fmt: skip

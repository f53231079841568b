# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Results of ``vllm bench serve`` as it saves them (0.32, ``--save-detailed``), for tests of what is made of them."""

from __future__ import annotations

from typing import Any

from ansible_collections.gb10.vllm.plugins.plugin_utils._speed import document

VOLUMES = ["/srv/models/org/tiny:/models/tiny:ro", "/etc/x:/run/gb10:ro", "/c:/cache:rw"]
PLANNED = {"max_model_len": 8192, "kv_tokens": 20000}


def deployment(**more: Any) -> dict[str, Any]:
    command = ["/bin/sh", "-c", "x", "gb10-vllm", "vllm", "serve", "/models/tiny", "--max-num-seqs", "16", "--kv-cache-dtype", "auto"]
    return {
        "name": "tiny", "model": "org/tiny", "model_path": "/srv/models/org/tiny", "spec": "s1", "vllm_version": "0.32.0+cpu", "planned": PLANNED,
        "container": {"image": "sha256:" + "a" * 64, "command": command, "volumes": VOLUMES},
        **more,
    }  # fmt: skip


def run(requests: int = 2, prompt: int = 512, output: int = 5, ttft: float = 0.5, itl: float = 0.1, failed: int = 0, **more: Any) -> dict[str, Any]:
    """One run whose requests start together."""
    duration = ttft + (output - 1) * itl
    good = requests - failed
    return {
        "date": "20261126-030000", "model_id": "tiny", "num_prompts": requests, "duration": duration, "completed": good, "failed": failed,
        "total_input_tokens": good * prompt, "total_output_tokens": good * output, "output_throughput": good * output / duration,
        "input_lens": [prompt] * requests, "output_lens": [output] * good + [0] * failed, "ttfts": [ttft] * good + [0.0] * failed,
        "itls": [[itl] * (output - 1)] * good + [[]] * failed, "start_times": [100.0] * requests, "generated_texts": ["words"] * requests,
        "errors": [""] * good + ["Traceback\nHTTP 500: the server is gone"] * failed,
        **{f"p{p}_ttft_ms": ttft * 1000 + p for p in (50, 95, 99)}, **{f"p{p}_itl_ms": itl * 1000 + p / 10 for p in (50, 95, 99)}, **more,
    }  # fmt: skip


def measured(asked: dict[str, Any], speed: float = 1.0, wobble: float = 0.01, **more: Any) -> dict[str, Any]:
    """What the module returns for these runs: a server that answers ``speed`` times as fast, unevenly by ``wobble``."""
    points = {one["name"]: one for one in asked["points"]}
    found = []
    for one in asked["runs"]:
        point = points[one["point"]]
        factor = speed * (1 + wobble * (one["repeat"] - 1))
        itl = 0.02 * (1 + point["depth"] / 20000) * (1 + point["concurrency"] / 8) / factor
        ttft = (point["input_tokens"] / 2000 * point["concurrency"] + point["depth"] / 50000) / factor
        requests = point["concurrency"] * point["requests_per_stream"]
        result = run(requests, point["depth"] + point["input_tokens"], point["output_tokens"], ttft, itl)
        found.append({"point": one["point"], "repeat": one["repeat"], "result": result, "error": "", "box": {"sm_clock_mhz": 2400.0, "power_w": 60.0}})
    return {"runs": found, "box": {"driver": "580.95", "temperature_c": 55}, **more}


def result(profile: str = "chat", speed: float = 1.0, own: dict[str, Any] | None = None, made_at: str = "2026-11-26 03:00", **more: Any) -> dict[str, Any]:
    served = deployment(**more)
    asked = document.work(served, profile, own)
    return document.document(asked, measured(asked, speed), served, None, {"box": "spark-01", "made_at": made_at})

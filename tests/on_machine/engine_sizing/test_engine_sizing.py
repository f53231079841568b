# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The real vLLM for CPU says what the sizing said before: blocks, tokens, concurrency, the fitted length, the refusal's text.

One start of three kinds of models in `make test`, all starts of all kinds in `make deep-engines`.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._engine.log import parse_cache_config
from ansible_collections.gb10.vllm.plugins.module_utils._io.lines import clean_lines
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.capacity import auto_fit, capacity
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.engine import Engine, cpu_features
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layout import kv_layout
from kinds import KINDS, MODELS, SERVED, Start
from sample import every, first

HERE = Path(__file__).resolve().parent
LIMIT_S = 900  # on a machine that does much else; alone it takes a fraction
SAYS = ("KV cache size:", "Auto-fit max_model_len:", "To serve at least one request")


def named(kind: str, number: int) -> str:
    return f"{kind}, start {number + 1}"


CHOSEN = {kind: first(1, KINDS[kind]) for kind in every(3, list(KINDS), 1)}
STARTS = {named(kind, number): start for kind, starts in CHOSEN.items() for number, start in enumerate(starts)}


@pytest.fixture(scope="module")
def seen(engine_image, models, torchvision, compiled, request) -> dict[str, dict]:
    """What each engine logged and exported, by name: all in one container, one after the other."""

    def command(model: str, start: Start) -> list[str]:
        return [f"/models/{model}", *start.arguments()]

    work = {"engines": {name: command(*start) for name, start in STARTS.items()}, "servers": {"vllm serve": command(*SERVED)}}
    name = f"gb10-engine-sizing-{time.time_ns()}"
    request.addfinalizer(lambda: subprocess.run(["docker", "rm", "--force", name], capture_output=True, check=False))
    done = subprocess.run(
        [
            "docker", "run", "--interactive", "--rm", "--init", "--name", name, "--network", "none", "--shm-size", "256m", "--cap-drop", "ALL",
            "--volume", f"{models}:/models:ro", "--volume", f"{HERE}:/test:ro", "--volume", f"{torchvision}:/torchvision:ro",
            "--env", "PYTHONPATH=/torchvision", "--user", f"{os.getuid()}:{os.getgid()}", "--env", "USER=gb10", "--env", "HOME=/tmp",
            "--volume", f"{compiled}:/compiled", "--env", "PYTHONPYCACHEPREFIX=/compiled", engine_image, "python3", "/test/start_engines.py",
        ],
        input=json.dumps(work), capture_output=True, text=True, check=False, timeout=LIMIT_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {answer["name"]: answer for answer in answers}


def predicted(model: str, start: Start) -> dict:
    """What the sizing says this start will log and export."""
    engine = Engine(vllm_version="0.32.0", platform="cpu", **cpu_features(Path("/proc/cpuinfo").read_text()), **start.engine)
    layout = kv_layout(MODELS[model], engine)
    auto = auto_fit(layout, start.kv_bytes) if start.max_model_len == "auto" else None
    length = auto.max_model_len if auto else start.max_model_len or layout.default_max_model_len
    state = capacity(layout, start.kv_bytes, length)
    assert state.ok is not start.refused
    said = [auto.log] if auto else []
    said += [state.log or state.error] if not layout.kv_free else []
    if start.refused:
        return {"says": said, "metrics": {}}
    metrics = {"num_blocks": state.num_blocks, "kv_cache_memory_bytes": start.kv_bytes, "block_size": layout.block_size}
    if not layout.kv_free:
        metrics.update(kv_tokens=state.tokens, concurrency=state.concurrency)
    return {"says": said, "metrics": metrics | {"prefix_caching": layout.prefix_caching, "mamba_cache_mode": layout.mamba_cache_mode}}


def observed(answer: dict) -> dict:
    """The same from the engine's own log lines and the labels of vllm:cache_config_info."""
    lines = clean_lines(answer["log"])
    said = [line[line.index(words) - (4 if words == SAYS[0] else 0) :] for line in lines for words in SAYS if words in line]
    exported = parse_cache_config(answer["metrics"])
    kept = ("num_blocks", "kv_cache_memory_bytes", "block_size", "kv_tokens", "concurrency", "prefix_caching", "mamba_cache_mode")
    return {"says": list(dict.fromkeys(said)), "metrics": {key: exported[key] for key in kept if key in exported}}


def differences(name: str, start: tuple[str, Start], seen: dict[str, dict]) -> list[str]:
    if name not in seen:
        return [f"{name}: no answer"]
    mine, theirs = predicted(*start), observed(seen[name])
    if mine == theirs:
        return []
    return [f"{name}: predicted {mine}, the engine says {theirs}", *seen[name]["log"].splitlines()[-3:]]


def test_the_engine_says_what_was_predicted(seen, capsys):
    wrong = {kind: [] for kind in CHOSEN}
    for kind, starts in CHOSEN.items():
        for number, start in enumerate(starts):
            wrong[kind] += differences(named(kind, number), start, seen)
    exact = [kind for kind, found in wrong.items() if not found]
    with capsys.disabled():
        seconds = sum(answer["seconds"] for answer in seen.values())
        print(f"\nengine: {len(exact)}/{len(CHOSEN)} exact ({len(STARTS)} starts, {seconds:.0f} s)")
    assert len(CHOSEN) >= 3
    assert not any(wrong.values()), "\n".join(line for found in wrong.values() for line in found)


def test_the_whole_server_says_the_same(seen):
    """`vllm serve` with its processes, over HTTP: what the in-process starts leave out changes nothing."""
    assert not differences("vllm serve", SERVED, seen), "\n".join(differences("vllm serve", SERVED, seen))
    twin = next(name for name, start in STARTS.items() if start == SERVED)
    assert observed(seen["vllm serve"])["metrics"] == observed(seen[twin])["metrics"]

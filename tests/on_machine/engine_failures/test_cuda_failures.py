# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Failures that need a GPU: a stand-in image says what vLLM says then and exits as it does; all that reads it is real."""

from __future__ import annotations

import subprocess
from pathlib import Path

import known_failures
import pytest
import recipe
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis import knowledge, repair
from test_engine_failures import explain

HERE = Path(__file__).resolve().parent
HEALTHY = HERE.parents[1] / "unit/plugins/plugin_utils/_diagnosis/logs/healthy-0.33.0-gb10.log"
WANTED = {"max_model_len": 131072, "gpu_memory_utilization": 0.7, "max_num_seqs": 256, "max_num_batched_tokens": 8192, "kv_cache_dtype": "fp8",
          "cuda_graphs": "auto", "args": {"--moe-backend": "cutlass"}}  # fmt: skip
EARLY, LOADING, PROFILING, CAPTURING = "Starting to load model", "Model loading took", "Free memory on device", "Capturing CUDA graphs (FULL)"
MARLIN = {"args": {"--linear-backend": "marlin", "--moe-backend": "marlin"}}
NONE = "only proposed"
# The entry of diagnoses.yml whose example is said, the line of a healthy start before which it is, and the change that may be made.
FAILURES = {
    "KB-104": (EARLY, {}),
    "KB-106": (PROFILING, {}),
    "KB-107": (PROFILING, {"max_num_seqs": 64}),
    "KB-109": (PROFILING, {"max_num_batched_tokens": 4096}),
    "KB-130": (CAPTURING, {"args": {"--compilation-config": {"cudagraph_mode": "PIECEWISE"}}}),
    "KB-131": (CAPTURING, NONE),
    "KB-141": (LOADING, NONE),
    "KB-142": (LOADING, NONE),
    "KB-143": (PROFILING, MARLIN),
    "KB-144": (PROFILING, {"args": {"--moe-backend": "marlin"}}),
    "KB-149": (LOADING, {"kv_cache_dtype": "auto"}),
    "KB-150": (PROFILING, {"kv_cache_dtype": "auto"}),
    "KB-155": (LOADING, NONE),
    "KB-163": (EARLY, NONE),
}


@pytest.fixture(scope="module")
def stand_in(engine_image):
    image = "gb10-enginetest-cuda"
    done = subprocess.run(
        [recipe.engine(), "build", "-q", "-t", image, "--build-arg", f"ENGINE={engine_image}", str(HERE / "cuda")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return image


def log_of(entry: knowledge.Entry, before: str) -> str:
    """A healthy start up to a line, then the example, then the lines in which vLLM wraps every failure of its engine."""
    lines = [line.partition("Z ")[2] for line in HEALTHY.read_text().splitlines()]
    upto = next(number for number, line in enumerate(lines) if before in line)
    error = "(EngineCore pid=120) ERROR 11-20 08:04:12 [core.py:1136] "
    said = [error + "EngineCore failed to start.", error + "Traceback (most recent call last):"] + [error + line for line in entry.example.splitlines()]
    wrapper = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}"
    return "\n".join([*lines[:upto], *said, "(APIServer pid=1) Traceback (most recent call last):", f"(APIServer pid=1) {wrapper}", ""])


@pytest.mark.parametrize("name", FAILURES)
def test_what_a_gpu_would_say_is_explained(engine, stand_in, tmp_path, name):
    before, change = FAILURES[name]
    entry = next(one for one in known_failures.known() if one.id == name)
    (tmp_path / "log").write_text(log_of(entry, before))
    engine.image = stand_in
    engine.start("good", options=("--volume", f"{tmp_path}:/cuda:ro"))
    seen = engine.wait()
    assert (seen["phase"], seen["container"]["exit_code"]) == ("failed", 1)
    found = explain(seen)
    assert found["id"] == name, found
    decided = repair.decide(found, seen["facts"], WANTED, [])
    assert (decided["set"] if decided else NONE) == change

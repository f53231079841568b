# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a rehearsal finds of the real vLLM, and what only a start would."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._engine import rehearsal
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.deployment import ENTRYPOINT, TMPFS
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis import diagnosis, knowledge

PLENTY = 2**40


@pytest.fixture(scope="module")
def ask(engine_image, models, tmp_path_factory):
    """A function from a model, arguments and environment to what the rehearsal says. This machine has no GPU to hand on, and no word for one."""
    folder = tmp_path_factory.mktemp("rehearsal")
    shim = folder / "bin" / "docker"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/bash\nexec {shutil.which("docker")} "${{@/#--gpus/--label}}"\n')
    shim.chmod(0o755)
    cache = folder / "cache"
    cache.mkdir()

    def asking(model: str, *arguments: str, environment: str = "", image: str = engine_image) -> dict:
        container = {
            "image": image,
            "command": [*ENTRYPOINT, "vllm", "serve", "/models/tiny", "--dtype", "float32", *arguments],
            "env": {"HOME": "/cache", "HF_HUB_OFFLINE": "1", "GB10_KEY": "required", "PYTHONPYCACHEPREFIX": "/cache/python", "VLLM_CACHE_ROOT": "/cache/vllm"},
            "volumes": [f"{models}/{model}:/models/tiny:ro", "/absent:/run/gb10:ro", f"{cache}:/cache:rw", "/absent:/opt/gb10-vllm:ro"],
            "read_only": True, "tmpfs": TMPFS, "ulimits": [], "pids_limit": 8192,
        }  # fmt: skip
        before, os.environ["PATH"] = os.environ["PATH"], f"{shim.parent}:{os.environ['PATH']}"
        try:
            return rehearsal.rehearse({"name": "tiny", "container": container, "environment": environment}, 0, str(folder), 400, lambda: PLENTY)
        finally:
            os.environ["PATH"] = before

    return asking


def explained(seen: dict) -> dict:
    assert seen["verdict"] == "refused", seen
    return diagnosis.diagnose({"box": "\n".join(seen["log"])}, knowledge.load(), {"container", "api_key"})


def test_what_vllm_takes_passes_without_an_engine(ask):
    seen = ask("good", "--max-model-len", "2048", "--middleware", "guard_keys.GuardKeys", "--kv-cache-memory-bytes", "16M")
    assert seen["verdict"] == "passed", seen["log"][-20:]
    assert "EngineCore" not in "\n".join(seen["log"])
    assert subprocess.run(["docker", "ps", "-aq", "--filter", "name=gb10-rehearsal"], capture_output=True, text=True, check=True).stdout == ""


def test_what_its_command_line_and_its_configuration_refuse_is_explained_like_a_failed_start(ask):
    found = explained(ask("good", "--no-such-flag", "x"))
    assert found["found"] and "--no-such-flag" in found["what"]
    found = explained(ask("good", "--max-model-len", "1000000"))
    assert found["found"] and found["values"]["derived"] == "4096" if "derived" in found.get("values", {}) else found["found"]
    assert explained(ask("wrong-type"))["found"]
    assert explained(ask("good", "--enable-auto-tool-choice", "--tool-call-parser", "no_such_parser"))["lines"]


def test_the_environment_is_part_of_what_is_asked(ask):
    assert ask("good", "--max-model-len", "8192")["verdict"] == "refused"
    secret = "sk-rehearsal-secret-77"
    seen = ask("good", "--max-model-len", "8192", environment=f"VLLM_ALLOW_LONG_MAX_MODEL_LEN=1\nMY_KEY={secret}\n")
    assert seen["verdict"] == "passed" and secret not in json.dumps(seen)


def test_what_only_loading_shows_is_not_found(ask):
    assert ask("missing-shard")["verdict"] == "passed"


def test_an_image_without_vllm_stops_nobody(ask, engine_image):
    seen = ask("good", image="gb10-no-such-image")
    assert seen["verdict"] == "unable" and "ended without a verdict" in seen["why"]

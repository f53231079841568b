# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The engine image, torchvision and the kept bytecode are those of engine_sizing; here the engine is only asked, never started."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(HERE))
LIMIT_S = 3600  # on a machine that does much else; alone 500 questions take 10 minutes


def module_at(name: str, path: Path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_sizing = module_at("engine_sizing_conftest", HERE.parent / "engine_sizing" / "conftest.py")
engine_image, torchvision, compiled = _sizing.engine_image, _sizing.torchvision, _sizing.compiled


@pytest.fixture(scope="session")
def ask(engine_image, torchvision, compiled, tmp_path_factory):
    """A function from combinations to (directory of models, the engine's answers by name): all in one container without a network."""
    import models

    make_model = module_at("make_model", ROOT / "tests" / "boxes" / "make_model.py")

    def asking(combinations: list) -> tuple[Path, dict[str, dict]]:
        folder = tmp_path_factory.mktemp("asked")
        tokenizer = tmp_path_factory.mktemp("tokenizer")
        make_model.make_tokenizer(tokenizer)
        for one in combinations:
            models.build(one, folder, tokenizer)
        folder.chmod(0o755)
        work = {one.name: {"model": models.directory_of(one), "arguments": one.words(), "environment": dict(one.env)} for one in combinations}
        name = f"gb10-engine-config-{time.time_ns()}"
        try:
            done = subprocess.run(
                [
                    "docker", "run", "--interactive", "--rm", "--init", "--name", name, "--network", "none", "--cap-drop", "ALL",
                    "--volume", f"{folder}:/models:ro", "--volume", f"{HERE}:/test:ro", "--volume", f"{torchvision}:/torchvision:ro",
                    "--env", "PYTHONPATH=/torchvision", "--user", f"{os.getuid()}:{os.getgid()}", "--env", "USER=gb10", "--env", "HOME=/tmp",
                    "--volume", f"{compiled}:/compiled", "--env", "PYTHONPYCACHEPREFIX=/compiled", engine_image,
                    "python3", "/test/ask_engine.py", "/models",
                ],
                input=json.dumps(work), capture_output=True, text=True, check=False, timeout=LIMIT_S,
            )  # fmt: skip
        finally:
            subprocess.run(["docker", "rm", "--force", name], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"name"')]
        return folder, {answer.pop("name"): answer for answer in answers}

    return asking

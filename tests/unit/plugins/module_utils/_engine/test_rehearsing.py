# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program that runs inside an image, over packages that have vLLM's outer shape: the names it looks for are the same in 0.10.0 to 0.33.0."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._engine import rehearsing

ENGINE = """
class EngineArgs:
    def create_engine_config(self, usage_context=None, headless=False):
        {configure}
        return "a configuration"

class AsyncEngineArgs(EngineArgs):
    pass
"""
REGISTRY = """
def _run_in_subprocess(function):
    raise AssertionError("a second process takes as much memory again")
"""
START = """
import sys
def main():
    assert sys.argv[:2] == ["vllm", "serve"], sys.argv
    print("to stderr first", file=sys.stderr)
    {before}
    from vllm.engine.arg_utils import AsyncEngineArgs
    AsyncEngineArgs().create_engine_config(usage_context="api server")
    print("an engine was begun")
"""


@pytest.fixture
def rehearse(tmp_path):
    """What the program prints over a vLLM that does this before, and in, the making of its configuration."""

    def run(before: str = "pass", configure: str = "pass", gone: str = "", limit: str = "30") -> list[str]:
        files = {"engine/arg_utils.py": ENGINE.format(configure=configure), "entrypoints/cli/main.py": START.format(before=before)}
        files["model_executor/models/registry.py"] = REGISTRY
        for name, text in files.items():
            path = tmp_path / "vllm" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if name != gone:
                path.write_text(text)
        words = [sys.executable, rehearsing.__file__, "vllm", "serve", "/models/tiny", "--dtype", "auto"]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path), rehearsing.LIMIT: limit}
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60, env=environment)
        assert done.stderr == "", "all that is said comes in one order"
        return done.stdout.splitlines()

    return run


def test_it_ends_where_the_configuration_is_made(rehearse):
    assert rehearse() == ["to stderr first", f"{rehearsing.MARK} passed"]


def test_what_the_command_line_refuses(rehearse):
    told = rehearse(before="import argparse; argparse.ArgumentParser().error('unrecognized arguments: --no-such-flag')")
    assert told[-1] == f"{rehearsing.MARK} refused it ended with 2"
    assert "unrecognized arguments: --no-such-flag" in told[-2]


def test_what_the_configuration_refuses(rehearse):
    told = rehearse(configure="raise ValueError('max_model_len (9) is greater\\n than 8')")
    assert told[-1] == f"{rehearsing.MARK} refused ValueError: max_model_len (9) is greater than 8"
    assert "Traceback (most recent call last):" in told


def test_models_are_looked_at_in_this_process(rehearse):
    told = rehearse(configure="import vllm.model_executor.models.registry as registry; print('seen', registry._run_in_subprocess(lambda: 7))")
    assert told[-2:] == ["seen 7", f"{rehearsing.MARK} passed"]


@pytest.mark.parametrize("gone", ["engine/arg_utils.py", "entrypoints/cli/main.py", "model_executor/models/registry.py"])
def test_an_image_that_cannot_be_asked_is_no_refusal(rehearse, gone):
    assert rehearse(gone=gone)[-1].startswith(f"{rehearsing.MARK} unable vLLM of this image cannot be asked (ModuleNotFoundError: ")


@pytest.mark.parametrize("before", ["return", "raise SystemExit(0)", "raise MemoryError", "import no_such_library"])
def test_what_ends_for_another_reason_is_no_refusal(rehearse, before):
    assert rehearse(before=before)[-1].startswith(f"{rehearsing.MARK} unable")


def test_one_that_hangs_is_ended_and_says_where(rehearse):
    told = rehearse(configure="import time; time.sleep(50)", limit="1")
    assert told[1].startswith("Timeout (0:00:01)!") and "in create_engine_config" in "\n".join(told)
    assert not [line for line in told if line.startswith(rehearsing.MARK)]


def test_the_python_that_vllm_is_installed_for_is_the_one_that_is_asked(tmp_path):
    (tmp_path / "python3.99").write_text('#!/bin/sh\necho "$0 $*"\n')
    (tmp_path / "python3.99").chmod(0o755)
    for number, first in enumerate((f"#!{tmp_path}/python3.99", "#!/usr/bin/env python3.99", "#!/usr/bin/env -S python3.99 -E")):
        (tmp_path / "vllm").write_text(f"{first}\nimport vllm\n")
        (tmp_path / "vllm").chmod(0o755)
        environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        done = subprocess.run([sys.executable, rehearsing.__file__, "vllm", "serve"], capture_output=True, text=True, check=True, env=environment)
        assert done.stdout == f"{tmp_path}/python3.99 {rehearsing.__file__} vllm serve\n", number


@pytest.mark.parametrize("first", ["", "#!", "#!/bin/sh", "#!/usr/bin/env", "#!/nowhere/python3", "\x7fELF"])
def test_a_command_that_names_no_python_is_asked_with_the_one_at_hand(tmp_path, first):
    (tmp_path / "vllm").write_text(f"{first}\n")
    assert rehearsing.interpreter(str(tmp_path / "vllm")) == "" == rehearsing.interpreter(str(tmp_path / "absent"))


def test_it_stands_alone():
    assert "ansible" not in Path(rehearsing.__file__).read_text()

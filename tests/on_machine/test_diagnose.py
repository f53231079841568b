# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook people paste logs into, as they type it: files, directories, the result as data, and what cannot be read."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path

from playbook import ROOT, play

FAILED = "(EngineCore_DP0 pid=9) ERROR 11-25 10:11:12 [core.py:1] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n"
PEER = "[rank0]: torch.distributed.DistBackendError: NCCL error: remote process exited or there was a network error\n"


def diagnose(folder: Path, *arguments: str, code: int = 0) -> str:
    done = play("gb10.vllm.diagnose", *(word for argument in arguments for word in ("-e", argument)), cwd=folder)
    assert done.returncode == code, done.stdout
    return done.stdout


def test_a_file_is_explained_and_the_result_is_kept_as_data(tmp_path):
    (tmp_path / "vllm.log").write_text(FAILED)
    said = diagnose(tmp_path, "log=vllm.log", "json=found.json")
    assert "vllm.log: this is what went wrong" in said and "Source: KB-109" in said
    version = re.search(r"^version: (.*)$", (ROOT / "galaxy.yml").read_text(), re.M).group(1)
    assert f"For an issue (look through it first):\n```text\nvLLM of unknown version, gb10.vllm {version}" in said
    (finding,) = json.loads((tmp_path / "found.json").read_text())
    assert (finding["diagnosis"]["verdict"], finding["diagnosis"]["id"], finding["healthy"]) == ("known", "KB-109", False)
    assert stat.S_IMODE((tmp_path / "found.json").stat().st_mode) == 0o600


def test_a_directory_holds_the_logs_of_one_server(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "head.log").write_text(PEER)
    (tmp_path / "logs" / "worker.log").write_text(FAILED)
    assert "Source: KB-109" in diagnose(tmp_path, "log=logs")


def test_what_cannot_be_explained_is_said(tmp_path):
    (tmp_path / "empty.log").write_text("")
    assert "empty.log: there is nothing to explain" in diagnose(tmp_path, "log=empty.log")
    said = diagnose(tmp_path, "log=none.log", code=2)
    assert "none.log on the controller cannot be read: No such file or directory." in " ".join(said.split())
    assert "Traceback" not in said
    said = diagnose(tmp_path, "log=empty.log", "json=/nowhere/found.json", code=2)
    assert "cannot be written to /nowhere/found.json" in " ".join(said.split())

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run ansible-playbook of the interpreter that runs the tests, against this machine or against boxes named by a test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ANSIBLE_PLAYBOOK = os.environ.get("GB10_ANSIBLE_PLAYBOOK", str(Path(sys.executable).parent / "ansible-playbook"))
LOCAL = "ansible_connection: local, ansible_python_interpreter: /usr/bin/python3"


def environment(**more: str) -> dict[str, str]:
    """Environment in which the collection of this checkout is found and nothing is coloured."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    collections = ROOT / ".ansible" / "collections"
    return dict(clean, ANSIBLE_COLLECTIONS_PATH=str(collections), ANSIBLE_NOCOLOR="1", ANSIBLE_DEPRECATION_WARNINGS="0", COLUMNS="160", **more)


def start(playbook: str | Path, *arguments: str, cwd: Path, **env: str) -> subprocess.Popen:
    return subprocess.Popen(
        [ANSIBLE_PLAYBOOK, str(playbook), *arguments],
        cwd=cwd, env=environment(**env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def play(playbook: str | Path, *arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess:
    """Run to its end; stdout holds both streams."""
    process = start(playbook, *arguments, cwd=cwd, **env)
    output, _none = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, output)

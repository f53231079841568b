# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The installed vLLM takes the arguments that the table knows, and what is recorded of its parser is what it says."""

from __future__ import annotations

import gzip
import json
import subprocess
from pathlib import Path

from ansible_collections.gb10.vllm.plugins.module_utils._sizing.arguments import ARGUMENTS, canonical

HERE = Path(__file__).resolve().parent
RECORDED = HERE.parents[1] / "unit" / "plugins" / "module_utils" / "_sizing" / "data" / "vllm-arguments.json.gz"


def test_the_installed_engine_takes_what_the_table_knows(engine_image, compiled):
    command = [
        "docker", "run", "--rm", "--network", "none", "--volume", f"{HERE}:/test:ro", "--env", "HOME=/tmp",
        "--volume", f"{compiled}:/compiled", "--env", "PYTHONPYCACHEPREFIX=/compiled", engine_image, "python3", "/test/list_arguments.py",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout)
    assert [name for name in said["arguments"] if canonical(name) not in ARGUMENTS] == []
    assert said == {"version": said["version"], **json.loads(gzip.decompress(RECORDED.read_bytes()))[said["version"].partition("+")[0]]}

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The dresses in which people keep and paste a log: each function turns the lines of a log into the text of such a file."""

from __future__ import annotations

import json


def _each(prefix: str):
    return lambda lines: "\n".join(prefix + line for line in lines)


def docker_json(lines: list[str]) -> str:
    return "\n".join(json.dumps({"log": f"{line}\n", "stream": "stderr", "time": "2026-11-25T10:11:12.123456789Z"}) for line in lines)


def structured(lines: list[str]) -> str:
    return "\n".join(json.dumps({"timestamp": "2026-11-25T10:11:12Z", "level": "info", "message": line}, ensure_ascii=False) for line in lines)


def journal_json(lines: list[str]) -> str:
    return "\n".join(json.dumps({"_PID": "812", "MESSAGE": line, "_HOSTNAME": "spark-01"}) for line in lines)


def coloured(lines: list[str]) -> str:
    return "\n".join(f"\x1b[0;36m(EngineCore_DP0 pid=812)\x1b[0;0m {line}\x1b[0m" for line in lines)


def quoted_in_an_issue(lines: list[str]) -> str:
    return "\n".join(["> ```text", *(f"> {line}" for line in lines), "> ```"])


def windows(lines: list[str]) -> str:
    return "\ufeff" + "\r\n".join(lines) + "\r\n"


DRESSES = {
    "buildkit": _each("#12 34.567 "),
    "seconds": _each("34.567 "),
    "compose": _each("vllm-1  | "),
    "compose v1": _each("vllm_1     | "),
    "docker desktop": _each("2026-11-25 10:11:12 vllm-1  | "),
    "docker logs -t": _each("2026-11-25T10:11:12.123456789Z "),
    "containerd": _each("2026-11-25T10:11:12.123456789Z stderr F "),
    "kubectl": _each("[pod/vllm-7d9f/vllm] "),
    "journald": _each("Nov 25 10:11:12 spark-01 docker[812]: "),
    "journald precise": _each("Nov 25 10:11:12.123456 spark-01 gb10-vllm-tiny[812]: "),
    "journald, dates cut off": _each("spark-01 qwen-long[9120]: "),
    "journald iso": _each("2026-11-25T10:11:12+0000 spark-01 docker[812]: "),
    "journald full": _each("Wed 2026-11-25 10:11:12 UTC spark-01 docker[812]: "),
    "journald unix": _each("1764064272.123456 spark-01 docker[812]: "),
    "journald monotonic": _each("[ 1234.567890] spark-01 docker[812]: "),
    "ray": _each("(RayWorkerWrapper pid=1890, ip=192.0.2.8) "),
    "ray actor": _each("(pid=812) "),
    "engine core": _each("(EngineCore_DP0 pid=812) "),
    "worker": _each("(Worker_TP1 pid=812) "),
    "rank": _each("[rank1]: "),
    "torchrun": _each("[default0]:"),
    "mpirun": _each("[1,0]<stderr>:"),
    "python logging": _each("2026-11-25 10:11:12,123 - INFO - "),
    "quote": quoted_in_an_issue,
    "docker json": docker_json,
    "structured": structured,
    "journal json": journal_json,
    "colours": coloured,
    "windows": windows,
}
"""name -> what turns a list of lines into a text."""

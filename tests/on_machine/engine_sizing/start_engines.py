# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Starts vLLM's engine once per command line and hands over what it logged and exported. Runs inside the engine image.

    start_engines.py < work.json      {"engines": {name: ["/models/x", "--flag", ...]}, "servers": {name: the same}}

An engine: vLLM is imported once and each start is a fork of this process with a log of its own, one after the other. The command line, the
configuration, engine core, worker, log lines and metrics are vLLM's own; what is left out is the HTTP server and that core and worker
are processes of their own. A server is `vllm serve` itself, its metrics those of GET /metrics.
Prints one JSON object per line: {"name", "log", "metrics", "seconds"}; metrics is empty when it did not start.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
import urllib.request
from collections.abc import Callable

os.environ.update(VLLM_NO_USAGE_STATS="1", DO_NOT_TRACK="1", HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")

COMMON = ["--load-format", "dummy", "--enforce-eager"]
LOG = "/tmp/engine.log"
SERVER_LIMIT_S = 180
PORT = 8000


def engine(arguments: list[str]) -> str:
    """What `vllm serve ARGUMENTS` does up to a ready engine, in a fork; the text /metrics would give, empty when it did not start."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        output = os.open(LOG, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        try:
            parsed = make_arg_parser(FlexibleArgumentParser()).parse_args(["--model", *arguments, *COMMON])
            started = LLMEngine.from_engine_args(AsyncEngineArgs.from_cli_args(parsed), usage_context=UsageContext.OPENAI_API_SERVER)
            with open(writing, "wb") as out:
                out.write(prometheus_client.generate_latest())
            del started
        except BaseException:  # whatever ends the engine belongs into its log; the parent goes on with the next
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    os.close(writing)
    with open(reading) as metrics:
        text = metrics.read()
    os.waitpid(child, 0)
    return text


def server(arguments: list[str]) -> str:
    """`vllm serve ARGUMENTS` until it is healthy; its /metrics, empty when it ended before."""
    address = f"http://127.0.0.1:{PORT}"
    with open(LOG, "wb") as log:
        serving = subprocess.Popen(["vllm", "serve", *arguments, *COMMON, "--port", str(PORT)], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + SERVER_LIMIT_S
        while time.monotonic() < deadline and serving.poll() is None:
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5).close()
            except OSError:
                time.sleep(0.5)
                continue
            with urllib.request.urlopen(f"{address}/metrics", timeout=30) as answer:
                return answer.read().decode()
        return ""
    finally:
        serving.send_signal(signal.SIGTERM)
        serving.wait()


def report(name: str, start: Callable[[list[str]], str], arguments: list[str]) -> None:
    began = time.monotonic()
    metrics = start(arguments)
    with open(LOG, errors="replace") as log:
        print(json.dumps({"name": name, "log": log.read(), "metrics": metrics, "seconds": round(time.monotonic() - began, 1)}), flush=True)


work = json.load(sys.stdin)
for each, words in work["servers"].items():
    report(each, server, words)

os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
import prometheus_client  # noqa: E402  read at import: the setting above has to come first, and the servers want the default
import vllm.v1.worker.cpu_worker  # noqa: E402, F401  what an engine imports when it starts: once, before the forks
from vllm.engine.arg_utils import AsyncEngineArgs  # noqa: E402
from vllm.entrypoints.launchers.cli_args import make_arg_parser  # noqa: E402
from vllm.usage.usage_lib import UsageContext  # noqa: E402
from vllm.utils.argparse_utils import FlexibleArgumentParser  # noqa: E402
from vllm.v1.engine.llm_engine import LLMEngine  # noqa: E402

for each, words in work["engines"].items():
    report(each, engine, words)

#!/usr/bin/env python3
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A server over two boxes on two real GPUs of one host: what was planned for each rank against what the engine logs, and what the death of a rank does.

    tests/gpu/group.py [--table] [--only tensor pipeline] [--seconds 540] [--out DIRECTORY]

Needs two NVIDIA GPUs, nvidia-smi, root, `ip` and `unshare`, and what measure.py needs. Each rank gets a GPU, a host name, and network, IPC and /dev/shm
namespaces of its own; a pair of virtual interfaces is the fabric, NCCL goes over sockets. The arguments are those that the plan makes of
`boxes: [head, other]`, with random weights. One line of JSON for each start in DIRECTORY/group.jsonl, both logs beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import measure
import shapes
from ansible_collections.gb10.vllm.plugins.module_utils._engine.log import parse_facts
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.plan import plan_box
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.groups import servers_of_boxes

SHAPE = "llama-8b"
SHARED_OUT = {"tensor": (2, 1), "pipeline": (1, 2)}
NAMES = ("head", "other")
FABRIC = ("10.77.0.1", "10.77.0.2")
ASKED_AT = "10.78.0.2"
MASTER_PORT = 29517
EXECUTE_TIMEOUT_S = 120
"""VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS of a group's head."""
SHORTEST_RUN_S = 240
RUNNING = 24


def cards() -> int:
    """GPUs of this host."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return len(subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True, timeout=60).stdout.splitlines())
    return 0


def used() -> list[int]:
    """Memory in use of each GPU, in bytes."""
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return [int(line) * 2**20 for line in subprocess.run(query, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()]


def ranks(tensor: int, pipeline: int, path: Path, gpu: dict[str, Any]) -> list[dict[str, Any]]:
    """The plan's entry of each rank."""
    memory = {"total_bytes": gpu["total_bytes"], "available_bytes": gpu["free_bytes"], "cuda_total_bytes": gpu["total_bytes"], "cuda_total_source": "torch"}
    server = {
        "name": "big", "model": "big", "model_path": str(path), "port": measure.PORT, "load_format": "dummy", "boxes": list(NAMES), "max_model_len": 8192,
        "concurrency": 8, "tensor_parallel": tensor, "pipeline_parallel": pipeline, "args": {"host": ASKED_AT},
    }  # fmt: skip
    models = {str(path): shapes.info(shapes.SHAPES[SHAPE].model)}
    one = {"box": {"memory": memory}, "servers": [server], "models": models, "engine": {"vllm_version": gpu["vllm"]}}
    one["options"] = {"os_floor_gib": measure.FLOOR_GIB}
    servers = servers_of_boxes(dict.fromkeys(NAMES, one))
    return [plan_box(one["box"], servers[name], models, one["engine"], one["options"])["servers"][0] for name in NAMES]


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, timeout=60)


@contextlib.contextmanager
def two_boxes() -> Iterator[None]:
    """Two network namespaces with a fabric between them, and a way to ask the head."""
    try:
        for name in NAMES:
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("link", "add", "fabric0", "netns", NAMES[0], "type", "veth", "peer", "name", "fabric0", "netns", NAMES[1])
        _ip("link", "add", "gb10-ask", "type", "veth", "peer", "name", "mgmt0", "netns", NAMES[0])
        _ip("addr", "add", "10.78.0.1/24", "dev", "gb10-ask")
        _ip("link", "set", "gb10-ask", "up")
        for name, address in zip(NAMES, FABRIC, strict=True):
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", "fabric0")
            _ip("-n", name, "link", "set", "fabric0", "up")
        _ip("-n", NAMES[0], "addr", "add", f"{ASKED_AT}/24", "dev", "mgmt0")
        _ip("-n", NAMES[0], "link", "set", "mgmt0", "up")
        yield
    finally:
        for name in NAMES:
            subprocess.run(["ip", "netns", "del", name], check=False, timeout=60)


@contextlib.contextmanager
def rank(number: int, words: list[str], log: Path) -> Iterator[subprocess.Popen]:
    """One rank in its namespaces, as a process group that is ended by its id."""
    name = NAMES[number]
    environment = {
        **os.environ, "CUDA_VISIBLE_DEVICES": str(number), "VLLM_HOST_IP": FABRIC[number], "GLOO_SOCKET_IFNAME": "fabric0", "NCCL_SOCKET_IFNAME": "fabric0",
        "TP_SOCKET_IFNAME": "fabric0", "NCCL_IB_DISABLE": "1", "NCCL_NVLS_ENABLE": "0", "NCCL_HOSTID": name,
        "VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS": str(EXECUTE_TIMEOUT_S),
    }  # fmt: skip
    serve = [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", *words]
    script = f'hostname {name} && mount -t tmpfs -o size=8g tmpfs /dev/shm && exec "$@"'
    command = ["ip", "netns", "exec", name, "unshare", "--ipc", "--mount", "--uts", "sh", "-c", script, "rank", *serve]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment, start_new_session=True)
    try:
        yield process
    finally:
        for number_of_signal, patience in ((signal.SIGTERM, 5), (signal.SIGKILL, 20)):
            for pid in {process.pid, *measure.family(process.pid)}:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number_of_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def ask(path: str, body: dict[str, Any] | None, timeout_s: float) -> tuple[int, str]:
    """(HTTP status, body) of the head; status 0 when nothing answered."""
    return measure.ask(path, body, timeout_s, ASKED_AT)


def ready(processes: list[subprocess.Popen], longest_s: float) -> float:
    """Seconds until the head's /health answers; RuntimeError where a rank ends before, or it takes longer."""
    began = time.monotonic()
    while time.monotonic() - began < longest_s:
        for name, process in zip(NAMES, processes, strict=True):
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended with exit code {process.returncode} after {time.monotonic() - began:.0f} s")
        if ask("/health", None, 5)[0] == 200:
            return time.monotonic() - began
        time.sleep(0.5)
    raise RuntimeError(f"not ready after {longest_s:.0f} s")


def completion(model: str, tokens: int, timeout_s: float) -> tuple[int, str]:
    """One answer of so many tokens."""
    return ask("/v1/completions", {"model": model, "prompt": list(range(5, 133)), "max_tokens": tokens, "ignore_eos": True, "temperature": 0}, timeout_s)


def killed(model: str, processes: list[subprocess.Popen], left_s: float) -> dict[str, Any]:
    """What follows when the other rank's worker is killed while requests run; seconds after the kill, null for what was not seen."""
    answers: list[tuple[int, float]] = []
    began = [0.0]

    def client() -> None:
        status, _text = completion(model, 7000, left_s)
        answers.append((status, time.monotonic() - began[0]))

    clients = [threading.Thread(target=client, daemon=True) for _ in range(RUNNING)]
    for one in clients:
        one.start()
    time.sleep(8)
    family = measure.family(processes[1].pid)
    worker = next((pid for pid, name in family.items() if "Worker" in name), max(family))
    began[0] = time.monotonic()
    os.kill(worker, signal.SIGKILL)
    seen: dict[str, Any] = {"killed": family[worker], "other_ended_s": None, "head_ended_s": None, "head_health_10_s": None, "running": RUNNING}
    while (after := time.monotonic() - began[0]) < left_s and (seen["head_ended_s"] is None or len(answers) < RUNNING):
        for key, process in (("head_ended_s", processes[0]), ("other_ended_s", processes[1])):
            if seen[key] is None and process.poll() is not None:
                seen[key] = round(after, 1)
                seen[key.replace("_s", "_code")] = process.returncode
        if seen["head_health_10_s"] is None and after > 10 and seen["head_ended_s"] is None:
            seen["head_health_10_s"] = ask("/health", None, 5)[0]
        time.sleep(0.2)
    after_kill = [(status, at) for status, at in answers if at > 0]
    seen["answers"] = sorted({status for status, _at in after_kill})
    seen["first_answer_s"] = round(min((at for _status, at in after_kill), default=0), 1) or None
    return seen


def one(name: str, gpu: dict[str, Any], out: Path, left_s: float) -> dict[str, Any]:
    """A start of one way to share out, as its row."""
    row: dict[str, Any] = {"name": name, "shape": SHAPE, "date": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"), **gpu}
    folder = Path(measure._COLLECTIONS)
    logs = [folder / f"{name}-{box}.log" for box in NAMES]
    began = time.monotonic()
    try:
        path = measure.make_model(shapes.SHAPES[SHAPE], folder / "models")
        entries = ranks(*SHARED_OUT[name], path, gpu)
        row["planned"] = [
            {"arguments": entry["arguments"], "weights_bytes": entry["weights_bytes"]["value"], "beside_bytes": entry["beside_bytes"]["value"],
             "kv_cache_bytes": entry["kv_cache_bytes"], "kv_tokens": entry["kv_tokens"]} for entry in entries
        ]  # fmt: skip
        if any(entry["verdict"] != "fits" for entry in entries):
            raise RuntimeError(next(entry["reason"] for entry in entries if entry["verdict"] != "fits"))
        before = used()
        master = ["--master-addr", FABRIC[0], "--master-port", str(MASTER_PORT)]
        with contextlib.ExitStack() as stack:
            stack.enter_context(two_boxes())
            # Workers first, as the collection starts them.
            processes = [stack.enter_context(rank(number, [str(path), *entries[number]["arguments"], *master], logs[number])) for number in (1, 0)][::-1]
            row["start_s"] = round(ready(processes, left_s - 60), 1)
            model = entries[0]["served_model_name"]
            status, text = completion(model, 16, 120)
            if status != 200:
                raise RuntimeError(f"HTTP {status}: {text[:300]}")
            row["answered"] = json.loads(text)["usage"]["completion_tokens"]
            shares = measure.sampling._shares()
            row["host_bytes"] = [sum(shares.get(pid, 0) for pid in measure.family(process.pid)) for process in processes]
            row["device_bytes"] = [now - then for now, then in zip(used(), before, strict=True)][:2]
            left = left_s - (time.monotonic() - began) - 30
            if name == "tensor" and left > 30:
                row["killed"] = killed(model, processes, min(left, EXECUTE_TIMEOUT_S + 40))
    except Exception as error:  # what was seen until then is worth keeping
        row["failed"] = f"{type(error).__name__}: {error}"
    out.joinpath("logs").mkdir(parents=True, exist_ok=True)
    row["facts"] = [parse_facts(log.read_text(errors="replace")) if log.exists() else {} for log in logs]
    for log in filter(Path.exists, logs):
        if row.get("failed"):
            print(f"--- {log.name}", *log.read_text(errors="replace").splitlines()[-25:], sep="\n", flush=True)
        with gzip.GzipFile(out / "logs" / f"group-{log.name}.gz", "wb", mtime=0) as packed:
            packed.write(log.read_bytes())
    with (out / "group.jsonl").open("a") as results:
        results.write(json.dumps(row, sort_keys=True) + "\n")
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """Planned against logged for each rank, in Markdown; sizes in GiB."""
    lines = [
        "| shared out | rank | weights: planned, logged | tokens: planned, logged | beside: planned, seen | of it host |", "|---|---|---|---|---|---|"
    ]  # fmt: skip
    for row in (row for row in rows if "device_bytes" in row):
        for number, (plan, facts) in enumerate(zip(row["planned"], row["facts"], strict=True)):
            weights = facts.get("weights_bytes", 0)
            beside = row["device_bytes"][number] - plan["weights_bytes"] - plan["kv_cache_bytes"] + row["host_bytes"][number]
            gib = [value / 2**30 for value in (plan["weights_bytes"], weights, plan["beside_bytes"], beside, row["host_bytes"][number])]
            tokens = f"{plan['kv_tokens']:,}, {facts['kv_tokens']:,}" if facts.get("kv_tokens") else f"{plan['kv_tokens']:,}, not logged by this rank"
            lines.append(f"| {row['name']} | {number} | {gib[0]:.2f}, {gib[1]:.2f} | {tokens} | {gib[2]:.2f}, {gib[3]:.2f} | {gib[4]:.2f} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--table", action="store_true", help="the results so far")
    parser.add_argument("--only", nargs="+", choices=list(SHARED_OUT), default=list(SHARED_OUT), help="these")
    parser.add_argument("--seconds", type=float, default=540, help="no start that would not end within so many")
    parser.add_argument("--out", type=Path, default=measure.HERE, help="where group.jsonl and logs/ are")
    options = parser.parse_args()
    if options.table:
        print(table([json.loads(line) for line in (options.out / "group.jsonl").read_text().splitlines()]))
        return 0
    lacking = [program for program in ("ip", "unshare") if not shutil.which(program)]
    gpu = measure.card() if cards() > 1 and not lacking else None
    if gpu is None:
        said = f"; {' and '.join(lacking)} cannot be found" if lacking else ""
        print(f"two NVIDIA GPUs, torch, ip and unshare are needed; here are {cards()} GPUs{said}: nothing done")
        return 0
    began = time.monotonic()
    for name in options.only:
        left = options.seconds - (time.monotonic() - began)
        if left < SHORTEST_RUN_S:
            print(f"{name}: not begun, {left:.0f} s are left", flush=True)
            continue
        row = one(name, gpu, options.out, left)
        print(table([row]), json.dumps({key: row.get(key) for key in ("start_s", "answered", "killed", "failed")}), sep="\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a server takes beside weights and KV cache on a real GPU, against what the plan assumes.

    tests/gpu/measure.py [--list] [--table] [--only NAME ...] [--again NAME ...] [--seconds 540] [--out DIRECTORY]

Needs an NVIDIA GPU, nvidia-smi and vLLM for the Python that runs it; without a GPU it says so and is done. No network, no weights, no tokenizer files.
For each shape of shapes.py that has no result yet: the plan for this card -> `vllm serve` with exactly its arguments and random weights -> a first load
(one prefill of a whole batch, then many short requests at once) -> one line of JSON in DIRECTORY/results.jsonl and the engine's log beside it.
No start is begun that would not end within --seconds. --again: the same start once more, planned with the figure that the first one measured.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import gzip
import importlib.metadata
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
os.environ.setdefault("VLLM_USE_FLASHINFER_SAMPLER", "0")
os.environ.setdefault("VLLM_USE_DEEP_GEMM", "0")
os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", VLLM_NO_USAGE_STATS="1", DO_NOT_TRACK="1")

_COLLECTIONS = tempfile.mkdtemp(prefix="gb10-gpu-")
atexit.register(shutil.rmtree, _COLLECTIONS, ignore_errors=True)
Path(_COLLECTIONS, "ansible_collections", "gb10").mkdir(parents=True)
Path(_COLLECTIONS, "ansible_collections", "gb10", "vllm").symlink_to(ROOT, target_is_directory=True)
sys.path[:0] = [_COLLECTIONS, str(ROOT / "tests" / "support"), str(ROOT / "tests" / "boxes"), str(HERE)]

import shapes  # noqa: E402
from ansible_collections.gb10.vllm.plugins.module_utils._engine import footprint, sampling, warm  # noqa: E402
from ansible_collections.gb10.vllm.plugins.module_utils._engine.log import parse_facts  # noqa: E402
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.plan import plan_box  # noqa: E402

GIB = 2**30
FLOOR_GIB = 2
PORT = 8765
LONGEST_START_S = 300
SHORTEST_RUN_S = 165
"""A start of 120 s, its load, and the time the driver takes to give the memory back."""
SHORT_REQUESTS = 64
SPEC = "measured"
"""What ties a record's measurement to its deployment; here there is only one of each."""


def card() -> dict[str, Any] | None:
    """{card, driver, total_bytes, free_bytes} as CUDA sees it, in a process that ends again; None without a GPU."""
    code = "import json, torch; free, total = torch.cuda.mem_get_info(); print(json.dumps([torch.__version__, total, free]))"
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        name, driver = subprocess.run(query, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()[0].split(", ")
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300).stdout
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
    torch, total, free = json.loads(said.splitlines()[-1])
    return {"card": name, "driver": driver, "torch": torch, "vllm": importlib.metadata.version("vllm"), "total_bytes": total, "free_bytes": free}


def make_model(shape: shapes.Shape, folder: Path) -> Path:
    """The model's directory: config.json, a small tokenizer, what else the shape names."""
    import make_model as boxes
    from tokenizers import Tokenizer

    path = folder / shape.model
    path.mkdir(parents=True, exist_ok=True)
    boxes.make_tokenizer(path)
    config = dict(shapes.CONFIGS[shape.model])
    if shape.files:
        tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
        tokenizer.add_special_tokens(list(shapes.IMAGE_WORDS))
        tokenizer.save(str(path / "tokenizer.json"))
        for key, word in zip(("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id"), shapes.IMAGE_WORDS, strict=True):
            config[key] = tokenizer.token_to_id(word)
    # A tokenizer that allows long prompts, and numbers of special tokens that it knows.
    settings = json.loads((path / "tokenizer_config.json").read_text())
    files = {"tokenizer_config.json": {**settings, "model_max_length": 1_000_000}, "config.json": {"bos_token_id": 1, "eos_token_id": 2, **config}}
    for name, content in {**files, **shape.files}.items():
        (path / name).write_text(json.dumps(content))
    return path


def planned(name: str, shape: shapes.Shape, path: Path, gpu: dict[str, Any], records: dict[str, Any] | None = None) -> dict[str, Any]:
    """The plan's entry for this shape on this card."""
    memory = {"total_bytes": gpu["total_bytes"], "available_bytes": gpu["free_bytes"], "cuda_total_bytes": gpu["total_bytes"], "cuda_total_source": "torch"}
    server = {"name": name, "model": name, "model_path": str(path), "port": PORT, "load_format": "dummy", **shape.server}
    server["args"] = {"host": "127.0.0.1", **shape.server.get("args", {})}
    models = {str(path): shapes.info(shape.model)}
    plan = plan_box({"memory": memory}, [server], models, {"vllm_version": gpu["vllm"]}, {"os_floor_gib": FLOOR_GIB}, records)
    return plan["servers"][0]


def family(pid: int) -> dict[int, str]:
    """A process and all that descend from it: name by pid."""
    parents: dict[int, tuple[int, str]] = {}
    for one in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, IndexError, ValueError):
            name, _bracket, rest = Path(f"/proc/{one}/stat").read_text().partition("(")[2].rpartition(")")
            parents[int(one)] = (int(rest.split()[1]), name)
    found = {pid}
    while True:
        more = {one for one, (parent, _name) in parents.items() if parent in found} - found
        if not more:
            return {one: parents[one][1] for one in found if one in parents}
        found |= more


def ask(path: str, body: dict[str, Any] | None, timeout_s: float, host: str = "127.0.0.1") -> tuple[int, str]:
    """(HTTP status, body) of the server; status 0 when nothing answered."""
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(f"http://{host}:{PORT}{path}", data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")[:500]
    except OSError as error:
        return 0, str(error)


@contextlib.contextmanager
def serving(words: list[str], log: Path) -> Iterator[subprocess.Popen]:
    """`vllm serve` as a process group of its own, ended by its id, whatever happens."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", PORT)) == 0:
            raise RuntimeError(f"port {PORT} is in use: another start is running")
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", *words], stdout=output, stderr=output, start_new_session=True)
    try:
        yield process
    finally:
        for number, patience in ((signal.SIGTERM, 20), (signal.SIGKILL, 20)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)
        _wait_for_memory()


def _wait_for_memory() -> None:
    """The driver gives memory back a while after the process has gone."""
    seen = None
    for _ in range(20):
        now = sampling.moment()["device_bytes"]
        if now == seen:
            return
        seen = now
        time.sleep(1)


def wait_ready(process: subprocess.Popen, longest_s: float) -> float:
    """Seconds until /health answers; RuntimeError where it ends before or takes longer."""
    began = time.monotonic()
    while time.monotonic() - began < longest_s:
        if process.poll() is not None:
            raise RuntimeError(f"ended with exit code {process.returncode} after {time.monotonic() - began:.0f} s")
        if ask("/health", None, 5)[0] == 200:
            return time.monotonic() - began
        time.sleep(0.5)
    raise RuntimeError(f"not ready after {longest_s:.0f} s")


def measure(name: str, entry: dict[str, Any], path: Path, log: Path, longest_s: float) -> dict[str, Any]:
    """Start it, load it, and say what it took."""
    kv = entry["kv_cache_bytes"]
    before = sampling.before()
    with serving([str(path), *entry["arguments"]], log) as process:
        start_s = wait_ready(process, longest_s)
        ready = sampling.moment(family(process.pid))
        tokens = int(entry["arguments"][entry["arguments"].index("--max-num-batched-tokens") + 1])
        load = warm.Load(tokens, entry["max_model_len"], SHORT_REQUESTS, shapes.SHAPES[name].images)
        with sampling.Lowest(device=True) as lowest:
            loaded = warm.run(ask, "chat", entry["served_model_name"], load, 120)
            time.sleep(1)
        if "problem" in loaded:
            raise RuntimeError(f"the first load was not answered: {loaded['problem']}")
        pids = family(process.pid)
        end = {**sampling.moment(pids), "lowest_bytes": lowest.lowest_bytes, "most_device_bytes": lowest.most_device_bytes}
        host = [[pids[pid], share] for pid, share in sorted(sampling._shares().items()) if pid in pids]
        status = _statuses(pids)
    facts = parse_facts(log.read_text(errors="replace"))
    weights = facts.get("weights_bytes") or entry["weights_bytes"]["value"]
    took = footprint.beside(before, ready, end, weights, kv)
    return {
        "kv_bytes": kv, "weights_bytes": weights, "weights_planned_bytes": entry["weights_bytes"]["value"], **took,
        "device": {"before": before["device_bytes"], "ready": ready["device_bytes"], "most": end["most_device_bytes"], "end": end["device_bytes"]},
        "host": host, "host_status": status, "host_available": [before["available_bytes"], ready["available_bytes"], end["lowest_bytes"]],
        "facts": facts, "load": dict(loaded), "start_s": round(start_s, 1),
    }  # fmt: skip


def _statuses(pids: dict[int, str]) -> list[list[Any]]:
    """Resident anonymous, file and shared memory of each process in KiB, as /proc/PID/status says."""
    found = []
    for pid, name in sorted(pids.items()):
        with contextlib.suppress(OSError, KeyError):
            fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Rss"))
            found.append([name, *(int(fields[key].split()[0]) for key in ("RssAnon", "RssFile", "RssShmem"))])
    return found


def learned(name: str, row: dict[str, Any], path: Path) -> dict[str, Any]:
    """The records of a box on which the start of a result has been measured."""
    container = {"image": "", "command": ["vllm", "serve", str(path), *row["arguments"]]}
    deployment = {"spec": SPEC, "model_path": str(path), "vllm_version": row["vllm"], "container": container}
    facts = {**row["facts"], **{key: row[key] for key in ("beside_bytes", "beside_uncertainty_bytes", "host_bytes")}}
    return {name: {"deployment": deployment, "measured": {"spec": SPEC, "facts": facts}}}


def one(name: str, gpu: dict[str, Any], out: Path, first: dict[str, Any] | None, longest_s: float) -> dict[str, Any]:
    """A whole run of one shape, as its row; ``first``: the row whose figure is to be used."""
    shape = shapes.SHAPES[name]
    row: dict[str, Any] = {"name": name, "date": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"), **gpu}
    log = Path(_COLLECTIONS, "engine.log")
    try:
        path = make_model(shape, Path(_COLLECTIONS, "models"))
        entry = planned(name, shape, path, gpu, learned(name, first, path) if first else None)
        row["arguments"], row["verdict"] = entry["arguments"], entry["verdict"]
        row["planned_beside"] = entry["beside_bytes"]
        if first:
            row["again"] = True
        if entry["verdict"] != "fits":
            raise RuntimeError(entry["reason"])
        row.update(measure(name, entry, path, log, longest_s))
    except Exception as error:  # one shape that cannot be started must not keep the others from it
        row["failed"] = f"{type(error).__name__}: {error}"
        if log.exists():
            row["last_lines"] = log.read_text(errors="replace").splitlines()[-15:]
    if log.exists():
        logs = out / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        with gzip.GzipFile(logs / f"{name}{'-again' if first else ''}.log.gz", "wb", mtime=0) as packed:
            packed.write(log.read_bytes())
        log.unlink()
    with (out / "results.jsonl").open("a") as results:
        results.write(json.dumps(row, sort_keys=True) + "\n")
    return row


def results(*folders: Path) -> list[dict[str, Any]]:
    """The rows of all runs so far."""
    files = [folder / "results.jsonl" for folder in dict.fromkeys(folders)]
    return [json.loads(line) for file in files if file.exists() for line in file.read_text().splitlines() if line.strip()]


def table(rows: list[dict[str, Any]]) -> str:
    """Planned against measured, one line per run, in GiB."""
    lines = [f"{'':26}{'planned':>9}{'measured':>10}{'too much':>10}{'device':>9}{'graphs':>8}{'host':>7}  card, vLLM, date"]
    for row in rows:
        label = row["name"] + (" again" if row.get("again") else "")
        where = f"{row['card']}, {row['vllm']}, {row['date'][:10]}"
        if "beside_bytes" not in row:
            lines.append(f"{label:26}{row.get('failed') or row.get('problem')}  {where}")
            continue
        plan, real, host, graph = row["planned_beside"]["value"], row["beside_bytes"], row["host_bytes"], row["facts"].get("graph_bytes", 0)
        figures = (f"{value / GIB:{width}.2f}" for value, width in ((plan, 9), (real, 10), (plan - real, 10), (real - host, 9), (graph, 8), (host, 7)))
        lines.append(f"{label:26}{''.join(figures)}  {where}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--list", action="store_true", help="names of the shapes")
    parser.add_argument("--table", action="store_true", help="the results so far")
    parser.add_argument("--only", nargs="+", choices=list(shapes.SHAPES), default=[], help="these, also where there is a result")
    parser.add_argument("--again", nargs="+", choices=list(shapes.SHAPES), default=[], help="these a second time, with what the first one measured")
    parser.add_argument("--seconds", type=float, default=540, help="no start that would not end within so many")
    parser.add_argument("--out", type=Path, default=HERE, help="where results.jsonl and logs/ are")
    options = parser.parse_args()
    rows = results(HERE, options.out)
    if options.list or options.table:
        print("\n".join(shapes.SHAPES) if options.list else table(rows))
        return 0
    gpu = card()
    if gpu is None:
        print("no NVIDIA GPU that torch can use (or no nvidia-smi) here: nothing is measured")
        return 0
    good = {row["name"]: row for row in rows if "beside_bytes" in row and not row.get("again")}
    todo = options.only or ([] if options.again else [name for name in shapes.SHAPES if name not in good])
    options.out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    for name, second in [*((name, False) for name in todo), *((name, True) for name in options.again)]:
        left = options.seconds - (time.monotonic() - began)
        if left < SHORTEST_RUN_S:
            print(f"{name}: not begun, {left:.0f} s are left", flush=True)
            continue
        if second and name not in good:
            print(f"{name}: not started again, its first start has no result", flush=True)
            continue
        row = one(name, gpu, options.out, good[name] if second else None, min(LONGEST_START_S, left - 30))
        if "beside_bytes" in row and not second:
            good[name] = row
        print(table([row]), flush=True)
        if row.get("failed"):
            print("\n".join(row.get("last_lines", [])), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The bandwidth of an all-gather between boxes with the NCCL of the served image, as nccl-tests' all_gather_perf tells it.

A GB10 shares its memory with the system, and the test of 16 GB that NVIDIA's guide names has frozen boxes: ours takes less than 1 GB of buffers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._box.facts import parse_meminfo, read_text
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.command import docker, docker_text, run
from ansible_collections.gb10.vllm.plugins.module_utils._names import GIB, SERVER_LABEL

MOST_BYTES = 10**9
"""Of the buffers of one rank: what it sends and what it gets from all."""
STEP = 1 << 20
LEAST_FREE_BYTES = 12 * GIB
"""A CUDA context, NCCL's own buffers and torch take some, and as much has to be left."""
NAME = "gb10-fabric-all-gather"
LONGEST_S = 240

# busbw = n * bytes / time * (n - 1) / n (nccl-tests doc/PERFORMANCE.md).
PROGRAM = """
import datetime, json, os, time
import torch, torch.distributed as d
size = int(os.environ["GB10_BYTES"])
d.init_process_group("nccl", timeout=datetime.timedelta(seconds=90))
n = d.get_world_size()
x = torch.empty(size, dtype=torch.uint8, device="cuda")
o = torch.empty(n * size, dtype=torch.uint8, device="cuda")
for i in range(25):
    if i == 5:
        torch.cuda.synchronize()
        began = time.perf_counter()
    d.all_gather_into_tensor(o, x)
torch.cuda.synchronize()
took = (time.perf_counter() - began) / 20
print(json.dumps({"bus_gigabytes_per_s": n * size / took * (n - 1) / n / 1e9}), flush=True)
d.destroy_process_group()
"""


def share_bytes(ranks: int) -> int:
    """Bytes that each rank sends, so that all its buffers stay below ``MOST_BYTES``; whole MiB, 256 MiB at most."""
    return min(256 << 20, MOST_BYTES // (ranks + 1) // STEP * STEP)


def arguments(image: str, environment: Mapping[str, str], rank: int, ranks: int) -> list[str]:
    """``docker run`` of one rank: the host's network and RDMA devices, locked memory, no privilege beyond."""
    own = {"RANK": rank, "WORLD_SIZE": ranks, "LOCAL_RANK": 0, "GB10_BYTES": share_bytes(ranks)}
    given = [word for name, value in {**environment, **own}.items() for word in ("--env", f"{name}={value}")]
    return [
        *("run", "--rm", "--name", NAME, "--network", "host", "--gpus", "all", "--device", "/dev/infiniband", "--shm-size", "1g"),
        *("--cap-drop", "ALL", "--cap-add", "IPC_LOCK", "--security-opt", "no-new-privileges", "--ulimit", "memlock=-1", "--ulimit", "nofile=65536"),
        *("--oom-score-adj", "1000", "--entrypoint", "python3", *given, image, "-c", PROGRAM),
    ]


def parse(text: str) -> float | None:
    """GB/s that a rank printed, None where it printed none."""
    for line in text.splitlines():
        if line.startswith('{"bus_gigabytes_per_s"'):
            return float(json.loads(line)["bus_gigabytes_per_s"])
    return None


def refusal(image: str) -> str:
    """Why it may not run on this box now; "" where it may."""
    running = docker_text("ps", "--filter", f"label={SERVER_LABEL}", "--format", "{{.Names}}").split()
    if running:
        return f"{', '.join(running)} runs; stop the servers of all boxes first (gb10.vllm.stop)"
    if not docker_text("image", "inspect", "--format", "{{.Id}}", image, missing_ok=True, check=False):
        return f"there is no image {image}; run gb10.vllm.supply first"
    free = parse_meminfo(read_text("/proc/meminfo")).get("MemAvailable", 0)
    return f"{free / GIB:.1f} GiB of memory are available and {LEAST_FREE_BYTES / GIB:.0f} are needed" if free < LEAST_FREE_BYTES else ""


def measure(image: str, environment: Mapping[str, str], rank: int, ranks: int) -> dict[str, Any]:
    """{gigabytes_per_s, said} of this rank; the others have to be started at the same time. The container is gone afterwards, however it ended."""
    run(["docker", "rm", "-f", NAME])
    try:
        done = docker(*arguments(image, environment, rank, ranks), timeout_s=LONGEST_S, check=False)
    except GB10Error as error:
        return {"gigabytes_per_s": None, "said": str(error)}
    finally:
        run(["docker", "rm", "-f", NAME])
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return {"gigabytes_per_s": parse(done.stdout), "said": lines[-1][-300:] if lines else ""}

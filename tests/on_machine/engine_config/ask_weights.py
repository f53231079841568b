# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asks vLLM's own model classes what one rank of several loads: the rows of tests/unit/plugins/module_utils/_sizing/data/weights-ranks.json.

    ask_weights.py KV-GOLDEN.json.gz MODELS | grep '^{"model"' > rows      MODELS: an empty directory

Needs vLLM 0.33 and its requirements, no GPU: the class is made on torch's meta device under the configuration of that rank, with process groups that
only know their size and the rank in them, and compiled operators that do nothing.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
import traceback

import ask_engine
import ask_groups
import torch
import vllm.distributed.parallel_state as parallel
from vllm.config import set_current_vllm_config
from vllm.model_executor.model_loader.utils import initialize_model
from vllm.utils.torch_utils import set_default_torch_dtype

CASES = (
    ("Llama-3.1-8B", 1, 3), ("Qwen3-0.6B", 1, 4), ("Llama-3.1-70B", 4, 2), ("DeepSeek-V2-Lite", 1, 2), ("Qwen3-30B-A3B", 2, 2), ("GLM-4.5-Air", 2, 2),
    ("Qwen3-0.6B", 16, 1), ("Devstral-Small-2-24B-Instruct-2512", 2, 2),
)  # fmt: skip
OPERATORS = {"silu_and_mul", "gelu_and_mul", "gelu_tanh_and_mul", "mul_and_silu", "rms_norm", "fused_add_rms_norm", "rotary_embedding"}
_known = ask_engine.Operators.__getattr__
ask_engine.Operators.__getattr__ = lambda self, name: (lambda *_a, **_k: True) if name in OPERATORS else _known(self, name)


class Group:
    """A process group as far as the building of a model asks for it."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank_in_group, self.world_size, self.is_first_rank, self.is_last_rank = rank, size, rank == 0, rank == size - 1
        self.rank, self.local_rank, self.ranks, self.first_rank, self.last_rank = rank, 0, list(range(size)), 0, size - 1
        self.device_group = self.cpu_group = type("ProcessGroup", (), {"size": lambda _self: size, "rank": lambda _self: rank})()
        self.unique_name, self.device_communicator, self.use_device_communicator = "group", None, False


def rank_of(row: dict, where: str, tp: int, pp: int, rank: int) -> dict:
    words = [where, "--skip-tokenizer-init", "--tensor-parallel-size", str(tp), "--pipeline-parallel-size", str(pp), "--nnodes", str(tp * pp)]
    config = ask_engine.configuration([*words, "--node-rank", str(rank), "--master-addr", "127.0.0.1", "--enforce-eager"])
    groups = {"_TP": (rank % tp, tp), "_PP": (rank // tp, pp), "_WORLD": (rank, tp * pp), "_EP": (rank % tp, tp)}
    for name in ("_TP", "_PP", "_WORLD", "_EP", "_DP", "_PCP", "_DCP", "_ETP", "_EPLB"):
        setattr(parallel, name, Group(*groups.get(name, (0, 1))))
    with set_current_vllm_config(config), set_default_torch_dtype(config.model_config.dtype), torch.device("meta"):
        made = initialize_model(vllm_config=config)
    held = {kind: sum({id(one): one.numel() * one.element_size() for one in getattr(made, kind)()}.values()) for kind in ("parameters", "buffers")}
    said = {"model": row["model"], "tensor_parallel_size": tp, "pipeline_parallel_size": pp, "rank": rank}
    return said | {"param_bytes_at_load": held["parameters"], "buffer_bytes": held["buffers"]}


def main() -> None:
    with gzip.open(sys.argv[1]) as file:
        rows = json.load(file)["rows"]
    for model, tp, pp in CASES:
        row = next(one for one in rows if (one["model"], one["kv_cache_dtype"], one["tensor_parallel_size"]) == (model, "auto", 1))
        where = ask_groups.directory(row, sys.argv[2])
        for rank in sorted({0, tp * (pp // 2), tp * pp - 1}):
            sys.stdout.flush()
            child = os.fork()
            if child == 0:
                try:
                    print(json.dumps(rank_of(row, where, tp, pp, rank)), flush=True)
                except Exception:
                    traceback.print_exc()
                os._exit(0)
            os.waitpid(child, 0)


main()

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A server over several GPUs, rank by rank: what vLLM 0.33's own functions answered with one spec per rank, and two real starts over two boxes.

data/kv-groups.json.gz was made by tests/on_machine/engine_config/ask_groups.py.
"""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import checkpoints
import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import weights
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.engine import Engine
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layout import kv_layout
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.parallel import Stage, pipeline_stages
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.ranks import group_capacity, stage_layouts
from test_weights import tensors_of

DATA = Path(__file__).parent / "data"
TABLE = json.loads(gzip.decompress((DATA / "kv-groups.json.gz").read_bytes()))
ROWS = {
    (row["model"], row["kv_cache_dtype"], row["tensor_parallel_size"]): row
    for row in reversed(json.loads(gzip.decompress((DATA / "kv-golden.json.gz").read_bytes()))["rows"])
    if str(row["cuda_runtime"]) == "13.0"
}


def _name(entry: dict) -> str:
    return f"{entry['model']}-{entry['kv_cache_dtype']}-tp{entry['tensor_parallel_size']}-pp{entry['pipeline_parallel_size']}"


def layout_of(entry: dict, config: dict):
    engine = Engine(
        vllm_version=TABLE["vllm"],
        kv_cache_dtype=entry["kv_cache_dtype"],
        tensor_parallel_size=entry["tensor_parallel_size"],
        pipeline_parallel_size=entry["pipeline_parallel_size"],
        cuda_runtime="13.0",
    )
    return kv_layout(config, engine)


@pytest.mark.parametrize("entry", TABLE["entries"], ids=_name)
def test_every_rank_as_vllm_reckons_it(entry):
    config = ROWS[entry["model"], entry["kv_cache_dtype"], entry["row_tensor_parallel_size"]]["config"]
    layout = layout_of(entry, config)
    stages = pipeline_stages(layout.facts.num_layers, entry["pipeline_parallel_size"])
    assert [[stage.start, stage.stop] for stage in stages] == entry["stages"]
    of_ranks = [one.bytes_per_block for one in stage_layouts(layout) for _rank in range(entry["tensor_parallel_size"])]
    for point in entry["points"]:
        assert of_ranks == point["bytes_per_block"]
        assert layout.in_flight_tokens(point["max_model_len"]) == point["max_in_flight_tokens"]
        found = group_capacity(layout, point["available_bytes"], point["max_model_len"])
        assert found.ok == point["ok"]
        if not found.ok:
            assert found.error == point["error"]
            continue
        assert (found.num_blocks, found.tokens, found.concurrency) == (point["num_blocks"], point["tokens"], point["concurrency"])
        if len(set(point["available_bytes"])) == 1:
            # Bytes that are pinned and equal: the layout of the whole group answers alike.
            assert point["available_bytes"][0] // layout.bytes_per_block == point["num_blocks"]


def test_there_are_enough_points():
    assert sum(len(entry["points"]) for entry in TABLE["entries"]) >= 900
    assert len({entry["model"] for entry in TABLE["entries"]}) >= 18


def test_a_partition_of_the_users():
    assert [len(stage) for stage in pipeline_stages(40, 2, [22, 18])] == [22, 18]
    for wrong in ([22, 19], [40]):
        with pytest.raises(GB10Error, match="give 2 numbers that add up to the model's 40 layers"):
            pipeline_stages(40, 2, wrong)


def test_one_amount_of_memory_for_each_rank():
    layout = layout_of(TABLE["entries"][0], ROWS["Llama-3.1-8B", "auto", 1]["config"])
    with pytest.raises(GB10Error, match="3 amounts of memory are given for 2 ranks"):
        group_capacity(layout, [1, 2, 3], 8192)


# --- real starts over two boxes -----------------------------------------------------------------------------------------

LOGS = Path(__file__).parents[2] / "plugin_utils/_diagnosis/cases/gpu"
LLAMA = ROWS["Llama-3.1-8B", "auto", 1]["config"]


def _logged(name: str, pattern: str) -> str:
    return re.search(pattern, (LOGS / name).read_text(encoding="utf-8"))[1]


@pytest.mark.parametrize("name", ["two-boxes", "two-boxes-link-cut"])
def test_two_h100_with_a_network_between_them(name):
    head, worker = f"{name}-head.log", f"{name}-worker.log"
    layout = kv_layout(LLAMA, Engine(vllm_version=_logged(head, r"Initializing a V1 LLM engine \(v([\d.]+)\)"), tensor_parallel_size=2))
    tokens = int(_logged(head, r"GPU KV cache size: ([\d,]+) tokens").replace(",", ""))
    said = _logged(head, r"Maximum concurrency for 8,192 tokens per request: ([\d.]+)x")
    if name == "two-boxes":  # measured by vLLM on each rank, printed to two decimals
        ranks = [float(_logged(one, r"Available KV cache memory: ([\d.]+) GiB")) for one in (head, worker)]
        least, most = (int((min(ranks) + half) * 2**30) for half in (-0.005, 0.005))
        assert group_capacity(layout, [least] * 2, 8192).tokens <= tokens <= group_capacity(layout, [most] * 2, 8192).tokens
        given = tokens // 16 * layout.bytes_per_block
    else:
        given = int(_logged(head, r"'kv_cache_memory_bytes': (\d+)"))
    found = group_capacity(layout, [given, given], 8192)
    assert (found.tokens, f"{found.concurrency:.2f}") == (tokens, said)


def test_the_weights_of_each_rank_as_both_boxes_logged_them():
    summary = weights.summarise(checkpoints.dense(LLAMA), LLAMA)
    loaded = weights.loaded_weights(summary, LLAMA, tensor_parallel_size=2, stage=Stage(0, 32, 32)).total_bytes
    for name in ("two-boxes-head.log", "two-boxes-worker.log", "two-boxes-link-cut-head.log", "two-boxes-link-cut-worker.log"):
        assert abs(loaded / 2**30 - float(_logged(name, r"Model loading took ([\d.]+) GiB"))) <= 0.03


# --- weights of a stage --------------------------------------------------------------------------------------------------


def stages_of(config: dict, tensors: list, stages: int, **more) -> list[int]:
    summary, layers = weights.summarise(tensors, config), config["num_hidden_layers"]
    return [weights.loaded_weights(summary, config, stage=Stage(one.start, one.stop, layers), **more).total_bytes for one in pipeline_stages(layers, stages)]


def test_stages_share_out_the_layers_with_the_embedding_first_and_the_head_last():
    tensors = list(checkpoints.dense(LLAMA))
    of_layer = sum(one.nbytes for one in tensors if ".layers.0." in one.name)
    table = LLAMA["vocab_size"] * LLAMA["hidden_size"] * 2
    rope, norm = weights.rope_bytes(LLAMA), 2 * LLAMA["hidden_size"]
    first, middle, last = stages_of(LLAMA, tensors, 3)
    for found, expected in ((first, 11 * of_layer + table), (middle, 11 * of_layer), (last, 10 * of_layer + table)):
        assert abs(found - expected - rope - norm) <= 16


def test_tied_embeddings_lie_on_the_first_and_the_last_stage():
    config = ROWS["Qwen3-0.6B", "auto", 1]["config"]
    assert config["tie_word_embeddings"]
    tensors, table = list(checkpoints.dense(config, qk_norm=True)), config["vocab_size"] * config["hidden_size"] * 2
    first, middle, last = stages_of(config, tensors, 4)[0], stages_of(config, tensors, 4)[1], stages_of(config, tensors, 4)[3]
    assert (first - middle, last - middle) == (pytest.approx(table, abs=16), pytest.approx(table, abs=16))


def test_layers_that_differ_weigh_what_they_weigh():
    config = {"num_hidden_layers": 4, "hidden_size": 8, "vocab_size": 64, "tie_word_embeddings": False, "max_position_embeddings": None}
    tensors = [
        checkpoints.tensor(f"model.layers.{n}.mlp.{'up_proj' if n < 1 else 'experts.0.up_proj'}.weight", "BF16", 8, 8 if n < 1 else 800) for n in range(4)
    ]
    assert stages_of(config, tensors, 2) == [128 + 12800, 2 * 12800]


def test_what_looks_at_images_lies_on_every_stage_and_is_copied_where_the_user_says_so():
    config = {"num_hidden_layers": 2, "hidden_size": 8, "vocab_size": 64, "tie_word_embeddings": False, "max_position_embeddings": None}
    tower = checkpoints.tensor("vision_tower.layers.0.mlp.fc1.weight", "BF16", 64, 64)
    tensors = [tower, *(checkpoints.tensor(f"model.layers.{n}.mlp.up_proj.weight", "BF16", 8, 8) for n in range(2))]
    assert stages_of(config, tensors, 2) == [tower.nbytes + 128] * 2
    assert stages_of(config, tensors, 1, tensor_parallel_size=2) == [tower.nbytes // 2 + 128]
    assert stages_of(config, tensors, 1, tensor_parallel_size=2, tower="data") == [tower.nbytes + 128]


def test_facts_of_an_earlier_release_are_shared_out_evenly():
    summary = weights.summarise(list(checkpoints.dense(LLAMA)), LLAMA)
    for one in summary["classes"]:
        one.pop("layers", None)
    found = [weights.loaded_weights(summary, LLAMA, stage=Stage(n * 16, n * 16 + 16, 32)).total_bytes for n in range(2)]
    assert found == pytest.approx(stages_of(LLAMA, list(checkpoints.dense(LLAMA)), 2), rel=1e-3)


RANKS = json.loads((DATA / "weights-ranks.json").read_text())  # made by tests/on_machine/engine_config/ask_weights.py


@pytest.mark.parametrize("row", RANKS, ids=lambda row: f"{row['model']}-tp{row['tensor_parallel_size']}-pp{row['pipeline_parallel_size']}-{row['rank']}")
def test_the_weights_of_a_rank_are_those_of_vllms_own_classes(row):
    model, tensor = row["model"], row["tensor_parallel_size"]
    config = checkpoints.golden_weights()[model, 1]["config"]
    summary = weights.summarise(tensors_of(model, config), config)
    layers = config.get("text_config", config)["num_hidden_layers"]
    stage = pipeline_stages(layers, row["pipeline_parallel_size"])[row["rank"] // tensor]
    found = weights.loaded_weights(summary, config, tensor_parallel_size=tensor, stage=Stage(stage.start, stage.stop, layers)).total_bytes
    expected = row["param_bytes_at_load"] + row["buffer_bytes"]
    assert abs(found - expected) <= expected * 5e-4

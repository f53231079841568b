# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mutated inputs: each gives a result or one sentence, never a traceback. More than 10,000 in `make deep-judge`, a quarter of them in `make test`."""

from __future__ import annotations

import copy
import json
import math

import checkpoints
import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._model import directory as model_dir
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import weights
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.plan import calculate, plan_box
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.plan_picture import plan_picture
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.plan_table import plan_table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sample import share

GIB = 2**30
GOLDEN = checkpoints.golden_weights()
MODELS = ("Qwen3-0.6B", "gpt-oss-20b", "DeepSeek-V2-Lite", "Qwen3-Next-80B-A3B", "gemma-3-27b-it", "Llama-4-Scout-17B-16E", "whisper-tiny", "Jamba-v0.1")
BASE = list(checkpoints.dense(GOLDEN["Qwen3-0.6B", 1]["config"]))[:12]
MEMORY = {"total_bytes": 128 * GIB, "available_bytes": 110 * GIB, "cuda_total_bytes": 120 * GIB, "cuda_total_source": "t"}
BOX = {"memory": MEMORY, "holders": [{"pid": 1, "name": "x", "bytes": 5}], "docker": {"containers": []}, "servers": {}}
COUNTS: dict[str, int] = {}
LEAST = share(4, 10_000)

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=6), st.sampled_from([0, 1, -1, 2**31, 1e308, "auto", "", "64K"])
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3), st.dictionaries(st.text(max_size=4), SCALARS, max_size=2))
FUZZ = settings(deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True)


@pytest.fixture(scope="module", autouse=True)
def enough(request):
    """After the last of them, whatever their order: each kind ran, and all together often enough. A selection of tests runs fewer."""
    yield
    print("\nfuzz: " + ", ".join(f"{n:,} {kind}" for kind, n in COUNTS.items()))
    ran = {item.originalname for item in request.session.items if item.path == request.path}
    if {name for name in vars(request.module) if name.startswith("test_")} <= ran:
        assert set(COUNTS) == {"config", "header", "file", "plan"} and sum(COUNTS.values()) >= LEAST


def counted(kind):
    COUNTS[kind] = COUNTS.get(kind, 0) + 1


def one_sentence(error):
    text = str(error)
    assert text and "\n" not in text and len(text) < 2000, text


def places(value, path=()):
    """Every place in a JSON value where something can be put instead."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def put(value, path, new, delete=False):
    value = copy.deepcopy(value)
    if not path:
        return new
    at = value
    for key in path[:-1]:
        at = at[key]
    if delete and isinstance(at, dict):
        del at[path[-1]]
    else:
        at[path[-1]] = new
    return value


@st.composite
def mutated(draw, value, times=3):
    for _ in range(draw(st.integers(1, times))):
        path = draw(st.sampled_from(list(places(value))[1:] or [()]))
        value = put(value, path, draw(VALUES), draw(st.integers(0, 3)) == 0)
        if not isinstance(value, dict):
            break
    return value


@settings(FUZZ, max_examples=share(4, 2500))
@given(st.data())
def test_configs(data):
    counted("config")
    name = data.draw(st.sampled_from(MODELS))
    config = data.draw(mutated(GOLDEN[name, 1]["config"]))
    try:
        if not isinstance(config, dict):
            return
        summary = weights.summarise(BASE, config)
        loaded = weights.loaded_weights(summary, config, tensor_parallel_size=2)
        assert loaded.total_bytes >= 0
        answer = calculate({"config": config, "weights": summary}, {}, available_bytes=20 * GIB)
        assert answer["needed_bytes"] >= 0
    except GB10Error as error:
        one_sentence(error)


@settings(FUZZ, max_examples=share(4, 2500))
@given(st.data())
def test_header_values(data):
    counted("header")
    entries = {t.name: {"dtype": t.dtype, "shape": list(t.shape), "data_offsets": [i * 4, i * 4 + 4]} for i, t in enumerate(BASE[:3])}
    blob = json.dumps(data.draw(mutated(entries))).encode()
    try:
        shard = weights.parse_header(blob, data.draw(st.integers(0, 2**40)), "/m/x.safetensors")
        assert all(t.nbytes >= 0 for t in shard.tensors)
    except GB10Error as error:
        one_sentence(error)


@settings(FUZZ, max_examples=share(4, 2000))
@given(data=st.data())
def test_file_bytes(tmp_path_factory, data):
    """Whole shards and indexes with bytes flipped, cut and inserted, read from disk."""
    counted("file")
    root = tmp_path_factory.getbasetemp() / "fuzz"
    if not root.exists():
        tensors = [checkpoints.tensor(f"model.layers.{n}.mlp.up_proj.weight", "BF16", 2, 2) for n in range(6)]
        checkpoints.write_model(root, GOLDEN["Qwen3-0.6B", 1]["config"], tensors, 2)
    name = data.draw(st.sampled_from(["model-00001-of-00002.safetensors", "model.safetensors.index.json", "config.json", "tokenizer_config.json"]))
    original = (root / name).read_bytes()
    blob = bytearray(original)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(blob) - 1)))
        kind = data.draw(st.integers(0, 2))
        if kind == 0 and blob:
            blob[at] = data.draw(st.integers(0, 255))
        elif kind == 1:
            del blob[at : at + data.draw(st.integers(1, 50))]
        else:
            blob[at:at] = data.draw(st.binary(max_size=9))
    (root / name).write_bytes(bytes(blob))
    try:
        info = model_dir.inspect_model(str(root))
        assert info["weights"]["bytes"] >= 0
    except GB10Error as error:
        one_sentence(error)
    finally:
        (root / name).write_bytes(original)


SERVER = {
    "name": "a", "model": "m", "model_path": "/m", "port": 8000, "max_model_len": 8192, "concurrency": 2, "gpu_memory_utilization": "auto",
    "kv_cache_dtype": "auto", "cuda_graphs": "auto", "kv_cache_memory_gib": 3, "args": {"max_num_seqs": 8, "block_size": 32, "x": [1]},
    "trust_remote_code": "auto", "load_format": "auto", "served_model_name": "s",
}  # fmt: skip
RECORDS = {
    "a": {
        "deployment": {"spec": "1", "requested_bytes": 9, "model_path": "/m", "planned": {"weights_bytes": {"value": 5}}, "container": {"command": ["a"]}},
        "measured": {"spec": "1", "facts": {"weights_bytes": 9, "consumed_bytes": 12}},
        "repairs": [{"id": "x", "reason": "y", "set": {"cuda_graphs": "never"}}],
    }
}
RUNNING = {"labels": {"gb10.vllm.server": "a"}, "status": "running"}
INFO = {"config": GOLDEN["Qwen3-0.6B", 1]["config"], "weights": weights.summarise(BASE, GOLDEN["Qwen3-0.6B", 1]["config"]), "kind": "chat"}


@settings(FUZZ, max_examples=share(4, 3500))
@given(st.data())
def test_servers_boxes_records_and_models(data):
    counted("plan")
    world = {
        "servers": [SERVER],
        "box": {**BOX, "docker": {"containers": [RUNNING]}},
        "records": RECORDS,
        "engine": {"vllm_version": "0.33.0", "platform": "gb10", "cuda_runtime": "13.0"},
        "options": {"os_floor_gib": 12, "margin_gib": 1.5},
    }
    world = data.draw(mutated(world))
    if not isinstance(world, dict) or any(not isinstance(world.get(k, {}), dict) for k in ("box", "records", "engine", "options")):
        return  # Ansible's argument spec refuses these before
    servers = world.get("servers", [])
    if not isinstance(servers, list) or not all(isinstance(s, dict) for s in servers):
        return
    try:
        plan = plan_box(world.get("box"), servers, {"/m": INFO}, world.get("engine"), world.get("options"), world.get("records"))
    except GB10Error as error:
        one_sentence(error)
        return
    for entry in plan["servers"]:
        assert entry["kv_cache_bytes"] >= 0 and all(isinstance(w, str) for w in entry["arguments"])
        assert math.isfinite(entry["gpu_memory_utilization"])
    json.dumps(plan, allow_nan=False)
    plan_table({"b": plan})
    plan_picture(plan, "b")

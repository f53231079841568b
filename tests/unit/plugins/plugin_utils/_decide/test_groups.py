# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Servers over several boxes: what users write, which boxes they get, and the plan of each rank."""

from __future__ import annotations

from pathlib import Path

import checkpoints
import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import weights
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.plan import plan_box
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.groups import placed, servers_of_boxes, split_by_batches, stated
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.wanted import normalise, of_one_box, of_several_boxes
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.plan_picture import plan_picture
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.plan_table import plan_table

GIB = 2**30
ROOT = Path(__file__).resolve().parents[5]
GOLDEN = checkpoints.golden_weights()
QWEN3_235B = {
    "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "num_hidden_layers": 94, "hidden_size": 4096, "intermediate_size": 12288,
    "moe_intermediate_size": 1536, "num_experts": 128, "num_experts_per_tok": 8, "num_attention_heads": 64, "num_key_value_heads": 4, "head_dim": 128,
    "vocab_size": 151936, "max_position_embeddings": 40960, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
FP8 = {"quant_method": "fp8", "weight_block_size": [128, 128]}


def facts(config, tensors, **more):
    return {"present": True, "config": config, "weights": weights.summarise(tensors, config), "layout": "hf", "kind": "chat", "tokenizer": True, **more}


def whole(config, gib):
    """A model of ``gib`` GiB, equal in all layers."""
    layers = config["num_hidden_layers"]
    return facts(config, [checkpoints.tensor(f"model.layers.{n}.mlp.up_proj.weight", "F8_E4M3", 1024, int(gib * 2**20 / layers)) for n in range(layers)])


MODELS = {
    "/m/llama-70b": facts(GOLDEN["Llama-3.1-70B", 1]["config"], list(checkpoints.dense(GOLDEN["Llama-3.1-70B", 1]["config"]))),
    "/m/small": facts(GOLDEN["Qwen3-0.6B", 1]["config"], list(checkpoints.dense(GOLDEN["Qwen3-0.6B", 1]["config"]))),
    "/m/latent": whole(GOLDEN["DeepSeek-V2-Lite", 1]["config"], 130),
    "/m/qwen3-235b-fp8": whole({**QWEN3_235B, "quantization_config": FP8}, 220),
    "/m/whisper": whole({**GOLDEN["Llama-3.1-70B", 1]["config"], "architectures": ["IQuestLoopCoderForCausalLM"], "loop_num": 2}, 70),
}


def box(available=112.0, **more):
    memory = {"total_bytes": int(121.69 * GIB), "available_bytes": int(available * GIB), "cuda_total_bytes": int(121.69 * GIB)}
    return {"memory": {**memory, "cuda_total_source": "cuMemGetInfo"}, "holders": [], "servers": {}, "docker": {"containers": []}, **more}


def inputs(*servers, on=None, image="sha256:1"):
    known = {"vllm_version": "0.33.0", "image_id": image}
    return {
        "box": on or box(),
        "servers": [{**one, **stated(one, one["name"])} for one in servers],
        "models": MODELS,
        "engine": known,
        "options": {},
        "elsewhere": [],
    }


def server(model="llama-70b", boxes=2, name="big", port=8000, **more):
    return {"name": name, "model": model, "model_path": f"/m/{model}", "port": port, **({"boxes": boxes} if boxes else {}), **more}


def plans(boxes):
    """The plan of each box, as the role makes it."""
    shared = servers_of_boxes(boxes)
    return {name: plan_box(one["box"], shared[name], MODELS, one["engine"], one["options"]) for name, one in boxes.items()}


def of(found, name, server_name="big"):
    return next(entry for entry in found[name]["servers"] if entry["name"] == server_name)


def flag(entry, name):
    return next((one["value"] for one in entry["flags"] if one["flag"] == name), None)


# --- what users write -------------------------------------------------------------------------------------------------

ENTRY = {"name": "big", "model": "big"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"boxes": ["a", "a"]}, "names a twice"),
        ({"boxes": ["a"]}, "names 1 box; a server of one box needs none"),
        ({"boxes": []}, "names 0 boxes"),
        ({"boxes": ["a", 3]}, "holds 3, which is no name"),
        ({"boxes": ["a", None]}, "holds None, which is no name"),
        ({"boxes": ["a", "b", " "]}, "holds ' ', which is no name"),
        ({"boxes": ["a", ["b"]]}, "holds ['b'], which is no name"),
        ({"boxes": 1}, "no group of boxes"),
        ({"boxes": True}, "no group of boxes"),
        ({"boxes": "spark-01"}, "no group of boxes"),
        ({"boxes": {"a": 1}}, "no group of boxes"),
        ({"boxes": 1e9}, "no group of boxes"),
        ({"boxes": 2, "tensor_parallel": 3}, "`tensor_parallel: 3` does not go with 2 boxes"),
        ({"boxes": 4, "tensor_parallel": 2, "pipeline_parallel": 1}, "`tensor_parallel: 2` and `pipeline_parallel: 1` do not go with 4 boxes"),
        ({"boxes": 2, "pipeline_parallel": 0}, "use a whole number from 1"),
        ({"boxes": 2, "tensor_parallel": 2, "args": {"tp": 1}}, "say two things"),
        ({"boxes": 2, "args": {"--node-rank": 1}}, "args.node_rank is made from `boxes`"),
        ({"boxes": 2, "args": {"headless": True}}, "args.headless is made from `boxes`"),
        ({"boxes": 2, "args": {"distributed_executor_backend": "mp"}}, "args.distributed_executor_backend is made from `boxes`"),
        ({"boxes": 2, "args": {"--distributed-executor-backend": "Ray"}}, "args.distributed_executor_backend ray is not started here: since 0.11.1"),
        ({"tensor_parallel": 2}, "is for a server over several boxes"),
    ],
)
def test_mistakes_get_one_sentence(changes, sentence):
    with pytest.raises(GB10Error) as caught:
        normalise([{**ENTRY, **changes}], "/m")
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_servers_over_several_boxes_are_no_servers_of_one():
    wanted = [{**ENTRY, "boxes": ["a", "b"]}, {"name": "some", "model": "x", "boxes": "2", "port": 8002}, {"name": "small", "model": "y", "port": 8001}]
    assert [one["name"] for one in of_one_box(wanted, "/m")] == ["small"]
    assert [one["name"] for one in of_several_boxes(wanted, "/m", "a")] == ["big", "some"]
    assert [(one["name"], one["boxes"]) for one in of_several_boxes(wanted, "/m", "c")] == [("some", 2)]


def test_groups_on_different_boxes_may_have_one_port():
    apart = [{**ENTRY, "boxes": ["a", "b"]}, {"name": "other", "model": "x", "boxes": ["c", "d"]}]
    assert len(normalise(apart, "/m")) == 2
    for clash in (["b", "c"], 2, None):
        with pytest.raises(GB10Error, match="two servers have the port 8000"):
            normalise([apart[0], {**apart[1], "boxes": clash}], "/m")


# --- which boxes, how, and with how many bytes --------------------------------------------------------------------------


def test_a_model_that_no_box_holds_is_planned_over_two():
    found = plans({"one": inputs(server()), "two": inputs(server())})
    head, worker = of(found, "one"), of(found, "two")
    assert head["verdict"] == worker["verdict"] == "fits"
    assert (head["rank"]["number"], worker["rank"]["number"]) == (0, 1)
    assert head["rank"]["boxes"] == ["one", "two"]
    # Equal and pinned: the head has the API server too, so it decides.
    assert head["kv_cache_bytes"] == worker["kv_cache_bytes"] > 10 * GIB
    assert head["beside"]["host_processes"]["value"] > worker["beside"]["host_processes"]["value"]
    assert (head["kv_tokens"], head["concurrency"], head["max_model_len"]) == (worker["kv_tokens"], worker["concurrency"], worker["max_model_len"])
    assert abs(head["weights_bytes"]["value"] / (140 * 10**9 / 2) - 1) < 0.02
    assert {name: flag(worker, name) for name in ("--tensor-parallel-size", "--pipeline-parallel-size", "--nnodes", "--node-rank", "--headless")} == {
        "--tensor-parallel-size": 2,
        "--pipeline-parallel-size": 1,
        "--nnodes": 2,
        "--node-rank": 1,
        "--headless": True,
    }
    assert flag(head, "--headless") is None
    ours = ("--node-rank", "--headless")
    assert flag(head, "--gpu-memory-utilization") * 121.69 * GIB <= worker["requested_bytes"] + 0.001 * 121.69 * GIB
    assert [one for one in head["flags"] if one["flag"] not in ours and one["value"] != flag(worker, one["flag"])] == []
    why = next(one["why"] for one in head["flags"] if one["flag"] == "--kv-cache-memory-bytes")
    assert "equal on all 2 boxes: the most that one can give" in why


def test_the_least_that_any_box_can_give():
    small = box(95)
    found = plans({"one": inputs(server()), "two": inputs(server(), on=small)})
    head, worker = of(found, "one"), of(found, "two")
    assert head["kv_cache_bytes"] == worker["kv_cache_bytes"] < of(plans({"one": inputs(server()), "two": inputs(server())}), "one")["kv_cache_bytes"]
    assert "the most that two can give" in next(one["why"] for one in head["flags"] if one["flag"] == "--kv-cache-memory-bytes")
    assert worker["requested_bytes"] <= found["two"]["box"]["usable_bytes"]


def test_what_else_a_box_serves_counts():
    other = server("small", None, "small", 8001, max_model_len=32768)
    alone, beside = plans({"a": inputs(server()), "b": inputs(server())}), plans({"a": inputs(server()), "b": inputs(server(), other)})
    assert of(beside, "b")["kv_cache_bytes"] < of(alone, "b")["kv_cache_bytes"]
    assert of(beside, "b")["kv_cache_bytes"] == of(beside, "a")["kv_cache_bytes"]
    assert of(beside, "b", "small")["verdict"] == "fits"


def test_a_number_chooses_those_with_room():
    boxes = {"a": inputs(server(), on=box(60)), "b": inputs(server(), on=box(100)), "c": inputs(server(), on=box(112)), "d": inputs(server(), on=box(100))}
    shared = servers_of_boxes(boxes)
    assert {name: [one["rank"]["number"] for one in found] for name, found in shared.items()} == {"a": [], "b": [1], "c": [0], "d": []}
    assert shared["b"][0]["rank"]["boxes"] == ["c", "b"]


def test_a_run_that_plans_again_keeps_the_boxes_it_chose():
    boxes = {"a": inputs(server(), on=box(60)), "b": inputs(server(), on=box(100)), "c": inputs(server(), on=box(112))}
    network = {name: {"addresses": {"eth0": [f"10.0.0.{number}/24"]}, "came": "eth0", "hcas": {}, "infiniband": False} for number, name in enumerate(boxes, 1)}
    known = {name: {"plan_inputs": one | {"box": one["box"] | {"network": network[name]}}} for name, one in boxes.items()}
    first = placed(list(boxes), known)
    assert list(first["places"]["big"]) == ["c", "b"], first["problem"]
    # What else is known by then leaves more room on another one.
    known = {name: one | {"plan_shared": first} for name, one in known.items()}
    known["a"]["plan_inputs"] = known["a"]["plan_inputs"] | {"box": known["a"]["plan_inputs"]["box"] | box(120)}
    assert list(placed(list(boxes), known)["places"]["big"]) == ["c", "b"]


def test_two_groups_do_not_share_the_memory_of_a_box():
    two = (server(), server(name="other", port=8001))
    found = plans({"a": inputs(*two), "b": inputs(*two)})
    assert of(found, "a")["verdict"] == "fits"
    assert of(found, "a", "other")["verdict"] != "fits"
    assert "and the servers before it" in of(found, "a", "other")["reason"]


def test_a_rank_that_does_not_fit_is_named_with_its_box():
    found = plans({"a": inputs(server()), "b": inputs(server(), on=box(70))})
    assert found["b"]["verdict"] != "fits"
    assert "as rank 1 of 2 (a, b; tensor parallel 2, pipeline parallel 1)" in of(found, "b")["reason"]


@pytest.mark.parametrize(
    ("model", "boxes", "more", "shares", "why"),
    [
        ("llama-70b", 2, {}, (2, 1), "its 64 heads (8 key-value) divide"),
        ("llama-70b", 3, {}, (1, 3), "does not divide the model's attention heads"),
        ("llama-70b", 4, {"pipeline_parallel": 2}, (2, 2), "stated"),
        ("llama-70b", 2, {"args": {"pp": 2}}, (1, 2), "stated"),
        ("latent", 2, {}, (1, 2), "latent attention"),
        ("latent", 2, {"tensor_parallel": 2}, (2, 1), "stated"),
        ("qwen3-235b-fp8", 4, {}, (4, 1), "4 key-value"),
        ("qwen3-235b-fp8", 8, {}, (4, 2), "4 key-value"),  # not eight ways: heads would be copied, and blocks of 128 cut
    ],
)
def test_how_a_model_is_shared_out(model, boxes, more, shares, why):
    names = [f"box-{number}" for number in range(boxes)]
    shared = servers_of_boxes({name: inputs(server(model, names, **more)) for name in names})
    rank = shared[names[-1]][0]["rank"]
    assert (rank["tensor"], rank["pipeline"]) == shares
    assert why in rank["why"]


LLAMA = GOLDEN["Llama-3.1-70B", 1]["config"]
SHAPES = {
    "h40": {"num_attention_heads": 40, "num_key_value_heads": 8},
    "h6": {"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 128},
    "h24": {"num_attention_heads": 24, "num_key_value_heads": 3, "head_dim": 128},
    "mqa": {"num_attention_heads": 64, "num_key_value_heads": 1},
    "unstaged": {"num_key_value_heads": 2, "architectures": ["IQuestLoopCoderForCausalLM"], "loop_num": 2},
}


@pytest.mark.parametrize(
    ("model", "boxes", "shares", "said", "unsaid"),
    [
        ("h40", 2, (2, 1), ["its 40 heads (8 key-value) divide, so every box reads its share of each layer"], ["stages", "copies"]),
        ("h40", 3, (1, 3), ["3 stages share out the layers, each box reading its own whole; tensor_parallel_size 3 does not divide"], ["divide, so"]),
        ("h40", 16, (8, 2), ["divide by 8, so 8 boxes read their share of each layer, and 2 stages", "tensor_parallel_size 16 does not divide"], ["every box"]),
        ("h6", 3, (1, 3), ["3 stages share out the layers", "tensor_parallel_size 3 and the model's 2 key-value heads do not divide each other"], ["so every"]),
        ("h24", 5, (1, 5), ["5 stages share out the layers", "tensor_parallel_size 5 does not divide"], ["divide, so"]),
        ("mqa", 4, (1, 4), ["4 stages", "4 boxes would hold copies of its 1 key-value head,"], ["divide, so"]),
        ("qwen3-235b-fp8", 8, (4, 2), ["4 boxes read their share of each layer, and 2 stages share out the layers", "would cut blocks"], ["every box"]),
        ("unstaged", 4, (4, 1), ["every box reads its share of each layer, though 4 boxes would hold copies", "no SupportsPP"], ["stages share"]),
        ("latent", 3, (1, 3), ["latent attention keeps one row per token", "3 stages share out the layers and so the cache"], [";  ", "key-value"]),
    ],
)  # fmt: skip
def test_the_reason_is_that_of_the_sizes_that_were_taken(monkeypatch, model, boxes, shares, said, unsaid):
    if model in SHAPES:
        monkeypatch.setitem(MODELS, f"/m/{model}", whole({**LLAMA, **SHAPES[model]}, 60))
    names = [f"box-{number}" for number in range(boxes)]
    rank = servers_of_boxes({name: inputs(server(model, names)) for name in names})[names[0]][0]["rank"]
    assert (rank["tensor"], rank["pipeline"]) == shares
    assert all(one in rank["why"] for one in said) and not any(one in rank["why"] for one in unsaid), rank["why"]
    assert "choose" not in rank["why"], "nobody stated a size, so nobody can state another"


def test_one_stated_size_and_the_one_that_follows():
    names = ["a", "b", "c", "d"]
    rank = servers_of_boxes({name: inputs(server(boxes=names, pipeline_parallel=2)) for name in names})["a"][0]["rank"]
    assert rank["why"] == "stated for this server, whose other size follows from its 4 boxes"
    rank = servers_of_boxes({name: inputs(server(boxes=names, pipeline_parallel=2, tensor_parallel=2)) for name in names})["a"][0]["rank"]
    assert rank["why"] == "stated for this server"


@pytest.mark.parametrize(
    ("wish", "sentence"),
    [
        (server(boxes=3, tensor_parallel=3), "does not divide the model's attention heads"),
        (server("qwen3-235b-fp8", 8, tensor_parallel=8), "would cut blocks"),
        (server("whisper", 3, pipeline_parallel=3), "no SupportsPP"),
        (server(boxes=["a", "nobody"]), "`boxes` names nobody, which is no box of this run"),
        (
            server("whisper", 3),
            "(64); pipeline_parallel_size 3: vLLM cannot share out the layers of IQuestLoopCoderForCausalLM over stages (no SupportsPP). Choose",
        ),
        (server(boxes=9), "`boxes: 9`, but the run has 8 boxes"),
        (server(boxes=2, args={"data_parallel_size": 2}), "but a GB10 has one GPU: leave it out"),
    ],
)
def test_a_group_that_cannot_be_gets_one_sentence(wish, sentence):
    names = ["a", "b", "c", "d", "e", "f", "g", "h"]
    variables = {name: {"plan_inputs": inputs(wish)} for name in names}
    found = placed(names, variables)
    assert sentence in found["problem"] and "big" in found["problem"] and "\n" not in found["problem"]


def test_a_box_of_the_list_that_knows_nothing_of_the_server():
    variables = {"a": {"plan_inputs": inputs(server(boxes=["a", "b"]))}, "b": {}}
    assert (
        "b is one of its `boxes`, but nothing is known of it: it could not be read, or its gb10_servers do not have the server"
        in placed(["a", "b"], variables)["problem"]
    )
    variables["b"] = {"plan_inputs": inputs(server(boxes=["b", "a"]))}
    assert "`boxes` is not the same for all boxes" in placed(["a", "b"], variables)["problem"]


@pytest.mark.parametrize("boxes", [2, ["a", "b"], ["b", "a"]])
def test_what_one_of_the_boxes_cannot_do_is_said_with_its_name(boxes):
    given = {name: inputs(server(boxes=boxes)) for name in "ab"}
    given["b"]["engine"] = {"vllm_version": "0.10.0"}
    said = placed(list(given), {name: {"plan_inputs": one} for name, one in given.items()})["problem"]
    where = "server big over 2 boxes: " if boxes == ["b", "a"] else "server big on b: "
    assert said.startswith(f"{where}vLLM 0.10.0 cannot run one server over several boxes")


def test_blanks_around_a_name_are_none_of_it():
    names = [" a", "b\n"]
    assert stated({"boxes": names}, "big")["boxes"] == ["a", "b"]
    with pytest.raises(GB10Error, match="names a twice"):
        stated({"boxes": ["a", "a "]}, "big")
    given = {name: inputs(server(boxes=["a", "no\nbody"])) for name in "ab"}
    assert "`boxes` names no body, which is no box" in placed(list(given), {name: {"plan_inputs": one} for name, one in given.items()})["problem"]


def test_a_vllm_without_an_engine_over_several_boxes_is_refused():
    boxes = {name: {**inputs(server()), "engine": {"vllm_version": "0.11.0"}} for name in "ab"}
    with pytest.raises(GB10Error, match="0.11.0 cannot run one server over several boxes by itself"):
        servers_of_boxes(boxes)


def test_stages_of_the_users_own():
    wish = server(boxes=2, pipeline_parallel=2, plan_env={"VLLM_PP_LAYER_PARTITION": "44,36"})
    found = plans({"a": inputs(wish), "b": inputs(wish)})
    assert [of(found, name)["rank"]["layers"] for name in ("a", "b")] == [[0, 44], [44, 80]]
    assert of(found, "a")["weights_bytes"]["value"] > of(found, "b")["weights_bytes"]["value"]


def test_boxes_that_differ_are_named():
    found = servers_of_boxes(
        {
            "a": inputs(server(), on=box(architecture="aarch64", gpu={"driver_version": "580.95"})),
            "b": inputs(server(), on=box(architecture="aarch64", gpu={"driver_version": "590.1"}), image="sha256:2"),
        }
    )
    notes = found["a"][0]["rank"]["notes"]
    assert any("NVIDIA driver: a 580, b 590" in note for note in notes) and any("image: a sha256:1, b sha256:2" in note for note in notes)
    assert not any("processor" in note for note in notes)


def test_copies_behind_a_router_with_the_arithmetic():
    wish = server("small", max_model_len=32768)
    found = plans({"a": inputs(wish), "b": inputs(wish)})
    (note,) = [warning for warning in of(found, "a")["warnings"] if "copies behind a router" in warning]
    numbers = [plan_box(box(), [server("small", None, max_model_len=32768)], MODELS, {"vllm_version": "0.33.0"})["servers"][0]["concurrency"]] * 2
    assert f"{numbers[0]:.2f} + {numbers[1]:.2f} = {sum(numbers):.2f} requests of 32,768 tokens" in note
    assert not any("copies" in warning for warning in of(plans({"a": inputs(server()), "b": inputs(server())}), "a")["warnings"])


def test_tensor_parallel_size_of_one_box_offers_a_group():
    with pytest.raises(GB10Error, match="say `boxes: 2` for the server to have it planned over 2 boxes"):
        plan_box(box(), [server(boxes=None, args={"tensor_parallel_size": 2})], MODELS)


def test_a_group_is_shown():
    found = plans({"one": inputs(server()), "two": inputs(server())})
    text = plan_table(found)
    assert "big 1/2" in text and "big 2/2" in text and "talk between boxes: 1.50 GiB, assumed" in text
    assert "<svg" in plan_picture(found["two"], "two")


def test_batches_that_would_split_a_group():
    groups = [{"name": "big", "boxes": ["b", "c"]}, {"name": "any", "boxes": 2}]
    assert split_by_batches(["a", "b", "c", "d"], [1, "100%"], groups) == ""
    assert "b and c, boxes of server big, into different batches" in split_by_batches(["a", "b", "c", "d"], [2, 2], groups)
    assert "into different batches" in split_by_batches(["b", "c"], 1, groups)
    assert split_by_batches(["b", "c"], ["100%"], groups) == ""


# --- a real one, as docs/groups.md shows it -----------------------------------------------------------------------------


def linear(name, rows, columns, bits):
    if bits == 8:
        yield checkpoints.tensor(f"{name}.weight", "F8_E4M3", rows, columns)
        yield checkpoints.tensor(f"{name}.weight_scale_inv", "F32", rows // 128, columns // 128)
    else:
        yield checkpoints.tensor(f"{name}.weight", "U8", rows, columns // 2)
        yield checkpoints.tensor(f"{name}.weight_scale", "F8_E4M3", rows, columns // 16)


def qwen3_235b(bits):
    """All experts of a layer in one tensor: only bytes matter here."""
    hidden, wide = QWEN3_235B["hidden_size"], 128 * QWEN3_235B["moe_intermediate_size"]
    yield checkpoints.tensor("model.embed_tokens.weight", "BF16", QWEN3_235B["vocab_size"], hidden)
    yield checkpoints.tensor("lm_head.weight", "BF16", QWEN3_235B["vocab_size"], hidden)
    for number in range(QWEN3_235B["num_hidden_layers"]):
        layer = f"model.layers.{number}."
        for name, rows, columns in (("q_proj", 8192, hidden), ("k_proj", 512, hidden), ("v_proj", 512, hidden), ("o_proj", hidden, 8192)):
            yield from linear(f"{layer}self_attn.{name}", rows, columns, bits)
        yield checkpoints.tensor(f"{layer}mlp.gate.weight", "BF16", 128, hidden)
        for name, rows, columns in (("gate_proj", wide, hidden), ("up_proj", wide, hidden), ("down_proj", 128 * hidden, 1536)):
            yield from linear(f"{layer}mlp.experts.0.{name}", rows, columns, bits)


@pytest.mark.parametrize(("bits", "boxes"), [(4, 2), (8, 4)])
def test_the_plan_of_a_235b_model_in_the_documentation(monkeypatch, bits, boxes):
    config = {**QWEN3_235B, **({"quantization_config": FP8} if bits == 8 else {})}
    monkeypatch.setitem(MODELS, "/m/q", facts(config, list(qwen3_235b(bits))))
    names = [f"spark-{number:02}" for number in range(1, boxes + 1)]
    found = plans({name: inputs(server("q", names)) for name in names})
    page = (ROOT / "docs" / "groups.md").read_text()
    for line in plan_table(found, reasons=False).splitlines()[2 : 2 + boxes]:
        assert f"    {line}\n" in page
    if bits == 8:
        assert plans({name: inputs(server("q", names[:2])) for name in names[:2]})[names[0]]["verdict"] != "fits"

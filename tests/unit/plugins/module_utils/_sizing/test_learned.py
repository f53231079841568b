# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What earlier starts took beside weights and KV cache takes the place of the assumption: of the same image, model and flags, and of no other."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import learned
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.plan import plan_box
from test_plan import MODELS, box, server

GIB = 2**30
ENGINE = {"vllm_version": "0.33.0", "image_id": "sha256:a"}
NEXT = "Qwen3-Next-80B-A3B"


def planned(name="devstral", records=None, elsewhere=(), engine=ENGINE, on=None, **settings):
    if name == "devstral":  # without images: what is kept of them comes with use and is counted beside whatever a start took
        settings = {"max_model_len": 65536, "concurrency": 4, **settings, "args": {"language_model_only": True, **settings.get("args", {})}}
    return plan_box(on or box(), [server(name, name, **settings)], MODELS, engine, {}, records, elsewhere)["servers"][0]


def start(name="devstral", beside=4 * GIB, unsure=GIB // 8, where="spark-01", **settings):
    """What a box keeps of a start of this server."""
    plan = planned(name, **settings)
    command = ["/bin/sh", "-c", "x", "gb10-vllm", "vllm", "serve", "/models/x", *plan["arguments"]]
    deployment = {"spec": "s", "model_path": f"/m/{name}", "manifest": "", "vllm_version": "0.33.0", "container": {"image": "sha256:a", "command": command}}
    facts = {"weights_bytes": plan["weights_bytes"]["value"], "beside_bytes": beside, "beside_uncertainty_bytes": unsure}
    return {"where": where, "deployment": deployment, "measured": {"spec": "s", "facts": facts}}


def record(one):
    return {"old name": {"deployment": one["deployment"], "measured": one["measured"]}}


def test_what_was_measured_here_wins_over_every_assumption():
    plain, told = planned(), planned(records=record(start(beside=3 * GIB)))
    beside = told["beside_bytes"]
    assert (beside["source"], beside["value"]) == ("measured", 3 * GIB + GIB // 8) and plain["beside_bytes"]["source"] == "assumed"
    assert [told[part]["value"] for part in ("activation_bytes", "graph_bytes")] == [0, 0], "the total is counted once"
    assert told["non_torch_bytes"]["why"] == "measured here by a start of the same image, model and flags: 3.00 GiB, known to 0.12 GiB"
    less = plain["beside_bytes"]["value"] - beside["value"]
    assert less > GIB and abs(told["kv_cache_bytes"] - plain["kv_cache_bytes"] - less) < 0.13 * GIB, "and what it takes less goes to the cache"


def test_what_another_box_measured_is_taken_where_this_one_measured_none():
    assert planned(elsewhere=[start(beside=5 * GIB)])["non_torch_bytes"]["why"].startswith("measured on spark-01 by a start of the same image")
    both = planned(elsewhere=[start(beside=5 * GIB, where="spark-02"), start(beside=3 * GIB)])
    assert both["beside_bytes"]["value"] == 5 * GIB + GIB // 8 and "on spark-02" in both["non_torch_bytes"]["why"], "of several the one that took most"
    assert planned(records=record(start()), elsewhere=[start(beside=6 * GIB)])["beside_bytes"]["value"] == 4 * GIB + GIB // 8, "its own wins"


def rank(number=0, boxes=("a", "b"), tensor=2, pipeline=1):
    return {"number": number, "boxes": list(boxes), "tensor": tensor, "pipeline": pipeline}


@pytest.mark.parametrize("number", [0, 1])
def test_what_a_rank_took_is_known_of_the_same_rank(number):
    seen = start(beside=5 * GIB, rank=rank(number))
    seen["deployment"]["container"]["command"] += ["--master-addr", "10.0.0.1", "--master-port", "24000"]
    for told in (planned(rank=rank(number), records=record(seen)), planned(rank=rank(number, ("c", "d")), elsewhere=[seen])):
        assert (told["beside_bytes"]["source"], told["beside_bytes"]["value"]) == ("measured", 5 * GIB + GIB // 8)


@pytest.mark.parametrize("other", [None, rank(1), rank(0, "abcd", 4), rank(0, "abcd", 2, 2), rank(0, "ab", 1, 2)])
def test_what_a_rank_took_says_nothing_of_another_one_nor_of_a_server_alone(other):
    seen = start(beside=5 * GIB, rank=rank())
    more = {"rank": other} if other else {}
    assert planned(records=record(seen), **more)["beside_bytes"]["source"] == "assumed"
    assert planned(rank=rank(), records=record(start(**more)))["beside_bytes"]["source"] == "assumed"


def test_graphs_that_were_logged_stay_a_part_of_the_total():
    one = start()
    one["measured"]["facts"]["graph_bytes"] = GIB
    told = planned(records={"devstral": {"deployment": one["deployment"], "measured": one["measured"]}})
    assert (told["graph_bytes"]["value"], told["non_torch_bytes"]["value"]) == (GIB, 3 * GIB + GIB // 8)


SAME = [
    {},
    {"port": 8123, "served_model_name": "x"},
    {"max_model_len": 32768},
    {"concurrency": 2},
    {"kv_cache_memory_gib": 50},
    {"gpu_memory_utilization": 0.8},
    {"args": {"seed": 3, "enable_auto_tool_choice": True, "tool_call_parser": "mistral"}},
]
OTHER = [
    {"max_num_seqs": 8},
    {"max_num_batched_tokens": 8192},
    {"cuda_graphs": "never"},
    {"kv_cache_dtype": "fp8"},
    {"load_format": "fastsafetensors"},
    {"args": {"dtype": "float16"}},
    {"args": {"enable_lora": True}},
    {"args": {"limit_mm_per_prompt": {"image": 4}}},
]


@pytest.mark.parametrize("settings", SAME)
def test_flags_without_weight_do_not_matter(settings):
    assert planned(elsewhere=[start()], **settings)["beside_bytes"]["source"] == "measured"
    assert planned(elsewhere=[start(**settings)])["beside_bytes"]["source"] == "measured"


@pytest.mark.parametrize("settings", OTHER)
def test_a_start_with_other_flags_says_nothing(settings):
    assert planned(elsewhere=[start()], **settings)["beside_bytes"]["source"] == "assumed"
    assert planned(elsewhere=[start(**settings)])["beside_bytes"]["source"] == "assumed"
    assert planned(elsewhere=[start(**settings)], **settings)["beside_bytes"]["source"] == "measured"


def changed(**deployment):
    one = copy.deepcopy(start())
    container = deployment.pop("image", None)
    one["deployment"].update(deployment)
    if container:
        one["deployment"]["container"]["image"] = container
    return one


@pytest.mark.parametrize("one", [changed(image="sha256:b"), changed(model_path="/m/other"), changed(spec="t"), changed(container={}), changed(container=None)])
def test_another_image_model_or_deployment_says_nothing(one):
    assert planned(elsewhere=[one])["beside_bytes"]["source"] == "assumed"


def test_the_files_of_a_model_tell_it_where_they_are_known():
    info = {"/m/devstral": {**MODELS["/m/devstral"], "manifest": "c" * 64}}
    wanted = [server(max_model_len=65536, concurrency=4, args={"language_model_only": True})]

    def source(one):
        return plan_box(box(), wanted, info, ENGINE, {}, None, [one])["servers"][0]["beside_bytes"]["source"]

    assert source(changed(manifest="c" * 64, model_path="/elsewhere/devstral")) == "measured"
    assert source(changed(manifest="d" * 64)) == "assumed"
    assert source(changed(manifest="")) == "measured", "a record of an earlier release"


def test_before_the_image_is_there_its_version_tells_it():
    engine = {"vllm_version": "0.33.0"}
    assert planned(elsewhere=[start()], engine=engine)["beside_bytes"]["source"] == "measured"
    assert planned(elsewhere=[start()], engine={"vllm_version": "0.32.0"})["beside_bytes"]["source"] == "assumed"


def test_a_recurrent_model_whose_sequences_the_plan_lowers_is_known_again():
    one = start(NEXT)
    command = one["deployment"]["container"]["command"]
    command[command.index("--max-num-seqs") + 1] = "17"
    assert planned(NEXT, elsewhere=[one])["beside_bytes"]["source"] == "measured"
    assert planned(NEXT, elsewhere=[one], max_num_seqs=18)["beside_bytes"]["source"] == "assumed"


@pytest.mark.parametrize(
    ("beside", "unsure", "words"),
    [(-5 * GIB, 0, "negative"), (500 * GIB, 0, "more than the box has"), ("7", 0, "no number"), (4 * GIB, 3 * GIB, "known to 3.0 GiB only")],
)
def test_a_measurement_without_sense_is_kept_out_and_said_once(beside, unsure, words):
    one = planned(elsewhere=[start(beside=beside, unsure=unsure)])
    assert one["beside_bytes"]["source"] == "assumed" and one["beside_bytes"]["value"] == planned()["beside_bytes"]["value"]
    said = [str(value) for value in one.values() if "kept out" in str(value)]
    assert len(said) == 1 and "what was measured on spark-01 is kept out" in said[0] and words in said[0]


@pytest.mark.parametrize("junk", [None, 3, "x", [], {}, {"deployment": 3, "measured": []}, {"where": None, "measured": {"facts": {"beside_bytes": 1}}}])
def test_whatever_lies_in_a_record_no_plan_breaks(junk):
    assert planned(elsewhere=[junk], records={"a": junk} if junk else None)["beside_bytes"]["source"] == "assumed"


def test_what_a_running_server_gives_back_is_what_it_was_seen_to_take():
    one = start()
    one["deployment"] |= {"planned": {"kv_cache_bytes": 60 * GIB}, "requested_bytes": 100 * GIB}
    one["measured"]["facts"]["weights_bytes"] = 24 * GIB
    container = {"labels": {"gb10.vllm.server": "devstral"}, "status": "running"}
    on = box(available=20.0, servers={"devstral": {"deployment": one["deployment"], "measured": one["measured"]}}, docker={"containers": [container]})
    returned = plan_box(on, [server(max_model_len=65536)], MODELS, ENGINE)["box"]["returned_bytes"]
    assert returned == (24 + 60 + 4) * GIB


def test_the_words_of_a_command_line():
    words = ["--host", "::", "--enable-lora", "--max-num-seqs", "4", "--x", "1", "-2", "--port", "1"]
    assert learned.weighing(words) == {"--enable-lora": (), "--max-num-seqs": ("4",), "--x": ("1", "-2")}


def test_what_fills_only_with_use_stays_counted_beside_what_a_start_took():
    """No start fills the cache of prepared images, so a measured total does not hold it."""
    with_images = {"args": {"language_model_only": False}}
    told = planned(elsewhere=[start(**with_images)], **with_images)
    assert {name: part["value"] for name, part in told["beside"].items()} == {"together": 4 * GIB + GIB // 8, "multimodal_cache": GIB}

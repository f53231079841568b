# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""To the byte: what running servers hold, what a start measured, and what a box says of its memory."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import budget
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.budget import GIB, UNMEASURED_OVERHEAD_BYTES, Part, box_memory, measured_parts, running_servers


def running(name="a", status="running", requested=1000, weights=100, kv=200, **facts):
    """A container and the record of its server; numbers in bytes."""
    planned = {"weights_bytes": weights, "kv_cache_bytes": {"value": kv, "source": "computed", "why": "x"}}
    return {"labels": {"gb10.vllm.server": name}, "status": status}, {
        "deployment": {"requested_bytes": requested, "planned": planned}, "measured": {"facts": facts},
    }  # fmt: skip


def box(*servers, memory=None, holders=()):
    names = [one["labels"].get("gb10.vllm.server") for one, _record in servers]
    records = {name: record for name, (_one, record) in zip(names, servers, strict=True) if name}
    return {"memory": memory or {}, "docker": {"containers": [one for one, _record in servers]}, "servers": records, "holders": list(holders)}


BIG = 10 * UNMEASURED_OVERHEAD_BYTES


@pytest.mark.parametrize(
    ("facts", "held"),
    [
        ({}, 300 + UNMEASURED_OVERHEAD_BYTES),
        ({"weights_bytes": 150}, 350 + UNMEASURED_OVERHEAD_BYTES),
        ({"consumed_bytes": 160, "graph_bytes": 7}, 300 + 60 + 7),
        ({"consumed_bytes": 160}, 300 + 60),
        ({"consumed_bytes": 90, "graph_bytes": 7}, 300 + 7),
        ({"consumed_bytes": 90}, 300),
        ({"weights_bytes": 150, "consumed_bytes": 160, "graph_bytes": 7}, 350 + 10 + 7),
        ({"beside_bytes": 5, "consumed_bytes": 160}, 305),
        ({"beside_bytes": 0, "consumed_bytes": 160}, 300),
        ({"beside_bytes": -1, "consumed_bytes": 160}, 360),
        ({"beside_bytes": True, "consumed_bytes": 160}, 360),
        ({"beside_bytes": "5", "consumed_bytes": 160}, 360),
    ],
)
def test_what_a_server_holds_is_what_its_start_measured_else_what_was_planned(facts, held):
    assert running_servers(box(running(requested=BIG, **facts))) == [("a", held, BIG)]


def test_no_server_holds_more_than_it_asked_for_and_one_that_asked_for_nothing_what_was_planned():
    assert running_servers(box(running(requested=250))) == [("a", 250, 250)]
    assert running_servers(box(running(requested=0))) == [("a", 300, 0)]


def test_servers_that_do_not_run_or_are_not_ours_hide_none_behind_them():
    stopped, nameless = running("s", status="exited"), ({"labels": {}, "status": "running"}, {})
    nothing = running("n", weights=0, kv=0)
    assert [name for name, _held, _asked in running_servers(box(stopped, nameless, nothing, running("a")))] == ["a"]


def test_what_all_wanted_servers_give_back_is_added_up():
    two = box(running("a", beside_bytes=0), running("b", beside_bytes=0), memory={"total_bytes": 100 * GIB, "available_bytes": 10 * GIB})
    memory = box_memory(two, ["a", "b"], 20 * GIB)
    assert (memory.returned_bytes, memory.available_bytes, memory.usable_bytes) == (600, 10 * GIB + 600, 2000)
    assert box_memory({**two, "servers": {}, "docker": {}}, [], 20 * GIB).usable_bytes == 0, "never less than nothing"


@pytest.mark.parametrize(
    ("platform", "cuda", "total", "source"),
    [
        ("gb10", 119, 119, "measured (cuMemGetInfo)"),
        ("gb10", 0, 100, "assumed: MemTotal, because CUDA was not asked"),
        ("cpu", 119, 100, "MemTotal (vLLM's CPU build counts the memory of the box)"),
    ],
)
def test_the_total_is_what_the_engine_counts(platform, cuda, total, source):
    memory = {"total_bytes": 100, "available_bytes": 50, "cuda_total_bytes": cuda, "cuda_total_source": "cuMemGetInfo"}
    found = box_memory(box(memory=memory), [], 10, platform)
    assert (found.total_bytes, found.total_source, found.usable_bytes) == (total, source, 40)
    assert len(found.warnings) == (platform == "gb10" and not cuda)


@pytest.mark.parametrize("memory", [{}, {"total_bytes": 50}, {"available_bytes": 50}, {"total_bytes": 0, "available_bytes": 50}])
def test_a_box_that_was_not_looked_at_is_refused(memory):
    with pytest.raises(GB10Error, match="^the facts of the box hold no total and available memory: gather them with gb10.vllm.box_info$"):
        box_memory(box(memory=memory), [], 0)


def test_what_is_assumed_of_a_box_is_not_called_measured_and_what_is_not_known_is_warned_of():
    typical = box_memory(budget.TYPICAL_BOX, [], 12 * GIB)
    assert typical.total_source.startswith("assumed: a typical GB10") and typical.warnings == () and typical.floor_bytes == 12 * GIB
    (warning,) = box_memory(box(memory={"total_bytes": 50, "available_bytes": 50}), [], 0).warnings
    assert warning == (
        "the total memory CUDA reports is not known on this box and MemTotal is assumed; on GB10 119.7 and 121.69 GiB both occur, so the utilisation may"
        " be off by up to 2 %"
    )


def test_facts_that_cannot_be_are_refused():
    assert box_memory(box(memory={"total_bytes": 50, "available_bytes": 50}), [], 0).available_bytes == 50
    for total, available in ((49, 50), (1, 2)):
        with pytest.raises(GB10Error, match=f"claim {available} bytes available of {total} in total"):
            box_memory(box(memory={"total_bytes": total, "available_bytes": available}), [], 0)
    assert box_memory(box(memory={"available_bytes": 50, "cuda_total_bytes": 60}), [], 0).available_bytes == 50, "only CUDA says what there is"


def test_who_else_holds_memory_is_named_and_engines_are_not_counted_twice():
    holders = [{"name": "java", "pid": 7, "bytes": 5}, {"pid": "8"}, {"name": "VLLM::Worker", "bytes": 9}, {"name": "vllm", "bytes": 9}, "?"]
    found = box_memory(box(memory={"total_bytes": 50, "available_bytes": 50}, holders=holders), [], 0)
    assert found.others == ({"name": "java", "pid": 7, "bytes": 5}, {"name": "?", "pid": None, "bytes": 0})


@pytest.mark.parametrize(("available", "warned"), [(12, False), (11, True)])
def test_a_box_that_is_below_its_floor_while_servers_run_is_warned_of(available, warned):
    memory = {"total_bytes": 100 * GIB, "available_bytes": available * GIB, "cuda_total_bytes": 100 * GIB}
    said = "only 11.0 GiB are available on this box now, less than the floor of 12 GiB for the operating system"
    assert box_memory(box(running(), memory=memory), ["a"], 12 * GIB).warnings == ((said,) if warned else ())
    assert box_memory(box(memory=memory), ["a"], 12 * GIB).warnings == ()


WHY = "measured on this box by the last start with the same image, model and flags"
COMMAND = ["vllm", "serve", "/m", "--max-num-seqs", "8", "--enforce-eager"]


def measured(facts, settings=None, **deployment):
    """What a start of /m with 8 sequences measured, for the same server."""
    deployed = {"spec": "s", "model_path": "/m", "vllm_version": "0.32.0", "container": {"command": COMMAND}, **deployment}
    record = {"deployment": deployed, "measured": {"spec": "s", "facts": facts}}
    return measured_parts(record, {"model_path": "/m"}, "0.32.0", {"--max-num-seqs": 8} if settings is None else settings)


def test_what_a_start_measured_is_told_by_its_part():
    assert measured({"weights_bytes": 10, "activation_bytes": 3, "graph_bytes": 4, "graph_estimate_bytes": 5, "consumed_bytes": 16}) == {
        "weights": Part(10, "measured", WHY),
        "activations": Part(3, "measured", WHY),
        "graphs": Part(4, "measured", WHY),
        "consumed": Part(6, "measured", f"{WHY} (consumed less weights)"),
    }
    assert measured({"graph_estimate_bytes": 5}) == {"graphs": Part(5, "measured", WHY)}
    assert measured({"graph_bytes": 5}, {"--enforce-eager": True}) == {}, "no graphs are captured"
    assert measured({"consumed_bytes": 16}) == {} and set(measured({"weights_bytes": 16, "consumed_bytes": 16})) == {"weights"}
    assert measured({"activation_bytes": 3}, {"--max-num-seqs": 8, "--enforce-eager": None}) == {}, "a flag that is there is not absent"
    assert measured({"activation_bytes": 3}, {"--max-num-seqs": 9}) == measured({"activation_bytes": 3}, {"--block-size": 8}) == {}
    assert set(measured({"activation_bytes": 3}, {"--enforce-eager": True})) == {"activations"}


@pytest.mark.parametrize("change", [{"spec": "t"}, {"model_path": "/n"}, {"vllm_version": "0.33.0"}])
def test_what_another_start_measured_is_not_this_ones(change):
    assert measured({"weights_bytes": 10}, **change) == {}


def test_without_a_record_or_a_measurement_nothing_is_measured():
    assert measured_parts({"measured": {"facts": {"weights_bytes": 10}}}, {}, "", {}) == {}
    assert measured({}) == {}
    assert set(measured({"weights_bytes": 10}, vllm_version="")) == {"weights"}, "an earlier release did not note the version"


@pytest.mark.parametrize(
    ("value", "count"),
    [(1, 1), (0, 0), (-1, 0), (0.5, 0), (1.5, 1), (2**60 - 1, 2**60 - 1), (2**60, 0), (3**50, 0), (True, 0), ("1", 0), (None, 0)],
)
def test_what_is_no_number_of_bytes_is_nothing(value, count):
    assert budget._count(value) == count
    assert budget.value_of({"value": value}) == budget.value_of(value) == count

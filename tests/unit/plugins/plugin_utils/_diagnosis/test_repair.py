# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which repair a failed start gets: safe ones, two at most, never the same change again."""

from __future__ import annotations

from pathlib import Path

import known_failures
import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._engine.log import format_admission, format_kv_too_small, parse_facts
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis import diagnosis, repair
from hypothesis import given
from hypothesis import strategies as st

GIB = 2**30
ENTRIES = list(known_failures.known())
CAPTURE = "torch.AcceleratorError: CUDA error: operation not permitted when stream is capturing"


def decide(log: str, wanted: dict, history: list | None = None, **facts) -> dict | None:
    found = diagnosis.diagnose({"box1": log}, ENTRIES)
    return repair.decide(found, {**parse_facts(log), **facts}, wanted, history or [])


def test_the_context_becomes_what_the_engine_says_fits():
    log = "ValueError: " + format_kv_too_small(393216, 60 * GIB, round(56.13 * GIB), 367824)
    change = decide(log, {"max_model_len": 393216})
    assert change["set"] == {"max_model_len": 367616}  # 359 * 1024, the estimate rounded down
    assert change["id"] == "KB-101"
    assert change["wait_for_memory"] is True
    assert "393216 -> 367616" in change["reason"]


def test_a_short_estimate_is_taken_exactly_and_a_useless_one_not_at_all():
    def log(estimate):
        return "ValueError: " + format_kv_too_small(8192, GIB, GIB // 2, estimate)

    assert decide(log(1504), {"max_model_len": 8192})["set"] == {"max_model_len": 1504}
    assert decide(log(0), {"max_model_len": 8192}) is None
    assert decide(log(512), {"max_model_len": 8192}) is None


def test_the_models_own_length_is_taken_exactly():
    log = "ValueError: User-specified max_model_len (262144) is greater than the derived max_model_len (max_position_embeddings=131072 or x)"
    assert decide(log, {"max_model_len": 262144})["set"] == {"max_model_len": 131072}


def test_graphs_go_piecewise_then_eager_then_no_further():
    piecewise = {"--compilation-config": {"cudagraph_mode": "PIECEWISE"}}
    first = decide(CAPTURE, {"cuda_graphs": "auto"})
    assert first["set"] == {"args": piecewise}
    second = decide(CAPTURE, {"args": piecewise}, [first])
    assert second["set"] == {"cuda_graphs": "never"}
    assert decide(CAPTURE, {"cuda_graphs": "never"}, [first, second]) is None
    assert decide(CAPTURE, {"cuda_graphs": "never"}) is None


def test_a_users_own_compilation_settings_are_kept():
    change = decide(CAPTURE, {"args": {"compilation_config": {"level": 3}}})
    assert change["set"] == {"args": {"--compilation-config": {"level": 3, "cudagraph_mode": "PIECEWISE"}}}
    assert decide(CAPTURE, {"args": {"--compilation-config": '{"cudagraph_mode":"PIECEWISE"}'}})["set"] == {"cuda_graphs": "never"}


def test_the_plans_own_flags_are_read():
    """A server as gb10.vllm.kv_cache_budget returns it."""
    planned = {
        "max_model_len": 65536,
        "gpu_memory_utilization": 0.8,
        "flags": [
            {"flag": "--max-num-seqs", "value": 256, "why": "x"},
            {"flag": "--load-format", "value": "fastsafetensors", "why": "x"},
            {"flag": "--enforce-eager", "value": True, "why": "x"},
            {"flag": "--attention-backend", "value": "FLASHINFER", "why": "x"},
        ],
    }
    assert decide(CAPTURE, planned) is None, "graphs are off"
    assert decide("ModuleNotFoundError: No module named 'fastsafetensors'", planned)["set"] == {"load_format": "auto"}
    warm = "RuntimeError: CUDA out of memory occurred when warming up sampler with 256 dummy requests. Please"
    assert decide(warm, planned)["set"] == {"max_num_seqs": 64}
    attention = "ValueError: No valid attention backend found for cuda with AttentionSelectorConfig(head_size=80)"
    assert decide(attention, planned)["set"] == {"args": {"--attention-backend": None}}


def test_graphs_stay_when_the_user_insists_or_something_else_failed():
    assert decide(CAPTURE, {"cuda_graphs": "always"}) is None
    other = decide("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", {"cuda_graphs": "auto", "max_num_batched_tokens": 8192})
    assert "cuda_graphs" not in other["set"]


def test_memory_that_is_not_free_is_waited_for_then_less_is_asked():
    log = "ValueError: " + format_admission(100 * GIB, 120 * GIB, 0.85, 102 * GIB)
    wanted = {"gpu_memory_utilization": 0.85}
    first = decide(log, wanted)
    assert (first["set"], first["wait_for_memory"]) == ({}, True)
    second = decide(log, wanted, [first])
    assert second["set"] == {"gpu_memory_utilization": 0.8}  # (100 - 4) / 120
    assert decide(log, {"gpu_memory_utilization": 0.8}, [first, second]) is None


def test_a_wrong_load_format_is_left_away():
    missing = "ModuleNotFoundError: No module named 'fastsafetensors'"
    assert decide(missing, {"load_format": "fastsafetensors"})["set"] == {"load_format": "auto"}
    assert decide(missing, {"load_format": "auto"}) is None
    assert decide("ModuleNotFoundError: No module named 'ray'", {"load_format": "fastsafetensors"}) is None
    weights = "RuntimeError: Cannot find any model weights with `/models/x`"
    assert decide(weights, {"load_format": "mistral"})["set"] == {"load_format": "auto"}
    assert decide(weights, {}) is None


def test_a_mistral_model_is_read_in_the_layout_that_is_complete():
    log = "OSError: /models/x does not appear to have a file named tekken.json"
    assert decide(log, {"load_format": "mistral"})["set"] == {"load_format": "auto"}
    files = ["params.json", "tekken.json", "consolidated.safetensors"]
    assert decide(log, {"model_files": files})["set"]["load_format"] == "mistral"
    assert decide(log, {"model_files": files[:2]}) is None


def test_a_hang_while_an_optional_loader_reads_is_tried_with_the_default():
    stalled = {"found": False, "phase": "stalled", "stalled_in": "loading"}
    assert repair.decide(stalled, {}, {"load_format": "instanttensor"}, [])["set"] == {"load_format": "auto"}
    assert repair.decide(stalled, {}, {"load_format": "auto"}, []) is None
    assert repair.decide({**stalled, "stalled_in": "capturing"}, {}, {"load_format": "instanttensor"}, []) is None


def test_a_raise_keeps_the_floor_of_the_operating_system():
    log = "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`"
    wanted = {"gpu_memory_utilization": 0.6}
    assert decide(log, wanted, total_bytes=120 * GIB, memory_available_bytes=110 * GIB)["set"] == {"gpu_memory_utilization": 0.65}
    assert decide(log, wanted, total_bytes=120 * GIB, memory_available_bytes=80 * GIB) is None
    assert decide(log, wanted) is None


def test_environment_and_container_settings_come_from_the_entry():
    slow = "Timed out waiting for engine core processes to start. This is often caused by slow weight loading. Waited 600s"
    assert decide(slow, {})["set"] == {"env": {"VLLM_ENGINE_READY_TIMEOUT_S": "3600"}}
    shm = "ERROR: Unexpected bus error encountered in worker. This might be caused by insufficient shared memory (shm)."
    assert decide(shm, {})["set"] == {"container": {"shm_size": "16g"}}


EVERYTHING = {
    "max_model_len": 65536,
    "max_num_seqs": 256,
    "max_num_batched_tokens": 8192,
    "gpu_memory_utilization": 0.8,
    "kv_cache_dtype": "fp8",
    "load_format": "fastsafetensors",
    "cuda_graphs": "never",
    "args": {"--attention-backend": "FLASHINFER"},
    "model_files": ["params.json", "tekken.json", "consolidated.safetensors"],
}
ASKED_FIRST = [entry for entry in ENTRIES if entry.auto["level"] != "safe" and entry.auto.get("action") in repair.RULES]


def test_some_repairs_that_are_asked_for_first_have_a_rule():
    assert {"KB-105", "KB-121", "KB-133"} <= {entry.id for entry in ASKED_FIRST}


@pytest.mark.parametrize("entry", ASKED_FIRST, ids=lambda entry: entry.id)
def test_what_has_to_be_confirmed_is_never_done_unasked(entry):
    found = {"found": True, "id": entry.id, "values": {}, "auto": entry.auto}
    facts = {"total_bytes": 120 * GIB, "memory_available_bytes": 118 * GIB, "kv_too_small": {"estimated_max_model_len": 30000}}
    assert repair.decide(found, facts, EVERYTHING, []) is None
    safe = {**found, "auto": {**entry.auto, "level": "safe"}}
    assert repair.decide(safe, facts, EVERYTHING, []) is not None, "nothing but its level holds it back"


def apply(rule, wanted, facts=(), **values):
    return [change for change, _reason in repair.RULES[rule]({"values": values}, dict(facts), repair.settings(wanted))]


@pytest.mark.parametrize(("now", "higher"), [(0.6, 0.65), (0.83, 0.85), (0.85, None), (0.9, None)])
def test_utilisation_is_raised_to_085_at_most(now, higher):
    facts = {"total_bytes": 120 * GIB, "memory_available_bytes": 119 * GIB, "os_floor_bytes": GIB}
    changes = apply("raise_utilization", {"gpu_memory_utilization": now, "os_floor_bytes": GIB}, facts)
    assert changes == ([{"gpu_memory_utilization": higher}] if higher else [])


@pytest.mark.parametrize(("free", "lower"), [(100, 0.8), (40, 0.3), (39, None), (30, None)])
def test_utilisation_is_lowered_to_03_at_least(free, lower):
    """Below that hardly a model fits: it is not the server that has too much."""
    told = {"free_bytes": free * GIB, "total_bytes": 120 * GIB, "utilization": 0.85, "requested_bytes": 102 * GIB}
    assert apply("free_memory", {"gpu_memory_utilization": 0.85}, {"admission": told}) == [{}, *([{"gpu_memory_utilization": lower}] if lower else [])]


def test_no_lack_of_memory_is_cured_by_the_gate_of_a_start():
    """With the KV cache in bytes vLLM takes those, whatever share it was told that it may use."""
    pinned = {**EVERYTHING, "kv_cache_bytes": 60 * GIB}
    rules = set(repair.RULES) - {"raise_utilization", "set"}
    changed = [change for rule in sorted(rules) for change in apply(rule, pinned, {"admission": ADMISSION}, want="2.00 GiB")]
    assert len(changed) > 8 and [change for change in changed if "gpu_memory_utilization" in change] == []
    assert "lower_utilization" not in repair.RULES


@pytest.mark.parametrize(
    ("asked", "kv", "step"),
    [
        ("2.00 GiB", 60, 2.5),
        ("512.00 MiB", 60, 1.0),
        (None, 60, 1.0),
        ("40.00 GiB", 20, 5.5),
        ("2.00 GiB", 2, 1.0),
        ("2.00 GiB", 1, None),
        ("2.00 GiB", 0, None),
    ],
)
def test_more_is_kept_back_by_what_the_engine_lacked(asked, kv, step):
    wanted = {"kv_cache_bytes": kv * GIB, "reserve_gib": 4}
    kept = [{"reserve_gib": 4 + step, "kv_cache_most_bytes": int((kv - step) * GIB)}] if step else []
    assert apply("reserve", wanted, want=asked) == kept
    assert apply("reserve", {"reserve_gib": 4, "args": {"--kv-cache-memory-bytes": kv * GIB}}, want2=asked) == kept, "what the command says counts too"


def test_a_step_that_takes_too_long_gets_fewer_requests_then_fewer_tokens():
    assert apply("lighten", {"max_num_seqs": 256, "max_num_batched_tokens": 8192}) == [{"max_num_seqs": 64}, {"max_num_batched_tokens": 4096}]
    assert apply("lighten", {"max_num_seqs": 9, "max_num_batched_tokens": 2048}) == [{"max_num_seqs": 4}]
    assert apply("lighten", {"max_num_seqs": 1}) == apply("lighten", {}) == []
    assert decide("TimeoutError: RPC call to sample_tokens timed out.", {"max_num_seqs": 256, "kv_cache_bytes": GIB})["set"] == {"max_num_seqs": 64}


ADMISSION = {"free_bytes": 100 * GIB, "total_bytes": 120 * GIB, "utilization": 0.85, "requested_bytes": 102 * GIB}


def test_what_is_not_free_is_not_let_in_by_a_lower_gate_alone():
    wanted = {"gpu_memory_utilization": 0.85, "kv_cache_bytes": 60 * GIB}
    assert apply("free_memory", wanted, {"admission": ADMISSION}) == [{}, {"kv_cache_most_bytes": 57 * GIB}]
    stated = {"kv_cache_most_bytes": 57 * GIB, "gpu_memory_utilization": "auto"}
    assert apply("free_memory", {**wanted, "utilization_stated": True}, {"admission": ADMISSION}) == [{}, stated], (
        "a share that was stated would let it in again"
    )
    assert apply("free_memory", {**wanted, "kv_cache_bytes": 3 * GIB}, {"admission": ADMISSION}) == [{}]


REAL = Path(__file__).parent / "logs"


def test_each_step_of_the_ladder_of_graphs_has_a_real_log():
    """An H100, vLLM 0.26.0: where every graph fails, two steps lead to eager, which served; where only full ones fail, piecewise served."""
    log = (REAL / "capture-all-0.26.0-gpu.log").read_text()
    first = decide(log, {"cuda_graphs": "auto"})
    assert (first["id"], first["set"]) == ("KB-130", {"args": {"--compilation-config": {"cudagraph_mode": "PIECEWISE"}}})
    second = decide(log, {"args": first["set"]["args"]}, [first])
    assert second["set"] == {"cuda_graphs": "never"}
    for name, step in (("capture-full-piecewise", "<CUDAGraphMode.PIECEWISE"), ("capture-all-eager", "enforce_eager=True")):
        served = (REAL / f"{name}-0.26.0-gpu.log").read_text()
        assert step in served and decide(served, {"cuda_graphs": "auto"}) is None


def test_a_cache_that_was_too_large_gets_fewer_bytes_whatever_the_batch_is():
    """Real: 69.85 GiB beside 15 GiB of weights on a device of 79.18 (H100, vLLM 0.26.0). A batch that was not made yet is no remedy."""
    log = (REAL / "kv-too-large-0.26.0-gpu.log").read_text()
    kv = 75_000_000_000
    change = decide(log, {"max_num_batched_tokens": 8192, "kv_cache_bytes": kv, "gpu_memory_utilization": 0.9})
    # 69.85 + 15.0 - 78.66 are missing beside what a server takes else, 3 GiB.
    assert change["set"] == {"reserve_gib": 9.5, "kv_cache_most_bytes": kv - int(9.5 * GIB)}
    assert 78.66 * GIB - 15.0 * GIB - change["set"]["kv_cache_most_bytes"] >= 3 * GIB
    warm = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
    assert decide(warm, {"max_num_batched_tokens": 8192, "kv_cache_bytes": kv})["set"] == {"max_num_batched_tokens": 4096}


def test_the_floor_is_kept_once():
    wanted = {"kv_cache_bytes": 60 * GIB, "os_floor_bytes": 12 * GIB}
    memory = {"missing_bytes": 3 * GIB, "lowest_bytes": 9 * GIB}
    change = repair.keep_floor(memory, wanted, [])
    assert (change["id"], change["set"], change["wait_for_memory"]) == ("floor", {"kv_cache_most_bytes": 57 * GIB}, True)
    assert "9.00 GiB of the 12.00 GiB" in change["reason"] and "3.00 GiB less than 60.00 GiB" in change["reason"]
    assert repair.keep_floor(memory, wanted, [{"id": "KB-101", "set": {}}]) == change
    assert repair.keep_floor(memory, wanted, [change]) is None, "once"
    assert repair.keep_floor(memory, wanted, [{"id": "KB-101"}, {"id": "KB-109"}]) is None, "two repairs at most"
    assert repair.keep_floor({**memory, "missing_bytes": 0}, wanted, []) is None
    assert repair.keep_floor({}, wanted, []) is None
    assert repair.keep_floor({**memory, "missing_bytes": 61 * GIB}, wanted, []) is None, "no cache is large enough"


@pytest.mark.parametrize(("now", "fewer"), [(8192, 4096), (4096, 2048), (3000, 2048), (2048, None), (1024, None)])
def test_a_batch_is_halved_to_2048_at_least(now, fewer):
    assert apply("lower_batch", {"max_num_batched_tokens": now}) == ([{"max_num_batched_tokens": fewer}] if fewer else [])


@pytest.mark.parametrize(("now", "repaired"), [(8192, 4096), (4097, 4096), (4096, None), (2048, None)])
def test_a_context_is_only_ever_made_shorter(now, repaired):
    assert apply("fit_context", {"max_model_len": now}, est_max_len="4100") == ([{"max_model_len": repaired}] if repaired else [])


def test_a_flag_nobody_knows_keeps_the_others_from_being_dropped():
    args = {"--disable-log-requests": True, "--my-flag": 3}
    assert apply("drop_flags", {"args": args}, args="--disable-log-requests --my-flag 3") == []
    assert apply("drop_flags", {"args": args}, args="--disable-log-requests") == [{"args": {"--disable-log-requests": None}}]


def test_a_flag_is_dropped_only_when_it_is_known_to_have_gone():
    log = "vllm serve: error: unrecognized arguments: --disable-log-requests"
    assert decide(log, {"args": {"--disable-log-requests": True}})["set"] == {"args": {"--disable-log-requests": None}}
    assert decide("vllm: error: unrecognized arguments: --my-flag 3", {"args": {"--my-flag": 3}}) is None


@pytest.mark.parametrize(
    "log",
    [
        "OSError: [Errno 98] Address already in use",
        'docker: Error response from daemon: could not select device driver "" with capabilities: [[gpu]].',
        "setting `trust_remote_code=True`",
        "Cannot access gated repo for url",
        "a thing nobody has seen",
        "",
    ],
)
def test_what_touches_host_files_or_clients_is_only_proposed(log):
    assert decide(log, {"max_model_len": 8192, "cuda_graphs": "auto", "load_format": "fastsafetensors"}) is None


@given(
    st.lists(st.sampled_from(sorted(entry.id for entry in ENTRIES)), min_size=1, max_size=6),
    st.fixed_dictionaries(
        {},
        optional={
            "max_model_len": st.integers(min_value=1, max_value=10**6),
            "max_num_seqs": st.integers(min_value=1, max_value=1024),
            "max_num_batched_tokens": st.integers(min_value=1, max_value=65536),
            "gpu_memory_utilization": st.floats(min_value=0.1, max_value=0.95),
            "cuda_graphs": st.sampled_from(["auto", "always", "piecewise", "never"]),
            "load_format": st.sampled_from(["auto", "mistral", "fastsafetensors"]),
            "args": st.just({"--attention-backend": "FLASHINFER"}),
        },
    ),
)
def test_whatever_fails_how_often_repairs_end(failures, wanted):
    """At most two repairs, each with a reason, never one twice, whatever goes wrong in which order."""
    examples = {entry.id: entry.example for entry in ENTRIES}
    history: list[dict] = []
    for name in failures:
        log = examples[name]
        change = decide(log, wanted, history, memory_available_bytes=100 * GIB)
        if change is None:
            continue
        assert change["reason"]
        assert change not in history
        history.append(change)
        wanted = {**wanted, **{key: value for key, value in change["set"].items() if key not in ("env", "args", "container")}}
    assert len(history) <= 2

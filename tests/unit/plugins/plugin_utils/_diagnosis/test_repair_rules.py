# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each rule of a repair by itself: everything it offers, in its order, with the reason, at both sides of its limits."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis import diagnosis, expressions, reading, repair

GIB = 2**30


def offered(rule, wanted=None, facts=None, **values):
    """All that a rule yields."""
    return list(repair.RULES[rule]({"values": values}, facts or {}, repair.settings(wanted or {})))


@pytest.mark.parametrize(
    ("now", "values", "fewer"),
    [
        (256, {}, 64), (65, {}, 64), (64, {}, 32), (3, {}, 1), (2, {}, 1), (1, {}, None), (None, {}, 64), (None, {"n": 40}, 20), (None, {"seqs": 8}, 4),
        (256, {"blocks": 16}, 16), (256, {"blocks": 99}, 64),
    ],
)  # fmt: skip
def test_fewer_sequences(now, values, fewer):
    was = now or values.get("n") or values.get("seqs") or 256
    reason = f"max_num_seqs {was} -> {fewer}: fewer requests at once need less memory while warming up"
    assert offered("cap_sequences", {"max_num_seqs": now} if now else {}, **values) == ([({"max_num_seqs": fewer}, reason)] if fewer else [])


@pytest.mark.parametrize(
    ("now", "values", "told", "fits", "limit"),
    [
        (8192, {"est_max_len": 5000}, {}, 4096, "what the engine says fits into its KV cache"),
        (8192, {"derived": 5000}, {}, 5000, "the model's own length"),
        (8192, {"kv_tokens": 2047}, {}, 2047, "what the engine says fits into its KV cache"),
        (8192, {}, {"estimated_max_model_len": 1024}, 1024, "what the engine says fits into its KV cache"),
        (8192, {}, {"kv_tokens": 2048}, 2048, "what the engine says fits into its KV cache"),
        (8192, {}, {"kv_tokens": 1023}, None, ""),
        (4096, {"kv_tokens": 4096}, {}, None, ""),
        (None, {"kv_tokens": 4096}, {}, 4096, "what the engine says fits into its KV cache"),
        ("auto", {"kv_tokens": 4096}, {}, 4096, "what the engine says fits into its KV cache"),
        (8192, {}, {}, None, ""),
    ],
)
def test_a_context_that_fits(now, values, told, fits, limit):
    made = offered("fit_context", {"max_model_len": now} if now else {}, {"kv_too_small": told}, **values)
    assert made == ([({"max_model_len": fits}, f"max_model_len {now or '(the model default)'} -> {fits}: {limit}")] if fits else [])


def test_a_step_is_made_smaller_by_its_requests_and_then_by_its_tokens():
    assert offered("lighten", {"max_num_seqs": 200, "max_num_batched_tokens": 5000}) == [
        ({"max_num_seqs": 64}, "max_num_seqs 200 -> 64: a step with fewer requests ends sooner"),
        ({"max_num_batched_tokens": 2500}, "max_num_batched_tokens 5000 -> 2500: a smaller step ends sooner"),
    ]
    assert [change for change, _why in offered("lighten", {"max_num_seqs": 2, "max_num_batched_tokens": 2049})] == [
        {"max_num_seqs": 1}, {"max_num_batched_tokens": 2048},
    ]  # fmt: skip
    assert offered("lighten", {"max_num_seqs": 1, "max_num_batched_tokens": 2048}) == offered("lighten") == []


@pytest.mark.parametrize(
    ("kv", "values", "facts", "step"),
    [
        (40, {}, {}, 1.0),
        (40, {"want": "3.00 GiB"}, {}, 3.5),
        (40, {"want2": "512.00 MiB"}, {}, 1.0),
        (40, {"want": "30.00 GiB"}, {}, 10.5),
        (40, {}, {"kv_not_allocated": True, "free_at_start_bytes": 50 * GIB, "weights_bytes": 12 * GIB}, 5.0),
        (1, {}, {}, None),
        (2, {}, {}, 1.0),
    ],
)
def test_less_cache_where_the_box_ran_out_of_memory(kv, values, facts, step):
    made = offered("reserve", {"kv_cache_bytes": kv * GIB, "reserve_gib": 2}, facts, **values)
    why = f"{step or 0:g} GiB more are kept back and the KV cache gets {kv - (step or 0):.2f} instead of {kv:.2f} GiB: the box ran out of memory"
    assert made == ([({"reserve_gib": 2.0 + step, "kv_cache_most_bytes": int((kv - step) * GIB)}, why)] if step else [])
    assert offered("reserve") == []


@pytest.mark.parametrize(
    ("now", "free", "floor", "higher"),
    [(0.5, 77, 0, 0.55), (0.5, 66.9, 0, None), (0.83, 97, 0, 0.85), (0.85, 99, 0, None), (0.5, 56.1, 1, 0.55), (0.5, 55.9, 1, None)],
)
def test_a_share_is_raised_as_far_as_the_floor_lets_it(now, free, floor, higher):
    facts = {"total_bytes": 100 * GIB, "memory_available_bytes": int(free * GIB)}
    made = offered("raise_utilization", {"gpu_memory_utilization": now, "os_floor_bytes": floor * GIB}, facts)
    why = f"gpu_memory_utilization {now} -> {higher}: nothing was left for the KV cache"
    assert made == ([({"gpu_memory_utilization": higher}, why)] if higher else [])
    assert offered("raise_utilization", {"gpu_memory_utilization": now}, {}) == offered("raise_utilization", {}, facts) == []


def test_memory_that_somebody_held_is_waited_for_and_then_asked_for_less():
    wait = ({}, "another process still held memory when the engine looked; wait until it has come back and start again")
    told = {"admission": {"requested_bytes": 30 * GIB, "free_bytes": 28 * GIB, "total_bytes": 100 * GIB}}
    why = "the KV cache gets 3.0 GiB less than 20.0 GiB: only 28.0 GiB were free"
    kv = {"kv_cache_bytes": 20 * GIB}
    assert offered("free_memory", kv, told) == [wait, ({"kv_cache_most_bytes": 17 * GIB}, why)]
    stated = {"kv_cache_most_bytes": 17 * GIB, "gpu_memory_utilization": "auto"}
    assert offered("free_memory", {**kv, "utilization_stated": True}, told) == [wait, (stated, why)]
    assert offered("free_memory", {"kv_cache_bytes": 3 * GIB}, told) == offered("free_memory", kv) == offered("free_memory") == [wait]
    free = {"admission": {"requested_bytes": 0, "free_bytes": 60 * GIB, "total_bytes": 100 * GIB}}
    lower = ({"gpu_memory_utilization": 0.56}, "gpu_memory_utilization 0.8 -> 0.56: 60.0 GiB were free, 4 GiB of them stay free")
    assert offered("free_memory", {"gpu_memory_utilization": 0.8}, free) == [wait, lower]
    assert offered("free_memory", {"gpu_memory_utilization": 0.56}, free) == [wait]
    for count, many in ((34, 2), (33, 1)):
        least = {"admission": {"requested_bytes": 0, "free_bytes": count * GIB, "total_bytes": 100 * GIB}}
        assert len(offered("free_memory", {"gpu_memory_utilization": 0.8}, least)) == many
    assert offered("wait_for_memory") == [({}, "memory moved while the engine measured it; wait until it is stable and start again")]


def test_loaders_layouts_kernels_and_flags():
    def rule(name, wanted, **found):
        return list(repair.RULES[name]({"values": {}, **found}, {}, repair.settings(wanted)))

    auto = [({"load_format": "auto"}, "load_format fastsafetensors -> auto: this model or image does not load with it")]
    fast = {"load_format": "fastsafetensors"}
    assert rule("default_loader", fast) == rule("default_loader", fast, id="KB-189", values={"m": "instanttensor"}) == auto
    assert (
        rule("default_loader", fast, id="KB-189", values={"m": "numpy"}) == rule("default_loader", {"load_format": "auto"}) == rule("default_loader", {}) == []
    )
    assert rule("default_loader", fast, id="KB-1", values={"m": "numpy"}) == auto
    files = {"model_files": ["consolidated-1.safetensors", "params.json", "tekken.json"]}
    mistral = {"load_format": "mistral", "args": {"--tokenizer-mode": "mistral", "--config-format": "mistral"}}
    assert rule("mistral_format", files) == [(mistral, "the model is complete in Mistral's own layout, so read that one")]
    for gone in range(3):
        assert rule("mistral_format", {"model_files": files["model_files"][:gone] + files["model_files"][gone + 1 :]}) == []
    assert rule("mistral_format", {"load_format": "mistral"})[0][0] == {"load_format": "auto"} and rule("mistral_format", {}) == []
    assert rule("attention", {"args": {"attention_backend": "X"}, "kv_cache_dtype": "fp8"}) == [
        ({"args": {"--attention-backend": None}}, "leave --attention-backend away so that vLLM chooses one that can"),
        ({"kv_cache_dtype": "auto"}, "kv_cache_dtype fp8 -> auto: no attention kernel supports it here"),
    ]
    assert rule("attention", {"kv_cache_dtype": "auto"}) == rule("attention", {}) == []
    given = {"args": {"swap_space": 4, "num_scheduler_steps": 1}}
    gone = "leave --swap-space, --num-scheduler-steps away: this vLLM no longer has it and works the same without"
    refused = "--swap-space 4 --num-scheduler-steps 1"
    assert rule("drop_flags", given, values={"args": refused}) == [({"args": {"--swap-space": None, "--num-scheduler-steps": None}}, gone)]
    assert (
        rule("drop_flags", given, values={"args": "--swap-space --other"})
        == rule("drop_flags", {}, values={"args": refused})
        == rule("drop_flags", given)
        == []
    )


def test_a_change_as_it_is_written():
    def rule(wanted, **auto):
        return list(repair.RULES["set"]({"auto": auto}, {}, wanted))

    assert rule({}, set={"a": 1}) == [({"a": 1}, "the change the diagnosis names")] and rule({"a": 1}, set={"a": 1}) == rule({}) == []
    whole = {"set": {"a": 1, "args": {"--x": 1}}, "env": {"E": "1"}, "container": {"c": 1}, "unset_env": ["F"], "unset": ["--y"], "why": "so"}
    made = {"a": 1, "env": {"E": "1", "F": None}, "container": {"c": 1}, "args": {"--x": 1, "--y": None}}
    assert rule({}, **whole) == [(made, "so")] and rule(made, **whole) == [] and rule({**made, "a": 2}, **whole) == [(made, "so")]
    assert rule({}, unset_env=["F"]) == [({"env": {"F": None}}, "the change the diagnosis names")]


def test_the_flags_of_a_command_as_settings():
    command = ["x", "vllm", "serve", "/m", "--max-num-seqs", "4", "--enforce-eager", "--gpu-memory-utilization", "0.5", "--a", "b", "c", "--d", "e"]
    assert repair.flags_of(command) == [
        {"flag": "--max-num-seqs", "value": 4}, {"flag": "--enforce-eager", "value": True}, {"flag": "--gpu-memory-utilization", "value": 0.5},
        {"flag": "--a", "value": ["b", "c"]}, {"flag": "--d", "value": "e"},
    ]  # fmt: skip
    assert repair.settings({"command": command, "max_num_seqs": 8, "args": {"d": 1}}) == {
        "command": command, "max_num_seqs": 8, "cuda_graphs": "never", "gpu_memory_utilization": 0.5, "args": {"--d": 1, "--a": ["b", "c"]},
    }  # fmt: skip
    assert repair.flags_of(["vllm", "--a"]) == [] and repair.settings({}) == {"args": {}}


def test_the_floor_is_kept_by_as_much_as_is_missing():
    wanted = {"kv_cache_bytes": 10 * GIB, "os_floor_bytes": 6 * GIB}
    why = "4.00 GiB of the 6.00 GiB for the operating system were left, so the KV cache gets 2.00 GiB less than 10.00 GiB"
    made = {"id": "floor", "set": {"kv_cache_most_bytes": 8 * GIB}, "reason": why, "wait_for_memory": True}
    assert repair.keep_floor({"missing_bytes": 2 * GIB}, wanted, []) == repair.keep_floor({"missing_bytes": 2 * GIB}, wanted, [{"id": "x"}]) == made
    for missing, history in ((0, []), (10 * GIB, []), (GIB, [{"id": "floor"}]), (GIB, [{"id": "x"}, {"id": "y"}])):
        assert repair.keep_floor({"missing_bytes": missing}, wanted, history) is None
    assert repair.keep_floor({"missing_bytes": GIB}, {"kv_cache_bytes": 2 * GIB}, [])["reason"].startswith("11.00 GiB of the 12.00 GiB")


def test_waiting_is_not_done_twice_in_a_row_and_a_change_never_again():
    wait, change, other = {"id": "a", "set": {}}, {"id": "a", "set": {"x": 1}}, {"id": "b", "set": {}}
    assert repair._tried(wait, [wait]) and not repair._tried(wait, [wait, other]) and not repair._tried(wait, [])
    assert repair._tried(change, [change, other]) and not repair._tried(change, [{"id": "a", "set": {"x": 2}}, {"id": "b", "set": {"x": 1}}])
    stalled = {"phase": "stalled", "stalled_in": "loading"}
    made = repair._unstick(stalled, {"load_format": "fastsafetensors"}, [])
    assert made == {
        "id": "stalled-loading", "set": {"load_format": "auto"}, "wait_for_memory": True,
        "reason": "loading with fastsafetensors showed no sign of life; the default loader is slower but waits for nothing else",
    }  # fmt: skip
    assert repair._unstick(stalled, {"load_format": "fastsafetensors"}, [made]) is None and repair._unstick(stalled, {"load_format": "auto"}, []) is None
    assert repair._unstick({**stalled, "stalled_in": "x"}, {"load_format": "fastsafetensors"}, []) is None


# ---- how a diagnosis is told -------------------------------------------------------------------------------------------------------------------------


def test_a_diagnosis_in_words():
    found = {"what": "w" * 500, "why": "y", "todo": "t", "source": ["a", "b", "c", "d"], "id": "KB-1", "lines": ["one", "two"]}
    assert diagnosis.explain(found, "It failed") == (f"It failed.\nWhat: {'w' * 400}\nWhy: y\nWhat to do: t\nSource: KB-1; a; b; c\nLog:\n  | one\n  | two")
    assert diagnosis.explain({"what": "", "why": "", "todo": "", "source": [], "id": "", "lines": []}, "It failed") == "It failed."


def test_the_last_of_the_reasons_below_an_error():
    lines = ["error: x", "  Caused by: a", "  Caused by: b", "plain", "  Caused by: c"]
    assert [reading.is_reason(line) for line in lines] == [False, True, True, False, True]
    assert [reading._deepest(lines, number) for number in range(5)] == [2, 2, 2, 4, 4]
    assert [reading.head_of(lines, number) for number in range(5)] == [0, 0, 0, 3, 3]
    drawn = ["error: x", "  Caused by: a", "  │ picture"]
    assert reading._deepest(drawn, 0) == 1


@pytest.mark.parametrize(("expression", "ends"), [(r"(a+)+b", False), (r"a+a+a+b", False), (r"foo bar: (\d+)", True), (r"^abc$", True), (r"(?:ab|cd)x", True)])
def test_an_expression_that_may_run_for_long_is_told(expression, ends):
    assert (expressions.problem(expression) is None) is ends

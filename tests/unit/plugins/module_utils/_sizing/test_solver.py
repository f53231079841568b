# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Properties of budget, solver and flags that hold for all inputs."""

from __future__ import annotations

import math
import shlex

import checkpoints
import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import beside, budget, checks, flags, solver, weights
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.capacity import bytes_for
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.engine import Engine
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layout import kv_layout
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.plan import plan_box
from hypothesis import given, settings
from hypothesis import strategies as st

GIB = 2**30
GOLDEN = checkpoints.golden_weights()
CONFIG = GOLDEN["Qwen3-8B", 1]["config"]
INFO = {"config": CONFIG, "weights": weights.summarise(checkpoints.dense(CONFIG, qk_norm=True), CONFIG), "kind": "chat"}


def box(available_bytes, total_bytes=int(121.69 * GIB)):
    return {"memory": {"total_bytes": total_bytes, "available_bytes": available_bytes, "cuda_total_bytes": total_bytes, "cuda_total_source": "t"}}


def plan(available_bytes, **wanted):
    return plan_box(box(available_bytes), [{"name": "a", "model_path": "/m", **wanted}], {"/m": INFO})


AVAILABLE = st.integers(13 * GIB, 121 * GIB)
LENGTHS = st.integers(1, 40960)


class TestProperties:
    @settings(max_examples=150, deadline=None)
    @given(AVAILABLE, AVAILABLE, LENGTHS, st.integers(1, 64))
    def test_more_memory_never_gives_less(self, one, two, length, concurrency):
        less, more = sorted((one, two))
        small, large = (plan(n, max_model_len=length, concurrency=concurrency)["servers"][0] for n in (less, more))
        assert small["verdict"] != "fits" or large["verdict"] == "fits"
        assert large["kv_tokens"] >= small["kv_tokens"]
        auto_small, auto_large = (plan(n, concurrency=concurrency)["servers"][0] for n in (less, more))
        if auto_small["verdict"] == "fits":
            assert auto_large["max_model_len"] >= auto_small["max_model_len"]

    @settings(max_examples=150, deadline=None)
    @given(AVAILABLE, LENGTHS, st.integers(1, 300))
    def test_what_fits_keeps_every_promise(self, available, length, concurrency):
        result = plan(available, max_model_len=length, concurrency=concurrency)
        entry, memory = result["servers"][0], result["box"]
        assert entry["kv_cache_bytes"] >= 0 and entry["requested_bytes"] >= 0
        if entry["verdict"] != "fits":
            return
        assert entry["concurrency"] >= concurrency
        assert entry["requested_bytes"] == math.ceil(memory["total_bytes"] * entry["gpu_memory_utilization"])
        assert entry["requested_bytes"] <= available - memory["floor_bytes"]
        used = sum(entry[k]["value"] for k in ("weights_bytes", "activation_bytes", "graph_bytes", "non_torch_bytes"))
        assert entry["requested_bytes"] >= used + entry["kv_cache_bytes"] + entry["margin_bytes"]

    @settings(max_examples=100, deadline=None)
    @given(AVAILABLE, LENGTHS, st.integers(1, 500))
    def test_each_change_on_this_box_makes_it_fit(self, available, length, concurrency):
        wanted = {"max_model_len": length, "concurrency": concurrency}
        entry = plan(available, **wanted)["servers"][0]
        for change in entry["changes"]:
            if change["set"] and not change.get("boxes"):
                assert plan(available, **{**wanted, **change["set"]})["servers"][0]["verdict"] == "fits", change

    @settings(max_examples=60, deadline=None)
    @given(AVAILABLE, st.integers(1, 64))
    def test_auto_context_is_the_longest_a_round_utilisation_allows(self, available, concurrency):
        result = plan(available, concurrency=concurrency)
        entry = result["servers"][0]
        if entry["verdict"] == "fits" and entry["max_model_len"] < entry["derived_max_model_len"]:
            assert result["box"]["headroom_bytes"] <= result["box"]["total_bytes"] / 1000 + entry["bytes_per_block"]
            longer = bytes_for(kv_layout(CONFIG, Engine()), entry["max_model_len"] + 1, concurrency)
            assert longer > entry["kv_cache_bytes"]

    @settings(max_examples=300, deadline=None)
    @given(st.integers(1, 130 * GIB), st.integers(100 * GIB, 130 * GIB), st.integers(0, 40 * GIB))
    def test_utilisation_admits_what_is_needed_and_is_round_where_it_can_be(self, needed, total, slack):
        if needed > total:
            return
        value = solver.smallest_utilization(needed, total, needed + slack)
        assert 0 < value <= 1 or needed == total
        assert math.ceil(total * value) >= needed
        # nine digits of 130 GiB are 140 bytes: nearer than that to the limit there is no such number
        assert math.ceil(total * value) <= needed + max(slack, 2 + total // 10**9)
        if slack > total // 500 and math.ceil(total * value) <= total:
            assert value == round(value, 3) or needed > total * 0.998

    @settings(max_examples=100, deadline=None)
    @given(AVAILABLE, st.lists(st.integers(1, 8), min_size=2, max_size=4))
    def test_servers_that_all_fit_ask_together_for_no_more_than_there_is(self, available, gibs):
        wanted = [{"name": f"s{i}", "model_path": "/m", "port": 8000 + i, "kv_cache_memory_gib": gib} for i, gib in enumerate(gibs)]
        result = plan_box(box(available), wanted, {"/m": INFO})
        if all(entry["verdict"] == "fits" for entry in result["servers"]):
            assert sum(entry["requested_bytes"] for entry in result["servers"]) <= result["box"]["usable_bytes"]


def test_utilisation_keeps_to_its_limit():
    total = 100 * GIB
    needed = total * 50_012 // 100_000
    assert solver.smallest_utilization(needed, total, total) == 0.501, "round where there is room"
    assert solver.smallest_utilization(needed, total, total * 50_025 // 100_000) == 0.5002
    assert solver.smallest_utilization(needed, total, total * 50_013 // 100_000) == 0.50012


class TestOverheads:
    # Activation peaks a real engine (0.26.0) logged on an H100 with 16,384 batched tokens and 1,024 sequences (docs/sizing.md).
    @pytest.mark.parametrize(
        "model,measured",
        [
            ("Llama-3.1-8B", 1_897_939_456),
            ("Devstral-Small-2-24B-Instruct-2512", 4_093_658_112),
            ("gpt-oss-20b", 3_114_590_208),
        ],
    )
    def test_activation_covers_what_an_engine_measured_without_waste(self, model, measured):
        facts = kv_layout(GOLDEN[model, 1]["config"], Engine()).facts
        part = beside.activations(facts, beside.Step(16384, 1024, vllm_version="0.26.0"), {})
        assert measured <= part.value <= 1.3 * measured
        assert part.source == "assumed"

    def test_logits_are_the_floor(self):
        facts = kv_layout(CONFIG, Engine()).facts
        part = beside.activations(facts, beside.Step(256, 256), {})
        assert part.value > 155_582_464 and "logits" in part.why

    def test_graphs(self):
        """What starts on an H100 logged for graphs, with 256 sequences; Devstral with 1,024 too."""
        logged = {("gemma-3-27b-it", 256): 1.02, ("DeepSeek-V2-Lite", 256): 0.89, ("Qwen3-0.6B", 256): 0.41,
                  ("Devstral-Small-2-24B-Instruct-2512", 256): 0.62, ("Qwen3-30B-A3B", 256): 0.65, ("Llama-3.1-8B", 256): 0.58,
                  ("Devstral-Small-2-24B-Instruct-2512", 1024): 0.80}  # fmt: skip
        for (model, sequences), gib in logged.items():
            facts = kv_layout(GOLDEN[model, 1]["config"], Engine()).facts
            assert -0.02 < beside.graphs(facts, beside.Step(2048, sequences), {}).value / GIB - gib < 0.15, model
        assert beside.graphs(facts, beside.Step(2048, 256, eager=True), {}).value == 0
        assert beside.graphs(facts, beside.Step(2048, 256, platform="cpu"), {}).value == 0

    def test_three_logged_gb10_starts_are_covered(self):
        """The seed's eager starts took 2.8 to 3.6 GiB beside the weights; the plan keeps that and the margin."""
        facts = kv_layout(GOLDEN["Devstral-Small-2-24B-Instruct-2512", 1]["config"], Engine()).facts
        planned = beside.total(list(beside.parts(facts, beside.Step(2048, 256, eager=True), {}).values())).value
        assert planned >= 3.4 * GIB and planned + budget.MARGIN_GIB * GIB >= 3.6 * GIB + 1.2 * GIB


class TestFlags:
    @given(st.dictionaries(st.from_regex(r"[a-z][a-z_]{0,10}[a-z]", fullmatch=True), st.one_of(st.booleans(), st.integers(), st.text(max_size=20))))
    def test_words_survive_a_shell(self, args):
        done = flags.normalise_args({k: v for k, v in args.items() if k not in flags.SECRET_ARGS}, "a")
        words = [w for k, v in done.items() for w in flags.words(flags.flag_name(k), v)]
        assert shlex.split(shlex.join(words)) == words and all(isinstance(w, str) for w in words)

    @pytest.mark.parametrize("text,number", [("64K", 65536), ("64k", 64000), ("1M", 2**20), ("2G", 2**31), ("8192", 8192), (5, 5), ("1.5K", 1536)])
    def test_numbers_as_vllm_reads_them(self, text, number):
        assert checks.human_int(text, "x") == number

    @pytest.mark.parametrize("text", ["", "x", "1.3", "K", None, 1.5, [1], "1e5"])
    def test_other_numbers_are_refused(self, text):
        with pytest.raises(GB10Error, match="is not a whole number"):
            checks.human_int(text, "x")

    @pytest.mark.parametrize("dashes", ["", "--"])
    @pytest.mark.parametrize("name", ["api_key", "hf_token", "ssl_keyfile_password"])
    def test_no_secret_gets_onto_a_command_line(self, name, dashes):
        for key in (dashes + name, dashes + name.replace("_", "-")):
            with pytest.raises(GB10Error, match=f"{name} in args would show on the command line"):
                flags.normalise_args({key: "s3cret"}, "a")

    def test_a_flag_without_a_value_is_left_away(self):
        assert flags.normalise_args({"max_num_seqs": None, "seed": 0}, "a") == {"seed": 0}

    @pytest.mark.parametrize("name", sorted(flags.ONE_WAY))
    def test_a_switch_that_can_only_be_turned_on_is_left_out_where_it_is_off(self, name):
        assert flags.normalise_args({name: False, "seed": 0}, "a") == {"seed": 0}, "`--flag None` would be its value"

    def test_nested_options_keep_their_underscores(self):
        assert flags.flag_name("compilation_config.cudagraph_mode") == "--compilation-config.cudagraph_mode"

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Profiles, the runs they come to, the figures of runs, llama-benchy's format, and two results side by side."""

from __future__ import annotations

import json

import bench_runs
import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._speed import benchy, compare, document, profiles, results

GRID = {"grid": {"input_tokens": 512, "output_tokens": 16, "depths": [0, 1024], "concurrency": [1, 2], "repeats": 3}}
POINT = {"name": "d0 c2", "dataset": "random", "prefix_tokens": 0, "depth": 0, "concurrency": 2, "input_tokens": 512, "output_tokens": 5}

DEPLOYMENT = {"name": "m", "container": {"command": ["serve", "/models/m"], "volumes": []}}


def values(arguments: list[str], flag: str) -> str:
    return arguments[arguments.index(flag) + 1]


@pytest.mark.parametrize("name", sorted(profiles.PROFILES))
def test_each_profile_of_ours_can_be_used(name):
    wanted = profiles.profile(name)
    chosen, left_out = profiles.points(wanted)
    assert left_out == []
    found = profiles.runs(wanted, chosen)
    assert len(found) == len(chosen) * wanted["repeats"]
    assert len({values(one["args"], "--seed") for one in found}) == len(found), "the same prompts twice would come out of the prefix cache"


def seeds(work: dict) -> set[str]:
    """Of every run, those that warm up without depth included."""
    return {values(words, "--seed") for one in work["runs"] for words in (one["args"], one["warm"]) if words}


@pytest.mark.parametrize("name", sorted(profiles.PROFILES))
@pytest.mark.parametrize("other", ["2026-11-26 03:00:12.000002", "2026-11-26 03:00:13.000001", "2026-11-27 03:00:12.000001"])
def test_another_benchmark_of_a_server_that_goes_on_running_asks_with_other_prompts(name, other):
    """What it answered before lies in its prefix cache."""
    first, second = (seeds(document.work(DEPLOYMENT, name, begun=moment)) for moment in ("2026-11-26 03:00:12.000001", other))
    assert first and not first & second
    assert all(0 <= int(one) < 2**32 for one in first | second), "NumPy takes no other"


def test_no_number_of_repeats_makes_two_runs_ask_the_same():
    wanted = profiles.profile("many", {"many": {"input_tokens": 8, "output_tokens": 8, "concurrency": [1, 2], "repeats": 1500}})
    for begin in (0, 2**32 - 2):
        found = profiles.runs(wanted, profiles.points(wanted)[0], begin)
        used = [values(words, "--seed") for one in found for words in (one["args"], one["warm"]) if words]
        assert len(set(used)) == len(used) == 3002


def test_a_number_of_repeats_that_measures_nothing_is_refused():
    with pytest.raises(GB10Error, match="gb10_benchmark_repeats is -1; give a whole number from 1"):
        document.work(DEPLOYMENT, "quick", repeats=-1)
    assert document.work(DEPLOYMENT, "quick", repeats=5)["profile"]["repeats"] == 5


@pytest.mark.parametrize("name", [None, 3, ["chat"], {"chat": 1}])
def test_what_is_no_name_of_a_profile_is_one_sentence(name):
    with pytest.raises(GB10Error, match="There is no benchmark profile .*; there are agents"):
        profiles.profile(name)


@pytest.mark.parametrize(("key", "given"), [("concurrency", [1, 1]), ("concurrency", [4, 1, 4, 1]), ("depths", [0, 0]), ("depths", [512, 0, 512])])
def test_points_of_one_name_are_refused(key, given):
    own = {"twice": {"input_tokens": 8, "output_tokens": 8, "concurrency": [1], "depths": [0], key: given}}
    with pytest.raises(GB10Error, match=f"'twice': {key} has .* more than once"):
        profiles.profile("twice", own)


def test_sparks_arena_grid_is_the_recorded_one():
    wanted = profiles.profile("spark-arena-v2")
    assert (wanted["input_tokens"], wanted["output_tokens"], wanted["repeats"], wanted["requests_per_stream"]) == (2048, 128, 3, 1)
    chosen, _none = profiles.points(wanted)
    assert [(one["depth"], one["concurrency"]) for one in chosen[:5]] == [(0, 1), (0, 2), (0, 5), (0, 10), (4096, 1)]
    assert chosen[-1]["depth"] == 100000 and len(chosen) == 28


def test_what_lies_at_depth_is_in_the_cache_before_a_run_and_its_prompt_is_not():
    wanted = profiles.profile("grid", GRID)
    found = profiles.runs(wanted, profiles.points(wanted)[0])
    deep = [one for one in found if one["point"].startswith("d1024")]
    assert all(values(one["warm"], "--seed") == values(one["args"], "--seed") for one in deep)
    assert all(values(one["warm"], "--random-prefix-len") == "1024" and int(values(one["warm"], "--random-input-len")) <= 16 for one in deep)
    flat = [one for one in found if one["point"].startswith("d0")]
    assert all(values(one["warm"], "--seed") != values(one["args"], "--seed") for one in flat if one["warm"])
    assert [bool(one["warm"]) for one in flat] == [True, False, False] * 2


def test_shared_beginnings_are_asked_as_often_as_there_are_some():
    wanted = profiles.profile("agents")
    first = profiles.runs(wanted, profiles.points(wanted)[0])[0]
    assert int(values(first["args"], "--num-prompts")) % 4 == 0 and values(first["args"], "--prefix-repetition-num-prefixes") == "4"
    assert int(values(first["warm"], "--num-prompts")) == 4, "vLLM refuses fewer prompts than beginnings"


def test_a_depth_that_does_not_fit_is_left_out_and_said():
    chosen, left_out = profiles.points(profiles.profile("spark-arena-v2"), 16384)
    assert {one["depth"] for one in chosen} == {0, 4096, 8192}
    assert "16,384" in left_out[0] and len(left_out) == 4
    with pytest.raises(GB10Error, match="No point of the profile"):
        profiles.points(profiles.profile("spark-arena-v2"), 1024)


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ([1], "no mapping of names"),
        ({"x": 3}, "not a mapping such as"),
        ({"x": {"input_tokens": 5, "output_tokens": 5}}, "lacks concurrency"),
        ({"x": {"input_tokens": "many", "output_tokens": 5, "concurrency": [1]}}, "input_tokens is 'many'"),
        ({"x": {"input_tokens": True, "output_tokens": 5, "concurrency": [1]}}, "input_tokens is True"),
        ({"x": {"input_tokens": 5, "output_tokens": 5, "concurrency": 8}}, "give a list"),
        ({"x": {"input_tokens": 5, "output_tokens": 5, "concurrency": [0]}}, "whole number from 1"),
        ({"x": {"input_tokens": 5, "output_tokens": 5, "concurrency": []}}, "give a list"),
        ({"x": {"input_tokens": 5, "output_tokens": 5, "concurrency": [1], "streams": 3}}, "streams, which nothing reads"),
        ({"x": {"input_tokens": 5, "output_tokens": 5, "concurrency": [1], "dataset": "sharegpt"}}, "dataset is 'sharegpt'"),
        ({"x": {"input_tokens": 5, "output_tokens": 5, "concurrency": [1], "dataset": "prefix_repetition"}}, "needs prefix_tokens"),
        ({}, "no benchmark profile 'x'"),
    ],
)
def test_a_profile_that_cannot_be_read_is_one_sentence(own, said):
    with pytest.raises(GB10Error, match=said):
        profiles.profile("x", own)


def test_figures_of_a_run():
    found = results.figures_of(bench_runs.run(), POINT)
    assert found["decode_user"] == pytest.approx(10)
    assert found["decode"] == pytest.approx(20)
    assert found["prefill"] == pytest.approx(1024)
    assert found["total"] == pytest.approx(2 * 5 / 0.9)
    assert (found["ttft_p95"], found["itl_p99"]) == (595, pytest.approx(109.9))


def test_prefill_counts_what_had_to_be_computed():
    deep = POINT | {"depth": 4096}
    whole = bench_runs.run(prompt=4096 + 512)
    assert results.figures_of(whole, deep)["prefill"] == pytest.approx(1024)
    assert results.figures_of(whole, deep, cached=False)["prefill"] == pytest.approx(4608 / 0.5)
    assert "prefill" not in results.figures_of(whole, deep | {"dataset": "prefix_repetition"})


def test_a_run_with_errors_is_no_number():
    good = {"point": "d0 c2", "result": bench_runs.run(), "box": {"sm_clock_mhz": 2400.0, "power_w": 61.0}}
    bad = {"point": "d0 c2", "result": bench_runs.run(failed=1, itl=0.001), "box": {"sm_clock_mhz": 500.0}}
    gone = {"point": "d0 c2", "result": None, "error": "the tool was ended after 600 s"}
    short = {"point": "d0 c2", "result": bench_runs.run(total_output_tokens=2)}
    (found,) = results.merged([POINT], [good, bad, gone, short])
    assert (found["runs"], found["counted"]) == (4, 1)
    assert found["figures"]["decode_user"]["mean"] == pytest.approx(10)
    assert found["load"] == {"sm_clock_mhz": 2400.0, "power_w": 61.0}
    told = " | ".join(found["faults"])
    assert "1 of 2 requests failed: HTTP 500: the server is gone" in told and "600 s" in told and "2 tokens in all instead of 10" in told
    (none,) = results.merged([POINT], [bad])
    assert none["figures"] == {} and none["counted"] == 0


def test_llama_benchys_format_by_its_definitions():
    own = {"own": {"input_tokens": 512, "output_tokens": 5, "concurrency": [2], "repeats": 2}}
    asked = document.work(bench_runs.deployment(), "own", own)
    runs = [{"point": "d0 c2", "repeat": n, "result": bench_runs.run(), "box": {}} for n in range(2)]
    found = benchy.benchy(document.document(asked, {"runs": runs}, bench_runs.deployment(), None, {"box": "b", "made_at": "now"}))
    (row,) = found["benchmarks"]
    assert set(found) == {"version", "timestamp", "latency_mode", "latency_ms", "model", "prefix_caching_enabled", "max_concurrency", "benchmarks"}
    assert set(row) == {"concurrency", "context_size", "prompt_size", "response_size", "is_context_prefill_phase", *benchy.NAMES}
    assert row["pp_throughput"]["mean"] == pytest.approx(2 * 512 / 0.5)
    assert row["pp_req_throughput"]["mean"] == pytest.approx(512 / 0.5)
    assert row["tg_throughput"]["mean"] == pytest.approx(2 * 4 / 0.4)
    assert row["tg_req_throughput"]["mean"] == pytest.approx(10)
    assert row["ttfr"]["mean"] == pytest.approx(500) and len(row["ttfr"]["values"]) == 4
    assert row["peak_throughput"]["mean"] == 10 and row["peak_req_throughput"]["mean"] == 5


def test_a_profile_in_waves_is_not_written_as_llama_benchys():
    assert benchy.benchy(bench_runs.result("chat"))["benchmarks"] == []


def test_a_server_that_pools_is_refused():
    served = bench_runs.deployment()
    served["container"]["command"] += ["--runner", "pooling"]
    with pytest.raises(GB10Error, match="generates nothing"):
        document.work(served, "chat")


def test_what_the_box_gets_to_do_its_work():
    found = document.work(bench_runs.deployment(), "chat")
    assert found["tokenizer"] == ["--tokenizer", "/models/tiny"]
    assert found["volumes"] == ["/srv/models/org/tiny:/models/tiny:ro"]
    assert "key" not in json.dumps(found)


def test_a_result_on_the_cpu_engine_expects_nothing_and_says_so():
    found = bench_runs.result()
    assert not any("expected" in one for one in found["points"])
    assert "No expected speed" in document.text(found)
    assert results.summary(found)["concurrency"] == 1


def test_a_result_of_a_gb10_is_judged():
    from ansible_collections.gb10.vllm.plugins.module_utils._sizing.weights import summarise
    from checkpoints import dense, golden_weights

    config = golden_weights()["Llama-3.1-8B", 1]["config"]
    facts = {"config": config, "weights": summarise(list(dense(config)), config)}
    served = bench_runs.deployment(vllm_version="0.33.0")
    asked = document.work(served, "quick")
    found = document.document(asked, bench_runs.measured(asked, 0.1), served, facts, {"box": "spark-01", "made_at": "now"})
    alone = found["points"][0]
    assert alone["expected"]["kind"] == "dense" and alone["expected"]["ceiling"] == pytest.approx(273e9 / 15.0e9, rel=0.02)
    assert alone["judged"]["verdict"] == "slow" and "usually" in document.text(found)
    assert results.summary(found)["expected"] == alone["expected"]


def test_two_results_side_by_side():
    before, after = bench_runs.result(speed=1.0), bench_runs.result(speed=1.3, made_at="2026-11-26 04:00", vllm_version="0.33.0+cpu")
    after["state"]["arguments"] = [*after["state"]["arguments"], "--enforce-eager"]
    told = compare.compared(before, after)
    assert told["differs"] == ["vLLM: 0.32.0+cpu, then 0.33.0+cpu", "--enforce-eager: not given, then given"]
    assert {row["verdict"] for row in told["rows"]} == {"better"} and told["missing"] == []
    assert {row["verdict"] for row in compare.compared(after, before)["rows"]} == {"worse"}
    assert {row["verdict"] for row in compare.compared(before, bench_runs.result(speed=1.005))["rows"]} == {"noise"}


def test_one_run_knows_no_noise_and_other_shapes_are_not_compared():
    one = {"own": {"input_tokens": 512, "output_tokens": 16, "concurrency": [1], "repeats": 1}}
    assert {row["verdict"] for row in compare.compared(bench_runs.result("own", own=one), bench_runs.result("own", own=one, speed=9))["rows"]} == {"unknown"}
    other = {"own": one["own"] | {"input_tokens": 256}}
    told = compare.compared(bench_runs.result("own", own=one), bench_runs.result("own", own=other))
    assert told["rows"] == [] and told["missing"] == ["d0 c1"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 99, "points": []}', "<html>"])
def test_what_is_no_result_is_refused_in_one_sentence(text):
    with pytest.raises(GB10Error, match="no result of the playbook benchmark"):
        results.loaded(text, "x.json")
    kept = bench_runs.result()
    assert results.loaded(json.dumps(kept), "x.json") == kept

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is made of runs, compared whole with figures that were worked out by hand: streams that are uneven, and both sides of each limit."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._speed import benchy, compare, profiles, results

POINT = {
    "name": "d0 c2", "dataset": "random", "prefix_tokens": 0, "prefixes": 0, "depth": 0, "concurrency": 2, "input_tokens": 512, "output_tokens": 3,
    "requests_per_stream": 1,
}  # fmt: skip
UNEVEN = {
    "completed": 2, "failed": 0, "total_output_tokens": 7, "output_throughput": 4, "start_times": [100.0, 100.25], "ttfts": [0.5, 1.0],
    "itls": [[0.25, 0.25, 0.5], [0.25, 0.25]], "input_lens": [512, 512], "output_lens": [4, 3], "p50_ttft_ms": 750, "p99_itl_ms": 0, "p95_itl_ms": "fast",
}  # fmt: skip


def outcome(point: str = "d0 c2", box: dict | None = None, **more) -> dict:
    return {"point": point, "repeat": 0, "result": UNEVEN | more, "box": box or {}}


def test_two_uneven_streams_in_llama_benchys_format():
    other = POINT | {"name": "d0 c4", "concurrency": 4}
    state = {"model": "org/tiny", "arguments": []}
    document = {"state": state, "points": [POINT, other], "made_at": "now", "runs": [outcome(), outcome(failed=1), outcome("d0 c4", completed=0)]}
    figures = {
        "pp_throughput": [819.2], "pp_req_throughput": [1024.0, 512.0], "tg_throughput": [4.0], "tg_req_throughput": [3.0, 4.0], "peak_throughput": [5.0],
        "peak_req_throughput": [3.0, 3.0], "ttfr": [500.0, 1000.0], "est_ppt": [500.0, 1000.0], "e2e_ttft": [500.0, 1000.0],
    }  # fmt: skip
    spread = {1: lambda some: (some[0], 0.0), 2: lambda some: ((some[0] + some[1]) / 2, abs(some[1] - some[0]) / 2)}
    rows = {name: dict(zip(("mean", "std", "values"), (*spread[len(some)](some), some), strict=True)) for name, some in figures.items()}
    head = {"concurrency": 2, "context_size": 0, "prompt_size": 512, "response_size": 3, "is_context_prefill_phase": False}
    assert benchy.benchy(document) == {
        "version": "0.4.0", "timestamp": "now", "latency_mode": "none", "latency_ms": 0.0, "model": "org/tiny", "prefix_caching_enabled": True,
        "max_concurrency": 2, "benchmarks": [head | rows],
    }  # fmt: skip


def test_a_single_token_at_one_instant_has_no_rate():
    at_once = {"start_times": [1.0], "ttfts": [0.5], "itls": [[]], "input_lens": [512], "output_lens": [1], "total_output_tokens": 3, "completed": 1}
    document = {"state": {"model": "m"}, "points": [POINT], "made_at": "", "runs": [outcome(**at_once)]}
    (row,) = benchy.benchy(document)["benchmarks"]
    assert (row["tg_throughput"], row["tg_req_throughput"], row["peak_throughput"]["values"]) == (None, None, [1.0])
    assert results.figures_of(UNEVEN | at_once, POINT) == {"total": 4.0, "prefill": 1024.0, "ttft_p50": 750.0}


def test_the_points_of_a_result_hold_the_runs_that_are_numbers_and_say_why_the_others_are_none():
    good = [outcome(box={"sm_clock_mhz": 2400, "power_w": 60.0}), outcome(box={"sm_clock_mhz": 2300, "power_w": 70.0}, output_throughput=6)]
    good[1]["result"]["spec_decode_acceptance_length"] = 2.0
    bad = [outcome(failed=1, errors=["", " Traceback\nHTTP 500 "], box={"power_w": 900.0}), {"point": "d0 c2", "error": "killed"}]
    (found,) = results.merged([POINT], [*good, *bad, outcome("d9 c9")])
    same = {"decode_user": 3.5, "decode": 7.0, "prefill": 768.0, "ttft_p50": 750.0}
    assert found == POINT | {
        "runs": 4, "counted": 2, "faults": ["1 of 3 requests failed: HTTP 500", "killed"], "accepted": 1.5,
        "load": {"sm_clock_mhz": 2300, "power_w": 70.0},
        "figures": {
            "total": {"mean": 5.0, "std": pytest.approx(2**0.5), "values": [4.0, 6.0]},
            **{name: {"mean": value, "std": 0.0, "values": [value, value]} for name, value in same.items()},
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"error": ""}, "the tool left no result"),
        ({"result": {"completed": 0, "failed": 0}}, "0 of 0 requests failed"),
        ({"result": {"completed": 3, "failed": 1, "errors": []}}, "1 of 4 requests failed"),
        ({"result": {"completed": 2, "total_output_tokens": 17}}, "its answers have 17 tokens in all instead of 20"),
        ({"result": {"completed": 2, "total_output_tokens": 18}}, ""),
        ({"result": {"completed": 1}}, "its answers have 0 tokens in all instead of 10"),
    ],
)
def test_a_run_is_a_number_from_nine_tenths_of_its_tokens_on(given, said):
    assert results.fault(given, 10) == said


@pytest.mark.parametrize(
    ("mean", "std", "more", "noise", "verdict"),
    [
        (110, 4.0, True, 10.0, "noise"), (110.5, 4.0, True, 10.0, "better"), (110.5, 4.0, False, 10.0, "worse"), (90, 4.0, True, 10.0, "noise"),
        (89.5, 4.0, True, 10.0, "worse"), (89.5, 4.0, False, 10.0, "better"),
    ],
)  # fmt: skip
def test_more_than_two_deviations_are_a_change(mean, std, more, noise, verdict):
    found = compare.change({"mean": 100, "std": 3.0, "values": [97, 103]}, {"mean": mean, "std": std, "values": [mean, mean]}, more)
    assert found == {"before": 100, "after": mean, "share": (mean - 100) / 100, "noise": noise, "verdict": verdict}


@pytest.mark.parametrize(("mean", "verdict"), [(101, "noise"), (101.5, "better"), (99, "noise"), (98.5, "worse")])
def test_less_than_a_hundredth_is_noise_however_even(mean, verdict):
    found = compare.change({"mean": 100, "std": 0.0, "values": [100, 100]}, {"mean": mean, "std": 0.0, "values": [mean] * 2}, True)
    assert (found["noise"], found["verdict"]) == (1.0, verdict)


def test_one_run_is_no_comparison_and_nothing_before_no_share():
    one, two = {"mean": 0, "std": 0.0, "values": [0]}, {"mean": 5, "std": 0.0, "values": [5, 5]}
    assert compare.change(one, two, True) == {"before": 0, "after": 5, "share": 0.0, "noise": None, "verdict": "unknown"}
    assert compare.change(two, one, True) == {"before": 5, "after": 0, "share": -1.0, "noise": None, "verdict": "unknown"}


def test_what_is_asked_of_vllm_word_for_word():
    own = {"deep": {"input_tokens": 64, "output_tokens": 20, "depths": [1000], "prefix_tokens": 10, "concurrency": [3], "repeats": 1, "requests_per_stream": 2}}
    wanted = profiles.profile("deep", own)
    (one,) = profiles.runs(wanted, profiles.points(wanted)[0], 7)
    flags = "--dataset-name random --random-prefix-len 1010 --random-input-len {} --random-output-len {} --random-range-ratio 0 --num-prompts {}"
    assert (one["point"], one["repeat"]) == ("d1000 c3", 0)
    assert one["args"] == [*flags.format(64, 20, 6).split(), "--max-concurrency", "3", "--seed", "8"]
    assert one["warm"] == [*flags.format(16, 2, 1).split(), "--max-concurrency", "3", "--seed", "8"]


def test_shared_beginnings_word_for_word():
    own = {"shared": {"input_tokens": 64, "output_tokens": 20, "dataset": "prefix_repetition", "prefix_tokens": 100, "prefixes": 4, "concurrency": [5]}}
    wanted = profiles.profile("shared", own | {})
    first, second = profiles.runs(wanted, profiles.points(wanted)[0])[:2]
    flags = "--dataset-name prefix_repetition --prefix-repetition-prefix-len 100 --prefix-repetition-suffix-len 64 --prefix-repetition-num-prefixes 4"
    more = "--prefix-repetition-output-len {} --num-prompts 8 --max-concurrency 5 --seed {}"
    assert first["args"] == [*flags.split(), *more.format(20, 1).split()]
    assert first["warm"] == [*flags.split(), *more.format(16, 2).split()]
    assert (second["args"], second["warm"]) == ([*flags.split(), *more.format(20, 3).split()], [])


def test_a_depth_fits_to_the_last_token():
    wanted = profiles.profile("one", {"one": {"input_tokens": 100, "output_tokens": 50, "depths": [0, 1000], "concurrency": [1]}})
    chosen, left_out = profiles.points(wanted, 1166)
    assert ([one["name"] for one in chosen], left_out) == (["d0 c1", "d1000 c1"], [])
    chosen, left_out = profiles.points(wanted, 1165)
    assert [one["name"] for one in chosen] == ["d0 c1"]
    assert left_out == ["depth 1,000 was left out: it takes 1,166 tokens, and the server holds 1,165"]

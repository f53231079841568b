# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The search over settings: what is tried next, what is better, how it ends, and that a killed one goes on."""

from __future__ import annotations

import json
import sys

import pytest
import yaml
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.arguments import ARGUMENTS
from ansible_collections.gb10.vllm.plugins.plugin_utils._tune import aim, ending, search, settings

SERVER = {"name": "devstral", "model": "devstral-24b", "api_key": "k-very-secret", "env": {"HF_TOKEN": "t"}, "args": {"max-num-seqs": 256, "dtype": "auto"}}
SPACE = {"max_num_seqs": [16, 64], "max_num_batched_tokens": [2048, 8192]}
RECORD = {"deployment": {"spec": "s0", "vllm_version": "0.33.0"}, "history": [{"spec": "older"}]}


def spread(mean, std=0.5):
    return {"mean": mean, "std": std, "values": [mean - std, mean, mean + std]}


def document(total, ttft=100.0, user=10.0, std=0.5, name="d0 c8"):
    figures = {"total": spread(total, std), "ttft_p95": spread(ttft), "decode_user": spread(user), "itl_p95": spread(9.0)}
    return {"points": [{"name": name, "figures": figures}]}


def begun(aim_text="tokens_per_s", **more):
    wish = {"aim": aim_text, "settings": SPACE, "profile": {"name": "quick"}, "most": 20, **more}
    return search.begun(SERVER, wish, RECORD)


def speed_of(settings):
    """A server whose best settings are 64 sequences and 8192 tokens; 16384 tokens do not fit."""
    seqs = {16: 1.0, 64: 1.4, 256: 1.2}[settings.get("max_num_seqs", 256)]
    return 100 * seqs * (1.3 if settings.get("max_num_batched_tokens") == 8192 else 1.0)


def searched(state, *, stop_after=99, unfit=lambda _settings: False, started=None):
    """Carry a search out as the role does, and end it early where asked to."""
    for _once in range(stop_after):
        candidate = search.following(state)
        if not candidate:
            break
        if unfit(candidate["set"]):
            state = search.with_trial(state, candidate, "unfit", "needs 300 GiB")
            continue
        if started is not None:
            started.append(candidate["set"])
        # The state lies in a file between two trials.
        state = json.loads(json.dumps(search.with_trial(state, candidate, "measured", document=document(speed_of(candidate["set"])))))
    return state


def test_the_planted_better_settings_are_found():
    state = searched(begun())
    assert search.best_of(state)["set"] == {"max_num_seqs": 64, "max_num_batched_tokens": 8192}
    assert search.following(state) == {}
    assert state["trials"][0]["base"] and state["trials"][0]["verdict"] == "first"
    keys = [trial["key"] for trial in state["trials"]]
    assert len(keys) == len(set(keys)), "a candidate was tried twice"


def test_what_does_not_fit_is_never_started():
    started = []
    state = searched(begun(settings={**SPACE, "max_model_len": [999999]}), unfit=lambda one: "max_model_len" in one, started=started)
    assert not any("max_model_len" in one for one in started)
    assert [trial["why"] for trial in state["trials"] if trial["outcome"] == "unfit"] == ["needs 300 GiB"] * sum(
        t["outcome"] == "unfit" for t in state["trials"]
    )
    assert search.best_of(state)["set"] == {"max_num_seqs": 64, "max_num_batched_tokens": 8192}


@pytest.mark.parametrize("killed_after", range(6))
def test_a_killed_search_goes_on_where_it_was(killed_after):
    whole = searched(begun())
    part = searched(begun(), stop_after=killed_after)
    again = search.begun(
        SERVER, {"aim": "tokens_per_s", "settings": SPACE, "profile": {"name": "quick"}, "most": 20}, {"deployment": {"spec": "a candidate"}}, part
    )
    assert again["original"] == RECORD, "what ran before the search, not what it left"
    assert searched(again)["trials"] == whole["trials"]


def test_another_search_does_not_bury_one_that_was_not_ended():
    part = searched(begun(), stop_after=2)
    other = {"aim": "per_user >= 5", "settings": SPACE, "profile": {"name": "quick"}, "most": 20, "state": "gb10-tune-x.json"}
    with pytest.raises(GB10Error, match=r"was not ended \(2 trials, aim tokens_per_s\).*delete gb10-tune-x.json"):
        search.begun(SERVER, other, RECORD, part)
    assert search.begun(SERVER, other, RECORD, {**part, "ended": True})["trials"] == []


def test_noise_is_no_gain():
    state = begun(settings={"max_num_seqs": [16]})
    state = search.with_trial(state, search.following(state), "measured", document=document(100, std=3))
    state = search.with_trial(state, search.following(state), "measured", document=document(106, std=3))
    assert state["trials"][1]["verdict"] == "not better" and search.best_of(state)["base"]
    assert "stays as it is" in ending.ending(state)["text"] and ending.ending(state)["diff"] == ""


def test_no_more_are_tried_than_wanted():
    state = searched(begun(most=2))
    assert len(state["trials"]) == 3


def test_a_base_that_cannot_be_measured_ends_the_search():
    state = begun()
    state = search.with_trial(state, search.following(state), "failed", "it died")
    assert search.following(state) == {}
    assert ending.ending(state)["problem"] == "No settings of devstral could be measured: it died."
    state = begun()
    state = search.with_trial(state, search.following(state), "measured", document={"points": []})
    assert state["trials"][0]["outcome"] == "failed"


def test_failed_and_unfit_candidates_are_not_tried_again():
    state = begun(settings={"max_num_seqs": [16, 64]})
    state = search.with_trial(state, search.following(state), "measured", document=document(100))
    first = search.following(state)
    state = search.with_trial(state, first, "failed", "did not start")
    assert search.following(state)["key"] != first["key"]


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("tokens_per_s", ()),
        ("first_token_p95 <= 500 ms", (aim.Bound("ttft_p95", True, 500.0),)),
        ("first_token_p95 <= 0.5 s", (aim.Bound("ttft_p95", True, 500.0),)),
        ("per user >= 20", (aim.Bound("decode_user", False, 20.0),)),
        ("tokens_per_s, per_user >= 20 and between_tokens_p99<=50ms", (aim.Bound("decode_user", False, 20.0), aim.Bound("itl_p99", True, 50.0))),
    ],
)
def test_aims(text, bounds):
    assert aim.read(text) == bounds


@pytest.mark.parametrize(
    "text", ["", "fast", "per_user <= 20", "first_token_p95 >= 5", "first_token_p95 < 5", "per_user >= 0", None, ["x"], "tokens_per_s and"]
)
def test_what_is_no_aim_is_one_sentence(text):
    with pytest.raises(GB10Error, match="gb10_tune_aim"):
        aim.read(text)


RATES, TIMES = ["per_user"], ["first_token_p50", "first_token_p95", "first_token_p99", "between_tokens_p50", "between_tokens_p95", "between_tokens_p99"]
UNITS = ["", " ms", "s", " tokens/s", " min", "us", " t/s", " tokens", "/s", " percent"]
FIT = {"per_user": {"": 1.0, " tokens/s": 1.0}, **dict.fromkeys(TIMES, {" ms": 1.0, "s": 1000.0})}


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("name", [*RATES, *TIMES])
def test_a_unit_fits_its_figure_and_a_time_needs_one(name, unit):
    text = f"{name} {'>=' if name in RATES else '<='} 20{unit}"
    if unit in FIT[name]:
        (bound,) = aim.read(text)
        assert bound.number == 20 * FIT[name][unit]
    else:
        with pytest.raises(GB10Error, match=f"gb10_tune_aim: .*{name} is in {'tokens/s' if name in RATES else 'ms or s'}; write it as|is no aim"):
            aim.read(text)


def test_with_a_bound_the_best_point_that_keeps_it_counts():
    bounds = aim.read("per_user >= 12")
    many = {
        "points": [*document(100, user=20, name="c1")["points"], *document(300, user=13, name="c4")["points"], *document(500, user=8, name="c16")["points"]]
    }
    found = aim.worth(many, bounds)
    assert (found["point"], found["reached"]) == ("c4", True)
    assert aim.worth(many, aim.read("per_user >= 40")) | {"value": 0} == {"reached": False, "point": "c1", "value": 0, "missed": 0.5}
    assert aim.worth({"points": [{"name": "x", "figures": {}}]}, bounds) == {}


def test_an_aim_that_nothing_reaches_says_the_nearest_and_by_how_much_it_fails():
    state = begun("first_token_p95 <= 50 ms", settings={"max_num_seqs": [16]})
    state = search.with_trial(state, search.following(state), "measured", document=document(100, ttft=100))
    state = search.with_trial(state, search.following(state), "measured", document=document(80, ttft=60))
    assert search.best_of(state)["set"] == {"max_num_seqs": 16}
    told = ending.ending(state)["problem"]
    assert "Nothing that was tried reaches first_token_p95 <= 50 ms" in told and "max_num_seqs=16" in told and "misses it by 20%" in told


def test_reaching_the_aim_is_better_than_more_tokens():
    state = begun("first_token_p95 <= 50 ms", settings={"max_num_seqs": [16]})
    state = search.with_trial(state, search.following(state), "measured", document=document(500, ttft=100))
    state = search.with_trial(state, search.following(state), "measured", document=document(80, ttft=40))
    assert search.best_of(state)["set"] == {"max_num_seqs": 16}


def test_the_diff_is_for_the_inventory_and_holds_no_secret():
    told = ending.ending(searched(begun()))
    lines = told["diff"].splitlines()
    assert "+    max_num_seqs: 64" in lines and "-    max-num-seqs: 256" in lines and "+    max_num_batched_tokens: 8192" in lines
    assert "secret" not in json.dumps(told) and "HF_TOKEN" not in json.dumps(told)
    after = yaml.safe_load("\n".join(line[1:] for line in lines if line[:1] in (" ", "+") and not line.startswith("+++")))
    assert after["gb10_servers"][0]["args"] == {"dtype": "auto", "max_num_seqs": 64, "max_num_batched_tokens": 8192}
    assert "Nothing was changed in the inventory" in told["text"]


def test_what_ansible_hands_over_can_be_written():
    """Its mappings and texts are classes of its own, which yaml.safe_dump refuses."""

    class Tagged(dict):
        pass

    class Words(str):
        __slots__ = ()

    state = searched(begun())
    server = {key: Words(value) if isinstance(value, str) else value for key, value in state["server"].items()}
    state["server"] = Tagged(server, args=Tagged(server["args"]))
    assert "+    max_num_seqs: 64" in ending.ending(state)["diff"]


def test_settings_go_where_the_inventory_has_them():
    made = search.applied(
        {"name": "a", "args": {"no-enable-prefix-caching": True, "tp": 1}},
        {"enable_prefix_caching": True, "kv_cache_dtype": "fp8", "enforce_eager": False, search.NAME: "x"},
    )
    assert made == {"name": "a", "kv_cache_dtype": "fp8", "cuda_graphs": "always", "args": {"tp": 1, "enable_prefix_caching": True}}
    assert search.applied({"name": "a"}, {}) == {"name": "a"}
    assert search.key_of({"name": "a", "api_key": "1"}) == search.key_of({"name": "a", "api_key": "2"})


@pytest.mark.parametrize(
    "text",
    [
        '[{"max-num-seqs": 16}, {"max-num-seqs": 64, "max_num_batched_tokens": 8192}]',
        '{"few": {"max_num_seqs": 16}, "many": {"--max-num-seqs": 64, "max_num_batched_tokens": 8192}}',
    ],
)
def test_parameter_files_of_vllms_sweep_tool(text):
    state = searched(begun(parameters=text))
    assert [trial["outcome"] for trial in state["trials"]] == ["measured"] * 3
    assert {key: value for key, value in search.best_of(state)["set"].items() if key != search.NAME} == {"max_num_seqs": 64, "max_num_batched_tokens": 8192}
    written = json.loads(ending.ending(state)["parameters"])
    assert search.records_of(json.dumps(written), "x")[2]["max_num_seqs"] == 64 and len({one[search.NAME] for one in written}) == 3


@pytest.mark.parametrize("text", ["", "[]", "3", '["x"]', '{"a": 1}', "max_num_seqs: 3"])
def test_what_is_no_parameter_file_is_one_sentence(text):
    with pytest.raises(GB10Error, match="x.json is no parameter file"):
        search.records_of(text, "x.json")


@pytest.mark.parametrize("given", [[1], {"max_num_seqs": 16}, {"max_num_seqs": []}, "max_num_seqs"])
def test_what_are_no_settings_is_one_sentence(given):
    with pytest.raises(GB10Error, match="gb10_tune_settings"):
        search.space_of(given)


KEPT = [
    "model", "port", "--api-key", "served-model-name", "uds", "trust_remote_code", "no_trust_remote_code", "--grpc", "headless", "middleware",
    "logits-processors", "ssl_keyfile_password", "allowed_media_domains", "chat-template", "lora_modules", "worker_cls", "hf_overrides.architectures",
    "kv_transfer_config.kv_connector", "trust_remote", "no-trust-rem", "api_k", "tool_parser_pl", "serve",
    "tool_parser_plugin", "download_dir", "env", "address", "tls", "config", "enable_log_requests",
    "runner", "recipe", "recipe_without",
]  # fmt: skip
SETTINGS = [
    "max_num_seqs", "max-num-batched-tokens", "kv_cache_dtype", "enable_prefix_caching", "no_enable_prefix_caching", "enforce_eager", "attention_backend",
    "moe_backend", "speculative_config", "spec_model", "compilation_config.cudagraph_mode", "cudagraph_capture_sizes", "max_model_len", "block_size",
    "load_format", "quantization", "async_scheduling", "tensor_parallel_size", "gpu_memory_utilization", "-tp", "performance_mode",
    "concurrency", "cuda_graphs", "kv_cache_memory_gib", "reserve_gib", "max_num_s", "speculative_config.num_speculative_tokens",
]  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_what_makes_it_faster_or_slower_is_tuned(name):
    assert search.space_of({name: [1]}) and search.records_of(json.dumps([{name: 1, "_benchmark_name": "a"}]), "x")


def test_a_setting_with_a_key_of_its_own_is_tried_there_and_not_as_an_argument():
    for name in ("concurrency", "cuda_graphs", "kv_cache_memory_gib", "max_model_len"):
        assert search.applied({"name": "s"}, {name: 4}) == {"name": "s", name: 4}


def test_a_setting_that_is_named_twice_is_refused():
    with pytest.raises(GB10Error, match="names a setting twice"):
        search.space_of({"max_num_seqs": [16], "max-num-seqs": [32]})


def test_every_name_that_is_kept_is_one_that_vllm_or_the_inventory_has():
    known = {*ARGUMENTS, "task"}  # which vLLM had until 0.26
    assert (settings.SERVED | settings.REACHED | settings.CODE) - known == set()


@pytest.mark.parametrize("name", KEPT)
def test_what_is_served_and_who_reaches_it_is_not_tuned(name):
    with pytest.raises(GB10Error, match="cannot be tuned"):
        search.space_of({name: [1]})
    with pytest.raises(GB10Error, match="cannot be tuned"):
        search.records_of(json.dumps([{name: 1}]), "x")


def test_the_page_shows_the_trials_and_the_diff_and_nothing_lies_elsewhere():
    evil = "<script>alert(1)</script>"
    state = searched(begun(settings={**SPACE, "max_model_len": [evil]}), unfit=lambda one: "max_model_len" in one)
    text = ending.page(state, evil)
    assert evil not in text and text.count("<svg") == 1 and 'class="best"' in text and "+    max_num_seqs: 64" in text
    assert "src=" not in text and "<link" not in text
    assert ending.page({**state, "trials": []}, "spark-01").count("<svg") == 0


def test_without_matplotlib_one_sentence_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(GB10Error, match="pip install matplotlib"):
        ending.page(searched(begun()), "spark-01")

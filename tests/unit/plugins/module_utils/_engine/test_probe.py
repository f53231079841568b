# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Following a start: what each look decides, from a container and an API made by the test."""

from __future__ import annotations

import re
import subprocess
import time

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._engine import probe as engine_probe
from ansible_collections.gb10.vllm.plugins.module_utils._engine import rank as engine_rank
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error


def test_an_unreadable_key_file_is_named(tmp_path):
    with pytest.raises(GB10Error, match="file with the API key, .* cannot be read on this box: Is a directory"):
        engine_probe.Follower("c", "http://127.0.0.1:1", str(tmp_path), None, "auto", "hi", 60.0, 5.0)


def test_a_server_without_a_key_has_no_key_file(tmp_path):
    assert engine_probe.Follower("c", "http://127.0.0.1:1", str(tmp_path / "no.env"), None, "auto", "hi", 60.0, 5.0).secrets == []


STARTED = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 10))


@pytest.fixture
def look(monkeypatch):
    """One look at a container in this state with this log, whose API gives these answers."""

    def make(state, lines=(), answers=None, last=None, start=None, stall_s=600.0, kind="auto", without_a_key=None, rank=None):
        began = engine_probe.epoch(STARTED)
        details = None if state is None else {"State": {"StartedAt": STARTED, **state}, "Config": {"Image": "i"}, "RestartCount": 0}
        monkeypatch.setattr(engine_probe, "inspect", lambda container: details)
        monkeypatch.setattr(engine_probe, "logs", lambda container, since: [(began + number, line) for number, line in enumerate(lines)])
        monkeypatch.setattr(engine_probe, "activity", lambda container: {"read_bytes": 0, "rss_bytes": 0, "processes": [1]})
        monkeypatch.setattr(engine_probe, "kernel_log", lambda since: ["[1] oom"])
        follower = engine_probe.Follower(
            "c", "http://127.0.0.1:1", None, "tiny", kind, "hi", stall_s, 5.0, start=start, last=last, key_required=without_a_key is not None, rank=rank
        )
        if without_a_key is not None:
            monkeypatch.setattr(follower.stranger, "call", lambda path, body=None, timeout_s=5.0: (without_a_key.get(path, 401), ""))
        follower.secrets = ["sesame"]
        monkeypatch.setattr(follower.api, "call", lambda path, body=None, timeout_s=5.0: (answers or {}).get(path, (0, "refused")))
        return follower.observe()

    return make


GROUP = {"number": 1, "boxes": ["spark-01", "spark-02"], "addresses": ["10.0.0.1", "10.0.0.2"], "master_port": 24000, "guard_port": 24001}


@pytest.mark.parametrize(
    ("state", "said", "phase", "words"),
    [
        ({"Status": "exited", "ExitCode": 1}, {"10.0.0.2": "waiting for spark-01 (10.0.0.1), which waits"}, "created", "waiting for spark-01 .10.0.0.1."),
        ({"Status": "exited", "ExitCode": 1}, {"10.0.0.2": "starting"}, "created", "starting"),
        ({"Status": "exited", "ExitCode": 1}, {"10.0.0.1": "starting"}, "failed", "it exited with code 1"),
        ({"Status": "running"}, {"10.0.0.2": "met", "10.0.0.1": "met"}, "profiling", r"measuring memory \(rank 1 of spark-01, which is met\)"),
        ({"Status": "running"}, {"10.0.0.2": "met"}, "profiling", "which does not say what it is at"),
        ({"Status": "running"}, {"10.0.0.2": "answered", "10.0.0.1": "answered"}, "ready", "is rank 1 of a server that answers on spark-01"),
    ],
)
def test_a_rank_without_an_api_is_ready_when_its_head_has_answered_and_fails_by_its_own_log(look, monkeypatch, state, said, phase, words):
    monkeypatch.setattr(engine_rank, "ask", lambda address, port: said.get(address, ""))
    seen = look(state, ["Model loading took 1.50 GiB memory and 3.5 seconds"], rank=GROUP)
    assert seen["phase"] == phase and re.search(words, seen["reason"] or seen["progress"])
    if phase == "failed":
        assert seen["log"][0].startswith("Model loading took")


JOURNAL = """\
starts as rank 1
spark-01 has left the group: its rank ended or began anew. All ranks of duo start again together.
waiting for spark-01 (10.0.0.1), which waits itself
"""


@pytest.mark.parametrize(
    ("state", "journal", "left", "reason"),
    [
        ({"Status": "exited", "ExitCode": 137}, JOURNAL, "spark-01 has left the group: its rank ended or began anew", "spark-01 has left the group"),
        ({"Status": "exited", "ExitCode": 1}, "starts as rank 1\n", None, "it exited with code 1"),
        ({"Status": "running"}, "", None, "its start ended: it is waiting for spark-01"),
    ],
)
def test_a_start_that_was_followed_has_ended_when_its_rank_waits_again(look, monkeypatch, state, journal, left, reason):
    """It would count as not begun, and its own container as the cause, although another rank's is."""
    monkeypatch.setattr(engine_rank, "ask", lambda address, port: "waiting for spark-01 (10.0.0.1), which waits itself")
    monkeypatch.setattr(engine_rank, "run", lambda command, timeout_s: subprocess.CompletedProcess(command, 0, journal, ""))
    seen = look(state, ["Model loading took 1.50 GiB memory and 3.5 seconds"], start=STARTED, rank=GROUP)
    assert seen["phase"] == "failed" and seen.get("left") == left and reason in seen["reason"]


def test_the_head_is_ready_as_any_server_and_one_that_waits_too_long_is_stalled(look, monkeypatch):
    answers = {"/v1/models": MODELS, CHAT: (200, '{"choices": [{"message": {"content": "hi"}}]}')}
    monkeypatch.setattr(engine_rank, "ask", lambda address, port: "answered")
    assert look({"Status": "running"}, [UP], answers, rank={**GROUP, "number": 0})["answer"]["text"] == "hi"
    monkeypatch.setattr(engine_rank, "ask", lambda address, port: "waiting for spark-02 (10.0.0.2), which does not answer on port 24001")
    seen = look({"Status": "created"}, rank={**GROUP, "number": 0}, last={"waiting_since": time.time() - 700})
    assert seen["phase"] == "stalled" and "waiting for spark-02 (10.0.0.2), which does not answer on port 24001 for 700 s" in seen["reason"]


UP = "INFO: Application startup complete."
MODELS = (200, '{"data": [{"id": "tiny", "max_model_len": 64}]}')
CHAT = "/v1/chat/completions"


def test_a_start_under_way_is_told_with_its_facts_and_without_secrets(look):
    lines = ["Starting to load model tiny", "key sesame", "Model loading took 1.50 GiB memory and 3.5 seconds"]
    seen = look({"Status": "running"}, lines)
    assert (seen["phase"], seen["progress"]) == ("profiling", "measuring memory")
    assert seen["facts"] == {"weights_bytes": round(1.5 * 2**30), "load_s": 3.5}
    assert seen["log_tail"] == [lines[0], "key ********", lines[2]] and "log" not in seen


def test_a_container_that_ended_has_failed_with_its_reason_as_a_line_of_its_own(look):
    seen = look({"Status": "exited", "ExitCode": 137, "OOMKilled": True}, ["x"])
    assert seen["phase"] == "failed" and "OOMKilled" in seen["reason"]
    assert seen["log"] == ["x", f"gb10.vllm: {seen['reason']}"] and seen["kernel_log"] == ["[1] oom"]


@pytest.mark.parametrize(
    ("state", "start", "words"),
    [
        ({"Status": "running"}, "2026-11-23T14:00:00Z", "started again meanwhile"),
        ({"Status": "created", "Error": "no such device"}, None, "Docker could not run it: no such device"),
        ({"Status": "restarting", "ExitCode": 2}, None, r"restarting it over and over \(last exit code 2\)"),
    ],
)
def test_other_ways_to_fail(look, state, start, words):
    seen = look(state, ["x"], start=start)
    assert seen["phase"] == "failed"
    assert re.search(words, seen["reason"])


def test_a_container_that_is_paused_or_not_there_yet_is_waited_for(look):
    assert "docker unpause" in look({"Status": "paused"})["progress"]
    seen = look(None)
    assert seen["phase"] == "created" and seen["activity"]["missing_since"]
    seen = look(None, last={"missing_since": time.time() - 61})
    assert seen["phase"] == "failed" and "no container of this name" in seen["reason"]
    assert look(None, start=STARTED)["reason"] == "the container was removed while it started"


@pytest.mark.parametrize(
    ("without_a_key", "open_routes"),
    [
        (None, ""),
        ({}, ""),
        ({"/v1/models": 0}, ""),
        ({"/invocations": 405, "/metrics": 200}, "/metrics (HTTP 200), /invocations (HTTP 405)"),
        ({"/v1/models": 403}, "/v1/models (HTTP 403)"),
    ],
)
def test_a_server_that_must_ask_for_a_key_is_no_success_while_it_answers_without(look, without_a_key, open_routes):
    answers = {"/v1/models": MODELS, CHAT: (200, '{"choices": [{"message": {"content": "hi"}}]}')}
    seen = look({"Status": "running"}, [UP], answers, without_a_key=without_a_key)
    assert seen["phase"] == ("failed" if open_routes else "ready")
    assert seen["reason"] == (f"it answers without its key: {open_routes} should have refused (HTTP 401)" if open_routes else "")


def test_ready_is_what_lists_the_model_and_answers(look):
    answers = {"/v1/models": MODELS, CHAT: (200, '{"choices": [{"message": {"content": "hi sesame"}}], "usage": {"completion_tokens": 3}, "model": "m"}')}
    answers["/version"] = (200, '{"version": "0.33.0"}')
    seen = look({"Status": "running"}, ["a", UP], answers)
    assert seen["phase"] == "ready" and seen["facts"] == {"ready_s": 1.0, "max_model_len": 64, "vllm_version": "0.33.0"}
    assert {**seen["answer"], "latency_s": 0} == {"text": "hi ********", "model": "m", "latency_s": 0, "kind": "chat", "tokens": 3}


@pytest.mark.parametrize(
    ("answers", "phase", "words"),
    [
        ({}, "serving", "waiting for the API: refused"),
        ({"/v1/models": (503, "")}, "serving", "waiting for /v1/models (HTTP 503)"),
        ({"/v1/models": (401, "")}, "failed", "refuses our key"),
        ({"/v1/models": (200, '{"data": [{"id": "other"}]}')}, "failed", "serves other, not tiny"),
        ({"/v1/models": MODELS, CHAT: (200, "{}")}, "failed", "answered without any text"),
        ({"/v1/models": MODELS, CHAT: (500, "boom")}, "serving", "waiting for the first answer (HTTP 500, boom)"),
        ({"/v1/models": MODELS, CHAT: (422, "bad")}, "failed", "it refused a real request: /v1/chat/completions: HTTP 422, bad"),
    ],
)
def test_an_engine_that_says_it_is_up_is_not_believed_yet(look, answers, phase, words):
    seen = look({"Status": "running"}, [UP], answers)
    assert seen["phase"] == phase and words in (seen["reason"] or seen["progress"])


def test_a_model_without_chat_is_asked_for_a_completion(look):
    answers = {"/v1/models": MODELS, CHAT: (404, '{"detail":"Not Found"}'), "/v1/completions": (200, '{"choices": [{"text": " x"}]}')}
    assert look({"Status": "running"}, [UP], answers)["answer"]["kind"] == "completion"


def test_several_requests_without_an_answer_are_a_failure(look):
    seen = look({"Status": "running"}, [UP], {"/v1/models": MODELS, CHAT: (0, "reset")}, last={"unanswered": 2})
    assert seen["phase"] == "failed" and "3 real requests in a row got no answer (reset)" in seen["reason"]


def test_a_start_without_a_sign_of_life_is_stalled(look):
    last = {"at": time.time() - 700, "log_mark": engine_probe.epoch(STARTED), "processes": [1], "rss_bytes": 0, "read_bytes": 0}
    seen = look({"Status": "running"}, ["Starting to load model tiny"], last=last)
    assert seen["phase"] == "stalled" and "no sign of life for 700 s while loading the model" in seen["reason"]
    assert look({"Status": "running"}, ["Starting to load model tiny", "more"], last=last)["phase"] == "loading", "a new line is one"
    noise = 'INFO: 127.0.0.1 "GET /health HTTP/1.1" 200'
    assert look({"Status": "running"}, ["Starting to load model tiny", noise], last=last)["phase"] == "stalled", "what a hung engine prints is none"


class Measured:
    """Stands for a proof: what it finds, and why the server did not stand its load."""

    def __init__(self, found, why=""):
        self.answer = found, why
        self.asked = []

    def measure(self, call, kind, model, facts, timeout_s):
        self.asked.append((kind, model, dict(facts)))
        return self.answer


@pytest.fixture
def proven(look, monkeypatch):
    """The look at a server that answers, with this proof."""

    def make(proof, answers=None, **more):
        made = engine_probe.Follower
        monkeypatch.setattr(engine_probe, "Follower", lambda *args, **settings: made(*args, proof=proof, **settings))
        reply = (200, '{"choices": [{"message": {"content": "hi"}}], "usage": {}}')
        try:
            return look({"Status": "running"}, [UP], {"/v1/models": MODELS, CHAT: reply, **(answers or {})}, **more)
        finally:
            monkeypatch.setattr(engine_probe, "Follower", made)

    return make


def test_a_server_that_answers_is_measured_with_what_it_says_of_itself(proven):
    proof = Measured({"beside_bytes": 5})
    seen = proven(proof, {"/metrics": (200, 'vllm:cache_config_info{kv_cache_memory_bytes="99"} 1.0')})
    assert seen["phase"] == "ready" and seen["facts"]["beside_bytes"] == 5
    ((kind, model, facts),) = proof.asked
    assert (kind, model, facts["kv_cache_memory_bytes"]) == ("chat", "tiny", 99)


def test_a_server_that_does_not_stand_its_first_load_is_not_ready(proven):
    seen = proven(Measured({}, "HTTP 500, out of memory"))
    assert (seen["phase"], seen["answer"]) == ("serving", None) and "its first load: HTTP 500, out of memory" in seen["progress"]
    seen = proven(Measured({}, "HTTP 500, out of memory"), last={"unanswered": 2, "at": time.time(), "log_mark": 0.0})
    assert seen["phase"] == "failed" and "its first load" in seen["reason"]


def test_the_watch_over_a_start_ends_when_it_has_failed(proven, monkeypatch):
    ended = []
    monkeypatch.setattr(engine_probe.sampling, "end", ended.append)
    assert proven(Measured({}), {"/v1/models": (401, "")})["phase"] == "failed" and ended == ["c"]
    ended.clear()
    assert proven(None, {"/v1/models": (401, "")})["phase"] == "failed" and ended == [], "who only looks ends nothing"


def test_a_reranker_is_proven_by_what_its_own_page_names(look):
    answers = {
        "/v1/models": MODELS,
        "/openapi.json": (200, '{"paths": {"/rerank": {}, "/classify": {}, "/pooling": {}}}'),
        "/rerank": (400, '{"message": "Score API is only enabled for num_labels == 1."}'),
        "/classify": (200, '{"data": [{"label": "a", "probs": [0.1, 0.9]}]}'),
    }
    seen = look({"Status": "running"}, [UP], answers)
    assert seen["phase"] == "ready" and seen["answer"]["kind"] == "classification" and "(/classify)" in seen["progress"]
    refused = {**answers, "/classify": (400, "{}"), "/pooling": (404, "{}")}
    said = look({"Status": "running"}, [UP], refused)["reason"]
    assert "/rerank: HTTP 400" in said and "/classify: HTTP 400" in said and "/pooling: HTTP 404" in said

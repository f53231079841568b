# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each kind of server is asked what it offers, and a chat server whether its parsers fit; answers as vLLM 0.32 writes them."""

from __future__ import annotations

import io
import json
import wave

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._engine import parsers, readiness, warm
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.deployment import comparison

ALWAYS = ["/health", "/load", "/v1/models", "/version", "/metrics", "/tokenize", "/detokenize", "/openapi.json"]
OFFERS = {
    # kind of model: (what it offers beside that, what is asked)
    "language model": (["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"], "chat"),
    "reranker": (["/classify", "/score", "/v1/score", "/rerank", "/v1/rerank", "/v2/rerank", "/pooling"], "rerank"),
    "classifier": (["/classify", "/pooling"], "classification"),
    "token classifier, reward model": (["/pooling"], "pooling"),
    "embedding model": (["/v1/embeddings", "/v2/embed", "/score", "/v1/score", "/rerank", "/pooling"], "embedding"),
    "Whisper": (["/v1/audio/transcriptions", "/v1/audio/translations"], "transcription"),
}
ANSWERS = {
    "rerank": {"id": "rerank-1", "model": "m", "results": [{"index": 0, "document": {"text": "a"}, "relevance_score": 0.98}]},
    "score": {"object": "list", "data": [{"index": 0, "object": "score", "score": 0.3}]},
    "classification": {"object": "list", "data": [{"index": 0, "label": "LABEL_0", "probs": [0.4, 0.6], "num_classes": 2}]},
    "pooling": {"object": "list", "data": [{"index": 0, "object": "pooling", "data": [[0.1, 0.9], [0.5, 0.5]]}]},
    "transcription": {"text": " Thank you."},
    "embedding": {"data": [{"embedding": [0.1, 0.2]}]},
}


@pytest.mark.parametrize("model", OFFERS)
def test_what_the_server_offers_is_asked_first(model):
    offers, kind = OFFERS[model]
    seen = readiness.offered({"paths": dict.fromkeys([*ALWAYS, *offers], {"post": {}})})
    assert readiness.kinds_to_try("auto", seen)[0] == kind


def test_a_server_that_hides_its_routes_is_asked_for_one_after_the_other():
    assert readiness.offered({}) == [] and readiness.kinds_to_try("auto", []) == list(readiness.ROUTES)
    assert readiness.kinds_to_try("rerank", ["/classify"]) == ["rerank"]


@pytest.mark.parametrize("kind", ANSWERS)
def test_an_answer_counts_when_something_is_in_it(kind):
    path, body = readiness.question(kind, "m", "Say hello.")
    assert path == readiness.ROUTES[kind] and body
    assert readiness.answer_text(kind, ANSWERS[kind])
    for nothing in ({}, {"data": []}, {"results": []}, {"data": [{}]}, {"data": None}):
        assert readiness.answer_text(kind, nothing) is None


def test_a_score_that_is_no_number_proves_nothing():
    assert readiness.answer_text("rerank", {"results": [{"relevance_score": float("nan")}]}) is None


def test_a_reranker_of_several_classes_is_asked_otherwise():
    assert readiness.is_wrong_endpoint(400, "Score API is only enabled for num_labels == 1.", "rerank")
    assert not readiness.is_wrong_endpoint(500, "", "rerank") and not readiness.is_wrong_endpoint(400, "max_tokens is too large", "chat")


def test_the_recording_is_a_sound():
    form = readiness.recording("m")
    assert form.content_type.partition("boundary=")[2].encode() in form.data and b'name="model"\r\n\r\nm\r\n' in form.data
    start = form.data.index(b"RIFF")
    with wave.open(io.BytesIO(form.data[start:])) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getnframes()) == (16_000, 1, 16_000)


@pytest.mark.parametrize("kind", warm.POOLED)
def test_the_first_load_goes_to_the_route_that_answered(kind):
    asked = []
    warm.run(lambda path, body, timeout_s: asked.append((path, body)) or (200, "{}"), kind, "m", warm.Load(64, 32, 2), 1.0)
    assert {path for path, _body in asked} == {readiness.ROUTES[kind]} and all("truncate_prompt_tokens" in body for _path, body in asked)


def chat(content=None, calls=None, reasoning=None, finish="stop"):
    return json.dumps({"choices": [{"message": {"content": content, "tool_calls": calls or [], "reasoning": reasoning}, "finish_reason": finish}]})


@pytest.mark.parametrize(
    ("parser", "text", "right"),
    [
        ("hermes", '[TOOL_CALLS][{"name": "get_weather"}]', "mistral"),
        ("hermes", "<tool_call>\n<function=get_weather>\n<parameter=city>", "qwen3_coder"),
        ("mistral", '<tool_call>\n{"name": "get_weather"}\n</tool_call>', "hermes"),
        ("hermes", "<tool_call>get_weather\n<arg_key>city</arg_key>", "glm45"),
        ("hermes", "[get_weather(city='Paris')]", "pythonic"),
        ("openai", '{"name": "get_weather", "parameters": {"city": "Paris"}}', "llama3_json"),
    ],
)
def test_a_tool_call_that_stays_in_the_text_names_the_parser_that_reads_it(parser, text, right):
    said = parsers.judge_tool(parser, 200, chat(text))
    assert parser in said and f"args.tool_call_parser to {right}" in said


def test_a_tool_parser_that_fits_and_one_that_nothing_can_be_told_of():
    assert parsers.judge_tool("hermes", 200, chat(None, [{"function": {"name": "get_weather"}}])) == ""
    assert parsers.judge_tool("hermes", 200, chat("It rains in Paris.")) == parsers.judge_tool("hermes", 200, "[]") == ""
    assert "enable_auto_tool_choice" in parsers.judge_tool("hermes", 400, '{"message": "auto tool choice requires --enable-auto-tool-choice"}')


def test_reasoning_that_is_not_separated_or_swallows_the_answer():
    assert parsers.judge_reasoning("qwen3", 200, chat("391", reasoning="17 times 23")) == ""
    assert "reasoning_parser to mistral" in parsers.judge_reasoning("qwen3", 200, chat("[THINK]17[/THINK]391"))
    assert "deepseek_r1 or qwen3" in parsers.judge_reasoning("mistral", 200, chat("<think>17</think>391"))
    assert "whole answer" in parsers.judge_reasoning("deepseek_r1", 200, chat(None, reasoning="391"))
    assert parsers.judge_reasoning("deepseek_r1", 200, chat(None, reasoning="17 times", finish="length")) == ""
    assert parsers.judge_reasoning("qwen3", 200, chat("391")) == ""


def test_only_parsers_that_the_server_has_are_asked_for():
    asked = []

    def call(path, body, timeout_s):
        asked.append((path, "tools" in body, body["max_tokens"]))
        return 200, chat("<think>a</think>[TOOL_CALLS]")

    assert parsers.check(call, "m", ["vllm", "serve", "/models/a"], 0, 1.0) == [] and asked == []
    said = parsers.check(call, "m", ["--tool-call-parser", "hermes", "--reasoning-parser=mistral"], 100, 1.0)
    assert asked == [("/v1/chat/completions", True, 50), ("/v1/chat/completions", False, 50)] and len(said) == 2


def test_the_report_says_what_is_doubted():
    assert "It answers, but the tool parser a is wrong." in comparison({}, {"doubts": ["the tool parser a is wrong"]})

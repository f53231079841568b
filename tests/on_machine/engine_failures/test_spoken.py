# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The real vLLM with models that are made to say it: reasoning, a tool call, a rank, a class; what the proof asks and what it makes of the answers."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._engine import parsers
from conftest import BOXES

CONTEXT = 2048
SMALL = ("--max-model-len", str(CONTEXT), "--kv-cache-memory-bytes", "16M")


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spoken")
    subprocess.run([sys.executable, str(BOXES / "make_speaker.py"), str(folder)], check=True, capture_output=True)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def asked(engine, **wanted):
    """The message of a chat, and what the engine said of its end."""
    body = {"model": "tiny", "temperature": 0, "max_tokens": 64, **wanted}
    status, answer = engine.follower().api.call("/v1/chat/completions", body, 60.0)
    assert status == 200, answer
    (choice,) = json.loads(answer)["choices"]
    return choice["message"], choice["finish_reason"]


def doubts(engine, *arguments):
    return parsers.check(engine.follower().api.call, "tiny", arguments, CONTEXT, 60.0)


def test_parsers_that_fit_are_proven_by_a_tool_call_and_by_reasoning(engine):
    chosen = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes", "--reasoning-parser", "qwen3")
    engine.start("speaker", *SMALL, *chosen)
    seen = engine.wait()
    assert seen["phase"] == "ready" and seen["answer"]["kind"] == "chat", seen
    message, ended = asked(engine, **parsers.tool_request())
    (call,) = message["tool_calls"]
    assert ended == "tool_calls" and call["function"]["name"] == parsers.TOOL and json.loads(call["function"]["arguments"]) == {"city": "Paris"}
    message, ended = asked(engine, messages=[{"role": "user", "content": "How much is 17 times 23?"}])
    assert (message["content"], message.get("reasoning") or message.get("reasoning_content"), ended) == ("It is 391.", "17 times 23 is 391.", "stop")
    assert doubts(engine, *chosen) == []


def test_parsers_that_do_not_fit_are_told_with_the_right_ones(engine):
    chosen = ("--enable-auto-tool-choice", "--tool-call-parser", "pythonic", "--reasoning-parser", "granite")
    engine.start("speaker", *SMALL, *chosen)
    assert engine.wait()["phase"] == "ready"
    tool, thought = doubts(engine, *chosen)
    assert "the tool parser pythonic left a tool call" in tool and "set args.tool_call_parser to hermes" in tool
    assert "the reasoning parser granite left this model's reasoning" in thought and "deepseek_r1 or qwen3" in thought


def test_a_model_that_ranks_and_classifies_is_proven_as_one(engine):
    engine.start("judge", *SMALL)
    seen = engine.wait()
    assert seen["phase"] == "ready" and seen["answer"]["kind"] == "rerank" and "/rerank" in seen["progress"], seen
    for kind in ("score", "classification"):
        seen = engine.wait(kind=kind)
        assert seen["phase"] == "ready" and seen["answer"]["kind"] == kind, seen


def test_a_chat_model_that_pools_is_proven_by_its_vectors(engine):
    engine.start("speaker", *SMALL, "--runner", "pooling", "--convert", "embed")
    seen = engine.wait()
    assert seen["phase"] == "ready" and seen["answer"]["kind"] in ("embedding", "pooling"), seen
    seen = engine.wait(kind="pooling")
    assert seen["phase"] == "ready" and seen["answer"]["kind"] == "pooling", seen

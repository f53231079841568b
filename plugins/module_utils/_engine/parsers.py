# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a chat server's parsers fit its model: one tool call and one answer with reasoning are asked for, and what comes back is judged.

A wrong parser is no failure: the server answers. Where nothing can be told, as when the model calls no tool, nothing is said.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._engine.readiness import ROUTES, error_text

Call = Callable[[str, dict[str, Any], float], tuple[int, str]]
TOOL = "get_weather"
TOKENS = 512
# How models write tool calls and reasoning, and vLLM's parser for it (vllm/tool_parsers, vllm/reasoning, 0.32); the first that is found counts.
TOOL_MARKS = (
    ("<tool_call>\n<function=", "qwen3_coder"), ("<tool_call><function=", "qwen3_coder"), ("<function=", "qwen3_coder"), ("<arg_key>", "glm45"),
    ("<minimax:tool_call>", "minimax_m2"), ("<tool_call>", "hermes"), ("[TOOL_CALLS]", "mistral"), ("<|python_tag|>", "llama3_json"),
    ("<|tool_calls_section_begin|>", "kimi_k2"), ("<\uff5ctool\u2581calls\u2581begin\uff5c>", "deepseek_v3"), ("functools[", "phi4_mini_json"),
    ("<seed:tool_call>", "seed_oss"), (f"[{TOOL}(", "pythonic"), ("<start_function_call>", "functiongemma"), ("<|tool_call_start|>", "lfm2"),
)  # fmt: skip
THOUGHT_MARKS = (
    ("</think>", "deepseek_r1 or qwen3"), ("<think>", "deepseek_r1 or qwen3"), ("[THINK]", "mistral"), ("[/THINK]", "mistral"),
    ("<seed:think>", "seed_oss"), ("</seed:think>", "seed_oss"), ("<|START_THINKING|>", "cohere_command3"), ("<|channel|>analysis", "openai_gptoss"),
)  # fmt: skip


def option(command: Sequence[str], flag: str) -> str:
    """The value of a flag of ``vllm serve`` in a command; "" without it."""
    for number, word in enumerate(command):
        if word == flag and number + 1 < len(command):
            return command[number + 1]
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    return ""


def check(call: Call, model: str, command: Sequence[str], longest: int, timeout_s: float) -> list[str]:
    """One sentence for each parser of ``command`` that the model's answers show to be the wrong one; ``longest``: tokens of a request, 0 if not known."""
    limits = {"model": model, "temperature": 0, "max_tokens": min(TOKENS, longest // 2) if longest else TOKENS}
    said = []
    parser = option(command, "--tool-call-parser")
    if parser:
        status, body = call(ROUTES["chat"], {**limits, **tool_request()}, timeout_s)
        said.append(judge_tool(parser, status, body))
    parser = option(command, "--reasoning-parser")
    if parser:
        asked = {"messages": [{"role": "user", "content": "Think step by step: how much is 17 times 23?"}]}
        status, body = call(ROUTES["chat"], {**limits, **asked}, timeout_s)
        said.append(judge_reasoning(parser, status, body))
    return [one for one in said if one]


def tool_request() -> dict[str, Any]:
    """Messages and tools of a request that asks for one tool call."""
    city = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    function = {"name": TOOL, "description": "Tells the weather of a city", "parameters": city}
    wish = f"What is the weather in Paris? Call the tool {TOOL}."
    return {"messages": [{"role": "user", "content": wish}], "tools": [{"type": "function", "function": function}], "tool_choice": "auto"}


def judge_tool(parser: str, status: int, body: str) -> str:
    """What is wrong with a tool parser, from the answer to ``tool_request``; "" where nothing is or nothing can be told."""
    if status != 200:
        return (
            f"a request with a tool was refused (HTTP {status}, {error_text(body)[:160]}): check args.tool_call_parser ({parser}) and enable_auto_tool_choice"
        )
    message = _message(body)
    if message.get("tool_calls"):
        return ""
    text = str(message.get("content") or "")
    found = next((right for mark, right in TOOL_MARKS if mark in text), "")
    if not found and text.lstrip().startswith("{") and f'"{TOOL}"' in text:
        found = "llama3_json or hermes"
    if not found or found == parser:
        return ""
    return f"the tool parser {parser} left a tool call of this model in its text: set args.tool_call_parser to {found}, which reads that form"


def judge_reasoning(parser: str, status: int, body: str) -> str:
    """What is wrong with a reasoning parser, from an answer; "" where nothing is or nothing can be told."""
    if status != 200:
        return f"a chat for the reasoning parser {parser} was refused (HTTP {status}, {error_text(body)[:160]})"
    message = _message(body)
    text, thought = str(message.get("content") or ""), message.get("reasoning") or message.get("reasoning_content")
    found = next((right for mark, right in THOUGHT_MARKS if mark in text), "")
    if found and parser not in found.split(" or "):
        return f"the reasoning parser {parser} left this model's reasoning in its answer: set args.reasoning_parser to {found}, which reads that form"
    if thought and not text and _ended(body):
        return f"the reasoning parser {parser} takes the whole answer for reasoning: leave args.reasoning_parser out, or take the one of this model's family"
    return ""


def _choice(body: str) -> dict[str, Any]:
    try:
        choice = json.loads(body)["choices"][0]
    except (ValueError, RecursionError, KeyError, IndexError, TypeError):
        return {}
    return choice if isinstance(choice, dict) else {}


def _message(body: str) -> dict[str, Any]:
    message = _choice(body).get("message")
    return message if isinstance(message, dict) else {}


def _ended(body: str) -> bool:
    return _choice(body).get("finish_reason") == "stop"

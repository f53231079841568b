# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A recipe's command as the arguments of one ``vllm serve``, with the environment that stands before it. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.gb10.vllm.plugins.module_utils._sizing.arguments import ARGUMENTS
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.flags import canonical_name
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.values import AGAIN
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.arguments import Argument, arguments
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.document import Document
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.placeholders import filled, line_of
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.words import Shell, Word, words

_ASSIGNED = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_PYTHON = re.compile(r"python[0-9.]*")
ENTRY_POINTS = ("vllm.entrypoints.openai.api_server", "vllm.entrypoints.cli.main")
# Defaults that go by other names than their arguments where there is no command.
OF_DEFAULTS = {"tensor_parallel": "tensor_parallel_size", "pipeline_parallel": "pipeline_parallel_size", "data_parallel": "data_parallel_size"}
OTHER_ENGINES = {"sglang": "SGLang", "sglang.launch_server": "SGLang", "llama-server": "llama.cpp", "trtllm-serve": "TensorRT-LLM", "ollama": "Ollama"}


class Call(NamedTuple):
    """What is called: the model as the command names it ("" where it does not), its arguments, and the environment before it."""

    model: str
    arguments: list[Argument]
    env: dict[str, str]
    text: str  # the command with its placeholders filled in, which the arguments' places count in


def call(document: Document, defaults: Mapping[str, Any], model: str) -> Call:
    """The call that the recipe's command makes, or where format 2 has none, its defaults. GB10Error names the field and the line."""
    command = document.fields.get("command")
    if command in (None, ""):
        if document.version == "1":
            raise document.error("command", "it is missing, and format 1 has nothing in its place")
        return Call("", _of_defaults(defaults), {}, "")
    if not isinstance(command, str):
        raise document.error("command", "it must be text, best as a block that begins with |")
    command = command.replace("\r\n", "\n")
    known = {"model": model, **({"model_revision": document.fields.get("model_revision")} if document.version == "2" else {})}
    text = filled(document, command, {**{name: value for name, value in known.items() if value}, **defaults})
    try:
        given = words(text)
        env, rest = _before(given)
        rest = _served(document, text, rest)
        loose, found = arguments(rest)
    except Shell as error:
        why = f"{error.why}, which nothing here does: a command has to be `vllm serve` and its arguments"
        raise document.error("command", why, line_of(document, text, error.at)) from None
    if len(loose) > 1:
        raise document.error("command", f"{loose[1][:60]!r} belongs to no argument (the model is {loose[0][:60]})", _line(document, text, rest, loose[1]))
    if document.version == "2":
        found = [*found, *_beside(defaults, found)]
    return Call(loose[0] if loose else "", found, env, text)


def _beside(defaults: Mapping[str, Any], found: list[Argument]) -> list[Argument]:
    """What sparkrun adds to a command that does not say it: the name for clients (``_augment_served_model_name``) and how many boxes there are."""
    said = {one.name for one in found}
    names = {"served_model_name": "served_model_name", **OF_DEFAULTS}
    return [Argument(name, defaults[key], f"defaults.{key}", 0) for key, name in names.items() if defaults.get(key) is not None and name not in said]


def last_of_each(given: Sequence[Argument]) -> set[int]:
    """The places of the arguments that count: of one that is there twice the last, but for those that grow by each."""
    return {number for number, one in enumerate(given) if one.name in AGAIN} | set({one.name: number for number, one in enumerate(given)}.values())


def _before(given: list[Word]) -> tuple[dict[str, str], list[Word]]:
    """(environment, the rest): a shell takes ``NAME=value`` before a command into that command's environment."""
    env: dict[str, str] = {}
    at = 0
    if given and posixpath.basename(given[0].text) == "env":
        at = 1
    while at < len(given) and (found := _ASSIGNED.fullmatch(given[at].text)):
        env[found[1]] = found[2]
        at += 1
    if at < len(given) and given[at].text == "exec":
        at += 1
    return env, given[at:]


def _served(document: Document, text: str, given: list[Word]) -> list[Word]:
    """What follows ``vllm serve``, in any of the ways it is called."""
    program = posixpath.basename(given[0].text) if given else ""
    second = given[1].text if len(given) > 1 else ""
    if program == "vllm" and second == "serve":
        return given[2:]
    if _PYTHON.fullmatch(program) and second == "-m" and len(given) > 2 and given[2].text in ENTRY_POINTS:
        after = given[3:]
        return after[1:] if after and after[0].text == "serve" else after
    engine = OTHER_ENGINES.get(program) or (OTHER_ENGINES.get(given[2].text) if len(given) > 2 and second == "-m" else "")
    what = f"it starts {engine}, and this collection runs vLLM only" if engine else f"it runs {f'{program} {second}'.strip()[:60]!r} and not `vllm serve`"
    raise document.error("command", what if given else "it is empty", line_of(document, text, given[0].at) if given else 0)


def _line(document: Document, text: str, rest: list[Word], word: str) -> int:
    return line_of(document, text, next((one.at for one in rest if one.text == word), 0))


def _of_defaults(defaults: Mapping[str, Any]) -> list[Argument]:
    """What sparkrun makes of defaults where there is no command: an argument each, a switch that is off none."""
    found = []
    for key, value in defaults.items():
        name = OF_DEFAULTS.get(key) or canonical_name(key)
        if name in ARGUMENTS and value is not None and value is not False:
            found.append(Argument(name, value, f"defaults.{key}", 0))
    return found

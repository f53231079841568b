# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the installed vLLM's own parser takes: runs where vLLM is, prints one JSON object.

    list_arguments.py        {"version", "arguments": {name: {"options", "kind", "choices"?, "takes"?}}, "fields": [names of AsyncEngineArgs],
                              "objects": {"argument.key": [values]} of the keys that take one of a closed set}

``takes``: "none" where the word None stands for no value, "suffix" where 4k is a number, "whole" where a list has whole numbers, "again" where the flag
is repeated for each value.

The answers of 0.32.0 and 0.33.0 are kept in tests/unit/plugins/module_utils/_sizing/data/vllm-arguments.json.gz.
"""

from __future__ import annotations

import argparse
import dataclasses
import enum
import json
import os
import sys
import types
import typing

os.environ.update(VLLM_NO_USAGE_STATS="1", HF_HUB_OFFLINE="1", VLLM_LOGGING_LEVEL="ERROR", VLLM_TARGET_DEVICE="cpu")

import vllm
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.utils.argparse_utils import FlexibleArgumentParser

try:
    from vllm.entrypoints.common.cli_args import make_arg_parser  # 0.33
except ImportError:
    from vllm.entrypoints.launchers.cli_args import make_arg_parser

JSON_READERS = {"loads", "parse_dataclass", "union_dict_and_str", "_parse_type"}
WHOLE_READERS = {"int", "human_readable_int", "human_readable_int_or_auto"}


def kind_of(action: argparse.Action) -> str:
    """truth, list, json, whole, number or text, from what reads the value; vLLM wraps optional ones in a closure."""
    if action.nargs == 0:
        return "truth"
    if action.nargs == "+" or isinstance(action, argparse._AppendAction):
        return "list"
    readers = [action.type, *(cell.cell_contents for cell in getattr(action.type, "__closure__", None) or ())]
    names = {getattr(reader, "__name__", "") for reader in readers}
    for kind, known in (("json", JSON_READERS), ("whole", WHOLE_READERS), ("number", {"float"})):
        if names & known:
            return kind
    return "text"


def takes(action: argparse.Action) -> list[str]:
    """What a value may be beside what its kind says."""
    readers = [action.type, *(cell.cell_contents for cell in getattr(action.type, "__closure__", None) or ())]
    names = {getattr(reader, "__name__", "") for reader in readers}
    said = {
        "none": "_optional_type" in names,
        "suffix": bool(names & {"human_readable_int", "human_readable_int_or_auto"}),
        "whole": kind_of(action) == "list" and "int" in names,
        "again": isinstance(action, argparse._AppendAction),
    }
    return [name for name, true in said.items() if true]


def closed(hint: object) -> list[str] | None:
    """All values of a type that is made of literals and names of an enumeration; None for any other."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is type(None):
        return []
    if origin is typing.Literal:
        return [str(value) for value in inner]
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return list(hint.__members__)
    if origin is typing.Annotated:
        return closed(inner[0])
    if origin in (typing.Union, types.UnionType):
        parts = [closed(one) for one in inner]
        return None if None in parts else [value for part in parts for value in part]
    return None


def objects() -> dict[str, list[str]]:
    """The keys of configuration classes that an argument of the same name fills, where they take one of a closed set."""
    import vllm.config as configuration
    from vllm.config import ec_transfer, kv_events, kv_transfer, parallel, reasoning, speculative

    said = {}
    for module in (configuration, ec_transfer, kv_events, kv_transfer, parallel, reasoning, speculative):
        for name, cls in vars(module).items():
            argument = next((one for one in found if one.replace("_", "") == name.lower()), "")
            if not argument or not dataclasses.is_dataclass(cls):
                continue
            for key, hint in typing.get_type_hints(cls, include_extras=True).items():
                values = closed(hint)
                if values:
                    said[f"{argument}.{key}"] = values
    return dict(sorted(said.items()))


found = {}
for action in make_arg_parser(FlexibleArgumentParser())._actions:
    name = next((option[2:].replace("-", "_") for option in action.option_strings if option.startswith("--")), "")
    if name and name != "help":
        found[name] = {"options": action.option_strings, "kind": kind_of(action)}
        if action.choices:
            found[name]["choices"] = [str(choice) for choice in action.choices]
        if takes(action):
            found[name]["takes"] = takes(action)
fields = sorted(field.name for field in dataclasses.fields(AsyncEngineArgs))
json.dump({"version": vllm.__version__, "arguments": dict(sorted(found.items())), "fields": fields, "objects": objects()}, sys.stdout, indent=1)

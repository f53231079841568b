# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the installed vLLM's own parser takes: runs where vLLM is, prints one JSON object.

    list_arguments.py        {"version", "arguments": {name: {"options", "kind", "choices"?, "takes"?}}, "fields": [names of AsyncEngineArgs]}

``takes``: "none" where the word None stands for no value, "suffix" where 4k is a number, "whole" where a list has whole numbers, "again" where the flag
is repeated for each value.

The answers of 0.32.0 and 0.33.0 are kept in tests/unit/plugins/module_utils/_sizing/data/vllm-arguments.json.gz.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys

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
json.dump({"version": vllm.__version__, "arguments": dict(sorted(found.items())), "fields": fields}, sys.stdout, indent=1)

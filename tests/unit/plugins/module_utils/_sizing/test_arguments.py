# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of vLLM's arguments holds every argument of vLLM 0.32.0 and 0.33.0, with the type that vLLM's own parser gives it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import arguments
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.arguments import ARGUMENTS, canonical

RECORDED = json.loads(gzip.decompress((Path(__file__).parent / "data" / "vllm-arguments.json.gz").read_bytes()))
# Fields of AsyncEngineArgs that vLLM fills itself and gives no flag.
NO_FLAG = {"_api_process_count", "_api_process_rank", "enable_mm_processor_stats", "mamba_config", "model_weights"}


def has(row: arguments.Argument, version: str) -> bool:
    number = tuple(map(int, version.split(".")[:2]))
    since, until = (tuple(map(int, text.split("."))) if text else None for text in (row.since, row.until))
    return (since is None or since <= number) and (until is None or number <= until)


@pytest.mark.parametrize("version", RECORDED)
def test_every_argument_has_its_row_and_nothing_else_has(version):
    recorded = RECORDED[version]
    assert set(recorded["arguments"]) == {name for name, row in ARGUMENTS.items() if has(row, version)}
    assert {field for field in recorded["fields"] if canonical(field) not in ARGUMENTS} == NO_FLAG


@pytest.mark.parametrize("version", RECORDED)
def test_types_and_short_names_are_those_of_vllms_parser(version):
    for name, recorded in RECORDED[version]["arguments"].items():
        assert (name, ARGUMENTS[name].kind) == (name, recorded["kind"])
        shorts = [option for option in recorded["options"] if not option.startswith("--")]
        assert (name, ARGUMENTS[name].short) == (name, "".join(shorts))


@pytest.mark.parametrize("version", RECORDED)
def test_every_spelling_that_the_parser_takes_leads_to_its_row(version):
    for name, recorded in RECORDED[version]["arguments"].items():
        for option in recorded["options"]:
            assert canonical(option.lstrip("-").replace("-", "_")) == name, option
    assert canonical("compilation_config.cudagraph_mode") == canonical("cc.mode") == "compilation_config"
    assert canonical("no_such_thing") == "no_such_thing"
    assert arguments.row_of("enable_nothing") is None


def test_each_row_says_what_it_has_to_say():
    for name, row in ARGUMENTS.items():
        assert row.memory in (arguments.COUNTED, arguments.REFUSED, arguments.NEUTRAL, arguments.UNKNOWN), name
        assert bool(row.part) is (row.memory != arguments.NEUTRAL), name
        assert row.place in ("", arguments.PATH, arguments.REPOSITORY, arguments.WRITTEN, arguments.SOCKET), name


def test_what_is_off():
    assert all(map(arguments.is_off, (None, "", 0, 0.0, False, "0", "false", [], {})))
    assert not any(map(arguments.is_off, (1, 0.5, True, "auto", [0], {"a": 0})))

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What vLLM's parser takes for arguments with a fixed set of values is what it was recorded to take, and where nobody knows that, nothing is refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import choices, object_keys
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.arguments import ARGUMENTS, JSON

RECORDED = json.loads(gzip.decompress((Path(__file__).parent / "data" / "vllm-arguments.json.gz").read_bytes()))
# Checked where their values are counted (`engine`, `speculation`), or refused by vLLM's configuration classes and not by its parser.
ELSEWHERE = {
    "dtype", "kv_cache_dtype", "mamba_cache_dtype", "mamba_ssm_cache_dtype", "mamba_cache_mode", "runner", "performance_mode", "spec_method",
    "gdn_prefill_backend", "lora_dtype",
}  # fmt: skip
NOT_IN_THE_PARSER = {"config_format", "optimization_level"}


def recorded() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for version in RECORDED.values():
        for name, row in version["arguments"].items():
            if row.get("choices"):
                found.setdefault(name, set()).update(set(row["choices"]) - {"None"})
    return found


def test_every_closed_set_is_the_one_that_was_recorded():
    known = recorded()
    assert set(choices.CHOICES) - NOT_IN_THE_PARSER == set(known) - ELSEWHERE
    for name in set(choices.CHOICES) - NOT_IN_THE_PARSER:
        assert set(choices.CHOICES[name].split()) == known[name], name


def test_none_is_a_choice_where_it_was_recorded():
    takes_none = {name for version in RECORDED.values() for name, row in version["arguments"].items() if "none" in row.get("takes", ())}
    assert takes_none & {*choices.CHOICES, *choices.UPPER} == choices.OR_NONE
    with pytest.raises(GB10Error, match="scheduling_policy is 'None'"):
        choices.refuse({"scheduling_policy": "None"}, "0.33.0", "server s")


def test_what_is_looked_at_is_an_argument():
    named = {*choices.CHOICES, *choices.UPPER, *choices.LOWER, *choices.LEAST, *(one for pair in choices.NEEDS for one in pair)}
    assert named <= set(ARGUMENTS)
    assert {ARGUMENTS[name].kind for name in object_keys.KEYS} == {JSON}
    assert {name for name, _key in object_keys.RENAMED} <= set(object_keys.KEYS)
    assert not any(key in object_keys.KEYS[name] for name, key in object_keys.RENAMED)


@pytest.mark.parametrize("version", ["0.26.0", "0.31.1", "0.33.0+nv1", "0.32.1.dev3", "0.34.0", "0.1.dev1+gda1daf40b"])
def test_what_is_no_release_of_these_is_only_doubted(version):
    choices.refuse({"scheduling_policy": "sjf", "enable_auto_tool_choice": True, "stream_interval": 0}, version, "server s")
    said = choices.doubts({"scheduling_policy": "sjf"}, "auto", version)
    assert ["sjf" in text for text in said] == ([] if version < "0.32" and "dev1" not in version else [True]), "what an older one took is not known"


def test_one_sentence_however_long_the_set_is():
    for name in (*choices.CHOICES, "attention_backend"):
        with pytest.raises(GB10Error) as error:
            choices.refuse({name: "x" * 500}, "0.33.0", "server s")
        assert len(str(error.value)) <= 600 and name in str(error.value)

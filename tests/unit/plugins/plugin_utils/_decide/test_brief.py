# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""No refusal before activation is longer than 600 characters, as users see it: with the box's name, all faults together, and "Nothing was changed."."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import choices, flags, object_keys, object_values
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.arguments import ARGUMENTS
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.wanted_server import read_server
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import mounts
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.brief import LONGEST, briefly
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.options import option_mistakes
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.preflight import box_problem, models_refused
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.wanted import server_mistakes
from hypothesis import given
from hypothesis import strategies as st

BOX = "spark-01.rack-3.example.org"
OFFER = " That is what site would do: " + "x" * 90 + "."
SERVER = {"name": "a", "model": "tiny", "model_path": "/srv/models/tiny", "port": 8000}
KEYS = [
    "name", "model", "port", "address", "served_model_name", "kv_cache_dtype", "load_format", "max_model_len", "gpu_memory_utilization", "concurrency",
    "cuda_graphs", "reserve_gib", "kv_cache_memory_gib", "revision", "trust_remote_code", "max_num_seqs", "boxes", "api_key", "env", "args", "tls",
]  # fmt: skip
LONG = ["x" * 3000, "x/" * 1500, "/" + "x" * 3000, {"a" * 900: "b" * 900}, ["x" * 3000], "fe80::1%" + "x" * 900, 10**900, [["a" * 700] * 5]]


def seen(text):
    """What a user reads of it."""
    return f"{BOX}: {text} Nothing was changed."


@given(st.lists(st.text(st.characters(codec="ascii", categories=["L", "N", "Zs"]), min_size=1, max_size=900).filter(str.strip), max_size=12))
def test_whatever_is_joined_is_short_and_begins_with_the_first(sentences):
    said = briefly(sentences)
    assert len(said) <= LONGEST and len(seen(said)) <= 600
    assert said.startswith(sentences[0].strip()[:40]) if sentences else said == ""
    assert len(set(map(str.strip, sentences))) < 2 or all(one.strip() in said for one in sentences) or "more, which" in said


def test_what_has_room_is_whole_and_the_rest_is_counted():
    faults = [f"server {name}: " + "y" * 190 + "." for name in "abcde"]
    assert briefly(faults[:2]) == " ".join(faults[:2])
    assert briefly(faults) == f"{' '.join(faults[:2])} And 3 more, which are named once these are mended."
    assert briefly(["a" * 900]) == f"{'a' * 247} ... {'a' * 247}"


@pytest.mark.parametrize("key", KEYS)
def test_a_long_value_of_a_server_makes_no_long_refusal(key):
    for value in LONG:
        server = {**SERVER, key: value}
        said = [*option_mistakes({"gb10_servers": [server]}), *server_mistakes([server], "/srv/models")]
        try:
            read_server(server)
        except GB10Error as error:
            said.append(str(error))
        assert all(len(seen(one)) <= 600 and "\n" not in one for one in said), [one for one in said if len(seen(one)) > 600][0][:700]


@pytest.mark.parametrize("name", sorted({*ARGUMENTS, "no_such_argument", "x" * 2000}))
def test_a_long_value_of_an_argument_makes_no_long_refusal(name):
    for value in LONG:
        server = {**SERVER, "args": {name: value}}
        said = server_mistakes([server], "/srv/models")
        try:
            args = read_server(server)["args"]
            said += flags.unknown_names(args, "0.33.0")
            choices.refuse(args, "0.33.0", "server a")
            object_keys.refuse(args, "server a")
            object_values.refuse(args, "server a")
        except GB10Error as error:
            said.append(str(error))
        assert all(len(seen(one)) <= 600 for one in said), said[0][:900]


def test_many_files_and_models_that_cannot_be_opened_are_one_short_text():
    args = {name: f"/srv/{'deep/' * 20}{name}" for name in ("chat_template", "tool_parser_plugin", "reasoning_parser_plugin", "log_config_file", "config")}
    named = {"a": {value: {"kind": "absent", "path": value} for value in args.values()}}
    said = mounts.files_refused([{**SERVER, "args": args}], {}, {"named": named, "servers": {}})
    assert "args.chat_template names" in said and "more, which are named" in said and len(seen(said)) <= 600
    servers = [{"name": f"s{number}", "model_path": f"/srv/models/{'m' * 60}{number}"} for number in range(12)]
    assert len(seen(models_refused(servers, {}, {f"/srv/{number}": "damaged " * 20 for number in range(5)}))) <= 600
    assert len(seen(models_refused(servers, {}, {}))) <= 600


def test_all_that_is_wrong_with_a_box_is_one_short_text():
    findings = [{"level": "error", "text": f"Fault {number}: " + "z" * 190 + "."} for number in range(5)]
    here = {"name": BOX, "user": "gb10", "address": "192.168.1.11", "interpreter": ""}
    said = box_problem({"box": {}, "findings": findings}, here)
    assert said.startswith(f"{BOX}: Fault 0") and "more, which are named" in said
    assert len(f"{said} Nothing was changed.{OFFER}") <= 600

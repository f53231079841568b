# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A value of another kind than its argument is refused as vLLM's parser would refuse it; what the parser takes goes through."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import flags, values
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.arguments import ARGUMENTS, JSON, LIST, NUMBER, TEXT, TRUTH, WHOLE

RECORDED = json.loads(gzip.decompress((Path(__file__).parent / "data" / "vllm-arguments.json.gz").read_bytes()))
ARGS = sorted({*ARGUMENTS} - {*flags.SECRET_ARGS, *flags.SPECULATION, "lora_modules"})
WRONG = {
    WHOLE: ["abc", "1 2", [1], {"a": 1}, True, False, 0.5, "0.5"],
    NUMBER: ["abc", [0.5], {"a": 1}, True, False],
    TEXT: [["a"], {"a": 1}, True, False, "--flag"],
    LIST: [True, False, [["a"]], ["--flag"]],
    JSON: [True, False, 3, "word", "[1"],
}
RIGHT = {WHOLE: [4, "4", -1], NUMBER: [1, 0.5, "0.5", "1e-3"], TEXT: ["a", "/a b", 4, "-3", "- x"], LIST: [["1", 2], "1", 1], JSON: [{"a": 1}, '{"a": 1}']}


def checked(name, value):
    done = flags.normalise_args({name: value}, "s")
    flags.check_switches(done, "s")
    return done


@pytest.mark.parametrize("name", ARGS)
def test_every_argument_refuses_what_is_not_of_its_kind(name):
    kind = ARGUMENTS[name].kind
    for value in WRONG.get(kind, ["perhaps"]):
        if (name in values.PLANNED and isinstance(value, (str, float))) or (name in values.OR_TEXT and value in ("word", "[1")):
            continue  # `read_server` has its own sentence; plain text is taken
        with pytest.raises(GB10Error) as refused:
            checked(name, value)
        assert f"args.{name} is " in str(refused.value) and len(str(refused.value)) < 300
    for value in RIGHT.get(kind, [True, "false"]):
        assert list(checked(name, value)) in ([name], []), (name, value)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"seed": "abc"}, "args.seed is 'abc': vLLM takes a whole number there"),
        ({"max_logprobs": True}, "args.max_logprobs is True, as a switch is: vLLM takes a whole number"),
        ({"chat_template": ["/a"]}, "vLLM takes one text"),
        ({"cudagraph_capture_sizes": "1 2 4 8"}, "a list of whole numbers, as"),
        ({"load_format": ["auto"]}, "vLLM takes one text"),
        ({"kv_cache_dtype_skip_layers": "0 1"}, "vLLM takes a list"),
        ({"lora_target_modules": "q_proj k_proj"}, "vLLM takes a list"),
        ({"watermark": "much"}, "vLLM takes a number"),
        ({"compilation_config": 3}, "say optimization_level for a number"),
        ({"max_num_queued_tokens": "many"}, "such as 4096 or 4k"),
    ],
)
def test_the_sentence_says_what_is_taken(args, words):
    with pytest.raises(GB10Error, match=words):
        checked(*next(iter(args.items())))


@pytest.mark.parametrize(
    ("args", "read"),
    [
        ({"seed": "", "dtype": "", "chat_template": "", "host": ""}, {}),
        ({"lora_target_modules": []}, {}),
        ({"max_log_len": "None", "kv_transfer_config": "null"}, {}),
        ({"prefix_cache_retention_interval": "None"}, {"prefix_cache_retention_interval": "None"}),
        ({"max_num_queued_tokens": "4k"}, {"max_num_queued_tokens": 4000}),
        ({"allowed_origins": ["https://a"]}, {"allowed_origins": '["https://a"]'}),
        ({"allowed_origins": '["*"]'}, {"allowed_origins": '["*"]'}),
        ({"pt_load_map_location": "cuda"}, {"pt_load_map_location": "cuda"}),
        ({"cudagraph_capture_sizes": [1, "2"]}, {"cudagraph_capture_sizes": [1, "2"]}),
    ],
)
def test_other_ways_to_say_it(args, read):
    done = flags.normalise_args(args, "s")
    flags.check_switches(done, "s")
    assert done == read


@pytest.mark.parametrize(
    "value",
    ["a=/x b=/y", "a=/x,b=/y", "/x", ["a=/x", "/y"], {"name": "a"}, [{"path": "/x"}], '{"name": "a"}', [{"name": "a", "path": "/x", "rank": 8}], True, 3, "{"],
)
def test_adapters_that_vllm_does_not_read(value):
    with pytest.raises(GB10Error, match="name=/path|is not JSON"):
        checked("lora_modules", value)


@pytest.mark.parametrize(
    "value",
    ["a=/x", "a=/x y", ["a=/x", "b=/y"], {"name": "a", "path": "/x"}, [{"name": "a", "path": "/x", "base_model_name": "m"}], '{"name": "a", "path": "/x"}'],
)
def test_adapters_that_vllm_reads(value):
    assert checked("lora_modules", value) == {"lora_modules": value}


def test_a_list_of_middlewares_is_one_flag_each():
    assert flags.words("--middleware", ["a.B", "c.D"]) == ["--middleware", "a.B", "--middleware", "c.D"]
    assert flags.words("--cudagraph-capture-sizes", [1, 2]) == ["--cudagraph-capture-sizes", "1", "2"]


def test_what_is_taken_beside_the_kind_is_what_was_recorded():
    said: dict[str, set[str]] = {}
    for version in RECORDED.values():
        for name, row in version["arguments"].items():
            for what in row.get("takes", ()):
                said.setdefault(what, set()).add(name)
    assert {name for name in said["none"] if ARGUMENTS[name].kind not in (TEXT, TRUTH)} == values.OPTIONAL
    assert (said["suffix"], said["whole"], said["again"]) == (values.SUFFIXED, values.WHOLE_ITEMS, values.AGAIN)
    assert {ARGUMENTS[name].kind for name in values.NAMES} == {LIST}
    assert {ARGUMENTS[name].kind for name in values.LISTS | values.OR_TEXT} == {JSON}

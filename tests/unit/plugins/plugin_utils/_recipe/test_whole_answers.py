# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The parts of a recipe's way, each with its whole answer: words, placeholders, lines, arguments, boxes, images, reports."""

from __future__ import annotations

import datetime
import subprocess

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image.mods import PIN
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe import (
    adopted,
    command,
    document,
    fields,
    image_said,
    images,
    mapping,
    nodes,
    placeholders,
    report,
    trust,
)
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe import source as sources
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe import words as shell
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.arguments import Argument, arguments
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.document import Document
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.export import exported, plain
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.rows import CHANGED, MAPPED, REFUSED, Row


def of(version="2", lines=None, literal=True, **given):
    return Document("a.yaml", version, given, lines or {name: number for number, name in enumerate(given, 2)}, literal)


# ---- words ---------------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a  b\tc", [("a", 0), ("b", 3), ("c", 5)]),
        ('x "a\\\nb" y', [("x", 0), ("ab", 2), ("y", 9)]),
        ('"a\\"b\\$c\\`d\\\\e\\f"', [('a"b$c`d\\e\\f', 0)]),
        ("'a\\b'\\ c", [("a\\b c", 0)]),
        ("a\\\n b", [("a", 0), ("b", 4)]),
        ("a\\  \n b", [("a", 0), ("b", 6)]),
        ("# first\na b # last", [("a", 8), ("b", 10)]),
        ("a#b", [("a#b", 0)]),
        ("a~b {x} {", [("a~b", 0), ("{x}", 4), ("{", 8)]),
        ("a \\", [("a", 0)]),
        ("a\n\n# end\n  ", [("a", 0)]),
        ("", []),
    ],
)
def test_words_and_where_they_begin(text, found):
    assert [(one.text, one.at, one.bare) for one in shell.words(text)] == [(*one, False) for one in found]


def test_json_that_nobody_quoted_is_one_word_and_said_so():
    assert shell.words('--a={"b": [1, 2]} {"c":{}}\n') == [shell.Word('--a={"b": [1, 2]}', 0, True), shell.Word('{"c":{}}', 18, True)]
    assert shell.words('{"a":1}x') == [shell.Word("{a:1}x", 0, False)]


@pytest.mark.parametrize(
    ("text", "why", "at"),
    [
        ("ab 'c", "a single quote begins here and does not end", 3),
        ('ab x"c', "a double quote begins here and does not end", 4),
        ('a "b$c"', "$ stands for something that only the shell of that machine knows", 4),
        ('a "b`"', "` runs a command for its output", 4),
        ("a ~/b", "~ stands for a home that only the shell of that machine knows", 2),
        ("a b{c,d}", "braces with a list in them become several words", 3),
        ("a {1..3}", "braces with a list in them become several words", 2),
        ("a\n # x\n b", "a second command begins here: the line before does not end in a backslash", 8),
        ("ab)", ") ends a subshell", 2),
    ],
)
def test_what_only_a_shell_does_and_where(text, why, at):
    with pytest.raises(shell.Shell) as caught:
        shell.words(text)
    assert (caught.value.why, caught.value.at, str(caught.value)) == (why, at, why)


# ---- arguments -----------------------------------------------------------------------------------------------------------------------------------------


def read_arguments(text):
    loose, found = arguments(shell.words(text))
    return loose, [tuple(one) for one in found]


def test_arguments_in_their_types_with_their_flags_and_places():
    text = "m --max-num-seqs 8 --seed=7 --kv-cache-dtype fp8 --gpu-memory-utilization 0.9 --enforce-eager --new-one 1 x --new-two.part 3"
    assert read_arguments(text) == (
        ["m"],
        [
            ("max_num_seqs", 8, "--max-num-seqs", 2, False),
            ("seed", 7, "--seed", 19, False),
            ("kv_cache_dtype", "fp8", "--kv-cache-dtype", 28, False),
            ("gpu_memory_utilization", 0.9, "--gpu-memory-utilization", 49, False),
            ("enforce_eager", True, "--enforce-eager", 78, False),
            ("new_one", [1, "x"], "--new-one", 94, False),
            ("new_two.part", "3", "--new-two.part", 108, False),
        ],
    )


@pytest.mark.parametrize(
    ("text", "loose", "value"),
    [
        ("--gpu-memory-utilization 1", [], 1),
        ("--gpu-memory-utilization 1.0", [], 1.0),
        ("--gpu-memory-utilization 1e14", [], 10**14),
        ("--gpu-memory-utilization 1e15", [], 1e15),
        ("--gpu-memory-utilization inf", [], "inf"),
        ("--gpu-memory-utilization x", [], "x"),
        ("--enforce-eager after", ["after"], True),
        ("--enforce-eager=no", [], "no"),
        ("--no-enable-prefix-caching", [], False),
        ("--no-enable-prefix-caching=false", [], True),
        ("--seed 1 after", ["after"], 1),
        ("-O3 after", ["after"], True),
        ("--served-model-name a 2", [], ["a", 2]),
        ("--new -1", [], -1),
        ("--compilation-config.mode 3 after", ["after"], "3"),
        ('--compilation-config \'{{"a":{{"b":1}}}}\'', [], {"a": {"b": 1}}),
        ("--compilation-config ' {\"a\":1}'", [], {"a": 1}),
        ("--compilation-config '[1]'", [], [1]),
        ("--compilation-config 3", [], "3"),
        ('--compilation-config {"a":1}', [], {"a": 1}),
    ],
)
def test_one_argument_takes_what_it_takes(text, loose, value):
    found_loose, ((_name, found, _flag, _at, bare),) = read_arguments(text)
    assert (found_loose, found, type(found), bare) == (loose, value, type(value), text.endswith('{"a":1}'))


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ('{"a":}', "the value of --compilation-config is not JSON (Expecting value: line 1 column 6 (char 5))"),
        ('{"a":Infinity}', "the value of --compilation-config holds a number that is infinite or none"),
    ],
)
def test_a_value_that_cannot_be_read_is_named_with_its_place(value, why):
    with pytest.raises(shell.Shell) as caught:
        arguments([shell.Word("m", 0), shell.Word("--compilation-config", 5), shell.Word(value, 9)])
    assert (caught.value.why, caught.value.at) == (why, 5)


# ---- the command ---------------------------------------------------------------------------------------------------------------------------------------


def test_a_call_is_its_model_its_arguments_its_environment_and_its_text():
    text = "VLLM_A=1 vllm serve {model} --revision {model_revision} --port {port}\n"
    found = command.call(of(command=text, model="a/b", model_revision="c1"), {"port": 1, "served_model_name": "n", "tensor_parallel": 2, "other": 3}, "a/b")
    filled = "VLLM_A=1 vllm serve a/b --revision c1 --port 1\n"
    assert found == command.Call(
        "a/b",
        [
            Argument("revision", "c1", "--revision", filled.index("--rev")),
            Argument("port", 1, "--port", filled.index("--port")),
            Argument("served_model_name", "n", "defaults.served_model_name", 0),
            Argument("tensor_parallel_size", 2, "defaults.tensor_parallel", 0),
        ],
        {"VLLM_A": "1"},
        filled,
    )
    assert command.call(of("1", command="vllm serve\r\n"), {"served_model_name": "n"}, "") == command.Call("", [], {}, "vllm serve\n")


def test_defaults_are_arguments_where_format_2_has_no_command():
    given = {"port": 1, "tensor_parallel": 2, "enforce_eager": True, "async_scheduling": False, "seed": None, "colour": "red"}
    assert command.call(of(command=""), given, "m") == command.Call(
        "",
        [
            Argument("port", 1, "defaults.port", 0),
            Argument("tensor_parallel_size", 2, "defaults.tensor_parallel", 0),
            Argument("enforce_eager", True, "defaults.enforce_eager", 0),
        ],
        {},
        "",
    )


@pytest.mark.parametrize(
    ("version", "text", "line", "why"),
    [
        ("1", None, 2, "it is missing, and format 1 has nothing in its place"),
        ("2", ["x"], 2, "it must be text, best as a block that begins with |"),
        ("2", "vllm serve m \\\n --seed 1 more", 4, "'more' belongs to no argument (the model is m)"),
        ("2", "A=1 \\\n exec nginx -x y", 4, "it runs 'nginx -x' and not `vllm serve`"),
        ("2", "\nllama-server", 4, "it starts llama.cpp, and this collection runs vLLM only"),
        ("2", "\npython3 -m sglang.launch_server x", 4, "it starts SGLang, and this collection runs vLLM only"),
        ("2", "python3 -m http.server", 3, "it runs 'python3 -m' and not `vllm serve`"),
        ("2", "# nothing", 2, "it is empty"),
        ("2", "vllm serve m \\\n; x", 4, "; starts a second command, which nothing here does: a command has to be `vllm serve` and its arguments"),
    ],
)
def test_a_command_that_is_none_is_named_with_its_line(version, text, line, why):
    with pytest.raises(document.FieldError) as caught:
        command.call(of(version, command=text), {}, "")
    assert (caught.value.field, caught.value.line, caught.value.why) == ("command", line, why)
    assert str(caught.value) == f"Recipe a.yaml, line {line}, `command`: {why}."


@pytest.mark.parametrize("before", ["vllm serve", "/x/vllm serve", "env A=1 vllm serve", "python3.12 -m vllm.entrypoints.cli.main serve", "exec vllm serve"])
def test_the_model_stands_behind_serve(before):
    assert command.call(of("1", command=f"{before} m --seed 1"), {}, "").model == "m"


# ---- placeholders, documents ---------------------------------------------------------------------------------------------------------------------------


def test_values_as_a_command_holds_them():
    assert placeholders.in_value("{a} {b} {c} {d}", {"a": {"x": [1, 2]}, "b": [1], "c": True, "d": None}) == '{"x":[1,2]} [1] True {d}'
    assert placeholders.used("{a} {b-c} { d } {e!r} {1}") == {"a", "b-c"}
    assert [placeholders.meant(text) for text in ("{a}", "{ a }", "{a!r}", "{a:>3}", '{"a":1}', "{a b}", "{}")] == [True, True, True, True, False, False, False]


def test_format_1_doubles_its_braces_and_names_the_line_of_what_is_none():
    made = of("1", command="", defaults={"a": 1, "n": None})
    assert placeholders.filled(made, "{a}{{x}} {{{a}}} \n }}", {"a": [1]}) == "[1]{x} {[1]} \n }"
    with pytest.raises(document.FieldError) as caught:
        placeholders.filled(made, "{{}}\n{b}", {"c": 1, "a": 2, "n": None}, "label")
    assert (caught.value.field, caught.value.line) == ("label", 4)
    assert caught.value.why == "{b} is a placeholder that `defaults` gives no value for (it has a, c)"
    with pytest.raises(document.FieldError, match="it has nothing"):
        placeholders.filled(of(command=""), "{b}", {"b": None})


def test_placeholders_that_grow_are_bounded():
    long = {"a": "x" * (placeholders.LONGEST - 1)}
    assert len(placeholders.filled(of(command=""), "{a}y", long)) == placeholders.LONGEST
    with pytest.raises(document.FieldError, match="line 2, `command`: its placeholders make it too long for a command"):
        placeholders.filled(of(command=""), "{a}yy", long)


def test_the_line_of_a_character():
    text = "a\nb\nc"
    assert [placeholders.line_of(of(command=text), text, at) for at in (0, 1, 2, 4)] == [3, 3, 4, 5]
    assert placeholders.line_of(of(command=text, literal=False), text, 4) == 2


def test_what_is_read_of_a_document():
    text = "recipe_version: 2\nmodel: a/b\nmods:\n  - x\n  - y\ndefaults:\n  port: 1\n  port: 2\ncommand: |\n  vllm\n"
    found = document.read(text, "a.yaml")
    assert (found.name, found.version, found.literal, found.twice) == ("a.yaml", "2", True, ("defaults.port",))
    assert found.fields == {"recipe_version": 2, "model": "a/b", "mods": ["x", "y"], "defaults": {"port": 2}, "command": "vllm\n"}
    assert found.lines == {
        "recipe_version": 1, "model": 2, "mods": 3, "mods.0": 4, "mods.1": 5, "defaults": 6, "defaults.port": 8, "command": 9,
    }  # fmt: skip
    assert [found.line(name) for name in ("mods.1", "mods.7", "defaults.port.x", "none", "none.x")] == [5, 3, 8, 1, 1]
    assert not document.read("model: a\ncommand: vllm", "a").literal and document.read("model: a", "a").literal


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("recipe_version: 1.0\nmodel: a", "1"),
        ("sparkrun_version: '2.0'\nmodel: a", "2"),
        ("name: a\ncontainer: c", "1"),
        ("name: a\ncontainer: c\nmin_nodes: 1", "2"),
        ("name: a\nmodel: m", "2"),
        ("container: c", "2"),
    ],
)
def test_the_version_of_a_document(text, version):
    assert document.read(text, "a").version == version


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model: " + "[" * 101 + "]" * 101, "Recipe a: it is nested too deeply for a recipe."),
        ("model: &a [*a]", "Recipe a, line 1, `model`: its anchors and aliases make it too large for a recipe."),
        ("a: 1\nmodel: !!python/none x", "Recipe a, line 2: could not determine a constructor for the tag 'tag:yaml.org,2002:python/none'."),
        ("\n- a", "Recipe a, line 2: a recipe is a mapping of fields such as `model` and `command`."),
        ("model: a\nb: [\n", "Recipe a, line 3: this is not YAML (expected the node content, but found '<stream end>')."),
        ("x: 1\nrecipe_version: 7\nmodel: a", "Recipe a, line 2, `recipe_version`: '7' is a version this release cannot read, only 1"),
        ("x" * 65537, "Recipe a: 65,537 characters are too many for a recipe (at most 65,536); name the recipe itself."),
        ("colour: red", "Recipe a, line 1: none of the fields `command`, `model`, `container`, `runtime`, `defaults` is there, so this is no recipe of"),
        ("model: a\nwhen: 2026-02-30", "Recipe a, line 2, `when`: a value makes no sense (day is out of range for month)."),
    ],
)
def test_what_is_no_document_is_said_whole(text, said):
    with pytest.raises(GB10Error) as caught:
        document.read(text, "a")
    assert str(caught.value).startswith(said)


def test_a_document_may_be_as_long_and_as_deep_as_it_may_be():
    assert document.read("model: a\n#" + "x" * (65536 - 10), "a").fields == {"model": "a"}
    assert document.read("model: " + "[" * 99 + "{}" + "]" * 99, "a").version == "2"


# ---- fields and boxes ----------------------------------------------------------------------------------------------------------------------------------


def test_what_becomes_of_every_kind_of_field():
    given = {
        "name": "x", "x-note": 1, "runtime": " VLLM ", "executor": "docker", "builder": "eugr", "benchmark": {}, "pre_exec": [], "include": "o",
        "executor_config": {"gpus": 1, "privileged": False, "entrypoint": "sh"}, "builder_config": {"a": 1}, "distribution_config": {},
        "min_sparkrun_version": "0.5", "voluems": 1, "zzzz": 1, "model": "not here",
    }  # fmt: skip
    found = fields.rows(of(**given))
    rules = "the rules that are known here are sparkrun's up to 0.4; compare the command with what it makes of it"
    assert found == [
        Row("name", 2, MAPPED, "", "a title; a server's name is given in gb10_servers"),
        Row("x-note", 3, MAPPED, "", "told to people only"),
        Row("runtime", 4, MAPPED, "", "vLLM"),
        Row("executor", 5, CHANGED, "", "Docker runs it, the image comes by gb10_image"),
        Row("builder", 6, CHANGED, "", "Docker runs it, the image comes by gb10_image"),
        Row("benchmark", 7, CHANGED, "", "the playbook gb10.vllm.benchmark measures, by its own profiles"),
        Row("pre_exec", 8, MAPPED, "", "empty"),
        Row("include", 9, REFUSED, "", "this recipe is only a part; name one that stands alone"),
        Row("executor_config.gpus", 10, CHANGED, "", "a server gets the GPU of its box"),
        Row("executor_config.privileged", 10, MAPPED, "", "off, as here"),
        Row("executor_config.entrypoint", 10, REFUSED, "", "a container here has no privilege, no capability and no entry point but vLLM's"),
        Row("builder_config.a", 11, REFUSED, "", "how an image is built is said by gb10_image"),
        Row("distribution_config", 12, MAPPED, "", "empty"),
        Row("min_sparkrun_version", 13, CHANGED, "", f"0.5: {rules}"),
        Row("voluems", 14, REFUSED, "", "not a field that is known; did the author mean `volumes`?"),
        Row("zzzz", 15, REFUSED, "", "not a field that is known"),
    ]


def test_fields_that_are_there_but_are_none():
    found = fields.rows(of(executor="k8s", builder="other", executor_config=None, distribution_config="x", runtime="sglang", min_sparkrun_version=None))
    look = "look for a recipe of the same model with `runtime: vllm`"
    assert found == [
        Row("executor", 2, REFUSED, "", "'k8s' is not there here"),
        Row("builder", 3, REFUSED, "", "'other' is not there here"),
        Row("executor_config", 4, MAPPED, "", "empty"),
        Row("distribution_config", 5, CHANGED, "", "models and images reach the boxes from box to box"),
        Row("runtime", 6, REFUSED, "", f"'sglang' is SGLang, and this collection runs vLLM only; {look}"),
        Row("min_sparkrun_version", 7, MAPPED, "", "the rules of sparkrun up to 0.4 are known; nothing of it runs here"),
    ]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, (1, nodes.MOST)),
        ({"min_nodes": 2, "max_nodes": "4"}, (2, 4)),
        ({"min_nodes": 1, "max_nodes": nodes.MOST}, (1, nodes.MOST)),
        ({"min_nodes": "", "max_nodes": None}, (1, nodes.MOST)),
        ({"solo_only": True}, (1, 1)),
        ({"mode": " Solo "}, (1, 1)),
        ({"cluster_only": "yes"}, (2, nodes.MOST)),
        ({"cluster_only": "", "mode": "cluster", "min_nodes": 3}, (3, nodes.MOST)),
    ],
)
def test_how_many_boxes_an_author_allows(given, found):
    assert nodes.allowed(of(**given)) == found


@pytest.mark.parametrize(
    ("given", "field", "why"),
    [
        ({"min_nodes": 0}, "min_nodes", f"'0' is no number of boxes from 1 to {nodes.MOST}"),
        ({"max_nodes": nodes.MOST + 1}, "max_nodes", f"'{nodes.MOST + 1}' is no number of boxes from 1 to {nodes.MOST}"),
        ({"max_nodes": True}, "max_nodes", f"'True' is no number of boxes from 1 to {nodes.MOST}"),
        ({"mode": "both"}, "mode", "'both' is none of auto, solo and cluster"),
        ({"solo_only": 1, "cluster_only": 1}, "solo_only", "it is for one box only, and `cluster_only` says it is for several"),
        ({"cluster_only": "perhaps"}, "cluster_only", "'perhaps' is neither true nor false"),
        ({"min_nodes": 3, "max_nodes": 2}, "min_nodes", "at least 3 boxes and at most 2 cannot both be"),
        ({"mode": "cluster", "max_nodes": 1}, "mode", "at least 2 boxes and at most 1 cannot both be"),
    ],
)
def test_numbers_of_boxes_that_cannot_be(given, field, why):
    with pytest.raises(document.FieldError) as caught:
        nodes.allowed(of(**given))
    assert (caught.value.field, caught.value.why) == (field, why)


def test_parts_of_a_model_against_the_boxes_that_are_allowed():
    assert nodes.placed(of(), 1, 1, (1, 1)) == nodes.placed(of(), 1, 1, (1, 64)) == ({}, [])
    assert nodes.placed(of(), 2, 3, (6, 6)) == ({"boxes": 6, "tensor_parallel": 2, "pipeline_parallel": 3}, [])
    for given, field in (({"solo_only": 1, "max_nodes": 1}, "solo_only"), ({"max_nodes": 1, "mode": "solo"}, "max_nodes"), ({"mode": "solo"}, "mode")):
        why = "for one box only, which has one GPU: the 2 parts that the command asks for become one"
        assert nodes.placed(of(**given), 2, 1, (1, 1)) == ({}, [Row(field, of(**given).line(field), CHANGED, "one box", why)])
    for given, field in (({"x": 1, "min_nodes": 3}, "min_nodes"), ({"cluster_only": 1}, "cluster_only"), ({"mode": "cluster"}, "mode")):
        why = "at least 3 boxes are asked for, and the command shares the model out over 2: say --tensor-parallel-size in the command"
        assert nodes.placed(of(**given), 2, 1, (3, 9)) == ({}, [Row(field, of(**given).line(field), REFUSED, "", why)])
    why = "at most 3 boxes are allowed, and the command shares the model out over 4"
    assert nodes.placed(of(x=1, max_nodes=3), 4, 1, (1, 3)) == ({}, [Row("max_nodes", 3, REFUSED, "", why)])


# ---- images --------------------------------------------------------------------------------------------------------------------------------------------

ONE = f"sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("name", "settings", "state", "ours"),
    [
        ("vllm-node", {}, CHANGED, "gb10_image"),
        ("vllm-node-b12x:latest", {"flavour": "b12x"}, MAPPED, "gb10_image.flavour: b12x"),
        ("eugr/spark-vllm", {"flavour": "prebuilt"}, MAPPED, "gb10_image.flavour: prebuilt"),
        (f"acme/x@{ONE}", {"source": "prebuilt", "image": "acme/x", "digest": ONE}, MAPPED, "gb10_image.source: prebuilt, with its digest"),
        ("acme/x:1", {"source": "prebuilt", "image": "acme/x:1"}, CHANGED, "gb10_image.source: prebuilt, image: acme/x:1"),
        ("-x", {}, REFUSED, ""),
    ],
)
def test_the_image_of_a_container(name, settings, state, ours):
    found = images.image_of(of(container=f" {name} "), images.Beside())
    why = {
        "vllm-node": "vllm-node is what the project's script makes: the image of the fleet is used",
        "acme/x:1": "it is named without a digest: pulled once and kept, and the run says which digest to pin (gb10_image.digest)",
        "-x": "'-x' is no name of an image",
    }.get(name, "")
    assert found == images.Wanted(settings, bool(settings), [Row("container", 2, state, ours, why)])
    assert images.image_of(of(container=""), images.Beside()) == images.Wanted({}, False, [])


def test_every_word_of_build_args_is_told():
    given = ["--vllm-ref v1 -j 8", "--rebuild-deps", "--gpu-arch", "12.1a", "--tf5", "--exp-mxfp4", "--apply-vllm-pr", "7", "--other=1", "--build-jobs", "x"]
    found = images.image_of(of(container="acme/x:1", build_args=given), images.Beside())
    assert found.settings == {"vllm_ref": "v1", "jobs": "x", "arguments": ["--gpu-arch", "12.1a"], "flavour": "mxfp4"} and found.special
    by_hand = "look at its changes and say gb10_image.vllm_prs: {7: sha256 of the diff} yourself (docs/image.md)"
    assert [tuple(row[2:]) for row in found.rows if row.field == "build_args" and row.line == 3] == [
        (MAPPED, "gb10_image.vllm_ref: v1", "--vllm-ref"),
        (MAPPED, "gb10_image.jobs: 8", "-j"),
        (CHANGED, "", "--rebuild-deps: made anew only where an input changed"),
        (MAPPED, "gb10_image.arguments", "--gpu-arch"),
        (CHANGED, "", "--tf5: versions of Transformers are the image's own; 5 is the default since 2026-06-30"),
        (MAPPED, "gb10_image.flavour: mxfp4", "--exp-mxfp4"),
        (REFUSED, "", f"--apply-vllm-pr 7: a pull request is whatever its author pushed last, and the recipe gives no checksum of it; {by_hand}"),
        (REFUSED, "", "--other=1: no argument of build-and-copy.sh that is taken over"),
        (MAPPED, "gb10_image.jobs: x", "--build-jobs"),
    ]
    pull = "--vllm-ref refs/pull/1: a pull request is whatever its author pushed last; name the commit that you looked at (gb10_image.vllm_ref)"
    refused = images.image_of(of(build_args=["--vllm-ref", "refs/pull/1", "-j", "4"]), images.Beside())
    assert refused.settings == {"jobs": 4} and not refused.special and refused.rows[0] == Row("build_args", 2, REFUSED, "", pull)
    assert images.image_of(of(build_args=["--gpu-arch"]), images.Beside()).rows[0].state == REFUSED


def test_a_jobs_number_alone_keeps_the_image_that_is_pulled():
    assert images.image_of(of(container="acme/x:1", build_args="-j 4"), images.Beside()).settings == {"source": "prebuilt", "image": "acme/x:1", "jobs": 4}


def test_lists_at_the_top_and_in_runtime_config():
    assert images.listed(of(mods="x"), "mods") == (["x"], "mods")
    assert images.listed(of(runtime_config={"mods": ["y", 1]}), "mods") == (["y", 1], "runtime_config.mods")
    assert images.listed(of(mods=[], runtime_config={"mods": ["y"]}), "mods") == ([], "mods")
    assert images.listed(of(runtime_config="x"), "mods") == images.listed(of(), "mods") == ([], "mods")
    with pytest.raises(document.FieldError, match="line 2, `runtime_config.mods`: it must be a list of words"):
        images.listed(of(runtime_config={"mods": [True]}), "mods")


HOW = "run once, as a layer of the image, and not at each start"
HAND = "put its change into an image of your own (gb10_image.source: existing), or go without it (recipe_without)"


def test_mods_are_beside_the_recipe_or_in_the_image_s_repository():
    beside = images.Beside({"mods/own": "", "mods/bad": "it breaks"}, {"mods/own": "/r/mods/own"}, {"mods/own": {"run.sh": (b"curl x\n", True)}}, "f" * 40)
    found = images.image_of(of(mods=["mods/own", "mods/bad", "@eugr/new", "@acme/x"]), beside)
    assert found.settings == {"mods": ["/r/mods/own", "mods/new"]} and found.special
    digest = images.image_mods.digest({"run.sh": (b"curl x\n", True)})[:12]
    fetched = "; it fetches from the network then, so it cannot be built without"
    elsewhere = "missing: it is a mod of another registry of sparkrun; put its directory beside the recipe, as mods/NAME, and name it so"
    assert found.rows == [
        Row("mods.0", 2, CHANGED, "gb10_image.mods: /r/mods/own", f"mods/own: {HOW}; from the recipe's own directory (digest {digest}){fetched}"),
        Row("mods.1", 2, REFUSED, "", f"mods/bad: it breaks; {HAND}"),
        Row("mods.2", 2, CHANGED, "gb10_image.mods", f"mods/new: {HOW}; looked for in the image's repository at {'f' * 40} when it is built"),
        Row("mods.3", 2, REFUSED, "", f"@acme/x: {elsewhere}; {HAND}"),
    ]
    assert [images.is_missing(row) for row in found.rows] == [False, False, False, True]


def test_a_mod_of_the_project_is_no_layer_of_an_image_that_is_pulled():
    why = "it is one of the project, which is a layer of an image that is built here, and the recipe's is pulled"
    for container in ("acme/x:1", "eugr/spark-vllm-b12x"):
        found = images.image_of(of(container=container, mods=["mods/gpu-mem-util-gb", "mods/own"]), images.Beside({"mods/own": ""}))
        assert found.rows[1:] == [
            Row("mods.0", 3, REFUSED, "", f"mods/gpu-mem-util-gb: {why}; {HAND}"),
            Row("mods.1", 3, CHANGED, "gb10_image.mods", f"mods/own: {HOW}; from the recipe's own directory"),
        ]
    nowhere = (
        f"missing: it lies not beside the recipe, and the image's repository has no such mod at {PIN[:7]}, which is built where gb10_image.ref says nothing"
    )
    assert images.image_of(of(mods="mods/zz"), images.Beside(ref=PIN)).rows == [Row("mods.0", 2, REFUSED, "", f"mods/zz: {nowhere}; {HAND}")]


@pytest.mark.parametrize(
    ("image", "found", "left"),
    [
        ({}, {"container": "vllm-node"}, []),
        ({"source": "archive", "archive": "x.tar"}, {"container": "vllm-node"}, ["here came from an archive"]),
        ({"source": "existing"}, {"container": "vllm-node"}, ["here was there before"]),
        ({"source": "prebuilt", "digest": ONE}, {"container": f"eugr/spark-vllm:latest@{ONE}"}, []),
        ({"source": "prebuilt", "image": f"a/x@{ONE}"}, {"container": f"a/x@{ONE}"}, []),
        ({"source": "prebuilt", "image": "a b", "digest": ONE}, {"container": "vllm-node"}, ["'a b' is no name that a recipe may have"]),
        ({"mods": ["x", "mods/y", "~/d/z/"]}, {"container": "vllm-node", "mods": ["mods/x", "mods/y", "mods/z"]}, ["the directory ~/d/z/, which has to lie"]),
        (
            {"arguments": ["--gpu-arch", "1", "--exp-b12x", "--no"], "vllm_ref": "v1", "jobs": 3, "wheels": "none"},
            {"container": "vllm-node", "build_args": ["--gpu-arch", "1", "--exp-b12x", "--vllm-ref", "v1", "-j", "3"]},
            ["the argument --no of build-and-copy.sh, which nobody takes out of a recipe"],
        ),
        ({"vllm_prs": "7"}, {"container": "vllm-node"}, ["vLLM's pull request 7 with the SHA-256 : --apply-vllm-pr has no place for it"]),
        ({"wheels": "nightly"}, {"container": "vllm-node"}, ["wheels: nightly (vLLM's own nightly wheel)"]),
        ({"build_args": {"A": 1, "B": 2}}, {"container": "vllm-node"}, ["build_args: A=1, B=2, which a recipe has no field for"]),
    ],
)
def test_an_image_in_the_words_of_a_recipe(image, found, left):
    said: list[str] = []
    assert image_said.said(image, said, "here") == found
    assert [one.removeprefix("image: ")[: len(start)] for one, start in zip(said, left, strict=True)] == left


# ---- what is written -----------------------------------------------------------------------------------------------------------------------------------

MADE = mapping.Imported(
    {"env": {"A": "1"}, "port": 1, "model": "a/b"},
    {"flavour": "b12x"},
    True,
    (1, 2),
    [Row("volumes", 9, REFUSED, "", "no"), Row("model", 2, MAPPED, "model: a/b"), Row("build_args", 3, CHANGED, "gb10_image.flavour: b12x", "why")],
)


def test_a_report_has_every_row_in_the_order_of_its_lines_and_their_number():
    assert report.text(MADE, of("1"), "c1").splitlines() == [
        "Recipe a.yaml (format 1, commit c1); none of it was run.",
        *report.table(
            [
                ("line", "field", "", "here", "why"),
                ("2", "model", "mapped", "model: a/b", ""),
                ("3", "build_args", "changed", "image.flavour: b12x", "why"),
                ("9", "volumes", "refused", "", "no"),
            ],
            right=(0,),
            rule=True,
        ),
        "",
        "1 mapped, 1 changed, 1 refused of 3 fields and arguments.",
    ]
    assert report.text(MADE, of("2")).startswith("Recipe a.yaml (format 2); none of it was run.\n")


def test_an_inventory_is_the_entry_with_what_changed_as_comments():
    assert report.inventory(MADE, "n", of(), "c1") == (
        "# From the recipe a.yaml at commit c1; nothing of it was run.\n# line 3, build_args: why\n# line 9, volumes: no\n"
        "gb10_servers:\n- name: n\n  model: a/b\n  image:\n    flavour: b12x\n  port: 1\n  env:\n    A: '1'\n"
    )
    shared = MADE._replace(special=False, rows=[])
    assert report.inventory(shared, "n", of()) == (
        "# From the recipe a.yaml; nothing of it was run.\ngb10_image:\n  flavour: b12x\n"
        "gb10_servers:\n- name: n\n  model: a/b\n  port: 1\n  env:\n    A: '1'\n"
    )
    assert "image" not in report.entry(MADE, "n", ["container"]) and list(report.entry(MADE, "n")) == ["name", "model", "image", "port", "env"]


def test_a_recipe_as_data():
    found = report.as_data(MADE, "n", of("1"))
    assert {key: value for key, value in found.items() if key not in ("server", "fields")} == {
        "recipe": "a.yaml", "format": "1", "verdict": "refused", "image": {"flavour": "b12x"}, "reasons": ["line 9, `volumes`: no"],
    }  # fmt: skip
    assert found["server"] == report.entry(MADE, "n") and report.as_data(MADE, "n", of(), ["container"])["server"] == report.entry(MADE, "n", ["container"])
    assert found["fields"][1] == {"field": "model", "line": 2, "state": "mapped", "ours": "model: a/b", "why": ""}
    empty = report.as_data(MADE._replace(server={}, rows=[]), "n", of())
    assert (empty["server"], empty["verdict"], empty["reasons"]) == ({}, "mapped", [])


def test_the_recipes_of_a_directory_in_a_line_each():
    two = [
        {"recipe": "a", "format": "1", "verdict": "mapped", "server": {"model": "m", "boxes": 2}, "reasons": []},
        {"recipe": "b", "format": "2", "verdict": "mapped", "server": {"model": "n"}, "reasons": []},
        {"recipe": "c", "format": "2", "verdict": "refused", "server": {}, "reasons": ["x" * 200, "y"]},
    ]
    assert report.summary(two).splitlines() == [
        *report.table(
            [
                ("recipe", "format", "", "model", "boxes", "first reason"),
                ("a", "1", "mapped", "m", "2", ""),
                ("b", "2", "mapped", "n", "1", ""),
                ("c", "2", "refused", "", "", report.cut("x" * 200, 120)),
            ],
            rule=True,
        ),
        "",
        "3 read, 2 fully mapped, 1 refused.",
        "Name one of them to have its entry.",
    ]


DEPLOYED = {"name": "s", "model": "a/b", "container": {"command": ["vllm", "serve", "/m", "-O3", "--max-model-len", "4096", "--hf-overrides", '{"a":{"b":1}}']}}


@pytest.mark.parametrize(
    ("form", "more", "text"),
    [
        (
            "v1",
            {"revision": "c1"},
            "recipe_version: '1'\nname: s\ndescription: vLLM serving a/b\nmodel: a/b\nsolo_only: true\ncontainer: vllm-node\n"
            "defaults:\n  port: 8000\n  host: 0.0.0.0\n  max_model_len: 4096\n  served_model_name: model\nenv:\n  A: ''\ncommand: |\n"
            "  vllm serve a/b \\\n    --host {host} \\\n    --port {port} \\\n    --max-model-len {max_model_len} \\\n"
            "    --served-model-name {served_model_name} \\\n    --revision c1 \\\n    -O3 \\\n"
            '    --hf-overrides \'{{"a":{{"b":1}}}}\'\n',
        ),
        (
            "v2",
            {"served_model_name": "a'b", "port": 1},
            "recipe_version: '2'\nmodel: a/b\nruntime: vllm\nmetadata:\n  description: vLLM serving a/b\nmax_nodes: 1\ncontainer: vllm-node\n"
            "defaults:\n  port: 1\n  host: 0.0.0.0\n  max_model_len: 4096\nenv:\n  A: ''\ncommand: |\n"
            "  vllm serve {model} \\\n    --host {host} \\\n    --port {port} \\\n    --max-model-len {max_model_len} \\\n    -O3 \\\n"
            "    --hf-overrides '{\"a\":{\"b\":1}}' \\\n    --served-model-name 'a'\"'\"'b'\n",
        ),
        (
            "v2",
            {"revision": "c1", "served_model_name": ["x", "y"], "group": {"boxes": ["p", "q"]}},
            "recipe_version: '2'\nmodel: a/b\nmodel_revision: c1\nruntime: vllm\nmetadata:\n  description: vLLM serving a/b\nmin_nodes: 2\nmax_nodes: 2\n"
            "container: vllm-node\ndefaults:\n  port: 8000\n  host: 0.0.0.0\n  max_model_len: 4096\n  served_model_name: x y\nenv:\n  A: ''\ncommand: |\n"
            "  vllm serve {model} \\\n    --host {host} \\\n    --port {port} \\\n    --max-model-len {max_model_len} \\\n"
            '    --served-model-name {served_model_name} \\\n    -O3 \\\n    --hf-overrides \'{"a":{"b":1}}\'\n',
        ),
    ],
)
def test_the_whole_text_of_a_recipe_that_is_written(form, more, text):
    assert exported({**DEPLOYED, **more}, form, {"A": None}, {}) == (text, [])


def test_what_cannot_be_exported_is_one_sentence():
    with pytest.raises(GB10Error, match=r"^export: the format 'v9' is not known; use v1 or v2\.$"):
        exported(DEPLOYED, "v9")
    with pytest.raises(GB10Error, match=r"^export: what runs has no `vllm serve` in its command, so it is no server of this collection\.$"):
        exported({"name": "s"}, "v1")
    assert exported(DEPLOYED, "v1")[1] == ["image: nobody knows what it was made from; say which one others need as `container`"]
    assert plain({"a": (1, 2), "b": DEPLOYED["name"]}) == {"a": [1, 2], "b": "s"}


# ---- where recipes come from ---------------------------------------------------------------------------------------------------------------------------


def test_git_asks_nobody_and_has_its_time(monkeypatch):
    seen = []

    def run(words, **more):
        seen.append((words, more))
        return subprocess.CompletedProcess(words, 0, "answer", "")

    monkeypatch.setattr(sources.subprocess, "run", run)
    monkeypatch.setenv("GIT_SSH_COMMAND", "mine")
    assert sources._git("x", "a", "b") == "answer"
    ((words, more),) = seen
    assert words == ["git", "-c", "core.hooksPath=/dev/null", "-c", "core.symlinks=false", "a", "b"]
    environment = more.pop("env")
    assert more == {"capture_output": True, "text": True, "errors": "surrogateescape", "timeout": 120.0, "check": False}
    assert {key: environment[key] for key in ("GIT_TERMINAL_PROMPT", "GIT_ASKPASS", "LC_ALL", "GIT_ALLOW_PROTOCOL", "GIT_SSH_COMMAND")} == {
        "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true", "LC_ALL": "C", "GIT_ALLOW_PROTOCOL": "https:http:ssh:git:file", "GIT_SSH_COMMAND": "mine",
    }  # fmt: skip
    assert "PATH" in environment
    monkeypatch.delenv("GIT_SSH_COMMAND")
    sources._git("x")
    assert seen[1][1]["env"]["GIT_SSH_COMMAND"] == "ssh -o BatchMode=yes -o ConnectTimeout=15"


@pytest.mark.parametrize(
    ("error", "why"),
    [
        ("hint: x\nfatal: no 'https://me@h/x'.\nmore", "no 'https://h/x'"),
        ("one\n\n two ", "two"),
        ("", "no reason given"),
    ],
)
def test_what_git_said_is_told_without_a_user(monkeypatch, error, why):
    monkeypatch.setattr(sources.subprocess, "run", lambda words, **_more: subprocess.CompletedProcess(words, 1, "", error))
    with pytest.raises(GB10Error) as caught:
        sources._git("there", "x")
    assert str(caught.value) == f"recipe: there cannot be read ({why}); check the address, and that the controller reaches it."


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FileNotFoundError(), "there is no git command on the controller, which a repository needs; install it, or name a file."),
        (subprocess.TimeoutExpired("git", 1), "there did not answer within 120 s; is the controller on the network?"),
    ],
)
def test_git_that_is_not_there_or_does_not_answer(monkeypatch, error, said):
    def run(_words, **_more):
        raise error

    monkeypatch.setattr(sources.subprocess, "run", run)
    with pytest.raises(GB10Error) as caught:
        sources._git("there", "x")
    assert str(caught.value) == f"recipe: {said}"


def test_the_paths_of_a_repository_that_are_meant():
    paths = ["README.md", "r/b.yml", "r/a.yaml", "r/mods/x.yaml", "r/.h/y.yaml", "mods/r/z.yaml", "r/x-mods/y.yaml", "a.yaml"]
    assert sources._named(paths, "r/a", "there") == sources._named(paths, "r/a.yaml", "there") == ["r/a.yaml"]
    assert sources._named(paths, "r", "there") == ["r/a.yaml", "r/b.yml"]
    assert sources._named(["mods/r/z.yaml"], "mods/r", "there") == ["mods/r/z.yaml"], "what is named is meant, whatever it stands in"
    assert sources._named(paths, ".", "there") == ["a.yaml", "r/a.yaml", "r/b.yml"]
    for wanted, where in ((".", "its top"), ("x", "x")):
        with pytest.raises(GB10Error, match=rf"^recipe: there has no recipe at {where}; it has README.md, x\.$"):
            sources._named(["x/y", "README.md"], wanted, "there")
    many = [f"{number}.yaml" for number in range(501)]
    assert len(sources._named(many[:500], ".", "there")) == 500
    with pytest.raises(GB10Error, match=r"^recipe: there holds 501 recipes, more than the 500 that are read at once; name a directory in it\.$"):
        sources._named(many, ".", "there")


def test_a_mod_of_a_repository_is_plain_files_and_no_more_than_a_mod_is():
    modes = {"r/mods/a/run.sh": "100755", "r/mods/a/x": "100644", "r/mods/ab/run.sh": "100644", "mods/b/run.sh": "100644"}
    parents = ["r/s", "r", "."]
    assert [sources._place_in(modes, parents, mod) for mod in ("mods/a", "mods/b", "mods/c")] == ["r/mods/a", "mods/b", ""]
    assert sources._mod_in(modes, "r/mods/a", lambda path: path.upper()) == {"run.sh": (b"R/MODS/A/RUN.SH", True), "x": (b"R/MODS/A/X", False)}
    with pytest.raises(GB10Error, match=r"^recipe: r/mods/a of its repository holds r/mods/a/l, a link or no plain file, which is not taken over\.$"):
        sources._mod_in({**modes, "r/mods/a/l": "120000"}, "r/mods/a", str)
    most = sources.image_mods.MOST_FILES
    many = {f"m/{number}": "100644" for number in range(most)}
    assert len(sources._mod_in(many, "m", lambda _path: "")) == most
    with pytest.raises(GB10Error, match=rf"^recipe: m of its repository has more than {most} files, which is not taken over\.$"):
        sources._mod_in({**many, "m/x": "100644"}, "m", lambda _path: "")
    most = sources.image_mods.MOST_BYTES
    assert sources._mod_in({"m/x": "100644"}, "m", lambda _path: "y" * most)
    with pytest.raises(GB10Error, match=rf"^recipe: m of its repository has more than {most // 1024} KiB, which is more than a mod is\.$"):
        sources._mod_in({"m/x": "100644"}, "m", lambda _path: "y" * (most + 1))


# ---- containers that are taken over --------------------------------------------------------------------------------------------------------------------

FACTS = {
    "name": "My_x", "options": ["--ipc", "--odd"], "command": ["vllm", "serve", "o/m", "--host", "127.0.0.1"], "script": "", "env": {"VLLM_A": "1"},
    "mounts": [{"source": "/home/ben/c/", "target": "/c"}], "image": "v:1", "image_names": ["v:1"], "image_id": "sha256:1", "secrets": ["HF_TOKEN"],
    "snapshots": {}, "ports": [{"container": 8000, "port": 9000, "address": "127.0.0.1"}], "network": "bridge", "restart": "no", "compose": "",
}  # fmt: skip
NO_KEY = "it asked nobody for a key; here a server does (docs/access.md), unless gb10_allow_open says otherwise"


def test_every_part_of_a_container_that_is_taken_over():
    found = adopted._one(FACTS)
    assert found == adopted.Adopted(
        "My_x",
        {"name": "my-x", "model": "o/m", "served_model_name": "o/m", "port": 9000, "env": {"VLLM_A": "1"}},
        {"source": "existing", "name": "v:1"},
        [
            Row("--host", 2, MAPPED, "address: loopback, as by default", ""),
            Row("env.VLLM_A", 1, MAPPED, "env.VLLM_A", ""),
            Row("--ipc", 0, CHANGED, "", "shared memory is gb10_shm_gib, and not that of the box"),
            Row("image", 0, MAPPED, "gb10_image: v:1", ""),
            Row("model", 0, MAPPED, "model: o/m", "downloaded into gb10_models_dir"),
            Row("served model name", 0, MAPPED, "served_model_name: o/m", "what clients call it now"),
            Row("--volume /c", 0, CHANGED, "", "not mounted: no argument names a file in it; caches lie in the state directory"),
            Row("key", 0, CHANGED, "", NO_KEY),
        ],
        ['HF_TOKEN: put it in a vault and name it: gb10_hub: {token: "{{ vault_my_x_hf_token }}"}'],
    )
    assert found.problem() == ""
    whole = adopted.adopted([FACTS])
    assert whole["inventory"] == (
        "# From the container My_x.\n# --ipc: shared memory is gb10_shm_gib, and not that of the box\n"
        f"# --volume /c: not mounted: no argument names a file in it; caches lie in the state directory\n# key: {NO_KEY}\n"
        '# HF_TOKEN: put it in a vault and name it: gb10_hub: {token: "{{ vault_my_x_hf_token }}"}\n'
        "gb10_image:\n  source: existing\n  name: v:1\ngb10_servers:\n- name: my-x\n  model: o/m\n"
        "  served_model_name: o/m\n  port: 9000\n  env:\n    VLLM_A: '1'\n"
    )
    assert whole["text"].splitlines()[0] == "Container My_x, which goes on as it is:"
    assert whole["text"].splitlines()[-1] == f"Secret, not read: {found.hints[0]}" and len(whole["text"].splitlines()) == 12
    assert (whole["problems"], whole["replace"]) == ([], "docker stop My_x   # docker start My_x brings it back")


SHELL = "; starts a second command, which nothing here does; start it, so that its arguments can be read, or write the entry by hand"


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"command": [], "script": "a; b"}, SHELL),
        (
            {"command": [*FACTS["command"], "--node-rank", "2"]},
            "it is rank 2 of a server over several boxes and answers nobody: adopt the server where its head runs, and it comes here with it",
        ),
        (
            {"command": [*FACTS["command"], "--headless"]},
            "it is a part of a server over several boxes and answers nobody: adopt the server where its head runs, and it comes here with it",
        ),
    ],
)  # fmt: skip
def test_a_container_that_is_no_server_by_itself(more, why):
    rows = [Row("--ipc", 0, CHANGED, "", adopted.OPTIONS["--ipc"]), Row("command", 0, REFUSED, "", why)]
    found = adopted._one({**FACTS, **more})
    assert found == adopted.Adopted("My_x", {}, {}, rows, []) and found.problem() == f"command: {why}"
    assert adopted.adopted([{**FACTS, **more}])["problems"] == [f"My_x: command: {why}"]


@pytest.mark.parametrize(
    ("more", "port", "said"),
    [
        ({"network": "host"}, 8000, ""),
        ({"ports": []}, 8000, "no port was published, so only other containers reached it; now the box does"),
        ({"ports": [{"container": 8000, "port": 0, "address": "127.0.0.1"}]}, 8000, ""),
        *(
            (
                {"ports": [{"container": 8000, "port": 9000, "address": address}]}, 9000,
                "it was open to everybody: it listens on loopback, or where a router reaches it; say `address` for another",
            )
            for address in ("", "0.0.0.0", "::")
        ),
    ],
)  # fmt: skip
def test_the_port_of_a_container(more, port, said):
    found = adopted._one({**FACTS, **more})
    rows = [row for row in found.rows if row.field == "--publish"]
    assert found.entry["port"] == port and rows == ([Row("--publish", 0, CHANGED, f"port: {port}", said)] if said else [])


def test_images_models_names_and_secrets_of_containers():
    moved = "the container names it w:2, which means another image by now"
    assert adopted._image({**FACTS, "image": "w:2"}) == (
        {"source": "existing", "name": "v:1"}, Row("image", 0, CHANGED, "gb10_image: v:1", moved),
    )  # fmt: skip
    lost = "its image has no name any more: give it one with `docker tag sha256:123456789abc vllm-node:adopted`"
    assert adopted._image({**FACTS, "image_names": [], "image_id": "sha256:123456789abcdef"}) == (
        {"source": "existing", "name": "vllm-node:adopted"}, Row("image", 0, CHANGED, "gb10_image: vllm-node:adopted", lost),
    )  # fmt: skip
    cached = adopted._one({**FACTS, "snapshots": {"o/m": "/hub/o/m"}})
    row = Row("model", 0, CHANGED, "model: /hub/o/m", "where it lies in the hub's cache already, so nothing is downloaded")
    assert cached.entry["model"] == "/hub/o/m" and row in cached.rows and cached.entry["served_model_name"] == "o/m"
    inside = adopted._one({**FACTS, "command": ["vllm", "serve", "/in/m"]})
    copy = "/in/m lies in the container's own file system: copy it out with `docker cp My_x:/in/m /srv/models/` and name it in the entry"
    assert inside.entry == {} and inside.problem() == f"model: {copy}"
    assert [adopted._slug(name) for name in ("A_b--C", "--", "x" * 50, "a" * 39 + "-b")] == ["a-b-c", "model", "x" * 40, "a" * 39]
    taken: set[str] = set()
    assert [adopted._free(name, taken) for name in ("a", "a", "a", "b" * 40, "b" * 40)] == ["a", "a-2", "a-3", "b" * 40, "b" * 37 + "-2"]
    assert adopted._hint("--api-key", "a-b") == '--api-key: put it in a vault and name it in the entry: api_key: "{{ vault_a_b_api_key }}"'
    assert adopted._hint("MY_PASSWORD", "a") == 'MY_PASSWORD: put it in a vault and name it in the entry: env: {MY_PASSWORD: "{{ vault_a_my_password }}"}'
    words = ["x", "--api-key", "a", "b", "--hf_token=c", "--seed", "1", "--api-key"]
    assert adopted._without_secrets(words) == (["x", "--seed", "1"], ["--api-key", "--hf_token", "--api-key"])
    commands = (["vllm", "serve", "m", "x"], ["serve", "--seed", "1", "--model", "m"], ["--model=m"], ["serve"], ["serve", "--model"], ["m"], ["--seed"])
    assert [adopted._model(given) for given in commands] == ["m", "m", "m", "", "", "m", ""]


def test_a_path_of_a_container_is_one_of_the_box_by_its_innermost_mount():
    mounts = [{"source": "/s", "target": "/t/"}, {"source": "/i/", "target": "/t/in"}, {"source": "/r", "target": "/x"}]
    paths = ("/t", "/t/a", "/t/in", "/t/in/b", "/t/inn", "/xy", "/x/")
    assert [adopted._outside(path, mounts) for path in paths] == ["", "/s/a", "/i", "/i/b", "/s/inn", "", "/r/"]
    for word, before, placed in (
        ("/t/a", "--chat-template", "/s/a"), ("/o/a", "--chat-template", "image:/o/a"), ("/o/a", "--other", "/o/a"), ("/o/a", "", "/o/a"),
        ("--chat-template=/t/a", "", "--chat-template=/s/a"), ("--chat-template=/o/a", "", "--chat-template=image:/o/a"),
        ("a=/t/b", "--lora-modules", "a=/s/b"),
        ('{"a":"/t/b","c":"/o/d"}', "--x", '{"a":"/s/b","c":"/o/d"}'), ("--x", "", "--x"), ("x", "--y", "x"),
        ("--lora-modules=a=/o/b", "", "--lora-modules=a=image:/o/b"),
    ):  # fmt: skip
        assert adopted._placed(word, before, mounts) == placed, word


def test_odd_values_have_an_answer():
    assert placeholders._said({"a": datetime.date(2026, 1, 2)}) == '{"a":"2026-01-02"}'
    assert trust._within(["a", "b"], "x") == trust._within([], "x") == trust._within({}, "x") == trust._within(3, "x") == ""
    assert trust._within(["a", "/b"], "x") == trust.PLACE and trust._within({"a": {"module_path": "x"}}, "") == trust.CODE


def test_ours_is_not_exported_and_not_said_to_be_left_out():
    ours = ["--middleware", "guard_keys.GuardKeys", "--allowed-origins", "[]", "--distributed-executor-backend", "mp"]
    group = {**DEPLOYED, "container": {"command": [*DEPLOYED["container"]["command"], *ours]}, "group": {"boxes": ["a", "b"]}}
    text, left = exported(group, "v2", {}, {})
    assert left == [] and not any(word in text for word in ("middleware", "origins", "executor"))


def test_a_reader_that_gives_up_over_depth_is_one_sentence(monkeypatch):
    def deep(*_given, **_named):
        raise RecursionError

    monkeypatch.setattr(document.yaml, "compose", deep)
    with pytest.raises(GB10Error, match=r"^Recipe a: it is nested too deeply for a recipe\.$"):
        document.read("model: a", "a")

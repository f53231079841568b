# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a recipe says and what becomes of it: both formats, and every kind of bad input in one sentence with the field and the line."""

from __future__ import annotations

import pytest
import yaml
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe import report
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.document import read
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.mapping import imported

V1 = """\
recipe_version: "1"
name: A model
model: Qwen/Qwen3-8B
container: vllm-node
{more}
defaults:
  port: 8001
  tensor_parallel: 1
  max_model_len: 32768
  spec: '{{"method":"ngram"}}'
command: |
  vllm serve Qwen/Qwen3-8B \\
    --port {{port}} \\
    {arguments}
"""


def v1(arguments="", more=""):
    return imported(read(V1.format(arguments=arguments, more=more), "a.yaml"))


def v2(command="vllm serve {model} --port {port}", more="", defaults='  port: 8000\n  spec: \'{"method":"ngram"}\'\n'):
    text = f"recipe_version: '2'\nmodel: Qwen/Qwen3-8B\nruntime: vllm\n{more}\ndefaults:\n{defaults}command: |\n  {command}\n"
    return imported(read(text, "a.yaml"))


def why(found):
    return [(row.field, row.line, row.why) for row in found.refused()]


def state(found, field):
    return [(row.state, row.ours) for row in found.rows if row.field == field]


class TestBothBraceRules:
    def test_format_1_doubles_the_braces_that_are_meant(self):
        found = v1("""--speculative-config '{{"method":"mtp","num_speculative_tokens":{tensor_parallel}}}'""")
        assert found.server["args"]["speculative_config"] == {"method": "mtp", "num_speculative_tokens": 1} and not found.refused()

    def test_format_2_leaves_all_braces_alone_that_are_no_name(self):
        found = v2("""vllm serve {model} --speculative-config '{"method":"mtp","a":{"b":{port}}}' --seed 1""")
        assert found.server["args"]["speculative_config"] == {"method": "mtp", "a": {"b": 8000}}

    @pytest.mark.parametrize("made", [v1, lambda arguments: v2(f"vllm serve {{model}} {arguments}")])
    def test_json_in_a_default_survives(self, made):
        assert made("--speculative-config '{spec}'").server["args"]["speculative_config"] == {"method": "ngram"}
        found = made("--speculative-config {spec}")
        assert found.server["args"]["speculative_config"] == {"method": "ngram"} and state(found, "command --speculative-config")[0][0] == "changed"

    def test_values_that_hold_placeholders_are_filled_in_format_2(self):
        found = v2("vllm serve {model} --served-model-name {alias}", defaults="  alias: '{base}-chat'\n  base: qwen\n")
        assert found.server["served_model_name"] == "qwen-chat" and not found.refused()

    def test_no_attribute_of_a_value_is_ever_looked_at(self):
        found = v1("""--seed {port.__class__} --hf-overrides '{{"a":1}}'""")
        ((field, line, text),) = why(found)
        assert field == "command" and line == 14 and "single brace" in text and not found.server

    @pytest.mark.parametrize("given", ["{a-b}", "{a.b}", "{seed!r}", "{seed:d}", "{ seed }", "{seed[0]}", "{nothing}"])
    def test_what_was_meant_as_a_placeholder_never_stays_as_text(self, given):
        ((field, line, said),) = why(v2(f"vllm serve {{model}} --served-model-name x{given}", defaults="  seed: 1\n  nothing:\n"))
        assert field == "command" and line == 9 and "placeholder" in said

    def test_a_name_may_have_any_sign_in_format_2(self):
        found = v2("vllm serve {model} --seed {a-b} --max-num-seqs {a.b}", defaults="  a-b: 1\n  a.b: 2\n")
        assert found.server["args"] == {"seed": 1, "max_num_seqs": 2} and state(found, "defaults.a-b")[0][0] == "mapped"

    def test_nothing_is_no_value_in_either_format(self):
        assert "gives no value" in why(v2("vllm serve {model} --enforce-eager {x}", defaults="  x:\n"))[0][2]
        text = "recipe_version: 1\nname: a\nmodel: a/b\ncontainer: c\ndefaults: {x: }\ncommand: |\n  vllm serve a/b --hf-overrides '{{}}' --seed {x}\n"
        assert "gives no value" in why(imported(read(text, "a")))[0][2]

    def test_the_model_and_its_revision_have_placeholders_in_format_2(self):
        found = v2("vllm serve {model} --revision {model_revision}", more="model_revision: abc1")
        assert not found.refused() and found.server["revision"] == "abc1"

    def test_placeholders_in_env_are_filled_in_format_2(self):
        found = v2(more="env:\n  A: 'http-{port}'\n  B: '{unknown} {\"a\": 1}'")
        assert found.server["env"] == {"A": "http-8000", "B": '{unknown} {"a": 1}'}
        assert v1(more="env:\n  A: '{port}'").server["env"] == {"A": "{port}"}

    def test_a_placeholder_without_a_value_is_named_with_its_line(self):
        assert why(v1("--seed {seed}"))[0][:2] == ("command", 14) and "{seed}" in why(v1("--seed {seed}"))[0][2]
        assert "{seed}" in why(v2("vllm serve {model} --seed {seed}"))[0][2]


@pytest.mark.parametrize(
    "arguments, text",
    [
        ("--seed 1; rm -rf /", "; starts a second command"),
        ("--seed 1 && reboot", "& starts a second command"),
        ("--seed 1 | tee log", "| pipes into another command"),
        ("--seed $(cat /etc/passwd)", "$ stands for"),
        ('--seed "$HOME"', "$ stands for"),
        ("--seed `id`", "` runs a command"),
        ("--chat-template <(echo x)", "< redirects"),
        ("--seed 1 > log", "> redirects"),
        ("--chat-template ~/x", "~ stands for a home"),
        ("--seed {1,2}", "braces with a list"),
        ("--seed 1\n  reboot", "a second command begins here"),
        ("--chat-template 'x", "a single quote begins here"),
        ('--chat-template "x', "a double quote begins here"),
        ("--speculative-config '{\"a\":'", "is not JSON"),
        ("--speculative-config '{\"a\":NaN}'", "infinite or none"),
        ("--seed 1 stray", "belongs to no argument"),
        ("--enable-prefix-caching=perhaps", "is a switch"),
    ],
)
def test_what_needs_a_shell_is_refused_with_its_line(arguments, text):
    found = v2(f"vllm serve {{model}} \\\n    {arguments}")
    ((field, line, said),) = why(found)
    assert field == "command" and line >= 9 and text in said and found.server == {}


@pytest.mark.parametrize(
    "command, text",
    [
        ("bash -c 'vllm serve x'", "runs 'bash -c' and not `vllm serve`"),
        ("sglang serve --model-path {model}", "starts SGLang"),
        ("python3 -m sglang.launch_server --model-path {model}", "starts SGLang"),
        ("llama-server -m x", "starts llama.cpp"),
    ],
)
def test_another_program_is_refused_by_its_name(command, text):
    assert text in why(v2(command))[0][2]


@pytest.mark.parametrize(
    "command, env",
    [
        ("vllm serve {model}", {}),
        ("exec /opt/venv/bin/vllm serve {model}", {}),
        ("VLLM_A=1 vllm serve {model}", {"VLLM_A": "1"}),
        ("env VLLM_A=1 VLLM_B='x y' vllm serve {model}", {"VLLM_A": "1", "VLLM_B": "x y"}),
        ("python3 -m vllm.entrypoints.openai.api_server --model {model}", {}),
        ("vllm serve --model {model} \\\n   ", {}),
        ("vllm serve {model} # the end", {}),
        ("vllm serve {model} \\ \n    --seed 1", {}),
    ],
)
def test_the_ways_in_which_vllm_is_started(command, env):
    found = v2(command)
    assert not found.refused() and found.server["model"] == "Qwen/Qwen3-8B" and found.server.get("env", {}) == env


class TestArguments:
    def test_they_become_settings_or_args_in_the_types_of_vllm(self):
        found = v1(
            "-tp 1 --max-model-len auto --kv-cache-dtype fp8 --max-num-seqs=8 --enforce_eager --no-enable-prefix-caching --host 0.0.0.0 \\\n"
            "    --compilation-config.cudagraph_mode NONE -cc.mode 0 --cudagraph-capture-sizes 1 2 4 --trust-remote-code --api-key abc \\\n"
            "    --gpu-memory-utilization 0.85 --distributed-executor-backend ray --served-model-name one two -O3 --seed -1"
        )
        assert found.server == {
            "model": "Qwen/Qwen3-8B",
            "port": 8001,
            "max_model_len": "auto",
            "kv_cache_dtype": "fp8",
            "cuda_graphs": "never",
            "gpu_memory_ceiling": 0.85,
            "args": {
                "max_num_seqs": 8,
                "enable_prefix_caching": False,
                "cudagraph_capture_sizes": [1, 2, 4],
                "served_model_name": ["one", "two"],
                "optimization_level": 3,
                "seed": -1,
                "compilation_config": {"cudagraph_mode": "NONE", "mode": 0},
            },
        }
        assert why(found) == [("command --api-key", 15, why(found)[0][2])] and "api_key" in why(found)[0][2]
        assert state(found, "command --gpu-memory-utilization") == [("changed", "gpu_memory_ceiling: 0.85")]

    def test_switches_that_are_turned_off_stay_off(self):
        found = v1("--no-enable-flashinfer-autotune --no-scheduler-reserve-full-isl --disable-log-stats")
        assert found.server["args"] == {"enable_flashinfer_autotune": False, "scheduler_reserve_full_isl": False, "disable_log_stats": True}

    def test_the_last_one_counts(self):
        assert v1("--max-num-seqs 4 --max-num-seqs 8").server["args"] == {"max_num_seqs": 8}

    def test_without_a_command_format_2_goes_by_its_defaults(self):
        text = "recipe_version: 2\nmodel: a/b\nruntime: vllm\ndefaults:\n  port: 9000\n  max_num_seqs: 4\n  enforce_eager: true\n  trust_remote_code: false\n"
        text += "  gpu_memory_utilization: '0.8'\n  speculative_config: '{\"method\":\"ngram\"}'\n"
        found = imported(read(text, "a.yaml"))
        assert found.server == {
            "model": "a/b",
            "port": 9000,
            "cuda_graphs": "never",
            "gpu_memory_ceiling": 0.8,
            "args": {"max_num_seqs": 4, "speculative_config": {"method": "ngram"}},
        }
        assert not found.refused()
        assert why(imported(read(text + "  colour: red\n", "a.yaml")))[0][:2] == ("defaults.colour", 11)

    @pytest.mark.parametrize("written, kept", [("--max-model-len 4096 --max-model-len 8192", {"max_model_len": 8192}), ("--port 1 --port 2", {"port": 2})])
    def test_of_an_argument_that_is_there_twice_one_is_mapped(self, written, kept):
        found = v2(f"vllm serve {{model}} {written}")
        flag = written.split()[0]
        assert [one for one, _ours in state(found, f"command {flag}")] == ["changed", "mapped"]
        assert kept.items() <= found.server.items()

    def test_format_2_adds_its_defaults_to_a_command_that_does_not_say_them(self):
        found = v2(more="min_nodes: 2", defaults="  port: 1\n  served_model_name: nice\n  tensor_parallel: 2\n  max_model_len: 4096\n")
        assert found.server == {"model": "Qwen/Qwen3-8B", "port": 1, "served_model_name": "nice", "boxes": 2, "tensor_parallel": 2, "pipeline_parallel": 1}
        assert not found.refused() and state(found, "defaults.max_model_len") == [("changed", "")]
        said = v2("vllm serve {model} --served-model-name mine -tp 1", defaults="  served_model_name: nice\n  tensor_parallel: 2\n").server
        assert said == {"model": "Qwen/Qwen3-8B", "served_model_name": "mine"}
        assert "router" in why(v2(defaults="  port: 1\n  data_parallel: 2\n"))[0][2]
        assert "served_model_name" not in v1(more="").server, "format 1 adds nothing"

    def test_a_default_that_nothing_names_is_said_to_do_nothing(self):
        assert state(v1(), "defaults.max_model_len") == [("changed", "")]

    def test_the_model_is_the_one_that_is_served(self):
        assert v2("vllm serve other/model").server["model"] == "other/model"
        found = v2("vllm serve /models/x --served-model-name y")
        assert found.server["model"] == "Qwen/Qwen3-8B" and state(found, "model")[0][0] == "changed"
        found = imported(read("recipe_version: 2\nmodel: /srv/x\ncommand: vllm serve /srv/x\n", "a.yaml"))
        assert state(found, "model") == [("changed", "model: /srv/x")]


class TestEnvironment:
    @pytest.mark.parametrize("name, value", [("A", "${HOME}"), ("A", '"`id`"'), ("HF_TOKEN", "x"), ("VLLM_API_KEY", "x"), ("A B", "1"), ("A", "'a\n\n    b'")])
    def test_what_is_a_secret_or_belongs_to_another_machine_is_refused(self, name, value):
        found = v2(more=f"env:\n  {name}: {value}")
        ((field, line, _why),) = why(found)
        assert field == f"env.{name}" and line == 5 and "env" not in found.server

    def test_the_rest_is_text(self):
        assert v2(more="env:\n  A: 1\n  B: '{\"a\":1}'\n  C:").server["env"] == {"A": "1", "B": '{"a":1}', "C": ""}


class TestBoxes:
    def test_parts_of_a_model_are_boxes(self):
        found = v1("-tp 2 -pp 2", more="cluster_only: true")
        assert {key: found.server[key] for key in ("boxes", "tensor_parallel", "pipeline_parallel")} == {
            "boxes": 4,
            "tensor_parallel": 2,
            "pipeline_parallel": 2,
        }

    def test_one_box_has_one_gpu_whatever_the_command_says(self):
        found = v1("-tp 2", more="solo_only: true")
        assert "boxes" not in found.server and not found.refused() and found.boxes == (1, 1)

    @pytest.mark.parametrize(
        "more, arguments, field",
        [
            ("cluster_only: true", "-tp 1", "cluster_only"),
            ("min_nodes: 4", "-tp 2", "min_nodes"),
            ("max_nodes: 2", "-tp 4", "max_nodes"),
            ("solo_only: true\ncluster_only: true", "", "solo_only"),
            ("min_nodes: several", "", "min_nodes"),
            ("mode: both", "", "mode"),
            ("solo_only: perhaps", "", "solo_only"),
        ],
    )
    def test_what_cannot_be_is_named(self, more, arguments, field):
        assert [row[0] for row in why(v1(arguments, more))] == [field]

    def test_each_field_that_says_how_many_has_one_verdict(self):
        for more, arguments in (("min_nodes: 4", "-tp 2"), ("cluster_only: true", "-tp 1"), ("solo_only: true", "-tp 2"), ("max_nodes: 2", "-tp 4")):
            assert len(state(v1(arguments, more), more.partition(":")[0])) == 1

    def test_copies_are_servers_behind_a_router(self):
        assert "router" in why(v1("--data-parallel-size 2"))[0][2] and not why(v1("-dp 1"))


class TestImage:
    @pytest.mark.parametrize(
        "more, image, special",
        [
            ("", {}, False),
            ("build_args: [--exp-b12x]", {"flavour": "b12x"}, True),
            ("build_args: ['-j 8', --rebuild-vllm, --tf5]", {"jobs": 8}, False),
            ("build_args: --vllm-ref v0.30.0", {"vllm_ref": "v0.30.0"}, True),
            ("runtime_config:\n  build_args: [--flashinfer-ref, v1]", {"arguments": ["--flashinfer-ref", "v1"]}, True),
            ("mods: [mods/gpu-mem-util-gb]", {"mods": ["mods/gpu-mem-util-gb"]}, True),
        ],
    )
    def test_what_it_comes_to(self, more, image, special):
        found = v1(more=more)
        assert found.image == image and found.special == special and not found.refused()

    @pytest.mark.parametrize(
        "container, image",
        [
            ("ghcr.io/spark-arena/dgx-vllm-eugr-nightly-tf5:latest", {}),
            ("eugr/spark-vllm-b12x:latest", {"flavour": "b12x-prebuilt"}),
            ("acme/x:1", {"source": "prebuilt", "image": "acme/x:1"}),
            (f"acme/x@sha256:{'a' * 64}", {"source": "prebuilt", "image": "acme/x", "digest": f"sha256:{'a' * 64}"}),
        ],
    )
    def test_the_containers_of_format_2(self, container, image):
        assert v2(more=f"container: {container}").image == image

    @pytest.mark.parametrize(
        "more, field, text",
        [
            ("build_args: [--apply-vllm-pr, 634]", "build_args", "no checksum"),
            ("build_args: [--vllm-ref, refs/pull/634/head]", "build_args", "pull request"),
            ("build_args: [--network=host]", "build_args", "no argument"),
            ("mods: [mods/drop-caches]", "mods.0", "privilege"),
            ("mods: [mods/none-such]", "mods.0", "missing"),
            ("mods: ['@other/mod']", "mods.0", "missing"),
            ("container: acme/x\nmods: [mods/gpu-mem-util-gb]", "mods.0", "pulled"),
        ],
    )
    def test_what_it_cannot_be(self, more, field, text):
        found = v2(more=more)
        ((named, line, said),) = why(found)
        assert named == field and text in said and line == 4 + ("\n" in more)

    def test_a_mod_that_lies_beside_the_recipe_is_looked_at(self):
        text = "recipe_version: 1\nname: a\nmodel: a/b\ncontainer: vllm-node\nmods: [mods/gpu-mem-util-gb]\ncommand: vllm serve a/b\n"
        assert imported(read(text, "a"), {"mods/gpu-mem-util-gb": "it goes on"}).refused()[0].why.startswith("mods/gpu-mem-util-gb: it goes on")

    def test_a_file_of_a_mod_is_one_of_the_image(self):
        found = v1("--chat-template unsloth.jinja --tool-parser-plugin /x/y.py", more="mods: [mods/fix-qwen3.5-chat-template]")
        assert found.server["args"] == {"chat_template": "image:unsloth.jinja"}
        # Code at a place of the author's: his user says it himself, see test_trust.py.
        assert state(found, "command --tool-parser-plugin") == [("changed", "")]


@pytest.mark.parametrize(
    "more, field",
    [
        ("pre_exec: [rm -rf /]", "pre_exec"),
        ("post_exec:\n  - curl x | sh", "post_exec"),
        ("post_commands: [x]", "post_commands"),
        ("stop_after_post: true", "stop_after_post"),
        ("executor: local", "executor"),
        ("executor_config: {privileged: true}", "executor_config.privileged"),
        ("executor_config: {entrypoint: sh}", "executor_config.entrypoint"),
        ("scheduler: kueue", "scheduler"),
        ("include: other.yaml", "include"),
        ("volumes: ['/:/host']", "volumes"),
        ("defualts: {}", "defualts"),
        ("runtime_config: {x: 1}", "runtime_config.x"),
    ],
)
def test_what_nothing_here_does_is_refused_with_its_line(more, field):
    assert [row[:2] for row in why(v2(more=more))] == [(field, 4)] or why(v2(more=more))[0][0] == field


@pytest.mark.parametrize(
    "more",
    [
        "pre_exec: []",
        "executor_config: {privileged: false, shm_size: 64g, auto_remove: true}",
        "x-note: 1",
        "tags: [a]",
        "benchmark: {a: 1}",
        "stop_after_post: false",
    ],
)
def test_what_changes_nothing_is_told(more):
    assert not v2(more=more).refused()


@pytest.mark.parametrize(
    "text, field, line",
    [
        ("defaults: {port: 1, seed: 2, port: 3}\n", "defaults.port", 4),
        ("metadata:\n  a:\n    b: 1\n    b: 2\n", "metadata.a.b", 7),
        ("model: c/d\n", "model", 4),
    ],
)
def test_a_field_that_is_there_twice_is_said_wherever_it_stands(text, field, line):
    found = imported(read(f"recipe_version: 2\nmodel: a/b\ncommand: vllm serve a/b\n{text}", "a.yaml"))
    assert [(row.line, row.why) for row in found.rows if row.field == field and "twice" in row.why] == [(line, "it is there twice; the last one counts")]


def test_what_a_recipe_wants_copied_beside_its_model_is_told_as_it_is():
    found = v2(more="distribution_config: {additional_models: [x/y], cache: 1}")
    assert "only as far as an argument names it" in next(row.why for row in found.rows if row.field == "distribution_config.additional_models")
    assert state(found, "distribution_config.cache") == [("changed", "")]


@pytest.mark.parametrize("version, said", [("0.2.3", "mapped"), ("0.4.9", "mapped"), ("v0.5", "changed"), ("1.0.0", "changed"), ("soon", "changed")])
def test_a_recipe_of_a_later_sparkrun_is_said(version, said):
    assert state(v2(more=f"min_sparkrun_version: '{version}'"), "min_sparkrun_version") == [(said, "")]


@pytest.mark.parametrize(
    "text, said",
    [
        ("model: a/b\ndefaults:\n  when: 2026-13-45\ncommand: x\n", "line 3, `defaults.when`"),
        (f"model: a/b\ndefaults:\n  a: [1, {'9' * 5000}]\n", "line 3, `defaults.a.1`"),
        ("model: a/b\nenv: &a\n  b: *a\n", "line 2, `env`"),
        ("model: a/b\nx: &a [" + "1," * 200 + "1]\ny: [" + "*a," * 200 + "1]\n", "line 3, `y`"),
    ],
)
def test_a_value_that_cannot_be_has_its_field_and_line(text, said):
    with pytest.raises(GB10Error) as caught:
        read(text, "bad.yaml")
    assert f"Recipe bad.yaml, {said}: " in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_written_is_yaml_whatever_a_field_is_called():
    document = read('recipe_version: 2\nmodel: a/b\n"a\\eb\\x01": 1\ncommand: vllm serve a/b\n', "a.yaml")
    found = imported(document)
    text = report.inventory(found, "a", document)
    assert yaml.safe_load(text)["gb10_servers"] == [{"name": "a", "model": "a/b"}]
    assert "\x1b" not in text + report.text(found, document) + report.reason(found.refused()[0])


@pytest.mark.parametrize("runtime, text", [("sglang", "SGLang"), ("atlas", "Atlas"), ("llama-cpp", "llama.cpp"), ("other", "is not known")])
def test_another_runtime_is_refused_whatever_its_command_is(runtime, text):
    found = imported(read(f"recipe_version: 2\nmodel: a/b\nruntime: {runtime}\ncommand: sglang serve $X\n", "a.yaml"))
    ((field, line, said),) = why(found)
    assert (field, line) == ("runtime", 3) and text in said and found.server == {}


@pytest.mark.parametrize("value", ["{{ lookup('pipe', 'id') }}", "{% set x = 1 %}", "{# x #}"])
def test_nothing_that_ansible_would_run_comes_through(value):
    found = imported(read(f'recipe_version: 2\nmodel: a/b\nenv:\n  A: "{value}"\ncommand: vllm serve a/b\n', "a.yaml"))
    assert found.server == {} and "template" in found.refused()[-1].why
    found = imported(read(f'recipe_version: 2\nmodel: a/b\ncommand: |\n  vllm serve a/b --chat-template "{value}"\n', "a.yaml"))
    assert found.server == {} and found.refused()


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "the file is empty"),
        ("- a\n- b\n", "line 1: a recipe is a mapping"),
        ("just text", "a recipe is a mapping"),
        ("a: [1\n", "this is not YAML"),
        ("a: 1\nb: @x\n", "line 2: this is not YAML"),
        ("registries:\n  - name: x\n", "none of the fields"),
        ("comand: vllm\nmodle: x\n", "did you mean `command`?"),
        ("recipe_version: '3'\nmodel: x\n", "line 1, `recipe_version`: '3' is a version"),
        ("recipe_version: 2.1\nmodel: x\n", "'2.1' is a version"),
        ("recipe_version: 2\nmodel: !!python/object/apply:os.system ['id']\n", "line 2"),
        ("recipe_version: 2\nmodel: x\n---\nmodel: y\n", "line 3"),
        (
            "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
            + "".join(f"{b}: &{b} [{', '.join(['*' + a] * 10)}]\n" for a, b in zip("abcdef", "bcdefg", strict=True))
            + "model: x\n",
            "too large",
        ),
        ("model: &a [*a]\n", "too large"),
        ("model: " + "[" * 5000 + "\n", "Recipe bad.yaml"),
        ("model: 2026-13-45\ncommand: x\n", "Recipe bad.yaml"),
        ("x" * 300_000, "too many for a recipe"),
    ],
)
def test_what_is_no_recipe_is_said_in_one_sentence(text, said):
    try:
        found = imported(read(text, "bad.yaml"))
    except GB10Error as error:
        assert said in str(error) and str(error).startswith("Recipe bad.yaml") and "\n" not in str(error)
    else:
        assert said == "Recipe bad.yaml" and found.refused() and not found.server


@pytest.mark.parametrize(
    "field, value",
    [("defaults", "[1]"), ("env", "x"), ("mods", "{a: b}"), ("model", "[x]"), ("command", "[x]"), ("executor_config", "x"), ("runtime_config", "x")],
)
def test_a_field_of_the_wrong_kind_is_named(field, value):
    text = {"recipe_version": "2", "model": "a/b", "command": "vllm serve a/b", field: value}
    found = imported(read("".join(f"{key}: {one}\n" for key, one in text.items()), "a.yaml"))
    assert [row.field for row in found.refused()] == [field]

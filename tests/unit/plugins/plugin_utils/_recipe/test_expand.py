# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Recipes in an inventory: taken over with what is said beside them, refused in a sentence, and the same wherever servers are read."""

from __future__ import annotations

import os

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.images import of_a_box
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.options import option_mistakes
from ansible_collections.gb10.vllm.plugins.plugin_utils._filters import monitoring, servers
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe import expand
from ansible_collections.gb10.vllm.plugins.plugin_utils._router import work

RECIPE = """\
recipe_version: "1"
name: A model
model: Qwen/Qwen3-8B
container: vllm-node
defaults: {port: 8001, gpu_memory_utilization: 0.7}
env: {VLLM_A: 1, VLLM_B: 2}
command: |
  vllm serve Qwen/Qwen3-8B --port {port} -tp 2 --gpu-memory-utilization {gpu_memory_utilization} --max-num-seqs 8 \\
    --speculative-config '{{"method":"ngram","num_speculative_tokens":3}}' --no-enable-prefix-caching --trust-remote-code
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(RECIPE)
    return str(path)


def test_it_is_taken_over(recipe):
    (made,) = expand.with_recipes([{"name": "a", "recipe": recipe}])
    assert made == {
        "name": "a",
        "model": "Qwen/Qwen3-8B",
        "port": 8001,
        "gpu_memory_ceiling": 0.7,
        "boxes": 2,
        "tensor_parallel": 2,
        "pipeline_parallel": 1,
        "args": {"max_num_seqs": 8, "speculative_config": {"method": "ngram", "num_speculative_tokens": 3}, "enable_prefix_caching": False},
        "env": {"VLLM_A": "1", "VLLM_B": "2"},
    }


def test_what_is_said_beside_it_wins(recipe):
    said = {
        "port": 9000,
        "boxes": 1,
        "trust_remote_code": True,
        "args": {"max-num-seqs": 16, "speculative_config.num_speculative_tokens": 5, "no_enable_prefix_caching": None, "seed": 1},
        "env": {"VLLM_A": None, "VLLM_C": "x"},
    }
    (made,) = expand.with_recipes([{"name": "a", "recipe": recipe, **said}])
    assert made["port"] == 9000 and made["trust_remote_code"] is True and not {"boxes", "tensor_parallel", "pipeline_parallel"} & set(made)
    assert made["args"] == {"max_num_seqs": 16, "speculative_config": {"method": "ngram", "num_speculative_tokens": 5}, "seed": 1}
    assert made["env"] == {"VLLM_B": "2", "VLLM_C": "x"}
    (made,) = expand.with_recipes([{"name": "a", "recipe": recipe, "args": {"speculative_config": {"method": "mtp"}}}])
    assert made["args"]["speculative_config"] == {"method": "mtp"}, "a whole mapping takes the place of the whole"


def test_servers_without_a_recipe_are_as_they_were():
    given = [{"name": "a", "model": "x"}]
    assert expand.with_recipes(given) is given and expand.with_recipes(None) is None and expand.mistakes([{"name": "a"}, 3], {}) == []


def test_a_changed_file_is_read_again(recipe):
    expand.with_recipes([{"name": "a", "recipe": recipe}])
    with open(recipe, "w", encoding="utf-8") as stream:
        stream.write(RECIPE.replace("port: 8001", "port: 8002"))
    os.utime(recipe, (1, 1))
    assert expand.with_recipes([{"name": "a", "recipe": recipe}])[0]["port"] == 8002


@pytest.mark.parametrize(
    "given, said",
    [
        ("nothing.yaml", "cannot be read on the controller"),
        ("https://github.com/a/b.git#c", "is an address; fetch it once"),
        (".", "is a directory; name one file"),
        (7, "must be the path of a file"),
    ],
)
def test_a_recipe_that_is_not_there_is_one_sentence(given, said):
    (sentence,) = expand.mistakes([{"name": "a", "recipe": given}], {})
    assert said in sentence and sentence.startswith("gb10_servers (a)") and "{{" not in sentence
    with pytest.raises(GB10Error, match="gb10_servers"):
        expand.with_recipes([{"name": "a", "recipe": given}])


def test_what_is_refused_is_named_until_the_user_goes_without_it(recipe):
    with open(recipe, "a", encoding="utf-8") as stream:
        stream.write("pre_exec: [rm -rf /]\nmods: [mods/drop-caches, mods/none]\n")
    said = expand.mistakes([{"name": "a", "recipe": recipe}], {})
    assert len(said) == 3 and "line 10, `pre_exec`" in said[0] and "line 11, `mods.0`" in said[1]
    with pytest.raises(GB10Error, match="line 10, `pre_exec`"):
        expand.with_recipes([{"name": "a", "recipe": recipe}])
    server = {"name": "a", "recipe": recipe, "recipe_without": ["pre_exec", "mods"]}
    assert expand.mistakes([server], {}) == [] and expand.with_recipes([server])[0]["port"] == 8001


def test_a_recipe_that_serves_nothing_cannot_be_gone_without(tmp_path):
    path = tmp_path / "b.yaml"
    path.write_text("recipe_version: 2\nmodel: a/b\nruntime: sglang\ncommand: sglang serve\n")
    with pytest.raises(GB10Error, match="line 3, `runtime`"):
        expand.with_recipes([{"name": "a", "recipe": str(path), "recipe_without": ["runtime", "command"]}])


def test_another_image_than_the_box_has_becomes_the_servers_own(recipe):
    with open(recipe, "a", encoding="utf-8") as stream:
        stream.write("build_args: [--exp-b12x]\n")
    server = {"name": "a", "recipe": recipe, "boxes": 1}

    def image(box, **more):
        given = [{**server, **more}, {"name": "b", "model": "m", "port": 8002}]
        assert servers.server_mistakes(given, "/srv/models", image=box) == []
        return of_a_box(servers.servers(given, "/srv/models"), box)["servers"]["a"]

    assert image({}) == image({"source": "existing", "name": "vllm-node"}) == "vllm-node-a"
    assert image({"flavour": "b12x"}) == image({"flavour": "b12x", "mods": ["mods/x"]}) == "vllm-node"
    assert image({}, recipe_without=["container"]) == image({}, recipe_without="container") == "vllm-node"
    assert image({}, image={"name": "mine"}) == image({}, image={"source": "existing", "name": "mine"}) == "mine"
    assert expand.with_recipe({**server, "image": {"jobs": 4}})["image"] == {"flavour": "b12x", "jobs": 4}
    assert expand.with_recipe({**server, "image": {"flavour": "source"}})["image"] == {"flavour": "source"}
    assert "`image` is x" in servers.server_mistakes([{**server, "image": "x"}], "/srv/models", image={})[0]


def test_an_image_that_the_box_cannot_have_is_said_with_the_way_out(recipe):
    with open(recipe, "a", encoding="utf-8") as stream:
        stream.write("build_args: [--gpu-arch, 12.1a]\n")
    (said,) = servers.server_mistakes([{"name": "a", "recipe": recipe}], "/srv/models", image={"source": "existing"})
    assert "its source is existing" in said and "recipe_without" in said


def test_wherever_servers_are_read_a_recipe_is_one(recipe):
    given = [{"name": "a", "recipe": recipe, "boxes": 1}]
    (one,) = servers.servers(given, "/srv/models")
    assert one["port"] == 8001 and one["model_path"] == "/srv/models/Qwen/Qwen3-8B" and "recipe" not in one
    assert servers.server_groups([{"name": "a", "recipe": recipe}], "/srv/models", "x")[0]["boxes"] == 2
    assert option_mistakes({"gb10_servers": given}) == []
    assert "model" in option_mistakes({"gb10_servers": [{"name": "a"}]})[0]
    assert monitoring.monitored(["x"], {"x": {"gb10_servers": given}})["x"]["servers"][0]["port"] == 8001
    assert work._as_wanted(["x"], {"x": {"gb10_servers": given}})[0]["port"] == 8001

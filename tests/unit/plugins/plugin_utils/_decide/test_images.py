# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images of servers beside the box's: what lies over what, what they are called, which are wanted, and the sentences for mistakes."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.deployment import wanted_inputs
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.images import content, laid_over, mistakes, of_a_box
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.options import option_mistakes

COMMIT = "a" * 40
PULLED = {"source": "prebuilt", "image": "acme/x:1", "digest": "sha256:" + "1" * 64}
HELD = {"source": "existing", "name": "held:1"}


def named(own=None, name="a", **more):
    return {"name": name, "model": name, **({"image": own} if own is not None else {}), **more}


def images(*own, box=None):
    return of_a_box([named(one, name) for one, name in zip(own, "abcd", strict=False)], box)


@pytest.mark.parametrize(
    "own, box, made",
    [
        ({"jobs": 4}, {"ref": COMMIT, "mods": ["mods/x"], "name": "n"}, {"ref": COMMIT, "mods": ["mods/x"], "jobs": 4}),
        ({"mods": ["mods/y"]}, {"mods": ["mods/x"], "vllm_version": "0.30.0"}, {"mods": ["mods/y"]}),
        ({"flavour": "b12x"}, {"ref": COMMIT, "mods": ["mods/x"], "jobs": 8}, {"ref": COMMIT, "jobs": 8, "wheels": "none", "arguments": ["--exp-b12x"]}),
        ({"flavour": "b12x"}, {"flavour": "release"}, {"wheels": "none", "arguments": ["--exp-b12x"]}),
        ({"flavour": "b12x", "mods": ["mods/y"]}, {"flavour": "b12x", "ref": COMMIT},
         {"ref": COMMIT, "wheels": "none", "arguments": ["--exp-b12x"], "mods": ["mods/y"]}),
        (PULLED, {"source": "build", "ref": COMMIT, "timeout_s": 60}, {**PULLED, "ref": COMMIT, "timeout_s": 60}),
        ({"image": "acme/y:1"}, PULLED, {"source": "prebuilt", "image": "acme/y:1"}),
        ({"digest": "sha256:2"}, PULLED, {**PULLED, "digest": "sha256:2"}),
        ({"archive": "/b.tar"}, {"source": "archive", "archive": "/a.tar", "checksum": "sha256:1"}, {"source": "archive", "archive": "/b.tar"}),
        ({"source": "build", "jobs": 2}, {"flavour": "prebuilt", "digest": "sha256:1"}, {"source": "build", "jobs": 2}),
        ({"name": "other:1"}, HELD, {"source": "existing", "name": "other:1"}),
    ],
)  # fmt: skip
def test_what_is_said_lies_over_the_boxs_image_and_takes_its_place_where_it_has_another_origin(own, box, made):
    assert laid_over(own, box) == made


def test_servers_without_one_have_the_boxs_as_before():
    assert images(None, None, box={"ref": COMMIT}) == {
        "wanted": [{"ref": COMMIT, "name": "vllm-node", "checkout": "checkout"}],
        "servers": {"a": "vllm-node", "b": "vllm-node"},
        "own": [],
        "builds": True,
    }
    assert of_a_box([], {"name": "mine:2"}) == {"wanted": [{"name": "mine:2", "checkout": "checkout"}], "servers": {}, "own": [], "builds": True}
    assert of_a_box([], HELD)["builds"] is False


@pytest.mark.parametrize(
    "own, box",
    [
        ({}, {}),
        ({"source": "build"}, {}),
        ({"mods": ["mods/x"]}, {"mods": ["mods/x", "mods/y"]}),
        ({"flavour": "b12x"}, {"flavour": "b12x", "ref": COMMIT}),
        ({"flavour": "b12x"}, {"wheels": "none", "arguments": ["--exp-b12x", "-j"]}),
        (PULLED, PULLED),
        ({"name": "vllm-node:latest"}, {}),
        ({"image": "acme/x:1"}, PULLED),
    ],
)
def test_one_that_the_boxs_image_has_already_is_that_one(own, box):
    made = images(own, box=box)
    assert made["servers"] == {"a": "vllm-node"} and len(made["wanted"]) == 1


@pytest.mark.parametrize("own, box", [({"mods": ["mods/x"], "name": "o"}, {"mods": ["mods/x"]}), ({"mods": []}, {"mods": ["mods/x"]}), ({"jobs": 2}, {})])
def test_one_that_says_something_else_is_another(own, box):
    assert len(images(own, None, box=box)["wanted"]) == 2


def test_one_without_a_name_is_called_after_the_first_server_that_wants_it():
    made = images(None, {"flavour": "b12x"}, {"flavour": "b12x", "timeout_s": 9}, {"flavour": "mxfp4"}, box={"name": "registry:5000/vllm-node:7"})
    assert list(made["servers"].values()) == ["registry:5000/vllm-node:7", *["registry:5000/vllm-node-b"] * 2, "registry:5000/vllm-node-d"]
    assert [one["name"] for one in made["wanted"]] == ["registry:5000/vllm-node:7", "registry:5000/vllm-node-b", "registry:5000/vllm-node-d"]


def test_the_boxs_image_is_wanted_only_where_a_server_runs_with_it_and_comes_first():
    assert [one["name"] for one in images({"flavour": "b12x"}, None)["wanted"]] == ["vllm-node", "vllm-node-a"]
    assert [one["name"] for one in images({"flavour": "b12x"})["wanted"]] == ["vllm-node-a"]
    assert images({"flavour": "b12x"}, None, {"source": "build"})["own"] == ["a"]


def test_recipes_that_would_take_the_checkout_from_each_other_get_one_each():
    def places(*own, box=None):
        return [one["checkout"] for one in images(None, *own, box=box)["wanted"]]

    assert places({"flavour": "b12x"}) == ["checkout"] * 2
    assert places({"ref": COMMIT, "name": "x"}) == ["checkout"] * 2
    assert places({"ref": "main"}) == ["checkout", "checkout-vllm-node-b"]
    assert places({"repository": "/srv/mirror", "name": "acme/x:1"}) == ["checkout", "checkout-acme-x-1"]
    assert places({"flavour": "b12x"}, box={"ref": "main"}) == ["checkout"] * 2
    assert places(PULLED) == ["checkout"] * 2


def test_what_makes_two_images_one():
    assert content({"name": "a", "jobs": 2}) == content({"name": "b", "source": "build", "wheels": "auto"})
    assert content({"wheels": "none"}) != content({})
    assert content({"source": "existing", "name": "a"}) != content({"source": "existing", "name": "b"})
    assert content({"source": "existing", "name": "a"}) == content({"source": "existing", "name": "a:latest", "ref": COMMIT})
    assert content({**PULLED, "ref": COMMIT}) == content(PULLED)


@pytest.mark.parametrize(
    "own, box, said",
    [
        ("acme/x:1", {}, "gb10_servers (a): `image` is acme/x:1: write a mapping with keys of gb10_image"),
        (["x"], {}, "`image` is "),
        ({"flavour": "fast"}, {}, "gb10_servers (a): image.flavour is 'fast'"),
        ({"arguments": ["--exp-b12x"]}, HELD, "says arguments, which an image has that is built here, and its source is existing"),
        ({"mods": ["mods/x"]}, HELD, "gb10_servers (a): image.mods needs an image that is built here, and its source is existing"),
        ({"source": "existing"}, {}, "has the source existing and no name"),
        ({"image": "acme/x:1"}, {}, "says image, which is of an image that is pulled, and its source is build"),
        ({"repository": "https://me:secret@host/x"}, {}, "gb10_servers (a): image.repository holds a user name or a password"),
        ({"vllm_prs": {1: ""}}, {}, "gb10_servers (a): image.vllm_prs"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_the_server(own, box, said):
    (found,) = mistakes([named(own)], box)
    assert said in found and found.endswith(".") and "gb10_image." not in found


def test_two_images_of_one_name_are_refused_and_one_image_twice_is_not():
    two = [named({"name": "x", "ref": COMMIT}), named({"name": "x:latest", "flavour": "b12x"}, "b")]
    (said,) = mistakes(two, {})
    assert said.startswith("gb10_servers: the images of a and b are both called x:latest and differ in arguments, ref, wheels; give one of them")
    assert mistakes([named({"name": "x", "ref": COMMIT}), named({"name": "x", "ref": COMMIT}, "b"), named(name="c")], {}) == []
    assert "both called vllm-node" in mistakes([named(), named({"name": "vllm-node", "flavour": "b12x"}, "b")], {})[0]
    # It may have the name where no server runs with the box's own.
    assert mistakes([named({"name": "vllm-node", "flavour": "b12x"})], {}) == []


def test_a_recipes_sentence_says_how_to_go_on_without():
    assert mistakes([named({"arguments": ["--exp-b12x"]})], HELD, ["a"])[0].endswith(
        "put `container` into recipe_without to serve it with the image of the box."
    )


def test_the_keys_of_an_entrys_image_are_those_of_gb10_image():
    assert option_mistakes({"gb10_servers": [named({"flavour": "b12x", "jobs": 4, "mods": ["mods/x"]})]}) == []
    assert "gb10_servers (a): image: write a mapping with keys of gb10_image" in option_mistakes({"gb10_servers": [named("vllm:1")]})[0]
    assert any("flavor" in said for said in option_mistakes({"gb10_servers": [named({"flavor": "b12x"})]}))
    assert any("source" in said for said in option_mistakes({"gb10_servers": [named({"source": "download"})]}))


def test_of_an_image_counts_for_a_deployment_which_one_it_is():
    server = {"name": "a", "model": "m", "address": "127.0.0.1", "key_policy": "none"}
    assert wanted_inputs({**server, "image": {"flavour": "b12x"}}, "sha256:1", "m", {}) == wanted_inputs(server, "sha256:1", "m", {})
    assert wanted_inputs(server, "sha256:1", "m", {}) != wanted_inputs(server, "sha256:2", "m", {})

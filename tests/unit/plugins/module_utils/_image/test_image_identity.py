# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What makes two images one, their names, and which layers must travel."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._image import identity as image_identity
from ansible_collections.gb10.vllm.plugins.module_utils._image.saved import absent_layers
from hypothesis import given
from hypothesis import strategies as st

LAYERS = [{"blob": f"b{number}", "diff_id": f"d{number}"} for number in range(4)]


@pytest.mark.parametrize(
    ("held", "travel"),
    [
        ([], {"b0", "b1", "b2", "b3"}),
        ([["d0", "d1", "x"]], {"b2", "b3"}),
        ([["x"], ["d0", "d1", "d2", "d3", "more"]], set()),
        ([["x", "d1", "d2", "d3"]], {"b0", "b1", "b2", "b3"}),
    ],
)
def test_the_classic_store_keeps_a_layer_only_with_those_under_it(held, travel):
    assert absent_layers(LAYERS, "classic", held, set()) == travel


def test_containerd_keeps_blobs_each_for_itself():
    assert absent_layers(LAYERS, "containerd", [["d0", "d1", "d2", "d3"]], {"b1", "b3", "other"}) == {"b0", "b2"}


@given(st.lists(st.integers(0, 3), max_size=8), st.lists(st.lists(st.integers(0, 3), max_size=8), max_size=4))
def test_what_travels_and_what_is_there_make_the_whole_image(image, held):
    layers = [{"blob": f"b{one}", "diff_id": f"d{one}"} for one in image]
    there = [[f"d{one}" for one in other] for other in held]
    travel = absent_layers(layers, "classic", there, set())
    same = 0
    while same < len(image) and any(other[: same + 1] == image[: same + 1] for other in held):
        same += 1
    assert {layer["blob"] for layer in layers[same:]} - travel <= {layer["blob"] for layer in layers[:same]}
    assert all(layer["blob"] in travel or layer["blob"] in {one["blob"] for one in layers[:same]} for layer in layers)


INSPECTED = {
    "Id": "sha256:1", "Created": "2026-11-23T10:00:00Z", "Architecture": "arm64", "Os": "linux",
    "Config": {"Env": ["A=1"], "Cmd": None, "Labels": {"x": "1"}, "Hostname": ""}, "RootFS": {"Layers": ["d0", "d1"]},
}  # fmt: skip


def test_one_image_has_one_identity_in_both_stores():
    other = {**INSPECTED, "Id": "sha256:2", "RepoTags": ["x"], "Config": {"Env": ["A=1"], "Labels": {"x": "1"}, "Entrypoint": []}}
    assert image_identity.identity(other) == image_identity.identity(INSPECTED)


@pytest.mark.parametrize(
    "change", [{"RootFS": {"Layers": ["d0"]}}, {"Created": "2026"}, {"Config": {"Env": ["A=2"], "Labels": {"x": "1"}}}, {"Architecture": "amd64"}]
)
def test_whatever_runs_differently_is_another_image(change):
    assert image_identity.identity({**INSPECTED, **change}) != image_identity.identity(INSPECTED)


@pytest.mark.parametrize(("name", "full"), [("vllm-node", "vllm-node:latest"), ("r:5000/x", "r:5000/x:latest"), ("a:b", "a:b"), ("a@sha256:1", "a@sha256:1")])
def test_names_have_a_tag(name, full):
    assert image_identity.full_name(name) == full

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Small judges of what users and boxes say, each at both sides of its limits and with its whole sentence."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import distribution, groups, images, inside, mounts, options, wanted


@pytest.mark.parametrize(
    ("size", "fine"),
    [
        (1, True), (0, False), (10**6, True), (10**6 + 1, False), ("1", True), ("101", True), ("1000001", False), ("1%", True), ("0%", False), ("100%", True),
        ("101%", False), ("5%%", False), ("5%x", False), ("%", False), ("", False), ("²", False), (True, False), (1.0, False), (None, False),
    ],
)  # fmt: skip
def test_the_size_of_a_batch(size, fine):
    remedy = "use whole numbers from 1 and whole percentages from 1% to 100%, as in [1, '25%', '100%']."
    said = [] if fine else [f"gb10_rollout contains {size!r}, which is not a valid batch size; {remedy}"]
    assert wanted.rollout_mistakes(size) == said and wanted.rollout_mistakes([1, size, "100%"]) == said
    assert wanted.rollout_mistakes(()) == [f"gb10_rollout is empty, so no box would ever be in a batch; {remedy}"]


def test_a_name_that_nothing_reads_is_said_with_the_nearest():
    assert wanted.unknown_variables(["gb10_servres", "gb10_zz", "gb10_servers"], ["gb10_servers", "gb10_image"]) == [
        "gb10_servres is not a variable of gb10.vllm; did you mean gb10_servers?",
        "gb10_zz is not a variable of gb10.vllm; remove it or see the README's table.",
    ]


def test_the_servers_of_one_box_are_its_own_and_those_that_it_is_a_part_of():
    given = [
        {"name": "own", "model": "a/m"},
        {"name": "ab", "model": "a/m", "boxes": ["a", "b"], "port": 8001},
        {"name": "two", "model": "a/m", "boxes": 2, "port": 8002},
    ]

    def names(**more):
        return [one["name"] for one in wanted.of_one_box(given, "/m", **more)]

    assert names() == ["own"] and names(box="a") == ["own", "ab"] and names(box="c") == ["own"]
    assert names(box="c", places={"two": ["c", "d"]}) == ["own", "two"] and names(places={"two": ["c", "d"]}) == ["own"]


@pytest.mark.parametrize(
    ("host", "why"),
    [
        (None, ""), ("None", ""), ("", ""), ("0.0.0.0", ""), ("[::]", ""), (" :: ", ""),
        ("*", "is no address; leave it out and say `address: 0.0.0.0` for the server."),
        ("Localhost", "would be the container's own, on which nobody outside it reaches vLLM; leave it out and say `address: 127.0.0.1` for the server."),
        ("10.0.0.1", "would be the container's own, on which nobody outside it reaches vLLM; leave it out and say `address: 10.0.0.1` for the server."),
        ("[fd00::1]", "would be the container's own, on which nobody outside it reaches vLLM; leave it out and say `address: fd00::1` for the server."),
        *(
            (host, "would be the container's own, on which nobody outside it reaches vLLM; leave it out and say with `address` on which IP address of the box.")
            for host in ("spark.example", "fe80::1", "fd00::1%eth0", "224.0.0.1", "ff02::1")
        ),
    ],
)  # fmt: skip
def test_on_which_address_the_container_listens(host, why):
    said = ""
    try:
        inside._check_host(host, "server a")
    except inside.GB10Error as error:
        said = str(error)
    assert said == (f"server a: args.host {inside.shown(host)} {why}" if why else "")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (
            "gb10_image",
            "vllm:1",
            "gb10_image is a text: write a mapping with `name` and `source`, as in {source: existing, name: my-vllm:1} (see docs/image.md).",
        ),
        ("gb10_image", "name=x", ""),
        ("gb10_image", " {a: 1}", ""),
        ("gb10_servers", {"a": 1}, "gb10_servers is a mapping: write a list with a dash before each server and its name as `name`."),
        ("gb10_servers", [{}, "x" * 99, "y"], f"gb10_servers holds the text {'x' * 60!r}: each server is a mapping with `name` and `model`."),
        ("gb10_servers", [{"name": "a", "seed": 1}], "gb10_servers (a): seed is an argument of vLLM's own, which stand in `args` of the server."),
        (
            "gb10_servers",
            [3, {"model": "m", "seed": 1, "dtype": 2, "prot": 3, "zzzz": 4}],
            "gb10_servers (m): seed, dtype are arguments of vLLM's own, which stand in `args` of the server; "
            "prot: nothing reads it; did you mean port?; zzzz: nothing reads it.",
        ),
        ("gb10_servers", [{"name": "a"}], ""),
        ("gb10_os_floor_gib", " 6 GiB ", "gb10_os_floor_gib is '6 GiB': it counts GiB, so write the number alone, as in 6."),
        ("gb10_os_floor_gib", "6", ""),
        ("gb10_os_floor_gib", 6, ""),
        ("gb10_port", "6 GiB", ""),
        ("gb10_nothing_gib", "6 GiB", "gb10_nothing_gib is '6 GiB': it counts GiB, so write the number alone, as in 6."),
    ],
)
def test_what_was_meant_by_a_value_of_another_shape(name, value, said):
    assert options._hint(name, value) == said


def test_values_for_the_validator_are_plain_and_empty_settings_are_none():
    given = [{"name": "a", "model": "m", "port": None}, "text"]
    made = options._with_servers("gb10_servers", given)
    assert made == [options.without_empty(given[0]), "text"] and options._with_servers("gb10_other", given) is given
    assert options._plain({1: (2, {"a": None})}) == {"1": [2, {"a": None}]}


def test_two_images_are_one_where_their_settings_are_however_they_are_ordered():
    one, other = {"source": "build", "jobs": 4, "build_args": {"a": 1, "b": 2}}, {"build_args": {"b": 2, "a": 1}, "jobs": 4, "source": "build"}
    assert images.content(one) == images.content(other) != images.content({**one, "build_args": {"a": 1, "b": 3}})
    existing = [images.content({"source": "existing", "name": name}) for name in ("x", "x:latest", "y")]
    assert existing[0] == existing[1] != existing[2]
    assert images.content({"source": "existing"}) == images.content({"source": "existing", "name": images.NAME, "jobs": None, "mods": []})


def test_the_images_that_a_box_wants_are_those_noted_or_its_own():
    assert distribution.wanted_images({"preflight_images": {"wanted": [{"name": "x"}]}, "gb10_image": {"name": "y"}}) == [{"name": "x"}]
    (one,) = distribution.wanted_images({"gb10_image": {"source": "existing", "name": "mine:1"}})
    assert (one["source"], one["name"]) == ("existing", "mine:1")
    assert distribution.wanted_images({}) == images.of_a_box([], None)["wanted"]


def test_the_maker_of_an_image_is_chosen_of_those_that_want_it_by_what_they_have(monkeypatch):
    seen = []
    monkeypatch.setattr(distribution, "choose_source", lambda *given: seen.append(given) or given[0][-1])
    monkeypatch.setattr(distribution, "stand_in", lambda copies, name, asked: f"{name} {asked} {len(copies)}.")
    held = {"docker": {"images": {"x:1": {"id": 1}}}, "recipe": "r1"}
    hosts = {
        "a": {"preflight_images": {"wanted": [{"name": "x:1", "source": "existing"}]}, "preflight_result": {"box": held}},
        "b": {"preflight_images": {"wanted": [{"name": "x:1", "source": "existing"}, {"name": "y", "source": "existing"}]}},
    }
    found = distribution.chosen(["a", "b"], hosts, "a")
    assert seen == [(["a", "b"], {"a": {"id": 1}, "b": {}}, "a", {"a": "r1", "b": ""}), (["b"], {"b": {}}, "auto", {"b": ""})]
    assert [(group["places"], group["maker"]) for group in found["images"]] == [({"a": "x:1", "b": "x:1"}, "b"), ({"b": "y"}, "b")]
    assert (found["source"], found["instead"]) == ("b", "x:1 a 2. y auto 1.")
    assert [group["maker"] for group in distribution.chosen(["a", "b"], hosts, "auto", shared=False)["images"]] == ["", ""]


def test_why_a_model_cannot_be_opened_names_what_is_closed():
    server = {"name": "s", "model_path": "/m/x"}
    assert mounts.model_mistakes(server, {"unreadable": "/m/x/secret"}) == [mounts._closed("server s", "/m/x/secret", "/m/x")]
    assert mounts.model_mistakes(server, {"unreadable": "/y", "directory": "/d"}) == [mounts._closed("server s", "/y", "/d")]
    assert mounts.model_mistakes(server, {"code_elsewhere": ["o/n"]}) == mounts.model_mistakes(server, {}) == []
    code = (
        "server s: auto_map of /m/x names code of o/n, p/q, which a container without the hub cannot fetch. Copy those .py files beside config.json and "
        "take `o/n--` out of auto_map, or leave trust_remote_code out where vLLM knows the architecture itself."
    )
    for trusted in ({"trust_remote_code": "always"}, {"trust_remote_code": True}, {"args": {"trust_remote_code": "true"}}):
        assert mounts.model_mistakes({**server, **trusted}, {"code_elsewhere": ["o/n", "p/q"]}) == [code]
    assert mounts.model_mistakes({**server, "args": {"trust_remote_code": "false"}}, {"code_elsewhere": ["o/n"]}) == []


def shared(size, latent, heads, key_values, refused=(), **wish):
    """(tensor, pipeline, why) of a model with this attention, of which vLLM refuses some shares."""
    made = object.__new__(groups._Group)
    made.name, made.size, made.wish = "s", size, wish
    made._attention = lambda _box: (latent, heads, key_values)
    made._refusal = lambda _box, pair: "refused" if pair in refused else ""
    return made._shares("box")[:2]


def test_latent_attention_shares_as_few_as_it_can_and_others_as_many_as_they_have_heads():
    assert shared(4, True, 64, 1) == (1, 4) and shared(4, False, 64, 8) == (4, 1) and shared(4, False, 64, 2) == (2, 2) and shared(8, False, 64, 1) == (1, 8)
    assert shared(4, False, 64, 8, refused=[(4, 1)]) == (2, 2) and shared(4, True, 64, 1, refused=[(1, 4)]) == (2, 2)
    assert shared(4, True, 64, 1, tensor_parallel=4) == (4, 1) and shared(4, False, 64, 8, pipeline_parallel=4) == (1, 4)
    with pytest.raises(groups.GB10Error, match=r"^server s over 2 boxes: refused$"):
        shared(2, False, 64, 8, refused=[(2, 1), (1, 2)])


def test_of_boxes_with_as_much_room_the_first_of_the_inventory_is_the_head():
    made = object.__new__(groups._Group)
    room = {"a": ("cannot_fit", 99), "b": ("fits", 5), "c": ("fits", 7), "d": ("fits", 5), "e": ("fits", 0)}
    asked = []
    made.size, made.wishes = 3, room
    made._planned = lambda box, rank: asked.append((box, rank)) or {"verdict": room[box][0], "kv_cache_bytes": room[box][1]}
    assert made._roomiest(3, 1, "why") == ["c", "b", "d"]
    assert asked[0] == ("a", {"number": 0, "boxes": ["0", "1", "2"], "tensor": 3, "pipeline": 1, "why": "why"}) and len(asked) == 5
    made.size = 5
    assert made._roomiest(1, 5, "")[-2:] == ["e", "a"], "a box that has no room comes behind one that has none to spare"

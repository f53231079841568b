# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One rank of a server over several boxes: by which network they meet, what its container is, and whether all of them are equal."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import ranks, work

IMAGE = {"id": "sha256:" + "1" * 64, "name": "vllm-node", "vllm_version": "0.33.0"}
SERVER = {"name": "duo", "model": "m", "model_path": "/srv/models/m", "port": 8000, "address": "10.0.0.1", "key_policy": "generate", "boxes": ["a", "b"]}
SETTINGS = {"state_dir": "/var/lib/gb10-vllm", "config_dir": "/etc/gb10-vllm", "shm_gib": 8.0, "floor_bytes": 1, "stop_timeout_s": 60}


def network(number, fabric=True, management="enP7s7", **more):
    held = {management: [f"10.0.0.{number}/24", "fe80::1/64"], "docker0": ["172.17.0.1/16"], "br-1": [f"172.18.{number}.1/24"]}
    held |= {"enp1s0f0np0": [f"192.168.177.{number}/24"], "enP2p1s0f0np0": [f"192.168.178.{number}/24"]} if fabric else {}
    hcas = {"rocep1s0f0": "enp1s0f0np0", "roceP2p1s0f0": "enP2p1s0f0np0", "rocep1s0f1": "enp1s0f1np1"}
    return {"addresses": held, "came": management, "hcas": hcas, "infiniband": True} | more


def meet(**boxes):
    return ranks.places("duo", boxes)


def test_they_meet_over_the_fabric_where_there_is_one():
    found = meet(a=network(1), b=network(2))
    assert found["b"] == {
        "address": "192.168.177.2", "interface": "enp1s0f0np0", "hcas": ["roceP2p1s0f0", "rocep1s0f0"], "circle": 0, "infiniband": True,
    }  # fmt: skip
    env = ranks.environment(found["b"])
    assert env["VLLM_HOST_IP"] == "192.168.177.2" and env["NCCL_IB_HCA"] == "=roceP2p1s0f0,rocep1s0f0" and env["NCCL_SOCKET_IFNAME"] == "=enp1s0f0np0"
    assert env["GLOO_SOCKET_IFNAME"] == env["TP_SOCKET_IFNAME"] == "enp1s0f0np0" and env["VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS"] == "120"
    assert not [name for name in env if "GID" in name]


def test_without_a_fabric_they_meet_where_ansible_comes_in():
    plain = {"hcas": {}, "infiniband": False}
    found = meet(a=network(1, fabric=False, **plain), b=network(2, fabric=False, management="eth0", **plain))
    assert [(one["interface"], one["address"], one["hcas"], one["infiniband"]) for one in found.values()] == [
        ("enP7s7", "10.0.0.1", [], False), ("eth0", "10.0.0.2", [], False),
    ]  # fmt: skip
    assert not [name for name in ranks.environment(found["a"]) if name.startswith(("NCCL_IB", "NCCL_NET", "NCCL_ALGO"))]


def ring(number, of):
    held = {"enP7s7": [f"10.0.0.{number}/24"]}
    held |= {"enp1s0f0np0": [f"192.168.{number}.1/24"], "enp1s0f1np1": [f"192.168.{(number - 2) % of + 1}.2/24"]}
    return {"addresses": held, "came": "enP7s7", "hcas": {"rocep1s0f0": "enp1s0f0np0", "rocep1s0f1": "enp1s0f1np1"}, "infiniband": True}


@pytest.mark.parametrize(("count", "algorithm"), [(3, None), (4, "Ring")])
def test_boxes_that_are_not_all_cabled_to_each_other_meet_beside_the_fabric_and_use_it(count, algorithm):
    found = meet(**{f"box{number}": ring(number, count) for number in range(1, count + 1)})
    assert [one["address"] for one in found.values()] == [f"10.0.0.{number}" for number in range(1, count + 1)]
    env = ranks.environment(found["box2"])
    assert env["NCCL_IB_HCA"] == "=rocep1s0f0,rocep1s0f1" and env["NCCL_IB_SUBNET_AWARE_ROUTING"] == "1" and env.get("NCCL_ALGO") == algorithm


def test_boxes_without_a_common_network_are_refused_in_a_sentence():
    alone = {"addresses": {"eth0": ["10.9.0.1/24"], "docker0": ["172.17.0.1/16"]}, "came": "eth0", "hcas": {}, "infiniband": False}
    with pytest.raises(GB10Error, match=r"^server duo: there is no network that all of its boxes are in \(a has .*10\.0\.0\.1/24.*; b has 10\.9\.0\.1/24, "):
        meet(a=network(1), b=alone)
    assert meet(a=network(1), b={}) == {}


def order(number, image=IMAGE, manifest="m" * 64, arguments=("--kv-cache-memory-bytes", "1000"), places=None, wanted=None, **more):
    """The work order of one of the two boxes."""
    rank = {"number": number, "boxes": ["a", "b"], "tensor": 2, "pipeline": 1}
    own = ["--host", "0.0.0.0", "--port", "8000", *arguments, "--nnodes", "2", "--node-rank", str(number), *(["--headless"] if number else [])]
    planned = {"name": "duo", "arguments": own, "requested_bytes": 10, "served_model_name": "m", "rank": rank}
    given = {
        "wanted": {**SERVER, **(wanted or {})},
        "plan": {"servers": [planned]},
        "image": image,
        "image_name": "vllm-node",
        "models": {"/srv/models/m": {"manifest": manifest, "names": []}},
        "box": {"docker": {"containers": []}, "servers": {}, "files": {}, "units": {}, "boot_id": "b"},
        "places": meet(a=network(1), b=network(2)) if places is None else places,
        "unit_text": "",
        "settings": SETTINGS,
        "options": {"history": 5, "repair": True, "api_key": ""},
    }
    return work.work_order({**given, **more})


def test_the_head_answers_and_the_other_rank_has_neither_key_nor_api():
    head, other = (order(number)["deployment"] for number in (0, 1))
    command = head["container"]["command"]
    assert command[command.index("--host") + 1] == "10.0.0.1" and "--middleware" in command and "--headless" not in command
    assert command[-4:] == ["--master-addr", "192.168.177.1", "--master-port", "24000"]
    assert head["group"] == {
        "number": 0, "boxes": ["a", "b"], "addresses": ["192.168.177.1", "192.168.177.2"], "master_port": 24000, "guard_port": 24001,
    }  # fmt: skip
    command = other["container"]["command"]
    assert command[-4:] == ["--master-addr", "192.168.177.1", "--master-port", "24000"] and "--headless" in command and "--middleware" not in command
    assert (other["key"], other["address"], other["group"]["number"]) == ("none", "127.0.0.1", 1)
    assert "GB10_KEY" not in other["container"]["env"] and head["container"]["env"]["GB10_KEY"] == "required"
    assert not order(1)["write_key"] and order(0)["write_key"]


def test_a_rank_has_the_network_of_its_box_and_rdma_and_never_all_privileges():
    container = order(1)["deployment"]["container"]
    assert container["network_mode"] == "host" and container["published_ports"] == []
    assert container["devices"] == ["/dev/infiniband:/dev/infiniband"] and container["ulimits"] == ["nofile:1048576:1048576", "memlock:-1:-1"]
    bare = {box: {**place, "infiniband": False} for box, place in meet(a=network(1), b=network(2)).items()}
    assert "devices" not in order(1, places=bare)["deployment"]["container"]
    assert order(1, places=bare)["deployment"]["container"]["ulimits"] == []


def test_without_a_known_network_nothing_is_deployed():
    with pytest.raises(GB10Error, match="not known by which network a, b reach each other"):
        order(0, places={})


def test_other_addresses_or_boxes_are_another_wish():
    moved = meet(a=network(1), b=network(3))
    assert order(0)["deployment"]["inputs"] != order(0, places=moved)["deployment"]["inputs"]


def both(first=None, second=None, environments=None):
    orders = {"a": order(0, **(first or {})), "b": order(1, **(second or {}))}
    return ranks.unequal(orders, environments or {"a": {"X": "1"}, "b": {"X": "1"}})


def test_equal_ranks_have_nothing_against_them():
    assert both() == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image": {**IMAGE, "id": "sha256:" + "2" * 64}}, "the image is not the same: a has sha256:111111111111, b has sha256:222222222222"),
        ({"manifest": "n" * 64}, "the files of the model are not the same: a has mmmmmmmmmmmmmmmmmmm, b has nnnnnnnnnnnnnnnnnnn"),
        ({"arguments": ("--kv-cache-memory-bytes", "999")}, "the argument --kv-cache-memory-bytes is not the same: a has 1000, b has 999"),
        ({"arguments": ("--kv-cache-memory-bytes", "1000", "--enforce-eager")}, "the argument --enforce-eager is not the same: a has none, b has "),
        ({"wanted": {"port": 8001}}, "the group guard_port is not the same: a has 24001, b has 24003"),
    ],
)
def test_what_is_not_equal_is_named_with_its_boxes(changes, said):
    assert both(second=changes).startswith(said)


def test_an_environment_that_differs_is_named_and_never_shown():
    said = both(environments={"a": {"HF_TOKEN": "hunter1", "X": "1"}, "b": {"HF_TOKEN": "hunter2", "X": "1"}})
    assert said == "the variables HF_TOKEN of `env` are not the same on a, b"


def test_a_box_that_is_not_there_is_named():
    hostvars = {"a": {"server_orders": {"duo": order(0)}}, "b": {}}
    seen = ranks.compared("duo", hostvars, ["a", "b"])
    assert seen["problem"] == "b, which is one of its boxes, is not part of this batch or could not be reached" and seen["failed"] == ["b"]
    hostvars["a"]["server_rank_failed"] = "duo"  # its company was lost while it started
    seen = ranks.compared("duo", hostvars, ["a"])
    assert seen["lost"] == ["b"] and seen["fell"] == [] and seen["repair"] == {}


def test_what_the_boxes_of_a_server_know_of_each_other():
    orders = {"a": order(0), "b": order(1)}
    hostvars = {box: {"server_orders": {"duo": copy.deepcopy(one)}, "gb10_servers": [{**SERVER, "env": {"X": 1}}]} for box, one in orders.items()}
    hostvars["a"]["server_orders"]["duo"]["start"] = False
    seen = ranks.compared("duo", hostvars, ["a", "b", "c"] if "c" in hostvars else ["a", "b"])
    assert seen == {"boxes": ["a", "b"], "problem": "", "start": True, "failed": [], "fell": [], "repair": {}, "lost": []}
    hostvars["b"]["server_rank_failed"] = "duo"
    hostvars["a"]["server_ranks_up"] = ["duo"]
    assert ranks.compared("duo", hostvars, ["a", "b"])["fell"] == ["b"] and ranks.unstarted("duo", hostvars, ["a", "b"]) == ["b"]
    hostvars["a"] |= {"server_rank_failed": "duo", "server_rank_left": "b has left the group"}
    assert ranks.compared("duo", hostvars, ["a", "b"])["fell"] == ["b"], "a was only ended because of b"
    hostvars["b"]["server_rank_left"] = "a has not answered for 3 looks"
    assert ranks.compared("duo", hostvars, ["a", "b"])["fell"] == ["a", "b"]


@pytest.mark.parametrize(
    ("failed", "changed", "back"),
    [
        ("a", {"a": ["duo"], "b": ["duo", "x"]}, {"a": ["duo"], "b": ["duo", "x"]}),
        ("a", {"a": ["duo", "x"], "b": ["duo"]}, {"a": ["duo"], "b": ["duo"]}),
        ("ab", {"a": ["duo", "x"], "b": ["duo"]}, {"a": [], "b": []}),
        ("c", {"a": ["duo"], "b": ["duo"]}, {"a": ["duo"], "b": ["duo"]}),
        ("a", {"a": [], "b": ["duo", "x"]}, {"a": [], "b": ["x"]}),
    ],
)
def test_a_failed_batch_goes_back_with_all_ranks_of_a_server_or_with_none(failed, changed, back):
    orders = {"a": order(0), "b": order(1)}
    hostvars = {box: {"server_orders": {"duo": orders[box], "x": {"deployment": {}}}, "server_changed": names} for box, names in changed.items()}
    for box in set(failed) & set(hostvars):
        hostvars[box]["server_failures"] = ["it failed"]
    assert {box: ranks.going_back(names, hostvars, box) for box, names in changed.items()} == back


LESS = {"id": "KB-1", "set": {"kv_cache_most_bytes": 5, "reserve_gib": 1.0}, "reason": "r", "wait_for_memory": True}


@pytest.mark.parametrize(
    ("fallen", "repair"),
    [
        ({"b": {"server_offer": LESS}}, LESS["set"]),
        ({"a": {"server_offer": {}}, "b": {"server_offer": LESS}}, LESS["set"]),
        ({"a": {"server_offer": LESS}, "b": {"server_offer": {**LESS, "set": {"kv_cache_most_bytes": 4, "reserve_gib": 2.0}}}},
         {"kv_cache_most_bytes": 4, "reserve_gib": 2.0}),
        ({"a": {"server_offer": {"id": "KB-2", "set": {"load_format": "auto"}}}, "b": {"server_offer": LESS}}, {"load_format": "auto"}),
        ({"a": {"server_offer": {"id": "KB-3", "set": {}}}}, {}),
        ({"a": {"server_offer": {}}}, None),
        ({"a": {"server_offer": LESS}, "b": {"server_lost": True}}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_all_ranks_get_one_repair(fallen, repair):
    orders = {"a": order(0), "b": order(1)}
    found = ranks.repair_for_all(orders, fallen)
    assert found.get("set") == repair
    assert ranks.repair_for_all({**orders, "a": {**orders["a"], "may_repair": False}}, fallen) == {}
    assert not order(0, options={"history": 5, "repair": False, "api_key": ""})["may_repair"] and order(0)["may_repair"]


@pytest.mark.parametrize(
    ("count", "groups", "sizes"),
    [
        (8, [], [1, "25%", "100%"]),
        (8, [["b0", "b1"]], [2, 2, 4]),
        (8, [["b2", "b3"]], [1, 3, 4]),
        (8, [["b0", "b7"]], [8]),
        (4, [["b0", "b1"], ["b1", "b2"]], [3, 1]),
        (2, [["b1", "b0"]], [2]),
        (3, [["gone", "b0"]], [1, "25%", "100%"]),
        (0, [], [1]),
    ],
)
def test_no_batch_separates_the_boxes_of_a_server(count, groups, sizes):
    where = {str(number): dict.fromkeys(group, {}) for number, group in enumerate(groups)}
    assert ranks.batches([f"b{number}" for number in range(count)], where) == sizes

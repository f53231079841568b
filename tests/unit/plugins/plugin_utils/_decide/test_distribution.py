# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who gets what from whom: properties of the plan, and the cases a fleet meets."""

from __future__ import annotations

import math
import re

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import distribution
from hypothesis import given
from hypothesis import strategies as st

FLEETS = st.integers(1, 70).flatmap(lambda boxes: st.tuples(st.just(boxes), st.sets(st.integers(0, boxes - 1), min_size=1)))


@given(FLEETS)
def test_every_box_gets_it_and_nobody_feeds_two_or_waits_in_a_circle(fleet):
    boxes, having = fleet
    hosts = [f"spark-{number:02}" for number in range(boxes)]
    holders = [hosts[number] for number in sorted(having)]
    plan = distribution.chains(holders, hosts)
    assert set(plan) == set(hosts) - set(holders)
    first = [sources[0] for sources in plan.values()]
    assert len(first) == len(set(first)), "one box feeds at most one other"
    order = {host: place for place, host in enumerate([*holders, *plan])}
    for target, sources in plan.items():
        assert target not in sources and len(sources) == len(set(sources))
        assert len(set(holders) & set(sources)) >= min(2, len(holders)), "if one holder fails, another can be asked"
        assert all(order[source] < order[target] for source in sources), "sources come earlier, so there is no circle"
    longest = max((len(set(sources) - set(holders)) + 1 for sources in plan.values()), default=0)
    assert longest <= math.ceil((boxes - len(holders)) / len(holders)), "the chains are even"


def test_nobody_has_it():
    with pytest.raises(GB10Error, match="No box has what spark-02 should get"):
        distribution.chains([], ["spark-02"])


@pytest.mark.parametrize(
    ("having", "wanted", "source"),
    [([], "auto", "a"), (["b"], "auto", "b"), (["c", "b"], "auto", "b"), (["b"], "c", "c")],
)
def test_the_box_that_builds(having, wanted, source):
    assert distribution.choose_source(["a", "b", "c"], having, wanted) == source


def test_of_boxes_that_have_the_image_the_one_with_its_recipe_is_asked():
    copies = {"a": {"id": "sha256:1"}, "b": {"id": "sha256:1"}, "c": {}}
    assert distribution.choose_source(["a", "b", "c"], copies, "auto", {"a": "", "b": "ref: refs/heads/main", "c": "ref"}) == "b"
    assert distribution.choose_source(["a", "b", "c"], copies, "auto", {"a": "", "b": "", "c": "ref"}) == "a"
    assert distribution.choose_source(["a", "b", "c"], copies, "auto", {}) == "a"


SOUND, OTHER, DAMAGED = {"id": "sha256:1"}, {"id": "sha256:0"}, {"id": "sha256:1", "damaged": "file integrity checksum failed"}


@pytest.mark.parametrize(
    ("copies", "wanted", "source"),
    [
        ({"a": SOUND, "b": {}, "c": SOUND}, "auto", "a"),
        ({"a": DAMAGED, "b": {}, "c": SOUND}, "auto", "c"),
        ({"a": DAMAGED, "b": OTHER, "c": SOUND}, "auto", "c"),
        ({"a": DAMAGED, "b": {}, "c": OTHER}, "auto", "c"),
        ({"a": DAMAGED, "b": {}, "c": {}}, "auto", "b"),
        ({"a": DAMAGED, "b": {}, "c": {}}, "a", "b"),
        ({"a": DAMAGED, "b": {}, "c": SOUND}, "b", "b"),
        ({"a": DAMAGED, "b": DAMAGED, "c": DAMAGED}, "auto", "a"),
    ],
)
def test_a_box_whose_docker_cannot_read_its_copy_is_passed_over(copies, wanted, source):
    assert distribution.choose_source(["a", "b", "c"], copies, wanted) == source


@pytest.mark.parametrize(
    ("copies", "said"),
    [
        ({"a": SOUND, "b": {}}, "^$"),
        (
            {"a": DAMAGED, "b": {}, "c": SOUND},
            r"^Docker on a cannot read its copy of vllm-node any more \(file integrity checksum failed\): c, which has the same image, sends it instead\.$",
        ),
        ({"a": DAMAGED, "b": {}}, r": no other box has that image, so b makes it again\.$"),
        ({"a": DAMAGED, "b": OTHER}, r": no other box has that image, so b makes it again\.$"),
        ({"a": DAMAGED, "b": DAMAGED}, r"on a, b cannot .* nor has another box a sound one: remove it on a \(docker rmi vllm-node, docker builder prune\)"),
    ],
)
def test_which_box_stands_in_is_said(copies, said):
    assert re.search(said, distribution.stand_in(copies, "vllm-node"))


def test_a_damaged_copy_is_neither_sent_nor_replaced():
    boxes = {"a": box("sha256:1"), "b": box("sha256:1"), "c": box("")}
    boxes["a"]["image"]["damaged"] = "file integrity checksum failed"
    image = distribution.lacking(boxes, "b")[0]
    assert (image["reference"], image["holders"], image["targets"]) == ("b", ["b"], ["c"])


def test_a_source_outside_the_run_is_refused():
    with pytest.raises(GB10Error, match=r"gb10_distribution\.source is x, which is not among the boxes of this run \(a, b\)"):
        distribution.choose_source(["a", "b"], [], "x")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"methd": "auto"}, "has no key methd"),
        ({"method": "broadcast"}, "choose one of auto, fan_out, build_everywhere"),
        ({"port": "http"}, "port is 'http', which is not a number"),
        ({"port": 70000}, "must lie between 0 and 65535"),
        ({"connections": 0}, "must lie between 1 and 32"),
    ],
)
def test_settings_that_are_wrong_say_so(given, text):
    with pytest.raises(GB10Error, match=text):
        distribution.settings(given)


def test_settings_have_defaults():
    assert distribution.settings(None) == {"method": "auto", "source": "auto", "port": 8417, "rate_limit_mib_s": 0.0, "connections": 4}
    assert distribution.settings({"port": "9000"})["port"] == 9000


def model(path="/srv/models/m", manifest=None, **more):
    return {"model": "m", "model_path": path, "repo_id": None, "revision": None, "present": bool(manifest), "manifest": manifest, **more}


def box(image="", models=()):
    return {"image": {"name": "vllm-node", "id": image}, "models": list(models)}


def test_nothing_travels_when_everything_is_in_place():
    boxes = {host: box("sha256:1", [model(manifest="x")]) for host in "abc"}
    assert distribution.lacking(boxes, "a") == []


def test_one_image_in_two_kinds_of_store_is_one_image():
    boxes = {"a": box("sha256:1"), "b": box("sha256:2")}
    boxes["a"]["image"]["identity"] = boxes["b"]["image"]["identity"] = "same"
    assert distribution.lacking(boxes, "a") == []


def test_what_some_lack_goes_from_those_who_have_it():
    boxes = {"a": box("sha256:1", [model()]), "b": box("", [model("/data/m", "x")]), "c": box("sha256:1", [model()]), "d": box("sha256:0")}
    image, tiny = distribution.lacking(boxes, "a")
    assert (image["holders"], image["targets"]) == (["a", "c"], ["b", "d"])
    assert (tiny["reference"], tiny["holders"], tiny["targets"]) == ("b", ["b"], ["a", "c"])
    assert tiny["places"] == {"a": "/srv/models/m", "b": "/data/m", "c": "/srv/models/m"}
    part = distribution.taking_part([image, tiny])
    assert [one["key"] for one in part["a"]] == ["image", "m"] and [one["place"] for one in part["b"]] == ["vllm-node", "/data/m"]


def test_a_model_of_the_users_own_is_never_replaced_and_a_pinned_one_is():
    mine = {"a": box(models=[model(manifest="new")]), "b": box(models=[model(manifest="old")])}
    assert distribution.lacking(mine, "a") == []
    named = {host: box(models=[model(manifest=manifest, repo_id="acme/m")]) for host, manifest in (("a", "1"), ("b", "2"))}
    assert distribution.lacking(named, "a") == [], "a directory that is called as a repository may still be somebody's own"
    pinned = {host: box(models=[model(manifest=manifest, repo_id="acme/m", revision="v2")]) for host, manifest in (("a", "new"), ("b", "old"))}
    assert distribution.lacking(pinned, "a")[0]["targets"] == ["b"]


def opened(identity, layers=("l1", "l2", "l3"), held=(), store="classic"):
    share = {"identity": identity, "layers": list(layers), "layers_held": list(held), "store": store}
    return {"port": 1, "certificate": f"cert {identity}", "addresses": ["10.0.0.9"], "shares": {"image": share}}


SHARE = {"key": "image", "kind": "image", "reference": "a", "holders": ["a"], "targets": ["b", "c"], "places": dict.fromkeys("abc", "vllm-node")}


def test_instructions_name_sources_addresses_and_whom_to_trust():
    plan = distribution.instructions([SHARE], {"a": opened("i"), "b": opened(None), "c": opened(None)}, {"a": ["192.168.100.1"], "b": ["10.0.0.2"]})
    give, take = plan["a"]["shares"][0], plan["c"]["shares"][0]
    assert give["give"] and give["sources"] == [] and not take["give"]
    assert [source["name"] for source in take["sources"]] == ["b", "a"]
    assert take["sources"][1]["addresses"] == ["192.168.100.1", "10.0.0.9"], "the fast link first"
    assert plan["a"]["trusted"] == ["cert i", "cert None", "cert None"]


def test_a_target_that_turns_out_to_have_it_becomes_a_source():
    plan = distribution.instructions([SHARE], {"a": opened("i"), "b": opened("i", store="containerd"), "c": opened(None)}, {})
    assert plan["b"]["shares"][0]["give"]
    assert {source["name"] for source in plan["c"]["shares"][0]["sources"]} == {"a", "b"}


@pytest.mark.parametrize(
    ("b", "c", "skip"),
    [
        ((["l1", "l2", "x"],), (["l1"],), 1),
        ((["l1", "l2", "x"],), (["l1", "l2"],), 2),
        ((["x", "l2"],), (["l1", "l2", "l3"],), 0),
    ],
)
def test_layers_that_all_targets_hold_need_not_be_kept(b, c, skip):
    plan = distribution.instructions([SHARE], {"a": opened("i"), "b": opened(None, held=b), "c": opened(None, held=c)}, {})
    assert plan["a"]["shares"][0]["skip_layers"] == skip


def test_what_a_store_of_another_kind_says_of_its_layers_spares_nothing():
    held = (["l1", "l2", "l3"],)
    plan = distribution.instructions([SHARE], {"a": opened("i"), "b": opened(None, held=held), "c": opened(None, held=held, store="containerd")}, {})
    assert plan["a"]["shares"][0]["skip_layers"] == 0


def test_a_holder_whose_directory_differs_is_left_alone():
    share = dict(SHARE, kind="directory", holders=["a", "b"], targets=["c"])
    plan = distribution.instructions([share], {"a": opened("i"), "b": opened("other"), "c": opened(None)}, {})
    assert "b" not in plan and [source["name"] for source in plan["c"]["shares"][0]["sources"]] == ["a"]


def test_a_reference_that_lost_its_image_is_told():
    with pytest.raises(GB10Error, match="a no longer has vllm-node"):
        distribution.instructions([SHARE], {"a": opened(None), "b": opened(None), "c": opened(None)}, {})


def hub_server(present=False, **more):
    return {"model": "acme/m", "model_path": "/srv/models/acme/m", "repo_id": "acme/m", "present": present, **more}


def test_a_model_is_downloaded_by_one_box_only():
    boxes = {host: [hub_server()] for host in "abc"}
    assert [len(distribution.downloads(boxes, host, "b")) for host in "abc"] == [0, 1, 0]
    assert [len(distribution.downloads(boxes, host, "b", everywhere=True)) for host in "abc"] == [1, 1, 1]
    boxes["c"][0]["present"] = True
    assert all(distribution.downloads(boxes, host, "b") == [] for host in "abc"), "c has it: it is sent, not downloaded"


def test_a_pinned_revision_is_looked_at_on_one_box():
    boxes = {"a": [hub_server(revision="v2")], "b": [hub_server(present=True, revision="v2")]}
    assert distribution.downloads(boxes, "a", "a") == []
    assert distribution.downloads(boxes, "b", "a") == [{"repo_id": "acme/m", "revision": "v2", "path": "/srv/models/acme/m", "load_format": "auto"}]


def test_local_models_are_never_downloaded():
    assert distribution.downloads({"a": [dict(hub_server(), repo_id=None)]}, "a", "a") == []


def test_facts_of_what_arrived_are_the_references_under_the_own_path():
    share = {"kind": "directory", "key": "m", "reference": "b", "targets": ["a"], "places": {"a": "/srv/m", "b": "/data/m"}}
    facts = {"a": {}, "b": {"/data/m": {"manifest": "x", "path": "/data/m"}}}
    assert distribution.arrived([share], "a", ["m"], facts) == {"/srv/m": {"manifest": "x", "path": "/srv/m"}}
    assert distribution.arrived([share], "a", [], facts) == {}


def test_what_a_box_wants_and_has():
    servers = [{"name": "s", "model": "m", "model_path": "/srv/m", "repo_id": None}]
    assert distribution.wanted_models(servers, {"/srv/m": {"present": True, "manifest": "x"}})[0]["manifest"] == "x"
    assert distribution.wanted_models(servers, {"/srv/m": {"present": False, "source": "hub", "manifest": "x"}})[0]["manifest"] is None


INFO = {"present": True, "manifest": "m"}
TINY = {"model": "tiny", "model_path": "/srv/models/tiny"}


def seen(name="vllm-node", image="sha256:a", models=None, **more):
    """What Ansible knows of a box after the plan phase and the roles image and model."""
    models = {"/srv/models/tiny": INFO} if models is None else models
    images = {name: {"id": image, "identity": "i-" + image[-1]}} if image else {}
    present = bool(models.get("/srv/models/tiny", {}).get("present"))
    return {
        "preflight_result": {"box": {"docker": {"images": images}}}, "preflight_servers": [TINY], "plan_models": {"models": models},
        "plan_wanted": [dict(TINY, present=present)], "model_result": {"models": models}, "ansible_host": "10.0.0.1", **more,
    }  # fmt: skip


def test_boxes_are_compared_by_what_the_roles_left_behind():
    made = {"image": {"id": "sha256:b", "vllm_version": "0.33.0"}}
    hostvars = {"a": seen(image_result=made), "b": seen(gb10_link_address="192.168.100.2"), "c": seen(image="")}
    boxes = distribution.boxes_of(["a", "b", "c"], hostvars, "a")
    assert boxes["a"]["image"] == {"name": "vllm-node", "id": "sha256:b", "identity": "", "damaged": ""}, "what it made just now has no identity yet"
    assert boxes["b"]["image"]["identity"] == "i-a" and boxes["b"]["addresses"] == ["192.168.100.2"] and boxes["a"]["addresses"] == ["10.0.0.1"]
    assert boxes["c"]["image"]["id"] == "" and boxes["c"]["models"][0]["manifest"] == "m"
    assert [share["targets"] for share in distribution.lacking(boxes, "a")] == [["b", "c"]]


def on_network(own, came="enP7s7", **addresses):
    """A box as box_info shows its network: the way in, and interfaces over RDMA devices with these addresses."""
    held = {"enP7s7": [f"10.0.0.{own}/24"], "docker0": ["172.17.0.1/16"], **{name: many for name, many in addresses.items() if many}}
    hcas = {f"roce{name[2:]}": name for name in addresses}
    found = seen()
    found["preflight_result"]["box"]["network"] = {"addresses": held, "came": came, "hcas": hcas, "infiniband": True}
    return found


def fabric(own, **more):
    return on_network(own, enp1s0f0np0=[f"192.168.177.{own}/24"], enP2p1s0f0np0=[f"192.168.178.{own}/24"], **more)


def links(hostvars):
    boxes = distribution.boxes_of(list(hostvars), hostvars, next(iter(hostvars)))
    ways = {box["way"] for box in boxes.values()}
    assert len(ways) == 1 and all(box["addresses"] == [box["link"] or "10.0.0.1"] for box in boxes.values())
    return [box["link"] for box in boxes.values()], ways.pop()


def test_a_fabric_that_all_boxes_are_in_is_taken_by_itself_and_said():
    found, way = links({"a": fabric(11), "b": fabric(12), "c": fabric(13)})
    assert found == ["192.168.177.11", "192.168.177.12", "192.168.177.13"]
    assert "192.168.177.0/24: a 192.168.177.11 (enp1s0f0np0), b 192.168.177.12 (enp1s0f0np0)" in way and "gb10_link_address" in way


def test_a_given_link_address_wins_over_the_fabric():
    found, way = links({"a": fabric(11), "b": {**fabric(12), "gb10_link_address": "b.fast"}})
    assert found == ["192.168.177.11", "b.fast"] and "a 192.168.177.11" in way and "b 192" not in way
    found, way = links({name: {**fabric(own), "gb10_link_address": f"10.0.0.{own}"} for name, own in (("a", 11), ("b", 12))})
    assert found == ["10.0.0.11", "10.0.0.12"] and way == "", "nothing was chosen"


@pytest.mark.parametrize(
    "hostvars",
    [
        {"a": fabric(11), "b": on_network(12)},  # one is not in it
        {"a": fabric(11), "b": fabric(11)},  # two pairs that were set up alike: the same addresses twice
        {"a": on_network(11, enp1s0f0np0=["192.168.177.11/24"]), "b": on_network(12, enp1s0f0np0=["192.168.187.12/24"])},  # two of a ring
        {"a": on_network(11, enp1s0f0np0=["169.254.3.4/16"]), "b": on_network(12, enp1s0f0np0=["169.254.5.6/16"])},  # of the link alone
        {"a": on_network(11, enp1s0f0np0=["fd00::1/64"]), "b": on_network(12, enp1s0f0np0=["fd00::2/64"])},
        {"a": on_network(11), "b": on_network(12)},  # in common is only the way in, which is no fabric
        {"a": on_network(11, enp1s0f0np0=[]), "b": on_network(12, enp1s0f0np0=[])},  # cabled, and not set up
        {"a": fabric(11), "b": seen()},  # not read
        {"a": fabric(11)},
    ],
)
def test_without_a_fabric_in_common_it_is_as_before(hostvars):
    assert links(hostvars) == ([""] * len(hostvars), "")


def test_the_fabric_may_be_another_interface_on_each_box():
    first, second = on_network(11, enp1s0f0np0=["10.9.0.1/30"]), on_network(12, enP2p1s0f1np1=["10.9.0.2/30"])
    found, way = links({"a": first, "b": second})
    assert found == ["10.9.0.1", "10.9.0.2"] and "b 10.9.0.2 (enP2p1s0f1np1)" in way


class Untouched(dict):
    """Variables of a box that nobody has to look at."""

    def __getitem__(self, name):
        raise AssertionError(f"looked at {name} of another box")


def test_a_box_that_has_its_models_does_not_look_at_others():
    assert distribution.known_models({"/srv/models/tiny": INFO}, "a", ["a", "b"], {"a": seen(), "b": Untouched()}) == {"/srv/models/tiny": INFO}


def test_a_model_that_another_box_has_is_known():
    gone = {"/srv/models/tiny": {"present": False}}
    known = distribution.known_models(gone, "b", ["a", "b"], {"a": seen(), "b": seen(models=gone)})
    assert known == {"/srv/models/tiny": {**INFO, "path": "/srv/models/tiny"}}
    assert distribution.known_models(gone, "b", ["b"], {"b": seen(models=gone)}) == {}


def test_the_outcome_is_what_was_there_and_what_arrived():
    image = {"image": {"id": "sha256:a", "vllm_version": "0.33.0"}}
    alone = distribution.outcome("a", "a", {"a": seen(image_result=image)})
    assert alone == {"image": image["image"], "images": {"vllm-node": image["image"]}, "models": {"/srv/models/tiny": INFO}}
    share = {"key": "tiny", "kind": "directory", "targets": ["b"], "reference": "a", "places": {"a": "/srv/models/tiny", "b": "/srv/models/tiny"}}
    got = {"shares": {"image": {"image_id": "sha256:z"}, "tiny": {}}}
    boxes = {"a": {"image": {"id": "sha256:a"}}, "b": {"image": {"id": ""}}}
    there = seen(models={}, distribution_boxes=boxes, distribution_shares=[share], __distribution_transferred=got)
    result = distribution.outcome("b", "a", {"a": seen(image_result=image), "b": there})
    assert result["image"] == {"id": "sha256:z", "vllm_version": "0.33.0"} and result["models"]["/srv/models/tiny"]["manifest"] == "m"
    quiet = seen(models={}, distribution_boxes={"b": {"image": {"id": "sha256:b"}}}, __distribution_transferred={"skipped": True})
    assert distribution.outcome("b", "a", {"a": seen(image_result=image), "b": quiet})["image"]["id"] == "sha256:b"


def test_an_owners_own_directory_is_never_replaced_though_a_revision_is_named():
    pinned = {host: box(models=[model(manifest=manifest, repo_id="acme/m", revision="v2")]) for host, manifest in (("a", "new"), ("b", "old"))}
    pinned["b"]["models"][0]["ours"] = False
    assert distribution.lacking(pinned, "a") == []
    pinned["b"]["models"][0]["ours"] = True
    assert distribution.lacking(pinned, "a")[0]["targets"] == ["b"]


def test_what_is_known_to_be_other_content_is_another_model():
    boxes = {host: box(models=[model(manifest="same", repo_id="acme/m", revision="v2")]) for host in "abc"}
    for host, weights in (("a", "w1"), ("b", "w2"), ("c", None)):
        boxes[host]["models"][0] |= {"ours": True, "content": {"small": "s", "weights": weights}}
    share = distribution.lacking(boxes, "a")[0]
    assert (share["holders"], share["targets"]) == (["a", "c"], ["b"])


def test_a_box_that_says_the_same_names_and_another_content_is_no_source():
    answers = {host: opened("i") for host in "abc"}
    for host, weights in (("a", "w1"), ("b", "w2"), ("c", "w1")):
        answers[host]["shares"]["image"]["content"] = {"small": "s", "weights": weights}
    part = distribution.instructions([{**SHARE, "kind": "directory"}], answers, {})
    assert [one["give"] for one in part["b"]["shares"]] == [False] and {one["name"] for one in part["b"]["shares"][0]["sources"]} == {"a", "c"}


def test_files_that_are_links_to_elsewhere_are_not_sent():
    boxes = {"a": box(models=[model(manifest="x")]), "b": box(models=[model()])}
    boxes["a"]["models"][0]["outside"] = "config.json"
    with pytest.raises(GB10Error, match=r"a: .* cannot be sent to b: config\.json is a link that leads out of it.*ORG/NAME.*cp -rL"):
        distribution.lacking(boxes, "a")
    boxes["c"] = box(models=[model(manifest="x")])
    share = distribution.lacking(boxes, "a")[0]
    assert (share["reference"], share["holders"], share["targets"]) == ("c", ["c"], ["b"]), "another box has the files themselves"
    del boxes["b"]
    assert distribution.lacking(boxes, "a") == [], "who has them needs nothing"


def test_where_a_model_will_lie_is_not_where_it_lies_elsewhere():
    share = {"kind": "directory", "key": "m", "reference": "b", "targets": ["a"], "places": {"a": "/srv/m", "b": "/data/m"}}
    there = {
        "manifest": "x",
        "path": "/data/m",
        "directory": "/data/m",
        "ours": False,
        "version": None,
        "outside": None,
        "content": {"small": "s", "weights": None},
    }
    told = {"m": {"path": "/srv/m", "directory": "/srv/m@1", "previous": None, "content": {"small": "s", "weights": "w"}}}
    assert distribution.arrived([share], "a", told, {"a": {}, "b": {"/data/m": there}}) == {
        "/srv/m": {"manifest": "x", "path": "/srv/m", "directory": "/srv/m@1", "ours": True, "content": {"small": "s", "weights": "w"}}
    }
    known = distribution.elsewhere({"a": [model()], "b": [model(manifest="x")]}, "a", {"b": {model()["model_path"]: there}})
    assert "directory" not in next(iter(known.values())) and "ours" not in next(iter(known.values()))


def fleet(**own):
    """Boxes, each with the images that its servers want ([settings]), and what it has under their names."""
    found = {}
    for host, (wanted, held) in own.items():
        known = seen(image="")
        known["preflight_result"]["box"]["docker"]["images"] = {name: {"id": f"sha256:{digit}", "identity": f"i-{digit}"} for name, digit in held.items()}
        known["preflight_images"] = {"wanted": wanted, "servers": {}}
        found[host] = known
    return found


BOXS, B12X, MXFP4 = {"name": "vllm-node"}, {"name": "vllm-node-x", "arguments": ["--exp-b12x"]}, {"name": "m", "arguments": ["--exp-mxfp4"]}


def test_each_image_of_a_fleet_is_one_and_is_made_once_by_a_box_that_wants_it():
    hostvars = fleet(a=([BOXS], {}), b=([BOXS, {**B12X, "name": "mine"}], {}), c=([B12X], {"vllm-node-x": "2"}))
    choice = distribution.chosen("abc", hostvars)
    first, second = choice["images"]
    assert (first["key"], first["places"], first["maker"]) == ("image", {"a": "vllm-node", "b": "vllm-node"}, "a")
    assert second["key"].startswith("image:") and (second["places"], second["maker"]) == ({"b": "mine", "c": "vllm-node-x"}, "c"), "the box that has it"
    assert (choice["source"], choice["instead"]) == ("a", "")
    assert [distribution.made_by(host, choice["images"], hostvars[host]["preflight_images"]["wanted"]) for host in "abc"] == [[BOXS], [], [B12X]]
    everywhere = distribution.chosen("abc", hostvars, "auto", False)["images"]
    assert [len(distribution.made_by(host, everywhere, hostvars[host]["preflight_images"]["wanted"])) for host in "abc"] == [1, 2, 1]


def test_a_box_that_is_asked_for_makes_what_it_wants_itself_and_downloads():
    hostvars = fleet(a=([BOXS], {}), b=([BOXS, B12X], {}), c=([MXFP4], {}))
    assert [one["maker"] for one in distribution.chosen("abc", hostvars, "b")["images"]] == ["b", "b", "c"]
    asked = distribution.chosen("abc", hostvars, "c")
    assert asked["source"] == "c" and [one["maker"] for one in asked["images"]] == ["a", "b", "c"]
    with pytest.raises(GB10Error, match="which is not among the boxes"):
        distribution.chosen("abc", hostvars, "d")


def test_one_that_a_box_has_under_two_names_is_two():
    assert len(distribution.image_groups("a", fleet(a=([BOXS, {"name": "again"}], {})))) == 2


def test_each_image_goes_to_the_boxes_that_want_it_and_no_other():
    hostvars = fleet(a=([BOXS], {}), b=([BOXS, {**B12X, "name": "mine"}], {}), c=([B12X], {}))
    choice = distribution.chosen("abc", hostvars)
    for known in hostvars.values():
        known["distribution_images"] = choice["images"]
    hostvars["a"]["image_results"] = {"vllm-node": {"image": {"id": "sha256:1", "vllm_version": "0.33.0"}}}
    hostvars["b"]["image_results"] = {"mine": {"image": {"id": "sha256:2", "name": "mine:latest", "vllm_version": "0.31.0"}}}
    boxes = distribution.boxes_of("abc", hostvars, "a")
    assert "image" not in boxes["c"] and "others" not in boxes["a"]
    one, two = distribution.lacking(boxes, "a", choice["images"])
    assert (one["key"], one["holders"], one["targets"]) == ("image", ["a"], ["b"])
    assert (two["holders"], two["targets"], two["places"]) == (["b"], ["c"], {"b": "mine", "c": "vllm-node-x"})
    hostvars["c"] |= {
        "distribution_boxes": boxes,
        "distribution_shares": [one, two],
        "__distribution_transferred": {"shares": {two["key"]: {"image_id": "sha256:9"}}},
    }
    got = distribution.outcome("c", "a", hostvars)
    assert (
        got["images"] == {"vllm-node-x": {"id": "sha256:9", "name": "vllm-node-x", "vllm_version": "0.31.0"}} and got["image"] == got["images"]["vllm-node-x"]
    )
    assert list(distribution.outcome("b", "a", hostvars)["images"]) == ["vllm-node", "mine"]


def test_a_damaged_copy_of_any_image_is_said_with_who_stands_in():
    hostvars = fleet(a=([BOXS, B12X], {"vllm-node-x": "2"}), b=([BOXS, B12X], {"vllm-node-x": "2"}))
    choice = distribution.chosen("ab", hostvars)
    for host, known in hostvars.items():
        known["distribution_images"] = choice["images"]
        known["image_results"] = {"vllm-node-x": {"image": {"id": "sha256:2"}}}
        damage = {"shares": {choice["images"][1]["key"]: {"damaged": "bad layer"}}} if host == "a" else {}
        known["distribution_copies"] = distribution.copies_now(distribution.boxes_of("ab", hostvars, "a")[host], damage)
    said = distribution.stand_ins("ab", hostvars)
    assert said == "Docker on a cannot read its copy of vllm-node-x any more (bad layer): b, which has the same image, sends it instead."
    hostvars["a"]["preflight_result"]["box"]["docker"]["images"]["vllm-node-x"]["damaged"] = "bad layer"
    assert distribution.chosen("ab", hostvars)["instead"] == said and distribution.chosen("ab", hostvars)["images"][1]["maker"] == "b"

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What goes when the collection leaves a host, and what stays and why."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._removal import items

NOTHING = {
    "units": [], "containers": [], "chains": [], "images": [], "image_names": {}, "image_received": {}, "models": [], "models_dir": "/srv/models",
    "settings": [], "router": [], "files": {}, "foreign": [], "packages": [],
}  # fmt: skip
BUILT = {"Id": "sha256:1", "RepoTags": ["vllm-node:latest", "vllm-node:previous-20261101090000"], "Config": {"Labels": {"gb10.vllm.inputs": "x"}}}
PULLED = {"Id": "sha256:2", "RepoTags": ["ghcr.io/acme/vllm:1"], "Config": {"Labels": None}}
THEIRS = {"Id": "sha256:3", "RepoTags": ["vllm-node:latest"], "Config": {}}


def container(name, image="sha256:9", **labels):
    return {"Name": f"/{name}", "Image": image, "Config": {"Labels": {key.replace("_", "."): value for key, value in labels.items()} or None}}


OURS = container("gb10-vllm-tiny", "sha256:1", gb10_vllm_server="tiny")


def goes(models=False, **found):
    return [(one.kind, one.name) for one in items.removal(NOTHING | found, models).goes]


def stays(models=False, **found):
    return items.removal(NOTHING | found, models).stays


def test_nothing_is_nothing():
    found = items.removal(NOTHING, True)
    assert found == items.Removal([], []) and items.text(found, False) == "there is nothing of gb10.vllm here" and items.parts(found.goes) == []


def test_watches_stop_before_what_they_watch_and_records_go_last():
    found = {
        "units": ["gb10-vllm-tiny.service", "gb10-vllm-watch@tiny.timer", "gb10-vllm-agent.socket"],
        "containers": [OURS], "images": [BUILT], "router": ["haproxy"],
        "files": {"router": ["/etc/haproxy/haproxy.cfg"], "server": ["/etc/systemd/system/gb10-vllm-tiny.service", "/var/lib/gb10-vllm/servers"]},
    }  # fmt: skip
    kinds = goes(**found)
    assert kinds[:4] == [("unit", one) for one in ("haproxy.service", "gb10-vllm-watch@tiny.timer", "gb10-vllm-agent.socket", "gb10-vllm-tiny.service")]
    assert kinds[4] == ("container", "gb10-vllm-tiny") and kinds[-1] == ("file", "/var/lib/gb10-vllm/servers")
    assert items.parts(items.removal(NOTHING | found, False).goes) == ["router", "server"]


@pytest.mark.parametrize("name", ["gb10-rehearsal-tiny-0a1b", "gb10-benchmark-tiny", "gb10-fabric-all-gather"])
def test_containers_of_one_task_that_were_left(name):
    assert goes(containers=[container(name)]) == [("container", name)]


@pytest.mark.parametrize("name", ["vllm-devstral", "gb10-vllm-tiny", "open-webui"])
def test_a_container_of_somebodys_stays_whatever_it_is_called(name):
    assert goes(containers=[container(name)]) == []


def test_an_image_that_was_built_here_goes_with_its_earlier_names():
    assert goes(images=[BUILT]) == [("image", "vllm-node:latest"), ("image", "vllm-node:previous-20261101090000")]
    assert goes(images=[BUILT | {"RepoTags": []}]) == [("image", "sha256:1")]


def test_an_image_that_somebody_uses_stays():
    assert goes(images=[BUILT], containers=[container("other", "sha256:1")]) == []
    assert stays(images=[BUILT], containers=[container("other", "sha256:1")]) == ["image vllm-node:latest: the container other uses it"]
    assert len(goes(images=[BUILT], containers=[OURS])) == 3


@pytest.mark.parametrize(
    ("known", "gone"),
    [
        ({"image_names": {"ghcr.io/acme/vllm:1": {"image_id": "sha256:2"}}}, True),
        ({"image_names": {"ghcr.io/acme/vllm:1": {"image_id": "sha256:2", "found": True}}}, False),
        ({"image_names": {"ghcr.io/acme/vllm:1": {"image_id": "sha256:8"}}}, False),
        ({"image_received": {"sha256:2": "ghcr.io/acme/vllm:1"}}, True),
        ({}, False),
    ],
)
def test_an_image_of_others_goes_only_where_we_brought_it(known, gone):
    assert goes(images=[PULLED], **known) == ([("image", "ghcr.io/acme/vllm:1")] if gone else [])


def test_an_image_that_was_there_already_stays_and_so_does_a_name_of_somebodys():
    assert goes(images=[THEIRS]) == []
    brought = {"image_names": {"ghcr.io/acme/vllm:1": {"image_id": "sha256:2"}}, "images": [PULLED | {"RepoTags": ["ghcr.io/acme/vllm:1", "mine:1"]}]}
    assert goes(**brought) == [("image", "ghcr.io/acme/vllm:1")] and stays(**brought) == ["image mine:1: it was given this name by somebody else"]


def test_models_stay_unless_told_and_those_in_use_stay_anyhow():
    models = [{"path": "/srv/models/a@1", "link": False, "used_by": ""}, {"path": "/srv/models/b@1", "link": False, "used_by": "webui"},
              {"path": "/srv/models/a", "link": True, "used_by": ""}]  # fmt: skip
    assert items.removal(NOTHING | {"models": models}, False).goes == []
    assert stays_of(models, False) == ["2 model directories below /srv/models (-e gb10_remove_models=true takes those too)"]
    assert [one.name for one in items.removal(NOTHING | {"models": models}, True).goes] == ["/srv/models/a@1", "/srv/models/a"]
    assert stays_of(models, True) == ["model /srv/models/b@1: the container webui uses it"]


def stays_of(models, wanted):
    return items.removal(NOTHING | {"models": models}, wanted).stays


def test_what_is_shown_names_each_thing_once():
    unit, link = "/etc/systemd/system/gb10-vllm-tiny.service", "/etc/systemd/system/multi-user.target.wants/gb10-vllm-tiny.service"
    watch = ["/etc/systemd/system/gb10-vllm-watch@.timer", "/etc/systemd/system/timers.target.wants/gb10-vllm-watch@tiny.timer"]
    found = items.removal(NOTHING | {"files": {"server": [unit, link, *watch]}, "foreign": ["/var/lib/gb10-vllm/notes"]}, False)
    assert len(found.goes) == 4
    assert items.text(found, True).splitlines() == [
        "removed:",
        f"  file       {unit}",
        f"  file       {watch[0]}",
        "  stays      /var/lib/gb10-vllm/notes: this collection did not write it",
    ]


def test_an_item_is_a_servers_and_needs_no_reason_unless_said():
    assert tuple(items.Item("file", "/x")) == ("file", "/x", "server", "")


def test_everything_goes_in_its_order_with_its_part_and_all_that_stays_is_said():
    pulled = PULLED | {"RepoTags": ["ghcr.io/acme/vllm:1", "mine:1"]}
    found = {
        "units": ["b.service", "a.service", "c.socket", "d.timer", "a.timer"], "containers": [OURS, container("other", "sha256:1")], "chains": ["GB10-80"],
        "images": [BUILT, pulled, THEIRS | {"Id": "sha256:4"}], "image_received": {"sha256:2": "ghcr.io/acme/vllm:1"},
        "models": [{"path": "/m/a", "link": False, "used_by": ""}, {"path": "/m/b", "link": False, "used_by": "webui"}],
        "settings": ["gb10_host.held"], "router": ["haproxy", "keepalived"], "files": {"router": ["/r"], "server": ["/s", "/t"]},
        "foreign": ["/f"], "packages": ["p", "q"],
    }  # fmt: skip
    goes, stays = items.removal(NOTHING | found, True)
    assert [tuple(one)[:3] for one in goes] == [
        ("unit", "haproxy.service", "router"), ("unit", "keepalived.service", "router"),
        *(("unit", name, "server") for name in ("a.timer", "d.timer", "c.socket", "a.service", "b.service")),
        ("container", "gb10-vllm-tiny", "server"), ("rules", "GB10-80", "server"), ("image", "ghcr.io/acme/vllm:1", "server"), ("model", "/m/a", "model"),
        ("setting", "gb10_host.held", "host"), ("file", "/r", "router"), ("file", "/s", "server"), ("file", "/t", "server"),
    ]  # fmt: skip
    assert stays == [
        "image vllm-node:latest: the container other uses it",
        "image mine:1: it was given this name by somebody else",
        "model /m/b: the container webui uses it",
        "/f: this collection did not write it",
        "packages that this collection may have installed: p, q (apt-get purge takes them)",
    ]
    assert items.removal(NOTHING | found, False).stays[2] == "2 model directories below /srv/models (-e gb10_remove_models=true takes those too)"


@pytest.mark.parametrize(
    ("one", "ours"),
    [
        ({"Name": "/x", "Config": {"Labels": {"gb10.vllm.server": ""}}}, True),
        ({"Name": "/x", "Config": {"Labels": {"gb10.vllm.benchmark": ""}}}, True),
        ({"Name": "/x", "Config": {"Labels": {"gb10.vllm": "tiny"}}}, False),
        ({"Name": "/gb10-rehearsal-a"}, True),
        ({"Name": "/x-gb10-rehearsal-a", "Config": None}, False),
        ({"Config": {"Labels": None}}, False),
        ({}, False),
    ],
)
def test_a_container_is_ours_by_its_label_or_by_how_the_name_of_one_task_begins(one, ours):
    assert items.is_ours(one) is ours


def test_a_container_without_a_name_has_none():
    assert items._name({}) == "" and items._name({"Name": "/a/b"}) == "a/b"


def test_an_image_without_a_name_that_somebody_uses_is_named_by_its_id_and_all_who_use_it():
    users = [container("b", "sha256:1"), container("a", "sha256:1"), container("c", "sha256:2"), OURS]
    for tags in (None, [], ["<none>:<none>"]):
        image = BUILT | {"RepoTags": tags}
        assert (goes(images=[image], containers=users[:3]), stays(images=[image], containers=users)) == ([], ["image sha256:1: the container a, b uses it"])
        assert goes(images=[image]) == [("image", "sha256:1")]
    assert goes(images=[BUILT | {"RepoTags": ["<none>:<none>", "a:1"]}]) == [("image", "a:1")]


def test_one_image_that_stays_or_is_nobodys_does_not_end_the_look():
    second = {"Id": "sha256:5", "RepoTags": ["later:1"], "Config": {"Labels": {"gb10.vllm.inputs": "x"}}}
    assert goes(images=[THEIRS, BUILT, second], containers=[container("other", "sha256:1")]) == [("image", "later:1")]
    third = [second, BUILT | {"RepoTags": ["more:1"]}]
    assert goes(images=third) == [("image", "later:1"), ("image", "more:1")]


def test_an_earlier_version_of_a_name_of_ours_goes_and_an_entry_without_an_image_means_none():
    old = {"Id": "sha256:6", "RepoTags": ["acme/vllm:1-previous-20261101090000", "acme/vllm:2"], "Config": {"Labels": {}}}
    known = {"acme/vllm:1": {"image_id": "sha256:6"}, "acme/none:1": {}}
    assert goes(images=[old], image_names=known) == [("image", "acme/vllm:1-previous-20261101090000")]
    assert stays(images=[old], image_names=known) == ["image acme/vllm:2: it was given this name by somebody else"]
    assert goes(images=[PULLED | {"RepoTags": []}], image_received={"sha256:2": "ghcr.io/acme/vllm"}) == [("image", "sha256:2")]
    assert goes(images=[PULLED | {"RepoTags": ["a:latest"]}], image_received={"sha256:2": "a"}) == [("image", "a:latest")], "under its whole name"


@pytest.mark.parametrize(("directories", "links", "said"), [(1, 3, "1 model directory below"), (2, 0, "2 model directories below"), (0, 1, None)])
def test_models_that_stay_are_counted_without_their_links(directories, links, said):
    models = [{"path": f"/m/{number}", "link": number >= directories, "used_by": "x"} for number in range(directories + links)]
    told = stays_of(models, False)
    assert told == ([f"{said} /srv/models (-e gb10_remove_models=true takes those too)"] if said else [])


def test_the_kind_stands_in_a_column_and_a_link_is_shown_when_its_unit_stays():
    goes = [
        items.Item("container", "c"),
        items.Item("rules", "/x/b.service"),
        items.Item("file", "/x/a@.service"),
        items.Item("file", "/x/multi.wants/a@one.service"),
        items.Item("file", "/x/multi.wants/b.service"),
    ]
    assert items.text(items.Removal(goes, ["y"]), False).splitlines() == [
        "to be removed:", "  container  c", "  rules      /x/b.service", "  file       /x/a@.service", "  file       /x/multi.wants/b.service",
        "  stays      y",
    ]  # fmt: skip
    assert items.text(items.Removal([], ["y"]), True) == "there is nothing of gb10.vllm here\n  stays      y"
    assert items.parts([items.Item("file", "x", "router"), items.Item("file", "y"), items.Item("file", "z", "router")]) == ["router", "server"]


def test_units_of_a_server_whose_name_has_a_dot_go_in_their_order_too():
    units = ["gb10-vllm-llama-3.1.service", "gb10-vllm-watch@llama-3.1.timer"]
    assert [name for kind, name in goes(units=units) if kind == "unit"] == units[::-1]


def test_an_image_of_ours_that_has_only_a_name_of_somebodys_stays():
    received = {THEIRS["Id"]: "ghcr.io/acme/vllm:1"}
    assert goes(images=[THEIRS], image_received=received) == []
    assert stays(images=[THEIRS], image_received=received) == ["image vllm-node:latest: it was given this name by somebody else"]

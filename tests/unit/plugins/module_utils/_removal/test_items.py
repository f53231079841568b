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

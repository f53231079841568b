# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images of servers beside the box's, in whole runs over imitated boxes: two on one box, one that changes, one on each of two boxes."""

from __future__ import annotations

import json

from imitated_fleet import ONE, TWO, flat, needs_root
from imitation import SERVER

pytest_plugins = ["imitated_fleet"]
pytestmark = needs_root
OTHER = "vllm-other"
SECOND = dict(SERVER, name="second", port=8001)


def runs(boxes, box, server="tiny"):
    """Name and first digit of the image that a server runs with."""
    deployment = boxes.record(box, "deployment", server)
    return deployment["image_name"].removesuffix(":latest"), deployment["container"]["image"].removeprefix("sha256:")[0]


def own(server, **settings):
    return dict(server, image={"name": OTHER, **settings})


def test_two_servers_of_one_box_have_an_image_each_and_one_that_changes_replaces_its_server_only(boxes):
    before = boxes.record(ONE, "deployment")
    boxes.wish(gb10_servers=[SERVER, own(SECOND)])
    boxes.play("site", "-l", ONE)
    assert boxes.answers(ONE) and boxes.answers(ONE, "second", 8001)
    assert (runs(boxes, ONE), runs(boxes, ONE, "second")) == (("vllm-node", "1"), (OTHER, "2"))
    assert boxes.locked(ONE) and boxes.locked(ONE, "second")
    boxes.asked(ONE)
    assert "changed=0" in boxes.play("site", "-l", ONE) and len(boxes.asked(ONE)) <= 7
    assert "changed=0" in boxes.play("site", "-l", ONE, "-e", "gb10_locked=true")
    # The first one was there before, and is as it was but for the room it leaves.
    assert boxes.record(ONE, "deployment")["container"]["image"] == before["container"]["image"]
    kept = boxes.record(ONE, "deployment"), boxes.ask(ONE, "docker inspect gb10-vllm-tiny")
    boxes.wish(gb10_servers=[SERVER, SECOND])
    rows = json.loads((boxes.folder / "gb10-status.json").read_text())["boxes"][ONE]["servers"] if boxes.play("status", "-l", ONE) else []
    assert "the image changed" in " ".join(rows[1]["drift"]) and rows[0]["drift"] == []
    boxes.play("site", "-l", ONE)
    assert runs(boxes, ONE, "second") == ("vllm-node", "1") and boxes.answers(ONE, "second", 8001)
    assert (boxes.record(ONE, "deployment"), boxes.ask(ONE, "docker inspect gb10-vllm-tiny")) == kept


def test_what_the_box_has_already_is_no_second_image_and_no_new_container(boxes):
    before = boxes.containers(ONE)
    boxes.wish(gb10_servers=[dict(SERVER, image={"source": "existing", "name": "vllm-node:latest"})])
    assert "changed=0" in boxes.play("site", "-l", ONE) and boxes.containers(ONE) == before


def test_two_boxes_have_an_image_each(boxes):
    boxes.wish(gb10_servers=None)
    hosts = boxes.inventory / "host_vars"
    hosts.mkdir(exist_ok=True)
    for box, server in ((ONE, SERVER), (TWO, own(SERVER))):
        (hosts / f"{box}.yml").write_text(json.dumps({"gb10_servers": [server]}))
    boxes.play("site")
    assert [runs(boxes, box) for box in boxes.names] == [("vllm-node", "1"), (OTHER, "2")]
    assert all(boxes.answers(box) and boxes.locked(box) for box in boxes.names)
    assert boxes.play("site").count("changed=0") == 2


def test_each_servers_plan_is_made_for_the_vllm_of_its_image(boxes):
    boxes.wish(gb10_servers=[SERVER, own(SECOND, vllm_version="0.12.0")])
    assert "spark-01: second: vLLM 0.12.0 is older than" in flat(boxes.play("plan", "-l", ONE, code=2)), "the other one has a newer vLLM"
    boxes.wish(gb10_servers=[SERVER, own(dict(SECOND, address="127.0.0.1"), vllm_version="0.12.0")])
    boxes.play("plan", "-l", ONE)
    plan = json.loads((boxes.folder / "gb10-plan.json").read_text())
    servers = next(iter(plan.get("boxes", plan).values()))["servers"]
    assert "engine" not in servers[0] and servers[1]["engine"]["vllm_version"] == "0.12.0"


def test_what_cannot_be_is_refused_before_anything_is_changed(boxes):
    before = boxes.containers(ONE)
    for server, said in (
        (dict(SECOND, image=OTHER), "gb10_servers (second): image: write a mapping with keys of gb10_image"),
        (own(SECOND, arguments=["--exp-b12x"]), "says arguments, which an image has that is built here, and its source is existing"),
        (dict(SECOND, image={"name": "vllm-node", "source": "prebuilt"}), "are both called vllm-node and differ in source"),
    ):
        boxes.wish(gb10_servers=[SERVER, server])
        told = flat(boxes.play("site", "-l", ONE, code=2))
        assert said in told and "Nothing was changed" in told
    boxes.wish(gb10_servers=[SERVER, own(SECOND)])
    told = flat(boxes.play("bundle", "-l", ONE, "-e", f"gb10_bundle={boxes.folder}/bundle", code=2))
    assert "A bundle holds one image, gb10_image, and server second of spark-01 has an image of its own" in told and "Nothing was written" in told
    assert boxes.containers(ONE) == before and boxes.held() == []

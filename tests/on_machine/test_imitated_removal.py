# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook remove over imitated boxes: it shows what goes, takes all of that away and nothing else, and finds nothing the second time."""

from __future__ import annotations

import json
import re

import pytest
import real_router
import routed_fleet
from imitated_fleet import KEY, ONE, TWO, flat, needs_root
from imitation import SERVER, STATE

pytest_plugins = ["imitated_fleet"]
pytestmark = needs_root
# What a box has of ours and what a run of Ansible changes anyhow.
LISTED = (
    "find /etc /usr/local /var/lib /run /srv -xdev \\( -path /var/lib/docker -o -path /var/lib/containerd \\) -prune -o -print 2>/dev/null"
    " | grep -i gb10 | grep -v '^/srv/models'; true"
)


def test_remove_shows_what_goes_takes_it_away_and_nothing_else_and_finds_nothing_again(boxes):
    boxes.ask(ONE, f"echo mine > {STATE}/notes; echo mine > /etc/gb10-vllm/tiny/mine.pem")
    boxes.wish(gb10_api_key=KEY)
    before = boxes.ask(ONE, LISTED)
    shown = boxes.play("remove", "-l", ONE)
    assert "Nothing was changed. Run this again with -e gb10_remove=true" in flat(shown) and "changed=0" in shown
    checked = boxes.play("remove", "-l", ONE, "-e", "gb10_remove=true", "--check")
    assert (boxes.ask(ONE, LISTED), boxes.answers(ONE)) == (before, True)
    for text in (shown, checked):
        named = set(re.findall(r"^ +(?:unit|container|file) +(\S+)", text, re.M))
        assert {"gb10-vllm-tiny.service", "gb10-vllm-watch@tiny.timer", "gb10-vllm-tiny", "/etc/gb10-vllm/tiny/key.env", f"{STATE}/servers"} <= named
        assert f"stays {STATE}/notes: this collection did not write it" in flat(text) and "/etc/gb10-vllm/tiny/mine.pem" in text
    done = boxes.play("remove", "-l", ONE, "-e", "gb10_remove=yes")
    assert re.search(rf"{ONE} +: .*changed=[1-9]", done)
    assert boxes.ask(ONE, LISTED).split() == ["/etc/gb10-vllm", "/etc/gb10-vllm/tiny", "/etc/gb10-vllm/tiny/mine.pem", STATE, f"{STATE}/notes"]
    assert boxes.ask(ONE, "docker ps --all --format '{{.Names}}'").strip() == ""
    assert "vllm-node:latest" in boxes.ask(ONE, "docker images --format {{.Repository}}")
    assert {"tiny", "other"} <= set(boxes.ask(ONE, "ls /srv/models").split()) and boxes.held() == []
    again = boxes.play("remove", "-l", ONE, "-e", "gb10_remove=true")
    assert "changed=0" in again and "there is nothing of gb10.vllm here" in flat(again)
    assert boxes.serves(TWO) == ("tiny", True)
    assert "1 box: 1 ok" in boxes.play("site", "-l", ONE) and boxes.answers(ONE)


def test_a_box_that_somebody_changes_is_left_alone(boxes):
    boxes.kill_at("site", "Prove that it answers", "-l", ONE)
    boxes.ask(ONE, f'sed -i \'s/"machine": "[^"]*"/"machine": "elsewhere"/\' {STATE}/run.lock')
    assert f"{ONE} is being changed by" in flat(boxes.play("remove", "-l", ONE, "-e", "gb10_remove=true", code=2))
    assert boxes.answers(ONE)


def test_a_removal_that_is_killed_is_run_again_and_takes_all(boxes):
    boxes.wish(gb10_servers=[SERVER, dict(SERVER, name="second", port=8001)])
    boxes.play("site", "-l", ONE)
    record = json.dumps({"repo_id": "acme/tiny", "revision": "0" * 40, "files": {}})
    ours = "/srv/models/acme/tiny@0123456789abcd"
    boxes.ask(ONE, f"mkdir -p {ours}; echo '{record}' > {ours}/.gb10-vllm-record; ln -s tiny@0123456789abcd /srv/models/acme/tiny")
    # As if it had been killed among the files: units and containers are gone, records are there.
    boxes.ask(ONE, "systemctl stop gb10-vllm-watch@tiny.timer; systemctl stop gb10-vllm-tiny.service; rm /etc/systemd/system/gb10-vllm-tiny.service")
    assert "stays 1 model directory below /srv/models" in flat(boxes.play("remove", "-l", ONE))
    boxes.play("remove", "-l", ONE, "-e", "gb10_remove=true", "-e", "gb10_remove_models=true")
    assert boxes.ask(ONE, LISTED).split() == [] and boxes.ask(ONE, "docker ps -aq") == ""
    assert set(boxes.ask(ONE, "ls /srv/models").split()) == {"tiny", "other"}, "what this collection brought is gone, what its owner put there is not"


@pytest.mark.skipif(not real_router.installed(), reason="there is no haproxy on this machine (tests/setup --router brings it)")
def test_a_box_that_a_router_uses_stays_until_it_is_drained_and_a_router_goes_with_all_of_it(tmp_path):
    with routed_fleet.fleet(tmp_path) as up:
        refused = flat(up.play("remove", "-l", TWO, "-e", "gb10_remove=true", code=2))
        assert f"{routed_fleet.ROUTER} still sends requests to {TWO}: tiny (UP, 0 at work). Run the playbook stop" in refused
        assert up.answers(TWO) and up.held() == [] and routed_fleet.servers(up)[TWO] == "UP"
        up.play("stop", "-l", TWO)
        up.play("remove", "-l", TWO, "-e", "gb10_remove=true")
        assert up.ask(TWO, LISTED).split() == [] and up.serves(ONE) == ("tiny", True)
        up.play("remove", "-e", "gb10_remove=true", "-e", "gb10_remove_routed=true")
        assert up.ask(ONE, LISTED).split() == [] and up.ask(routed_fleet.ROUTER, LISTED).split() == []
        assert not up.ask(routed_fleet.ROUTER, "ls /etc/haproxy/haproxy.cfg", check=False)
        assert up.play("remove", "-e", "gb10_remove=true").count("changed=0") == 3

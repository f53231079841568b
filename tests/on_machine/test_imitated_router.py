# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole runs over imitated boxes behind a router with the real HAProxy, under clients that stream without a pause: none of their requests may fail."""

from __future__ import annotations

import json
import time

import pytest
import real_router
import routed_fleet
from imitated_fleet import ONE, TWO, flat, needs_root
from imitation import SERVER
from routed_fleet import BOX_KEY, KEY, ROUTER, kept_drained, load, servers, whole

pytestmark = [needs_root, pytest.mark.skipif(not real_router.installed(), reason="there is no haproxy on this machine (tests/setup --router brings it)")]
USED = {ONE: "UP", TWO: "UP"}


@pytest.fixture(scope="module")
def boxes(tmp_path_factory):
    with routed_fleet.fleet(tmp_path_factory.mktemp("routed"), gb10_rollout=[1]) as up:
        yield up


def test_a_rollout_over_all_boxes_costs_no_request(boxes):
    assert servers(boxes) == USED
    before = boxes.containers(ONE, TWO)
    boxes.wish(gb10_servers=[dict(SERVER, max_model_len=1024)])
    with load(boxes) as seen:
        boxes.play("site")
    assert whole(seen) and not set(before) & set(boxes.containers(ONE, TWO)), "both were replaced"
    assert (servers(boxes), boxes.held()) == (USED, [])


def test_what_the_inventory_says_of_a_router_is_what_haproxy_has(boxes):
    said = {
        "gb10_router_address": "10.77.0.1", "gb10_router_port": 8443, "gb10_router_body_kib": 512, "gb10_router_timeout_s": 700, "gb10_router_maxconn": 7,
        "gb10_router_queue_timeout_s": 77, "gb10_router_connections": 4000, "gb10_router_affinity": "X-Session-Id", "gb10_router_metrics_port": 9101,
        "gb10_router_metrics_address": "127.0.0.2", "gb10_agent_port": 8099,
        "gb10_router_tls": {"certificate": "/srv/own.pem", "key": "/srv/own.key"},
    }  # fmt: skip
    boxes.ask(ROUTER, "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=own.example -days 60 -keyout /srv/own.key -out /srv/own.pem")
    with load(boxes) as seen:
        boxes.play("router", "-e", json.dumps(said))
    config = boxes.ask(ROUTER, "cat /etc/haproxy/haproxy.cfg")
    assert whole(seen), "a reload costs nothing"
    for line in ("bind 10.77.0.1:8443 ", f"tune.bufsize {512 * 1024 + 65536}", "timeout server 700s", " maxconn 7 ", "timeout queue 77s", "maxconn 4000",
                 "balance hash req.fhdr(X-Session-Id)", "bind 127.0.0.2:9101", "agent-port 8099"):  # fmt: skip
        assert line in config, line
    assert "CN=own.example" in boxes.ask(ROUTER, "openssl x509 -noout -subject -in /etc/haproxy/gb10-router.pem").replace(" ", "")
    alone = flat(boxes.play("router", "-e", json.dumps({"gb10_router_floating": {"address": "10.77.0.100/24"}}), code=2))
    assert "gb10_router_floating is for two routers or more, and gb10_routers names only one" in alone
    assert not [key for key in (KEY, BOX_KEY) if key in config + boxes.said]
    nowhere = flat(boxes.play("router", "-e", json.dumps({"gb10_routers": "elsewhere"}), code=2))
    assert "gb10_routers names elsewhere, which is neither a host nor a group of this inventory" in nowhere
    refused = flat(boxes.play("router", "-e", json.dumps({"gb10_router_keys": {}}), code=2))
    assert "gb10_router_keys names no key" in refused and boxes.held() == []
    boxes.play("router")


def test_a_server_that_speaks_tls_is_asked_by_the_name_and_the_authorities_that_the_inventory_says(boxes):
    record = f"/var/lib/gb10-vllm/servers/{SERVER['name']}/deployment.json"
    boxes.ask(ROUTER, "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=fleet -days 60 -keyout /srv/fleet.key -out /srv/fleet.pem")
    boxes.ask(ONE, f"cp -p {record} /srv/record && sed -i 's,http://,https://,' {record}")
    try:
        boxes.play("router", "-e", json.dumps({"gb10_router_ca": "/srv/fleet.pem", "gb10_router_tls_name": "boxes.example"}))
        asked = [line for line in boxes.ask(ROUTER, "cat /etc/haproxy/haproxy.cfg").splitlines() if line.startswith("    server ")]
        verified = " ssl verify required ca-file /srv/fleet.pem verifyhost boxes.example sni str(boxes.example)"
        assert {line.split()[1]: line.endswith(verified) for line in asked} == {ONE: True, TWO: False}
    finally:
        boxes.ask(ONE, f"mv /srv/record {record}")
    boxes.play("router")
    assert "ssl verify" not in boxes.ask(ROUTER, "cat /etc/haproxy/haproxy.cfg")


def test_a_reboot_of_all_boxes_costs_no_request_and_one_that_stays_away_ends_it(boxes):
    refused = flat(boxes.play("maintain", "-e", "gb10_maintain=rebot", code=2))
    assert "gb10_maintain: 'rebot' is none of packages, command, reboot. Nothing was changed." in refused and boxes.held() == []
    ids = [boxes.ask(box, "cat /proc/sys/kernel/random/boot_id") for box in (ONE, TWO)]
    with load(boxes) as seen:
        boxes.play("maintain", "-e", "gb10_maintain=command,reboot", "-e", json.dumps({"gb10_maintain_command": "touch /srv/was-here"}))
    assert whole(seen) and (servers(boxes), boxes.held()) == (USED, [])
    assert not set(ids) & {boxes.ask(box, "cat /proc/sys/kernel/random/boot_id") for box in (ONE, TWO)}
    assert boxes.ask(TWO, "ls /srv/was-here")
    (boxes.folder / ONE / "stays-off").touch()
    with load(boxes) as seen:
        said = flat(boxes.play("maintain", "-e", "gb10_maintain=reboot", "-e", "gb10_maintain_timeout_s=5", code=2))
    assert whole(seen) and f"{ONE}: Reboot, and wait until the box is back: " in said and f"tiny gives no answer and stays drained at {ROUTER}" in said
    assert servers(boxes)[ONE].startswith(("DRAIN", "MAINT", "DOWN")) and servers(boxes)[TWO] == "UP"
    # Found again by the next run that proves it.
    (boxes.folder / ONE / "stays-off").unlink()
    (boxes.folder / ONE / "off").unlink()
    boxes.ask(ONE, "rm /var/lib/gb10-vllm/run.lock")
    boxes.play("site")
    assert (servers(boxes), boxes.held()) == (USED, [])


def test_without_a_router_that_can_be_reached_nothing_is_touched(boxes):
    before = boxes.containers(ONE, TWO)
    (boxes.folder / ROUTER / "off").touch()
    said = flat(boxes.play("rollback", code=2))
    assert f"{ROUTER} cannot be reached, so nobody can tell it to spare this batch" in said
    assert (boxes.containers(ONE, TWO), boxes.held()) == (before, [])
    assert f"Router {ROUTER}: it cannot be reached" in boxes.play("status")
    (boxes.folder / ROUTER / "off").unlink()


def test_a_router_that_is_lost_before_it_learns_of_a_batch_ends_the_run(boxes):
    boxes.wish(gb10_servers=[dict(SERVER, max_model_len=1536)])
    (boxes.folder / ROUTER / "vanish").write_text("router_drain")
    said = flat(boxes.play("site", code=2))
    assert f"{ROUTER} cannot be reached, so it does not learn what became of the boxes" in said and boxes.held() == []
    (boxes.folder / ROUTER / "off").unlink()
    boxes.play("site")
    assert (servers(boxes), boxes.held()) == (USED, [])


def test_the_last_server_of_a_model_is_drained_when_asked_to(boxes):
    said = flat(boxes.play("stop", code=2))
    assert "is the last one that the router has for its model" in said and boxes.answers(ONE) and boxes.held() == []
    boxes.play("stop", "-l", ONE, "-e", "gb10_drain_last=true", "-e", "gb10_drain_timeout_s=30", "-e", "gb10_router_required=false")
    assert kept_drained(boxes) == [ONE] and not boxes.answers(ONE)


@pytest.fixture
def two_routers(tmp_path):
    with routed_fleet.fleet(tmp_path, routers=(ROUTER, "router-2"), gb10_rollout=[1]) as up:
        yield up


def test_both_routers_are_drained_and_a_stop_that_has_to_give_up_gives_back_what_runs(two_routers):
    boxes = two_routers
    both = (ROUTER, "router-2")
    assert [servers(boxes, router) for router in both] == [USED, USED]
    before = boxes.containers(ONE, TWO)
    boxes.wish(gb10_servers=[dict(SERVER, max_model_len=1024)])
    with load(boxes, router="router-2") as seen:
        boxes.play("site")
    assert whole(seen) and not set(before) & set(boxes.containers(ONE, TWO))
    assert [servers(boxes, router) for router in both] == [USED, USED]
    # Long answers, which come through the second router: the first has nothing to wait for.
    with load(boxes, clients=2, tokens=600, router="router-2") as seen:
        began = time.monotonic()
        said = flat(boxes.play("stop", "-l", ONE, "-e", "gb10_drain_timeout_s=4", code=2))
        assert time.monotonic() - began < 120
    assert "are left in the router at the end of gb10_drain_timeout_s (tiny/spark-01 1)" in said and seen["failed"] == []
    assert boxes.answers(ONE) and boxes.held() == [] and [servers(boxes, router) for router in both] == [USED, USED]
    # Whoever would rather go on than wait cuts them off: those and no others.
    with load(boxes, clients=2, tokens=600, router="router-2") as seen:
        boxes.play("stop", "-l", ONE, "-e", "gb10_drain_timeout_s=4", "-e", "gb10_drain_go_on=true")
    assert len(seen["failed"]) <= 2 and not boxes.answers(ONE)
    assert [kept_drained(boxes, router) for router in both] == [[ONE], [ONE]]

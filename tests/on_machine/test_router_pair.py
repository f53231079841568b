# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two routers with one address, with the real HAProxy and keepalived: who has it, when it moves, and that a drain holds at both."""

from __future__ import annotations

import os
import signal

import pytest
import real_router
import router_pair
from ansible_collections.gb10.vllm.plugins.module_utils._router import drain, haproxy
from router_pair import until

CAN = real_router.installed() and router_pair.keepalived() and os.geteuid() == 0
pytestmark = pytest.mark.skipif(not CAN, reason="needs root, HAProxy and keepalived (tests/setup --router)")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    found = router_pair.Pair(tmp_path_factory.mktemp("pair"))
    yield found
    found.close()


def moves(pair, to, within_s):
    """The address goes there and whoever asks at it is answered again."""
    took = until(lambda: pair.owner() == to, within_s, pair.said)
    return took + until(pair.asked, 10, pair.said)


def test_one_of_them_has_the_address_and_answers_there(pair):
    until(lambda: pair.owner() != "", 30, pair.said)
    until(pair.asked, 10, pair.said)
    assert pair.owner() == "r1", "the first of the inventory, where both begin at once"


def test_a_haproxy_that_hangs_loses_it_and_does_not_take_it_back(pair):
    """Its unit is active and its process runs; `systemctl is-active` would have kept the address there."""
    first = pair.hosts["r1"]
    first.tell_haproxy(signal.SIGSTOP)
    moves(pair, "r2", 30)
    first.tell_haproxy(signal.SIGCONT)
    until(lambda: first.router.ask_here("/health") == 200, 20, pair.said)
    assert pair.owner() == "r2", "who has it keeps it"


def test_a_haproxy_that_is_gone_loses_it(pair):
    second = pair.hosts["r2"]
    second.router.close()
    moves(pair, "r1", 20)
    second.router.start()
    until(lambda: second.router.ask_here("/health") == 200, 20, pair.said)


def test_a_drain_holds_at_both_over_a_failover(pair, tmp_path):
    owner, names = {"run": "r", "owner": "anna@laptop"}, [("tiny", "spark-01")]

    def told(host):
        return {"records": str(tmp_path / host.name), "keep": lambda: host.router.keep() or ""}

    for host in pair.hosts.values():
        assert drain.drain(host.router.asks, names, owner, "a rollout", **told(host))["drained"] == ["tiny/spark-01"]
    assert {pair.asked() for _ in range(4)} == {"spark-02"}
    pair.hosts["r1"].cable("down")
    moves(pair, "r2", 20)
    assert {pair.asked() for _ in range(4)} == {"spark-02"}
    pair.hosts["r1"].cable("up")
    until(lambda: pair.owner() == "r2", 20, pair.said)
    for host in pair.hosts.values():
        assert drain.ready(host.router.asks, names, 30, **told(host))["away"] == {}
    assert {pair.asked() for _ in range(8)} == {"spark-01", "spark-02"}
    assert not any(haproxy.is_held(one) for host in pair.hosts.values() for one in host.router.seen().values())

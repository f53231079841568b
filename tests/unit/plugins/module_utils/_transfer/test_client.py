# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which source is asked, how long one that fails is avoided, and when patience ends. The clock is the test's."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._transfer import client
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.wire import Gone, NotReady
from clock import Clock

A, B, C = ({"name": name} for name in "abc")


@pytest.fixture
def clock(monkeypatch):
    one = Clock()
    monkeypatch.setattr(client, "time", one)
    return one


def test_the_first_source_is_asked_until_it_fails_and_again_later(clock):
    sources = client.Sources([A, B])
    assert sources.pick(set()) is A
    sources.bad(A, Gone("power"))
    assert sources.pick(set()) is B
    clock.now += client.BAD_S
    assert sources.pick(set()) is A


def test_when_all_are_bad_the_first_is_asked_again_soon_but_not_at_once(clock):
    sources = client.Sources([A, B])
    sources.bad(A, Gone("power"))
    sources.bad(B, Gone("cable"))
    assert sources.pick(set()) is None
    clock.now += client.AGAIN_S
    assert sources.pick(set()) is A


def test_a_source_that_does_not_know_us_yet_is_asked_at_once_but_not_for_ever(clock):
    sources = client.Sources([A, B])
    sources.bad(A, NotReady("who are you"))
    assert sources.pick(set()) is A
    clock.now += client.NOT_READY_S
    sources.bad(A, NotReady("who are you"))
    assert sources.pick(set()) is B


def test_patience_ends_with_all_reasons(clock):
    sources = client.Sources([A, B], patience_s=60)
    sources.bad(A, Gone("power"))
    sources.bad(B, Gone("cable"))
    clock.now += 61
    with pytest.raises(GB10Error, match="^a: power; b: cable$"):
        sources.pick(set())


@pytest.mark.parametrize("sign", ["waiting", "good"])
def test_a_sign_of_life_renews_patience(clock, sign):
    sources = client.Sources([A], patience_s=60)
    clock.now += 59
    sources.waiting() if sign == "waiting" else sources.good(A, 5)
    clock.now += 59
    assert sources.pick(set()) is A
    assert sources.used == ({} if sign == "waiting" else {"a": 5})
    clock.now += 2
    with pytest.raises(GB10Error, match="no source answered"):
        sources.pick(set())


def test_who_does_not_have_the_file_is_not_asked_for_it(clock):
    sources = client.Sources([A, B, C])
    assert sources.pick({"a", "b"}) is C
    with pytest.raises(GB10Error, match="no box that is left has this file: a, b, c"):
        sources.pick({"a", "b", "c"})


def test_a_rate_is_kept_on_average_and_none_means_none(clock):
    limit = client.RateLimit(1000)
    began = clock.now
    for _piece in range(10):
        limit(500)
    assert 4.8 <= clock.now - began <= 5.0
    client.RateLimit(0)(10**12)
    assert clock.now - began <= 5.0


def test_an_address_that_nobody_answers_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(client, "client_context", lambda *_arguments: None)
    with pytest.raises(Gone, match=r"127\.0\.0\.1, 127\.0\.0\.2 port 1 cannot be reached .*a firewall must let it through"):
        client.Link({"name": "a", "addresses": ["127.0.0.1", "127.0.0.2"], "port": 1, "certificate": ""}, str(tmp_path))


def test_a_name_that_leads_outside_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    receiver = client.Receiver("m", [A], str(tmp_path))
    for item in ({"name": "../x", "size": 1}, {"name": "x", "size": -1}):
        monkeypatch.setattr(receiver, "_try", lambda *_arguments, item=item: {"items": [item]})
        with pytest.raises(GB10Error, match="impossible name"):
            receiver.index()


@pytest.mark.parametrize("mtime_ns", [2**63, -1, 2**200, 1.5])
def test_a_time_that_no_file_system_takes_is_refused(mtime_ns):
    """A box in between is free to say any: the identity that the controller knows covers names and sizes."""
    with pytest.raises(ValueError, match="no proper sum or time"):
        client.checked_list({"items": [{"name": "config.json", "size": 2, "mtime_ns": mtime_ns}]})

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who gets a connection, place by place; the whole of it under load is in tests/on_machine."""

from __future__ import annotations

import contextlib
import os
import socket
from types import SimpleNamespace

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._transfer import listener


class Line:
    """Stands for a connection: ``did`` has what was done with it."""

    def __init__(self, certificate=b"c"):
        self.did, self.certificate = [], certificate

    def __getattr__(self, name):
        return lambda *words: self.did.append((name, *words))

    def getpeercert(self, binary_form=False):
        return self.certificate if binary_form else {}


@pytest.fixture
def made(monkeypatch, tmp_path):
    """A listener of one or more connections per box; ``made.slept``: its rests."""
    clock = SimpleNamespace(now=100.0, slept=[])
    monkeypatch.setattr(listener, "time", SimpleNamespace(monotonic=lambda: clock.now, sleep=clock.slept.append))

    def make(connections=4, sockets=()):
        one = listener.Listener(str(tmp_path), sockets, connections)
        one.clock, one.slept, one.answered = clock, clock.slept, []
        one.answer = one.answered.append
        return one

    return make


def unknown(address="a", since=100.0):
    return listener._Unknown(Line(), address, since)


HUNG_UP = [("shutdown", socket.SHUT_RDWR)]


def test_four_connections_are_the_rule_and_one_the_least(made):
    assert [listener.Listener("k", [], *some).connections for some in ((), (3,), (0,), (-1,))] == [4, 3, 1, 1]
    with pytest.raises(NotImplementedError):
        listener.Listener("k", []).answer(None)


def test_it_has_the_port_of_its_sockets_until_it_closes_them(made):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _one in range(2)]
    one = made(sockets=sockets)
    assert one.port == sockets[0].getsockname()[1]
    one.close()
    assert [each.fileno() for each in sockets] == [-1, -1]


@pytest.mark.parametrize(("connections", "most"), [(1, 8), (4, 8), (5, 10)])
def test_one_address_has_so_many_places_before_it_has_shown_who_it_is(made, connections, most):
    one = made(connections)
    several = [unknown() for _place in range(most + 1)]
    assert [one._may_wait(each, 100) for each in several] == [True] * most + [False]
    assert one._unknown == several[:-1] and one._may_wait(unknown("b"), 100) is True


@pytest.mark.parametrize(("boxes", "places"), [(0, 2), (1, 2), (2, 2), (3, 3)])
def test_when_all_places_are_taken_the_one_that_took_longest_goes(made, boxes, places):
    one = made(1)
    several = [unknown(str(number)) for number in range(places + 1)]
    assert [one._may_wait(each, boxes) for each in several] == [True] * (places + 1)
    assert [each.connection.did for each in several] == [HUNG_UP] + [[]] * places and one._unknown == several[1:]


def test_where_boxes_of_the_run_have_all_places_nobody_waits(made):
    one = made(1)
    one._known.update({b"x": 1, b"y": 1})
    late = unknown()
    assert one._may_wait(late, 2) is False and one._unknown == [] and one._may_wait(late, 3) is True


def test_who_is_gone_is_forgotten_once(made):
    one, some = made(), unknown()
    one._may_wait(some, 2)
    one._forget(unknown())
    assert one._unknown == [some]
    one._forget(some)
    one._forget(some)
    assert one._unknown == []


def test_who_takes_longer_than_five_seconds_is_hung_up(made):
    one = made()
    early, exact, late = several = [unknown(since=since) for since in (94.9, 95.0, 99.0)]
    one._unknown = list(several)
    one._drop_slow()
    assert one._unknown == [exact, late] and [each.connection.did for each in several] == [HUNG_UP, [], []]
    assert early not in one._unknown


def test_hanging_up_what_is_gone_is_no_mistake():
    def gone(_how):
        raise OSError

    listener._Unknown(SimpleNamespace(shutdown=gone), "a", 1.0).hang_up()


@pytest.mark.parametrize(("connections", "boxes", "known", "seat"), [
    (1, 1, {b"y": 1}, True), (1, 1, {b"y": 2}, False), (1, 3, {b"y": 2}, True), (1, 3, {b"y": 3}, False),
    (1, 99, {b"x": 7}, True), (1, 99, {b"x": 8}, False), (5, 99, {b"x": 9}, True), (5, 99, {b"x": 10}, False),
])  # fmt: skip
def test_a_box_has_its_seats_and_all_together_theirs(made, connections, boxes, known, seat):
    one = made(connections)
    one._known.update(known)
    before = one._known[b"x"]
    assert one._seat(b"x", boxes) is seat and one._known[b"x"] == before + seat


@pytest.fixture
def served(made):
    """One connection served: (listener, the raw line, the line in TLS)."""

    def serve(certificate=b"c", fails=None, known=0, boxes=2):
        one, some, inside, seen = made(), unknown(), Line(certificate), []
        one._unknown, one._known[b"c"] = [some], known

        def wrap_socket(raw, server_side=False):
            seen.append((raw, server_side))
            if fails == "tls":
                raise OSError
            return contextlib.nullcontext(inside)

        def answer(line):
            one.answered.append((line, one._known[certificate], list(one._unknown)))
            if fails:
                raise fails

        one.answer = answer
        one._serve(some, boxes, SimpleNamespace(wrap_socket=wrap_socket))
        assert seen == [(some.connection, True)] and some.connection.did == [("close",)] and one._unknown == []
        return one, inside

    return serve


def test_a_box_of_the_run_is_answered_and_gives_its_seat_back(served):
    one, inside = served()
    assert one.answered == [(inside, 1, [])] and one._known[b"c"] == 0
    one, inside = served(known=3)
    assert one.answered == [(inside, 4, [])] and one._known[b"c"] == 3


@pytest.mark.parametrize("fails", [OSError(), ValueError(), MemoryError(), RecursionError()])
def test_what_its_other_side_does_is_its_own_matter(served, fails):
    one, _inside = served(fails=fails)
    assert one._known[b"c"] == 0 and len(one.answered) == 1


def test_who_shows_nothing_or_has_no_seat_is_not_answered(served):
    assert served(fails="tls")[0].answered == []
    full = served(known=8)[0]
    assert (full.answered, full._known[b"c"]) == ([], 8)


def test_whom_to_trust_is_read_when_it_changes(made, tmp_path, monkeypatch):
    one, read = made(), []
    monkeypatch.setattr(listener, "server_context", lambda *words: read.append(words) or f"context {len(read)}")
    assert one._tls() is None
    trusted = tmp_path / "trusted.pem"
    trusted.write_text("BEGIN CERTIFICATE\nBEGIN CERTIFICATE\n")
    os.utime(trusted, (5, 5))
    assert one._tls() == (2, "context 1") == one._tls() and read == [(str(tmp_path), trusted.read_text())]
    trusted.write_text("BEGIN CERTIFICATE\n")
    os.utime(trusted, (4, 4))
    assert one._tls() == (1, "context 2")


@pytest.mark.parametrize("error", [OSError(), listener.ssl.SSLError(), ValueError()])
def test_trust_that_cannot_be_read_is_none(made, tmp_path, monkeypatch, error):
    def broken(*_words):
        raise error

    (tmp_path / "trusted.pem").write_text("x")
    monkeypatch.setattr(listener, "server_context", broken)
    assert made()._tls() is None


@pytest.fixture
def taking(made, monkeypatch):
    """What becomes of one connection that comes in: (its line, the threads begun, the listener)."""

    def take(accepts=None, trusted=(2, "context"), may=True, thread=None):
        one, line, threads = made(), Line(), []
        one.asked = []
        one._tls = lambda: trusted
        real = one._may_wait
        one._may_wait = lambda some, boxes: one.asked.append((some.connection, some.address, some.since, boxes)) or (may and real(some, boxes))

        class Thread:
            def __init__(self, **how):
                threads.append(how)

            def start(self):
                if thread:
                    raise thread

        def accept():
            if accepts:
                raise accepts
            return line, ("192.0.2.7", 5000)

        monkeypatch.setattr(listener.threading, "Thread", Thread)
        one._take(SimpleNamespace(accept=accept))
        return line, threads, one

    return take


def test_who_comes_in_is_served_by_a_thread_that_waits_for_so_long(taking):
    line, threads, one = taking()
    (how,) = threads
    some = one._unknown[0]
    assert how == {"target": one._serve, "args": (some, 2, "context"), "daemon": True} and one.asked == [(line, "192.0.2.7", 100.0, 2)]
    assert line.did == [("setblocking", True), ("settimeout", 5.0)] and one.slept == []


@pytest.mark.parametrize(("accepts", "rests"), [(BlockingIOError(), []), (OSError(), [0.2])])
def test_a_connection_that_cannot_be_taken_is_left_and_rested_for(taking, accepts, rests):
    line, threads, one = taking(accepts=accepts)
    assert (line.did, threads, one.slept, one.asked) == ([], [], rests, [])


@pytest.mark.parametrize("why", [{"trusted": None}, {"may": False}])
def test_who_may_not_wait_is_closed(taking, why):
    line, threads, _one = taking(**why)
    assert (line.did, threads) == ([("close",)], [])


@pytest.mark.parametrize("error", [OSError(), RuntimeError()])
def test_without_a_thread_it_is_closed_forgotten_and_rested_for(taking, error):
    line, _threads, one = taking(thread=error)
    assert line.did[-1] == ("close",) and one._unknown == [] and one.slept == [0.2]


def test_it_looks_at_all_its_sockets_and_then_for_the_slow(made, monkeypatch):
    one, did = made(), []
    sockets = [SimpleNamespace(setblocking=lambda on, name=name: did.append((name, on))) for name in "ab"]
    one._sockets = sockets

    class Selector:
        def __enter__(self):
            return self

        def __exit__(self, *_words):
            return None

        def register(self, which, events):
            did.append((sockets.index(which), events))

        def select(self, timeout=None):
            did.append(timeout)
            return [(SimpleNamespace(fileobj=each), None) for each in sockets]

    def enough():
        raise SystemExit

    monkeypatch.setattr(listener.threading, "stack_size", did.append)
    monkeypatch.setattr(listener.selectors, "DefaultSelector", Selector)
    one._take, one._drop_slow = did.append, enough
    with pytest.raises(SystemExit):
        one.serve_forever()
    read = listener.selectors.EVENT_READ
    assert did == [2**19, ("a", False), (0, read), ("b", False), (1, read), 0.5, *sockets]

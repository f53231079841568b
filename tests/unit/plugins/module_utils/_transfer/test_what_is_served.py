# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What goes over the wire for each question, byte by byte, with a clock of the test; and who gets a place at a server that listens, with real TLS."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections import Counter
from types import SimpleNamespace

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import write_json
from ansible_collections.gb10.vllm.plugins.module_utils._transfer import keys, listener, server, wire
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.index import DONE, FAILED, WORKING, index_path

SHA = "a" * 64


class Talk:
    """A server over a share, the connection's bytes and a clock that sleeping sets forward; ``when`` does something at a time."""

    def __init__(self, folder):
        self.root, self.now, self.sent, self.when = str(folder), 1000.0, b"", {}
        self.server = server.Server(self.root, self.root, [], 60.0)
        self.path = index_path(self.root, "m")
        os.makedirs(os.path.dirname(self.path))
        (folder / "m").mkdir()
        self.index = {
            "state": WORKING,
            "pid": os.getpid(),
            "roots": [f"{folder}/m"],
            "meta": {"a": 1},
            "items": [{"name": "w", "size": 6, "sha256": SHA}, {"name": "x", "size": 1, "absent": True}],
        }

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        for at in [at for at in self.when if at <= self.now]:
            self.when.pop(at)()

    def sendall(self, data):
        self.sent += bytes(data)

    def write(self, **changes):
        self.index.update(changes)
        write_json(self.path, self.index)

    def ask(self, **wanted):
        """The frames that come back."""
        self.sent = b""
        server._Conversation(self.server, self).answer(wire.Request("m", **wanted))
        frames, data = [], self.sent
        while data:
            letter, length = wire.parse_header(data[: wire.FRAME_BYTES])
            frames.append((letter, data[wire.FRAME_BYTES : wire.FRAME_BYTES + length]))
            data = data[wire.FRAME_BYTES + length :]
        return frames


@pytest.fixture
def talk(tmp_path, monkeypatch):
    made = Talk(tmp_path)
    monkeypatch.setattr(server, "time", made)
    return made


def test_a_list_is_told_as_it_is_or_when_all_its_sums_are_known(talk):
    listed = b'{"items": [{"name": "w", "size": 6, "sha256": "%s"}, {"name": "x", "size": 1}], "meta": {"a": 1}}' % SHA.encode()
    talk.write()
    assert talk.ask() == [(wire.LIST, listed)]
    talk.when[1001.0] = lambda: talk.write(items=[talk.index["items"][0], {"name": "x", "size": 1, "sha256": SHA}])
    assert talk.ask(settled=True) == [(wire.LIST, listed.replace(b'"size": 1}', b'"size": 1, "sha256": "%s"}' % SHA.encode()))] and 1001.0 <= talk.now < 1001.2
    assert talk.server.used_at >= 1000.9


def test_one_that_is_not_there_is_said_and_one_that_is_comes_whole_from_where_it_was_asked(talk, tmp_path):
    talk.write()
    (tmp_path / "m/w").write_bytes(b"abcdef")
    assert [talk.ask(item=number) for number in (-1, 2, 1)] == [[(wire.NOT_HERE, b"")]] * 3
    assert talk.ask(item=0) == [(wire.DATA, b"abcdef"), (wire.COMPLETE, SHA.encode())] and talk.ask(item=0, offset=4) == [
        (wire.DATA, b"ef"),
        (wire.COMPLETE, SHA.encode()),
    ]
    assert talk.ask(item=0, offset=6) == [(wire.COMPLETE, SHA.encode())]


def test_what_still_arrives_is_sent_as_it_arrives_and_meanwhile_we_live(talk, tmp_path):
    talk.index["items"][0].pop("sha256")
    talk.write()
    (tmp_path / "m/w.incoming").write_bytes(b"abc")

    def more():
        with open(tmp_path / "m/w.incoming", "ab") as stream:
            stream.write(b"def")

    def known():
        talk.write(items=[{**talk.index["items"][0], "sha256": SHA}])

    talk.when = {1000.0 + 1.5 * server.BEAT_S: more, 1000.0 + 2 * server.BEAT_S: known}
    assert talk.ask(item=0) == [(wire.DATA, b"abc"), (wire.WAITING, b""), (wire.DATA, b"def"), (wire.COMPLETE, SHA.encode())]


@pytest.mark.parametrize(("index", "said", "after"), [
    (None, (wire.CANNOT, f"it has not begun its own transfer in {server.BEGIN_S:.0f} s".encode()), server.BEGIN_S), ({"state": FAILED, "reason": "no room"},
    (wire.CANNOT, b"no room"), 0),
    ({"state": FAILED}, (wire.CANNOT, b"its own transfer was stopped"), 0), ({"state": DONE}, (wire.NOT_HERE, b""), 0),
])  # fmt: skip
def test_a_share_that_will_never_be_is_not_waited_for(talk, index, said, after):
    if index:
        write_json(talk.path, index)
    frames = talk.ask()
    assert frames[-1] == said and set(frames[:-1]) <= {(wire.WAITING, b"")} and after <= talk.now - 1000.0 <= after + 0.3
    assert 0.9 * after / server.BEAT_S <= len(frames) - 1 <= after / server.BEAT_S


def test_a_file_that_will_not_become_whole_is_given_up(talk, tmp_path):
    talk.write()
    (tmp_path / "m/w.incoming").write_bytes(b"abc")
    talk.when = {1000.0: lambda: os.unlink(tmp_path / "m/w.incoming")}
    assert talk.ask(item=0) == [(wire.DATA, b"abc"), (wire.CANNOT, b"the file is being fetched anew")]
    (tmp_path / "m/w.incoming").write_bytes(b"abc")
    talk.when = {talk.now + 0.5: lambda: talk.write(state=FAILED, reason="no room")}
    began = talk.now
    assert talk.ask(item=0) == [(wire.DATA, b"abc"), (wire.CANNOT, b"no room")] and 1.0 < talk.now - began < 1.2


# ---- who gets a place


@pytest.fixture
def listening(tmp_path):
    return listener.Listener(str(tmp_path), [], 2)


def one(address, since=1.0):
    ended = []
    return SimpleNamespace(address=address, since=since, hang_up=lambda: ended.append(1), ended=ended)


def test_those_who_have_not_shown_who_they_are_have_so_many_places(listening):
    assert listener.Listener("k", [], 0).connections == 1 and listening.connections == 2
    same = [one("a") for _number in range(9)]
    assert [listening._may_wait(each, 9) for each in same] == [True] * 8 + [False]
    for each in same:
        listening._forget(each)
    assert listening._unknown == []
    others = [one(str(number)) for number in range(5)]
    assert all(listening._may_wait(each, 1) for each in others), "the one that took longest goes"
    assert listening._unknown == others[1:] and [each.ended for each in others] == [[1], [], [], [], []]
    listening._unknown.clear()
    listening._known = Counter({b"x": 4})
    assert not listening._may_wait(one("z"), 2) and listening._may_wait(one("z"), 3)


def test_a_box_has_so_many_seats_and_all_together_too(listening):
    assert [listening._seat(b"x", 2) for _number in range(5)] == [True] * 4 + [False] and listening._known == {b"x": 4}
    listening._known = Counter({b"x": 7})
    assert (listening._seat(b"x", 9), listening._seat(b"x", 9), listening._seat(b"y", 9)) == (True, False, True)


def test_whoever_takes_too_long_is_dropped(listening, monkeypatch):
    monkeypatch.setattr(listener.time, "monotonic", lambda: 100.0)
    slow, still, new = one("a", 100.0 - listener.HANDSHAKE_S - 0.1), one("b", 100.0 - listener.HANDSHAKE_S), one("c", 100.0)
    listening._unknown = [slow, still, new]
    listening._drop_slow()
    assert listening._unknown == [still, new] and [each.ended for each in (slow, still, new)] == [[1], [], []]


def test_only_a_box_of_the_run_is_answered_and_its_seat_is_free_again(tmp_path):
    for name in ("us", "them", "stranger"):
        (tmp_path / name).mkdir()
    texts = {name: keys.make_certificate(str(tmp_path / name), name) for name in ("us", "them", "stranger")}
    answered, done = [], threading.Event()

    class Listening(listener.Listener):
        def answer(self, connection):
            answered.append((connection.recv(5), dict(self._known), list(self._unknown)))
            connection.sendall(b"well")
            done.set()

    with socket.create_server(("127.0.0.1", 0)) as here:
        made = Listening(str(tmp_path / "us"), [here])
        assert made.port == here.getsockname()[1] and made._tls() is None, "nobody is trusted yet"
        keys.trust(str(tmp_path / "us"), [texts["them"]])
        assert made._tls()[0] == 1 and made._tls()[1] is made._tls()[1], "read once"

        def call(name):
            context = keys.client_context(str(tmp_path / name), texts["us"])
            with socket.create_connection(here.getsockname(), timeout=5) as plain:
                taken = threading.Thread(target=made._take, args=(here,))
                taken.start()
                try:
                    with context.wrap_socket(plain) as connection:
                        connection.sendall(b"hello")
                        return connection.recv(10)
                except (OSError, ssl.SSLError):
                    return None
                finally:
                    taken.join(5)

        assert call("them") == b"well" and done.wait(5) and call("stranger") in (None, b"")
        assert [(said, list(known.values()), unknown) for said, known, unknown in answered] == [(b"hello", [1], [])]
        for _number in range(100):
            if not sum(made._known.values()) and not made._unknown:
                break
            threading.Event().wait(0.02)
        assert (sum(made._known.values()), made._unknown) == (0, [])
        made.close()
        assert here.fileno() == -1

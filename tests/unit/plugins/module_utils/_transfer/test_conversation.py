# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a server answers, frame by frame, and how its process begins and ends. The clock is the test's."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import stat
from types import SimpleNamespace

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import write_json
from ansible_collections.gb10.vllm.plugins.module_utils._transfer import server, wire
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.index import index_path
from clock import Clock

WAITS = (b"W", b"")


@pytest.fixture
def clock(monkeypatch):
    one = Clock()
    monkeypatch.setattr(server, "time", one)
    return one


def frames(data):
    found = []
    while data:
        letter, length = wire.parse_header(data[: wire.FRAME_BYTES])
        found.append((letter, data[wire.FRAME_BYTES : wire.FRAME_BYTES + length]))
        data = data[wire.FRAME_BYTES + length :]
    return found


class Share:
    """One share of a server in a directory: ``is_`` describes it, ``asked`` gives the frames of an answer."""

    def __init__(self, folder):
        self.folder, self.files = folder, folder / "files"
        self.files.mkdir()
        self.server = server.Server(str(folder), "keys", [], 900.0, 4)
        self.index = {"state": "working", "pid": os.getpid(), "roots": [str(self.files)], "meta": {"m": 1}}

    def is_(self, **values):
        path = index_path(str(self.folder), "s")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self.index |= values
        write_json(path, self.index)

    def asked(self, *words, **how):
        sent = []
        server._Conversation(self.server, SimpleNamespace(sendall=lambda data: sent.append(bytes(data)))).answer(wire.Request("s", *words, **how))
        return frames(b"".join(sent))


@pytest.fixture
def share(tmp_path, clock):
    return Share(tmp_path)


def item(name="x", size=3, sha256="feed", **more):
    return {"name": name, "size": size, "sha256": sha256, **more}


def test_a_list_is_told_at_once_and_with_all_its_sums_when_that_is_asked(share, clock):
    share.is_(items=[item(secret=1), item("y", sha256=None)])
    told = {"items": [item(), item("y", sha256=None)], "meta": {"m": 1}}
    assert [(letter, json.loads(text)) for letter, text in share.asked()] == [(b"I", told)] and clock.slept == []
    clock.then = {41: lambda: share.is_(items=[item(), item("y", sha256="beef")])}
    *before, last = share.asked(settled=True)
    assert before == [WAITS] * 2 and json.loads(last[1])["items"][1]["sha256"] == "beef" and set(clock.slept) == {0.1} and len(clock.slept) == 41
    assert share.server.used_at == pytest.approx(clock.now, abs=0.2)


@pytest.mark.parametrize(("number", "frame"), [(2, b"N"), (-1, b"N"), (1, b"N"), (0, b"D")])
def test_what_is_not_among_its_files_is_not_here(share, number, frame):
    (share.files / "x").write_bytes(b"abc")
    share.is_(items=[item(), item("gone", absent=True)])
    assert share.asked(number)[0][0] == frame


@pytest.mark.parametrize(("offset", "parts"), [(0, [(b"D", b"abc")]), (1, [(b"D", b"bc")]), (3, []), (9, [])])
def test_a_file_is_sent_from_an_offset_on_with_its_sum(share, offset, parts):
    (share.files / "x").write_bytes(b"abc and more than it is")
    share.is_(items=[item()])
    assert share.asked(0, offset) == [*parts, (b"Z", b"feed")]


def test_a_file_that_still_arrives_is_passed_on_piece_by_piece(share, clock):
    arriving = share.files / "x.incoming"

    def more(text, **values):
        with arriving.open("ab") as stream:
            stream.write(text)
        share.is_(**values)

    share.is_(items=[item(size=6, sha256=None)])
    clock.then = {
        1: lambda: more(b"ab"),
        2: lambda: more(b"cd"),
        200: lambda: more(b"ef"),
        202: lambda: share.is_(items=[item(size=6)]),
    }
    assert share.asked(0) == [(b"D", b"ab"), (b"D", b"cd"), WAITS, (b"D", b"ef"), (b"Z", b"feed")]
    assert clock.slept == [0.1] + [0.02] * 199 + [0.1] * 2


def test_large_files_go_in_pieces(share, monkeypatch):
    monkeypatch.setattr(server, "CHUNK", 4)
    (share.files / "x").write_bytes(b"abcdefghij")
    share.is_(items=[item(size=10)])
    assert share.asked(0) == [(b"D", b"abcd"), (b"D", b"efgh"), (b"D", b"ij"), (b"Z", b"feed")]


def test_a_file_that_is_fetched_anew_is_not_waited_for(share, clock):
    (share.files / "x.incoming").write_bytes(b"ab")
    share.is_(items=[item()])
    clock.then = {1: (share.files / "x.incoming").unlink}
    assert share.asked(0) == [(b"D", b"ab"), (b"E", b"the file is being fetched anew")]


def test_a_transfer_that_ends_in_the_middle_of_a_file_is_told_after_a_second(share, clock):
    (share.files / "x.incoming").write_bytes(b"ab")
    share.is_(items=[item()])
    clock.then = {1: lambda: share.is_(state="failed", reason="disk full")}
    assert share.asked(0) == [(b"D", b"ab"), (b"E", b"disk full")] and 50 <= len(clock.slept) <= 52


@pytest.mark.parametrize(
    ("state", "frame"),
    [
        ({"state": "failed", "reason": "disk full"}, (b"E", b"disk full")),
        ({"state": "done"}, (b"N", b"")),
        ({"state": "working", "pid": 2**22 + 1}, (b"E", b"its own transfer was stopped")),
    ],
)
@pytest.mark.parametrize("number", [None, 0])
def test_what_will_never_come_is_not_waited_for(share, clock, state, frame, number):
    share.is_(**state)
    assert share.asked(number) == [frame] and clock.slept == []
    share.is_(items=[item(sha256=None)])
    assert share.asked(0) == [frame], "its file is nowhere"


def test_a_box_that_does_not_begin_is_waited_for_five_minutes(share, clock):
    *before, last = share.asked()
    assert last == (b"E", b"it has not begun its own transfer in 300 s") and set(before) == {WAITS} and 142 <= len(before) <= 150
    assert clock.now - 1000 == pytest.approx(300.1, abs=0.15)
    share.is_()
    clock.then = {len(clock.slept) + 4000: lambda: share.is_(items=[])}
    assert share.asked()[-1] == (b"I", b'{"items": [], "meta": {"m": 1}}'), "one that has begun is waited for as long as it lives"


def test_a_box_asks_as_often_as_it_likes_over_one_connection(share, monkeypatch, clock):
    share.is_(items=[item()])
    (share.files / "x").write_bytes(b"abc")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(wire.Request("s", 0, 1).line() + wire.Request("s", 7).line())
        theirs.shutdown(socket.SHUT_WR)
        share.server.used_at = 0.0
        share.server.answer(ours)
        assert ours.gettimeout() == 60.0 and share.server.used_at == 1000.0
        ours.shutdown(socket.SHUT_WR)
        assert frames(theirs.makefile("rb").read()) == [(b"D", b"bc"), (b"Z", b"feed"), (b"N", b"")]


def test_a_line_without_an_end_is_no_request(share):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b" " * 8192 + wire.Request("s").line())
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(ValueError):
            share.server.answer(ours)


# Its process


def test_it_listens_on_one_port_of_all_its_addresses():
    found = server._listen(["127.0.0.1", "127.0.0.2"], 0)
    try:
        assert [one.getsockname() for one in found] == [(place, found[0].getsockname()[1]) for place in ("127.0.0.1", "127.0.0.2")]
        assert all(one.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) and one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) for one in found)
        with pytest.raises(OSError) as told:
            server._listen(["127.0.0.3", "127.0.0.1"], found[0].getsockname()[1])
        assert told.value.errno == errno.EADDRINUSE
    finally:
        for one in found:
            one.close()


class Made:
    """Stands for socket.socket: ``fails`` says for how many more of them binding fails, and how."""

    fails: list = []
    made: list = []

    def __init__(self, family, kind):
        self.did = [(family, kind)]
        Made.made.append(self)

    def setsockopt(self, *words):
        self.did.append(words)

    def bind(self, where):
        self.did.append(where)
        if len(where) == 4 and Made.fails:
            raise OSError(Made.fails.pop(), "no")

    def listen(self, number):
        self.did.append(number)

    def getsockname(self):
        return ("x", 4711)

    def close(self):
        self.did.append("closed")


@pytest.fixture
def made(monkeypatch):
    Made.fails, Made.made = [], []
    monkeypatch.setattr(server.socket, "socket", Made)
    return Made


REUSE, V6 = (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1), (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)


@pytest.mark.parametrize(("both", "places"), [(True, ["::", "0.0.0.0"]), (False, ["0.0.0.0"])])
def test_unless_told_it_listens_on_every_interface_of_both_families(made, monkeypatch, both, places):
    monkeypatch.setattr(server.socket, "has_dualstack_ipv6", lambda: both)
    server._listen(None, 0)
    v6 = [(socket.AF_INET6, socket.SOCK_STREAM), REUSE, V6, ("::", 0, 0, 0), 64]
    v4 = [(socket.AF_INET, socket.SOCK_STREAM), REUSE, ("0.0.0.0", 4711 if both else 0), 64]
    assert [one.did for one in made.made] == ([v6, v4] if both else [v4])
    assert server._listen([], 0) == []


@pytest.mark.parametrize(
    ("port", "fails", "tries", "raised"),
    [
        (0, [errno.EADDRINUSE] * 4, 5, None),
        (0, [errno.EADDRINUSE] * 9, 5, errno.EADDRINUSE),
        (0, [errno.EACCES] * 9, 1, errno.EACCES),
        (80, [errno.EADDRINUSE] * 9, 1, errno.EADDRINUSE),
    ],
)
def test_another_free_port_is_tried_where_any_will_do(made, port, fails, tries, raised):
    made.fails = list(fails)
    if raised:
        with pytest.raises(OSError) as told:
            server._listen(["127.0.0.1", "::1"], port)
        assert (told.value.errno, told.value.strerror) == (raised, os.strerror(raised) if tries == 5 else "no")
    else:
        assert len(server._listen(["127.0.0.1", "::1"], port)) == 2
    assert len(made.made) == 2 * tries and [one.did[-1] == "closed" for one in made.made].count(False) == (0 if raised else 2)


def test_a_server_begins_in_a_process_of_its_own_that_holds_its_lock(tmp_path, monkeypatch):
    did = []

    class Server:
        port = 4711

        def __init__(self, *words):
            did.append(words)

        def serve_forever(self):
            did.append("serves")

        def close(self):
            did.append("closed here")

    class Thread:
        def __init__(self, **how):
            self.how = how

        def start(self):
            did.append((self.how["target"], type(self.how["args"][0]), self.how["daemon"]))

    def apart(work, note):
        held = os.open(tmp_path / "server.pid", os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(held)
        note(77)
        work()

    monkeypatch.setattr(server, "stop_server", lambda keys: did.append(("stop", keys)))
    monkeypatch.setattr(server, "_listen", lambda *words: words)
    monkeypatch.setattr(server, "Server", Server)
    monkeypatch.setattr(server.threading, "Thread", Thread)
    monkeypatch.setattr(server, "apart", apart)
    before = os.umask(0)
    try:
        assert server.start_server("root", str(tmp_path), 80, 7.0, addresses=["a"], connections=9) == 4711
    finally:
        os.umask(before)
    stop = ("stop", str(tmp_path))
    assert did == [stop, ("root", str(tmp_path), (["a"], 80), 7.0, 9), (server._end_when_idle, Server, True), "serves", "closed here"]
    assert stat.S_IMODE(os.stat(tmp_path / "server.pid").st_mode) == 0o600
    did.clear()
    (tmp_path / "server.pid").write_text("123456")
    server.start_server("root", str(tmp_path), 0)
    assert did[1] == ("root", str(tmp_path), (None, 0), 900.0, 4) and (tmp_path / "server.pid").read_text() == "77"


def test_why_a_port_cannot_be_used_is_said(tmp_path, monkeypatch):
    def taken(*_words):
        raise OSError(errno.EACCES, "not yours")

    monkeypatch.setattr(server, "_listen", taken)
    with pytest.raises(GB10Error) as told:
        server.start_server("root", str(tmp_path), 80)
    assert str(told.value) == "port 80 of this box cannot be used for the transfer (not yours); set gb10_distribution.port to a free one"


@pytest.mark.parametrize(
    ("text", "released", "signals"),
    [("77", 3, [(77, 15)] * 3), ("77", 60, [(77, 15)] * 50 + [(77, 9)] * 10), ("77", 1000, [(77, 15)] * 50 + [(77, 9)] * 50), ("", 2, [])],
)
def test_a_server_is_asked_to_end_and_then_made_to(tmp_path, monkeypatch, clock, text, released, signals):
    path, killed = tmp_path / "server.pid", []
    path.write_text(text)
    held = os.open(path, os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    clock.then = {released: lambda: fcntl.flock(held, fcntl.LOCK_UN)}

    def kill(pid, number):
        killed.append((pid, int(number)))
        raise ProcessLookupError

    monkeypatch.setattr(server.os, "kill", kill)
    opened = len(os.listdir("/proc/self/fd"))
    assert server.stop_server(str(tmp_path)) is True
    assert len(os.listdir("/proc/self/fd")) == opened
    os.close(held)
    assert killed == signals and set(clock.slept) == {0.05} and len(clock.slept) == min(released, 100)
    assert signals == [] or signals[0][1] == signal.SIGTERM


@pytest.mark.parametrize(("idle_s", "works_until", "sleeps", "pause_s"), [(6.0, 0, 4, 2.0), (30.0, 0, 7, 5.0), (6.0, 10.0, 9, 2.0)])
def test_a_server_that_nobody_asks_ends_and_takes_its_keys_with_it(clock, monkeypatch, idle_s, works_until, sleeps, pause_s):
    gone = []

    def leave(status):
        gone.append(status)
        raise SystemExit

    monkeypatch.setattr(server.os, "_exit", leave)
    monkeypatch.setattr(server, "remove_keys", gone.append)
    monkeypatch.setattr(server, "workers", lambda root: [{"root": 1}[root], 2])
    monkeypatch.setattr(server, "alive", lambda pid: pid == 2 and clock.now - 1000 <= works_until)
    with pytest.raises(SystemExit):
        server._end_when_idle(SimpleNamespace(idle_s=idle_s, used_at=1000.0, root="root", keys="keys"))
    assert gone == ["keys", 0] and clock.slept == [pause_s] * sleeps


def test_what_cannot_be_read_of_the_work_does_not_keep_it(clock, monkeypatch):
    def broken(_root):
        raise OSError

    monkeypatch.setattr(server, "workers", broken)
    monkeypatch.setattr(server, "remove_keys", lambda _keys: None)
    monkeypatch.setattr(server.os, "_exit", lambda _status: (_ for _ in ()).throw(SystemExit))
    with pytest.raises(SystemExit):
        server._end_when_idle(SimpleNamespace(idle_s=3.0, used_at=1000.0, root="root", keys="keys"))

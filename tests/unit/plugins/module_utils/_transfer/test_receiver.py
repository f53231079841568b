# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One connection to a source, frame by frame over a real socket, and one share fetched from sources that are made up."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import ssl
from types import SimpleNamespace

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.incoming import STOPPED
from ansible_collections.gb10.vllm.plugins.module_utils._transfer import client, wire
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.wire import Gone, NotHere, NotReady

SOURCE = {"name": "a", "addresses": ["127.0.0.1", "127.0.0.2"], "port": "4711", "certificate": "pem"}
A, B = ({"name": name} for name in "ab")
SUM = hashlib.sha256(b"abc").hexdigest()


@pytest.fixture
def link(monkeypatch):
    """A link over a socket pair without TLS; ``link.far`` is the other side."""
    near, far = socket.socketpair()
    asked = []
    monkeypatch.setattr(client, "client_context", lambda *words: asked.append(words) or SimpleNamespace(wrap_socket=lambda raw: raw))
    monkeypatch.setattr(client.socket, "create_connection", lambda *words, **how: asked.append((words, how)) or near)
    made = client.Link(SOURCE, "keys")
    made.far, made.asked = far, asked
    with near, far:
        yield made


def test_a_source_is_spoken_to_with_its_certificate_at_its_first_address(link):
    assert link.asked == [("keys", "pem"), ((("127.0.0.1", 4711),), {"timeout": 5.0})] and link.socket.gettimeout() == 15.0
    link.ask(wire.Request("s", 1, 2))
    assert link.far.recv(99) == b'{"share": "s", "item": 1, "offset": 2}\n'
    link.close()
    assert link.socket.fileno() == -1 and link.far.recv(1) == b""


def test_the_next_address_is_tried_and_all_are_named_with_the_last_reason(monkeypatch):
    def refuse(where, timeout):
        tried.append((where, timeout))
        if where[0] == "127.0.0.1" or len(tried) > 2:
            raise OSError(f"no {where[0]}")
        return "raw"

    tried = []
    monkeypatch.setattr(client.socket, "create_connection", refuse)
    assert client.Link._connect(SOURCE) == ("127.0.0.2", "raw") and tried == [(("127.0.0.1", 4711), 5.0), (("127.0.0.2", 4711), 5.0)]
    with pytest.raises(Gone) as told:
        client.Link._connect(SOURCE)
    said = "127.0.0.1, 127.0.0.2 port 4711 cannot be reached (no 127.0.0.2); a firewall must let it through between the boxes"
    assert str(told.value) == said


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (ssl.SSLCertVerificationError("x"), Gone, "127.0.0.1 shows another certificate than a made for this run"),
        (ssl.SSLError("early"), NotReady, "127.0.0.1 is not ready (('early',))"),
        (ConnectionResetError("cut"), NotReady, "127.0.0.1 is not ready (cut)"),
        (TimeoutError("slow"), Gone, "127.0.0.1 did not answer (slow)"),
    ],
)
def test_how_a_connection_fails_says_whether_it_is_worth_another_try(monkeypatch, error, kind, said):
    def wrap_socket(_raw):
        raise error

    closed = []
    raw = SimpleNamespace(settimeout=closed.append, close=lambda: closed.append("closed"))
    monkeypatch.setattr(client, "client_context", lambda *_words: SimpleNamespace(wrap_socket=wrap_socket))
    monkeypatch.setattr(client.Link, "_connect", staticmethod(lambda _source: ("127.0.0.1", raw)))
    with pytest.raises(kind) as told:
        client.Link(SOURCE, "keys")
    assert str(told.value) in (said, said.replace("('early',)", "early")) and closed == [15.0, "closed"]


def test_frames_come_whole_however_they_are_cut(link):
    link.far.sendall(wire.header(b"D", 3) + b"abc" + wire.header(b"W", 0) + wire.header(b"I", 70000) + b"x" * 70000 + wire.header(b"Z", 4) + b"feed")
    assert link._heard is False
    told = [(letter, bytes(payload)) for letter, payload in (link.frame() for _number in range(4))]
    assert told == [(b"D", b"abc"), (b"W", b""), (b"I", b"x" * 70000), (b"Z", b"feed")] and link._heard is True


def test_a_list_may_be_longer_than_what_is_read_at_once(link, monkeypatch):
    monkeypatch.setattr(client, "CHUNK", 5)
    link._buffer = memoryview(bytearray(5))
    link.far.sendall(wire.header(b"I", 6) + b"abcdef" + wire.header(b"D", 5) + b"vwxyz")
    assert [bytes(link.frame()[1]) for _number in range(2)] == [b"abcdef", b"vwxyz"]


@pytest.mark.parametrize(
    ("sent", "kind", "said"),
    [
        (wire.header(b"E", 8) + b"disk \xff..", Gone, "disk \ufffd.."),
        (wire.header(b"N", 0), NotHere, ""),
        (wire.header(b"D", 2**20 + 1), Gone, "it sent a longer answer than this protocol has"),
        (wire.header(b"W", 1), Gone, "it sent a longer answer than this protocol has"),
        (wire.header(b"Z", 129), Gone, "it sent a longer answer than this protocol has"),
        (b"HTTP/1.1", Gone, "it sent something else than this protocol"),
        (b"", NotReady, "it hung up; it does not know this box yet (it closed the connection)"),
        (b"D\0", NotReady, "it hung up; it does not know this box yet (it closed the connection)"),
        (wire.header(b"D", 5) + b"ab", Gone, "it closed the connection"),
    ],
)
def test_an_answer_that_is_none_says_so(link, sent, kind, said):
    link.far.sendall(sent)
    link.far.shutdown(socket.SHUT_WR)
    with pytest.raises(kind) as told:
        link.frame()
    assert str(told.value) == said


@pytest.mark.parametrize(("error", "kind", "said"), [
    (TimeoutError(), Gone, "it was silent for 15 s"),
    (ConnectionResetError("cut"), NotReady, "it hung up; it does not know this box yet (the connection broke: cut)"),
])  # fmt: skip
def test_silence_and_a_broken_line_are_told_apart(link, error, kind, said):
    def fail(*_words):
        raise error

    link.socket = SimpleNamespace(recv_into=fail, sendall=fail, close=fail)
    with pytest.raises(kind) as told:
        link.frame()
    assert str(told.value) == said
    link._heard = True
    with pytest.raises(Gone, match="^the connection broke: "):
        link.ask(wire.Request("s"))
    link.close()


# What another box says


@pytest.mark.parametrize(
    "found",
    [None, [], {}, {"items": {}}, {"items": [1]}, {"items": [{"name": "x", "size": 1}, {"name": "x", "size": 2}]},
     {"items": [{"name": "x", "size": 1, "sha256": 7}]},
     {"items": [{"name": "x", "size": 1, "mtime_ns": "5"}]}, {"items": [{"name": "x", "size": 1, "mtime_ns": 2**63}]}],
)  # fmt: skip
def test_a_list_of_another_shape_is_none(found):
    with pytest.raises(ValueError):
        client.checked_list(found)


@pytest.mark.parametrize(
    "item",
    [{}, {"name": 7, "size": 1}, {"name": "/x", "size": 1}, {"name": "x", "size": True}, {"name": "x", "size": 1.0}, {"name": "x", "size": -1}, {"name": "x"}],
)
def test_an_impossible_file_is_named_and_ends_it(item):
    with pytest.raises(GB10Error) as told:
        client.checked_list({"items": [{"name": "fine", "size": 0}, item]})
    assert str(told.value) == f"a box offered a file with the impossible name {str(item.get('name'))!r}; nothing was written"
    long = {"name": "/" + "y" * 300, "size": 1}
    with pytest.raises(GB10Error, match="name '/y{199}'; nothing"):
        client.checked_list({"items": [long]})


def test_a_list_that_is_one_is_given_as_it_came():
    for item in (
        {"name": "x", "size": 0},
        {"name": "x/y", "size": 1, "sha256": None, "mtime_ns": 0},
        {"name": "x", "size": 1, "sha256": "s", "mtime_ns": 2**63 - 1},
    ):
        found = {"items": [item], "meta": 1}
        assert client.checked_list(found) is found


# One share


class Far:
    """A source that answers with these frames, one list per request; an exception among them is raised."""

    def __init__(self, source, answers):
        self.source, self.answers, self.asked, self.closed = source, list(answers), [], 0

    def ask(self, request):
        self.asked.append(request)
        self.now = list(self.answers.pop(0))

    def frame(self):
        one = self.now.pop(0)
        if isinstance(one, BaseException):
            raise one
        return one[0], memoryview(one[1])

    def close(self):
        self.closed += 1


@pytest.fixture
def receive(monkeypatch):
    """A receiver of share `s` whose sources answer so: ``receive(a=[[frame, ...], ...], b=...)``; ``.slept`` and ``.far`` tell the rest."""
    clock = SimpleNamespace(now=1000.0, slept=[])
    monkeypatch.setattr(client, "time", SimpleNamespace(monotonic=lambda: clock.now, sleep=clock.slept.append))

    def make(limit=None, judge=None, **answers):
        sources = [{"name": name, **({"reference": True} if name == "b" else {})} for name in answers]
        one = client.Receiver("s", sources, "keys", limit=limit, **({"judge": judge} if judge else {}))
        one.far = {source["name"]: Far(source, answers[source["name"]]) for source in sources}
        one.links, one.slept, one.clock = [], clock.slept, clock
        monkeypatch.setattr(client, "Link", lambda source, keys: one.links.append((source["name"], keys)) or one.far[source["name"]])
        return one

    return make


ITEM = {"name": "x", "size": 3}
LISTED = {"items": [ITEM | {"sha256": "feed"}], "meta": {"m": 1}}
LIST = (b"I", json.dumps(LISTED).encode())
WAIT = (b"W", b"")
WHOLE = [(b"D", b"ab"), WAIT, (b"D", b"c"), (b"Z", SUM.encode())]


def test_without_more_words_there_is_no_limit_and_patience_of_two_minutes():
    one = client.Receiver("s", [A], "keys")
    assert (one.limit.rate, one.sources.patience_s, one.received_bytes, one.stopped.is_set(), one.judge({})) == (0, 120.0, 0, False, None)
    assert client.Sources([A]).patience_s == 120.0
    limit = client.RateLimit(5)
    assert client.Receiver("s", [A], "keys", limit=limit, patience_s=7.0).limit is limit


def test_the_list_comes_from_the_nearest_that_answers_and_the_line_is_hung_up(receive):
    judged = []
    one = receive(a=[[WAIT, WAIT, LIST]], judge=judged.append)
    assert one.index() == LISTED and judged == [LISTED] and one.links == [("a", "keys")] and one.far["a"].closed == 1
    assert one.far["a"].asked == [wire.Request("s")]


@pytest.mark.parametrize("bad", [(b"I", b"{"), (b"I", b"[" * 10**5), (b"I", b"[]"), (b"I", b'{"items": [{"name": "../x", "size": 1}]}'), Gone("power")])
def test_a_list_that_cannot_be_used_sends_it_to_the_next(receive, bad):
    one = receive(a=[[bad]], b=[[LIST]])
    assert one.index() == LISTED and [name for name, _keys in one.links] == ["a", "b"] and one.far["a"].closed == 1 and one.slept == [0]
    said = one.sources.reasons["a"]
    assert said == "power" or (said.startswith("its list of files cannot be used (") and said.endswith(")"))


def test_what_the_judge_refuses_is_not_taken(receive):
    def judge(index):
        if not judged:
            judged.append(index)
            raise Gone("another model")

    judged = []
    one = receive(a=[[LIST]], b=[[LIST]], judge=judge)
    assert one.index() == LISTED and one.sources.reasons == {"a": "another model"}


def test_a_source_that_does_not_know_us_yet_is_asked_again_after_a_moment(receive):
    one = receive(a=[[NotReady("soon")], [LIST]])
    assert one.index() == LISTED and one.slept == [0.3] and one.far["a"].closed == 2


def test_only_the_box_whose_copy_counts_is_asked_for_the_sums(receive):
    one = receive(a=[], b=[[WAIT, LIST]])
    one.sources.used["a"] = 5
    used = one.sources.used
    assert one.settle() == {"x": "feed"} and one.far["b"].asked == [wire.Request("s", settled=True)] and one.far["b"].closed == 1
    assert [source["name"] for source in one.sources.sources] == ["b"] and one.sources.used is used and one.sources.patience_s == 120.0


@pytest.mark.parametrize("known", [{}, {"sha256": SUM}, {"sha256": None}])
def test_a_file_arrives_whole_under_its_name_with_its_sum(receive, tmp_path, known):
    progress, limited = [], []
    one = receive(a=[WHOLE], limit=lambda count: limited.append(count))
    assert one.fetch(4, ITEM | known, str(tmp_path / "x"), progress.append) == SUM
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x", b"abc")]
    assert progress == limited == [2, 1] and one.received_bytes == 3 and one.sources.used == {"a": 3} and one.far["a"].asked == [wire.Request("s", 4, 0)]


def test_files_of_one_source_come_over_one_line(receive, tmp_path):
    one = receive(a=[WHOLE, WHOLE])
    assert [one.fetch(number, ITEM | {"name": name}, str(tmp_path / name)) for number, name in enumerate("xy")] == [SUM, SUM]
    assert one.links == [("a", "keys")] and one.far["a"].closed == 0


def test_a_fetch_goes_on_where_an_earlier_one_stopped_and_with_the_next_source(receive, tmp_path):
    (tmp_path / "x.incoming").write_bytes(b"a")
    one = receive(a=[[(b"D", b"b"), Gone("power")]], b=[[(b"D", b"c"), (b"Z", SUM.encode())]])
    assert one.fetch(0, ITEM, str(tmp_path / "x")) == SUM
    assert (one.far["a"].asked, one.far["b"].asked) == ([wire.Request("s", 0, 1)], [wire.Request("s", 0, 2)])
    assert one.sources.used == {"a": 1, "b": 1}


def test_who_does_not_have_a_file_is_asked_for_others_over_the_same_line(receive, tmp_path):
    one = receive(a=[[NotHere()], WHOLE], b=[WHOLE])
    assert one.fetch(0, ITEM, str(tmp_path / "x")) == SUM == one.fetch(1, {"name": "y", "size": 3}, str(tmp_path / "y"))
    assert [name for name, _keys in one.links] == ["a", "b", "a"] and one.sources.reasons == {}


@pytest.mark.parametrize(
    ("wrong", "item"),
    [
        ([(b"D", b"abX"), (b"Z", SUM.encode())], ITEM),
        ([(b"D", b"abX"), (b"Z", hashlib.sha256(b"abX").hexdigest().encode())], ITEM | {"sha256": SUM}),
        ([(b"D", b"ab"), (b"Z", hashlib.sha256(b"ab").hexdigest().encode())], ITEM),
    ],
)
def test_what_is_not_that_file_is_fetched_anew_elsewhere_and_in_the_end_given_up(receive, tmp_path, wrong, item):
    one = receive(a=[wrong], b=[WHOLE])
    assert one.fetch(0, item, str(tmp_path / "x")) == SUM and one.sources.reasons == {"a": "what it sent as x is not that file"}
    assert one.far["b"].asked == [wire.Request("s", 0, 0)], "from its beginning"
    last = receive(a=[wrong], b=[wrong], c=[wrong], d=[WHOLE])
    with pytest.raises(GB10Error) as told:
        last.fetch(0, item | {"name": "y"}, str(tmp_path / "y"))
    assert str(told.value) == "y arrived three times with a wrong checksum; check the disk and memory of a, b, c and of this box"
    assert [path.name for path in tmp_path.iterdir()] == ["x"] and last.far["d"].asked == []


def test_more_than_the_file_has_is_refused_before_it_is_written(receive, tmp_path):
    one = receive(a=[[(b"D", b"ab"), (b"D", b"cd")]], b=[[(b"D", b"c"), (b"Z", SUM.encode())]])
    assert one.fetch(0, ITEM, str(tmp_path / "x")) == SUM and one.sources.reasons == {"a": "it sent more than the file has"}


def test_who_is_stopped_takes_nothing_more(receive, tmp_path):
    one = receive(a=[WHOLE])
    one.stopped.set()
    with pytest.raises(GB10Error) as told:
        one.fetch(0, ITEM, str(tmp_path / "x"))
    assert str(told.value) == STOPPED and one.received_bytes == 0 and one.far["a"].closed == 1
    waits = []
    one.stopped = SimpleNamespace(wait=lambda seconds: waits.append(seconds) or len(waits) > 1)
    one.sources.bad(A, Gone("x"))
    with pytest.raises(GB10Error) as told:
        one.index()
    assert str(told.value) == STOPPED and waits == [0.5, 0.5]


def test_a_sign_of_waiting_while_a_file_comes_renews_patience(receive, tmp_path):
    one = receive(a=[WHOLE])
    one.sources._last_good = 0.0
    one.sources.patience_s = 10**6
    one._receive(0, SimpleNamespace(offset=0, size=3, add=lambda _payload: None), lambda _count: None, _asked(Far(A, [[WAIT, (b"Z", b"feed \xff")]])))
    assert one.sources._last_good == 1000.0
    far = Far(A, [[(b"Z", b"feed \xff")]])
    assert one._receive(0, SimpleNamespace(offset=0, size=3), None, far) == ("feed \ufffd", A)


def _asked(far):
    return far


def test_whatever_else_happens_the_line_is_hung_up(receive):
    one = receive(a=[[KeyboardInterrupt()]])
    with pytest.raises(KeyboardInterrupt):
        one.index()
    assert one.far["a"].closed == 1 and one._local.link is None
    one.close()
    with contextlib.suppress(AttributeError):
        del one._local.link
    one.close()
    assert one.far["a"].closed == 1


# Which source, to the second


@pytest.mark.parametrize(("passed_s", "picked"), [(1.9, None), (2.0, "a"), (29.9, "a"), (30.0, "a")])
def test_one_that_failed_is_asked_again_when_there_is_no_other(receive, passed_s, picked):
    one = receive(a=[]).sources
    one.bad(A, Gone("x"))
    client.time.monotonic = lambda: 1000.0 + passed_s
    found = one.pick(set())
    assert (found and found["name"]) == picked


@pytest.mark.parametrize(("passed_s", "picked"), [(29.9, "b"), (30.0, "a")])
def test_the_others_are_preferred_for_half_a_minute(receive, passed_s, picked):
    one = receive(a=[], b=[]).sources
    one.bad(A, Gone("x"))
    client.time.monotonic = lambda: 1000.0 + passed_s
    assert one.pick(set())["name"] == picked


@pytest.mark.parametrize(("passed_s", "over"), [(120.0, False), (120.1, True)])
def test_patience_lasts_to_its_last_second(receive, passed_s, over):
    one = receive(a=[]).sources
    client.time.monotonic = lambda: 1000.0 + passed_s
    with pytest.raises(GB10Error, match="^no source answered$") if over else contextlib.nullcontext():
        assert one.pick(set()) == A


@pytest.mark.parametrize(("passed_s", "bad"), [(29.9, False), (30.0, True)])
def test_one_that_is_not_ready_has_half_a_minute_from_the_first_time(receive, passed_s, bad):
    one = receive(a=[], b=[]).sources
    one.bad(A, NotReady("soon"))
    client.time.monotonic = lambda: 1000.0 + passed_s
    one.bad(A, NotReady("later"))
    assert one.pick(set())["name"] == ("b" if bad else "a") and one.reasons == {"a": "later"}


def test_what_a_source_sent_adds_up(receive):
    one = receive(a=[], b=[]).sources
    for count in (2, 3):
        one.good(A, count)
    one.good(B, 7)
    assert one.used == {"a": 5, "b": 7}


def test_a_rate_leaves_a_tenth_of_a_second_to_catch_up(receive):
    one = receive(a=[])
    limit, slept = client.RateLimit(100), one.slept
    client.time.monotonic = lambda: 1010.0  # it was idle for long
    for count in (5, 5, 10):
        limit(count)
    assert slept == pytest.approx([0.1])
    client.RateLimit(-1)(10)
    client.RateLimit(0.5)(1)
    assert slept == pytest.approx([0.1, 2.0])

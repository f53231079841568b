# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One box's part in a distribution, step by step: what it hands on, in which order, and what it says of what went wrong."""

from __future__ import annotations

import os
import stat
import threading
from types import SimpleNamespace

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import read_json
from ansible_collections.gb10.vllm.plugins.module_utils._transfer import share as file
from ansible_collections.gb10.vllm.plugins.module_utils._transfer import work as work_file
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.index import index_path
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.work import Work


def share(key="s", kind="directory", give=False, **more):
    return {"key": key, "kind": kind, "give": give, "place": f"/{key}", "sources": [{"name": "a"}], **more}


class Kind:
    """Stands for Images and Directories; ``fails``: an error by the key of a share, or by its key and `end`."""

    def __init__(self, name, did):
        self.name, self.did, self.fails = name, did, {}

    def _do(self, what, key, *more):
        self.did.append((what, self.name, key, *more))
        if key in self.fails and what != "judge":
            raise self.fails[key]

    def state(self, place):
        return {"identity": f"{self.name} of {place}"}

    def judge(self, one):
        return f"judge of {one['key']}"

    def offer(self, one, work):
        self._do("offer", one["key"])
        return (lambda: self.end(one)) if self.name == "directories" else None

    def take(self, one, receiver, work):
        self._do("take", one["key"], receiver.how, work.connections, work.keep)
        return lambda: self.end(one)

    def end(self, one):
        if (one["key"], "end") in self.fails:
            raise self.fails[one["key"], "end"]
        return {"of": one["key"]}


@pytest.fixture
def box(tmp_path, monkeypatch):
    did = []
    shares = file.Shares(str(tmp_path / "state"), keys=str(tmp_path / "keys"), docker="/the/docker")
    assert (shares.images.store.docker, shares.directories.docker) == ("/the/docker", "/the/docker")
    shares.images.blobs, shares.images.archives, blobs = str(tmp_path / "blobs"), str(tmp_path / "archives"), shares.images.blobs
    assert blobs == f"{tmp_path}/state/transfer/blobs" and shares.root == f"{tmp_path}/state/transfer"
    shares.real = shares.images
    shares.images, shares.directories, shares.did, shares.clock = Kind("images", did), Kind("directories", did), did, SimpleNamespace(now=50.0)

    class Receiver:
        def __init__(self, key, sources, keys, **how):
            self.how = (key, sources, keys, how["limit"].rate, how["patience_s"], how["judge"])
            self.received_bytes, self.sources = 7, SimpleNamespace(used={"a": 7})
            shares.clock.now += 1.2345

        def close(self):
            did.append("closed")

    monkeypatch.setattr(file, "Receiver", Receiver)
    monkeypatch.setattr(file.time, "monotonic", lambda: shares.clock.now)
    monkeypatch.setattr(file, "trust", lambda *words: did.append(("trust", *words)))
    os.makedirs(tmp_path / "state/transfer")
    return shares


def said(box):
    lines = (os.path.join(box.root, "progress.jsonl"),)
    with open(lines[0], encoding="utf-8") as stream:
        return stream.read()


def test_what_is_given_is_offered_first_directories_before_images_and_then_it_takes(box):
    shares = [share("i", "image", True), share("t"), share("d", give=True), share("u", "image")]
    told = box.transfer(shares, ["one", "two"], connections=3, rate_bytes_s=9.0, keep=5, patience_s=11.0)

    def how(key):
        return (key, [{"name": "a"}], box.keys, 9.0, 11.0, f"judge of {key}")

    assert box.did == [
        ("trust", box.keys, ["one", "two"]), ("offer", "directories", "d"), ("offer", "images", "i"),
        ("take", "directories", "t", how("t"), 3, 5), "closed", ("take", "images", "u", how("u"), 3, 5), "closed",
    ]  # fmt: skip
    taken = {"received_bytes": 7, "sources": {"a": 7}, "transfer_s": 1.23}
    assert told == {"changed": True, "shares": {"d": {"of": "d"}, "t": taken | {"of": "t"}, "u": taken | {"of": "u"}}}
    assert '"finished"' in said(box) and '"everything is in its place"' in said(box)
    assert read_json(index_path(box.root, "i"))["state"] == "working"


def test_unless_told_it_fetches_four_at_once_as_fast_as_it_can_and_keeps_one_earlier_version(box):
    assert box.transfer([share("d", give=True)], []) == {"changed": False, "shares": {"d": {"of": "d"}}}
    box.did.clear()
    box.transfer([share()], [])
    assert box.did[1] == ("take", "directories", "s", ("s", [{"name": "a"}], box.keys, 0.0, 120.0, "judge of s"), 4, 1)


@pytest.mark.parametrize("when", ["at once", "end"])
def test_what_goes_wrong_with_one_share_is_said_and_stops_no_other(box, when):
    for name, key in (("directories", "d"), ("directories", "t")):
        getattr(box, name).fails[key if when == "at once" else (key, "end")] = GB10Error(f"no {key}")
    with pytest.raises(GB10Error) as told:
        box.transfer([share("d", give=True), share("t"), share("u"), share("v", give=True)], [])
    expected = {"/d could not be offered: no d", "/t did not arrive: no t"}
    assert set(str(told.value).split(". ")) == expected and set(told.value.details["shares"]) >= {"u", "v"}
    assert told.value.details["shares"]["u"]["of"] == "u" and all(one in said(box) for one in expected) and "; " in said(box)
    for key, state, reason in (("d", "failed", "no d"), ("t", "failed", "no t"), ("u", "working", "")):
        found = read_json(index_path(box.root, key))
        assert (found["state"], found["reason"]) == (state, reason)


@pytest.mark.parametrize(("named", "said"), [("/models/m", "/models/m"), (None, "/t")])
def test_a_disk_that_refuses_is_named(box, monkeypatch, named, said):
    monkeypatch.setattr(file, "disk_problem", lambda path, error: f"{path}: {error.strerror}")
    box.directories.fails["t"] = OSError(28, "full", named)
    with pytest.raises(GB10Error) as told:
        box.transfer([share("t")], [])
    assert str(told.value) == f"/t did not arrive: {said}: full" and read_json(index_path(box.root, "t"))["state"] == "failed"


@pytest.fixture
def opened(box, monkeypatch):
    """What opening does, step by step."""
    did = box.did
    monkeypatch.setattr(file, "stop_server", lambda keys: did.append(("stop", keys)) or True)
    monkeypatch.setattr(file, "remove_keys", lambda keys: did.append(("remove", keys)))
    monkeypatch.setattr(file, "make_certificate", lambda keys, name: did.append(("certificate", keys, name)) or "pem")
    monkeypatch.setattr(file, "listening_addresses", lambda link, others: did.append(("addresses", link, others)) or ["192.0.2.1"])
    monkeypatch.setattr(file, "own_addresses", lambda: ["192.0.2.9"])
    monkeypatch.setattr(file, "start_server", lambda *words, **how: did.append(("start", words, how)) or 4711)
    return box


@pytest.mark.parametrize(
    ("how", "asked", "own"),
    [
        ({}, None, None),
        ({"link": "l"}, ("addresses", "l", ()), ["192.0.2.1"]),
        ({"addresses": ["x"]}, ("addresses", "", ["x"]), ["192.0.2.1"]),
        ({"addresses": []}, ("addresses", "", ()), ["192.0.2.1"]),
        ({"link": "l", "addresses": ["x"], "connections": 9}, ("addresses", "l", ["x"]), ["192.0.2.1"]),
    ],
)
def test_a_box_opens_with_new_keys_and_says_where_it_listens_and_what_it_has(opened, how, asked, own):
    os.makedirs(os.path.join(opened.root, "shares", "old"))
    os.chmod(opened.root, 0o755)
    told = opened.open([share("t"), share("i", "image")], "spark-1", 80, **how)
    states = {"t": {"identity": "directories of /t"}, "i": {"identity": "images of /i"}}
    assert told == {"port": 4711, "certificate": "pem", "addresses": own or ["192.0.2.9"], "shares": states}
    keys, server = opened.keys, (opened.root, opened.keys, 80, 900.0)
    start = ("start", server, {"addresses": own, "connections": how.get("connections", 4)})
    assert opened.did == [("stop", keys), ("remove", keys), ("certificate", keys, "spark-1"), *([asked] if asked else []), start]
    assert os.listdir(opened.root) == [] and stat.S_IMODE(os.stat(opened.root).st_mode) == 0o700


def test_its_directory_is_made_closed(opened, monkeypatch):
    os.rmdir(opened.root)
    monkeypatch.setattr(file.os, "chmod", lambda *_words: None)
    before = os.umask(0)
    try:
        opened.open([], "a", 0, 5.0)
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(opened.root).st_mode) == 0o700 and opened.did[-1][1][3] == 5.0


@pytest.mark.parametrize(("pid", "is_transfer", "refused"), [(4711, True, True), (4711, False, False), (os.getpid(), True, False)])
def test_a_second_run_is_refused_before_anything_is_stopped(opened, monkeypatch, pid, is_transfer, refused):
    monkeypatch.setattr(file, "workers", lambda root: [pid] if root == opened.root else [])
    monkeypatch.setattr(file, "is_transfer", lambda one: {pid: is_transfer}[one])
    if refused:
        with pytest.raises(GB10Error) as told:
            opened.open([], "a", 0)
        said = "another run is sending images or models to or from this box (process 4711); wait for it, or end it, and run again"
        assert str(told.value) == said and opened.did == []
    else:
        assert opened.open([], "a", 0)["port"] == 4711


@pytest.mark.parametrize(("complete", "left"), [(True, []), (False, ["archives", "blobs"])])
def test_what_is_kept_for_going_on_goes_only_when_all_is_there(opened, tmp_path, complete, left):
    opened.images = opened.real
    for folder in ("blobs", "archives", "state/transfer/shares"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x").touch()
    assert opened.close(complete) is True and opened.did == [("stop", opened.keys), ("remove", opened.keys)]
    assert sorted(os.listdir(tmp_path)) == [*left, "state"] and os.listdir(opened.root) == []
    assert opened.close(complete) is True


# Several files at once


class Receiver:
    def __init__(self, fails=()):
        self.sources, self.stopped, self.fails, self.did, self.closed = SimpleNamespace(used={}), threading.Event(), fails, [], 0

    def fetch(self, number, item, path, on_progress):
        self.did.append((number, item["name"], path))
        if item["name"] in self.fails:
            raise GB10Error("no")
        on_progress(item["size"])
        self.sources.used["b"] = 1
        return f"sum of {item['name']}"

    def close(self):
        self.closed += 1


def test_what_is_there_already_does_not_come_again_and_each_that_comes_is_noted(tmp_path):
    (tmp_path / "here").write_bytes(b"abc")
    (tmp_path / "half").write_bytes(b"a")
    said, noted, receiver = [], [], Receiver()
    needed = [(4, {"name": "here", "size": 3}), (5, {"name": "half", "size": 3}), (6, {"name": "new", "size": 4})]
    Work(None, lambda *words: said.append(words), 1).fetch("it", needed, str(tmp_path), receiver, lambda item, digest: noted.append((item["name"], digest)))
    assert receiver.did == [(5, "half", f"{tmp_path}/half"), (6, "new", f"{tmp_path}/new")] and receiver.closed == 2
    assert noted == [("half", "sum of half"), ("new", "sum of new")]
    assert said == [("receive", "it from another box", 3, 7), ("receive", "it from b", 7, 7)]


def test_a_file_that_cannot_be_had_hangs_up_and_ends_it(tmp_path):
    receiver = Receiver(fails=("x",))
    with pytest.raises(GB10Error, match="^no$"):
        Work(None, lambda *_words: None, 1).fetch("it", [(0, {"name": "x", "size": 1})], str(tmp_path), receiver)
    assert receiver.closed == 1


def test_so_many_at_once_and_stopped_together(tmp_path, monkeypatch):
    asked, receiver = [], Receiver()
    monkeypatch.setattr(work_file, "together", lambda *words: asked.append(words))
    work = Work(None, None)
    work.fetch("it", [(0, {"name": "x", "size": 1})], str(tmp_path), receiver)
    assert asked[0][1:] == (4, receiver.stopped) and len(asked[0][0]) == 1 and work.keep == 1


def test_a_count_may_be_said_in_words_that_stay_or_change():
    said = []
    work = Work(None, lambda *words: said.append(words))
    plain, changing = work.counter("save", "it", 9), work.counter("load", lambda: f"{len(said)} before", 8)
    for count in (plain, changing, plain):
        count(2)
    assert said == [("save", "it", 2, 9), ("load", "1 before", 2, 8), ("save", "it", 4, 9)]

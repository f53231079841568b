# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is written down about a share, and what others may conclude from it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import read_json, write_json
from ansible_collections.gb10.vllm.plugins.module_utils._transfer import index
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture
def gone():
    """The number of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@given(st.text())
def test_a_key_never_becomes_a_path(key):
    path = index.index_path("/root", key)
    assert os.path.normpath(path) == path and path.startswith("/root/shares/") and path.count("/") == 4


def test_there_is_hope_while_somebody_works_on_it(gone):
    assert index.end_reason({}) is None
    assert index.end_reason({"state": "working", "pid": os.getpid()}) is None
    assert index.end_reason({"state": "done", "pid": gone}) is None
    assert index.end_reason({"state": "working", "pid": gone}) == "its own transfer was stopped"
    assert index.end_reason({"state": "failed", "pid": os.getpid(), "reason": "disk full"}) == "disk full"


def test_a_share_is_described_from_its_first_moment(tmp_path):
    shares = index.Descriptions(str(tmp_path), ["a", "b"])
    shares.say(index.WORKING, "a", "b")
    assert list(index.workers(str(tmp_path))) == [os.getpid()] * 2
    shares.offer("a", [{"name": "x", "size": 1, "sha256": None}], ["/m"], {"record": {}})
    shares.digest("a", "x", "feed")
    assert shares.digests("a") == {"x": "feed"}
    assert read_json(index.index_path(str(tmp_path), "a")) == {
        "pid": os.getpid(), "state": "working", "reason": "", "items": [{"name": "x", "size": 1, "sha256": "feed"}], "roots": ["/m"], "meta": {"record": {}},
    }  # fmt: skip
    shares.say(index.DONE, "a")
    shares.say(index.FAILED, "b", reason="no")
    assert list(index.workers(str(tmp_path))) == []


def test_no_share_no_worker(tmp_path):
    assert list(index.workers(str(tmp_path / "none"))) == []


def test_a_full_disk_cannot_stop_the_telling(tmp_path):
    (tmp_path / "shares").write_text("in the way")
    index.Descriptions(str(tmp_path), ["a"]).say(index.FAILED, "a", reason="no")


def test_who_lives_and_who_is_a_transfer(gone):
    assert index.alive(os.getpid()) and index.alive(1) and not index.alive(gone)
    assert not index.is_transfer(gone)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as python, subprocess.Popen(["cat"], stdin=subprocess.PIPE) as cat:
        assert index.is_transfer(python.pid) and not index.is_transfer(cat.pid)


def test_whether_somebody_lives_is_asked_and_nobody_is_signalled(monkeypatch):
    asked = []
    monkeypatch.setattr(index.os, "kill", lambda *words: asked.append(words))
    assert index.alive(7) and asked == [(7, 0)]

    def somebodys(_pid, _signal):
        raise PermissionError

    monkeypatch.setattr(index.os, "kill", somebodys)
    assert index.alive(7), "another user's lives too"


@pytest.mark.parametrize(("pid", "counts"), [(2**31 - 1, True), (2**31, False), (2**40, False), ("7", False), (None, False)])
def test_a_number_that_no_process_has_is_no_worker(tmp_path, pid, counts):
    path = index.index_path(str(tmp_path), "a")
    assert path == f"{tmp_path}/shares/ca978112ca1bbdcafac231b3/index.json"
    os.makedirs(os.path.dirname(path))
    write_json(path, {"state": index.WORKING, "pid": pid})
    assert list(index.workers(str(tmp_path))) == ([pid] if counts else [])

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files are written whole or not at all, and a disk that refuses is named."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io import files
from hypothesis import given
from hypothesis import strategies as st


def test_a_file_is_replaced_whole_and_its_directory_is_made(tmp_path):
    path = tmp_path / "a" / "b.json"
    files.write_json(path, {"one": 1})
    files.write_json(str(path), {"two": [2]})
    assert files.read_json(path) == {"two": [2]}
    assert os.listdir(path.parent) == ["b.json"]
    files.write_whole(path, b"\x00raw", mode=0o600, durable=True)
    assert path.read_bytes() == b"\x00raw"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_for_people_is_indented_and_ends_with_a_new_line(tmp_path):
    files.write_json(tmp_path / "x", {"b": 1, "a": 2}, indent=1, sort_keys=True)
    assert (tmp_path / "x").read_text() == '{\n "a": 2,\n "b": 1\n}\n'


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_text("old")

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_whole(path, "new", durable=True)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x"]


def test_a_durable_file_is_on_the_disk_with_its_name(tmp_path, monkeypatch):
    done, sync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(files.os, "fsync", lambda descriptor: (done.append(os.readlink(f"/proc/self/fd/{descriptor}")), sync(descriptor)))
    monkeypatch.setattr(files.os, "replace", lambda old, new: (done.append("named"), replace(old, new)))
    files.write_whole(tmp_path / "x", "new", durable=True)
    assert len(done) == 3 and os.path.dirname(done[0]) == str(tmp_path) and done[1:] == ["named", str(tmp_path)]
    done.clear()
    files.write_whole(tmp_path / "x", "newer")
    assert done == ["named"]


@pytest.mark.parametrize("content", [None, "", "{", "\xff\xfe", "[1,"])
def test_what_is_missing_or_broken_is_none(tmp_path, content):
    if content is not None:
        (tmp_path / "x").write_bytes(content.encode("latin-1"))
    assert files.read_json(tmp_path / "x") is None


def test_a_sum_and_its_progress(tmp_path):
    data = os.urandom(files.CHUNK + 17)
    (tmp_path / "x").write_bytes(data)
    steps = []
    assert files.file_sha256(tmp_path / "x", steps.append) == hashlib.sha256(data).hexdigest()
    assert steps == [files.CHUNK, 17]
    assert files.has_size(tmp_path / "x", len(data))
    assert not files.has_size(tmp_path / "x", 1)
    assert not files.has_size(tmp_path / "y", 0)


@pytest.mark.parametrize("name", ["a", "a/b.safetensors", ".hidden", "a..b", "..."])
def test_names_that_stay_inside(name):
    assert files.safe_name(name)


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../a", "a/../b", "a//b", "a/", "./a", "a\0b"])
def test_names_that_lead_outside(name):
    assert not files.safe_name(name)


@given(st.text(alphabet="./ab\0", max_size=12))
def test_a_safe_name_never_leaves_its_directory(name):
    if files.safe_name(name):
        assert os.path.normpath(os.path.join("/root", name)).startswith("/root/")


class Slow(io.RawIOBase):
    """Takes three bytes at a time."""

    def __init__(self):
        super().__init__()
        self.got = b""

    def write(self, data):
        self.got += bytes(data[:3])
        return len(bytes(data[:3]))


def test_all_of_a_buffer_is_written():
    stream = Slow()
    files.write_all(stream, b"0123456789", "/x")
    assert stream.got == b"0123456789"


def test_a_full_disk_is_said_with_what_to_do(tmp_path):
    with open("/dev/full", "wb", buffering=0) as stream, pytest.raises(GB10Error, match=r"the disk of /srv/m became full while w.bin was written; free space"):
        files.write_all(stream, b"1", "/srv/m/w.bin.incoming")
    assert "check the permissions" in str(files.disk_problem("/srv/x", OSError(errno.EIO, "Input/output error")))
    with pytest.raises(GB10Error, match="cannot be written"):
        files.open_incoming(str(tmp_path / "none" / "x"))


def test_an_arriving_file_is_opened_with_what_it_has(tmp_path):
    path = str(tmp_path / "x.incoming")
    with files.open_incoming(path) as stream:
        files.write_all(stream, b"abc", path)
        files.sync(stream, path)
    with files.open_incoming(path) as stream:
        assert stream.read() == b"abc"
    assert json.dumps(os.listdir(tmp_path)) == '["x.incoming"]'

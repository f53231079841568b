# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A file that arrives in pieces, over several attempts and from sources that begin anew."""

from __future__ import annotations

import hashlib
import os

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.incoming import Incoming
from hypothesis import given
from hypothesis import strategies as st


def git_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def test_it_goes_on_where_an_earlier_attempt_stopped(tmp_path):
    data = os.urandom(3000)
    path = str(tmp_path / "w.incoming")
    with Incoming(path, len(data), git=True) as file:
        assert file.offset == 0 and not file.complete
        file.add(data[:1000])
    with Incoming(path, len(data), git=True) as file:
        assert file.offset == 1000
        file.add(memoryview(data)[1000:])
        assert file.complete
        file.sync()
        assert (file.sha256, file.git_blob) == (hashlib.sha256(data).hexdigest(), git_id(data))
    assert (tmp_path / "w.incoming").read_bytes() == data


def test_what_is_longer_was_another_file(tmp_path):
    (tmp_path / "w").write_bytes(b"x" * 10)
    with Incoming(str(tmp_path / "w"), 4) as file:
        assert file.offset == 0 and file.git_blob == ""
    assert (tmp_path / "w").read_bytes() == b""


def test_a_source_that_begins_anew(tmp_path):
    (tmp_path / "w").write_bytes(b"old")
    with Incoming(str(tmp_path / "w"), 3, git=True) as file:
        file.restart()
        assert file.offset == 0
        file.add(b"new")
        assert file.sha256 == hashlib.sha256(b"new").hexdigest() and file.git_blob == git_id(b"new")
    assert (tmp_path / "w").read_bytes() == b"new"


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_however_it_is_cut_the_sums_are_those_of_the_whole(tmp_path_factory, data, cuts):
    path = str(tmp_path_factory.mktemp("in") / "w")
    at = 0
    for end in [*sorted(cuts), len(data)]:
        with Incoming(path, len(data), git=True) as file:
            assert file.offset == at
            file.add(data[at:end])
            at = max(at, min(end, len(data)))
    with Incoming(path, len(data), git=True) as file:
        assert file.complete and file.sha256 == hashlib.sha256(data).hexdigest() and file.git_blob == git_id(data)


def test_an_empty_file_is_complete_at_once(tmp_path):
    with Incoming(str(tmp_path / "w"), 0) as file:
        assert file.complete


def test_a_disk_that_refuses(tmp_path):
    with pytest.raises(GB10Error, match="check the permissions and the disk"):
        Incoming(str(tmp_path / "no" / "w"), 1)

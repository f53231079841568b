# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The record in a model directory: read whatever it is, and what its files are told by."""

from __future__ import annotations

import hashlib
import json

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._model import record

SUM = "a" * 64


@pytest.mark.parametrize("text", ["[]", "7", '"x"', "null", "{", "", "[" * 100_000, "\ud800".encode("utf-8", "surrogatepass").decode("latin-1")])
def test_what_is_no_record_is_none(tmp_path, text):
    (tmp_path / record.RECORD).write_text(text)
    assert record.read_record(str(tmp_path)) == {} == record.recorded_files(str(tmp_path))


def test_a_record_is_read_as_bytes_and_to_a_bound(tmp_path, monkeypatch):
    (tmp_path / record.RECORD).write_bytes('{"repo_id": "ü/x"}'.encode("utf-8-sig"))
    assert record.read_record(str(tmp_path)) == {"repo_id": "ü/x"}
    monkeypatch.setattr(record, "_LIMIT", 8)
    assert record.read_record(str(tmp_path)) == {}, "cut off, and no record any more"


def test_a_file_that_is_gone_or_changed_is_not_intact(tmp_path):
    (tmp_path / "a").write_text("x")
    seen = (tmp_path / "a").stat()
    record.write_record(str(tmp_path), {"files": {"a": {"size": 1, "sha256": SUM, "mtime_ns": seen.st_mtime_ns}}})
    assert record.intact(str(tmp_path))
    (tmp_path / "a").write_text("xy")
    assert not record.intact(str(tmp_path))
    (tmp_path / "a").unlink()
    assert not record.intact(str(tmp_path))


def test_files_are_told_apart_by_name_size_and_sum():
    def digest(name="a", size=1, sha256=SUM):
        return record.files_digest({"files": {name: {"size": size, "sha256": sha256}}})

    assert digest() == hashlib.sha256(json.dumps([["a", 1, SUM]]).encode()).hexdigest()
    assert len({digest(), digest(name="b"), digest(size=2), digest(sha256="b" * 64), record.files_digest({})}) == 5
    assert record.files_digest({"files": {"a": "no entry"}}) == ""

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is remembered of the images on a box."""

from __future__ import annotations

from ansible_collections.gb10.vllm.plugins.module_utils._image.record import Record

ID, OTHER = "sha256:" + "1" * 64, "sha256:" + "2" * 64


def test_what_is_gone_is_forgotten(tmp_path):
    record = Record(tmp_path)
    assert record.read() == {} and record.inputs("vllm-node:latest", ID) is None and record.versions(ID) is None
    for one in (ID, OTHER):
        record.keep_versions(one, {"vllm_version": "1"})
        record.keep_damage(one, "bad layer")
    record.made("vllm-node:latest", ID, {"source": "archive"}, {}, [ID])
    assert record.read() == {
        "names": {"vllm-node:latest": {"image_id": ID, "inputs": {"source": "archive"}}},
        "metadata": {ID: {"vllm_version": "1"}}, "damaged": {ID: "bad layer"},
    }  # fmt: skip
    assert record.inputs("vllm-node:latest", ID) == {"source": "archive"} and record.inputs("vllm-node:latest", OTHER) is None
    record.forget_damage(ID)
    assert "damaged" not in record.read()


def test_a_broken_record_is_none(tmp_path):
    (tmp_path / "images.json").write_text("[1")
    assert Record(tmp_path).read() == {}

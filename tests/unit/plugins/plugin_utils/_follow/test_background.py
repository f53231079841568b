# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the user reads while something long is at work on a box."""

from __future__ import annotations

import json

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._follow.background import describe, last_record

BUILD = {"phase": "build", "step": 5, "steps": 9, "text": "RUN uv pip install: Downloaded torch", "bytes": 0, "total_bytes": 0, "elapsed_s": 95.2}
PULL = {"phase": "pull", "step": 1, "steps": 4, "text": "downloading layers", "bytes": 2_500_000_000, "total_bytes": 9_000_000_000, "bytes_per_s": 110_000_000}


@pytest.mark.parametrize(
    "record, text",
    [
        (BUILD, "step 5 of 9, RUN uv pip install: Downloaded torch, 1 min 35 s"),
        ({**PULL, "elapsed_s": 23}, "step 1 of 4, downloading layers, 2.5 GB of 9.0 GB, 110 MB/s, 23 s"),
        ({"phase": "wait", "text": "another build", "elapsed_s": 3}, "wait, another build, 3 s"),
        ({}, ""),
    ],
)
def test_text(record, text):
    assert describe(record) == text


def test_a_half_written_line_is_nolast_record():
    assert last_record('{"phase": "bu') == {} and last_record("") == {} and last_record("[1]") == {}
    assert last_record(json.dumps(BUILD)) == BUILD

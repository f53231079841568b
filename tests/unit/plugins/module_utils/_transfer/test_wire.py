# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What goes over the wire, and what is refused there."""

from __future__ import annotations

import json

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._transfer import wire
from hypothesis import given
from hypothesis import strategies as st


@given(st.text(), st.none() | st.integers(0, 10**6), st.integers(0, 2**62))
def test_a_request_arrives_as_it_was_sent(share, item, offset):
    sent = wire.Request(share, item, offset if item is not None else 0)
    assert sent.line().endswith(b"\n") and sent.line().count(b"\n") == 1
    assert wire.Request.parse(sent.line()) == sent


def test_what_is_asked_for_in_bytes():
    assert json.loads(wire.Request("m").line()) == {"share": "m"}
    assert json.loads(wire.Request("m", 3, 7).line()) == {"share": "m", "item": 3, "offset": 7}
    assert wire.Request.parse(b'{"share": "m", "item": "2", "offset": -5}') == wire.Request("m", 2, 0)


@pytest.mark.parametrize("line", [b"", b"GET / HTTP/1.1", b"[]", b"7", b'{"share": "m", "item": []}', b"\xff"])
def test_what_is_no_request(line):
    with pytest.raises(ValueError):
        wire.Request.parse(line)


@given(st.sampled_from([wire.LIST, wire.DATA, wire.WAITING, wire.NOT_HERE, wire.CANNOT, wire.COMPLETE]), st.integers(0, wire.LONGEST_FRAME))
def test_a_frame_says_what_it_is_and_how_long(letter, length):
    data = wire.header(letter, length)
    assert len(data) == wire.FRAME_BYTES
    assert wire.parse_header(data) == (letter, length)


def test_another_protocol_is_noticed():
    with pytest.raises(wire.Gone, match="something else than this protocol"):
        wire.parse_header(b"HTTP/1.1"[: wire.FRAME_BYTES])


def test_the_letters_are_those_of_earlier_versions():
    assert wire.LIST + wire.DATA + wire.WAITING + wire.NOT_HERE + wire.CANNOT + wire.COMPLETE == b"IDWNEZ"
    assert wire.header(b"D", 258) == b"D\x00\x00\x01\x02"

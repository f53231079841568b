# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a server tells and which file it opens; the rest of it needs two boxes (tests/on_machine/test_share.py)."""

from __future__ import annotations

import os
import socket

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._transfer import server


def test_only_what_concerns_the_other_box_is_told():
    items = [{"name": "x", "size": 1, "sha256": "f", "mtime_ns": 5, "absent": True, "secret": 1}, {"name": "y", "size": 2}]
    told = server.listing({"items": items, "meta": {"record": 1}, "roots": ["/srv"], "pid": 7})
    assert told == {"items": [{"name": "x", "size": 1, "sha256": "f", "mtime_ns": 5}, {"name": "y", "size": 2}], "meta": {"record": 1}}


def test_a_file_is_found_whole_or_arriving_in_the_first_directory_that_has_it(tmp_path):
    first, second = str(tmp_path / "m.partial"), str(tmp_path / "m")
    os.makedirs(first)
    os.makedirs(second)
    roots = [first, second]
    assert server.open_item(roots, "x") is None
    (tmp_path / "m" / "x").write_bytes(b"whole")
    with server.open_item(roots, "x") as stream:
        assert stream.read() == b"whole"
    (tmp_path / "m.partial" / "x.incoming").write_bytes(b"arriving")
    with server.open_item(roots, "x") as stream:
        assert stream.read() == b"arriving"
    assert server.open_item(roots, "x/y") is None


def test_no_server_to_stop(tmp_path):
    assert not server.stop_server(str(tmp_path))
    (tmp_path / server.PID).write_text("1")
    assert not server.stop_server(str(tmp_path)), "nobody holds its lock, so the number means nothing"


def test_a_port_that_is_taken_is_named(tmp_path):
    with socket.socket(socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET) as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(GB10Error, match=f"port {port} of this box cannot be used for the transfer .*gb10_distribution.port"):
            server.start_server(str(tmp_path), str(tmp_path), port)

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How many requests are in a server, out of what vLLM writes."""

from __future__ import annotations

import socket
import threading

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._engine import api
from ansible_collections.gb10.vllm.plugins.module_utils._engine.requests import count, open_requests

METRICS = """# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="tiny"} 2.0
vllm:num_requests_waiting{engine="0",model_name="tiny"} 1.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="tiny",reason="capacity"} 1.0
vllm:num_requests_running{engine="1",model_name="tiny"} 0.0
"""


def test_what_runs_and_what_waits_counts_once():
    assert count(METRICS) == 3
    assert count("") == 0


def test_a_server_that_does_not_answer_has_nothing_to_wait_for(tmp_path):
    assert open_requests("http://127.0.0.1:1", str(tmp_path / "key.env")) == 0


def asked(tmp_path, answer, **more):
    """What is made of a server that answers so; None: it takes the connection and says nothing."""
    server = socket.create_server(("127.0.0.1", 0))
    held = []

    def serve():
        connection, _address = server.accept()
        held.append(connection)
        if answer is not None:
            connection.recv(65536)
            connection.sendall(answer)
            connection.close()

    threading.Thread(target=serve, daemon=True).start()
    with server:
        return open_requests(f"http://127.0.0.1:{server.getsockname()[1]}", str(tmp_path / "key.env"), **more)


@pytest.mark.parametrize(
    ("answer", "requests"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n" + METRICS.encode(), 3),
        (b"HTTP/1.1 200 OK\r\n\r\nnothing of vLLM\n", 0),
        (b"", 0),  # Docker's proxy, behind which nobody listens
        (b"HTTP/1.1 401 Unauthorized\r\n\r\n", None),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", None),
        (b"no HTTP at all\r\n\r\n", None),
    ],
)
def test_a_server_that_does_not_say_how_many_it_has_is_not_idle(tmp_path, answer, requests):
    assert asked(tmp_path, answer) == requests


def test_one_that_hangs_is_waited_for_unless_its_watch_knows_that_it_is_dead(tmp_path, monkeypatch):
    monkeypatch.setattr(api.Api.call, "__defaults__", (None, 0.3))
    said = tmp_path / "tiny"
    for word, requests in (("", None), ("up\n", None), ("down\n", 0)):
        said.write_text(word)
        assert asked(tmp_path, None, watched=str(said)) == requests
    assert asked(tmp_path, None, watched=str(tmp_path / "none")) is None

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The HTTP API of a server: a real server on a real socket."""

from __future__ import annotations

import http.server
import json
import ssl
import threading

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._engine import api as engine_api
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from certificate_files import pair


class Server(http.server.BaseHTTPRequestHandler):
    """Answers as an OpenAI server with the key `sesame` would."""

    def do_GET(self):
        if self.headers.get("Authorization") != "Bearer sesame":
            return self.reply(401, {"error": "Unauthorized"})
        return self.reply(200, {"data": [{"id": "tiny", "max_model_len": 64}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return self.reply(200, {"asked": body})

    def reply(self, status, value):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def address():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_the_key_opens_the_api(address):
    assert engine_api.Api(address, None).call("/v1/models")[0] == 401
    status, body = engine_api.Api(address, "sesame").call("/v1/models")
    assert (status, json.loads(body)["data"][0]["id"]) == (200, "tiny")


def test_a_question_is_posted_as_json(address):
    status, body = engine_api.Api(address + "/", "sesame").call("/v1/completions", {"prompt": "hi"})
    assert (status, json.loads(body)) == (200, {"asked": {"prompt": "hi"}})


def test_nothing_listening_is_no_exception():
    status, reason = engine_api.Api("http://127.0.0.1:9", None).call("/v1/models")
    assert status == 0
    assert "refused" in reason


def test_a_bad_address_is_named():
    with pytest.raises(GB10Error, match="is not an address like"):
        engine_api.Api("box1:8000", None)


def test_only_an_object_counts_as_a_reply():
    assert engine_api.json_object('{"a": 1}') == {"a": 1}
    assert engine_api.json_object("[1]") == engine_api.json_object("<html>") == engine_api.json_object("") == {}


def test_a_box_asks_its_server_over_tls_whatever_name_the_certificate_has(tmp_path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair(tmp_path))
    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    listener.socket = context.wrap_socket(listener.socket, server_side=True)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    try:
        url = f"https://127.0.0.1:{listener.server_address[1]}"
        assert engine_api.Api(url, "sesame").call("/v1/models")[0] == 200
        assert engine_api.Api(url, None).call("/v1/models")[0] == 401
    finally:
        listener.shutdown()
        listener.server_close()

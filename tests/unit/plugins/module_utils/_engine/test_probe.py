# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the probe reads without Docker: time stamps, the HTTP API (a real server on a real socket), the key file."""

from __future__ import annotations

import http.server
import json
import threading

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._engine import probe as engine_probe
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error


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
    assert engine_probe.Api(address, None).call("/v1/models")[0] == 401
    status, body = engine_probe.Api(address, "sesame").call("/v1/models")
    assert (status, json.loads(body)["data"][0]["id"]) == (200, "tiny")


def test_a_question_is_posted_as_json(address):
    status, body = engine_probe.Api(address + "/", "sesame").call("/v1/completions", {"prompt": "hi"})
    assert (status, json.loads(body)) == (200, {"asked": {"prompt": "hi"}})


def test_nothing_listening_is_no_exception():
    status, reason = engine_probe.Api("http://127.0.0.1:9", None).call("/v1/models")
    assert status == 0
    assert "refused" in reason


def test_a_bad_address_is_named():
    with pytest.raises(GB10Error, match="is not an address like"):
        engine_probe.Api("box1:8000", None)


def test_docker_time_stamps():
    assert engine_probe.epoch("1970-01-01T00:00:00Z") is None, "Docker's zero time"
    assert engine_probe.epoch("0001-01-01T00:00:00Z") is None
    assert engine_probe.epoch("not a time") is None
    whole = engine_probe.epoch("2026-11-23T14:16:02Z")
    assert engine_probe.epoch("2026-11-23T14:16:02.215138961Z") == pytest.approx(whole + 0.215138961)
    assert engine_probe.epoch("2026-11-23T15:16:02.5+01:00") == whole + 0.5


def test_an_unreadable_key_file_is_named(tmp_path):
    with pytest.raises(GB10Error, match="file with the API key, .* cannot be read on this box: Is a directory"):
        engine_probe.Follower("c", "http://127.0.0.1:1", str(tmp_path), None, "auto", "hi", 60.0, 5.0)


def test_a_server_without_a_key_has_no_key_file(tmp_path):
    assert engine_probe.Follower("c", "http://127.0.0.1:1", str(tmp_path / "no.env"), None, "auto", "hi", 60.0, 5.0).secrets == []


def test_memory_is_read_from_the_kernel():
    assert engine_probe.memory_available_bytes() > 2**20


def test_secrets_in_private_files():
    text = "A=1\nVLLM_API_KEY='a b\\c'\nexport HF_TOKEN=\"hf_x\"\nMY_PASSWORD=it's\nEMPTY_KEY=\n# KEY\n"
    assert engine_probe._secrets(text) == {"VLLM_API_KEY": "a b\\c", "HF_TOKEN": "hf_x", "MY_PASSWORD": "it's"}

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook adopt over imitated boxes: a container that somebody made by hand becomes an entry that site serves; nothing of it is touched."""

from __future__ import annotations

import json
import sys

import yaml
from imitated_fleet import KEY, ONE, flat, needs_root
from imitation import SERVER

pytest_plugins = ["imitated_fleet"]
pytestmark = needs_root
MADE = {
    "Image": "vllm-node",
    "Cmd": ["vllm", "serve", "/models/tiny", "--host", "0.0.0.0", "--gpu-memory-utilization", "0.3", "--max-model-len", "1024", "--api-key", KEY],
    "Env": ["PATH=/usr/bin"],
    "HostConfig": {"Binds": ["/srv/models/tiny:/models/tiny"], "PortBindings": {"8000/tcp": [{"HostIp": "", "HostPort": "8005"}]}, "Privileged": True},
}
BY_HAND = """
import http.client, json, socket
connection = http.client.HTTPConnection("docker")
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect("/run/docker.sock")
connection.request("POST", "/containers/create?name=by-hand", json.dumps(%s), {"Content-Type": "application/json"})
print(connection.getresponse().status)
"""


def test_a_container_made_by_hand_becomes_an_entry_that_site_serves(boxes):
    (boxes.folder / "by-hand.py").write_text(BY_HAND % repr(MADE))
    assert boxes.ask(ONE, f"{sys.executable} {boxes.folder}/by-hand.py").strip() == "201"
    before = boxes.ask(ONE, "docker inspect by-hand")
    places = boxes.folder / "host_vars"
    places.mkdir(exist_ok=True)
    told = boxes.play("adopt", "-l", ONE, "-e", f"dest={places}")
    said = flat(told)
    assert "--privileged changed" in said and "a ceiling and no demand" in said and "docker stop by-hand" in said and "changed=1" in told
    assert "kv-cache-memory-bytes" in said, "the plan shows the bytes that take the place of a share"
    written = yaml.safe_load((places / f"{ONE}.yml").read_text())
    assert written["gb10_servers"] == [
        {"name": "by-hand", "model": "/srv/models/tiny", "served_model_name": "/models/tiny", "port": 8005, "gpu_memory_ceiling": 0.3, "max_model_len": 1024}
    ]
    assert KEY not in told and KEY not in (places / f"{ONE}.yml").read_text()
    again = boxes.play("adopt", "-l", ONE, "-e", f"dest={places}")
    assert "changed=0" in again and boxes.ask(ONE, "docker inspect by-hand") == before
    boxes.wish(gb10_servers=[SERVER, *written["gb10_servers"]])
    boxes.play("site", "-l", ONE)
    assert boxes.answers(ONE, "by-hand", 8005) and boxes.record(ONE, "deployment", "by-hand")["served_model_name"] == "/models/tiny"
    assert json.loads(boxes.ask(ONE, "docker inspect by-hand")) == json.loads(before)


def test_what_cannot_be_adopted_is_said(boxes):
    assert "no container here that this collection did not make runs vLLM" in flat(boxes.play("adopt", "-l", ONE))
    assert "the container gb10-vllm-tiny is one of this collection already" in flat(boxes.play("adopt", "-l", ONE, "-e", "container=gb10-vllm-tiny", code=2))
    assert "there is no container elsewhere on this box" in flat(boxes.play("adopt", "-l", ONE, "-e", "container=elsewhere", code=2))

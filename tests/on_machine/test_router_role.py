# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role router around a batch, by Ansible, with the distribution's HAProxy in a namespace of its own; boxes are stub engines, systemctl a stand-in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import real_router
from ansible_collections.gb10.vllm.plugins.module_utils._router import haproxy

ROOT = Path(__file__).parents[2]
HOST = ROOT / "tests/support/router_host"
pytestmark = pytest.mark.skipif(not real_router.installed() or os.geteuid() != 0, reason="needs root and HAProxy (tests/setup --router)")


def inventory(engines, port):
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    hosts = {}
    for engine in engines:
        address = engine.server.server_address[0]
        words = ["vllm", "serve", "/m", "--served-model-name", "tiny", "--max-num-seqs", "4"]
        deployed = {
            "name": "tiny", "address": address, "port": engine.port, "served_model_name": "tiny", "key": "given", "planned": {},
            "probe_url": f"http://{address}:{engine.port}", "container": {"name": "gb10-vllm-tiny", "command": words},
        }  # fmt: skip
        read = {"box": {"servers": {"tiny": {"deployment": deployed}}}}
        hosts[engine.name] = {**local, "ansible_host": address, "gb10_servers": [{"name": "tiny", "model": "tiny"}], "preflight_result": read}
    given = {"gb10_routers": "routers", "gb10_router_port": port, "gb10_router_address": "127.0.0.1", "gb10_router_key": real_router.BOX_KEY}
    groups = {"gb10": {"hosts": hosts}, "routers": {"hosts": {"r1": {**local, "ansible_host": "127.0.0.1"}}}}
    return {"all": {"vars": {**given, "gb10_router_keys": real_router.CLIENT_KEYS}, "children": groups}}


class Host:
    """A router's host: what runs in it shares one /etc/haproxy and one /run over several plays."""

    def __init__(self, place):
        self.place = place
        port = real_router.free_port()
        self.engines = [real_router.StubEngine(name, "tiny", f"127.0.0.{number}", port) for number, name in ((2, "spark-01"), (3, "spark-02"))]
        (place / "inventory.json").write_text(json.dumps(inventory(self.engines, real_router.free_port())))
        # One namespace for all plays: a shell that does what it is told.
        self.shell = subprocess.Popen(
            ["unshare", "-m", HOST / "inside", place / "host", "sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    def run(self, command):
        self.shell.stdin.write(f'{command} 2>&1; echo "ended $?"\n')
        self.shell.stdin.flush()
        lines = []
        while not (line := self.shell.stdout.readline()).startswith("ended "):
            assert line, "the shell is gone"
            lines.append(line)
        return int(line.split()[1]), "".join(lines)

    def play(self, middle="true"):
        environment = f"ANSIBLE_CONFIG={ROOT}/ansible.cfg ANSIBLE_COLLECTIONS_PATH={ROOT}/.ansible/collections ANSIBLE_NOCOLOR=1"
        command = f"{ROOT}/.venv/bin/ansible-playbook -i {self.place}/inventory.json {HOST}/play.yml -e middle={middle}"
        return self.run(f"{environment} timeout 300 {command}")

    def seen(self):
        found = haproxy.servers([haproxy.ask_at(str(self.place / "host/run/haproxy/admin.sock"))])
        return {one["box"]: one["status"].split()[0] for one in found}

    def drains(self):
        return json.loads((self.place / "host/records/drains.json").read_text())

    def close(self):
        self.run("systemctl stop haproxy")
        self.shell.stdin.close()
        self.shell.wait(20)
        for one in self.engines:
            one.close()


@pytest.fixture
def host(tmp_path):
    made = Host(tmp_path)
    yield made
    made.close()


def test_a_fleet_gets_a_router_and_a_batch_that_fails_stays_drained_until_it_has_proven_itself(host):
    code, said = host.play()
    assert code == 0, said[-6000:]
    assert "The fleet is asked at https://127.0.0.1:" in said and "r1 had no certificate, so one was made there" in " ".join(said.split())
    assert host.seen() == {"spark-01": "UP", "spark-02": "UP"} and host.drains() == {}
    assert not any(key in said for key in (*real_router.CLIENT_KEYS.values(), real_router.BOX_KEY))
    # Nothing answers on this machine by the name of the container, so nothing is given requests again.
    code, said = host.play("false")
    assert code != 0 and "Configure HAProxy" not in said
    assert "spark-01: tiny gives no answer and stays drained at r1" in " ".join(said.split())
    assert host.seen() == {"spark-01": "DRAIN", "spark-02": "UP"}
    drain = host.drains()["tiny/spark-01"]
    assert drain["why"] == "a rollout" and drain["owner"] and drain["run"]
    # The next run, whose boxes have proven themselves when it comes to the router.
    code, said = host.play()
    assert code == 0, said[-6000:]
    assert "Use again what was left drained at r1" in said
    assert host.seen() == {"spark-01": "UP", "spark-02": "UP"} and host.drains() == {}


def test_the_last_one_is_not_touched(host):
    assert host.play()[0] == 0
    haproxy.told([haproxy.ask_at(str(host.place / "host/run/haproxy/admin.sock"))], "tiny", "spark-02", "maint")
    code, said = host.play()
    assert code != 0 and "tiny of spark-01 is the last one" in " ".join(said.split())
    assert host.seen() == {"spark-01": "UP", "spark-02": "MAINT"}

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The roles model, distribution and bundle over SSH: what one box has reaches the others, and a bundle reaches boxes without a network."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import engines
import pytest
import yaml
from engines import Engine
from playbook import play
from test_model_fetch import shard

pytestmark = pytest.mark.skipif(not engines.available(), reason="needs the image gb10-box (tests/boxes/boxes makes it)")

LOOK = """
    - name: Look at the box
      gb10.vllm.box_info: {images: [vllm-node]}
      register: preflight_result
      check_mode: false
    - name: Look at the models
      gb10.vllm.model_info: {models: [/srv/models/tiny], allow_missing: true, check_architecture: false}
      register: plan_models
    - name: What the roles preflight and plan note
      ansible.builtin.set_fact:
        preflight_servers: "{{ gb10_servers | gb10.vllm.servers('/srv/models') }}"
        plan_wanted: "{{ gb10_servers | gb10.vllm.servers('/srv/models') | gb10.vllm.distribution_wanted(plan_models.models) }}"
"""
SUPPLY = """
    - name: Choose
      ansible.builtin.import_role: {name: gb10.vllm.distribution, tasks_from: choose}
    - name: Image
      ansible.builtin.include_role: {name: gb10.vllm.image}
      when: distribution_here
    - name: Models
      ansible.builtin.import_role: {name: gb10.vllm.model}
    - name: Distribution
      ansible.builtin.import_role: {name: gb10.vllm.distribution}
    - name: Result
      ansible.builtin.copy:
        content: "{{ {'image': distribution_result.image.id, 'vllm': distribution_result.image.vllm_version | default(''),
          'manifest': distribution_result.models['/srv/models/tiny'].manifest | default('')} | to_json }}"
        dest: "{{ results }}/{{ inventory_hostname }}.json"
        mode: "0644"
      delegate_to: localhost
      check_mode: false
"""


class Fleet:
    """Boxes that Ansible reaches over SSH."""

    def __init__(self, root: Path, names: list[str]) -> None:
        self.root = root
        engines.network()
        subprocess.run(["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", str(root / "key")], check=True)
        self.boxes = [Engine(name).ready() for name in names]
        key = (root / "key.pub").read_text().strip()
        for box in self.boxes:
            box.run(f"mkdir -p /run/sshd ~/.ssh && chmod 700 ~/.ssh && echo '{key}' > ~/.ssh/authorized_keys && ssh-keygen -qA && /usr/sbin/sshd")

    def play(self, names: list[str], tasks: str, *arguments: str, **variables) -> tuple[int, str]:
        ssh = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
        common = {
            "ansible_user": "root", "ansible_ssh_private_key_file": str(self.root / "key"), "ansible_ssh_common_args": ssh,
            "ansible_python_interpreter": "/usr/bin/python3", "ansible_pipelining": True, "results": str(self.root),
            "gb10_servers": [{"name": "tiny", "model": "tiny"}], "gb10_image": {"name": "vllm-node", "source": "existing"}, **variables,
        }  # fmt: skip
        hosts = {box.name: {"ansible_host": box.address} for box in self.boxes if box.name in names}
        (self.root / "hosts.yml").write_text(yaml.safe_dump({"gb10": {"hosts": hosts, "vars": common}}))
        (self.root / "play.yml").write_text(f"- hosts: gb10\n  gather_facts: false\n  any_errors_fatal: true\n  tasks:\n{tasks}")
        done = play("play.yml", "-i", "hosts.yml", *arguments, cwd=self.root)
        return done.returncode, done.stdout

    def result(self, name: str) -> dict:
        return json.loads((self.root / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    made = Fleet(tmp_path_factory.mktemp("fleet"), ["supply-a", "supply-b", "supply-c"])
    first = made.boxes[0]
    first.build("vllm-node", 5, "one")
    shard(made.root / "model.safetensors", 2_000_000, 1)
    first.run('mkdir -p /srv/models/tiny && echo \'{"architectures": ["LlamaForCausalLM"]}\' > /srv/models/tiny/config.json')
    engines.docker("cp", str(made.root / "model.safetensors"), f"{first.name}:/srv/models/tiny/")
    yield made
    for box in made.boxes:
        box.remove()


def asked(output: str) -> set[str]:
    return set(re.findall(r"TASK \[gb10\.vllm\.(?:distribution|model) : ([^\]]+)\]", output))


def test_what_one_box_has_reaches_the_other_and_then_nobody_is_asked(fleet):
    names = ["supply-a", "supply-b"]
    code, output = fleet.play(names, LOOK + SUPPLY, "--check")
    assert code == 0 and "vllm-node would go from supply-a to supply-b" in output and "/srv/models/tiny would go from supply-a to supply-b" in output
    assert "vllm-node:latest" not in fleet.boxes[1].images()

    code, output = fleet.play(names, LOOK + SUPPLY)
    assert code == 0, output
    assert {"Open", "Transfer", "Close"} <= asked(output) and "supply-b: transfer: image: " in output
    a, b = fleet.result("supply-a"), fleet.result("supply-b")
    assert a == b and a["image"] == fleet.boxes[0].images()["vllm-node:latest"] and a["manifest"]
    assert fleet.boxes[1].run("cat /srv/models/tiny/config.json") == '{"architectures": ["LlamaForCausalLM"]}'
    for box in fleet.boxes[:2]:
        assert box.run("ls /run/gb10-vllm/transfer") == "server.pid"

    code, output = fleet.play(names, LOOK + SUPPLY)
    assert code == 0 and re.search(r"supply-b +: ok=\d+ +changed=0 ", output)
    assert not {"Open", "Transfer", "Close", "Download"} & asked(output), "nobody is asked for anything"


def test_a_box_that_cannot_open_its_port_is_told_and_all_are_closed(fleet):
    fleet.boxes[2].run("python3 -c 'import socket,time;s=socket.socket();s.bind((\"\",8417));s.listen();time.sleep(60)' >/dev/null 2>&1 &")
    time.sleep(0.5)
    code, output = fleet.play(["supply-a", "supply-c"], LOOK + SUPPLY)
    assert code != 0
    assert re.search(r"supply-c: port 8417 of this box cannot be used .*; set gb10_distribution\.port to a free one\. The\s+other boxes have", output), output
    assert "Traceback" not in output
    assert fleet.boxes[0].run("ls /run/gb10-vllm/transfer") == "server.pid", "a was closed"
    code, output = fleet.play(["supply-a", "supply-c"], LOOK + SUPPLY, gb10_distribution={"port": 0})
    assert code == 0 and fleet.result("supply-c") == fleet.result("supply-a")


def test_build_everywhere_sends_nothing_and_wrong_settings_are_refused(fleet):
    code, output = fleet.play(["supply-a", "supply-b"], LOOK + SUPPLY, gb10_distribution={"method": "build_everywhere"})
    assert code == 0 and not {"Open", "Transfer"} & asked(output)
    code, output = fleet.play(["supply-a", "supply-b"], LOOK + SUPPLY, gb10_distribution={"method": "fan_out", "source": "nobody"})
    assert code != 0 and "gb10_distribution.source is nobody, which is not among the boxes of this run" in output


def test_a_bundle_installs_boxes_that_have_nothing(fleet, tmp_path):
    bundle = tmp_path / "bundle"
    write = "    - name: Bundle\n      ansible.builtin.import_role: {name: gb10.vllm.bundle}\n"
    code, output = fleet.play(["supply-a", "supply-b"], LOOK + SUPPLY + write, gb10_bundle=str(bundle))
    assert code == 0, output
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert {"image.tar", "models/tiny/model.safetensors", "models/tiny/config.json"} <= set(manifest["files"])
    assert any(name.startswith("collections/gb10-vllm-") for name in manifest["files"])
    assert manifest["image"]["vllm_version"] == "0.32.0" and manifest["models"][0]["model"] == "tiny"
    sums = subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=bundle, capture_output=True, text=True)
    assert sums.returncode == 0, sums.stdout
    archives = sorted(map(str, (bundle / "collections").iterdir()))
    galaxy = [
        str(Path(sys.executable).parent / "ansible-galaxy"),
        "collection",
        "install",
        "--offline",
        "--force",
        "-p",
        str(tmp_path / "installed"),
        *archives,
    ]
    installed = subprocess.run(galaxy, cwd=tmp_path, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert installed.returncode == 0, installed.stderr
    assert (tmp_path / "installed/ansible_collections/gb10/vllm/roles/bundle").is_dir()

    for box in fleet.boxes:
        box.run("docker rmi -f $(docker images -aq) >/dev/null 2>&1 || true; rm -rf /srv/models")
    read = "    - name: Unbundle\n      ansible.builtin.import_role: {name: gb10.vllm.bundle, tasks_from: read}\n"
    settings = yaml.safe_load((bundle / "settings.yml").read_text())
    code, output = fleet.play(["supply-b", "supply-c"], read + LOOK + SUPPLY, gb10_bundle=str(bundle), **settings)
    assert code == 0, output
    b, c = fleet.result("supply-b"), fleet.result("supply-c")
    assert b == c and b["vllm"] == "0.32.0" and b["image"] == manifest["image"]["id"]
    assert fleet.boxes[2].run("sha256sum < /srv/models/tiny/model.safetensors").split()[0] == manifest["files"]["models/tiny/model.safetensors"]["sha256"]

    # A damaged bundle: the size is right, a byte is not.
    weights = bundle / "models/tiny/model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    for box in fleet.boxes:
        box.run("rm -rf /srv/models")
    code, output = fleet.play(["supply-b", "supply-c"], read, gb10_bundle=str(bundle))
    assert code != 0 and "model.safetensors of /srv/models/tiny arrived with a wrong checksum" in output
    assert fleet.boxes[1].run("ls /srv/models") == "tiny.partial"
    weights.unlink()
    code, output = fleet.play(["supply-b", "supply-c"], read, gb10_bundle=str(bundle))
    assert code != 0 and "lacks models/tiny/model.safetensors; copy it again" in output
    code, output = fleet.play(["supply-b"], read, gb10_bundle=str(tmp_path))
    assert code != 0 and "is not a bundle (it has no manifest.json)" in output

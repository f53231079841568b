# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Over which network the role distribution has boxes send, as its user sees it."""

from __future__ import annotations

import pytest
import yaml
from playbook import LOCAL, play

SERVER = {"name": "s", "model": "tiny", "model_path": "/nowhere/tiny", "repo_id": None}
ROLE = {"ansible.builtin.import_role": {"name": "gb10.vllm.distribution"}}


def box(number, present, **more):
    """What the roles before left behind of a box; its addresses are nobody's on this machine."""
    held = {"enP7s7": [f"10.255.0.{number}/24"], "enp1s0f0np0": [f"192.168.177.{number}/24"]}
    facts = {"docker": {"images": {}}, "network": {"addresses": held, "came": "enP7s7", "hcas": {"rocep1s0f0": "enp1s0f0np0"}, "infiniband": True}}
    model = {"present": present, "manifest": "m" if present else None, "path": "/nowhere/tiny"}
    return {
        **yaml.safe_load(f"{{{LOCAL}}}"), "ansible_host": f"10.255.0.{number}", "preflight_result": {"box": facts}, "preflight_servers": [SERVER],
        "model_result": {"models": {"/nowhere/tiny": model}}, "distribution_source": "spark-01", "gb10_distribution": {"port": 0}, **more,
    }  # fmt: skip


def run(tmp_path, *words, **changes):
    hosts = {"spark-01": box(11, True, **changes), "spark-02": box(12, False, **changes)}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"boxes": {"hosts": hosts}}))
    tasks = [{"hosts": "boxes", "gather_facts": False, "vars": {"gb10_state_dir": str(tmp_path / "state-{{ inventory_hostname }}")}, "tasks": [ROLE]}]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(tasks, sort_keys=False))
    done = play("play.yml", "-i", "hosts.yml", *words, cwd=tmp_path)
    return done.returncode, " ".join(done.stdout.split())


def test_what_would_travel_goes_over_the_fabric_and_that_is_said_once(tmp_path):
    rc, said = run(tmp_path, "--check")
    assert rc == 0, said
    assert said.count("goes over the fabric, 192.168.177.0/24: spark-01 192.168.177.11 (enp1s0f0np0), spark-02 192.168.177.12 (enp1s0f0np0)") == 1
    assert "/nowhere/tiny would go from spark-01 to spark-02" in said


@pytest.mark.parametrize(
    ("changes", "listens", "is_said"),
    [({}, "192.168.177.11", True), ({"gb10_link_address": "10.255.9.9"}, "10.255.9.9", False)],
    ids=["the fabric's", "a given one"],
)
def test_a_box_listens_on_that_address_and_nowhere_else(tmp_path, changes, listens, is_said):
    """It is no address of this machine, so it is refused: nothing else is taken for it."""
    rc, said = run(tmp_path, **changes)
    assert rc != 0 and f"gb10_link_address {listens} is no address of this box" in said
    assert ("goes over the fabric" in said) is is_said

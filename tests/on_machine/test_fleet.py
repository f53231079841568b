# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lock file, drift and status over two light boxes: real SSH, real modules, stand-ins for Docker and the served model."""

from __future__ import annotations

import json
import re
import subprocess
import time

import light_boxes
import pytest


def _can_run() -> bool:
    try:
        images = subprocess.run(["docker", "images", "-q", light_boxes.IMAGE], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return False
    return bool(images.stdout.strip()) and light_boxes.MODEL.is_dir()


pytestmark = pytest.mark.skipif(not _can_run(), reason="needs Docker and the image of the emulated boxes (tests/boxes/boxes up 1)")
LOCKED = """
- import_playbook: gb10.vllm.plan
- hosts: gb10
  gather_facts: false
  become: true
  tasks:
    - ansible.builtin.include_role: {name: gb10.vllm.fleet, tasks_from: locked}
"""
PRUNE = """
- hosts: gb10
  gather_facts: false
  become: true
  tasks:
    - ansible.builtin.include_role: {name: gb10.vllm.preflight}
    - ansible.builtin.include_role: {name: gb10.vllm.server, tasks_from: box}
"""


SECRET = "zq7xwv-light-secret"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fleet")
    with light_boxes.boxes(2, folder) as up:
        yield up


def play(fleet, playbook, *arguments, code=0):
    folder = fleet.folder
    done = subprocess.run(
        [light_boxes.ANSIBLE_PLAYBOOK, "-i", str(fleet.inventory), playbook, *arguments],
        cwd=folder, env=light_boxes.environment(folder, PWD=str(folder)), capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    output = done.stdout + done.stderr
    assert done.returncode == code, output
    assert "[WARNING]" not in output and "Traceback" not in output, output
    return output


def test_a_box_gets_what_a_run_locked_and_nothing_else(fleet):
    folder = fleet.folder
    lock = fleet.inventory / "gb10.lock.yml"
    first = play(fleet, "gb10.vllm.report")
    assert "4,096" in first and "tiny-llama on" in first
    text = lock.read_text()
    assert "gb10_lock:" in text and text.count("commit:") == 2
    # A second run writes nothing; a run over one box keeps the other; --check writes nothing.
    assert "changed=0" in play(fleet, "gb10.vllm.report") and lock.read_text() == text
    play(fleet, "gb10.vllm.report", "--limit", "spark-02")
    assert lock.read_text() == text
    # The lock lies in the inventory directory and is no inventory.
    (folder / "locked.yml").write_text(LOCKED)
    assert "failed=0" in play(fleet, "locked.yml", "-e", "gb10_locked=true")
    servers = json.dumps({"gb10_servers": [{"name": "tiny", "model": "tiny-llama", "address": "0.0.0.0", "max_model_len": 1024}]})
    refused = play(fleet, "locked.yml", "-e", "gb10_locked=true", "-e", servers, code=2)
    assert "spark-01: server tiny would run differently: its arguments changed" in refused
    lock.write_text(text.replace("spark-0", "other-0"))
    assert "belongs to another inventory: it names other-01, other-02" in play(fleet, "locked.yml", "-e", "gb10_locked=true", code=2)
    assert "It was not overwritten" in play(fleet, "gb10.vllm.report", code=2)
    assert "It was not overwritten" in play(fleet, "gb10.vllm.plan", code=2)
    lock.unlink()
    assert "changed=1" in play(fleet, "gb10.vllm.report", "--check")
    assert not lock.exists()


def test_status_shows_what_was_changed_by_hand_and_what_is_unreachable(fleet):
    folder = fleet.folder
    well = play(fleet, "gb10.vllm.status")
    assert well.count("answers in 0.") == 2 and "changed=0" in well
    assert "spark-01  tiny    tiny-llama on" in well
    unit = "/etc/systemd/system/gb10-vllm-tiny.service"
    fleet.ask(1, "sh", "-c", f"cp {unit} /tmp/unit; echo '# by hand' >> {unit}; cp -r /var/lib/gb10-vllm/servers/tiny /var/lib/gb10-vllm/servers/old")
    fleet.ask(1, "sed", "-i", 's/"name": "tiny"/"name": "old"/', "/var/lib/gb10-vllm/servers/old/deployment.json")
    light_boxes.run("docker", "stop", "-t", "0", fleet.container(2))
    try:
        seen = play(fleet, "gb10.vllm.status")
    finally:
        light_boxes.run("docker", "start", fleet.container(2))
    assert "spark-01 tiny: its unit file was edited or is of another version; site writes it back." in seen
    assert "spark-01 old: no longer in the inventory; site leaves it until gb10_prune is true." in seen
    assert "spark-02 cannot be reached" in seen
    status = json.loads((folder / "gb10-status.json").read_text())
    assert [row["health"] for row in status["boxes"]["spark-02"]["servers"]] == ["unreachable"]
    page = (folder / "gb10-status.html").read_text()
    assert page.count("<svg") == 1 and "was edited" in page
    (folder / "prune.yml").write_text(PRUNE)
    told = play(fleet, "prune.yml", "--limit", "spark-01")
    assert "spark-01 still holds old, no longer in gb10_servers. Set gb10_prune to true" in told and "changed=0" in told
    fleet.ask(1, "sh", "-c", f"cp /tmp/unit {unit}; rm -r /var/lib/gb10-vllm/servers/old")


def test_what_vllm_refuses_ends_the_run_before_anything_is_stopped_and_one_box_asks_for_all(fleet):
    def asked():
        return [fleet.ask(number, "sh", "-c", "cat /var/lib/light/rehearsed 2>/dev/null || true").splitlines() for number in (1, 2)]

    def servers(**more):
        return json.dumps({"gb10_servers": [{"name": "tiny", "model": "tiny-llama", "address": "0.0.0.0", "env": {"HF_TOKEN": SECRET}, **more}]})

    for number in (1, 2):
        fleet.ask(number, "mkdir", "-p", "-m", "700", "/var/lib/gb10-vllm/cache/tiny")
    before = [fleet.ask(number, "ls", "-lR", "/var/lib/gb10-vllm/servers", "/etc/gb10-vllm") for number in (1, 2)]
    refused = play(fleet, "gb10.vllm.site", "-e", servers(args={"dtype": "float32", "generation_config": "image:/nowhere"}), code=2)
    assert "vLLM refuses tiny, asked before anything was stopped." in refused and "Nothing that serves was changed." in refused
    assert "--generation-config" in refused and "phase Supply" in refused and "Activate" not in refused
    assert sorted(map(len, asked())) == [0, 1], "one box asks for both"
    assert before == [fleet.ask(number, "ls", "-lR", "/var/lib/gb10-vllm/servers", "/etc/gb10-vllm") for number in (1, 2)]
    assert [fleet.ask(number, "sh", "-c", "ls /run/gb10-vllm 2>/dev/null || true").strip() for number in (1, 2)] == ["", ""]

    for said in ("tiny passes after", "tiny passes, as before"):
        assert said in play(fleet, "gb10.vllm.plan", "gb10.vllm.supply", "-e", servers(max_model_len=1024, args={"dtype": "float32"}))
    words = " ".join(map(str, asked()))
    assert sum(map(len, asked())) == 2 and SECRET not in words, "what passed is not asked again"
    assert "rehears" not in play(fleet, "gb10.vllm.plan", "gb10.vllm.supply", "-e", "gb10_rehearse=false", "-e", servers(max_model_len=512)).lower()
    for number in (1, 2):
        fleet.ask(number, "rm", "-rf", "/var/lib/light/rehearsed", "/var/lib/gb10-vllm/cache", "/var/lib/gb10-vllm/servers/tiny/rehearsed.json")


def test_a_run_that_fails_gives_every_box_back(fleet):
    image = json.dumps({"gb10_image": {"source": "existing", "name": "nobody-made-it"}})
    failed = play(fleet, "gb10.vllm.site", "-e", image, code=2)
    assert "nobody-made-it" in failed and re.search(r"FAILED +spark-01", failed) and re.search(r"held back +spark-02", failed)
    assert [fleet.ask(number, "ls", "/var/lib/gb10-vllm").split() for number in (1, 2)] == [["build", "models", "servers"]] * 2
    stopped = play(fleet, "gb10.vllm.rollback", code=2)
    assert "has nothing to go back to" in stopped
    assert [fleet.ask(number, "ls", "/var/lib/gb10-vllm").split() for number in (1, 2)] == [["build", "models", "servers"]] * 2


def test_a_locked_run_builds_nothing(fleet):
    play(fleet, "gb10.vllm.site")
    moved = json.dumps({"gb10_locked": True, "gb10_image": {"repository": "file:///nowhere", "ref": "main"}})
    assert play(fleet, "gb10.vllm.site", "-e", moved).count("changed=0") == 2


def commands(fleet, number):
    """What a box's sshd was asked so far."""
    return fleet.ask(number, "cat", "/var/log/sshd.log").count("Starting session: command")


def test_a_run_that_finds_nothing_to_do_asks_a_box_five_times_over_ssh(fleet):
    play(fleet, "gb10.vllm.site")
    before = [commands(fleet, number) for number in (1, 2)]
    assert play(fleet, "gb10.vllm.site").count("changed=0") == 2
    asked = [commands(fleet, number) - earlier for number, earlier in zip((1, 2), before, strict=True)]
    assert min(asked) > 2 and max(asked) <= 5, asked


def test_what_proved_itself_is_locked_although_a_later_batch_fails(fleet):
    lock = fleet.inventory / "gb10.lock.yml"
    lock.unlink(missing_ok=True)
    fleet.ask(1, "rm", "/var/lib/gb10-vllm/servers/tiny/measured.json")
    # A light box has no systemd that could take a unit that changed.
    fleet.ask(2, "sh", "-c", "echo '# by hand' >> /etc/systemd/system/gb10-vllm-tiny.service")
    failed = play(fleet, "gb10.vllm.site", code=2)
    assert re.search(r"FAILED +spark-02 +Activate", failed) and "Its configuration was left as it is." in failed
    assert lock.read_text().count("commit:") == 1 and "spark-01:" in lock.read_text()
    assert [fleet.ask(number, "ls", "/var/lib/gb10-vllm").split() for number in (1, 2)] == [["build", "models", "servers"]] * 2
    assert play(fleet, "gb10.vllm.site").count("changed=0") == 1, "the lock file gets the second box, which is written with the first"
    assert lock.read_text().count("commit:") == 2


def test_batches_that_are_none_are_refused_and_hosts_need_no_group_of_that_name(fleet):
    refused = play(fleet, "gb10.vllm.site", "-e", json.dumps({"gb10_rollout": [1, 0]}), code=2)
    assert "gb10_rollout contains 0, which is not a valid batch size" in refused and "changed=0" in refused
    one = play(fleet, "gb10.vllm.site", "-e", "gb10_hosts=spark-02", "-e", json.dumps({"gb10_rollout": "50%"}))
    assert "spark-02" in one and not re.search(r"spark-01 +:", one)


def test_whatever_changes_boxes_waits_for_another_controller(fleet):
    lock = "/var/lib/gb10-vllm/run.lock"
    holder = {"run": "feed", "owner": "ben@desk", "controller": {"machine": "x@desk", "boot_id": "b", "pid": 1}, "ttl_s": 3600}
    text = json.dumps(dict(holder, acquired_at=time.time(), refreshed_at=time.time()))
    fleet.ask(2, "sh", "-c", f"cat > {lock} <<'EOF'\n{text}\nEOF")
    for playbook in ("site", "rollback", "stop", "bundle", "unbundle"):
        refused = play(fleet, f"gb10.vllm.{playbook}", "-e", f"gb10_bundle={fleet.folder}/bundle", code=2)
        assert "spark-02 is being changed by ben@desk since" in refused, playbook
        assert fleet.ask(2, "cat", lock).strip() == text, f"{playbook} took the lock of another run away"
        assert "run.lock" not in fleet.ask(1, "ls", "/var/lib/gb10-vllm"), f"{playbook} kept the other box"
    assert not (fleet.folder / "bundle").exists()
    assert "answers in" in play(fleet, "gb10.vllm.status"), "who only looks is not held up"
    fleet.ask(2, "rm", lock)

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole runs over imitated boxes (tests/support/imitation.py): what a rollout, a repair, a way back, a lock and a prune do, in every `make test`."""

from __future__ import annotations

import json
import re
import time

from imitated_fleet import KEY, ONE, OTHER, TOKEN, TWO, dies, flat, needs_root
from imitation import SERVER, STATE

pytest_plugins = ["imitated_fleet"]
pytestmark = needs_root
PIECEWISE = {"args": {"--compilation-config": {"cudagraph_mode": "PIECEWISE"}}}


def test_a_steady_state_changes_nothing_and_asks_a_box_five_times_at_most(boxes):
    lock = (boxes.inventory / "gb10.lock.yml").read_text()
    assert all(f"{box}:" in lock for box in boxes.names)
    assert boxes.play("site").count("changed=0") == 2
    asked = {box: boxes.asked(box) for box in boxes.names}
    assert max(map(len, asked.values())) <= 5, asked
    assert (boxes.inventory / "gb10.lock.yml").read_text() == lock


def test_a_canary_that_fails_is_put_back_and_the_others_never_notice(boxes):
    lock, before = (boxes.inventory / "gb10.lock.yml").read_text(), boxes.containers(TWO)
    boxes.wish(gb10_servers=[dict(OTHER, env={"HF_TOKEN": TOKEN})], gb10_api_key=KEY)
    boxes.rules(ONE, dies(boxes, "tells", only="--served-model-name other"))
    failed = boxes.play("site", code=2)
    assert re.search(rf"FAILED +{ONE} +Activate", failed) and re.search(rf"held back +{TWO}", failed) and "an odd thing happened" in failed
    assert boxes.serves(ONE) == ("tiny", True)
    assert (boxes.containers(TWO), boxes.held()) == (before, [])
    assert (boxes.inventory / "gb10.lock.yml").read_text() == lock
    boxes.wish(gb10_servers=[SERVER], gb10_api_key=None)
    assert re.findall(r"^.*; site .*$", boxes.play("status"), re.M) == []


def test_a_batch_is_new_or_old_as_a_whole(boxes):
    boxes.wish(gb10_servers=[OTHER], gb10_rollout=["100%"])
    boxes.rules(TWO, dies(boxes, "unknown", only="--served-model-name other"))
    lock = (boxes.inventory / "gb10.lock.yml").read_text()
    failed = boxes.play("site", code=2)
    assert re.search(rf"FAILED +{TWO} +Activate", failed) and re.search(rf"put back +{ONE} +Activate", failed)
    assert [boxes.serves(box) for box in boxes.names] == [("tiny", True)] * 2
    assert (boxes.held(), (boxes.inventory / "gb10.lock.yml").read_text()) == ([], lock)


def test_what_proved_itself_stays_and_is_locked_though_a_later_batch_fails_and_goes_back_twice_when_asked(boxes):
    boxes.wish(gb10_servers=[OTHER], gb10_rollout=[1])
    boxes.rules(TWO, dies(boxes, "unknown", only="--served-model-name other"))
    boxes.play("site", code=2)
    assert [boxes.serves(box) for box in boxes.names] == [("other", True), ("tiny", True)]
    assert boxes.locked(ONE) and boxes.locked(TWO)
    boxes.wish(gb10_servers=[dict(OTHER, max_model_len=1024)])
    boxes.play("site", "-l", ONE)
    boxes.play("rollback", "-l", ONE)
    assert (boxes.serves(ONE), boxes.record(ONE, "deployment")["planned"]["max_model_len"]) == (("other", True), 2048)
    boxes.play("rollback", "-l", ONE)
    assert boxes.serves(ONE) == ("tiny", True)
    assert "has nothing to go back to" in flat(boxes.play("rollback", "-l", ONE, code=2)) and boxes.serves(ONE) == ("tiny", True)
    assert boxes.held() == []


def test_a_repair_is_applied_and_recorded_where_it_may_be_and_only_proposed_where_not(boxes):
    boxes.wish(gb10_servers=[OTHER], gb10_repair=False)
    boxes.rules(ONE, dies(boxes, "no-graphs", only="--served-model-name other", unless="PIECEWISE"))
    failed = boxes.play("site", "-l", ONE, code=2)
    assert "repairing tiny" not in failed and "A safe repair would be" in failed
    assert boxes.serves(ONE) == ("tiny", True)
    assert "repairs.json" not in boxes.ask(ONE, f"ls {STATE}/servers/tiny")
    boxes.wish(gb10_repair=True)
    done = boxes.play("site", "-l", ONE)
    assert "repaired 1" in done and "repairing tiny" in done
    assert [one["set"] for one in boxes.record(ONE, "repairs")["applied"]] == [PIECEWISE]
    assert boxes.serves(ONE) == ("other", True)
    assert boxes.play("site", "-l", ONE).count("changed=0") == 1


def test_a_server_that_left_the_inventory_stays_until_it_may_go_and_goes_whole(boxes):
    boxes.wish(gb10_servers=[SERVER, dict(SERVER, name="second", port=8001)])
    boxes.play("site", "-l", ONE)
    assert boxes.answers(ONE, "second", 8001) and boxes.answers(ONE)
    boxes.wish(gb10_servers=[SERVER])
    assert "still holds second" in flat(boxes.play("site", "-l", ONE)) and boxes.answers(ONE, "second", 8001)
    told = boxes.play("site", "-l", ONE, "-e", "gb10_prune=true")
    assert "It is stopped and removed now" in flat(told) and boxes.serves(ONE) == ("tiny", True)
    left = boxes.ask(
        ONE, f"ls -d /etc/gb10-vllm/* {STATE}/servers/* {STATE}/cache/* /etc/systemd/system/gb10-vllm-*; docker ps --all --format '{{{{.Names}}}}'"
    )
    assert "second" not in left and "tiny" in left


def test_one_run_at_a_time_and_the_lock_of_a_killed_one_is_taken(boxes):
    holder = {"run": "feed", "owner": "ben@desk", "controller": {"machine": "x@desk", "boot_id": "b", "pid": 1}, "ttl_s": 3600}
    text = json.dumps(dict(holder, acquired_at=time.time(), refreshed_at=time.time()))
    boxes.ask(TWO, f"echo '{text}' > {STATE}/run.lock")
    for name in ("site", "rollback", "stop"):
        assert f"{TWO} is being changed by ben@desk since" in flat(boxes.play(name, code=2)), name
    assert boxes.ask(TWO, f"cat {STATE}/run.lock").strip() == text and boxes.held() == [TWO]
    assert boxes.answers(TWO)
    boxes.ask(TWO, f"rm {STATE}/run.lock")
    boxes.kill_at("site", "Prove that it answers", "-l", ONE)
    assert boxes.held() == [ONE]
    assert "1 box: 1 ok" in boxes.play("site", "-l", ONE) and boxes.held() == []


def test_status_names_what_differs_and_what_cannot_be_reached(boxes):
    boxes.ask(ONE, "echo '# by hand' >> /etc/systemd/system/gb10-vllm-tiny.service")
    (boxes.folder / TWO / "off").touch()
    seen = flat(boxes.play("status"))
    assert f"{ONE} tiny: its unit file was edited or is of another version" in seen and f"{TWO} cannot be reached" in seen
    rows = json.loads((boxes.folder / "gb10-status.json").read_text())["boxes"]
    assert [row["health"] for row in rows[TWO]["servers"]] == ["unreachable"] and rows[ONE]["servers"][0]["health"].startswith("answers")
    failed = boxes.play("site", code=2)
    assert f"{TWO} cannot be reached" in flat(failed) and not re.search(r"changed=[1-9]", failed)
    assert "1 box: 1 ok" in boxes.play("site", "-l", ONE)
    assert "by hand" not in boxes.ask(ONE, "cat /etc/systemd/system/gb10-vllm-tiny.service")


def test_a_stop_holds_over_a_boot_and_secrets_lie_where_only_root_reads(boxes):
    boxes.play("stop", "-l", ONE)
    assert not boxes.answers(ONE) and "disabled" in boxes.ask(ONE, "systemctl is-enabled gb10-vllm-tiny.service", check=False)
    boxes.wish(gb10_servers=[dict(SERVER, env={"HF_TOKEN": TOKEN})], gb10_api_key=KEY)
    boxes.play("site", "-l", ONE, "-v")
    assert boxes.answers(ONE) and "enabled" in boxes.ask(ONE, "systemctl is-enabled gb10-vllm-tiny.service")
    assert boxes.key(ONE) == KEY and TOKEN in boxes.ask(ONE, "cat /etc/gb10-vllm/tiny/server.env")
    assert boxes.ask(ONE, f"grep -rlE '{KEY}|{TOKEN}' {STATE} /etc/systemd /usr/local/lib/gb10-vllm /run", check=False) == ""
    assert not re.search(f"{KEY}|{TOKEN}", boxes.ask(ONE, "docker inspect gb10-vllm-tiny"))
    assert not [path.name for path in boxes.inventory.parent.glob("gb10*") if re.search(f"{KEY}|{TOKEN}", path.read_text())]
    assert not re.search(f"{KEY}|{TOKEN}", (boxes.inventory / "gb10.lock.yml").read_text())
    assert boxes.ask(ONE, "find /etc/gb10-vllm -perm /077") == ""


def test_the_guard_keeps_a_server_down_that_would_starve_the_box_and_the_run_says_why(boxes):
    boxes.ask(ONE, "systemctl stop gb10-vllm-tiny.service")
    (boxes.folder / ONE / "short").touch()  # memory that goes between the plan and the start
    failed = flat(boxes.play("site", "-l", ONE, code=2))
    assert "Not started: " in failed and "GiB" in failed and boxes.held() == []
    assert "failed" in boxes.ask(ONE, "systemctl is-active gb10-vllm-tiny.service", check=False) and not boxes.answers(ONE)
    boxes.restore()
    # As a box comes back that died while this server started.
    boxes.ask(ONE, f'systemctl stop gb10-vllm-tiny.service; echo \'{{"boot_id": "before"}}\' > {STATE}/servers/tiny/starting.json')
    boxes.ask(ONE, "systemctl start gb10-vllm-tiny.service", check=False)
    assert "failed" in boxes.ask(ONE, "systemctl is-active gb10-vllm-tiny.service", check=False) and not boxes.answers(ONE)
    assert "1 box: 1 ok" in boxes.play("site", "-l", ONE) and boxes.answers(ONE)

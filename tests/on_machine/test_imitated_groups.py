# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole runs over imitated boxes with a server over two of them: started, proven, kept, put back and healed as one."""

from __future__ import annotations

import json
import re
import subprocess
import time

import imitation
import pytest
from imitated_fleet import LOGS, ONE, TWO, flat, needs_root

pytestmark = needs_root
BIG = {"name": "big", "model": "tiny", "port": 8000, "address": "0.0.0.0", "boxes": [TWO, ONE], "max_model_len": 2048, "concurrency": 2}
UNIT = "gb10-vllm-big"
DIES = """\
(Worker pid=120) ERROR 11-20 08:04:06 [core.py:1] ValueError: Free memory on device cuda:0 (50.14/79.18 GiB) on startup is less than desired GPU memory
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    folder = tmp_path_factory.mktemp("imitated-groups")
    for name, text in {**LOGS, "dies": DIES}.items():
        (folder / f"{name}.log").write_text(text)
    with imitation.boxes(folder, 2) as up:
        up.cable()
        up.wish(gb10_servers=[BIG])
        first = up.play("site")
        assert "2 boxes: 2 ok" in first, first
        up.save()
        yield up


@pytest.fixture
def boxes(fleet):
    fleet.restore()
    wait_for(fleet)
    return fleet


def answered(boxes):
    """The head is the second box of the inventory: who is the head says the user."""
    return boxes.answers(TWO, "big")


def wait_for(boxes, seconds=120):
    deadline = time.monotonic() + seconds
    while not answered(boxes):
        assert time.monotonic() < deadline, [boxes.ask(box, f"journalctl --quiet --unit {UNIT}.service") for box in boxes.names]
        time.sleep(0.3)


def test_both_boxes_serve_one_server_and_a_second_run_changes_nothing(boxes):
    head, other = (boxes.record(box, "deployment", "big") for box in (TWO, ONE))
    assert [head["group"]["number"], other["group"]["number"]] == [0, 1] and head["group"]["boxes"] == [TWO, ONE]
    assert "--headless" in other["container"]["command"] and other["container"]["network_mode"] == "host"
    assert not boxes.ask(ONE, "ls /etc/gb10-vllm/big/key.env", check=False)
    for box in boxes.names:
        boxes.asked(box)
    again = boxes.play("site")
    assert again.count("changed=0") == 2, again
    asked = {box: boxes.asked(box) for box in boxes.names}
    assert max(map(len, asked.values())) <= 5, asked
    assert boxes.locked(ONE, "big") and boxes.locked(TWO, "big")


def length(boxes):
    return {boxes.record(box, "deployment", "big")["planned"]["max_model_len"] for box in boxes.names}


def test_what_each_rank_takes_beside_weights_and_cache_is_measured_and_planned_with(boxes):
    boxes.wish(gb10_servers=[BIG | {"max_model_len": 1024, "kv_cache_memory_gib": 2}])
    for box, beside in ((TWO, 6), (ONE, 5)):
        boxes.rules(box, {"takes": (2 + beside) * 2**30, "only": "--max-model-len 1024"})
    boxes.play("site")
    seen = [boxes.record(box, "measured", "big")["facts"] for box in (TWO, ONE)]
    assert [round(one["beside_bytes"] / 2**30, 1) for one in seen] == [6.0, 5.0], seen
    said = flat(boxes.play("plan", "-e", "gb10_replan=true"))
    planned = re.findall(r"measured here by a start of the same image, model and flags: ([\d.]+) GiB, known to 0.05 GiB", said)
    assert sorted(round(float(one), 1) for one in planned) == [5.0, 6.0], said


def test_a_rank_that_dies_takes_the_other_along_and_they_answer_again(boxes):
    boxes.ask(ONE, f"docker stop {UNIT}")
    deadline = time.monotonic() + 90
    while f"{ONE} has left the group" not in boxes.ask(TWO, f"journalctl --quiet --unit {UNIT}.service"):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    wait_for(boxes)


def test_a_failed_rank_is_explained_from_its_own_log_and_both_boxes_go_back(boxes):
    boxes.wish(gb10_servers=[BIG | {"max_model_len": 1024}])
    boxes.rules(ONE, {"log": str(boxes.folder / "dies.log"), "exit": 1, "only": "--max-model-len 1024"})
    failed = flat(boxes.play("site", code=2))
    assert "Free memory on device" in failed and f"{TWO} goes back because" in failed
    assert length(boxes) == {2048} and boxes.held() == []
    wait_for(boxes)


def test_what_vllm_refuses_of_one_rank_is_refused_before_anything_is_stopped(boxes):
    before = boxes.containers(*boxes.names)
    boxes.wish(gb10_servers=[BIG | {"max_model_len": 1024}])
    boxes.rules(ONE, {"refuses": "vllm: error: argument --headless: not with this model", "only": "--node-rank 1"})
    failed = flat(boxes.play("site", code=2))
    assert f"{ONE}: vLLM refuses big, asked before anything was stopped." in failed and "phase Supply" in failed
    assert boxes.containers(*boxes.names) == before and answered(boxes) and length(boxes) == {2048} and boxes.held() == []
    head, other = (boxes.rehearsed(box) for box in (TWO, ONE))
    assert len(head) == len(other) == 1 and "--node-rank 0" in head[0] and "--host 127.0.0.1" in head[0] and "--headless" in other[0]


def test_what_one_rank_fails_of_is_mended_on_all_alike(boxes):
    boxes.wish(gb10_servers=[BIG | {"max_model_len": 1024}])
    boxes.rules(ONE, {"log": str(boxes.folder / "no-graphs.log"), "exit": 1, "only": "--max-model-len 1024", "unless": "PIECEWISE"})
    said = flat(boxes.play("site"))
    assert all(f"{box}: repairing big: capturing CUDA graphs failed" in said for box in boxes.names), said
    assert answered(boxes) and length(boxes) == {1024} and boxes.locked(ONE, "big")
    assert boxes.record(ONE, "repairs", "big") == boxes.record(TWO, "repairs", "big")
    assert all("PIECEWISE" in str(boxes.record(box, "deployment", "big")["container"]["command"]) for box in boxes.names)
    again = boxes.play("site", "--diff")
    assert again.count("changed=0") == 2, again[-6000:]


def test_what_no_repair_mends_goes_back_on_both_boxes(boxes):
    boxes.wish(gb10_servers=[BIG | {"max_model_len": 1024}])
    boxes.rules(ONE, {"log": str(boxes.folder / "no-graphs.log"), "exit": 1, "only": "--max-model-len 1024"})
    failed = flat(boxes.play("site", code=2))
    assert "run without them" in failed and f"{TWO} goes back because {ONE} failed" in failed
    assert length(boxes) == {2048} and boxes.held() == []
    wait_for(boxes)
    assert not any(boxes.record(box, "repairs", "big").get("applied") for box in boxes.names)


def test_unequal_arguments_are_refused_with_the_boxes_and_what_runs_goes_on(boxes):
    folder = boxes.inventory / "host_vars"
    folder.mkdir(exist_ok=True)
    (folder / f"{ONE}.json").write_text(json.dumps({"gb10_servers": [BIG | {"args": {"seed": 7}}]}))
    before = boxes.containers(*boxes.names)
    failed = flat(boxes.play("site", code=2))
    assert f"the argument --seed is not the same: {TWO} has none, {ONE} has 7" in failed
    assert boxes.containers(*boxes.names) == before and answered(boxes)


def test_both_go_back_together_or_not_at_all(boxes):
    boxes.wish(gb10_servers=[BIG | {"max_model_len": 1024}])
    boxes.play("site")
    assert length(boxes) == {1024}
    refused = flat(boxes.play("rollback", "-l", ONE, code=2))
    assert f"big is served together with {TWO}, which is not part of this run" in refused
    boxes.play("rollback")
    assert length(boxes) == {2048} and answered(boxes)


MINI = {"mini": {"input_tokens": 32, "output_tokens": 8, "concurrency": [2], "repeats": 2}}
SEARCH = {"gb10_benchmark_profiles": MINI, "gb10_benchmark_profile": "mini", "gb10_benchmark_cool_c": 0, "gb10_benchmark_page": False}


def test_a_search_works_on_both_boxes_and_puts_back_what_ran_on_both(boxes):
    boxes.wish(**SEARCH, gb10_tune_settings={"max_num_seqs": [16, 64]})
    before = [boxes.record(box, "deployment", "big")["spec"] for box in boxes.names]
    boxes.rules(TWO, {"only": "--max-num-seqs 64", "itl": 0.01})
    boxes.rules(ONE, {"only": "--max-num-seqs 16", "log": str(boxes.folder / "dies.log"), "exit": 1})
    assert "search with all of its boxes" in flat(boxes.play("tune", "-l", ONE, code=2)) and answered(boxes) and boxes.held() == []
    boxes.kill_at("tune", "Put load on big", after="trial 1: ")
    tried = {box: boxes.record(box, "deployment", "big")["container"]["command"] for box in boxes.names}
    assert all("--max-num-seqs 64" in " ".join(command) for command in tried.values()), "the candidate runs on both"
    text = boxes.play("tune")
    (kept,) = boxes.folder.glob("gb10-tune-*-big.json")
    state = json.loads(kept.read_text())
    assert kept.name == f"gb10-tune-{TWO}-big.json" and state["ended"] and sorted(state["ranks"]) == boxes.names
    assert [(trial["set"], trial["verdict"]) for trial in state["trials"]] == [
        ({}, "first"), ({"max_num_seqs": 16}, "failed"), ({"max_num_seqs": 64}, "better"),
    ]  # fmt: skip
    assert "Free memory on device" in state["trials"][1]["why"] and flat(text).count("Best is max_num_seqs=64") >= 1
    assert [boxes.record(box, "deployment", "big")["spec"] for box in boxes.names] == before and answered(boxes) and boxes.held() == []
    assert [json.loads(boxes.ask(box, f"cat {imitation.STATE}/servers/big/history.json")) for box in boxes.names] == [[], []]
    again = boxes.play("site", "--diff")
    assert again.count("changed=0") == 2, again[-6000:]


def test_a_search_that_loses_a_box_leaves_the_others_as_they_are_and_the_next_puts_all_back(boxes):
    boxes.wish(**SEARCH, gb10_tune_settings={"max_num_seqs": [64]})
    before = [boxes.record(box, "deployment", "big")["spec"] for box in boxes.names]
    boxes.rules(TWO, {"only": "--max-num-seqs 64", "itl": 0.01})
    (boxes.folder / ONE / "vanish").write_text("docker_container")
    said = flat(boxes.play("tune", code=4))
    assert f"{TWO}: big was not put back, because {ONE}, one of its boxes, was lost meanwhile" in said, said
    (boxes.folder / ONE / "off").unlink()
    boxes.play("tune")
    assert [boxes.record(box, "deployment", "big")["spec"] for box in boxes.names] == before and boxes.held() == []
    wait_for(boxes)


def test_a_benchmark_measures_at_the_head(boxes):
    said = boxes.play("benchmark", "-e", json.dumps(SEARCH))
    assert [path.name.split("-big-")[0] for path in boxes.folder.glob("gb10-benchmark-*-mini-*.json")][0] == f"gb10-benchmark-{TWO}" and "failed=0" in said


def test_status_names_the_box_that_is_waited_for_and_site_starts_it_again(boxes):
    boxes.ask(ONE, f"systemctl stop {UNIT}.service")
    deadline = time.monotonic() + 90
    while "waiting for spark-01" not in (said := flat(boxes.play("status"))):
        assert time.monotonic() < deadline, said
    boxes.play("site")
    assert answered(boxes)


def test_a_box_that_is_gone_leaves_the_other_waiting_and_named_and_nothing_loops(boxes):
    fabric = f"nsenter -t {boxes.pid(TWO)} -n ip link set fab0".split()
    subprocess.run([*fabric, "down"], check=True)
    (boxes.folder / ONE / "off").touch()
    try:
        deadline = time.monotonic() + 90
        while f"waiting for {ONE}" not in (said := flat(boxes.play("status"))):
            assert time.monotonic() < deadline, said
        assert f"{ONE}" in said and "unreachable" in said.lower()
        before = journal(boxes, TWO)
        time.sleep(10)
        assert journal(boxes, TWO) == before, "it waits, and starts nothing"
        assert boxes.ask(TWO, f"docker inspect --format '{{{{.State.Running}}}}' {UNIT}").strip() == "false", "and holds no memory"
    finally:
        subprocess.run([*fabric, "up"], check=True)
        (boxes.folder / ONE / "off").unlink()
    wait_for(boxes)


def journal(boxes, box):
    return boxes.ask(box, f"journalctl --quiet --unit {UNIT}.service")


def test_a_box_that_is_lost_before_it_is_deployed_does_not_meet_the_others_and_the_next_run_mends_it(boxes):
    boxes.wish(gb10_servers=[BIG | {"max_model_len": 1024}])
    (boxes.folder / ONE / "vanish").write_text("copy")  # its history is written, its deployment not
    failed = flat(boxes.play("site", code=2))
    assert f"big stays as it is here: {ONE}, one of its boxes, was lost meanwhile" in failed
    (boxes.folder / ONE / "off").unlink()
    assert length(boxes) == {1024, 2048}
    deadline = time.monotonic() + 90
    while "which has another deployment" not in (said := flat(boxes.play("status"))):
        assert time.monotonic() < deadline, said
    assert said.count("its boxes do not have the same deployment (the argument --max-model-len is not the same:") == 1 and not answered(boxes), said[-2500:]
    boxes.play("site")
    assert length(boxes) == {1024} and answered(boxes) and "same deployment" not in boxes.play("status")


def test_another_image_on_one_box_is_refused_and_what_runs_goes_on(boxes):
    folder = boxes.inventory / "host_vars"
    folder.mkdir(exist_ok=True)
    (folder / f"{ONE}.json").write_text(json.dumps({"gb10_image": {"source": "existing", "name": "vllm-other"}}))
    boxes.wish(gb10_distribution={"method": "build_everywhere"})  # else the image of one goes to all
    before = boxes.containers(*boxes.names)
    failed = flat(boxes.play("site", code=2))
    assert f"the image is not the same: {TWO} has sha256:1" in failed and f"{ONE} has sha256:2" in failed, failed
    assert boxes.containers(*boxes.names) == before and answered(boxes) and boxes.held() == []


def test_memory_that_is_held_on_one_box_ends_in_a_state_that_says_so(boxes):
    boxes.wish(gb10_servers=[BIG | {"max_model_len": 1024}])
    (boxes.folder / ONE / "short").touch()
    failed = flat(boxes.play("site", code=2))
    assert "GiB are available; that would leave" in failed and f"its rank on {ONE} was not started" in failed, failed
    assert "does not answer either" in failed and boxes.held() == [] and length(boxes) == {2048}
    said = flat(boxes.play("status"))
    assert f"waiting for {ONE}" in said, said
    (boxes.folder / ONE / "short").unlink()
    boxes.box(ONE, "relieve")
    boxes.play("site")
    assert answered(boxes) and length(boxes) == {1024}


def test_a_batch_that_fails_later_takes_all_ranks_of_an_earlier_server_back(tmp_path):
    (tmp_path / "dies.log").write_text(DIES)
    with imitation.boxes(tmp_path, 3) as up:
        up.cable()
        small = {"kv_cache_memory_gib": 2, "max_model_len": 2048}
        first, second = BIG | small | {"boxes": [ONE, TWO]}, BIG | small | {"name": "late", "port": 8001, "boxes": [ONE, "spark-03"]}
        up.wish(gb10_servers=[first, second], gb10_rollout=["100%"])
        up.play("site")
        before = [up.record(box, "deployment", "big")["spec"] for box in (ONE, TWO)]
        up.wish(gb10_servers=[first | {"max_model_len": 1024}, second | {"max_model_len": 1024}])
        up.rules("spark-03", {"log": str(tmp_path / "dies.log"), "exit": 1, "only": "--max-model-len 1024"})
        failed = flat(up.play("site", code=2))
        assert "Free memory on device" in failed and "big went back too, as on the other boxes that serve it." in failed
        assert [up.record(box, "deployment", "big")["spec"] for box in (ONE, TWO)] == before
        assert up.answers(ONE, "big") and up.answers(ONE, "late", 8001) and up.held() == []

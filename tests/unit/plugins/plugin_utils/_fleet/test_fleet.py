# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lock file's content, drift and the status of a fleet."""

from __future__ import annotations

import copy
import json

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import deployment
from ansible_collections.gb10.vllm.plugins.plugin_utils._fleet import fleet
from fleet_boxes import IMAGE, MANIFEST, OTHER_IMAGE, UNIT_DIGEST, box, deployed, server

MANIFESTS = {"/srv/models/devstral-24b": MANIFEST}


def lock_of(one, before=None, address="10.0.0.1"):
    return fleet.locked_box(address, one, before)


def decision(fresh, one):
    return deployment.decide(fresh, (one["servers"].get(fresh["name"]) or {}).get("deployment"), one["docker"]["containers"])


def drift(one, fresh=None, locked=None):
    return fleet.drift("devstral", one, decision(fresh or deployed(), one), UNIT_DIGEST, locked)


class TestLock:
    def test_names_what_runs_and_no_moment(self):
        entry = lock_of(box(deployed()))["servers"]["devstral"]
        assert (entry["commit"], entry["image_id"], entry["vllm_version"], entry["manifest"]) == ("358bf26", IMAGE, "0.32.0", MANIFEST)
        assert entry["spec"] == deployed()["spec"]
        assert entry["measured"] == {"kv_tokens": 393000, "concurrency": 5.99, "available_kv_bytes": 60 * 2**30}

    def test_what_did_not_prove_itself_is_not_locked(self):
        one = box(deployed())
        before = lock_of(one)
        failed = copy.deepcopy(one)
        failed["servers"]["devstral"]["deployment"] = deployed(image=OTHER_IMAGE)
        assert lock_of(failed)["servers"] == {}
        assert lock_of(failed, before) == before

    def test_commit_and_manifest_stay_known_when_the_name_moves_on(self):
        before = lock_of(box(deployed()))
        again = fleet.locked_box("10.0.0.1", box(deployed(), image=None), before)
        assert again == before

    def test_packs_each_deployment_once_and_comes_back_whole(self):
        lock = {f"spark-{number}": lock_of(box(deployed()), address=f"10.0.0.{number}") for number in range(5)}
        packed = fleet.pack(lock)
        assert len(packed["deployments"]) == 1
        assert fleet.unpack(json.loads(json.dumps(packed)), "lock") == lock

    def test_other_boxes_stay_and_boxes_that_left_go(self):
        entry = lock_of(box(deployed()))
        merged = fleet.merge_lock({"a": entry, "b": entry, "gone": entry}, {"b": entry, "c": entry}, ["a", "b", "c"])
        assert list(merged) == ["a", "b", "c"]

    def test_the_lock_of_another_fleet_is_not_overwritten(self):
        with pytest.raises(GB10Error, match="belongs to another inventory: it names x, y, this one has a, b"):
            fleet.merge_lock({"x": {}, "y": {}}, {"a": {}}, ["a", "b"])

    @pytest.mark.parametrize("packed", [None, [], {}, {"boxes": {}}, {"boxes": [], "deployments": {}}])
    def test_what_is_no_lock_is_named(self, packed):
        with pytest.raises(GB10Error, match="is no lock file"):
            fleet.unpack(packed, "x.yml")

    def test_an_edited_a_torn_and_a_newer_lock_are_named(self):
        packed = fleet.pack({"a": lock_of(box(deployed()))})
        edited = copy.deepcopy(packed)
        next(iter(edited["deployments"].values()))["container"]["command"].append("--enforce-eager")
        with pytest.raises(GB10Error, match="edited by hand: server devstral of a"):
            fleet.unpack(edited, "x.yml")
        torn = dict(packed, deployments={})
        with pytest.raises(GB10Error, match="not complete"):
            fleet.unpack(torn, "x.yml")
        with pytest.raises(GB10Error, match="has format 2"):
            fleet.unpack(dict(packed, format=2), "x.yml")


class TestLocked:
    def problems(self, one, fresh=None, lock=None, fleet_names=("spark-1", "spark-2"), address="10.0.0.1", images=None, manifests=MANIFESTS):
        lock = {"spark-1": lock_of(box(deployed()))} if lock is None else lock
        images = images if images is not None else {"spark-1": one["docker"]["images"]}
        fresh = {"devstral": deployed()} if fresh is None else fresh
        return fleet.locked_problems(lock, "gb10.lock.yml", "spark-1", address, list(fleet_names), images, "vllm-node", manifests, fresh)

    def test_what_is_locked_passes(self):
        assert self.problems(box(deployed())) == []

    def test_no_lock(self):
        assert "there is nothing in gb10.lock.yml" in self.problems(box(), lock={})[0]

    def test_a_lock_from_another_inventory(self):
        assert "belongs to another inventory: it names other" in self.problems(box(), lock={"other": {}})[0]
        assert "at 10.0.0.1, this inventory has it at 10.9.9.9" in self.problems(box(), address="10.9.9.9")[0]

    def test_a_box_that_is_not_locked(self):
        assert "does not name spark-1" in self.problems(box(), lock={"spark-2": lock_of(box(deployed()))})[0]

    def test_servers_on_one_side_only(self):
        assert self.problems(box(deployed()), fresh={})[0].startswith("server devstral is locked and no longer wanted.")
        more = {"devstral": deployed(), "b": deployed(server("b"))}
        assert self.problems(box(deployed()), fresh=more)[0].startswith("server b is wanted and not locked.")

    def test_another_image(self):
        assert "would run image bbbbbbbbbbbb, locked is aaaaaaaaaaaa" in self.problems(box(image=OTHER_IMAGE))[0]

    def test_a_missing_image_passes_when_another_box_has_it(self):
        one = box(image=None)
        assert "on no box of this run" in self.problems(one)[0]
        assert self.problems(one, images={"spark-1": {}, "spark-2": {"vllm-node": {"id": IMAGE}}}) == []

    def test_other_model_files(self):
        assert "are not the locked ones" in self.problems(box(deployed()), manifests={"/srv/models/devstral-24b": "e" * 64})[0]
        assert self.problems(box(deployed()), manifests={}) == []

    def test_other_flags(self):
        fresh = {"devstral": deployed(arguments=["--port", "8000", "--max-model-len", "32768"])}
        assert "would run differently: its arguments changed (65536 -> 32768)" in self.problems(box(deployed()), fresh=fresh)[0]


class TestDrift:
    def test_none(self):
        one = box(deployed())
        assert drift(one, locked=lock_of(one)["servers"]["devstral"]) == []

    def test_not_deployed(self):
        assert drift(box()) == ["not deployed yet; site creates it"]

    def test_the_image(self):
        assert "the image changed from sha256:aaaaaaaaaaaa to sha256:bbbbbbbbbbbb" in drift(box(deployed()), deployed(image=OTHER_IMAGE))[0]

    def test_the_flags(self):
        assert (
            "its arguments changed (65536 -> 4096)"
            in drift(box(deployed()), deployed(server(max_model_len=1), arguments=["--port", "8000", "--max-model-len", "4096"]))[0]
        )

    def test_a_container_that_was_removed_by_hand(self):
        one = box(deployed())
        one["docker"]["containers"] = []
        assert drift(one) == ["its container is gone; site replaces the container"]

    def test_a_unit_that_was_edited_by_hand(self):
        one = box(deployed())
        unit = "/etc/systemd/system/gb10-vllm-devstral.service"
        one["files"][unit]["sha256"] = "0" * 64
        one["files"][f"{unit}.d"] = None
        found = drift(one)
        assert found[0].startswith("its unit file was edited") and "systemctl revert gb10-vllm-devstral.service" in found[1]
        del one["files"][unit]
        assert drift(one)[0] == "its unit file is gone; site writes it again"

    def test_a_unit_that_was_stopped_or_disabled(self):
        one = box(deployed())
        one["units"]["gb10-vllm-devstral.service"] = {"active": "inactive", "enabled": False}
        assert drift(one) == ["its unit is inactive; site starts it", "it does not start at boot; site enables it"]

    def test_a_server_that_gave_up_or_died_with_its_box(self):
        one = box(deployed())
        one["units"]["gb10-vllm-devstral.service"] = {"active": "failed", "enabled": True, "restarts": 4}
        assert drift(one) == ["its unit is failed after 3 restarts; site starts it"]
        one["boot_id"], one["servers"]["devstral"]["starting"] = "this boot", {"boot_id": "the boot before"}
        assert drift(one) == ["the box went down while it was starting, so it was not started again by itself; site starts it"]
        one["servers"]["devstral"]["starting"] = {"boot_id": "this boot"}
        one["units"]["gb10-vllm-devstral.service"]["active"] = "activating"
        assert drift(one) == []

    def test_what_another_controller_deployed(self):
        locked = lock_of(box(deployed()))["servers"]["devstral"]
        one = box(deployed(image=OTHER_IMAGE))
        found = drift(one, deployed(image=OTHER_IMAGE), locked)
        assert found == ["it is not what is locked (the image changed from sha256:aaaaaaaaaaaa to sha256:bbbbbbbbbbbb); site locks what runs once it is proven"]

    def test_servers_nobody_wants(self):
        one = box(deployed(), deployed(server("old")))
        assert fleet.leftovers(one, ["devstral"]) == ["old"]
        one["servers"].pop("old")
        assert fleet.leftovers(one, ["devstral"]) == ["old"]
        one["docker"]["containers"].pop()
        assert fleet.leftovers(one, ["devstral"]) == ["old"]
        one["units"] = {name: state for name, state in one["units"].items() if "old" not in name}
        assert fleet.leftovers(one, ["devstral"]) == []
        assert fleet.drift("old", one, None, "", None) == ["no longer in the inventory; site leaves it until gb10_prune is true"]
        assert fleet.drift("old", one, None, "", None, prune=True) == ["no longer in the inventory; site removes it (gb10_prune)"]


def seen(one, **more):
    answer = {"phase": "ready", "answer": {"latency_s": 0.31}}
    return {
        "box": one, "wanted": [server()], "decisions": {"devstral": decision(deployed(), one)} if one else {}, "unit_digests": {"devstral": UNIT_DIGEST},
        "answers": {"devstral": answer}, "locked": None, "prune": False, "problem": None,
    } | more  # fmt: skip


class TestStatus:
    def test_nothing_is_text_to_ansible_core_2_18(self):
        assert fleet.status({"a": seen(box(deployed()), locked="", problem="")}, "now") == fleet.status({"a": seen(box(deployed()))}, "now")

    def test_a_box_that_is_well(self):
        status = fleet.status({"spark-1": seen(box(deployed()))}, "now")
        row = status["boxes"]["spark-1"]["servers"][0]
        assert row["health"] == "answers in 0.3 s" and row["drift"] == [] and row["kv_tokens"] == 393000 and row["figures"] == "measured"
        lines = fleet.status_table(status).splitlines()
        assert " ".join(lines[1].split()) == "spark-1 devstral devstral-24b on aaaaaaaaaaaa 0.32.0 answers in 0.3 s 393,000 5.99x 20.0 GiB - none"
        assert len(lines) == 2

    def test_a_box_that_cannot_be_reached(self):
        status = fleet.status({"spark-1": seen(None, problem="spark-1 cannot be reached: no route.", answers={})}, "now")
        text = fleet.status_table(status)
        assert "spark-1  devstral  -" in text and "unreachable" in text and text.endswith("spark-1: spark-1 cannot be reached: no route.")

    def test_a_server_that_does_not_answer_and_differs(self):
        one = box(deployed(), deployed(server("old")))
        answers = {"devstral": {"phase": "failed", "reason": "it ended with code 1"}}
        status = fleet.status({"spark-1": seen(one, answers=answers, decisions={"devstral": decision(deployed(image=OTHER_IMAGE), one)})}, "now")
        text = fleet.status_table(status)
        assert "spark-1 devstral failed: it ended with code 1" in text
        assert "spark-1 devstral: the image changed" in text
        assert "spark-1 old: no longer in the inventory; site leaves it until gb10_prune is true." in text
        assert [row["server"] for row in status["boxes"]["spark-1"]["servers"]] == ["devstral", "old"]

    def test_a_box_without_servers_and_a_record_that_cannot_be_read(self):
        one = box()
        one["servers"]["devstral"] = {"unreadable": ["deployment"]}
        text = fleet.status_table(fleet.status({"a": seen(one), "b": seen(box(), wanted=[])}, "now"))
        assert "a devstral: its record deployment.json cannot be read; site writes it anew." in text
        assert "not deployed" in text and "\nb    -" in text

    def test_holds_no_secret(self):
        secret = server(api_key="sk-secret", env={"HF_TOKEN": "hf_secret"})
        text = json.dumps(fleet.status({"a": seen(box(deployed(secret)), wanted=[secret])}, "now"))
        assert "secret" not in text


def test_the_report_sets_what_was_measured_against_what_was_predicted():
    fresh = box(deployed())
    del fresh["servers"]["devstral"]["measured"]
    lines = fleet.report_table({"a": {"box": box(deployed())}, "b": {"box": fresh}, "c": {"box": box()}}).splitlines()
    assert lines[1].split()[:10] == ["a", "devstral", "devstral-24b", "on", "aaaaaaaaaaaa", "0.32.0", "127.0.0.1:8000", "393,000", "393,216", "-0.1%"]
    assert "not measured" in lines[2] and len(lines) == 3
    assert fleet.report_table({"c": {"box": box()}}) == "No server runs on these boxes."

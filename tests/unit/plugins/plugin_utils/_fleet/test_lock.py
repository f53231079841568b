# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the lock file says, and what is refused because of it."""

from __future__ import annotations

import copy
import json

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import deployment
from ansible_collections.gb10.vllm.plugins.plugin_utils._fleet import lock as locks
from fleet_boxes import IMAGE, MANIFEST, OTHER_IMAGE, box, deployed, server

MANIFESTS = {"/srv/models/devstral-24b": MANIFEST}


def lock_of(one, before=None, address="10.0.0.1"):
    return locks.locked_box(address, one, before)


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
        again = locks.locked_box("10.0.0.1", box(deployed(), image=None), before)
        assert again == before

    def test_packs_each_deployment_once_and_comes_back_whole(self):
        lock = {f"spark-{number}": lock_of(box(deployed()), address=f"10.0.0.{number}") for number in range(5)}
        packed = locks.pack(lock)
        assert len(packed["deployments"]) == 1
        assert locks.unpack(json.loads(json.dumps(packed)), "lock") == lock

    def test_other_boxes_stay_and_boxes_that_left_go(self):
        entry = lock_of(box(deployed()))
        merged = locks.merge_lock({"a": entry, "b": entry, "gone": entry}, {"b": entry, "c": entry}, ["a", "b", "c"])
        assert list(merged) == ["a", "b", "c"]

    def test_the_lock_of_another_fleet_is_not_overwritten(self):
        with pytest.raises(GB10Error, match="belongs to another inventory: it names x, y, this one has a, b"):
            locks.merge_lock({"x": {}, "y": {}}, {"a": {}}, ["a", "b"])

    @pytest.mark.parametrize("packed", [None, [], {}, {"boxes": {}}, {"boxes": [], "deployments": {}}])
    def test_what_is_not_a_lock_is_named(self, packed):
        with pytest.raises(GB10Error, match="is not a lock file"):
            locks.unpack(packed, "x.yml")

    def test_an_edited_a_torn_and_a_newer_lock_are_named(self):
        packed = locks.pack({"a": lock_of(box(deployed()))})
        edited = copy.deepcopy(packed)
        next(iter(edited["deployments"].values()))["container"]["command"].append("--enforce-eager")
        with pytest.raises(GB10Error, match="edited by hand: server devstral of a"):
            locks.unpack(edited, "x.yml")
        other = copy.deepcopy(packed)
        other["boxes"]["a"]["servers"]["devstral"]["image_id"] = OTHER_IMAGE
        with pytest.raises(GB10Error, match="edited by hand: server devstral of a"):
            locks.unpack(other, "x.yml")
        torn = dict(packed, deployments={})
        with pytest.raises(GB10Error, match="not complete"):
            locks.unpack(torn, "x.yml")
        with pytest.raises(GB10Error, match="has format 2"):
            locks.unpack(dict(packed, format=2), "x.yml")


class TestLocked:
    def problems(
        self, one, fresh=None, lock=None, fleet_names=("spark-1", "spark-2"), address="10.0.0.1", images=None, manifests=MANIFESTS, supplied=None, **more
    ):
        lock = {"spark-1": lock_of(box(deployed()))} if lock is None else lock
        images = images if images is not None else {"spark-1": one["docker"]["images"]}
        fresh = {"devstral": deployed()} if fresh is None else fresh
        question = {
            "lock": {"boxes": lock, "problem": ""},
            "path": "gb10.lock.yml",
            "box_name": "spark-1",
            "fleet": list(fleet_names),
            "boxes": {name: {"address": address, "box": {"docker": {"images": held}}} for name, held in images.items()},
            "images": supplied or {},
            "image_name": "vllm-node",
            "models": {path: {"manifest": manifest} for path, manifest in manifests.items()},
            "servers": [server(name) for name in fresh],
            "orders": {name: {"deployment": one} for name, one in fresh.items()},
        }
        return locks.locked_problems({**question, **more})

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

    def test_a_lock_file_that_cannot_be_read(self):
        question = {"lock": {"boxes": {}, "problem": "x is not complete."}, "path": "x", "box_name": "spark-1"}
        assert locks.locked_problems(question) == ["x is not complete."]

    def test_the_image_that_was_supplied_counts_more_than_what_was_read(self):
        supplied = {"id": OTHER_IMAGE}
        assert "would run image bbbbbbbbbbbb" in self.problems(box(deployed()), supplied={"vllm-node": supplied})[0]
        assert self.problems(box(image=None), supplied={"vllm-node": {"id": IMAGE}}) == []

    def test_a_lock_file_is_refused_before_anything_is_done(self):
        entry = lock_of(box(deployed()))
        assert locks.refused({"boxes": {}, "problem": ""}, ["a"]) == locks.refused({"boxes": {"a": entry}, "problem": ""}, ["a", "b"]) == ""
        assert locks.refused({"boxes": {}, "problem": "x is not complete."}, ["a"]) == "x is not complete."
        assert "It was not overwritten" in locks.refused({"boxes": {"x": entry}, "problem": ""}, ["a"])


def versioned(content, verified=None):
    """The server's deployment over a version of its model."""
    one = deployed()
    volumes = ["/srv/models/devstral-24b@0123456789abcd:/models/devstral:ro", *one["container"]["volumes"][1:]]
    one = {**one, "container": {**one["container"], "volumes": volumes}, "content": content}
    one["spec"] = deployment.spec_of(one["container"], one["manifest"], content)
    return {**one, **({"verified": verified} if verified else {})}


def problems_of(one, content, directory="/srv/models/devstral-24b@0123456789abcd", image=None):
    lock = {"spark-1": lock_of(box(one))}
    lock = locks.unpack(json.loads(json.dumps(locks.pack(lock))), "lock")
    facts = {"manifest": MANIFEST, "directory": directory, "content": content}
    question = {
        "lock": {"boxes": lock}, "path": "lock", "box_name": "spark-1", "fleet": ["spark-1"], "boxes": {"spark-1": {"address": "10.0.0.1", "box": box(one)}},
        "images": {"vllm-node": image} if image else {}, "image_name": "vllm-node", "models": {one["model_path"]: facts}, "servers": [server()],
        "orders": {"devstral": {"deployment": one}},
    }  # fmt: skip
    return locks.locked_problems(question)


KNOWN = {"small": "s" * 64, "weights": "w" * 64}


def test_a_lock_knows_the_content():
    assert problems_of(versioned(KNOWN), KNOWN) == []
    assert problems_of(versioned(KNOWN), {**KNOWN, "weights": None}) == [], "supply has it read"
    after_supply = problems_of(versioned(KNOWN), {**KNOWN, "weights": None}, image={"id": IMAGE})
    assert len(after_supply) == 1 and "were not verified yet; they are read in the background now" in after_supply[0]
    assert problems_of(versioned({"small": KNOWN["small"]}), {**KNOWN, "weights": None}, image={"id": IMAGE}) == []


@pytest.mark.parametrize("part", ["small", "weights"])
def test_other_content_under_the_locked_names_and_sizes_is_refused(part):
    for one in (versioned(KNOWN), versioned({"small": KNOWN["small"]}, {"weights": KNOWN["weights"]})):
        found = problems_of(one, {**KNOWN, part: "x" * 64})
        assert len(found) == 1 and f"their content is another one ({part}: xxxxxxxxxxxx, locked is" in found[0]


def test_the_same_files_in_another_place_are_named():
    found = problems_of(versioned(KNOWN), KNOWN, directory="/data/m")
    assert found and "is locked to /srv/models/devstral-24b@0123456789abcd, and the same files lie in /data/m" in found[0]


def test_each_server_is_compared_with_its_own_image():
    one, two = deployed(), deployed(server("second", port=8001), image=OTHER_IMAGE)
    held = box(one, two)
    held["docker"]["images"]["acme/x:1"] = {"id": OTHER_IMAGE}
    question = {
        "lock": {"boxes": {"spark-1": lock_of(held)}}, "path": "lock", "box_name": "spark-1", "fleet": ["spark-1"],
        "boxes": {"spark-1": {"address": "10.0.0.1", "box": held}}, "images": {}, "image_name": "vllm-node", "models": {},
        "image_names": {"devstral": "vllm-node", "second": "acme/x:1"}, "servers": [server(), server("second")],
        "orders": {"devstral": {"deployment": one}, "second": {"deployment": two}},
    }  # fmt: skip
    assert locks.locked_problems(question) == []
    newer = {"vllm-node": {"id": IMAGE}, "acme/x:1": {"id": "sha256:" + "f" * 64}}
    (said,) = locks.locked_problems({**question, "images": newer})
    assert said.startswith("server second would run image ffffffffffff, locked is bbbbbbbbbbbb.")

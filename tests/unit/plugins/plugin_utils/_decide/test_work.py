# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The work order: what there is to do for a server, in every state in which a box can be found."""

from __future__ import annotations

import copy
import hashlib
import json

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import deployment, work
from fleet_boxes import IMAGE, MANIFEST, OTHER_IMAGE, SETTINGS, box, planned, server

NAME = "devstral"
UNIT = f"gb10-vllm-{NAME}.service"
WATCH = f"gb10-vllm-watch@{NAME}.timer"
UNIT_TEXT = "[Unit]\n"
KEY_FILE = f"/etc/gb10-vllm/{NAME}/key.env"
BACK = ["repairs.json", UNIT, "deployment.json"]
GUARDED = ["--middleware", "guard_keys.GuardKeys"]
REPAIR = {"id": "KB-109", "set": {"max_num_batched_tokens": 4096}, "reason": "r", "wait_for_memory": True}


def given(on=None, one=None, image=IMAGE, arguments=None, manifest=MANIFEST, **more):
    """What the role knows of a server on a box."""
    one = one or server()
    plan = planned(one, **({"arguments": arguments} if arguments else {}))
    facts = {
        "wanted": one,
        "plan": {"servers": [{"name": "another"}, {**plan, "name": NAME}]},
        "image": {"id": image, "name": "vllm-node", "vllm_version": "0.32.0"},
        "image_name": "vllm-node",
        "models": {one["model_path"]: {"manifest": manifest, "names": ["config.json"]}},
        "box": on or {**box(), "boot_id": "this boot"},
        "locked": {},
        "unit_text": UNIT_TEXT,
        "settings": SETTINGS,
        "options": {"history": 5, "repair": True, "api_key": ""},
        "back_to": {},
    }
    return {**facts, **more}


def order(*args, **more):
    return work.work_order(given(*args, **more))


def fresh(**more):
    """The deployment that is made of such a wish where nothing runs."""
    return order(**more)["deployment"]


def running(*deployments, history=(), **record):
    """A box on which the last of these deployments runs, proven; ``record``: more of what the box keeps of it."""
    one = {**box(*deployments[-1:]), "boot_id": "this boot"}
    one["files"][f"/etc/systemd/system/{UNIT}"]["sha256"] = hashlib.sha256(UNIT_TEXT.encode()).hexdigest()
    one["servers"][NAME].update(copy.deepcopy(record), history=list(history))
    return one


def needed(done):
    return [file["dest"].rpartition("/")[2] for file in done["files"] if file["needed"]]


def test_a_steady_state_has_nothing_to_do():
    done = order(running(fresh()))
    assert not done["start"] and not done["create"] and done["reason"] == "unchanged"
    assert needed(done) == [] and done["down"] == [] and done["proven"] and done["before_proven"]
    assert not any(done[key] for key in ("new", "write_key", "write_env", "starting", "forget_starts", "reset_failed"))
    assert done["history"] == [] and done["previous"] == fresh()


def test_a_new_server_gets_everything():
    done = order()
    assert done["start"] and done["create"] and done["new"] and done["reason"] == "it does not exist yet"
    assert needed(done) == ["deployment.json", UNIT], "there is nothing to go back to and no repair"
    assert done["down"] == [UNIT, WATCH] and not done["reset_failed"] and not done["proven"]
    assert done["previous"] == {} and done["fallback"] == {"deployment": {}, "outcome": work.NOTHING_BEFORE}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"image": OTHER_IMAGE}, "the image changed from sha256:aaaaaaaaaaaa to sha256:bbbbbbbbbbbb"),
        ({"one": server(max_model_len=32768), "arguments": ["--port", "8000", "--max-model-len", "32768"]}, "its arguments changed (65536 -> 32768)"),
        ({"manifest": "e" * 64}, "the files in /srv/models/devstral-24b changed"),
        ({"settings": {**SETTINGS, "shm_gib": 16}}, "its shm_size_bytes changed"),
    ],
)
def test_what_changed_makes_a_new_container_and_keeps_what_served(change, reason):
    before = fresh()
    done = order(running(before), **change)
    assert done["create"] and done["start"] and done["reason"] == reason
    assert done["history"] == [before] == [done["previous"]] and needed(done) == ["history.json", "deployment.json"]
    assert done["fallback"] == {"deployment": before, "outcome": work.PUT_BACK, "stands": True} and done["lost"] == {"deployment": {}, "outcome": work.LOST}
    assert done["reset_failed"] and not done["proven"] and done["image_id"] == change.get("image", IMAGE)


def test_what_served_stands_where_it_answered_and_its_container_is_as_it_was_made():
    """What may be left running where a start fails before it is replaced."""
    unproven, by_hand = running(fresh(), history=[fresh(image=OTHER_IMAGE)]), running(fresh())
    del unproven["servers"][NAME]["measured"]
    by_hand["docker"]["containers"][0]["labels"] = {}
    for on in (unproven, by_hand):
        assert "stands" not in order(on, one=server(max_model_len=1), arguments=["--max-model-len", "1"])["fallback"]


def test_a_plan_that_moved_with_a_measurement_changes_nothing():
    done = order(running(fresh()), arguments=["--port", "8000", "--gpu-memory-utilization", "0.71"])
    assert not done["start"] and done["deployment"] == fresh()


def test_only_what_answered_is_worth_going_back_to():
    first, second = fresh(), fresh(image=OTHER_IMAGE)
    failed = running(second, history=[first])
    failed["servers"][NAME]["measured"] = {"spec": first["spec"]}
    done = order(failed, one=server(max_model_len=1), arguments=["--max-model-len", "1"])
    assert not done["before_proven"] and done["history"] == [first] and done["previous"] == first
    del failed["servers"][NAME]["measured"]
    assert order(failed, one=server(max_model_len=1), arguments=["--max-model-len", "1"])["previous"] == first


def test_what_a_killed_run_left_starting_is_put_back_too_when_it_fails():
    first, second = fresh(), fresh(image=OTHER_IMAGE)
    killed = running(second, history=[first])
    killed["servers"][NAME]["measured"] = {"spec": first["spec"]}
    done = order(killed, image=OTHER_IMAGE)
    assert not done["create"] and not done["proven"] and done["previous"] == first
    assert done["fallback"] == {"deployment": first, "outcome": work.PUT_BACK}
    alone = running(second)
    del alone["servers"][NAME]["measured"]
    assert order(alone, image=OTHER_IMAGE)["fallback"] == {"deployment": {}, "outcome": work.NOTHING_BEFORE}


def test_the_history_names_each_deployment_once_and_has_an_end():
    deployments = [fresh(one=server(max_model_len=length), arguments=["--max-model-len", str(length)]) for length in range(1, 9)]
    wish = {"one": server(max_model_len=3), "arguments": ["--max-model-len", "3"]}
    done = order(running(deployments[-1], history=deployments[:-1]), **wish)
    assert [one["spec"] for one in done["history"]] == [one["spec"] for one in [deployments[-1], *deployments[:2], *deployments[3:5]]]
    assert order(running(deployments[-1]), **wish, options={"history": "0", "repair": True})["history"] == []


def test_a_container_that_is_gone_or_of_somebody_else_is_made_anew():
    gone = running(fresh())
    gone["docker"]["containers"] = []
    done = order(gone)
    assert done["create"] and done["reason"] == "its container is gone" and done["fallback"]["deployment"] == fresh()
    foreign = {**box(), "boot_id": "this boot"}
    foreign["docker"]["containers"] = [{"name": f"gb10-vllm-{NAME}", "labels": {}}]
    assert order(foreign)["reason"] == "a container of this name exists that this collection did not finish"


def test_what_fails_without_a_new_container_is_left_as_it_is():
    assert order(running(fresh()))["fallback"] == {"deployment": {}, "outcome": work.LEFT}


class TestRepairs:
    def record(self, image_id=IMAGE, applied=(REPAIR,)):
        return {"image_id": image_id, "applied": list(applied)}

    def test_hold_for_the_image_they_were_made_with(self):
        one = running(fresh(), repairs=self.record())
        assert order(one)["repairs"] == [REPAIR] and order(one)["may_repair"]
        assert order(one, image=OTHER_IMAGE)["repairs"] == []

    def test_are_part_of_what_decides(self):
        done = order(running(fresh(), repairs=self.record()))
        assert done["create"] is False and done["deployment"]["inputs"] != fresh()["inputs"], "same container, another record"
        assert needed(done) == ["deployment.json"] and done["deployment"]["repairs"] == self.record()

    def test_are_two_at_most_and_only_where_they_are_wanted(self):
        assert not order(running(fresh(), repairs=self.record(applied=[REPAIR, REPAIR])))["may_repair"]
        assert not order(options={"history": 5, "repair": False})["may_repair"]

    def test_get_what_the_server_was_started_with(self):
        wanted = order(arguments=["--max-num-batched-tokens", "2048"], one=server(cuda_graphs="always"))["wanted_for_repair"]
        assert wanted["command"][-4:] == ["--max-num-batched-tokens", "2048", *GUARDED] and wanted["max_model_len"] == 65536
        assert (wanted["cuda_graphs"], wanted["os_floor_bytes"], wanted["model_files"]) == ("always", 12 * 2**30, ["config.json"])

    def test_get_what_runs_where_it_is_kept(self):
        kept = order(running(fresh(arguments=["--max-num-seqs", "7"])), arguments=["--max-num-seqs", "8"])
        assert kept["wanted_for_repair"]["command"][-4:] == ["--max-num-seqs", "7", *GUARDED]

    def test_get_something_from_a_record_of_an_earlier_release(self):
        old = fresh()
        del old["planned"]
        assert order(running(old))["wanted_for_repair"]["cuda_graphs"] == "auto"

    def test_get_what_is_kept_back_by_them_and_by_the_user(self):
        made = {"id": "KB-109", "set": {"reserve_gib": 2.5}, "reason": "r"}
        repairs = {"image_id": IMAGE, "applied": [made]}
        assert order()["wanted_for_repair"]["reserve_gib"] == 0
        assert order(one=server(reserve_gib=4))["wanted_for_repair"]["reserve_gib"] == 4
        assert order(running(fresh(), repairs=repairs))["wanted_for_repair"]["reserve_gib"] == 2.5, "the next one is added to the last one"
        assert order(running(fresh(), repairs={**repairs, "image_id": OTHER_IMAGE}))["wanted_for_repair"]["reserve_gib"] == 0
        shares = [
            order(one=server(**one))["wanted_for_repair"]["utilization_stated"]
            for one in ({}, {"gpu_memory_utilization": "auto"}, {"gpu_memory_utilization": 0.8})
        ]
        assert shares == [False, False, True]
        plan = given()["plan"]
        plan["servers"][1]["margin_bytes"] = 7
        assert order(plan=plan)["wanted_for_repair"]["margin_bytes"] == 7


class TestTheFirstLoad:
    @pytest.mark.parametrize(
        ("arguments", "concurrency", "load"),
        [
            (["--max-num-batched-tokens", "8192", "--max-num-seqs", "256"], 4, (8192, 65536, 4)),
            (["--max-num-batched-tokens", "8192", "--max-num-seqs", "3"], 4, (8192, 65536, 3)),
            (["--max-num-seqs"], None, (65536, 65536, 1)),
            (["--x"], 9, (65536, 65536, 9)),
        ],
    )
    def test_is_a_whole_batch_and_what_the_server_was_planned_for(self, arguments, concurrency, load):
        one = server(**({"concurrency": concurrency} if concurrency else {}))
        assert order(arguments=arguments, one=one)["load"] == dict(zip(("batch_tokens", "context", "requests", "images"), (*load, 0), strict=True))

    @pytest.mark.parametrize(
        ("config", "arguments", "images"), [({"vision_config": {}}, [], 1), ({}, [], 0), ({"vision_config": {}}, ["--language-model-only"], 0)]
    )
    def test_has_an_image_where_the_model_sees(self, config, arguments, images):
        one = server()
        models = {one["model_path"]: {"manifest": MANIFEST, "config": config}}
        assert order(arguments=["--x", "1", *arguments], models=models)["load"]["images"] == images

    def test_of_a_record_of_an_earlier_release_asks_for_no_more_than_is_known(self):
        old = fresh()
        del old["planned"]
        assert order(running(old))["load"]["context"] == 0

    def test_begins_when_the_memory_of_what_ran_has_come_back(self):
        assert (order()["memory_bytes"], order(running(fresh()))["memory_bytes"]) == (0, (90 + 12) * 2**30)


class TestGoingBack:
    def back(self, on, to, models=None, one=None, **more):
        models = models if models is not None else {to["model_path"]: {"manifest": to["manifest"]}}
        wish = {"deployment": to, "models": models, "reason": "a rollback was asked for"}
        return order(on, one=one, image="", plan={}, models={}, back_to=wish, **more)

    def test_brings_back_the_deployment_whole(self):
        first, second = fresh(), fresh(image=OTHER_IMAGE)
        done = self.back(running(second, history=[first], repairs={"image_id": OTHER_IMAGE, "applied": [REPAIR]}), first)
        assert done["deployment"] == first and done["create"] and done["start"] and done["reason"] == "a rollback was asked for"
        assert needed(done) == BACK and json.loads(done["files"][0]["content"]) == {}
        assert done["image_id"] == IMAGE and done["reset_failed"]

    def test_does_not_remember_what_is_left(self):
        first, second, third = fresh(), fresh(image=OTHER_IMAGE), fresh(one=server(max_model_len=9), arguments=["--max-model-len", "9"])
        done = self.back(running(third, history=[second, first]), second)
        assert done["history"] == [first] and done["previous"] == {} and not done["before_proven"]

    def test_is_not_repaired(self):
        made = {"image_id": IMAGE, "applied": [REPAIR]}
        first = fresh()
        done = self.back(running(fresh(image=OTHER_IMAGE), history=[first], repairs=made), first)
        assert done["repairs"] == [] and not done["may_repair"]
        same = self.back(running(fresh(image=OTHER_IMAGE), repairs=first["repairs"]), first)
        assert needed(same) == BACK[1:], "its own repairs are there already"

    def test_can_be_done_again_until_it_answers(self):
        """What a run leaves that was killed after it wrote the records: the same deployment is still the one to go back to, and nothing is lost."""
        first, second = fresh(), fresh(image=OTHER_IMAGE)
        killed = running(first, history=[first])
        killed["servers"][NAME]["measured"] = {"spec": second["spec"]}
        again = self.back(killed, first)
        assert again["deployment"] == first and again["create"] and again["history"] == []
        failing = order(running(first, history=[first]), image=OTHER_IMAGE)
        assert failing["history"] == [first] and failing["previous"] == first, "and it is remembered once"

    def test_leaves_a_container_alone_that_was_not_replaced(self):
        first = fresh()
        wish = {"deployment": first, "models": {first["model_path"]: {"manifest": first["manifest"]}}, "reason": "r", "untouched": True}
        done = order(running(first), image="", plan={}, models={}, back_to=wish)
        assert not done["create"] and done["start"] and needed(done) == BACK[1:]

    def test_leaves_the_secrets_as_they_are(self):
        done = self.back(
            running(fresh(), history=[fresh()]), fresh(), one=server(api_key="k", env={"A": "b"}), options={"history": 5, "repair": 1, "api_key": "g"}
        )
        assert not done["write_key"] and not done["write_env"] and done["remove_secrets"] == []
        assert done["ensure_key"], "it ends without one, and what came between may have taken it away"

    def test_finds_the_model_where_it_is_now(self):
        first = fresh()
        done = self.back(running(fresh(manifest="e" * 64)), first, {"/srv/models/devstral-24b@0badc0de": {"manifest": MANIFEST}})
        assert done["deployment"]["container"]["volumes"][0].startswith("/srv/models/devstral-24b@0badc0de:")
        with pytest.raises(GB10Error, match="the files that /srv/models/devstral-24b held when this deployment ran are gone"):
            self.back(running(first), first, {})

    def test_lets_systemd_count_anew_although_the_unit_was_not_read(self):
        one = running(fresh())
        one["units"] = {}
        assert self.back(one, fresh())["reset_failed"] and not order(one, image=OTHER_IMAGE)["reset_failed"]


class TestLocked:
    def entry(self, **more):
        deployed = fresh(**more)
        return {"image_id": deployed["container"]["image"], "vllm_version": "0.32.0", "manifest": deployed["manifest"], "spec": deployed["spec"],
                "repairs": {}, "deployment": deployed}  # fmt: skip

    def test_what_is_locked_is_deployed_whatever_the_plan_says_now(self):
        done = order(locked=self.entry(), arguments=["--port", "8000"])
        assert done["deployment"] == fresh() and done["create"]
        assert not order(running(fresh()), locked=self.entry(), arguments=["--port", "8000"])["start"]

    def test_what_is_wanted_differently_shows(self):
        done = order(locked=self.entry(), one=server(max_model_len=1), arguments=["--max-model-len", "1"])
        assert done["deployment"]["spec"] != self.entry()["spec"]

    def test_the_image_is_the_locked_one_and_the_files_those_that_are_there(self):
        done = order(locked=self.entry(), image=OTHER_IMAGE)
        assert done["image_id"] == IMAGE and done["deployment"] == fresh()
        assert order(locked=self.entry(), models={})["deployment"] == fresh(), "files that nobody has yet are taken to be the locked ones"
        assert order(locked=self.entry(), manifest="e" * 64)["deployment"]["manifest"] == "e" * 64

    def test_repairs_of_the_lock_are_part_of_it_and_not_those_of_the_box(self):
        made = {"image_id": IMAGE, "applied": [REPAIR]}
        done = order(running(fresh(), repairs=made), locked=self.entry())
        assert not done["create"] and done["deployment"]["repairs"] == {} and done["repairs"] == [REPAIR]


class TestSystemd:
    @pytest.mark.parametrize(
        ("unit", "state"), [(UNIT, {"active": "inactive", "enabled": True}), (WATCH, {"active": "active", "enabled": False}), (WATCH, None)]
    )
    def test_what_does_not_run_now_or_at_boot_is_started(self, unit, state):
        one = running(fresh())
        one["units"].pop(unit)
        if state:
            one["units"][unit] = state
        done = order(one)
        assert done["start"] and done["down"] == [unit] and not done["create"] and not done["reset_failed"]

    def test_a_unit_that_gave_up_may_start_again(self):
        one = running(fresh())
        one["units"][UNIT] = {"active": "failed", "enabled": True}
        assert order(one)["reset_failed"] and order(one)["start"]

    def test_a_unit_of_another_text_is_written_back(self):
        assert needed(order(running(fresh()), unit_text="[Unit]\n# new\n")) == [UNIT]
        one = running(fresh())
        one["files"].clear()
        assert needed(order(one)) == [UNIT] and order(one)["start"]

    def test_a_start_that_goes_on_and_one_in_which_the_box_went_down(self):
        now = order(running(fresh(), starting={"boot_id": "this boot"}))
        assert now["start"] and now["starting"] and not now["forget_starts"]
        died = order(running(fresh(), starting={"boot_id": "the boot before"}))
        assert died["start"] and died["starting"] and died["forget_starts"]
        torn = order(running(fresh(), starting={}))
        assert torn["starting"] and not torn["forget_starts"]

    @pytest.mark.parametrize(("active", "forgets"), [("active", False), ("activating", False), ("reloading", False), ("failed", True), ("inactive", True)])
    def test_a_server_that_is_down_has_all_its_starts_again(self, active, forgets):
        one = running(fresh())
        one["units"][UNIT] = {"active": active, "enabled": True}
        assert order(one)["forget_starts"] == forgets
        assert order()["forget_starts"] and order(one, image=OTHER_IMAGE)["forget_starts"], "a new container is another server"

    def test_what_never_answered_is_proven_now(self):
        one = running(fresh())
        del one["servers"][NAME]["measured"]
        done = order(one)
        assert done["start"] and not done["proven"] and not done["create"] and needed(done) == []


class TestSecrets:
    def test_given_ones_are_compared_on_the_box_each_time(self):
        for one, options, writes in (
            (server(api_key="k"), {}, (True, False)),
            (server(env={"HF_TOKEN": "t"}), {}, (False, True)),
            (server(), {"api_key": "for all"}, (True, False)),
            (server(api_key=""), {"api_key": "for all"}, (False, False)),
        ):
            done = order(running(fresh(one=one)), one=one, options={"history": 5, "repair": True, **options})
            assert (done["write_key"], done["write_env"]) == writes and done["start"] == any(writes)

    @pytest.mark.parametrize(
        ("about", "starts"),
        [
            ({"same": True, "mode": "0600", "uid": 0}, False),
            ({"same": False, "mode": "0600", "uid": 0}, True),
            ({"same": True, "mode": "0644", "uid": 0}, True),
            ({"same": True, "mode": "0600", "uid": 1000}, True),
            ({"mode": "0600", "uid": 0}, True),
        ],
    )
    def test_what_the_box_says_it_has_is_not_written_again(self, about, starts):
        """Else each run would go through all that a start takes, and drain the server at its routers."""
        one = server(api_key="k", env={"OMP_NUM_THREADS": 1})
        held = running(fresh(one=one))
        texts = work.private_texts([one], "/etc/gb10-vllm")
        assert texts == {KEY_FILE: "VLLM_API_KEY=k\n", KEY_FILE.replace("key.env", "server.env"): "OMP_NUM_THREADS=1\n"}
        held["files"] |= {path: dict(about) for path in texts}
        done = order(held, one=one)
        assert (done["write_key"], done["write_env"], done["start"]) == (starts, starts, starts) and done["remove_secrets"] == []

    def test_whose_key_a_server_is_given(self):
        given = [server(api_key="k 1"), {**server(), "name": "b"}, {**server(api_key=""), "name": "c"}]
        assert list(work.private_texts(given, "/etc").values()) == ["VLLM_API_KEY='k 1'\n"]
        assert work.private_texts(given, "/etc", "all")["/etc/b/key.env"] == "VLLM_API_KEY=all\n" and len(work.private_texts(given, "/etc", "all")) == 2

    def test_a_key_is_generated_once(self):
        for one in (server(address="0.0.0.0"), server()):
            held = running(fresh(one=one))
            assert not order(held, one=one)["start"]
            del held["files"][KEY_FILE]
            assert order(held, one=one)["write_key"]

    def test_a_key_that_is_no_longer_given_is_replaced_without_a_restart(self):
        given_one = server(api_key="k")
        held = running(fresh(one=given_one))
        done = order(held, one=server())
        assert (done["write_key"], done["new_key"], done["create"], done["keys_live"]) == (True, True, False, True)
        assert needed(done) == ["deployment.json"] and json.loads(done["files"][1]["content"])["key"] == "generated"
        assert not order(running(done["deployment"]), one=server())["start"], "once"

    def test_what_an_earlier_release_left_without_a_key_goes_on_without_one(self):
        old = {key: value for key, value in fresh().items() if key != "key"}
        held = running({**old, "key": "none"})
        held["servers"][NAME]["deployment"] = old
        done = order(held, one=server())
        assert not done["start"] and done["deployment"] == old and not done["keys_live"]
        beyond = server(address="0.0.0.0")
        old = {key: value for key, value in fresh(one=beyond).items() if key != "key"}
        held["servers"][NAME]["deployment"] = old
        assert order(held, one=beyond)["write_key"], "there it had one, and it is gone"

    def test_the_keys_of_the_fleet_are_written_where_they_differ_and_go_when_nobody_wants_them(self):
        options = {"history": 5, "repair": True, "router_key": "r" * 32, "metrics_key": ""}
        held = running(fresh())
        fleet = f"/etc/gb10-vllm/{NAME}/fleet.env"
        assert order(held, options=options)["write_fleet"]
        held["files"][fleet] = {"sha256": hashlib.sha256(work.fleet_keys(options).encode()).hexdigest()}
        assert not order(held, options=options)["start"]
        assert order(held, options={**options, "metrics_key": "m" * 32})["write_fleet"]
        done = order(held)
        assert done["remove_secrets"] == [fleet] and done["start"] and not done["create"] and not done["env_removed"]

    def test_what_leaves_the_inventory_leaves_the_box_and_is_out_of_force(self):
        held = running(fresh(one=server(env={"A": "b"})))
        held["files"][f"/etc/gb10-vllm/{NAME}/server.env"] = {"sha256": None}
        assert order(held, one=server(env={"A": "b"}))["remove_secrets"] == []
        done = order(held)
        assert done["remove_secrets"] == [f"/etc/gb10-vllm/{NAME}/server.env"] and done["env_removed"] and not done["create"]
        opened = dict(server(), key_policy="none")
        done = order(held, one=opened)
        assert KEY_FILE in done["remove_secrets"] and done["create"] and not done["env_removed"], "the new container starts without it anyway"

    def test_no_secret_is_in_an_order(self):
        assert "hunter2" not in json.dumps(
            order(one=server(api_key="hunter2", env={"A": "hunter2"}), options={"history": 5, "repair": 1, "api_key": "hunter2"})
        )


class TestTheImage:
    def test_what_runs_is_taken_for_an_image_that_is_gone(self):
        done = order(running(fresh()), image="")
        assert not done["create"] and done["image_id"] == IMAGE and done["deployment"] == fresh()
        assert order(image="")["image_id"] == ""

    def test_it_has_the_name_it_was_given(self):
        assert fresh()["image_name"] == "vllm-node"
        assert work.work_order({**given(), "image": {"id": IMAGE}})["deployment"]["image_name"] == "vllm-node"


def test_what_ansible_core_2_18_makes_of_nothing_and_numbers():
    """There an empty value may arrive as text, and a number too."""
    texts = {"locked": "", "back_to": "", "options": {"history": "5", "repair": True, "api_key": ""}}
    assert work.work_order({**given(running(fresh())), **texts}) == order(running(fresh()))


def test_the_text_of_the_records_is_that_of_earlier_releases():
    """Ansible's filter to_nice_json wrote them; other bytes would be written anew on every box."""
    from ansible.plugins.filter.core import to_nice_json

    for file, value in zip(order(running(fresh()), image=OTHER_IMAGE)["files"], ([fresh()], fresh(image=OTHER_IMAGE)), strict=False):
        assert file["content"] == to_nice_json(value, sort_keys=True) + "\n"
    assert work.nice_json({"b": "ü", "a": [1, {}], "c": 1.5}) == to_nice_json({"b": "ü", "a": [1, {}], "c": 1.5}, sort_keys=True) + "\n"


def test_the_record_of_an_earlier_release_is_kept():
    """A deployment is what its record says: no key of a later release makes it another one, and nothing is written for it."""
    old = {key: value for key, value in fresh().items() if key != "repairs"}
    done = order(running(old))
    assert not done["start"] and done["deployment"] == old
    assert deployment.spec_of(old["container"], old["manifest"]) == old["spec"]

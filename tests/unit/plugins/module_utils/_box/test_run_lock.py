# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lock on a box: who may have it, on real files and between real processes."""

from __future__ import annotations

import json
import multiprocessing
import time

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._box import run_lock
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error


def owner(run):
    return {"run": run, "owner": f"{run}@laptop", "controller": {"pid": 1}}


def acquire(state_dir, run, ttl_s=60.0, take_over=None, planned=None):
    return run_lock.acquire(str(state_dir), owner(run), ttl_s, take_over, planned)


def deploy(state_dir, server, spec):
    folder = state_dir / "servers" / server
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "deployment.json").write_text(json.dumps({"spec": spec}))


def later(monkeypatch, *, clock_s=0.0, boot_s=0.0, boot_id=None):
    """The box in so many seconds: by its clock, which may be set, and since it was started."""
    now = run_lock.instant()
    then = run_lock.Instant(now.clock_s + clock_s, boot_id or now.boot_id, now.boot_s + boot_s)
    monkeypatch.setattr(run_lock, "instant", lambda: then)


BOOTED = {"run": "b", "refreshed_at": 990, "refreshed_boot_s": 440, "boot_id": "this", "ttl_s": 60}


@pytest.mark.parametrize(
    ("holder", "expected"),
    [
        (None, "free"),
        (BOOTED, "held"),
        ({**BOOTED, "refreshed_at": 0}, "held"),
        ({**BOOTED, "refreshed_boot_s": 439}, "expired"),
        ({**BOOTED, "refreshed_boot_s": 9e9}, "expired"),
        ({**BOOTED, "boot_id": "earlier"}, "expired"),
        ({**BOOTED, "boot_id": "earlier", "ttl_s": 600}, "held"),
        ({"run": "a", "refreshed_at": 0, "ttl_s": 1}, "ours"),
        ({"run": "b", "refreshed_at": 990, "ttl_s": 60}, "held"),
        ({"run": "b", "refreshed_at": 940, "ttl_s": 60}, "expired"),
        ({"run": "b", "refreshed_at": 1030, "ttl_s": 60}, "held"),
        ({"run": "b", "refreshed_at": 9e9, "ttl_s": 60}, "expired"),
    ],
)
def test_standing(holder, expected):
    assert run_lock.standing(holder, "a", run_lock.Instant(1000, "this", 499.5)) == expected


def test_no_clock_that_is_set_frees_a_lock_or_holds_it(tmp_path, monkeypatch):
    acquire(tmp_path, "anna")
    for step in (5 * 3600, -5 * 3600):
        with monkeypatch.context() as patch:
            later(patch, clock_s=step, boot_s=30)
            assert not acquire(tmp_path, "ben")["acquired"]
    later(monkeypatch, clock_s=-30, boot_s=61)
    assert acquire(tmp_path, "ben")["why"] == "expired"


def test_a_run_that_was_seen_at_work_keeps_its_lock(tmp_path, monkeypatch):
    acquire(tmp_path, "anna")
    later(monkeypatch, boot_s=600)
    (tmp_path / "run.lock.anna").write_text(f"{run_lock.instant().boot_id}\n{run_lock.instant().boot_s - 2:.2f} 12345.6\n")
    assert not acquire(tmp_path, "ben")["acquired"]
    (tmp_path / "run.lock.anna").write_text("")
    assert acquire(tmp_path, "ben")["why"] == "expired", "half of such a file says nothing"


def test_a_run_that_goes_on_renews_its_lock_and_learns_that_it_is_lost(tmp_path, monkeypatch):
    def again(run):
        return run_lock.acquire(str(tmp_path), owner(run), 60.0, None, None, held=True)

    assert again("anna") == {"acquired": False, "holder": None, "taken_from": None, "why": None}, "it never had it"
    assert not (tmp_path / "run.lock").exists()
    acquire(tmp_path, "anna")
    later(monkeypatch, boot_s=59)
    assert again("anna")["acquired"]
    later(monkeypatch, boot_s=59)
    assert not acquire(tmp_path, "ben")["acquired"]
    later(monkeypatch, boot_s=2)
    assert acquire(tmp_path, "ben")["acquired"]
    lost = again("anna")
    assert not lost["acquired"] and lost["holder"]["run"] == "ben"
    run_lock.release(str(tmp_path), "ben")
    assert again("anna")["holder"] is None and not again("anna")["acquired"], "somebody may have changed the box in between"


def test_what_killed_runs_left_goes_with_the_boot(tmp_path):
    (tmp_path / "run.lock.dead").write_text("another boot 17.0")
    acquire(tmp_path, "carl")
    acquire(tmp_path, "ben", take_over="carl")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.lock", "run.lock.ben", "run.lock.carl"]
    run_lock.release(str(tmp_path), "ben")
    run_lock.release(str(tmp_path), "carl")
    assert list(tmp_path.iterdir()) == []


def test_the_second_run_is_told_who_holds_the_lock_until_it_is_released(tmp_path):
    state_dir = tmp_path / "state"
    assert acquire(state_dir, "anna")["acquired"]
    assert (state_dir / "run.lock").stat().st_mode & 0o777 == 0o644
    refused = acquire(state_dir, "ben")
    assert not refused["acquired"] and refused["holder"]["owner"] == "anna@laptop"
    assert not run_lock.release(str(state_dir), "ben")
    assert run_lock.release(str(state_dir), "anna")
    assert acquire(state_dir, "ben")["acquired"]
    assert sorted(path.name for path in state_dir.iterdir()) == ["run.lock", "run.lock.ben"]


def test_taking_it_again_renews_it_and_keeps_since_when(tmp_path):
    acquire(tmp_path, "anna")
    before = run_lock.read(str(tmp_path))
    time.sleep(0.01)
    assert acquire(tmp_path, "anna")["taken_from"] is None
    after = run_lock.read(str(tmp_path))
    assert after["acquired_at"] == before["acquired_at"] and after["refreshed_at"] > before["refreshed_at"]


def test_the_lock_of_a_dead_run_is_taken_over_only_when_it_is_that_run(tmp_path):
    acquire(tmp_path, "anna")
    assert not acquire(tmp_path, "ben", take_over="carl")["acquired"]
    taken = acquire(tmp_path, "ben", take_over="anna")
    assert taken["acquired"] and taken["taken_from"]["run"] == "anna" and taken["why"] == "ended"


def test_an_old_lock_is_taken_over(tmp_path):
    acquire(tmp_path, "anna", ttl_s=0.01)
    time.sleep(0.02)
    assert acquire(tmp_path, "ben")["why"] == "expired"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"run": "x"}', "null", '{"run": 1, "refreshed_at": NaN, "ttl_s": 9}', '{"run": 1, "refreshed_at": [], "ttl_s": 9}']
)
def test_what_is_no_lock_does_not_stop_a_run(tmp_path, text):
    (tmp_path / "run.lock").write_text(text)
    assert acquire(tmp_path, "anna")["acquired"]


def test_a_box_that_another_run_changed_after_the_plan_is_left_alone(tmp_path):
    deploy(tmp_path, "a", "1")
    assert acquire(tmp_path, "anna", planned={"a": "1"})["acquired"]
    run_lock.release(str(tmp_path), "anna")
    deploy(tmp_path, "a", "2")
    deploy(tmp_path, "b", "1")
    with pytest.raises(GB10Error, match="Another run changed a, b on this box"):
        acquire(tmp_path, "anna", planned={"a": "1"})
    assert not (tmp_path / "run.lock").exists()


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(GB10Error, match="cannot be reached"):
        acquire(tmp_path / "file" / "state", "anna")


def test_nothing_to_release_where_nothing_was_installed(tmp_path):
    assert not run_lock.release(str(tmp_path / "none"), "anna")
    assert not (tmp_path / "none").exists()


def _contend(arguments):
    state_dir, run = arguments
    return run_lock.acquire(state_dir, owner(run), 60.0, None, None)["acquired"]


def test_of_many_that_arrive_at_once_one_gets_it(tmp_path):
    with multiprocessing.get_context("fork").Pool(8) as pool:
        for number in range(20):
            won = pool.map(_contend, [(str(tmp_path / str(number)), f"run{one}") for one in range(8)], chunksize=1)
            assert sum(won) == 1


def lies_there(state_dir, **more):
    """A lock of a run that left no file beside it, as far as it is given."""
    (state_dir / "run.lock").write_text(json.dumps({"run": "ben", "refreshed_at": 5, "ttl_s": 60, **more}))
    return run_lock.read(str(state_dir))


def test_a_lock_is_read_as_it_lies_there(tmp_path):
    holder = {"owner": "ben@desk", "controller": {"pid": 7}, "acquired_at": 3, "boot_id": "this", "refreshed_boot_s": 440}
    assert lies_there(tmp_path, **holder) == {"run": "ben", "refreshed_at": 5.0, "ttl_s": 60.0, **holder}
    bare = {"owner": "somebody", "controller": {}, "acquired_at": 5.0, "boot_id": "", "refreshed_boot_s": 0.0}
    assert lies_there(tmp_path) == {"run": "ben", "refreshed_at": 5.0, "ttl_s": 60.0, **bare}
    assert lies_there(tmp_path, owner=None, controller=[1], acquired_at=None, boot_id=None, refreshed_boot_s=None) == run_lock.read(str(tmp_path)) | bare
    (tmp_path / "run.lock.ben").write_text("another 12.5\n")
    assert (seen := run_lock.read(str(tmp_path))) and (seen["boot_id"], seen["refreshed_boot_s"]) == ("another", 12.5)


def test_a_lock_is_on_the_disk_before_anything_is_changed_and_the_same_every_time(tmp_path, monkeypatch):
    written = []
    whole = run_lock.write_json
    monkeypatch.setattr(run_lock, "write_json", lambda path, value, **how: (written.append(how), whole(path, value, **how)))
    acquire(tmp_path, "anna")
    assert written == [{"durable": True, "sort_keys": True}]
    text = (tmp_path / "run.lock").read_text()
    assert text == json.dumps(json.loads(text), sort_keys=True) and (tmp_path / "run.lock").stat().st_mode & 0o777 == 0o644


def test_a_record_without_a_spec_is_another_deployment_than_a_planned_one():
    records = {"a": {"deployment": {"x": 1}}, "b": {"deployment": ["no record"]}, "c": {"history": []}}
    assert run_lock.moved_on({"a": "1"}, records) == ["a"]
    assert run_lock.moved_on({}, {"a": {"deployment": {"x": 1}}}) == ["a"], "it is not as if nothing were there"
    assert run_lock.moved_on({"a": ""}, records) == []


def test_who_asks_without_a_name_and_a_disk_that_refuses_are_told_in_a_sentence(tmp_path, monkeypatch):
    with pytest.raises(GB10Error, match=r"^The lock of a box is taken through the action plugin"):
        run_lock.acquire(str(tmp_path), {"run": ""}, 60, None, None)

    def full(*_arguments, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_lock, "write_json", full)
    with pytest.raises(GB10Error, match=rf"^The lock {tmp_path}/run.lock cannot be written: No space left on device.$"):
        acquire(tmp_path, "anna")


def test_a_trace_that_is_gone_meanwhile_does_not_keep_the_others(tmp_path, monkeypatch):
    acquire(tmp_path, "a")
    real = run_lock.glob.glob
    monkeypatch.setattr(run_lock.glob, "glob", lambda pattern: [str(tmp_path / "run.lock.gone"), *real(pattern)])
    run_lock.remove(str(tmp_path))
    assert list(tmp_path.iterdir()) == []

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Model directories: what they hold, how one takes the place of another, what may go."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
from types import SimpleNamespace

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._model import in_use, store, versions

SUM = hashlib.sha256(b"weights").hexdigest()


@pytest.fixture
def docker(tmp_path):
    """A docker that shows these containers, or fails when there are none to show."""

    def make(containers):
        shown = tmp_path / "shown.json"
        shown.write_text(json.dumps(containers))
        path = tmp_path / "docker"
        failing = "echo 'Cannot connect to the Docker daemon' >&2; exit 1"
        path.write_text("#!/bin/sh\n" + (f'if [ "$1" = ps ]; then echo one; else cat {shown}; fi\n' if containers is not None else failing))
        path.chmod(0o755)
        return str(path)

    return make


@pytest.fixture
def final(tmp_path, monkeypatch):
    """A model's directory on a box without Docker: whether this machine's engine runs makes no difference."""
    monkeypatch.setattr(versions, "named", lambda path, docker: docker != "docker" and in_use.named(path, docker))
    place = tmp_path / "models" / "m"
    place.mkdir(parents=True)
    (place / "w").write_bytes(b"weights")
    return str(place)


def beside(final, name, mtime=None):
    path = f"{final}{name}"
    os.makedirs(path)
    with open(os.path.join(path, "w"), "wb") as stream:
        stream.write(b"weights")
    if name.startswith("@"):
        store.write_record(path, {"repo_id": "acme/m"})  # one that we brought
    if mtime is not None:
        os.utime(os.path.join(path, "w"), (mtime, mtime))
        os.utime(path, (mtime, mtime))
    return path


def test_files_are_listed_largest_first_with_the_sums_that_still_hold(final):
    os.makedirs(os.path.join(final, ".cache"))
    for name, data in {"a": b"1", ".cache/x": b"no", "b.incoming": b"no"}.items():
        with open(os.path.join(final, name), "wb") as stream:
            stream.write(data)
    mtime = os.stat(os.path.join(final, "w")).st_mtime_ns
    store.write_record(final, {"files": {"w": {"size": 7, "mtime_ns": mtime, "sha256": SUM}, "a": {"size": 1, "mtime_ns": 0, "sha256": "old"}}})
    assert [(one["name"], one["size"], one["sha256"]) for one in store.list_files(final)] == [("w", 7, SUM), ("a", 1, None)]


def test_a_link_that_leads_nowhere_is_named(final):
    os.symlink("/nonexistent/blob", os.path.join(final, "x"))
    with pytest.raises(GB10Error, match="x cannot be read .*finish or repair this model"):
        store.list_files(final)


def test_the_identity_is_names_sizes_and_origin(final):
    before = store.identity(final)
    os.utime(os.path.join(final, "w"), (1, 1))
    assert store.identity(final) == before
    store.write_record(final, {"repo_id": "acme/m", "revision": "r"})
    assert store.identity(final) != before
    assert store.identity(final + "x") is None


def test_an_interrupted_transfer_of_the_same_goes_on_and_of_another_does_not(final):
    partial = store.prepare_partial(final, "one")
    with open(os.path.join(partial, "x.incoming"), "wb") as stream:
        stream.write(b"123")
    assert store.prepare_partial(final, "one") == partial
    assert store.begun_bytes(partial, ["x", "y"]) == 3
    store.prepare_partial(final, "two")
    assert store.begun_bytes(partial, ["x", "y"]) == 0


def test_the_same_file_of_an_earlier_version_is_linked_and_no_other(final):
    mtime = os.stat(os.path.join(final, "w")).st_mtime_ns
    store.write_record(final, {"files": {"w": {"size": 7, "mtime_ns": mtime, "sha256": SUM}}})
    partial = store.prepare_partial(final, "new")
    assert store.reuse(partial, final, [{"name": "w", "size": 7, "sha256": "other"}, {"name": "x", "size": 7, "sha256": SUM}]) == 0
    assert store.reuse(partial, final, [{"name": "w", "size": 7, "sha256": SUM}]) == 7
    assert os.path.samefile(os.path.join(partial, "w"), os.path.join(final, "w"))


@pytest.mark.parametrize("exchange", [True, False])
def test_a_new_version_takes_the_name_and_the_old_one_gets_another(final, monkeypatch, exchange):
    if not exchange:
        monkeypatch.setattr(versions, "exchange", lambda one, other: False)
    store.write_record(final, {"repo_id": "acme/m", "revision": "0123456789abcdef"})
    partial = store.prepare_partial(final, "new")
    with open(os.path.join(partial, "w"), "wb") as stream:
        stream.write(b"new")
    os.chmod(os.path.join(partial, "w"), 0o600)
    before = store.put_in_place(partial, final, {"revision": "r2", "files": {"w": {"mtime_ns": 5_000_000_000}}})
    assert before == f"{final}@0123456789abcd" and store.read_record(before)["revision"] == "0123456789abcdef"
    assert store.read_record(final)["revision"] == "r2" and not os.path.exists(partial)
    status = os.stat(os.path.join(final, "w"))
    assert stat.S_IMODE(status.st_mode) == 0o644 and status.st_mtime == 5
    assert store.previous(final) == [before]


def test_what_was_copied_is_verified_before_it_gets_its_name(final):
    store.write_record(final, {"repo_id": "acme/m", "revision": "before"})
    store.write_record(beside(final, ".partial"), {"repo_id": "acme/m", "revision": "r", "arriving": "x"})
    with pytest.raises(GB10Error, match="x of .* did not arrive whole"):
        store.adopt(final, {"x": {"size": 1, "sha256": "f"}})
    with pytest.raises(GB10Error, match="w of .* arrived with a wrong checksum"):
        store.adopt(final, {"w": {"size": 7, "sha256": "f"}})
    heard = []
    before = store.adopt(final, {"w": {"size": 7, "sha256": SUM}}, heard.append)
    assert before and heard == [7] and store.read_record(final)["files"]["w"]["sha256"] == SUM and "arriving" not in store.read_record(final)


def test_too_little_room_is_said_with_both_figures(final):
    store.check_space(final + "/not/yet/there", 0)
    with pytest.raises(GB10Error, match=r"GiB free and .* needs 1048576\.0 GiB .*Nothing was written"):
        store.check_space(final + "/not/yet/there", 2**50)


@pytest.mark.parametrize(("spare", "enough"), [(2**30, True), (2**30 - 1, False)])
def test_one_gib_stays_free(final, monkeypatch, spare, enough):
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _place: SimpleNamespace(free=50 * 2**30 + spare))
    if enough:
        store.check_space(final, 50 * 2**30)
    else:
        with pytest.raises(GB10Error, match="and 1 GiB to spare"):
            store.check_space(final, 50 * 2**30)


@pytest.mark.parametrize("revision", ["/../../x", "../..", "a/b", "..", "\0"])
def test_an_earlier_version_stays_beside_its_successor_whatever_its_record_says(final, tmp_path, revision):
    store.write_record(final, {"repo_id": "acme/m", "revision": revision})
    partial = store.prepare_partial(final, "new")
    before = store.put_in_place(partial, final, {"revision": "r2"})
    assert os.path.dirname(before) == os.path.dirname(final) and store.previous(final) == [before]
    assert os.listdir(tmp_path) == ["models"]


def test_what_containers_mount(docker, tmp_path):
    mounts = [{"Source": str(tmp_path), "Destination": "/"}, {"Source": "", "Destination": "/x"}]
    paths, held = store.mounted(docker([{"State": {"Pid": os.getpid()}, "Mounts": mounts}, {"State": {"Pid": 0}, "Mounts": []}]))
    root = os.stat("/")
    assert paths == {os.path.realpath(tmp_path)} and held == {(root.st_dev, root.st_ino)}
    assert store.mounted("/nonexistent/docker") == (set(), set())


def test_no_version_goes_that_a_container_mounts(final, docker):
    old, older = beside(final, "@2"), beside(final, "@1")
    command = docker([{"State": {"Pid": 0}, "Mounts": [{"Source": older + "/sub", "Destination": "/m"}]}])
    assert store.prune([final], 0, command, check=True) == [old] and os.path.exists(old)
    assert store.prune([final], 0, command) == [old] and not os.path.exists(old) and os.path.exists(older)


def test_nothing_goes_while_docker_does_not_say_what_it_uses(final, docker):
    old = beside(final, "@2")
    assert store.prune([final], 0, docker(None)) == [] and os.path.exists(old)
    assert store.prune([final], 0, "/nonexistent/docker") == [old]


@pytest.mark.parametrize("steps", range(3))
def test_a_run_that_is_killed_while_it_removes_a_version_leaves_what_the_next_one_knows_for_ours(final, monkeypatch, steps):
    old = beside(final, "@2")
    for name in ("a", "b"):
        with open(os.path.join(old, name), "w", encoding="ascii") as stream:
            stream.write("weights")
    unlink, gone = os.unlink, []

    def killed(path, **more):
        if len(gone) == steps:
            raise KeyboardInterrupt
        gone.append(path)
        unlink(path, **more)

    monkeypatch.setattr(store.os, "unlink", killed)
    with pytest.raises(KeyboardInterrupt):
        store.prune([final], 0, "/nonexistent/docker")
    monkeypatch.undo()
    assert store.read_record(old), "its record goes last"
    assert store.prune([final], 0, "/nonexistent/docker") == [old] and not os.path.exists(old)


def test_what_a_link_leads_to_is_not_removed_with_a_version(final, tmp_path):
    """Whoever may write into the models' directory puts one in the place of a version, or into one."""
    other, old = tmp_path / "other", beside(final, "@2")
    (other / "sub").mkdir(parents=True)
    (other / "sub" / "kept").write_text("")
    os.symlink(other / "sub", os.path.join(old, "sub"))
    assert store.prune([final], 0, "/nonexistent/docker") == [old] and not os.path.exists(old)
    os.symlink(other, final + "@3")
    with pytest.raises(OSError):
        store._remove(final + "@3")
    assert (other / "sub" / "kept").exists()


def test_what_an_interrupted_transfer_left_goes_after_a_while(final):
    partial = beside(final, ".partial", mtime=1000)
    assert store.prune_partial([final], 10**12) == [] and os.path.exists(partial)
    assert store.prune_partial([final], 60, check=True) == [partial] and os.path.exists(partial)
    assert store.prune_partial([final], 60) == [partial] and not os.path.exists(partial)


def test_origin_counts_by_its_parts():
    origins = [{}, {"repo_id": "a"}, {"repo_id": "b"}, {"revision": "a"}, {"revision": "b"}, {"repo_id": "a", "revision": "b"}]
    assert len({store.identity_of([], origin) for origin in origins}) == len(origins)


def test_content_is_told_by_names_sizes_and_sums_of_all_files_in_any_order():
    one, two = {"name": "a", "size": 1, "sha256": "s"}, {"name": "b", "size": 2, "sha256": "t"}
    assert store.content_of([two, one]) == hashlib.sha256(b'[["a", 1, "s"], ["b", 2, "t"]]').hexdigest()
    assert store.content_of([one, {**two, "sha256": None}]) is None is store.content_of([{"name": "a", "size": 1}, two])


def test_what_cannot_be_sent_is_named_for_what_it_is(final, tmp_path):
    (tmp_path / "out").write_text("x")
    os.symlink(tmp_path / "out", os.path.join(final, "x"))
    with pytest.raises(GB10Error, match="x is a link that leads out of the model's directory"):
        store.list_files(final)
    os.unlink(os.path.join(final, "x"))
    os.mkfifo(os.path.join(final, "x"))
    with pytest.raises(GB10Error, match="x is no plain file in the model's directory"):
        store.list_files(final)


def test_room_that_is_there_and_room_that_is_needed_are_said_as_they_are(final, monkeypatch):
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _place: SimpleNamespace(free=2 * 2**30))
    with pytest.raises(GB10Error, match=r"has 2\.0 GiB free and .* needs 5\.0 GiB "):
        store.check_space(final, 5 * 2**30)


def test_a_directory_without_a_record_spares_nothing_and_is_not_even_read(final):
    os.symlink("/nonexistent/blob", os.path.join(final, "x"))
    assert store.reuse(store.prepare_partial(final, "new"), final, [{"name": "w", "size": 7, "sha256": SUM}]) == 0


def test_what_cannot_be_linked_is_left_to_the_transfer_and_the_others_are_counted(final, monkeypatch):
    names = ("u", "v", "w")
    for name in names:
        with open(os.path.join(final, name), "wb") as stream:
            stream.write(b"weights")
    times = {name: os.stat(os.path.join(final, name)).st_mtime_ns for name in names}
    store.write_record(final, {"files": {name: {"size": 7, "mtime_ns": times[name], "sha256": SUM} for name in names}})
    link = os.link

    def not_u(old, new, **how):
        if new.endswith("/u"):
            raise OSError(31, "Too many links")
        link(old, new, **how)

    monkeypatch.setattr(store.os, "link", not_u)
    partial = store.prepare_partial(final, "new")
    assert store.reuse(partial, final, [{"name": name, "size": 7, "sha256": SUM} for name in names]) == 14
    assert sorted(name for name in os.listdir(partial) if name in names) == ["v", "w"]


def test_who_brings_a_model_waits_for_another_that_does_and_is_the_only_one_then(final, monkeypatch):
    monkeypatch.setattr(store, "FOLLOW_S", 0)
    partial, calls = store.own_directory(final + ".partial"), []
    other, third = os.open(partial, os.O_RDONLY), os.open(partial, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with store.arriving(final, lambda: calls.append(fcntl.flock(other, fcntl.LOCK_UN))) as waited:
        assert waited and len(calls) == 1
        with pytest.raises(BlockingIOError):
            fcntl.flock(third, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(third, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(third)
    with store.arriving(final, lambda: calls.append(None)) as waited:
        assert not waited and len(calls) == 1
    os.close(other)


@pytest.mark.parametrize("sums", [{"../w": {"size": 7, "sha256": SUM}}, {"w": 7}])
def test_sums_of_what_cannot_be_a_file_are_refused(final, sums):
    store.write_record(final, {"repo_id": "acme/m"})
    beside(final, ".partial")
    with pytest.raises(GB10Error, match="which cannot be a file of a model; make the bundle anew"):
        store.adopt(final, sums)


def test_a_file_of_another_size_did_not_arrive_whole_and_is_not_even_read(final):
    store.write_record(final, {"repo_id": "acme/m"})
    beside(final, ".partial")
    heard = []
    with pytest.raises(GB10Error, match="w of .* did not arrive whole"):
        store.adopt(final, {"w": {"size": 8, "sha256": SUM}}, heard.append)
    assert heard == []


def test_what_is_adopted_is_put_in_place_by_the_docker_that_was_named(final, monkeypatch):
    store.write_record(final, {"repo_id": "acme/m"})
    beside(final, ".partial")
    monkeypatch.setattr(store, "put_in_place", lambda _partial, _final, _record, *docker: docker)
    assert store.adopt(final, {"w": {"size": 7, "sha256": SUM}}, docker="/the/docker") == ("/the/docker",)


def test_what_arrives_still_stays_and_what_is_none_keeps_no_other(final, monkeypatch):
    partial, other = beside(final, ".partial", mtime=1000), final + "-without"
    monkeypatch.setattr(store.time, "time", lambda: 1060.0)
    assert store.prune_partial([final], 60) == [] and store.prune_partial([final], 59, check=True) == [partial]
    os.utime(os.path.join(partial, "w"), (1050, 1050))
    os.utime(partial, (1000, 1000))
    assert store.prune_partial([final], 30) == []
    assert store.prune_partial([other, final], 5) == [partial]


def test_docker_is_asked_nothing_where_nothing_would_go(final, monkeypatch):
    beside(final, "@2")
    monkeypatch.setattr(store, "mounted", lambda _docker: pytest.fail("asked"))
    assert store.prune([final], 1) == []


def test_everybody_may_read_a_model_that_is_in_its_place_and_only_its_owner_changes_it(final, monkeypatch):
    partial, owned, real = beside(final, ".partial"), [], os.chown
    os.makedirs(f"{partial}/sub/deep")
    for name, mode in (("w", 0o600), ("sub", 0o700), ("sub/deep", 0o2777), ("sub/deep/x", 0o7777)):
        if name.endswith("x"):
            open(f"{partial}/{name}", "w").close()
        os.chmod(f"{partial}/{name}", mode)
    os.chmod(partial, 0o700)
    monkeypatch.setattr(store.os, "chown", lambda *words, **how: owned.append((words, how)) or real(*words, **how))
    store._open_to_readers(partial)
    modes = {name: stat.S_IMODE(os.stat(f"{partial}/{name}").st_mode) for name in ("", "w", "sub", "sub/deep", "sub/deep/x")}
    assert modes == {"": 0o755, "w": 0o644, "sub": 0o755, "sub/deep": 0o755, "sub/deep/x": 0o644}
    assert owned == [((partial, os.geteuid(), os.getegid()), {"follow_symlinks": False})], "a link in its place would be somebody's"


@pytest.mark.parametrize("files", [{}, {"w": {"size": 7, "sha256": SUM, "mtime_ns": 5}}])
def test_a_record_says_of_its_files_what_is_known_of_them(final, files):
    partial = beside(final, ".partial")
    store.write_record(final, {"repo_id": "acme/m"})
    record = {"repo_id": "acme/m", "revision": "r", **({"files": files} if files else {})}
    store.put_in_place(partial, final, record)
    assert store.read_record(final) == record
    assert stat.S_IMODE(os.stat(os.path.join(final, ".gb10-vllm-record")).st_mode) == 0o644
    assert (os.stat(f"{final}/w").st_mtime_ns == 5) is bool(files)


def test_what_a_link_leads_to_does_not_even_get_another_time(final, tmp_path):
    partial, outside = beside(final, ".partial"), tmp_path / "outside"
    outside.write_text("x")
    os.utime(outside, ns=(7, 7))
    os.symlink(outside, f"{partial}/link")
    store.write_record(final, {"repo_id": "acme/m"})
    with pytest.raises(GB10Error, match="link is a link or cannot be opened"):
        store.put_in_place(partial, final, {"files": {"link": {"mtime_ns": 5}}})
    assert os.stat(outside).st_mtime_ns == 7


def test_a_directory_that_another_one_makes_in_the_same_moment_is_as_good(final, monkeypatch):
    store.own_directory(final + ".partial")
    real, seen = os.path.isdir, []
    monkeypatch.setattr(store.os.path, "isdir", lambda path: bool(seen) and real(path) or seen.append(path) or False)
    assert store.own_directory(final + ".partial") == final + ".partial"


def test_what_is_adopted_is_recorded_with_the_sizes_sums_and_times_that_it_has(final):
    store.write_record(final, {"repo_id": "acme/m", "revision": "before"})
    partial = beside(final, ".partial")
    store.write_record(partial, {"repo_id": "acme/m", "revision": "r", "arriving": "x"})
    os.utime(f"{partial}/w", ns=(7_000_000_001, 7_000_000_001))
    store.adopt(final, {"w": {"size": 7, "sha256": SUM}})
    files = {"w": {"size": 7, "sha256": SUM, "mtime_ns": 7_000_000_001}}
    assert store.read_record(final) == {"repo_id": "acme/m", "revision": "r", "files": files}


def test_a_version_that_arrives_again_has_no_other_before_it(final):
    store.write_record(final, {"repo_id": "acme/m", "revision": "before"})
    found = []
    for _ in range(2):
        partial = beside(final, ".partial")
        os.utime(f"{partial}/w", ns=(7_000_000_001, 7_000_000_001))
        found.append(store.adopt(final, {"w": {"size": 7, "sha256": SUM}}))
    assert [bool(one) for one in found] == [True, False] and not os.path.exists(partial)

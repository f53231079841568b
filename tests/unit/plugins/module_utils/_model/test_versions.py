# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Versions of a model: whatever is brought, what a running or restarting server reads stays what it was, and nothing of its owner's is touched."""

from __future__ import annotations

import hashlib
import json
import os

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._model import record, store, versions
from ansible_collections.gb10.vllm.plugins.module_utils._model.read import placed

OLD, NEW, NEWER = "a" * 40, "b" * 40, "c" * 40
NOBODY = "/nonexistent/docker"


@pytest.fixture
def final(tmp_path):
    (tmp_path / "models").mkdir()
    return str(tmp_path / "models" / "m")


@pytest.fixture
def docker(tmp_path):
    """A docker with one container, made at some time, that mounts this path; None: one that does not answer."""

    def make(source):
        path = tmp_path / "docker"
        shown = json.dumps([{"State": {"Pid": 0}, "Mounts": [{"Source": source, "Destination": "/models/a"}]}])
        path.write_text("#!/bin/sh\n" + (f"[ \"$1\" = ps ] && echo one || echo '{shown}'\n" if source else "exit 1\n"))
        path.chmod(0o755)
        return str(path)

    return make


def bring(final, revision, text, docker=NOBODY, **more):
    """What a download or a transfer does."""
    partial = store.prepare_partial(final, f"o/m@{revision}")
    files = {"config.json": text.encode(), **more}
    for name, data in files.items():
        with open(os.path.join(partial, name), "wb") as stream:
            stream.write(data)
    entries = {name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "mtime_ns": 10**18} for name, data in files.items()}
    return store.put_in_place(partial, final, {"repo_id": "o/m", "revision": revision, "files": entries}, docker)


def earlier_release(final, text="OLD", revision=OLD):
    """The layout of earlier releases: the current version is a directory that has the plain name."""
    os.makedirs(final)
    with open(os.path.join(final, "config.json"), "w") as stream:
        stream.write(text)
    os.utime(os.path.join(final, "config.json"), ns=(10**18, 10**18))
    entry = {"size": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest(), "mtime_ns": 10**18}
    store.write_record(final, {"repo_id": "o/m", "revision": revision, "files": {"config.json": entry}})


def held_by(path):
    with open(os.path.join(path, "config.json")) as stream:
        return stream.read()


def test_each_version_has_a_directory_and_the_name_leads_to_the_last(final):
    assert bring(final, OLD, "OLD") is None
    assert os.readlink(final) == f"m@{OLD[:14]}" and versions.directory_of(final) == f"{final}@{OLD[:14]}"
    mounted = versions.directory_of(final)
    assert bring(final, NEW, "NEW") == mounted and held_by(mounted) == "OLD", "what was mounted stays"
    assert held_by(final) == "NEW" and versions.directory_of(final) == f"{final}@{NEW[:14]}"
    assert bring(final, NEWER, "NEWER") == f"{final}@{NEW[:14]}"
    assert versions.previous(final) == [f"{final}@{NEW[:14]}", f"{final}@{OLD[:14]}"], "the one that was left last is the first"
    assert (placed(final)["version"], placed(final)["revision"], placed(final)["ours"]) == (NEWER[:14], NEWER, True)
    assert not [name for name in os.listdir(os.path.dirname(final)) if name.endswith((".partial", ".link", "@next"))]


def test_a_version_that_is_there_is_not_made_twice_and_another_of_the_same_name_gets_its_own(final):
    bring(final, OLD, "OLD")
    bring(final, NEW, "NEW")
    assert bring(final, OLD, "OLD") == f"{final}@{NEW[:14]}" and len(versions.all_of(final)) == 2
    bring(final, NEW, "other")
    assert len(versions.all_of(final)) == 3 and held_by(f"{final}@{NEW[:14]}") == "NEW" and held_by(final) == "other"


def test_a_version_somebody_changed_is_not_taken_for_what_was_brought(final):
    bring(final, OLD, "OLD")
    with open(os.path.join(final, "config.json"), "w") as stream:
        stream.write("odd")
    assert versions.find(final, "o/m", OLD) is None
    bring(final, OLD, "OLD")
    assert held_by(final) == "OLD" and held_by(f"{final}@{OLD[:14]}") == "odd"


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("answers", [True, False])
def test_a_container_of_an_earlier_release_keeps_its_files_until_it_is_replaced(final, docker, monkeypatch, exchange, answers):
    """It mounts the plain name, which Docker looks up at each start."""
    if not exchange:
        monkeypatch.setattr(versions, "exchange", lambda one, other: False)
    earlier_release(final)
    command = docker(final if answers else None)
    before = bring(final, NEW, "NEW", command)
    assert held_by(final) == "OLD" == held_by(before) and before == f"{final}@{OLD[:14]}"
    facts = placed(final)
    assert (facts["directory"], facts["version"], facts["ours"]) == (f"{final}@{NEW[:14]}", NEW[:14], True), "what is wanted is the new version"
    assert versions.previous(final) == [before]
    if answers:
        assert store.prune([final], 0, command) == [], "it is in use by the name that leads there"
    bring(final, NEWER, "NEWER", command)
    assert held_by(final) == "OLD" and held_by(versions.current(final)) == "NEWER"
    assert not versions.settle(final, command)
    # Its successor mounts the directory of a version.
    after = docker(f"{final}@{NEWER[:14]}")
    assert versions.settle(final, after) and held_by(final) == "NEWER" and not os.path.lexists(final + "@next")
    assert not versions.settle(final, after)


def test_what_an_earlier_release_brought_becomes_a_version_without_a_change_for_anybody(final, docker):
    earlier_release(final)
    assert placed(final)["version"] is None and placed(final)["ours"]
    assert versions.settle(final, docker(final), check=True) and not os.path.islink(final)
    assert versions.settle(final, docker(final)) and not versions.settle(final, docker(final))
    assert held_by(final) == "OLD" and placed(final)["directory"] == f"{final}@{OLD[:14]}" and placed(final)["version"] == OLD[:14]


def test_a_run_that_was_killed_between_two_steps_goes_on(final, docker):
    """Each step leaves names that mean what they meant before, or what they shall mean."""
    earlier_release(final)
    assert versions.set_aside(final) == f"{final}@{OLD[:14]}" and held_by(final) == "OLD" and versions.set_aside(final) is None
    bring(final, NEW, "NEW", docker(final))
    os.unlink(final + "@next")  # killed before the version counted
    assert held_by(versions.current(final)) == "OLD"
    bring(final, NEW, "NEW", docker(final))
    assert held_by(versions.current(final)) == "NEW" and held_by(final) == "OLD" and len(versions.all_of(final)) == 2


@pytest.mark.parametrize("kind", ["directory", "link", "file"])
def test_what_is_its_owners_is_never_renamed_or_replaced(final, tmp_path, kind):
    own = tmp_path / "own"
    own.mkdir()
    (own / "config.json").write_text("MINE")
    {"directory": lambda: own.rename(final), "link": lambda: os.symlink(own, final), "file": lambda: (own / "config.json").rename(final)}[kind]()
    with pytest.raises(GB10Error, match=r"m was not brought by this collection, so it is not replaced; move it away"):
        bring(final, NEW, "NEW")
    os.makedirs(final + ".partial", exist_ok=True)
    with pytest.raises(GB10Error, match="was not brought by this collection"):
        store.adopt(final, {})
    assert [name for name in os.listdir(tmp_path / "models") if "@" in name] == []
    if kind != "file":
        facts = placed(final)
        assert held_by(final) == "MINE" and facts["ours"] is False and facts["version"] is None
        assert facts["directory"] == os.path.realpath(final), "its real path is mounted"


def test_prune_leaves_alone_what_only_looks_like_a_version(final, tmp_path):
    bring(final, OLD, "OLD")
    os.makedirs(f"{final}@mine")
    os.symlink(tmp_path, f"{final}@elsewhere")
    bring(final, NEW, "NEW")
    assert store.prune([final], 0, NOBODY) == [f"{final}@{OLD[:14]}"]
    assert os.path.isdir(f"{final}@mine") and os.path.islink(f"{final}@elsewhere") and os.path.isdir(tmp_path)


@pytest.mark.parametrize("other", ["@x", "@next-try", "@2024", "@abc.partial"])
def test_another_model_whose_name_looks_like_a_version_is_none(final, other):
    bring(final, OLD, "OLD")
    bring(final + other, NEW, "other")
    assert versions.all_of(final) == [f"{final}@{OLD[:14]}"]
    partial = store.prepare_partial(final + other, "arriving")
    assert store.prune([final], 0, NOBODY) == [] and os.path.isdir(partial) and held_by(final + other) == "other"


def test_a_file_that_two_versions_share_keeps_the_time_that_the_first_recorded(final):
    bring(final, OLD, "OLD", weights=b"w" * 9)
    old = versions.directory_of(final)
    partial = store.prepare_partial(final, "o/m@" + NEW)
    shared = {"size": 9, "sha256": hashlib.sha256(b"w" * 9).hexdigest(), "mtime_ns": 5 * 10**17}
    assert store.reuse(partial, final, [{"name": "weights", **shared}]) == 9
    store.put_in_place(partial, final, {"repo_id": "o/m", "revision": NEW, "files": {"weights": shared}}, NOBODY)
    assert all(one["sha256"] for place in (old, versions.directory_of(final)) for one in store.list_files(place))


def test_the_name_follows_a_directory_that_is_gone(final):
    bring(final, OLD, "OLD")
    os.rename(f"{final}@{OLD[:14]}", f"{final}-elsewhere")
    assert versions.is_ours(final) and bring(final, NEW, "NEW") is None and held_by(final) == "NEW"


@pytest.mark.parametrize("revision", ["next", "../../x", "/etc", "", None, "A" * 40])
def test_what_a_hub_calls_a_revision_is_no_path_unless_it_is_a_commit(final, revision):
    bring(final, revision, "x")
    assert os.path.dirname(versions.directory_of(final)) == os.path.dirname(final) and held_by(final) == "x"
    assert versions.version_of(versions.directory_of(final)) == record.files_digest(record.read_record(final))[:14]


def left_as(final, version, **origin):
    """A version of a model as a run leaves it."""
    place = f"{final}@{version}"
    os.makedirs(place)
    record.write_record(place, {"repo_id": "acme/m", **origin})
    return place


def test_a_version_is_told_by_all_that_follows_the_name_where_it_was_brought(final):
    assert versions.version_of(left_as(final, "a@b")) == "a@b"
    assert versions.version_of(final) is None is versions.version_of(final + "@c")
    assert versions.version_of(left_as(final + "-plain", "")) is None


def test_what_was_left_last_comes_first_whatever_it_is_called(final, monkeypatch):
    times = {left_as(final, name): at for at, name in enumerate(["0a", "0c", "0b"])}
    stat = os.stat
    monkeypatch.setattr(versions.os, "stat", lambda path, **how: type("Status", (), {"st_ctime": times[path]}) if path in times else stat(path, **how))
    assert versions.all_of(final) == [f"{final}@0b", f"{final}@0c", f"{final}@0a"]


def test_a_commit_is_found_by_its_repository_and_its_own_name(final):
    left_as(final, "0a", revision=OLD)
    assert versions.find(final, "acme/m", OLD) == f"{final}@0a"
    assert [versions.find(final, *asked) for asked in (("acme/m", NEW), ("acme/other", OLD), ("", OLD))] == [None] * 3


def test_two_names_are_swapped_in_one_step_or_left(final, tmp_path):
    one, other = str(tmp_path / "one"), str(tmp_path / "other")
    os.mkdir(one)
    os.symlink("nowhere", other)
    assert versions.exchange(one, other) is True
    assert os.path.islink(one) and os.path.isdir(other) and not os.path.islink(other)
    assert versions.exchange(one, str(tmp_path / "missing")) is False and os.path.islink(one)


def test_a_c_library_without_it_swaps_nothing(monkeypatch):
    monkeypatch.setattr(versions.ctypes, "CDLL", lambda _name, **_how: object())
    assert versions.exchange("/nonexistent/one", "/nonexistent/other") is False


def test_a_name_that_is_its_owners_is_never_settled_and_docker_is_the_one_that_was_named(final, monkeypatch):
    place = left_as(final, "0a")
    os.makedirs(final)  # the owner's own
    os.symlink(os.path.basename(place), final + "@next")
    assert versions.settle(final, NOBODY) is False and os.path.isdir(final) and not os.path.islink(final)
    os.rmdir(final)
    os.symlink(os.path.basename(left_as(final, "0b")), final)
    asked = []
    monkeypatch.setattr(versions, "named", lambda _path, docker: bool(asked.append(docker)))
    assert versions.settle(final, "/the/docker") is True and set(asked) == {"/the/docker"}
    assert os.path.realpath(final) == place


@pytest.mark.parametrize("leads_to", ["elsewhere/m@0a", "other", "../m@0a"])
def test_a_link_to_anything_but_a_version_beside_it_is_its_owners(final, leads_to):
    target = os.path.join(os.path.dirname(final), leads_to)
    os.makedirs(target)
    record.write_record(target, {"repo_id": "acme/m"})
    os.symlink(leads_to, final)
    assert not versions.is_ours(final)


@pytest.fixture
def noon(monkeypatch):
    """A moment in UTC, whatever the machine's own time is."""
    monkeypatch.setattr(versions.time, "gmtime", lambda: versions.time.struct_time((2026, 1, 2, 12, 4, 5, 0, 2, 0)))
    return "20260102120405"


def test_what_nothing_names_is_called_by_its_time_and_a_taken_name_by_what_it_holds(final, noon):
    assert versions.place_for(final, {}) == f"{final}@{noon}"
    held = {"revision": OLD, "files": {"w": {"size": 1, "sha256": "s"}}}
    assert versions.place_for(final, held) == f"{final}@{OLD[:14]}"
    os.makedirs(f"{final}@{OLD[:14]}")
    assert versions.place_for(final, held) == f"{final}@{OLD[:14]}-{record.files_digest(held)[:8]}"
    os.makedirs(f"{final}@{OLD[:14]}-{record.files_digest(held)[:8]}")
    assert versions.place_for(final, held) == f"{final}@{OLD[:14]}-{noon}"


def test_what_an_earlier_release_brought_twice_is_set_aside_under_a_name_of_its_own(final, noon):
    for place in (final, f"{final}@{OLD[:14]}"):
        os.makedirs(place)
        with open(os.path.join(place, "w"), "w") as stream:
            stream.write("x")
        times = os.stat(os.path.join(place, "w")).st_mtime_ns
        record.write_record(place, {"revision": OLD, "files": {"w": {"size": 1, "sha256": "s", "mtime_ns": times}}})
    assert versions.set_aside(final) == f"{final}@{OLD[:14]}-{noon}"
    assert os.path.realpath(final) == f"{final}@{OLD[:14]}-{noon}"


def test_what_is_left_is_marked_as_left_now_and_what_stays_is_not(final):
    one, two = left_as(final, "0a"), left_as(final, "0b")
    os.symlink(os.path.basename(one), final)
    for place in (one, two):
        os.utime(place, (1000, 1000))
    versions.point(final, one, NOBODY)
    assert os.stat(one).st_mtime == 1000
    versions.point(final, two, NOBODY)
    assert os.stat(one).st_mtime > 1000 and os.stat(two).st_mtime == 1000

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Links in model directories: root reads through them where a plan needs it, and neither sends, changes nor removes anything through them."""

from __future__ import annotations

import hashlib
import os
import stat
import threading

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import open_incoming, write_whole
from ansible_collections.gb10.vllm.plugins.module_utils._io.incoming import Incoming
from ansible_collections.gb10.vllm.plugins.module_utils._model import content, store
from ansible_collections.gb10.vllm.plugins.module_utils._model.directory import inspect_model
from ansible_collections.gb10.vllm.plugins.module_utils._model.read import placed, read_models
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.directories import Directories
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.server import open_item
from checkpoints import TINY_LLAMA, dense, write_model

CONFIG = TINY_LLAMA


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "key.env"
    path.write_text("VLLM_API_KEY=x" * 50)
    path.chmod(0o600)
    return path


def untouched(secret):
    return stat.S_IMODE(secret.stat().st_mode) == 0o600 and secret.read_text() == "VLLM_API_KEY=x" * 50


def sums(**files):
    return {name.replace("__", "."): {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("place", ["extra.json", "sub/extra.json", ".cache/extra.json", "folder"])
def test_a_bundle_opens_no_file_of_somebody_else(tmp_path, secret, place, announced):
    final = tmp_path / "models" / "m"
    partial = tmp_path / "models" / "m.partial"
    (partial / place).parent.mkdir(parents=True, exist_ok=True)
    (partial / "config.json").write_text("{}")
    os.symlink(tmp_path if place == "folder" else secret, partial / place)
    listed = sums(config__json=b"{}") | (
        {place: {"size": secret.stat().st_size, "sha256": hashlib.sha256(secret.read_bytes()).hexdigest()}} if announced else {}
    )
    with pytest.raises(GB10Error, match="is a link|did not arrive whole|not among the files of"):
        store.adopt(str(final), {name: entry for name, entry in listed.items() if name != "folder"})
    assert untouched(secret) and not os.path.lexists(final)


def test_what_a_bundle_brings_belongs_to_root_and_is_what_was_announced(tmp_path):
    final, partial = tmp_path / "m", tmp_path / "m.partial"
    (partial / "sub").mkdir(parents=True)
    for name in ("config.json", "sub/t.json"):
        (partial / name).write_text("{}")
        os.chown(partial / name, 4321, 4321)
    os.chown(partial, 4321, 4321)
    listed = sums(config__json=b"{}")
    with pytest.raises(GB10Error, match=r"sub/t\.json lies in .* and not among the files of"):
        store.adopt(str(final), listed)
    store.adopt(str(final), listed | {"sub/t.json": listed["config.json"]})
    assert {os.stat(os.path.join(place, name)).st_uid for place, folders, names in os.walk(final) for name in [".", *folders, *names]} == {os.geteuid()}


@pytest.mark.parametrize("name", ["tokenizer.json", "sub/tokenizer.json", ".gb10-vllm-record"])
def test_no_other_box_is_sent_a_file_of_somebody_else(tmp_path, secret, name):
    model = tmp_path / "m"
    (model / "sub").mkdir(parents=True)
    os.symlink(secret, model / name)
    if name != ".gb10-vllm-record":
        with pytest.raises(GB10Error, match=r"tokenizer\.json is a link that leads out of the model's directory, which is not followed.*cp -L"):
            store.list_files(str(model))
        state = Directories().state(str(model))
        assert state["identity"] is None and "leads out of" in state["problem"]
    assert open_item([str(model)], name) is None
    secret.write_text('{"repo_id": "o/m"}')
    assert store.read_record(str(model)) == {}


def test_a_directory_on_the_way_is_no_way_out(tmp_path, secret):
    model = tmp_path / "m"
    model.mkdir()
    os.symlink(tmp_path, model / "sub")
    assert open_item([str(model)], "sub/key.env") is None and open_item([str(model)], "../key.env") is None


def test_links_that_stay_inside_are_files_like_others(tmp_path):
    model = tmp_path / "m"
    (model / "blobs").mkdir(parents=True)
    (model / "blobs/1").write_text("{}")
    os.symlink("blobs/1", model / "config.json")
    assert {one["name"]: one["size"] for one in store.list_files(str(model))} == {"config.json": 2, "blobs/1": 2}
    with open_item([str(model)], "config.json") as stream:
        assert stream.read() == b"{}"


def test_what_arrives_is_written_to_no_other_place(tmp_path, secret):
    """Whoever may write into the models' directory prepares what root will write to."""
    final = str(tmp_path / "m")
    os.makedirs(final + ".partial")
    store.write_record(final + ".partial", {"arriving": "o/m@1"})
    os.symlink(secret, final + ".partial/config.json.incoming")
    with pytest.raises(GB10Error, match=r"config\.json\.incoming is a link or lies behind one"):
        open_incoming(final + ".partial/config.json.incoming")
    with pytest.raises(GB10Error, match="is a link"):
        Incoming(final + ".partial/config.json.incoming", 100)
    partial = store.prepare_partial(final, "o/m@1")
    assert not os.path.lexists(partial + "/config.json.incoming"), "what is not ours goes before anything is written"
    os.chown(partial, 4321, 4321)
    open(partial + "/theirs", "w").close()
    assert not os.path.exists(store.prepare_partial(final, "o/m@1") + "/theirs"), "a directory of another user is made anew"
    store.shutil.rmtree(partial)
    os.symlink(tmp_path, partial)
    assert not os.path.islink(store.prepare_partial(final, "o/m@1")) and untouched(secret)


def test_no_record_is_written_through_a_link(tmp_path, secret):
    model = tmp_path / "m"
    model.mkdir()
    os.symlink(secret, model / store.RECORD)
    store.write_record(str(model), {"a": 1})
    assert untouched(secret) and store.read_record(str(model)) == {"a": 1}
    os.symlink(secret, model / f".x.{os.getpid()}.{threading.get_ident()}")
    with pytest.raises(OSError, match="symbolic link"):
        write_whole(model / "x", "overwritten")
    assert untouched(secret)


def test_nothing_is_removed_through_a_link(tmp_path, secret):
    final = str(tmp_path / "models" / "m")
    os.makedirs(final)
    store.write_record(final, {"repo_id": "o/m"})
    other = tmp_path / "other"
    other.mkdir()
    (other / "x").write_text("x")
    store.write_record(str(other), {"repo_id": "o/m"})
    os.symlink(other, final + "@1")
    os.symlink(other, final + ".partial")
    assert store.prune([final], 0, "/nonexistent/docker") == [] and store.prune_partial([final], -1) == []
    assert (other / "x").exists()


def test_a_snapshot_in_a_cache_of_the_hubs_library_is_read_and_not_sent(tmp_path):
    """Its files are links to ``../../blobs``; people really serve such directories."""
    real = write_model(tmp_path / "real", CONFIG, list(dense(CONFIG)))
    cache = tmp_path / "models--o--m"
    (cache / "blobs").mkdir(parents=True)
    snapshot = cache / "snapshots" / ("d" * 40)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted(real.iterdir())):
        file.rename(cache / "blobs" / str(number))
        os.symlink(f"../../blobs/{number}", snapshot / file.name)
    facts, problems = read_models([str(snapshot)], state_dir=str(tmp_path / "state"))
    assert problems == {} and facts[str(snapshot)]["manifest"] == inspect_model(str(snapshot))["manifest"]
    one = facts[str(snapshot)]
    assert one["outside"] and one["ours"] is False and one["content"]["small"] and one["content"]["weights"] is None
    assert content.unread(str(snapshot), str(tmp_path / "state")), "its weights can be read and verified"
    with pytest.raises(GB10Error, match="leads out of"):
        store.list_files(str(snapshot))
    assert placed(str(snapshot))["directory"] == str(snapshot)

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images and directories as shares, with a Docker and a source made of memory; real ones are in tests/on_machine."""

from __future__ import annotations

import hashlib
import os
import stat
from types import SimpleNamespace

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image.identity import identity
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import read_json
from ansible_collections.gb10.vllm.plugins.module_utils._model import content, store, versions
from ansible_collections.gb10.vllm.plugins.module_utils._transfer import images as images_file
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.directories import Directories, fill_in_sums
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.images import Images
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.index import Descriptions, index_path
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.share import Shares
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.work import Work

LAYERS = {"base": b"b" * 50, "middle": b"m" * 30, "top": b"t" * 10}
OTHERS = {"config": b"{}", "manifest": b"{}-"}
INSPECTED = {"Id": "sha256:image", "RootFS": {"Layers": list(LAYERS)}, "Size": 90, "Config": {}}
ARCHIVE = {
    "image_id": "sha256:image", "identity": identity(INSPECTED), "config": "config", "layers": [{"blob": one, "diff_id": one} for one in LAYERS],
    "others": ["manifest"], "index": None, "sizes": {name: len(data) for name, data in (LAYERS | OTHERS).items()},
}  # fmt: skip


class Docker:
    """Stands for ImageStore: what it holds, and what it was asked to do."""

    def __init__(self, held=(), refuses=0, broken=None):
        self.held, self.refuses, self.broken, self.done = held, refuses, broken, []

    def inspect(self, name):
        return INSPECTED if name == "vllm-node" else None

    def kind(self):
        return "classic"

    def layers_held(self):
        return [list(self.held)]

    def root_dir(self):
        return "/"

    def export(self, name, blobs, *, skip_layers, told):
        self.done.append(("export", name, skip_layers))
        if self.broken:
            raise self.broken
        os.makedirs(blobs, exist_ok=True)
        for blob, data in (LAYERS | OTHERS).items():
            if blob not in list(LAYERS)[:skip_layers]:
                with open(os.path.join(blobs, blob), "wb") as stream:
                    stream.write(data)
                told(len(data))
        return dict(ARCHIVE)

    def load(self, archive, blobs, name, told, keep):
        self.done.append(("load", sorted(os.listdir(blobs))))
        if self.refuses:
            self.refuses -= 1
            raise GB10Error("Docker wants every layer")
        self.done.append(("named", name, keep))
        return "sha256:loaded"


class Source:
    """Stands for Receiver: gives the files of one share."""

    def __init__(self, items, meta, content):
        self.items, self.meta, self.content = items, meta, content
        self.sources = SimpleNamespace(used={"a": 1})
        self.stopped, self.received_bytes, self.fetched = SimpleNamespace(set=lambda: None), 0, []

    def index(self):
        return {"items": self.items, "meta": self.meta}

    def fetch(self, number, item, path, on_progress):
        assert self.items[number]["name"] == item["name"]
        self.fetched.append(item["name"])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as stream:
            stream.write(self.content[item["name"]])
        self.received_bytes += item["size"]
        on_progress(item["size"])
        return hashlib.sha256(self.content[item["name"]]).hexdigest()

    def close(self):
        pass


class Heard(list):
    """Stands for ProgressLog: everything that was said."""

    def __call__(self, *words):
        self.append(words)


@pytest.fixture
def work(tmp_path):
    return Work(Descriptions(str(tmp_path), ["s"]), Heard(), connections=2, keep=3)


@pytest.fixture
def images(tmp_path):
    def make(docker):
        one = Images(str(tmp_path))
        one.store = docker
        return one

    return make


def described(tmp_path):
    return read_json(index_path(str(tmp_path), "s"))


SHARE = {"key": "s", "kind": "image", "place": "vllm-node", "identity": ARCHIVE["identity"], "skip_layers": 1, "sources": [{"name": "a"}]}
ITEMS = [{"name": blob, "size": size, "sha256": blob} for blob, size in ARCHIVE["sizes"].items()]


def test_an_image_is_taken_out_of_docker_once_and_only_what_somebody_lacks(images, work, tmp_path):
    docker = Docker()
    assert images(docker).offer(SHARE, work) is None
    assert docker.done == [("export", "vllm-node", 1)]
    index = described(tmp_path)
    assert index["state"] == "done" and index["roots"] == [str(tmp_path / "transfer" / "blobs")]
    assert [item["name"] for item in index["items"]] == ["base", "middle", "top", "manifest", "config"], "largest first"
    assert [item["name"] for item in index["items"] if item.get("absent")] == ["base"]
    assert set(index["meta"]) == {"identity", "config", "layers", "others", "index", "sizes"}
    images(docker).offer(SHARE, work)
    assert len(docker.done) == 1
    (tmp_path / "transfer" / "blobs" / "top").unlink()
    images(docker).offer(SHARE, work)
    assert len(docker.done) == 2, "a blob is missing, so it is taken out again"


def test_an_image_that_was_replaced_meanwhile_is_not_offered(images, work):
    with pytest.raises(GB10Error, match="replaced while the run began"):
        images(Docker()).offer(dict(SHARE, identity="other"), work)


def test_an_image_that_docker_cannot_read_is_told_to_those_who_wait_and_remembered(images, work, tmp_path):
    broken = GB10Error("docker save failed: file integrity", damaged="file integrity", image_id="sha256:image")
    one = images(Docker(broken=broken))
    assert one.offer(SHARE, work)() == {"damaged": "file integrity"}
    assert described(tmp_path)["state"] == "failed" and described(tmp_path)["reason"] == "docker save failed: file integrity"
    assert one.record.read()["damaged"] == {"sha256:image": "file integrity"}
    with pytest.raises(GB10Error, match="no answer"):
        images(Docker(broken=GB10Error("no answer"))).offer(SHARE, work)


def test_only_the_layers_that_are_missing_come_and_docker_gets_the_image(images, work, tmp_path):
    docker = Docker(held=["base", "other"])
    source = Source(ITEMS, ARCHIVE, LAYERS | OTHERS)
    end = images(docker).take(SHARE, source, work)
    assert sorted(source.fetched) == ["config", "manifest", "middle", "top"]
    index = described(tmp_path)
    assert index["state"] == "done" and [item["name"] for item in index["items"] if item.get("absent")] == ["base"]
    assert end() == {"image_id": "sha256:loaded", "received_bytes": 45}
    assert docker.done == [("load", ["config", "manifest", "middle", "top"]), ("named", "vllm-node", 3)]


def test_a_docker_that_wants_every_layer_gets_every_layer(images, work):
    docker = Docker(held=["base"], refuses=1)
    source = Source(ITEMS, ARCHIVE, LAYERS | OTHERS)
    assert images(docker).take(SHARE, source, work)()["received_bytes"] == 95
    assert source.fetched[-1] == "base" and [one[0] for one in docker.done] == ["load", "load", "named"]


def test_a_docker_that_refuses_a_whole_image_is_believed(images, work):
    with pytest.raises(GB10Error, match="every layer"):
        images(Docker(refuses=1)).take(SHARE, Source(ITEMS, ARCHIVE, LAYERS | OTHERS), work)()


def test_what_a_box_says_of_its_image(images):
    assert images(Docker(held=["base"])).state("vllm-node") == {
        "identity": ARCHIVE["identity"], "layers": list(LAYERS), "store": "classic", "image_id": "sha256:image", "layers_held": [["base"]],
    }  # fmt: skip
    assert images(Docker()).state("none")["identity"] is None


def test_too_little_room_is_said_before_anything_is_fetched(images, work, monkeypatch):
    asked = []
    monkeypatch.setattr(images_file, "check_space", lambda path, size: asked.append((path, size)))
    one = images(Docker(held=["base"]))
    one.take(SHARE, Source(ITEMS, ARCHIVE, LAYERS | OTHERS), work)
    assert asked == [(one.blobs, 45), ("/", 90)]


FILES = {"w.safetensors": b"w" * 100, "sub/t.json": b"{}"}


def model(path):
    for name, data in FILES.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return str(path)


def test_a_directory_is_offered_at_once_and_its_sums_follow(work, tmp_path):
    path = model(tmp_path / "m")
    end = Directories().offer({"key": "s", "place": path}, work)
    index = described(tmp_path)
    assert index["state"] == "working" and [item["sha256"] for item in index["items"]] == [None, None] and index["roots"] == [path]
    assert end() == {}
    index = described(tmp_path)
    assert index["state"] == "done" and {item["name"]: item["sha256"] for item in index["items"]} == {
        name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()
    }
    assert ("checksums", f"of {path}", 102, 102) in work.said


def test_a_directory_arrives_beside_its_place_and_takes_it_with_its_record(work, tmp_path):
    items = store.list_files(model(tmp_path / "there"))
    final = str(tmp_path / "here" / "m")
    share = {"key": "s", "place": final, "identity": "i", "sources": [{"name": "a"}]}
    partial = store.prepare_partial(final, "i")
    with open(os.path.join(partial, "w.safetensors"), "wb") as stream:
        stream.write(FILES["w.safetensors"])
    source = Source(items, {"record": {"repo_id": "acme/m", "revision": "r"}}, FILES)
    end = Directories("/nonexistent/docker").take(share, source, work)
    assert source.fetched == ["sub/t.json"], "what is there already does not come again"
    assert not os.path.exists(final) and described(tmp_path)["state"] == "working"
    told = end()
    place = versions.directory_of(final)
    assert told == {"path": final, "directory": place, "previous": None, "content": content.read(place)} and told["content"]["weights"]
    assert os.path.islink(final) and place.startswith(f"{final}@") and described(tmp_path)["roots"] == [place]
    record = store.read_record(final)
    assert record["revision"] == "r" and record["files"]["w.safetensors"]["sha256"] == hashlib.sha256(FILES["w.safetensors"]).hexdigest()
    assert described(tmp_path)["state"] == "done"
    assert work.said[0] == ("wait", f"for a to offer {final}")


def test_of_the_earlier_versions_of_a_model_only_the_newest_stay(tmp_path):
    items = store.list_files(model(tmp_path / "there"))
    final = tmp_path / "here" / "m"
    for name in ("m", "m@1", "m@2"):
        store.write_record(model(tmp_path / "here" / name), {"repo_id": "acme/m"})
    work = Work(Descriptions(str(tmp_path), ["s"]), Heard(), keep=1)
    share = {"key": "s", "place": str(final), "identity": "i", "sources": [{"name": "a"}]}
    before = Directories("/nonexistent/docker").take(share, Source(items, {"record": {}}, FILES), work)()["previous"]
    assert store.previous(str(final)) == [before]


def test_where_shares_and_keys_lie_only_root_looks_in(tmp_path):
    (tmp_path / "transfer").mkdir(mode=0o755)
    (tmp_path / "keys").mkdir(mode=0o755)
    shares = Shares(str(tmp_path), keys=str(tmp_path / "keys"))
    shares.open([], "a", 0)
    try:
        assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("transfer", "keys")] == [0o700, 0o700]
    finally:
        assert shares.close(complete=True)


def test_sums_of_what_is_there_are_taken_from_who_knows_them(tmp_path):
    model(tmp_path)
    items = [{"name": name, "size": len(data), "sha256": None} for name, data in FILES.items()]
    fill_in_sums(items, str(tmp_path), {"w.safetensors": {"sha256": "noted"}})
    assert [item["sha256"] for item in items] == ["noted", hashlib.sha256(b"{}").hexdigest()]
    items = [{"name": "w.safetensors", "size": 100, "sha256": "told"}, {"name": "w.safetensors", "size": 7, "sha256": None}]
    fill_in_sums(items, str(tmp_path), {})
    assert [item["sha256"] for item in items] == ["told", None]


def test_bytes_of_several_threads_are_added_up(work):
    count = work.counter("receive", lambda: "it", 10)
    count(4)
    count(6)
    assert work.said == [("receive", "it", 4, 10), ("receive", "it", 10, 10)]

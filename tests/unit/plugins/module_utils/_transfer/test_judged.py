# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a box takes from another: what is believed of it, what is compared, and what is handed on to Docker and to the models' store."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import read_json
from ansible_collections.gb10.vllm.plugins.module_utils._model import store
from ansible_collections.gb10.vllm.plugins.module_utils._transfer import directories, images
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.index import Descriptions, index_path
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.wire import Gone
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.work import Work


def digest(data):
    return hashlib.sha256(data).hexdigest()


class Source:
    """Stands for Receiver: ``gives`` is what its files hold; ``settles``: the sums of the box whose copy counts."""

    def __init__(self, items=(), meta=None, settles=None, **gives):
        self.items, self.meta, self.settles, self.gives = list(items), meta, settles, {name: data.encode() for name, data in gives.items()}
        self.sources = SimpleNamespace(used={"near": 1})
        self.stopped, self.received_bytes, self.fetched, self.closed = SimpleNamespace(set=lambda: None), 0, [], 0

    def index(self):
        return {"items": self.items, "meta": self.meta}

    def settle(self):
        self.sources.used = {"near": 1, "first": 1}
        return self.settles

    def fetch(self, number, item, path, on_progress):
        self.fetched.append((number, item["name"], item.get("sha256")))
        Path(path).write_bytes(self.gives[item["name"]])
        self.received_bytes += item["size"]
        on_progress(item["size"])
        return digest(self.gives[item["name"]])

    def close(self):
        self.closed += 1


@pytest.fixture
def work(tmp_path):
    said = []
    one = Work(Descriptions(str(tmp_path), ["s"]), lambda *words: said.append(words), connections=1, keep=3)
    object.__setattr__(one, "heard", said)
    return one


def described(tmp_path):
    return read_json(index_path(str(tmp_path), "s"))


# Directories

FILES = [{"name": "w", "size": 3, "sha256": digest(b"abc")}, {"name": "t", "size": 2, "sha256": None}]
RECORD = {"repo_id": "acme/m", "revision": "r"}
IDENTITY = store.identity_of(FILES, RECORD)


@pytest.mark.parametrize(
    ("changes", "meta", "content", "said"),
    [
        ({}, {"record": RECORD}, None, None),
        ({}, {"record": {**RECORD, "x": 1}}, None, None),
        ({}, None, None, "another model"),
        ({}, {"record": None}, None, "another model"),
        ({}, [], None, "another model"),
        ({}, {"record": {"repo_id": "acme/m"}}, None, "another model"),
        ({"size": 4}, {"record": RECORD}, None, "another model"),
        ({}, {"record": RECORD}, "known", "other files"),
        ({"sha256": digest(b"xyz")}, {"record": RECORD}, None, None),
    ],
)
def test_what_a_box_offers_has_to_be_the_model_that_was_asked_for(changes, meta, content, said):
    judge = directories.Directories.judge({"identity": IDENTITY, **({"content": content} if content else {})})
    index = {"items": [FILES[0] | changes, FILES[1]], "meta": meta}
    words = {
        "another model": "it offers another model than the one this run brings",
        "other files": "it offers other files than those of the box whose copy counts",
    }
    if said:
        with pytest.raises(Gone) as told:
            judge(index)
        assert str(told.value) == words[said]
    else:
        assert judge(index) is None


def test_files_whose_sums_are_known_have_to_have_them():
    whole = [FILES[0], FILES[1] | {"sha256": "feed"}]
    judge = directories.Directories.judge({"identity": IDENTITY, "content": store.content_of(whole)})
    judge({"items": whole, "meta": {"record": RECORD}})
    with pytest.raises(Gone, match="other files"):
        judge({"items": FILES, "meta": {"record": RECORD}})


def test_what_lies_there_is_told_with_its_sums_where_all_are_known(tmp_path):
    state, place = directories.Directories.state, tmp_path / "m"
    assert state(str(place)) == {"identity": None}
    place.mkdir()
    (place / "w").write_bytes(b"abc")
    items = store.list_files(str(place))
    assert state(str(place)) == {"identity": store.identity_of(items, {})}
    record = RECORD | {"files": {"w": {"size": 3, "mtime_ns": items[0]["mtime_ns"], "sha256": "feed"}}}
    store.write_record(str(place), record)
    assert state(str(place)) == {"identity": store.identity_of(items, RECORD), "content": store.content_of([items[0] | {"sha256": "feed"}])}
    (place / "gone").symlink_to("nowhere")
    told = state(str(place))
    assert told["identity"] is None and told["problem"].startswith(f"{place}/gone cannot be read (") and len(told) == 2


def test_a_directory_is_offered_with_its_record_and_the_sums_it_lacks_follow(work, tmp_path):
    place = tmp_path / "m"
    place.mkdir()
    for name, data in (("known", b"abc"), ("new", b"de")):
        (place / name).write_bytes(data)
    record = RECORD | {"files": {"known": {"size": 3, "mtime_ns": (place / "known").stat().st_mtime_ns, "sha256": "feed"}}}
    store.write_record(str(place), record)
    rest = directories.Directories().offer({"key": "s", "place": str(place)}, work)
    found = described(tmp_path)
    assert (found["meta"], found["roots"], [one["sha256"] for one in found["items"]]) == ({"record": record}, [str(place)], ["feed", None])
    assert rest() == {} and work.heard == [("checksums", f"of {place}", 2, 2)]
    assert [one["sha256"] for one in described(tmp_path)["items"]] == ["feed", digest(b"de")] and described(tmp_path)["state"] == "done"


@pytest.mark.parametrize(
    ("sha256", "noted", "stays"),
    [
        (digest(b"abc"), None, True),
        (digest(b"abX"), None, False),
        (None, None, True),
        ("told", "told", True),
        ("told", "other", False),
        (digest(b"abc"), "other", False),
    ],
)
def test_what_has_the_name_of_a_file_and_is_not_it_goes(tmp_path, sha256, noted, stays):
    (tmp_path / "w").write_bytes(b"abc")
    items = [{"name": "none", "size": 3, "sha256": "x"}, {"name": "w", "size": 3, "sha256": sha256}]
    directories.drop_others(items, str(tmp_path), {"w": {"sha256": noted}} if noted else {})
    assert (tmp_path / "w").exists() is stays
    (tmp_path / "w").write_bytes(b"abcd")
    directories.drop_others(items, str(tmp_path), {})
    assert (tmp_path / "w").exists(), "another size is fetched anew anyhow"


def test_a_sum_that_is_known_is_not_computed(tmp_path, monkeypatch):
    (tmp_path / "w").write_bytes(b"abc")
    monkeypatch.setattr(directories, "sha256_below", lambda *words: pytest.fail("read"))
    directories.drop_others([{"name": "w", "size": 3, "sha256": "told"}], str(tmp_path), {"w": {"sha256": "told"}})
    with pytest.raises(pytest.fail.Exception):
        directories.drop_others([{"name": "w", "size": 3, "sha256": "told"}], str(tmp_path), {"w": {}})


@pytest.fixture
def taking(work, tmp_path, monkeypatch):
    """One directory taken: ``taking(source, **share)`` gives what is left to do; ``.asked`` is what the store was asked."""
    final, asked = str(tmp_path / "models" / "m"), []
    os.makedirs(tmp_path / "models")
    monkeypatch.setattr(store, "check_space", lambda *words: asked.append(words))
    monkeypatch.setattr(store, "prune", lambda *words: asked.append(words))
    real = store.put_in_place
    monkeypatch.setattr(store, "put_in_place", lambda *words: asked.append(words[2:]) or real(*words[:3], "/no/docker"))

    def take(source, **more):
        share = {"key": "s", "place": final, "identity": "i", "sources": [{"name": "a"}, {"name": "b"}], **more}
        return directories.Directories("/the/docker").take(share, source, work)

    take.asked, take.final = asked, final
    return take


def items(*more):
    return [{"name": "w", "size": 3, "sha256": None, "mtime_ns": 5}, {"name": "t", "size": 2, "sha256": None}, *more]


META = {"record": {**RECORD, "endpoint": "e", "files": {"x": 1}, "arriving": "y"}}


def test_a_directory_is_passed_on_while_it_comes_and_then_takes_its_place(work, taking, tmp_path):
    os.makedirs(taking.final + ".partial")
    store.write_record(taking.final + ".partial", {"arriving": "i"})
    (tmp_path / "models/m.partial/w.incoming").write_bytes(b"a")
    origin = RECORD | {"endpoint": "e"}
    end = taking(Source(items(), META, w="abc", t="de"))
    partial = f"{taking.final}.partial"
    assert taking.asked == [(partial, 4)] and store.read_record(partial)["arriving"] == "i"
    assert store.read_record(partial)["files"] == {"w": {"sha256": digest(b"abc")}, "t": {"sha256": digest(b"de")}}
    found = described(tmp_path)
    assert (found["state"], found["roots"], found["meta"]) == ("working", [partial], {"record": origin})
    told = end()
    files = {"w": {"size": 3, "sha256": digest(b"abc"), "mtime_ns": 5}, "t": {"size": 2, "sha256": digest(b"de"), "mtime_ns": 0}}
    assert taking.asked[1:] == [(origin | {"files": files}, "/the/docker"), ([taking.final], 3, "/the/docker")]
    assert set(told) == {"path", "directory", "previous", "content"} and told["path"] == taking.final and told["previous"] is None
    found = described(tmp_path)
    assert (found["state"], found["roots"], found["meta"]) == ("done", [told["directory"]], {"record": origin | {"files": files}})
    assert [words[1] for words in work.heard] == [f"for a to offer {taking.final}", f"{taking.final} from near", f"{taking.final} from near"]


def test_what_is_somebodys_is_refused_before_anything_is_asked(taking, tmp_path):
    os.makedirs(taking.final)
    source = Source()
    source.index = None
    with pytest.raises(GB10Error, match="was not brought by this collection"):
        taking(source)


def test_another_run_that_brings_it_is_waited_for_and_that_is_said(work, taking, monkeypatch):
    @contextlib.contextmanager
    def arriving(final, waiting):
        assert final == taking.final
        waiting()
        yield True
        work.heard.append("let go")

    monkeypatch.setattr(store, "arriving", arriving)
    end = taking(Source(items(), META, w="abc", t="de"))
    assert work.heard[1] == ("wait", f"for a download of {taking.final} that another run began") and "let go" not in work.heard
    end()
    assert work.heard[-1] == "let go"


REFERENCE = [{"name": "a"}, {"name": "first", "reference": True}]


def test_sums_are_compared_with_the_copy_that_counts_and_what_differs_comes_from_there(work, taking, tmp_path):
    source = Source(items(), META, {"w": digest(b"abc"), "t": digest(b"xy")}, w="abc", t="de")
    before = source.settle

    def settle():
        source.gives["t"] = b"xy"
        return before()

    source.settle = settle
    told = taking(source, sources=REFERENCE)()
    assert (told["replaced"], told["sent_by"]) == (["t"], ["near"]) and Path(taking.final, "t").read_bytes() == b"xy"
    assert source.fetched == [(0, "w", None), (1, "t", None), (1, "t", digest(b"xy"))]
    assert ("compare", f"{taking.final} with the box whose copy counts") in work.heard
    assert store.read_record(taking.final)["files"]["t"]["sha256"] == digest(b"xy")


@pytest.mark.parametrize(
    ("more", "compares"),
    [({"sources": REFERENCE}, True), ({"sources": REFERENCE, "content": "c"}, False), ({}, False), ({"sources": [{"name": "a", "reference": False}]}, False)],
)
def test_what_is_the_same_or_known_before_is_not_fetched_again(work, taking, more, compares):
    source = Source(items(), META, {"w": digest(b"abc"), "t": digest(b"de")}, w="abc", t="de")
    told = taking(source, **more)()
    assert "replaced" not in told and "sent_by" not in told and len(source.fetched) == 2 and (source.sources.used != {"near": 1}) is compares


# Images

SUMS = {name: digest(name.encode()) for name in ("base", "top", "config")}
ARCHIVE = {
    "identity": "i", "config": SUMS["config"], "layers": [{"blob": SUMS[name], "diff_id": name} for name in ("base", "top")], "others": [], "index": None,
    "sizes": {SUMS["base"]: 5, SUMS["top"]: 3, SUMS["config"]: 2},
}  # fmt: skip
IMAGE = {"key": "s", "kind": "image", "place": "vllm-node", "identity": "i", "skip_layers": 0, "sources": [{"name": "a"}]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, None), ({"index": {}}, None), ({"others": [SUMS["top"]]}, None),
        ({"identity": "j"}, "it offers another image than the one this run brings"),
        ({"layers": {}}, "its description of the image cannot be read"), ({"sizes": []}, "its description of the image cannot be read"),
        ({"others": None}, "its description of the image cannot be read"), ({"index": []}, "its description of the image cannot be read"),
        ({"config": "none"}, "its description of the image cannot be read"),
        ({"sizes": ARCHIVE["sizes"] | {"x": "1"}}, "its description of the image cannot be read"),
        ({"sizes": ARCHIVE["sizes"] | {7: 1}}, "its description of the image cannot be read"),
        ({"layers": [7]}, "its description of the image names layers that it does not have"),
        ({"layers": [{"blob": SUMS["base"]}]}, "its description of the image names layers that it does not have"),
        ({"layers": [{"blob": "none", "diff_id": "x"}]}, "its description of the image names layers that it does not have"),
        ({"sizes": ARCHIVE["sizes"] | {"a/b": 1}}, "its description of the image names blobs outside their directory"),
        ({"sizes": ARCHIVE["sizes"] | {"..": 1}}, "its description of the image names blobs outside their directory"),
    ],
)  # fmt: skip
def test_what_a_box_offers_has_to_be_the_image_that_was_asked_for(changes, said):
    judge = images.Images.judge(IMAGE)
    listed = [{"name": one, "size": size, "sha256": one} for one, size in ARCHIVE["sizes"].items()]
    if said is None:
        assert judge({"items": listed, "meta": ARCHIVE | changes}) is None
        return
    with pytest.raises(Gone) as told:
        judge({"items": listed, "meta": ARCHIVE | changes})
    assert str(told.value) == said


@pytest.mark.parametrize(
    "item", [{"name": "a" * 64}, {"name": "a" * 64, "sha256": "b" * 64}, {"name": "A" * 64, "sha256": "A" * 64}, {"name": "a" * 63, "sha256": "a" * 63}]
)
def test_blobs_are_called_by_their_sums(item):
    fine = {"name": "c" * 64, "sha256": "c" * 64}
    with pytest.raises(Gone, match="^it offers blobs that are not called by their SHA-256$"):
        images.Images.judge(IMAGE)({"items": [fine, item], "meta": ARCHIVE})
    with pytest.raises(Gone, match="another image"):
        images.Images.judge(IMAGE)({"items": [], "meta": None})


class Docker:
    """Stands for ImageStore, of either kind."""

    def __init__(self, kind="classic", found=None, held=(), content=()):
        self.names, self.found, self.held, self.has, self.did, self.errors = kind, found, held, content, [], []

    def kind(self):
        return self.names

    def inspect(self, name):
        self.did.append(("inspect", name))
        return self.found

    def layers_held(self):
        return [list(self.held)]

    def content(self):
        return set(self.has)

    def root_dir(self):
        return "/docker"

    def export(self, name, blobs, *, skip_layers, told):
        self.did.append(("export", name, blobs, skip_layers))
        os.makedirs(blobs, exist_ok=True)
        for blob, size in ARCHIVE["sizes"].items():
            Path(blobs, blob).write_bytes(b"x" * size)
        told(10)
        return dict(ARCHIVE)

    def load(self, archive, blobs, name, told, keep):
        self.did.append(("load", archive, blobs, name, keep))
        told(4)
        if self.errors:
            raise self.errors.pop()
        return "sha256:new"


@pytest.fixture
def image(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(images, "check_space", lambda *words: asked.append(words))

    def make(**how):
        one = images.Images(str(tmp_path), "/the/docker")
        assert one.store.docker == "/the/docker"
        one.store, one.asked = Docker(**how), asked
        return one

    return make


@pytest.mark.parametrize(("kind", "held"), [("classic", [["base"]]), ("containerd", [])])
def test_what_a_box_has_of_an_image_is_told(image, monkeypatch, kind, held):
    monkeypatch.setattr(images, "identity", lambda found: f"identity of {found['Id']}")
    found = {"Id": "sha256:1", "RootFS": {"Layers": ["base"]}}
    one = image(kind=kind, found=found, held=["base"])
    told = {"identity": "identity of sha256:1", "layers": ["base"], "store": kind, "image_id": "sha256:1", "layers_held": held}
    assert one.state("vllm-node") == told and one.store.did == [("inspect", "vllm-node")]
    for bare in ({"Id": "sha256:1"}, {"Id": "sha256:1", "RootFS": {"Layers": None}}):
        one.store.found = bare
        assert one.state("vllm-node") == told | {"layers": []}
    one.store.found = None
    assert one.state("x") == {"identity": None, "layers": [], "store": kind, "image_id": None, "layers_held": held}


@pytest.mark.parametrize(("found", "size"), [({"Size": 90}, 90), ({}, 0), (None, 0)])
def test_room_for_an_image_is_looked_for_before_it_is_saved(image, work, tmp_path, found, size):
    one = image(found=found)
    assert one.offer(IMAGE | {"skip_layers": None}, work) is None
    assert one.asked == [(one.blobs, size)] and one.store.did == [("inspect", "vllm-node"), ("export", "vllm-node", f"{tmp_path}/transfer/blobs", 0)]
    assert work.heard == [("save", "vllm-node out of Docker", 10, size)] and read_json(f"{tmp_path}/transfer/archives/i.json") == ARCHIVE
    found = described(tmp_path)
    assert found["items"] == [{"name": SUMS[name], "size": size, "sha256": SUMS[name]} for name, size in (("base", 5), ("top", 3), ("config", 2))]
    assert (found["meta"], found["state"], found["roots"]) == (ARCHIVE, "done", [one.blobs])


@pytest.mark.parametrize(("missing", "skip", "again"), [("base", 1, False), ("base", 0, True), ("top", 1, True), ("config", 2, True), ("top", 2, False)])
def test_an_image_is_saved_again_only_for_what_somebody_lacks(image, work, missing, skip, again):
    one = image()
    one.offer(IMAGE, work)
    one.store.did.clear()
    os.unlink(os.path.join(one.blobs, SUMS[missing]))
    one.offer(IMAGE | {"skip_layers": skip}, work)
    assert [words[0] for words in one.store.did] == (["inspect", "export"] if again else [])


def test_blobs_of_the_same_size_come_by_name(image, work, tmp_path, monkeypatch):
    monkeypatch.setitem(ARCHIVE, "sizes", {SUMS["top"]: 3, SUMS["config"]: 3, SUMS["base"]: 5})
    image().offer(IMAGE, work)
    assert [one["name"] for one in described(tmp_path)["items"]] == [SUMS["base"], *sorted((SUMS["top"], SUMS["config"]))]


LISTED = [{"name": SUMS[name], "size": size, "sha256": SUMS[name], "mtime_ns": 7} for name, size in (("base", 5), ("top", 3), ("config", 2))]


def given():
    return Source(LISTED, ARCHIVE, **{SUMS["base"]: "bbbbb", SUMS["top"]: "ttt", SUMS["config"]: "cc"})


@pytest.mark.parametrize(
    ("how", "spared"),
    [
        ({"held": ["base"]}, True),
        ({}, False),
        ({"kind": "containerd", "content": [SUMS["base"]], "held": ["base", "top"]}, True),
        ({"kind": "other", "held": ["base"]}, False),
    ],
)
def test_only_what_an_engine_lacks_comes_into_a_closed_directory(image, work, tmp_path, how, spared):
    one, source = image(**how), given()
    before = os.umask(0)
    try:
        load = one.take(IMAGE, source, work)
    finally:
        os.umask(before)
    come = 5 if spared else 10
    names = [name for name in ("base", "top", "config") if not (spared and name == "base")]
    assert [blob for _number, blob, _sum in source.fetched] == [SUMS[name] for name in names] and one.asked == [(one.blobs, come), ("/docker", 2 * come)]
    assert stat.S_IMODE(os.stat(one.blobs).st_mode) == 0o700 and work.heard[0] == ("wait", "for a to offer vllm-node")
    marks = [{"absent": True} if spared and one["name"] == SUMS["base"] else {} for one in LISTED]
    found = described(tmp_path)
    assert found["items"] == [{key: one[key] for key in ("name", "size", "sha256")} | mark for one, mark in zip(LISTED, marks, strict=True)]
    assert (found["meta"], found["state"], found["roots"]) == (ARCHIVE, "done", [one.blobs])
    one.record.keep_damage("sha256:new", "broken")
    assert load() == {"image_id": "sha256:new", "received_bytes": come}
    assert one.store.did == [("load", ARCHIVE, one.blobs, "vllm-node", 3)] and work.heard[-1] == ("load", "vllm-node into Docker", 4, come)
    assert one.record.read()["received"] == {"sha256:new": "vllm-node"} and not one.record.read().get("damaged")


def test_what_is_there_already_takes_no_room(image, work):
    one = image()
    os.makedirs(one.blobs)
    Path(one.blobs, SUMS["base"]).write_bytes(b"bbbbb")
    one.take(IMAGE, given(), work)
    assert one.asked == [(one.blobs, 5), ("/docker", 10)]


@pytest.mark.parametrize(("held", "details", "tries"), [(["base"], {}, 2), (["base"], {"full": True}, 1), ([], {}, 1)])
def test_an_engine_that_wants_every_layer_gets_it_unless_its_disk_is_full(image, work, held, details, tries):
    one, source = image(held=held), given()
    load = one.take(IMAGE, source, work)
    one.store.errors = [GB10Error("every layer", **details)]
    if tries == 1:
        with pytest.raises(GB10Error, match="every layer"):
            load()
    else:
        closed = source.closed
        assert load() == {"image_id": "sha256:new", "received_bytes": 10}
        assert source.fetched[-1] == (0, SUMS["base"], SUMS["base"]) and source.closed == closed + 2
    assert one.store.did == [("load", ARCHIVE, one.blobs, "vllm-node", 3)] * tries


def test_nothing_is_taken_of_another_image(image, work):
    with pytest.raises(GB10Error) as told:
        image().take(IMAGE | {"identity": "j"}, given(), work)
    assert str(told.value) == "it offers another image than the one this run brings; nothing of it was taken"

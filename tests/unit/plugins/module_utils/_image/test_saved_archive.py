# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An archive of an image goes there and back: taken apart into its blobs, described, put together again; nothing is in it that was not."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image import saved


def sha(data):
    return hashlib.sha256(data).hexdigest()


LAYERS = [b"layer one", b"layer two"]
CONFIG = json.dumps({"rootfs": {"diff_ids": ["d1", "d2"]}}).encode()
MANIFEST = json.dumps({"config": {"digest": f"sha256:{sha(CONFIG)}"}, "layers": [{"digest": f"sha256:{sha(one)}"} for one in LAYERS]}).encode()
NAMED = "docker.io/library/x:1"
INDEX = {
    "schemaVersion": 2,
    "manifests": [
        {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": f"sha256:{sha(MANIFEST)}", "annotations": {"io.containerd.image.name": "old"}}
    ],
}
BLOBS = [CONFIG, MANIFEST, *LAYERS, b"nobody needs it"]


def archive(*, index=True, linked=False):
    """As docker save writes it; ``linked``: the second layer by a link, as classic engines do."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as out:

        def add(name, data):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            out.addfile(member, io.BytesIO(data))

        for blob in BLOBS:
            add(f"blobs/sha256/{sha(blob)}", blob)
        add("abc/VERSION", b"1.0")
        add("abc/json", b"{}")
        paths = [f"blobs/sha256/{sha(one)}" for one in LAYERS]
        if linked:
            member = tarfile.TarInfo("abc/layer.tar")
            member.type, member.linkname = tarfile.SYMTYPE, f"../{paths[1]}"
            out.addfile(member)
            paths[1] = "abc/layer.tar"
        add("manifest.json", json.dumps([{"Config": f"blobs/sha256/{sha(CONFIG)}", "RepoTags": ["x:1"], "Layers": paths}]).encode())
        if index:
            add("index.json", json.dumps(INDEX).encode())
    stream.seek(0)
    return stream


@pytest.mark.parametrize(("index", "linked", "skip"), [(True, False, 0), (True, True, 1), (False, False, 0), (False, True, 2)])
def test_there_and_back(tmp_path, index, linked, skip):
    read, written = [], []
    members, documents = saved.take_apart(archive(index=index, linked=linked), str(tmp_path), read.append)
    expected = {f"blobs/sha256/{sha(blob)}": sha(blob) for blob in BLOBS} | ({"abc/layer.tar": sha(LAYERS[1])} if linked else {})
    assert members == expected and set(documents) == {"manifest.json", *(["index.json"] if index else [])} and sum(read) == sum(map(len, BLOBS))
    told = saved.describe(members, documents, str(tmp_path), skip)
    others = [sha(MANIFEST)] if index else []
    sizes = {sha(blob): len(blob) for blob in (CONFIG, *LAYERS, *([MANIFEST] if index else []))}
    layers = [{"blob": sha(one), "diff_id": diff} for one, diff in zip(LAYERS, ("d1", "d2"), strict=True)]
    assert told == {"config": sha(CONFIG), "layers": layers, "others": others, "index": INDEX if index else None, "sizes": sizes}
    kept = sorted([sha(CONFIG), *others, *(sha(one) for one in LAYERS[skip:])])
    assert sorted(os.listdir(tmp_path)) == kept
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as stream:
        saved.put_together(stream, told, str(tmp_path), "new:2", written.append)
    out.seek(0)
    with tarfile.open(fileobj=out) as stream:
        found = {member.name: stream.extractfile(member).read() for member in stream}
    names = [f"blobs/sha256/{one}" for one in kept]
    assert list(found) == [*names, "manifest.json", *(["index.json", "oci-layout"] if index else [])] and sum(written) == sum(sizes[one] for one in kept)
    assert all(sha(found[name]) == name.rpartition("/")[2] for name in names)
    paths = [f"blobs/sha256/{sha(one)}" for one in LAYERS]
    assert json.loads(found["manifest.json"]) == [{"Config": f"blobs/sha256/{sha(CONFIG)}", "RepoTags": ["new:2"], "Layers": paths}]
    if index:
        annotations = {"io.containerd.image.name": "docker.io/library/new:2", "org.opencontainers.image.ref.name": "2"}
        assert json.loads(found["index.json"]) == {**INDEX, "manifests": [{**INDEX["manifests"][0], "annotations": annotations}]} and told["index"] == INDEX
        assert json.loads(found["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}


def test_a_disk_that_refuses_is_named(tmp_path):
    with pytest.raises(GB10Error, match=f"{tmp_path}/gone"):
        saved.take_apart(archive(), str(tmp_path / "gone"), lambda _count: None)

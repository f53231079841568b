# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Earlier images and their names, and which failure of docker save is damage."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._box.records import images_of
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image import saved
from ansible_collections.gb10.vllm.plugins.module_utils._image.identity import unwanted
from ansible_collections.gb10.vllm.plugins.module_utils._image.record import Record
from ansible_collections.gb10.vllm.plugins.module_utils._image.store import ImageStore
from fake_docker import FakeDocker

ID, OTHER = "sha256:" + "1" * 64, "sha256:" + "2" * 64


@pytest.fixture
def docker(tmp_path):
    return FakeDocker(tmp_path / "bin")


def test_one_that_a_container_uses_keeps_its_earlier_name(docker):
    names = [f"vllm-node:previous-2026010{number}000000" for number in range(1, 5)]
    docker.answer("'images --format '*", "printf '%s\\n' " + " ".join([*names, "vllm-node:latest", "vllm-node:1-previous-20260101000000"]))
    for number, name in enumerate(names):
        docker.has(name, f"sha256:{number}")
    docker.answer("'ps '*", "echo container")
    docker.answer("'inspect --format '*", "echo sha256:1")
    store = ImageStore(str(docker.path))
    assert store.prune_previous("vllm-node", 1, check=True) == [names[2], names[0]] and docker.calls("rmi") == []
    assert store.prune_previous("vllm-node", 1) == [names[2], names[0]]
    assert docker.calls("rmi") == [f"rmi {names[2]}", f"rmi {names[0]}"]


def test_a_name_is_given_before_an_earlier_image_goes_and_one_that_stays_is_no_failure(docker):
    docker.has("vllm-node:latest", OTHER)
    docker.answer("'images --format '*", "echo vllm-node:previous-20260101000000")
    docker.answer("'rmi '*", "echo 'Error response from daemon: conflict' >&2; exit 1")
    ImageStore(str(docker.path)).give_name(ID, "vllm-node", 0)
    calls = [line for line in docker.calls() if line.startswith(("tag", "rmi"))]
    assert calls == [f"tag {ID} vllm-node:latest", "rmi vllm-node:previous-20260101000000"]


@pytest.mark.parametrize(
    ("text", "status", "damage"),
    [
        ("Error response from daemon: file integrity checksum failed for usr/x", 1, True),
        ("Error response from daemon: open /var/lib/docker/overlay2/x: no such file or directory", 1, True),
        ("Error response from daemon: read /var/lib/docker/x: input/output error", 1, True),
        ("Error response from daemon: unexpected EOF", 1, True),
        ("", 0, True),
        ("unexpected EOF", 1, False),
        ("Error response from daemon: write /var/lib/docker/tmp/x: no space left on device", 1, False),
        ("Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?", 1, False),
        ("permission denied while trying to connect to the Docker daemon socket", 1, False),
        ("", -9, False),
    ],
)
def test_damage_is_what_no_other_try_gets_past(text, status, damage):
    assert saved.is_damage(text, status) is damage


# Out of one engine and into another


def saved_archive(path, layers=(b"layer one", b"layer two")):
    """As docker save of the classic store writes it; returns the SHA-256 of configuration and layers."""
    config = json.dumps({"rootfs": {"diff_ids": [f"d{number}" for number in range(len(layers))]}}).encode()
    files = {"config.json": config, **{f"{number}/layer.tar": layer for number, layer in enumerate(layers)}, "0/VERSION": b"1.0", "0/json": b"{}"}
    files["manifest.json"] = json.dumps([{"Config": "config.json", "RepoTags": ["x:1"], "Layers": [f"{n}/layer.tar" for n in range(len(layers))]}]).encode()
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return [hashlib.sha256(content).hexdigest() for content in (config, *layers)]


def test_an_image_leaves_one_engine_and_enters_another(tmp_path, docker):
    config, one, two = saved_archive(tmp_path / "save.tar")
    docker.has("x:1", ID)
    docker.answer("'save x:1'", f"cat {tmp_path}/save.tar")
    counted: list[int] = []
    archive = ImageStore(str(docker.path)).export("x:1", str(tmp_path / "blobs"), skip_layers=1, told=counted.append)
    assert archive["config"] == config and archive["layers"] == [{"blob": one, "diff_id": "d0"}, {"blob": two, "diff_id": "d1"}]
    assert archive["sizes"].keys() == {config, one, two} and sum(counted) == sum(archive["sizes"].values())
    assert sorted(path.name for path in (tmp_path / "blobs").iterdir()) == sorted([config, two]), "nobody lacks the first layer"

    assert (tmp_path / "blobs").stat().st_mode & 0o777 == 0o700, "layers are nobody's business but root's"

    other = FakeDocker(tmp_path / "other")
    temporary = f"gb10-vllm-incoming:{archive['identity'][:12]}"
    other.has("vllm-node:latest", OTHER)
    other.has(temporary, ID)
    other.answer("'load --quiet'", f"cat > {tmp_path}/load.tar")
    assert ImageStore(str(other.path)).load(archive, str(tmp_path / "blobs"), "vllm-node", keep=1) == ID
    with tarfile.open(tmp_path / "load.tar") as tar:
        assert tar.getnames() == [*sorted([f"blobs/sha256/{config}", f"blobs/sha256/{two}"]), "manifest.json"]
    tags = other.calls("tag")
    assert tags[0].startswith(f"tag {OTHER} vllm-node:previous-") and tags[1:] == [f"tag {temporary} vllm-node:latest"]
    assert other.calls("rmi") == [f"rmi {temporary}"]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exec <&-; sleep 0.2; exit 1", "Docker did not accept the image vllm-node that was sent to this box: "),
        ("cat > /dev/null; echo 'invalid diffID' >&2; exit 1", "Docker did not accept the image vllm-node .*: invalid diffID"),
        ("cat > /dev/null; echo 'write /x: no space left on device' >&2; exit 1", "the disk of /var/lib/docker became full while Docker loaded vllm-node"),
        ("cat > /dev/null", "Docker made another image than the one that was sent as vllm-node; the previous image keeps its name"),
    ],
)
def test_an_image_that_is_refused_leaves_the_name_where_it_was(tmp_path, docker, script, said):
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "b").write_bytes(bytes(3_000_000))
    docker.answer("'load --quiet'", script)
    archive = {"identity": "0" * 64, "config": "b", "layers": [], "sizes": {"b": 3_000_000}}
    with pytest.raises(GB10Error, match=said):
        ImageStore(str(docker.path)).load(archive, str(tmp_path / "blobs"), "vllm-node")
    assert docker.calls("tag") == []


def test_an_image_that_docker_made_another_of_does_not_get_the_name(tmp_path, docker):
    docker.answer("'load --quiet'", "cat > /dev/null")
    archive = {"identity": "0" * 64, "config": "b", "layers": [], "sizes": {"b": 3}}
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "b").write_bytes(b"123")
    docker.has(f"gb10-vllm-incoming:{'0' * 12}", OTHER)
    with pytest.raises(GB10Error, match="Docker made another image than the one that was sent as vllm-node; the previous image keeps its name"):
        ImageStore(str(docker.path)).load(archive, str(tmp_path / "blobs"), "vllm-node")
    assert docker.calls("tag") == [] and docker.calls("rmi") == [f"rmi gb10-vllm-incoming:{'0' * 12}"]


def test_an_image_that_no_server_wants_any_more_goes_unless_something_has_it(tmp_path, docker):
    record = Record(tmp_path)
    ids = {name: f"sha256:{number}" for number, name in enumerate(("wanted:latest", "gone:1", "in-use:1", "in-history:1", "moved:1", "found:1"))}
    for name, image in ids.items():
        record.made(name, image, {}, {}, ids.values(), found=name == "found:1")
        docker.has(name, "sha256:9" if name == "moved:1" else image)
    record.keep_received("sha256:8", "sent")
    docker.has("sent", "sha256:8")
    docker.answer("'ps '*", "echo container")
    docker.answer("'inspect --format '*", f"echo {ids['in-use:1']}")
    goes = unwanted(record.brought(), ["wanted"])
    assert sorted(goes) == ["gone:1", "in-history:1", "in-use:1", "moved:1", "sent"]
    store = ImageStore(str(docker.path))
    assert store.prune_names(goes, {ids["in-history:1"]}, check=True) == ["gone:1", "sent"] and docker.calls("rmi") == []
    assert store.prune_names(goes, {ids["in-history:1"]}) == ["gone:1", "sent"] and docker.calls("rmi") == ["rmi gone:1", "rmi sent"]


def test_records_keep_what_runs_and_what_can_come_back():
    def made(image):
        return {"container": {"image": image}}

    records = {"a": {"deployment": made("1"), "history": [made("2"), "broken"]}, "b": {"unreadable": ["deployment"]}, "c": {"history": {}}}
    assert images_of(records) == {"1", "2"}

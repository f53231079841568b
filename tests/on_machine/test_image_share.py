# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images between real Docker engines of both kinds, layer by layer."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor

import engines
import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._image import store as image_store
from engines import Engine, send

pytestmark = pytest.mark.skipif(not engines.available(), reason="needs the image gb10-box (tests/boxes/boxes makes it)")
IMAGE = [("image", "image", "vllm-node")]
PAYLOAD_MB = 20


@pytest.fixture(scope="module")
def boxes():
    engines.network()
    made = [Engine("share-a"), Engine("share-b"), Engine("share-c", "containerd")]
    for one in made:
        one.ready()
    yield made
    for one in made:
        one.remove()


def inspect(box: Engine, name: str = "vllm-node") -> dict:
    return json.loads(box.run(f"docker image inspect {name}"))[0]


def test_the_life_of_an_image_in_a_fleet(boxes):
    """One test, as each step needs the one before: arrive, arrive again, change a little, go back the other way, be pruned."""
    a, b, c = boxes
    a.build("vllm-node", PAYLOAD_MB, "one")
    answers = send(boxes, [a], IMAGE)
    assert answers["share-b"]["changed"] and answers["share-c"]["changed"], answers
    first = inspect(a)
    assert inspect(b)["Id"] == first["Id"], "stores of one kind give it one id"
    assert image_store.identity(inspect(c)) == image_store.identity(first), "and those of two kinds one identity"
    assert set(answers["share-c"]["shares"]["image"]["sources"]) == {"share-b"}, "b passed it on"
    assert answers["share-b"]["shares"]["image"]["received_bytes"] > PAYLOAD_MB * 1_000_000
    for box in (b, c):
        assert [name for name in box.images() if "incoming" in name] == []
        assert box.run("ls /var/lib/gb10-vllm/transfer") == "progress.jsonl", "nothing of the way is left"

    # Everything is there: nothing is to be done, and b and c are told apart from nobody.
    again = send(boxes, [a], IMAGE)
    assert not any(answer["changed"] for answer in again.values())

    # A small layer changes: that layer and the descriptions travel.
    a.build("vllm-node", PAYLOAD_MB, "two")
    layer = inspect(a)["Size"] - PAYLOAD_MB * 1_000_000
    before = b.received()
    update = send(boxes, [a], IMAGE, keep=1)
    for host in ("share-b", "share-c"):
        assert 200_000 < update[host]["shares"]["image"]["received_bytes"] < 1.2 * layer, host
    assert b.received() - before < 1.2 * layer + 100_000, "on the wire too (certificates and Ansible's part come on top)"
    assert inspect(b)["Config"]["Labels"]["note"] == "two" == inspect(c)["Config"]["Labels"]["note"]

    # What was there before is kept under another name, as often as wanted, and never taken from a container.
    previous = [name for name in b.images() if "previous" in name]
    assert len(previous) == 1 and b.images()[previous[0]] == first["Id"]
    b.run(f"docker create --name user {previous[0]} x")
    assert b.step("prune", name="vllm-node", keep=0) == []
    b.run("docker rm user")
    assert b.step("prune", name="vllm-node", keep=0) == previous
    assert b.images()["vllm-node:latest"] == inspect(a)["Id"]

    # From containerd's kind of store (compressed layers) to the classic kind.
    for box in (a, b):
        box.run("docker rmi -f $(docker images -aq) >/dev/null")
    back = send(boxes, [c], IMAGE)
    assert back["share-a"]["changed"] and image_store.identity(inspect(a)) == image_store.identity(inspect(c))
    assert b.run("docker create vllm-node x").strip(), "it can be used"


def test_a_disk_that_fills_up_leaves_the_image_that_was_there(boxes):
    a, b, _c = boxes
    a.build("vllm-node", PAYLOAD_MB, "three")
    b.run("docker rm -f $(docker ps -aq) >/dev/null || true; docker rmi -f $(docker images -aq) >/dev/null || true")
    b.run("tar -c /etc/hostname | docker import - vllm-node")
    before = b.images()["vllm-node:latest"]
    place = "/var/lib/gb10-vllm/transfer"
    b.run(f"mkdir -p {place} && mount -t tmpfs -o size=8m tmpfs {place}")
    try:
        answer = send([a, b], [a], IMAGE)["share-b"]["error"]
        assert re.search(r"vllm-node did not arrive: .* GiB free and .* needs .* Nothing was written", answer)
        b.run(f"mount -o remount,size=1200m {place}")
        with ThreadPoolExecutor(1) as pool:
            begun = f"until du -bc {place}/blobs/*.incoming 2>/dev/null | grep -q '[0-9]\\{{7\\}}.*total'; do sleep 0.05; done"
            # Again where more than was left arrived in between.
            fill = f"until fallocate -l $(($(df -B1 --output=avail {place} | tail -1) - 3000000)) {place}/ballast 2>/dev/null; do sleep 0.05; done"
            full = pool.submit(b.run, f"{begun}; {fill}")
            answer = send([a, b], [a], IMAGE, rate_bytes_s=3_000_000)["share-b"]["error"]
            full.result()
        assert f"vllm-node did not arrive: the disk of {place}/blobs became full" in answer and "run again" in answer
        assert b.images()["vllm-node:latest"] == before and not [name for name in b.images() if "incoming" in name]
        kept = int(b.run(f"rm {place}/ballast; du -bc {place}/blobs/* | tail -1 | cut -f1"))
        share = send([a, b], [a], IMAGE)["share-b"]["shares"]["image"]
        assert kept > 1_000_000 and share["received_bytes"] < (PAYLOAD_MB + 1) * 1_000_000 - 1_000_000, "it went on where it stopped"
        assert b.images()["vllm-node:latest"] == a.images()["vllm-node:latest"]
    finally:
        b.run(f"umount {place}")


def test_an_image_docker_refuses_keeps_the_name_where_it_was(boxes):
    """The description promises another image than the blobs make."""
    a, b, _c = boxes
    a.build("vllm-node", PAYLOAD_MB, "four")
    before = b.images()["vllm-node:latest"]
    script = (
        "import sys,json\n"
        "from ansible_collections.gb10.vllm.plugins.module_utils._image.store import ImageStore\n"
        "from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error\n"
        "store = ImageStore()\n"
        "archive = store.export('vllm-node', '/tmp/blobs')\n"
        "archive['identity'] = '0' * 64\n"
        "try:\n    store.load(archive, '/tmp/blobs', 'vllm-node')\nexcept GB10Error as error:\n    print(error)\n"
    )
    said = engines.docker("exec", "-i", b.name, "python3", "-", input=script)
    assert "Docker made another image than the one that was sent" in said
    assert b.images()["vllm-node:latest"] == before and not [name for name in b.images() if "incoming" in name]
    for blob in b.run("ls /tmp/blobs").split():
        b.run(f"echo x >> /tmp/blobs/{blob}")
    said = engines.docker("exec", "-i", b.name, "python3", "-", input=script.replace("'/tmp/blobs')\n", "'/run/blobs-anew')\n", 1))
    assert "Docker did not accept the image vllm-node" in said or "Docker made another image" in said
    assert b.images()["vllm-node:latest"] == before


def test_an_image_that_is_not_there_cannot_be_offered(boxes):
    a, b, _c = boxes
    with pytest.raises(Exception, match="no longer has nothing-here"):
        send([a, b], [a], [("image", "image", "nothing-here")])
    for box in (a, b):
        box.step("close", complete=True)


def test_an_image_in_use_by_a_running_container_and_its_renamed_model_are_seen(boxes):
    """Real mounts: a model directory that was renamed while a container runs is still held by it."""
    _a, b, _c = boxes
    record = """echo '{"repo_id": "o/m", "files": {}}' >"""
    b.run(f"rm -rf /srv/m*; mkdir -p /srv/m && {record} /srv/m/.gb10-vllm-record")
    libraries = "usr/lib/x86_64-linux-gnu/libc.so.6 usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
    b.run(f"cd / && tar -c lib lib64 usr/bin/sleep usr/lib64 {libraries} | docker import - sleeper")
    b.run("docker run -d --name holder -v /srv/m:/models:ro sleeper /usr/bin/sleep 600")
    b.run(f"mv /srv/m '/srv/m@aaaa' && mkdir /srv/m && mkdir '/srv/m@bbbb' && {record} '/srv/m@bbbb/.gb10-vllm-record'")
    script = "from ansible_collections.gb10.vllm.plugins.module_utils._model.store import prune\nprint(prune(['/srv/m'], 0))\n"
    assert engines.docker("exec", "-i", b.name, "python3", "-", input=script) == "['/srv/m@bbbb']"
    b.run("docker rm -f holder")
    assert engines.docker("exec", "-i", b.name, "python3", "-", input=script) == "['/srv/m@aaaa']"

#!/usr/bin/env python3
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One image and one model from one box to the others over links of one speed, against the usual ways and the physical limit.

    tests/benchmarks/bench_fanout.py                      4 and 8 boxes, under three minutes, prints a table, fails when a goal is missed
    tests/benchmarks/bench_fanout.py --boxes 4 --others   also one source for all at once, Debian's docker-registry, and the binary tree

Each box is a container with its own Docker engine; tc limits what it sends and what it takes to the same rate. The ways compared:
(a) what build-and-copy.sh and hf-download.sh do: save the image once, `cat | ssh docker load` to one box after the other, then rsync;
(b) size / rate: no box can have it earlier. Needs root, Docker and the image gb10-box (tests/boxes/boxes makes it).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/support"), str(ROOT / ".ansible/collections")]
from engines import Engine, network, send  # noqa: E402

SHARES = [("image", "image", "vllm-node"), ("m", "directory", "/srv/models/m")]
SSH = "ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
GOAL_SERIAL, GOAL_LIMIT, GOAL_UPDATE = 0.35, 2.5, 1.2


def make(count: int, rate_mbit: float, image_mb: int, model_mb: int) -> list[Engine]:
    network()
    with ThreadPoolExecutor(4) as pool:
        boxes = list(pool.map(lambda number: Engine(f"bench-{number}"), range(count)))
        list(pool.map(Engine.ready, boxes))
        list(pool.map(lambda box: box.run("mkdir -p /run/sshd /srv/models ~/.ssh && chmod 700 ~/.ssh && ssh-keygen -qA && /usr/sbin/sshd"), boxes))
    source = boxes[0]
    key = source.run("ssh-keygen -qt ed25519 -N '' -f ~/.ssh/id_ed25519; cat ~/.ssh/id_ed25519.pub")
    for box in boxes[1:]:
        box.run(f"echo '{key}' > ~/.ssh/authorized_keys && chmod 600 ~/.ssh/authorized_keys")
    private = source.run("cat ~/.ssh/id_ed25519")
    for box in boxes[1:]:
        box.run("cat > ~/.ssh/id_ed25519 && chmod 600 ~/.ssh/id_ed25519", input=private + "\n")
    source.build("vllm-node", image_mb, "first", 2_000_000)
    source.run(f"mkdir /srv/models/m && head -c {model_mb}000000 /dev/urandom > /srv/models/m/model.safetensors && echo '{{}}' > /srv/models/m/config.json")
    for box in boxes:
        box.limit(rate_mbit)
    return boxes


def forget(boxes: list[Engine]) -> None:
    """Boxes but the first as they were before anything arrived."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda box: box.run("docker rmi -f $(docker images -aq) >/dev/null 2>&1 || true; rm -rf /srv/models/m"), boxes[1:]))


def check(boxes: list[Engine]) -> None:
    images = {box.images()["vllm-node:latest"] for box in boxes}
    models = {box.run("sha256sum /srv/models/m/model.safetensors") for box in boxes}
    if len(images) != 1 or len(models) != 1:
        raise RuntimeError("the boxes do not hold the same image and model")


def over_ssh(source: Engine, target: Engine) -> None:
    source.run(f"cat /tmp/image.tar | {SSH} root@{target.address} docker load -q; rsync -a -e '{SSH}' /srv/models/m root@{target.address}:/srv/models/")


def serial(boxes: list[Engine]) -> float:
    began = time.monotonic()
    boxes[0].run("docker save vllm-node > /tmp/image.tar")
    for box in boxes[1:]:
        over_ssh(boxes[0], box)
    return time.monotonic() - began


def tree(boxes: list[Engine]) -> float:
    """Boxes that have it become sources for others: each round doubles them."""
    began = time.monotonic()
    boxes[0].run("docker save vllm-node > /tmp/image.tar")
    having, lacking = [boxes[0]], list(boxes[1:])
    with ThreadPoolExecutor(len(boxes)) as pool:
        while lacking:
            pairs = list(zip(having, lacking, strict=False))
            list(pool.map(lambda pair: over_ssh(*pair), pairs))
            having += [target for _source, target in pairs]
            lacking = lacking[len(pairs) :]
            if lacking:
                list(pool.map(lambda pair: pair[1].run("docker save vllm-node > /tmp/image.tar"), pairs))
    return time.monotonic() - began


def parallel(boxes: list[Engine]) -> float:
    """`--copy-parallel`: one source sends to all at once."""
    began = time.monotonic()
    boxes[0].run("docker save vllm-node > /tmp/image.tar")
    with ThreadPoolExecutor(len(boxes)) as pool:
        list(pool.map(lambda box: over_ssh(boxes[0], box), boxes[1:]))
    return time.monotonic() - began


def registry(boxes: list[Engine]) -> float:
    """Debian's docker-registry on the source, everybody pulls at once; every engine has to be told that it may."""
    source, store = boxes[0], "/tmp/registry"
    source.run("command -v docker-registry >/dev/null || { apt-get update -q && apt-get install -qy --no-install-recommends docker-registry; } >/dev/null 2>&1")
    config = {"version": 0.1, "storage": {"filesystem": {"rootdirectory": store}}, "http": {"addr": ":5000"}}
    source.run("cat > /tmp/registry.yml", input=json.dumps(config))
    source.run("docker-registry serve /tmp/registry.yml > /tmp/registry.log 2>&1 & sleep 1")
    for box in boxes[1:]:
        settings = json.loads(box.run("cat /etc/docker/daemon.json")) | {"insecure-registries": [f"{source.address}:5000"]}
        box.run("cat > /etc/docker/daemon.json && kill -HUP $(pidof dockerd) && sleep 0.5", input=json.dumps(settings))
    began = time.monotonic()
    source.run("docker tag vllm-node localhost:5000/vllm-node && docker push -q localhost:5000/vllm-node")
    name = f"{source.address}:5000/vllm-node"

    def pull(box: Engine) -> None:
        box.run(f"docker pull -q {name} && docker tag {name} vllm-node && docker rmi {name}")
        source.run(f"rsync -a -e '{SSH}' /srv/models/m root@{box.address}:/srv/models/")

    with ThreadPoolExecutor(len(boxes)) as pool:
        list(pool.map(pull, boxes[1:]))
    return time.monotonic() - began


def ours(boxes: list[Engine]) -> tuple[float, dict]:
    began = time.monotonic()
    answers = send(boxes, boxes[:1], SHARES)
    took = time.monotonic() - began
    broken = [answer["error"] for answer in answers.values() if "error" in answer]
    if broken:
        raise RuntimeError(broken[0])
    return took, answers


def measure(count: int, given: argparse.Namespace) -> list[dict]:
    boxes = make(count, given.rate_mbit, given.image_mb, given.model_mb)
    try:
        source = boxes[0]
        size = int(source.run("docker save vllm-node | wc -c")) + int(source.run("cat /srv/models/m/* | wc -c"))
        limit = size * 8 / (given.rate_mbit * 1e6)
        chain, _answers = ours(boxes)
        check(boxes)
        small, _same = ours(boxes)
        source.build("vllm-node", given.image_mb, "second", 2_000_000)
        layer = int(json.loads(source.run("docker image inspect vllm-node"))[0]["Size"]) - given.image_mb * 1_000_000
        before = [box.received() for box in boxes[1:]]
        update, _answers = ours(boxes)
        moved = max(box.received() - was for box, was in zip(boxes[1:], before, strict=True))
        check(boxes)
        forget(boxes)
        others = {}
        for way in (parallel, registry, tree) if given.others else ():
            others[f"{way.__name__}_s"] = round(way(boxes), 1)
            check(boxes)
            forget(boxes)
        one_by_one = serial(boxes)
        check(boxes)
    finally:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(Engine.remove, boxes))
    found = {
        "boxes": count,
        "size_mb": round(size / 1e6, 1),
        "rate_mbit": given.rate_mbit,
        "limit_s": round(limit, 1),
        "serial_s": round(one_by_one, 1),
        **others,
        "chain_s": round(chain, 1),
        "against_serial": round(chain / one_by_one, 2),
        "against_limit": round(chain / limit, 2),
        "again_s": round(small, 1),
        "update_s": round(update, 1),
        "update_layer_kb": round(layer / 1e3),
        "update_wire_kb": round(moved / 1e3),
        "update_factor": round(moved / layer, 2),
    }
    print(json.dumps(found), flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boxes", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--rate-mbit", type=float, default=48)
    parser.add_argument("--image-mb", type=int, default=30)
    parser.add_argument("--model-mb", type=int, default=20)
    parser.add_argument("--others", action="store_true")
    given = parser.parse_args()
    subprocess.run([sys.executable, ROOT / "tests/boxes/boxes", "prepare"], check=True)  # a Docker engine and the image of the boxes
    began = time.monotonic()
    rows = [measure(count, given) for count in given.boxes]
    columns = [
        "boxes",
        "size_mb",
        "limit_s",
        "serial_s",
        *(["parallel_s", "registry_s", "tree_s"] if given.others else []),
        "chain_s",
        "against_serial",
        "against_limit",
        "update_factor",
        "again_s",
    ]
    print("\n| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for row in rows:
        print("| " + " | ".join(str(row[column]) for column in columns) + " |")
    load = subprocess.run(["uptime"], capture_output=True, text=True, check=False).stdout.rpartition(":")[2].strip()
    print(f"\n{time.monotonic() - began:.0f} s in all, load {load}")
    missed = [f"{row['boxes']} boxes: {name}" for row in rows for name, bad in (
        ("against_serial", row["boxes"] >= 8 and row["against_serial"] > GOAL_SERIAL),
        ("against_limit", row["boxes"] >= 8 and row["against_limit"] > GOAL_LIMIT),
        ("update_factor", row["update_factor"] > GOAL_UPDATE),
    ) if bad]  # fmt: skip
    print("goals missed: " + ", ".join(missed) if missed else "all goals met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

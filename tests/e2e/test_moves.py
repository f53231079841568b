# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two servers of one box that move: ports swapped, one that grows while the other shrinks, back again when one of them fails; an IPv6 address."""

from __future__ import annotations

import subprocess

import pytest
from server_box import BOXES, CLEAN, FLEET, STATE, Box

EAGER = {"dtype": "float32", "enforce_eager": True}


def server(name, port, gib=0.25, address="127.0.0.1", **args):
    return {"name": name, "model": "tiny-llama", "served_model_name": name, "port": port, "address": address, "max_model_len": 2048, "concurrency": 2,
            "kv_cache_memory_gib": gib, "args": {**EAGER, **args}}  # fmt: skip


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    made = Box(tmp_path_factory.mktemp("moves"), {})
    made.run(CLEAN, check=False)
    made.wish(gb10_rehearse=False, gb10_servers=[server("a", 8000), server("b", 8001, address="::1")])
    made.play("site.yml")
    yield made
    made.run(CLEAN, check=False)
    subprocess.run(["python3", BOXES, "--fleet", FLEET, "down", "--keep-images"], check=False)


def serves(box):
    """Which server answers on which port and address; each says its own name."""
    found = {}
    for address in ("127.0.0.1", "[::1]"):
        for port in (8000, 8001):
            for name in ("a", "b"):
                key = f"$(sed -n 's/^VLLM_API_KEY=//p' /etc/gb10-vllm/{name}/key.env 2>/dev/null)"
                ask = f'curl -sgm 20 -H "Authorization: Bearer {key}" http://{address}:{port}/v1/models'
                if f'"id":"{name}"' in box.run(f"{ask} | tr -d ' '", check=False):
                    found[f"{address}:{port}"] = name
    return found


def test_a_server_on_an_ipv6_address_answers_there_and_is_shown_so(box):
    assert serves(box) == {"127.0.0.1:8000": "a", "[::1]:8001": "b"}
    assert '"endpoint": "[::1]:8001"' in box.play("status") + (box.folder / "gb10-status.json").read_text()


def test_ports_and_sizes_are_swapped_in_one_run(box):
    # By more than a first start's measurement takes off what was assumed.
    box.wish(gb10_servers=[server("a", 8001, gib=2), server("b", 8000, gib=0.125)])
    told = box.play("site.yml")
    assert told.index("Bring up b") < told.index("Bring up a"), "the one that shrinks goes first"
    assert serves(box) == {"127.0.0.1:8001": "a", "127.0.0.1:8000": "b"}
    assert "changed=0" in box.play("site.yml")


def test_when_one_of_them_fails_both_are_what_they_were(box):
    """b comes to a's port and stops it; a fails, as only its start can show, so b has to leave that port again."""
    before = {name: box.record(name, "deployment")["spec"] for name in ("a", "b")}
    box.wish(gb10_repair=False, gb10_servers=[server("a", 8000, gib=0.5, num_gpu_blocks_override=12), server("b", 8001, gib=0.125)])
    told = box.play("site.yml", rc=2)
    assert "What served before was put back and answers." in told
    assert {name: box.record(name, "deployment")["spec"] for name in ("a", "b")} == before
    assert serves(box) == {"127.0.0.1:8001": "a", "127.0.0.1:8000": "b"}


def test_a_rollback_goes_the_same_way_back(box):
    box.wish(gb10_repair=True, gb10_servers=[server("a", 8001, gib=2), server("b", 8000, gib=0.125)])
    box.play("rollback")
    assert serves(box) == {"127.0.0.1:8000": "a", "[::1]:8001": "b"}


COMPILER = r"""
mkdir -p /tmp/compiler && cd /tmp/compiler
printf 'FROM vllm-node\nRUN apt-get update -q && apt-get install -qy --no-install-recommends g++ python3-dev\n' > Dockerfile
DOCKER_BUILDKIT=0 docker build -q -t vllm-compiler .
"""


def test_nothing_that_a_compiled_start_leaves_can_be_read_by_others(box):
    """The image of the tests has no C++ compiler and no headers of Python, which torch.compile needs on a CPU; here it gets them."""
    box.run(COMPILER)
    compiled = {**server("a", 8000), "cuda_graphs": "auto", "args": {"dtype": "float32"}}
    box.wish(gb10_image={"source": "existing", "name": "vllm-compiler"}, gb10_servers=[compiled])
    box.play("site.yml")
    cached = box.run(f"find {STATE}/cache/a -type f").splitlines()
    assert any("torch_compile_cache" in one for one in cached)
    opened = f"find {STATE} /etc/gb10-vllm -path {STATE}/build/checkout -prune -o -path {STATE}/build/worktree -prune -o ! -type l -perm /077 -print"
    assert box.run(opened).splitlines() in ([STATE], [STATE, f"{STATE}/run.lock"]), "the lock says to everybody who changes the box"
    key = f'. /etc/gb10-vllm/a/key.env 2>/dev/null && grep -rlF "$VLLM_API_KEY" {STATE}/cache || true'
    assert box.run(key) == ""

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a server takes beside weights and KV cache is measured from outside, used by the next change, and the floor of the box is kept.

One box at a time: boxes share the memory of this machine, so what goes on beside them moves the figures; ``TOLERANCE`` is what is allowed for.
The tests share the box and run in the order of this file.
"""

from __future__ import annotations

import os
import re
import subprocess

import pytest
from server_box import CLEAN, FLEET, STATE, Box

GIB = 2**30
TOLERANCE = GIB
REUSE = bool(os.environ.get("GB10_E2E_REUSE"))
KEY = "e2e-memory-tq4mzv"
TINY = {"name": "tiny", "model": "tiny-llama", "port": 8000, "max_model_len": 2048, "concurrency": 3, "kv_cache_memory_gib": 0.25, "api_key": KEY}
ARGS = {"dtype": "float32", "enforce_eager": True}
# What the processes of the server's container hold, in bytes, read by other means than the collection's.
HELD = """
for pid in $(docker top gb10-vllm-tiny -eo pid | tail -n +2); do
  awk '/^Pss_Anon|^Pss_Shmem/ {sum += $2} END {print sum * 1024}' /proc/$pid/smaps_rollup
done | awk '{sum += $1} END {printf "%d", sum}'
"""
REQUESTS = "docker logs gb10-vllm-tiny 2>&1 | grep -c 'POST /v1/completions'"
# A program that takes memory once a start is watched.
HOG = """
cat > /tmp/hog.py <<'END'
import os, time
# The guard has let the start in by then.
while not (os.path.exists("/run/gb10-vllm/start-gb10-vllm-tiny") and os.path.exists("/var/lib/gb10-vllm/servers/tiny/starting.json")):
    time.sleep(0.1)
held = bytearray(b"x") * int({gib} * 2**30)
time.sleep(900)
END
setsid nohup python3 /tmp/hog.py >/dev/null 2>&1 </dev/null &
echo $!
"""


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    made = Box(tmp_path_factory.mktemp("memory"), {})
    if not REUSE:
        made.run(CLEAN, check=False)
    made.wish(gb10_rehearse=False, gb10_servers=[{**TINY, "address": made.address, "args": ARGS}])
    yield made
    if not REUSE:
        made.run(CLEAN, check=False)
        subprocess.run(["python3", "tests/boxes/boxes", "--fleet", FLEET, "down", "--keep-images"], check=False)


@pytest.fixture(scope="module")
def first(box):
    return {"printed": box.play("site.yml"), "facts": box.record("tiny", "measured")["facts"]}


def test_what_the_server_takes_is_measured_from_outside(box, first):
    facts = first["facts"]
    held = int(box.run(HELD))
    assert abs(facts["beside_bytes"] - (held - facts["available_kv_bytes"])) < TOLERANCE, (facts, held)
    assert 0 < facts["beside_uncertainty_bytes"] < GIB and facts["host_bytes"] > 0
    memory = facts["memory"]
    assert memory["before_bytes"] > memory["lowest_bytes"] >= memory["lowest_start_bytes"] > 0
    assert memory["shared_pool"] is True and "problem" not in memory
    command = box.record("tiny", "deployment")["container"]["command"]
    batch = int(command[command.index("--max-num-batched-tokens") + 1])
    assert (facts["load"]["requests"], facts["load"]["prefill_tokens"], "problem" in facts["load"]) == (3, batch, False)
    start = first["printed"].index("tiny, ready after")
    assert "beside weights and KV cache" in first["printed"][start : start + 1500] and "Measured on the box, known to" in first["printed"]
    assert box.run("ls /run/gb10-vllm/ | grep start-", check=False) == "", "the watch over the start has ended"


def test_a_second_run_is_silent_and_puts_no_load_on_the_server(box, first):
    before, asked = box.run(f"cat {STATE}/servers/tiny/*.json"), int(box.run(REQUESTS))
    printed = box.play("site.yml", "--diff")
    assert "changed=0" in printed and "failed=0" in printed, "\n".join(re.findall(r"^TASK [^\n]*(?:\n(?!TASK)[^\n]*)*?\nchanged: [^\n]*", printed, re.M))
    assert box.run(f"cat {STATE}/servers/tiny/*.json") == before
    assert int(box.run(REQUESTS)) - asked < 4, "the watch asks now and then, a load asks four times at least"


def test_the_next_change_is_planned_with_what_was_measured(box, first):
    box.wish(gb10_servers=[{**TINY, "address": box.address, "args": ARGS, "max_model_len": 1024}])
    assert "its arguments changed" in box.play("site.yml")
    beside = box.record("tiny", "deployment")["planned"]["beside_bytes"]
    facts = first["facts"]
    assert (beside["source"], beside["value"]) == ("measured", facts["beside_bytes"] + facts["beside_uncertainty_bytes"])
    again = box.record("tiny", "measured")["facts"]
    assert abs(again["beside_bytes"] - facts["beside_bytes"]) < TOLERANCE


def test_the_floor_is_kept_by_a_smaller_cache(box, first):
    """A program takes 2.5 GiB while the server starts; the plan had given all of them away."""
    box.run("systemctl stop gb10-vllm-tiny")
    free = int(box.run("awk '/^MemAvailable/ {print $2 * 1024}' /proc/meminfo"))
    floor = free - 6 * GIB
    assert floor > GIB, f"this machine has only {free / GIB:.1f} GiB available for this test"
    server = {key: value for key, value in TINY.items() if key != "kv_cache_memory_gib"}
    wish = {**server, "address": box.address, "args": {**ARGS, "max_num_seqs": 2048}}
    hog = box.run(HOG.format(gib=2.5)).split()[-1]
    try:
        box.wish(gb10_servers=[wish], gb10_os_floor_gib=round(floor / GIB, 3), gb10_margin_gib=0.4)
        printed = box.play("site.yml")
        repaired = next(line for line in printed.splitlines() if "repairing tiny" in line)
        assert "for the operating system were left, so the KV cache gets" in repaired
        (repair,) = box.record("tiny", "repairs")["applied"]
        kv = box.record("tiny", "deployment")["planned"]["kv_cache_bytes"]
        assert repair["id"] == "floor" and 0 < kv <= repair["set"]["kv_cache_most_bytes"]
        left = box.record("tiny", "measured")["facts"]["memory"]["lowest_bytes"]
        assert left > floor - TOLERANCE, f"{left / GIB:.2f} of {floor / GIB:.2f} GiB"
        assert box.ask(8000, KEY) == 200
        assert "changed=0" in box.play("site.yml"), "what was made smaller stays so"
    finally:
        box.run(f"kill {hog}", check=False)

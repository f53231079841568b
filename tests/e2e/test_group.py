# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One server over two emulated boxes, the real engine with tensor parallelism over their network: started, proven, killed in every way, healed.

vLLM for CPU spans boxes with Gloo; pipeline parallelism does not work there. The tests share two boxes and run in the order of this file: each leaves a
server that answers.
"""

from __future__ import annotations

import os
import subprocess
import time

import pytest
import yaml
from server_box import CLEAN, FLEET, Box, SshBox

REUSE = bool(os.environ.get("GB10_E2E_REUSE"))  # while working on these tests: the boxes stay, with what the last run left on them
ENV = {"TORCHDYNAMO_DISABLE": "1"}  # else a compiler would have to be in the image
DUO = {
    "name": "duo", "model": "tiny-llama", "port": 8000, "address": "0.0.0.0", "boxes": ["spark-01", "spark-02"], "max_model_len": 2048, "concurrency": 2,
    "kv_cache_memory_gib": 0.25, "args": {"dtype": "float32", "enforce_eager": True}, "env": ENV,
}  # fmt: skip


class Pair(Box):
    """The head, and the box beside it."""

    def __init__(self, folder) -> None:
        super().__init__(folder, {}, count=2)
        self.other = SshBox(FLEET, "spark-02")
        self.key = ""

    def of(self, number: int, command: str, check: bool = True) -> str:
        return self.run(command, check) if number == 0 else self.other.ssh(f"sudo sh -c '{command}'", check).strip()

    def chat(self) -> int:
        return self.ask(8000, self.key)

    def site(self) -> str:
        said = self.play("site.yml")
        self.key = self.run(". /etc/gb10-vllm/duo/key.env; echo $VLLM_API_KEY")
        return said

    def started(self, number: int) -> str:
        return self.of(number, "docker inspect -f {{.State.StartedAt}} gb10-vllm-duo", check=False)

    def both_start_again(self, before: list[str], within_s: float = 300) -> float:
        """Seconds until both containers run anew and the head answers."""
        took = self.wait_until(lambda: all(self.started(number) not in (before[number], "") for number in (0, 1)) and self.chat() == 200, within_s)
        print(f"answers again after {took:.0f} s")
        return took

    def journal_of(self, number: int) -> str:
        return self.of(number, "journalctl --quiet --unit gb10-vllm-duo.service --lines 20 --output cat", check=False)

    def now(self) -> list[str]:
        return [self.started(number) for number in (0, 1)]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    made = Pair(tmp_path_factory.mktemp("group"))
    if not REUSE:
        for number in (0, 1):
            made.of(number, CLEAN, check=False)
    made.wish(gb10_servers=[DUO], gb10_soak_s=0)
    yield made
    if not REUSE:
        for number in (0, 1):
            made.of(number, CLEAN, check=False)
        subprocess.run(["python3", "tests/boxes/boxes", "--fleet", FLEET, "down", "--keep-images"], check=False)


@pytest.fixture(scope="module")
def served(pair):
    said = pair.site()
    assert "2 boxes: 2 ok" in said
    return pair


def test_site_ends_with_an_answer_and_a_second_run_is_silent(served):
    assert served.chat() == 200
    before = served.now()
    assert served.site().count("changed=0") == 2
    assert served.now() == before


@pytest.mark.parametrize("dies", [1, 0], ids=["a rank", "the head"])
def test_a_death_restarts_both_and_they_answer_again(served, dies):
    before = served.now()
    began = time.monotonic()
    served.of(dies, "docker kill gb10-vllm-duo")
    served.wait_until(lambda: served.started(1 - dies) != before[1 - dies] or "left the group" in served.journal_of(1 - dies), 30)
    print(f"noticed after {time.monotonic() - began:.0f} s")
    served.both_start_again(before)


def test_a_cut_link_ends_both_within_half_a_minute_and_they_answer_when_it_is_back(served):
    before = served.now()
    box = f"gb10-{FLEET}-spark-02"
    subprocess.run(["docker", "exec", box, "ip", "link", "set", "eth0", "down"], check=True)
    try:
        took = served.wait_until(lambda: "has not answered for" in served.journal_of(0), 60)
        print(f"noticed after {took:.0f} s")
        served.wait_until(lambda: served.run("systemctl show --property StatusText gb10-vllm-duo").startswith("StatusText=waiting for spark-02"), 60)
        assert served.run("docker ps -q --filter name=gb10-vllm-duo") == "", "a rank that waits holds no memory"
    finally:
        subprocess.run(["docker", "exec", box, "ip", "link", "set", "eth0", "up"], check=True)
    served.both_start_again(before)


def test_unequal_arguments_are_refused_and_what_runs_goes_on(served):
    before = served.now()
    folder = served.folder / "host_vars"
    folder.mkdir(exist_ok=True)
    (folder / "spark-02.yml").write_text(yaml.safe_dump({"gb10_servers": [DUO | {"args": {**DUO["args"], "seed": 7}}]}))
    try:
        said = " ".join(served.play("site.yml", rc=2).split())
        assert "the argument --seed is not the same: spark-01 has none, spark-02 has 7" in said
    finally:
        (folder / "spark-02.yml").unlink()
    assert served.now() == before and served.chat() == 200


def test_a_stopped_server_leaves_no_process_and_no_rule_behind(served):
    served.play("stop")
    for number in (0, 1):
        assert served.of(number, "docker ps -q --filter name=gb10-vllm-duo") == ""
        assert "GB10-" not in served.of(number, "iptables -S")
    served.site()
    assert served.chat() == 200

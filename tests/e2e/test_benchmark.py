# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook benchmark against the real vLLM (its CPU build) on an emulated box. The figures mean nothing there; the machinery does."""

from __future__ import annotations

import json
import re

import pytest
from server_box import SERVER, Box

MINI = {"mini": {"input_tokens": 32, "output_tokens": 8, "concurrency": [2], "depths": [0, 64], "repeats": 2}}


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    one = Box(tmp_path_factory.mktemp("inventory"), {"gb10_servers": [SERVER], "gb10_benchmark_profiles": MINI, "gb10_benchmark_profile": "mini"})
    one.wish(gb10_benchmark_dir=str(one.folder))
    one.play("site")
    return one


def kept(box, ending=".json"):
    found = sorted(path for path in box.folder.glob(f"gb10-benchmark-*{ending}") if ending != ".json" or "benchy" not in path.name)
    return found[-1]


def test_a_benchmark_leaves_its_results_and_its_page_and_nothing_on_the_box_but_a_summary(box):
    before = box.run("docker ps -a --format '{{.Names}}'; ls /var/lib/gb10-vllm /etc/gb10-vllm/tiny")
    text = box.play("benchmark")
    result = json.loads(kept(box).read_text())
    assert [point["counted"] for point in result["points"]] == [2, 2], [point["faults"] for point in result["points"]]
    for point in result["points"]:
        assert {"total", "decode_user", "prefill", "ttft_p95", "itl_p99"} <= set(point["figures"])
    assert all(one["result"]["failed"] == 0 and "generated_texts" not in one["result"] for one in result["runs"])
    assert len({tuple(one["result"]["start_times"]) for one in result["runs"]}) == 4
    benchy = json.loads(kept(box, "llama-benchy.json").read_text())
    assert [(row["concurrency"], row["context_size"]) for row in benchy["benchmarks"]] == [(2, 0), (2, 64)]
    assert all(row["tg_throughput"]["mean"] > 0 and row["pp_throughput"]["mean"] > 0 for row in benchy["benchmarks"])
    page = kept(box, ".html").read_text()
    assert page.count("<svg") == 5 and "CPU engine" in page
    assert "decode t/s per stream" in text
    assert box.record("tiny", "benchmark")["spec"] == box.record("tiny", "deployment")["spec"]
    after = box.run("docker ps -a --format '{{.Names}}'; ls /var/lib/gb10-vllm /etc/gb10-vllm/tiny")
    assert set(after.split()) - set(before.split()) == {"benchmark"}
    assert box.run("find /var/lib/gb10-vllm/benchmark -type f") == "/var/lib/gb10-vllm/benchmark/progress.jsonl"
    key = box.run("cut -d= -f2 /etc/gb10-vllm/tiny/key.env")
    assert not [path for path in box.folder.glob("gb10-*") if key in path.read_text()]


def test_status_names_the_measured_speed_and_a_second_site_changes_nothing(box):
    assert re.search(r"tiny decodes [\d.]+ tokens/s for 2 streams \(benchmark mini", " ".join(box.play("status").split()))
    assert " changed=0 " in box.play("site")


def test_a_second_result_is_compared_with_the_first(box):
    text = box.play("benchmark", "-e", f"gb10_benchmark_against={kept(box)}", "-e", "gb10_benchmark_repeats=1")
    assert re.search(r"Beside .*: \d+ figures compared", text)
    assert 'id="changes"' in kept(box, ".html").read_text()


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"gb10_benchmark_profile": "no-such"}, "no benchmark profile 'no-such'"),
        ({"gb10_benchmark_profiles": {"mini": {"input_tokens": "many"}}}, "profile 'mini' lacks output_tokens"),
        ({"gb10_benchmark_against": "/no/such.json"}, "no result /no/such.json to compare with"),
        ({"server": "nobody"}, "nobody is not deployed here"),
        ({"gb10_benchmark_url": "http://127.0.0.1:9"}, "3 runs in a row of `vllm bench serve` against http://127.0.0.1:9 had no answer"),
    ],
)
def test_refused_with_one_clear_sentence(box, extra, said):
    before = box.started_at()
    text = box.play("benchmark", "-e", json.dumps(extra), rc=2)
    assert said in " ".join(text.split()), text[-3000:]
    assert "Traceback" not in text
    assert box.started_at() == before
    assert "run.lock" not in box.run("ls /var/lib/gb10-vllm")

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The same log gives the same answer in every dress: what is read from it is the same to the letter.

Here each dress is put on a quarter of the logs, so that every log wears many; `make deep-order` puts each on all of them.
"""

from __future__ import annotations

import json
import time
from functools import cache
from pathlib import Path

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._io import lines
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis import diagnosis, knowledge, reading
from dresses import DRESSES
from sample import every

HERE = Path(__file__).parent
FIXTURES = sorted([*(HERE / "logs").glob("*.log"), *(HERE / "cases").rglob("*.log")])


def raw_lines(path: Path) -> list[str]:
    return lines.split_lines(path.read_text(encoding="utf-8", errors="replace"))


@cache
def bare_of(path: Path) -> tuple[list[str], reading.Log]:
    raw = raw_lines(path)
    return raw, reading.read("box1", "\n".join(raw))


@pytest.mark.parametrize("dress", DRESSES)
def test_what_is_read_does_not_depend_on_the_dress(dress):
    different = {}
    for path in every(8, FIXTURES, list(DRESSES).index(dress)):
        raw, bare = bare_of(path)
        dressed = reading.read("box1", DRESSES[dress](raw))
        if (bare.lines, bare.kind, bare.up) != (dressed.lines, dressed.kind, dressed.up):
            first = next(((a, b) for a, b in zip(bare.lines, dressed.lines, strict=False) if a != b), (bare.kind, dressed.kind))
            different[path.name] = first
    assert different == {}


def test_the_answer_is_the_same_in_dresses_over_dresses():
    entries = knowledge.load()
    raw = raw_lines(HERE / "logs" / "failed-0.32.0-cpu-kv-too-small.log")
    bare = diagnosis.diagnose({"box1": "\n".join(raw)}, entries)
    assert bare["id"] == "KB-101"
    worn = DRESSES["journald"](DRESSES["compose"](DRESSES["rank"](raw).split("\n")).split("\n"))
    assert diagnosis.diagnose({"box1": worn}, entries) == bare


def test_cleaning_twice_is_cleaning_once():
    for path in every(2, FIXTURES):
        for line in lines.clean_lines(path.read_text(encoding="utf-8", errors="replace")):
            assert lines.clean_line(line) == line, path.name


@pytest.mark.parametrize(
    "line",
    [
        "Loading safetensors checkpoint shards:  50% Completed | 1/2 [00:01<00:01,  1.10s/it]",
        "60.00 GiB KV cache is needed, which is larger than",
        "  3.45 GiB",
        '  File "/srv/x.py", line 3, in <module>',
        "#7 [stage-2 2/9] RUN pip install vllm",
        "ValueError: [rope] scaling {'a': 1}",
        "| NVIDIA-SMI 580.95    Driver Version: 580.95    CUDA Version: 13.0 |",
        "error: [Errno 2] No such file or directory: 'nvcc'",
        'non-default args: {"model": "x", "log": "y"}',
    ],
)
def test_a_programs_own_words_stay(line):
    assert lines.clean_line(line) == line
    assert lines.clean_lines(line) == [line]


@pytest.mark.parametrize("prefix", ["spark-01 vllm[7]: ", "spark-01 gb10-vllm-tiny[12]: ", "spark-01 systemd[1]: ", "spark-1 qwen-long[9120]: "])
def test_a_journal_without_its_dates_is_read_whatever_the_process_is_called(prefix):
    assert lines.clean_line(f"{prefix}ValueError: no") == "ValueError: no"


def test_what_ray_adds_does_not_keep_json_from_being_read():
    said = "(pid=9) ValueError: no [repeated 2x across cluster] (Ray deduplicates logs by default.)"
    assert lines.clean_lines(said) == lines.clean_lines(json.dumps({"log": f"{said}\n", "stream": "stderr"})) == ["ValueError: no"]


def test_a_dash_behind_the_time_of_docker_is_the_programs_own():
    assert lines.clean_line("2026-11-25T10:11:12.123456789Z - Compute capability: 121") == "- Compute capability: 121"
    assert lines.clean_line("2026-11-25 10:11:12,123 - Compute capability: 121") == "Compute capability: 121"


def test_a_hostile_line_costs_no_time():
    for text in ("(" * 1_000_000, "a-1 " * 250_000, "> " * 500_000, "[" * 1_000_000, "2026-11-25 " * 90_000, "{" * 1_000_000 + "}", "x" * 1_000_000):
        began = time.perf_counter()
        assert all(len(line) <= lines.LONGEST_LINE for line in lines.clean_lines(text))
        assert time.perf_counter() - began < 0.5, text[:20]

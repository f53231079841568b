# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs of ``vllm bench serve`` on a box whose docker is a script: what it is told, and what its answers and failures come to."""

from __future__ import annotations

import json

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._engine import bench
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error

STATE = {"State": {"Running": True, "StartedAt": "2026-11-26T03:00:00Z"}}
RUN = {"point": "d0 c1", "repeat": 0, "warm": [], "args": ["--num-prompts", "1"]}


class Box:
    """A box with a docker of ours; ``tool`` is what ``docker run`` does, in sh, with the directory of the result in $OUT."""

    def __init__(self, tmp_path, monkeypatch):
        self.folder = tmp_path
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        self.says(STATE)
        self.tool('echo \'{"completed": 1, "generated_texts": ["x"]}\' > $OUT/result.json')

    def says(self, inspected):
        (self.folder / "inspected.json").write_text(json.dumps([inspected]))

    def tool(self, script):
        file = self.folder / "docker"
        file.write_text(
            f'#!/bin/sh\necho "$*" >> {self.folder}/calls\ncase "$1" in\ninspect) cat {self.folder}/inspected.json;;\n'
            f"run) OUT={self.folder}/state/benchmark/tiny; {script};;\nesac\n"
        )
        file.chmod(0o755)

    def sensor(self, line):
        file = self.folder / "nvidia-smi"
        file.write_text(f"#!/bin/sh\necho '{line}'\n")
        file.chmod(0o755)

    def calls(self, word):
        return [line for line in (self.folder / "calls").read_text().splitlines() if line.startswith(word)]

    def measure(self, *runs, **more):
        wanted = {
            "server": "tiny", "container": "gb10-vllm-tiny", "image": "sha256:abc", "image_name": "vllm-node", "volumes": ["/m:/models/tiny:ro"],
            "tokenizer": ["--tokenizer", "/models/tiny"], "base_url": "http://127.0.0.1:8000", "served_model_name": "tiny-llama", "key_file": "/etc/k/key.env",
            "runs": list(runs) or [RUN], "cool_c": 0, "cool_wait_s": 1, "run_timeout_s": 20, "state_dir": str(self.folder / "state"), **more,
        }  # fmt: skip
        return bench.Bench(wanted, lambda *_words, **_more: None).measure()


@pytest.fixture
def box(tmp_path, monkeypatch):
    return Box(tmp_path, monkeypatch)


def test_a_run_is_a_container_without_privileges_whose_key_stands_in_no_argument(box):
    found = box.measure()
    assert found == {"runs": [{"point": "d0 c1", "repeat": 0, "result": {"completed": 1}, "error": "", "box": {}}], "died": False, "box": {}}
    (call,) = box.calls("run")
    for words in ("--cap-drop ALL", "no-new-privileges", "--read-only", "--pull never", "/etc/k/key.env:/run/gb10/key.env:ro", "/m:/models/tiny:ro"):
        assert words in call
    assert "NVIDIA_VISIBLE_DEVICES=void" in call and "no_proxy=*" in call
    assert "--gpus" not in call and "OPENAI_API_KEY=$VLLM_API_KEY" in call
    assert "vllm bench serve --backend openai --model tiny-llama" in call and "--insecure" not in call
    assert not (box.folder / "state/benchmark/tiny").exists(), "what was left on the box"
    assert box.calls("rm --force gb10-benchmark-tiny")


def test_tls_is_not_checked_and_a_server_without_a_key_gets_none(box):
    box.measure(base_url="https://127.0.0.1:8000", key_file=None)
    (call,) = box.calls("run")
    assert "--insecure" in call and "key.env:ro" not in call


def test_what_is_warmed_up_is_no_result(box):
    found = box.measure({**RUN, "warm": ["--seed", "9"]})
    assert len(box.calls("run")) == 2 and len(found["runs"]) == 1


def test_a_server_that_dies_ends_the_benchmark(box):
    again = {"State": {"Running": True, "StartedAt": "2026-11-26T03:09:00Z"}}
    box.tool(f"echo '[{json.dumps(again)}]' > {box.folder}/inspected.json; echo 'ClientConnectorError: refused' >&2; exit 1")
    found = box.measure(RUN, RUN, RUN)
    assert found["died"] and len(found["runs"]) == 1 and "refused" in found["runs"][0]["error"]


def test_a_server_that_does_not_run_is_not_measured(box):
    box.says({"State": {"Running": False}})
    with pytest.raises(GB10Error, match="tiny does not run"):
        box.measure()


def test_what_stands_before_the_servers_may_restart_one(box):
    box.says({"State": {"Running": False}})
    assert box.measure(container="")["died"] is False


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (
            "echo \"vllm: error: argument subparser: invalid choice: 'bench' (choose from chat, serve)\" >&2; exit 2",
            "has no `vllm bench serve`; those of vLLM 0.26",
        ),
        ("echo 'gb10-benchmark: 1: exec: vllm: not found' >&2; exit 127", "no program vllm"),
        ("echo 'vllm: error: unrecognized arguments: --insecure' >&2; exit 2", "does not know --insecure"),
        ("echo \"ModuleNotFoundError: No module named 'pandas'\" >&2; exit 1", "lacks the Python package pandas"),
    ],
)
def test_an_image_that_cannot_measure_is_said_at_once(box, script, said):
    box.tool(script)
    with pytest.raises(GB10Error, match=said):
        box.measure(RUN, RUN)
    assert len(box.calls("run")) == 1


def test_runs_that_leave_nothing_are_given_up_with_the_last_reason_and_without_its_secrets(box):
    box.tool("echo 'OSError: cannot connect to host with Bearer abcdefgh12345678' >&2; exit 1")
    with pytest.raises(GB10Error, match="3 runs in a row .* cannot connect to host") as error:
        box.measure(*[RUN] * 5)
    assert len(box.calls("run")) == 3 and "abcdefgh" not in str(error.value)


def test_runs_whose_requests_all_fail_are_given_up_like_those_that_leave_nothing(box):
    box.tool("""echo '{"completed": 0, "failed": 2, "errors": ["ClientConnectorError: Cannot connect to host 127.0.0.1:9", "x"]}' > $OUT/result.json""")
    with pytest.raises(GB10Error, match=r"3 runs in a row .* had no answer: every request failed: ClientConnectorError: Cannot connect to host"):
        box.measure(*[RUN] * 6)
    assert len(box.calls("run")) == 3
    (box.folder / "calls").unlink()
    box.tool("""echo '{"completed": 1, "failed": 1, "errors": ["", "Timeout"]}' > $OUT/result.json""")
    assert len(box.measure(*[RUN] * 4)["runs"]) == 4


def test_a_run_that_hangs_is_ended(box):
    box.tool("exec sleep 30")
    found = box.measure(run_timeout_s=1)
    assert "ended after 1 s" in found["runs"][0]["error"] and len(box.calls("rm --force")) >= 2


def test_sensors_leave_out_what_a_gb10_has_not():
    assert bench.read_sensors("2418, 61.25, 55, 0x0000000000000000, 580.95.05\n") == {
        "sm_clock_mhz": 2418.0, "power_w": 61.25, "temperature_c": 55.0, "throttle_reasons": "0x0000000000000000", "driver": "580.95.05"
    }  # fmt: skip
    assert bench.read_sensors("2418, [N/A], [N/A], [N/A], 580.95.05") == {"sm_clock_mhz": 2418.0, "driver": "580.95.05"}
    assert bench.read_sensors("NVIDIA-SMI has failed") == {} and bench.read_sensors("") == {}


def test_what_the_box_shows_under_the_load_is_kept(box, monkeypatch):
    monkeypatch.setattr(bench, "LOOK_S", 0.1)
    box.sensor("799, 19.5, 61, 0x4, 580.95")
    box.tool("sleep 1; echo '{\"completed\": 1}' > $OUT/result.json")
    with bench.Watching(0.1) as watching:
        box.measure()
    assert watching.seen == {"sm_clock_mhz": 799.0, "power_w": 19.5, "temperature_c": 61.0}


def test_a_warm_gpu_is_waited_for_within_bounds(box, monkeypatch):
    waited = []
    monkeypatch.setattr(bench.time, "sleep", waited.append)
    box.sensor("799, 19.5, 91, 0x4, 580.95")
    box.measure(cool_c=70, cool_wait_s=0.2)
    assert 5 in waited

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collector of the role monitoring, run as systemd runs it, on boxes that a test makes up."""

from __future__ import annotations

import json
import re
import stat

import pytest
from monitored_fleet import DEPLOYMENT, box, collect, docker

SAMPLE = re.compile(r'^(\w+)(?:\{((?:\w+="(?:[^"\\]|\\.)*",?)*)\})? (-?[0-9.e+-]+)$')


@pytest.fixture
def made(tmp_path):
    environment = box(tmp_path)
    with docker(tmp_path / "docker.sock", DEPLOYMENT["spec"]):
        yield tmp_path, environment


def samples(text: str) -> dict[str, float]:
    """Every line is a comment or a sample as Prometheus reads it."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert [line for line in lines if not SAMPLE.match(line)] == []
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def program(folder, name, text):
    (folder / "bin" / name).write_text(text)
    (folder / "bin" / name).chmod(0o755)


def test_what_a_box_tells(made):
    found = samples(collect(*made))
    assert found['gb10_gpu_power_watts{gpu="0"}'] == 4.61 and found['gb10_gpu_sm_clock_mhz{gpu="0"}'] == 208
    assert found['gb10_planned_kv_tokens{server="tiny"}'] == 65536 and found['gb10_measured_kv_tokens{server="tiny"}'] == 65408
    assert found['gb10_watch_token_seconds{server="tiny"}'] == 0.094 and found['gb10_watch_failing{server="tiny"}'] == 0
    assert found['gb10_server_drift{server="tiny",what="container"}'] == 0 and found['gb10_server_started_seconds{server="tiny"}'] == 41
    assert found["gb10_memory_floor_bytes"] == 2**20 and found["gb10_collector_problems"] == 0


def test_the_file_is_for_everybody_to_read_and_never_half_written(made):
    collect(*made)
    files = list((made[0] / "textfiles").iterdir())
    assert [one.name for one in files] == ["gb10.prom"] and stat.S_IMODE(files[0].stat().st_mode) == 0o644


def test_a_gpu_without_figures_has_none(made):
    program(made[0], "nvidia-smi", "#!/bin/sh\necho '0, [N/A], [N/A], 41, [N/A], [N/A]'\n")
    found = samples(collect(*made))
    assert [name for name in found if name.startswith("gb10_gpu")] == ['gb10_gpu_temperature_celsius{gpu="0"}']


@pytest.mark.parametrize(("known", "throttled"), [("clocks_event_reasons", True), ("clocks_throttle_reasons", True), ("nothing", False)])
def test_reasons_have_two_names_and_some_drivers_neither(made, known, throttled):
    script = f'#!/bin/sh\ncase "$*" in *_reasons*) case "$*" in *{known}*) echo "0, 90, 2200, 80, 97, 0x0000000000000040" ;; *) exit 2 ;; esac ;; '
    program(made[0], "nvidia-smi", script + '*) echo "0, 90, 2200, 80, 97" ;; esac\n')
    found = samples(collect(*made))
    assert found['gb10_gpu_power_watts{gpu="0"}'] == 90
    assert found.get('gb10_gpu_throttled{gpu="0",reason="hw_thermal_slowdown"}') == (1 if throttled else None)


def test_what_says_nothing_is_counted_and_the_rest_is_told(made):
    folder, environment = made
    program(folder, "nvidia-smi", "#!/bin/sh\nexit 9\n")
    program(folder, "systemctl", "#!/bin/sh\nexit 1\n")
    found = samples(collect(folder, {**environment, "GB10_DOCKER_SOCKET": "/nowhere"}))
    assert found["gb10_collector_problems"] == 3 and 'gb10_planned_kv_tokens{server="tiny"}' in found
    assert [name for name in found if "drift" in name or "gpu" in name or "enabled" in name] == []


def test_another_container_is_drift(tmp_path):
    environment = box(tmp_path)
    with docker(tmp_path / "docker.sock", "another"):
        assert samples(collect(tmp_path, environment))['gb10_server_drift{server="tiny",what="container"}'] == 1


def test_what_was_seen_before_a_reboot_is_not_told(made):
    folder, _ = made
    (folder / "memory/tiny/watched.json").write_text(json.dumps({"boot_id": "another", "since_boot_s": 1, "verdict": "silent", "token_s": None}))
    (folder / "state/servers/tiny/starting.json").write_text(json.dumps({"boot_id": "another"}))
    found = samples(collect(*made))
    assert [name for name in found if "watch" in name] == [] and found['gb10_server_starting{server="tiny"}'] == 0


def test_a_start_that_goes_on_is_told(made):
    boot_id = json.loads((made[0] / "memory/tiny/watched.json").read_text())["boot_id"]
    (made[0] / "state/servers/tiny/starting.json").write_text(json.dumps({"boot_id": boot_id}))
    assert samples(collect(*made))['gb10_server_starting{server="tiny"}'] == 1


@pytest.mark.parametrize("verdict", ["silent", "stands still", "wedged"])
def test_a_watch_that_got_no_token(made, verdict):
    file = made[0] / "memory/tiny/watched.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "verdict": verdict, "token_s": None}))
    found = samples(collect(*made))
    assert found['gb10_watch_failing{server="tiny"}'] == 1 and 'gb10_watch_token_seconds{server="tiny"}' not in found


def test_what_a_start_of_another_deployment_measured_does_not_count(made):
    (made[0] / "state/servers/tiny/measured.json").write_text(json.dumps({"spec": "another", "facts": {"kv_tokens": 1}}))
    assert 'gb10_measured_kv_tokens{server="tiny"}' not in samples(collect(*made))


def test_a_link_that_is_lost_stays_expected_and_an_empty_port_never_was(made):
    folder, _ = made
    (port,) = (folder / "net").iterdir()
    empty = folder / "net/empty/device"
    empty.mkdir(parents=True)
    (empty / "driver").symlink_to("/sys/bus/pci/drivers/mlx5_core")
    (folder / "net/empty/carrier").write_text("0\n")
    assert samples(collect(*made))[f'gb10_fabric_expected{{device="{port.name}"}}'] == 1
    (port / "carrier").write_text("0\n")
    found = samples(collect(*made))
    assert [name for name in found if "fabric" in name] == [f'gb10_fabric_expected{{device="{port.name}"}}']


@pytest.mark.parametrize(
    "text", ["", "[]", "null", '{"planned": 7, "container": [], "spec": {"a": 1}, "floor_bytes": "x"}', '{"model": "a\\"b\\\\c\\nd"}', "[" * 100000]
)
def test_records_of_any_shape(made, text):
    for name in ("deployment", "measured", "starting"):
        (made[0] / f"state/servers/tiny/{name}.json").write_text(text)
    (made[0] / "memory/tiny/watched.json").write_text(text)
    samples(collect(*made))

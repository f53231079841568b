# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the program of the emulated boxes decides without an engine: whom it waits for, and where Debian comes from."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "boxes" / "boxes"


def pretend_engine(pid_file: Path, seconds: float) -> subprocess.Popen:
    """A process that looks like a Docker engine which ends after a while, with its pid file."""
    process = subprocess.Popen(["sh", "-c", f"sleep {seconds}; true", "dockerd"])
    while not Path(f"/proc/{process.pid}/cmdline").read_bytes():  # not there in its first moment
        time.sleep(0.01)
    pid_file.write_text(str(process.pid))
    return process


@pytest.fixture
def boxes(monkeypatch, tmp_path):
    loader = SourceFileLoader("boxes_under_test", str(PROGRAM))
    module = module_from_spec(spec_from_loader(loader.name, loader))
    monkeypatch.setitem(sys.modules, loader.name, module)
    loader.exec_module(module)
    monkeypatch.setattr(module, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(module, "DOCKERD_PID_FILE", str(tmp_path / "docker.pid"))
    return module


def test_a_pid_file_that_was_left_behind_is_nobodys_engine(boxes, tmp_path):
    assert boxes.ending_engine() is None
    (tmp_path / "docker.pid").write_text("4194303")
    assert boxes.ending_engine() is None
    (tmp_path / "docker.pid").write_text(str(os.getpid()))  # the number went to somebody else
    assert boxes.ending_engine() is None


def test_the_next_engine_waits_until_the_one_that_was_told_to_stop_has_ended(boxes, tmp_path, monkeypatch):
    monkeypatch.setattr(boxes, "engine_answers", lambda: False)
    ending = pretend_engine(tmp_path / "docker.pid", 1.5)
    assert boxes.ending_engine() == ending.pid
    boxes.wait_for_end_of_engine(seconds=20)
    assert ending.poll() is not None


def test_an_engine_that_never_ends_is_named(boxes, tmp_path, monkeypatch):
    monkeypatch.setattr(boxes, "engine_answers", lambda: False)
    hanging = pretend_engine(tmp_path / "docker.pid", 30)
    try:
        with pytest.raises(boxes.Failed, match=rf"process {hanging.pid}\) neither answers nor ends"):
            boxes.wait_for_end_of_engine(seconds=0.2)
    finally:
        hanging.kill()
        hanging.wait()


def test_the_second_run_of_a_checkout_says_that_it_waits(boxes, capsys):
    code = f"import importlib.machinery, pathlib, sys\nm = importlib.machinery.SourceFileLoader('b', {str(PROGRAM)!r}).load_module()\n"
    code += f"m.CACHE = pathlib.Path({str(boxes.CACHE)!r})\nwith m.one_at_a_time('demo'):\n    print('mine', flush=True)\n"
    with boxes.one_at_a_time("demo"):
        second = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], stdout=subprocess.PIPE, text=True)
        assert "another demo of this checkout is at work; waiting" in second.stdout.readline()
        time.sleep(0.3)
        assert second.poll() is None
    assert second.communicate(timeout=20)[0] == "mine\n"


def test_debian_comes_from_where_this_machine_takes_it(boxes, monkeypatch):
    monkeypatch.delenv("DEBIAN_MIRROR", raising=False)

    def said(text):
        monkeypatch.setattr(boxes, "run", lambda argv, check=True: subprocess.CompletedProcess(argv, 0, text, ""))
        return boxes.debian_mirror()

    assert said("Debian Debian-Security http://near/debian-security/\nDebian Debian http://near/debian/\nDebian Debian http://far/debian/\n") == [
        "http://near/debian"
    ]
    assert said("Ubuntu Ubuntu http://near/ubuntu/\n") == said("") == []
    monkeypatch.setenv("DEBIAN_MIRROR", "http://mine/debian")
    assert said("Debian Debian http://near/debian/\n") == ["http://mine/debian"]


def test_the_demo_shows_the_plan_of_what_runs_and_not_the_one_before_its_image_was_built():
    loader = SourceFileLoader("demo_under_test", str(PROGRAM.with_name("demo")))
    module = module_from_spec(spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    head = "box       server  weights  KV/token"
    first, last = [head, "spark-01  tiny    524,304", ""], [head, "spark-01  tiny    262,272", ""]
    assert module.plan_table([*first, "TASK [x] ***", *last, "more"]) == last[:2]


def test_the_demo_says_at_each_step_what_a_real_box_would_do():
    program = PROGRAM.with_name("demo")
    told = re.findall(r'REALLY\["(\w+)"\]', program.read_text())
    assert len(told) == 8 and set(told) == set(SourceFileLoader("demo_to_read", str(program)).load_module().REALLY)


def test_a_depot_that_serves_the_folders_of_a_removed_checkout_is_seen(boxes, monkeypatch, tmp_path):
    monkeypatch.setattr(boxes, "DEPOT_DIR", tmp_path)
    for folder in ("git", "http"):
        (tmp_path / folder).mkdir()
    here = "\n".join(str((tmp_path / folder).stat().st_ino) for folder in ("git", "http"))
    for seen, expected in ((here, True), ("1\n2", False), ("", False)):
        monkeypatch.setattr(boxes, "docker", lambda *_command, seen=seen, **_how: subprocess.CompletedProcess([], 0, stdout=seen))
        assert boxes.serves_these() is expected

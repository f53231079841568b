# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Readings of a box's memory, and the watch over a start: its lowest value is not missed, and it ends by itself."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._engine import sampling
from ansible_collections.gb10.vllm.plugins.module_utils._engine.sampling import MIB


def until(holds):
    """Wait for something that a thread does."""
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


ROLLUP = "00400000-7fff r--p 0 00:00 0 [rollup]\nRss: 900 kB\nPss: 700 kB\nPss_Anon: 300 kB\nPss_File: 390 kB\nPss_Shmem: 10 kB\n"


def test_pages_of_files_are_nobodys():
    """The kernel counts them as available; with them every shared library would be charged."""
    assert sampling.share_bytes(ROLLUP) == 310 * 1024
    assert sampling.share_bytes("Rss: 900 kB\nPss: 700 kB\n") == 700 * 1024, "kernels before 5.4 do not tell them apart"
    assert sampling.share_bytes("") == 0


def test_a_gb10_names_no_memory_of_its_device():
    assert sampling.device_memory("[N/A], [N/A]\n") == sampling.device_memory("Not Supported, Not Supported") == sampling.device_memory("") == (None, 0)
    assert sampling.device_memory("1024, 81559\n16, 81559\n") == (1040 * MIB, 2 * 81559 * MIB)


def test_what_processes_hold_on_a_device_is_read_where_it_is_told():
    assert sampling.device_apps("17540, 79000\n99, [N/A]\nno running processes\n\n") == {17540: 79000 * MIB}


def test_a_reading_tells_the_servers_processes_from_all_others(monkeypatch):
    monkeypatch.setattr(sampling, "_shares", lambda: {1: 10, 2: 20, 3: 40})
    monkeypatch.setattr(sampling, "_query", lambda what: "[N/A], [N/A]" if what.startswith("gpu") else "2, 1\n9, 3\n")
    seen = sampling.moment([2, 9])
    assert (seen["ours_bytes"], seen["others_bytes"], seen["device_bytes"]) == (20, 50, None)
    assert sampling.moment()["others_bytes"] == 70 + 4 * MIB, "on one pool what others hold on the device is memory too"
    assert seen["total_bytes"] > seen["available_bytes"] > 0


def test_the_shares_of_real_processes():
    held = bytearray(os.urandom(1)) * (64 * MIB)
    shares = sampling._shares()
    assert shares[os.getpid()] > len(held)


def test_a_process_that_only_its_owner_may_read_counts_with_what_is_resident(monkeypatch):
    class Closed:
        def __init__(self, path):
            pass

        def read_text(self, encoding):
            raise PermissionError

    monkeypatch.setattr(sampling, "Path", Closed)
    monkeypatch.setattr(sampling, "read_text", lambda path: "RssAnon: 8 kB\nRssFile: 90 kB\nRssShmem: 2 kB\n" if path.endswith("/status") else "")
    assert sampling._shares()[os.getpid()] == 10 * 1024


@pytest.fixture
def memory(monkeypatch):
    """What is available, as the test says."""
    told = [100 * MIB]
    monkeypatch.setattr(sampling, "available_bytes", lambda: told[0])
    monkeypatch.setattr(sampling, "EVERY_S", 0.01)
    return told


def test_the_lowest_value_between_two_looks_is_seen(memory):
    with sampling.Lowest() as lowest:
        memory[0] = 40 * MIB
        until(lambda: lowest.lowest_bytes == 40 * MIB)
        memory[0] = 90 * MIB
        time.sleep(0.05)
    assert lowest.lowest_bytes == 40 * MIB


def test_the_most_on_a_device_is_seen_too(memory, monkeypatch):
    monkeypatch.setattr(sampling, "DEVICE_EVERY_S", 0.0)
    monkeypatch.setattr(sampling, "_query", lambda what: "700, 1000\n")
    with sampling.Lowest(device=True) as lowest:
        until(lambda: lowest.most_device_bytes)
    assert lowest.most_device_bytes == 700 * MIB


@pytest.fixture
def watched(memory, monkeypatch, tmp_path):
    """A start that is watched by a thread of the test instead of a process."""
    monkeypatch.setattr(sampling, "RUN_DIR", str(tmp_path))
    threads = []

    def detach(path, lowest, longest_s):
        threads.append(threading.Thread(target=sampling.watch, args=(path, lowest, longest_s)))
        threads[-1].start()

    monkeypatch.setattr(sampling, "_detach", detach)
    monkeypatch.setattr(sampling, "WANDER_S", 0.03)
    yield threads
    sampling.end("c")
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def test_a_start_that_is_watched_keeps_its_lowest_value(watched, memory):
    noted = sampling.begin("c", 60)
    assert noted["wander_bytes"] == 0 and sampling.noted("c")[0] == noted
    memory[0] = 7 * MIB
    until(lambda: sampling.noted("c") == (noted, 7 * MIB))
    memory[0] = 50 * MIB
    time.sleep(0.1)
    assert sampling.noted("c") == (noted, 7 * MIB)
    sampling.end("c")
    watched[0].join(20)
    assert not watched[0].is_alive() and sampling.noted("c") is None


@pytest.mark.parametrize(("unrest", "longest_s", "noted"), [([400, 300, 100, 9], 60, 100), ([400] * 9, 0.0, 400), ([128], 60, 128)])
def test_memory_that_still_comes_back_is_waited_for(watched, monkeypatch, unrest, longest_s, noted):
    seen = iter(unrest)
    monkeypatch.setattr(sampling, "before", lambda: {"available_bytes": 5, "wander_bytes": next(seen) * MIB})
    monkeypatch.setattr(sampling, "LONGEST_UNREST_S", longest_s)
    assert sampling.begin("c", 60)["wander_bytes"] == noted * MIB


def test_a_second_start_ends_the_watch_over_the_first(watched):
    sampling.begin("c", 60)
    sampling.begin("c", 60)
    watched[0].join(20)
    assert not watched[0].is_alive() and watched[1].is_alive()


def test_a_watch_ends_when_no_start_takes_that_long(watched):
    sampling.begin("c", 0.1)
    watched[0].join(20)
    assert not watched[0].is_alive() and sampling.noted("c") is None, "a note that is so old says nothing"


def test_what_is_no_note_is_none(watched, tmp_path):
    assert sampling.noted("c") is None
    (tmp_path / "start-c").write_text("half a n")
    assert sampling.noted("c") is None


def test_the_process_that_watches_outlives_its_parent_and_ends_with_its_file(tmp_path):
    program = f"""
import sys
from ansible_collections.gb10.vllm.plugins.module_utils._engine import sampling
sampling.RUN_DIR, sampling.WANDER_S = {str(tmp_path)!r}, 0.1
sampling.begin("c", 60)
"""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=30, env={**os.environ, "PYTHONPATH": ":".join(sys.path)})
    assert time.monotonic() - began < 20, "nobody waits for it"
    path = tmp_path / "start-c"

    def watching():
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", encoding="utf-8") as stream:
                    found += [int(pid)] if str(tmp_path) in stream.read() else []
            except OSError:
                continue
        return found

    (pid,) = watching()
    assert os.getsid(pid) == os.getpgid(pid) != os.getsid(0)
    path.unlink()
    deadline = time.monotonic() + 10
    while watching() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert watching() == []

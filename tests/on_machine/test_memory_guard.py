# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guard of memory with the real earlyoom, dry: whom it takes and whom it spares."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._host import settings


@pytest.fixture(scope="module")
def earlyoom(tmp_path_factory):
    """The program of the distribution's package; the package itself would start it with bounds of its own."""
    if found := shutil.which("earlyoom"):
        return found
    folder = tmp_path_factory.mktemp("earlyoom")
    subprocess.run(["apt-get", "-q", "download", "earlyoom"], cwd=folder, check=True, capture_output=True)
    (package,) = folder.glob("*.deb")
    subprocess.run(["dpkg-deb", "--extract", package, folder], check=True)
    return str(folder / "usr/bin/earlyoom")


class Engines:
    """Processes that are called like a server's, and a docker command that knows them, newest first."""

    def __init__(self, folder):
        self.folder, self.started = folder, []
        (folder / "bin").mkdir()
        self.newest_first: list[tuple[str, list[int]]] = []

    def start(self, comm, score):
        code = f"import ctypes, time; ctypes.CDLL(None).prctl(15, {comm.encode()!r}); open('/proc/self/oom_score_adj', 'w').write('{score}')"
        code += "; print(flush=True); time.sleep(300)"
        process = subprocess.Popen(["/usr/bin/python3", "-c", code], stdout=subprocess.PIPE)
        process.stdout.readline()
        self.started.append(process)
        return process.pid

    def order(self, *words):
        listed = "\n".join(name for name, _pids in self.newest_first)
        tops = "".join(f"{name}) echo PID; printf '%s\\n' {' '.join(map(str, pids))} ;; " for name, pids in self.newest_first)
        docker = f'#!/bin/sh\ncase $1 in ps) echo "{listed}" ;; inspect) echo 800 ;; top) case $2 in {tops} esac ;; esac\n'
        (self.folder / "bin" / "docker").write_text(docker)
        (self.folder / "bin" / "docker").chmod(0o755)
        (self.folder / "order").write_text(settings.ORDER_PROGRAM)
        env = {**os.environ, "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"}
        done = subprocess.run(["sh", self.folder / "order", *words], env=env, capture_output=True, text=True, check=True)
        assert done.stderr == ""

    def end(self):
        for process in self.started:
            process.kill()
            process.wait()


@pytest.fixture
def engines(tmp_path):
    there = Engines(tmp_path)
    yield there
    there.end()


def score(pid):
    with open(f"/proc/{pid}/oom_score_adj", encoding="ascii") as handle:
        return int(handle.read())


def test_the_newest_server_gets_the_highest_score_and_gives_it_back(engines):
    old, new, api = engines.start("VLLM::EngineCor", 800), engines.start("VLLM::EngineCor", 800), engines.start("vllm", 800)
    engines.newest_first = [("gone", []), ("b", [])]
    engines.order()
    assert [score(one) for one in (old, new, api)] == [800, 800, 800]
    engines.newest_first = [("new", [new, api]), ("old", [old])]
    engines.order()
    assert [score(one) for one in (old, new, api)] == [500, 1000, 1000]
    engines.order("restore")
    assert [score(one) for one in (old, new, api)] == [800, 800, 800]


def badness(earlyoom, settings_of_guard, pids):
    """How much the real earlyoom would like to stop each of these processes, with our arguments, were memory short now; the most first."""
    text = settings.guard_files(settings_of_guard)[settings.GUARD_DROP_IN]
    line = text.splitlines()[-1].removeprefix("ExecStart=").replace("$$", "$").replace("%%", "%")
    argv = [one.strip('"') for one in re.findall(r'"[^"]*"|\S+', line)]
    argv[argv.index("-M") : argv.index("-M") + 2] = ["-m", "99,98"]
    said = subprocess.run(["timeout", "2", "stdbuf", "-oL", earlyoom, *argv[1:], "--dryrun", "-d"], capture_output=True, text=True, check=False).stdout
    found = {int(pid): int(much) for pid, much in re.findall(r"^pid +(\d+): badness +(-?\d+) ", said, re.M) if int(pid) in pids}
    return [pid for pid, _much in sorted(found.items(), key=lambda pair: -pair[1])]


def test_the_real_guard_takes_the_newest_engine_first_and_last_what_keeps_the_box_up(engines, earlyoom):
    guard = {**settings.DEFAULTS["earlyoom"], "never": ["precious"]}
    keep = [engines.start(name, 0) for name in ("sshd", "dockerd", "containerd-shim", "systemd-logind")]
    other, precious = engines.start("python3", 0), engines.start("precious", 0)
    old, new = engines.start("VLLM::EngineCor", 500), engines.start("VLLM::Worker_T", 1000)
    order = badness(earlyoom, guard, {*keep, other, precious, old, new})
    assert order[:3] == [new, old, other] and set(order[3:]) == {*keep, precious}

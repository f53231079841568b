# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Modules that hand on what they were asked and say what is wrong with it: defaults, check mode, results and refusals."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
import time
from pathlib import Path

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._fabric import all_gather, bandwidth
from ansible_collections.gb10.vllm.plugins.modules import discover, server_idle
from in_process import Programs, run_module


@pytest.fixture
def programs(tmp_path, monkeypatch):
    return Programs(tmp_path / "bin", monkeypatch)


# ---- what runs on the controller


@pytest.mark.parametrize(("name", "given"), [("bundle", {"state": "read", "directory": "/b"}), ("recipe", {}), ("show", {})])
def test_what_works_on_the_controller_is_no_module(name, given):
    said = run_module(name, **given)
    assert said["failed"] and said["msg"] == f"gb10.vllm.{name} runs on the controller, through its action plugin of the same name."


# ---- run_lock

ME, BEN = {"run": "me", "owner": "anna@laptop", "controller": {}}, {"run": "ben", "owner": "ben@desk", "controller": {}}


def test_a_box_has_one_lock(tmp_path):
    def ask(owner=ME, **more):
        return run_module("run_lock", owner=owner, state_dir=str(tmp_path / "state"), **more)

    assert ask(check=True) == {"changed": False} and not (tmp_path / "state").exists()
    taken = ask()
    assert taken["acquired"] is True and taken["changed"] is False and (tmp_path / "state/run.lock").exists()
    refused = ask(BEN)
    assert refused["acquired"] is False and refused["holder"]["owner"] == "anna@laptop"
    assert ask(held=True)["acquired"] is True and ask(BEN, held=True)["acquired"] is False
    assert ask(BEN, state="absent")["released"] is False and ask(state="absent")["released"] is True
    assert ask(held=True)["acquired"] is False, "who had it and lost it does not get it anew"
    assert ask(BEN)["acquired"] is True and ask(take_over="ben")["taken_from"]["owner"] == "ben@desk"
    for owner in (None, {}, {"owner": "anna@laptop"}):
        assert "is called through its action plugin" in ask(owner)["msg"]


# ---- server_idle

METRICS = b"HTTP/1.1 200 OK\r\n\r\nvllm:num_requests_running{} %d\n"


class Engine:
    """Says each of these numbers of requests once, the last one for ever; None: it refuses."""

    def __init__(self, *numbers):
        self.numbers, self.asked = list(numbers), 0
        self.server = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            line, _address = self.server.accept()
            with line:
                line.recv(65536)
                number = self.numbers.pop(0) if len(self.numbers) > 1 else self.numbers[0]
                self.asked += 1
                line.sendall(METRICS % number if number is not None else b"HTTP/1.1 401 Unauthorized\r\n\r\n")


def idle(tmp_path, *engines, **more):
    servers = [
        {"name": f"s{n}", "base_url": f"http://127.0.0.1:{one.server.getsockname()[1]}", "api_key_file": str(tmp_path / "k")} for n, one in enumerate(engines)
    ]
    return run_module("server_idle", servers=servers, **{"timeout_s": 0, **more})


def test_it_waits_until_no_request_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(server_idle, "POLL_S", 0.01)
    engine = Engine(2, 1, 0)
    assert idle(tmp_path, engine, timeout_s=30) == {"changed": False, "busy": {}} and engine.asked == 3


def test_what_is_left_ends_it_unless_it_may_be_cut_off(tmp_path):
    said = idle(tmp_path, Engine(2), Engine(0), Engine(None))
    assert said["failed"] and said["busy"] == {"s0": 2, "s2": None}
    assert "at the end of gb10_drain_timeout_s (s0 2, s2 does not say how many), so nothing is touched" in said["msg"]
    assert idle(tmp_path, Engine(2), go_on=True) == {"changed": False, "busy": {"s0": 2}}
    engine = Engine(2)
    assert idle(tmp_path, engine, timeout_s=600, check=True) == {"changed": False, "busy": {"s0": 2}} and engine.asked == 1


# ---- discover


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"port": 0}, "port: 0 is not a port"),
        ({"port": 65536}, "65536 is not a port"),
        ({"user": "a b"}, "'a b' is no name of a user"),
        ({"user": "a" * 33}, "is no name"),
        ({"user": "-x"}, "is no name"),
        ({"range": "x"}, "x"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(given, said):
    found = run_module("discover", **given)
    assert found["failed"] and said in found["msg"]


def test_a_search_looks_where_and_as_long_as_it_was_told(monkeypatch):
    asked = []
    monkeypatch.setattr(discover, "found", lambda *given: asked.append(given) or {"boxes": [], "asked": 3, "announced": 1, "in_time": True})
    found = run_module("discover", range="10.0.0.0/30", port=65535, longest_s=7, user="anna")
    assert asked == [("10.0.0.0/30", 65535, 7.0)] and found["asked"] == 3 and found["changed"] is False and "inventory" in found
    run_module("discover")
    assert asked[1] == ("", 22, 60.0)


# ---- the fabric

HALF = {"interface": "fab0", "hca": "roce0", "address": "10.0.0.1", "peer": "10.0.0.2"}
ROW = " 65536      1000             92.10              91.53  		   0.174\n"


def test_one_end_waits_in_a_unit_that_ends_by_itself(programs):
    programs.answer("systemctl")
    programs.answer("systemd-run")
    assert run_module("fabric_bandwidth", end="waits", halves=[HALF, {**HALF, "address": "10.0.1.1"}], seconds=3) == {"changed": False}
    assert programs.calls()[:2] == [
        "systemctl stop gb10-fabric-bandwidth-0.service",
        "systemd-run --quiet --collect --unit gb10-fabric-bandwidth-0 --property=RuntimeMaxSec=43 ib_write_bw -d roce0 -p 18515 --report_gbits -q 4 -D 3 -R -F"
        " --bind_source_ip 10.0.0.1",
    ]
    assert "-p 18516 " in programs.calls()[3] and programs.calls()[3].endswith("10.0.1.1")
    programs.answer("systemd-run", "*", "echo 'not found' >&2; exit 1")
    assert run_module("fabric_bandwidth", end="waits", halves=[HALF])["msg"] == (
        "ib_write_bw cannot be started on this box: not found. Install it: apt-get install perftest."
    )


def test_the_other_end_sends_and_tries_again_while_nobody_listens(programs, monkeypatch, tmp_path):
    monkeypatch.setattr(bandwidth.time, "sleep", lambda _s: None)
    (tmp_path / "row").write_text(ROW)
    programs.answer("ib_write_bw", "*", f"[ $(wc -l <{programs.folder}/calls.txt) -ge 3 ] || exit 1; cat {tmp_path}/row")
    found = run_module("fabric_bandwidth", end="sends", halves=[HALF])
    assert found["rates"][0]["gbits"] == 91.53 and found["rates"][0]["interface"] == "fab0" and len(programs.calls()) == 3
    assert programs.calls()[0].endswith("-D 5 -R -F --bind_source_ip 10.0.0.1 10.0.0.2")
    programs.answer("ib_write_bw", "*", "echo 'no route' >&2; exit 1")
    (one,) = run_module("fabric_bandwidth", end="sends", halves=[HALF])["rates"]
    assert one == {"interface": "fab0", "gbits": None, "said": "no route"} and len(programs.calls()) == 3 + 5


def test_a_box_without_perftest_is_told_its_package(programs, monkeypatch):
    monkeypatch.setenv("PATH", str(programs.folder))
    assert "apt-get install perftest" in run_module("fabric_bandwidth", end="sends", halves=[HALF])["msg"]


def gather(**more):
    return run_module("fabric_all_gather", **{"image": "vllm-node", "rank": 1, "ranks": 2, "environment": {"NCCL_IB_HCA": "x", "N": 3}, **more})


def test_an_all_gather_runs_once_and_leaves_no_container(programs, monkeypatch):
    monkeypatch.setattr(all_gather, "parse_meminfo", lambda _text: {"MemAvailable": 10**12})
    for pattern, script in (("ps*", ":"), ("image*", "echo sha256:1"), ("rm*", "exit 1"), ("run*", "echo '{\"bus_gigabytes_per_s\": 21.5}'; echo warned >&2")):
        programs.answer("docker", f"'{pattern[:-1]}'*", script)
    assert gather(look=True)["gigabytes_per_s"] is None and gather(check=True)["gigabytes_per_s"] is None and programs.calls("docker run") == []
    assert gather() == {"changed": False, "refused": "", "gigabytes_per_s": 21.5, "said": "warned"}
    (started,) = programs.calls("docker run")
    assert "--env N=3 " in started and "--env RANK=1 " in started and "--env WORLD_SIZE=2 " in started
    assert len(programs.calls("docker rm -f gb10-fabric-all-gather")) == 2
    programs.answer("docker", "ps*", "echo gb10-vllm-tiny")
    refused = gather()
    assert refused["refused"].startswith("gb10-vllm-tiny runs; stop the servers") and len(programs.calls("docker run")) == 1


# ---- rehearse, share, benchmark: nothing is done in check mode


def test_check_mode_asks_starts_and_fetches_nothing(programs, tmp_path):
    assert run_module("rehearse", servers=[{"name": "a", "container": {}}], check=True) == {"changed": False, "rehearsals": []}
    given = {"server": "a", "image": "i", "base_url": "u", "served_model_name": "m", "runs": [], "state_dir": str(tmp_path)}
    assert run_module("benchmark", check=True, **given) == {"changed": False, "runs": [], "died": False, "box": {}}
    share = {"key": "a", "kind": "directory", "place": "/m"}
    for state, give, changed in (("transferred", False, True), ("transferred", True, False), ("opened", False, False)):
        found = run_module("share", check=True, state=state, shares=[{**share, "give": give}], state_dir=str(tmp_path))
        assert found == {"changed": changed, "shares": {}}
    assert [path.name for path in tmp_path.iterdir()] == ["bin"] and programs.calls() == []


# ---- model_fetch


def test_what_was_copied_to_a_box_gets_its_name_when_its_sums_fit(programs, tmp_path):
    programs.answer("docker")
    (tmp_path / "m.partial").mkdir()
    (tmp_path / "m.partial/config.json").write_text("{}")
    sums = {"config.json": {"size": 2, "sha256": hashlib.sha256(b"{}").hexdigest()}}
    found = run_module("model_fetch", path=f"{tmp_path}/m/", sums=sums, check=True)
    assert found["changed"] and found["path"] == f"{tmp_path}/m" and found["previous"] is None and not (tmp_path / "m").exists()
    wrong = {"config.json": {"size": 2, "sha256": "0" * 64}}
    assert "arrived with a wrong checksum" in run_module("model_fetch", path=f"{tmp_path}/m", sums=wrong)["msg"] and not (tmp_path / "m").exists()
    found = run_module("model_fetch", path=f"{tmp_path}/m", sums=sums)
    assert found["changed"] and found["downloaded_bytes"] == 0 and (tmp_path / "m/config.json").read_text() == "{}"
    assert (Path(found["directory"]) / ".gb10-vllm-record").exists() and found["previous"] is None
    assert "one of" in run_module("model_fetch", path=f"{tmp_path}/m")["msg"]
    assert "mutually exclusive" in run_module("model_fetch", path=f"{tmp_path}/m", sums=sums, repo_id="a/b")["msg"]


@pytest.mark.parametrize("check", [True, False])
def test_somebody_elses_directory_is_refused_in_check_mode_too(programs, tmp_path, check):
    programs.answer("docker")
    (tmp_path / "m").mkdir()
    (tmp_path / "m.partial").mkdir()
    (tmp_path / "m.partial/config.json").write_text("{}")
    sums = {"config.json": {"size": 2, "sha256": hashlib.sha256(b"{}").hexdigest()}}
    said = run_module("model_fetch", path=f"{tmp_path}/m", sums=sums, check=check)
    assert said.get("failed") and "was not brought by this collection, so it is not replaced" in said["msg"]


def test_ports_that_are_none_are_refused():
    said = run_module("monitoring_info", address="127.0.0.1", ports={"a": "x"})
    assert said["failed"] and said["msg"] == "ports has {'a': 'x'}, and a port is a number from 1 to 65535; correct it."
    assert run_module("box_info", least_free_gib={"/": "many"})["msg"] == "least_free_gib must map paths to numbers of GiB, not {'/': 'many'}."


def test_a_box_of_another_run_is_not_read(tmp_path):
    run_module("run_lock", owner=ME, state_dir=str(tmp_path))
    found = run_module("box_info", lock=True, owner=BEN, state_dir=str(tmp_path))
    assert found["lock"]["acquired"] is False and "box" not in found and json.loads((tmp_path / "run.lock").read_text())["run"] == "me"


# ---- prune


def test_downloads_that_nobody_finished_go_after_their_days(programs, tmp_path):
    programs.answer("docker")
    old = tmp_path / "m.partial"
    old.mkdir()
    (old / "half").write_text("x")
    for path in (old / "half", old):
        os.utime(path, (time.time() - 13 * 86400,) * 2)
    given = {"models": [str(tmp_path / "m")]}
    assert run_module("prune", **given) == {"changed": False, "images": [], "models": []}, "14 days by default"
    assert run_module("prune", names_only=True, partial_days=1, **given)["changed"] is False and old.exists()
    assert run_module("prune", partial_days=12, check=True, **given) == {"changed": True, "images": [], "models": [str(old)]} and old.exists()
    assert run_module("prune", partial_days=12, **given)["models"] == [str(old)] and not old.exists()


def test_earlier_images_go_beyond_those_that_are_kept_and_none_in_check_mode(programs, tmp_path):
    first, second, third = (f"vllm-node:previous-2026110{day}090000" for day in (1, 2, 3))
    (tmp_path / "names").write_text("\n".join([second, first, "vllm-node:latest", third, ""]))
    programs.answer("docker", "images*", f"cat {tmp_path}/names")
    programs.answer("docker", "'image inspect'*", 'echo \'[{"Id": "sha256:1"}]\'')
    programs.answer("docker", "ps*", ":")
    programs.answer("docker", "rmi*", ":")
    assert run_module("prune", check=True)["images"] == [second, first] and programs.calls("docker rmi") == []
    assert run_module("prune") == {"changed": True, "images": [second, first], "models": []}
    assert programs.calls("docker rmi") == [f"docker rmi {second}", f"docker rmi {first}"]
    assert run_module("prune", keep=3)["changed"] is False

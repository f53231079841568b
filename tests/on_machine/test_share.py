# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Model directories between boxes that are processes on this machine: real TLS, real files, real deaths."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import socket
import ssl
import subprocess
import time
from pathlib import Path

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import file_sha256, safe_name
from ansible_collections.gb10.vllm.plugins.module_utils._model import store as model_store
from ansible_collections.gb10.vllm.plugins.module_utils._transfer import client, keys, server
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.share import Shares
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.wire import NotHere, Request
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import distribution

FORK = multiprocessing.get_context("fork")
MB = 1_000_000


class Fleet:
    """Boxes ``a``, ``b``, ... each with its own directories; the first has the model unless a test says otherwise."""

    def __init__(self, root: Path, count: int) -> None:
        self.root, self.hosts = root, [chr(ord("a") + number) for number in range(count)]
        self.opened: dict[str, dict] = {}
        self.processes: dict[str, multiprocessing.Process] = {}
        self.answers = FORK.Queue()

    def shares(self, host: str) -> Shares:
        return Shares(str(self.root / host / "state"), keys=str(self.root / host / "keys"), docker="/nonexistent/docker")

    def model(self, host: str) -> Path:
        return self.root / host / "models" / "m"

    def fill(self, host: str, sizes: dict[str, int], seed: int = 1) -> None:
        for name, size in sizes.items():
            path = self.model(host) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(random.Random(f"{seed}{name}").randbytes(size))

    def open(self, holders: str = "a", **more) -> dict[str, dict]:
        places = {host: str(self.model(host)) for host in self.hosts}
        self.share = {"key": "m", "kind": "directory", "reference": holders[0], "holders": list(holders), "places": places}
        self.share["targets"] = [host for host in self.hosts if host not in holders]
        for host, part in distribution.taking_part([self.share]).items():
            self.opened[host] = self.shares(host).open(part, host, 0, **more)
        return distribution.instructions([self.share], self.opened, {host: ["127.0.0.1"] for host in self.hosts})

    def start(self, plan: dict[str, dict], **more) -> None:
        def work(host: str, instructions: dict) -> None:
            try:
                self.answers.put((host, self.shares(host).transfer(**instructions, **more)))
            except GB10Error as error:
                self.answers.put((host, str(error)))

        for host, instructions in plan.items():
            self.processes[host] = FORK.Process(target=work, args=(host, instructions), daemon=True)
            self.processes[host].start()

    def finish(self, *without: str) -> dict[str, dict | str]:
        answers: dict[str, dict | str] = {}
        while not set(self.processes) - set(without) <= set(answers):
            answers.update([self.answers.get(timeout=60)])
        return answers

    def kill(self, host: str) -> None:
        """The box loses its power: transfer and server are gone at once."""
        self.processes[host].kill()
        self.processes[host].join()
        pid = int((self.root / host / "keys/server.pid").read_text())
        os.kill(pid, signal.SIGKILL)

    def arrived(self, host: str) -> int:
        return sum(path.stat().st_size for path in self.root.glob(f"{host}/models/m*/**/*") if path.is_file())

    def wait_for(self, host: str, size: int) -> None:
        end = time.monotonic() + 20
        while self.arrived(host) < size:
            assert time.monotonic() < end, "nothing arrives"
            time.sleep(0.01)

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
        for host in self.hosts:
            self.shares(host).close(True)

    def same(self, one: str, other: str) -> bool:
        files = [item["name"] for item in model_store.list_files(str(self.model(one)))]
        return all((self.model(one) / name).read_bytes() == (self.model(other) / name).read_bytes() for name in files)


@pytest.fixture
def fleet(tmp_path):
    made: list[Fleet] = []

    def make(count: int) -> Fleet:
        made.append(Fleet(tmp_path, count))
        return made[0]

    yield make
    made[0].close()


SIZES = {"model-1.safetensors": 8 * MB, "model-2.safetensors": 5 * MB, "config.json": 300, "sub/tokenizer.json": 0}


def test_every_box_gets_it_from_its_neighbour_while_that_still_receives(fleet):
    boxes = fleet(4)
    boxes.fill("a", SIZES)
    began = time.monotonic()
    boxes.start(boxes.open(), rate_bytes_s=6 * MB)
    answers = boxes.finish()
    took = time.monotonic() - began
    assert answers["a"] == {"changed": False, "shares": {"m": {}}}
    total = sum(SIZES.values())
    for host, source in (("b", "a"), ("c", "b"), ("d", "c")):
        assert answers[host]["changed"] and answers[host]["shares"]["m"]["sources"] == {source: total}
        assert boxes.same("a", host)
        assert not Path(f"{boxes.model(host)}.partial").exists()
    assert took < 2 * total / (6 * MB), f"three boxes one after the other would take {3 * total / (6 * MB):.1f} s"
    digests = [model_store.read_record(str(boxes.model(host)))["files"] for host in "bcd"]
    assert digests[0] == digests[1] == digests[2]


def test_a_neighbour_that_dies_is_replaced_by_the_next_source(fleet):
    boxes = fleet(4)
    boxes.fill("a", SIZES)
    boxes.start(boxes.open(), rate_bytes_s=6 * MB)
    boxes.wait_for("d", 1 * MB)
    boxes.kill("b")
    answers = boxes.finish("b")
    assert boxes.same("a", "c") and boxes.same("a", "d")
    assert set(answers["c"]["shares"]["m"]["sources"]) == {"b", "a"}
    assert answers["c"]["shares"]["m"]["received_bytes"] == sum(SIZES.values()), "it went on where it was"
    assert set(answers["d"]["shares"]["m"]["sources"]) == {"c"}, "who waits for a living neighbour stays with it"


def test_a_neighbour_that_falls_silent_is_replaced_too(fleet, monkeypatch):
    monkeypatch.setattr(client, "SILENCE_S", 1.5)
    monkeypatch.setattr(server, "BEAT_S", 0.3)
    boxes = fleet(3)
    boxes.fill("a", SIZES)
    boxes.start(boxes.open(), rate_bytes_s=6 * MB)
    boxes.wait_for("c", 1 * MB)
    pids = [boxes.processes["b"].pid, int((boxes.root / "b/keys/server.pid").read_text())]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    answers = boxes.finish("b")
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert boxes.same("a", "c") and set(answers["c"]["shares"]["m"]["sources"]) == {"a", "b"}


def test_a_neighbour_that_never_begins_is_not_waited_for(fleet, monkeypatch):
    monkeypatch.setattr(server, "BEGIN_S", 1.0)
    monkeypatch.setattr(client, "NOT_READY_S", 1.0)
    boxes = fleet(3)
    boxes.fill("a", SIZES)
    plan = boxes.open()
    keys.trust(str(boxes.root / "b/keys"), plan["b"]["trusted"])
    boxes.start({host: plan[host] for host in "ac"})
    answers = boxes.finish()
    assert boxes.same("a", "c") and set(answers["c"]["shares"]["m"]["sources"]) == {"a"}


def test_when_the_only_source_goes_nothing_is_visible_and_the_next_run_goes_on(fleet):
    boxes = fleet(3)
    boxes.fill("a", SIZES)
    boxes.start(boxes.open(), rate_bytes_s=6 * MB, patience_s=4)
    boxes.wait_for("c", 3 * MB)
    boxes.kill("a")
    answers = boxes.finish("a")
    for host in "bc":
        assert str(boxes.model(host)) in answers[host] and "did not arrive: " in answers[host] and "a: " in answers[host]
        assert not boxes.model(host).exists()
    kept = boxes.arrived("b")
    boxes.processes.clear()
    boxes.start(boxes.open())
    answers = boxes.finish()
    assert boxes.same("a", "b") and boxes.same("a", "c")
    received = answers["b"]["shares"]["m"]["received_bytes"]
    assert 0 < received < sum(SIZES.values()) and received >= sum(SIZES.values()) - kept


def test_a_file_that_is_not_what_it_was_is_refused(fleet):
    """The record promises another content than the disk gives, as with a failing disk."""
    boxes = fleet(2)
    boxes.fill("a", SIZES)
    files = model_store.list_files(str(boxes.model("a")))
    entries = {one["name"]: {"size": one["size"], "mtime_ns": one["mtime_ns"], "sha256": "0" * 64} for one in files}
    model_store.write_record(str(boxes.model("a")), {"repo_id": "acme/m", "revision": "r", "files": entries})
    boxes.start(boxes.open())
    answer = boxes.finish()["b"]
    assert "arrived three times with a wrong checksum; check the disk and memory of a" in answer
    assert not boxes.model("b").exists()


def test_a_new_version_takes_the_name_in_one_step_and_the_old_one_stays(fleet):
    boxes = fleet(2)
    boxes.fill("a", SIZES)
    boxes.start(boxes.open())
    boxes.finish()
    boxes.shares("a").close(True)
    old = (boxes.model("b") / "config.json").read_bytes()
    (boxes.model("a") / "config.json").write_bytes(b"new")
    files = {one["name"]: {**one, "sha256": file_sha256(str(boxes.model("a") / one["name"]))} for one in model_store.list_files(str(boxes.model("a")))}
    model_store.write_record(str(boxes.model("a")), {"repo_id": "acme/m", "revision": "second", "files": files})
    boxes.processes.clear()
    boxes.start(boxes.open())
    share = boxes.finish()["b"]["shares"]["m"]
    assert (boxes.model("b") / "config.json").read_bytes() == b"new"
    assert (Path(share["previous"]) / "config.json").read_bytes() == old and Path(share["previous"]).name.startswith("m@")
    assert share["received_bytes"] == 3, "what is known to be the same file is not sent again"
    assert (Path(share["previous"]) / "model-1.safetensors").samefile(boxes.model("b") / "model-1.safetensors")


def test_only_boxes_of_the_run_may_ask_and_only_for_what_is_offered(fleet, tmp_path):
    boxes = fleet(2)
    boxes.fill("a", SIZES)
    boxes.start(boxes.open())
    boxes.finish()
    source = {"name": "a", "addresses": ["127.0.0.1"], "port": boxes.opened["a"]["port"], "certificate": boxes.opened["a"]["certificate"]}
    stranger = str(tmp_path / "stranger")
    keys.make_certificate(stranger, "stranger")
    with pytest.raises(GB10Error, match="a: .*does not know this box yet"):
        client.Receiver("m", [source], stranger, patience_s=1.5).index()
    assert client.Receiver("m", [source], str(boxes.root / "b/keys"), patience_s=1.5).index()["items"]
    with pytest.raises(GB10Error, match="shows another certificate than a made"):
        imposter = {**source, "certificate": boxes.opened["b"]["certificate"]}
        client.Receiver("m", [imposter], str(boxes.root / "b/keys"), patience_s=1.5).index()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", source["port"])) as raw,
        pytest.raises(OSError, match="(?i)certificate|reset|eof"),
        context.wrap_socket(raw) as plain,
    ):
        plain.sendall(b'{"share": "m"}\n')
        assert plain.recv(1) == b""
        raise OSError("eof")
    link = client.Link(source, str(boxes.root / "b/keys"))
    link.ask(Request("m", 99))
    with pytest.raises(NotHere):
        link.frame()
    link.close()


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/../../b", "", "a//b", "."])
def test_a_name_from_another_box_cannot_leave_its_directory(name):
    assert not safe_name(name)


def test_closing_leaves_no_server_and_no_key(fleet):
    boxes = fleet(2)
    boxes.fill("a", SIZES)
    boxes.start(boxes.open())
    boxes.finish()
    port = boxes.opened["a"]["port"]
    assert (boxes.root / "a/keys/key.pem").stat().st_mode & 0o777 == 0o600
    assert boxes.shares("a").close(True) is True and boxes.shares("a").close(True) is False
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=2)
    assert not list((boxes.root / "a/keys").glob("*.pem"))
    assert [one.name for one in (boxes.root / "a/state/transfer").iterdir()] == ["progress.jsonl"]


def test_a_server_nobody_closes_ends_by_itself_and_takes_its_key_along(fleet):
    boxes = fleet(2)
    boxes.fill("a", SIZES)
    boxes.open(idle_s=0.6)
    end = time.monotonic() + 10
    while (boxes.root / "a/keys/key.pem").exists():
        assert time.monotonic() < end, "the key is still there"
        time.sleep(0.1)
    with pytest.raises(ConnectionRefusedError):
        time.sleep(0.2)
        socket.create_connection(("127.0.0.1", boxes.opened["a"]["port"]), timeout=2)


def test_two_runs_at_once_are_refused(fleet):
    boxes = fleet(2)
    boxes.fill("a", SIZES)
    boxes.start(boxes.open(), rate_bytes_s=2 * MB)
    boxes.wait_for("b", MB)
    with pytest.raises(GB10Error, match=r"another run is sending .* \(process \d+\)"):
        boxes.shares("b").open([], "b", 0)


def test_a_port_that_is_taken_is_named(fleet):
    boxes = fleet(1)
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        with pytest.raises(GB10Error, match=rf"port {taken.getsockname()[1]} of this box cannot be used .*gb10_distribution\.port"):
            boxes.shares("a").open([], "a", taken.getsockname()[1])


def test_a_box_that_cannot_be_reached_is_named_with_its_port(fleet):
    boxes = fleet(2)
    boxes.fill("a", SIZES)
    plan = boxes.open()
    plan["b"]["shares"][0]["sources"][0]["port"] = 1
    boxes.start({"b": plan["b"]}, patience_s=1)
    answer = boxes.finish()["b"]
    assert "a: 127.0.0.1" in answer and "port 1 cannot be reached" in answer and "a firewall must let it through" in answer


def test_a_disk_that_fills_up_is_told_and_what_came_is_kept(fleet, monkeypatch):
    boxes = fleet(2)
    boxes.fill("a", SIZES)
    models = boxes.model("b").parent
    models.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(models)], capture_output=True).returncode:
        pytest.skip("mounting needs root")
    try:
        plan = boxes.open()
        boxes.start(plan)
        assert "GiB free and" in boxes.finish()["b"], "too little room is said before anything is written"
        monkeypatch.setattr(model_store, "check_space", lambda *_args: None)
        boxes.processes.clear()
        boxes.start(boxes.open(), connections=1)
        answer = boxes.finish()["b"]
        assert f"the disk of {models}/m.partial became full while" in answer and "nothing in use was touched" in answer
        assert not boxes.model("b").exists() and Path(f"{boxes.model('b')}.partial").is_dir()
    finally:
        subprocess.run(["umount", str(models)], check=True)


def test_progress_says_bytes_and_where_from(fleet):
    boxes = fleet(2)
    boxes.fill("a", SIZES)
    boxes.start(boxes.open(), rate_bytes_s=4 * MB)
    boxes.finish()
    lines = [json.loads(line) for line in (boxes.root / "b/state/transfer/progress.jsonl").read_text().splitlines()]
    receiving = [line for line in lines if line["phase"] == "receive"]
    assert receiving and receiving[-1]["total_bytes"] == sum(SIZES.values()) and "from a" in receiving[-1]["text"]
    assert lines[-1]["phase"] == "finished"


def test_older_versions_go_but_none_that_is_mounted(tmp_path, monkeypatch):
    """``docker`` is a program that answers as the real one does; that a real one does is tested with the boxes."""
    final = tmp_path / "m"
    for number, name in enumerate(["m@1", "m@2", "m@3", "m"]):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text(name)
        model_store.write_record(str(tmp_path / name), {"repo_id": "acme/m"})
        time.sleep(0.01 * number)
    monkeypatch.setattr(model_store, "mounted", lambda _docker: ({str(tmp_path / "m@2")}, set()))
    assert model_store.prune([str(final)], 1, check=True) == [str(tmp_path / "m@1")]
    assert (tmp_path / "m@1").exists()
    assert model_store.prune([str(final)], 1) == [str(tmp_path / "m@1")]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["m", "m@2", "m@3"]
    status = (tmp_path / "m@2").stat()
    monkeypatch.setattr(model_store, "mounted", lambda _docker: (set(), {(status.st_dev, status.st_ino)}))
    assert model_store.prune([str(final)], 0) == [str(tmp_path / "m@3")]


def test_abandoned_partial_directories_go_after_a_while(tmp_path):
    partial = tmp_path / "m.partial"
    partial.mkdir()
    (partial / "x").write_text("x")
    assert model_store.prune_partial([str(tmp_path / "m")], 60) == []
    assert model_store.prune_partial([str(tmp_path / "m")], -1) == [str(partial)] and not partial.exists()

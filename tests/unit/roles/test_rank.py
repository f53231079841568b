# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program that keeps the ranks of a server over several boxes together, run as systemd runs it, with the real guard beside it.

The boxes are two addresses of loopback, the containers processes that hold connections as vLLM's ranks do. What a real engine does: tests/e2e/test_group.py.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import ranks

FILES = Path(__file__).parents[3] / "roles" / "server" / "files"
ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
# A rank as the network sees it: the head listens where ranks meet and has an API, the others hold a connection to it.
ENGINE = """
import http.server, json, pathlib, socket, sys, threading, time
number, address, master, port = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
if pathlib.Path(sys.argv[6]).exists(): time.sleep(0.5); sys.exit(1)
class Api(http.server.BaseHTTPRequestHandler):
    def do_GET(self): self.say({})
    def do_POST(self): self.rfile.read(int(self.headers["Content-Length"])); self.say({"choices": [{"text": "a"}]})
    def say(self, body):
        text = json.dumps(body).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(text))); self.end_headers(); self.wfile.write(text)
    def log_message(self, *_): pass
held = []
if number == 0:
    store = socket.create_server((address, master))
    def meet():
        while True: held.append(store.accept()[0])
    threading.Thread(target=meet, daemon=True).start()
    while len(held) < int(sys.argv[5]): time.sleep(0.05)
    http.server.ThreadingHTTPServer(("127.0.0.1", port), Api).serve_forever()
while not held:
    try: held.append(socket.create_connection(("127.0.0.1", master), source_address=(address, 0)))
    except OSError: time.sleep(0.05)
time.sleep(600)
"""
DOCKER = """#!/bin/sh
# $HERE: the folder of a box; its only container is a process
running() {{ [ -s {here}/pid ] && kill -0 $(cat {here}/pid) 2>/dev/null; }}
echo "$@" >> {here}/docker.log
case $1 in
  inspect) if running; then echo true; else echo false; fi ;;
  start) {python} {folder}/engine.py {arguments} & echo $! > {here}/pid; wait $!; code=$?; rm -f {here}/pid; exit $code ;;
  stop) kill $(cat {here}/pid); while running; do sleep 0.02; done ;;
esac
"""
GUARD = """#!/bin/sh
echo "$1" >> {here}/guard.log
exec {python} {files}/guard.py "$@"
"""


def free_ports():
    with socket.socket() as one, socket.socket() as two, socket.socket() as three:
        for sock in (one, two, three):
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in (one, two, three)]


class Boxes:
    """As many boxes, with the unit of one rank each; a unit starts again as systemd would."""

    def __init__(self, folder, count):
        self.folder, self.count = folder, count
        self.master, self.guard, self.api = free_ports()
        self.units = {}
        (folder / "engine.py").write_text(ENGINE)
        for number in range(count):
            here = folder / str(number)
            (here / "servers" / "duo").mkdir(parents=True)
            (here / "bin").mkdir()
            words = {"here": here, "python": sys.executable, "folder": folder, "files": FILES}
            arguments = f"{number} {ADDRESSES[number]} {self.master} {self.api} {count - 1} {here}/fails"
            self.program(here / "bin" / "docker", DOCKER.format(arguments=arguments, **words))
            self.program(here / "bin" / "systemctl", "#!/bin/sh\n")
            for version in ("", "6"):
                self.program(here / "bin" / f"ip{version}tables", f'#!/bin/sh\necho {version} "$@" >> {here}/iptables.log\n')
            self.program(here / "guard", GUARD.format(**words))
            group = {"number": number, "boxes": ["one", "two", "three"][:count], "addresses": ADDRESSES[:count]}
            group |= {"master_port": self.master, "guard_port": self.guard}
            deployment = {"group": group, "probe_url": f"http://127.0.0.1:{self.api}", "served_model_name": "m", "requested_bytes": 1, "floor_bytes": 1}
            (here / "servers" / "duo" / "deployment.json").write_text(json.dumps(deployment))

    @staticmethod
    def program(path, text):
        path.write_text(text)
        path.chmod(0o755)

    def environment(self, number, look_s="0.1"):
        here = self.folder / str(number)
        places = {"STATE": here, "MEMORY": here / "run", "SAID": here / "said", "CONFIG": here / "etc"}
        own = {f"GB10_{name}_DIR": str(place) for name, place in places.items()}
        return {**os.environ, **own, "GB10_GUARD": str(here / "guard"), "GB10_LOOK_S": look_s, "PATH": f"{here}/bin:{os.environ['PATH']}"}

    def start(self, *numbers, look_s="0.1"):
        for number in numbers:
            environment = self.environment(number, look_s)
            subprocess.run([self.folder / str(number) / "guard", "before-start", "duo"], env=environment, check=True)
            log = (self.folder / str(number) / "journal").open("a")
            self.units[number] = subprocess.Popen([sys.executable, FILES / "rank.py", "run", "duo"], env=environment, stderr=log, start_new_session=True)

    def word(self, number):
        try:
            with socket.create_connection((ADDRESSES[number], self.guard), timeout=2) as connection:
                return connection.recv(400).decode().partition("\n")[0]
        except OSError:
            return ""

    def wait(self, question, seconds=20.0):
        deadline = time.monotonic() + seconds
        while not question():
            assert time.monotonic() < deadline, [self.said(number) for number in range(self.count)]
            time.sleep(0.05)

    def until(self, word, *numbers):
        self.wait(lambda: all(self.word(number) == word for number in numbers or range(self.count)))

    def meet_again(self):
        """What systemd does: units that ended start again, until all of them answer."""

        def answered():
            self.start(*[number for number, unit in self.units.items() if unit.poll() is not None])
            return all(self.word(number) == "answered" for number in self.units)

        self.wait(answered, 40)

    def said(self, number):
        journal = self.folder / str(number) / "journal"
        return journal.read_text() if journal.exists() else ""

    def kept(self, number, file):
        return (self.folder / str(number) / "servers" / "duo" / file).exists()

    def answers(self):
        """Whether the engines have met, so that the head's API is there."""
        try:
            return bool(socket.create_connection(("127.0.0.1", self.api), timeout=2).close() is None)
        except OSError:
            return False

    def kill_engine(self, number):
        os.kill(int((self.folder / str(number) / "pid").read_text()), signal.SIGKILL)

    def ended(self, number, seconds=20.0):
        return self.units[number].wait(seconds)

    def down(self):
        for unit in self.units.values():
            if unit.poll() is None:
                os.killpg(unit.pid, signal.SIGKILL)
            unit.wait()


@pytest.fixture
def boxes(tmp_path):
    made = Boxes(tmp_path, 2)
    yield made
    made.down()


@pytest.fixture
def together(boxes):
    boxes.start(0, 1)
    boxes.until("answered")
    return boxes


def test_no_container_starts_before_all_boxes_are_there(boxes):
    boxes.start(0)
    boxes.wait(lambda: "waiting for two (127.0.0.2), which does not answer on port" in boxes.said(0))
    time.sleep(0.5)
    assert "start" not in (boxes.folder / "0" / "docker.log").read_text() and boxes.word(0).startswith("waiting for two")
    assert not boxes.kept(0, "starting.json"), "a box that goes down while it waits may start by itself"
    boxes.start(1)
    boxes.until("answered")


def deployed(boxes, number, *words, manifest="m", **env):
    """Give a box the deployment of a rank with these arguments."""
    path = boxes.folder / str(number) / "servers" / "duo" / "deployment.json"
    host = ["--host", "0.0.0.0", "--middleware", "guard_keys.GuardKeys"] if number == 0 else ["--host", "127.0.0.1", "--headless"]
    command = ["/bin/sh", "-c", f"start {number}", "vllm", "serve", "/models/duo", *host, "--node-rank", str(number), *words]
    container = {"command": command, "env": {"VLLM_HOST_IP": ADDRESSES[number], **env}}
    path.write_text(json.dumps({**json.loads(path.read_text()), "manifest": manifest, "container": container}))


def test_boxes_that_were_not_deployed_alike_wait_instead_of_meeting(boxes):
    """One was lost while the other got something new: vLLM would not compare them, and hang or answer nonsense."""
    deployed(boxes, 0, "--max-model-len", "1024")
    deployed(boxes, 1, "--max-model-len", "2048")
    boxes.start(0, 1)
    boxes.wait(lambda: all("has another deployment than this box: run the playbook site over all boxes" in boxes.said(number) for number in (0, 1)))
    time.sleep(0.5)
    assert not boxes.answers() and boxes.word(0).startswith("waiting for two (127.0.0.2), which has another deployment")
    os.killpg(boxes.units[1].pid, signal.SIGTERM)
    boxes.units[1].wait()
    deployed(boxes, 1, "--max-model-len", "1024")
    boxes.start(1)
    boxes.until("answered")


def test_what_ranks_have_in_common_is_what_the_collection_compares():
    loaded, made = module(), {}
    assert (loaded.OF_A_RANK, loaded.OF_A_BOX) == (ranks.OF_A_RANK, ranks.OF_A_BOX)

    def alike(*words, manifest="m", env=()):
        command = ["/bin/sh", "-c", "start", "vllm", "serve", "/models/duo", *words]
        made.update({"manifest": manifest, "container": {"command": command, "env": dict(env)}})
        return loaded.alike(made)

    head = alike("--host", "0.0.0.0", "--port", "1", "--node-rank", "0", "--middleware", "a", "b", env={"NCCL_IB_HCA": "x", "HOME": "/"})
    assert head == alike("--host=127.0.0.1", "--port", "1", "--node-rank", "1", "--headless", env={"NCCL_IB_HCA": "y", "HOME": "/"})
    others = [alike("--port", "2"), alike("--port", "1"), alike("--port", "1", manifest="n"), alike("--port", "1", env={"HOME": "/x"})]
    assert len({head, *others}) == 5 and loaded.alike({"probe_url": ""}) == ""


def test_the_heads_answer_counts_for_every_rank(together):
    for number in (0, 1):
        assert not together.kept(number, "starts.json") and not together.kept(number, "starting.json")
    assert "watch" in (together.folder / "0" / "guard.log").read_text() and "forget" in (together.folder / "1" / "guard.log").read_text()


def test_the_watch_asks_nothing_of_a_rank_without_an_api_nor_of_one_that_waits(together):
    guard = [together.folder / "1" / "guard", "watch", "duo"]
    assert subprocess.run(guard, env=together.environment(1), capture_output=True, text=True, check=True).stdout == ""
    together.kill_engine(1)
    assert together.ended(1) != 0 and together.ended(0) == 1
    together.start(0)
    together.wait(lambda: together.word(0).startswith("waiting for"))  # it says "waiting" before the guard knows
    guard[0] = together.folder / "0" / "guard"
    assert subprocess.run(guard, env=together.environment(0), capture_output=True, text=True, check=True).stdout == ""


@pytest.mark.parametrize(("dies", "other"), [(1, 0), (0, 1)])
def test_a_death_ends_the_other_rank_at_once_and_they_meet_again(together, dies, other):
    began = time.monotonic()
    together.kill_engine(dies)
    assert together.ended(other) == 1 and time.monotonic() - began < 5
    assert together.ended(dies) != 0
    name = ("one", "two")[dies]
    assert f"{name} has left the group" in together.said(other) and "All ranks of duo start again together." in together.said(other)
    together.start(dies)
    together.start(other)
    together.until("answered")


def test_a_rank_that_began_anew_is_no_company_for_the_old_head(together):
    """The head did not see the death, as the new rank was quick: it has other connections."""
    os.kill(together.units[0].pid, signal.SIGSTOP)
    together.kill_engine(1)
    together.ended(1)
    together.start(1)
    together.wait(lambda: together.word(1) == "" or together.word(1).startswith("waiting"))
    os.kill(together.units[0].pid, signal.SIGCONT)
    assert together.ended(0) == 1
    together.start(0)
    together.until("answered")


@pytest.mark.parametrize(("dies", "other"), [(1, 0), (0, 1)])
def test_a_rank_that_ends_before_they_met_does_not_leave_the_other_one_waiting(boxes, dies, other):
    """As where its box lacks memory: the other engine would wait for it until its own time-out, which is minutes."""
    (boxes.folder / str(dies) / "fails").touch()
    boxes.start(0, 1)
    boxes.wait(lambda: boxes.word(other) == "starting")
    assert boxes.ended(dies) == 1
    boxes.start(dies)  # as systemd does
    assert boxes.ended(other, 10) == 1 and "All ranks of duo start again together." in boxes.said(other)
    (boxes.folder / str(dies) / "fails").unlink()
    boxes.meet_again()


@pytest.mark.parametrize(("dies", "other"), [(1, 0), (0, 1)])
def test_a_death_between_two_looks_is_noticed(boxes, dies, other):
    """Right after they met: the other rank has not seen a connection yet that it could miss."""
    boxes.start(dies)
    boxes.start(other, look_s="4")
    boxes.wait(lambda: boxes.answers())
    assert boxes.word(other) == "starting"
    boxes.kill_engine(dies)
    boxes.ended(dies)
    boxes.start(dies)
    assert boxes.ended(other, 20) == 1 and "has left the group" in boxes.said(other)
    boxes.meet_again()


def test_a_rank_that_stays_down_before_they_met_is_given_up(boxes):
    (boxes.folder / "1" / "fails").touch()
    boxes.start(0, 1)
    assert boxes.ended(1) == 1
    assert boxes.ended(0, 10) == 1 and "two (127.0.0.2) has not answered for 3 looks" in boxes.said(0)


def test_what_an_earlier_start_left_is_ended_first(together):
    """As after a kill of our program alone: systemd would start it again while the container still runs."""
    os.kill(together.units[1].pid, signal.SIGKILL)
    left = int((together.folder / "1" / "pid").read_text())
    together.ended(1)
    together.start(1)
    together.wait(lambda: not Path(f"/proc/{left}").exists())
    assert together.ended(0) == 1
    together.start(0)
    together.until("answered")


def test_a_box_that_does_not_answer_any_more_is_given_up_after_three_looks(together):
    os.kill(together.units[1].pid, signal.SIGSTOP)  # its connections stay, as after a cut link
    assert together.ended(0, 40) == 1
    assert "two (127.0.0.2) has not answered for" in together.said(0)
    os.kill(together.units[1].pid, signal.SIGCONT)


def test_three_ranks_start_again_when_one_is_lost(tmp_path):
    boxes = Boxes(tmp_path, 3)
    try:
        boxes.start(1, 2, 0)
        boxes.until("answered")
        boxes.kill_engine(2)
        assert [boxes.ended(number) for number in (0, 1)] == [1, 1]
        boxes.ended(2)
        boxes.start(0, 1)
        boxes.wait(lambda: boxes.word(0).startswith("waiting for three"))
        boxes.wait(lambda: boxes.word(1).startswith("waiting for one (127.0.0.1), which waits itself"))
        boxes.start(2)
        boxes.until("answered")
    finally:
        boxes.down()


def test_the_ports_of_the_ranks_are_closed_to_others_and_opened_again(together):
    log = together.folder / "1" / "iptables.log"
    said = log.read_text()
    chain = f"GB10-{together.master}"
    for rule in (
        f"-N {chain}\n", f"-A {chain} -s 127.0.0.1 -j RETURN\n", f"-A {chain} -s 127.0.0.2 -j RETURN\n", f"-A {chain} -p tcp -j REJECT",
        f"-I INPUT -p tcp --syn --dport {together.master} -j {chain}\n", f"-I INPUT -p tcp --syn --dport {together.guard} -j {chain}\n",
        f"-I INPUT -p tcp --syn -d 127.0.0.2 --dport 32768:60999 -j {chain}\n",
    ):  # fmt: skip
        assert rule in said, rule
    made = [line.partition("-I ")[2] for line in said.splitlines() if "-I " in line]
    log.unlink()
    subprocess.run([sys.executable, FILES / "rank.py", "over", "duo"], env=together.environment(1), check=True)
    taken = [line.partition("-D ")[2] for line in log.read_text().splitlines() if "-D " in line]
    assert together.ended(1) != 0, "the container ended, too"
    assert sorted(taken) == sorted(made) and f"-X {chain}\n" in log.read_text()


def test_a_deployment_without_a_group_is_refused(boxes):
    (boxes.folder / "0" / "servers" / "duo" / "deployment.json").write_text('{"group": []}')
    done = subprocess.run([sys.executable, FILES / "rank.py", "run", "duo"], env=boxes.environment(0), capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith("not started: what the boxes of duo are cannot be read")


def module():
    spec = importlib.util.spec_from_file_location("rank", FILES / "rank.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_connections_are_read_as_the_kernel_prints_them():
    """The store listens on IPv6 for both; what a client over IPv4 has there is mapped."""
    head = "  sl  local_address rem_address   st tx_queue rx_queue\n"
    four = head + "   0: 0100007F:5DC0 0200007F:A1B2 01 0 0\n   1: 00000000:5DC0 00000000:0000 0A 0 0\n"
    six = head + "   0: 0000000000000000FFFF00000100007F:5DC0 0000000000000000FFFF00000200007F:A1B2 01 0 0\n"
    assert module().parse_connections(four) == module().parse_connections(six) == {("127.0.0.1", 24000, "127.0.0.2", 41394)}

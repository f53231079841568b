# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""HAProxy's answers, as 2.6 gave them."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._router import haproxy

PROCESSES = """#<PID>          <type>          <reloads>       <uptime>        <version>
22159           master          1 [failed: 0]   0d00h00m09s     2.6.12-1+deb12u4
# workers
22702           worker          0               0d00h00m05s     2.6.12-1+deb12u4
# old workers
22178           worker          1               0d00h00m09s     2.6.12-1+deb12u4
22100           worker          2               0d00h01m09s     2.6.12-1+deb12u4
# programs
"""
HEAD = "# pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,dresp,ereq,econ,eresp,wretr,wredis,status,weight"


def stat(*servers):
    def row(backend, box, queue, sessions, status):
        return f"{backend},{box},{queue},0,{sessions},0,4,9,0,0,,0,,0,0,0,0,{status},1"

    return "\n".join([HEAD, row("gb10", "FRONTEND", "", 3, "OPEN"), *(row(*one) for one in servers), row("gb10_a", "BACKEND", 0, 1, "UP"), ""])


def test_processes_that_only_finish_are_found():
    assert haproxy.former(lambda _command: PROCESSES) == [22178, 22100]
    assert haproxy.former(lambda _command: PROCESSES.partition("# old")[0]) == []


def test_sessions_and_queue_of_all_processes_count():
    now, before = stat(("gb10_a", "spark-01", 1, 2, "DRAIN"), ("mine", "spark-09", 0, 0, "UP")), stat(("gb10_a", "spark-01", 4, 1, "UP"))
    seen = haproxy.servers([lambda _command: now, lambda _command: before])
    assert [(one["server"], one["box"], one["status"], one["sessions"], one["queue"]) for one in seen] == [("a", "spark-01", "DRAIN", 3, 5)]


@pytest.mark.parametrize(
    ("status", "up", "held"),
    [
        ("UP", True, False),
        ("UP 1/3", True, False),
        ("no check", True, False),
        ("DOWN (agent)", False, False),
        ("DRAIN", False, True),
        ("DRAIN (agent)", False, True),
        ("MAINT", False, True),
    ],
)
def test_what_a_status_means(status, up, held):
    seen = {"server": "a", "box": "b", "status": status, "why": "", "sessions": 0, "queue": 0}
    assert (haproxy.is_up(seen), haproxy.is_held(seen)) == (up, held)


@pytest.mark.parametrize(("bits", "held"), [(0, ""), (1, "maint"), (4, "maint"), (5, "maint"), (8, "drain"), (12, "maint"), (32, ""), (40, "drain"), (64, "")])
def test_who_holds_a_server_says_its_administrative_state(bits, held):
    answers = {
        "show stat": stat(("gb10_a", "spark-01", 0, 0, "DOWN")),
        "show servers state": f"1\n# be_name srv_name srv_admin_state\ngb10_a spark-01 {bits}\n",
    }
    (seen,) = haproxy.servers([answers.__getitem__])
    assert haproxy.held(seen) == held


def test_a_name_cannot_become_a_command():
    with pytest.raises(GB10Error):
        haproxy.told([lambda _command: ""], "a;shutdown", "spark-01", "drain")
    with pytest.raises(GB10Error, match="No such server"):
        haproxy.told([lambda _command: "No such server.\n"], "a", "spark-01", "drain")


def test_whose_a_configuration_is():
    assert haproxy.summary("global\n") == {"ours": False, "digest": ""}
    assert haproxy.summary(f"{haproxy.MARK}\nglobal\n    description gb10 abc\n") == {"ours": True, "digest": "abc"}
    assert haproxy.running(lambda _command: "Name: HAProxy\ndescription: gb10 abc\n") == "abc"
    assert haproxy.running(lambda _command: "description: \n") == ""


def test_nobody_at_a_socket_is_said(tmp_path):
    with pytest.raises(GB10Error, match="HAProxy does not answer at"):
        haproxy.ask_at(str(tmp_path / "none"))("show info")


def test_a_socket_that_changes_hands_is_asked_again(tmp_path):
    """Around a start or a reload a connection may be cut before its answer."""
    path = str(tmp_path / "socket")
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()

    def serve():
        first, _address = server.accept()
        time.sleep(0.2)
        first.close()  # with a question that was not read: a reset
        second, _address = server.accept()
        second.recv(100)
        second.sendall(b"yes\n")
        second.close()

    threading.Thread(target=serve, daemon=True).start()
    with contextlib.closing(server):
        ask = haproxy.ask_at(path, 3)
        assert ask("show info") == "yes\n"

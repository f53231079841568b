# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host with an HAProxy for unit tests: its files below a directory, its sockets answered by a thread, systemctl and haproxy as shell scripts."""

from __future__ import annotations

import grp
import os
import socket
import threading
from pathlib import Path
from types import SimpleNamespace

from ansible_collections.gb10.vllm.plugins.module_utils._box import certificates
from ansible_collections.gb10.vllm.plugins.module_utils._router import apply, drain, haproxy, look
from in_process import Programs

HEAD = "# pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,dresp,ereq,econ,eresp,wretr,wredis,status,weight"
HAPROXY_GROUP = 4242


class RouterHost:
    """``running``: the file of the configuration that HAProxy has read; its ``reload`` reads what lies there then, unless ``deaf`` exists."""

    def __init__(self, folder: Path, monkeypatch) -> None:
        self.etc, self.records = folder / "etc/haproxy", folder / "records"
        self.etc.mkdir(parents=True)
        self.running, self.deaf, self.down, self.boot = (folder / name for name in ("running", "deaf", "down", "boot"))
        self.config = self.etc / "haproxy.cfg"
        self.stat: dict[tuple[str, str], list] = {}  # status, sessions, queue and administrative state by (server, box)
        self.asked: list[str] = []
        self.owners: dict[str, tuple[int, int]] = {}
        self.programs = Programs(folder / "bin", monkeypatch)
        answer = self.programs.answer
        answer("systemctl", "reload*|restart*", f"[ -e {self.deaf} ] || cp {self.config} {self.running}")
        answer("systemctl", "is-active*", f"[ ! -e {self.down} ]")
        answer("systemctl", "enable*", f"touch {self.boot}")
        self.program = answer("haproxy", "-c*", "if grep -q mistake $3; then echo '[ALERT] (7) : config : unknown keyword mistake' >&2; exit 1; fi")
        answer("haproxy", "-v", "echo 'HAProxy version 2.6.12-1+deb12u4 2026/01/01'")
        answer("dpkg-query", "*", ":")
        answer("ip", "*", "echo '[]'")
        answer("keep-state", "*", ":")
        self.socket, self.master = str(folder / "s"), str(folder / "m")
        for name, value in {
            "CONFIG": str(self.config), "SOCKET": self.socket, "STATE_FILE": str(self.records / "state"), "RECORDS": str(self.records),
            "KEEP": str(folder / "bin/keep-state"), "PATIENCE_S": 0.1,
        }.items():  # fmt: skip
            monkeypatch.setattr(haproxy, name, value)
        # Values of arguments that were read when the modules were.
        everybody, record, kept = haproxy.everybody, drain.Drains, look.drains
        monkeypatch.setattr(haproxy, "everybody", lambda: everybody(self.socket, self.master))
        monkeypatch.setattr(drain, "Drains", lambda _records: record(str(self.records)))
        monkeypatch.setattr(look, "drains", lambda: kept(str(self.records)))
        monkeypatch.setattr(apply, "PROGRAM", str(self.program))
        monkeypatch.setattr(look, "PROGRAM", str(self.program))
        monkeypatch.setattr(apply, "STARTED_S", 0.3)
        monkeypatch.setattr(grp, "getgrnam", lambda name: SimpleNamespace(gr_gid={"haproxy": HAPROXY_GROUP}[name]))
        monkeypatch.setattr(os, "chown", lambda path, user, group: self.owners.update({os.path.basename(path): (user, group)}))
        monkeypatch.setattr(certificates, "_status", lambda path: os.stat_result((*(seen := os.stat(path))[:4], 0, *seen[5:10])))

    def serve(self) -> None:
        """HAProxy's socket, until the test is over."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.socket)
        listener.listen(16)
        threading.Thread(target=self._serve, args=(listener,), daemon=True).start()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            line, _address = listener.accept()
            with line:
                command = b""
                while part := line.recv(65536):
                    command += part
                line.sendall(self.answer(command.decode().strip()).encode())

    def answer(self, command: str) -> str:
        self.asked.append(command)
        if command == "show info":
            text = self.running.read_text() if self.running.exists() else ""
            return "".join(f"description: {line.split(maxsplit=1)[1]}\n" for line in text.splitlines() if "description " in line)
        if command == "show stat":
            rows = [f"gb10_{server},{box},{one[2]},0,{one[1]},0,,,,,,,,,,,,{one[0]},1" for (server, box), one in self.stat.items()]
            return "\n".join([HEAD, *rows, ""])
        if command == "show servers state":
            return "\n".join(["1", "# be_name srv_name srv_admin_state", *(f"gb10_{server} {box} {one[3]}" for (server, box), one in self.stat.items()), ""])
        server, _slash, box = command.split()[2].removeprefix("gb10_").partition("/")
        one = self.stat[server, box]
        one[3] = {"drain": 8, "ready": 0}[command.split()[-1]]
        if not one[0].startswith("DOWN"):
            one[0] = {8: "DRAIN", 0: "UP"}[one[3]]
        return ""


def ours(digest: str, more: str = "") -> str:
    """A configuration of this collection's."""
    return f"{haproxy.MARK}\nglobal\n    description gb10 {digest}\n{more}"

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way into an imitated box: what SSH is to a real one, with every question noted and a box that can vanish."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
from pathlib import Path

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = """
author: gb10.vllm contributors
name: imitated
short_description: Into an imitated box (tests/support/imitation.py)
description:
  - Enters the namespaces of a box. "asked" in its folder gets a line per command; "off" makes it unreachable; "vanish" names the module after which.
  - Where there is a folder "moments", the box is kept in it as it is after each module.
options:
  box:
    description: Folder of the box.
    vars: [{name: imitated_box}]
    required: true
  pipelining:
    description: As for SSH, where ansible.cfg turns it on.
    default: true
    type: bool
"""
MODULE = re.compile(
    rb"ansible_module='?\"?([a-z_0-9.]+)|ansible_collections[./]([a-z0-9_]+[./][a-z0-9_]+)[./]plugins[./]modules[./]([a-z0-9_]+)|ansible[./]modules[./]([a-z0-9_]+)"
)
INTERPRETER = re.compile(r"((?:[A-Z_0-9]+=\S* )*)\S+/python[0-9.]* && sleep 0")


def interpreter(command: str) -> dict[str, str] | None:
    """The variables for a Python that reads a module from its standard input; None for any other command."""
    words = shlex.split(command)
    found = INTERPRETER.fullmatch(words[2]) if words[:2] == ["/bin/sh", "-c"] and len(words) == 3 else None
    return dict(word.partition("=")[::2] for word in shlex.split(found[1])) if found else None


class Connection(ConnectionBase):
    transport = "imitated"
    has_pipelining = True

    def _connect(self) -> Connection:
        self.folder = Path(self.get_option("box"))
        if (self.folder / "off").exists():
            raise AnsibleConnectionFailure(f"Failed to connect to the host via ssh: connect to host {self.folder.name} port 22: No route to host")
        self._connected = True
        return self

    def _inside(self, command: str, given: bytes | None = None) -> tuple[int, bytes, bytes]:
        self._connect()
        environment = interpreter(command) if given else None
        if environment is not None:
            return self._warm({**os.environ, "HOME": "/root", **environment}, given or b"")
        line = ["nsenter", "-t", (self.folder / "pid").read_text(), "-m", "-n", "-u", "-p", "--", "/bin/sh", "-c", command]
        done = subprocess.run(line, input=given, capture_output=True, check=False, env={**os.environ, "HOME": "/root"})
        return done.returncode, done.stdout, done.stderr

    def _warm(self, environment: dict[str, str], program: bytes) -> tuple[int, bytes, bytes]:
        """Have warm.py run a module, which lives on when this process is killed, as it does on a box."""
        with self._to("modules.sock") as connection, connection.makefile("rwb") as stream:
            stream.write(json.dumps({"environment": environment, "length": len(program)}).encode() + b"\n" + program)
            stream.flush()
            told = json.loads(stream.readline())
            out, err = (stream.read(length) for length in told["lengths"])
        return told["code"], out, err

    def _to(self, name: str) -> socket.socket:
        """A connection to a socket in the box's /run, whose whole path is too long for one."""
        connection = socket.socket(socket.AF_UNIX)
        with contextlib.chdir(f"/proc/{(self.folder / 'pid').read_text()}/root/run"):
            connection.connect(name)
        return connection

    def exec_command(self, cmd, in_data=None, sudoable=True):
        found = MODULE.search(in_data or b"")
        module = next(filter(None, reversed(found.groups())), b"?").decode() if found else "-"
        done = self._inside(cmd, in_data)
        with (self.folder / "asked").open("a") as asked:
            asked.write(f"{module}\n")
        vanish = self.folder / "vanish"
        if vanish.exists() and vanish.read_text() == module.rpartition(".")[2]:
            vanish.rename(self.folder / "off")
        moments = self.folder / "moments"
        if found and moments.exists():
            moment = moments / f"{len(list(moments.glob('*.json'))):03}-{module.rpartition('.')[2]}"
            body = json.dumps({"name": "box", "words": ["save", str(moment)]}).encode()
            with self._to("docker.sock") as connection:
                connection.sendall(b"POST /command HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                connection.recv(1)
        return done

    def put_file(self, in_path, out_path):
        self._connect()
        with (self.folder / "asked").open("a") as asked:
            asked.write("put\n")
        shutil.copyfile(in_path, f"/proc/{(self.folder / 'pid').read_text()}/root{out_path}")

    def fetch_file(self, in_path, out_path):
        self._connect()
        shutil.copyfile(f"/proc/{(self.folder / 'pid').read_text()}/root{in_path}", out_path)

    def close(self):
        self._connected = False

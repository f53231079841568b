# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way into an imitated box: what SSH is to a real one, with every question noted and a box that can vanish."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = """
author: gb10.vllm contributors
name: imitated
short_description: Into an imitated box (tests/support/imitation.py)
description: [Enters the namespaces of a box. "asked" in its folder gets a line per command; "off" makes it unreachable; "vanish" names the module after which.]
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
        line = ["nsenter", "-t", (self.folder / "pid").read_text(), "-m", "-n", "-u", "-p", "--", "/bin/sh", "-c", command]
        done = subprocess.run(line, input=given, capture_output=True, check=False, env={**os.environ, "HOME": "/root"})
        return done.returncode, done.stdout, done.stderr

    def exec_command(self, cmd, in_data=None, sudoable=True):
        found = MODULE.search(in_data or b"")
        module = next(filter(None, reversed(found.groups())), b"?").decode() if found else "-"
        done = self._inside(cmd, in_data)
        with (self.folder / "asked").open("a") as asked:
            asked.write(f"{module}\n")
        vanish = self.folder / "vanish"
        if vanish.exists() and vanish.read_text() == module:
            vanish.rename(self.folder / "off")
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

# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs modules on an imitated box in an interpreter that is warm: what each of them would load first is there already.

A module arrives as SSH would bring it and runs in a process of its own. Only Ansible's and Docker's parts are loaded beforehand: those of this collection are
read from the checkout each time, as they are then.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import sys
from pathlib import Path

SOCKET = "/run/modules.sock"
LOADED = (
    "ansible.module_utils._internal._ansiballz._loader",
    "ansible.module_utils.basic",
    "ansible.module_utils.urls",
    "ansible.module_utils.service",
    "ansible.modules",
    "ansible_collections.community.docker.plugins.module_utils._common_api",
    "ansible_collections.community.docker.plugins.module_utils._module_container.docker_api",
    "ansible_collections.community.docker.plugins.module_utils._module_container.module",
    "concurrent.futures",
    "http.client",
    "requests",
    "ssl",
    "zipfile",
)


def serve() -> tuple[bytes, dict[str, str]]:
    """Waits for modules; comes back in a process that is to run one, with its code and its environment."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(SOCKET)
        listener.listen(64)
        while True:
            connection, _address = listener.accept()
            if os.fork() == 0:
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                return relay(connection)
            connection.close()


def relay(connection: socket.socket) -> tuple[bytes, dict[str, str]]:
    """Has the module run in a child and sends what it said: a line of JSON, then its two outputs."""
    with connection, connection.makefile("rwb") as stream:
        asked = json.loads(stream.readline())
        code = stream.read(asked["length"])
        files = [os.memfd_create(name) for name in ("out", "err")]
        child = os.fork()
        if child == 0:
            for number, file in enumerate(files, 1):
                os.dup2(file, number)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            return code, asked["environment"]
        _pid, status = os.waitpid(child, 0)
        said = [os.pread(file, os.fstat(file).st_size, 0) for file in files]
        stream.write(json.dumps({"code": os.waitstatus_to_exitcode(status), "lengths": list(map(len, said))}).encode() + b"\n" + b"".join(said))
        stream.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3] / ".ansible" / "collections"))
    for name in LOADED:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    program, environment = serve()
    os.chdir("/")
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [""]
    exec(compile(program, "<stdin>", "exec"), {"__name__": "__main__"})
